/**
 * What a pool tells to those who listen.
 */
import { Pool, PoolEvent } from "@cenote/pool"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Fiber, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  borrow,
  borrowers,
  type Listener,
  listen,
  logged,
  refused,
  settle,
  start,
  type Thing,
  Things
} from "./kit.ts"

/** Makes a pool, and listens to it. */
const heard = (options?: Partial<Pool.Options<Thing, any, any>>) =>
  Effect.gen(function* () {
    const things = new Things()
    const make = Pool.make({ name: "db", acquire: things.acquire, max: 2, ...options })
    const pool = yield* Effect.provide(make, logged().layer)
    const events = yield* listen(pool)
    return { things, pool, events }
  })

const closings = (events: Listener) => events.of("Closed").map(({ reason, resource }) => [resource, reason])

describe("a borrow", () => {
  it.effect("that creates: WaitStarted, Created, Borrowed, Returned", () =>
    Effect.gen(function* () {
      const { events, pool, things } = yield* heard()
      things.plan = () => Effect.sleep("2 seconds")
      const borrower = yield* borrow(pool)
      yield* TestClock.adjust("5 seconds")
      yield* borrower.giveBack
      const fiber = borrower.id
      expect(events.heard).toEqual([
        { _tag: "WaitStarted", pool: "db", at: 0, fiber, position: 1 },
        { _tag: "Created", pool: "db", at: 2000, resource: 1, took: 2000 },
        { _tag: "Borrowed", pool: "db", at: 2000, resource: 1, fiber, waited: 2000 },
        { _tag: "Returned", pool: "db", at: 5000, resource: 1, fiber, held: 3000 }
      ])
    })
  )

  it.effect("of what is idle: Borrowed, Returned", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard({ size: 1, max: undefined })
      yield* settle
      events.heard.length = 0
      yield* Pool.use(pool, () => Effect.void)
      yield* settle
      expect(events.heard).toMatchObject([
        { _tag: "Borrowed", resource: 1, waited: 0 },
        { _tag: "Returned", resource: 1, held: 0 }
      ])
    })
  )

  it.effect("in line: WaitStarted with the place, Borrowed with the wait", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      const [one] = yield* borrowers(pool, 2)
      const waiting = yield* borrowers(pool, 2)
      expect(events.of("WaitStarted").slice(-2)).toMatchObject([
        { fiber: waiting[0]!.id, position: 1 },
        { fiber: waiting[1]!.id, position: 2 }
      ])
      yield* TestClock.adjust("3 seconds")
      yield* one!.giveBack
      expect(events.of("Borrowed").at(-1)).toMatchObject({ fiber: waiting[0]!.id, resource: 1, waited: 3000 })
    })
  )

  it.effect("that gives up: WaitCancelled, and no Returned", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      yield* borrowers(pool, 2)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("3 seconds")
      yield* waiter.interrupt
      yield* settle
      expect(events.of("WaitCancelled")).toEqual([
        { _tag: "WaitCancelled", pool: "db", at: 3000, fiber: waiter.id, waited: 3000 }
      ])
      expect(events.of("Returned")).toEqual([])
    })
  )

  it.effect("past its deadline: TimedOut with the phase", () =>
    Effect.gen(function* () {
      const { events, pool, things } = yield* heard({ acquireTimeout: "1 second" })
      const holder = yield* borrow(pool)
      things.plan = () => Effect.never
      const [creating, line] = yield* borrowers(pool, 2)
      yield* TestClock.adjust("1 second")
      expect(events.of("TimedOut")).toMatchObject([
        { fiber: creating!.id, phase: "create", waited: 1000, at: 1000 },
        { fiber: line!.id, phase: "line", waited: 1000 }
      ])
      expect(events.of("WaitCancelled")).toEqual([])
      expect(holder.state).toBe("holding")
    })
  )

  it.effect("that is turned away: Rejected with the reason", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard({ max: 1, maxWaiting: 1 })
      const holder = yield* borrow(pool)
      yield* borrow(pool)
      const late = yield* borrow(pool)
      expect(events.of("Rejected")).toMatchObject([{ reason: "LineFull", fiber: late.id }])
      expect(holder.state).toBe("holding")

      const other = yield* heard({ max: 1 })
      const nested = yield* start(
        Effect.flip(Pool.use(other.pool, () => Pool.use(other.pool, () => Effect.void)))
      )
      yield* Fiber.join(nested)
      yield* settle
      expect(other.events.of("Rejected")).toMatchObject([{ reason: "WouldDeadlock", fiber: nested.id }])
    })
  )

  it.effect("that lasts too long: Leaked", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard({ leakAfter: "1 minute" })
      const holder = yield* borrow(pool)
      yield* TestClock.adjust("1 hour")
      expect(events.of("Leaked")).toEqual([
        {
          _tag: "Leaked",
          pool: "db",
          at: 60_000,
          resource: 1,
          fiber: holder.id,
          span: undefined,
          held: 60_000
        }
      ])
    })
  )
})

describe("a creation", () => {
  it.effect("that fails: CreateFailed with the cause, for each attempt", () =>
    Effect.gen(function* () {
      const { events, pool, things } = yield* heard({
        createRetry: Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(1)])
      })
      things.plan = () => refused
      yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      expect(events.of("CreateFailed")).toMatchObject([
        { at: 0, willRetry: true },
        { at: 1000, willRetry: false }
      ])
      for (const { cause } of events.of("CreateFailed"))
        expect(String(Cause.squash(cause))).toContain("refused")
    })
  )

  it.effect("that dies: CreateFailed too, and there is no other attempt", () =>
    Effect.gen(function* () {
      const { events, pool, things } = yield* heard({ createRetry: Schedule.spaced("1 second") })
      things.plan = () => Effect.die("bug")
      yield* borrow(pool)
      yield* TestClock.adjust("1 minute")
      expect(events.of("CreateFailed")).toMatchObject([{ willRetry: false }])
    })
  )

  it.effect("that leaves something behind: CreateCleanedUp when that is gone, and no sooner", () =>
    Effect.gen(function* () {
      const acquire = Effect.andThen(
        Effect.addFinalizer(() => Effect.sleep("3 seconds")),
        Effect.never
      )
      const { events, pool } = yield* heard({ acquire, createTimeout: "1 second" })
      yield* borrow(pool)
      yield* TestClock.adjust("1 second")
      expect(events.of("CreateFailed")).toMatchObject([{ at: 1000 }])
      yield* TestClock.adjust("2999 millis")
      expect(events.of("CreateCleanedUp")).toEqual([])
      expect(yield* Pool.size(pool)).toBe(1)
      yield* TestClock.adjust("1 millis")
      expect(events.of("CreateCleanedUp")).toEqual([
        { _tag: "CreateCleanedUp", pool: "db", at: 4000, resource: 1 }
      ])
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )
})

describe("the closing of a resource: Closed, with the reason", () => {
  it.effect("maxAge, maxIdle, maxUses", () =>
    Effect.gen(function* () {
      const old = yield* heard({ maxAge: "1 minute", maxAgeJitter: 0 })
      const idle = yield* heard({ maxIdle: "1 minute" })
      const used = yield* heard({ maxUses: 1 })
      for (const { pool } of [old, idle, used]) yield* Pool.use(pool, () => Effect.void)
      yield* TestClock.adjust("61 seconds")
      expect(old.events.of("Closed")).toEqual([
        {
          _tag: "Closed",
          pool: "db",
          at: 60_001,
          resource: 1,
          reason: "maxAge",
          age: 60_001,
          uses: 1,
          failure: undefined,
          timedOut: false
        }
      ])
      expect(idle.events.of("Closed")).toMatchObject([{ reason: "maxIdle", at: 60_001 }])
      expect(used.events.of("Closed")).toMatchObject([{ reason: "maxUses", at: 0, uses: 1 }])
    })
  )

  it.effect("invalid, resetFailed, invalidated", () =>
    Effect.gen(function* () {
      const invalid = yield* heard({ validate: () => Effect.succeed(false), validateAfterIdle: 0 })
      yield* Pool.use(invalid.pool, () => Effect.void)
      yield* Pool.use(invalid.pool, () => Effect.void)
      const dirty = yield* heard({ reset: () => Effect.fail("dirty") })
      yield* Pool.use(dirty.pool, () => Effect.void)
      const broken = yield* heard()
      yield* Pool.use(broken.pool, (thing) => Pool.invalidate(broken.pool, thing))
      yield* settle
      expect(closings(invalid.events)).toEqual([[1, "invalid"]])
      expect(closings(dirty.events)).toEqual([[1, "resetFailed"]])
      expect(closings(broken.events)).toEqual([[1, "invalidated"]])
    })
  )

  it.effect("recycled, cleared, shrunk, poolClosed", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard({ max: 4 })
      const all = yield* borrowers(pool, 4)
      for (const borrower of all.slice(0, 3)) yield* borrower.giveBack
      yield* Pool.resize(pool, 3)
      yield* settle
      expect(closings(events)).toEqual([[1, "shrunk"]])
      yield* Pool.clear(pool)
      yield* settle
      expect(closings(events).slice(1)).toEqual([
        [2, "cleared"],
        [3, "cleared"]
      ])
      const other = yield* borrow(pool)
      yield* Pool.recycle(pool)
      yield* other.giveBack
      expect(closings(events).slice(3)).toEqual([[5, "recycled"]])
      yield* borrow(pool).pipe(Effect.flatMap((_) => _.giveBack))
      const closing = yield* start(Pool.close(pool))
      yield* all[3]!.giveBack
      yield* Fiber.join(closing)
      yield* settle
      expect(closings(events).slice(4)).toEqual([
        [6, "poolClosed"],
        [4, "recycled"]
      ])
    })
  )

  it.effect("tells when the finalizer failed, and when it did not end", () =>
    Effect.gen(function* () {
      const boom = new Error("broken pipe")
      const { events, pool, things } = yield* heard({ destroyTimeout: "3 seconds" })
      things.closing = (thing) =>
        thing.id === 1 ? Effect.die(boom) : thing.id === 2 ? Effect.never : Effect.void
      const [one, two] = yield* borrowers(pool, 2)
      yield* one!.giveBack
      yield* two!.giveBack
      yield* Pool.clear(pool)
      yield* TestClock.adjust("3 seconds")
      const [failed, hung] = events.of("Closed")
      expect(failed).toMatchObject({ resource: 1, timedOut: false, at: 0 })
      expect(Cause.squash(failed!.failure!)).toBe(boom)
      expect(hung).toMatchObject({ resource: 2, timedOut: true, failure: undefined, at: 3000 })
    })
  )
})

describe("an operation", () => {
  it.effect("Resized, Suspended, Resumed, Recycled, each when it changes something", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      yield* Pool.resize(pool, { min: 1, max: 5 })
      yield* Pool.suspend(pool)
      yield* Pool.suspend(pool)
      yield* Pool.resume(pool)
      yield* Pool.resume(pool)
      yield* Pool.recycle(pool)
      yield* settle
      const operations = events.heard.filter(
        ({ _tag }) => _tag.endsWith("d") && !/^(Created|Closed)$/.test(_tag)
      )
      expect(operations).toEqual([
        { _tag: "Resized", pool: "db", at: 0, min: 1, max: 5 },
        { _tag: "Suspended", pool: "db", at: 0 },
        { _tag: "Resumed", pool: "db", at: 0 },
        { _tag: "Recycled", pool: "db", at: 0 }
      ])
    })
  )

  it.effect("Closing comes before what it leads to, and the stream ends when the pool has closed", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      const [one, two] = yield* borrowers(pool, 2)
      yield* one!.giveBack
      events.heard.length = 0
      const closing = yield* start(Pool.close(pool))
      expect(events.over).toBe(false)
      yield* two!.giveBack
      yield* Fiber.join(closing)
      yield* settle
      expect(events.tags).toEqual(["Closing", "Closed", "Returned", "Closed"])
      expect(events.over).toBe(true)
    })
  )
})

/** A listener that stops at its first event until the test says otherwise. */
const slow = (pool: Pool.Pool<Thing, any>) =>
  Effect.gen(function* () {
    const go = yield* Deferred.make<void>()
    const got: Array<PoolEvent.PoolEvent> = []
    yield* start(
      Stream.runForEach(Pool.events(pool), (event) =>
        Effect.andThen(
          Effect.sync(() => got.push(event)),
          Deferred.await(go)
        )
      )
    )
    return { got, catchUp: Effect.andThen(Deferred.succeed(go, undefined), settle) }
  })

describe("listeners", () => {
  it.effect("hear what happens from the moment on at which they listen", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      yield* Pool.resize(pool, 5)
      const late = yield* listen(pool)
      yield* Pool.resize(pool, 6)
      yield* settle
      expect(events.of("Resized").map((_) => _.max)).toEqual([5, 6])
      expect(late.of("Resized").map((_) => _.max)).toEqual([6])
    })
  )

  it.effect("may stop, and others hear on", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      const first = yield* start(Stream.runHead(Pool.events(pool)))
      yield* Pool.resize(pool, 5)
      yield* settle
      expect(yield* Fiber.join(first)).toMatchObject({ value: { _tag: "Resized", max: 5 } })
      yield* Pool.resize(pool, 6)
      yield* settle
      expect(events.of("Resized")).toHaveLength(2)
    })
  )

  it.effect("of a pool that has closed hear nothing, and do not wait", () =>
    Effect.gen(function* () {
      const { pool } = yield* heard()
      yield* Pool.close(pool)
      expect(yield* Stream.runCollect(Pool.events(pool))).toEqual([])
    })
  )

  it.effect("a slow one slows neither the pool nor other listeners", () =>
    Effect.gen(function* () {
      const { events, pool } = yield* heard()
      const listener = yield* slow(pool)
      for (let n = 1; n <= 1000; n++) {
        yield* Pool.use(pool, () => Effect.void)
        if (n % 10 === 0) yield* settle
      }
      yield* settle
      expect(listener.got).toHaveLength(1)
      expect(events.of("Returned")).toHaveLength(1000)
      expect(events.of("Dropped")).toEqual([])
      expect(yield* Pool.stats(pool)).toMatchObject({ borrowed: 1000, idle: 1 })
    })
  )

  it.effect("a slow one is told how many it has missed, where they are missing", () =>
    Effect.gen(function* () {
      const { pool } = yield* heard()
      const listener = yield* slow(pool)
      // Numbered by their `max`.
      for (let n = 10; n < 5010; n++) {
        yield* Pool.resize(pool, n)
        if (n === 20) yield* settle
      }
      yield* listener.catchUp
      yield* settle

      let next = 10
      let missed = 0
      for (const event of listener.got) {
        if (event._tag === "Dropped") {
          expect(event).toMatchObject({ pool: "db", at: 0 })
          next += event.count
          missed += event.count
        } else {
          expect(event).toMatchObject({ _tag: "Resized", max: next })
          next++
        }
      }
      expect(next).toBe(5010)
      expect(missed).toBeGreaterThan(2000)
      expect(missed).toBeLessThanOrEqual(5000 - 1024)
    })
  )

  it.effect("one that keeps up within 1,024 misses nothing", () =>
    Effect.gen(function* () {
      const { pool } = yield* heard()
      const listener = yield* slow(pool)
      for (let n = 10; n < 1034; n++) yield* Pool.resize(pool, n)
      yield* listener.catchUp
      yield* settle
      expect(listener.got.map((event) => event._tag)).toEqual(Array.from({ length: 1024 }, () => "Resized"))
    })
  )
})

it("an event can be made, told apart and matched", () => {
  const event: PoolEvent.PoolEvent = PoolEvent.PoolEvent.Resumed({ pool: "db", at: 1 })
  expect(PoolEvent.PoolEvent.$is("Resumed")(event)).toBe(true)
  expect(PoolEvent.PoolEvent.$is("Suspended")(event)).toBe(false)
  expectTypeOf<Extract<PoolEvent.PoolEvent, { readonly _tag: "Dropped" }>["count"]>().toEqualTypeOf<number>()
})
