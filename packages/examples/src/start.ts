// `pnpm start`: the programs in order, on a server of their own, and a summary.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Console, Data, Effect, Option, Runtime } from "effect"
import { Command, Flag } from "effect/cli"
import { Postgres } from "./pools/postgres.ts"
import * as onPools from "./pools/programs.ts"
import { createTables } from "./pools/users.ts"
import { heading, live, loopLine, tableOfPools, tableOfThreads } from "./report.ts"
import * as onThreads from "./threads/programs.ts"

/** Ends the process with code 1; what was wrong has been printed. */
class Told extends Data.TaggedError("Told") {
  override readonly [Runtime.errorReported] = false
}

const run = Effect.gen(function* () {
  const started = yield* Clock.currentTimeMillis
  const { pid, port, version } = yield* Postgres
  yield* Console.log(`PostgreSQL ${version} is ready on port ${port} (process ${pid})`)
  yield* createTables

  const ofPools = yield* Effect.forEach(onPools.programs, (program) =>
    Effect.andThen(Console.log(heading(program.title)), live(onPools.runProgram(program)))
  )
  const ofThreads = yield* Effect.forEach(onThreads.programs, (program) =>
    Effect.andThen(
      Console.log(heading(program.title)),
      live(Effect.tap(onThreads.runProgram(program), (outcome) => Console.log(loopLine(outcome))))
    )
  )
  const took = (yield* Clock.currentTimeMillis) - started
  const committed = ofPools.reduce((sum, _) => sum + _.committed, 0)
  const calls = ofThreads.reduce((sum, _) => sum + _.calls.length, 0)
  const broken = [...ofPools, ...ofThreads].flatMap((_) =>
    _.broken.map((problem) => `${_.title}: ${problem}`)
  )
  yield* Console.log(`\n${tableOfPools(ofPools)}\n\n${tableOfThreads(ofThreads)}\n`)
  if (broken.length > 0) {
    yield* Effect.forEach(broken, (problem) => Console.error(`broken: ${problem}`))
    return yield* new Told()
  }
  return yield* Console.log(
    `${committed} tasks committed, each found once on the server; ${calls} calls to threads, each result as it must be\n` +
      `All pools came to rest and closed; no session, thread or file left; ${(took / 1000).toFixed(1)} s`
  )
})

const start = Command.make(
  "start",
  {
    port: Flag.Int("port").pipe(
      Flag.filter(
        (port) => port > 0 && port < 65536,
        () => "a number from 1 to 65535"
      ),
      Flag.withDescription("Port of the server on 127.0.0.1; a free one unless given"),
      Flag.optional
    ),
    data: Flag.String("data").pipe(
      Flag.withMetavar("folder"),
      Flag.withDescription("Folder for the server's files, empty or new; a temporary one unless given"),
      Flag.optional
    )
  },
  ({ data, port }) =>
    run.pipe(
      Effect.provide(
        Postgres.layer({ port: Option.getOrUndefined(port), folder: Option.getOrUndefined(data) })
      ),
      Effect.catchIf(
        (error) => error._tag !== "Told",
        (error) => Effect.andThen(Console.error(`start: ${error.message}`), new Told())
      ),
      Effect.onInterrupt(() => Console.error("start: stopped; the pools are closed, and the server is gone"))
    )
).pipe(
  Command.withDescription(
    "Runs the example programs, on a private PostgreSQL, which is gone when they have ended, and on threads, and " +
      "checks that nothing was lost. The exit code is 0 if all is well."
  )
)

// A terminal that closes, and a reader that goes away (`pnpm start | head`), end the run as Ctrl-C does.
const terminate = () => process.kill(process.pid, "SIGTERM")
process.once("SIGHUP", terminate)
process.stdout.once("error", terminate).on("error", () => {})

start.pipe(Command.run({ version: "0.0.0" }), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
