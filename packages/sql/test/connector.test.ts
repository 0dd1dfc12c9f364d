import { DatabaseConnector } from "@cenote/sql"
import { PoolRegistry } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Redacted, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { SqlClient } from "effect/sql/SqlClient"
import { FakeDatabases, type FakeConfig } from "./kit.ts"

const { DatabaseConnector: Connector } = DatabaseConnector

const layer = (
  databases: FakeDatabases,
  options: Partial<DatabaseConnector.RawOptions<FakeConfig>> = {}
): Layer.Layer<DatabaseConnector.DatabaseConnector> =>
  Layer.provideMerge(
    DatabaseConnector.layer({
      driver: databases.driver,
      credentials: { default: { username: "guest" } },
      kind: "raw",
      ...options
    }),
    PoolRegistry.layer
  )

describe("DatabaseConnector", () => {
  it.effect(
    "EV-71: makes a pool lazily, the same for the same host and database; nothing connects before a borrow",
    () => {
      const databases = new FakeDatabases()
      return Effect.gen(function* () {
        const { get } = yield* Connector
        const a = yield* get({ host: "db1", database: "orders" })
        expect(yield* get({ database: "orders", host: "db1" })).toBe(a)
        expect(yield* get({ host: "db1", database: "users" })).not.toBe(a)
        expect(yield* get({ host: "db2", database: "orders" })).not.toBe(a)
        expect(databases.opened).toHaveLength(0)
        yield* a.use((connection) => connection.execute("select 1", [], undefined))
        expect(databases.opened.map((_) => _.config)).toEqual([
          { host: "db1", database: "orders", username: "guest" }
        ])
      }).pipe(Effect.provide(layer(databases)))
    }
  )

  it.effect("EV-72: takes the credentials of the exact host, else those of default", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      for (const host of ["db1", "db2", "default"]) {
        const pool = yield* DatabaseConnector.get({ host, database: "d" })
        yield* pool.client`select 1`
      }
      expect(databases.opened.map((_) => _.config.username)).toEqual(["one", "guest", "guest"])
    }).pipe(
      Effect.provide(
        layer(databases, { credentials: { db1: { username: "one" }, default: { username: "guest" } } })
      )
    )
  })

  it.effect.each(["db2", "__proto__", "constructor", "toString"])(
    "EV-72: fails for a host without credentials: %s",
    (host) => {
      const databases = new FakeDatabases()
      return Effect.gen(function* () {
        const error = yield* Effect.flip(DatabaseConnector.get({ host }))
        expect(error).toMatchObject({ _tag: "UnknownHost", host, known: ["db1"] })
        expect(error.message).toContain(host)
        expect(error.message).toContain("db1")
      }).pipe(Effect.provide(layer(databases, { credentials: { db1: { username: "one" } } })))
    }
  )

  it.effect("EV-73: defaults, then host and database, then credentials; the inputs stay as they are", () => {
    const databases = new FakeDatabases()
    const defaults = Object.freeze({ host: "db0", database: "main", port: 1, username: "nobody" })
    const credentials = Object.freeze({
      default: Object.freeze({ username: "guest" }),
      db2: Object.freeze({ username: "two", port: 2, database: "own" })
    })
    return Effect.gen(function* () {
      for (const target of [{}, { host: "db1" }, { host: "db2", database: "asked" }]) {
        yield* (yield* DatabaseConnector.get(target)).client`select 1`
      }
      expect(databases.opened.map((_) => _.config)).toEqual([
        { host: "db0", database: "main", port: 1, username: "guest" },
        { host: "db1", database: "main", port: 1, username: "guest" },
        { host: "db2", database: "own", port: 2, username: "two" }
      ])
    }).pipe(Effect.provide(layer(databases, { defaults, credentials })))
  })

  it.effect("where a url says it, the driver gets no host that nobody asked for", () => {
    const databases = new FakeDatabases()
    const url = Redacted.make("fake://u:p@[::1]:1/main")
    const run = (
      options: Partial<DatabaseConnector.RawOptions<FakeConfig>>,
      target: DatabaseConnector.Target
    ) =>
      Effect.gen(function* () {
        yield* (yield* DatabaseConnector.get(target)).client`select 1`
        const { url: _, ...config } = databases.opened.at(-1)!.config
        return { ...config, pools: (yield* (yield* Connector).stats).map(({ host }) => host) }
      }).pipe(Effect.provide(layer(databases, options)))
    return Effect.gen(function* () {
      const credentials = { "::1": { username: "one" }, default: {} }
      expect(yield* run({ defaults: { url }, credentials }, {})).toEqual({ username: "one", pools: ["::1"] })
      expect(yield* run({ defaults: { url }, credentials }, { host: "db2", database: "d" })).toEqual({
        host: "db2",
        database: "d",
        pools: ["db2"]
      })
      expect(yield* run({ defaults: { url, host: "db3" } }, {})).toMatchObject({ host: "db3" })
      for (const secret of [{ url }, Effect.succeed({ url })]) {
        expect(yield* run({ credentials: { default: secret } }, {})).toEqual({ pools: ["localhost"] })
        expect(yield* run({ credentials: { default: secret } }, { host: "db2" })).toMatchObject({
          host: "db2"
        })
      }
      expect(yield* run({}, {})).toMatchObject({ host: "localhost" })
    })
  })

  it.effect(
    "localhost is another host than that of a url, and the same as none where there is no url",
    () => {
      const databases = new FakeDatabases()
      const url = Redacted.make("fake://db1/main")
      const both = Effect.all([DatabaseConnector.get(), DatabaseConnector.get({ host: "localhost" })])
      return Effect.gen(function* () {
        const [none, same] = yield* Effect.provide(both, layer(databases))
        expect(none).toBe(same)
        const [at, local] = yield* Effect.provide(
          both,
          layer(databases, { credentials: { default: { url } } })
        )
        expect(at).not.toBe(local)
      })
    }
  )

  it.effect("gives a repository that wants a SqlClient the one of its target", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const sql = yield* SqlClient
      expect(yield* sql`select 1`).toEqual([{ sql: "select 1" }])
      expect(databases.opened[0]?.config.database).toBe("orders")
    }).pipe(Effect.provide(Layer.provide(DatabaseConnector.client({ database: "orders" }), layer(databases))))
  })

  it.effect("asks for credentials that are an Effect at each connect, and recycle takes up new ones", () => {
    const databases = new FakeDatabases()
    let secret = 0
    const credentials = { default: Effect.sync(() => ({ password: `secret ${++secret}` })) }
    return Effect.gen(function* () {
      const { get, recycle } = yield* Connector
      const pool = yield* get()
      yield* pool.client`select 1`
      yield* pool.client`select 2`
      yield* recycle
      yield* pool.client`select 3`
      expect(databases.opened.map((_) => _.config.password)).toEqual(["secret 1", "secret 2"])
    }).pipe(Effect.provide(layer(databases, { credentials })))
  })

  it.effect("says whose credentials could not be had, and tries again at the next borrow", () => {
    const databases = new FakeDatabases()
    let works = false
    const credentials = {
      default: Effect.suspend(() =>
        works ? Effect.succeed({ password: "p" }) : Effect.fail("the vault is sealed")
      )
    }
    return Effect.gen(function* () {
      const pool = yield* DatabaseConnector.get({ host: "db1" })
      const error = yield* Effect.flip(pool.client`select 1`)
      expect(error.reason).toMatchObject({ _tag: "AuthenticationError", cause: "the vault is sealed" })
      expect(error.message).toContain("db1")
      works = true
      yield* pool.client`select 1`
      expect(databases.opened).toHaveLength(1)
    }).pipe(Effect.provide(layer(databases, { credentials })))
  })

  it.effect("closes a pool that was idle for long, and opens it again when it is used", () => {
    const databases = new FakeDatabases()
    const registered = Effect.map(PoolRegistry.entries, (entries) => entries.map((_) => _.name))
    return Effect.gen(function* () {
      const pool = yield* DatabaseConnector.get({ host: "db1", database: "d" })
      expect(yield* registered).toEqual([])
      yield* pool.client`select 1`
      yield* pool.resize(7)
      expect(yield* registered).toEqual(["fake db1/d"])
      // Its connections go first, and then the pool.
      yield* TestClock.adjust("1 minute")
      expect(databases.open).toBe(0)
      yield* TestClock.adjust("10 minutes")
      expect(yield* registered).toEqual([])
      expect(yield* pool.stats).toMatchObject({ size: 0, name: "fake db1/d" })
      yield* pool.client`select 2`
      expect(yield* registered).toEqual(["fake db1/d"])
      expect(yield* pool.stats).toMatchObject({ size: 1, max: 7 })
      expect(databases.opened).toHaveLength(2)
    }).pipe(Effect.provide(layer(databases)))
  })

  it.effect("what was said to a pool holds for those that are opened after it; its totals go on", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const pool = yield* DatabaseConnector.get()
      yield* pool.resize(10)
      yield* pool.resize({ min: 2 })
      yield* pool.resize({ min: 0 })
      expect(yield* pool.stats).toMatchObject({ min: 0, max: 10 })
      expect(Exit.isFailure(yield* Effect.exit(pool.resize(-1)))).toBe(true)
      yield* pool.client`select 1`
      const before = yield* pool.stats
      yield* TestClock.adjust("1 hour")
      expect(yield* pool.stats).toMatchObject({
        max: 10,
        size: 0,
        borrowed: before.borrowed,
        created: before.created
      })
      yield* pool.suspend
      yield* TestClock.adjust("1 hour")
      const waiting = yield* Effect.forkChild(pool.client`select 2`)
      yield* TestClock.adjust("1 hour")
      expect(waiting.pollUnsafe()).toBeUndefined()
      yield* pool.resume
      yield* Fiber.join(waiting)
      expect(yield* pool.stats).toMatchObject({ max: 10, borrowed: before.borrowed + 1 })
    }).pipe(Effect.provide(layer(databases)))
  })

  it.effect("goes on telling those who listen, also after a long rest", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const pool = yield* DatabaseConnector.get()
      const created = yield* pool.events.pipe(
        Stream.filter((_) => _._tag === "Created"),
        Stream.take(2),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      yield* pool.client`select 1`
      yield* TestClock.adjust("1 hour")
      yield* pool.client`select 2`
      expect(yield* Fiber.join(created)).toHaveLength(2)
    }).pipe(Effect.provide(layer(databases)))
  })

  it.effect("an option of the credentials that is undefined is one that was left out", () => {
    const databases = new FakeDatabases()
    const credentials = { default: { host: undefined, database: undefined, username: "guest" } }
    return Effect.gen(function* () {
      yield* (yield* DatabaseConnector.get({ host: "db1", database: "orders" })).client`select 1`
      expect(databases.opened[0]?.config).toEqual({ host: "db1", database: "orders", username: "guest" })
    }).pipe(Effect.provide(layer(databases, { credentials })))
  })

  it.effect("does not close a pool in which anybody waits or holds", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const pool = yield* DatabaseConnector.get()
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(pool.get, scope)
      const waiting = yield* Effect.forkChild(pool.client`select 1`)
      yield* TestClock.adjust("1 hour")
      expect(yield* connection.isHeld).toBe(true)
      yield* connection.release()
      expect(yield* Fiber.join(waiting)).toHaveLength(1)
      expect(yield* connection.isHeld).toBe(false)
    }).pipe(Effect.provide(layer(databases, { pool: { max: 1 } })))
  })

  it.effect("tells of each pool that was asked for", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const { get, stats } = yield* Connector
      yield* (yield* get({ host: "db1", database: "a" })).client`select 1`
      yield* get({ host: "db2" })
      expect(yield* stats).toMatchObject([
        { host: "db1", database: "a", stats: { size: 1 } },
        { host: "db2", stats: { size: 0 } }
      ])
    }).pipe(Effect.provide(layer(databases)))
  })

  it.effect.each([
    ["kind", "threads"],
    ["idleTimeout", "soon"],
    ["idleTimeout", -1],
    ["idleTimeout", Number.NaN]
  ] as const)("an option that makes no sense is a defect of its layer: %s", ([option, value]) => {
    const wrong = { [option]: value } as object
    return Effect.gen(function* () {
      const exit = yield* Effect.exit(Effect.provide(Connector, layer(new FakeDatabases(), wrong)))
      expect(String(Exit.isFailure(exit) && Cause.squash(exit.cause))).toContain(
        `DatabaseConnector: ${option} is ${JSON.stringify(value) === "null" ? "NaN" : JSON.stringify(value)}; it has to be`
      )
    })
  })

  it.effect("closes its pools with its layer", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const pool = yield* DatabaseConnector.get()
        yield* pool.client`select 1`
        expect(databases.open).toBe(1)
      }).pipe(Effect.provide(layer(databases)))
      expect(databases.open).toBe(0)
    })
  })
})
