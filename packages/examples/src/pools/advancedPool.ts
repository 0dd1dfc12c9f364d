// Advanced Pool Management: sessions grow old, lie idle and break, and the pool sees to it. Everything is
// five times as fast as one would have it in earnest.
import { Pool } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Console, Effect, Layer, Random, Schedule } from "effect"
import type { SqlError } from "effect/sql"
import { isFatal, runTask } from "./users.ts"

/** The pool as a service: what borrows from it asks for `Sessions`, and does not care how they are made. */
class Sessions extends Pool.Service<Sessions, PgConnection.PgConnection, SqlError.SqlError>()("advanced") {
  static readonly live = Layer.unwrap(
    Effect.map(Postgres, ({ config }) =>
      Sessions.layer({
        acquire: PgConnection.make({ ...config, applicationName: "advanced" }),
        min: 1,
        max: 3,
        acquireTimeout: "5 seconds",
        // Asked before every loan; a session that does not answer is closed, and the borrower gets another.
        validate: (session) => Effect.as(session.query("select 1"), true),
        validateAfterIdle: 0,
        validateTimeout: "1 second",
        // Settings that a borrower has changed do not reach the next one.
        reset: (session) => session.query("reset all"),
        maxAge: "2 seconds",
        maxIdle: "1 second"
      })
    )
  )
}

const workers = [
  ["read", "write", "update"],
  ["query", "insert", "delete"],
  ["backup", "restore", "verify"],
  ["sync", "analyze", "optimize"]
]
const rounds = 4

const operate = Effect.fnUntraced(
  function* (id: string, userId: number) {
    const seconds = yield* Random.nextBetween(0.02, 0.1)
    return yield* Sessions.borrow((session) =>
      runTask(session, { id, userId, seconds }).pipe(
        Effect.as(session.processId),
        // A broken session must not go back into the pool. Validation would find it, but only at the next loan.
        Effect.tapError((error) => (isFatal(error) ? Sessions.invalidate(session) : Effect.void))
      )
    )
  },
  // Another session may do what the broken one could not: running a task twice is harmless.
  (effect, id) =>
    effect.pipe(
      Effect.tapError((error) => Console.log(`${id} failed: ${error.message}`)),
      Effect.retry({ while: isFatal, times: 3 })
    )
)

const worker = Effect.fnUntraced(function* (operations: ReadonlyArray<string>, index: number) {
  const name = `Worker ${index + 1}`
  const committed: Array<string> = []
  yield* Console.log(`Managed ${name.toLowerCase()} starting`)
  for (let round = 1; round <= rounds; round++) {
    for (const operation of operations) {
      const id = `advanced/${index + 1}/${round}/${operation}`
      const backend = yield* operate(id, index + 1)
      committed.push(id)
      yield* Console.log(`${name}: '${operation}' completed by backend ${backend}`)
      yield* Effect.sleep(yield* Random.nextBetween(100, 400))
    }
  }
  yield* Console.log(`Managed ${name.toLowerCase()} finished`)
  return committed
})

const showStats = Effect.gen(function* () {
  const { borrowed, created, destroyed, idle, pending, size, used } = yield* Sessions.stats
  yield* Console.log(
    `Pool stats: size ${size}, idle ${idle}, used ${used}, pending ${pending}, ` +
      `created ${created}, destroyed ${destroyed}, borrowed ${borrowed}`
  )
})

/** The pool closes what has expired by itself. This does it at once, and says how many. */
const evict = Effect.gen(function* () {
  const evicted = yield* Effect.flatMap(Sessions, Pool.evictExpired)
  yield* Console.log(`Cleaned up ${evicted} expired sessions`)
})

const monitor = Effect.all(
  [Effect.forever(Effect.delay(showStats, "500 millis")), Effect.forever(Effect.delay(evict, "1500 millis"))],
  { concurrency: "unbounded" }
)

/** Ends a session of the pool behind its back, as a fail-over, a crash or an administrator would. */
const terminate = Effect.fnUntraced(function* (state: "active" | "idle") {
  const { config } = yield* Postgres
  const session = yield* PgConnection.make(config)
  const attempt = session.query(
    `select pid, pg_terminate_backend(pid, 5000) as gone from (
       select pid from pg_stat_activity
       where application_name = 'advanced' and state = $1 and ($1 = 'idle' or query like '%audit_log%') limit 1
     ) as victim`,
    [state]
  )
  const { rows } = yield* Effect.repeat(attempt, {
    until: ({ rows }) => rows[0]?.["gone"] === true,
    schedule: Schedule.spaced("5 millis")
  })
  yield* Console.log(
    `Backend ${Number(rows[0]?.["pid"])} was terminated ${state === "active" ? "in the middle of a task" : "at rest"}`
  )
}, Effect.scoped)

const loseSessions = Effect.gen(function* () {
  yield* Effect.sleep("700 millis")
  yield* terminate("active")
  yield* Effect.sleep("700 millis")
  yield* terminate("idle")
})

/** Gives the ids of the tasks that it committed. */
export const advancedPool = Effect.gen(function* () {
  yield* Effect.forkScoped(monitor)
  const [committed] = yield* Effect.all(
    [Effect.forEach(workers, worker, { concurrency: "unbounded" }), loseSessions],
    { concurrency: "unbounded" }
  )
  yield* Console.log("Nobody asks any more: what lies idle is closed, down to the one that is kept")
  yield* Effect.sleep("1200 millis")
  yield* evict
  yield* showStats
  return committed.flat()
}).pipe(Effect.scoped, Effect.provide(Sessions.live))
