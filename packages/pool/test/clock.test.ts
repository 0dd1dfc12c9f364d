/**
 * By which clock times are told, and that they are those of the moment: what users run in the middle of a step takes time.
 */
import { Pool, PoolRegistry } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Option, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, ids, listen, type Refused, rest, settle, type Thing, Things } from "./kit.ts"

/** A clock on which a test can let time pass in the middle of a step, and which has a wall clock of its own. */
class Machine {
  /** Milliseconds that have passed beside those of the test's own clock. */
  private spent = 0
  /** How far the wall clock is ahead. */
  private ahead = 1_000_000
  /** What passes as soon as the wall clock has been read next. */
  private pause = 0
  private readonly clock: Clock.Clock

  constructor(clock: Clock.Clock) {
    const millis = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6 + this.spent
    const wall = () => {
      const now = Math.floor(millis() + this.ahead)
      this.spend(this.pause)
      this.pause = 0
      return now
    }
    const changed: Partial<Clock.Clock> = {
      currentTimeMillisUnsafe: wall,
      monotonicTimeNanosUnsafe: () => BigInt(Math.round(millis() * 1e6))
    }
    this.clock = new Proxy(clock, { get: (_, key) => Reflect.get(key in changed ? changed : clock, key) })
  }

  spend(millis: number): void {
    this.spent += millis
  }

  /** The same as an effect, which does not give way to anything else. */
  readonly passes = (millis: number): Effect.Effect<void> => Effect.sync(() => this.spend(millis))

  correct(millis: number): void {
    this.ahead += millis
  }

  /** The process is stopped when it has read the wall clock next. */
  stopAfterNextReading(millis: number): void {
    this.pause = millis
  }

  around<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.provideService(effect, Clock.Clock, this.clock)
  }
}

const machine = Effect.map(Clock.Clock, (clock) => new Machine(clock))

/** How long the oldest loan of a pool has lasted. */
const held = <A, E>(pool: Pool.Pool<A, E>) => Effect.map(Pool.leases(pool), (leases) => leases[0]?.held)

/** When the oldest loan of a pool began, by the wall clock. */
const since = <A, E>(pool: Pool.Pool<A, E>) => Effect.map(Pool.leases(pool), (leases) => leases[0]?.since)

describe("the time of a loan", () => {
  it.effect("is that of the pool's own clock, whatever clock a borrower has", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const pool = yield* own.around(Pool.make({ acquire: new Things().acquire, max: 1 }))
      yield* borrow(pool)
      const waiter = yield* borrow(pool)
      own.spend(50)
      expect(yield* held(pool)).toBe(50)
      expect(yield* Pool.waiters(pool)).toMatchObject([{ fiber: waiter.id, waited: 50 }])
      yield* TestClock.adjust("1 second")
      expect(yield* held(pool)).toBe(1_050)
    })
  )

  it.effect("does not begin before what tryUse created is there", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const things = new Things()
      things.plan = () => own.passes(50)
      const pool = yield* own.around(Pool.make({ acquire: things.acquire }))
      expect(yield* Pool.tryUse(pool, () => held(pool))).toEqual(Option.some(0))
    })
  )

  it.effect("nor before what tryUse validated is known to be good", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const validate = () => Effect.as(own.passes(50), true)
      const options = { acquire: new Things().acquire, validate, validateAfterIdle: 0 }
      const pool = yield* own.around(Pool.make({ ...options, size: 1 }))
      yield* Pool.warmUp(pool)
      expect(yield* Pool.tryUse(pool, () => held(pool))).toEqual(Option.some(0))
    })
  )

  it.effect("nor before what had expired is closed; what expires meanwhile is not lent", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const things = new Things()
      things.plan = (attempt) => (attempt === 2 ? own.passes(20) : Effect.void)
      things.closing = () => own.passes(50)
      const options = { acquire: things.acquire, size: 2, maxAge: "1 minute", maxAgeJitter: 0 } as const
      const pool = yield* own.around(Pool.make(options))
      yield* Pool.warmUp(pool)
      // The second has 10 ms to go.
      own.spend(60_010 - 20)
      const borrower = yield* borrow(pool)
      expect(things.closed).toEqual([1, 2])
      expect(borrower.item.id).toBe(3)
      expect(yield* held(pool)).toBe(0)
    })
  )
})

describe("the line of a pool that resumes", () => {
  /** Two at rest, the second created 20 ms after the first, and a line of two. */
  const suspended = Effect.fnUntraced(function* (
    own: Machine,
    options: Pick<
      Pool.Options<Thing, Refused, Scope.Scope>,
      "maxAge" | "maxAgeJitter" | "validate" | "validateAfterIdle"
    >
  ) {
    const things = new Things()
    things.plan = (attempt) => (attempt === 2 ? own.passes(20) : Effect.void)
    const pool = yield* own.around(
      Pool.make({
        ...options,
        acquire: things.acquire,
        size: 2
      })
    )
    yield* rest(pool, 2)
    yield* Pool.suspend(pool)
    const line = [yield* borrow(pool), yield* borrow(pool)]
    return { things, pool, line, listener: yield* listen(pool) }
  })

  it.effect("is lent nothing that expires while another is closed", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const { line, pool, things } = yield* suspended(own, { maxAge: "1 minute", maxAgeJitter: 0 })
      things.closing = () => own.passes(50)
      // The second has 10 ms to go.
      own.spend(60_010 - 20)
      yield* Pool.resume(pool)
      yield* settle
      expect(things.closed).toEqual([1, 2])
      expect(ids(line)).toEqual([3, 4])
    })
  )

  it.effect("hears how long it waited, what took time in between included", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const { listener, pool } = yield* suspended(own, {
        validate: () => Effect.as(own.passes(50), true),
        validateAfterIdle: "10 millis"
      })
      own.spend(10)
      yield* Pool.resume(pool)
      yield* settle
      expect(listener.of("Borrowed").map((event) => event.waited)).toEqual([60, 110])
      expect((yield* Pool.leases(pool)).map((lease) => lease.held)).toEqual([50, 0])
    })
  )

  it.effect(
    "hears of no wait below nothing, where somebody came while what was looked at turned out bad",
    () =>
      Effect.gen(function* () {
        const own = yield* machine
        const come = Effect.suspend(() =>
          Effect.forkDetach(
            Pool.use(pool, () => Effect.never),
            { startImmediately: true }
          )
        )
        const pool: Pool.Pool<Thing, Refused> = yield* own.around(
          Pool.make({
            acquire: new Things().acquire,
            size: 3,
            closeTimeout: 0,
            validateAfterIdle: "100 millis",
            validate: () => own.passes(5).pipe(Effect.andThen(come), Effect.as(false))
          })
        )
        const all = yield* borrowers(pool, 3)
        yield* all[0]!.giveBack
        own.spend(90)
        yield* all[1]!.giveBack
        yield* all[2]!.giveBack
        own.spend(20)
        const listener = yield* listen(pool)
        yield* borrow(pool)
        yield* settle
        expect(listener.of("Borrowed").map((event) => event.waited)).toEqual([5, 0])
      })
  )
})

describe("a recorder that takes its time", () => {
  it.effect("is no wait of those who come meanwhile, and their loans begin after it", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const pool = yield* own.around(
        Pool.make({ name: "p", acquire: new Things().acquire, size: 2, closeTimeout: 0 })
      )
      const kept = yield* Pool.acquire(pool)
      const first = yield* borrow(pool)
      yield* borrow(pool)
      const listener = yield* listen(pool)
      let served = 0
      const [entry] = yield* PoolRegistry.entries
      yield* entry!.record({
        waited: () => {
          if (++served > 1) return
          own.spend(50)
          Effect.runFork(Pool.use(pool, () => Effect.never))
          Effect.runSync(Pool.release(pool, kept))
        },
        used: () => {},
        told: () => {}
      })
      own.spend(5)
      yield* first.giveBack
      expect(listener.of("Borrowed").map((event) => event.waited)).toEqual([5, 0])
      expect((yield* Pool.leases(pool)).map((lease) => lease.held)).toEqual([50, 0])
    }).pipe(Effect.provide(PoolRegistry.layer))
  )
})

describe("since", () => {
  it.effect("is the same at each look, however the wall clock rounds", () =>
    Effect.gen(function* () {
      const own = yield* machine
      own.spend(0.9)
      const pool = yield* own.around(Pool.make({ acquire: new Things().acquire }))
      own.spend(0.45)
      yield* borrow(pool)
      const first = yield* since(pool)
      expect(first).toBeGreaterThanOrEqual(1_000_000)
      expect(first).toBeLessThanOrEqual(1_000_002)
      for (let look = 0; look < 100; look++) {
        own.spend(0.37)
        expect(yield* since(pool)).toBe(first)
      }
    })
  )

  it.effect("is the same after the process was stopped between its two clocks", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const pool = yield* own.around(Pool.make({ acquire: new Things().acquire }))
      yield* borrow(pool)
      const first = yield* since(pool)
      own.stopAfterNextReading(30)
      expect(yield* since(pool)).toBe(first)
      expect(yield* since(pool)).toBe(first)
    })
  )

  it.effect("follows a wall clock that is corrected; how long the loan has lasted does not", () =>
    Effect.gen(function* () {
      const own = yield* machine
      const pool = yield* own.around(Pool.make({ acquire: new Things().acquire }))
      yield* borrow(pool)
      own.spend(10)
      for (const by of [3_600_000, -7_200_000, 40, -40]) {
        const before = (yield* since(pool))!
        own.correct(by)
        expect(yield* since(pool)).toBe(before + by)
        expect(yield* held(pool)).toBe(10)
      }
    })
  )
})
