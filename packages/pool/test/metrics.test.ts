/**
 * Metrics: what is counted and measured, under which names, and for how long.
 */
import { KeyedPool, Pool, PoolMetrics, PoolRegistry, TokenPool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Layer, Metric, Schedule, Scope } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { Histogram } from "../src/internal/histogram.ts"
import { borrow, borrowers, defectOf, logged, refused, settle, start, Things } from "./kit.ts"
import { isolated, samplesOf, scrape, withMetrics } from "./scrape.ts"

const test = <A, E>(name: string, body: () => Effect.Effect<A, E, Scope.Scope>) =>
  it.effect(name, () => isolated(Effect.scoped(body())))

/** The buckets of a histogram that one value more or less tells apart: how many are in each alone. */
const inBuckets = (
  samples: ReadonlyMap<string, number>,
  metric: string,
  pool = "db"
): Record<string, number> => {
  let before = 0
  return Object.fromEntries(
    Object.entries(samplesOf(samples, `${metric}_bucket`, pool)).flatMap(([labels, upTo]) => {
      const here = upTo - before
      before = upTo
      return here === 0 ? [] : [[/le="([^"]*)"/.exec(labels)![1]!, here]]
    })
  )
}

const one = (samples: ReadonlyMap<string, number>, metric: string, pool = "db"): number | undefined =>
  Object.values(samplesOf(samples, metric, pool))[0]

describe("the figures of a pool", () => {
  test("are those of the moment when they are read", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, min: 1, max: 3 })
      const [first] = yield* borrowers(pool, 2)
      yield* first!.giveBack
      const read = yield* scrape
      expect(samplesOf(read, "cenote_pool_count")).toEqual({
        '{cenote_pool_state="idle"}': 1,
        '{cenote_pool_state="used"}': 1
      })
      expect(one(read, "cenote_pool_max")).toBe(3)
      expect(one(read, "cenote_pool_idle_max")).toBe(3)
      expect(one(read, "cenote_pool_idle_min")).toBe(1)
      expect(one(read, "cenote_pool_created")).toBe(2)
      expect(one(read, "cenote_pool_borrowed")).toBe(2)
      expect(one(read, "cenote_pool_pending_requests")).toBe(0)

      yield* Pool.resize(pool, { min: 0, max: 1 })
      yield* borrowers(pool, 2)
      const later = yield* scrape
      expect(one(later, "cenote_pool_max")).toBe(1)
      expect(one(later, "cenote_pool_pending_requests")).toBe(2)
    }))

  test("have the name and the kind of their pool, whatever characters are in it", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const name = 'a "b" \\ {c="d"} \n é #2'
      yield* Pool.make({ name, acquire: Effect.succeed(1), max: 2 })
      yield* TokenPool.make({ name, max: 5 })
      const text = yield* PrometheusMetrics.format()
      const escaped = 'a \\"b\\" \\\\ {c=\\"d\\"} \\n é #2'
      const lines = text.split("\n").filter((line) => line.startsWith("cenote_pool_max{"))
      expect(lines).toEqual([
        `cenote_pool_max{cenote_pool_name="${escaped}",cenote_pool_kind="pool"} 2`,
        `cenote_pool_max{cenote_pool_name="${escaped}#2",cenote_pool_kind="tokens"} 5`
      ])
    }))

  test("are told for each kind, and a keyed pool without a limit has none to tell", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      yield* TokenPool.make({ name: "tokens", max: 7 })
      const hosts = yield* KeyedPool.make({ name: "hosts", acquire: (key: string) => Effect.succeed(key) })
      yield* KeyedPool.make({ name: "few", acquire: (key: string) => Effect.succeed(key), max: 9 })
      yield* KeyedPool.use(hosts, "a", () => KeyedPool.use(hosts, "b", () => Effect.void))
      const read = yield* scrape
      expect(one(read, "cenote_pool_max", "tokens")).toBe(7)
      expect(one(read, "cenote_pool_max", "few")).toBe(9)
      expect(one(read, "cenote_pool_max", "hosts")).toBe(undefined)
      expect(one(read, "cenote_pool_idle_max", "hosts")).toBe(undefined)
      expect(one(read, "cenote_pool_borrowed", "hosts")).toBe(2)
      expect(one(read, "cenote_pool_wait_time_count", "hosts")).toBe(2)
      expect([...read.values()].every((value) => Number.isFinite(value))).toBe(true)
    }))

  test("begin with the prefix that is given, and so do their attributes", () =>
    Effect.gen(function* () {
      yield* withMetrics({ prefix: "shop.pools" })
      yield* Pool.make({ name: "db", acquire: Effect.succeed(1) })
      const read = yield* scrape
      expect([...read.keys()].every((_) => _.startsWith("shop_pools_"))).toBe(true)
      expect(read.get('shop_pools_max{shop_pools_name="db",shop_pools_kind="pool"}')).toBe(4)
    }))
})

describe("options that make no sense", () => {
  const wrong: ReadonlyArray<readonly [PoolMetrics.Options, RegExp]> = [
    [{ boundaries: [] }, /boundaries are \[\]/],
    [{ boundaries: [0, 1] }, /boundaries are \[0, 1\]/],
    [{ boundaries: [1, 1] }, /each more than the one before/],
    [{ boundaries: [1, Number.NaN] }, /boundaries are \[1, NaN\]/],
    [{ boundaries: [1, Infinity] }, /boundaries are \[1, Infinity\]/],
    [{ prefix: "" }, /prefix is ""/],
    [{ prefix: "9lives" }, /prefix is "9lives"/],
    [{ prefix: "my pools" }, /prefix is "my pools"/],
    [{ prefix: "pools." }, /prefix is "pools\."/]
  ]
  it.effect.each(wrong)("%o are a defect that says so", ([options, message]) =>
    Effect.gen(function* () {
      const error = yield* defectOf(Effect.scoped(withMetrics(options)))
      expect(error.message).toMatch(message)
    })
  )
})

describe("the times of a pool", () => {
  test("are 0 for those who did not wait, and else as long as they waited", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, size: 1 })
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      yield* TestClock.adjust("30 millis")
      yield* first.giveBack
      expect(second.state).toBe("holding")
      const third = yield* borrow(pool)
      yield* TestClock.adjust("4 seconds")
      yield* second.giveBack
      yield* third.giveBack
      const read = yield* scrape
      expect(inBuckets(read, "cenote_pool_wait_time")).toEqual({ "0.001": 1, "0.05": 1, "5": 1 })
      expect(one(read, "cenote_pool_wait_time_sum")).toBeCloseTo(4.03, 9)
      expect(one(read, "cenote_pool_wait_time_count")).toBe(3)
      // The first held for 30 ms, the second for 4 s, the third not at all.
      expect(inBuckets(read, "cenote_pool_use_time")).toEqual({ "0.001": 1, "0.05": 1, "5": 1 })
      expect(one(read, "cenote_pool_use_time_sum")).toBeCloseTo(4.03, 9)
    }))

  test("tell how long it took to create, whether anybody waited for it or not", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const things = new Things()
      things.plan = (attempt) => Effect.sleep(attempt === 1 ? "2 millis" : "60 seconds")
      yield* Pool.make({ name: "db", acquire: things.acquire, size: 2 })
      yield* TestClock.adjust("60 seconds")
      const read = yield* scrape
      expect(inBuckets(read, "cenote_pool_create_time")).toEqual({ "0.0025": 1, "+Inf": 1 })
      expect(one(read, "cenote_pool_create_time_sum")).toBeCloseTo(60.002, 9)
    }))

  test("fall into the buckets that are given, upper bounds included", () =>
    Effect.gen(function* () {
      yield* withMetrics({ boundaries: [0.01, 1] })
      const tokens = yield* TokenPool.make({ name: "db", max: 1 })
      for (const millis of [9, 10, 11, 1_000, 1_001]) {
        const holder = yield* start(TokenPool.withToken(tokens, Effect.sleep(millis)))
        yield* TestClock.adjust(millis)
        expect(holder.pollUnsafe()).toEqual(Exit.void)
      }
      expect(samplesOf(yield* scrape, "cenote_pool_use_time_bucket")).toEqual({
        '{le="0.01"}': 2,
        '{le="1"}': 4,
        '{le="+Inf"}': 5
      })
    }))

  test("do not count those who gave up or were turned away", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const tokens = yield* TokenPool.make({ name: "db", max: 1, maxWaiting: 2, acquireTimeout: "1 second" })
      const holder = yield* borrow(tokens)
      const [gone] = yield* borrowers(tokens, 3)
      yield* gone!.interrupt
      yield* TestClock.adjust("1 second")
      yield* holder.giveBack
      expect(one(yield* scrape, "cenote_pool_wait_time_count")).toBe(1)
      expect(one(yield* scrape, "cenote_pool_use_time_count")).toBe(1)
    }))

  test("of a loan that began before anybody measured are known when it ends", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, size: 1 })
      const holder = yield* borrow(pool)
      const waiter = yield* borrow(pool)
      yield* TestClock.adjust("2 seconds")
      const scope = yield* Scope.make()
      yield* Scope.provide(withMetrics(), scope)
      yield* holder.giveBack
      const read = yield* scrape
      expect(inBuckets(read, "cenote_pool_use_time")).toEqual({ "2.5": 1 })
      expect(inBuckets(read, "cenote_pool_wait_time")).toEqual({ "2.5": 1 })
      // Nor does it disturb a loan that nobody measures any more.
      yield* Scope.close(scope, Exit.void)
      yield* waiter.giveBack
      expect(waiter.state).toBe("over")
      expect(yield* scrape).toEqual(new Map())
    }))
})

describe("a histogram", () => {
  it("leaves out what is no duration, and takes what is negative for none at all", () => {
    const histogram = new Histogram([0.001, 0.01])
    for (const millis of [Number.NaN, Infinity, -Infinity, -5, 0, 1, 1.0001, 10, 500])
      histogram.record(millis)
    expect(histogram.state).toEqual({
      buckets: [
        [0.001, 4],
        [0.01, 6]
      ],
      count: 7,
      min: 0,
      max: 0.5,
      sum: expect.closeTo(0.5120001, 9)
    })
  })

  it("of nothing has no extremes", () => {
    expect(new Histogram([1]).state).toEqual({ buckets: [[1, 0]], count: 0, min: 0, max: 0, sum: 0 })
  })

  it("puts values where Effect's own puts them", () => {
    const boundaries = PoolMetrics.defaultBoundaries
    const ours = new Histogram(boundaries)
    const theirs = Metric.histogram("theirs", { boundaries })
    const seconds = boundaries.flatMap((bound) => [bound * 0.999, bound, bound * 1.001])
    const state = Effect.runSync(
      Effect.gen(function* () {
        for (const value of seconds) {
          ours.record(value * 1e3)
          yield* Metric.update(theirs, value)
        }
        return yield* Metric.value(theirs)
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
    )
    expect(ours.state.buckets).toEqual(state.buckets.filter(([bound]) => bound < Infinity))
    expect(ours.state).toMatchObject({ count: state.count, min: expect.closeTo(state.min, 12) })
    expect(ours.state.max).toBeCloseTo(state.max, 9)
    expect(ours.state.sum).toBeCloseTo(state.sum, 9)
  })
})

/** All reasons for which borrowing and creating can fail. */
const failures = (reasons: Record<string, number>) => ({
  AcquireTimeout: 0,
  CreateFailed: 0,
  CreateTimeout: 0,
  LineFull: 0,
  ValidationFailed: 0,
  WouldDeadlock: 0,
  ...reasons
})
/** A counter by the value of the label that divides it. */
const counted = (metric: string) =>
  Effect.map(scrape, (read) =>
    Object.fromEntries(
      Object.entries(samplesOf(read, metric)).map(([labels, n]) => [/="([^"]*)"/.exec(labels)![1]!, n])
    )
  )

describe("what goes wrong is counted once, by its reason", () => {
  test("from 0 on, before anything has gone wrong", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      yield* Pool.make({ name: "db", acquire: new Things().acquire })
      expect(yield* counted("cenote_pool_failures")).toEqual(failures({}))
      expect(Object.values(yield* counted("cenote_pool_closed"))).toEqual(Array.from({ length: 13 }, () => 0))
      expect(one(yield* scrape, "cenote_pool_leaks")).toBe(0)
      expect(one(yield* scrape, "cenote_pool_timeouts")).toBe(0)
    }))

  test("a deadline that passed, and a line that was full", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const pool = yield* Pool.make({
        name: "db",
        acquire: new Things().acquire,
        size: 1,
        maxWaiting: 2,
        acquireTimeout: "1 second"
      })
      yield* borrowers(pool, 4)
      yield* TestClock.adjust("1 second")
      expect(yield* counted("cenote_pool_failures")).toEqual(failures({ AcquireTimeout: 2, LineFull: 1 }))
      expect(one(yield* scrape, "cenote_pool_timeouts")).toBe(2)
    }))

  test("each attempt to create that failed, and each that took too long", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const things = new Things()
      things.plan = (attempt) => (attempt === 2 ? Effect.never : attempt <= 3 ? refused : Effect.void)
      const pool = yield* Pool.make({
        name: "db",
        acquire: things.acquire,
        createTimeout: "1 second",
        createRetry: Schedule.spaced("1 second")
      })
      const borrower = yield* borrow(pool)
      for (let i = 0; i < 4; i++) yield* TestClock.adjust("1 second")
      expect(borrower.state).toBe("holding")
      expect(yield* counted("cenote_pool_failures")).toEqual(failures({ CreateFailed: 2, CreateTimeout: 1 }))
    }))

  test("a borrower who got nothing but what was invalid", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const things = new Things()
      const pool = yield* Pool.make({
        name: "db",
        acquire: things.acquire,
        size: 3,
        validate: () => Effect.succeed(false),
        validateAfterIdle: 0
      })
      const borrower = yield* borrow(pool)
      expect(yield* borrower.error).toMatchObject({ _tag: "ValidationFailed", attempts: 3 })
      expect(yield* counted("cenote_pool_failures")).toEqual(failures({ ValidationFailed: 1 }))
      expect(yield* counted("cenote_pool_closed")).toMatchObject({ invalid: 3 })
    }))

  test("a borrow that would have waited for itself", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, size: 1 })
      const nested = Pool.use(pool, () => Pool.use(pool, () => Effect.void))
      expect(yield* Effect.flip(nested)).toMatchObject({ _tag: "WouldDeadlock" })
      expect(yield* counted("cenote_pool_failures")).toEqual(failures({ WouldDeadlock: 1 }))
    }))

  test("a loan that lasts too long, once", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const pool = yield* Pool.make({
        name: "db",
        acquire: new Things().acquire,
        leakAfter: "10 seconds"
      })
      yield* borrow(pool)
      for (let i = 0; i < 5; i++) yield* TestClock.adjust("10 seconds")
      expect(one(yield* scrape, "cenote_pool_leaks")).toBe(1)
    }).pipe(Effect.provide(logged().layer)))

  test("why resources were closed, in a keyed pool too", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const hosts = yield* KeyedPool.make({
        name: "db",
        acquire: (key: string) => Effect.succeed(key),
        max: 1,
        maxUses: 2
      })
      const visit = (key: string) => KeyedPool.use(hosts, key, () => Effect.void)
      yield* visit("a")
      yield* visit("b")
      yield* visit("b")
      yield* visit("b")
      yield* KeyedPool.recycle(hosts)
      expect(yield* counted("cenote_pool_closed")).toMatchObject({ stolen: 1, maxUses: 1, recycled: 1 })
      expect(one(yield* scrape, "cenote_pool_created")).toBe(3)
    }))
})

const make = (name: string) => Pool.make({ name, acquire: Effect.succeed(1) })

describe("metrics last", () => {
  const pools = Effect.map(scrape, (read) => [
    ...new Set([...read.keys()].map((sample) => /_name="([^"]*)"/.exec(sample)![1]!))
  ])

  test("as long as their pool: those of pools made before the layer and after it", () =>
    Effect.gen(function* () {
      yield* make("before")
      yield* withMetrics()
      const after = yield* make("after")
      expect(yield* pools).toEqual(["before", "after"])
      expect(yield* Effect.scoped(Effect.andThen(make("inside"), pools))).toEqual([
        "before",
        "after",
        "inside"
      ])
      expect(yield* pools).toEqual(["before", "after"])
      yield* Pool.close(after)
      expect(yield* pools).toEqual(["before"])
    }))

  test("as long as their layer", () =>
    Effect.gen(function* () {
      yield* make("db")
      yield* Effect.scoped(withMetrics())
      expect(yield* scrape).toEqual(new Map())
    }))

  test("as long as any layer that gives them, and nothing is counted twice", () =>
    Effect.gen(function* () {
      const [outer, inner] = [yield* Scope.make(), yield* Scope.make()]
      yield* Scope.provide(withMetrics(), outer)
      const pool = yield* make("db")
      const visit = Pool.use(pool, () => Effect.void)
      yield* visit
      yield* Scope.provide(withMetrics(), inner)
      yield* visit
      expect(one(yield* scrape, "cenote_pool_borrowed")).toBe(2)
      // This one has seen one alone.
      expect(one(yield* scrape, "cenote_pool_wait_time_count")).toBe(1)
      yield* Scope.close(inner, Exit.void)
      expect(one(yield* scrape, "cenote_pool_wait_time_count")).toBe(2)
      yield* Scope.close(outer, Exit.void)
      expect(yield* scrape).toEqual(new Map())

      // Nor does it matter which of them goes first.
      const [first, second] = [yield* Scope.make(), yield* Scope.make()]
      yield* Scope.provide(withMetrics(), first)
      yield* Scope.provide(withMetrics(), second)
      yield* visit
      yield* Scope.close(first, Exit.void)
      expect(one(yield* scrape, "cenote_pool_wait_time_count")).toBe(1)
      yield* Scope.close(second, Exit.void)
      expect(yield* scrape).toEqual(new Map())
    }))

  test("once where one layer is provided twice", () =>
    Effect.gen(function* () {
      const layer = PoolMetrics.layer()
      yield* Layer.build(Layer.mergeAll(layer, Layer.provideMerge(layer, layer)))
      const pool = yield* make("db")
      yield* Pool.use(pool, () => Effect.void)
      expect(one(yield* scrape, "cenote_pool_wait_time_count")).toBe(1)
    }))

  test("in the registry of metrics that the layer is built with, whatever a pool is made with", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      const elsewhere: Metric.MetricRegistry = new Map()
      const attributes = Effect.provideService(Metric.CurrentMetricAttributes, { request: "7" })
      const pool = yield* make("db").pipe(attributes, Effect.provideService(Metric.MetricRegistry, elsewhere))
      yield* Effect.provideService(
        Pool.use(pool, () => Effect.void),
        Metric.MetricRegistry,
        elsewhere
      )
      expect(elsewhere.size).toBe(0)
      const read = yield* scrape
      expect(read.get('cenote_pool_borrowed{cenote_pool_name="db",cenote_pool_kind="pool"}')).toBe(1)
    }))

  it.effect("apart from those of other registries", () =>
    Effect.gen(function* () {
      yield* isolated(Effect.andThen(withMetrics(), make("one")))
      const two = yield* isolated(
        Effect.gen(function* () {
          yield* withMetrics()
          yield* make("two")
          return yield* pools
        })
      )
      expect(two).toEqual(["two"])
    })
  )

  test("not at all for a pool without a name", () =>
    Effect.gen(function* () {
      yield* withMetrics()
      yield* Pool.make({ acquire: Effect.succeed(1) })
      expect(yield* scrape).toEqual(new Map())
    }))

  test("no longer than a thousand pools of each kind that were opened and closed", () =>
    Effect.gen(function* () {
      const registry = yield* Metric.MetricRegistry
      const open = new Set<string>()
      yield* PoolRegistry.watch((entry) =>
        Effect.asVoid(
          Effect.acquireRelease(
            Effect.sync(() => open.add(entry.id)),
            () => Effect.sync(() => open.delete(entry.id))
          )
        )
      )
      yield* withMetrics()
      for (let i = 0; i < 1_000; i++) {
        const name = `pool ${i % 10}`
        yield* Effect.scoped(
          Effect.gen(function* () {
            const pool = yield* Pool.make({ name, acquire: Effect.succeed(1) })
            const tokens = yield* TokenPool.make({ name })
            const keyed = yield* KeyedPool.make({ name, acquire: (key: string) => Effect.succeed(key) })
            yield* Pool.use(pool, () =>
              TokenPool.withToken(
                tokens,
                KeyedPool.use(keyed, "a", () => Effect.void)
              )
            )
            if (i % 2 === 0) yield* Pool.close(pool)
            expect(open.size).toBe(i % 2 === 0 ? 2 : 3)
          })
        )
      }
      expect(yield* PoolRegistry.entries).toEqual([])
      expect(open.size).toBe(0)
      expect(registry.size).toBe(0)
      yield* settle
    }))
})
