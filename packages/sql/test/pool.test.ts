import { PoolRegistry } from "@cenote/pool"
import { ConnectionPool, RawConnectionPool, type SqlDriver, SqlPoolError } from "@cenote/sql"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Schedule, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { SqlClient } from "effect/sql/SqlClient"
import { FakeDatabases, type FakeSession, lost } from "./kit.ts"

const over = (databases: FakeDatabases, options: RawConnectionPool.Options = {}) =>
  RawConnectionPool.layer(databases.driver({ host: "db", database: "d" }), options)

describe("options that make no sense", () => {
  it.effect.each([
    [{ connectTimeout: 0 }, "connectTimeout is 0", "a duration above zero"],
    [{ connectTimeout: Number.NaN }, "connectTimeout is NaN", "a duration above zero"],
    [{ cleanupTimeout: "soon" }, 'cleanupTimeout is "soon"', "a duration above zero"],
    [{ connectConcurrency: 0 }, "connectConcurrency is 0", "a whole number of at least 1"],
    [{ connectConcurrency: "2" }, 'connectConcurrency is "2"', "a whole number of at least 1"],
    [{ connectRetry: 5 }, "connectRetry is 5", "a Schedule"],
    [{ cleanup: "rolback" }, 'cleanup is "rolback"', '"rollback", "reset", "none"'],
    [{ max: -1 }, "max is -1", "a whole number"]
  ] as ReadonlyArray<readonly [options: object, ...says: ReadonlyArray<string>]>)(
    "are a defect, and nothing connects: %j",
    ([options, ...says]) => {
      const databases = new FakeDatabases()
      return Effect.gen(function* () {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(over(databases, { min: 1, ...options }))))
        const { message } = (Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit) as Error
        for (const text of ['pool "fake db/d": ', ...says]) expect(message).toContain(text)
        expect(databases.opened).toHaveLength(0)
      })
    }
  )
})

const hanging = () => Effect.never

describe("a pool of connections", () => {
  it.effect("with a min connects at once, tells of it in the registry, and counts no failure", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const [entry] = yield* PoolRegistry.entries
      expect(entry).toMatchObject({ kind: "connections", name: "fake db/d" })
      expect(yield* ConnectionPool.stats).toMatchObject({ size: 3, idle: 3, created: 3, failures: 0 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* ConnectionPool.get
          for (const leases of [entry!.leases(), (yield* ConnectionPool.ConnectionPool).leases]) {
            const [lease] = yield* leases
            expect(lease).toMatchObject({ resource: connection.id })
            // In the session there may be a password.
            expect(lease!.item).toEqual({ connectedAt: connection.connectedAt })
          }
        })
      )
    }).pipe(Effect.provide(Layer.provideMerge(over(databases, { size: 3 }), PoolRegistry.layer)))
  })

  it.effect(
    "EV-52: ConnectTimeout, also as what connectRetry gets, and the cause of what a client fails with",
    () => {
      const databases = new FakeDatabases()
      databases.connecting = Effect.never
      const seen: Array<unknown> = []
      const connectRetry = Schedule.recurs(1).pipe(
        Schedule.tap(({ input }) => Effect.sync(() => seen.push(input)))
      )
      return Effect.gen(function* () {
        const sql = yield* SqlClient
        const both = yield* Effect.forkChild(
          Effect.all([Effect.flip(ConnectionPool.use(() => Effect.void)), Effect.flip(sql`select 1`)], {
            concurrency: 2
          })
        )
        yield* TestClock.adjust("30 seconds")
        const [borrow, statement] = yield* Fiber.join(both)
        expect(borrow).toMatchObject({ _tag: "ConnectTimeout", pool: "fake db/d" })
        expect(borrow.message).toContain("5s")
        expect(statement).toMatchObject({
          reason: {
            _tag: "ConnectionError",
            operation: "acquireConnection",
            cause: { _tag: "ConnectTimeout" }
          }
        })
        expect(seen.length).toBeGreaterThan(0)
        for (const error of seen) expect(error).toBeInstanceOf(SqlPoolError.ConnectTimeout)
      }).pipe(Effect.provide(over(databases, { connectRetry })))
    }
  )

  it.effect.each([{ min: 1 }, { size: 1 }])(
    "with %j does not begin where nothing can be connected",
    (options) => {
      const databases = new FakeDatabases()
      databases.connecting = Effect.fail(lost())
      return Effect.gen(function* () {
        const error = yield* Effect.flip(Effect.provide(Effect.succeed("it began"), over(databases, options)))
        expect(error).toMatchObject({
          _tag: "SqlError",
          reason: { _tag: "ConnectionError", message: "lost" }
        })
      })
    }
  )

  it.effect(
    "a session on which a statement failed fatally is not lent again, whatever it says itself",
    () => {
      const databases = new FakeDatabases()
      return Effect.gen(function* () {
        const sql = yield* SqlClient
        yield* Effect.flip(sql`fatal 1`)
        yield* sql`select 2`
        yield* Effect.flip(Stream.runDrain(sql`fatal 3`.stream))
        yield* sql`select 4`
        expect(databases.opened.map((_) => _.statements)).toEqual([
          ["fatal 1"],
          ["select 2", "fatal 3"],
          ["select 4"]
        ])
      }).pipe(Effect.provide(over(databases, { max: 1 })))
    }
  )

  it.effect("a shared session that is not cleaned up within cleanupTimeout is closed", () => {
    const databases = new FakeDatabases()
    const driver = databases.driver({})
    const shared = {
      ...driver,
      canMultiplex: true,
      connect: (options: SqlDriver.ConnectOptions) =>
        Effect.map(driver.connect(options), (session) =>
          Object.assign(session, { exclusive: Effect.succeed(session) })
        )
    }
    return Effect.gen(function* () {
      for (const n of [1, 2]) {
        const used = yield* Effect.forkChild(
          ConnectionPool.use((_) => _.execute(`select ${n}`, [], undefined))
        )
        yield* TestClock.adjust("999 millis")
        expect(used.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("1 milli")
        expect(yield* Fiber.join(used)).toEqual([{ sql: `select ${n}` }])
        expect(databases.open).toBe(0)
      }
      expect(databases.opened.map((_) => _.statements[0])).toEqual(["select 1", "select 2"])
    }).pipe(
      Effect.provide(
        RawConnectionPool.layer(shared, {
          max: 1,
          multiplex: true,
          cleanup: hanging,
          cleanupTimeout: "1 second"
        })
      )
    )
  })

  it.effect("a session that is known to have ended is never lent", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const sql = yield* SqlClient
      yield* sql`select 1`
      databases.opened[0]!.hasEnded = true
      expect(yield* sql`select 2`).toEqual([{ sql: "select 2" }])
      expect(databases.opened).toHaveLength(2)
      databases.opened[1]!.hasEnded = true
      yield* ConnectionPool.use((connection) => connection.execute("select 3", [], undefined))
      expect(databases.opened.map((_) => _.statements)).toEqual([["select 1"], ["select 2"], ["select 3"]])
      expect(databases.open).toBe(1)
    }).pipe(Effect.provide(over(databases, { max: 1 })))
  })

  it.effect("a loan that is over leaves nothing in the scope of its borrower", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const scope = yield* Scope.make()
      for (let i = 0; i < 100; i++) {
        const connection = yield* Scope.provide(ConnectionPool.get, scope)
        yield* connection.release()
      }
      expect(
        (scope.state as { readonly finalizers?: ReadonlyMap<unknown, unknown> }).finalizers?.size ?? 0
      ).toBe(0)
    }).pipe(Effect.provide(over(databases)))
  })

  it.effect("EV-44: rolls back after what may have opened a transaction, and after nothing else", () => {
    const databases = new FakeDatabases()
    const run = (...statements: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const before = databases.opened[0]?.statements.length ?? 0
        yield* ConnectionPool.use((connection) =>
          Effect.forEach(statements, (sql) => connection.execute(sql, [], undefined))
        )
        yield* Effect.repeat(Effect.andThen(Effect.yieldNow, ConnectionPool.stats), {
          until: ({ idle }) => idle === 1
        })
        return databases.opened[0]!.statements.slice(before + statements.length)
      })
    return Effect.gen(function* () {
      expect(yield* run("select 1", "insert into t values (1)")).toEqual([])
      expect(yield* run("begin", "select 1")).toEqual(["rollback"])
      expect(yield* run("begin", "commit")).toEqual([])
      expect(yield* run("begin", "commit", "begin")).toEqual(["rollback"])
      expect(yield* run("create table t (a int)")).toEqual(["rollback"])
      expect(yield* run("call p()")).toEqual(["rollback"])
      expect(yield* run("select 1")).toEqual([])
    }).pipe(Effect.provide(over(databases, { max: 1 })))
  })

  it.effect(
    "EV-44: a session that may open transactions by itself from now on is made as new at its return",
    () => {
      const databases = new FakeDatabases()
      const driver = { ...databases.driver({}), canSwitchAutocommit: true }
      return Effect.gen(function* () {
        for (const sql of ["set autocommit = 0", "commit", "select 1"]) {
          yield* ConnectionPool.use((connection) => connection.execute(sql, [], undefined))
        }
        yield* ConnectionPool.use((connection) => connection.ping)
        expect(databases.opened.map((_) => _.statements)).toEqual([
          ["set autocommit = 0", "rollback", "reset", "commit", "select 1", "ping"]
        ])
      }).pipe(Effect.provide(RawConnectionPool.layer(driver, { max: 1 })))
    }
  )

  it.effect("EV-44: a session that opens transactions by itself does so also after a rollback", () => {
    const databases = new FakeDatabases()
    const driver = { ...databases.driver({}), canSwitchAutocommit: true }
    return Effect.gen(function* () {
      yield* ConnectionPool.use((connection) =>
        Effect.gen(function* () {
          yield* connection.execute("set autocommit = 0", [], undefined)
          yield* connection.rollback
          yield* connection.execute("insert into t values (1)", [], undefined)
        })
      )
      yield* ConnectionPool.use((connection) => connection.ping)
      expect(databases.opened.map((_) => _.statements)).toEqual([
        ["set autocommit = 0", "rollback", "insert into t values (1)", "rollback", "reset", "ping"]
      ])
    }).pipe(Effect.provide(RawConnectionPool.layer(driver, { max: 1 })))
  })

  it.effect(
    "EV-44, EV-63: who had the driver's connection may have used it after the last commit, too",
    () => {
      const databases = new FakeDatabases()
      return Effect.gen(function* () {
        yield* ConnectionPool.use((connection) =>
          Effect.gen(function* () {
            const native = connection.native as FakeSession
            yield* connection.execute("commit", [], undefined)
            yield* native.execute("begin")
          })
        )
        yield* ConnectionPool.use((connection) => connection.ping)
        yield* ConnectionPool.use((connection) => connection.ping)
        expect(databases.opened.map((_) => _.statements)).toEqual([
          ["commit", "begin", "rollback", "ping", "ping"]
        ])
      }).pipe(Effect.provide(over(databases, { max: 1 })))
    }
  )

  it.effect("a stream that ends, fails or is left counts as under way no longer", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      yield* ConnectionPool.use((connection) =>
        Effect.gen(function* () {
          const stream = connection.executeStream("select 1", [], undefined)
          yield* Stream.runDrain(stream)
          yield* Stream.runDrain(Stream.take(stream, 1))
          yield* Effect.exit(Stream.runForEach(stream, () => Effect.fail("no")))
        })
      )
      yield* ConnectionPool.use((connection) => connection.ping)
      expect(databases.opened).toHaveLength(1)
    }).pipe(Effect.provide(over(databases, { max: 1 })))
  })
})

describe("a server that ends each connection right after it is made", () => {
  const uses: Record<string, Effect.Effect<unknown, unknown, ConnectionPool.ConnectionPool | SqlClient>> = {
    "a borrower": ConnectionPool.use(() => Effect.void),
    "a statement of a client": Effect.flatMap(SqlClient, (sql) => sql`SELECT 1`)
  }
  for (const [who, use] of Object.entries(uses)) {
    it.effect(`${who} hears of it, and does not connect for ever`, () => {
      const databases = new FakeDatabases()
      const driver = databases.driver({ host: "db", database: "d" })
      const ending: SqlDriver.SqlDriver = {
        ...driver,
        connect: (options) =>
          Effect.tap(Effect.delay(driver.connect(options), 10), (session) =>
            Effect.sync(() => queueMicrotask(() => (session as FakeSession).end()))
          )
      }
      return Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(Effect.flip(use))
        yield* TestClock.adjust("1 second")
        expect(databases.opened).toHaveLength(3)
        expect(yield* Fiber.join(fiber)).toEqual(lost())
      }).pipe(Effect.provide(RawConnectionPool.layer(ending, { max: 1 })))
    })
  }
})
