/**
 * What programs written for eventlet's pools rely on, one row of its list of behaviours after the other.
 * Where eventlet has a defect, the test asserts the remedy.
 */
import { Pool, PoolError, TokenPool } from "@cenote/pool"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, defectOf, Refused, refused, settle, start, Things } from "./kit.ts"

describe("construction", () => {
  it.effect("EV-01 with min 0 nothing is created before the first borrow", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 0 })
      yield* settle
      expect(things.attempts).toBe(0)

      expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(1)
      expect(things.attempts).toBe(1)
    })
  )

  it.effect("EV-02 with min = max = 3 there are soon 3 at rest, and the first created is lent first", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 3, max: 3 })
      yield* settle
      expect(yield* Pool.idle(pool)).toBe(3)

      const lent = yield* borrowers(pool, 3)
      expect(lent.map((_) => _.item.id)).toEqual([1, 2, 3])
      expect(things.attempts).toBe(3)
    })
  )

  it.effect("EV-03 make does not fail when create does, and warmUp tells the error", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => refused
      const pool = yield* Pool.make({ acquire: things.acquire, min: 3 })

      const error = yield* Effect.flip(Pool.warmUp(pool))
      expect(error).toBeInstanceOf(Refused)
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )

  it("EV-04 a pool without acquire is no program", () => {
    // @ts-expect-error there is nothing to borrow without `acquire`
    expectTypeOf(() => Pool.make({ max: 4 })).toBeFunction()
    // @ts-expect-error nor does it help to say that there is nothing
    expectTypeOf(() => Pool.make({ acquire: undefined, max: 4 })).toBeFunction()
    type Options = Pool.Options<number, never, never>
    expectTypeOf<Omit<Options, "acquire">>().not.toExtend<Options>()
    expectTypeOf<Pick<Options, "acquire">>().toExtend<Options>()
  })

  it.effect("EV-30 min above max is rejected, and the message names both", () =>
    Effect.gen(function* () {
      const things = new Things()
      const defect = yield* defectOf(Pool.make({ name: "db", acquire: things.acquire, min: 5, max: 2 }))
      expect(defect.message).toMatch(/"db".*min is 5.*max.* 2/)
      expect(things.attempts).toBe(0)
    })
  )
})

describe("borrow and return", () => {
  it.effect("EV-05 four borrows from a pool of 4 give four resources, and none waits", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 4 })

      const lent = yield* borrowers(pool, 4)
      expect(lent.map((_) => _.state)).toEqual(["holding", "holding", "holding", "holding"])
      expect(new Set(lent.map((_) => _.item)).size).toBe(4)
    })
  )

  it.effect("EV-06 create is called for the most that were ever out at one time, and no more", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 4 })

      const first = yield* borrow(pool)
      yield* first.giveBack
      const again = yield* borrow(pool)
      expect(again.item).toBe(first.item)
      expect(things.attempts).toBe(1)

      const beside = yield* borrow(pool)
      expect(things.attempts).toBe(2)
      yield* again.giveBack
      yield* beside.giveBack
      for (let i = 0; i < 10; i++) {
        const pair = yield* borrowers(pool, 2)
        yield* pair[0]!.giveBack
        yield* pair[1]!.giveBack
      }
      expect(things.attempts).toBe(2)
    })
  )

  it.effect("EV-07 free is what is idle and what could still be created", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 4 })
      expect(yield* Pool.free(pool)).toBe(4)

      const lent = yield* borrowers(pool, 3)
      expect(yield* Pool.free(pool)).toBe(1)

      for (const borrower of lent) yield* borrower.giveBack
      expect(yield* Pool.free(pool)).toBe(4)
    })
  )

  it.effect("EV-08 a borrower that finds none free waits in line", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      yield* borrowers(pool, 2)
      expect(yield* Pool.pending(pool)).toBe(0)

      const late = yield* borrow(pool)
      expect(late.state).toBe("waiting")
      expect(yield* Pool.pending(pool)).toBe(1)
    })
  )

  it.effect("EV-09 what is returned goes to the one who waits", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)

      yield* holder.giveBack
      expect(waiter.state).toBe("holding")
      expect(waiter.item).toBe(holder.item)
      expect(yield* Pool.pending(pool)).toBe(0)
      expect(things.attempts).toBe(1)
    })
  )

  it.effect("EV-10 on its way to a waiter a resource is at no moment idle", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      const waiter = yield* borrow(pool)

      yield* Pool.release(pool, thing)
      // The waiter has not run yet, but the resource is already its own.
      expect(waiter.state).toBe("waiting")
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 0, used: 1, pending: 0 })
      expect(yield* Pool.free(pool)).toBe(0)
      expect(Option.isNone(yield* Pool.tryUse(pool, () => Effect.void))).toBe(true)

      yield* settle
      expect(waiter.item).toBe(thing)
    })
  )

  it.effect("EV-10 a return that serves nobody does not let other fibers run first", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      let ran = false
      yield* Effect.forkChild(Effect.sync(() => (ran = true)))

      yield* Pool.release(pool, thing)
      expect(ran).toBe(false)
      yield* settle
      expect(ran).toBe(true)
    })
  )

  it.effect("EV-11 of two returns in one tick one serves the waiter, and one is idle", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const one = yield* Pool.acquire(pool)
      const two = yield* Pool.acquire(pool)
      const waiter = yield* borrow(pool)

      yield* Pool.release(pool, one)
      yield* Pool.release(pool, two)
      yield* settle
      expect(waiter.item).toBe(one)
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, used: 1, pending: 0 })
    })
  )

  it.effect("EV-12 three rounds of borrows, each returned by another fiber, all finish", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      const round = Effect.gen(function* () {
        const one = yield* Pool.acquire(pool)
        const two = yield* Pool.acquire(pool)
        yield* Effect.forkChild(Pool.release(pool, one))
        yield* Effect.forkChild(Pool.release(pool, two))
        return [one.id, two.id].toSorted((a, b) => a - b)
      })

      const rounds = [yield* round, yield* round, yield* round]
      expect(rounds).toEqual([
        [1, 2],
        [1, 2],
        [1, 2]
      ])
      yield* settle
      expect(yield* Pool.idle(pool)).toBe(2)
    })
  )

  it.effect("EV-12 however long the forked returns take", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const round = Effect.gen(function* () {
        const both = [yield* Pool.acquire(pool), yield* Pool.acquire(pool)]
        for (const thing of both)
          yield* Effect.forkDetach(Effect.delay(Pool.release(pool, thing), "10 seconds"))
        return both.length
      })
      const rounds = yield* start(Effect.exit(Effect.all([round, round, round])))
      yield* TestClock.adjust("1 minute")
      expect(yield* Fiber.join(rounds)).toEqual(Exit.succeed([2, 2, 2]))
      expect(yield* Pool.idle(pool)).toBe(2)
    })
  )

  it.effect("EV-13 by default what was returned first is lent first", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const [a, b] = yield* borrowers(pool, 2)
      yield* a!.giveBack
      yield* b!.giveBack

      const [first, second] = yield* borrowers(pool, 2)
      expect(first!.item).toBe(a!.item)
      expect(second!.item).toBe(b!.item)
    })
  )

  it.effect("EV-14 last in, first out: what was returned last is lent first", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2, order: "lifo" })
      const [a, b] = yield* borrowers(pool, 2)
      yield* a!.giveBack
      yield* b!.giveBack

      const [first, second] = yield* borrowers(pool, 2)
      expect(first!.item).toBe(b!.item)
      expect(second!.item).toBe(a!.item)
    })
  )

  it.effect("EV-14 last in, first out: those created ahead come out in the order of their creation", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 3, order: "lifo" })
      yield* settle
      const lent = yield* borrowers(pool, 3)
      expect(lent.map((_) => _.item.id)).toEqual([1, 2, 3])
    })
  )

  it.effect("EV-32 resources are opaque: null and undefined are as good as any", () =>
    Effect.gen(function* () {
      for (const nothing of [null, undefined]) {
        let made = 0
        const pool = yield* Pool.make({ acquire: Effect.sync(() => (made++, nothing)), max: 1 })
        expect(yield* Pool.use(pool, Effect.succeed)).toBe(nothing)
        expect(yield* Pool.acquire(pool)).toBe(nothing)
        const waiter = yield* borrow(pool)
        expect(waiter.state).toBe("waiting")

        yield* Pool.release(pool, nothing)
        yield* settle
        expect(waiter.state).toBe("holding")
        expect(waiter.item).toBe(nothing)
        expect(made).toBe(1)
        yield* waiter.giveBack
        expect(Option.getOrThrow(yield* Pool.tryUse(pool, Effect.succeed))).toBe(nothing)
      }
    })
  )
})

describe("the line", () => {
  it.effect("EV-15 waiters are served strictly in the order in which they came", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 3 })
      const served: Array<number> = []
      const workers = Array.from({ length: 50 }, (_, n) =>
        Pool.use(pool, () => {
          served.push(n)
          return n % 2 === 0 ? Effect.yieldNow : Effect.void
        })
      )
      yield* Effect.all(workers, { concurrency: "unbounded" })
      expect(served).toEqual(workers.map((_, n) => n))
    })
  )

  it.effect("EV-15 a newcomer does not overtake a waiter that has just been served", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      const waiter = yield* borrow(pool)

      yield* Pool.release(pool, thing)
      const newcomer = yield* borrow(pool)
      expect([waiter.state, newcomer.state]).toEqual(["holding", "waiting"])
    })
  )

  it.effect("EV-16 a hundred borrowers of a pool of 4 make it create exactly 4, however slow create is", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, max: 4 })
      const all = yield* start(
        Effect.forEach(Array.from({ length: 100 }), () => Pool.use(pool, (_) => Effect.succeed(_.id)), {
          concurrency: "unbounded"
        })
      )
      expect(yield* Pool.stats(pool)).toMatchObject({ creating: 4, size: 4, pending: 100 })

      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(all)).toHaveLength(100)
      expect(things.attempts).toBe(4)
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 4, size: 4, pending: 0, borrowed: 100 })
    })
  )

  it.effect("EV-17 a failed create fails the borrow with its error, and takes nothing from the pool", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => refused
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })

      for (let i = 1; i <= 5; i++) {
        expect(yield* Effect.flip(Pool.use(pool, () => Effect.void))).toBeInstanceOf(Refused)
        yield* settle
        expect(yield* Pool.free(pool)).toBe(3)
        expect(things.attempts).toBe(i)
      }
    })
  )

  it.effect("EV-17 a borrower interrupted during the create gives its claim back", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const first = yield* borrow(pool)
      yield* first.interrupt
      expect(yield* Pool.pending(pool)).toBe(0)

      const second = yield* borrow(pool)
      yield* things.finish(1)
      expect(second.item.id).toBe(1)
      expect(things.attempts).toBe(1)
    })
  )

  it.effect("EV-18 when a create fails, its slot serves the next in line", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const a = yield* borrow(pool)
      const b = yield* borrow(pool)

      yield* things.refuse(1)
      expect(yield* a.error).toBeInstanceOf(Refused)
      expect(b.state).toBe("waiting")
      expect(things.attempts).toBe(2)
      yield* things.finish(2)
      expect(b.state).toBe("holding")
    })
  )

  it.effect(
    "EV-25 a return in the tick in which all waiters time out is neither lost nor does it block",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 1, acquireTimeout: "1 second" })
        // Both orders of the timers that go off at the same moment.
        for (const holderFirst of [true, false]) {
          const thing = yield* Pool.acquire(pool)
          const giveBack = Effect.delay(Pool.release(pool, thing), "1 second")
          if (holderFirst) yield* start(giveBack)
          const waiters = yield* borrowers(pool, 5)
          if (!holderFirst) yield* start(giveBack)

          yield* TestClock.adjust("1 second")
          for (const waiter of waiters) {
            yield* waiter.giveBack
            const exit = yield* waiter.exit
            if (Exit.isFailure(exit))
              expect(Cause.squash(exit.cause)).toBeInstanceOf(PoolError.AcquireTimeout)
          }
          expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, used: 0, pending: 0, size: 1 })
        }
        expect(things.attempts).toBe(1)
      })
  )

  it.effect("EV-25 nor in the tick in which all waiters are interrupted", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      const waiters = yield* Effect.replicateEffect(start(Pool.use(pool, () => Effect.never)), 5)

      // The interruptions are under way, and none has been waited for, when the resource comes back.
      const interruptions = yield* Effect.forEach(waiters, (waiter) =>
        Effect.forkChild(Fiber.interrupt(waiter))
      )
      yield* Pool.release(pool, thing)
      yield* Effect.forEach(interruptions, Fiber.join)
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, used: 0, pending: 0 })
    })
  )

  it.effect("EV-26 what is returned after a waiter timed out goes to the next borrow", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "1 second" })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      expect(yield* waiter.error).toBeInstanceOf(PoolError.AcquireTimeout)

      yield* holder.giveBack
      expect(yield* Pool.idle(pool)).toBe(1)
      const next = yield* borrow(pool)
      expect(next.item).toBe(holder.item)
    })
  )

  it.effect("EV-27 an interrupted waiter leaves the line, and no slot is lost", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      expect(yield* Pool.pending(pool)).toBe(1)

      yield* waiter.interrupt
      expect(yield* Pool.pending(pool)).toBe(0)
      yield* holder.giveBack
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, size: 1 })
      expect(yield* Pool.free(pool)).toBe(1)
    })
  )
})

describe("resize", () => {
  it.effect(
    "EV-19 from 2 to 1 with both out: the first to come back goes, and 2 are free after growing again",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
        const [one, two] = yield* borrowers(pool, 2)
        yield* Pool.resize(pool, 1)

        yield* one!.giveBack
        expect(things.closed).toEqual([one!.item.id])
        yield* two!.giveBack
        expect(yield* Pool.free(pool)).toBe(1)
        expect(things.closed).toEqual([one!.item.id])

        yield* Pool.resize(pool, 2)
        expect(yield* Pool.free(pool)).toBe(2)
      })
  )

  it.effect("EV-20 nobody who holds is disturbed, free is 0 and not negative, size tells the rest", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })
      const lent = yield* borrowers(pool, 3)
      yield* Pool.resize(pool, 1)
      yield* settle

      expect(lent.map((_) => _.state)).toEqual(["holding", "holding", "holding"])
      expect(things.closed).toEqual([])
      expect(yield* Pool.free(pool)).toBe(0)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 3, used: 3, max: 1 })
    })
  )

  it.effect("EV-21 idle resources in excess are closed at once", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })
      const lent = yield* borrowers(pool, 3)
      for (const borrower of lent) yield* borrower.giveBack
      yield* Pool.resize(pool, 1)
      yield* settle

      expect(things.closed).toEqual([1, 2])
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, idle: 1, closing: 0 })
    })
  )

  it.effect(
    "EV-22 two out, one waiter, resize to 1: the second return serves the waiter, not the first",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
        const [one, two] = yield* borrowers(pool, 2)
        const waiter = yield* borrow(pool)
        yield* Pool.resize(pool, 1)

        yield* one!.giveBack
        expect(waiter.state).toBe("waiting")
        expect(yield* Pool.size(pool)).toBe(1)
        yield* two!.giveBack
        expect(waiter.item).toBe(two!.item)
        expect(things.attempts).toBe(2)
      })
  )

  it.effect("EV-23 what leaves the pool is finalised, once, however it leaves", () =>
    Effect.gen(function* () {
      const things = new Things()
      const lifetime = Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: things.acquire, max: 5 })
        const lent = yield* borrowers(pool, 5)
        yield* Pool.invalidate(pool, lent[0]!.item)
        for (const borrower of lent) yield* borrower.giveBack
        expect(things.closed).toEqual([1])

        yield* Pool.resize(pool, 3)
        yield* settle
        expect(things.closed).toEqual([1, 2])

        yield* Pool.invalidate(pool, { id: 3 })
        const [shrunk, cleared] = yield* borrowers(pool, 2)
        yield* Pool.resize(pool, 2)
        yield* settle
        yield* shrunk!.giveBack
        expect(things.closed).toEqual([1, 2, 5])

        yield* Pool.clear(pool)
        yield* cleared!.giveBack
      })
      yield* Effect.scoped(lifetime)
      expect(things.closed).toEqual([1, 2, 5, 3, 4])
      expect(things.created).toEqual([1, 2, 3, 4, 5])
    })
  )

  it.effect("EV-24 resize from 1 to 3 serves the waiters by creating", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      yield* borrow(pool)
      const waiters = yield* borrowers(pool, 3)

      yield* Pool.resize(pool, 3)
      yield* settle
      expect(waiters.map((_) => _.state)).toEqual(["holding", "holding", "waiting"])
      expect(things.attempts).toBe(3)
    })
  )

  it.effect("EV-31 a pool of 0 is paused: borrowers wait, and are served when it grows", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
      yield* Pool.use(pool, () => Effect.void)
      yield* Pool.resize(pool, 0)
      yield* settle
      expect(things.closed).toEqual([1])

      const waiters = yield* borrowers(pool, 2)
      yield* TestClock.adjust("1 hour")
      expect(waiters.map((_) => _.state)).toEqual(["waiting", "waiting"])
      expect(yield* Pool.stats(pool)).toMatchObject({ max: 0, size: 0, pending: 2 })

      yield* Pool.resize(pool, 2)
      yield* settle
      expect(waiters.map((_) => _.state)).toEqual(["holding", "holding"])
    })
  )
})

describe("how a borrow ends", () => {
  const boom = new Error("boom")
  const bodies = {
    succeeds: Effect.succeed("done"),
    fails: Effect.fail("broken" as const),
    dies: Effect.die(boom),
    throws: Effect.suspend((): Effect.Effect<string> => {
      throw boom
    }),
    "interrupts itself": Effect.interrupt
  }

  for (const [ending, body] of Object.entries<Effect.Effect<string, "broken">>(bodies)) {
    it.effect(`EV-28 the body ${ending}: the resource is back, and the outcome is the body's own`, () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const alone = yield* Effect.exit(body)

        expect(yield* Effect.exit(Pool.use(pool, () => body))).toEqual(alone)
        expect(yield* Pool.free(pool)).toBe(1)
        expect(yield* Effect.exit(Effect.scoped(Effect.andThen(Pool.get(pool), body)))).toEqual(alone)
        expect(yield* Pool.free(pool)).toBe(1)
        expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, size: 1, borrowed: 2 })
      })
    )
  }

  it.effect("EV-28 the borrower is interrupted: the resource is back", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const viaUse = yield* start(Pool.use(pool, () => Effect.never))
      expect(yield* Pool.free(pool)).toBe(0)
      yield* Fiber.interrupt(viaUse)
      expect(yield* Pool.free(pool)).toBe(1)

      const viaGet = yield* start(Effect.scoped(Effect.andThen(Pool.get(pool), Effect.never)))
      expect(yield* Pool.free(pool)).toBe(0)
      yield* Fiber.interrupt(viaGet)
      expect(yield* Pool.free(pool)).toBe(1)
      expect(Exit.hasInterrupts(yield* Fiber.await(viaGet))).toBe(true)
    })
  )

  it.effect("EV-28 a borrow that fails returns nothing", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, maxWaiting: 0 })
      const holder = yield* borrow(pool)
      expect(yield* Effect.flip(Pool.use(pool, () => Effect.void))).toBeInstanceOf(PoolError.LineFull)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1, idle: 0, size: 1 })

      yield* holder.giveBack
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, size: 1 })
    })
  )

  it.effect("EV-29 a foreign resource, or one returned twice, is not taken, and nothing changes", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, max: 2 })
      const other = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const mine = yield* Pool.acquire(pool)
      const foreign = yield* Pool.acquire(other)
      const inUse = yield* borrow(pool)
      yield* Pool.release(pool, mine)
      const before = yield* Pool.stats(pool)

      for (const wrong of [foreign, mine, { id: 1 }, inUse.item]) {
        const error = yield* Effect.flip(Pool.release(pool, wrong))
        expect(error).toBeInstanceOf(PoolError.NotLeased)
        expect(error.message).toContain('"db"')
      }
      expect(yield* Pool.stats(pool)).toEqual(before)
      expect(inUse.state).toBe("holding")
    })
  )
})

/** Each worker borrows three times, and holds for some turns of the scheduler, or for some time. */
const crowd = (size: number, workers: number) =>
  Effect.gen(function* () {
    const things = new Things()
    const pool = yield* Pool.make({ acquire: things.acquire, max: size })
    const out = new Set<number>()
    let most = 0
    const turn = (worker: number) =>
      Pool.use(pool, (thing) =>
        Effect.gen(function* () {
          expect(out.has(thing.id)).toBe(false)
          out.add(thing.id)
          most = Math.max(most, out.size)
          if (worker % 3 === 0) yield* Effect.yieldNow
          if (worker % 3 === 1) yield* Effect.sleep(1 + (worker % 7))
          out.delete(thing.id)
        })
      )
    const all = yield* start(
      Effect.forEach(
        Array.from({ length: workers }, (_, n) => n),
        (n) => Effect.repeat(turn(n), { times: 2 }),
        { concurrency: "unbounded" }
      )
    )
    yield* TestClock.adjust("10 minutes")
    yield* Fiber.join(all)

    expect(most).toBeLessThanOrEqual(size)
    expect(yield* Pool.stats(pool)).toMatchObject({
      idle: things.attempts,
      used: 0,
      pending: 0,
      borrowed: workers * 3
    })
  })

describe("many workers", () => {
  for (const size of [4, 10, 23, 50]) {
    it.effect(`EV-33 a pool of ${size} serves 5 to 75 workers, and all complete`, () =>
      Effect.gen(function* () {
        for (const workers of [5, 20, 33, 50, 75]) yield* crowd(size, workers)
      })
    )
  }

  it.effect(
    "EV-33 a hundred thousand fibers over 10 resources: all complete, and nothing is lost",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 10 })
        let out = 0
        let most = 0
        let done = 0
        const worker = Pool.use(pool, () => {
          most = Math.max(most, ++out)
          return Effect.map(Effect.yieldNow, () => {
            out--
            done++
          })
        })
        yield* Effect.forEach(Array.from({ length: 100_000 }), () => worker, {
          concurrency: "unbounded",
          discard: true
        })

        expect(done).toBe(100_000)
        expect(most).toBe(10)
        expect(things.attempts).toBe(10)
        expect(yield* Pool.stats(pool)).toMatchObject({ idle: 10, used: 0, pending: 0, borrowed: 100_000 })
      }),
    60_000
  )
})

describe("tokens", () => {
  it.effect("EV-34 tokens held at one time are distinct, and a returned one is lent again", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 3 })
      const held = [
        yield* TokenPool.acquire(tokens),
        yield* TokenPool.acquire(tokens),
        yield* TokenPool.acquire(tokens)
      ]
      expect(new Set(held).size).toBe(3)
      expect(new Set(held.map((_) => _.id)).size).toBe(3)

      yield* TokenPool.release(tokens, held[1]!)
      expect(yield* TokenPool.acquire(tokens)).toBe(held[1])
    })
  )

  it.effect("EV-34 a token pool has the whole interface of a pool", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ name: "slots", max: 2 })
      expect(Pool.isPool(tokens)).toBe(true)
      const holder = yield* borrow(tokens)
      const token = yield* Effect.scoped(Pool.get(tokens))
      expect(token).not.toBe(holder.item)
      const both = yield* borrow(tokens)
      const waiter = yield* borrow(tokens)

      expect(yield* Pool.stats(tokens)).toMatchObject({ name: "slots", used: 2, pending: 1, max: 2 })
      expect(yield* Pool.free(tokens)).toBe(0)
      yield* Pool.resize(tokens, 3)
      yield* settle
      expect(waiter.state).toBe("holding")

      yield* Pool.invalidate(tokens, both.item)
      yield* both.giveBack
      const next = yield* borrow(tokens)
      expect(next.item.id).toBe(4)
      expect(yield* Pool.leases(tokens)).toHaveLength(3)

      const closing = yield* start(Pool.close(tokens))
      expect(yield* Effect.flip(TokenPool.withToken(tokens, Effect.void))).toBeInstanceOf(
        PoolError.PoolClosed
      )
      for (const borrower of [holder, waiter, next]) yield* borrower.giveBack
      yield* Fiber.join(closing)
      expect(yield* Pool.size(tokens)).toBe(0)
    })
  )
})
