// What goes wrong in a shop, one thing after the other, and where to look.
import { KeyedPool, PoolRegistry, TokenPool } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Effect } from "effect"
import { busy } from "./load.ts"
import { type Pools, tasks } from "./pools.ts"
import { lasting, pause } from "./tempo.ts"

export interface Trouble {
  /** What is wrong. */
  readonly what: string
  /** Where it can be seen. */
  readonly look: string
  /** Makes it, and ends when it is over. */
  readonly make: (pools: Pools) => Effect.Effect<unknown, unknown, Postgres>
}

const times = <A, E, R>(count: number, effect: Effect.Effect<A, E, R>) =>
  Effect.replicateEffect(Effect.exit(effect), count, { concurrency: "unbounded", discard: true })

const burst: Trouble = {
  what: "sixty orders come at once",
  look: "app/Db → waiting, wait p99",
  make: ({ db }) => times(60, Effect.withSpan(busy(db, 0.15), "Orders.rush"))
}

const slow: Trouble = {
  what: "four reports take every connection, and take long",
  look: "app/Db → level, leases: Reports.monthly",
  make: ({ db }) =>
    Effect.flatMap(lasting(8), (millis) =>
      times(4, Effect.withSpan(busy(db, millis / 1000), "Reports.monthly"))
    )
}

const leak: Trouble = {
  what: "a borrower forgets to give back",
  look: "app/Db → leases, events: Leaked by Orders.export",
  make: ({ db }) => db.use(() => pause(10)).pipe(Effect.withSpan("Orders.export"))
}

const killed: Trouble = {
  what: "PostgreSQL ends every session of app/Db",
  look: "app/Db → events: Closed, Created",
  make: () =>
    Effect.gen(function* () {
      const { config } = yield* Postgres
      const session = yield* PgConnection.make(config)
      yield* session.query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'pool'"
      )
      yield* pause(3)
    }).pipe(Effect.scoped)
}

const crash: Trouble = {
  what: "a task ends its thread",
  look: "app/Cpu → threads, events: ThreadCrashed",
  make: ({ cpu }) => Effect.andThen(Effect.exit(Effect.provideContext(tasks.leave(7), cpu)), pause(3))
}

const runaway: Trouble = {
  what: "a task does not end, and does not listen",
  look: "app/Cpu → events: ThreadKilled",
  make: ({ cpu }) =>
    Effect.provideContext(tasks.spin(), cpu).pipe(
      Effect.timeoutOption("500 millis"),
      Effect.andThen(pause(3))
    )
}

const suspended: Trouble = {
  what: "app/Uploads is suspended, as with the button on the page",
  look: "app/Uploads → level, waiting",
  make: ({ uploads }) =>
    Effect.gen(function* () {
      const entries = yield* PoolRegistry.entries
      const { resume, suspend } = entries.find(({ id }) => id === "app/Uploads")?.actions ?? {}
      if (suspend === undefined || resume === undefined) return
      const waiting = TokenPool.withToken(uploads, pause(0.1)).pipe(Effect.withSpan("Uploads.urgent"))
      yield* Effect.acquireUseRelease(
        suspend,
        () => Effect.raceFirst(pause(6), Effect.andThen(waiting, Effect.never)),
        () => resume
      )
    })
}

const stuck: Trouble = {
  what: "the snail is stuck, and who asks for it gives up",
  look: "app/Carriers → timeouts, events: TimedOut",
  make: ({ carriers }) => {
    const track = KeyedPool.use(carriers, "snail", () => pause(0.1)).pipe(Effect.withSpan("Carriers.urgent"))
    const hold = KeyedPool.use(carriers, "snail", () => pause(6)).pipe(Effect.withSpan("Carriers.snail"))
    return Effect.raceFirst(times(2, hold), Effect.forever(Effect.andThen(times(3, track), pause(0.2))))
  }
}

export const troubles: ReadonlyArray<Trouble> = [burst, slow, leak, killed, crash, runaway, suspended, stuck]
