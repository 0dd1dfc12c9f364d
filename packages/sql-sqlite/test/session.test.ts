// What a connection is opened with, how it is made ready for another borrower, and where the database is.
import { mkdir, readdir, writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setImmediate } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Stream } from "effect"
import { SqliteDriver } from "@cenote/sql-sqlite"
import {
  connect,
  errorOf,
  file,
  folder,
  inFile,
  nativeOf,
  pathOf,
  places,
  query,
  script,
  session
} from "./kit.ts"

for (const place of places) {
  describe(`a session with a database ${place.name}`, () => {
    it.effect("gives a sign of life", () =>
      Effect.gen(function* () {
        const connection = yield* connect(yield* place.driver())
        yield* connection.ping
      })
    )

    it.effect("rolls back what is open, and does nothing when nothing is", () =>
      Effect.gen(function* () {
        const connection = yield* connect(yield* place.driver())
        yield* script(connection, "create table t (x)")
        yield* connection.rollback
        for (const begin of ["begin", "begin immediate", "savepoint a"]) {
          yield* script(connection, begin, "insert into t values (1)")
          yield* connection.rollback
          assert.isFalse(nativeOf(connection).isTransaction)
          yield* connection.rollback
        }
        assert.deepStrictEqual(yield* query(connection, "select * from t"), [])
      })
    )

    it.effect("takes ROLLBACK where nothing is open as done, but not COMMIT", () =>
      Effect.gen(function* () {
        const connection = yield* connect(yield* place.driver())
        assert.deepStrictEqual(yield* query(connection, "rollback"), [])
        assert.deepStrictEqual(yield* connection.executeUnprepared("ROLLBACK", [], undefined), [])
        assert.deepStrictEqual(yield* connection.executeValues("/* a */ rollback to a", []), [])
        assert.deepStrictEqual(yield* connection.executeRaw("release a", []), {
          changes: 0,
          lastInsertRowid: 0
        })
        yield* errorOf(query(connection, "commit"))
        yield* script(connection, "begin")
        yield* errorOf(query(connection, "rollback to a"))
        yield* script(connection, "rollback")
        assert.isFalse(nativeOf(connection).isTransaction)
      })
    )

    it.effect("is as good as new after a reset, and the data are still there", () =>
      Effect.gen(function* () {
        const driver = yield* place.driver({ foreignKeys: true, pragmas: { cache_size: -1234 } })
        const connection = yield* connect(driver)
        const native = nativeOf(connection)
        yield* script(
          connection,
          "create table t (x)",
          "insert into t values (1)",
          "create temp table temporary (x)",
          "attach ':memory:' as other",
          "pragma foreign_keys = 0",
          "pragma cache_size = -99",
          "select * from temporary",
          "begin",
          "insert into t values (2)"
        )
        native.function("mine", () => 1)
        yield* connection.reset
        assert.strictEqual(connection.native, native)
        assert.deepStrictEqual(yield* query(connection, "select * from t"), [{ x: 1 }])
        assert.deepStrictEqual(yield* query(connection, "pragma foreign_keys"), [{ foreign_keys: 1 }])
        assert.deepStrictEqual(yield* query(connection, "pragma cache_size"), [{ cache_size: -1234 }])
        assert.deepStrictEqual(
          (yield* query(connection, "pragma database_list")).map(({ name }) => name),
          ["main"]
        )
        for (const sql of ["select * from temporary", "select mine()"]) {
          assert.strictEqual((yield* errorOf(query(connection, sql))).reason._tag, "SqlSyntaxError")
        }
        yield* connection.reset
        yield* connection.ping
      })
    )

    it.effect("ends a stream that is under way at a reset, but not itself", () =>
      Effect.gen(function* () {
        const driver = yield* place.driver()
        const connection = yield* connect(driver)
        let ended = false
        connection.onEnd(() => {
          ended = true
        })
        const rows = Array.from({ length: 100 }, (_, index) => `(${index})`).join(", ")
        yield* script(connection, "create table t (x)", `insert into t values ${rows}`)
        const begun = yield* Latch.make()
        const go = yield* Latch.make()
        const fiber = yield* Effect.forkChild(
          errorOf(
            Stream.runForEach(connection.executeStream("select * from t", [], undefined), () =>
              Effect.andThen(begun.open, go.await)
            )
          )
        )
        yield* begun.await
        yield* connection.reset
        yield* go.open
        const error = yield* Fiber.join(fiber)
        assert.match(error.message, /its connection was reset/)
        assert.isFalse(driver.isFatal(error))
        assert.isFalse(ended)
        assert.deepStrictEqual(yield* query(connection, "select count(*) as n from t"), [{ n: 100 }])
        const stream = connection.executeStream("select * from t", [], undefined)
        assert.lengthOf(yield* Stream.runCollect(stream), 100)
      })
    )

    it.effect("is closed with its scope, also within a transaction or a stream", () =>
      Effect.gen(function* () {
        const driver = yield* place.driver()
        const first = yield* connect(driver)
        yield* script(first, "create table t (x)", "insert into t values (1)")
        const native = yield* Effect.scoped(
          Effect.gen(function* () {
            const second = yield* connect(driver)
            yield* script(second, "begin immediate", "insert into t values (2)")
            yield* Stream.toPull(second.executeStream("select * from t", [], undefined))
            return nativeOf(second)
          })
        )
        assert.isFalse(native.isOpen)
        yield* script(first, "insert into t values (3)")
        assert.deepStrictEqual(yield* query(first, "select x from t"), [{ x: 1 }, { x: 3 }])
      })
    )
  })
}

const create = (filename: string | URL) =>
  Effect.scoped(
    Effect.flatMap(connect(SqliteDriver.make({ filename })), (_) =>
      script(_, "create table if not exists t (x)")
    )
  )
const tables = (config: SqliteDriver.Config) =>
  Effect.scoped(
    Effect.flatMap(connect(SqliteDriver.make(config)), (_) => query(_, "select name from sqlite_schema"))
  )

const mode = (config: SqliteDriver.Config) =>
  Effect.scoped(Effect.flatMap(connect(SqliteDriver.make(config)), (_) => query(_, "pragma journal_mode")))

describe("a file", () => {
  it.effect("is found by a path, a relative one, a URL and a URI, whatever its name", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "a folder", "100% of? it's #1.db")
      yield* Effect.promise(() => mkdir(join(path, "..")))
      yield* create(path)
      const url = pathToFileURL(path)
      const relativeUri = `file:${relative(process.cwd(), path).split("/").map(encodeURIComponent).join("/")}`
      for (const filename of [
        path,
        relative(process.cwd(), path),
        url,
        url.href,
        `${url.href}?mode=ro`,
        relativeUri
      ]) {
        assert.deepStrictEqual(yield* tables({ filename }), [{ name: "t" }], String(filename))
      }
      assert.deepStrictEqual(
        (yield* Effect.promise(() => readdir(join(path, "..")))).filter((name) => name.endsWith(".db")),
        ["100% of? it's #1.db"]
      )
    })
  )

  it.effect("is looked for from where the program was when it made the driver", () =>
    Effect.gen(function* () {
      const path = yield* file
      const here = process.cwd()
      const byPath = SqliteDriver.make({ filename: relative(here, path) })
      const byUri = SqliteDriver.make({ filename: `file:${relative(here, path)}?mode=rwc` })
      yield* Effect.acquireUseRelease(
        Effect.sync(() => process.chdir("/")),
        () =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* script(yield* connect(byPath), "create table t (x)")
              assert.lengthOf(yield* query(yield* connect(byUri), "select * from t"), 0)
            })
          ),
        () => Effect.sync(() => process.chdir(here))
      )
    })
  )

  it.effect("keeps a write-ahead log, unless that is not wanted or it is only read", () =>
    Effect.gen(function* () {
      const filename = yield* file
      assert.deepStrictEqual(yield* mode({ filename, wal: false }), [{ journal_mode: "delete" }])
      assert.deepStrictEqual(yield* mode({ filename, readonly: true }), [{ journal_mode: "delete" }])
      assert.deepStrictEqual(yield* mode({ filename: `file:${filename}?mode=ro` }), [
        { journal_mode: "delete" }
      ])
      assert.deepStrictEqual(yield* mode({ filename }), [{ journal_mode: "wal" }])
      // It is the file that has it from then on.
      assert.deepStrictEqual(yield* mode({ filename, wal: false }), [{ journal_mode: "wal" }])
    })
  )

  it.effect("has its foreign keys enforced, unless that is not wanted", () =>
    Effect.gen(function* () {
      for (const foreignKeys of [undefined, true, false]) {
        const driver = yield* inFile.driver({ foreignKeys })
        const rows = yield* query(yield* connect(driver), "pragma foreign_keys")
        assert.deepStrictEqual(rows, [{ foreign_keys: foreignKeys === false ? 0 : 1 }])
      }
    })
  )

  it.effect("gets the pragmas that are asked for, with each connection", () =>
    Effect.gen(function* () {
      const driver = yield* inFile.driver({
        pragmas: {
          synchronous: "NORMAL",
          "main.cache_size": -4000,
          recursive_triggers: true,
          temp_store: undefined,
          auto_vacuum: "it's not one"
        }
      })
      for (let i = 0; i < 2; i++) {
        const connection = yield* connect(driver)
        assert.deepStrictEqual(yield* query(connection, "pragma synchronous"), [{ synchronous: 1 }])
        assert.deepStrictEqual(yield* query(connection, "pragma cache_size"), [{ cache_size: -4000 }])
        assert.deepStrictEqual(yield* query(connection, "pragma recursive_triggers"), [
          { recursive_triggers: 1 }
        ])
      }
    })
  )

  it.effect("lets nobody load extensions from SQL", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const error = yield* errorOf(query(connection, "select load_extension('nothing')"))
      assert.match(error.message, /not authorized|no such function/)
      const path = join(yield* folder, "no-extension.so")
      yield* Effect.promise(() => writeFile(path, "text"))
      const driver = SqliteDriver.make({ filename: ":memory:", extensions: [path] })
      assert.strictEqual((yield* errorOf(Effect.scoped(connect(driver)))).reason._tag, "ConnectionError")
    })
  )
})

describe("a database in memory", () => {
  it.effect("is the same for all connections of a driver, and another for another driver", () =>
    Effect.gen(function* () {
      const driver = SqliteDriver.make({ filename: ":memory:" })
      const first = yield* connect(driver)
      const second = yield* connect(driver)
      yield* script(first, "create table t (x)", "insert into t values (1)")
      assert.deepStrictEqual(yield* query(second, "select * from t"), [{ x: 1 }])
      const other = yield* connect(SqliteDriver.make({ filename: ":memory:" }))
      assert.deepStrictEqual(yield* query(other, "select name from sqlite_schema"), [])
    })
  )

  it.effect("stays when no connection is open, also where SQLite's own URI names it", () =>
    Effect.gen(function* () {
      for (const filename of [
        ":memory:",
        "file:/stays?vfs=memdb",
        "file:stays?mode=memory&cache=shared",
        "file::memory:?cache=shared"
      ]) {
        const driver = SqliteDriver.make({ filename })
        yield* Effect.scoped(Effect.flatMap(connect(driver), (_) => script(_, "create table t (x)")))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const connection = yield* connect(driver)
            yield* query(connection, "insert into t values (1)")
            yield* connection.reset
            assert.deepStrictEqual(yield* query(connection, "select * from t"), [{ x: 1 }], filename)
          })
        )
      }
    })
  )

  it.effect("goes with its driver", () =>
    Effect.gen(function* () {
      const path = yield* forgotten
      const gone = (): boolean => {
        const native = new DatabaseSync(path)
        const { length } = native.prepare("select name from sqlite_schema").all()
        native.close()
        return length === 0
      }
      setFlagsFromString("--expose-gc")
      const collect = runInNewContext("gc") as () => void
      for (let i = 0; i < 100 && !gone(); i++) {
        yield* Effect.promise(() => setImmediate())
        collect()
      }
      assert.isTrue(gone())
    })
  )
})

/** The path of a database in memory whose driver nobody has any more. */
const forgotten = Effect.gen(function* () {
  const driver = SqliteDriver.make({ filename: ":memory:" })
  yield* Effect.scoped(Effect.flatMap(connect(driver), (_) => script(_, "create table t (x)")))
  return yield* pathOf(driver)
})

const begin = (options: object) => SqliteDriver.make({ filename: "a.db", ...options }).client.beginTransaction

describe("the driver", () => {
  it("has a name for a pool that has none, and for spans", () => {
    const targets = [
      [{ filename: "app.db" }, "app.db"],
      [{ filename: ":memory:" }, ":memory:"],
      [{ filename: "file:app.db?mode=ro" }, "file:app.db"],
      [{ filename: new URL("file:///data/app.db") }, "file:///data/app.db"]
    ] as const
    for (const [config, name] of targets) {
      const driver = SqliteDriver.make(config)
      assert.strictEqual(driver.target, `sqlite:${name}`)
      assert.deepInclude(driver.client.spanAttributes, ["db.namespace", name] as const)
    }
    const { client } = SqliteDriver.make({ filename: "a.db", spanAttributes: { "my.attribute": 1 } })
    assert.deepStrictEqual(client.spanAttributes, [
      ["my.attribute", 1],
      ["db.system.name", "sqlite"],
      ["db.namespace", "a.db"]
    ])
  })

  it("begins transactions as the options say", () => {
    assert.strictEqual(begin({}), "BEGIN IMMEDIATE")
    assert.strictEqual(begin({ transactions: "immediate" }), "BEGIN IMMEDIATE")
    assert.strictEqual(begin({ transactions: "deferred" }), "BEGIN")
    assert.strictEqual(begin({ readonly: true }), "BEGIN")
    assert.strictEqual(begin({ filename: "file:a.db?mode=ro" }), "BEGIN")
    assert.strictEqual(begin({ filename: "file:a.db?immutable=1" }), "BEGIN")
  })

  it.effect("has nothing in what it sends to a thread that cannot travel", () =>
    Effect.gen(function* () {
      const driver = SqliteDriver.make({
        filename: new URL("file:///data/app.db"),
        busyTimeout: "1 minute",
        pragmas: { synchronous: 1 },
        transformQueryNames: (name) => name,
        transformResultNames: (name) => name,
        spanAttributes: { f: () => 1 }
      })
      const config = yield* driver.worker.config
      assert.deepStrictEqual(structuredClone(config), config)
    })
  )
})
