/**
 * How resources expire: by age, by rest, by use; and the timer that sees to it.
 */
import { Pool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Random } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, rest, settle, states, Things, Timers, withoutTimers } from "./kit.ts"

/** When each of four resources that are born together is closed, in milliseconds. */
const deaths = (seed: string, maxAgeJitter?: number) =>
  Effect.gen(function* () {
    const at: Array<number> = []
    const acquire = Effect.acquireRelease(Effect.succeed({}), () =>
      Effect.map(Clock.currentTimeMillis, (now) => at.push(now))
    )
    const pool = yield* Pool.make({ acquire, max: 4, maxAge: "1 hour", maxAgeJitter })
    const all = yield* borrowers(pool, 4)
    for (const borrower of all) yield* borrower.giveBack
    yield* TestClock.adjust("2 hours")
    return at
  }).pipe(Random.withSeed(seed), Effect.scoped, Effect.provide(TestClock.layer()))

describe("maxAge", () => {
  const exactly = { maxAge: "10 seconds", maxAgeJitter: 0 } as const

  it.effect("closes what is at rest when it is over the limit, not before", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, ...exactly })
      yield* rest(pool, 2)
      yield* TestClock.adjust("10 seconds")
      expect(things.closed).toEqual([])
      yield* TestClock.adjust("1 millis")
      expect(things.closed).toEqual([1, 2])
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )

  it.effect("is not extended by use; what is on loan is closed when it comes back", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, ...exactly })
      yield* rest(pool, 1)
      yield* TestClock.adjust("9 seconds")
      const holder = yield* borrow(pool)
      yield* TestClock.adjust("1 hour")
      expect(things.closed).toEqual([])
      expect(holder.state).toBe("holding")
      yield* holder.giveBack
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("what is too old is not lent, even where the timer is late", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* withoutTimers(Pool.make({ acquire: things.acquire, ...exactly }))
      yield* rest(pool, 1)
      yield* TestClock.adjust("11 seconds")
      expect((yield* borrow(pool)).item.id).toBe(2)
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("below min what expired is replaced", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, size: 2, ...exactly })
      yield* TestClock.adjust("11 seconds")
      expect(things.closed).toEqual([1, 2])
      expect(yield* Pool.idle(pool)).toBe(2)
      expect(things.created).toEqual([1, 2, 3, 4])
    })
  )

  it.effect("of zero means that nothing is used twice: the pool only limits", () =>
    Effect.gen(function* () {
      const things = new Things()
      const timers = new Timers()
      let resets = 0
      const pool = yield* timers.watch(
        Pool.make({
          acquire: things.acquire,
          max: 1,
          maxAge: 0,
          reset: () => Effect.sync(() => resets++),
          destroyTimeout: Infinity
        })
      )
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* holder!.giveBack
      expect(waiter!.item.id).toBe(2)
      expect(things.closed).toEqual([1])
      yield* waiter!.giveBack
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, idle: 0, created: 2, destroyed: 2 })
      expect([resets, timers.set]).toEqual([0, 0])
    })
  )

  it.effect("is shortened by chance, which comes from Random, and so can be seeded", () =>
    Effect.gen(function* () {
      const [one, again, other] = [yield* deaths("a"), yield* deaths("a"), yield* deaths("b")]
      expect(one).toHaveLength(4)
      expect(again).toEqual(one)
      expect(other).not.toEqual(one)
    })
  )

  it.effect("by at most maxAgeJitter of it", () =>
    Effect.gen(function* () {
      const hour = 3_600_000
      for (const [jitter, share] of [
        [undefined, 0.025],
        [0.5, 0.5],
        [0, 0]
      ] as const) {
        for (const age of yield* deaths("a", jitter)) {
          expect(age).toBeGreaterThan(hour * (1 - share))
          expect(age).toBeLessThanOrEqual(hour + 1)
        }
      }
    })
  )
})

describe("maxIdle", () => {
  it.effect("closes each when its own rest is over the limit", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, maxIdle: "100 millis" })
      const [one, two] = yield* borrowers(pool, 2)
      yield* one!.giveBack
      yield* TestClock.adjust("60 millis")
      yield* two!.giveBack
      yield* TestClock.adjust("40 millis")
      expect(things.closed).toEqual([])
      yield* TestClock.adjust("1 millis")
      expect(things.closed).toEqual([1])
      yield* TestClock.adjust("59 millis")
      expect(things.closed).toEqual([1])
      yield* TestClock.adjust("1 millis")
      expect(things.closed).toEqual([1, 2])
    })
  )

  it.effect("starts anew with each use", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, maxIdle: "10 seconds" })
      for (let i = 0; i < 10; i++) {
        yield* rest(pool, 1)
        yield* TestClock.adjust("10 seconds")
      }
      expect(things.created).toEqual([1])
      yield* TestClock.adjust("1 millis")
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("never takes the pool below min", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 2, max: 5, maxIdle: "10 seconds" })
      yield* rest(pool, 5)
      yield* TestClock.adjust("1 hour")
      expect(yield* Pool.idle(pool)).toBe(2)
      expect(things.closed).toHaveLength(3)
      expect(things.created).toHaveLength(5)
    })
  )

  it.effect("what rests because of min is still lent, however long it has rested", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1, max: 1, maxIdle: "10 seconds" })
      yield* rest(pool, 1)
      yield* TestClock.adjust("1 hour")
      expect((yield* borrow(pool)).item.id).toBe(1)
      expect(things.closed).toEqual([])
    })
  )

  it.effect("counts from creation for what was created ahead and never lent", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 3, maxIdle: "10 seconds" })
      yield* TestClock.adjust("5 seconds")
      yield* Pool.resize(pool, { min: 1 })
      yield* TestClock.adjust("5 seconds")
      expect(things.closed).toEqual([])
      yield* TestClock.adjust("1 millis")
      expect(things.closed).toEqual([1, 2])
    })
  )

  it.effect("of zero closes on each return", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, maxIdle: 0 })
      for (const id of [1, 2, 3]) {
        expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(id)
        yield* settle
        expect(yield* Pool.size(pool)).toBe(0)
      }
    })
  )

  it.effect("a shorter deadline is met although a longer one was there first", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 2,
        maxAge: "30 seconds",
        maxAgeJitter: 0,
        maxIdle: "20 seconds"
      })
      const [old] = yield* borrowers(pool, 1)
      yield* TestClock.adjust("25 seconds")
      yield* rest(pool, 1) // the second: rest ends at 45, age at 55
      yield* old!.giveBack // the first: rest ends at 45, age at 30
      yield* TestClock.adjust("5001 millis")
      expect(things.closed).toEqual([1])
      yield* TestClock.adjust("15 seconds")
      expect(things.closed).toEqual([1, 2])
    })
  )
})

describe("maxUses", () => {
  it.effect("closes a resource after that many loans", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, maxUses: 3 })
      const lent: Array<number> = []
      for (let i = 0; i < 7; i++) {
        yield* Pool.use(pool, (thing) => Effect.sync(() => lent.push(thing.id)))
        yield* settle
      }
      expect(lent).toEqual([1, 1, 1, 2, 2, 2, 3])
      expect(things.closed).toEqual([1, 2])
    })
  )

  it.effect("counts each of those who share it, and waits for the last", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, concurrency: 3, maxUses: 2 })
      const [one, two, three] = yield* borrowers(pool, 3)
      expect(states([one!, two!, three!])).toEqual(["holding", "holding", "waiting"])
      yield* one!.giveBack
      expect(things.closed).toEqual([])
      yield* two!.giveBack
      expect(things.closed).toEqual([1])
      expect(three!.item.id).toBe(2)
    })
  )
})

describe("evictExpired", () => {
  it.effect("closes what is past its limits without waiting for a timer, and says how many", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* withoutTimers(
        Pool.make({ acquire: things.acquire, min: 1, max: 4, maxIdle: "10 seconds" })
      )
      yield* rest(pool, 4)
      expect(yield* Pool.evictExpired(pool)).toBe(0)
      yield* TestClock.adjust("11 seconds")
      expect(yield* Pool.evictExpired(pool)).toBe(3)
      yield* settle
      expect(things.closed).toHaveLength(3)
      expect(yield* Pool.idle(pool)).toBe(1)
      expect(yield* Pool.evictExpired(pool)).toBe(0)
    })
  )

  it.effect("finds what is too old, and leaves what is on loan", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* withoutTimers(
        Pool.make({ acquire: things.acquire, max: 4, maxAge: "10 seconds", maxAgeJitter: 0 })
      )
      yield* rest(pool, 3)
      const holder = yield* borrow(pool)
      yield* TestClock.adjust("11 seconds")
      expect(yield* Pool.evictExpired(pool)).toBe(2)
      yield* settle
      expect(things.open).toEqual([holder.item.id])
    })
  )
})

describe("timers", () => {
  it.effect("none is set where nothing can expire", () =>
    Effect.gen(function* () {
      const timers = new Timers()
      const pool = yield* timers.watch(Pool.make({ acquire: new Things().acquire, max: 2 }))
      yield* rest(pool, 2)
      const [holder, , waiter] = yield* borrowers(pool, 3)
      yield* holder!.giveBack
      expect(waiter!.state).toBe("holding")
      expect(timers.set).toBe(0)
    })
  )

  it.effect("one is set for all that can", () =>
    Effect.gen(function* () {
      const timers = new Timers()
      const pool = yield* timers.watch(
        Pool.make({ acquire: new Things().acquire, max: 20, maxIdle: "1 minute", maxAge: "1 hour" })
      )
      yield* rest(pool, 20)
      expect(timers.running).toBe(1)
      yield* TestClock.adjust("2 hours")
      expect(yield* Pool.size(pool)).toBe(0)
      expect(timers.running).toBe(0)
    })
  )
})
