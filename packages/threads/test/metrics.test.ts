/**
 * What those see who watch a thread pool from outside: metrics, its entry in the registry, and waits in traces.
 */
import { PoolMetrics, PoolRegistry } from "@cenote/pool"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Effect, Exit, Fiber, Layer, Metric, Option, type Scope, Tracer } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { defectOf, eventually, eventuallyStats, failureAs, moduleUrl, over, Shared, start } from "./kit.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Plain from "./modules/plain.ts"

const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))
const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))

/** Runs a program over threads, with a registry of pools and one of metrics for itself, and with metrics. */
const overMeasured =
  (options?: NodeThreads.Options) =>
  <A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool | Scope.Scope>): Effect.Effect<A, unknown> =>
    effect.pipe(
      over(Layer.provideMerge(NodeThreads.layer({ size: 1, name: "test", ...options }), PoolMetrics.layer())),
      Effect.provide(Layer.fresh(PoolRegistry.layer)),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )

/** Threads take real time, whatever clock a test has. */
const live = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Clock.Clock, Context.get(Context.empty(), Clock.Clock))

const theEntry = Effect.map(PoolRegistry.entries, ([entry]) => entry!)

/** The samples of the pool, by the name of the metric without its prefix and its own labels. */
const scrape = Effect.map(PrometheusMetrics.format(), (text) =>
  Object.fromEntries(
    [
      ...text.matchAll(
        /^cenote_pool_(\w+)\{cenote_pool_name="test",cenote_pool_kind="threads",?(.*)\} (.*)$/gm
      )
    ].map(([, name, labels, value]) => [labels === "" ? name! : `${name} ${labels}`, Number(value)])
  )
)

/** Waits until the samples are as they should be. */
const eventuallyScraped = (samples: Record<string, number>) =>
  Effect.gen(function* () {
    const isThere = Effect.map(scrape, (read) =>
      Object.entries(samples).every(([sample, value]) => read[sample] === value)
    )
    yield* eventually(JSON.stringify(samples), isThere).pipe(
      Effect.catchDefect(() => Effect.map(scrape, (read) => expect(read).toMatchObject(samples)))
    )
  })

describe("the metrics of a thread pool", () => {
  it.live("count calls by how they ended, and threads as they come and go", () =>
    Effect.gen(function* () {
      expect(yield* scrape).toMatchObject({
        'calls cenote_pool_outcome="succeeded"': 0,
        'calls cenote_pool_outcome="crashed"': 0,
        'failures cenote_pool_reason="CallRejected"': 0,
        created: 1,
        create_time_count: 1
      })
      yield* plain.add(1, 2)
      yield* plain.add(1, 2)
      yield* failureAs("TaskFailed")(ThreadPool.execute(() => Promise.reject(new Error("no"))))
      yield* failureAs("ThreadCrashed")(ThreadPool.execute(() => process.exit(1)))
      yield* plain.add(1, 2)
      yield* eventuallyScraped({
        'calls cenote_pool_outcome="succeeded"': 3,
        'calls cenote_pool_outcome="failed"': 1,
        'calls cenote_pool_outcome="crashed"': 1,
        'failures cenote_pool_reason="ThreadCrashed"': 1,
        'failures cenote_pool_reason="CreateFailed"': 0,
        borrowed: 5,
        created: 2,
        create_time_count: 2,
        wait_time_count: 5,
        use_time_count: 5,
        pending_requests: 0,
        max: 1,
        idle_min: 1
      })
      const closed = Object.entries(yield* scrape).filter(([sample]) => sample.startsWith("closed "))
      expect(closed.reduce((sum, [, n]) => sum + n, 0)).toBe(1)
    }).pipe(overMeasured())
  )

  it.live("count each call that was turned away, and each thread that was stopped", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const running = yield* start(plain.beginAndBlock(shared.cells))
      yield* live(shared.until(1))
      const waiting = yield* start(plain.add(1, 2))
      yield* failureAs("QueueFull")(plain.add(1, 2))
      yield* failureAs("QueueFull")(plain.add(1, 2))
      yield* eventuallyScraped({ pending_requests: 1, 'count cenote_pool_state="used"': 1 })
      yield* Fiber.interrupt(running)
      yield* Fiber.join(waiting)
      yield* eventuallyScraped({
        'calls cenote_pool_outcome="rejected"': 2,
        'calls cenote_pool_outcome="interrupted"': 1,
        'failures cenote_pool_reason="CallRejected"': 2,
        'failures cenote_pool_reason="ThreadKilled"': 1,
        'failures cenote_pool_reason="ThreadCrashed"': 0
      })
      shared.set(1, 1)
    }).pipe(overMeasured({ maxQueue: 1, killGrace: "1 millis" }))
  )

  it.live("count each attempt to start a thread that failed", () =>
    Effect.gen(function* () {
      yield* failureAs("SpawnFailed")(plain.add(1, 2))
      yield* eventuallyScraped({ 'failures cenote_pool_reason="CreateFailed"': 4, created: 0 })
    }).pipe(overMeasured({ min: 0, max: 1, size: undefined, preload: [moduleUrl("throwsAtLoad")] }))
  )

  it.live("measure how long calls waited and ran, by the clock of the pool", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const first = yield* start(plain.beginAndBlock(shared.cells))
      yield* live(shared.until(1))
      const second = yield* start(plain.add(1, 2))
      yield* TestClock.adjust("4 seconds")
      shared.set(1, 1)
      yield* Effect.all([Fiber.join(first), Fiber.join(second)])
      const read = yield* scrape
      expect(read).toMatchObject({
        wait_time_sum: 4,
        'wait_time_bucket le="0.001"': 1,
        'wait_time_bucket le="2.5"': 1,
        'wait_time_bucket le="5"': 2,
        use_time_count: 2
      })
    }).pipe(overMeasured(), Effect.provide(TestClock.layer()))
  )

  it.live("tell how busy threads have been of late, and not how busy they ever were", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const utilization = Effect.map(scrape, (read) => read["utilization"]!)
      expect(yield* utilization).toBe(0)
      yield* TestClock.adjust("1 hour")
      expect(yield* utilization).toBe(0)
      const running = yield* start(plain.beginAndBlock(shared.cells))
      yield* live(shared.until(1))
      yield* TestClock.adjust("10 seconds")
      expect(yield* utilization).toBe(1)
      // Whoever else asks meanwhile takes nothing away from it.
      yield* TestClock.adjust("5 seconds")
      expect([yield* utilization, yield* utilization]).toEqual([1, 1])
      shared.set(1, 1)
      yield* Fiber.join(running)
      yield* TestClock.adjust("5 seconds")
      expect(yield* utilization).toBeCloseTo(0.5, 9)
      yield* TestClock.adjust("10 seconds")
      expect(yield* utilization).toBe(0)
    }).pipe(overMeasured(), Effect.provide(TestClock.layer()))
  )

  it.live("vanish with their pool", () =>
    Effect.gen(function* () {
      const registry: Metric.MetricRegistry = new Map()
      yield* Effect.provideService(
        Effect.scoped(
          Effect.gen(function* () {
            yield* Layer.build(PoolMetrics.layer())
            yield* over(NodeThreads.layer({ size: 1 }))(
              Effect.sync(() => expect(registry.size).toBeGreaterThan(20))
            )
            expect(registry.size).toBe(0)
          })
        ),
        Metric.MetricRegistry,
        registry
      )
    }).pipe(Effect.provide(Layer.fresh(PoolRegistry.layer)))
  )
})

describe("the entry of a thread pool", () => {
  it.live("tells who waits, and what each thread is at", () =>
    Effect.gen(function* () {
      const entry = yield* theEntry
      const shared = new Shared(2)
      const running = yield* start(plain.beginAndBlock(shared.cells))
      yield* live(shared.until(1))
      const waiting = []
      for (const name of ["one", "two", "three"]) {
        waiting.push(yield* start(Effect.withSpan(plain.add(1, 2), name)))
        yield* TestClock.adjust("1 second")
      }
      const waiters = yield* entry.waiters()
      expect(waiters).toEqual([
        { fiber: waiting[0]!.id, span: "one", waited: 3_000 },
        { fiber: waiting[1]!.id, span: "two", waited: 2_000 },
        { fiber: waiting[2]!.id, span: "three", waited: 1_000 }
      ])
      expect(yield* entry.waiters(2)).toEqual(waiters.slice(0, 2))
      expect(yield* entry.waiters(0)).toEqual([])
      expect(yield* entry.waiters(-1)).toEqual([])
      expect(yield* entry.leases(-1)).toEqual([])
      expect((yield* entry.stats).pending).toBe(3)
      expect(yield* entry.threads!).toEqual({
        calls: { succeeded: 0, failed: 0, interrupted: 0, timedOut: 0, crashed: 0, rejected: 0 },
        each: [
          {
            thread: 1,
            state: "busy",
            running: 1,
            task: "plain.ts#beginAndBlock",
            since: 3_000,
            ended: 0,
            age: expect.any(Number),
            busy: 3_000,
            heapUsed: undefined
          }
        ]
      })
      shared.set(1, 1)
      yield* Effect.all(
        [running, ...waiting].map((fiber) => Fiber.join(fiber as Fiber.Fiber<unknown, unknown>))
      )
      expect(yield* entry.waiters()).toEqual([])
      expect((yield* entry.threads!).each).toMatchObject([
        { state: "idle", running: 0, task: undefined, ended: 4 }
      ])
    }).pipe(overMeasured(), Effect.provide(TestClock.layer()))
  )

  it.live("has its options as a person reads them", () =>
    Effect.gen(function* () {
      expect((yield* theEntry).options).toEqual({
        min: 1,
        max: 3,
        idleTimeout: "1m",
        killGrace: "5s",
        spawnTimeout: "30s",
        closeTimeout: "30s",
        taskTimeout: "1m 30s",
        maxQueue: 5,
        "recycle.tasks": 100
      })
    }).pipe(
      overMeasured({
        size: undefined,
        max: 3,
        maxQueue: 5,
        taskTimeout: "90 seconds",
        recycle: { tasks: 100 }
      })
    )
  )

  it.live("resizes the pool, and refuses what makes no sense", () =>
    Effect.gen(function* () {
      const { resize } = (yield* theEntry).actions
      yield* resize!({ max: 3 })
      yield* resize!({ min: 2 })
      yield* eventuallyStats("two are up", ({ max, min, size }) => min === 2 && max === 3 && size === 2)
      yield* resize!({ max: 1 })
      yield* eventuallyStats("one is up", ({ max, min, size }) => min === 1 && max === 1 && size === 1)
      for (const wrong of [{ max: -1 }, { max: Number.NaN }, { min: 2 }, { max: 1.5 }]) {
        expect((yield* defectOf(resize!(wrong))).message).toMatch(/thread pool "test": (min|max) is/)
      }
      expect(yield* plain.add(1, 2)).toBe(3)
    }).pipe(overMeasured())
  )

  it.live("recycles: every thread is replaced, and no call is lost", () =>
    Effect.gen(function* () {
      const { recycle } = (yield* theEntry).actions
      const shared = new Shared(3)
      const threadsUp = Effect.map(ThreadPool.stats, ({ threads }) => threads.map(({ thread }) => thread))
      const object = yield* ThreadPool.proxy(objects, "Counter", [5])
      const old = yield* threadsUp
      // Both threads are busy, calls wait, and an object lives in one of the threads.
      const running = yield* start(
        Effect.all([plain.beginAndBlock(shared.cells), plain.beginAndBlock(shared.cells)], {
          concurrency: "unbounded"
        })
      )
      yield* live(shared.until(2))
      const waiting = yield* start(
        Effect.forEach([1, 2, 3, 4, 5], (n) => plain.add(n, n), { concurrency: "unbounded" })
      )
      yield* recycle!
      shared.set(1, 1)
      yield* Fiber.join(running)
      expect(yield* Fiber.join(waiting)).toEqual([2, 4, 6, 8, 10])
      expect(yield* object.increment()).toBe(6)
      yield* eventually(
        "the thread without an object is another",
        Effect.map(threadsUp, (now) => now.filter((thread) => old.includes(thread)).length <= 1)
      )
      expect(yield* object.increment()).toBe(7)
      expect(yield* plain.add(1, 2)).toBe(3)
    }).pipe(overMeasured({ size: 2 }))
  )

  it.live("recycles threads that have nothing to do at once", () =>
    Effect.gen(function* () {
      const { recycle } = (yield* theEntry).actions
      yield* plain.add(1, 2)
      yield* recycle!
      yield* eventuallyStats(
        "they are others",
        ({ threads }) => threads.length === 2 && threads.every(({ thread }) => thread > 2)
      )
      expect(yield* plain.add(1, 2)).toBe(3)
    }).pipe(overMeasured({ size: 2 }))
  )

  it.live("offers nothing to do where there are no threads, and is not there without a name", () =>
    Effect.gen(function* () {
      const actions = Effect.map(theEntry, (entry) => entry.actions)
      expect(yield* over(ThreadPool.layerInline)(actions)).toEqual({})
      const entries = yield* over(NodeThreads.layer({ size: 1, name: "" }))(PoolRegistry.entries)
      expect(entries).toEqual([])
    }).pipe(Effect.provide(Layer.fresh(PoolRegistry.layer)))
  )
})

/** A tracer that remembers the waits that it was told of. */
const tracing = () => {
  const waits: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      if (span.name.startsWith("wait for ")) waits.push(span)
      return span
    }
  })
  return { waits, provide: Effect.provideService(Tracer.Tracer, tracer) }
}

const ended = ({ status }: Tracer.Span) => {
  if (status._tag !== "Ended") throw new Error("a wait has not ended")
  return { took: Number(status.endTime - status.startTime) / 1e6, exit: status.exit }
}

describe("a call that had to wait for a thread", () => {
  it.live("has a span under its caller's, as long as the wait was; one that did not wait has none", () => {
    const { provide, waits } = tracing()
    return Effect.gen(function* () {
      const shared = new Shared(2)
      yield* Effect.withSpan(plain.add(1, 2), "at once")
      const first = yield* start(Effect.withSpan(plain.beginAndBlock(shared.cells), "first"))
      yield* live(shared.until(1))
      const second = yield* start(Effect.withSpan(plain.add(1, 2), "second"))
      yield* start(plain.add(1, 2))
      yield* TestClock.adjust("4 seconds")
      expect(waits).toEqual([])
      shared.set(1, 1)
      yield* Effect.all([Fiber.join(first), Fiber.join(second)])
      expect(waits.map(({ name }) => name)).toEqual(["wait for test"])
      const [wait] = waits
      expect(ended(wait!)).toEqual({ took: 4_000, exit: Exit.void })
      expect(Option.getOrUndefined(wait!.parent)).toMatchObject({ name: "second" })
      expect(Object.fromEntries(wait!.attributes)).toEqual({
        "cenote.pool.name": "test",
        "cenote.task": "plain.ts#add"
      })
    }).pipe(overMeasured(), provide, Effect.provide(TestClock.layer()))
  })

  it.live("ends as interrupted where its caller gave up", () => {
    const { provide, waits } = tracing()
    return Effect.gen(function* () {
      const shared = new Shared(2)
      yield* start(plain.beginAndBlock(shared.cells))
      yield* live(shared.until(1))
      const second = yield* start(Effect.withSpan(plain.add(1, 2), "second"))
      yield* TestClock.adjust("1 second")
      // It has been in the line for a turn.
      yield* live(eventuallyStats("it waits", ({ pending }) => pending === 1))
      yield* Fiber.interrupt(second)
      expect(waits.map(({ name }) => name)).toEqual(["wait for test"])
      const { exit, took } = ended(waits[0]!)
      expect(took).toBe(1_000)
      expect(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)).toBe(true)
      expect(Option.getOrUndefined(waits[0]!.parent)).toMatchObject({ name: "second" })
      shared.set(1, 1)
    }).pipe(overMeasured(), provide, Effect.provide(TestClock.layer()))
  })

  it.live("ends with what the call fails with, where no thread can be had", () => {
    const { provide, waits } = tracing()
    return Effect.gen(function* () {
      const error = yield* failureAs("SpawnFailed")(Effect.withSpan(plain.add(1, 2), "job"))
      expect(waits).toHaveLength(1)
      const { exit } = ended(waits[0]!)
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBe(error)
    }).pipe(overMeasured({ size: undefined, min: 0, max: 1, preload: [moduleUrl("throwsAtLoad")] }), provide)
  })

  it.live("is not in a trace that is not sampled, nor where tracing is switched off", () => {
    const { provide, waits } = tracing()
    return Effect.gen(function* () {
      const shared = new Shared(2)
      const first = yield* start(plain.beginAndBlock(shared.cells))
      yield* live(shared.until(1))
      const others = yield* start(
        Effect.all(
          [
            Effect.withSpan(plain.add(1, 2), "unsampled", { sampled: false }),
            Effect.withTracerEnabled(Effect.withSpan(plain.add(1, 2), "disabled"), false),
            Effect.withSpan(Effect.withTracerEnabled(plain.add(1, 2), false), "disabled inside")
          ],
          { concurrency: "unbounded" }
        )
      )
      yield* eventuallyStats("they wait", ({ pending }) => pending === 3)
      shared.set(1, 1)
      yield* Effect.all([Fiber.join(first), Fiber.join(others)])
      expect(waits).toEqual([])
    }).pipe(overMeasured(), provide)
  })
})
