// `pnpm start`: the programs in order, on servers of their own, and a summary.
import { MariaDb, Postgres, type ServerError } from "@cenote/testing/TestServers"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Clock, Console, Context, Data, Effect, Fiber, Layer, Option, Result, Runtime } from "effect"
import { Command, Flag } from "effect/cli"
import * as onPools from "./pools/programs.ts"
import { createTables } from "./pools/users.ts"
import { heading, live, loopLine, tableOfConnections, tableOfPools, tableOfThreads } from "./report.ts"
import * as onDatabases from "./sql/programs.ts"
import * as onThreads from "./threads/programs.ts"

/** Ends the process with code 1; what was wrong has been printed. */
class Told extends Data.TaggedError("Told") {
  override readonly [Runtime.errorReported] = false
}

const run = Effect.gen(function* () {
  const started = yield* Clock.currentTimeMillis
  const { pid, port, version } = yield* Postgres
  yield* Console.log(`PostgreSQL ${version} is ready on port ${port} (process ${yield* pid})`)
  // It takes a few seconds, and is not on every machine.
  const startingMariaDb = yield* Effect.forkScoped(Effect.result(Layer.build(MariaDb.layer())))
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
  const ofDatabases = yield* runOnDatabases(yield* Fiber.join(startingMariaDb))
  const took = (yield* Clock.currentTimeMillis) - started
  const committed = [...ofPools, ...ofDatabases].reduce((sum, _) => sum + _.committed, 0)
  const calls = ofThreads.reduce((sum, _) => sum + _.calls.length, 0)
  const broken = [...ofPools, ...ofThreads, ...ofDatabases].flatMap((_) =>
    _.broken.map((problem) => `${_.title}: ${problem}`)
  )
  const tables = [tableOfPools(ofPools), tableOfThreads(ofThreads), tableOfConnections(ofDatabases)]
  yield* Console.log(`\n${tables.join("\n\n")}\n`)
  if (broken.length > 0) {
    yield* Effect.forEach(broken, (problem) => Console.error(`broken: ${problem}`))
    return yield* new Told()
  }
  return yield* Console.log(
    `${committed} tasks committed, each found once in its database; ${calls} calls to threads, each result as it must be\n` +
      `All pools came to rest and closed; no session, thread or file left; ${(took / 1000).toFixed(1)} s`
  )
}).pipe(Effect.scoped)

/** The programs on connection pools; those on a MariaDB only where there is one. */
const runOnDatabases = Effect.fnUntraced(function* (
  mariadb: Result.Result<Context.Context<MariaDb>, ServerError>
) {
  const others = yield* Effect.forEach(onDatabases.others, runOnDatabase)
  if (Result.isSuccess(mariadb)) {
    const { pid, port, version } = Context.get(mariadb.success, MariaDb)
    yield* Console.log(`\nMariaDB ${version} is ready on port ${port} (process ${yield* pid})`)
    const onMariaDb = yield* Effect.provideContext(
      Effect.forEach(onDatabases.onMariaDb, runOnDatabase),
      mariadb.success
    )
    return [...others, ...onMariaDb]
  }
  if (mariadb.failure.reason !== "Binaries") return yield* mariadb.failure
  yield* Console.log(`\nThe programs on MariaDB are left out: ${mariadb.failure.message}`)
  return others
})

const runOnDatabase = <R>(program: onDatabases.Program<R>) =>
  Effect.andThen(Console.log(heading(program.title)), live(program.run))

/** The options of the server have other names here. */
const describe = (error: { readonly _tag: string; readonly message: string }): string =>
  error._tag === "ServerError"
    ? error.message.replace("`port`", "--port").replace("`folder`", "--data")
    : error.message

const start = Command.make(
  "start",
  {
    port: Flag.Int("port").pipe(
      Flag.filter(
        (port) => port > 0 && port < 65536,
        () => "a number from 1 to 65535"
      ),
      Flag.withDescription("Port of the PostgreSQL on 127.0.0.1; a free one unless given"),
      Flag.optional
    ),
    data: Flag.String("data").pipe(
      Flag.withMetavar("folder"),
      Flag.withDescription("Folder for its files, empty or new; a temporary one unless given"),
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
        (error) => Effect.andThen(Console.error(`start: ${describe(error)}`), new Told())
      ),
      Effect.onInterrupt(() =>
        Console.error("start: stopped; the pools are closed, and the servers are gone")
      )
    )
).pipe(
  Command.withDescription(
    "Runs the example programs on threads and on private servers, which are gone when they have ended: a PostgreSQL, and a " +
      "MariaDB if the machine has one. Checks that nothing was lost. The exit code is 0 if all is well."
  )
)

// A terminal that closes, and a reader that goes away (`pnpm start | head`), end the run as Ctrl-C does.
const terminate = () => process.kill(process.pid, "SIGTERM")
process.once("SIGHUP", terminate)
process.stdout.once("error", terminate).on("error", () => {})

start.pipe(Command.run({ version: "0.0.0" }), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
