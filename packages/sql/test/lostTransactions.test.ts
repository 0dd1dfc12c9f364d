/** Transactions over a network that fails in them. */
import { ConnectionPool, RawConnectionPool, type SqlDriver, TpooledConnectionPool } from "@cenote/sql"
import { MysqlDriver } from "@cenote/sql-mysql2"
import { PgDriver } from "@cenote/sql-pg"
import { Faults, TestServers } from "@cenote/testing"
import { NodeThreads, type ThreadPool } from "@cenote/threads"
import { expect, layer } from "@effect/vitest"
import { type Context, Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/** One connection, so that none is on its way besides. */
const poolOf = (
  kind: "raw" | "tpooled",
  driver: SqlDriver.SqlDriver,
  options: ConnectionPool.Options = {}
): Layer.Layer<ConnectionPool.ConnectionPool | SqlClient, SqlError, ThreadPool.ThreadPool> =>
  kind === "raw"
    ? RawConnectionPool.layer(driver, { max: 1, ...options })
    : TpooledConnectionPool.layer(driver, { max: 1, ...options })

const tests = <I>(
  service: Context.Key<I, TestServers.Server>,
  shared: Layer.Layer<I, TestServers.ServerError>,
  make: (settings: TestServers.Settings) => SqlDriver.SqlDriver
) => {
  const Servers = Layer.merge(shared, NodeThreads.layer({ size: 1 }))
  layer(Servers, { excludeTestServices: true })((it) => {
    for (const kind of ["raw", "tpooled"] as const) {
      it.effect(`${kind}: a commit whose connection is lost fails, done or not, and is not run again`, () =>
        Effect.gen(function* () {
          const { config } = yield* service
          const proxy = yield* Faults.proxy(config)
          const driver = make({ ...config, host: proxy.host, port: proxy.port })
          yield* Effect.gen(function* () {
            const sql = yield* SqlClient
            const table = sql(`lost_${kind}`)
            yield* sql`create table ${table} (n int)`
            for (const [n, direction] of [
              [1, "toServer"],
              [2, "toClient"]
            ] as const) {
              let runs = 0
              const error = yield* Effect.flip(
                sql.withTransaction(
                  Effect.gen(function* () {
                    runs++
                    yield* sql`insert into ${table} values (${n})`
                    // In the middle of the COMMIT, or of its answer.
                    yield* proxy.only({ direction }).cutAfter(2)
                  })
                )
              )
              yield* proxy.heal
              expect(error).toMatchObject({ _tag: "SqlError", reason: { _tag: "ConnectionError" } })
              expect(runs).toBe(1)
            }
            expect(yield* sql`select n from ${table}`).toEqual([{ n: 2 }])
          }).pipe(Effect.provide(poolOf(kind, driver)))
        }).pipe(Effect.scoped)
      )

      it.effect(
        `${kind}: a transaction that is given up on a silent connection is over after cleanupTimeout`,
        () =>
          Effect.gen(function* () {
            const { config } = yield* service
            const proxy = yield* Faults.proxy(config)
            const driver = make({ ...config, host: proxy.host, port: proxy.port })
            yield* Effect.gen(function* () {
              const sql = yield* SqlClient
              const table = sql(`silent_${kind}`)
              yield* sql`create table ${table} (n int)`
              const given = sql.withTransaction(
                Effect.gen(function* () {
                  yield* sql`insert into ${table} values (1)`
                  yield* proxy.halfOpen
                  return yield* Effect.fail("given up")
                })
              )
              const fiber = yield* Effect.forkDetach(Effect.flip(given))
              // What it was given up for, and not what has become of the rollback.
              expect(yield* Effect.timeout(Fiber.join(fiber), "10 seconds")).toBe("given up")
              expect(yield* sql`select n from ${table}`).toEqual([])
              expect((yield* ConnectionPool.stats).created).toBe(2)
            }).pipe(Effect.provide(poolOf(kind, driver, { cleanupTimeout: "300 millis" })))
          }).pipe(Effect.scoped)
      )
    }
  })
}

await TestServers.describeWith("transactions with PostgreSQL", [TestServers.Postgres.sharedAvailable], () =>
  tests(TestServers.Postgres, TestServers.Postgres.shared, PgDriver.make)
)
await TestServers.describeWith("transactions with MariaDB", [TestServers.MariaDb.sharedAvailable], () =>
  tests(TestServers.MariaDb, TestServers.MariaDb.shared, MysqlDriver.make)
)
