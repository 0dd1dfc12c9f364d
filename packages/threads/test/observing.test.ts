/**
 * What can be seen from outside: log lines, traces and references on their way, statistics, events and the registry.
 */
import { PoolRegistry, type PoolEvent } from "@cenote/pool"
import { type Task, type ThreadEvent, type ThreadError, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Option,
  References,
  Scope,
  Stream,
  Tracer
} from "effect"
import {
  collectGarbage,
  eventually,
  eventuallyStats,
  failureAs,
  failureOf,
  type Line,
  logged,
  moduleUrl,
  over,
  overThreads,
  places,
  Shared,
  start
} from "./kit.ts"
import type * as Buffers from "./modules/buffers.ts"
import type * as Effects from "./modules/effects.ts"
import type * as Failures from "./modules/failures.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Observed from "./modules/observed.ts"
import type * as Plain from "./modules/plain.ts"
import { Limits, Tenant } from "./modules/observed.ts"

const observed = ThreadPool.module<typeof Observed>(moduleUrl("observed"))
const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))
const failures = ThreadPool.module<typeof Failures>(moduleUrl("failures"))
const effects = ThreadPool.module<typeof Effects>(moduleUrl("effects"))
const buffers = ThreadPool.module<typeof Buffers>(moduleUrl("buffers"))
const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))

const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** A tracer that remembers the spans that were made. */
const recorder = () => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  /** The one span of that name. */
  const of = (name: string): Tracer.Span => {
    const found = spans.filter((_) => _.name === name)
    if (found.length !== 1) {
      throw new Error(
        `${found.length} spans are called ${name}; there are ${spans.map((_) => _.name).join(", ")}`
      )
    }
    return found[0]!
  }
  const parentOf = (name: string): string | undefined => Option.getOrUndefined(of(name).parent)?.spanId
  return {
    spans,
    of,
    parentOf,
    names: () => spans.map((_) => _.name),
    layer: Context.make(Tracer.Tracer, tracer)
  }
}

/** Runs something, and gives the lines that it logged. */
const linesOf = <A, E>(
  effect: Effect.Effect<A, E, ThreadPool.ThreadPool | Scope.Scope>,
  count: number
): Effect.Effect<ReadonlyArray<Line>, unknown, ThreadPool.ThreadPool | Scope.Scope> => {
  const { layer, lines } = logged()
  return Effect.gen(function* () {
    yield* effect
    yield* eventually(`${count} lines`, () => lines.length >= count)
    return lines
  }).pipe(Effect.provide(layer))
}

const ended = (span: Tracer.Span): Extract<Tracer.SpanStatus, { readonly _tag: "Ended" }> => {
  if (span.status._tag !== "Ended") throw new Error(`${span.name} has not ended`)
  return span.status
}

describe.each(places)("$name", ({ layer }) => {
  // ---------------------------------------------------------------------------
  // Log lines
  // ---------------------------------------------------------------------------

  describe("a log line of a task that is an Effect", () => {
    it.live("reaches the logger of its caller, with its level", () =>
      Effect.gen(function* () {
        const lines = yield* linesOf(observed.sayLevels(), 4)
        expect(lines.map(({ level, text }) => [level, text])).toEqual([
          ["Info", "info"],
          ["Warn", "warning"],
          ["Error", "error"],
          ["Fatal", "fatal"]
        ])
      }).pipe(over(layer))
    )

    it.live("is logged from the level on that the caller asks for", () =>
      Effect.gen(function* () {
        const debug = yield* linesOf(
          Effect.provideService(observed.sayLevels(), References.MinimumLogLevel, "Debug"),
          5
        )
        expect(debug.map((_) => _.text)).toEqual(["debug", "info", "warning", "error", "fatal"])
        const all = yield* linesOf(
          Effect.provideService(observed.sayLevels(), References.MinimumLogLevel, "All"),
          6
        )
        expect(all.map((_) => _.text)).toEqual(["trace", "debug", "info", "warning", "error", "fatal"])
        const few = yield* linesOf(
          Effect.provideService(observed.sayLevels(), References.MinimumLogLevel, "Error"),
          2
        )
        expect(few.map((_) => _.text)).toEqual(["error", "fatal"])
      }).pipe(over(layer))
    )

    it.live("has its annotations and spans, and those of its caller", () =>
      Effect.gen(function* () {
        const [line] = yield* linesOf(
          observed.sayMuch().pipe(Effect.annotateLogs({ request: 7 }), Effect.withLogSpan("outer")),
          1
        )
        expect(line).toMatchObject({
          level: "Warn",
          text: `several {"of":["them"]} 3`,
          annotations: { inThread: "yes", depth: 2, request: 7 }
        })
        expect(line!.spans.toSorted()).toEqual(["inner", "outer"])
      }).pipe(over(layer))
    )

    it.live("has its cause", () =>
      Effect.gen(function* () {
        const [line] = yield* linesOf(observed.sayCause(), 1)
        expect(line).toMatchObject({ level: "Error", text: expect.stringContaining("it went wrong") })
        expect(`${line!.text} ${line!.cause}`).toMatch(/Broken.*the wheel is broken/)
      }).pipe(over(layer))
    )

    it.live("with what cannot cross has a text in its place", () =>
      Effect.gen(function* () {
        const [line] = yield* linesOf(observed.sayUncloneable(), 1)
        expect(line!.text).toMatch(/^look .*n.*1/)
      }).pipe(over(layer))
    )

    it.live("comes also from a Stream, from a method, and from a call within a call", () =>
      Effect.gen(function* () {
        const ofStream = yield* linesOf(Stream.runDrain(observed.sayEach("item", 3)), 3)
        expect(ofStream.map((_) => _.text)).toEqual(["item 1", "item 2", "item 3"])
        const ofNested = yield* linesOf(Effect.annotateLogs(observed.tracedNested(), "caller", "me"), 1)
        expect(ofNested).toMatchObject([
          { text: "from the inner call", annotations: { caller: "me", level: "middle" } }
        ])
      }).pipe(over(layer))
    )

    it.live("goes to the caller whose call it is, however many there are", () =>
      Effect.gen(function* () {
        const callers = upTo(20).map((n) => ({ n, ...logged() }))
        yield* Effect.forEach(
          callers,
          ({ layer, n }) =>
            Effect.all(
              [
                observed.say(`effect ${n}`),
                Stream.runDrain(observed.sayEach(`stream ${n}`, 5)),
                Effect.andThen(plain.add(1, n), observed.say(`again ${n}`))
              ],
              { concurrency: "unbounded" }
            ).pipe(Effect.annotateLogs("caller", n), Effect.provide(layer)),
          { concurrency: "unbounded" }
        )
        for (const { lines, n } of callers) {
          yield* eventually(`the lines of ${n}`, () => lines.length === 7)
          expect(
            lines.every(({ annotations, text }) => annotations["caller"] === n && text.includes(` ${n}`))
          ).toBe(true)
          expect(lines.filter((_) => _.text.startsWith("stream")).map((_) => _.text)).toEqual(
            upTo(5).map((i) => `stream ${n} ${i}`)
          )
        }
      }).pipe(over(layer))
    )

    it.live("comes while the task still runs", () => {
      const { layer: logger, lines } = logged()
      return Effect.gen(function* () {
        const shared = new Shared(2)
        const caller = yield* start(observed.sayAround("work", shared.cells))
        yield* eventually("the first line", () => lines.length === 1)
        expect(caller.pollUnsafe()).toBeUndefined()
        shared.set(1)
        yield* Fiber.join(caller)
        expect(lines.map((_) => _.text)).toEqual(["work begins", "work ends"])
      }).pipe(over(layer), Effect.provide(logger))
    })

    it.live("of a fiber that outlives its call reaches no other caller", () => {
      const pool = logged()
      const first = logged()
      const second = logged()
      return Effect.gen(function* () {
        const shared = new Shared(2)
        yield* observed.sayLater("first", shared.cells).pipe(Effect.provide(first.layer))
        // Somebody else is at it when the line comes.
        const other = new Shared(2)
        const caller = yield* start(
          observed
            .sayAround("second", other.cells)
            .pipe(Effect.annotateLogs("caller", 2), Effect.provide(second.layer))
        )
        yield* other.until(1, 1)
        shared.set(1)
        yield* shared.until(1, 1)
        other.set(1)
        yield* Fiber.join(caller)
        yield* plain.later(1)
        expect(second.lines.map((_) => _.text)).toEqual(["second begins", "second ends"])
        expect(first.lines[0]!.text).toBe("first")
      }).pipe(over(layer), Effect.provide(pool.layer))
    })

    it.live("of a finalizer reaches the logger of a caller that was interrupted", () =>
      Effect.gen(function* () {
        const { layer, lines } = logged()
        const shared = new Shared(1)
        const caller = yield* start(
          observed.hangLoudly(shared.cells).pipe(Effect.annotateLogs("caller", 1), Effect.provide(layer))
        )
        yield* shared.until(1)
        yield* Fiber.interrupt(caller)
        yield* eventually("it is logged", () => lines.length === 1)
        expect(lines).toMatchObject([{ text: "interrupted", annotations: { caller: 1 } }])
      }).pipe(over(layer))
    )

    it.live("does no harm when the logger fails", () =>
      Effect.gen(function* () {
        const broken = new Set([
          {
            ...(yield* References.CurrentLoggers).values().next().value,
            log: () => {
              throw new Error("the disk is full")
            }
          }
        ])
        yield* Effect.provideService(observed.say("lost"), References.CurrentLoggers, broken as never)
        expect(yield* plain.add(1, 2)).toBe(3)
      }).pipe(over(layer))
    )
  })

  // ---------------------------------------------------------------------------
  // Traces
  // ---------------------------------------------------------------------------

  describe("a trace", () => {
    it.live("is one tree: spans of a task are children of the caller's span, at every depth", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        expect(yield* Effect.withSpan(observed.traced(), "caller")).toBe("done")
        yield* eventually("all spans are told", () => trace.spans.length === 5)
        expect(trace.names().toSorted()).toEqual([
          "caller",
          "inner.first",
          "inner.second",
          "innermost",
          "outer"
        ])
        expect(trace.parentOf("outer")).toBe(trace.of("caller").spanId)
        expect(trace.parentOf("inner.first")).toBe(trace.of("outer").spanId)
        expect(trace.parentOf("inner.second")).toBe(trace.of("outer").spanId)
        expect(trace.parentOf("innermost")).toBe(trace.of("inner.second").spanId)
        expect(new Set(trace.spans.map((_) => _.traceId)).size).toBe(1)
        for (const span of trace.spans) {
          const { endTime, startTime } = ended(span)
          expect(endTime).toBeGreaterThanOrEqual(startTime)
        }
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("has attributes, kinds, events and times as the thread has them", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        const before = BigInt(Date.now() - 1000) * 1_000_000n
        yield* Effect.withSpan(Effect.andThen(observed.traced(), observed.tracedEvent()), "caller")
        const after = BigInt(Date.now() + 1000) * 1_000_000n
        yield* eventually("all spans are told", () => trace.spans.length === 6)
        expect(Object.fromEntries(trace.of("outer").attributes)).toMatchObject({
          list: [1, 2],
          text: "a",
          step: 1
        })
        expect(Object.fromEntries(trace.of("inner.first").attributes)).toMatchObject({ n: 1 })
        expect(trace.of("inner.first").kind).toBe("client")
        expect(trace.of("outer").kind).toBe("internal")
        const { endTime, startTime } = ended(trace.of("inner.first"))
        expect(startTime).toBeGreaterThan(before)
        expect(endTime).toBeLessThan(after)
        // It took a millisecond.
        expect(endTime - startTime).toBeGreaterThan(500_000n)
        const events = (trace.of("with event") as Tracer.NativeSpan).events
        expect(events).toEqual([["half way", 1_000_000n, { percent: 50 }]])
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("has how spans ended: failed, died, interrupted", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        yield* failureOf(Effect.withSpan(observed.tracedFailure("wheel"), "caller"))
        yield* Effect.exit(observed.tracedDeath())
        const shared = new Shared(1)
        const hanging = yield* start(observed.tracedHang(shared.cells))
        yield* shared.until(1)
        yield* Fiber.interrupt(hanging)
        yield* eventually("all spans are told", () => trace.spans.length === 4)

        const failed = ended(trace.of("failing")).exit
        const error = Exit.isFailure(failed) ? Cause.squash(failed.cause) : undefined
        expect(error).toMatchObject({ _tag: "Broken", part: "wheel", message: "the wheel is broken" })
        const died = ended(trace.of("dying")).exit
        expect(Exit.isFailure(died) && Cause.pretty(died.cause)).toMatch(/RangeError: dead/)
        const interrupted = ended(trace.of("hanging")).exit
        expect(Exit.isFailure(interrupted) && Cause.hasInterruptsOnly(interrupted.cause)).toBe(true)
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("goes on through calls within calls", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        const call = Effect.provide(observed.tracedNested(), logged().layer)
        expect(yield* Effect.withSpan(call, "caller")).toBe("done")
        yield* eventually("all spans are told", () => trace.spans.length === 6)
        expect(trace.parentOf("around")).toBe(trace.of("caller").spanId)
        expect(trace.parentOf("outer")).toBe(trace.of("around").spanId)
        expect(trace.parentOf("innermost")).toBe(trace.of("inner.second").spanId)
        expect(new Set(trace.spans.map((_) => _.traceId)).size).toBe(1)
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("goes on through Streams, their pulls and their end", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        const items = yield* Effect.withSpan(Stream.runCollect(observed.tracedStream()), "caller")
        expect(items).toEqual([1, 2, 3])
        yield* eventually("all spans are told", () => trace.spans.length === 5)
        expect(trace.parentOf("the stream")).toBe(trace.of("caller").spanId)
        for (const n of upTo(3)) expect(trace.parentOf(`item ${n}`)).toBe(trace.of("the stream").spanId)
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("of many callers does not get mixed up", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        yield* Effect.forEach(
          upTo(10),
          (n) =>
            Effect.all([observed.tracedOften(10), plain.later(n)], { concurrency: "unbounded" }).pipe(
              Effect.withSpan(`caller ${n}`)
            ),
          { concurrency: "unbounded" }
        )
        const told = () => trace.spans.filter((_) => !_.name.startsWith("wait for "))
        yield* eventually("all spans are told", () => told().length === 110)
        for (const n of upTo(10)) {
          const caller = trace.of(`caller ${n}`)
          const children = told().filter((_) => Option.getOrUndefined(_.parent)?.spanId === caller.spanId)
          expect(children.map((_) => _.name).toSorted()).toEqual(upTo(10).map((i) => `span ${i - 1}`))
        }
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("a task sees the caller's span, and none where there is none", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        expect(yield* observed.parent()).toBe(undefined)
        const seen = yield* Effect.withSpan(observed.parent(), "caller")
        expect(seen).toEqual({ traceId: trace.of("caller").traceId, spanId: trace.of("caller").spanId })
        // Spans of a task whose caller has none are roots.
        yield* observed.traced()
        yield* eventually("all spans are told", () => trace.spans.length === 5)
        expect(trace.parentOf("outer")).toBe(undefined)
        expect(trace.parentOf("inner.first")).toBe(trace.of("outer").spanId)
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("a span that is to be a root stays one", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        yield* Effect.withSpan(observed.tracedRoot(), "caller")
        yield* eventually("all spans are told", () => trace.spans.length === 2)
        expect(trace.parentOf("its own root")).toBe(undefined)
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("of a caller that is not sampled is not sampled in the thread either", () => {
      const trace = recorder()
      return Effect.gen(function* () {
        yield* Effect.withSpan(observed.traced(), "caller", { sampled: false })
        yield* observed.traced()
        yield* eventually("spans are told", () => trace.spans.filter((_) => _.name === "outer").length >= 1)
        const sampled = trace.spans.filter((_) => _.name === "outer").map((_) => _.sampled)
        // Told or not: what is told says that it is not sampled.
        if (sampled.length === 2) expect(sampled).toEqual([false, true])
        else expect(sampled).toEqual([true])
      }).pipe(over(layer), Effect.provideContext(trace.layer))
    })

    it.live("is not kept when it has been told, however long its caller lives", () =>
      Effect.gen(function* () {
        const spans: Array<WeakRef<Tracer.Span>> = []
        const tracer = Tracer.make({
          span: (options) => {
            const span = new Tracer.NativeSpan(options)
            if (options.name === "innermost") spans.push(new WeakRef(span))
            return span
          }
        })
        // One fiber makes all of these calls, and goes on living.
        yield* Effect.gen(function* () {
          for (let i = 0; i < 50; i++) yield* Effect.withSpan(observed.traced(), "caller")
          yield* eventually("all spans are told", () => spans.length === 50)
          yield* eventually(
            "they are garbage",
            Effect.andThen(
              collectGarbage,
              Effect.sync(() => spans.filter((_) => _.deref() !== undefined).length <= 1)
            )
          )
        }).pipe(Effect.withTracer(tracer))
      }).pipe(over(layer))
    )

    it.live("does no harm when the tracer fails, which is logged", () => {
      const { layer: logger, lines } = logged()
      return Effect.gen(function* () {
        let broken = false
        const tracer = Tracer.make({
          span: (options) => {
            if (broken) throw new Error("the collector is gone")
            return new Tracer.NativeSpan(options)
          }
        })
        yield* Effect.gen(function* () {
          const call = yield* start(Effect.withSpan(observed.traced(), "caller"))
          broken = true
          expect(yield* Fiber.join(call)).toBe("done")
        }).pipe(Effect.withTracer(tracer))
        expect(yield* plain.add(1, 2)).toBe(3)
        yield* eventually("it is logged", () => lines.some((_) => _.level === "Error"))
      }).pipe(over(layer), Effect.provide(logger))
    })
  })
})

// -----------------------------------------------------------------------------
// References
// -----------------------------------------------------------------------------

describe("references", () => {
  it.live("that were chosen travel with each call, to Effects and Streams", () =>
    Effect.gen(function* () {
      // What the caller has not set has its default there.
      expect(yield* observed.tenant()).toBe("nobody 1")
      const asAnn = Effect.provideService(Tenant, "ann")
      const withMore = Effect.provideService(Limits, { most: 5 })
      expect(yield* observed.tenant().pipe(asAnn)).toBe("ann 1")
      expect(yield* observed.tenant().pipe(asAnn, withMore)).toBe("ann 5")
      expect(yield* Stream.runCollect(observed.tenantStream()).pipe(asAnn, withMore)).toEqual(["ann 5"])
      // The next call is another one.
      expect(yield* observed.tenant()).toBe("nobody 1")
      const many = yield* Effect.forEach(
        upTo(50),
        (n) => Effect.provideService(observed.tenant(), Tenant, `tenant${n}`),
        { concurrency: "unbounded" }
      )
      expect(many).toEqual(upTo(50).map((n) => `tenant${n} 1`))
    }).pipe(overThreads({ references: [Tenant, Limits] }))
  )

  it.live("that were chosen travel on to calls within calls, however deep, as they are there", () =>
    Effect.gen(function* () {
      expect(yield* observed.tenantWithin(1)).toEqual(["nobody 1", "other 1"])
      const asAnn = Effect.provideService(Tenant, "ann")
      for (const call of [observed.tenantWithin(2), ThreadPool.inline(observed.tenantWithin(2))]) {
        expect(yield* asAnn(call)).toEqual(["ann 1", "other 1", "other 1"])
      }
    }).pipe(overThreads({ references: [Tenant] }))
  )

  it.live("that were not chosen stay here", () =>
    Effect.gen(function* () {
      const call = observed
        .tenant()
        .pipe(Effect.provideService(Tenant, "ann"), Effect.provideService(Limits, { most: 5 }))
      expect(yield* call).toBe("ann 1")
    }).pipe(overThreads({ references: [Tenant] }))
  )

  it.live("whose value cannot cross fail the call, which names them, and no other", () =>
    Effect.gen(function* () {
      const [refused, sum] = yield* Effect.all(
        [
          failureAs("NotCloneable")(
            Effect.provideService(observed.tenant(), Limits, { most: (() => 1) as never })
          ),
          plain.add(1, 2)
        ],
        { concurrency: "unbounded" }
      )
      expect(`${refused.path} ${refused.found}`).toMatch(/test\/Limits/)
      expect(sum).toBe(3)
    }).pipe(overThreads({ references: [Tenant, Limits] }))
  )

  it.live("do not hinder tasks that are no Effects", () =>
    Effect.gen(function* () {
      expect(yield* Effect.provideService(plain.add(1, 2), Tenant, "ann")).toBe(3)
    }).pipe(overThreads({ references: [Tenant] }))
  )
})

/** Whether every call is accounted for. */
const addsUp = (stats: ThreadPool.Stats): boolean =>
  stats.calls ===
  stats.pending +
    stats.running +
    stats.succeeded +
    stats.failed +
    stats.interrupted +
    stats.timedOut +
    stats.crashed +
    stats.rejected

// -----------------------------------------------------------------------------
// Statistics
// -----------------------------------------------------------------------------

describe("statistics", () => {
  it.live("count each call once, by what became of it", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(upTo(10), (n) => plain.add(n, 1), { concurrency: "unbounded" })
      yield* Effect.exit(failures.plain())
      yield* Effect.exit(effects.find("nowhere"))
      yield* Effect.exit(plain.echo(() => 1))
      yield* Effect.exit(failures.giveUncloneable("symbol"))
      const shared = new Shared(3)
      const hanging = yield* start(effects.hang(shared.cells))
      yield* shared.until(1)
      yield* Fiber.interrupt(hanging)
      yield* eventuallyStats("it has stopped", (stats) => stats.running === 0)

      const stats = yield* ThreadPool.stats
      expect(stats).toMatchObject({
        calls: 15,
        succeeded: 10,
        failed: 4,
        interrupted: 1,
        timedOut: 0,
        crashed: 0,
        rejected: 0,
        pending: 0,
        running: 0,
        moved: 0
      })
      expect(addsUp(stats)).toBe(true)

      const counter = yield* Effect.scoped(ThreadPool.proxy(objects, "Counter", [1]))
      yield* Effect.exit(counter.count)
      yield* eventuallyStats("all have ended", ({ running }) => running === 0)
      expect((yield* ThreadPool.stats).rejected).toBe(1)
      expect(addsUp(yield* ThreadPool.stats)).toBe(true)
    }).pipe(overThreads())
  )

  it.live("add up at each moment of a busy pool", () =>
    Effect.gen(function* () {
      const all = yield* start(
        Effect.forEach(
          upTo(500),
          (n) => {
            const call: Effect.Effect<unknown, unknown, ThreadPool.ThreadPool> =
              n % 5 === 0 ? failures.plain() : plain.later(n, n % 3)
            return Effect.exit(n % 7 === 0 ? Effect.timeoutOption(call, n % 4) : call)
          },
          { concurrency: "unbounded" }
        )
      )
      while (all.pollUnsafe() === undefined) {
        const stats = yield* ThreadPool.stats
        // One that its caller gave up is counted as interrupted, and as running until its task has stopped.
        const over =
          stats.pending + stats.running + stats.succeeded + stats.failed + stats.interrupted + stats.rejected
        expect(over).toBeGreaterThanOrEqual(stats.calls)
        expect(over - stats.calls).toBeLessThanOrEqual(stats.interrupted)
        expect(stats.size).toBe(stats.idle + stats.used + stats.creating + stats.closing)
        yield* Effect.sleep(1)
      }
      yield* eventuallyStats("all have ended", (stats) => stats.running === 0 && addsUp(stats))
      expect((yield* ThreadPool.stats).calls).toBe(500)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("tell how long calls waited, ran and travelled", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const first = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const second = yield* start(buffers.nap(20))
      yield* Effect.sleep(15)
      shared.set(1, 1)
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      const { ran, transport, waited } = yield* ThreadPool.stats
      expect(waited).toBeGreaterThan(10)
      expect(ran).toBeGreaterThan(15 + 10)
      expect(transport).toBeGreaterThan(0)
    }).pipe(overThreads())
  )

  it.live("tell of each thread what it does and has done", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      const other = yield* ThreadPool.proxy(objects, "Counter", [1])
      const blocked = yield* start(
        ThreadPool.execute(
          function (this: Task.Task, _counter: unknown, cells: Int32Array) {
            Atomics.store(cells, 0, 1)
            Atomics.wait(cells, 1, 0, 20_000)
            return this.thread
          },
          counter as unknown,
          shared.cells
        )
      )
      yield* shared.until(1)
      const during = yield* ThreadPool.stats
      expect(during).toMatchObject({ size: 2, used: 2, idle: 0, running: 1, pending: 0 })
      const busy = during.threads.find((_) => _.state === "busy")!
      const idle = during.threads.find((_) => _.state === "idle")!
      expect(busy).toMatchObject({ running: 1, objects: 1 })
      expect(idle).toMatchObject({ running: 0, objects: 1 })
      yield* Effect.sleep(5)
      shared.set(1, 1)
      expect(yield* Fiber.join(blocked)).toBe(busy.thread)
      void other

      const after = yield* ThreadPool.stats
      const then = after.threads.find((_) => _.thread === busy.thread)!
      expect(then).toMatchObject({ state: "idle", running: 0, heapUsed: undefined })
      expect(then.busy).toBeGreaterThan(4)
      expect(then.age).toBeGreaterThanOrEqual(then.busy)
      expect(then.utilisation).toBeGreaterThan(0)
      expect(then.utilisation).toBeLessThanOrEqual(1)
      expect(then.utilisation).toBeCloseTo(then.busy / then.age, 5)
      expect(after.threads.reduce((sum, _) => sum + _.ended, 0)).toBe(after.succeeded)
      expect(after.threads.map((_) => _.thread).toSorted()).toEqual([1, 2])
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("tell the heap of each thread where it is asked for", () =>
    Effect.gen(function* () {
      yield* plain.add(1, 2)
      yield* eventually(
        "the heap is known",
        Effect.andThen(
          plain.later(1),
          Effect.map(ThreadPool.stats, ({ threads }) => (threads[0]?.heapUsed ?? 0) > 1_000_000)
        )
      )
    }).pipe(overThreads({ recycle: { heap: 2_000_000_000 } }))
  )

  it.live("of a pool without threads count its calls all the same", () =>
    Effect.gen(function* () {
      yield* plain.add(1, 2)
      yield* Effect.exit(failures.plain())
      const stats = yield* ThreadPool.stats
      expect(stats).toMatchObject({
        calls: 2,
        succeeded: 1,
        failed: 1,
        size: 0,
        max: 0,
        threads: [],
        running: 0
      })
      expect(addsUp(stats)).toBe(true)
    }).pipe(over(ThreadPool.layerInline))
  )
})

// -----------------------------------------------------------------------------
// Events
// -----------------------------------------------------------------------------

type AnyEvent = PoolEvent.PoolEvent | ThreadEvent.ThreadEvent

/** Listens to a pool, and has begun to hear when it returns. */
const listen = (
  events: Stream.Stream<AnyEvent, never, ThreadPool.ThreadPool>
): Effect.Effect<Array<AnyEvent>, ThreadError.ThreadError, ThreadPool.ThreadPool | Scope.Scope> =>
  Effect.gen(function* () {
    const heard: Array<AnyEvent> = []
    yield* start(Stream.runForEach(events, (event) => Effect.sync(() => heard.push(event))))
    yield* eventually(
      "the listener hears",
      Effect.map(plain.add(0, 0), () => heard.length > 0)
    )
    // What was sent to find out arrives before anything else.
    let count = -1
    yield* eventually(
      "silence",
      Effect.sync(() => count === (count = heard.length))
    )
    heard.length = 0
    return heard
  })

const of = <Tag extends AnyEvent["_tag"]>(
  heard: ReadonlyArray<AnyEvent>,
  tag: Tag
): ReadonlyArray<Extract<AnyEvent, { readonly _tag: Tag }>> => heard.filter((_) => _._tag === tag) as never

describe("events", () => {
  it.live("tell the end of each call, how it ended, where, and how long it took", () =>
    Effect.gen(function* () {
      const heard = yield* listen(ThreadPool.events)
      const before = Date.now()
      yield* plain.add(1, 2)
      yield* Effect.exit(failures.plain())
      yield* Effect.exit(effects.find("nowhere"))
      const shared = new Shared(3)
      const hanging = yield* start(effects.hang(shared.cells))
      yield* shared.until(1)
      yield* Fiber.interrupt(hanging)
      yield* eventually("all are told", () => of(heard, "CallEnded").length === 4)
      const ends = of(heard, "CallEnded")
      expect(ends.map(({ outcome, task }) => [task, outcome])).toEqual([
        ["plain.ts#add", "succeeded"],
        ["failures.ts#plain", "failed"],
        ["effects.ts#find", "failed"],
        ["effects.ts#hang", "interrupted"]
      ])
      const fiber = yield* Effect.fiberId
      for (const end of ends) {
        expect(end).toMatchObject({ pool: "test", thread: 1 })
        expect(end.at).toBeGreaterThanOrEqual(before)
        expect(Math.min(end.waited, end.ran, end.transport)).toBeGreaterThanOrEqual(0)
      }
      expect(ends.slice(0, 3).map((_) => _.fiber)).toEqual([fiber, fiber, fiber])
      expect(ends[3]!.fiber).toBe(hanging.id)
    }).pipe(overThreads())
  )

  it.live("tell that a call was turned away", () =>
    Effect.gen(function* () {
      const heard = yield* listen(ThreadPool.events)
      const shared = new Shared(2)
      const held = yield* Effect.forEach([1, 2], () => start(plain.beginAndBlock(shared.cells)))
      yield* shared.until(1)
      yield* eventuallyStats("one waits", (stats) => stats.pending === 1)
      const error = yield* failureAs("QueueFull")(plain.blockUntil(shared.cells))
      expect(error).toMatchObject({ maxQueue: 1, running: 1, task: "plain.ts#blockUntil" })
      yield* eventually("it is told", () => of(heard, "CallRejected").length === 1)
      expect(of(heard, "CallRejected")).toMatchObject([{ pool: "test", task: "plain.ts#blockUntil" }])
      shared.set(1, 1)
      yield* Effect.forEach(held, Fiber.join)
    }).pipe(overThreads({ maxQueue: 1 }))
  )

  it.live("tell how threads come and go", () =>
    Effect.gen(function* () {
      const heard = yield* listen(ThreadPool.events)
      yield* ThreadPool.resize({ min: 2, max: 2 })
      yield* eventually("the second has come", () => of(heard, "Created").length === 1)
      expect(of(heard, "Created")).toMatchObject([{ pool: "test", resource: 2 }])
      expect(of(heard, "Resized").at(-1)).toMatchObject({ min: 2, max: 2 })
      yield* ThreadPool.resize(1)
      yield* eventually("one has gone", () => of(heard, "Closed").length === 1)
      yield* Effect.exit(
        ThreadPool.execute(() => process.exit(3)) as Effect.Effect<never, unknown, ThreadPool.ThreadPool>
      )
      yield* eventually("the crash is told", () => of(heard, "ThreadCrashed").length === 1)
      expect(of(heard, "ThreadCrashed")).toMatchObject([
        { pool: "test", reason: "exit", failed: 1, moved: 0 }
      ])
      yield* eventually("so is the call", () => of(heard, "CallEnded").at(-1)?.outcome === "crashed")
      yield* plain.add(1, 2)
      yield* ThreadPool.drain
      yield* eventually("the drain is told", () => of(heard, "Drained").length === 1)
      // Lending a thread to the scheduler is nothing that happens.
      expect(of(heard, "Borrowed")).toEqual([])
      expect(of(heard, "Returned")).toEqual([])
    }).pipe(overThreads())
  )

  it.live("end with the pool", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const over = Deferred.makeUnsafe<void>()
      yield* Effect.gen(function* () {
        const pool = yield* ThreadPool.ThreadPool
        yield* Stream.runDrain(ThreadPool.events).pipe(
          Effect.provideService(ThreadPool.ThreadPool, pool),
          Effect.andThen(Deferred.succeed(over, undefined)),
          Effect.forkIn(scope, { startImmediately: true })
        )
        yield* plain.add(1, 2)
      }).pipe(overThreads())
      yield* Deferred.await(over)
      yield* Scope.close(scope, Exit.void)
    })
  )
})

// -----------------------------------------------------------------------------
// The registry
// -----------------------------------------------------------------------------

describe("the registry", () => {
  it.live("has each thread pool as an entry of its kind, until it closes", () =>
    Effect.gen(function* () {
      expect(yield* PoolRegistry.entries).toEqual([])
      yield* Effect.gen(function* () {
        const entries = yield* PoolRegistry.entries
        // One entry: the pool of threads underneath does not show.
        expect(entries.map(({ id, kind, name }) => ({ id, kind, name }))).toEqual([
          { id: "workers", kind: "threads", name: "workers" }
        ])
      }).pipe(overThreads({ name: "workers" }))
      expect(yield* PoolRegistry.entries).toEqual([])
      yield* Effect.gen(function* () {
        expect((yield* PoolRegistry.entries).map((_) => [_.kind, _.id])).toEqual([["threads", "inline"]])
      }).pipe(over(ThreadPool.layerInline))
    }).pipe(Effect.provide(PoolRegistry.layer))
  )

  it.live("an entry has the statistics of the pool, those of threads and calls included", () =>
    Effect.gen(function* () {
      const [entry] = yield* PoolRegistry.entries
      yield* plain.add(1, 2)
      const stats = yield* entry!.stats
      expect(stats).toMatchObject({
        name: "test",
        min: 1,
        max: 1,
        size: 1,
        pending: 0,
        timeouts: 0,
        created: 1
      })
      expect(stats).toMatchObject({ calls: 1, succeeded: 1, threads: [{ thread: 1, ended: 1 }] })
      expect(Object.keys(stats).toSorted()).toEqual(Object.keys(yield* ThreadPool.stats).toSorted())
    }).pipe(overThreads(), Effect.provide(PoolRegistry.layer))
  )

  it.live("an entry tells what runs, where, since when, and for whom", () =>
    Effect.gen(function* () {
      const [entry] = yield* PoolRegistry.entries
      expect(yield* entry!.leases()).toEqual([])
      const shared = new Shared(2)
      const running = yield* start(Effect.withSpan(plain.beginAndBlock(shared.cells), "the request"))
      yield* shared.until(1)
      yield* Effect.sleep(2)
      const leases = yield* entry!.leases()
      expect(leases).toMatchObject([
        { item: "plain.ts#beginAndBlock", resource: 1, fiber: running.id, span: "the request" }
      ])
      expect(leases[0]!.held).toBeGreaterThan(0)
      expect(Math.abs(leases[0]!.since + leases[0]!.held - Date.now())).toBeLessThan(10_000)
      shared.set(1, 1)
      yield* Fiber.join(running)
      expect(yield* entry!.leases()).toEqual([])
    }).pipe(overThreads(), Effect.provide(PoolRegistry.layer))
  )

  it.live("an entry tells what happens to its threads", () =>
    Effect.gen(function* () {
      const [entry] = yield* PoolRegistry.entries
      const heard: Array<PoolEvent.PoolEvent> = []
      yield* start(Stream.runForEach(entry!.events, (event) => Effect.sync(() => heard.push(event))))
      yield* Effect.yieldNow
      yield* ThreadPool.resize({ min: 2, max: 2 })
      yield* eventually("the second has come", () => heard.some((_) => _._tag === "Created"))
      yield* plain.add(1, 2)
      expect(heard.every((_) => _._tag !== "Borrowed" && _._tag !== "Returned")).toBe(true)
    }).pipe(overThreads(), Effect.provide(PoolRegistry.layer))
  )
})
