/**
 * How resources are checked: validation before a loan, keep-alive, and reset after a return.
 */
import { Pool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import type { Refused } from "./kit.ts"
import {
  borrow,
  borrowers,
  ids,
  logged,
  rest,
  settle,
  start,
  states,
  type Thing,
  Things,
  Timers
} from "./kit.ts"

/** A pool that remembers what it validated; those in `broken` are invalid. */
const validated = (options?: Partial<Pool.Options<Thing, Refused, Scope.Scope>>) =>
  Effect.gen(function* () {
    const things = new Things()
    const asked: Array<number> = []
    const broken = new Set<number>()
    const pool = yield* Pool.make({
      name: "db",
      acquire: things.acquire,
      validate: (thing) => Effect.sync(() => (asked.push(thing.id), !broken.has(thing.id))),
      ...options
    })
    return { things, asked, broken, pool }
  })

describe("validate", () => {
  it.effect("is skipped for what was created or used within validateAfterIdle, 500 ms by default", () =>
    Effect.gen(function* () {
      const { asked, pool } = yield* validated()
      yield* rest(pool, 1)
      yield* TestClock.adjust("499 millis")
      yield* rest(pool, 1)
      expect(asked).toEqual([])
      yield* TestClock.adjust("500 millis")
      yield* rest(pool, 1)
      expect(asked).toEqual([1])
      yield* TestClock.adjust("499 millis")
      yield* rest(pool, 1)
      expect(asked).toEqual([1])
    })
  )

  it.effect("is done each time where validateAfterIdle is zero, but not on the way to one who waits", () =>
    Effect.gen(function* () {
      const { asked, pool } = yield* validated({ validateAfterIdle: 0, max: 1 })
      yield* rest(pool, 1)
      yield* rest(pool, 1)
      yield* rest(pool, 1)
      expect(asked).toEqual([1, 1])

      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* holder!.giveBack
      expect(waiter!.state).toBe("holding")
    })
  )

  it.effect("closes what is invalid, and the borrower gets the next, or a new one", () =>
    Effect.gen(function* () {
      const { asked, broken, pool, things } = yield* validated()
      yield* rest(pool, 2)
      yield* TestClock.adjust("1 minute")
      broken.add(1)
      const first = yield* borrow(pool)
      expect(first.item.id).toBe(2)
      expect(asked).toEqual([1, 2])
      expect(things.closed).toEqual([1])
      yield* first.giveBack

      yield* TestClock.adjust("1 minute")
      broken.add(2)
      expect((yield* borrow(pool)).item.id).toBe(3)
      expect(things.closed).toEqual([1, 2])
    })
  )

  for (const [how, validate] of Object.entries({
    fails: () => Effect.fail("no route"),
    dies: () => Effect.die("bug"),
    throws: () => {
      throw new Error("bug")
    }
  })) {
    it.effect(`a validate that ${how} counts as no, and reaches nobody`, () =>
      Effect.gen(function* () {
        const { pool, things } = yield* validated({ validate })
        yield* rest(pool, 1)
        yield* TestClock.adjust("1 minute")
        expect((yield* borrow(pool)).item.id).toBe(2)
        expect(things.closed).toEqual([1])
      })
    )
  }

  it.effect("a validate that hangs counts as no after validateTimeout, and is called off", () =>
    Effect.gen(function* () {
      let calledOff = 0
      const { pool, things } = yield* validated({
        validateTimeout: "2 seconds",
        validate: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => calledOff++))
      })
      yield* rest(pool, 1)
      yield* TestClock.adjust("1 minute")
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("1999 millis")
      expect([borrower.state, calledOff]).toEqual(["waiting", 0])
      yield* TestClock.adjust("1 millis")
      expect([borrower.item.id, calledOff]).toEqual([2, 1])
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("after validateAttempts invalid ones the borrower fails with ValidationFailed", () =>
    Effect.gen(function* () {
      const { broken, pool, things } = yield* validated({ validateAttempts: 2 })
      yield* rest(pool, 4)
      yield* TestClock.adjust("1 minute")
      for (const id of [1, 2, 3, 4]) broken.add(id)
      const error = yield* (yield* borrow(pool)).error
      expect(error).toMatchObject({ _tag: "ValidationFailed", pool: "db", attempts: 2 })
      expect(error.message).toMatch(/"db": 2 resources failed validation .*validateAttempts: 2/)
      expect(things.closed).toEqual([1, 2])
    })
  )

  it.effect("three attempts by default; the next in line goes on where that one stopped", () =>
    Effect.gen(function* () {
      const { broken, pool, things } = yield* validated({ max: 3 })
      yield* rest(pool, 3)
      yield* TestClock.adjust("1 minute")
      for (const id of [1, 2, 3]) broken.add(id)
      expect(yield* (yield* borrow(pool)).error).toMatchObject({ _tag: "ValidationFailed", attempts: 3 })
      expect(things.closed).toEqual([1, 2, 3])
      expect((yield* borrow(pool)).item.id).toBe(4)
    })
  )

  it.effect("the first in line gets what is found good first, whomever that was checked for", () =>
    Effect.gen(function* () {
      const { pool } = yield* validated({
        max: 2,
        validate: (thing) => Effect.as(Effect.sleep(thing.id === 1 ? "10 seconds" : "1 second"), true),
        validateTimeout: "1 minute"
      })
      yield* rest(pool, 2)
      yield* TestClock.adjust("1 minute")
      const [first, second] = yield* borrowers(pool, 2)
      yield* TestClock.adjust("1 second")
      expect(states([first!, second!])).toEqual(["holding", "waiting"])
      expect(first!.item.id).toBe(2)
      yield* TestClock.adjust("9 seconds")
      expect(second!.item.id).toBe(1)
    })
  )

  it.effect("what is being validated is lent to nobody else", () =>
    Effect.gen(function* () {
      const { pool } = yield* validated({ max: 1, validate: () => Effect.as(Effect.sleep("1 second"), true) })
      yield* rest(pool, 1)
      yield* TestClock.adjust("1 minute")
      const waiting = yield* borrowers(pool, 2)
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 0, used: 1, size: 1 })
      expect(Option.isNone(yield* Pool.tryUse(pool, () => Effect.void))).toBe(true)
      yield* TestClock.adjust("1 second")
      expect(states(waiting)).toEqual(["holding", "waiting"])
    })
  )
})

describe("keepAlive", () => {
  it.effect("validates what is at rest at its pace, and leaves what is in use alone", () =>
    Effect.gen(function* () {
      const things = new Things()
      const asked: Array<readonly [id: number, at: number]> = []
      const timers = new Timers()
      const pool = yield* timers.watch(
        Pool.make({
          acquire: things.acquire,
          size: 2,
          validate: (thing) =>
            Effect.map(Clock.currentTimeMillis, (now) => (asked.push([thing.id, now / 1000]), true)),
          keepAlive: { every: "30 seconds" }
        })
      )
      yield* settle
      const holder = yield* borrow(pool)
      yield* TestClock.adjust("65 seconds")
      expect(asked).toEqual([
        [2, 30],
        [2, 60]
      ])
      yield* holder.giveBack
      asked.length = 0
      yield* TestClock.adjust("31 seconds")
      expect(asked).toEqual([
        [2, 90],
        [1, 95]
      ])
      expect(timers.set).toBeLessThan(20)
    })
  )

  it.effect("replaces what is no longer good, so that min are ready", () =>
    Effect.gen(function* () {
      const things = new Things()
      const broken = new Set<number>()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        size: 2,
        validate: (thing) => Effect.sync(() => !broken.has(thing.id)),
        keepAlive: { every: "30 seconds" }
      })
      yield* settle
      broken.add(1)
      yield* TestClock.adjust("30 seconds")
      expect(things.closed).toEqual([1])
      expect(yield* Pool.idle(pool)).toBe(2)
      expect(ids(yield* borrowers(pool, 2))).toEqual([2, 3])
    })
  )

  it.effect("does not keep from expiring what nobody borrows", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        maxIdle: "70 seconds",
        validate: () => Effect.succeed(true),
        keepAlive: { every: "30 seconds" }
      })
      yield* rest(pool, 1)
      yield* TestClock.adjust("71 seconds")
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )

  it.effect("a borrower that comes during the check gets the resource as soon as that has ended", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        validate: () => Effect.as(Effect.sleep("1 second"), true),
        keepAlive: { every: "30 seconds" }
      })
      yield* rest(pool, 1)
      yield* TestClock.adjust("30 seconds")
      const borrower = yield* borrow(pool)
      expect(borrower.state).toBe("waiting")
      yield* TestClock.adjust("1 second")
      expect(borrower.item.id).toBe(1)
    })
  )
})

describe("reset", () => {
  it.effect("runs before anyone else gets the resource, and the one who returns does not wait for it", () =>
    Effect.gen(function* () {
      const things = new Things()
      const log: Array<string> = []
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        reset: (thing) =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Effect.sync(() => log.push(`reset ${thing.id}`))
          )
      })
      const holder = yield* borrow(pool)
      const waiter = yield* start(Pool.use(pool, (thing) => Effect.sync(() => log.push(`lent ${thing.id}`))))
      yield* holder.giveBack
      expect(holder.state).toBe("over")
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1, idle: 0, pending: 1 })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiter)
      expect(log).toEqual(["reset 1", "lent 1"])
    })
  )

  it.effect("runs once a loan, after the last borrower where several share", () =>
    Effect.gen(function* () {
      let resets = 0
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        max: 1,
        concurrency: 2,
        reset: () => Effect.sync(() => resets++)
      })
      const [one, two] = yield* borrowers(pool, 2)
      yield* one!.giveBack
      expect(resets).toBe(0)
      yield* two!.giveBack
      expect(resets).toBe(1)
      yield* rest(pool, 1)
      expect(resets).toBe(2)
    })
  )

  it.effect("does not run on what is closed anyway", () =>
    Effect.gen(function* () {
      const things = new Things()
      let resets = 0
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        maxUses: 2,
        reset: () => Effect.sync(() => resets++)
      })
      yield* rest(pool, 1)
      expect(resets).toBe(1)
      yield* Pool.use(pool, () => Effect.void)
      yield* Pool.use(pool, (thing) => Pool.invalidate(pool, thing))
      yield* settle
      expect(things.closed).toEqual([1, 2])
      expect(resets).toBe(1)
    })
  )

  for (const [how, reset] of Object.entries({
    fails: () => Effect.fail(new Error("no rollback")),
    dies: () => Effect.die(new Error("no rollback")),
    throws: () => {
      throw new Error("no rollback")
    }
  })) {
    it.effect(`a reset that ${how}: the resource is closed, the log says so, the borrower succeeds`, () =>
      Effect.gen(function* () {
        const { layer, lines } = logged()
        const things = new Things()
        const pool = yield* Effect.provide(Pool.make({ name: "db", acquire: things.acquire, reset }), layer)
        expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(1)
        yield* settle
        expect(things.closed).toEqual([1])
        expect(lines.join("\n")).toMatch(/Warn: pool "db": .*reset.*no rollback/s)
      })
    )
  }

  it.effect("a reset that hangs: the resource is closed after resetTimeout", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        reset: (thing) => (thing.id === 1 ? Effect.never : Effect.void),
        resetTimeout: "5 seconds"
      })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* holder!.giveBack
      yield* TestClock.adjust("4999 millis")
      expect(waiter!.state).toBe("waiting")
      yield* TestClock.adjust("1 millis")
      expect(things.closed).toEqual([1])
      expect(waiter!.item.id).toBe(2)
    })
  )
})
