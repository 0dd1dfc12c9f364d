import { ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { PgDriver } from "@cenote/sql-pg"
import { TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { PgClient, PgConnection, PgTypes } from "@effect/sql-pg"
import { expect, it, layer } from "@effect/vitest"
import {
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Queue,
  Redacted,
  Scope,
  Stream
} from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { fromWire, type WireConfig } from "../src/internal/wire.ts"

const withCode = (code: string, severity = "ERROR") =>
  new SqlError({ reason: new UnknownError({ cause: Object.assign(new Error("e"), { code, severity }) }) })

it("is called after its target, without the password", () => {
  const secret = Redacted.make("s3cret")
  expect(PgDriver.make({}).target).toBe("postgresql localhost:5432/postgres")
  expect(PgDriver.make({ host: "db", port: 1, username: "u", password: secret }).target).toBe(
    "postgresql db:1/u"
  )
  const url = Redacted.make("postgres://u:s3cret@db:7/a%20b?sslmode=disable")
  expect(PgDriver.make({ url }).target).toBe("postgresql db:7/a b")
  expect(PgDriver.make({ url: Redacted.make("nonsense") }).target).toBe("postgresql localhost:5432/postgres")
  expect(JSON.stringify(PgDriver.make({ url }))).not.toContain("s3cret")
})

it.each(["url", "password"])("a %s that is not Redacted is refused without being shown", (option) => {
  const given = { [option]: "postgres://u:S3CR3T@h/d" as never }
  expect(() => PgDriver.make(given)).toThrow(new RegExp(`^PgDriver: ${option} must be Redacted(?!.*S3CR3T)`))
})

it.effect("says which option cannot go to a thread", () =>
  Effect.gen(function* () {
    for (const [option, config] of Object.entries({
      types: { types: PgTypes.makeRegistry() },
      stream: { stream: () => undefined as never },
      "ssl.checkServerIdentity": { ssl: { checkServerIdentity: () => undefined } }
    })) {
      const error = yield* Effect.flip(PgDriver.make(config).worker.config)
      expect(error.message).toContain(option)
      expect(error.message).toContain("RawConnectionPool")
    }
  })
)

it.effect("a thread gets every option, as it was given", () =>
  Effect.gen(function* () {
    const config: PgDriver.Config = {
      url: Redacted.make("postgres://u:p@db:7/d"),
      password: Redacted.make("s3cret"),
      host: "other",
      applicationName: "mine",
      keepAlive: 3_000,
      maxMessageSize: 1_000_000,
      prepare: false,
      preparedStatementCacheSize: 7,
      ssl: { ca: "a certificate", servername: "db.internal" },
      startupParameters: { search_path: "mine" }
    }
    const travelled = structuredClone(yield* PgDriver.make(config).worker.config)
    // Who limits how long connecting takes is the pool.
    expect(fromWire(travelled as WireConfig)).toEqual({ ...config, connectTimeout: Duration.infinity })
  })
)

it.effect("knows which errors end a session", () =>
  Effect.sync(() => {
    for (const code of ["57P01", "57P02", "57P03", "57P05", "25P03", "08006"]) {
      expect(PgDriver.isFatal(withCode(code))).toBe(true)
    }
    expect(PgDriver.isFatal(withCode("XX000", "FATAL"))).toBe(true)
    for (const code of ["57014", "23505", "42601", "25P02", "40001"])
      expect(PgDriver.isFatal(withCode(code))).toBe(false)
    expect(PgDriver.isFatal(new SqlError({ reason: new ConnectionError({ cause: "gone" }) }))).toBe(true)
    expect(PgDriver.isFatal(new SqlError({ reason: new UnknownError({ cause: undefined }) }))).toBe(false)
  })
)

await TestServers.describeWith("on a PostgreSQL", [TestServers.Postgres.sharedAvailable], () => {
  layer(TestServers.Postgres.shared, { excludeTestServices: true })((it) => {
    it.effect("the sessions of @effect/sql-pg still tell their pool when they die", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { config } = yield* TestServers.Postgres
          const connection = yield* PgConnection.make(config)
          expect(connection).toHaveProperty(
            ["~@effect/sql-pg/PgConnection/internals", "retireHooks"],
            new Set()
          )
          expect(connection).toHaveProperty(["~@effect/sql-pg/PgConnection/internals", "deadError"])
          for (const name of ["cancel", "multiplex", "session"]) {
            expect(connection).toHaveProperty(["~@effect/sql-pg/PgConnection/internals", "base", name])
          }
        })
      )
    )

    for (const kind of ["raw", "raw, multiplexed", "tpooled"]) {
      const pool = Layer.unwrap(
        Effect.map(TestServers.Postgres, ({ config }) => {
          const driver = PgDriver.make(config)
          return kind === "tpooled"
            ? Layer.provide(TpooledConnectionPool.layer(driver), NodeThreads.layer({ size: 2 }))
            : RawConnectionPool.layer(driver, { multiplex: kind !== "raw" })
        })
      )

      it.effect(`${kind}: PgClient has json, listen and notify`, () =>
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          expect(yield* SqlClient).toBe(sql)
          expect(yield* sql`select ${sql.json({ a: [1, null] })}::jsonb -> 'a' as a`).toEqual([
            { a: [1, null] }
          ])
          yield* Effect.scoped(
            Effect.gen(function* () {
              const heard = yield* sql.listen("news")
              yield* sql.notify("news", "first")
              yield* sql.notify("other", "nothing")
              yield* sql.notify("news", "second")
              expect(yield* Queue.take(heard)).toMatchObject({ channel: "news", payload: "first" })
              expect(yield* Queue.take(heard)).toMatchObject({ channel: "news", payload: "second" })
              expect(yield* ConnectionPool.stats).toMatchObject({ used: 1 })
            })
          )
          // One in a thread is asked whether it has settled.
          yield* Effect.repeat(ConnectionPool.stats, { until: ({ used }) => used === 0 })
          const error = yield* Effect.flip(Effect.scoped(sql.listen("ä".repeat(32))))
          expect(error.message).toContain("64 bytes")
        }).pipe(Effect.provide(pool))
      )

      it.effect(`${kind}: who listens hears that the connection has ended`, () =>
        Effect.gen(function* () {
          const sql = yield* PgClient.PgClient
          yield* Effect.scoped(
            Effect.gen(function* () {
              const heard = yield* sql.listen("news")
              yield* sql.notify("news", "first")
              const { processId } = yield* Queue.take(heard)
              expect(processId).toBeGreaterThan(0)
              const ended = yield* Effect.forkChild(Effect.flip(Queue.take(heard)))
              const killed = yield* sql`select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid() and query ilike 'listen%'`
              expect(killed).toHaveLength(1)
              expect(yield* Fiber.join(ended)).toMatchObject({ _tag: "SqlError" })
            })
          )
          expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
        }).pipe(Effect.provide(pool))
      )

      it.effect(`${kind}: who listens hears that the pool is closed under it`, () =>
        Effect.gen(function* () {
          const taken = yield* Deferred.make<unknown>()
          const listening = yield* Deferred.make<void>()
          const scope = yield* Scope.make()
          const context = yield* Layer.buildWithScope(
            Layer.unwrap(
              Effect.map(TestServers.Postgres, ({ config }) => {
                const driver = PgDriver.make(config)
                const options = { closeTimeout: "50 millis" } as const
                return kind === "tpooled"
                  ? Layer.provide(
                      TpooledConnectionPool.layer(driver, options),
                      NodeThreads.layer({ size: 1 })
                    )
                  : RawConnectionPool.layer(driver, { ...options, multiplex: kind !== "raw" })
              })
            ),
            scope
          )
          const listener = yield* Effect.forkChild(
            Effect.scoped(
              Effect.gen(function* () {
                const heard = yield* Context.get(context, PgClient.PgClient).listen("news")
                yield* Effect.forkDetach(
                  Effect.flatMap(Effect.flip(Queue.take(heard)), (error) => Deferred.succeed(taken, error))
                )
                yield* Deferred.succeed(listening, undefined)
                yield* Effect.never
              })
            )
          )
          yield* Deferred.await(listening)
          yield* Effect.forkChild(Scope.close(scope, Exit.void))
          expect(yield* Effect.timeout(Deferred.await(taken), "20 seconds")).toMatchObject({
            _tag: "SqlError"
          })
          yield* Fiber.interrupt(listener)
        })
      )

      it.effect(`${kind}: a COMMIT of an aborted transaction fails`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          const error = yield* Effect.flip(sql.withTransaction(Effect.ignore(sql`select nothing`)))
          expect(error.message).toContain("rolled it back")
          expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
        }).pipe(Effect.provide(pool))
      )
    }

    it.effect("multiplexed: statements share connections, transactions and streams have their own", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.Postgres
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient
          const many = Effect.forEach(
            Array.from({ length: 100 }, (_, i) => i),
            (i) => sql<{ n: number; pid: number }>`select ${i}::int as n, pg_backend_pid() as pid`,
            { concurrency: "unbounded" }
          )
          const rows = (yield* many).flat()
          expect(rows.map((_) => _.n)).toEqual(Array.from({ length: 100 }, (_, i) => i))
          expect(new Set(rows.map((_) => _.pid)).size).toBeLessThanOrEqual(2)
          const [counts, inside] = yield* Effect.all(
            [
              sql.withTransaction(
                Effect.gen(function* () {
                  const [own] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
                  const others = yield* Effect.provideContext(many, yield* Effect.context()).pipe(
                    Effect.forkDetach
                  )
                  yield* Fiber.await(others)
                  const [still] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
                  expect(still).toEqual(own)
                  return own!.pid
                })
              ),
              Stream.runCount(sql`select generate_series(1, 1000)`.stream)
            ],
            { concurrency: 2 }
          )
          expect(inside).toBe(1000)
          expect(counts).toBeGreaterThan(0)
        }).pipe(
          Effect.provide(
            RawConnectionPool.layer(PgDriver.make(config), { max: 2, multiplex: { statements: 50 } })
          )
        )
      })
    )

    it.effect("multiplexed: a statement that is interrupted holds up nobody else, and stops", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.Postgres
        const running = yield* runningOn(config)
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient
          const sleep = sql`select pg_sleep(60), 'alone'`
          // Two on one connection: the second runs when the first has been cancelled.
          const slow = yield* Effect.forkChild(Effect.all([sleep, sleep], { concurrency: 2 }), {
            startImmediately: true
          })
          yield* running("alone", 1)
          yield* Fiber.interrupt(slow)
          expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
          yield* sql.withTransaction(sql`select 1`)
          yield* running("alone", 0)
        }).pipe(
          Effect.provide(RawConnectionPool.layer(PgDriver.make(config), { max: 2, multiplex: true })),
          // So that a failure of the above is seen before the sleep is over.
          Effect.timeout("20 seconds")
        )
      })
    )

    it.effect("multiplexed: the cancel of one does not hit those who share its connection", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.Postgres
        const running = yield* runningOn(config)
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient
          const slow = yield* Effect.forkChild(sql`select pg_sleep(1), 'before others'`, {
            startImmediately: true
          })
          yield* running("before others", 1)
          const others = yield* Effect.forkChild(
            Effect.forEach([1, 2, 3], (n) => sql`select ${n}::int as n, pg_sleep(0.2)::text`, {
              concurrency: "unbounded"
            }),
            { startImmediately: true }
          )
          yield* Fiber.interrupt(slow)
          expect((yield* Fiber.join(others)).map(([row]) => row!["n"])).toEqual([1, 2, 3])
          // Nobody else was lent it meanwhile: it was replaced.
          expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
          expect(yield* ConnectionPool.stats).toMatchObject({ created: 2, destroyed: 1 })
        }).pipe(
          Effect.provide(RawConnectionPool.layer(PgDriver.make(config), { max: 1, multiplex: true })),
          Effect.timeout("20 seconds")
        )
      })
    )

    it.effect("multiplexed: what is interrupted before it is sent costs no connection", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.Postgres
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* sql`select 1`
          for (let n = 0; n < 50; n++) {
            const slow = yield* Effect.forkChild(sql`select pg_sleep(60)`, { startImmediately: true })
            yield* Fiber.interrupt(slow)
            expect(yield* sql`select ${n}::int as n`).toEqual([{ n }])
          }
          expect(yield* ConnectionPool.stats).toMatchObject({ created: 1, destroyed: 0, size: 1 })
        }).pipe(
          Effect.provide(RawConnectionPool.layer(PgDriver.make(config), { max: 1, multiplex: true })),
          Effect.timeout("20 seconds")
        )
      })
    )
  })
})

/** Waits until so many statements with this in their text are running. */
const runningOn = (config: PgDriver.Config) =>
  Effect.map(PgDriver.make(config).connect({}), (observer) => (part: string, count: number) => {
    const text =
      "select 1 from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()"
    return Effect.repeat(observer.execute(text, [`%${part}%`], undefined), {
      until: (rows) => rows.length === count
    })
  })
