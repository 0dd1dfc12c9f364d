// Seeing Pools: two sessions, a borrower that forgets to give one back, and what metrics and the dashboard say of it.
import { Pool, PoolRegistry } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Console, Deferred, Effect, Fiber, Schedule } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { top } from "./top.ts"

/** What was to be seen while two waited. */
export interface Seen {
  /** Lines that Prometheus would have read of the pool. */
  readonly metrics: ReadonlyArray<string>
  /** What `cenote top` said of all pools, and of this one. */
  readonly pools: string
  readonly pool: string
  /** Exit code of `cenote top --check`. */
  readonly code: number
  /** Those who waited, and were served in the end. */
  readonly served: number
}

/** Of the metrics, these are shown. */
const shown = ["count", "max", "pending_requests", "borrowed"]

/** `url` is where the dashboard is. */
export const seeing = Effect.fnUntraced(function* (url: string) {
  const { config } = yield* Postgres
  const pool = yield* Pool.make({
    name: "app/Db",
    acquire: PgConnection.make({ ...config, applicationName: "seeing" }),
    max: 2
  })
  const found = yield* Deferred.make<void>()
  const query = (sql: string) => Pool.use(pool, (session) => session.query(sql))

  const forgetful = Pool.use(pool, () => Deferred.await(found)).pipe(Effect.withSpan("Orders.export"))
  const slow = Pool.use(pool, (session) =>
    Effect.andThen(session.query("select pg_sleep(1)"), Deferred.await(found))
  ).pipe(Effect.withSpan("Reports.monthly"))
  const holders = yield* Effect.forEach([forgetful, slow], (_) => Effect.forkChild(_))
  yield* until((stats) => stats.used === 2, pool)
  const waiters = yield* Effect.forEach([1, 2], (n) =>
    Effect.forkChild(Effect.withSpan(query("select 1"), `Orders.place ${n}`))
  )
  yield* Console.log(
    "One session is lent to Orders.export, which forgets it, and one to Reports.monthly, which is slow"
  )
  yield* until((stats) => stats.pending === 2, pool)
  yield* waitedFor(1400)

  const text = yield* PrometheusMetrics.format()
  const metrics = text
    .split("\n")
    .filter((line) => shown.some((name) => line.startsWith(`cenote_pool_${name}{cenote_pool_name="app/Db"`)))
  yield* Console.log(
    `Two have waited for more than a second. Prometheus reads ${text.split("\n").length} lines, such as`
  )
  yield* Effect.forEach(metrics, (line) => Console.log(`  ${line}`))

  yield* Console.log("$ cenote top --check")
  const all = yield* top(["--url", url, "--check"])
  yield* Effect.forEach(all.lines, (line) => Console.log(`  ${line}`))
  yield* Console.log(`  exit code ${all.code}`)
  yield* Console.log("$ cenote top --pool app/Db")
  const one = yield* top(["--url", url, "--pool", "app/Db", "--once"])
  yield* Effect.forEach(
    one.lines.slice(
      0,
      one.lines.findIndex((_) => _.startsWith("Events:"))
    ),
    (line) => Console.log(`  ${line}`)
  )

  yield* Deferred.succeed(found, undefined)
  yield* Effect.forEach(holders, Fiber.join)
  const served = yield* Effect.forEach(waiters, Fiber.join)
  yield* Console.log("It is found, and gives back: both who waited are served")
  return {
    metrics,
    pools: all.lines.join("\n"),
    pool: one.lines.join("\n"),
    code: all.code,
    served: served.length
  } satisfies Seen
}, Effect.scoped)

const patiently = { schedule: Schedule.spaced("5 millis") }

const until = <A, E>(holds: (stats: Pool.Stats) => boolean, pool: Pool.Pool<A, E>) =>
  Effect.repeat(Pool.stats(pool), { until: holds, ...patiently })

/** Waits until the head of the line has waited so many milliseconds. */
const waitedFor = (millis: number) =>
  Effect.gen(function* () {
    const entries = yield* PoolRegistry.entries
    const waiters = entries.find(({ id }) => id === "app/Db")?.waiters(1) ?? Effect.succeed([])
    yield* Effect.repeat(waiters, { until: ([head]) => (head?.waited ?? 0) >= millis, ...patiently })
  })
