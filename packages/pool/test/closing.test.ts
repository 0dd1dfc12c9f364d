/**
 * How a pool closes, whatever goes on in it.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, refused, rest, settle, start, states, Things, Timers } from "./kit.ts"

describe("close", () => {
  it.effect("closes what is idle, waits for what is out, and ends when nothing is left", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire })
      yield* rest(pool, 2)
      const holder = yield* borrow(pool)
      const closing = yield* start(Pool.close(pool))
      expect(things.closed).toEqual([2])
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* holder.giveBack
      expect(yield* holder.exit).toEqual(Exit.void)
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(things.closed).toEqual([2, 1])
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, idle: 0, used: 0, pending: 0 })
    })
  )

  it.effect("waits for finalizers too", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.closing = () => Effect.sleep("5 seconds")
      const pool = yield* Pool.make({ acquire: things.acquire })
      yield* rest(pool, 2)
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("4999 millis")
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect(closing.pollUnsafe()).toEqual(Exit.void)
    })
  )

  it.effect("interrupts those who still hold after closeTimeout", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, closeTimeout: "5 seconds" })
      const [one, two] = yield* borrowers(pool, 2)
      const viaGet = yield* start(Effect.scoped(Effect.andThen(Pool.get(pool), Effect.never)))
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("4999 millis")
      expect(states([one!, two!])).toEqual(["holding", "holding"])
      yield* TestClock.adjust("1 millis")
      for (const exit of [yield* one!.exit, yield* two!.exit, yield* Fiber.await(viaGet)]) {
        expect(Exit.hasInterrupts(exit)).toBe(true)
      }
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(things.open).toEqual([])
    })
  )

  it.effect("a closeTimeout of zero interrupts at once, a longer one than needed is not waited for", () =>
    Effect.gen(function* () {
      const impatient = yield* Pool.make({ acquire: new Things().acquire, closeTimeout: 0 })
      const held = yield* borrow(impatient)
      yield* Pool.close(impatient)
      expect(Exit.hasInterrupts(yield* held.exit)).toBe(true)

      const timers = new Timers()
      const patient = yield* timers.watch(Pool.make({ acquire: new Things().acquire, closeTimeout: "1 day" }))
      const holder = yield* borrow(patient)
      const closing = yield* start(Pool.close(patient))
      yield* holder.giveBack
      yield* Fiber.join(closing)
      expect(timers.running).toBe(0)
    })
  )

  it.effect("what is not returned within destroyTimeout after that is closed under its holder", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        closeTimeout: "5 seconds",
        destroyTimeout: "2 seconds"
      })
      const done = yield* Deferred.make<void>()
      const stubborn = yield* start(Pool.use(pool, () => Effect.uninterruptible(Deferred.await(done))))
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("6999 millis")
      expect(things.open).toEqual([1])
      yield* TestClock.adjust("1 millis")
      expect(things.open).toEqual([])
      expect(closing.pollUnsafe()).toEqual(Exit.void)

      yield* Deferred.succeed(done, undefined)
      yield* Fiber.await(stubborn)
      expect(things.closed).toEqual([1])
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, used: 0, idle: 0, destroyed: 1 })
    })
  )

  it.effect("waiters and newcomers fail with PoolClosed at once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, max: 1 })
      const [holder, ...waiting] = yield* borrowers(pool, 4)
      const closing = yield* start(Pool.close(pool))
      for (const waiter of waiting) {
        expect(waiter.state).toBe("over")
        expect(yield* waiter.error).toBeInstanceOf(PoolError.PoolClosed)
      }
      const error = yield* (yield* borrow(pool)).error
      expect(error.message).toBe('pool "db" is closed: nothing can be borrowed from it any more')
      expect(Option.isNone(yield* Pool.tryUse(pool, () => Effect.void))).toBe(true)
      yield* holder!.giveBack
      yield* Fiber.join(closing)
    })
  )

  it.effect("calls a creation off, and closes what arrives all the same", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire })
      const waiter = yield* borrow(pool)
      yield* Pool.close(pool)
      expect(things.aborted).toBe(1)
      expect(yield* waiter.error).toBeInstanceOf(PoolError.PoolClosed)

      const late = new Things()
      late.hold()
      const stubborn = yield* Pool.make({ acquire: Effect.uninterruptible(late.acquire) })
      yield* borrow(stubborn)
      const closing = yield* start(Pool.close(stubborn))
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* late.finish(1)
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(late.created).toEqual([1])
      expect(late.closed).toEqual([1])
    })
  )

  it.effect("calls off retries, validations and resets", () =>
    Effect.gen(function* () {
      const timers = new Timers()
      const things = new Things()
      things.plan = () => refused
      const retrying = yield* timers.watch(
        Pool.make({ acquire: things.acquire, createRetry: Schedule.spaced("1 second") })
      )
      yield* borrow(retrying)
      yield* TestClock.adjust("3 seconds")
      expect(things.attempts).toBe(4)
      yield* Pool.close(retrying)
      yield* TestClock.adjust("1 minute")
      expect(things.attempts).toBe(4)

      const busy = new Things()
      const calledOff: Array<string> = []
      const hangs = (what: string) =>
        Effect.onInterrupt(Effect.never, () => Effect.sync(() => calledOff.push(what)))
      const checking = yield* timers.watch(
        Pool.make({ acquire: busy.acquire, size: 1, validate: () => hangs("validate") })
      )
      yield* TestClock.adjust("1 minute")
      yield* borrow(checking)
      const resetting = yield* timers.watch(Pool.make({ acquire: busy.acquire, reset: () => hangs("reset") }))
      yield* Pool.use(resetting, () => Effect.void)
      yield* settle
      yield* Pool.close(checking)
      yield* Pool.close(resetting)
      expect(calledOff).toEqual(["validate", "reset"])
      expect(busy.closed).toEqual([1, 2])
      expect(timers.running).toBe(0)
    })
  )

  it.effect("leaves no timer behind, whatever was under way", () =>
    Effect.gen(function* () {
      const timers = new Timers()
      const things = new Things()
      const pool = yield* timers.watch(
        Pool.make({
          acquire: things.acquire,
          min: 1,
          max: 3,
          acquireTimeout: "1 minute",
          createTimeout: "1 minute",
          maxAge: "1 hour",
          maxIdle: "1 hour",
          leakAfter: "1 hour",
          validate: () => Effect.succeed(true),
          keepAlive: { every: "1 minute" }
        })
      )
      yield* rest(pool, 2)
      const lent = yield* borrowers(pool, 2)
      things.hold()
      const waiting = yield* borrowers(pool, 2)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 2, creating: 1, pending: 2 })
      expect(timers.running).toBeGreaterThan(0)

      const closing = yield* start(Pool.close(pool))
      expect(states(waiting)).toEqual(["over", "over"])
      for (const borrower of lent) yield* borrower.giveBack
      yield* Fiber.join(closing)
      yield* settle
      expect(timers.running).toBe(0)
      expect(things.open).toEqual([])
    })
  )

  it.effect("leaves no timer behind when it had to interrupt holders", () =>
    Effect.gen(function* () {
      const timers = new Timers()
      const pool = yield* timers.watch(
        Pool.make({ acquire: new Things().acquire, closeTimeout: "5 seconds" })
      )
      const lent = yield* borrowers(pool, 2)
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(closing)
      yield* settle
      expect(states(lent)).toEqual(["over", "over"])
      expect(timers.running).toBe(0)
    })
  )

  it.effect("the end of the scope closes the pool", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Effect.scoped(
        Effect.tap(Pool.make({ acquire: things.acquire, size: 2 }), () => settle)
      )
      expect(things.closed).toEqual([1, 2])
      expect(yield* Effect.flip(Pool.use(pool, () => Effect.void))).toBeInstanceOf(PoolError.PoolClosed)
    })
  )

  it.effect("closing twice is closing once, and both wait for the end", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire })
      const holder = yield* borrow(pool)
      const one = yield* start(Pool.close(pool))
      const two = yield* start(Pool.close(pool))
      expect([one.pollUnsafe(), two.pollUnsafe()]).toEqual([undefined, undefined])
      yield* holder.giveBack
      yield* Fiber.join(one)
      yield* Fiber.join(two)
      yield* Pool.close(pool)
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("one who closes the pool inside its own use does not wait for itself", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire })
      const open = yield* Pool.use(pool, () =>
        Effect.andThen(
          Pool.close(pool),
          Effect.sync(() => things.open)
        )
      )
      expect(open).toEqual([1])
      yield* settle
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("an acquire that closes its own pool is called off like any other", () =>
    Effect.gen(function* () {
      // A scope that is left open, so that a pool that does not close hangs nothing but this.
      const scope = yield* Scope.make()
      const things = new Things()
      const pool = yield* Scope.provide(
        Pool.make({ acquire: things.acquire, destroyTimeout: "5 seconds" }),
        scope
      )
      things.plan = () => Pool.close(pool)
      const borrower = yield* borrow(pool)
      expect(yield* borrower.error).toBeInstanceOf(PoolError.PoolClosed)
      yield* TestClock.adjust("5 seconds")
      expect(yield* Pool.size(pool)).toBe(0)
      expect(things.open).toEqual([])
    })
  )

  it.effect("interrupting close does not undo it", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire })
      const holder = yield* borrow(pool)
      const closing = yield* start(Pool.close(pool))
      yield* Fiber.interrupt(closing)
      expect(yield* Effect.flip(Pool.use(pool, () => Effect.void))).toBeInstanceOf(PoolError.PoolClosed)
      yield* holder.giveBack
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("a finalizer that hangs holds close up no longer than destroyTimeout", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.closing = () => Effect.never
      const pool = yield* Pool.make({ acquire: things.acquire, destroyTimeout: "3 seconds" })
      yield* rest(pool, 2)
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("2999 millis")
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect(closing.pollUnsafe()).toEqual(Exit.void)
    })
  )

  it.effect("operations on a closed pool do nothing, and do not fail", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1 })
      yield* settle
      yield* Pool.close(pool)
      yield* Pool.resize(pool, { min: 2, max: 8 })
      yield* Pool.recycle(pool)
      yield* Pool.suspend(pool)
      yield* Pool.resume(pool)
      expect(yield* Pool.clear(pool)).toBe(0)
      expect(yield* Pool.evictExpired(pool)).toBe(0)
      expect(yield* Effect.flip(Pool.warmUp(pool))).toBeInstanceOf(PoolError.PoolClosed)
      yield* TestClock.adjust("1 hour")
      expect(things.attempts).toBe(1)
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )
})
