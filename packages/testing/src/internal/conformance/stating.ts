// Statements of a `SqlClient` over a pool: what goes in, what comes out, and how they are put together.
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as String from "effect/String"
import { randomBytes } from "node:crypto"
import { type Bench, countOf, describe, expect, rowsOf, sqlFailure, valueOf } from "./kit.ts"

export const stating = <Services>({ dialect, test }: Bench<Services>): void => {
  const { integer, text } = dialect.types

  describe("statements", () => {
    for (const [name, value] of Object.entries(dialect.values)) {
      const { column } = value
      const write = value.write as object
      const read = ("read" in value ? value.read : write) as object
      const safe = "safe" in value ? value.safe : read
      test(`values: ${name}`, { max: 1 }, function* ({ pool, sql, table }) {
        const it = yield* table(`id ${integer}, v ${column}`)
        const expected = [{ v: read }, { v: null }]
        yield* sql`insert into ${sql(it)} (id, v) values (1, ${write})`
        yield* sql`insert into ${sql(it)} (id, v) values (2, ${null})`
        const query = sql<{ readonly v: unknown }>`select v from ${sql(it)} order by id`
        const found = {
          execute: yield* query,
          "execute again": yield* query,
          stream: Array.from(yield* Stream.runCollect(query.stream)),
          withoutTransform: yield* query.withoutTransform,
          values: (yield* query.values).map(([v]) => ({ v })),
          unprepared: yield* query.unprepared,
          valuesUnprepared: (yield* query.valuesUnprepared).map(([v]) => ({ v })),
          borrowed: yield* pool.use((connection) => rowsOf(connection, `select v from ${it} order by id`)),
          "in a transaction": yield* sql.withTransaction(query)
        }
        for (const [how, rows] of Object.entries(found)) {
          expect(rows, how).toEqual(expected)
          expect(rows[0]!.v?.constructor, how).toBe(read?.constructor)
        }
        for (const [how, rows] of Object.entries({
          execute: query,
          values: Effect.map(
            query.values,
            Arr.map(([v]) => ({ v }))
          ),
          stream: Stream.runCollect(query.stream)
        })) {
          expect(Array.from(yield* Effect.provideService(rows, SafeIntegers, true)), how).toEqual([
            { v: safe },
            { v: null }
          ])
        }
        // What came out goes in again, if it is of a kind that can go in.
        if (read?.constructor === write?.constructor) {
          yield* sql`insert into ${sql(it)} (id, v) values (3, ${found.execute[0]!.v})`
          expect(yield* sql`select v from ${sql(it)} where id = 3`).toEqual([{ v: read }])
        }
      })
    }

    const texts = {
      "of all planes": "äöü ß Ω Ж 漢字 \u{1F600} \u{1F468}‍\u{1F469}‍\u{1F467} é \u{10FFFF} \uFFFD",
      "with quotes": `'; drop table users; -- "\`\\ %s ? $1 :a @b {} [] /* */`,
      "with line breaks": "\t\r\n a \n\n b ",
      "that is empty": "",
      "that looks like something else": "null"
    }
    for (const [name, value] of Object.entries(texts)) {
      test(`text ${name} stays as it is`, { max: 1 }, function* ({ sql, table }) {
        const it = yield* table(`v ${text}`)
        yield* sql`insert into ${sql(it)} ${sql.insert({ v: value })}`
        expect(yield* sql`select v from ${sql(it)} where v = ${value}`).toEqual([{ v: value }])
        expect(yield* sql`select v from ${sql(it)}`.unprepared).toEqual([{ v: value }])
        expect(Array.from(yield* Stream.runCollect(sql`select v from ${sql(it)}`.stream))).toEqual([
          { v: value }
        ])
      })
    }

    test("values of 10 MB go in and come out", { max: 1 }, function* ({ pool, sql, stats, table }) {
      const long = "long text ✓ ".repeat(Math.ceil(10_000_000 / 14))
      const bytes = new Uint8Array(randomBytes(10_000_000))
      // Compared by hand: to print the difference would take for ever.
      const isSame = (found: unknown) =>
        found instanceof Uint8Array ? Buffer.compare(found, bytes) === 0 : found === long
      for (const [column, value] of [
        [text, long],
        [dialect.types.bytes, bytes]
      ] as const) {
        const it = yield* table(`v ${column}`)
        yield* sql`insert into ${sql(it)} ${sql.insert({ v: value })}`
        const query = sql<{ readonly v: unknown }>`select v from ${sql(it)}`
        const borrowed = yield* pool.use((connection) => rowsOf(connection, `select v from ${it}`))
        for (const rows of [yield* query, Array.from(yield* Stream.runCollect(query.stream)), borrowed]) {
          expect(rows.map(({ v }) => isSame(v))).toEqual([true])
        }
      }
      // What was given away is still there.
      expect(bytes.byteLength).toBe(10_000_000)
      yield* stats({ created: 1, destroyed: 0 })
    })

    test("a row of many columns", { max: 1 }, function* ({ sql }) {
      const columns = Array.from({ length: 300 }, (_, i) => `c${i}`)
      const [row] = yield* sql.unsafe(`select ${columns.map((name, i) => `${i} as ${name}`).join(", ")}`)
      expect(row).toEqual(Object.fromEntries(columns.map((name, i) => [name, i])))
    })

    test("no rows, and rows without values", { max: 1 }, function* ({ sql, table }) {
      const it = yield* table(`n ${integer}`)
      expect(yield* sql`select n from ${sql(it)}`).toEqual([])
      expect(yield* sql`select n from ${sql(it)}`.values).toEqual([])
      expect(yield* sql`select n from ${sql(it)}`.unprepared).toEqual([])
      expect(yield* sql`insert into ${sql(it)} (n) values (1)`).toEqual([])
      expect(yield* sql`update ${sql(it)} set n = 2`).toEqual([])
      expect(yield* sql`delete from ${sql(it)}`).toEqual([])
      expect(Array.from(yield* Stream.runCollect(sql`select n from ${sql(it)}`.stream))).toEqual([])
    })

    test("insert and update helpers", { max: 1 }, function* ({ observer, sql, table }) {
      const it = yield* table(`id ${integer} primary key, label ${text}, n ${integer}`)
      yield* sql`insert into ${sql(it)} ${sql.insert({ id: 1, label: "one", n: null })}`
      yield* sql`insert into ${sql(it)} ${sql.insert([
        { id: 2, label: "two", n: 2 },
        { id: 3, label: "three", n: 3 }
      ])}`
      expect(yield* countOf(observer, it)).toBe(3)
      yield* sql`update ${sql(it)} set ${sql.update({ id: 1, label: "uno", n: 11 }, ["id"])} where id = ${1}`
      expect(yield* sql`select * from ${sql(it)} where id = 1`).toEqual([{ id: 1, label: "uno", n: 11 }])
      if (dialect.hasReturning) {
        expect(
          yield* sql`insert into ${sql(it)} ${sql.insert({ id: 4, label: "four", n: 4 }).returning("*")}`
        ).toEqual([{ id: 4, label: "four", n: 4 }])
      }
      if (dialect.hasUpdateValues) {
        yield* sql`update ${sql(it)} set label = data.label from ${sql.updateValues(
          [
            { id: 2, label: "dos" },
            { id: 3, label: "tres" }
          ],
          "data"
        )} where ${sql(it)}.id = data.id`
        expect(yield* sql`select label from ${sql(it)} where id in (2, 3) order by id`.values).toEqual([
          ["dos"],
          ["tres"]
        ])
      }
    })

    test("in, and, or, csv, literals and names", { max: 1 }, function* ({ sql, table }) {
      const it = yield* table(`id ${integer} primary key, label ${text}`)
      yield* sql`insert into ${sql(it)} ${sql.insert([
        { id: 1, label: "a" },
        { id: 2, label: "b" },
        { id: 3, label: "c" },
        { id: 4, label: "c" }
      ])}`
      const ids = (where: ReturnType<typeof sql.and>) =>
        Effect.map(sql<{ id: number }>`select id from ${sql(it)} where ${where} order by id`, (rows) =>
          rows.map(({ id }) => id)
        )
      expect(yield* ids(sql`id in ${sql.in([1, 3])}`)).toEqual([1, 3])
      expect(yield* ids(sql.in("id", [2, 4, 99]))).toEqual([2, 4])
      expect(yield* ids(sql.in("id", []))).toEqual([])
      expect(yield* ids(sql.and([sql`id > ${1}`, sql`label = ${"c"}`]))).toEqual([3, 4])
      expect(yield* ids(sql.or([sql`id = ${1}`, sql`label = ${"c"}`]))).toEqual([1, 3, 4])
      expect(yield* ids(sql.and([]))).toEqual([1, 2, 3, 4])
      expect(yield* ids(sql`id = ${sql.literal("1 + 1")}`)).toEqual([2])
      const sorted = sql<{
        id: number
      }>`select id from ${sql(it)} ${sql.csv("order by", ["label desc", "id desc"])}`
      expect((yield* sorted).map(({ id }) => id)).toEqual([4, 3, 2, 1])
    })

    test("names that need quotes", { max: 1 }, function* ({ sql }) {
      const odd = `Odd "name" of a 'table', ${randomBytes(3).toString("hex")}`
      const columns = ["select", "With Capitals", "ünï", "a-b"]
      yield* sql`create table ${sql(odd)} (${sql.csv(columns.map((name) => sql`${sql(name)} ${sql.literal(integer)}`))})`
      const row = Object.fromEntries(columns.map((name, i) => [name, i]))
      yield* sql`insert into ${sql(odd)} ${sql.insert(row)}`
      expect(yield* sql`select * from ${sql(odd)}`).toEqual([row])
      expect(yield* sql`select ${sql("With Capitals")} from ${sql(odd)}`).toEqual([{ "With Capitals": 1 }])
      yield* sql`drop table ${sql(odd)}`
    })

    test("names are transformed on their way in and out", {}, function* (tools) {
      const driver = tools.database.driver({
        transformQueryNames: String.camelToSnake,
        transformResultNames: String.snakeToCamel
      })
      const { sql } = yield* tools.open({ max: 1 }, driver)
      const it = yield* tools.table(`user_id ${integer}, first_name ${text}`)
      const row = { userId: 1, firstName: "Ada" }
      yield* sql`insert into ${sql(it)} ${sql.insert(row)}`
      const query = sql`select ${sql("userId")}, ${sql("firstName")} from ${sql(it)}`
      expect(yield* query).toEqual([row])
      expect(yield* query.unprepared).toEqual([row])
      expect(Array.from(yield* Stream.runCollect(query.stream))).toEqual([row])
      expect(yield* query.values).toEqual([[1, "Ada"]])
      const plain = sql`select user_id, first_name from ${sql(it)}`
      expect(yield* plain).toEqual([row])
      expect(yield* plain.withoutTransform).toEqual([{ user_id: 1, first_name: "Ada" }])
      const untouched = sql.withoutTransforms()
      expect(yield* untouched`select ${untouched("user_id")} from ${untouched(it)}`).toEqual([{ user_id: 1 }])
      expect(yield* sql.withTransaction(query)).toEqual([row])
      expect(Array.from(yield* Stream.runCollect(sql.unsafe(dialect.series(3_000)).stream))).toHaveLength(
        3_000
      )
    })

    test("raw gives what the driver gives", { max: 1 }, function* ({ sql, table }) {
      const it = yield* table(`n ${integer}`)
      expect(yield* sql`insert into ${sql(it)} (n) values (1)`.raw).toBeTypeOf("object")
      expect(JSON.stringify(yield* sql`select n as found from ${sql(it)}`.raw)).toContain("found")
    })

    test("unsafe statements with parameters", { max: 1 }, function* ({ sql, table }) {
      const it = yield* table(`n ${integer}, label ${text}`)
      const [insert] = sql`insert into ${sql(it)} (n, label) values (${1}, ${"one"})`.compile()
      yield* sql.unsafe(insert, [1, "one"])
      yield* sql.unsafe(insert, [2, "two"]).unprepared
      expect(yield* sql`select n, label from ${sql(it)} order by n`.values).toEqual([
        [1, "one"],
        [2, "two"]
      ])
    })

    test(
      "a parameter that cannot be sent fails the statement, and nothing else",
      { max: 1 },
      function* ({ sql, stats }) {
        for (const value of [Symbol("no"), () => "no", new Map([["a", 1]])]) {
          const exit = yield* Effect.exit(sql`select ${value} as v`)
          expect(exit._tag).toBe("Failure")
          expect(yield* sql`select 1 as n`).toEqual([{ n: 1 }])
        }
        yield* stats({ used: 0, idle: 1 })
      }
    )

    test(
      "a statement can be run many times, and many statements once",
      { max: 1 },
      function* ({ sql, stats }) {
        for (let n = 0; n < 300; n++) {
          expect(yield* sql.unsafe<{ n: number }>(`select ${n} as n`)).toEqual([{ n }])
        }
        const again = sql.unsafe("select 7 as n")
        for (let n = 0; n < 50; n++) expect(yield* again).toEqual([{ n: 7 }])
        yield* stats({ created: 1 })
      }
    )

    test("a table that changes is seen as it is", { max: 2 }, function* ({ observer, sql, table }) {
      const it = yield* table(`a ${integer}`)
      yield* sql`insert into ${sql(it)} (a) values (1)`
      const query = sql`select * from ${sql(it)}`
      for (let i = 0; i < 8; i++) expect(yield* query).toEqual([{ a: 1 }])
      yield* rowsOf(observer, `alter table ${it} add column b ${integer}`)
      // A server may refuse a statement once that was prepared for the table as it was.
      yield* Effect.exit(query)
      expect(yield* query).toEqual([{ a: 1, b: null }])
    })

    test("50 fibers over 4 connections: each has its own answers", { max: 4 }, function* (tools) {
      const { pool, sql, stats, steer, table } = tools
      const it = yield* table(`id ${integer} primary key, label ${text}`)
      let most = 0
      yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => i),
        Effect.fnUntraced(function* (id) {
          yield* sql`insert into ${sql(it)} ${sql.insert({ id, label: `no. ${id}` })}`
          most = Math.max(most, (yield* pool.stats).size)
          expect(yield* sql`select label from ${sql(it)} where id = ${id}`).toEqual([{ label: `no. ${id}` }])
          if (id % 5 === 0) {
            expect(yield* Stream.runCount(sql.unsafe(dialect.series(id + 1)).stream)).toBe(id + 1)
          } else if (id % 5 === 1) {
            yield* sqlFailure(sql`insert into ${sql(it)} ${sql.insert({ id, label: "again" })}`)
          } else if (id % 5 === 2) {
            yield* sql.withTransaction(sql`update ${sql(it)} set label = ${"changed"} where id = ${id}`)
          }
          expect(
            yield* pool.use((connection) => valueOf(connection, `select id from ${it} where id = ${id}`))
          ).toBe(id)
        }),
        { concurrency: "unbounded" }
      )
      // Where a statement is over before the next one begins, there is no need of four.
      expect(most).toBeLessThanOrEqual(4)
      if (dialect.server !== undefined) expect(most).toBe(4)
      expect(steer.attempts).toBe(most)
      yield* stats({ used: 0, pending: 0, destroyed: 0, size: most })
      expect(
        Number((yield* sql`select count(*) from ${sql(it)} where label = 'changed'`.values)[0]![0])
      ).toBe(10)
      expect(Number((yield* sql`select count(*) from ${sql(it)}`.values)[0]![0])).toBe(50)
    })
  })
}
