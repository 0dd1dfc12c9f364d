// The driver under the pools: transactions of Effect's client, and connections in threads.
import { assert, layer } from "@effect/vitest"
import { NodeThreads, type ThreadPool } from "@cenote/threads"
import { ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import type { SqlDriver } from "@cenote/sql/SqlDriver"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { Effect, type Layer, type Scope, Stream } from "effect"
import { BeginTransaction, SafeIntegers, SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { threadId } from "node:worker_threads"
import { errorOf, file, places } from "./kit.ts"

type Services = ConnectionPool.ConnectionPool | SqlClient

/** Where connections can live. */
const kinds: ReadonlyArray<{
  readonly name: string
  readonly layer: (
    driver: SqlDriver,
    options?: ConnectionPool.Options
  ) => Layer.Layer<Services, SqlError, ThreadPool.ThreadPool>
}> = [
  { name: "on the calling thread", layer: RawConnectionPool.layer },
  { name: "in threads", layer: TpooledConnectionPool.layer }
]

/** Two threads that all tests share, so that connections are in one and the same thread and in different ones. */
const threads = layer(NodeThreads.layer({ max: 2 }), { excludeTestServices: true, timeout: "1 minute" })

for (const kind of kinds) {
  for (const place of places) {
    const run = <A, E>(
      program: Effect.Effect<A, E, Services | Scope.Scope>,
      options: ConnectionPool.Options & { readonly driver?: Partial<SqliteDriver.Config> } = {}
    ) =>
      Effect.flatMap(place.driver(options.driver), (driver) =>
        Effect.provide(program, kind.layer(driver, options))
      )

    threads(`a pool ${kind.name}, of a database ${place.name}`, (it) => {
      it.effect(
        "runs what is written for SqlClient: rows, values, raw results, streams, large integers",
        () =>
          run(
            Effect.gen(function* () {
              const sql = yield* SqlClient
              yield* sql`create table users (id integer primary key, name text, active integer, photo blob)`
              const photo = new Uint8Array([1, 2, 3])
              const inserted = yield* sql`insert into users ${sql.insert([
                { name: "Ada", active: true, photo },
                { name: "Grace", active: false, photo: null }
              ])}`.raw
              assert.deepStrictEqual(inserted, { changes: 2, lastInsertRowid: 2 })
              const rows =
                yield* sql`select * from users where ${sql.in("name", ["Ada", "Grace"])} order by id`
              assert.deepStrictEqual(rows, [
                { id: 1, name: "Ada", active: 1, photo },
                { id: 2, name: "Grace", active: 0, photo: null }
              ])
              assert.strictEqual(Object.getPrototypeOf(rows[0]), Object.prototype)
              assert.deepStrictEqual(yield* sql`select id from users`.values, [[1], [2]])
              const names = Stream.map(
                sql<{ name: string }>`select name from users order by id`.stream,
                (_) => _.name
              )
              assert.deepStrictEqual(yield* Stream.runCollect(names), ["Ada", "Grace"])
              const large = sql`select ${2n ** 60n} as n`
              assert.deepStrictEqual(yield* Effect.provideService(large, SafeIntegers, true), [
                { n: 2n ** 60n }
              ])
              assert.match((yield* errorOf(large)).message, /SafeIntegers/)
            })
          )
      )

      it.effect("has errors of the same kinds, with the code that SQLite gave", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x unique)`
            yield* sql`insert into t values (1)`
            const { reason } = yield* errorOf(sql`insert into t values (1)`)
            assert.deepInclude(reason, { _tag: "UniqueViolation", constraint: "t.x" })
            assert.include(reason.cause, { errcode: 2067 })
            const wrong = yield* errorOf(sql`selec`)
            assert.strictEqual(wrong.reason._tag, "SqlSyntaxError")
            const unfit = yield* errorOf(sql`select ${undefined}`)
            assert.match(unfit.message, /parameter 1 is undefined/)
          })
        )
      )

      it.effect(
        "lets transactions that read and then write over several connections each have their turn",
        () =>
          run(
            Effect.gen(function* () {
              const sql = yield* SqlClient
              yield* sql`create table counter (n integer)`
              yield* sql`insert into counter values (0)`
              const increment = sql.withTransaction(
                Effect.gen(function* () {
                  const [row] = yield* sql<{ n: number }>`select n from counter`
                  yield* Effect.yieldNow
                  yield* sql`update counter set n = ${row!.n + 1}`
                })
              )
              yield* Effect.replicateEffect(increment, 100, { concurrency: "unbounded", discard: true })
              assert.deepStrictEqual(yield* sql`select n from counter`, [{ n: 100 }])
            }),
            { max: 5, driver: { busyTimeout: "30 seconds" } }
          )
      )

      it.effect("lets single statements that write over several connections each have their turn", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x)`
            yield* Effect.forEach(
              Array.from({ length: 100 }, (_, index) => index),
              (x) => sql`insert into t values (${x})`,
              {
                concurrency: "unbounded"
              }
            )
            assert.deepStrictEqual(yield* sql`select count(distinct x) as n from t`, [{ n: 100 }])
          }),
          { max: 5, driver: { busyTimeout: "30 seconds" } }
        )
      )

      it.effect("rolls back what fails, also to a savepoint within, and keeps the rest", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x unique)`
            const insert = (x: number) => sql`insert into t values (${x})`
            const inner = sql.withTransaction(Effect.andThen(insert(2), insert(1)))
            const error = yield* sql.withTransaction(
              Effect.andThen(
                insert(1),
                Effect.andThen(errorOf(inner), (_) => Effect.as(insert(3), _))
              )
            )
            assert.strictEqual(error.reason._tag, "UniqueViolation")
            yield* errorOf(sql.withTransaction(Effect.andThen(insert(4), insert(4))))
            assert.deepStrictEqual(yield* sql`select x from t order by x`, [{ x: 1 }, { x: 3 }])
          })
        )
      )

      it.effect("fails with what went wrong where SQLite has rolled back by itself", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x unique)`
            const twice = Effect.andThen(
              sql`insert into t values (1)`,
              sql`insert or rollback into t values (1)`
            )
            assert.strictEqual((yield* errorOf(sql.withTransaction(twice))).reason._tag, "UniqueViolation")
            const nested = sql.withTransaction(sql.withTransaction(twice))
            assert.strictEqual((yield* errorOf(nested)).reason._tag, "UniqueViolation")
            assert.deepStrictEqual(yield* sql`select x from t`, [])
          }),
          { max: 1 }
        )
      )

      it.effect("leaves no transaction open where a commit fails", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table parents (id integer primary key)`
            yield* sql`create table children (parent references parents deferrable initially deferred)`
            const orphan = sql.withTransaction(sql`insert into children values (9)`)
            for (let i = 0; i < 2; i++) {
              const error = yield* errorOf(orphan)
              assert.strictEqual(error.reason._tag, "ConstraintError")
              assert.match(error.message, /FOREIGN KEY/)
            }
            assert.deepStrictEqual(yield* sql.withTransaction(sql`select * from children`), [])
          }),
          { max: 1 }
        )
      )

      it.effect("rolls back what a borrower leaves open, before the next gets the connection (EV-44)", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x)`
            for (const begin of ["begin", "begin immediate", "savepoint a"]) {
              yield* ConnectionPool.use((connection) =>
                Effect.andThen(
                  connection.execute(begin, [], undefined),
                  connection.execute("insert into t values (1)", [], undefined)
                )
              )
              assert.deepStrictEqual(yield* sql`select * from t`, [])
            }
          }),
          { max: 1 }
        )
      )

      it.effect("resets connections where that is asked for", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x)`
            yield* sql`create temp table temporary (x)`
            const error = yield* errorOf(sql`select * from temporary`)
            assert.strictEqual(error.reason._tag, "SqlSyntaxError")
            assert.deepStrictEqual(yield* sql`select * from t`, [])
          }),
          { max: 1, cleanup: "reset" }
        )
      )

      it.effect("renames names on their way in and out", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (a_b)`
            yield* sql`insert into t ${sql.insert({ aB: 1 })}`
            assert.deepStrictEqual(yield* sql`select a_b from t`, [{ aB: 1 }])
            assert.deepStrictEqual(yield* Stream.runCollect(sql`select a_b from t`.stream), [{ aB: 1 }])
            assert.deepStrictEqual(yield* sql`select a_b from t`.withoutTransform, [{ a_b: 1 }])
          }),
          {
            driver: {
              transformQueryNames: (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
              transformResultNames: (name) =>
                name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
            }
          }
        )
      )

      it.effect("keeps the database when all connections are closed meanwhile", () =>
        run(
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table t (x)`
            assert.deepStrictEqual(yield* sql`select * from t`, [])
          }),
          { maxIdle: 0 }
        )
      )
    })
  }

  threads(`a pool ${kind.name}`, (it) => {
    it.effect("lets transactions of one's own read side by side where they begin without a lock", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const program = Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* sql`create table t (x)`
          const reading = sql.withTransaction(sql`select * from t`)
          // The one outside holds the lock all the while.
          return yield* sql.withTransaction(
            Effect.andThen(
              sql`insert into t values (1)`,
              // A connection of its own, and so without what is not committed.
              ConnectionPool.use((connection) =>
                Effect.gen(function* () {
                  yield* connection.execute("begin", [], undefined)
                  const rows = yield* connection.execute("select * from t", [], undefined)
                  yield* connection.execute("commit", [], undefined)
                  return [rows, yield* Effect.provideService(reading, BeginTransaction, "BEGIN")] as const
                })
              )
            )
          )
        })
        const [outside, inside] = yield* Effect.provide(program, kind.layer(SqliteDriver.make({ filename })))
        assert.deepStrictEqual(outside, [])
        assert.deepStrictEqual(inside, [{ x: 1 }])
      })
    )

    it.effect("connects several connections to a new file at the same time", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const mode = Effect.flatMap(SqlClient, (sql) => sql`pragma journal_mode`)
        const layer = kind.layer(SqliteDriver.make({ filename }), { size: 6 })
        assert.deepStrictEqual(yield* Effect.provide(mode, layer), [{ journal_mode: "wal" }])
      })
    )
  })
}

threads("connections in threads", (it) => {
  it.effect("run nothing on the calling thread: it goes on while a statement takes its time (EV-67)", () =>
    Effect.gen(function* () {
      const driver = SqliteDriver.make({ filename: ":memory:" })
      const program = Effect.gen(function* () {
        const sql = yield* SqlClient
        yield* sql`select 1`
        let ticks = 0
        const heavy = sql`with recursive n(i) as (values (1) union all select i + 1 from n where i < 3000000) select count(*) as n from n`
        const ticking = Effect.forever(
          Effect.andThen(
            Effect.sync(() => {
              ticks++
            }),
            Effect.sleep(1)
          )
        )
        const rows = yield* Effect.raceFirst(heavy, ticking)
        assert.deepStrictEqual(rows, [{ n: 3_000_000 }])
        return ticks
      })
      assert.isAbove(yield* Effect.provide(program, TpooledConnectionPool.layer(driver)), 3)
      assert.strictEqual(threadId, 0)
    })
  )
})

/** For the types alone: what a driver of SQLite needs to be provided with. */
export const needsNothing: Layer.Layer<Services, SqlError> = RawConnectionPool.layer(
  SqliteDriver.make({ filename: ":memory:" })
)
