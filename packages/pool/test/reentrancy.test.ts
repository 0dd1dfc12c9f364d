/**
 * What happens when those whom the pool calls, or who hear from it, call it back in the middle of something.
 */
import { Pool, PoolError, PoolRegistry } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import {
  Deferred,
  Effect,
  Exit,
  Fiber,
  Logger,
  Option,
  References,
  Result,
  Schedule,
  Scope,
  Stream,
  Tracer
} from "effect"
import { TestClock } from "effect/testing"
import {
  borrow,
  listen,
  type Refused,
  settle,
  start,
  type Thing,
  Things,
  Timers,
  withoutTimers
} from "./kit.ts"

describe("a listener", () => {
  it.effect("that interrupts the holder on TimedOut costs no resource", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "20 millis" })
      const holder = yield* start(Pool.use(pool, () => Effect.never))
      yield* start(
        Stream.runForEach(Pool.events(pool), (event) =>
          event._tag === "TimedOut" ? Effect.sync(() => holder.interruptUnsafe()) : Effect.void
        )
      )
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("20 millis")
      expect(yield* waiter.error).toBeInstanceOf(PoolError.AcquireTimeout)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, pending: 0 })
      expect(yield* Pool.use(pool, ({ id }) => Effect.succeed(id))).toBe(1)
    })
  )

  it.effect("that closes the pool on Created finds each resource closed once", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1 })
      yield* start(
        Stream.runForEach(Pool.events(pool), (event) =>
          event._tag === "Created" ? Effect.forkDetach(Pool.close(pool)) : Effect.void
        )
      )
      const borrower = yield* start(Pool.use(pool, () => Effect.never))
      yield* Fiber.interrupt(borrower)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, used: 0, created: 1, destroyed: 1 })
      expect(things.closed).toEqual([1])
    })
  )
})

/** Has `told` called, on the pool's own stack, for all that a pool of this name tells. */
const record = (name: string, recorder: Partial<PoolRegistry.Recorder>) =>
  Effect.gen(function* () {
    const entry = (yield* PoolRegistry.entries).find((entry) => entry.name === name)!
    yield* entry.record({ waited: () => {}, used: () => {}, told: () => {}, ...recorder })
  })

describe("a recorder", () => {
  const isolated = Effect.provide(PoolRegistry.layer)

  it.effect("that gives back on TimedOut costs no resource: who is served has not timed out", () =>
    Effect.gen(function* () {
      const options = { name: "p", acquire: new Things().acquire, max: 1 }
      const pool = yield* Pool.make({ ...options, acquireTimeout: "20 millis" })
      const held = yield* Pool.acquire(pool)
      const waiters = [yield* borrow(pool), yield* borrow(pool)]
      let told = 0
      yield* record("p", {
        told: (event) => {
          if (event._tag === "TimedOut" && ++told === 1) Effect.runSync(Pool.release(pool, held))
        }
      })
      yield* TestClock.adjust("20 millis")
      yield* settle
      expect(waiters.map((waiter) => waiter.state)).toEqual(["over", "holding"])
      yield* waiters[1]!.giveBack
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, pending: 0, timeouts: 1 })
    }).pipe(isolated)
  )

  it.effect("that gives back when a validation has failed once too often costs no resource", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        name: "p",
        acquire: new Things().acquire,
        max: 2,
        validate: () => Effect.yieldNow.pipe(Effect.as(false)),
        validateAfterIdle: 1000,
        validateAttempts: 1
      })
      const held = yield* Pool.acquire(pool)
      const other = yield* borrow(pool)
      yield* other.giveBack
      yield* TestClock.adjust("1 second")
      yield* record("p", {
        told: (event) => {
          if (event._tag === "Rejected") Effect.runSync(Pool.release(pool, held))
        }
      })
      const waiter = yield* borrow(pool)
      expect(yield* waiter.error).toBeInstanceOf(PoolError.ValidationFailed)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, used: 0, idle: 1, pending: 0 })
    }).pipe(isolated)
  )

  it.effect("that makes room when a deadlock is told of costs no resource", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "p", acquire: new Things().acquire, max: 1 })
      yield* record("p", {
        told: (event) => {
          if (event._tag === "Rejected") Effect.runSync(Pool.resize(pool, 2))
        }
      })
      const nested = Pool.use(pool, () => Effect.result(Pool.use(pool, () => Effect.void)))
      const outcome = yield* nested
      expect(Result.isFailure(outcome) && outcome.failure).toBeInstanceOf(PoolError.WouldDeadlock)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, pending: 0 })
    }).pipe(isolated)
  )

  it.effect("that interrupts whom it is told to have been served costs no resource", () =>
    Effect.gen(function* () {
      const things = new Things()
      const reset = yield* Deferred.make<void>()
      const pool = yield* Pool.make({
        name: "p",
        acquire: things.acquire,
        max: 1,
        reset: () => Deferred.await(reset)
      })
      things.hold()
      const served: Array<Fiber.Fiber<void, unknown>> = []
      for (let i = 0; i < 2; i++) served.push(yield* start(Pool.use(pool, () => Effect.void)))
      yield* record("p", { waited: () => served.shift()?.interruptUnsafe() })
      const last = yield* borrow(pool)
      yield* things.finish(1)
      // What the first was lent is being made ready for the second.
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, idle: 0, used: 1, pending: 2 })
      expect(last.state).toBe("waiting")
      yield* Deferred.succeed(reset, undefined)
      yield* settle
      expect(last.state).toBe("holding")
      yield* last.giveBack
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, idle: 1, used: 0, pending: 0 })
    }).pipe(isolated)
  )
})

describe("a tracer", () => {
  it.effect("that gives back when the wait of somebody ends costs no resource", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1, acquireTimeout: "20 millis" })
      const held = yield* Pool.acquire(pool)
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          const end = span.end.bind(span)
          if (span.name === "wait for a pool") {
            span.end = (...args) => {
              end(...args)
              Effect.runSync(Pool.release(pool, held))
            }
          }
          return span
        }
      })
      const waiter = yield* start(
        Pool.use(pool, () => Effect.void).pipe(
          Effect.withSpan("borrower"),
          Effect.withTracer(tracer),
          Effect.flip
        )
      )
      yield* TestClock.adjust("20 millis")
      expect(yield* Fiber.join(waiter)).toBeInstanceOf(PoolError.AcquireTimeout)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, pending: 0 })
    })
  )
})

describe("a tracer of waits", () => {
  it.effect("that interrupts the next in line when the pool closes strands nobody", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, max: 1 })
      yield* borrow(pool)
      const others: Array<Fiber.Fiber<unknown, unknown>> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          if (span.name === "wait for a pool") others[0]!.interruptUnsafe()
          return span
        }
      })
      const traced = Effect.withTracer(tracer)
      yield* start(Pool.use(pool, () => Effect.void).pipe(Effect.withSpan("first"), traced, Effect.exit))
      others.push(yield* start(Pool.use(pool, () => Effect.void)))
      const last = yield* borrow(pool)
      yield* start(Pool.close(pool))
      expect(yield* last.error).toBeInstanceOf(PoolError.PoolClosed)
      expect(yield* Pool.pending(pool)).toBe(0)
    })
  )
})

describe("a logger", () => {
  it.effect("that interrupts those who leak stops no clock: the next leaks are told", () =>
    Effect.gen(function* () {
      const holders: Array<Fiber.Fiber<void, unknown>> = []
      let told = 0
      const logger = Logger.make<unknown, void>(({ message }) => {
        if (!String(message).includes("leakAfter")) return
        // The first is the one who is told of; with it goes the one who would be next.
        if (++told === 1) for (const holder of holders.slice(0, 2)) holder.interruptUnsafe()
      })
      const pool = yield* Effect.provide(
        Pool.make({ acquire: new Things().acquire, max: 3, leakAfter: "1 second" }),
        Logger.layer([logger])
      )
      for (let i = 0; i < 3; i++) holders.push(yield* start(Pool.use(pool, () => Effect.never)))
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      expect(told).toBe(2)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 1, idle: 2 })
    })
  )
})

describe("a finalizer", () => {
  const act = {
    closes: (pool: Pool.Pool<Thing, Refused>) =>
      Effect.forkDetach(Pool.close(pool), { startImmediately: true }),
    suspends: (pool: Pool.Pool<Thing, Refused>) => Pool.suspend(pool)
  }

  /** One resource with room beside its holder, and one that is lent next and has expired; closing that does the rest. */
  const shared = Effect.fnUntraced(function* (what: keyof typeof act) {
    const things = new Things()
    const pool = yield* withoutTimers(
      Pool.make({ acquire: things.acquire, max: 2, concurrency: 2, order: "lifo", maxIdle: "1 minute" })
    )
    const [first, second, third] = [yield* borrow(pool), yield* borrow(pool), yield* borrow(pool)]
    yield* first.giveBack
    yield* second.giveBack
    yield* TestClock.adjust("2 minutes")
    things.closing = () => act[what](pool)
    return { holder: third, pool, things }
  })

  it.effect("that closes the pool leaves nothing to lend to the one who asks", () =>
    Effect.gen(function* () {
      const { holder, pool, things } = yield* shared("closes")
      const late = yield* borrow(pool)
      expect(things.closed).toEqual([1])
      expect(yield* late.error).toBeInstanceOf(PoolError.PoolClosed)
      yield* holder.giveBack
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )

  it.effect("that suspends the pool makes the one who asks wait", () =>
    Effect.gen(function* () {
      const { pool, things } = yield* shared("suspends")
      const late = yield* borrow(pool)
      expect(things.closed).toEqual([1])
      expect(late.state).toBe("waiting")
      yield* Pool.resume(pool)
      yield* settle
      expect(late.state).toBe("holding")
    })
  )

  for (const what of ["closes", "suspends"] as const) {
    it.effect(`that ${what} the pool leaves nothing to tryUse`, () =>
      Effect.gen(function* () {
        const { pool, things } = yield* shared(what)
        expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
        expect(things.closed).toEqual([1])
      })
    )
  }
})

describe("a validate", () => {
  it.effect("that suspends the pool lends nothing more, and is not called for ever", () =>
    Effect.gen(function* () {
      let calls = 0
      const pool: Pool.Pool<Thing, Refused> = yield* Pool.make({
        acquire: new Things().acquire,
        size: 2,
        validate: () => (++calls > 100 ? Effect.never : Effect.as(Pool.suspend(pool), true)),
        validateAfterIdle: 0
      })
      yield* Pool.warmUp(pool)
      const waiter = yield* borrow(pool)
      expect(calls).toBe(1)
      expect(waiter.state).toBe("waiting")
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 2, pending: 1, state: "suspended" })
      expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
    })
  )

  it.effect("that suspends the pool leaves nothing to tryUse", () =>
    Effect.gen(function* () {
      const pool: Pool.Pool<Thing, Refused> = yield* Pool.make({
        acquire: new Things().acquire,
        size: 1,
        validate: () => Effect.as(Pool.suspend(pool), true),
        validateAfterIdle: 0
      })
      yield* Pool.warmUp(pool)
      expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, borrowed: 0, state: "suspended" })
    })
  )

  it.effect("that closes the pool is called off as any other, and leaves no timer behind", () =>
    Effect.gen(function* () {
      const timers = new Timers()
      let calledOff = false
      const pool: Pool.Pool<Thing, Refused> = yield* timers.watch(
        Pool.make({
          acquire: new Things().acquire,
          size: 1,
          validate: () =>
            Effect.forkDetach(Pool.close(pool), { startImmediately: true }).pipe(
              Effect.andThen(Effect.never),
              Effect.onInterrupt(() => Effect.sync(() => (calledOff = true)))
            ),
          validateAfterIdle: 0
        })
      )
      yield* Pool.warmUp(pool)
      const waiter = yield* borrow(pool)
      expect(yield* waiter.error).toBeInstanceOf(PoolError.PoolClosed)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, state: "closed" })
      expect(calledOff).toBe(true)
      expect(timers.running).toBe(0)
    })
  )
})

describe("a reset", () => {
  it.effect("that closes the pool when it is asked what to do has nothing more to do", () =>
    Effect.gen(function* () {
      const things = new Things()
      let ran = false
      const pool: Pool.Pool<Thing, Refused> = yield* Pool.make({
        acquire: things.acquire,
        max: 1,
        reset: () => {
          Effect.runFork(Pool.close(pool))
          return Effect.sync(() => (ran = true))
        }
      })
      yield* Pool.use(pool, () => Effect.void)
      expect(things.closed).toEqual([1])
      expect(ran).toBe(false)
    })
  )
})

describe("a caller of warmUp", () => {
  it.effect("finds what it has warmed up", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, min: 1, max: 4, maxWaiting: 0 })
      const program = yield* start(
        Effect.andThen(
          Pool.warmUp(pool),
          Pool.tryUse(pool, ({ id }) => Effect.succeed(id))
        )
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(program)).toMatchObject({ _tag: "Some", value: 1 })
      expect(yield* Pool.size(pool)).toBe(1)
    })
  )

  it.effect("that recycles at once never takes the pool above its limit", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = () => Effect.sleep("1 second")
      const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
      const program = yield* start(Effect.andThen(Pool.warmUp(pool), Pool.recycle(pool)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(program)
      yield* TestClock.adjust("10 seconds")
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 1, idle: 1, created: 2, destroyed: 1 })
    })
  )

  it.effect("goes on when min is lowered below what there is", () =>
    Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) => (attempt === 2 ? Effect.never : Effect.void)
      const pool = yield* Pool.make({ acquire: things.acquire, min: 2 })
      const program = yield* start(Pool.warmUp(pool))
      expect(program.pollUnsafe()).toBeUndefined()
      yield* Pool.resize(pool, { min: 1 })
      yield* Fiber.join(program)
    })
  )
})

describe("a scope that closes around a get", () => {
  it.effect("before it, ends the loan at once", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* Pool.warmUp(pool)
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      yield* Scope.provide(Pool.get(pool), scope)
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1 })
    })
  )

  it.effect("during its wait, strands nobody", () =>
    Effect.gen(function* () {
      const checked = yield* Deferred.make<boolean>()
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        size: 1,
        validate: () => Deferred.await(checked),
        validateAfterIdle: 0
      })
      yield* Pool.warmUp(pool)
      const scope = yield* Scope.make()
      const waiter = yield* start(Scope.provide(Pool.get(pool), scope))
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.succeed(checked, true)
      yield* Fiber.join(waiter)
      yield* settle
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 0, idle: 1, pending: 0 })
    })
  )
})

describe("an acquire", () => {
  it.effect("that closes a pool with a min is not called for ever", () =>
    Effect.gen(function* () {
      const things = new Things()
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(
        Pool.make({ acquire: things.acquire, size: 1, destroyTimeout: "1 second" }),
        scope
      )
      things.plan = () => Pool.close(pool)
      yield* Pool.clear(pool)
      yield* TestClock.adjust("2 seconds")
      expect(things.attempts).toBe(2)
      expect(yield* Pool.size(pool)).toBe(0)
    })
  )
})

describe("a tryUse whose acquire", () => {
  it.effect("suspends the pool is lent nothing", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire })
      things.plan = () => Pool.suspend(pool)
      expect(yield* Pool.tryUse(pool, () => Effect.void)).toEqual(Option.none())
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, borrowed: 0, state: "suspended" })
    })
  )
})

describe("a createRetry that dies", () => {
  it.effect("fails who waits with its defect; the attempt before counts, and the slot lives on", () =>
    Effect.gen(function* () {
      const things = new Things()
      const boom = new Error("boom")
      const mistaken = Schedule.forever.pipe(
        Schedule.while(() => {
          throw boom
        })
      )
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, createRetry: mistaken })
      const listener = yield* listen(pool)
      things.hold()
      const waiters = [yield* borrow(pool), yield* borrow(pool)]
      yield* things.refuse(1)
      expect(yield* waiters[0]!.exit).toEqual(Exit.die(boom))
      expect(listener.of("CreateFailed")).toMatchObject([{ willRetry: false }])
      expect(yield* Pool.stats(pool)).toMatchObject({ failures: 1, pending: 1 })
      yield* things.finish(2)
      expect(waiters[1]!.state).toBe("holding")
    })
  )
})

describe("what moves", () => {
  it.effect("includes a resource that is being reset: no deadlock is certain then", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        acquire: new Things().acquire,
        max: 2,
        reset: () => Effect.sleep("1 second")
      })
      const other = yield* borrow(pool)
      const both = yield* start(
        Pool.use(pool, () =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Pool.use(pool, () => Effect.succeed("both"))
          )
        )
      )
      yield* TestClock.adjust("500 millis")
      yield* other.giveBack
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(both)).toBe("both")
    })
  )
})

describe("a closer", () => {
  it.effect("with a loan by acquire does not close it under those who share it", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, concurrency: 2 })
      const sharer = yield* borrow(pool)
      const closing = yield* start(Effect.andThen(Pool.acquire(pool), Pool.close(pool)))
      expect(things.closed).toEqual([])
      yield* sharer.giveBack
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.await(closing)
      expect(things.closed).toEqual([1])
    })
  )
})

describe("a closer that has a resource alone", () => {
  it.effect("does not wait for itself", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, max: 1, concurrency: 2 })
      const closing = yield* start(Effect.scoped(Effect.andThen(Pool.getAlone(pool), Pool.close(pool))))
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(things.closed).toEqual([1])
    })
  )
})

describe("a body", () => {
  it.effect("keeps what it has done to its fiber's context", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire })
      yield* Pool.use(pool, () => Effect.annotateLogsScoped("request", 7))
      expect(yield* References.CurrentLogAnnotations).toMatchObject({ request: 7 })
    })
  )
})
