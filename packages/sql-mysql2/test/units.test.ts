/** What needs no server: what errors mean, how a configuration is read, how statements take turns. */
import { MysqlDriver } from "@cenote/sql-mysql2"
import { describe, expect, it } from "@effect/vitest"
import { MysqlClient } from "@effect/sql-mysql2"
import { Context, Effect, Exit, Fiber, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import * as Reactivity from "effect/reactivity/Reactivity"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import type * as Mysql from "mysql2"
import { inspect } from "node:util"
import { isFatal, lossError, sqlError } from "../src/internal/errors.ts"
import { TransactionWatch } from "../src/internal/transaction.ts"
import { Turn } from "../src/internal/turn.ts"

const serverError = (errno: number, sqlState = "HY000", message = "the server's words") =>
  Object.assign(new Error(message), { errno, sqlState, code: `ER_${errno}`, sqlMessage: message })

/** As `@cenote/sql` makes it again on the other side of a thread. */
const decoded = (error: SqlError): SqlError => {
  const cause = error.reason.cause as Error | undefined
  const copy = Object.assign(new Error(cause?.message), cause)
  const { message, operation } = error.reason
  return new SqlError({ reason: new UnknownError({ cause: copy, message, operation }) })
}

const tag = (errno: number, isMariaDb: boolean | undefined, sqlState = "HY000") =>
  sqlError(serverError(errno, sqlState), "", "execute", isMariaDb).reason._tag

const constraint = (message: string) => {
  const { reason } = sqlError(serverError(1062, "23000", message), "", "execute")
  return reason._tag === "UniqueViolation" ? reason.constraint : undefined
}

const made = (cause: unknown, isMariaDb = false) => sqlError(cause, "Failed", "execute", isMariaDb)

const target = (config: MysqlDriver.Config) => MysqlDriver.make(config).target

const optionsOf = (config: MysqlDriver.Config) =>
  Effect.map(
    MysqlDriver.make(config).worker.config,
    (config) =>
      (config as { readonly settings: { readonly options: Mysql.ConnectionOptions } }).settings.options
  )

const attributes = (config: MysqlDriver.Config) =>
  Object.fromEntries(MysqlDriver.make(config).client.spanAttributes)

describe("errors", () => {
  const both: ReadonlyArray<readonly [number, string, SqlError["reason"]["_tag"]]> = [
    [1040, "08004", "ConnectionError"],
    [1044, "42000", "AuthorizationError"],
    [1045, "28000", "AuthenticationError"],
    [1048, "23000", "ConstraintError"],
    [1049, "42000", "UnknownError"],
    [1053, "08S01", "ConnectionError"],
    [1054, "42S22", "SqlSyntaxError"],
    [1062, "23000", "UniqueViolation"],
    [1064, "42000", "SqlSyntaxError"],
    [1129, "HY000", "ConnectionError"],
    [1142, "42000", "AuthorizationError"],
    [1146, "42S02", "SqlSyntaxError"],
    [1153, "08S01", "UnknownError"],
    [1203, "42000", "ConnectionError"],
    [1205, "HY000", "LockTimeoutError"],
    [1213, "40001", "DeadlockError"],
    [1226, "42000", "ConnectionError"],
    [1227, "42000", "AuthorizationError"],
    [1305, "42000", "SqlSyntaxError"],
    [1317, "70100", "StatementTimeoutError"],
    [1364, "HY000", "ConstraintError"],
    [1406, "22001", "UnknownError"],
    [1451, "23000", "ConstraintError"],
    [1461, "42000", "UnknownError"],
    [1586, "23000", "UniqueViolation"],
    [1614, "XA102", "DeadlockError"],
    [1698, "28000", "AuthenticationError"],
    [1020, "HY000", "SerializationError"],
    [1927, "70100", "ConnectionError"],
    [1969, "70100", "StatementTimeoutError"],
    [2013, "HY000", "ConnectionError"],
    [3024, "HY000", "StatementTimeoutError"],
    [3101, "40000", "SerializationError"],
    [3118, "HY000", "AuthenticationError"],
    [3169, "HY000", "ConnectionError"],
    [3572, "HY000", "LockTimeoutError"],
    [3819, "HY000", "ConstraintError"]
  ]

  it.each(both)("the server's %i (%s) is a %s", (errno, sqlState, tag) => {
    for (const isMariaDb of [true, false, undefined]) {
      const error = sqlError(
        serverError(errno, sqlState),
        "Failed to execute statement",
        "execute",
        isMariaDb
      )
      expect(error.reason._tag).toBe(tag)
      expect(error.reason.operation).toBe("execute")
      expect(error.message).toContain(`Failed to execute statement: the server's words (${errno})`)
    }
  })

  it("a number that the two servers use differently means what the server in question says", () => {
    expect([tag(4025, true, "23000"), tag(4025, false)]).toEqual(["ConstraintError", "UnknownError"])
    expect([tag(4031, true), tag(4031, false)]).toEqual(["UnknownError", "ConnectionError"])
    expect([tag(4151, true), tag(4151, false)]).toEqual(["AuthenticationError", "UnknownError"])
  })

  it("a unique violation says of which key, as the server names it", () => {
    expect(constraint("Duplicate entry 'a for key b' for key 'users.email'")).toBe("users.email")
    expect(constraint("Duplicate entry '1-2' for key 'PRIMARY'")).toBe("PRIMARY")
    expect(constraint("Duplicate entry")).toBe("unknown")
  })

  it.each([
    "PROTOCOL_CONNECTION_LOST",
    "PROTOCOL_ERROR",
    "PROTOCOL_UNEXPECTED_PACKET",
    "PROTOCOL_PACKETS_OUT_OF_ORDER",
    "ER_CLIENT_INTERACTION_TIMEOUT",
    "HANDSHAKE_SSL_ERROR",
    "ECONNRESET",
    "ECONNREFUSED",
    "EPIPE",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ERR_SOCKET_CLOSED",
    "ERR_STREAM_DESTROYED"
  ])("%s is a ConnectionError, which is fatal", (code) => {
    const error = sqlError(Object.assign(new Error("x"), { code, errno: -104 }), "Failed", "execute")
    expect(error.reason._tag).toBe("ConnectionError")
    expect(isFatal(error)).toBe(true)
    expect(isFatal(decoded(error))).toBe(true)
  })

  it("what ends a session is fatal, also when it has crossed a thread; what ends a statement is not", () => {
    const closed = Object.assign(new Error("Can't add new command when connection is in closed state"), {
      fatal: true
    })
    const fatal = [
      ...[1053, 1153, 1161, 1184, 1927, 2006, 3169, 4031].map((errno) => made(serverError(errno))),
      made(closed),
      made(Object.assign(new Error("x"), { code: 4031, fatal: true }))
    ]
    for (const error of fatal) {
      expect([isFatal(error), isFatal(decoded(error))]).toEqual([true, true])
    }
    const harmless = [
      ...[1062, 1064, 1205, 1213, 1317, 1969, 3024, 1305].map((errno) => made(serverError(errno))),
      made(serverError(4031), true),
      made(new TypeError("parameter 1 of the statement is undefined")),
      made(Object.assign(new Error("x"), { code: "PROTOCOL_SEQUENCE_TIMEOUT" })),
      made("a text"),
      made(undefined)
    ]
    for (const error of harmless) {
      expect([isFatal(error), isFatal(decoded(error))]).toEqual([false, false])
    }
    expect(
      MysqlDriver.isFatal(
        new SqlError({ reason: new ConnectionError({ cause: new Error("the thread has ended") }) })
      )
    ).toBe(true)
  })

  it("whatever ends a connection that rests is a ConnectionError", () => {
    // What a server says before it hangs up on who was idle for too long.
    const said = Object.assign(
      new Error("The client was disconnected by the server because of inactivity."),
      {
        code: 4031,
        fatal: true
      }
    )
    for (const isMariaDb of [true, false]) {
      const error = lossError(said, "idle", isMariaDb)
      expect(error.reason._tag).toBe("ConnectionError")
      expect(error.message).toBe(`The connection has ended: ${said.message} (4031)`)
      expect(isFatal(decoded(error))).toBe(true)
    }
  })

  it("a code of the file system is one of the connection only while it is made", () => {
    const cause = Object.assign(new Error("connect ENOENT /run/mysqld.sock"), { code: "ENOENT", errno: -2 })
    expect(sqlError(cause, "Failed", "connect").reason._tag).toBe("ConnectionError")
    expect(sqlError(cause, "Failed", "execute").reason._tag).toBe("UnknownError")
  })

  it("where several addresses were tried, their errors are told", () => {
    const cause = Object.assign(
      new AggregateError([
        new Error("connect ECONNREFUSED ::1:3306"),
        new Error("connect ECONNREFUSED 127.0.0.1:3306")
      ]),
      { code: "ECONNREFUSED" }
    )
    expect(sqlError(cause, "Failed to connect to mysql localhost:3306", "connect").message).toBe(
      "Failed to connect to mysql localhost:3306: connect ECONNREFUSED ::1:3306; connect ECONNREFUSED 127.0.0.1:3306"
    )
  })
})

describe("the configuration", () => {
  it("names the server, never with a password", () => {
    expect(target({})).toBe("mysql localhost:3306")
    expect(target({ host: "db1", port: 1234, database: "orders" })).toBe("mysql db1:1234/orders")
    expect(
      target({ url: Redacted.make("mysql://u:S3CR3T@db2/or%2Fders?charset=latin1"), host: "other" })
    ).toBe("mysql other:3306/or/ders")
    expect(target({ url: Redacted.make("mariadb://[::1]:3307"), database: "d" })).toBe("mysql ::1:3307/d")
    expect(target({ connection: { socketPath: "/run/mysqld.sock" }, database: "d" })).toBe(
      "mysql /run/mysqld.sock/d"
    )
    expect(target({ url: Redacted.make("S3CR3T") })).toBe("mysql localhost:3306")
  })

  it.effect.each([
    "S3CR3T",
    "mysql://u:S3CR3T@h:999999/d",
    "postgres://u:S3CR3T@h/d",
    "mysql://u:%E0%A4%A-S3CR3T@h/d"
  ])("a URL that is none is refused without being shown: %s", (url) =>
    Effect.gen(function* () {
      const driver = MysqlDriver.make({ url: Redacted.make(url) })
      for (const attempt of [Effect.scoped(driver.connect({})), driver.worker.config]) {
        const error = yield* Effect.flip(attempt)
        expect(error.message).toContain("mysql://user:password@host:port/database")
        expect(inspect(error, { depth: 9 }) + JSON.stringify(error)).not.toContain("S3CR3T")
      }
    })
  )

  it.each(["url", "password"])("a %s that is not Redacted is refused without being shown", (option) => {
    const given = { [option]: "mysql://u:S3CR3T@h/d" as never }
    expect(() => MysqlDriver.make(given)).toThrow(
      new RegExp(`^MysqlDriver: ${option} must be Redacted(?!.*S3CR3T)`)
    )
  })

  it.effect.each([Number.NaN, 0, -1, 65_536, 1.5, "x"])(
    "a port that is none is refused, where mysql2 would take the usual one: %s",
    (port) =>
      Effect.gen(function* () {
        const driver = MysqlDriver.make({ port: port as number })
        for (const attempt of [Effect.scoped(driver.connect({})), driver.worker.config]) {
          const { message } = yield* Effect.flip(attempt)
          expect(message).toContain(
            `the option port of MysqlDriver is ${typeof port === "string" ? '"x"' : port}.`
          )
        }
      })
  )

  it("what is shown of a driver has no password in it, however that was given", () => {
    const password = Redacted.make("S3CR3T")
    for (const config of [
      { url: Redacted.make("mysql://u:S3CR3T@h/d") },
      { password },
      { password: Effect.succeed(password) },
      { connection: { passwordSha1: "S3CR3T" } }
    ]) {
      const driver = MysqlDriver.make(config)
      expect(inspect(driver, { depth: 20 }) + JSON.stringify(driver)).not.toContain("S3CR3T")
    }
  })

  it.effect("an option that is given wins over the same part of a URL", () =>
    Effect.gen(function* () {
      const url = Redacted.make(
        "mysql://u%40x:p%2Fw@db:33/d?charset=latin1&timezone=Z&ssl=%7B%22ca%22%3A%22x%22%7D&decimalNumbers=true&rowsAsArray=true"
      )
      const options = yield* optionsOf({
        url,
        host: "other",
        port: undefined,
        connection: { charset: "utf8mb4" }
      })
      expect(options).toMatchObject({
        host: "other",
        port: 33,
        user: "u@x",
        password: "p/w",
        database: "d",
        charset: "utf8mb4",
        timezone: "Z",
        decimalNumbers: true,
        ssl: { ca: "x" },
        supportBigNumbers: true
      })
      expect(options).not.toHaveProperty("uri")
      expect(options).not.toHaveProperty("rowsAsArray")
      const own = { port: 1, username: "me", password: Redacted.make("mine"), database: "e", ssl: false }
      const others = yield* optionsOf({ url, ...own })
      expect(others).toMatchObject({ host: "db", port: 1, user: "me", password: "mine", database: "e" })
      expect(others).not.toHaveProperty("ssl")
      const socket = Redacted.make("mysql://db/d?socketPath=%2Frun%2Fmysqld.sock")
      expect(yield* optionsOf({ url: socket })).toMatchObject({ socketPath: "/run/mysqld.sock" })
      expect(yield* optionsOf({ url: socket, host: "other" })).not.toHaveProperty("socketPath")
      expect(
        yield* optionsOf({ url: Redacted.make("mysql://db"), username: "me", database: "d" })
      ).toMatchObject({
        host: "db",
        user: "me",
        database: "d",
        port: 3306
      })
    })
  )

  it.effect("a session keeps 500 statements prepared, and the pool limits how long connecting takes", () =>
    Effect.gen(function* () {
      expect(yield* optionsOf({})).toMatchObject({ maxPreparedStatements: 500, connectTimeout: 0 })
      expect(yield* optionsOf({ connection: { maxPreparedStatements: 3 } })).toMatchObject({
        maxPreparedStatements: 3
      })
    })
  )

  it.effect("ssl: true asks for a certificate for the name", () =>
    Effect.gen(function* () {
      expect((yield* optionsOf({ host: "db", ssl: true })).ssl).toEqual({
        rejectUnauthorized: true,
        verifyIdentity: true
      })
      expect((yield* optionsOf({ host: "10.0.0.1", ssl: true })).ssl).toEqual({
        rejectUnauthorized: true,
        verifyIdentity: false
      })
      expect(yield* optionsOf({ ssl: false })).not.toHaveProperty("ssl")
      expect((yield* optionsOf({ ssl: "Amazon RDS" })).ssl).toBe("Amazon RDS")
    })
  )

  it.effect("a password is asked for each time a connect begins", () =>
    Effect.gen(function* () {
      let asked = 0
      const driver = MysqlDriver.make({ password: Effect.sync(() => Redacted.make(`pw${++asked}`)) })
      expect(asked).toBe(0)
      for (const n of [1, 2]) {
        expect(yield* driver.worker.config).toMatchObject({ settings: { options: { password: `pw${n}` } } })
      }
    })
  )

  it.effect("what a thread gets can be cloned; an option that cannot is named", () =>
    Effect.gen(function* () {
      const config = yield* MysqlDriver.make({
        host: "db",
        password: Redacted.make("pw"),
        ssl: { ca: ["x", "y"] },
        connection: { flags: ["-FOUND_ROWS"], connectAttributes: { app: "x" } },
        transformQueryNames: (_) => _
      }).worker.config
      expect(structuredClone(config)).toEqual(config)
      const refused: ReadonlyArray<readonly [MysqlDriver.Config, string]> = [
        [{ connection: { typeCast: (_, next) => next() } }, "connection.typeCast"],
        [{ connection: { stream: () => undefined } }, "connection.stream"],
        [{ connection: { authPlugins: { x: () => () => Buffer.alloc(0) } } }, "connection.authPlugins.x"],
        [
          { connection: { connectAttributes: { list: [new Date()] } } },
          "connection.connectAttributes.list[0]"
        ]
      ]
      for (const [config, option] of refused) {
        const driver = MysqlDriver.make({ ...config, password: Redacted.make("S3CR3T") })
        const error = yield* Effect.flip(driver.worker.config)
        expect(error).toMatchObject({ _tag: "SqlError", reason: { operation: "connect" } })
        expect(error.message).toContain(`the option ${option} of MysqlDriver cannot go to the thread`)
        expect(inspect(error, { depth: 9 })).not.toContain("S3CR3T")
      }
    })
  )

  it.effect("the inputs stay as they are", () =>
    Effect.gen(function* () {
      const config: MysqlDriver.Config = Object.freeze({
        host: "127.0.0.1",
        port: 1,
        ssl: Object.freeze({ ca: "x" }),
        connection: Object.freeze({ charset: "latin1" })
      })
      const error = yield* Effect.flip(Effect.scoped(MysqlDriver.make(config).connect({})))
      expect(error.message).toBe("Failed to connect to mysql 127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1")
      expect(error.reason).toMatchObject({ _tag: "ConnectionError", operation: "connect" })
    })
  )

  it.effect("an option that mysql2 refuses fails the connect", () =>
    Effect.gen(function* () {
      const driver = MysqlDriver.make({ ssl: "no such profile" })
      expect((yield* Effect.flip(Effect.scoped(driver.connect({})))).message).toContain("Unknown SSL profile")
      const stream = MysqlDriver.make({ connection: { stream: {} } })
      expect((yield* Effect.flip(Effect.scoped(stream.connect({})))).message).toContain(
        "Pass a function that makes one"
      )
    })
  )

  it("spans say where the server is", () => {
    expect(
      attributes({ url: Redacted.make("mysql://u:p@db:33/d"), spanAttributes: { "app.name": "x" } })
    ).toEqual({
      "app.name": "x",
      "db.system.name": "mysql",
      "server.address": "db",
      "server.port": 33,
      "db.namespace": "d"
    })
    expect(attributes({})).toEqual({
      "db.system.name": "mysql",
      "server.address": "localhost",
      "server.port": 3306
    })
  })

  it.effect("MysqlClient is over the pool's client, and its config says no more than its own", () =>
    Effect.gen(function* () {
      const password = Redacted.make("S3CR3T")
      const config: MysqlDriver.Config = {
        host: "db",
        username: "u",
        password,
        connection: { passwordSha1: "S3CR3T" },
        transformQueryNames: (_) => _
      }
      const driver = MysqlDriver.make(config)
      const client = yield* SqlClient.make({
        ...driver.client,
        driver: driver.name,
        acquirer: Effect.die("no connection")
      }).pipe(Effect.provide(Reactivity.layer))
      const services = driver.services(client, { reserve: Effect.die("no connection") })
      const own = Context.get(services, MysqlClient.MysqlClient)
      expect(own[MysqlClient.TypeId]).toBe(MysqlClient.TypeId)
      expect(own.config).toMatchObject({ host: "db", username: "u", password })
      expect(Object.keys(own.config)).not.toContain("connection")
      expect(inspect(own.config, { depth: 9 })).not.toContain("S3CR3T")
      expect(own`select ${1} from ${own("t")}`.compile()).toEqual(["select ? from `t`", [1]])
      const changing = MysqlDriver.make({ password: Effect.succeed(password) })
      expect(
        Context.get(changing.services(client, { reserve: Effect.die("") }), MysqlClient.MysqlClient).config
      ).toMatchObject({ password: undefined })
    })
  )
})

describe("turns", () => {
  it.effect("come one after the other, in order, and pass over who has left", () =>
    Effect.gen(function* () {
      const turn = new Turn()
      const order: Array<number> = []
      const task = (n: number) =>
        turn.run(
          Effect.andThen(
            Effect.sync(() => order.push(n)),
            Effect.yieldNow
          )
        )
      const fibers = yield* Effect.forEach([0, 1, 2, 3, 4, 5], (n) =>
        Effect.forkChild(task(n), { startImmediately: true })
      )
      yield* Fiber.interrupt(fibers[2]!)
      yield* Effect.forEach([0, 1, 3, 4, 5], (n) => Fiber.join(fibers[n]!))
      expect(order).toEqual([0, 1, 3, 4, 5])
      yield* task(6)
      expect(order.at(-1)).toBe(6)
    })
  )

  it.effect("are never lost, at whatever step who waits is interrupted", () =>
    Effect.gen(function* () {
      for (let steps = 0; steps < 30; steps++) {
        const turn = new Turn()
        const holder = yield* Effect.forkChild(turn.run(Effect.yieldNow), { startImmediately: true })
        const waiter = yield* Effect.forkChild(turn.run(Effect.yieldNow), { startImmediately: true })
        for (let i = 0; i < steps; i++)
          yield* i % 3 === 0 ? Effect.promise(() => Promise.resolve()) : Effect.yieldNow
        yield* Fiber.interrupt(waiter)
        yield* Fiber.join(holder)
        expect(yield* turn.run(Effect.succeed(steps))).toBe(steps)
      }
    })
  )

  it.effect("are passed on by who is interrupted in the moment in which the turn comes", () =>
    Effect.gen(function* () {
      const turn = new Turn()
      yield* turn.take((effect) => effect)
      const waiter = yield* Effect.forkChild(turn.run(Effect.never), { startImmediately: true })
      turn.pass()
      waiter.interruptUnsafe()
      const exit = yield* Fiber.await(waiter)
      expect(Exit.isFailure(exit)).toBe(true)
      const next = yield* Effect.forkChild(turn.run(Effect.succeed("served")), { startImmediately: true })
      yield* TestClock.adjust(0)
      expect(next.pollUnsafe()).toEqual(Exit.succeed("served"))
    })
  )

  it.effect("many who wait and fail at once do not pile up", () =>
    Effect.gen(function* () {
      const turn = new Turn()
      const all = Effect.forEach(
        Array.from({ length: 20_000 }),
        () => Effect.flip(turn.run(Effect.fail("no"))),
        {
          concurrency: "unbounded",
          discard: true
        }
      )
      const fiber = yield* Effect.forkChild(
        turn.run(Effect.promise(() => new Promise((done) => setImmediate(done)))),
        {
          startImmediately: true
        }
      )
      yield* all
      yield* Fiber.join(fiber)
    })
  )

  it.effect("who has the turn hears that others wait, then and later", () =>
    Effect.gen(function* () {
      const turn = new Turn()
      let heard = 0
      yield* turn.take((_) => _)
      turn.whenAwaited(() => heard++)
      expect(heard).toBe(0)
      const waiter = yield* Effect.forkChild(
        turn.take((_) => _),
        { startImmediately: true }
      )
      expect(heard).toBe(1)
      turn.whenAwaited(() => heard++)
      expect(heard).toBe(2)
      turn.pass()
      yield* Fiber.join(waiter)
      yield* Effect.forkChild(
        turn.take((_) => _),
        { startImmediately: true }
      )
      expect(heard).toBe(2)
    })
  )
})

describe("a transaction that the server has ended", () => {
  const deadlock = sqlError(serverError(1213, "40001"), "Failed", "execute")
  const noSavepoint = sqlError(serverError(1305, "42000"), "Failed", "execute")
  const toSavepoint = "ROLLBACK TO SAVEPOINT effect_sql_1"

  it("is known by a savepoint that is gone after a deadlock; then all fails until it is over", () => {
    const watch = new TransactionWatch()
    expect(watch.after("update t", deadlock)).toBe(true)
    expect(watch.before("select 1", "execute")).toBeUndefined()
    expect(watch.before(toSavepoint, "execute")).toBeUndefined()
    expect(watch.after(toSavepoint, noSavepoint)).toBe(false)
    for (const sql of ["select 1", "savepoint x", "COMMIT", " commit work"]) {
      expect(watch.before(sql, "execute")?.error?.reason._tag).toBe("DeadlockError")
    }
    expect(watch.before("rollback work to savepoint x", "execute")).toEqual({ error: undefined })
    expect(watch.before("ROLLBACK", "execute")).toBeUndefined()
    expect(watch.before("select 1", "execute")).toBeUndefined()
  })

  it("may have ended with whatever rolls back as a whole: a lock that did not come free, a conflict", () => {
    for (const [number, tag] of [
      [1205, "LockTimeoutError"],
      [1020, "SerializationError"]
    ] as const) {
      const watch = new TransactionWatch()
      watch.after("update t", sqlError(serverError(number, "HY000"), "Failed", "execute"))
      expect(watch.after(toSavepoint, noSavepoint)).toBe(false)
      expect(watch.before("select 1", "execute")?.error?.reason._tag).toBe(tag)
    }
  })

  it("is not assumed where the savepoint is there, nor where none was rolled back to, nor without a deadlock", () => {
    const watch = new TransactionWatch()
    watch.after("update t", deadlock)
    expect(watch.after(toSavepoint, undefined)).toBe(true)
    expect(watch.after(toSavepoint, noSavepoint)).toBe(true)
    watch.after("update t", deadlock)
    expect(watch.before("begin", "execute")).toBeUndefined()
    expect(watch.after(toSavepoint, noSavepoint)).toBe(true)
    expect(watch.before("select 1", "execute")).toBeUndefined()
  })
})
