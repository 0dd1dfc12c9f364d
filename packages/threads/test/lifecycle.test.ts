/**
 * The life of a pool of threads: how it starts, grows, shrinks, rests, drains and replaces its threads, and which call
 * goes to which of them.
 */
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { NodeWorker } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Exit, Fiber, Layer, Logger, Stream } from "effect"
import { TestClock } from "effect/testing"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import {
  Cells,
  eventually,
  eventuallyStats,
  faulty,
  listen,
  makeEntry,
  makeShort,
  moment,
  open,
  turn,
  watchWorkers,
  within
} from "./faults-kit.ts"
import { defectOf, failureAs, failureOf, logged, over, overThreads, start } from "./kit.ts"

/** Tests wait for things themselves, each with a bound: this one only ends a test that is stuck in spite of that. */
const slow = { timeout: 60_000 }

/** As many calls at a time, each of which holds a thread until its cell is raised. Call `n` has the cells 2n and 2n + 1. */
const holders = (cells: Cells, count: number) =>
  Effect.forEach(Array.from({ length: count }), (_, n) => start(faulty.hold(cells.shared, 2 * n)))

const begun = (cells: Cells, ...calls: ReadonlyArray<number>) =>
  Effect.forEach(calls, (n) => cells.raised(2 * n), { discard: true })

const letGo = (cells: Cells, ...calls: ReadonlyArray<number>): void => {
  for (const n of calls) cells.raise(2 * n + 1)
}

/** How many of them have begun. */
const begunOf = (cells: Cells, count: number): number =>
  Array.from({ length: count }, (_, n) => cells.get(2 * n)).filter((times) => times > 0).length

// -----------------------------------------------------------------------------
// Start
// -----------------------------------------------------------------------------

describe("start", slow, () => {
  it.live("EV-77: with min 0 nothing starts before the first call, which starts one thread", () =>
    Effect.gen(function* () {
      const workers = yield* watchWorkers
      const pool = yield* open({ min: 0, max: 3 })
      yield* moment
      expect(workers.history).toBe("")
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ size: 0, created: 0, creating: 0 })

      expect(yield* pool.use(faulty.thread())).toBe(1)
      for (let i = 0; i < 5; i++) expect(yield* pool.use(faulty.thread())).toBe(1)
      expect(workers.history).toBe("+")
    })
  )

  it.live("calls that come at the same time start more, up to max and not above", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ min: 0, max: 3 })
      const calls = yield* pool.use(holders(cells, 6))
      yield* eventually("three have begun", () => begunOf(cells, 6) === 3)
      yield* moment
      expect(begunOf(cells, 6)).toBe(3)
      expect(workers.history).toBe("+++")
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ size: 3, used: 3, pending: 3, running: 3 })
      letGo(cells, 0, 1, 2, 3, 4, 5)
      const threads = yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(new Set(threads)).toEqual(new Set([1, 2, 3]))
      expect(workers.history).toBe("+++")
    })
  )

  it.live("min threads are started ahead, and kept", () =>
    Effect.gen(function* () {
      yield* eventuallyStats("two are idle", (_) => _.idle === 2 && _.size === 2)
      expect(yield* ThreadPool.stats).toMatchObject({ min: 2, max: 4, calls: 0 })
    }).pipe(over(NodeThreads.layer({ min: 2, max: 4 })))
  )

  it.live("min threads are started again after one has ended", () =>
    Effect.gen(function* () {
      yield* eventuallyStats("two are idle", (_) => _.idle === 2)
      yield* failureAs("ThreadCrashed")(faulty.exit(1))
      yield* eventuallyStats("two are idle again", (_) => _.idle === 2 && _.created === 3)
    }).pipe(over(NodeThreads.layer({ min: 2, max: 2 })))
  )

  it.live("by default one thread is kept, and the layer is ready when it is", () =>
    Effect.gen(function* () {
      const { threads, ...stats } = yield* ThreadPool.stats
      expect(stats).toMatchObject({ min: 1, max: availableParallelism(), size: 1, idle: 1, name: "threads" })
      expect(threads).toMatchObject([{ thread: 1, state: "idle", running: 0, ended: 0 }])
    }).pipe(over(NodeThreads.layer()))
  )

  it.live("the layer is ready when the first thread is, and does not wait for the others", () =>
    Effect.gen(function* () {
      const stats = yield* ThreadPool.stats
      expect(stats.threads.length).toBeGreaterThanOrEqual(1)
      expect(stats).toMatchObject({ min: 4, max: 4, size: 4 })
      yield* eventuallyStats("four are idle", (_) => _.idle === 4)
    }).pipe(over(NodeThreads.layer({ size: 4 })))
  )

  it.live("with min 0 the layer is there although no thread can start", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      const pool = yield* open({ min: 0, entry: entry.url })
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ size: 0, failures: 0 })
    })
  )

  it.live("size stands for min and max", () =>
    Effect.gen(function* () {
      expect(yield* ThreadPool.stats).toMatchObject({ min: 3, max: 3 })
      yield* eventuallyStats("three are idle", (_) => _.idle === 3)
    }).pipe(over(NodeThreads.layer({ size: 3 })))
  )

  it.live("EV-85: size 0 has no threads: tasks run on the calling thread, after one warning", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const workers = yield* watchWorkers
      const pool = yield* open({ name: "none", size: 0 })
      for (let i = 0; i < 3; i++) expect(yield* pool.use(faulty.thread())).toBe(0)
      expect(workers.history).toBe("")
      expect(lines.length).toBe(1)
      expect(lines[0]).toMatchObject({ level: "Warn" })
      expect(lines[0]!.text).toContain('"none"')
    }).pipe(Effect.provide(layer))
  })

  it.live("ThreadPool.layer runs on the workers of any platform and spawner", () =>
    Effect.gen(function* () {
      const ids: Array<number> = []
      const platform = NodeWorker.layer((id) => {
        ids.push(id)
        return new Worker(new URL("../src/worker.ts", import.meta.url))
      })
      const layer = Layer.provide(ThreadPool.layer({ size: 2, name: "test" }), platform)
      yield* Effect.gen(function* () {
        yield* eventuallyStats("two are idle", (_) => _.idle === 2)
        yield* failureAs("ThreadCrashed")(faulty.exit(1))
        expect(yield* within("the next call", faulty.thread())).toBeGreaterThan(0)
      }).pipe(over(layer))
      expect(ids.slice(0, 2)).toEqual([1, 2])
    })
  )

  it.live("the entry, execArgv and env of the threads can be set", () =>
    Effect.gen(function* () {
      const env = yield* ThreadPool.execute(() => [process.env["CENOTE_TEST"], ...process.execArgv])
      expect(env).toEqual(["here", "--no-warnings"])
    }).pipe(overThreads({ env: { CENOTE_TEST: "here" }, execArgv: ["--no-warnings"] }))
  )
})

describe("configuration", slow, () => {
  const from = (record: Record<string, string>) => ConfigProvider.layer(ConfigProvider.fromUnknown(record))

  const sizesOf = (
    layer: Layer.Layer<ThreadPool.ThreadPool, unknown>,
    record: Record<string, string>
  ): Effect.Effect<readonly [number, number], unknown> =>
    Effect.map(ThreadPool.stats, ({ max, min }) => [min, max] as const).pipe(
      Effect.provide(Layer.provide(layer, from(record)))
    )

  it.live("EV-77: CENOTE_THREADS says how many threads there may be", () =>
    Effect.gen(function* () {
      expect(yield* sizesOf(NodeThreads.layer(), { CENOTE_THREADS: "3" })).toEqual([1, 3])
      expect(yield* sizesOf(NodeThreads.layer({ min: 0 }), { CENOTE_THREADS: "7" })).toEqual([0, 7])
      expect(yield* sizesOf(NodeThreads.layer(), { CENOTE_THREADS: "0" })).toEqual([0, 0])
      expect(yield* sizesOf(NodeThreads.layer(), {})).toEqual([1, availableParallelism()])
    })
  )

  it.live("what the program says goes before CENOTE_THREADS", () =>
    Effect.gen(function* () {
      expect(yield* sizesOf(NodeThreads.layer({ max: 2 }), { CENOTE_THREADS: "3" })).toEqual([1, 2])
      expect(yield* sizesOf(NodeThreads.layer({ size: 0 }), { CENOTE_THREADS: "3" })).toEqual([0, 0])
      expect(yield* sizesOf(NodeThreads.layer({ max: 2 }), { CENOTE_THREADS: "many" })).toEqual([1, 2])
    })
  )

  it.live("a CENOTE_THREADS that makes no sense is told, with its name", () =>
    Effect.gen(function* () {
      for (const value of ["many", "1.5", "-1"]) {
        const { message } = yield* defectOf(sizesOf(NodeThreads.layer(), { CENOTE_THREADS: value }))
        expect(message).toMatch(value === "-1" ? /max is -1/ : /CENOTE_THREADS/)
      }
    })
  )

  it.live("layerConfig takes the options from the configuration", () =>
    Effect.gen(function* () {
      const layer = NodeThreads.layerConfig({ min: Config.Int("LEAST"), max: Config.Int("MOST") })
      expect(yield* sizesOf(layer, { LEAST: "0", MOST: "5" })).toEqual([0, 5])
      const error = yield* failureOf(sizesOf(layer, { LEAST: "0" }))
      expect(error).toMatchObject({ _tag: "ConfigError" })
      expect(String((error as Error).message)).toContain("MOST")
      yield* failureOf(sizesOf(layer, { LEAST: "none", MOST: "5" }))
    })
  )

  it.live("layerConfig reads CENOTE_THREADS too, and fails typed when it makes no sense", () =>
    Effect.gen(function* () {
      const layer = NodeThreads.layerConfig({ min: Config.Int("LEAST") })
      expect(yield* sizesOf(layer, { LEAST: "0", CENOTE_THREADS: "5" })).toEqual([0, 5])
      const error = yield* failureOf(sizesOf(layer, { LEAST: "0", CENOTE_THREADS: "many" }))
      expect(error).toMatchObject({ _tag: "ConfigError" })
    })
  )
})

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

describe("options that make no sense", slow, () => {
  /** Asserts that no pool comes of these options, that no thread starts, and that the message says all of that. */
  const isRejected = (options: NodeThreads.Options, ...says: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const workers = yield* watchWorkers
      const { message } = yield* defectOf(
        Effect.scoped(Layer.build(NodeThreads.layer({ name: "db", ...options })))
      )
      for (const text of ['thread pool "db"', ...says]) expect(message).toContain(text)
      yield* turn
      expect(workers.history).toBe("")
    })

  const wrong = {
    negative: [-1, "-1"],
    "a fraction": [1.5, "1.5"],
    NaN: [Number.NaN, "NaN"],
    "no number": ["2" as unknown as number, '"2"']
  } as const
  const counts: Record<string, readonly [(value: number) => NodeThreads.Options, number]> = {
    size: [(size) => ({ size }), 0],
    min: [(min) => ({ min }), 0],
    max: [(max) => ({ max }), 0],
    concurrency: [(concurrency) => ({ concurrency }), 1],
    maxQueue: [(maxQueue) => ({ maxQueue }), 0],
    "recycle.tasks": [(tasks) => ({ recycle: { tasks } }), 1],
    "recycle.heap": [(heap) => ({ recycle: { heap } }), 1]
  }
  for (const [option, [optionsOf, least]] of Object.entries(counts)) {
    for (const [what, [value, shown]] of Object.entries(wrong)) {
      it.live(`${option} is rejected when it is ${what}`, () =>
        isRejected(optionsOf(value), `${option} is ${shown}`, `${least} or more`)
      )
    }
    it.live(`${option} may be ${least}, and not less`, () =>
      Effect.gen(function* () {
        yield* isRejected(optionsOf(least - 1), `${option} is ${least - 1}`, `${least} or more`)
        yield* Effect.scoped(Layer.build(NodeThreads.layer(optionsOf(least))))
      })
    )
  }

  it.live("max may not be Infinity", () => isRejected({ max: Infinity }, "max is Infinity", "0 or more"))

  const noDurations = {
    NaN: [Number.NaN, "NaN"],
    negative: [-5, "-5"],
    "a negative Duration": [Duration.seconds(-5), "-5"],
    "no duration": ["5 parsecs" as Duration.Input, "5 parsecs"]
  } as const
  const durations = {
    idleTimeout: "zero or more",
    taskTimeout: "above zero",
    killGrace: "zero or more",
    spawnTimeout: "above zero",
    closeTimeout: "zero or more"
  }
  for (const [option, allowed] of Object.entries(durations)) {
    for (const [what, [value, shown]] of Object.entries(noDurations)) {
      it.live(`${option} is rejected when it is ${what}`, () =>
        isRejected({ [option]: value }, option, shown, allowed)
      )
    }
    it.live(`${option} may be zero: ${allowed === "zero or more"}`, () =>
      allowed === "zero or more"
        ? Effect.asVoid(Effect.scoped(Layer.build(NodeThreads.layer({ [option]: 0, min: 0 }))))
        : isRejected({ [option]: 0 }, option, allowed)
    )
  }

  it.live("min above max names both", () => isRejected({ min: 5, max: 3 }, "min is 5", "max, which is 3"))
  it.live("a name is a string", () =>
    Effect.gen(function* () {
      const layer = NodeThreads.layer({ name: 5 as unknown as string })
      const { message } = yield* defectOf(Effect.scoped(Layer.build(layer)))
      expect(message).toBe('thread pool "threads": name is 5, but it must be a string')
    })
  )
  it.live("size stands alone", () =>
    Effect.gen(function* () {
      yield* isRejected({ size: 2, min: 1 }, "size is 2", "alone")
      yield* isRejected({ size: 2, max: 4 }, "size is 2", "alone")
    })
  )
})

// -----------------------------------------------------------------------------
// Resize
// -----------------------------------------------------------------------------

describe("resize", slow, () => {
  it.live("EV-87: more threads take what waits at once, while others are busy", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const calls = yield* holders(cells, 3)
      yield* begun(cells, 0)
      yield* moment
      expect(begunOf(cells, 3)).toBe(1)
      yield* ThreadPool.resize(3)
      yield* begun(cells, 0, 1, 2)
      expect(yield* ThreadPool.stats).toMatchObject({ max: 3, size: 3, pending: 0 })
      letGo(cells, 0, 1, 2)
      expect(new Set(yield* Effect.forEach(calls, Fiber.join)).size).toBe(3)
    }).pipe(overThreads())
  )

  it.live(
    "EV-87: fewer threads: what runs ends, and its threads after it; what waits runs on those that stay",
    () =>
      Effect.gen(function* () {
        const cells = new Cells(32)
        const calls = yield* holders(cells, 7)
        yield* eventually("four have begun", () => begunOf(cells, 7) === 4)
        yield* ThreadPool.resize(1)
        expect(yield* ThreadPool.stats).toMatchObject({ min: 1, max: 1, size: 4, used: 4, pending: 3 })
        letGo(cells, 0, 1, 2, 3)
        yield* eventuallyStats("one is left", (_) => _.size === 1)
        yield* eventually("the next has begun", () => begunOf(cells, 7) === 5)
        yield* moment
        expect(begunOf(cells, 7)).toBe(5)
        letGo(cells, 4, 5, 6)
        const threads = yield* within("the calls", Effect.forEach(calls, Fiber.join))
        expect(new Set(threads.slice(4)).size).toBe(1)
        expect(yield* ThreadPool.stats).toMatchObject({ killed: 0, crashed: 0, created: 4, destroyed: 3 })
      }).pipe(overThreads({ size: 4 }))
  )

  it.live("fewer threads: idle ones go at once", () =>
    Effect.gen(function* () {
      yield* eventuallyStats("all are idle", (_) => _.idle === 3)
      yield* ThreadPool.resize(1)
      yield* eventuallyStats("one is left", (_) => _.size === 1 && _.idle === 1)
    }).pipe(overThreads({ size: 3 }))
  )

  it.live(
    "EV-85: to 0: what runs ends in its thread, what waits runs on the calling thread, after one warning",
    () => {
      const { layer, lines } = logged()
      return Effect.gen(function* () {
        const cells = new Cells()
        const running = yield* start(faulty.hold(cells.shared, 0))
        yield* cells.raised(0)
        const waiting = yield* Effect.forEach([1, 2, 3], () => start(faulty.thread()))
        yield* ThreadPool.resize(0)
        expect(yield* within("what waited", Effect.forEach(waiting, Fiber.join))).toEqual([0, 0, 0])
        expect(yield* faulty.thread()).toBe(0)
        expect(lines.filter(({ level }) => level === "Warn").length).toBe(1)

        letGo(cells, 0)
        expect(yield* Fiber.join(running)).toBe(1)
        yield* eventuallyStats("none is left", (_) => _.size === 0)
        yield* ThreadPool.resize(2)
        expect(yield* within("the next call", faulty.thread())).toBeGreaterThan(1)
        expect(lines.filter(({ level }) => level === "Warn").length).toBe(1)
      }).pipe(over(NodeThreads.layer({ name: "test", size: 1 })), Effect.provide(layer))
    }
  )

  it.live("to 0 while the first thread starts: the call that waits for it runs on the calling thread", () =>
    Effect.gen(function* () {
      const call = yield* start(faulty.thread())
      yield* ThreadPool.resize(0)
      expect(yield* within("the call", Fiber.join(call))).toBe(0)
      yield* within("a drain", ThreadPool.drain)
      yield* ThreadPool.resize(1)
      expect(yield* within("the next call", faulty.thread())).toBeGreaterThan(0)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 1 })), Effect.provide(Logger.layer([])))
  )

  it.live("to 0 and back: objects live on in their thread, and calls run beside them", () =>
    Effect.gen(function* () {
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      expect(yield* thing.thread()).toBe(1)
      yield* ThreadPool.resize(0)
      expect(yield* thing.thread()).toBe(1)
      expect(yield* faulty.thread()).toBe(0)
      yield* ThreadPool.resize(1)
      expect(yield* thing.thread()).toBe(1)
      // The only thread there may be is that of the object.
      expect(yield* within("the next call", faulty.thread())).toBe(1)
    }).pipe(overThreads(), Effect.provide(Logger.layer([])))
  )

  it.live("fewer threads: those without objects go first", () =>
    Effect.gen(function* () {
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      const thread = yield* thing.thread()
      yield* eventuallyStats("all are up", (_) => _.threads.length === 3)
      yield* ThreadPool.resize(1)
      yield* eventuallyStats("one is left", (_) => _.size === 1)
      expect(yield* thing.thread()).toBe(thread)
      expect(yield* within("a call", faulty.thread())).toBe(thread)
    }).pipe(overThreads({ size: 3 }))
  )

  it.live("fewer threads than have objects: none is lost, and the excess goes with its objects", () =>
    Effect.gen(function* () {
      const two = yield* Effect.scoped(
        Effect.gen(function* () {
          const one = yield* ThreadPool.proxy(faulty, "Thing")
          const two = yield* ThreadPool.proxy(faulty, "Thing")
          const threads = [yield* one.thread(), yield* two.thread()]
          expect(new Set(threads).size).toBe(2)
          yield* ThreadPool.resize(1)
          expect([yield* one.thread(), yield* two.thread()]).toEqual(threads)
          yield* within("a call", faulty.thread())
          return threads
        })
      )
      yield* eventuallyStats("one is left", (_) => _.size === 1)
      expect(two).toContain(yield* faulty.thread())
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("fewer and more again: a thread that was to go, and that its object kept, takes calls again", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const things = yield* Effect.forEach([1, 2], () => ThreadPool.proxy(faulty, "Thing"))
      yield* ThreadPool.resize(1)
      yield* ThreadPool.resize(2)
      const calls = yield* holders(cells, 2)
      yield* begun(cells, 0, 1)
      letGo(cells, 0, 1)
      yield* Effect.forEach(calls, Fiber.join)
      expect(new Set(yield* Effect.forEach(things, (thing) => thing.thread())).size).toBe(2)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("a plain number is the new max, and lowers min where that is above it", () =>
    Effect.gen(function* () {
      yield* ThreadPool.resize(2)
      expect(yield* ThreadPool.stats).toMatchObject({ min: 2, max: 2 })
      yield* ThreadPool.resize(5)
      expect(yield* ThreadPool.stats).toMatchObject({ min: 2, max: 5 })
    }).pipe(overThreads({ size: 3 }))
  )

  it.live("a higher min starts threads at once", () =>
    Effect.gen(function* () {
      yield* ThreadPool.resize({ min: 3 })
      yield* eventuallyStats("three are idle", (_) => _.idle === 3 && _.min === 3 && _.max === 4)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 4 })))
  )

  it.live("a resize is an event", () =>
    Effect.gen(function* () {
      const listener = yield* listen
      yield* ThreadPool.resize({ min: 0, max: 2 })
      yield* listener.hears("Resized")
      expect(listener.of("Resized")).toMatchObject([{ pool: "test", min: 0, max: 2 }])
    }).pipe(overThreads())
  )

  it.live("many in a row end as the last one says, and no call is lost", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const calls = yield* Effect.forEach(Array.from({ length: 60 }), (_, i) =>
        Effect.andThen(ThreadPool.resize([3, 1, 0, 2][i % 4]!), start(faulty.sleep(cells.shared, 0, i % 3)))
      )
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(cells.get(0)).toBe(60)
      yield* eventuallyStats("as the last one says", (_) => _.size <= 2 && _.running === 0)
      expect(yield* ThreadPool.stats).toMatchObject({ max: 2, pending: 0, killed: 0, crashes: 0 })
    }).pipe(overThreads(), Effect.provide(Logger.layer([])))
  )

  const wrong = {
    "a negative number": [-1, "max is -1", "0 or more"],
    "a fraction": [2.5, "max is 2.5", "0 or more"],
    NaN: [Number.NaN, "max is NaN", "0 or more"],
    Infinity: [Infinity, "max is Infinity", "0 or more"],
    "a text": ["3" as unknown as number, 'max is "3"', "0 or more"],
    "a negative min": [{ min: -1 }, "min is -1", "0 or more"],
    "min above max": [{ min: 4, max: 2 }, "min is 4", "max, which is 2"]
  } as const
  for (const [what, [limits, ...says]] of Object.entries(wrong)) {
    it.live(`EV-86: ${what} is rejected before anything happens`, () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const running = yield* start(faulty.hold(cells.shared, 0))
        yield* cells.raised(0)
        const { message } = yield* defectOf(ThreadPool.resize(limits))
        for (const text of ['thread pool "test"', ...says]) expect(message).toContain(text)
        expect(yield* ThreadPool.stats).toMatchObject({ min: 1, max: 1, size: 1, used: 1 })
        letGo(cells, 0)
        expect(yield* Fiber.join(running)).toBe(1)
        expect(yield* faulty.thread()).toBe(1)
      }).pipe(overThreads())
    )
  }
})

// -----------------------------------------------------------------------------
// Rest
// -----------------------------------------------------------------------------

describe("idleTimeout", slow, () => {
  it.effect("threads above min end when they have rested that long, and min stay", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ min: 1, max: 3, idleTimeout: "10 seconds" })
      const listener = yield* pool.use(listen)
      const calls = yield* pool.use(holders(cells, 3))
      yield* begun(cells, 0, 1, 2)
      letGo(cells, 0, 1, 2)
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      const stats = pool.use(ThreadPool.stats)
      yield* eventually(
        "three are idle",
        Effect.map(stats, (_) => _.idle === 3)
      )
      yield* TestClock.adjust("10 seconds")
      yield* moment
      expect(yield* stats).toMatchObject({ idle: 3, size: 3 })
      yield* TestClock.adjust("1 millis")
      yield* eventually(
        "one is left",
        Effect.map(stats, (_) => _.size === 1 && _.idle === 1)
      )
      yield* TestClock.adjust("1 hour")
      yield* moment
      expect(yield* stats).toMatchObject({ size: 1, destroyed: 2 })
      yield* eventually("two have ended", () => workers.alive.size === 1)
      expect(listener.of("Closed").map(({ reason }) => reason)).toEqual(["maxIdle", "maxIdle"])
    })
  )

  it.effect("with min 0 the last one ends too, and the next call starts another", () =>
    Effect.gen(function* () {
      yield* faulty.thread()
      yield* eventuallyStats("it is idle", (_) => _.idle === 1)
      yield* TestClock.adjust("10001 millis")
      yield* eventuallyStats("none is left", (_) => _.size === 0)
      expect(yield* within("the next call", faulty.thread())).toBe(2)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 1, idleTimeout: "10 seconds" })))
  )

  it.effect("a thread that works does not rest, and neither does one with objects", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      yield* TestClock.adjust("1 hour")
      yield* moment
      expect(yield* ThreadPool.stats).toMatchObject({ size: 2, destroyed: 0 })
      expect(yield* thing.thread()).toBe(2)
      letGo(cells, 0)
      expect(yield* Fiber.join(running!)).toBe(1)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 2, idleTimeout: "10 seconds" })))
  )

  it.effect("each call begins the rest anew", () =>
    Effect.gen(function* () {
      for (let i = 0; i < 5; i++) {
        expect(yield* faulty.thread()).toBe(1)
        yield* eventuallyStats("it is idle", (_) => _.idle === 1)
        yield* TestClock.adjust("9 seconds")
      }
      expect(yield* ThreadPool.stats).toMatchObject({ created: 1, destroyed: 0 })
    }).pipe(over(NodeThreads.layer({ min: 0, max: 1, idleTimeout: "10 seconds" })))
  )

  it.effect("0: a thread ends when it has nothing to do", () =>
    Effect.gen(function* () {
      yield* faulty.thread()
      yield* eventuallyStats("none is left", (_) => _.size === 0)
      expect(yield* within("the next call", faulty.thread())).toBe(2)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 1, idleTimeout: 0 })))
  )
})

// -----------------------------------------------------------------------------
// Drain
// -----------------------------------------------------------------------------

describe("drain", slow, () => {
  it.live("EV-88: what runs and what waits ends, with results, and then the threads", () =>
    Effect.gen(function* () {
      const cells = new Cells(32)
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 2 })
      const listener = yield* pool.use(listen)
      const calls = yield* pool.use(holders(cells, 6))
      yield* eventually("two have begun", () => begunOf(cells, 6) === 2)
      const draining = yield* pool.use(start(ThreadPool.drain))
      yield* moment
      expect(draining.pollUnsafe()).toBeUndefined()
      letGo(cells, 0, 1, 2, 3, 4, 5)
      const threads = yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(threads.every((thread) => thread === 1 || thread === 2)).toBe(true)
      yield* within("the drain", Fiber.join(draining))
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ size: 0, idle: 0, threads: [], killed: 0 })
      yield* turn
      expect(workers.alive.size).toBe(0)
      yield* listener.hears("Drained")
      expect(listener.of("Closed").map(({ reason }) => reason)).toEqual(["recycled", "recycled"])
    })
  )

  it.live("EV-89: it may be called again and again, and by several at a time", () =>
    Effect.gen(function* () {
      yield* within("the first", ThreadPool.drain)
      yield* within("the second", ThreadPool.drain)
      expect(yield* faulty.thread()).toBeGreaterThan(0)
      const cells = new Cells()
      const [call] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const drains = yield* Effect.forEach([1, 2, 3], () => start(ThreadPool.drain))
      letGo(cells, 0)
      yield* within("the drains", Effect.forEach(drains, Fiber.join))
      yield* Fiber.join(call!)
      yield* within("a last one", ThreadPool.drain)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 0 })
    }).pipe(overThreads())
  )

  it.live("EV-89: a drain before anything ran ends", () =>
    Effect.gen(function* () {
      yield* within("the drain", ThreadPool.drain)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 0, created: 0 })
      expect(yield* within("a call", faulty.thread())).toBe(1)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 1 })))
  )

  it.live("EV-90: nothing starts until the next call, which finds min threads again", () =>
    Effect.gen(function* () {
      const workers = yield* watchWorkers
      yield* within("the drain", ThreadPool.drain)
      yield* moment
      expect(workers.history.includes("+")).toBe(false)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 0 })
      expect(yield* within("the next call", faulty.thread())).toBeGreaterThan(2)
      yield* eventuallyStats("min threads", (_) => _.idle === 2 && _.min === 2)
    }).pipe(
      // All threads are up before the test begins.
      Effect.tap(Effect.void),
      (effect) =>
        Effect.andThen(
          eventuallyStats("two are up", (_) => _.idle === 2),
          effect
        ),
      overThreads({ size: 2 })
    )
  )

  it.live("EV-90: calls that come meanwhile wait, and run in fresh threads, in order", () =>
    Effect.gen(function* () {
      const cells = new Cells(32)
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const draining = yield* start(ThreadPool.drain)
      const later = yield* Effect.forEach([1, 2, 3], (mark) =>
        start(faulty.sign("pass", cells.shared.subarray(8), 2, mark))
      )
      yield* moment
      expect(cells.get(8)).toBe(0)
      letGo(cells, 0)
      yield* Fiber.join(running!)
      yield* within("the drain", Fiber.join(draining))
      expect(yield* within("the later calls", Effect.forEach(later, Fiber.join))).toEqual([2, 2, 2])
      expect(cells.slice(10, 13)).toEqual([1, 2, 3])
    }).pipe(overThreads())
  )

  it.live("a call that waits for the end of a drain can be interrupted", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const draining = yield* start(ThreadPool.drain)
      const later = yield* start(faulty.sleep(cells.shared, 4, 0))
      yield* within("the interruption", Fiber.interrupt(later))
      letGo(cells, 0)
      yield* within("the drain", Fiber.join(draining))
      yield* Fiber.join(running!)
      yield* faulty.thread()
      expect(cells.get(4)).toBe(0)
    }).pipe(overThreads())
  )

  it.live("the event loop goes on meanwhile", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      let ticks = 0
      const ticker = setInterval(() => ticks++, 1)
      const draining = yield* start(ThreadPool.drain)
      yield* eventually("the loop ticks", () => ticks > 5)
      expect(draining.pollUnsafe()).toBeUndefined()
      letGo(cells, 0)
      yield* within("the drain", Fiber.join(draining))
      clearInterval(ticker)
      yield* Fiber.join(running!)
    }).pipe(overThreads())
  )

  it.live("whoever waits for a drain may give up: it goes on, and the pool works", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const draining = yield* start(ThreadPool.drain)
      yield* within("the interruption", Fiber.interrupt(draining))
      const later = yield* start(faulty.thread())
      letGo(cells, 0)
      expect(yield* Fiber.join(running!)).toBe(1)
      expect(yield* within("the later call", Fiber.join(later))).toBe(2)
      yield* within("another drain", ThreadPool.drain)
    }).pipe(overThreads())
  )

  it.live("remotes are stale afterwards", () =>
    Effect.gen(function* () {
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      expect(yield* thing.thread()).toBe(1)
      yield* within("the drain", ThreadPool.drain)
      expect(yield* failureOf(thing.thread())).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded" })
      expect(yield* (yield* ThreadPool.proxy(faulty, "Thing")).thread()).toBe(2)
    }).pipe(overThreads())
  )

  it.live("a call on an object that waits for its turn there ends before", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const calls = yield* Effect.forEach([0, 2, 4], (cell) => start(thing.hold(cell)))
      yield* cells.raised(0)
      const draining = yield* start(ThreadPool.drain)
      for (const cell of [1, 3, 5]) cells.raise(cell)
      expect(yield* within("the calls", Effect.forEach(calls, Fiber.join))).toEqual([1, 1, 1])
      yield* within("the drain", Fiber.join(draining))
    }).pipe(overThreads())
  )

  it.effect("a task that nobody waits for any more is stopped after killGrace, and then the drain ends", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(faulty.spin(cells.shared, 0))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      const draining = yield* start(ThreadPool.drain)
      yield* TestClock.adjust("1 second")
      yield* within("the drain", Fiber.join(draining))
      expect(yield* ThreadPool.stats).toMatchObject({ size: 0, killed: 1 })
      expect(yield* within("the next call", faulty.thread())).toBe(2)
    }).pipe(overThreads({ killGrace: "1 second" }))
  )

  it.effect("a thread in quarantine does not hold it up", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(ThreadPool.unkillable(faulty.hold(cells.shared, 0)))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* TestClock.adjust("1 second")
      yield* within("the drain", ThreadPool.drain)
      cells.raise(1)
      yield* eventuallyStats("it has ended too", (_) => _.threads.length === 0)
    }).pipe(overThreads({ killGrace: "1 second" }))
  )

  it.live("a thread that ends during it does not hold it up", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const doomed = yield* start(Effect.exit(faulty.waitOrExit(cells.shared, 0, 1, 2)))
      const other = yield* start(faulty.hold(cells.shared, 4))
      yield* cells.raised(0)
      yield* cells.raised(4)
      const draining = yield* start(ThreadPool.drain)
      cells.raise(2)
      yield* failureAs("ThreadCrashed")(yield* within("the one that exits", Fiber.join(doomed)))
      cells.raise(5)
      yield* within("the other", Fiber.join(other))
      yield* within("the drain", Fiber.join(draining))
      expect(yield* ThreadPool.stats).toMatchObject({ size: 0 })
      expect(yield* within("the next call", faulty.thread())).toBeGreaterThan(2)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("it waits for threads that are being started", () =>
    Effect.gen(function* () {
      const workers = yield* watchWorkers
      const pool = yield* open({ min: 0, max: 3 })
      yield* pool.use(ThreadPool.resize({ min: 3 }))
      yield* within("the drain", pool.use(ThreadPool.drain))
      yield* turn
      expect(workers.alive.size).toBe(0)
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ size: 0 })
      expect(yield* within("the next call", pool.use(faulty.thread()))).toBeGreaterThan(0)
    })
  )

  it.live("a resize during it holds", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const draining = yield* start(ThreadPool.drain)
      yield* ThreadPool.resize({ min: 2, max: 2 })
      letGo(cells, 0)
      yield* Fiber.join(running!)
      yield* within("the drain", Fiber.join(draining))
      yield* within("the next call", faulty.thread())
      yield* eventuallyStats("two threads", (_) => _.size === 2 && _.min === 2 && _.max === 2)
    }).pipe(overThreads())
  )

  it.live("closing during it ends both", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 1 })
      const [running] = yield* pool.use(holders(cells, 1))
      yield* begun(cells, 0)
      const draining = yield* pool.use(start(ThreadPool.drain))
      const later = yield* pool.use(start(Effect.exit(faulty.thread())))
      const closing = yield* start(pool.close)
      yield* failureAs("ThreadPoolClosed")(yield* within("the later call", Fiber.join(later)))
      letGo(cells, 0)
      expect(yield* Fiber.join(running!)).toBe(1)
      yield* within("the drain", Fiber.await(draining))
      yield* within("the close", Fiber.join(closing))
      expect(workers.alive.size).toBe(0)
      yield* within("a drain of a closed pool", pool.use(ThreadPool.drain))
    })
  )

  it.live("drains, calls and resizes at the same time lose no call", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const calls = yield* Effect.forEach(Array.from({ length: 40 }), (_, i) =>
        Effect.andThen(
          i % 10 === 5 ? Effect.asVoid(start(ThreadPool.drain)) : Effect.void,
          Effect.tap(start(faulty.sleep(cells.shared, 0, i % 4)), () => Effect.yieldNow)
        )
      )
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(cells.get(0)).toBe(40)
      yield* within("a last drain", ThreadPool.drain)
      expect(yield* ThreadPool.stats).toMatchObject({
        size: 0,
        pending: 0,
        running: 0,
        crashes: 0,
        killed: 0
      })
    }).pipe(overThreads({ size: 2 }))
  )
})

// -----------------------------------------------------------------------------
// Recycle
// -----------------------------------------------------------------------------

describe("recycle", slow, () => {
  it.live("a thread is replaced after so many tasks", () =>
    Effect.gen(function* () {
      const threads: Array<number> = []
      for (let i = 0; i < 9; i++) threads.push(yield* within("a call", faulty.thread()))
      expect(threads).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3])
      yield* eventuallyStats("one is there", (_) => _.size === 1)
      expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0, killed: 0 })
    }).pipe(overThreads({ recycle: { tasks: 3 } }))
  )

  it.live("tasks that fail count too", () =>
    Effect.gen(function* () {
      for (let i = 0; i < 2; i++) {
        yield* failureAs("TaskFailed")(
          ThreadPool.execute((): number => {
            throw new Error("no")
          })
        )
      }
      expect(yield* within("a call", faulty.thread())).toBe(2)
    }).pipe(overThreads({ recycle: { tasks: 2 } }))
  )

  it.live("what else runs on it ends before", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const long = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0)
      yield* faulty.thread()
      yield* faulty.thread()
      const next = yield* start(faulty.thread())
      yield* moment
      cells.raise(1)
      expect(yield* within("the long one", Fiber.join(long))).toBe(1)
      expect(yield* within("the next one", Fiber.join(next))).toBe(2)
    }).pipe(overThreads({ concurrency: 2, recycle: { tasks: 2 } }))
  )

  it.live("an object keeps its thread, and calls go on there meanwhile", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const thing = yield* ThreadPool.proxy(faulty, "Thing")
          for (let i = 0; i < 6; i++) expect(yield* thing.thread()).toBe(1)
          for (let i = 0; i < 6; i++) expect(yield* within("a call", faulty.thread())).toBe(1)
        })
      )
      yield* eventuallyStats("it is replaced", (_) => _.destroyed === 1)
      expect(yield* within("a call", faulty.thread())).toBe(2)
    }).pipe(overThreads({ recycle: { tasks: 3 } }))
  )

  it.live("a thread is replaced when so much of its heap is in use", () =>
    Effect.gen(function* () {
      const hoard = (bytes: number): number => {
        const all = ((globalThis as { hoard?: Array<unknown> }).hoard ??= [])
        for (let i = 0; i < bytes / 8_000; i++) all.push(Array.from({ length: 1_000 }, (_, j) => j + 0.5))
        return all.length
      }
      const first = yield* ThreadPool.execute(hoard, 0)
      expect(first).toBe(0)
      yield* ThreadPool.execute(hoard, 64_000_000)
      // How much is in use is told now and then.
      yield* eventually(
        "another thread",
        Effect.map(faulty.thread(), (thread) => thread > 1)
      )
      expect(yield* ThreadPool.execute(hoard, 0)).toBe(0)
      expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0, killed: 0, crashed: 0 })
    }).pipe(overThreads({ recycle: { heap: 48_000_000 } }))
  )

  it.live("a heap that is too small for any thread replaces each, and no call is lost", () =>
    Effect.gen(function* () {
      for (let i = 0; i < 3; i++) expect(yield* within("a call", faulty.thread())).toBeGreaterThan(0)
    }).pipe(overThreads({ recycle: { heap: 1 } }))
  )
})

// -----------------------------------------------------------------------------
// The line
// -----------------------------------------------------------------------------

describe("the line", slow, () => {
  it.live("EV-78: with one thread calls run in the order in which they were made", () =>
    Effect.gen(function* () {
      const cells = new Cells(1024)
      const all = Array.from({ length: 500 }, (_, i) => i + 1)
      const calls = yield* Effect.forEach(all, (mark) => start(faulty.sign("pass", cells.shared, 2, mark)))
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(cells.slice(2, 502)).toEqual(all)
    }).pipe(overThreads())
  )

  it.live("EV-78: also while they come in the turn of a reply, and were short so far", () =>
    Effect.gen(function* () {
      const cells = new Cells(1024)
      yield* makeShort(faulty.sign("pass", new Cells(32_768).shared, 2, 0))
      const all = Array.from({ length: 500 }, (_, i) => i + 1)
      const scope = yield* Effect.scope
      const calls = yield* Effect.flatMap(faulty.thread(), () =>
        Effect.forEach(all, (mark) =>
          Effect.forkIn(faulty.sign("pass", cells.shared, 2, mark), scope, { startImmediately: true })
        )
      )
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(cells.slice(2, 502)).toEqual(all)
    }).pipe(overThreads())
  )

  it.live("EV-78: those that waited for a thread to start too", () =>
    Effect.gen(function* () {
      const cells = new Cells(64)
      const all = Array.from({ length: 20 }, (_, i) => i + 1)
      const calls = yield* Effect.forEach(all, (mark) => start(faulty.sign("pass", cells.shared, 2, mark)))
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(cells.slice(2, 22)).toEqual(all)
    }).pipe(over(NodeThreads.layer({ min: 0, max: 1 })))
  )

  it.live("maxQueue: one more than that is turned away at once, and told why", () =>
    Effect.gen(function* () {
      const cells = new Cells(32)
      const listener = yield* listen
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const waiting = yield* Effect.forEach([1, 2, 3], () => start(faulty.thread()))
      const error = yield* failureAs("QueueFull")(faulty.thread())
      expect(error).toMatchObject({ pool: "test", task: "faulty.ts#thread", maxQueue: 3, running: 1 })
      expect(error.message).toContain("3 calls wait")
      expect(yield* ThreadPool.stats).toMatchObject({ pending: 3, rejected: 1 })
      yield* listener.hears("CallRejected")

      // A place that becomes free is there for the next.
      yield* Fiber.interrupt(waiting[1]!)
      const next = yield* start(faulty.thread())
      yield* failureAs("QueueFull")(faulty.thread())
      letGo(cells, 0)
      for (const call of [running!, waiting[0]!, waiting[2]!, next]) {
        expect(yield* within("the others", Fiber.join(call))).toBe(1)
      }
    }).pipe(overThreads({ maxQueue: 3 }))
  )

  it.live("maxQueue: calls that wait for the end of a drain count too", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const [running] = yield* holders(cells, 1)
      yield* begun(cells, 0)
      const draining = yield* start(ThreadPool.drain)
      const waiting = yield* start(faulty.thread())
      yield* failureAs("QueueFull")(faulty.thread())
      letGo(cells, 0)
      yield* within("the drain", Fiber.join(draining))
      expect(yield* within("the one that waited", Fiber.join(waiting))).toBe(2)
      yield* Fiber.join(running!)
    }).pipe(overThreads({ maxQueue: 1 }))
  )

  it.live("maxQueue 0: nobody waits for a busy thread", () =>
    Effect.gen(function* () {
      const cells = new Cells(32)
      const calls = yield* holders(cells, 2)
      yield* begun(cells, 0, 1)
      expect(yield* failureAs("QueueFull")(faulty.thread())).toMatchObject({ maxQueue: 0, running: 2 })
      letGo(cells, 0)
      yield* Fiber.join(calls[0]!)
      expect(yield* faulty.thread()).toBeGreaterThan(0)
      letGo(cells, 1)
      yield* Fiber.join(calls[1]!)
    }).pipe(overThreads({ size: 2, maxQueue: 0 }))
  )

  it.live("maxQueue 0: calls that come at the same time get the threads that there are, or may be", () =>
    Effect.gen(function* () {
      const cells = new Cells(32)
      for (const round of [1, 2]) {
        const calls = yield* Effect.forEach([0, 1, 2, 3, 4], () =>
          start(Effect.exit(faulty.wait(cells.shared, 0, 2 + round)))
        )
        yield* cells.raised(0, 3 * round)
        cells.raise(2 + round)
        const exits = yield* within("the calls", Effect.forEach(calls, Fiber.join))
        expect(exits.map(Exit.isSuccess)).toEqual([true, true, true, false, false])
        for (const exit of exits.slice(3)) yield* failureAs("QueueFull")(exit)
        yield* eventuallyStats("all are free", (_) => _.running === 0)
      }
    }).pipe(over(NodeThreads.layer({ min: 0, max: 3, maxQueue: 0 })))
  )

  it.live(
    "maxQueue: what a thread is being started for does not wait in line: a longer line takes no fewer calls",
    () =>
      Effect.gen(function* () {
        const taken = (maxQueue: number) =>
          Effect.gen(function* () {
            const cells = new Cells()
            const calls = yield* Effect.forEach([0, 1, 2, 3, 4, 5], () =>
              start(Effect.exit(faulty.wait(cells.shared, 0, 1)))
            )
            cells.raise(1)
            const exits = yield* within("the calls", Effect.forEach(calls, Fiber.join))
            return exits.filter(Exit.isSuccess).length
          }).pipe(over(NodeThreads.layer({ min: 0, max: 2, maxQueue })))
        expect([yield* taken(0), yield* taken(1), yield* taken(2), yield* taken(3)]).toEqual([2, 3, 4, 5])
      })
  )

  it.live("calls on objects do not stand in the line", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const calls = yield* Effect.forEach([0, 2, 4], (cell) => start(thing.hold(cell)))
      yield* cells.raised(0)
      for (const cell of [1, 3, 5]) cells.raise(cell)
      expect(yield* within("the calls", Effect.forEach(calls, Fiber.join))).toEqual([1, 1, 1])
    }).pipe(overThreads({ maxQueue: 0 }))
  )
})

// -----------------------------------------------------------------------------
// The choice of thread
// -----------------------------------------------------------------------------

describe("the choice of thread", slow, () => {
  it.live("concurrency 1: a thread has one task under way at a time, also while it waits", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const first = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0)
      const second = yield* start(faulty.wait(cells.shared, 4, 5))
      yield* moment
      expect(cells.get(4)).toBe(0)
      cells.raise(1)
      yield* Fiber.join(first)
      yield* cells.raised(4)
      cells.raise(5)
      yield* Fiber.join(second)
    }).pipe(overThreads())
  )

  it.live("concurrency: so many tasks that wait are under way at a time, and no more", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const calls = yield* Effect.forEach(Array.from({ length: 7 }), () =>
        start(faulty.wait(cells.shared, 0, 1))
      )
      yield* cells.raised(0, 3)
      yield* moment
      expect(cells.get(0)).toBe(3)
      expect(yield* ThreadPool.stats).toMatchObject({ running: 3, pending: 4, size: 1 })
      cells.raise(1)
      yield* within("the calls", Effect.forEach(calls, Fiber.join))
      expect(cells.get(0)).toBe(7)
    }).pipe(overThreads({ concurrency: 3 }))
  )

  it.live("concurrency: Effects too, each with its own interruption", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const one = yield* start(faulty.untilInterrupted(cells.shared, 0))
      const two = yield* start(faulty.untilInterrupted(cells.shared, 4))
      yield* cells.raised(0)
      yield* cells.raised(4)
      yield* Fiber.interrupt(two)
      yield* cells.raised(5)
      expect(cells.get(1)).toBe(0)
      expect(one.pollUnsafe()).toBeUndefined()
      yield* Fiber.interrupt(one)
      yield* cells.raised(1)
    }).pipe(overThreads({ concurrency: 2 }))
  )

  it.live("idle first: a call does not join a busy thread while another is idle", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* eventuallyStats("all are up", (_) => _.idle === 3)
      const calls = yield* Effect.forEach([1, 2, 3], () => start(faulty.wait(cells.shared, 0, 1)))
      yield* cells.raised(0, 3)
      const { threads } = yield* ThreadPool.stats
      expect(threads.map(({ running }) => running)).toEqual([1, 1, 1])
      cells.raise(1)
      expect(new Set(yield* Effect.forEach(calls, Fiber.join)).size).toBe(3)
    }).pipe(overThreads({ size: 3, concurrency: 8 }))
  )

  it.live("least busy next: calls are spread evenly over the threads", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* eventuallyStats("all are up", (_) => _.idle === 3)
      const calls: Array<Fiber.Fiber<number, unknown>> = []
      for (let i = 1; i <= 9; i++) {
        calls.push(yield* start(faulty.wait(cells.shared, 0, 1)))
        yield* cells.raised(0, i)
      }
      const { threads } = yield* ThreadPool.stats
      expect(threads.map(({ running }) => running)).toEqual([3, 3, 3])
      cells.raise(1)
      yield* Effect.forEach(calls, Fiber.join)
    }).pipe(overThreads({ size: 3, concurrency: 8 }))
  )

  it.live("least busy next: also calls that come at the same time, of a function that was never run", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* eventuallyStats("all are up", (_) => _.idle === 3)
      const calls = yield* Effect.forEach(Array.from({ length: 9 }), () =>
        start(faulty.wait(cells.shared, 0, 1))
      )
      yield* cells.raised(0, 9)
      const { threads } = yield* ThreadPool.stats
      expect(threads.map(({ running }) => running)).toEqual([3, 3, 3])
      cells.raise(1)
      yield* Effect.forEach(calls, Fiber.join)
    }).pipe(overThreads({ size: 3, concurrency: 8 }))
  )

  it.live("nothing goes to a thread that is stuck: others take all calls", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const stuck = yield* start(faulty.hold(cells.shared, 0))
      yield* cells.raised(0)
      const threads = yield* within(
        "the calls",
        Effect.forEach(Array.from({ length: 200 }), () => faulty.thread(), { concurrency: 20 })
      )
      expect(new Set(threads).size).toBe(1)
      cells.raise(1)
      expect(threads).not.toContain(yield* Fiber.join(stuck))
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("objects are spread over the threads", () =>
    Effect.gen(function* () {
      const things = yield* Effect.forEach([1, 2, 3], () => ThreadPool.proxy(faulty, "Thing"))
      const threads = yield* Effect.forEach(things, (thing) => thing.thread())
      expect(new Set(threads).size).toBe(3)
    }).pipe(overThreads({ size: 3 }))
  )

  it.live("a thread with an object takes other calls too, and they do not wait for the object's own", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const waiting = yield* start(thing.wait(0, 1))
      yield* cells.raised(0)
      expect(yield* within("a call", faulty.thread())).toBe(1)
      cells.raise(1)
      yield* Fiber.join(waiting)
    }).pipe(overThreads())
  )
})

describe("calls within calls", slow, () => {
  const nested = ThreadPool.module<typeof import("./modules/nested.ts")>(
    new URL("./modules/nested.ts", import.meta.url)
  )

  it.live("EV-84: execute in a task runs there: one thread never waits for itself", () =>
    Effect.gen(function* () {
      expect(yield* within("a call", nested.executeWithin(3))).toEqual([1, 6])
      expect(yield* ThreadPool.stats).toMatchObject({ calls: 1, size: 1 })
    }).pipe(overThreads())
  )

  it.live("EV-84: to any depth, and many at a time", () =>
    Effect.gen(function* () {
      expect(yield* within("a deep call", nested.depth(20))).toBe(20)
      const all = yield* within(
        "many calls",
        Effect.forEach(Array.from({ length: 50 }), (_, i) => nested.depth(i % 5), {
          concurrency: "unbounded"
        })
      )
      expect(all).toEqual(Array.from({ length: 50 }, (_, i) => i % 5))
    }).pipe(overThreads())
  )

  it.live("EV-84: modules, proxies and streams in a task stay in its thread", () =>
    Effect.gen(function* () {
      expect(yield* within("a call", nested.everything())).toEqual({
        module: true,
        proxy: true,
        stream: [1, 2, 3]
      })
    }).pipe(overThreads())
  )

  it.live("EV-84: the failure of a nested call is that of any call", () =>
    Effect.gen(function* () {
      expect(yield* within("a call", nested.failsWithin())).toBe("TaskFailed: RangeError: within")
    }).pipe(overThreads())
  )

  it.live("EV-84: interrupting the outer call interrupts the inner one", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(nested.waitsWithin(cells.shared))
      yield* cells.raised(0)
      yield* within("the interruption", Fiber.interrupt(call))
      yield* cells.raised(1)
      expect(yield* within("the next call", faulty.thread())).toBe(1)
      expect(yield* ThreadPool.stats).toMatchObject({ killed: 0 })
    }).pipe(overThreads({ killGrace: "1 minute" }))
  )
})

// -----------------------------------------------------------------------------
// Observing
// -----------------------------------------------------------------------------

describe("what the figures say", slow, () => {
  it.live("always size = idle + used + creating + closing, and size is at most max", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const wrong: Array<ThreadPool.Stats> = []
      const check = Effect.map(ThreadPool.stats, (stats) => {
        const { closing, creating, idle, max, size, used } = stats
        if (size !== idle + used + creating + closing || size > max) wrong.push(stats)
      })
      const checking = yield* start(Effect.forever(Effect.andThen(check, Effect.yieldNow)))
      for (let round = 0; round < 5; round++) {
        yield* Effect.forEach(
          Array.from({ length: 30 }),
          (_, i) =>
            i % 10 === 3 ? Effect.exit(faulty.exit(1)) : Effect.exit(faulty.sleep(cells.shared, 0, i % 3)),
          { concurrency: "unbounded" }
        )
      }
      yield* Fiber.interrupt(checking)
      expect(wrong).toEqual([])
      yield* eventuallyStats("three at rest", (_) => _.size === 3 && _.idle === 3)
    }).pipe(overThreads({ size: 3 }))
  )

  it.live("each call comes to one end", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* faulty.thread()
      yield* Effect.exit(faulty.exit(1))
      yield* Effect.exit(
        ThreadPool.execute((): number => {
          throw new Error("no")
        })
      )
      const call = yield* start(faulty.untilSignal(cells.shared, 0))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* cells.raised(1)
      yield* eventuallyStats("all is over", (_) => _.running === 0)
      const { calls, crashed, failed, interrupted, rejected, succeeded, timedOut } = yield* ThreadPool.stats
      expect({ calls, crashed, failed, interrupted, rejected, succeeded, timedOut }).toEqual({
        calls: 4,
        crashed: 1,
        failed: 1,
        interrupted: 1,
        rejected: 0,
        succeeded: 1,
        timedOut: 0
      })
    }).pipe(overThreads())
  )

  it.live("events end when the pool closes", () =>
    Effect.gen(function* () {
      const pool = yield* open({ size: 1 })
      const heard = yield* pool.use(start(Stream.runCollect(ThreadPool.events)))
      yield* Effect.repeat(Effect.yieldNow, { times: 40 })
      yield* pool.use(faulty.thread())
      yield* pool.close
      const tags = (yield* within("the events", Fiber.join(heard))).map((_) => _._tag)
      expect(tags).toContain("CallEnded")
      expect(tags).toContain("Closed")
    })
  )
})
