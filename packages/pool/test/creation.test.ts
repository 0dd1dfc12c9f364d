/**
 * How resources are created: the timeout of each attempt, retries, how many at a time, and warming up.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, refused, Refused, settle, start, states, Things } from "./kit.ts"

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

describe("an attempt to create that was under way when all was recycled", () => {
  it.effect("fails nobody: those in line get what is created after it", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.hold()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 2, createConcurrency: 2 })
      const [first, second] = yield* borrowers(pool, 2)
      yield* Pool.recycle(pool)
      const third = yield* borrow(pool)
      yield* things.refuse(1)
      yield* things.refuse(2)
      expect(states([first!, second!, third])).toEqual(["waiting", "waiting", "waiting"])
      expect(things.attempts).toBe(4)
      yield* things.finish(3)
      // Those that were begun since fail as ever.
      yield* things.refuse(4)
      expect(states([first!, second!, third])).toEqual(["holding", "over", "waiting"])
      expect(yield* second!.error).toBeInstanceOf(Refused)
      expect(yield* Pool.stats(pool)).toMatchObject({ failures: 3, created: 1 })
    })
  )

  it.effect("does not go on for ever where attempts themselves recycle the pool", () =>
    Effect.gen(function* () {
      const things = new Things()
      let recycle: Effect.Effect<void> = Effect.void
      things.plan = () => Effect.andThen(recycle, refused)
      const pool = yield* Pool.make({ acquire: things.acquire, max: 3 })
      recycle = Effect.suspend(() => Pool.recycle(pool))
      const borrower = yield* borrow(pool)
      expect(yield* borrower.error).toBeInstanceOf(Refused)
      expect(things.attempts).toBe(101)
    })
  )
})
