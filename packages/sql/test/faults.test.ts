/**
 * Servers that stop, sessions that are killed, networks that fail, while 50 fibers work. Afterwards the pool is at strength,
 * each committed row is there once, and nothing is left on the server.
 */
import { ConnectionPool, RawConnectionPool, type SqlDriver, TpooledConnectionPool } from "@cenote/sql"
import { MysqlDriver } from "@cenote/sql-mysql2"
import { PgDriver } from "@cenote/sql-pg"
import { Faults, TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { type Context, type Duration, Effect, Exit, Fiber, Layer, Ref, Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

const workers = 50
const max = 8

interface Kind {
  readonly name: string
  readonly available: Effect.Effect<void, TestServers.ServerError>
  readonly server: Effect.Effect<TestServers.Server, TestServers.ServerError, Scope.Scope>
  readonly driver: (settings: TestServers.Settings) => SqlDriver.SqlDriver<any>
  readonly table: string
  /** Ends all other sessions with the database. */
  readonly killOthers: (sql: SqlClient) => Effect.Effect<unknown, SqlError>
  /** How many other sessions there are with the database. */
  readonly others: (sql: SqlClient) => Effect.Effect<number, SqlError>
  readonly sleep: (seconds: number) => string
  /** Has the server end sessions that are idle for a second. */
  readonly endIdle: (sql: SqlClient, database: string) => Effect.Effect<unknown, SqlError>
}

const serverOf = <I>(
  service: Context.Key<I, TestServers.Server>,
  layer: Layer.Layer<I, TestServers.ServerError>
) =>
  Effect.map(
    Layer.build(layer),
    (context) => (context.mapUnsafe as Map<string, any>).get(service.key) as TestServers.Server
  )

const kinds: ReadonlyArray<Kind> = [
  {
    name: "PostgreSQL",
    available: TestServers.Postgres.available,
    server: serverOf(TestServers.Postgres, TestServers.Postgres.layer()),
    driver: PgDriver.make,
    table: "create table done (worker int, n int)",
    killOthers: (sql) => sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`,
    others: (sql) =>
      Effect.map(
        sql<{ n: number }>`select count(*)::int as n from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()`,
        ([row]) => row!.n
      ),
    sleep: (seconds) => `select pg_sleep(${seconds})`,
    endIdle: (sql, database) => sql`alter database ${sql(database)} set idle_session_timeout = '1s'`
  },
  {
    name: "MariaDB",
    available: TestServers.MariaDb.available,
    server: serverOf(TestServers.MariaDb, TestServers.MariaDb.layer()),
    driver: MysqlDriver.make,
    table: "create table done (worker int, n int) engine = innodb",
    killOthers: (sql) =>
      Effect.flatMap(
        sql<{
          id: number
        }>`select id from information_schema.processlist where db = database() and id <> connection_id()`,
        (sessions) =>
          Effect.forEach(sessions, ({ id }) => Effect.ignore(sql.unsafe(`kill connection ${id}`)), {
            discard: true
          })
      ),
    others: (sql) =>
      Effect.map(
        sql<{ n: number }>`select count(*) as n from information_schema.processlist
          where db = database() and id <> connection_id()`,
        ([row]) => row!.n
      ),
    sleep: (seconds) => `select sleep(${seconds})`,
    endIdle: (sql) => sql.unsafe("set global wait_timeout = 1")
  }
]

interface Bench {
  readonly kind: Kind
  readonly server: TestServers.Server
  readonly settings: TestServers.Settings
  /** Between the pool and the server. */
  readonly proxy: Faults.Proxy
  /** A client of the server itself, by a session of its own each time. */
  readonly observe: <A, E>(f: (sql: SqlClient) => Effect.Effect<A, E>) => Effect.Effect<A, E | SqlError>
}

const makeBench = Effect.fnUntraced(function* (kind: Kind, server: TestServers.Server) {
  const settings = yield* server.freshDatabase
  const proxy = yield* Faults.proxy({ host: settings.host, port: settings.port })
  const observe: Bench["observe"] = (f) =>
    Effect.provide(Effect.flatMap(SqlClient, f), RawConnectionPool.layer(kind.driver(settings), { max: 1 }))
  yield* observe((sql) => sql.unsafe(kind.table))
  return { kind, server, settings, proxy, observe } satisfies Bench
})

const poolOver = (
  { kind, proxy, settings }: Bench,
  where: "raw" | "tpooled",
  options: ConnectionPool.Options = {}
) => {
  const driver = kind.driver({ ...settings, host: "127.0.0.1", port: proxy.port })
  const all = {
    max,
    acquireTimeout: "20 seconds",
    connectTimeout: "2 seconds",
    validateTimeout: "1 second",
    ...options
  } as const
  return where === "raw"
    ? RawConnectionPool.layer(driver, all)
    : Layer.provide(TpooledConnectionPool.layer(driver, all), NodeThreads.layer({ size: 2 }))
}

/** Until told to stop, each writes row after row in transactions of two statements, and remembers what was committed. */
const work = Effect.fnUntraced(function* (limit: Duration.Input) {
  const sql = yield* SqlClient
  const stop = yield* Ref.make(false)
  const committed = new Set<string>()
  const failures: Array<unknown> = []
  const one = (worker: number, n: number) =>
    sql
      .withTransaction(Effect.andThen(sql`select 1`, sql`insert into done ${sql.insert({ worker, n })}`))
      .pipe(Effect.timeout(limit), Effect.exit)
  const fibers = yield* Effect.forEach(
    Array.from({ length: workers }, (_, worker) => worker),
    (worker) =>
      Effect.forkChild(
        Effect.gen(function* () {
          for (let n = 0; !(yield* Ref.get(stop)); n++) {
            const exit = yield* one(worker, n)
            if (exit._tag === "Success") committed.add(`${worker}/${n}`)
            else failures.push(...exit.cause.reasons)
          }
        })
      )
  )
  return {
    committed,
    failures,
    /** Waits until each of the workers has committed something more. */
    progress: Effect.suspend(() => {
      const before = countByWorker(committed)
      const all = Effect.sync(() => {
        const now = countByWorker(committed)
        return now.every((count, worker) => count > before[worker]!)
      })
      return Effect.repeat(Effect.delay(all, 20), { until: (done) => done })
    }),
    stop: Effect.andThen(Ref.set(stop, true), Effect.forEach(fibers, Fiber.join, { discard: true }))
  }
})

const countByWorker = (ids: ReadonlySet<string>): ReadonlyArray<number> => {
  const counts = Array.from({ length: workers }, () => 0)
  for (const id of ids) counts[Number(id.split("/")[0])]!++
  return counts
}

/** What must hold whatever went wrong. */
const check = Effect.fnUntraced(function* (
  bench: Bench,
  committed: ReadonlySet<string>,
  failures: ReadonlyArray<any>
) {
  const rows = yield* bench.observe((sql) => sql<{ worker: number; n: number }>`select worker, n from done`)
  const found = rows.map(({ n, worker }) => `${worker}/${n}`)
  expect(new Set(found).size, "no row is doubled").toBe(found.length)
  expect(
    [...committed].filter((id) => !found.includes(id)),
    "no committed row is missing"
  ).toEqual([])
  // Each is a failure with a type; nothing is a defect.
  for (const reason of failures) {
    expect(reason._tag, String(reason.defect ?? reason.error)).toBe("Fail")
    expect(["SqlError", "TimeoutError"]).toContain(reason.error._tag)
  }
})

const faults: Record<
  string,
  {
    readonly limit?: Duration.Input
    readonly stopsServer?: true
    readonly run: (bench: Bench) => Effect.Effect<unknown, unknown>
  }
> = {
  "the server restarts": { stopsServer: true, run: ({ server }) => server.restart },
  "the server crashes and comes back": {
    stopsServer: true,
    run: ({ server }) => Effect.andThen(server.kill, server.start)
  },
  "all sessions are killed": { run: ({ kind, observe }) => observe(kind.killOthers) },
  "all connections are closed on the way": { run: ({ proxy }) => proxy.drop },
  "all connections are reset on the way": { run: ({ proxy }) => proxy.reset },
  "connections are cut in the middle of a message": { run: ({ proxy }) => proxy.cutAfter(10) },
  "nothing gets through any more, and nobody says so": {
    limit: "1 second",
    run: ({ proxy }) => Effect.andThen(proxy.blackhole, Effect.andThen(Effect.sleep("2 seconds"), proxy.heal))
  },
  "nobody can connect for a while": {
    run: ({ proxy }) =>
      Effect.andThen(
        proxy.refuse,
        Effect.andThen(proxy.drop, Effect.andThen(Effect.sleep("1 second"), proxy.heal))
      )
  }
}

for (const kind of kinds) {
  await TestServers.describeWith(`${kind.name}, while 50 fibers work`, [kind.available], () => {
    // For all tests that leave it as it was.
    const scope = Scope.makeUnsafe()
    let shared: TestServers.Server
    beforeAll(async () => {
      shared = await Effect.runPromise(Scope.provide(kind.server, scope))
    })
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

    for (const where of ["raw", "tpooled"] as const) {
      describe(where, { timeout: 120_000 }, () => {
        for (const [name, { limit = "15 seconds", run, stopsServer }] of Object.entries(faults)) {
          it.live(name, () =>
            Effect.gen(function* () {
              const bench = yield* makeBench(kind, stopsServer ? yield* kind.server : shared)
              const worked = yield* Effect.gen(function* () {
                const working = yield* work(limit)
                yield* working.progress
                yield* run(bench)
                yield* bench.proxy.heal
                yield* working.progress
                yield* working.stop
                // At strength: as many as there may be work at one time, and nobody is left in line.
                const sql = yield* SqlClient
                yield* Effect.forEach(Array.from({ length: max }), () => sql.unsafe(kind.sleep(0.2)), {
                  concurrency: "unbounded"
                })
                const stats = yield* ConnectionPool.stats
                expect(stats).toMatchObject({ size: max, used: 0, pending: 0, creating: 0 })
                expect(yield* bench.observe(kind.others)).toBe(max)
                return working
              }).pipe(Effect.provide(poolOver(bench, where)))
              yield* check(bench, worked.committed, worked.failures)
              // The pool is closed.
              yield* Effect.repeat(Effect.delay(bench.observe(kind.others), 20), { until: (n) => n === 0 })
            }).pipe(Effect.scoped)
          )
        }

        it.live("the server ends sessions that are idle: they are replaced, and no borrower notices", () =>
          Effect.gen(function* () {
            const bench = yield* makeBench(kind, yield* kind.server)
            yield* bench.observe((sql) => kind.endIdle(sql, bench.settings.database))
            yield* Effect.gen(function* () {
              const sql = yield* SqlClient
              yield* Effect.forEach([1, 2, 3], () => sql.unsafe(kind.sleep(0.1)), {
                concurrency: "unbounded"
              })
              expect((yield* ConnectionPool.stats).size).toBe(3)
              // It hears of the end of each at once, and not with the next borrow.
              yield* Effect.repeat(Effect.delay(ConnectionPool.stats, 20), {
                until: ({ size }) => size === 0
              })
              expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
            }).pipe(Effect.provide(poolOver(bench, where, { maxIdle: "1 hour", maxAge: "1 hour" })))
          }).pipe(Effect.scoped)
        )

        it.live("a half-open connection is found on the borrow after a rest", () =>
          Effect.gen(function* () {
            const bench = yield* makeBench(kind, shared)
            yield* Effect.gen(function* () {
              const sql = yield* SqlClient
              yield* sql`select 1`
              yield* bench.proxy.halfOpen
              yield* Effect.sleep("600 millis")
              expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
              expect(yield* ConnectionPool.stats).toMatchObject({ created: 2 })
            }).pipe(Effect.provide(poolOver(bench, where, { maxIdle: "1 hour", maxAge: "1 hour" })))
          }).pipe(Effect.scoped)
        )
      })
    }
  })
}
