/**
 * What is done to a live pool: closing what it has, recycling, suspending, resizing; and finalizers that fail.
 */
import { KeyedPool, Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Option } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, logged, rest, settle, start, states, Things } from "./kit.ts"

describe("finalizers", () => {
  for (const [how, closing] of Object.entries({
    dies: () => Effect.die(new Error("broken pipe")),
    "interrupts itself": () => Effect.interrupt
  })) {
    it.effect(`one that ${how} reaches no borrower, and its slot lives on`, () =>
      Effect.gen(function* () {
        const { layer, lines } = logged()
        const things = new Things()
        things.closing = closing
        const pool = yield* Effect.provide(
          Pool.make({ name: "db", acquire: things.acquire, max: 1, maxUses: 1 }),
          layer
        )
        const [holder, waiter] = yield* borrowers(pool, 2)
        yield* holder!.giveBack
        expect(yield* holder!.exit).toEqual(Exit.void)
        expect(waiter!.item.id).toBe(2)
        expect(things.closed).toEqual([1])
        expect(lines).toHaveLength(1)
        expect(lines[0]).toMatch(/Warn: pool "db": .*did not close cleanly/)
      })
    )
  }

  it.effect("one that dies keeps neither clear, resize nor close from its work", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.closing = () => Effect.die("broken pipe")
      const pool = yield* Effect.provide(Pool.make({ acquire: things.acquire, max: 3 }), logged().layer)
      yield* rest(pool, 3)
      yield* Pool.resize(pool, 2)
      yield* settle
      expect(yield* Pool.clear(pool)).toBe(2)
      yield* settle
      yield* rest(pool, 1)
      yield* Pool.close(pool)
      expect(things.open).toEqual([])
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, destroyed: 4 })
    })
  )

  it.effect("one that hangs holds its slot until destroyTimeout, and no longer", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.closing = (thing) => (thing.id === 1 ? Effect.never : Effect.void)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, destroyTimeout: "5 seconds" })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* Pool.invalidate(pool, holder!.item)
      yield* holder!.giveBack
      expect(holder!.state).toBe("over")
      yield* TestClock.adjust("4999 millis")
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, closing: 1, pending: 1 })
      yield* TestClock.adjust("1 millis")
      expect(waiter!.item.id).toBe(2)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, closing: 0, destroyed: 1 })
    })
  )

  it.effect("a resource that is still closing counts: there are never more than max", () =>
    Effect.gen(function* () {
      const things = new Things()
      const ended = yield* Deferred.make<void>()
      things.closing = () => Deferred.await(ended)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      yield* rest(pool, 2)
      expect(yield* Pool.clear(pool)).toBe(2)
      const waiting = yield* borrowers(pool, 2)
      expect(states(waiting)).toEqual(["waiting", "waiting"])
      expect(yield* Pool.free(pool)).toBe(0)
      expect(things.attempts).toBe(2)
      yield* Deferred.succeed(ended, undefined)
      yield* settle
      expect(states(waiting)).toEqual(["holding", "holding"])
    })
  )
})

describe("clear", () => {
  it.effect("closes what is idle and says how many; what is on loan is pooled again", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })
      yield* rest(pool, 3)
      const holder = yield* borrow(pool)
      expect(yield* Pool.clear(pool)).toBe(2)
      yield* settle
      expect(things.open).toEqual([holder.item.id])
      yield* holder.giveBack
      expect(yield* Pool.idle(pool)).toBe(1)
      expect(yield* Pool.clear(pool)).toBe(1)
      expect(yield* Pool.clear(pool)).toBe(0)
    })
  )

  it.effect("where there is a minimum, new ones take their place", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, size: 2 })
      yield* settle
      expect(yield* Pool.clear(pool)).toBe(2)
      yield* settle
      expect(things.closed).toEqual([1, 2])
      expect(things.open).toEqual([3, 4])
      expect(yield* Pool.idle(pool)).toBe(2)
    })
  )
})

describe("recycle", () => {
  it.effect("closes what is idle at once, and what is on loan when it is returned", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })
      yield* rest(pool, 3)
      const [holder, waiter] = [yield* borrow(pool), yield* borrow(pool)]
      yield* Pool.recycle(pool)
      yield* settle
      expect(things.closed).toEqual([3])
      expect(states([holder, waiter])).toEqual(["holding", "holding"])

      yield* holder.giveBack
      expect(things.closed).toEqual([3, 1])
      yield* waiter.giveBack
      expect(things.open).toEqual([])
      expect((yield* borrow(pool)).item.id).toBe(4)
    })
  )

  it.effect("closes what is being created when it arrives; who waits for it gets the next", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const waiter = yield* borrow(pool)
      yield* Pool.recycle(pool)
      yield* things.finish(1)
      expect(things.closed).toEqual([1])
      expect(waiter.state).toBe("waiting")
      yield* things.finish(2)
      expect(waiter.item.id).toBe(2)
      yield* waiter.giveBack
      expect(things.open).toEqual([2])
    })
  )

  it.effect("a line behind what is out is served with new ones", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* Pool.recycle(pool)
      yield* holder!.giveBack
      expect(waiter!.item.id).toBe(2)
    })
  )

  it.effect("takes a resource that is being checked or reset as well", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        reset: () => Effect.sleep("1 second")
      })
      const holder = yield* borrow(pool)
      yield* holder.giveBack
      yield* Pool.recycle(pool)
      yield* TestClock.adjust("1 second")
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("what is created afterwards stays", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, size: 2 })
      yield* settle
      yield* Pool.recycle(pool)
      yield* settle
      expect(things.open).toEqual([3, 4])
      yield* rest(pool, 2)
      expect(things.open).toEqual([3, 4])
    })
  )
})

describe("suspend and resume", () => {
  it.effect("nothing is lent meanwhile, returns are taken, and the line is served in order afterwards", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      yield* rest(pool, 1)
      const holder = yield* borrow(pool)
      yield* Pool.suspend(pool)
      const waiting = yield* borrowers(pool, 3)
      yield* holder.giveBack
      expect(holder.state).toBe("over")
      expect(states(waiting)).toEqual(["waiting", "waiting", "waiting"])
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, pending: 3, created: 1 })
      expect(Option.isNone(yield* Pool.tryUse(pool, () => Effect.void))).toBe(true)

      yield* Pool.resume(pool)
      yield* settle
      expect(states(waiting)).toEqual(["holding", "holding", "waiting"])
    })
  )

  it.effect("the deadlines of those who wait run on", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, acquireTimeout: "5 seconds" })
      yield* Pool.suspend(pool)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")
      expect(yield* waiter.error).toBeInstanceOf(PoolError.AcquireTimeout)
      yield* Pool.resume(pool)
      expect((yield* borrow(pool)).state).toBe("holding")
    })
  )

  it.effect("doing either twice is doing it once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      yield* Pool.resume(pool)
      yield* Pool.suspend(pool)
      yield* Pool.suspend(pool)
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")
      yield* Pool.resume(pool)
      yield* settle
      expect(waiter.state).toBe("holding")
    })
  )

  it.effect("a creation that ends meanwhile serves nobody, and is there afterwards", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const waiter = yield* borrow(pool)
      yield* Pool.suspend(pool)
      yield* things.finish(1)
      expect(waiter.state).toBe("waiting")
      expect(yield* Pool.idle(pool)).toBe(1)
      yield* Pool.resume(pool)
      yield* settle
      expect(waiter.item.id).toBe(1)
    })
  )

  it.effect("a suspended pool can be closed", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      yield* Pool.suspend(pool)
      const waiter = yield* borrow(pool)
      yield* Pool.close(pool)
      expect(yield* waiter.error).toBeInstanceOf(PoolError.PoolClosed)
    })
  )
})

describe("resize", () => {
  it.effect("a higher min is created, a lower max is closed, live and while borrowers come and go", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      yield* Pool.resize(pool, { min: 3, max: 5 })
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 3, max: 5, idle: 3 })
      const lent = yield* borrowers(pool, 5)
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")

      yield* Pool.resize(pool, 2)
      for (const borrower of lent.slice(0, 3)) yield* borrower.giveBack
      expect(things.closed).toEqual([1, 2, 3])
      expect(waiter.state).toBe("waiting")
      yield* lent[3]!.giveBack
      expect(waiter.item.id).toBe(4)
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 2, max: 2, size: 2, used: 2 })
    })
  )

  it.effect("what is being created when the pool shrinks is closed on arrival", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      const holder = yield* borrow(pool)
      things.hold()
      const waiter = yield* borrow(pool)
      yield* Pool.resize(pool, 1)
      yield* things.finish(1)
      expect(things.closed).toEqual([2])
      expect(waiter.state).toBe("waiting")
      yield* holder.giveBack
      expect(waiter.item.id).toBe(1)
    })
  )

  it.effect("what closes when the pool shrinks counts until it is gone", () =>
    Effect.gen(function* () {
      const things = new Things()
      const ended = yield* Deferred.make<void>()
      things.closing = () => Deferred.await(ended)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })
      yield* rest(pool, 3)
      yield* Pool.resize(pool, 1)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 3, idle: 1, closing: 2, max: 1 })
      yield* Pool.resize(pool, 3)
      const lent = yield* borrowers(pool, 3)
      expect(states(lent)).toEqual(["holding", "waiting", "waiting"])
      yield* Deferred.succeed(ended, undefined)
      yield* settle
      expect(states(lent)).toEqual(["holding", "holding", "holding"])
    })
  )

  it.effect("those that have been idle longest go first", () =>
    Effect.gen(function* () {
      for (const order of ["fifo", "lifo"] as const) {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 3, order })
        const lent = yield* borrowers(pool, 3)
        for (const n of [1, 2, 0]) {
          yield* lent[n]!.giveBack
          yield* TestClock.adjust("1 second")
        }
        yield* Pool.resize(pool, 2)
        yield* settle
        expect(things.closed).toEqual([2])
      }
    })
  )
})

describe("resources that are shared without a pause", () => {
  it.effect("go nevertheless when the pool is made smaller", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2, concurrency: 2 })
      const holders = yield* borrowers(pool, 4)
      yield* Pool.resize(pool, 1)
      for (let i = 0; i < 10; i++) {
        const next = yield* borrow(pool)
        yield* holders.shift()!.giveBack
        holders.push(next)
      }
      expect(yield* Pool.size(pool)).toBe(1)
    })
  )

  it.effect("make room for another key that has none", () =>
    Effect.gen(function* () {
      const pool = yield* KeyedPool.make({
        acquire: (key: string) => Effect.succeed({ key }),
        max: 1,
        concurrency: 2
      })
      const hold = (key: string) => {
        const until = Deferred.makeUnsafe<void>()
        const fiber = start(KeyedPool.use(pool, key, () => Deferred.await(until)))
        return Effect.as(fiber, Effect.andThen(Deferred.succeed(until, undefined), settle))
      }
      let giveBack = yield* hold("busy")
      const quiet = yield* start(KeyedPool.use(pool, "quiet", () => Effect.succeed("served")))
      for (let i = 0; i < 10; i++) {
        const next = yield* hold("busy")
        yield* giveBack
        giveBack = next
      }
      expect(quiet.pollUnsafe()).toEqual(Exit.succeed("served"))
    })
  )
})
