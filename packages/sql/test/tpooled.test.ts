/** What the calling thread's side of a session in a thread waits for, and what it gives up: without a server. */
import { ConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type Scripted, script } from "./scripted.ts"

const over = ({ driver }: Scripted, options: ConnectionPool.Options = { max: 1 }) =>
  Layer.provide(TpooledConnectionPool.layer(driver, options), ThreadPool.layerInline)

/** The session that serves the next borrower. */
const next = ConnectionPool.use((connection) =>
  Effect.map(connection.execute("select 1", [], undefined), ([row]) => row.session as number)
)

const ways = {
  "a stream that is left": () =>
    ConnectionPool.use((connection) =>
      Stream.runDrain(Stream.take(connection.executeStream("select", [], undefined), 1))
    ),
  "a statement that is interrupted": (database: Scripted) =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      database.begun = () => Deferred.doneUnsafe(begun, Effect.void)
      const slow = yield* Effect.forkChild(
        ConnectionPool.use((connection) => connection.execute("never", [], undefined))
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(slow)
    })
}

describe("a session in a thread", () => {
  for (const [name, giveUp] of Object.entries(ways)) {
    it.effect(`${name} is waited for before the session is lent again, once`, () => {
      const database = script()
      return Effect.gen(function* () {
        const cancelling = yield* Deferred.make<void>()
        const cancelled = yield* Deferred.make<void>()
        database.cancel = () =>
          Effect.andThen(Deferred.succeed(cancelling, undefined), Deferred.await(cancelled))
        yield* Effect.forkChild(giveUp(database), { startImmediately: true })
        yield* Deferred.await(cancelling)
        const second = yield* Effect.forkChild(next)
        yield* TestClock.adjust("1 second")
        expect(second.pollUnsafe()).toBeUndefined()
        yield* Deferred.succeed(cancelled, undefined)
        expect(yield* Fiber.join(second)).toBe(1)
        expect([yield* next, yield* next]).toEqual([1, 1])
        expect(database.settles).toBe(1)
      }).pipe(Effect.provide(over(database)))
    })

    for (const [how, happen] of [
      ["must not be lent again", "retire"],
      ["has ended", "end"]
    ] as const) {
      it.effect(`${name}, after which the session ${how}: the next borrower has another`, () => {
        const database = script()
        database.cancel = (session) =>
          Effect.andThen(
            Effect.yieldNow,
            Effect.sync(() => session[happen]())
          )
        return Effect.gen(function* () {
          yield* giveUp(database)
          expect(yield* next).toBe(2)
          expect(database.open).toBe(1)
        }).pipe(Effect.provide(over(database)))
      })
    }
  }

  it.effect("EV-37: nobody waits for a statement that is under way at the return, and it fails", () => {
    const database = script()
    return Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      database.begun = () => Deferred.doneUnsafe(begun, Effect.void)
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(ConnectionPool.get, scope)
      const slow = yield* Effect.forkChild(Effect.flip(connection.execute("never", [], undefined)))
      yield* Deferred.await(begun)
      yield* Scope.close(scope, Exit.void)
      expect(yield* next).toBe(2)
      expect((yield* Fiber.join(slow)).message).toContain("was returned")
    }).pipe(Effect.provide(over(database)))
  })

  it.effect("is closed in its thread with its pool", () => {
    const database = script()
    return Effect.gen(function* () {
      yield* Effect.provide(next, over(database))
      expect([database.opened, database.open]).toEqual([1, 0])
    })
  })

  for (const what of ["connecting", "config"] as const) {
    it.effect(`EV-52: ConnectTimeout, where ${what} takes too long`, () => {
      const database = script()
      return Effect.gen(function* () {
        const begun = yield* Deferred.make<void>()
        database[what] = Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)
        const borrow = yield* Effect.forkChild(Effect.flip(next))
        yield* Deferred.await(begun)
        yield* TestClock.adjust("4 seconds")
        expect(borrow.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("2 seconds")
        expect(yield* Fiber.join(borrow)).toMatchObject({ _tag: "ConnectTimeout", pool: "scripted" })
      }).pipe(Effect.provide(over(database)))
    })
  }
})
