/**
 * How long a borrower waits, how many may wait, and how long one may hold.
 */
import { Pool, PoolError } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import {
  borrow,
  borrowers,
  listen,
  logged,
  Refused,
  refused,
  rest,
  start,
  states,
  type Thing,
  Things
} from "./kit.ts"

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
      expect(lines[0]).toMatch(/^Warn: pool "db": a resource has been held for 10s, longer than leakAfter/)
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
