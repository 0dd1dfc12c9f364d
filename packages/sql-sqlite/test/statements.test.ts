// Statements on one connection: what goes in, what comes out, and what is kept prepared.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import { errorOf, nativeOf, query, script, session } from "./kit.ts"

const users = (connection: Parameters<typeof query>[0], names: ReadonlyArray<string>) =>
  Effect.andThen(
    script(connection, "create table users (id integer primary key, name text)"),
    Effect.forEach(names, (name) => query(connection, "insert into users (name) values (?)", name))
  )

const numbers = (from: number, to: number) =>
  `with recursive n(i) as (values (${from}) union all select i + 1 from n where i < ${to}) select i from n`

const upper = (rows: ReadonlyArray<object>) =>
  rows.map((row) => Object.fromEntries(Object.entries(row).map(([key, value]) => [key.toUpperCase(), value])))

describe("rows", () => {
  it.effect("are plain objects, however many there are", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(connection, ["Ada", "Grace", "Edsger", "Barbara", "Tony", "Niklaus"])
      // The second run of a statement that gave many rows reads them in another way than the first.
      for (const limit of [1, 6, 6, 0, 1, 1]) {
        const rows = yield* query(connection, "select * from users limit ?", limit)
        assert.lengthOf(rows, limit)
        for (const row of rows) {
          assert.strictEqual(Object.getPrototypeOf(row), Object.prototype)
          assert.deepStrictEqual(Object.keys(row), ["id", "name"])
        }
      }
      const rows = yield* query(connection, "select * from users where id = 1")
      assert.deepStrictEqual(rows, [{ id: 1, name: "Ada" }])
      assert.deepStrictEqual({ ...rows[0], more: true }, { id: 1, name: "Ada", more: true })
    })
  )

  it.effect("have a column called __proto__ like any other, and the last of two with one name", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const sql = `select ? as "__proto__", i as a, -i as a from (${numbers(1, 8)}) limit ?`
      for (const limit of [1, 8, 8]) {
        const rows = yield* query(connection, sql, "x", limit)
        assert.lengthOf(rows, limit)
        for (const [index, row] of rows.entries()) {
          assert.strictEqual(Object.getPrototypeOf(row), Object.prototype)
          assert.deepStrictEqual(Object.entries(row), [
            ["__proto__", "x"],
            ["a", -(index + 1)]
          ])
        }
      }
    })
  )

  it.effect("follow a change of the table, also where the statement was prepared before", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(connection, ["a", "b", "c", "d", "e", "f"])
      for (const limit of [6, 6, 1]) {
        yield* query(connection, "select * from users limit ?", limit)
      }
      yield* script(
        connection,
        "alter table users rename column name to called",
        "alter table users add column age integer default 7"
      )
      for (const limit of [1, 6, 6]) {
        const rows = yield* query(connection, "select * from users limit ?", limit)
        assert.deepStrictEqual(rows[0], { id: 1, called: "a", age: 7 })
      }
      assert.deepStrictEqual(yield* connection.executeValues("select * from users limit 1", []), [
        [1, "a", 7]
      ])
    })
  )

  it.effect("are renamed by what the client hands in", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const rows = yield* connection.execute("select 1 as a", [], upper as never)
      assert.deepStrictEqual(rows, [{ A: 1 }])
      const unprepared = yield* connection.executeUnprepared("select 1 as a", [], upper as never)
      assert.deepStrictEqual(unprepared, [{ A: 1 }])
      const streamed = yield* Stream.runCollect(connection.executeStream("select 1 as a", [], upper as never))
      assert.deepStrictEqual(streamed, [{ A: 1 }])
    })
  )

  it.effect("come as arrays where values are asked for", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(connection, ["Ada", "Grace"])
      const sql = "select name, id from users order by id"
      const values = [
        ["Ada", 1],
        ["Grace", 2]
      ]
      assert.deepStrictEqual(yield* connection.executeValues(sql, []), values)
      assert.deepStrictEqual(yield* connection.executeValuesUnprepared(sql, []), values)
      // The same statement gives objects again.
      assert.deepStrictEqual((yield* query(connection, sql))[1], { id: 2, name: "Grace" })
      assert.deepStrictEqual(yield* connection.executeValues("delete from users", []), [])
    })
  )

  it.effect("of a raw statement are rows, and without any it tells what it changed", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(connection, ["Ada", "Grace"])
      assert.deepStrictEqual(yield* connection.executeRaw("insert into users (name) values (?)", ["Tony"]), {
        changes: 1,
        lastInsertRowid: 3
      })
      const changed = yield* connection.executeRaw("update users set name = 'x'", [])
      assert.deepStrictEqual(changed, { changes: 3, lastInsertRowid: 3 })
      assert.deepStrictEqual(yield* connection.executeRaw("select id from users where id = 2", []), [
        { id: 2 }
      ])
      assert.deepStrictEqual(
        yield* connection.executeRaw("delete from users where id > 1 returning id", []),
        [{ id: 2 }, { id: 3 }]
      )
      const safe = yield* Effect.provideService(
        connection.executeRaw("delete from users", []),
        SafeIntegers,
        true
      )
      assert.deepStrictEqual(safe, { changes: 1n, lastInsertRowid: 3n })
    })
  )
})

describe("parameters", () => {
  it.effect("of all kinds that SQLite can have", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const at = new Date("2026-01-02T03:04:05.678Z")
      const values = [
        "text",
        1.5,
        7n,
        null,
        true,
        false,
        at,
        new Uint8Array([1, 2]),
        new Uint8Array([9, 3, 4, 9]).subarray(1, 3),
        new Uint8Array([5]).buffer,
        new DataView(new Uint8Array([6]).buffer)
      ]
      const marks = values.map(() => "?").join(", ")
      const [row] = yield* connection.executeValues(`select ${marks}`, values)
      assert.deepStrictEqual(row, [
        "text",
        1.5,
        7,
        null,
        1,
        0,
        "2026-01-02T03:04:05.678Z",
        new Uint8Array([1, 2]),
        new Uint8Array([3, 4]),
        new Uint8Array([5]),
        new Uint8Array([6])
      ])
      // Alone, and first: node:sqlite would take a Date for named parameters.
      assert.deepStrictEqual(yield* connection.executeValues("select ?", [at]), [[at.toISOString()]])
      const types = yield* connection.executeValues("select typeof(?), typeof(?), typeof(?)", [1, 1n, true])
      assert.deepStrictEqual(types, [["real", "integer", "real"]])
    })
  )

  it.effect("that it cannot have are named by their position, and the statement is not run", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(connection, [])
      const cases: ReadonlyArray<readonly [value: unknown, message: RegExp]> = [
        [undefined, /^parameter 2 is undefined\. Pass null for NULL$/],
        [{ a: 1 }, /^parameter 2 is an object \(Object\)\. .*JSON\.stringify/],
        [Object.create(null), /^parameter 2 is an object \(no class\)/],
        [new Map(), /^parameter 2 is an object \(Map\)/],
        [[1], /^parameter 2 is an array\. /],
        [() => 1, /^parameter 2 is a function\. SQLite takes/],
        [Symbol("s"), /^parameter 2 is a symbol/],
        [2n ** 63n, /^parameter 2 is 9223372036854775808n\. SQLite's integers have 64 bits/],
        [new Date(Number.NaN), /^parameter 2 is an invalid Date/]
      ]
      for (const [value, message] of cases) {
        const error = yield* errorOf(query(connection, "insert into users values (?, ?)", 1, value))
        assert.strictEqual(error.reason._tag, "UnknownError")
        assert.match(error.message, message)
      }
      const { message, reason } = yield* errorOf(query(connection, "select ?", 1, 2))
      assert.strictEqual(reason._tag, "UnknownError")
      assert.match(message, /more parameters than placeholders/)
      assert.deepStrictEqual(yield* query(connection, "select count(*) as n from users"), [{ n: 0 }])
      const least = yield* connection.executeValues("select ? = -9223372036854775808", [-(2n ** 63n)])
      assert.deepStrictEqual(least, [[1]])
    })
  )

  it.effect("of one run do not stay for the next", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const sql = "select ? as a, ? as b"
      assert.deepStrictEqual(yield* query(connection, sql, 1, 2), [{ a: 1, b: 2 }])
      assert.deepStrictEqual(yield* query(connection, sql, 3), [{ a: 3, b: null }])
    })
  )
})

const safe = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, SafeIntegers, true)

describe("integers", () => {
  const large = 2n ** 53n + 1n

  it.effect("are numbers, and one that is too large fails with what to do", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      assert.deepStrictEqual(yield* query(connection, `select ${2 ** 53 - 1} as n`), [{ n: 2 ** 53 - 1 }])
      const error = yield* errorOf(query(connection, "select ? as n", large))
      assert.match(error.message, /too large.*SafeIntegers/)
    })
  )

  it.effect("are bigints with SafeIntegers, in each way to read them, and numbers again without", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const sql = "select ? as n, 1.5 as r"
      assert.deepStrictEqual(yield* safe(query(connection, sql, large)), [{ n: large, r: 1.5 }])
      assert.deepStrictEqual(yield* query(connection, sql, 5n), [{ n: 5, r: 1.5 }])
      assert.deepStrictEqual(yield* safe(connection.executeValues(sql, [large])), [[large, 1.5]])
      assert.deepStrictEqual(yield* safe(connection.executeRaw(sql, [large])), [{ n: large, r: 1.5 }])
      assert.deepStrictEqual(yield* safe(connection.executeUnprepared(sql, [large], undefined)), [
        { n: large, r: 1.5 }
      ])
      const stream = Stream.runCollect(connection.executeStream(sql, [large], undefined))
      assert.deepStrictEqual(yield* safe(stream), [{ n: large, r: 1.5 }])
      assert.deepStrictEqual(yield* connection.executeValues(sql, [6n]), [[6, 1.5]])
    })
  )
})

/** How often a connection prepares what, from now on. */
const prepares = (connection: Parameters<typeof query>[0]) => {
  const native = nativeOf(connection)
  const prepare = native.prepare.bind(native)
  const seen: Array<string> = []
  native.prepare = (sql: string) => {
    seen.push(sql)
    return prepare(sql)
  }
  return seen
}

describe("prepared statements", () => {
  it.effect("are kept, up to prepareCacheSize, those that were run last", () =>
    Effect.gen(function* () {
      const connection = yield* session({ prepareCacheSize: 2 })
      const seen = prepares(connection)
      yield* script(connection, "select 1", "select 2", "select 1", "select 3", "select 1", "select 2")
      assert.deepStrictEqual(seen, ["select 1", "select 2", "select 3", "select 2"])
    })
  )

  it.effect("are not kept where that is asked for, and pragmas never are", () =>
    Effect.gen(function* () {
      const none = yield* session({ prepareCacheSize: 0 })
      const seenWithout = prepares(none)
      yield* script(none, "select 1", "select 1")
      assert.lengthOf(seenWithout, 2)

      const connection = yield* session()
      const seen = prepares(connection)
      yield* connection.executeUnprepared("select 1", [], undefined)
      yield* connection.executeValuesUnprepared("select 1", [])
      assert.lengthOf(seen, 2)
      // One may have its effect as it is prepared.
      yield* script(connection, "pragma user_version", "pragma user_version")
      assert.lengthOf(seen, 4)
      for (const on of [0, 1, 0, 1]) {
        yield* query(connection, `pragma foreign_keys = ${on}`)
        assert.deepStrictEqual(yield* query(connection, "pragma foreign_keys"), [{ foreign_keys: on }])
      }
    })
  )

  it.effect("hold one statement each: what follows it would be lost, and so it is refused", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      for (const sql of [
        "select 1 as n;",
        " /* a */ -- b\n select 1 as n ; ; -- c",
        "select 1 as n /* ; */",
        "select 1 as n; /* not closed"
      ]) {
        assert.deepStrictEqual(yield* query(connection, sql), [{ n: 1 }], sql)
      }
      yield* script(connection, "create table t (x)")
      for (const sql of [
        "insert into t values (1); insert into t values (2)",
        "insert into t values ('é;'); /* a */ select 2 /* b */"
      ]) {
        const error = yield* errorOf(query(connection, sql))
        assert.strictEqual(error.reason._tag, "SqlSyntaxError")
        assert.match(error.message, /more than one statement .* (?:"insert into t|"\/\* a \*\/ select)/)
        const unprepared = yield* errorOf(connection.executeUnprepared(sql, [], undefined))
        assert.strictEqual(unprepared.reason._tag, "SqlSyntaxError")
      }
      assert.deepStrictEqual(yield* query(connection, "select count(*) as n from t"), [{ n: 0 }])
      for (const sql of ["", " \n", "-- nothing", "/* nothing", ";"]) {
        const error = yield* errorOf(query(connection, sql))
        assert.strictEqual(error.reason._tag, "SqlSyntaxError")
        assert.match(error.message, /no statement/)
      }
    })
  )
})

describe("streams", () => {
  const count = 1_000

  it.effect("give all rows in order, as plain objects", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const rows = yield* Stream.runCollect(connection.executeStream(numbers(1, count), [], undefined))
      assert.deepStrictEqual(
        rows,
        Array.from({ length: count }, (_, index) => ({ i: index + 1 }))
      )
      assert.strictEqual(Object.getPrototypeOf(rows[0]), Object.prototype)
      const none = connection.executeStream("select 1 where 0", [], undefined)
      assert.deepStrictEqual(yield* Stream.runCollect(none), [])
    })
  )

  it.effect("fetch rows as they are wanted: not those that nobody takes", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      let called = 0
      nativeOf(connection).function("seen", (value) => {
        called++
        return value
      })
      const stream = connection.executeStream(
        `select seen(i) as i from (${numbers(1, 100_000)})`,
        [],
        undefined
      )
      assert.strictEqual(called, 0)
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(stream, 3)), [{ i: 1 }, { i: 2 }, { i: 3 }])
      assert.isAtLeast(called, 3)
      assert.isBelow(called, 50)
    })
  )

  it.effect("let go of what they read when they are cut short, so that the table can be dropped", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(
        connection,
        Array.from({ length: 100 }, (_, index) => `user ${index}`)
      )
      const stream = connection.executeStream("select * from users", [], undefined)
      const during = Stream.mapEffect(Stream.take(stream, 1), () =>
        errorOf(query(connection, "drop table users"))
      )
      const [error] = yield* Stream.runCollect(during)
      assert.strictEqual(error!.reason._tag, "LockTimeoutError")
      assert.match(error!.message, /table is locked: a stream on this connection/)
      const failing = Stream.runDrain(Stream.mapEffect(stream, () => Effect.fail("no")))
      assert.strictEqual(yield* errorOf(failing), "no")
      yield* script(connection, "drop table users")
    })
  )

  it.effect("go on beside other statements of the connection, also with the same text", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(
        connection,
        Array.from({ length: 300 }, (_, index) => `user ${index}`)
      )
      const sql = "select id from users order by id"
      const seen: Array<number> = []
      yield* Stream.runForEach(connection.executeStream(sql, [], undefined), ({ id }) =>
        Effect.gen(function* () {
          seen.push(id)
          if (id % 100 !== 0) return
          assert.lengthOf(yield* query(connection, sql), 300)
          const inner = yield* Stream.runCollect(Stream.take(connection.executeStream(sql, [], undefined), 2))
          assert.deepStrictEqual(inner, [{ id: 1 }, { id: 2 }])
          yield* query(connection, "update users set name = ? where id = ?", "seen", id)
        })
      )
      assert.deepStrictEqual(
        seen,
        Array.from({ length: 300 }, (_, index) => index + 1)
      )
      assert.deepStrictEqual(
        yield* query(connection, "select count(*) as n from users where name = 'seen'"),
        [{ n: 3 }]
      )
    })
  )

  it.effect("give the rows before the one that fails", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const seen: Array<number> = []
      const sql =
        "select 9007199254740990 + i as n from (select 1 as i union all select 2 union all select 1)"
      const stream = Stream.runForEach(
        connection.executeStream(`${sql} order by i`, [], undefined),
        ({ n }) => Effect.sync(() => seen.push(n))
      )
      const error = yield* errorOf(stream)
      assert.match(error.message, /too large/)
      assert.deepStrictEqual(seen, [2 ** 53 - 1, 2 ** 53 - 1])
      const wrong = yield* errorOf(Stream.runDrain(connection.executeStream("selec 1", [], undefined)))
      assert.strictEqual(wrong.reason._tag, "SqlSyntaxError")
      const unfit = yield* errorOf(
        Stream.runDrain(connection.executeStream("select ?", [undefined], undefined))
      )
      assert.match(unfit.message, /parameter 1 is undefined/)
    })
  )

  it.effect("let a transaction end while they read, but not while they write", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* script(connection, "create table t (x)", "begin")
      const sql = `insert into t ${numbers(1, 100)} returning x`
      const during = Stream.mapEffect(Stream.take(connection.executeStream(sql, [], undefined), 1), () =>
        errorOf(query(connection, "commit"))
      )
      const [error] = yield* Stream.runCollect(during)
      assert.strictEqual(error!.reason._tag, "LockTimeoutError")
      assert.match(error!.message, /SQL statements in progress: a stream on this connection/)
      yield* query(connection, "commit")
      yield* query(connection, "begin")
      const reading = connection.executeStream("select x from t", [], undefined)
      let seen = 0
      yield* Stream.runForEach(reading, () => (++seen === 1 ? query(connection, "commit") : Effect.void))
      assert.strictEqual(seen, 100)
      assert.isFalse(nativeOf(connection).isTransaction)
    })
  )

  it.effect("run anew each time", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* users(connection, ["Ada"])
      const stream = connection.executeStream("select name from users", [], undefined)
      assert.lengthOf(yield* Stream.runCollect(stream), 1)
      yield* query(connection, "insert into users (name) values ('Grace')")
      assert.lengthOf(yield* Stream.runCollect(stream), 2)
    })
  )
})
