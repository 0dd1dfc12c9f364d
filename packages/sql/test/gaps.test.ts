/** What no other test noticed when pools of connections were broken on purpose: see docs/testing.md. */
import { ConnectionPool, RawConnectionPool } from "@cenote/sql"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { SqlClient } from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { decodeSqlError, encodeSqlError } from "../src/internal/wire.ts"
import { FakeDatabases, type FakeSession, lost } from "./kit.ts"

/** A pool of one connection, whose sessions are changed before it has them. */
const over = (
  databases: FakeDatabases,
  options: RawConnectionPool.Options = {},
  change: (session: FakeSession) => object = () => ({})
) => {
  const driver = databases.driver({})
  return RawConnectionPool.layer(
    {
      ...driver,
      canMultiplex: true,
      connect: (options) =>
        Effect.map(driver.connect(options), (session) =>
          Object.assign(session, change(session as FakeSession))
        )
    },
    { max: 1, ...options }
  )
}

/** Has statements of several fibers share a session. */
const shared = (session: FakeSession) => ({ exclusive: Effect.succeed(session) })

describe("a returned handle (gap)", () => {
  it.effect("has no say in the clean-up of the next loan", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const first = yield* ConnectionPool.get
      yield* first.release()
      const second = yield* ConnectionPool.get
      yield* second.execute("begin", [], undefined)
      yield* first.release({ cleanup: "none" })
      yield* first.setCleanup("none")
      yield* second.release()
      expect(yield* ConnectionPool.use((_) => _.ping)).toBeUndefined()
      expect(databases.opened.map((_) => _.statements)).toEqual([["begin", "rollback", "ping"]])
    }).pipe(Effect.provide(over(databases)))
  })
})

describe("a transaction (gap)", () => {
  it.effect("that was opened while another one was being committed is rolled back at the return", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const committed = yield* Deferred.make<void>()
      yield* ConnectionPool.use((connection) =>
        Effect.gen(function* () {
          const session = databases.opened[0]!
          session.execute = (sql) =>
            Effect.andThen(
              sql === "commit" ? Deferred.await(committed) : Effect.void,
              session.executeRaw(sql)
            )
          const commit = yield* Effect.forkChild(connection.execute("commit", [], undefined), {
            startImmediately: true
          })
          yield* connection.execute("begin", [], undefined)
          yield* Deferred.succeed(committed, undefined)
          yield* Fiber.join(commit)
        })
      )
      yield* ConnectionPool.use((_) => _.ping)
      expect(databases.opened.map((_) => _.statements)).toEqual([["begin", "commit", "rollback", "ping"]])
    }).pipe(Effect.provide(over(databases)))
  })

  it.effect(
    "whose rollback is not answered is over after cleanupTimeout, and nobody waits for it any more",
    () => {
      const databases = new FakeDatabases()
      let waiting = 0
      const silent = () => ({
        executeUnprepared: (sql: string) =>
          sql === "ROLLBACK"
            ? Effect.ensuring(
                Effect.andThen(
                  Effect.sync(() => waiting++),
                  Effect.never
                ),
                Effect.sync(() => waiting--)
              )
            : Effect.succeed([])
      })
      return Effect.gen(function* () {
        const sql = yield* SqlClient
        const given = yield* Effect.forkChild(Effect.flip(sql.withTransaction(Effect.fail("given up"))))
        yield* TestClock.adjust("999 millis")
        expect([given.pollUnsafe(), waiting]).toEqual([undefined, 1])
        yield* TestClock.adjust("1 milli")
        expect(yield* Fiber.join(given)).toBe("given up")
        yield* TestClock.adjust(0)
        expect([waiting, databases.open]).toEqual([0, 0])
      }).pipe(Effect.provide(over(databases, { cleanupTimeout: "1 second" }, silent)))
    }
  )

  it.effect("on a shared session that has ended is not rolled back there", () => {
    const databases = new FakeDatabases()
    return Effect.gen(function* () {
      const sql = yield* SqlClient
      const inTransaction = Effect.sync(() => databases.opened[0]!.end())
      const error = yield* Effect.flip(
        sql.withTransaction(Effect.andThen(inTransaction, Effect.fail("the program's own")))
      )
      expect(error).toBe("the program's own")
      expect(databases.opened.map((_) => _.statements)).toEqual([["BEGIN"]])
    }).pipe(Effect.provide(over(databases, { multiplex: true }, shared)))
  })
})

describe("a session (gap)", () => {
  it.effect("that has ended while it was opened fails the borrow, and is never lent", () => {
    const databases = new FakeDatabases()
    const dying = () =>
      databases.opened.length > 1 ? {} : { onEnd: (listener: (error: unknown) => void) => listener(lost()) }
    return Effect.gen(function* () {
      const borrow = ConnectionPool.use((connection) => connection.execute("select 1", [], undefined))
      expect(yield* Effect.flip(borrow)).toMatchObject({ reason: { message: "lost" } })
      expect(yield* borrow).toEqual([{ sql: "select 1" }])
      expect(databases.opened.map((_) => _.statements)).toEqual([[], ["select 1"]])
      expect(databases.open).toBe(1)
    }).pipe(Effect.provide(over(databases, {}, dying)))
  })
})

describe("an error that crosses a thread (gap)", () => {
  it("does not take the URL along that Node could not read, and the password in it", () => {
    const cause = Effect.runSync(
      Effect.flip(Effect.try({ try: () => new URL("x://u:S3CR3T@h:x"), catch: (_) => _ }))
    )
    expect(cause).toMatchObject({ code: "ERR_INVALID_URL", input: expect.stringContaining("S3CR3T") })
    const error = new SqlError({
      reason: new ConnectionError({ cause, message: "no", operation: "connect" })
    })
    const wire = structuredClone(encodeSqlError(error))
    expect(JSON.stringify(wire)).not.toContain("S3CR3T")
    expect(decodeSqlError(wire)).toMatchObject({
      reason: { _tag: "ConnectionError", message: "no", cause: { code: "ERR_INVALID_URL" } }
    })
  })
})
