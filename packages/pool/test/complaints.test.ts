/**
 * What users of other pools complain about. None of it may be said of this one.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Random, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, Refused, refused, settle, start, Things } from "./kit.ts"

describe("a failing create makes acquire hang or spin (complaint 1)", () => {
  it.effect("each borrower fails with the error, after one attempt each (complaint 1)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.andThen(Effect.sleep("10 millis"), refused)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      const all = yield* borrowers(pool, 7)

      yield* TestClock.adjust("1 second")
      for (const borrower of all) expect(yield* borrower.error).toBeInstanceOf(Refused)
      yield* TestClock.adjust("1 hour")
      expect(things.attempts).toBe(7)
    })
  )

  it.effect("a create that dies fails the borrower with the defect (complaint 1)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const boom = new Error("boom")
      things.plan = (attempt) => (attempt === 1 ? Effect.die(boom) : Effect.void)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })

      expect(yield* Effect.exit(Pool.use(pool, () => Effect.void))).toEqual(Exit.die(boom))
      expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(1)
    })
  )

  it.effect("a create that interrupts itself fails the borrower too (complaint 1)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 1 ? Effect.interrupt : Effect.void)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const first = yield* borrow(pool)
      expect(first.state).toBe("over")
      expect(Exit.isFailure(yield* first.exit)).toBe(true)
      expect(yield* Pool.free(pool)).toBe(1)
    })
  )

  it.effect("a create that hangs keeps nobody beyond the deadline (complaint 1)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.never
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, acquireTimeout: "3 seconds" })
      const waiting = yield* borrowers(pool, 3)
      yield* TestClock.adjust("3 seconds")
      for (const borrower of waiting) {
        expect(yield* borrower.error).toMatchObject({ _tag: "AcquireTimeout" })
      }
    })
  )

  it.effect(
    "while nobody asks, a pool that cannot get to its minimum tries ever more rarely (complaint 1)",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        things.plan = () => refused
        yield* Pool.make({ acquire: things.acquire, min: 4 })
        yield* TestClock.adjust("1 minute")
        const inTheFirstMinute = things.attempts
        expect(inTheFirstMinute).toBeGreaterThan(2)
        expect(inTheFirstMinute).toBeLessThan(60)

        yield* TestClock.adjust("1 hour")
        const inTheHour = things.attempts - inTheFirstMinute
        expect(inTheHour).toBeGreaterThan(10)
        expect(inTheHour).toBeLessThan(inTheFirstMinute * 60)
      })
  )
})

/** A borrower is interrupted at some point of its way; afterwards the pool must be as good as new. */
const asGoodAsNew = (pool: Pool.Pool<{ readonly id: number }, Refused>, max: number) =>
  Effect.gen(function* () {
    yield* settle
    expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, pending: 0, creating: 0, closing: 0 })
    expect(yield* Pool.free(pool)).toBe(max)
    const all = yield* borrowers(pool, max)
    yield* settle
    expect(all.map((_) => _.state)).toEqual(all.map(() => "holding"))
  })

describe("cancelling a waiter loses an item or a permit (complaint 2)", () => {
  it.effect("in line (complaint 2)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const holder = yield* borrow(pool)
      const waiters = yield* borrowers(pool, 3)
      yield* waiters[1]!.interrupt
      yield* waiters[0]!.interrupt
      yield* holder.giveBack
      expect(waiters[2]!.state).toBe("holding")
      yield* waiters[2]!.giveBack
      yield* asGoodAsNew(pool, 1)
    })
  )

  it.effect("when a resource is already its own, and it has not run yet (complaint 2)", () =>
    Effect.gen(function* () {
      for (const ask of [Pool.use, Pool.get, Pool.acquire] as const) {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const thing = yield* Pool.acquire(pool)
        const waiter = yield* start(
          ask === Pool.use
            ? Pool.use(pool, () => Effect.never)
            : Effect.scoped(Effect.asVoid(ask === Pool.get ? Pool.get(pool) : Pool.acquire(pool)))
        )
        const next = yield* borrow(pool)

        yield* Pool.release(pool, thing)
        expect(yield* Pool.stats(pool)).toMatchObject({ used: 1, pending: 1 })
        yield* Fiber.interrupt(waiter)
        yield* settle
        expect(next.state).toBe("holding")
        expect(next.item).toBe(thing)
        yield* next.giveBack
        yield* asGoodAsNew(pool, 1)
      }
    })
  )

  it.effect(
    "during the create that was started for it: the next in line gets the resource (complaint 2)",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        things.hold()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* first.interrupt
        expect(things.aborted).toBe(0)
        yield* things.finish(1)
        expect(second.item.id).toBe(1)
        yield* second.giveBack
        yield* asGoodAsNew(pool, 1)
      })
  )

  it.effect("during the create, and nobody else asks: the resource is idle (complaint 2)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const only = yield* borrow(pool)
      yield* only.interrupt
      yield* things.finish(1)
      expect(yield* Pool.idle(pool)).toBe(1)
      yield* asGoodAsNew(pool, 1)
      expect(things.attempts).toBe(1)
    })
  )

  it.effect("during the validation of what it was to get (complaint 2)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        validate: () => Effect.as(Effect.sleep("1 second"), true)
      })
      yield* Pool.use(pool, () => Effect.void)
      yield* TestClock.adjust("10 seconds")
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")
      yield* waiter.interrupt
      yield* TestClock.adjust("1 second")
      yield* asGoodAsNew(pool, 1)
      expect(things.attempts).toBe(1)
    })
  )

  it.effect("while it holds, with a body that takes its time to clean up (complaint 2)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const cleaned = yield* Deferred.make<void>()
      const body = Effect.ensuring(Effect.never, Deferred.await(cleaned))
      const holder = yield* start(Pool.use(pool, () => body))
      const interruption = yield* start(Fiber.interrupt(holder))
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1, idle: 0 })
      yield* Deferred.succeed(cleaned, undefined)
      yield* Fiber.join(interruption)
      yield* asGoodAsNew(pool, 1)
    })
  )
})

describe("a slot that is freed serves nobody, and the queue stands (complaint 3)", () => {
  it.effect("freed by a destroy (complaint 3)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      yield* Pool.invalidate(pool, holder.item)
      yield* holder.giveBack
      expect(things.closed).toEqual([1])
      expect(waiter.item.id).toBe(2)
    })
  )

  it.effect("freed by a slow destroy: as soon as that has ended (complaint 3)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.closing = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      yield* Pool.invalidate(pool, holder.item)
      yield* holder.giveBack
      expect(waiter.state).toBe("waiting")
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, closing: 1 })
      things.closing = () => Effect.void
      yield* TestClock.adjust("1 second")
      expect(waiter.item.id).toBe(2)
    })
  )

  it.effect("freed by a failed create (complaint 3)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) =>
        Effect.andThen(Effect.sleep("1 second"), attempt <= 3 ? refused : Effect.void)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      const all = yield* borrowers(pool, 5)
      yield* TestClock.adjust("2 seconds")
      expect(all.map((_) => _.state)).toEqual(["over", "over", "over", "holding", "waiting"])
    })
  )

  it.effect(
    "freed by a failed validation: the borrower keeps its place, and gets a new one (complaint 3)",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({
          acquire: things.acquire,
          max: 1,
          validate: (thing) => Effect.succeed(thing.id > 1)
        })
        yield* Pool.use(pool, () => Effect.void)
        yield* TestClock.adjust("1 minute")
        const [first, second] = yield* borrowers(pool, 2)
        expect(things.closed).toEqual([1])
        expect(first!.item.id).toBe(2)
        expect(second!.state).toBe("waiting")
        yield* first!.giveBack
        expect(second!.item.id).toBe(2)
      })
  )

  it.effect("freed by a failed reset (complaint 3)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, reset: () => Effect.fail("dirty") })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      yield* holder.giveBack
      expect(things.closed).toEqual([1])
      expect(waiter.item.id).toBe(2)
    })
  )

  it.effect("freed by age, while borrowers wait (complaint 3)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, maxAge: "10 seconds" })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("1 minute")
      yield* holder.giveBack
      expect(things.closed).toEqual([1])
      expect(waiter.item.id).toBe(2)
    })
  )

  it.effect("freed by a resize (complaint 3)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      yield* borrow(pool)
      const waiters = yield* borrowers(pool, 3)
      yield* Pool.resize(pool, { max: 4 })
      yield* settle
      expect(waiters.map((_) => _.state)).toEqual(["holding", "holding", "holding"])
    })
  )
})

describe("a pool that drained to zero never refills (complaint 4)", () => {
  it.effect("after an outage it is back at its minimum, though nobody asks (complaint 4)", () =>
    Effect.gen(function* () {
      const things = new Things()
      let up = true
      things.plan = () => (up ? Effect.void : refused)
      const pool = yield* Pool.make({
        acquire: things.acquire,
        min: 3,
        validate: () => Effect.succeed(up),
        keepAlive: { every: "10 seconds" }
      })
      yield* settle
      expect(yield* Pool.idle(pool)).toBe(3)

      up = false
      yield* TestClock.adjust("10 minutes")
      expect(yield* Pool.size(pool)).toBe(0)
      expect(things.closed.toSorted((a, b) => a - b)).toEqual([1, 2, 3])

      up = true
      yield* TestClock.adjust("1 minute")
      expect(yield* Pool.idle(pool)).toBe(3)
    })
  )

  it.effect("a second outage is met as patiently, and its end as soon, as the first (complaint 4)", () =>
    Effect.gen(function* () {
      const things = new Things()
      let up = false
      things.plan = () => (up ? Effect.void : refused)
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1, max: 1 })
      const outage = Effect.gen(function* () {
        up = false
        yield* Pool.clear(pool)
        const before = things.attempts
        yield* TestClock.adjust("1 second")
        const inTheFirstSecond = things.attempts - before
        yield* TestClock.adjust("1 hour")
        up = true
        yield* TestClock.adjust("1 minute")
        expect(yield* Pool.idle(pool)).toBe(1)
        return inTheFirstSecond
      })
      yield* outage
      const first = yield* outage
      expect(first).toBeGreaterThan(2)
      expect(yield* outage).toBe(first)
    })
  )

  it.effect("a borrower after the outage gets a resource at once, and the rest follow (complaint 4)", () =>
    Effect.gen(function* () {
      const things = new Things()
      let up = true
      things.plan = () => (up ? Effect.void : refused)
      const pool = yield* Pool.make({ acquire: things.acquire, min: 3 })
      yield* settle
      up = false
      yield* Pool.clear(pool)
      yield* TestClock.adjust("10 minutes")
      expect(yield* Pool.size(pool)).toBe(0)

      up = true
      const first = yield* borrow(pool)
      expect(first.state).toBe("holding")
      expect(yield* Pool.size(pool)).toBe(3)
    })
  )

  it.effect("without a minimum, the next borrow creates (complaint 4)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, maxIdle: "1 second" })
      for (let round = 1; round <= 3; round++) {
        yield* Pool.use(pool, () => Effect.void)
        yield* TestClock.adjust("1 minute")
        expect(yield* Pool.size(pool)).toBe(0)
        expect(things.attempts).toBe(round)
      }
    })
  )

  it.effect("age takes no resource away for good (complaint 4)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 2, maxAge: "1 minute" })
      yield* TestClock.adjust("1 hour")
      expect(yield* Pool.idle(pool)).toBe(2)
      expect(things.created.length).toBeGreaterThan(100)
      expect(things.open).toHaveLength(2)
    })
  )
})

describe("nothing bounds the wait (complaint 5)", () => {
  it.effect("a borrow inside a borrow of the last resource fails at once, and says why (complaint 5)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, max: 1 })
      const nested = Pool.use(pool, () => Pool.use(pool, () => Effect.void))
      const error = yield* Effect.flip(nested)
      expect(error).toBeInstanceOf(PoolError.WouldDeadlock)
      expect(error.message).toMatch(/"db": deadlock.*max: 1/)
    })
  )

  it.effect("a nested borrow with a deadline ends with the deadline (complaint 5)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "2 seconds" })
      const nested = yield* start(Effect.flip(Pool.use(pool, () => Pool.use(pool, () => Effect.void))))
      yield* TestClock.adjust("2 seconds")
      expect(yield* Fiber.join(nested)).toBeInstanceOf(PoolError.AcquireTimeout)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )

  it.effect("the deadline does not start anew at each retry (complaint 5)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.andThen(Effect.sleep("400 millis"), refused)
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        acquireTimeout: "1 second",
        createRetry: Schedule.spaced("200 millis")
      })
      const timed = Effect.gen(function* () {
        const error = yield* Effect.flip(Pool.use(pool, () => Effect.void))
        return [error._tag, yield* Clock.currentTimeMillis]
      })
      const borrower = yield* start(timed)
      yield* TestClock.adjust("10 seconds")
      expect(yield* Fiber.join(borrower)).toEqual(["AcquireTimeout", 1000])
      expect(things.attempts).toBeGreaterThan(1)
    })
  )

  it.effect("nor when what it was to get fails its validation (complaint 5)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        size: 3,
        acquireTimeout: "1 second",
        validate: () => Effect.as(Effect.sleep("400 millis"), false)
      })
      yield* TestClock.adjust("1 minute")
      things.plan = () => Effect.never
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("999 millis")
      expect(borrower.state).toBe("waiting")
      yield* TestClock.adjust("1 millis")
      expect(yield* borrower.error).toBeInstanceOf(PoolError.AcquireTimeout)
    })
  )
})

describe("close hangs, and what comes after it waits out its timeout (complaint 6)", () => {
  it.effect("a leaked resource holds close up no longer than closeTimeout (complaint 6)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        closeTimeout: "10 seconds",
        destroyTimeout: "1 second"
      })
      // Whoever borrowed this is gone and will not give it back.
      yield* Fiber.join(yield* start(Pool.acquire(pool)))
      const closing = yield* start(Pool.close(pool))
      yield* TestClock.adjust("9 seconds")
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("2 seconds")
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(things.open).toEqual([])
    })
  )

  it.effect("a borrow after close fails at once, whatever its deadline (complaint 6)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, acquireTimeout: "1 hour" })
      yield* Pool.close(pool)
      const asks = [
        Pool.use(pool, () => Effect.void),
        Effect.asVoid(Effect.scoped(Pool.get(pool))),
        Effect.asVoid(Pool.acquire(pool)),
        Pool.warmUp(pool)
      ]
      for (const ask of asks) {
        const late = yield* start(Effect.flip(ask))
        expect(late.pollUnsafe()).toBeDefined()
        expect(yield* Fiber.join(late)).toBeInstanceOf(PoolError.PoolClosed)
      }
    })
  )

  it.effect("those in line fail when closing begins, not when it ends (complaint 6)", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "1 hour" })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      const closing = yield* start(Pool.close(pool))
      expect(waiter.state).toBe("over")
      expect(yield* waiter.error).toBeInstanceOf(PoolError.PoolClosed)
      expect(holder.state).toBe("holding")
      yield* holder.giveBack
      yield* Fiber.join(closing)
    })
  )
})

describe("a connect that times out leaves a zombie (complaint 7)", () => {
  it.effect("what arrives too late is closed (complaint 7)", () =>
    Effect.gen(function* () {
      const things = new Things()
      // A connect that cannot be called off, as of drivers that know no cancellation.
      things.plan = () => Effect.uninterruptible(Effect.sleep("10 seconds"))
      const pool = yield* Pool.make({
        acquire: Effect.uninterruptible(things.acquire),
        max: 1,
        createTimeout: "1 second"
      })
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      expect(yield* borrower.error).toBeInstanceOf(PoolError.CreateTimeout)

      yield* TestClock.adjust("9 seconds")
      expect(things.created).toEqual([1])
      expect(things.closed).toEqual([1])
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )

  it.effect("what is still connecting counts, so that there are never more than max (complaint 7)", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.uninterruptible(Effect.sleep("10 seconds"))
      const pool = yield* Pool.make({
        acquire: Effect.uninterruptible(things.acquire),
        max: 2,
        createTimeout: "1 second"
      })
      yield* borrowers(pool, 10)
      for (let second = 0; second < 60; second++) {
        yield* TestClock.adjust("1 second")
        const underWay = things.attempts - things.created.length
        expect(underWay + things.open.length).toBeLessThanOrEqual(2)
      }
      expect(things.open).toEqual([])
      expect(yield* Pool.pending(pool)).toBe(0)
    })
  )

  it.effect(
    "a borrower that gives up leaves no zombie either: the resource is the pool's (complaint 7)",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        things.plan = () => Effect.sleep("10 seconds")
        const pool = yield* Pool.make({ acquire: things.acquire, max: 1, acquireTimeout: "1 second" })
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        expect(yield* borrower.error).toBeInstanceOf(PoolError.AcquireTimeout)
        expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, size: 1 })
        expect(things.open).toEqual([1])
      })
  )
})

/** A burst that needs 10, and then somebody every second for a minute. */
const sizeAfterTheBurst = (order: "fifo" | "lifo") =>
  Effect.gen(function* () {
    const things = new Things()
    const pool = yield* Pool.make({ acquire: things.acquire, max: 10, order, maxIdle: "15 seconds" })
    const burst = yield* borrowers(pool, 10)
    for (const borrower of burst) yield* borrower.giveBack
    for (let second = 0; second < 60; second++) {
      yield* Pool.use(pool, () => Effect.void)
      yield* TestClock.adjust("1 second")
    }
    return yield* Pool.size(pool)
  })

describe("reuse keeps every idle item fresh, so that nothing ever shrinks (complaint 8)", () => {
  it.effect("with last in, first out, a pool shrinks to what the load needs (complaint 8)", () =>
    Effect.gen(function* () {
      expect(yield* sizeAfterTheBurst("lifo")).toBe(1)
      // Spreading the use is what first in, first out is for; there nothing rests long enough.
      expect(yield* sizeAfterTheBurst("fifo")).toBe(10)
    })
  )

  it.effect("with first in, first out, age still closes what is used all the time (complaint 8)", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 10, maxAge: "20 seconds" })
      const burst = yield* borrowers(pool, 10)
      for (const borrower of burst) yield* borrower.giveBack
      for (let second = 0; second < 30; second++) {
        yield* Pool.use(pool, () => Effect.void)
        yield* TestClock.adjust("1 second")
      }
      expect(yield* Pool.size(pool)).toBe(1)
    })
  )
})

/** When each of ten resources of the same birthday is closed, in seconds. */
const deaths = (maxAgeJitter?: number) =>
  Effect.gen(function* () {
    const closedAt: Array<number> = []
    const acquire = Effect.acquireRelease(Effect.succeed({}), () =>
      Effect.map(Clock.currentTimeMillis, (now) => closedAt.push(now / 1000))
    )
    const pool = yield* Pool.make({ acquire, max: 10, maxAge: "1000 seconds", maxAgeJitter })
    const all = yield* borrowers(pool, 10)
    for (const borrower of all) yield* borrower.giveBack
    yield* TestClock.adjust("2000 seconds")
    return closedAt
  }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

describe("users had to randomise lifetimes themselves (complaint 9)", () => {
  it.effect("resources of one age do not expire together (complaint 9)", () =>
    Effect.gen(function* () {
      const ages = yield* Random.withSeed(deaths(), "cenote")
      expect(ages).toHaveLength(10)
      expect(new Set(ages).size).toBe(10)
      for (const age of ages) {
        expect(age).toBeGreaterThanOrEqual(975)
        expect(age).toBeLessThanOrEqual(1000.001)
      }
      expect(Math.max(...ages) - Math.min(...ages)).toBeGreaterThan(5)
    })
  )

  it.effect("unless that is what somebody wants (complaint 9)", () =>
    Effect.gen(function* () {
      const ages = yield* deaths(0)
      expect(new Set(ages).size).toBe(1)
    })
  )
})
