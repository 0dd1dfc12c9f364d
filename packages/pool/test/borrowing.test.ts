/**
 * The ways to borrow, what the pool knows about those who do, and what becomes of those who wait for
 * themselves.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  borrow,
  borrowers,
  defectOf,
  listen,
  Refused,
  refused,
  settle,
  start,
  states,
  type Thing,
  Things
} from "./kit.ts"

const fail = () => Effect.fail("mine" as const)

// -----------------------------------------------------------------------------
// The ways to borrow
// -----------------------------------------------------------------------------

describe("use", () => {
  it.effect("lends while the body runs, and gives what the body gives", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const used = Pool.use(pool, (thing) => Effect.map(Pool.stats(pool), ({ used }) => [thing.id, used]))
      expect(yield* used).toEqual([1, 1])
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1 })
    })
  )

  it.effect("has all that can go wrong in its type, and nothing else", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      expectTypeOf(Pool.use(pool, fail)).toEqualTypeOf<
        Effect.Effect<never, "mine" | Refused | PoolError.PoolError>
      >()
      expectTypeOf(Pool.tryUse(pool, fail)).toEqualTypeOf<Effect.Effect<Option.Option<never>, "mine">>()
      expectTypeOf(Pool.get(pool)).toEqualTypeOf<
        Effect.Effect<Thing, Refused | PoolError.PoolError, Scope.Scope>
      >()
      expectTypeOf(Pool.release(pool, { id: 1 })).toEqualTypeOf<Effect.Effect<void, PoolError.NotLeased>>()

      const infallible = yield* Pool.make({ acquire: Effect.succeed(1) })
      expectTypeOf(Pool.acquire(infallible)).toEqualTypeOf<Effect.Effect<number, PoolError.PoolError>>()
      expect(yield* Pool.use(infallible, Effect.succeed)).toBe(1)
    })
  )

  it.effect("runs as often as it is run", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      const effect = Pool.use(pool, (thing) => Effect.as(Effect.yieldNow, thing.id))
      const all = yield* Effect.all([effect, effect, effect], { concurrency: "unbounded" })
      expect(all).toEqual([1, 2, 3])
      expect(yield* effect).toBe(1)
    })
  )

  const boom = new Error("boom")
  for (const [ending, body] of Object.entries<Effect.Effect<string, Error>>({
    failure: Effect.fail(boom),
    defect: Effect.die(boom),
    interruption: Effect.interrupt,
    "failure together with a defect": Effect.ensuring(Effect.fail(boom), Effect.die("in the finalizer"))
  })) {
    it.effect(`keeps the cause of a body's ${ending}`, () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        // Beside the outcome of the body alone, in the same fiber.
        const both = Effect.all([Effect.exit(Pool.use(pool, () => body)), Effect.exit(body)])
        const [atOnce, alone] = yield* both
        expect(atOnce).toEqual(alone)
        expect(Exit.isFailure(alone)).toBe(true)

        const holder = yield* borrow(pool)
        const waiter = yield* start(both)
        yield* holder.giveBack
        const [afterAWait, aloneThere] = yield* Fiber.join(waiter)
        expect(afterAWait).toEqual(aloneThere)
        expect(yield* Pool.idle(pool)).toBe(1)
      })
    )
  }

  it.effect("passes the failure of acquire through as it is", () =>
    Effect.gen(function* () {
      const things = new Things()
      const error = new Refused({ why: "wrong password" })
      things.plan = () => Effect.fail(error)
      const pool = yield* Pool.make({ acquire: things.acquire })
      for (const ask of [
        Pool.use(pool, () => Effect.void),
        Effect.asVoid(Effect.scoped(Pool.get(pool))),
        Effect.asVoid(Pool.acquire(pool))
      ]) {
        expect(yield* Effect.exit(ask)).toEqual(Exit.fail(error))
      }
    })
  )

  it.effect("does not make what is uninterruptible interruptible, nor the other way round", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const go = yield* Deferred.make<void>()
      const firm = yield* start(
        Effect.uninterruptible(Pool.use(pool, () => Effect.as(Deferred.await(go), "done")))
      )
      const interruption = yield* start(Fiber.interrupt(firm))
      expect(firm.pollUnsafe()).toBeUndefined()
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(interruption)
      expect(yield* Pool.idle(pool)).toBe(1)

      const loose = yield* start(Pool.use(pool, () => Effect.never))
      yield* Fiber.interrupt(loose)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )
})

describe("get", () => {
  it.effect("lends until the scope closes", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const scope = yield* Scope.make()
      const one = yield* Scope.provide(Pool.get(pool), scope)
      const two = yield* Scope.provide(Pool.get(pool), scope)
      expect([one.id, two.id]).toEqual([1, 2])
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 2, idle: 0 })

      yield* Scope.close(scope, Exit.void)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 2 })
    })
  )

  it.effect("may be closed by another fiber than the one that borrowed", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const scope = yield* Scope.make()
      yield* Fiber.join(yield* start(Scope.provide(Pool.get(pool), scope)))
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")
      yield* Fiber.join(yield* start(Scope.close(scope, Exit.void)))
      yield* settle
      expect(waiter.state).toBe("holding")
    })
  )

  it.effect("waits in line like everybody", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const holder = yield* borrow(pool)
      const order: Array<string> = []
      const viaGet = yield* start(
        Effect.scoped(Effect.tap(Pool.get(pool), () => Effect.sync(() => order.push("get"))))
      )
      const viaUse = yield* start(Pool.use(pool, () => Effect.sync(() => order.push("use"))))
      const viaAcquire = yield* start(
        Effect.tap(Pool.acquire(pool), () => Effect.sync(() => order.push("acquire")))
      )
      yield* holder.giveBack
      yield* Fiber.join(viaGet)
      yield* Fiber.join(viaUse)
      yield* Pool.release(pool, yield* Fiber.join(viaAcquire))
      expect(order).toEqual(["get", "use", "acquire"])
    })
  )

  it.effect("in a scope that is closed already returns at once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      yield* Scope.provide(Pool.get(pool), scope)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1 })
    })
  )
})

describe("acquire and release", () => {
  it.effect("lend until released, by whichever fiber", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1 })
      yield* Fiber.join(yield* start(Pool.release(pool, thing)))
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1 })
    })
  )

  it.effect("outlive the fiber that acquired", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Fiber.join(yield* start(Pool.acquire(pool)))
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1 })
      yield* Pool.release(pool, thing)
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1 })
    })
  )

  it.effect("release fails with NotLeased for what get or use has lent, which stays lent", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, max: 2 })
      const viaGet = yield* Effect.scoped(
        Effect.gen(function* () {
          const thing = yield* Pool.get(pool)
          expect(yield* Effect.flip(Pool.release(pool, thing))).toBeInstanceOf(PoolError.NotLeased)
          expect(yield* Pool.stats(pool)).toMatchObject({ used: 1 })
          return thing
        })
      )
      const error = yield* Pool.use(pool, (thing) => Effect.flip(Pool.release(pool, thing)))
      expect(error.message).toBe(
        'pool "db": this resource is not on loan by Pool.acquire (returned already, borrowed by get or use, ' +
          "or of another pool). Nothing was changed"
      )
      expect(yield* Effect.flip(Pool.release(pool, viaGet))).toBeInstanceOf(PoolError.NotLeased)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, size: 1 })
    })
  )

  it.effect("where equal values are pooled, each release ends one loan", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: Effect.succeed("same"), max: 3 })
      const items = [yield* Pool.acquire(pool), yield* Pool.acquire(pool)]
      expect(items).toEqual(["same", "same"])
      yield* Pool.release(pool, "same")
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1, idle: 1 })
      yield* Pool.release(pool, "same")
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 2 })
      expect(yield* Effect.flip(Pool.release(pool, "same"))).toBeInstanceOf(PoolError.NotLeased)
    })
  )

  it.effect("of several loans of one resource, release ends the caller's own", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 2 })
      const other = yield* start(Pool.acquire(pool))
      const thing = yield* Pool.acquire(pool)
      expect(yield* Fiber.join(other)).toBe(thing)
      yield* Pool.release(pool, thing)
      expect((yield* Pool.leases(pool)).map((_) => _.fiber)).toEqual([other.id])
      // Of what is left, anyone may end what nobody else will.
      yield* Pool.release(pool, thing)
      expect(yield* Pool.leases(pool)).toEqual([])
    })
  )

  it.effect("an acquire that is interrupted while it waits leaves nothing to release", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      const waiter = yield* start(Pool.acquire(pool))
      yield* Fiber.interrupt(waiter)
      yield* Pool.release(pool, thing)
      expect(yield* Effect.flip(Pool.release(pool, thing))).toBeInstanceOf(PoolError.NotLeased)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )
})

describe("tryUse", () => {
  it.effect("uses what is idle, and gives what the body gives", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* settle
      expect(yield* Pool.tryUse(pool, (thing) => Effect.succeed(thing.id))).toEqual(Option.some(1))
      expect(yield* Effect.exit(Pool.tryUse(pool, () => Effect.fail("mine")))).toEqual(Exit.fail("mine"))
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )

  it.effect("gives none at once where all are out, and creates nothing beyond max", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const holder = yield* borrow(pool)
      let ran = false
      expect(yield* Pool.tryUse(pool, () => Effect.sync(() => (ran = true)))).toEqual(Option.none())
      yield* settle
      expect([ran, things.attempts]).toEqual([false, 1])
      expect(yield* Pool.pending(pool)).toBe(0)
      yield* holder.giveBack
      expect(yield* Pool.tryUse(pool, () => Effect.succeed("now"))).toEqual(Option.some("now"))
    })
  )

  it.effect("where there is room, creates for a later try, and does not wait for it", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 4 })
      for (let i = 0; i < 3; i++) expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
      expect(things.attempts).toBe(1)
      yield* things.finish(1)
      expect(yield* Pool.tryUse(pool, (thing) => Effect.succeed(thing.id))).toEqual(Option.some(1))
    })
  )

  it.effect("a creation that fails reaches nobody, and a later try starts another", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire })
      expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
      yield* things.refuse(1)
      expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
      yield* things.finish(2)
      expect(yield* Pool.tryUse(pool, () => Effect.succeed("now"))).toEqual(Option.some("now"))
    })
  )

  it.effect("does not overtake those who wait", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const thing = yield* Pool.acquire(pool)
      const waiter = yield* borrow(pool)
      yield* Pool.release(pool, thing)
      expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
      yield* settle
      expect(waiter.state).toBe("holding")
    })
  )

  it.effect("what first has to be validated is validated for a later try", () =>
    Effect.gen(function* () {
      const things = new Things()
      const asked: Array<number> = []
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        validate: (thing) => Effect.sync(() => (asked.push(thing.id), true))
      })
      yield* Pool.use(pool, () => Effect.void)
      yield* TestClock.adjust("1 minute")
      let tries = 1
      while (Option.isNone(yield* Pool.tryUse(pool, () => Effect.void)) && tries < 10) {
        tries++
        yield* settle
      }
      expect(tries).toBeLessThanOrEqual(2)
      expect(asked).toEqual([1])
      expect(things.attempts).toBe(1)
    })
  )

  it.effect("gives the resource back however the body ends", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* settle
      const boom = new Error("boom")
      expect(yield* defectOf(Pool.tryUse(pool, () => Effect.die(boom)))).toBe(boom)
      const hanging = yield* start(Pool.tryUse(pool, () => Effect.never))
      expect(yield* Pool.idle(pool)).toBe(0)
      yield* Fiber.interrupt(hanging)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )
})

describe("a resource that does not equal itself", () => {
  it.effect("is found all the same: NaN is given back, invalidated and closed", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: Effect.succeed(Number.NaN), max: 2 })
      const [one, other] = [yield* Pool.acquire(pool), yield* Pool.acquire(pool)]
      yield* Pool.invalidate(pool, one)
      yield* Pool.release(pool, other)
      yield* Pool.release(pool, one)
      expect((yield* Effect.flip(Pool.release(pool, one)))._tag).toBe("NotLeased")
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, idle: 1, destroyed: 1 })
    })
  )
})

describe("thousands of interruptions in one tick", () => {
  it.effect("of those who wait and of those who hold lose nothing, and whoever is left is served", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 3,
        concurrency: 2,
        acquireTimeout: "1 minute"
      })
      const all = yield* Effect.replicateEffect(
        Effect.forkScoped(
          Pool.use(pool, () => Effect.never),
          { startImmediately: true }
        ),
        5_000
      )
      const last = yield* borrow(pool)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 3, pending: 4_995 })
      // From both ends and the middle: those served on the way are interrupted before they wake.
      const order = all.toSorted((a, b) => ((a.id * 7919) % 5_003) - ((b.id * 7919) % 5_003))
      yield* Effect.sync(() => {
        for (const fiber of order) fiber.interruptUnsafe()
      })
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 3, used: 1, idle: 2, pending: 0 })
      yield* settle
      expect(last.state).toBe("holding")
      yield* last.giveBack
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 3, idle: 3, used: 0, created: 3, timeouts: 0 })
    })
  )
})

describe("invalidate", () => {
  it.effect("closes at once what is at rest", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const thing = yield* Pool.use(pool, Effect.succeed)
      yield* Pool.invalidate(pool, thing)
      yield* settle
      expect(things.closed).toEqual([1])
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )

  it.effect("closes on return what is on loan, whoever says so, and however often", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* Pool.invalidate(pool, holder!.item)
      yield* Pool.invalidate(pool, holder!.item)
      yield* settle
      expect(things.closed).toEqual([])
      expect(waiter!.state).toBe("waiting")
      yield* holder!.giveBack
      expect(things.closed).toEqual([1])
      expect(waiter!.item.id).toBe(2)
      yield* Pool.invalidate(pool, holder!.item)
      yield* waiter!.giveBack
      expect(things.closed).toEqual([1])
    })
  )

  it.effect(
    "closes when the last of several borrowers has returned, and lends it to no other meanwhile",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, max: 2, concurrency: 2 })
        const [one, two] = yield* borrowers(pool, 2)
        expect(one!.item).toBe(two!.item)
        yield* Pool.invalidate(pool, one!.item)
        yield* one!.giveBack
        expect((yield* borrow(pool)).item.id).toBe(2)
        expect(things.closed).toEqual([])
        yield* two!.giveBack
        expect(things.closed).toEqual([1])
      })
  )

  it.effect("does nothing to what the pool does not have", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
      yield* settle
      yield* Pool.invalidate(pool, { id: 1 })
      yield* settle
      expect(things.closed).toEqual([])
    })
  )

  it.effect("of equal values means the caller's own", () =>
    Effect.gen(function* () {
      let opened = 0
      const closed: Array<number> = []
      const acquire = Effect.acquireRelease(
        Effect.sync(() => ++opened),
        (n) => Effect.sync(() => closed.push(n))
      )
      const pool = yield* Pool.make({ acquire: Effect.as(acquire, "same"), max: 3 })
      const others = yield* borrowers(pool, 2)
      yield* Pool.use(pool, (item) => Pool.invalidate(pool, item))
      yield* settle
      expect(closed).toEqual([3])
      for (const other of others) yield* other.giveBack
      expect(closed).toEqual([3])
    })
  )
})

// -----------------------------------------------------------------------------
// Sharing
// -----------------------------------------------------------------------------

describe("concurrency 3", () => {
  it.effect("up to three share a resource; the fourth gets another, or waits", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, concurrency: 3 })
      expect(yield* Pool.free(pool)).toBe(6)
      const all = yield* borrowers(pool, 7)
      expect(all.slice(0, 6).map((_) => _.item.id)).toEqual([1, 1, 1, 2, 2, 2])
      expect(all[6]!.state).toBe("waiting")
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 2, used: 2, idle: 0, pending: 1, borrowed: 6 })
      expect(yield* Pool.free(pool)).toBe(0)

      yield* all[4]!.giveBack
      expect(all[6]!.item.id).toBe(2)
      expect(yield* Pool.free(pool)).toBe(0)
      yield* all[0]!.giveBack
      expect(yield* Pool.free(pool)).toBe(1)
    })
  )

  it.effect("a resource is idle when none of them is left", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 3 })
      const all = yield* borrowers(pool, 3)
      for (const [n, borrower] of all.entries()) {
        yield* borrower.giveBack
        expect(yield* Pool.idle(pool)).toBe(n === 2 ? 1 : 0)
      }
    })
  )

  it.effect("one creation serves three of those who wait for it", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 4, concurrency: 3 })
      const all = yield* borrowers(pool, 4)
      expect(things.attempts).toBe(2)
      yield* things.finish(1)
      expect(states(all)).toEqual(["holding", "holding", "holding", "waiting"])
    })
  )

  it.effect("several returns in one tick serve as many waiters", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 3 })
      const held = [yield* Pool.acquire(pool), yield* Pool.acquire(pool), yield* Pool.acquire(pool)]
      const waiting = yield* borrowers(pool, 3)
      for (const item of held) yield* Pool.release(pool, item)
      yield* settle
      expect(states(waiting)).toEqual(["holding", "holding", "holding"])
    })
  )
})

describe("reserve", () => {
  it.effect("keeps the rest of a shared resource from being lent until the scope closes", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, concurrency: 3 })
      const holder = yield* borrow(pool)
      const scope = yield* Scope.make()
      yield* Scope.provide(Pool.reserve(pool, holder.item), scope)
      expect(holder.state).toBe("holding")
      const waiting = yield* borrowers(pool, 2)
      expect(states(waiting)).toEqual(["waiting", "waiting"])

      yield* Scope.close(scope, Exit.void)
      yield* settle
      expect(states(waiting)).toEqual(["holding", "holding"])
      expect(waiting[0]!.item).toBe(holder.item)
    })
  )

  it.effect("is not over before the last of several reservations is", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 2 })
      const holder = yield* borrow(pool)
      const [one, two] = [yield* Scope.make(), yield* Scope.make()]
      yield* Scope.provide(Pool.reserve(pool, holder.item), one)
      yield* Scope.provide(Pool.reserve(pool, holder.item), two)
      const waiter = yield* borrow(pool)
      yield* Scope.close(one, Exit.void)
      yield* settle
      expect(waiter.state).toBe("waiting")
      yield* Scope.close(two, Exit.void)
      yield* settle
      expect(waiter.state).toBe("holding")
    })
  )

  it.effect("others get another resource meanwhile, and what was reserved can still be invalidated", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, concurrency: 2 })
      const holder = yield* borrow(pool)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Pool.reserve(pool, holder.item)
          expect((yield* borrow(pool)).item.id).toBe(2)
          yield* Pool.invalidate(pool, holder.item)
          yield* holder.giveBack
        })
      )
      yield* settle
      expect(things.closed).toEqual([1])
      expect((yield* borrow(pool)).item.id).toBe(2)
    })
  )

  it.effect("the end of a reservation does not bring back what was invalidated meanwhile", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, concurrency: 2 })
      const holder = yield* borrow(pool)
      yield* Effect.scoped(
        Effect.andThen(Pool.reserve(pool, holder.item), Pool.invalidate(pool, holder.item))
      )
      expect((yield* borrow(pool)).item.id).toBe(2)
      yield* holder.giveBack
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("what was reserved when the pool shrank is closed when the reservation is over", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, concurrency: 2 })
      const [, , alone] = yield* borrowers(pool, 3)
      const scope = yield* Scope.make()
      yield* Scope.provide(Pool.reserve(pool, alone!.item), scope)
      yield* alone!.giveBack
      yield* Pool.resize(pool, 1)
      yield* Scope.close(scope, Exit.void)
      yield* settle
      expect(things.closed).toEqual([2])
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, used: 1, max: 1 })
    })
  )

  it.effect("of what the pool does not have, or lends to one at a time, changes nothing", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* Effect.scoped(Effect.andThen(Pool.reserve(pool, { id: 77 }), Pool.reserve(pool, holder!.item)))
      yield* holder!.giveBack
      expect(waiter!.item).toBe(holder!.item)
    })
  )
})

describe("targetUtilization", () => {
  it.effect("1: nothing is created while there is room on what exists", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 4, concurrency: 2, targetUtilization: 1 })
      yield* borrowers(pool, 2)
      expect(things.attempts).toBe(1)
      yield* borrow(pool)
      expect(things.attempts).toBe(2)
    })
  )

  it.effect("0.5: half of what exists is kept free", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 6, targetUtilization: 0.5 })
      for (const [borrowed, created] of [
        [1, 2],
        [2, 4],
        [3, 6],
        [4, 6]
      ]) {
        yield* borrow(pool)
        expect(yield* Pool.stats(pool)).toMatchObject({ used: borrowed, size: created })
      }
    })
  )
})

// -----------------------------------------------------------------------------
// Who holds what
// -----------------------------------------------------------------------------

describe("leases", () => {
  it.effect("tell who holds what, since when, under which span, the longest first", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_000_000)
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      expect(yield* Pool.leases(pool)).toEqual([])
      const one = yield* start(
        Effect.withSpan(
          Pool.use(pool, () => Effect.never),
          "GET /users"
        )
      )
      yield* TestClock.adjust("10 seconds")
      const two = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")

      expect(yield* Pool.leases(pool)).toEqual([
        { item: { id: 1 }, resource: 1, fiber: one.id, span: "GET /users", since: 1_000_000, held: 15_000 },
        { item: two.item, resource: 2, fiber: two.id, span: undefined, since: 1_010_000, held: 5_000 }
      ])
      yield* Fiber.interrupt(one)
      expect((yield* Pool.leases(pool)).map((_) => _.fiber)).toEqual([two.id])
    })
  )

  it.effect("one for each of those who share", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 2 })
      const all = yield* borrowers(pool, 2)
      const leases = yield* Pool.leases(pool)
      expect(leases.map((_) => _.fiber)).toEqual(all.map((_) => _.id))
      expect(leases.map((_) => _.resource)).toEqual([1, 1])
    })
  )

  it.effect("waiting in line is not part of the time that one holds", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* TestClock.adjust("1 minute")
      yield* holder!.giveBack
      yield* TestClock.adjust("1 second")
      expect(yield* Pool.leases(pool)).toMatchObject([{ fiber: waiter!.id, held: 1_000 }])
    })
  )
})

describe("stats", () => {
  it.effect("add up: size = idle + used + creating + closing", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ name: "db", acquire: things.acquire, min: 1, max: 5 })
      const check = (figures: Partial<Pool.Stats>) =>
        Effect.gen(function* () {
          const stats = yield* Pool.stats(pool)
          expect(stats).toMatchObject(figures)
          expect(stats.size).toBe(stats.idle + stats.used + stats.creating + stats.closing)
          expect(yield* Pool.size(pool)).toBe(stats.size)
          expect(yield* Pool.idle(pool)).toBe(stats.idle)
          expect(yield* Pool.pending(pool)).toBe(stats.pending)
        })
      yield* settle
      yield* check({ name: "db", min: 1, max: 5, size: 1, idle: 1, created: 1, destroyed: 0, borrowed: 0 })
      const lent = yield* borrowers(pool, 3)
      yield* check({ size: 3, used: 3, created: 3, borrowed: 3 })
      things.closing = () => Effect.never
      yield* Pool.invalidate(pool, lent[0]!.item)
      yield* lent[0]!.giveBack
      things.closing = () => Effect.void
      yield* lent[1]!.giveBack
      things.hold()
      const [, waiter] = yield* borrowers(pool, 2)
      yield* check({
        size: 4,
        idle: 0,
        used: 2,
        creating: 1,
        closing: 1,
        pending: 1,
        borrowed: 4,
        failures: 0
      })
      yield* things.refuse(1)
      expect(yield* waiter!.error).toBeInstanceOf(Refused)
      yield* check({ size: 3, used: 2, creating: 0, closing: 1, pending: 0, failures: 1 })
      yield* TestClock.adjust("30 seconds")
      yield* check({ size: 2, used: 2, closing: 0, destroyed: 1, timeouts: 0 })
    })
  )
})

// -----------------------------------------------------------------------------
// Forms
// -----------------------------------------------------------------------------

describe("data-last forms", () => {
  it.effect("do what the data-first ones do", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, concurrency: 2 })
      expect(yield* pool.pipe(Pool.use((thing) => Effect.succeed(thing.id)))).toBe(1)
      expect(yield* pool.pipe(Pool.tryUse((thing) => Effect.succeed(thing.id)))).toEqual(Option.some(1))

      const thing = yield* pool.pipe(Pool.acquire)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* pool.pipe(Pool.reserve(thing))
          expect(yield* Pool.use(pool, (other) => Effect.succeed(other.id))).toBe(2)
        })
      )
      yield* pool.pipe(Pool.release(thing))
      yield* pool.pipe(Pool.invalidate(thing))
      yield* settle
      expect(things.closed).toEqual([1])
      yield* pool.pipe(Pool.resize({ max: 7 }))
      expect(yield* Pool.stats(pool)).toMatchObject({ max: 7 })
      yield* pool.pipe(Pool.resize(3))
      expect(yield* Pool.stats(pool)).toMatchObject({ max: 3 })
    })
  )

  it.effect("isPool knows a pool from anything else", () =>
    Effect.gen(function* () {
      expect(Pool.isPool(yield* Pool.make({ acquire: Effect.succeed(1) }))).toBe(true)
      for (const other of [undefined, null, 1, "pool", {}, Pool]) expect(Pool.isPool(other)).toBe(false)
    })
  )
})

// -----------------------------------------------------------------------------
// Deadlock
// -----------------------------------------------------------------------------

/** A parent that holds the only resource, and waits for two children that each want one. */
const family = (pool: Pool.Pool<Thing, Refused>) => {
  const child = Effect.result(Pool.use(pool, (thing) => Effect.succeed(thing.id)))
  return start(Pool.use(pool, () => Effect.all([child, child], { concurrency: "unbounded" })))
}

describe("WouldDeadlock", () => {
  it.effect("a nested use in the same fiber fails at once, and the outer goes on", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, max: 1 })
      const nested = yield* start(
        Pool.use(pool, (outer) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(Pool.use(pool, () => Effect.void))
            return [outer.id, error] as const
          })
        )
      )
      const exit = nested.pollUnsafe()
      expect(exit).toBeDefined()
      const [id, error] = yield* exit!
      expect(id).toBe(1)
      expect(error).toMatchObject({ _tag: "WouldDeadlock", pool: "db", max: 1, holders: 1, certain: true })
      expect(error.message).toBe(
        'pool "db": deadlock: the only holder is waiting for one more resource (max: 1). Pass the borrowed ' +
          "resource on instead of borrowing inside a borrow, or set acquireTimeout"
      )
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, pending: 0 })
    })
  )

  it.effect("a nested scoped get in the same fiber fails at once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const nested = yield* start(Effect.scoped(Effect.flip(Effect.andThen(Pool.get(pool), Pool.get(pool)))))
      expect(nested.pollUnsafe()).toBeDefined()
      expect(yield* Fiber.join(nested)).toBeInstanceOf(PoolError.WouldDeadlock)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )

  it.effect("any mixture of use, get and depth fails at once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const viaUse = Pool.use(pool, () => Pool.use(pool, () => Effect.scoped(Effect.asVoid(Pool.get(pool)))))
      const viaGet = Effect.scoped(
        Effect.andThen(
          Pool.get(pool),
          Effect.scoped(
            Effect.andThen(
              Pool.get(pool),
              Pool.use(pool, () => Effect.void)
            )
          )
        )
      )
      for (const nested of [viaUse, viaGet]) {
        const fiber = yield* start(Effect.flip(nested))
        expect(fiber.pollUnsafe()).toBeDefined()
        expect(yield* Fiber.join(fiber)).toBeInstanceOf(PoolError.WouldDeadlock)
      }
      expect(yield* Pool.idle(pool)).toBe(2)
    })
  )

  it.effect("two fibers that each hold one and want one more: the later is failed, the earlier served", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const go = yield* Deferred.make<void>()
      const twice = Pool.use(pool, () =>
        Effect.andThen(
          Deferred.await(go),
          Pool.use(pool, (inner) => Effect.succeed(inner.id))
        )
      )
      const one = yield* start(Effect.result(twice))
      const two = yield* start(Effect.result(twice))
      yield* Deferred.succeed(go, undefined)
      yield* settle
      expect([yield* Fiber.join(one), yield* Fiber.join(two)]).toMatchObject([
        { _tag: "Success", success: 2 },
        { _tag: "Failure", failure: { _tag: "WouldDeadlock", holders: 2, max: 2 } }
      ])
    })
  )

  it.effect("nothing is wrong while anybody else holds who may come back", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const other = yield* borrow(pool)
      const nested = yield* start(Pool.use(pool, () => Pool.use(pool, (inner) => Effect.succeed(inner.id))))
      yield* TestClock.adjust("1 hour")
      expect(nested.pollUnsafe()).toBeUndefined()
      yield* other.giveBack
      expect(yield* Fiber.join(nested)).toBe(1)
    })
  )

  it.effect("nothing is wrong where the pool can still grow", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
      const nested = Pool.use(pool, () => Pool.use(pool, (inner) => Effect.succeed(inner.id)))
      expect(yield* nested).toBe(2)
    })
  )

  it.effect("nothing is wrong where borrowers may share", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, concurrency: 2 })
      const nested = Pool.use(pool, () => Pool.use(pool, (inner) => Effect.succeed(inner.id)))
      expect(yield* nested).toBe(1)
      const deeper = Pool.use(pool, () => Pool.use(pool, () => Pool.use(pool, () => Effect.void)))
      expect(yield* Effect.flip(deeper)).toBeInstanceOf(PoolError.WouldDeadlock)
    })
  )

  it.effect("another pool is no concern of this one", () =>
    Effect.gen(function* () {
      const one = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const two = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const nested = Pool.use(one, () => Pool.use(two, (inner) => Effect.succeed(inner.id)))
      expect(yield* nested).toBe(1)
      const around = Pool.use(one, () => Pool.use(two, () => Pool.use(one, () => Effect.void)))
      expect(yield* Effect.flip(around)).toBeInstanceOf(PoolError.WouldDeadlock)
    })
  )

  describe("in a family: the parent holds, and its children ask", () => {
    it.effect("a child that was forked before the loan is no part of it", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const program = yield* start(
          Effect.gen(function* () {
            yield* Pool.use(pool, () => Effect.void)
            const worker = yield* Effect.forkChild(
              Effect.andThen(
                Effect.sleep("1 second"),
                Pool.use(pool, () => Effect.succeed("done"))
              )
            )
            yield* Pool.use(pool, () => Effect.sleep("1 minute"))
            return yield* Fiber.join(worker)
          })
        )
        yield* TestClock.adjust("1 minute")
        expect(yield* Fiber.join(program)).toBe("done")
      })
    )

    it.effect("is told after 5 seconds in which nothing came back, one child after the other", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const parent = yield* family(pool)
        yield* TestClock.adjust("4999 millis")
        expect(parent.pollUnsafe()).toBeUndefined()
        expect(yield* Pool.pending(pool)).toBe(2)
        yield* TestClock.adjust("1 millis")
        expect(yield* Pool.pending(pool)).toBe(1)
        yield* TestClock.adjust("5 seconds")
        const message = expect.stringMatching(/^pool: probable deadlock: nothing has come back for 5 s/)
        expect(yield* Fiber.join(parent)).toMatchObject([
          { failure: { _tag: "WouldDeadlock", certain: false, holders: 1, message } },
          { failure: { _tag: "WouldDeadlock", certain: false, holders: 1, message } }
        ])
        expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, pending: 0 })
      })
    )

    it.effect("no alarm while somebody else holds, who may come back", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
        const other = yield* borrow(pool)
        const parent = yield* family(pool)
        yield* TestClock.adjust("1 hour")
        expect(parent.pollUnsafe()).toBeUndefined()
        yield* other.giveBack
        expect(yield* Fiber.join(parent)).toMatchObject([{ success: 1 }, { success: 1 }])
      })
    )

    it.effect("what comes back starts the 5 seconds anew", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
        const go = yield* Deferred.make<void>()
        const want = Pool.use(pool, () => Effect.void)
        // One waits for a child that wants two; the other goes on after 3 seconds, whatever its child does.
        const stuck = yield* start(
          Pool.use(pool, () =>
            Effect.gen(function* () {
              yield* Deferred.await(go)
              yield* Fiber.join(yield* Effect.forkChild(Pool.use(pool, () => want)))
            })
          )
        )
        yield* start(
          Pool.use(pool, () =>
            Effect.gen(function* () {
              yield* Deferred.await(go)
              yield* Effect.forkDetach(want)
              yield* Effect.sleep("3 seconds")
            })
          )
        )
        yield* Deferred.succeed(go, undefined)
        yield* settle
        expect(yield* Pool.stats(pool)).toMatchObject({ used: 2, pending: 2 })

        yield* TestClock.adjust("7999 millis")
        expect(stuck.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("1 millis")
        expect(yield* Effect.flip(Fiber.join(stuck))).toBeInstanceOf(PoolError.WouldDeadlock)
      })
    )

    it.effect("no false alarm when the parent goes on by itself and returns", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const events = yield* listen(pool)
        const child = Pool.use(pool, (thing) => Effect.succeed(thing.id))
        const parent = yield* start(
          Pool.use(pool, () => Effect.tap(Effect.forkDetach(child), () => Effect.sleep("4 seconds")))
        )
        yield* TestClock.adjust("4 seconds")
        expect(yield* Fiber.join(yield* Fiber.join(parent))).toBe(1)
        yield* TestClock.adjust("1 hour")
        expect(events.of("Rejected")).toEqual([])
      })
    )

    it.effect("no alarm at all where acquireTimeout is set: the deadline ends it", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "1 minute" })
        const parent = yield* family(pool)
        const nested = yield* start(Effect.result(Pool.use(pool, () => Effect.void)))
        yield* TestClock.adjust("59 seconds")
        expect(yield* Pool.pending(pool)).toBe(3)
        yield* TestClock.adjust("1 second")
        expect(yield* Fiber.join(parent)).toMatchObject([
          { failure: { _tag: "AcquireTimeout" } },
          { failure: { _tag: "AcquireTimeout" } }
        ])
        expect(yield* Fiber.join(nested)).toMatchObject({ failure: { _tag: "AcquireTimeout" } })
      })
    )

    it.effect("a child that has given up is no reason for an alarm", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 2 })
        const parent = yield* start(
          Pool.use(pool, () =>
            Effect.gen(function* () {
              const child = yield* Effect.forkChild(Pool.use(pool, () => Effect.void))
              yield* Effect.sleep("1 second")
              yield* Fiber.interrupt(child)
              yield* Effect.sleep("1 minute")
            })
          )
        )
        const nested = yield* start(
          Pool.use(pool, () =>
            Effect.delay(
              Pool.use(pool, () => Effect.succeed("served")),
              "2 seconds"
            )
          )
        )
        yield* TestClock.adjust("60 seconds")
        expect(nested.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(parent)
        expect(yield* Fiber.join(nested)).toBe("served")
      })
    )

    it.effect("one who holds something of another pool is not the one to be failed", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const elsewhere = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const child = Pool.use(pool, () => Effect.void)
        const parent = yield* start(
          Pool.use(pool, () => Effect.result(Effect.flatMap(Effect.forkChild(child), Fiber.join)))
        )
        const bystander = yield* start(
          Pool.use(elsewhere, () => Pool.use(pool, () => Effect.succeed("served")))
        )
        yield* TestClock.adjust("5 seconds")
        expect(yield* Fiber.join(parent)).toMatchObject({ failure: { _tag: "WouldDeadlock" } })
        expect(yield* Fiber.join(bystander)).toBe("served")
      })
    )

    it.effect("children of a parent that has returned are nobody's family any more", () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
        const child = yield* Pool.use(pool, () =>
          Effect.forkDetach(
            Effect.andThen(
              Effect.sleep("1 second"),
              Pool.use(pool, () => Effect.succeed("served"))
            )
          )
        )
        const other = yield* borrow(pool)
        yield* TestClock.adjust("1 hour")
        expect(child.pollUnsafe()).toBeUndefined()
        yield* other.giveBack
        expect(yield* Fiber.join(child)).toBe("served")
      })
    )
  })

  it.effect("after the failure of a nested borrow, the rest of the body can borrow elsewhere and go on", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const outcome = yield* Pool.use(pool, (outer) =>
        Pool.use(pool, (inner) => Effect.succeed(inner.id)).pipe(
          Effect.catchTag("WouldDeadlock", () => Effect.succeed(outer.id * 100))
        )
      )
      expect(outcome).toBe(100)
      expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(1)
    })
  )

  it.effect("a waiter that is no part of it keeps its place", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      const go = yield* Deferred.make<void>()
      const nested = yield* start(
        Effect.exit(
          Pool.use(pool, () =>
            Effect.andThen(
              Deferred.await(go),
              Pool.use(pool, () => Effect.void)
            )
          )
        )
      )
      const bystander = yield* borrow(pool)
      yield* Deferred.succeed(go, undefined)
      yield* settle
      const exit = yield* Fiber.join(nested)
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBeInstanceOf(PoolError.WouldDeadlock)
      expect(bystander.state).toBe("holding")
    })
  )
})

it.effect("a refused create is no deadlock", () =>
  Effect.gen(function* () {
    const things = new Things()
    const pool = yield* Pool.make({ acquire: things.acquire, max: 2 })
    const nested = Pool.use(pool, () => {
      things.plan = () => refused
      return Pool.use(pool, () => Effect.void)
    })
    expect(yield* Effect.flip(nested)).toBeInstanceOf(Refused)
  })
)
