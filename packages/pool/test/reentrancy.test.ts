/**
 * What happens when those whom the pool calls, or who hear from it, call it back in the middle of something.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, References, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { borrow, settle, start, Things } from "./kit.ts"

describe("a listener", () => {
  it.effect("that interrupts the holder on TimedOut costs no resource", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "20 millis" })
      const holder = yield* start(Pool.use(pool, () => Effect.never))
      yield* start(
        Stream.runForEach(Pool.events(pool), (event) =>
          event._tag === "TimedOut" ? Effect.sync(() => holder.interruptUnsafe()) : Effect.void
        )
      )
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("20 millis")
      expect(yield* waiter.error).toBeInstanceOf(PoolError.AcquireTimeout)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, pending: 0 })
      expect(yield* Pool.use(pool, ({ id }) => Effect.succeed(id))).toBe(1)
    })
  )

  it.effect("that closes the pool on Created finds each resource closed once", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      yield* start(
        Stream.runForEach(Pool.events(pool), (event) =>
          event._tag === "Created" ? Effect.forkDetach(Pool.close(pool)) : Effect.void
        )
      )
      const borrower = yield* start(Pool.use(pool, () => Effect.never))
      yield* Fiber.interrupt(borrower)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, used: 0, created: 1, destroyed: 1 })
      expect(things.closed).toEqual([1])
    })
  )
})

describe("a caller of warmUp", () => {
  it.effect("finds what it has warmed up", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1, max: 4, maxWaiting: 0 })
      const program = yield* start(
        Effect.andThen(
          Pool.warmUp(pool),
          Pool.tryUse(pool, ({ id }) => Effect.succeed(id))
        )
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(program)).toMatchObject({ _tag: "Some", value: 1 })
      expect(yield* Pool.size(pool)).toBe(1)
    })
  )

  it.effect("that recycles at once never takes the pool above its limit", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
      const program = yield* start(Effect.andThen(Pool.warmUp(pool), Pool.recycle(pool)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(program)
      yield* TestClock.adjust("10 seconds")
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, idle: 1, created: 2, destroyed: 1 })
    })
  )

  it.effect("goes on when min is lowered below what there is", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 2 ? Effect.never : Effect.void)
      const pool = yield* Pool.make({ acquire: things.acquire, min: 2 })
      const program = yield* start(Pool.warmUp(pool))
      expect(program.pollUnsafe()).toBeUndefined()
      yield* Pool.resize(pool, { min: 1 })
      yield* Fiber.join(program)
    })
  )
})

describe("a scope that closes around a get", () => {
  it.effect("before it, ends the loan at once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* Pool.warmUp(pool)
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      yield* Scope.provide(Pool.get(pool), scope)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1 })
    })
  )

  it.effect("during its wait, strands nobody", () =>
    Effect.gen(function* () {
      const checked = yield* Deferred.make<boolean>()
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        size: 1,
        validate: () => Deferred.await(checked),
        validateAfterIdle: 0
      })
      yield* Pool.warmUp(pool)
      const scope = yield* Scope.make()
      const waiter = yield* start(Scope.provide(Pool.get(pool), scope))
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.succeed(checked, true)
      yield* Fiber.join(waiter)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, pending: 0 })
    })
  )
})

describe("an acquire", () => {
  it.effect("that closes a pool with a min is not called for ever", () =>
    Effect.gen(function* () {
      const things = new Things()
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(
        Pool.make({ acquire: things.acquire, size: 1, destroyTimeout: "1 second" }),
        scope
      )
      things.plan = () => Pool.close(pool)
      yield* Pool.clear(pool)
      yield* TestClock.adjust("2 seconds")
      expect(things.attempts).toBe(2)
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )
})

describe("what moves", () => {
  it.effect("includes a resource that is being reset: no deadlock is certain then", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        max: 2,
        reset: () => Effect.sleep("1 second")
      })
      const other = yield* borrow(pool)
      const both = yield* start(
        Pool.use(pool, () =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Pool.use(pool, () => Effect.succeed("both"))
          )
        )
      )
      yield* TestClock.adjust("500 millis")
      yield* other.giveBack
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(both)).toBe("both")
    })
  )
})

describe("a closer", () => {
  it.effect("with a loan by acquire does not close it under those who share it", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, concurrency: 2 })
      const sharer = yield* borrow(pool)
      const closing = yield* start(Effect.andThen(Pool.acquire(pool), Pool.close(pool)))
      expect(things.closed).toEqual([])
      yield* sharer.giveBack
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.await(closing)
      expect(things.closed).toEqual([1])
    })
  )
})

describe("a body", () => {
  it.effect("keeps what it has done to its fiber's context", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      yield* Pool.use(pool, () => Effect.annotateLogsScoped("request", 7))
      expect(yield* References.CurrentLogAnnotations).toMatchObject({ request: 7 })
    })
  )
})
