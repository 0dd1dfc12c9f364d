/**
 * What no other test noticed when the pool was broken on purpose, one subject after the other. The table of
 * docs/testing.md says what was broken.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Option, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { World } from "./deterministic.ts"
import { borrow, type Refused, settle, start, type Thing, Things } from "./kit.ts"

// -----------------------------------------------------------------------------
// Borrowing
// -----------------------------------------------------------------------------

describe("a suspended pool", () => {
  it.effect("does not lend what is at rest, though nobody is in line before the one who asks", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* settle
      yield* Pool.suspend(pool)
      expect(Option.isNone(yield* Pool.tryUse(pool, () => Effect.void))).toBe(true)
      const borrower = yield* borrow(pool)
      expect(borrower.state).toBe("waiting")
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, used: 0, pending: 1 })

      yield* Pool.resume(pool)
      yield* settle
      expect(borrower.state).toBe("holding")
    })
  )
})

describe("tryUse while somebody waits", () => {
  it.effect("creates nothing, though there is room: the line comes first", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 2,
        validate: () => Effect.never,
        validateAfterIdle: "1 second",
        validateTimeout: "1 minute"
      })
      yield* Pool.use(pool, () => Effect.void)
      yield* TestClock.adjust("1 second")
      // It waits for the validation of the one that there is.
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")

      expect(Option.isNone(yield* Pool.tryUse(pool, () => Effect.void))).toBe(true)
      yield* settle
      expect(things.attempts).toBe(1)
      expect(waiter.state).toBe("waiting")
    })
  )
})

describe("a get that is interrupted", () => {
  it.effect("while it waits for a validation leaves the line, though its scope is still open", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        size: 1,
        validate: () => Effect.never,
        validateAfterIdle: "1 second",
        validateTimeout: "1 minute"
      })
      yield* settle
      yield* TestClock.adjust("1 second")
      // There is one at rest, so that it looks as if no wait were needed.
      const getting = yield* start(Pool.get(pool))
      expect(yield* Pool.pending(pool)).toBe(1)

      yield* Fiber.interrupt(getting)
      expect(yield* Pool.stats(pool)).toMatchObject({ pending: 0, borrowed: 0 })
    })
  )
})

describe("a reserved resource", () => {
  it.effect("is lent to nobody when one who shared it gives it back", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 2 })
      const scope = yield* Scope.make()
      const mine = yield* Scope.provide(Pool.get(pool), scope)
      const other = yield* borrow(pool)
      expect(other.item).toBe(mine)
      yield* Scope.provide(Pool.reserve(pool, mine), scope)

      yield* other.giveBack
      const newcomer = yield* borrow(pool)
      expect(newcomer.state).toBe("waiting")
      yield* Scope.close(scope, Exit.void)
      yield* settle
      expect(newcomer.item).toBe(mine)
    })
  )
})

// -----------------------------------------------------------------------------
// Deadlocks
// -----------------------------------------------------------------------------

describe("a borrow inside a borrow", () => {
  const hour = Effect.sleep("1 hour")

  it.effect("is no deadlock while a resource is created", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      const nested = Pool.use(pool, () => {
        things.plan = () => hour
        return Pool.use(pool, (inner) => Effect.succeed(inner.id))
      })
      const fiber = yield* start(nested)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 2, creating: 1, pending: 1 })
      yield* TestClock.adjust("1 hour")
      expect(yield* Fiber.join(fiber)).toBe(2)
    })
  )

  it.effect("is no deadlock while a resource is validated", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        size: 2,
        validate: () => Effect.as(hour, true),
        validateAfterIdle: "1 minute",
        validateTimeout: "1 day"
      })
      yield* settle
      const enough = Deferred.makeUnsafe<void>()
      const nested = Pool.use(pool, () =>
        Effect.andThen(
          Deferred.await(enough),
          Pool.use(pool, (inner) => Effect.succeed(inner.id))
        )
      )
      const fiber = yield* start(nested)
      yield* TestClock.adjust("1 minute")
      yield* Deferred.succeed(enough, undefined)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 2, idle: 0, used: 2, pending: 1 })
      yield* TestClock.adjust("1 hour")
      expect(yield* Fiber.join(fiber)).toBe(2)
    })
  )

  it.effect("is no deadlock while a resource is closed, and another can then be created", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, destroyTimeout: "1 day" })
      const done = Deferred.makeUnsafe<void>()
      things.closing = (thing) => (thing.id === 1 ? Deferred.await(done) : Effect.void)
      const broken = yield* borrow(pool)
      yield* Pool.invalidate(pool, broken.item)
      const nested = Pool.use(pool, () =>
        Effect.andThen(
          broken.giveBack,
          Pool.use(pool, (inner) => Effect.succeed(inner.id))
        )
      )
      const fiber = yield* start(nested)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 2, closing: 1, pending: 1 })
      yield* TestClock.adjust("1 hour")
      yield* Deferred.succeed(done, undefined)
      expect(yield* Fiber.join(fiber)).toBe(3)
    })
  )

  it.effect("is one when a paused pool goes on with no more than it had", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const nested = Pool.use(pool, () =>
        Effect.andThen(
          Pool.resize(pool, 0),
          Pool.use(pool, () => Effect.void)
        )
      )
      const fiber = yield* start(Effect.flip(nested))
      yield* TestClock.adjust("1 hour")
      expect(fiber.pollUnsafe()).toBe(undefined)

      yield* Pool.resize(pool, 1)
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(fiber)).toBeInstanceOf(PoolError.WouldDeadlock)
    })
  )
})

// -----------------------------------------------------------------------------
// Time
// -----------------------------------------------------------------------------

/** A clock on the wall that can be put forward and back; the time that passes is that of the test. */
class Wall {
  private ahead = 0
  private readonly clock: Clock.Clock

  constructor(clock: Clock.Clock) {
    const now = () => clock.currentTimeMillisUnsafe() + this.ahead
    const changed: Partial<Clock.Clock> = {
      currentTimeMillisUnsafe: now,
      currentTimeMillis: Effect.sync(now),
      currentTimeNanosUnsafe: () => BigInt(now()) * 1_000_000n,
      currentTimeNanos: Effect.sync(() => BigInt(now()) * 1_000_000n)
    }
    this.clock = new Proxy(clock, { get: (_, key) => Reflect.get(key in changed ? changed : clock, key) })
  }

  correct(by: Duration.Input): void {
    this.ahead += Duration.toMillis(by)
  }

  around<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.provideService(effect, Clock.Clock, this.clock)
  }
}

describe("a wall clock that is corrected", () => {
  const options = { max: 1, maxIdle: "1 minute", acquireTimeout: "1 minute" } as const

  it.effect("forward: nobody's deadline passes, and nothing expires", () =>
    Effect.gen(function* () {
      const things = new Things()
      const wall = new Wall(yield* Clock.Clock)
      const pool = yield* wall.around(Pool.make({ ...options, acquire: things.acquire }))
      const holder = yield* borrow(pool)
      yield* borrow(pool)
      yield* TestClock.adjust("10 seconds")
      const second = yield* borrow(pool)
      wall.correct("1 hour")
      yield* TestClock.adjust("50 seconds")
      expect(yield* Pool.stats(pool)).toMatchObject({ pending: 1, timeouts: 1 })
      expect(second.state).toBe("waiting")

      yield* holder.giveBack
      yield* second.giveBack
      wall.correct("1 hour")
      expect((yield* borrow(pool)).item).toBe(holder.item)
      expect(things.closed).toEqual([])
    })
  )

  it.effect("back: deadlines pass, and what rests expires, when they would have", () =>
    Effect.gen(function* () {
      const things = new Things()
      const wall = new Wall(yield* Clock.Clock)
      const pool = yield* wall.around(Pool.make({ ...options, acquire: things.acquire }))
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      wall.correct("-1 hour")
      yield* TestClock.adjust("1 minute")
      expect(waiter.state).toBe("over")
      yield* holder.giveBack
      wall.correct("-1 hour")
      yield* TestClock.adjust("61 seconds")
      expect(things.closed).toEqual([1])
    })
  )
})

describe("maxIdle", () => {
  it.effect("holds for what was kept because of min, as soon as others have been created", () =>
    Effect.gen(function* () {
      const things = new Things()
      const options = { min: 2, max: 4, maxIdle: "1 minute", targetUtilization: 0.3 } as const
      const pool = yield* Pool.make({ ...options, acquire: things.acquire })
      yield* TestClock.adjust("50 seconds")
      yield* borrow(pool)
      expect(things.open).toEqual([1, 2, 3, 4])
      yield* TestClock.adjust("11 seconds")
      expect(things.closed).toEqual([2])
    })
  )
})

// -----------------------------------------------------------------------------
// Closing
// -----------------------------------------------------------------------------

describe("a pool that closes at any step of a creation", () => {
  type Way = Omit<Pool.Options<number, never, never>, "acquire">

  /** Closes the pool after that many steps, and says whether there were so many. */
  const closeAfter = (steps: number, way: Way): boolean => {
    const world = new World(3)
    const scope = Scope.makeUnsafe()
    let opened = 0
    let closed = 0
    const acquire = Effect.acquireRelease(
      Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => ++opened)
      ),
      () => Effect.sync(() => closed++)
    )
    const pool = world.run(Scope.provide(Pool.make({ ...way, max: 1, acquire }), scope))
    world.fork(Effect.exit(Pool.use(pool, () => Effect.yieldNow)))
    let done = 0
    while (done < steps && world.scheduler.runOne()) done++

    const closing = world.fork(Scope.close(scope, Exit.void))
    world.scheduler.runAll()
    expect(closing.pollUnsafe(), `closed after ${done} steps`).toEqual(Exit.void)
    expect(closed, `closed as often as opened, after ${done} steps`).toBe(opened)
    expect(world.run(Pool.stats(pool))).toMatchObject({ size: 0, used: 0, creating: 0, closing: 0 })
    world.end()
    return done === steps
  }

  const ways: Record<string, Way> = {
    "one attempt": {},
    "an attempt with a time limit": { createTimeout: "1 hour" },
    "attempts with retries": { createRetry: Schedule.recurs(3) },
    both: { createTimeout: "1 hour", createRetry: Schedule.recurs(3) }
  }
  for (const [name, way] of Object.entries(ways)) {
    it(`${name}: what has just been created is closed`, () => {
      let steps = 0
      while (closeAfter(steps, way)) steps++
      expect(steps).toBeGreaterThan(10)
    })
  }
})

describe("a create that will not be called off", () => {
  it.effect("holds close up for destroyTimeout, and no longer", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.uninterruptible(Effect.never)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, destroyTimeout: "20 seconds" })
      yield* borrow(pool)
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("19 seconds")
      expect(closing.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 second")
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )
})

/** Borrows, waits for the word, and borrows inside that. */
const nested = (pool: Pool.Pool<Thing, Refused>, word: Effect.Effect<unknown, unknown>) =>
  start(
    Effect.flip(
      Pool.use(pool, () =>
        Effect.andThen(
          word,
          Pool.use(pool, () => Effect.void)
        )
      )
    )
  )

describe("a deadlock that comes when nobody joins the line", () => {
  it.effect("because the pool shrank, and what came back was closed, is told", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const other = Deferred.makeUnsafe<void>()
      const stuck = yield* nested(pool, Deferred.await(other))
      const holder = yield* borrow(pool)
      yield* Deferred.succeed(other, undefined)
      yield* settle
      yield* Pool.resize(pool, 1)
      yield* holder.giveBack
      yield* TestClock.adjust("5 seconds")
      expect(stuck.pollUnsafe()?._tag).toBe("Success")
      expect(yield* Fiber.join(stuck)).toBeInstanceOf(PoolError.WouldDeadlock)
    })
  )
  it.effect("because the pool shrank while it created, is told", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      const stuck = yield* nested(
        pool,
        Effect.sync(() => things.hold())
      )
      yield* Pool.resize(pool, 1)
      yield* things.finish(1)
      yield* TestClock.adjust("5 seconds")
      expect(stuck.pollUnsafe()?._tag).toBe("Success")
    })
  )
  it.effect("because a suspended pool was resumed, is told", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const stuck = yield* nested(pool, Pool.suspend(pool))
      yield* Pool.resume(pool)
      yield* TestClock.adjust("5 seconds")
      expect(stuck.pollUnsafe()?._tag).toBe("Success")
    })
  )
})
