/** Statements and values, on a real MariaDB: what goes in comes out, prepared or not. */
import { TestServers } from "@cenote/testing"
import { expect, layer } from "@effect/vitest"
import { Effect } from "effect"
import Mysql from "mysql2"
import { idOf, open, rows, text } from "./kit.ts"

/** What transforms of names do to rows. */
const renamed = (rows: ReadonlyArray<any>): ReadonlyArray<any> => rows.map(({ a }) => ({ z: a }))

const ways = ["prepared", "not prepared"] as const

await TestServers.describeWith("statements", [TestServers.MariaDb.sharedAvailable], () => {
  layer(TestServers.MariaDb.shared, { excludeTestServices: true })((it) => {
    it.effect("EV-64: every way to run a statement gives what Effect's Connection says", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const sql = "select ? as a, 'x' as b union all select 2, 'y'"
        const objects = [
          { a: 1, b: "x" },
          { a: 2, b: "y" }
        ]
        const arrays = [
          [1, "x"],
          [2, "y"]
        ]
        expect(yield* session.execute(sql, [1], undefined)).toEqual(objects)
        expect(yield* session.executeUnprepared(sql, [1], undefined)).toEqual(objects)
        expect(yield* session.executeRaw(sql, [1])).toEqual(objects)
        expect(yield* session.executeValues(sql, [1])).toEqual(arrays)
        expect(yield* session.executeValuesUnprepared(sql, [1])).toEqual(arrays)
        expect(yield* session.execute(sql, [1], renamed)).toEqual([{ z: 1 }, { z: 2 }])
        expect(yield* session.executeUnprepared(sql, [1], renamed)).toEqual([{ z: 1 }, { z: 2 }])
      })
    )

    it.effect("a statement without rows gives none, and executeRaw what mysql2 says of it", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* text(session, "create temporary table t (id int primary key auto_increment, n int)")
        expect(yield* rows(session, "insert into t (n) values (?), (?)", [1, 2])).toEqual([])
        expect(yield* session.executeRaw("insert into t (n) values (?)", [3])).toMatchObject({
          affectedRows: 1,
          insertId: 3
        })
        expect(yield* session.executeRaw("update t set n = n + 1 where n > ?", [1])).toMatchObject({
          affectedRows: 2,
          changedRows: 2
        })
        expect(yield* session.executeValues("select n from t order by id", [])).toEqual([[1], [3], [4]])
      })
    )

    it.effect("statements of several fibers wait for each other, in the order in which they came", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* text(session, "create temporary table log (id int primary key auto_increment, n int)")
        yield* Effect.forEach(
          Array.from({ length: 50 }, (_, n) => n),
          (n) => (n % 2 === 0 ? rows : text)(session, "insert into log (n) values (?)", [n]),
          { concurrency: "unbounded" }
        )
        const found = yield* session.executeValues("select n from log order by id", [])
        expect(found.flat()).toEqual(Array.from({ length: 50 }, (_, n) => n))
      })
    )

    for (const way of ways) {
      const run = way === "prepared" ? rows : text

      it.effect(`numbers, ${way}: integers, bigints, decimals, booleans`, () =>
        Effect.gen(function* () {
          const session = yield* open()
          yield* text(
            session,
            "create temporary table n (i int, u bigint unsigned, s bigint, d decimal(30,10), f double, b tinyint(1))"
          )
          yield* run(session, "insert into n values (?, ?, ?, ?, ?, ?)", [
            -7,
            18_446_744_073_709_551_615n,
            -9_223_372_036_854_775_808n,
            "12345678901234567890.0123456789",
            0.1,
            true
          ])
          yield* run(session, "insert into n values (?, ?, ?, ?, ?, ?)", [
            2 ** 31 - 1,
            9_007_199_254_740_993n,
            9_007_199_254_740_991n,
            10n ** 19n,
            1e300,
            false
          ])
          expect(yield* run(session, "select * from n order by i")).toEqual([
            {
              i: -7,
              u: "18446744073709551615",
              s: "-9223372036854775808",
              d: "12345678901234567890.0123456789",
              f: 0.1,
              b: 1
            },
            {
              i: 2_147_483_647,
              u: "9007199254740993",
              s: 9_007_199_254_740_991,
              d: "10000000000000000000.0000000000",
              f: 1e300,
              b: 0
            }
          ])
          // A neighbour that the same floating point number stands for.
          yield* run(session, "insert into n (i, u) values (?, ?)", [1, 9_007_199_254_740_992n])
          expect(yield* run(session, "select i from n where u = ?", [9_007_199_254_740_993n])).toEqual([
            { i: 2_147_483_647 }
          ])
          expect(yield* run(session, "select ? - ? as difference", [2n ** 63n, 2n ** 63n - 1n])).toEqual([
            { difference: 1 }
          ])
        })
      )

      it.effect(`text, JSON and null, ${way}`, () =>
        Effect.gen(function* () {
          const session = yield* open()
          yield* text(session, "create temporary table j (id int, t text, j json) character set utf8mb4")
          const awkward = `'; drop table j; -- \\ " ? ?? \0 \u{1f30a} é\n`
          yield* run(session, "insert into j values (1, ?, ?)", [
            awkward,
            { a: [1, "ü'", null], b: { c: true } }
          ])
          yield* run(session, "insert into j values (2, ?, ?)", [null, [1, 2, "3"]])
          yield* run(session, "insert into j values (3, ?, ?)", [
            "",
            Object.assign(Object.create(null), { own: "'" })
          ])
          const found = yield* run(session, "select t, j from j order by id")
          expect(found).toEqual([
            { t: awkward, j: { a: [1, "ü'", null], b: { c: true } } },
            { t: null, j: [1, 2, "3"] },
            { t: "", j: { own: "'" } }
          ])
          // Not a list of assignments, which would be true for each row.
          expect(yield* run(session, "select id from j where t = ?", [{ t: 1 }])).toEqual([])
        })
      )

      it.effect(`dates, ${way}: as mysql2 gives them`, () =>
        Effect.gen(function* () {
          const session = yield* open({ connection: { timezone: "Z" } })
          yield* text(
            session,
            "create temporary table d (d date, t datetime(3), s timestamp(3) null, h time)"
          )
          const at = new Date("2026-11-22T23:59:58.123Z")
          yield* run(session, "insert into d values (?, ?, ?, ?)", ["2026-02-28", at, at, "12:34:56"])
          expect(yield* run(session, "select * from d")).toEqual([
            { d: new Date("2026-02-28T00:00:00Z"), t: at, s: at, h: "12:34:56" }
          ])
          const plain = yield* open({ connection: { timezone: "Z", dateStrings: true } })
          expect(yield* run(plain, "select cast(? as datetime(3)) as t", [at])).toEqual([
            { t: "2026-11-22 23:59:58.123" }
          ])
        })
      )

      it.effect(`bytes, ${way}: of every kind`, () =>
        Effect.gen(function* () {
          const session = yield* open()
          yield* text(session, "create temporary table b (id int, b varbinary(300))")
          const all = Uint8Array.from({ length: 256 }, (_, i) => i)
          const kinds = [
            Buffer.from(all),
            all,
            new DataView(all.buffer),
            all.buffer,
            // A view into something larger.
            new Uint8Array([1, 2, ...all, 3]).subarray(2, 258),
            new Uint16Array(all.buffer)
          ]
          for (const [id, bytes] of kinds.entries()) {
            yield* run(session, "insert into b values (?, ?)", [id, bytes])
          }
          const found = yield* run(session, "select b from b order by id")
          expect(found).toHaveLength(kinds.length)
          for (const { b } of found) expect(Buffer.compare(b as Buffer, Buffer.from(all))).toBe(0)
        })
      )

      it.effect(`a value of 10 MB, ${way}, there and back`, () =>
        Effect.gen(function* () {
          const session = yield* open()
          yield* text(session, "create temporary table big (b longblob, t longtext)")
          const size = way === "prepared" ? 10_000_000 : 5_000_000
          const bytes = Buffer.alloc(size, "0123456789abcdef\0'")
          yield* run(session, "insert into big (b) values (?)", [bytes])
          const [row] = yield* run(session, "select b, length(b) as n from big")
          expect(row.n).toBe(size)
          expect(bytes.equals(row.b as Buffer)).toBe(true)
          const letters = "é".repeat(5_000_000)
          yield* run(session, "update big set t = ?", [letters])
          expect((yield* run(session, "select t from big"))[0].t === letters).toBe(true)
        })
      )

      it.effect(`a parameter that cannot go is named, ${way}, and the session lives on`, () =>
        Effect.gen(function* () {
          const session = yield* open()
          class Money {
            amount = 1
          }
          const circular: Record<string, unknown> = {}
          circular["self"] = circular
          const refused: ReadonlyArray<readonly [unknown, string]> = [
            [undefined, "parameter 2 of the statement is undefined. Pass null for SQL NULL"],
            [() => 1, "parameter 2 of the statement is a function"],
            [Symbol("s"), "parameter 2 of the statement is a symbol"],
            [Number.NaN, "parameter 2 of the statement is NaN"],
            [Infinity, "parameter 2 of the statement is Infinity"],
            [new Date(Number.NaN), "parameter 2 of the statement is an invalid Date"],
            [new Money(), "parameter 2 of the statement is an object of class Money"],
            [new Map(), "parameter 2 of the statement is an object of class Map"]
          ]
          for (const [value, message] of refused) {
            const error = yield* Effect.flip(run(session, "select ? as a, ? as b", [1, value]))
            expect(error).toMatchObject({ _tag: "SqlError", reason: { _tag: "UnknownError" } })
            expect(error.message).toContain(message)
            expect(error.reason.operation).toBe(way === "prepared" ? "execute" : "executeUnprepared")
          }
          const error = yield* Effect.flip(run(session, "select ? as a", [circular]))
          expect(error.message).toContain("circular")
          expect(yield* run(session, "select ? as a", [1])).toEqual([{ a: 1 }])
        })
      )
    }

    it.effect("as many parameters as placeholders: a server would read the rest as something else", () =>
      Effect.gen(function* () {
        const session = yield* open()
        for (const params of [[1], [1, 2, 3], []]) {
          for (const attempt of [1, 2]) {
            const error = yield* Effect.flip(rows(session, "select ? + ? as a", params))
            expect(error.message, `attempt ${attempt}`).toContain(
              `the statement has 2 placeholders, and ${params.length} parameters were given`
            )
          }
          expect(yield* rows(session, "select ? + ? as a", [1, 2])).toEqual([{ a: 3 }])
        }
      })
    )

    it.effect(
      "what is not prepared may be several statements, unless it is asked for otherwise; what is prepared is one",
      () =>
        Effect.gen(function* () {
          const session = yield* open()
          expect(yield* text(session, "select 1 as a; select 2 as b")).toEqual([[{ a: 1 }], [{ b: 2 }]])
          expect((yield* Effect.flip(rows(session, "select 1 as a; select 2 as b"))).reason._tag).toBe(
            "SqlSyntaxError"
          )
          const single = yield* open({ connection: { multipleStatements: false } })
          expect((yield* Effect.flip(text(single, "select 1 as a; select 2 as b"))).reason._tag).toBe(
            "SqlSyntaxError"
          )
        })
    )

    it.effect("with disablePreparedStatements nothing is prepared", () =>
      Effect.gen(function* () {
        const session = yield* open({ disablePreparedStatements: true })
        expect(yield* rows(session, "select ? as a, ? as b", ["x'", 5n])).toEqual([{ a: "x'", b: 5 }])
        expect(yield* session.executeRaw("select ? as a", [1])).toEqual([{ a: 1 }])
        expect(yield* session.executeValues("select ? as a", [1])).toEqual([[1]])
        const [row] = yield* text(session, "show session status like 'Com_stmt_prepare'")
        expect(row.Value).toBe("0")
        const prepared = yield* open()
        yield* rows(prepared, "select ? as a", [1])
        yield* rows(prepared, "select ? as a", [2])
        const [count] = yield* text(prepared, "show session status like 'Com_stmt_prepare'")
        expect(count.Value).toBe("1")
      })
    )

    it.effect("values that say their type go with it", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const typed = Mysql.TypedParameter.BIGINT.unsigned(7n)
        expect(yield* rows(session, "select ? as a", [typed])).toEqual([{ a: 7 }])
        expect(yield* text(session, "select ? as a", [typed])).toEqual([{ a: 7 }])
      })
    )

    it.effect("a stored procedure gives its rows and its result, as mysql2 does", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* text(
          session,
          "create or replace procedure twice(n int) begin select n as a; select n * 2 as b; end"
        )
        const [first, second] = yield* rows(session, "call twice(?)", [4])
        expect([first, second]).toEqual([[{ a: 4 }], [{ b: 8 }]])
      })
    )

    it.effect("EV-63: the connection beneath is mysql2's", () =>
      Effect.gen(function* () {
        const session = yield* open()
        expect(yield* rows(session, "select connection_id() as id")).toEqual([{ id: idOf(session) }])
      })
    )

    it.effect("there is no more than one connection for a session", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const [before] = yield* rows(session, "show session status like 'Threads_connected'")
        yield* Effect.forEach([1, 2, 3, 4, 5], (n) => rows(session, "select ? as n", [n]), {
          concurrency: "unbounded"
        })
        const ids = yield* Effect.forEach([1, 2, 3], () => rows(session, "select connection_id() as id"), {
          concurrency: "unbounded"
        })
        expect(new Set(ids.map((_) => _[0].id)).size).toBe(1)
        expect(before.Value).toBeDefined()
      })
    )
  })
})
