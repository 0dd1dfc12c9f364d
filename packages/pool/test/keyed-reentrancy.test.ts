/**
 * What happens between keys when what the pool calls, or who uses it, calls it back in the middle of something.
 */
import { KeyedPool } from "@cenote/pool"
import { Deferred, Effect, Fiber, Scheduler, Stream } from "effect"
import { describe, expect } from "vitest"
import { borrow, makePool, pass, rest, settle, statsFor, statsOf, test } from "./keyed-kit.ts"

interface Own {
  readonly made: ReadonlyArray<string>
  readonly pool: KeyedPool.KeyedPool<string, number>
}

/** Keyed pools of numbers whose finalizers and validations are the test's. */
const makeOwn = Effect.fnUntraced(function* (
  options: Omit<KeyedPool.Options<string, number, never, never>, "acquire"> & {
    readonly closing: (key: string) => Effect.Effect<void>
  }
) {
  const { closing, ...rest } = options
  const made: Array<string> = []
  const pool = yield* KeyedPool.make({
    ...rest,
    acquire: (key: string) =>
      Effect.acquireRelease(
        Effect.sync(() => made.push(key)),
        () => closing(key)
      )
  })
  return { made, pool }
})

/** Borrows of a key, and what became of it. */
const visit = (pool: KeyedPool.KeyedPool<string, number>, key: string) =>
  KeyedPool.use(pool, key, (id) => Effect.succeed(id))

describe("one who closes all keys inside its own borrow", () => {
  test("does not end what others hear, or what the figures say: its resource is still there", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ name: "hosts" })
      const heard: Array<string> = []
      const listener = yield* Effect.forkScoped(
        Stream.runForEach(KeyedPool.events(pool), (event) => Effect.sync(() => heard.push(event._tag))),
        { startImmediately: true }
      )
      yield* KeyedPool.use(pool, "a", () =>
        Effect.gen(function* () {
          yield* KeyedPool.close(pool)
          yield* settle
          expect(yield* statsOf(pool)).toMatchObject({ state: "closing", size: 1, used: 1 })
          expect(listener.pollUnsafe()).toBeUndefined()
        })
      )
      yield* Fiber.join(listener)
      expect(heard.slice(-2)).toEqual(["Returned", "Closed"])
      expect(yield* statsOf(pool)).toMatchObject({ state: "closed", size: 0, destroyed: 1 })
    }))
})

describe("a finalizer", () => {
  test("that closes all keys when its room is wanted: nothing more is made", () =>
    Effect.gen(function* () {
      const own: Own = yield* makeOwn({
        max: 1,
        closing: (): Effect.Effect<void> =>
          Effect.asVoid(Effect.forkDetach(KeyedPool.close(own.pool), { startImmediately: true }))
      })
      const { made, pool } = own
      yield* visit(pool, "a")
      const late = yield* borrow(pool, "b")
      expect(late.error).toMatchObject({ _tag: "PoolClosed" })
      expect(made).toEqual(["a"])
      expect(yield* statsOf(pool)).toMatchObject({ state: "closed", size: 0, created: 1, destroyed: 1 })
    }))
})

/** Keeps a fiber from going on after so many steps, until the test lets it. */
class Parking implements Scheduler.Scheduler {
  readonly executionMode = "async"
  private tasks: Array<() => void> | undefined = []
  private left: number

  constructor(steps: number) {
    this.left = steps
  }

  shouldYield(): boolean {
    return this.left-- === 0
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task) => (this.tasks === undefined ? queueMicrotask(task) : void this.tasks.push(task)),
      flush: () => {}
    }
  }

  get isParked(): boolean {
    return this.left < 0
  }

  leave(): void {
    const tasks = this.tasks ?? []
    this.tasks = undefined
    for (const task of tasks) task()
  }
}

describe("a key that vanishes", () => {
  for (const maxPerKey of [1, 2]) {
    test(`of at most ${maxPerKey} serves who had found it and not asked yet, whatever the step, and goes when nobody uses it`, () =>
      Effect.gen(function* () {
        const steps: Array<string> = []
        for (let step = 0; steps.at(-1) !== "not parked"; step++) {
          const { pool, workshop } = yield* makePool({ maxPerKey, keyIdle: 1_000 })
          workshop.closing = () => 100
          yield* rest(pool, "a")
          const parking = new Parking(step)
          const released = Deferred.makeUnsafe<void>()
          const borrower = yield* Effect.forkScoped(
            Effect.provideService(
              KeyedPool.use(pool, "a", () => Deferred.await(released)),
              Scheduler.Scheduler,
              parking
            ),
            { startImmediately: true }
          )
          steps.push(parking.isParked ? "parked" : "not parked")
          // It is found at the beginning, vacated when it has been idle for long enough, and gone a while later.
          yield* pass(1_050)
          parking.leave()
          yield* pass(100)
          yield* pass(100)
          expect(yield* statsFor(pool, "a"), `step ${step}`).toMatchObject({ used: 1, pending: 0, size: 1 })
          expect(workshop.of("a").peak).toBeLessThanOrEqual(maxPerKey)
          yield* Deferred.succeed(released, undefined)
          yield* Fiber.join(borrower)
          yield* pass(3_000)
          expect(yield* statsOf(pool, "keys may have gone")).toMatchObject({ keys: [], size: 0, used: 0 })
          expect(workshop.whole.now, `step ${step}`).toBe(0)
        }
        expect(steps.length).toBeGreaterThan(5)
      }))
  }

  test("serves who comes back, though a validation of it will not end", () =>
    Effect.gen(function* () {
      const stuck = Deferred.makeUnsafe<boolean>()
      const { made, pool } = yield* makeOwn({
        keyIdle: 1_000,
        closing: () => Effect.sleep(100),
        validate: () => Effect.uninterruptible(Deferred.await(stuck)),
        validateAfterIdle: 0,
        validateTimeout: "1 minute"
      })
      yield* visit(pool, "a")
      const gone = yield* Effect.forkScoped(visit(pool, "a"), { startImmediately: true })
      yield* Fiber.interrupt(gone)
      yield* pass(1_000)
      const back = yield* borrow(pool, "a")
      yield* pass(100)
      expect(back.state).toBe("holding")
      expect(made).toEqual(["a", "a"])
      yield* Deferred.succeed(stuck, true)
    }))
})
