/**
 * A resource's way through the pool: creation, checks, expiry, closing; and the way of a whole pool.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Exit, Fiber, Option, Random, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  borrow,
  borrowers,
  listen,
  logged,
  Refused,
  refused,
  settle,
  start,
  type Thing,
  Things,
  Timers,
  withoutTimers
} from "./kit.ts"

const ids = (all: ReadonlyArray<{ readonly item: Thing }>) => all.map((_) => _.item.id)
const states = (all: ReadonlyArray<{ readonly state: string }>) => all.map((_) => _.state)

/** Lends and takes back as many resources as that, so that they are at rest afterwards. */
const rest = (pool: Pool.Pool<Thing, Refused>, count: number) =>
  Effect.gen(function* () {
    const all = yield* borrowers(pool, count)
    for (const borrower of all) yield* borrower.giveBack
    expect(yield* Pool.idle(pool)).toBe(count)
  })

// -----------------------------------------------------------------------------
// Creation
// -----------------------------------------------------------------------------

describe("acquire, validate and reset", () => {
  const Tenant = Context.Reference<string>("test/Tenant", { defaultValue: () => "nobody" })

  it.effect("run with what the pool was made with, whoever borrows", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const look = (what: string) => Effect.map(Tenant, (tenant) => seen.push(`${what} for ${tenant}`))
      const pool = yield* Pool.make({
        acquire: Effect.tap(new Things().acquire, () => look("acquire")),
        validate: () => Effect.as(look("validate"), true),
        validateAfterIdle: 0,
        reset: () => look("reset")
      }).pipe(Effect.provideService(Tenant, "owner"))
      const used = Pool.use(pool, () => look("use"))
      yield* Effect.provideService(used, Tenant, "guest")
      yield* settle
      yield* Effect.provideService(used, Tenant, "guest")
      yield* settle
      expect(seen).toEqual([
        "acquire for owner",
        "use for guest",
        "reset for owner",
        "validate for owner",
        "use for guest",
        "reset for owner"
      ])
    })
  )

  it.effect("are not interrupted with the one who borrows", () =>
    Effect.gen(function* () {
      const things = new Things()
      const log: Array<string> = []
      const slow = (what: string) =>
        Effect.sleep("1 second").pipe(
          Effect.onInterrupt(() => Effect.sync(() => log.push(`${what} interrupted`))),
          Effect.andThen(Effect.sync(() => log.push(`${what} done`)))
        )
      things.plan = () => slow("acquire")
      const pool = yield* Pool.make({
        acquire: things.acquire,
        validate: () => Effect.as(slow("validate"), true),
        validateAfterIdle: 0,
        reset: () => slow("reset")
      })
      for (let round = 0; round < 2; round++) {
        const waiter = yield* borrow(pool)
        yield* waiter.interrupt
        yield* TestClock.adjust("1 second")
      }
      const holder = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      yield* holder.interrupt
      yield* TestClock.adjust("1 second")
      expect(log).toEqual(["acquire done", "validate done", "validate done", "reset done"])
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )
})

describe("createTimeout", () => {
  it.effect("fails the borrower with CreateTimeout, calls the attempt off, and frees the slot", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 1 ? Effect.never : Effect.void)
      const pool = yield* Pool.make({
        name: "db",
        acquire: things.acquire,
        max: 1,
        createTimeout: "3 seconds"
      })
      const [first, second] = yield* borrowers(pool, 2)

      yield* TestClock.adjust("2999 millis")
      expect(states([first!, second!])).toEqual(["waiting", "waiting"])
      yield* TestClock.adjust("1 millis")
      const error = yield* first!.error
      expect(error).toBeInstanceOf(PoolError.CreateTimeout)
      expect(error.message).toBe('pool "db": creating a resource took longer than 3 s (createTimeout)')
      expect(things.aborted).toBe(1)
      expect(second!.state).toBe("holding")
    })
  )

  it.effect("does not make the borrower wait for an attempt that cannot be called off", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 minute")
      const pool = yield* Pool.make({
        acquire: Effect.uninterruptible(things.acquire),
        max: 1,
        createTimeout: "1 second"
      })
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      expect(yield* borrower.error).toBeInstanceOf(PoolError.CreateTimeout)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, closing: 1, creating: 0 })

      yield* TestClock.adjust("29 seconds")
      expect(things.created).toEqual([])
      yield* TestClock.adjust("30 seconds")
      expect(things.created).toEqual([1])
      expect(things.closed).toEqual([1])
    })
  )

  it.effect("frees the slot after destroyTimeout, even if the attempt never ends", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 1 ? Effect.sleep("1 hour") : Effect.void)
      const pool = yield* Pool.make({
        acquire: Effect.uninterruptible(things.acquire),
        max: 1,
        createTimeout: "1 second",
        destroyTimeout: "10 seconds"
      })
      const [first, second] = yield* borrowers(pool, 2)
      yield* TestClock.adjust("1 second")
      expect(states([first!, second!])).toEqual(["over", "waiting"])
      yield* TestClock.adjust("10 seconds")
      expect(second!.state).toBe("holding")
      yield* TestClock.adjust("2 hours")
      expect(things.open).toEqual([second!.item.id])
    })
  )

  it.effect("bounds each attempt where there are several, and the schedule sees it", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt <= 2 ? Effect.never : Effect.void)
      const seen: Array<string> = []
      const pool = yield* Pool.make({
        acquire: things.acquire,
        createTimeout: "1 second",
        createRetry: Schedule.spaced("1 second").pipe(
          Schedule.setInputType<Refused | PoolError.CreateTimeout>(),
          Schedule.tap(({ input }) => Effect.sync(() => seen.push(input._tag)))
        )
      })
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("4 seconds")
      expect(borrower.state).toBe("holding")
      expect(seen).toEqual(["CreateTimeout", "CreateTimeout"])
      expect(things.aborted).toBe(2)
    })
  )
})

describe("createRetry", () => {
  it.effect(
    "looks at the error: a wrong password fails now, a refused connection waits and tries again",
    () =>
      Effect.gen(function* () {
        const things = new Things()
        const wrongPassword = new Refused({ why: "wrong password" })
        things.plan = (attempt) =>
          attempt < 3 ? refused : attempt === 3 ? Effect.fail(wrongPassword) : Effect.void
        const pool = yield* Pool.make({
          acquire: things.acquire,
          createRetry: Schedule.spaced("1 second").pipe(
            Schedule.setInputType<Refused | PoolError.CreateTimeout>(),
            Schedule.while(({ input }) => Effect.succeed(input.message === "refused"))
          )
        })
        const borrower = yield* borrow(pool)
        expect([things.attempts, borrower.state]).toEqual([1, "waiting"])
        yield* TestClock.adjust("1 second")
        expect([things.attempts, borrower.state]).toEqual([2, "waiting"])
        yield* TestClock.adjust("1 second")
        expect([things.attempts, borrower.state]).toEqual([3, "over"])
        expect(yield* borrower.error).toBe(wrongPassword)

        expect((yield* borrow(pool)).state).toBe("holding")
      })
  )

  it.effect("goes on when the borrower gives up, and what comes of it is idle", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt < 4 ? refused : Effect.void)
      const pool = yield* Pool.make({
        acquire: things.acquire,
        acquireTimeout: "1500 millis",
        createRetry: Schedule.spaced("1 second")
      })
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("10 seconds")
      expect(yield* borrower.error).toBeInstanceOf(PoolError.AcquireTimeout)
      expect(things.attempts).toBe(4)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )

  it.effect("starts anew for each resource", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => refused
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, createRetry: Schedule.recurs(2) })
      for (const attempts of [3, 6, 9]) {
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust(1)
        expect(yield* borrower.error).toBeInstanceOf(Refused)
        expect(things.attempts).toBe(attempts)
      }
    })
  )

  it.effect("does not retry a defect: another attempt would hide it", () =>
    Effect.gen(function* () {
      const things = new Things()
      const boom = new Error("boom")
      things.plan = () => Effect.die(boom)
      const pool = yield* Pool.make({ acquire: things.acquire, createRetry: Schedule.spaced("1 second") })
      expect(yield* Effect.exit(Pool.use(pool, () => Effect.void))).toEqual(Exit.die(boom))
      expect(things.attempts).toBe(1)
    })
  )

  it.effect(
    "a failed attempt's own resources are closed before the next begins, however long that takes",
    () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        let attempt = 0
        const acquire = Effect.gen(function* () {
          const n = ++attempt
          yield* Effect.acquireRelease(
            Effect.sync(() => log.push(`socket ${n} opened`)),
            () =>
              Effect.andThen(
                n === 1 ? Effect.sleep("5 seconds") : Effect.void,
                Effect.sync(() => log.push(`socket ${n} closed`))
              )
          )
          if (n === 1) return yield* refused
          return n
        })
        const pool = yield* Pool.make({ acquire, createRetry: Schedule.spaced("1 second") })
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust("4999 millis")
        expect(log).toEqual(["socket 1 opened"])
        yield* TestClock.adjust("1 millis")
        expect(borrower.item).toBe(2)
        expect(log).toEqual(["socket 1 opened", "socket 1 closed", "socket 2 opened"])
      })
  )

  it.effect("one who is told of a failure does not wait for the cleaning up, the next in line does", () =>
    Effect.gen(function* () {
      let attempt = 0
      const acquire = Effect.suspend(() => {
        const n = ++attempt
        const socket = Effect.acquireRelease(Effect.succeed(n), () =>
          n === 1 ? Effect.sleep("5 seconds") : Effect.void
        )
        return n === 1 ? Effect.andThen(socket, refused) : socket
      })
      const pool = yield* Pool.make({ acquire, max: 1 })
      const [first, second] = yield* borrowers(pool, 2)
      expect(yield* first!.error).toBeInstanceOf(Refused)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, closing: 1, pending: 1 })
      yield* TestClock.adjust("5 seconds")
      expect(second!.item).toBe(2)
    })
  )
})

describe("createConcurrency", () => {
  it.effect("limits the creations under way, and serves the line in order all the same", () =>
    Effect.gen(function* () {
      const things = new Things()
      let underWay = 0
      let most = 0
      things.plan = () =>
        Effect.sync(() => (most = Math.max(most, ++underWay))).pipe(
          Effect.andThen(Effect.sleep("1 second")),
          Effect.ensuring(Effect.sync(() => underWay--))
        )
      const pool = yield* Pool.make({ acquire: things.acquire, max: 6, createConcurrency: 2 })
      const all = yield* borrowers(pool, 5)
      for (const served of [2, 4, 5]) {
        expect(yield* Pool.stats(pool)).toMatchObject({ creating: Math.min(2, 5 - things.created.length) })
        yield* TestClock.adjust("1 second")
        expect(states(all)).toEqual(all.map((_, n) => (n < served ? "holding" : "waiting")))
      }
      expect(most).toBe(2)
    })
  )
})

describe("warmUp", () => {
  it.effect("waits until there are min", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, min: 3, createConcurrency: 1 })
      const warm = yield* start(Pool.warmUp(pool))
      yield* TestClock.adjust("2 seconds")
      expect(warm.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 second")
      expect(warm.pollUnsafe()).toEqual(Exit.void)
      expect(yield* Pool.idle(pool)).toBe(3)
    })
  )

  it.effect("ends at once where there is nothing to do", () =>
    Effect.gen(function* () {
      const things = new Things()
      yield* Pool.warmUp(yield* Pool.make({ acquire: things.acquire }))
      expect(things.attempts).toBe(0)
      const pool = yield* Pool.make({ acquire: things.acquire, size: 2 })
      yield* Pool.warmUp(pool)
      yield* Pool.warmUp(pool)
      expect(things.attempts).toBe(2)
    })
  )

  it.effect("fails with the first error, and a second try may succeed", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 1 ? Effect.void : refused)
      const pool = yield* Pool.make({ acquire: things.acquire, min: 2 })
      expect(yield* Effect.flip(Pool.warmUp(pool))).toBeInstanceOf(Refused)
      things.plan = () => Effect.void
      yield* Pool.warmUp(pool)
      expect(yield* Pool.idle(pool)).toBe(2)
    })
  )

  it.effect("is interruptible, and leaves what it started to the pool", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1 })
      const warm = yield* start(Pool.warmUp(pool))
      yield* Fiber.interrupt(warm)
      yield* things.finish(1)
      expect(yield* Pool.idle(pool)).toBe(1)
    })
  )

  it.effect("fails with PoolClosed when the pool closes meanwhile", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1 })
      const warm = yield* start(Effect.flip(Pool.warmUp(pool)))
      yield* Pool.close(pool)
      expect(yield* Fiber.join(warm)).toBeInstanceOf(PoolError.PoolClosed)
    })
  )
})

// -----------------------------------------------------------------------------
// Checks
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// Expiry
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// Closing a resource
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// Deadlines, and lines that are too long
// -----------------------------------------------------------------------------

describe("acquireTimeout", () => {
  it.effect("in line: the error tells place, pool and the one who has held longest", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        name: "db",
        acquire: new Things().acquire,
        max: 2,
        acquireTimeout: "2 seconds"
      })
      const slow = yield* start(
        Effect.withSpan(
          Pool.use(pool, () => Effect.never),
          "GET /users"
        )
      )
      yield* TestClock.adjust("88 seconds")
      yield* borrow(pool)
      const waiting = yield* borrowers(pool, 3)
      yield* TestClock.adjust("2 seconds")

      const errors = [yield* waiting[0]!.error, yield* waiting[1]!.error, yield* waiting[2]!.error]
      for (const [n, error] of errors.entries()) {
        expect(error).toBeInstanceOf(PoolError.AcquireTimeout)
        expect(error).toMatchObject({
          pool: "db",
          phase: "line",
          position: n + 1,
          waiting: 3,
          stats: { used: 2, max: 2, idle: 0 },
          longestHeld: { fiber: slow.id, span: "GET /users", heldMillis: 90_000 },
          lastFailure: undefined
        })
      }
      expect(errors[0]).toMatchObject({ stats: { pending: 3 } })
      expect(errors[1]!.message).toBe(
        'pool "db": no resource within 2 s (waiting in line, 2nd of 3; 2 of 2 in use, ' +
          `longest held 90 s by fiber #${slow.id} in span GET /users)`
      )
      expect(yield* Pool.stats(pool)).toMatchObject({ timeouts: 3, pending: 0, used: 2 })
    })
  )

  it.effect("during a create: the error says so, and what the last failure was", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 1 ? refused : Effect.never)
      const pool = yield* Pool.make({
        acquire: things.acquire,
        acquireTimeout: "3 seconds",
        createRetry: Schedule.spaced("1 second")
      })
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("3 seconds")
      const error = yield* borrower.error
      expect(error).toMatchObject({ _tag: "AcquireTimeout", phase: "create", stats: { creating: 1 } })
      expect((error as PoolError.AcquireTimeout).lastFailure).toBeInstanceOf(Refused)
      expect(error.message).toBe(
        "pool: no resource within 3 s (waiting for a resource to be created; 0 of 4 in use, 1 being created; " +
          "the last attempt to create failed: Refused: refused)"
      )
    })
  )

  it.effect("during a validation: the error says so", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        max: 1,
        acquireTimeout: "250 millis",
        validate: () => Effect.never
      })
      yield* rest(pool, 1)
      yield* TestClock.adjust("1 minute")
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("250 millis")
      const error = yield* borrower.error
      expect(error).toMatchObject({ _tag: "AcquireTimeout", phase: "validate" })
      expect(error.message).toContain(
        "no resource within 250 ms (waiting for an idle resource to be validated"
      )
    })
  )

  it.effect("those behind the one whose resource is created wait in line", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.never
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, acquireTimeout: "1 second" })
      const all = yield* borrowers(pool, 3)
      yield* TestClock.adjust("1 second")
      const phases = yield* Effect.forEach(all, (_) => _.error)
      expect(phases.map((error) => (error as PoolError.AcquireTimeout).phase)).toEqual([
        "create",
        "create",
        "line"
      ])
    })
  )

  it.effect("a failure to create is not told to one who waited for another borrower", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, acquireTimeout: "1 second" })
      yield* borrow(pool)
      things.plan = () => refused
      expect(yield* (yield* borrow(pool)).error).toBeInstanceOf(Refused)
      yield* Pool.resize(pool, 1)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      expect(yield* waiter.error).toMatchObject({ phase: "line", lastFailure: undefined })
    })
  )

  it.effect("is one deadline for the line, the create and its retries together", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        acquireTimeout: "1 second",
        createRetry: Schedule.spaced("100 millis")
      })
      const holder = yield* borrow(pool)
      things.plan = () => Effect.andThen(Effect.sleep("300 millis"), refused)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("400 millis")
      yield* Pool.invalidate(pool, holder.item)
      yield* holder.giveBack
      yield* TestClock.adjust("599 millis")
      expect(waiter.state).toBe("waiting")
      expect(things.attempts).toBe(3)
      yield* TestClock.adjust("1 millis")
      expect(yield* waiter.error).toMatchObject({ _tag: "AcquireTimeout", phase: "create" })
    })
  )

  it.effect("ends with the borrow: what is held longer is not touched", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "1 second" })
      const [holder, waiter] = yield* borrowers(pool, 2)
      yield* TestClock.adjust("500 millis")
      yield* holder!.giveBack
      yield* TestClock.adjust("1 hour")
      expect(waiter!.state).toBe("holding")
    })
  )

  it.effect("is each borrower's own", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "1 second" })
      yield* borrow(pool)
      const early = yield* borrow(pool)
      yield* TestClock.adjust("600 millis")
      const late = yield* borrow(pool)
      yield* TestClock.adjust("400 millis")
      expect(states([early, late])).toEqual(["over", "waiting"])
      yield* TestClock.adjust("599 millis")
      expect(late.state).toBe("waiting")
      yield* TestClock.adjust("1 millis")
      expect(late.state).toBe("over")
    })
  )
})

/** The error of one who asks, and does not get into the line. */
const lineFull = (pool: Pool.Pool<Thing, Refused>) => Effect.flip(Pool.use(pool, () => Effect.void))

describe("maxWaiting", () => {
  it.effect("0: whoever would have to wait for another borrower is turned away", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, max: 2, maxWaiting: 0 })
      const lent = yield* borrowers(pool, 2)
      const error = yield* lineFull(pool)
      expect(error).toMatchObject({
        _tag: "LineFull",
        pool: "db",
        maxWaiting: 0,
        stats: { used: 2, pending: 0 }
      })
      expect(error.message).toBe(
        'pool "db": the line is full (maxWaiting: 0; 2 of 2 in use, 0 borrowers waiting). ' +
          "Shed load, or raise max or maxWaiting"
      )
      yield* lent[0]!.giveBack
      expect((yield* borrow(pool)).state).toBe("holding")
    })
  )

  it.effect("1: one may wait, and a place that is left can be taken", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, maxWaiting: 1 })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")
      expect(yield* lineFull(pool)).toBeInstanceOf(PoolError.LineFull)

      yield* waiter.interrupt
      const next = yield* borrow(pool)
      expect(next.state).toBe("waiting")
      yield* holder.giveBack
      expect(next.state).toBe("holding")
      expect((yield* borrow(pool)).state).toBe("waiting")
      expect(yield* lineFull(pool)).toBeInstanceOf(PoolError.LineFull)
    })
  )

  it.effect("those whose resource is being created do not count", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3, maxWaiting: 0, createConcurrency: 1 })
      const all = yield* borrowers(pool, 3)
      expect(states(all)).toEqual(["waiting", "waiting", "waiting"])
      expect(yield* lineFull(pool)).toBeInstanceOf(PoolError.LineFull)

      for (const n of [1, 2, 3]) yield* things.finish(n)
      expect(states(all)).toEqual(["holding", "holding", "holding"])
    })
  )

  it.effect("nor do those whose resource is being validated", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        max: 2,
        maxWaiting: 0,
        validate: () => Effect.as(Effect.sleep("1 second"), true)
      })
      yield* rest(pool, 2)
      yield* TestClock.adjust("1 minute")
      const all = yield* borrowers(pool, 2)
      expect(yield* lineFull(pool)).toBeInstanceOf(PoolError.LineFull)
      yield* TestClock.adjust("1 second")
      expect(states(all)).toEqual(["holding", "holding"])
    })
  )

  it.effect("where borrowers share, as many as the creations have room for", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, maxWaiting: 0, concurrency: 3 })
      const all = yield* borrowers(pool, 3)
      expect(yield* lineFull(pool)).toBeInstanceOf(PoolError.LineFull)
      yield* things.finish(1)
      expect(states(all)).toEqual(["holding", "holding", "holding"])
    })
  )
})

// -----------------------------------------------------------------------------
// Leaks
// -----------------------------------------------------------------------------

describe("leakAfter", () => {
  it.effect("tells once who has held for too long, as an event and in the log", () =>
    Effect.gen(function* () {
      const { layer, lines } = logged()
      const pool = yield* Effect.provide(
        Pool.make({ name: "db", acquire: new Things().acquire, leakAfter: "10 seconds" }),
        layer
      )
      const events = yield* listen(pool)
      const leaky = yield* start(
        Effect.withSpan(
          Pool.use(pool, () => Effect.never),
          "report"
        )
      )
      yield* TestClock.adjust("9999 millis")
      expect(lines).toEqual([])
      yield* TestClock.adjust("1 millis")
      expect(events.of("Leaked")).toMatchObject([
        { pool: "db", resource: 1, fiber: leaky.id, span: "report", held: 10_000, at: 10_000 }
      ])
      expect(lines).toHaveLength(1)
      expect(lines[0]).toMatch(/^Warn: .*"db".*leakAfter/)
      expect(lines[0]).toContain(`"fiber":${leaky.id}`)
      expect(lines[0]).toContain('"span":"report"')

      yield* TestClock.adjust("1 hour")
      expect(events.of("Leaked")).toHaveLength(1)
      expect(lines).toHaveLength(1)
    })
  )

  it.effect("each loan has its own time, and what came back in time is not told", () =>
    Effect.gen(function* () {
      const pool = yield* Effect.provide(
        Pool.make({ acquire: new Things().acquire, leakAfter: "10 seconds" }),
        logged().layer
      )
      const events = yield* listen(pool)
      const first = yield* borrow(pool)
      yield* TestClock.adjust("6 seconds")
      const second = yield* borrow(pool)
      yield* first.giveBack
      yield* TestClock.adjust("9 seconds")
      expect(events.of("Leaked")).toEqual([])
      yield* TestClock.adjust("1 second")
      expect(events.of("Leaked")).toMatchObject([
        { fiber: second.id, resource: 2, at: 16_000, span: undefined }
      ])
      expect(second.state).toBe("holding")
    })
  )
})

// -----------------------------------------------------------------------------
// Closing a pool
// -----------------------------------------------------------------------------

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
