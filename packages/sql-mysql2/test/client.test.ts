/** Effect's `SqlClient` over pools of this driver: what is special about MySQL and MariaDB, here and in threads. */
import { ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { MysqlDriver } from "@cenote/sql-mysql2"
import { TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { MysqlClient } from "@effect/sql-mysql2"
import { expect, layer } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Formatter, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { SqlError } from "effect/sql/SqlError"
import { inspect } from "node:util"
import { busyWith, eventually, open, rows, restful, text, within } from "./kit.ts"

const kinds = ["raw", "tpooled"] as const

const poolOf = (
  kind: (typeof kinds)[number],
  config: MysqlDriver.Config = {},
  options: ConnectionPool.Options = { max: 4 }
) =>
  Layer.unwrap(
    Effect.map(TestServers.MariaDb, (server) => {
      const driver = MysqlDriver.make({ ...server.config, ...config })
      return kind === "raw"
        ? RawConnectionPool.layer(driver, options)
        : Layer.provide(TpooledConnectionPool.layer(driver, options), NodeThreads.layer({ size: 1 }))
    })
  )

await TestServers.describeWith("clients", [TestServers.MariaDb.sharedAvailable], () => {
  layer(TestServers.MariaDb.shared, { excludeTestServices: true })((it) => {
    for (const kind of kinds) {
      it.effect(`${kind}: statements, helpers, names, MysqlClient`, () =>
        Effect.gen(function* () {
          const sql = yield* MysqlClient.MysqlClient
          expect(sql.driver).toBe("mysql2")
          yield* sql`create or replace table people (id int primary key auto_increment, first_name varchar(20), born datetime)`
          const born = new Date("1815-12-10T00:00:00Z")
          yield* sql`insert into people ${sql.insert([
            { firstName: "Ada", born },
            { firstName: "Grace", born: null }
          ])}`
          expect(
            yield* sql`select first_name, born from people where ${sql.in("id", [1, 2])} order by id`
          ).toEqual([
            { firstName: "Ada", born },
            { firstName: "Grace", born: null }
          ])
          const streamed = yield* Stream.runCollect(sql`select first_name from people order by id`.stream)
          expect(streamed).toEqual([{ firstName: "Ada" }, { firstName: "Grace" }])
          expect(yield* sql`select first_name from people where id = ${1}`.values).toEqual([["Ada"]])
          expect(yield* sql`update people set first_name = ${"x"}`.raw).toMatchObject({ affectedRows: 2 })
          expect(yield* sql`select first_name from people where id = ${1}`.withoutTransform).toEqual([
            { first_name: "x" }
          ])
        }).pipe(
          Effect.provide(
            poolOf(kind, {
              connection: { timezone: "Z" },
              transformResultNames: (name) => name.replace(/_(.)/g, (_, c: string) => c.toUpperCase()),
              transformQueryNames: (name) => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)
            })
          )
        )
      )

      it.effect(`${kind}: a bigint, bytes and a large value cross`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          const bytes = Buffer.alloc(2_000_000, "abc\0\xff")
          const [row] = yield* sql<{ big: string; bytes: Uint8Array }>`
            select cast(${2n ** 64n - 1n} as unsigned) as big, ${bytes} as bytes`
          expect(row?.big).toBe("18446744073709551615")
          expect(bytes.equals(row!.bytes)).toBe(true)
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(
        `${kind}: an interrupted statement is stopped on the server, and its connection serves the next`,
        () =>
          Effect.gen(function* () {
            const observer = yield* open()
            const sql = yield* SqlClient
            const [{ id }] = (yield* sql`select connection_id() as id`) as any
            const fiber = yield* Effect.forkChild(sql`select sleep(60)`)
            yield* busyWith(observer, id, "sleep(60)")
            yield* within("10 seconds", Fiber.interrupt(fiber))
            expect(yield* sql`select connection_id() as id`).toEqual([{ id }])
            const first = yield* within(
              "10 seconds",
              Stream.runHead(sql`select seq from seq_1_to_1000000`.stream).pipe(Effect.map((_) => _._tag))
            )
            expect(first).toBe("Some")
            expect(yield* sql`select connection_id() as id`).toEqual([{ id }])
            yield* restful(observer, id)
          }).pipe(Effect.provide(poolOf(kind, {}, { max: 1 })))
      )

      it.effect(`${kind}: a session that is killed is replaced, and what was under way fails as lost`, () =>
        Effect.gen(function* () {
          const observer = yield* open()
          const sql = yield* SqlClient
          const [{ id }] = (yield* sql`select connection_id() as id`) as any
          yield* text(observer, `kill ${id}`)
          yield* eventually(ConnectionPool.stats, ({ size }) => size === 0)
          const [{ id: next }] = (yield* sql`select connection_id() as id`) as any
          expect(next).not.toBe(id)
          const fiber = yield* Effect.forkChild(Effect.flip(sql`select sleep(60)`))
          yield* busyWith(observer, next, "sleep(60)")
          yield* text(observer, `kill ${next}`)
          const error = yield* within("10 seconds", Fiber.join(fiber))
          expect(error.reason._tag).toBe("ConnectionError")
          expect(yield* sql`select 1 as a`).toEqual([{ a: 1 }])
        }).pipe(Effect.provide(poolOf(kind, {}, { max: 1 })))
      )

      it.effect(`${kind}: nested transactions keep what they should`, () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          yield* sql`create or replace table nested (n int primary key)`
          yield* sql.withTransaction(
            Effect.gen(function* () {
              yield* sql`insert into nested values (1)`
              yield* Effect.ignore(
                sql.withTransaction(Effect.andThen(sql`insert into nested values (2)`, Effect.fail("no")))
              )
              yield* sql.withTransaction(sql`insert into nested values (3)`)
              yield* sql.withTransaction(
                Effect.ignore(
                  sql.withTransaction(Effect.andThen(sql`insert into nested values (4)`, Effect.fail("no")))
                )
              )
            })
          )
          expect(yield* sql`select n from nested order by n`).toEqual([{ n: 1 }, { n: 3 }])
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(
        `${kind}: a nested transaction with a statement that commits succeeds; where it then fails it dies`,
        () =>
          Effect.gen(function* () {
            const sql = yield* SqlClient
            const nested = (then: Effect.Effect<unknown, unknown>) =>
              sql.withTransaction(
                sql.withTransaction(Effect.andThen(sql`create or replace table committed (n int)`, then))
              )
            expect(Exit.isSuccess(yield* Effect.exit(nested(Effect.void)))).toBe(true)
            const exit = yield* Effect.exit(nested(Effect.fail("no")))
            expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause)).toBe(true)
            expect(yield* sql`select 1 as a`).toEqual([{ a: 1 }])
          }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(
        `${kind}: a deadlock in a nested transaction fails the outer one with it, and a retry succeeds`,
        () =>
          Effect.gen(function* () {
            const sql = yield* SqlClient
            const observer = yield* open()
            yield* sql`create or replace table pairs (id int primary key, n int)`
            yield* sql`insert into pairs values (1, 0), (2, 0), (3, 0)`
            const hasFirst = yield* Deferred.make<void>()
            const otherHas = yield* Deferred.make<void>()
            // It changes much, so the server has the other one give way.
            const heavy = yield* text(observer, "begin").pipe(
              Effect.andThen(text(observer, "create or replace temporary table t (n int)")),
              Effect.andThen(text(observer, "update pairs set n = n + 10 where id = 2")),
              Effect.andThen(text(observer, "insert into pairs select seq + 10, 0 from seq_1_to_500")),
              Effect.andThen(Deferred.succeed(otherHas, undefined)),
              Effect.andThen(Deferred.await(hasFirst)),
              Effect.andThen(text(observer, "update pairs set n = n + 10 where id = 1")),
              Effect.andThen(text(observer, "commit")),
              Effect.forkChild
            )
            const seen: Array<string> = []
            let attempts = 0
            yield* sql
              .withTransaction(
                Effect.gen(function* () {
                  attempts++
                  yield* sql`update pairs set n = n + 1 where id = 3`
                  yield* sql`update pairs set n = n + 1 where id = 1`
                  yield* Deferred.succeed(hasFirst, undefined)
                  yield* Deferred.await(otherHas)
                  const { _tag } = yield* Effect.result(
                    sql.withTransaction(
                      sql
                        .withTransaction(sql`update pairs set n = n + 1 where id = 2`)
                        .pipe(Effect.tapError((error) => Effect.sync(() => seen.push(reasonOf(error)))))
                    )
                  )
                  // Also who goes on as if nothing had been does nothing outside of the transaction.
                  yield* sql`update pairs set n = n + 100 where id = 3`
                  return _tag
                })
              )
              .pipe(
                Effect.tapError((error) => Effect.sync(() => seen.push(reasonOf(error)))),
                Effect.retry({ times: 3, while: (error) => error.isRetryable })
              )
            yield* within("10 seconds", Fiber.join(heavy))
            expect(seen).toEqual(["DeadlockError", "DeadlockError"])
            expect(attempts).toBe(2)
            expect(yield* sql`select id, n from pairs where id < 4 order by id`).toEqual([
              { id: 1, n: 11 },
              { id: 2, n: 11 },
              { id: 3, n: 101 }
            ])
          }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(
        `EV-44, ${kind}: what was not committed is undone; with cleanup "reset" nothing of the last borrower is left`,
        () =>
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create or replace table undone (n int)`
            yield* ConnectionPool.use((connection) =>
              Effect.gen(function* () {
                yield* connection.executeUnprepared("begin", [], undefined)
                yield* connection.execute("insert into undone values (1)", [], undefined)
                yield* connection.executeUnprepared("set @left = 1", [], undefined)
                yield* connection.setCleanup("reset")
              })
            )
            expect(yield* sql`select n from undone`).toEqual([])
            expect(yield* sql`select @left as x`).toEqual([{ x: null }])
          }).pipe(Effect.provide(poolOf(kind, {}, { max: 1 })))
      )

      it.effect(`${kind}: what is shown of a connection that is borrowed has no password in it`, () =>
        Effect.gen(function* () {
          const { config } = yield* TestServers.MariaDb
          const texts = yield* ConnectionPool.use((connection) =>
            Effect.gen(function* () {
              const cleaned = yield* Deferred.make<ReadonlyArray<string>>()
              yield* connection.setCleanup((member) => Deferred.succeed(cleaned, shown(member)))
              yield* connection.release()
              return [...shown(connection), ...(yield* Deferred.await(cleaned))]
            })
          )
          for (const text of texts) {
            expect(text).toContain("SqlConnection")
            expect(text).not.toContain(Redacted.value(config.password))
          }
        }).pipe(Effect.provide(poolOf(kind)))
      )

      it.effect(`${kind}: a wrong password is told, and not shown`, () =>
        Effect.gen(function* () {
          const password = Redacted.make("wr0ng-S3CR3T")
          const exit = yield* Effect.exit(
            Effect.flatMap(SqlClient, (sql) => sql`select 1`).pipe(Effect.provide(poolOf(kind, { password })))
          )
          expect(Exit.isFailure(exit)).toBe(true)
          expect(String(Exit.isFailure(exit) && Cause.pretty(exit.cause))).toContain("Access denied")
          expect(String(Exit.isFailure(exit) && Cause.pretty(exit.cause))).not.toContain("S3CR3T")
        })
      )
    }

    it.effect("EV-67: in a thread there is no socket on the calling one", () =>
      Effect.gen(function* () {
        const before = sockets()
        const sql = yield* SqlClient
        expect(yield* sql`select 1 as a`).toEqual([{ a: 1 }])
        expect(sockets()).toBe(before)
        expect((yield* ConnectionPool.stats).size).toBe(1)
      }).pipe(Effect.provide(poolOf("tpooled")))
    )

    it.effect("a program that was written against MysqlClient's own layer gives the same on a pool", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        const session = yield* open()
        yield* rows(
          session,
          "create or replace table same (id int primary key, t varchar(20), d decimal(5,2), j json)"
        )
        const program = Effect.gen(function* () {
          const sql = yield* MysqlClient.MysqlClient
          yield* sql`delete from same`
          yield* sql`insert into same ${sql.insert({ id: 1, t: "x", d: "1.50", j: JSON.stringify({ a: 1 }) })}`
          const duplicate = yield* Effect.flip(sql`insert into same (id) values (1)`)
          const wrong = yield* Effect.flip(sql`select * from nothing_there`)
          return {
            rows: yield* sql`select * from same`,
            values: yield* sql`select * from same`.values,
            unprepared: yield* sql`select * from same where id = ${1}`.unprepared,
            streamed: yield* Stream.runCollect(sql`select * from same`.stream),
            raw: yield* Effect.map(sql`update same set t = 'y'`.raw, (_) => ({ ...(_ as object) })),
            reasons: [duplicate.reason._tag, wrong.reason._tag],
            constraint: duplicate.reason._tag === "UniqueViolation" && duplicate.reason.constraint
          }
        })
        const own = yield* program.pipe(Effect.provide(MysqlClient.layer(config)))
        for (const kind of kinds) expect(yield* program.pipe(Effect.provide(poolOf(kind)))).toEqual(own)
      })
    )
  })
})

const sockets = () => process.getActiveResourcesInfo().filter((_) => _ === "TCPSocketWrap").length

const reasonOf = (error: unknown): string => (error instanceof SqlError ? error.reason._tag : String(error))

const shown = (connection: object) => [
  inspect(connection, { depth: 20 }),
  Formatter.format(connection),
  Formatter.formatJson(connection)
]
