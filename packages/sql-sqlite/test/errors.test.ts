// What goes wrong, and what it is called.
import { chmod, writeFile, rename } from "node:fs/promises"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { connect, errorOf, file, folder, inFile, nativeOf, query, script, session } from "./kit.ts"

describe("statements", () => {
  it.effect("that are wrong are syntax errors, also when a table has gone since they were prepared", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      const wrong: ReadonlyArray<readonly [sql: string, message: RegExp]> = [
        ["selec 1", /near "selec": syntax error/],
        ["select * from missing", /no such table: missing/],
        ["select missing", /no such column: missing/],
        ["select missing()", /no such function: missing/],
        ["select abs()", /wrong number of arguments/]
      ]
      for (const [sql, message] of wrong) {
        const error = yield* errorOf(query(connection, sql))
        assert.strictEqual(error.reason._tag, "SqlSyntaxError", sql)
        assert.match(error.message, message)
        assert.strictEqual(error.reason.operation, "prepare")
        assert.isFalse(error.isRetryable)
        const { reason } = yield* errorOf(connection.executeUnprepared(sql, [], undefined))
        assert.strictEqual(reason._tag, "SqlSyntaxError", sql)
      }
      yield* script(connection, "create table t (x)", "select * from t", "drop table t")
      const gone = yield* errorOf(query(connection, "select * from t"))
      assert.strictEqual(gone.reason._tag, "SqlSyntaxError")
      assert.match(gone.message, /no such table: t/)
    })
  )

  it.effect("that fail as they run say what SQLite says, and keep its error as their cause", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* script(connection, "create table t (id integer primary key)")
      const mismatch = yield* errorOf(query(connection, "insert into t values ('x')"))
      assert.strictEqual(mismatch.reason._tag, "UnknownError")
      assert.strictEqual(mismatch.message, "datatype mismatch")
      assert.strictEqual(mismatch.reason.operation, "execute")
      assert.include(mismatch.reason.cause, { code: "ERR_SQLITE_ERROR", errcode: 20 })
      const json = yield* errorOf(query(connection, "select json('{')"))
      assert.strictEqual(json.reason._tag, "UnknownError")
      const commit = yield* errorOf(query(connection, "commit"))
      assert.match(commit.message, /no transaction is active/)
    })
  )

  it.effect("that break a constraint name it", () =>
    Effect.gen(function* () {
      const connection = yield* session()
      yield* script(
        connection,
        "create table users (id integer primary key, email text unique, age integer check (age > 0), name text not null default '')",
        "create table pairs (a, b, primary key (a, b)) without rowid",
        "create table posts (author integer references users)",
        "insert into users (id, email) values (1, 'a')",
        "insert into pairs values (1, 2)"
      )
      const unique: ReadonlyArray<readonly [sql: string, constraint: string]> = [
        ["insert into users (id, email) values (2, 'a')", "users.email"],
        ["insert into users (id) values (1)", "users.id"],
        ["insert into users (rowid) values (1)", "users.id"],
        ["insert into pairs values (1, 2)", "pairs.a, pairs.b"]
      ]
      for (const [sql, constraint] of unique) {
        const { reason } = yield* errorOf(query(connection, sql))
        assert.strictEqual(reason._tag, "UniqueViolation", sql)
        assert.strictEqual(reason._tag === "UniqueViolation" ? reason.constraint : "", constraint)
      }
      const others: ReadonlyArray<readonly [sql: string, message: RegExp]> = [
        ["insert into users (age) values (0)", /CHECK constraint failed: age > 0/],
        ["insert into users (name) values (null)", /NOT NULL constraint failed: users\.name/],
        ["insert into posts values (9)", /FOREIGN KEY constraint failed/]
      ]
      for (const [sql, message] of others) {
        const error = yield* errorOf(query(connection, sql))
        assert.strictEqual(error.reason._tag, "ConstraintError", sql)
        assert.match(error.message, message)
      }
    })
  )

  it.effect("leave the connection ready for the next, and are not fatal", () =>
    Effect.gen(function* () {
      const driver = yield* inFile.driver()
      const connection = yield* connect(driver)
      yield* script(connection, "create table t (x unique)", "insert into t values (1)")
      for (const sql of ["insert into t values (1)", "selec", "select json('{')", "commit"]) {
        const error = yield* errorOf(query(connection, sql))
        assert.isFalse(driver.isFatal(error), sql)
        assert.deepStrictEqual(yield* query(connection, "select x from t"), [{ x: 1 }])
      }
    })
  )
})

const failing = (config: SqliteDriver.Config) => errorOf(Effect.scoped(connect(SqliteDriver.make(config))))

describe("connecting", () => {
  it.effect("fails where the file cannot be opened, and says which", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const filenames = [join(path, "missing", "test.db"), path]
      for (const filename of filenames) {
        const error = yield* failing({ filename })
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.include(error.message, filename)
        assert.strictEqual(error.reason.operation, "connect")
      }
      const readonly = yield* failing({ filename: join(path, "none.db"), readonly: true })
      assert.strictEqual(readonly.reason._tag, "ConnectionError")
      assert.match(readonly.message, /Are the file and its folder there/)
    })
  )

  it.effect("fails where the file is something else", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.promise(() =>
        writeFile(filename, "This is a text, and long enough to be told from a database. ".repeat(9))
      )
      const driver = SqliteDriver.make({ filename })
      const error = yield* errorOf(Effect.scoped(connect(driver)))
      assert.match(error.message, /file is not a database/)
      assert.include(error.message, filename)
      assert.isTrue(driver.isFatal(error))
      assert.isFalse(error.isRetryable)
    })
  )

  it.effect("fails where a pragma has a name that SQLite does not know, and an extension is not there", () =>
    Effect.gen(function* () {
      const pragma = yield* failing({ filename: ":memory:", pragmas: { jurnal_mode: "wal" } })
      assert.strictEqual(pragma.reason._tag, "ConnectionError")
      assert.match(pragma.message, /no pragma "jurnal_mode"/)
      const extension = yield* failing({ filename: ":memory:", extensions: ["/nowhere/extension.so"] })
      assert.strictEqual(extension.reason._tag, "ConnectionError")
      assert.include(extension.message, "/nowhere/extension.so")
    })
  )

  it.effect("closes what it opened where setting up fails", () =>
    Effect.gen(function* () {
      // On Linux the files that a process has open can be counted.
      const { readdir } = yield* Effect.promise(() => import("node:fs/promises"))
      const filename = yield* file
      yield* Effect.scoped(connect(SqliteDriver.make({ filename })))
      const open = Effect.promise(async () => (await readdir("/proc/self/fd").catch(() => [])).length)
      const before = yield* open
      for (let i = 0; i < 20; i++) yield* failing({ filename, pragmas: { nothing: 1 } })
      assert.isBelow((yield* open) - before, 20)
    })
  )
})

describe("options that make no sense", () => {
  const rejected: ReadonlyArray<readonly [config: object, message: RegExp]> = [
    [{ filename: "" }, /filename is "", but it must be the path of a file/],
    [{ filename: "a\0b" }, /filename is /],
    [{ filename: new URL("https://example.org/a.db") }, /filename is https:\/\/example\.org\/a\.db/],
    [{ filename: 5 }, /filename is 5/],
    [{ filename: "file::memory:" }, /each has a database of its own: ":memory:" gives one/],
    [{ filename: "file:name?mode=memory" }, /database of its own/],
    [{ filename: "file:name?vfs=memdb" }, /database of its own/],
    [{ filename: "file:" }, /database of its own/],
    [{ busyTimeout: -1 }, /busyTimeout is -1, but it must be a duration, zero or more/],
    [{ busyTimeout: Number.NaN }, /busyTimeout is NaN/],
    [{ busyTimeout: "soon" }, /busyTimeout is "soon"/],
    [{ prepareCacheSize: 1.5 }, /prepareCacheSize is 1\.5, but it must be a whole number, 0 or more/],
    [{ transactions: "exclusive" }, /transactions is "exclusive", but it must be "deferred" or "immediate"/],
    [{ transactions: "immediate", readonly: true }, /transactions is "immediate", but it must be "deferred"/],
    [{ pragmas: { "a; drop table t": 1 } }, /pragmas is "a; drop table t"/],
    [{ pragmas: { cache_size: Number.NaN } }, /pragmas\.cache_size is NaN/],
    [{ pragmas: { cache_size: {} } }, /pragmas\.cache_size is \[object Object\]/],
    [{ extensions: [""] }, /extensions is ""/],
    [{ extensions: "spellfix" }, /extensions is "spellfix", but it must be an array of paths/],
    // Taken for something that is not true, it would have opened the file for writing.
    [{ readonly: "yes" }, /readonly is "yes", but it must be true or false/],
    [{ wal: 0 }, /wal is 0, but it must be true or false/]
  ]

  for (const [config, message] of rejected) {
    it(`throw at once: ${String(message)}`, () => {
      const made = Result.try(() => SqliteDriver.make({ filename: "a.db", ...config }))
      assert.isTrue(Result.isFailure(made))
      if (Result.isFailure(made)) assert.match(String(made.failure), message)
    })
  }
})

describe("a session that cannot go on", () => {
  it.effect("tells once that it has ended, when it was closed by somebody else, and whoever asks later", () =>
    Effect.gen(function* () {
      const driver = yield* inFile.driver()
      const connection = yield* connect(driver)
      const ended: Array<SqlError> = []
      connection.onEnd((error) => ended.push(error))
      yield* query(connection, "select 1")
      yield* errorOf(query(connection, "selec"))
      assert.lengthOf(ended, 0)
      nativeOf(connection).close()
      for (const failing of [
        query(connection, "select 1"),
        query(connection, "select 2"),
        connection.ping,
        connection.rollback,
        connection.reset
      ]) {
        const error = yield* errorOf(failing)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.match(error.message, /was closed/)
        assert.isTrue(driver.isFatal(error))
      }
      assert.lengthOf(ended, 1)
      connection.onEnd((error) => ended.push(error))
      assert.lengthOf(ended, 2)
    })
  )

  it.effect("finds the file damaged, and that is fatal", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const driver = SqliteDriver.make({ filename, wal: false })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* connect(driver)
          yield* script(connection, "create table t (x)", "insert into t values (zeroblob(100000))")
        })
      )
      yield* damage(filename)
      const connection = yield* connect(driver)
      const error = yield* errorOf(query(connection, "select length(x), x from t"))
      assert.match(error.message, /malformed/)
      assert.isTrue(driver.isFatal(error))
      assert.isFalse(error.isRetryable)
    })
  )

  it.effect("writes to a file that is not there any more, and that is fatal", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const driver = SqliteDriver.make({ filename, wal: false })
      const connection = yield* connect(driver)
      yield* script(connection, "create table t (x)")
      yield* Effect.promise(() => rename(filename, `${filename}.gone`))
      const error = yield* errorOf(query(connection, "insert into t values (1)"))
      assert.propertyVal(error.reason.cause, "errcode", 1032)
      assert.isTrue(driver.isFatal(error))
    })
  )

  it.effect("writes to what is read only, and that is not fatal", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const writing = SqliteDriver.make({ filename })
      yield* Effect.scoped(Effect.flatMap(connect(writing), (_) => script(_, "create table t (x)")))
      const driver = SqliteDriver.make({ filename, readonly: true })
      const connection = yield* connect(driver)
      const error = yield* errorOf(query(connection, "insert into t values (1)"))
      assert.match(error.message, /attempt to write a readonly database/)
      assert.isFalse(driver.isFatal(error))
      assert.deepStrictEqual(yield* query(connection, "select * from t"), [])
    })
  )
})

/** Overwrites all but the first pages. */
const damage = (filename: string) =>
  Effect.promise(async () => {
    const { open } = await import("node:fs/promises")
    await chmod(filename, 0o600)
    const handle = await open(filename, "r+")
    const { size } = await handle.stat()
    await handle.write(Buffer.alloc(size - 4096, 0xa5), 0, size - 4096, 4096)
    await handle.close()
  })
