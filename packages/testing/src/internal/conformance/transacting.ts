// Transactions of a `SqlClient` over a pool.
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { BeginTransaction, type SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import {
  type Bench,
  busy,
  countOf,
  describe,
  expect,
  failureOf,
  rowsOf,
  sqlFailure,
  start,
  valueOf,
  within
} from "./kit.ts"

const add = (sql: SqlClient, table: string, n: number) => sql`insert into ${sql(table)} ${sql.insert({ n })}`

const numbers = (sql: SqlClient, table: string): Effect.Effect<ReadonlyArray<number>, SqlError> =>
  Effect.map(sql<{ n: number }>`select n from ${sql(table)} order by n`, (rows) => rows.map(({ n }) => n))

export const transacting = <Services>({ dialect, test }: Bench<Services>): void => {
  const column = `n ${dialect.types.integer}`

  describe("transactions", () => {
    test(
      "a transaction that succeeds is committed, and returns its connection",
      { max: 1 },
      function* (tools) {
        const { observer, sql, stats, table } = tools
        const name = yield* table(column)
        const result = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* add(sql, name, 1)
            yield* add(sql, name, 2)
            expect(yield* numbers(sql, name)).toEqual([1, 2])
            expect(yield* countOf(observer, name)).toBe(0)
            return "done"
          })
        )
        expect(result).toBe("done")
        expect(yield* countOf(observer, name)).toBe(2)
        yield* stats({ idle: 1, borrowed: 1, created: 1 })
      }
    )

    test("one that fails, dies or is interrupted is rolled back", { max: 1 }, function* (tools) {
      const { observer, sql, stats, table } = tools
      const name = yield* table(column)
      expect(
        yield* failureOf(sql.withTransaction(Effect.andThen(add(sql, name, 1), Effect.fail("no" as const))))
      ).toBe("no")
      expect(yield* countOf(observer, name)).toBe(0)
      const died = yield* Effect.exit(
        sql.withTransaction(Effect.andThen(add(sql, name, 2), Effect.die("bad")))
      )
      expect(died._tag).toBe("Failure")
      expect(yield* countOf(observer, name)).toBe(0)

      const begun = yield* Deferred.make<void>()
      const hanging = yield* start(
        sql.withTransaction(
          Effect.andThen(add(sql, name, 3), Effect.andThen(Deferred.succeed(begun, undefined), Effect.never))
        )
      )
      yield* Deferred.await(begun)
      yield* within("the interruption", Fiber.interrupt(hanging))
      expect(yield* countOf(observer, name)).toBe(0)
      yield* stats({ idle: 1, created: 1, destroyed: 0 })
      // And the connection is as good as before.
      yield* add(sql, name, 4)
      expect(yield* countOf(observer, name)).toBe(1)
    })

    test(
      "a statement that fails fails the transaction",
      { max: 1 },
      function* ({ observer, sql, stats, table }) {
        const name = yield* table(`n ${dialect.types.integer} primary key`)
        const reason = yield* sqlFailure(
          sql.withTransaction(Effect.andThen(add(sql, name, 1), add(sql, name, 1)))
        )
        expect(reason._tag).toBe("UniqueViolation")
        expect(yield* countOf(observer, name)).toBe(0)
        yield* stats({ idle: 1, created: 1, destroyed: 0 })
      }
    )

    test(
      "all statements of a transaction are on one connection, and no others are",
      { max: 2 },
      function* (tools) {
        const { pool, sql, stats, table } = tools
        const name = yield* table(column)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* add(sql, name, 1)
            expect(yield* pool.stats).toMatchObject({ used: 1, borrowed: 1 })
            // One that is borrowed meanwhile is another one.
            expect(yield* pool.use((connection) => countOf(connection, name))).toBe(0)
            expect(yield* numbers(sql, name)).toEqual([1])
            expect(Array.from(yield* Stream.runCollect(sql`select n from ${sql(name)}`.stream))).toEqual([
              { n: 1 }
            ])
            expect(yield* sql`select n from ${sql(name)}`.values).toEqual([[1]])
            expect(yield* sql`select n from ${sql(name)}`.unprepared).toEqual([{ n: 1 }])
            expect(yield* sql`select n from ${sql(name)}`.valuesUnprepared).toEqual([[1]])
            const all = yield* Effect.forEach([1, 2, 3, 4, 5], () => numbers(sql, name), {
              concurrency: "unbounded"
            })
            expect(all).toEqual([[1], [1], [1], [1], [1]])
          })
        )
        yield* stats({ idle: 2, borrowed: 2 })
      }
    )

    test(
      "a transaction in a transaction is a savepoint",
      { max: 1 },
      function* ({ observer, sql, stats, table }) {
        const name = yield* table(column)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* add(sql, name, 1)
            yield* sql.withTransaction(add(sql, name, 2))
            expect(
              yield* failureOf(sql.withTransaction(Effect.andThen(add(sql, name, 3), Effect.fail("no"))))
            ).toBe("no")
            yield* sql.withTransaction(
              Effect.gen(function* () {
                yield* add(sql, name, 4)
                yield* Effect.exit(sql.withTransaction(Effect.andThen(add(sql, name, 5), Effect.die("bad"))))
                yield* sql.withTransaction(add(sql, name, 6))
              })
            )
            expect(yield* numbers(sql, name)).toEqual([1, 2, 4, 6])
          })
        )
        expect(yield* countOf(observer, name)).toBe(4)
        yield* stats({ idle: 1, borrowed: 1, created: 1 })
      }
    )

    test(
      "what fails at the outside takes the savepoints with it",
      { max: 1 },
      function* ({ observer, sql, table }) {
        const name = yield* table(column)
        yield* Effect.exit(
          sql.withTransaction(Effect.andThen(sql.withTransaction(add(sql, name, 1)), Effect.fail("no")))
        )
        expect(yield* countOf(observer, name)).toBe(0)
      }
    )

    test(
      "a statement that fails in a savepoint leaves the transaction usable",
      { max: 1 },
      function* ({ observer, sql, table }) {
        const name = yield* table(`n ${dialect.types.integer} primary key`)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* add(sql, name, 1)
            yield* sqlFailure(sql.withTransaction(add(sql, name, 1)))
            yield* add(sql, name, 2)
          })
        )
        expect(yield* countOf(observer, name)).toBe(2)
      }
    )

    test("a transaction waits its turn, and can be interrupted while it does", { max: 1 }, function* (tools) {
      const { observer, pool, sql, stats, table } = tools
      const name = yield* table(column)
      const held = yield* pool.get
      const first = yield* start(sql.withTransaction(add(sql, name, 1)))
      const second = yield* start(sql.withTransaction(add(sql, name, 2)))
      yield* stats({ pending: 2 })
      yield* Fiber.interrupt(first)
      yield* stats({ pending: 1 })
      yield* held.release()
      yield* Fiber.join(second)
      expect(yield* rowsOf(observer, `select n from ${name}`)).toEqual([{ n: 2 }])
    })

    test("many transactions at once lose nothing", { max: 4 }, function* ({ observer, sql, stats, table }) {
      const name = yield* table(column)
      yield* add(sql, name, 0)
      yield* Effect.forEach(
        Array.from({ length: 20 }),
        () =>
          sql.withTransaction(
            Effect.gen(function* () {
              yield* sql`update ${sql(name)} set n = n + 1`
              yield* Effect.yieldNow
              yield* sql`update ${sql(name)} set n = n + 1`
            })
          ),
        { concurrency: "unbounded" }
      )
      expect(yield* valueOf(observer, `select n from ${name}`)).toBe(40)
      yield* stats({ used: 0, destroyed: 0 })
    })

    test(
      "what is to happen after the commit does, when the connection is back",
      { max: 1 },
      function* ({ sql, table }) {
        const name = yield* table(column)
        const seen: Array<unknown> = []
        const note = (what: string) =>
          sql.afterCommit(
            // With one connection in all, it can only have been returned.
            Effect.flatMap(Effect.orDie(numbers(sql, name)), (numbers) =>
              Effect.sync(() => seen.push([what, numbers]))
            )
          )
        yield* note("outside")
        expect(seen).toEqual([["outside", []]])
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* note("first")
            yield* add(sql, name, 1)
            yield* sql.withTransaction(Effect.andThen(add(sql, name, 2), note("in a savepoint")))
            yield* Effect.exit(sql.withTransaction(Effect.andThen(note("rolled back"), Effect.fail("no"))))
            yield* note("last")
            expect(seen).toHaveLength(1)
          })
        )
        expect(seen.slice(1)).toEqual([
          ["first", [1, 2]],
          ["in a savepoint", [1, 2]],
          ["last", [1, 2]]
        ])
        yield* Effect.exit(sql.withTransaction(Effect.andThen(note("never"), Effect.fail("no"))))
        expect(seen).toHaveLength(4)
      }
    )

    test("a transaction can begin in its own way", { max: 2 }, function* ({ pool, sql, table }) {
      const name = yield* table(column)
      yield* sql
        .withTransaction(
          Effect.gen(function* () {
            expect(yield* numbers(sql, name)).toEqual([])
            yield* pool.use((connection) => rowsOf(connection, `insert into ${name} values (1)`))
            expect(yield* numbers(sql, name)).toEqual([])
          })
        )
        .pipe(Effect.provideService(BeginTransaction, dialect.beginSnapshot))
      expect(yield* numbers(sql, name)).toEqual([1])
    })

    const { deferred } = dialect
    if (deferred !== undefined) {
      test(
        "a commit that fails fails the transaction, and leaves nothing behind",
        { max: 1 },
        function* (tools) {
          const { observer, sql, stats } = tools
          const name = `deferred_${tools.kind}`
          const { create, obey, violate } = deferred(name)
          yield* rowsOf(observer, create)
          const reason = yield* sqlFailure(sql.withTransaction(sql.unsafe(violate)))
          expect(["UniqueViolation", "ConstraintError"]).toContain(reason._tag)
          expect(yield* countOf(observer, name)).toBe(0)
          yield* sql.unsafe(obey)
          expect(yield* countOf(observer, name)).toBe(1)
          yield* sql.withTransaction(Effect.andThen(sql`delete from ${sql(name)}`, sql.unsafe(obey)))
          expect(yield* countOf(observer, name)).toBe(1)
          yield* stats({ idle: 1, created: 1 })
        }
      )
    }

    const { server } = dialect
    if (server !== undefined) {
      test(
        "an interrupted statement of a transaction is cancelled, and all is rolled back",
        { max: 1 },
        function* (tools) {
          const { observer, sql, table } = tools
          const name = yield* table(column)
          const slow = yield* start(
            sql.withTransaction(Effect.andThen(add(sql, name, 1), sql.unsafe(server.sleep(60))))
          )
          yield* busy(tools, 1)
          yield* within("the interruption", Fiber.interrupt(slow))
          expect(yield* rowsOf(observer, server.busy)).toEqual([])
          expect(yield* numbers(sql, name)).toEqual([])
          yield* add(sql, name, 2)
          expect(yield* countOf(observer, name)).toBe(1)
        }
      )

      test(
        "a transaction whose session is ended fails, and nothing of it stays",
        { max: 2 },
        function* (tools) {
          const { observer, sql, stats, table, warnings } = tools
          const name = yield* table(column)
          const exit = yield* within(
            "the transaction",
            Effect.exit(
              sql.withTransaction(
                Effect.gen(function* () {
                  yield* add(sql, name, 1)
                  const [row] = yield* sql.unsafe<{ id: unknown }>(`select ${server.sessionId} as id`)
                  yield* rowsOf(observer, server.kill(Number(row!.id)))
                  yield* Effect.forever(sql`select 1`)
                })
              )
            )
          )
          expect(exit._tag).toBe("Failure")
          yield* stats({ size: 0, destroyed: 1 })
          expect(yield* numbers(sql, name)).toEqual([])
          yield* warnings
        }
      )
    }

    test("a reserved connection is for one alone, until the scope closes", { max: 2 }, function* (tools) {
      const { pool, sql, stats, table } = tools
      const name = yield* table(column)
      const kept = yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* sql.reserve
          yield* stats({ used: 1 })
          yield* rowsOf(connection, dialect.begins[0]!)
          yield* rowsOf(connection, `insert into ${name} values (1)`)
          expect(yield* countOf(connection, name)).toBe(1)
          expect(yield* numbers(sql, name)).toEqual([])
          yield* rowsOf(connection, "commit")
          return connection
        })
      )
      expect(yield* numbers(sql, name)).toEqual([1])
      yield* stats({ used: 0, idle: 2 })
      expect((yield* sqlFailure(rowsOf(kept, "select 1"))).message).toContain("was returned")
      expect(yield* pool.stats).toMatchObject({ destroyed: 0 })
    })
  })
}
