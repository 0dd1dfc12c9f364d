/**
 * What a wait looks like in a trace.
 */
import { KeyedPool, Pool, TokenPool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Option, References, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { borrow, refused, settle, start, Things } from "./kit.ts"

/** A tracer that remembers the spans that were made. */
class Trace {
  readonly spans: Array<Tracer.Span> = []
  readonly tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      this.spans.push(span)
      return span
    }
  })

  get waits(): ReadonlyArray<Tracer.Span> {
    return this.spans.filter(({ name }) => name.startsWith("wait for "))
  }

  /** The one wait that there was. */
  get wait(): Tracer.Span {
    const { waits } = this
    if (waits.length !== 1) throw new Error(`there were ${waits.length} waits`)
    return waits[0]!
  }

  readonly provide = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(effect, Tracer.Tracer, this.tracer)
}

const millis = (nanos: bigint): number => Number(nanos) / 1e6

/** When a span began and ended, in milliseconds, and how. */
const ended = ({ name, status }: Tracer.Span) => {
  if (status._tag !== "Ended") throw new Error(`${name} has not ended`)
  return { from: millis(status.startTime), to: millis(status.endTime), exit: status.exit }
}

/** What a span failed with. */
const errorOf = (span: Tracer.Span): unknown => {
  const { exit } = ended(span)
  if (Exit.isSuccess(exit)) throw new Error(`${span.name} did not fail`)
  return Cause.squash(exit.cause)
}

const makeTokens = (options?: TokenPool.Options) => TokenPool.make({ name: "db", max: 1, ...options })
const under =
  (name: string) =>
  <A, E>(pool: Pool.Pool<A, E>) =>
    Effect.withSpan(
      Pool.use(pool, () => Effect.void),
      name
    )

describe("a borrow that had to wait", () => {
  it.effect("has a span under its borrower's, as long as the wait was", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens()
      yield* TestClock.adjust("7 seconds")
      const holder = yield* borrow(tokens)
      const waiter = yield* start(under("GET /users")(tokens))
      yield* TestClock.adjust("2500 millis")
      expect(trace.waits).toEqual([])
      yield* holder.giveBack
      yield* Fiber.join(waiter)
      const { wait } = trace
      expect(wait.name).toBe("wait for db")
      expect(ended(wait)).toEqual({ from: 7_000, to: 9_500, exit: Exit.void })
      expect(Object.fromEntries(wait.attributes)).toEqual({ "cenote.pool.name": "db" })
      const caller = trace.spans.find(({ name }) => name === "GET /users")!
      expect(Option.getOrUndefined(wait.parent)).toBe(caller)
      expect([wait.traceId, wait.sampled, wait.kind]).toEqual([caller.traceId, true, "internal"])
    }).pipe(trace.provide)
  })

  it.effect("has the annotations and links that its borrower gives all its spans", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens()
      const holder = yield* borrow(tokens)
      const link = Tracer.externalSpan({ spanId: "1", traceId: "2" })
      yield* start(under("job")(tokens).pipe(Effect.annotateSpans("tenant", "acme"), Effect.linkSpans(link)))
      yield* holder.giveBack
      expect(trace.wait.attributes.get("tenant")).toBe("acme")
      expect(trace.wait.links.map(({ span }) => span)).toEqual([link])
    }).pipe(trace.provide)
  })

  it.effect("for its resource to be created shows that, and what it failed with", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const things = new Things()
      things.plan = (attempt) =>
        attempt === 1 ? Effect.sleep("3 seconds") : Effect.delay(refused, "4 seconds")
      const pool = yield* Pool.make({ name: "", acquire: things.acquire, max: 2 })
      yield* start(
        Effect.withSpan(
          Pool.use(pool, () => Effect.never),
          "one"
        )
      )
      const second = yield* start(Effect.flip(under("two")(pool)))
      yield* TestClock.adjust("4 seconds")
      expect(trace.waits.map(({ name }) => name)).toEqual(["wait for a pool", "wait for a pool"])
      const [one, two] = trace.waits.map(ended)
      expect(one).toEqual({ from: 0, to: 3_000, exit: Exit.void })
      expect(two).toMatchObject({ from: 0, to: 4_000 })
      expect(errorOf(trace.waits[1]!)).toBe(yield* Fiber.join(second))
    }).pipe(trace.provide)
  })

  it.effect("past its deadline ends with that", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens({ acquireTimeout: "5 seconds" })
      yield* borrow(tokens)
      const waiter = yield* start(Effect.flip(under("late")(tokens)))
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(waiter)
      expect(error).toMatchObject({ _tag: "AcquireTimeout" })
      expect(errorOf(trace.wait)).toBe(error)
      expect(ended(trace.wait)).toMatchObject({ from: 0, to: 5_000 })
    }).pipe(trace.provide)
  })

  it.effect("by a pool that closed meanwhile ends with that", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens({ closeTimeout: "1 second" })
      yield* borrow(tokens)
      const waiter = yield* start(Effect.flip(under("late")(tokens)))
      yield* start(Pool.close(tokens))
      expect(errorOf(trace.wait)).toMatchObject({ _tag: "PoolClosed" })
      expect(errorOf(trace.wait)).toBe(yield* Fiber.join(waiter))
      yield* TestClock.adjust("1 second")
    }).pipe(trace.provide)
  })

  it.effect.each([
    ["use", (pool: TokenPool.TokenPool) => Pool.use(pool, () => Effect.void)],
    ["get", (pool: TokenPool.TokenPool) => Effect.scoped(Pool.get(pool))],
    ["acquire", (pool: TokenPool.TokenPool) => Pool.acquire(pool)]
  ] as const)("by %s and was interrupted ends as interrupted, under its borrower's span", ([, ask]) => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens()
      yield* borrow(tokens)
      const waiter = yield* start(Effect.withSpan(ask(tokens), "patient"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(waiter)
      const { exit, from, to } = ended(trace.wait)
      expect([from, to]).toEqual([0, 1_000])
      expect(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)).toBe(true)
      expect(Option.getOrUndefined(trace.wait.parent)).toMatchObject({ name: "patient" })
    }).pipe(trace.provide)
  })

  it.effect("for a key names the key", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const hosts = yield* KeyedPool.make({
        name: "hosts",
        acquire: (key: string) => Effect.succeed(key),
        maxPerKey: 1
      })
      const holder = yield* start(KeyedPool.use(hosts, "a.example", () => Effect.sleep("1 second")))
      const waiter = yield* start(
        Effect.withSpan(
          KeyedPool.use(hosts, "a.example", () => Effect.void),
          "job"
        )
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(holder)
      yield* Fiber.join(waiter)
      expect(trace.wait.name).toBe("wait for hosts[a.example]")
    }).pipe(trace.provide)
  })

  it.effect("gets its resource whatever the tracer does", () => {
    const tracer = Tracer.make({
      span: (options) => {
        if (options.name.startsWith("wait for ")) throw new Error("the tracer is broken")
        return new Tracer.NativeSpan(options)
      }
    })
    return Effect.gen(function* () {
      const tokens = yield* makeTokens()
      const holder = yield* borrow(tokens)
      const waiter = yield* start(under("job")(tokens))
      yield* holder.giveBack
      yield* Fiber.join(waiter)
      expect(yield* Pool.stats(tokens)).toMatchObject({ idle: 1, used: 0, pending: 0, borrowed: 2 })
    }).pipe(Effect.provideService(Tracer.Tracer, tracer))
  })

  it.effect("has no times where spans have none", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens()
      yield* TestClock.adjust("7 seconds")
      const holder = yield* borrow(tokens)
      yield* start(Effect.withTracerTiming(under("job")(tokens), false))
      yield* TestClock.adjust("1 second")
      yield* holder.giveBack
      expect(ended(trace.wait)).toEqual({ from: 0, to: 0, exit: Exit.void })
    }).pipe(trace.provide)
  })
})

/** Waits in a way of its own; gives the trace of it. */
const traceOf = (waiting: (ask: Effect.Effect<void, unknown>) => Effect.Effect<unknown, unknown>) => {
  const trace = new Trace()
  return Effect.gen(function* () {
    const tokens = yield* makeTokens()
    const holder = yield* borrow(tokens)
    const waiter = yield* start(waiting(Pool.use(tokens, () => Effect.void)))
    yield* TestClock.adjust("1 second")
    yield* holder.giveBack
    yield* Fiber.join(waiter)
    return trace
  }).pipe(trace.provide)
}

describe("there is no span", () => {
  it.effect("for a borrow that did not wait, or was turned away at once", () => {
    const trace = new Trace()
    return Effect.gen(function* () {
      const tokens = yield* makeTokens({ maxWaiting: 0 })
      const pool = yield* Pool.make({ name: "ready", acquire: new Things().acquire, size: 1 })
      yield* settle
      yield* under("first")(pool)
      yield* borrow(tokens)
      expect(yield* Effect.flip(under("second")(tokens))).toMatchObject({ _tag: "LineFull" })
      yield* Effect.withSpan(
        Pool.tryUse(tokens, () => Effect.void),
        "third"
      )
      expect(trace.spans.map(({ name }) => name)).toEqual(["first", "second", "third"])
    }).pipe(trace.provide)
  })

  it.effect("for a borrower without one", () =>
    Effect.gen(function* () {
      expect((yield* traceOf((ask) => ask)).spans).toEqual([])
    })
  )

  it.effect("for one whose trace is not sampled", () =>
    Effect.gen(function* () {
      const trace = yield* traceOf((ask) => Effect.withSpan(ask, "job", { sampled: false }))
      expect(trace.spans.map(({ name }) => name)).toEqual(["job"])
    })
  )

  it.effect("where tracing is switched off", () =>
    Effect.gen(function* () {
      const trace = yield* traceOf((ask) => Effect.withSpan(Effect.withTracerEnabled(ask, false), "job"))
      expect(trace.spans.map(({ name }) => name)).toEqual(["job"])
      expect(
        (yield* traceOf((ask) =>
          Effect.provideService(Effect.withSpan(ask, "job"), References.TracerEnabled, false)
        )).spans
      ).toEqual([])
    })
  )

  it.effect("under one that is kept out of the trace itself", () =>
    Effect.gen(function* () {
      const hidden = { annotations: Context.make(Tracer.DisablePropagation, true) }
      const trace = yield* traceOf((ask) => Effect.withSpan(Effect.withSpan(ask, "hidden", hidden), "job"))
      expect(trace.spans.map(({ name }) => name)).toEqual(["job"])
    })
  )
})
