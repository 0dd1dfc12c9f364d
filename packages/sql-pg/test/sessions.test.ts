/**
 * What one borrower does to a session, and what happens to it, on a real PostgreSQL: nothing of it reaches the next borrower.
 */
import { ConnectionPool, RawConnectionPool, SqlDriver, TpooledConnectionPool } from "@cenote/sql"
import { PgDriver } from "@cenote/sql-pg"
import { Faults, TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import type { PgConnection } from "@effect/sql-pg"
import { expect, it, layer } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { Socket } from "node:net"
import { inspect } from "node:util"

const kinds = ["raw", "raw, multiplexed", "tpooled"] as const

const poolOf = (kind: (typeof kinds)[number], options: ConnectionPool.Options = { max: 1 }) =>
  Layer.unwrap(
    Effect.map(TestServers.Postgres, ({ config }) => {
      const driver = PgDriver.make(config)
      return kind === "tpooled"
        ? Layer.provide(TpooledConnectionPool.layer(driver, options), NodeThreads.layer({ size: 1 }))
        : RawConnectionPool.layer(driver, { ...options, multiplex: kind !== "raw" })
    })
  )

/** The name that a borrower finds, who leaves another. */
const rename = (cleanup?: "reset" | "none") =>
  ConnectionPool.use((connection) =>
    Effect.gen(function* () {
      const [before] = yield* connection.execute("show application_name", [], undefined)
      yield* connection.execute("set application_name to 'mine'", [], undefined)
      if (cleanup !== undefined) yield* connection.setCleanup(cleanup)
      return before.application_name
    })
  )

it.effect("a URL that is none is refused without being shown", () =>
  Effect.gen(function* () {
    for (const text of ["postgres://u:S3CR3T@h:999999/db", "S3CR3T", "mysql://u:S3CR3T@h/db"]) {
      const driver = PgDriver.make({ url: Redacted.make(text) })
      for (const attempt of [Effect.scoped(driver.connect({})), driver.worker.config]) {
        const error = yield* Effect.flip(attempt)
        expect(error.message).toContain("postgres://user:password@host:port/database")
        expect(inspect(error, { depth: 9 }) + JSON.stringify(error)).not.toContain("S3CR3T")
      }
    }
    expect(PgDriver.make({ url: Redacted.make("postgres://u@h/%E0%A4%A") }).target).toBe(
      "postgresql h:5432/%E0%A4%A"
    )
  })
)

await TestServers.describeWith("on a PostgreSQL", [TestServers.Postgres.sharedAvailable], () => {
  layer(TestServers.Postgres.shared, { excludeTestServices: true })((it) => {
    for (const kind of kinds) {
      it.effect(`EV-44, ${kind}: what was not committed is undone before others go on`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* sql`create table if not exists undone (n int)`
          yield* sql`truncate undone`
          const borrowed = yield* Deferred.make<void>()
          const goOn = yield* Deferred.make<void>()
          const first = yield* Effect.forkChild(
            ConnectionPool.use((connection) =>
              Effect.gen(function* () {
                yield* connection.executeUnprepared("begin", [], undefined)
                yield* connection.execute("insert into undone values (1)", [], undefined)
                yield* Deferred.succeed(borrowed, undefined)
                yield* Deferred.await(goOn)
              })
            )
          )
          yield* Deferred.await(borrowed)
          const others = yield* Effect.forEach([2, 3, 4], (n) =>
            Effect.forkChild(sql`insert into undone values (${n})`, { startImmediately: true })
          )
          yield* Deferred.succeed(goOn, undefined)
          yield* Fiber.join(first)
          yield* Effect.forEach(others, Fiber.join)
          expect(yield* sql`select n from undone order by n`).toEqual([{ n: 2 }, { n: 3 }, { n: 4 }])
          expect(yield* ConnectionPool.stats).toMatchObject({ created: 1 })
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(`EV-45, ${kind}: a clean-up for one return is for that return alone`, () =>
        Effect.gen(function* () {
          expect(yield* rename("reset")).toBe("@effect/sql-pg")
          expect(yield* rename()).toBe("@effect/sql-pg")
          expect(yield* rename("reset")).toBe("mine")
          expect(yield* rename()).toBe("@effect/sql-pg")
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(`${kind}: a session that dies in a transaction fails it with a SqlError`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          const inNested = (depth: number): Effect.Effect<unknown, unknown> =>
            sql.withTransaction(
              depth === 0 ? sql`select pg_terminate_backend(pg_backend_pid())` : inNested(depth - 1)
            )
          for (const depth of [0, 1, 2]) {
            const exit = yield* Effect.exit(inNested(depth))
            expect(Exit.isFailure(exit) && exit.cause.reasons.map((_) => _._tag)).toEqual(["Fail"])
            expect(yield* Effect.flip(inNested(depth))).toMatchObject({ _tag: "SqlError" })
          }
          expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(`${kind}: a session that is found dead by the rollback has rolled back`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          const error = yield* Effect.flip(
            sql.withTransaction(
              Effect.gen(function* () {
                const [session] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
                yield* Effect.provide(
                  Effect.flatMap(
                    SqlClient,
                    (other) => other`select pg_terminate_backend(${session!.pid}, 5000)`
                  ),
                  poolOf("raw")
                )
                return yield* Effect.fail("the error of the program")
              })
            )
          )
          expect(error).toBe("the error of the program")
          expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(`EV-37, ${kind}: nothing of a handle that was returned can be used`, () =>
        Effect.gen(function* () {
          const connection = yield* Effect.scoped(ConnectionPool.get)
          for (const use of [
            connection.execute("select 1", [], undefined),
            connection.executeRaw("select 1", []),
            connection.executeValues("select 1", []),
            connection.executeValuesUnprepared("select 1", []),
            connection.executeUnprepared("select 1", [], undefined),
            connection.ping,
            connection.rollback,
            connection.reset,
            Stream.runDrain(connection.executeStream("select 1", [], undefined)),
            Stream.runDrain(SqlDriver.extra(connection, "listen", ["x"]))
          ]) {
            expect((yield* Effect.flip(use)).message).toContain("was returned")
          }
          expect(() => connection.native).toThrow("was returned")
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(
        `EV-37, ${kind}: a connection returned with a stream or a statement under way is closed`,
        () =>
          Effect.gen(function* () {
            for (const sql of [
              "select n from generate_series(1, 100000) as n",
              "select 1 as n, pg_sleep(30)"
            ]) {
              const scope = yield* Scope.make()
              const connection = yield* Scope.provide(ConnectionPool.get, scope)
              const begun = yield* Deferred.make<void>()
              const rest = yield* Deferred.make<void>()
              const running = yield* connection.executeStream(sql, [], undefined).pipe(
                Stream.tap(() => Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(rest))),
                Stream.runDrain,
                Effect.forkChild({ startImmediately: true })
              )
              if (sql.includes("series")) yield* Deferred.await(begun)
              yield* Scope.close(scope, Exit.void)
              const other = yield* ConnectionPool.use((_) => _.execute("select 7 as n", [], undefined)).pipe(
                Effect.timeout("10 seconds")
              )
              expect(other).toEqual([{ n: 7 }])
              yield* Fiber.interrupt(running)
            }
          }).pipe(Effect.provide(poolOf(kind)))
      )
    }

    it.effect("a connection that is closed does not wait for a cancel that does not get through", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.Postgres
        const proxy = yield* Faults.proxy(config)
        const observer = yield* PgDriver.make(config).connect({})
        const sleeping = "select pg_sleep(60), 'kept'"
        const running = Effect.map(
          observer.execute(
            "select 1 from pg_stat_activity where query = $1 and state = 'active'",
            [sleeping],
            undefined
          ),
          ({ length }) => length
        )
        const until = (count: number) =>
          Effect.repeat(Effect.delay(running, 20), { until: (n) => n === count })
        const scope = yield* Scope.make()
        const driver = PgDriver.make({ ...config, host: proxy.host, port: proxy.port })
        const session = yield* Scope.provide(driver.connect({}), scope)
        const sleep = session.executeUnprepared(sleeping, [], undefined)
        const fiber = yield* Effect.forkChild(Effect.exit(sleep))
        yield* until(1)
        yield* proxy.throttle(0)
        // A cancel is given up after 5 s.
        yield* Effect.timeout(Scope.close(scope, Exit.void), "4 seconds")
        expect((yield* Fiber.join(fiber))._tag).toBe("Failure")
        // It has not been given up either.
        expect(yield* running).toBe(1)
        yield* proxy.heal
        yield* Effect.timeout(until(0), "10 seconds")
      })
    )

    it.effect("a session at rest whose server says nothing any more does not keep the process up", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.Postgres
        const proxy = yield* Faults.proxy(config)
        const scope = yield* Scope.make()
        const driver = PgDriver.make({ ...config, host: proxy.host, port: proxy.port })
        const session = yield* Scope.provide(driver.connect({}), scope)
        const { socket } = internalsOf(session.native as PgConnection.PgConnection).base.session
        yield* proxy.throttle(0)
        yield* Effect.timeout(Scope.close(scope, Exit.void), "4 seconds")
        yield* Effect.repeat(
          Effect.delay(
            Effect.sync(() => socket.destroyed),
            20
          ),
          { until: (destroyed) => destroyed }
        ).pipe(Effect.timeout("10 seconds"))
      })
    )

    it.effect("EV-44, EV-63: what was begun by way of the driver's own connection is rolled back too", () =>
      Effect.gen(function* () {
        const inTransaction = ConnectionPool.use((connection) =>
          Effect.gen(function* () {
            const native = connection.native as PgConnection.PgConnection
            yield* native.query("begin")
            return yield* native.query("select pg_current_xact_id()::text")
          })
        )
        yield* inTransaction
        const [row] = yield* ConnectionPool.use((_) =>
          _.execute("select pg_current_xact_id_if_assigned() is null as alone", [], undefined)
        )
        expect(row).toEqual({ alone: true })
      }).pipe(Effect.provide(poolOf("raw")))
    )
  })
})

/** A test in `driver.test.ts` holds that this is there. */
const internalsOf = (connection: PgConnection.PgConnection) =>
  (
    connection as unknown as Record<
      string,
      { readonly base: { readonly session: { readonly socket: Socket } } }
    >
  )["~@effect/sql-pg/PgConnection/internals"]!
