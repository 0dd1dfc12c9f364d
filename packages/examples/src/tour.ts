// The tour: the programs in order, on servers of their own, and a summary.
import { MariaDb, Postgres, type ServerError } from "@cenote/testing/TestServers"
import { Clock, Console, Context, Data, Effect, Fiber, Layer, References, Result, Runtime } from "effect"
import { openDashboard } from "./dashboard.ts"
import * as onPools from "./pools/programs.ts"
import { createTables } from "./pools/users.ts"
import {
  chapter,
  heading,
  live,
  loopLine,
  tableOfConnections,
  tableOfPools,
  tableOfThreads,
  totals
} from "./report.ts"
import * as watched from "./seeing/programs.ts"
import { seeing } from "./seeing/seeing.ts"
import * as onDatabases from "./sql/programs.ts"
import * as onThreads from "./threads/programs.ts"

/** Ends the process with code 1; what was wrong has been printed. */
export class Told extends Data.TaggedError("Told") {
  override readonly [Runtime.errorReported] = false
}

export const tour = Effect.fnUntraced(function* (options: { readonly port: number | undefined }) {
  const started = yield* Clock.currentTimeMillis
  const { pid, port, version } = yield* Postgres
  yield* Console.log(`PostgreSQL ${version} is ready on port ${port} (process ${yield* pid})`)
  const { url } = yield* openDashboard(options.port ?? 0, { pace: "200 millis" }).pipe(
    // Its address has a line here.
    Effect.provideService(References.MinimumLogLevel, "Warn")
  )
  yield* Console.log(`The dashboard of all pools is open at ${url} until the end`)
  // It takes a few seconds, and is not on every machine.
  const startingMariaDb = yield* Effect.forkScoped(Effect.result(Layer.build(MariaDb.layer())))
  yield* createTables

  yield* Console.log(chapter("Pools, on sessions of PostgreSQL"))
  const ofPools = yield* Effect.forEach(onPools.programs, (program) =>
    Effect.andThen(Console.log(heading(program)), live(onPools.runProgram(program)))
  )
  yield* Console.log(chapter("What can be seen of them"))
  yield* Console.log(heading(watched.about))
  const ofSeeing = yield* live(watched.runProgram(url, seeing))

  yield* Console.log(chapter("Threads"))
  const ofThreads = yield* Effect.forEach(onThreads.programs, (program) =>
    Effect.andThen(
      Console.log(heading(program)),
      live(Effect.tap(onThreads.runProgram(program), (outcome) => Console.log(loopLine(outcome))))
    )
  )
  yield* Console.log(chapter("Connection pools"))
  const ofDatabases = yield* runOnDatabases(yield* Fiber.join(startingMariaDb))

  const took = (yield* Clock.currentTimeMillis) - started
  const committed = [...ofPools, ...ofDatabases].reduce((sum, _) => sum + _.committed, 0)
  const calls = ofThreads.reduce((sum, _) => sum + _.calls.length, 0)
  const broken = [...ofPools, ofSeeing, ...ofThreads, ...ofDatabases].flatMap((_) =>
    _.broken.map((problem) => `${_.title}: ${problem}`)
  )
  yield* Console.log(chapter("Summary"))
  const tables = [tableOfPools(ofPools), tableOfThreads(ofThreads), tableOfConnections(ofDatabases)]
  yield* Console.log(`\n${tables.join("\n\n")}\n`)
  if (broken.length > 0) {
    yield* Effect.forEach(broken, (problem) => Console.error(`broken: ${problem}`))
    return yield* new Told()
  }
  const pools = [...ofPools, ofSeeing, ...ofDatabases].flatMap((_) => _.pools)
  return yield* Console.log(
    `${totals(pools, ofThreads)}\n` +
      `${committed} tasks committed, each found once in its database; ${calls} calls to threads, each result as it must be\n` +
      `All pools came to rest and closed; no session, thread or file left; ${(took / 1000).toFixed(1)} s`
  )
}, Effect.scoped)

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
  Effect.andThen(Console.log(heading(program)), live(program.run))
