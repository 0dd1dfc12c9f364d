/**
 * Threads that end, tasks that do not, modules that cannot be loaded, and threads that cannot be started. Whatever
 * happens to a call happens to that call alone, and its caller hears of it.
 */
import { NodeThreads, Remote, type ThreadError, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Logger, Schedule, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
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
  runProgram,
  turn,
  watchWorkers,
  within
} from "./faults-kit.ts"
import { failureAs, failureOf, moduleUrl, overThreads, start } from "./kit.ts"

const crashed = failureAs("ThreadCrashed")

/** Tests wait for things themselves, each with a bound: this one only ends a test that is stuck in spite of that. */
const slow = { timeout: 60_000 }

// -----------------------------------------------------------------------------
// Threads that end
// -----------------------------------------------------------------------------

describe("a thread that ends in the middle of a call", slow, () => {
  const ends = {
    "process.exit": [() => faulty.exit(3), "exit"],
    "process.exit in an async function": [() => faulty.exitLater(3), "exit"],
    "process.exit in an Effect": [() => faulty.exitEffect(0), "exit"],
    "an uncaught throw in a timer": [() => faulty.throwInTimer(), "error"],
    "an uncaught throw of something that is no error": [() => faulty.throwNoError(), "error"],
    "an uncaught throw of nothing": [() => faulty.throwNothing(), "error"],
    "an uncaught throw of what cannot cross": [() => faulty.throwUncloneable(), "error"],
    "an unhandled rejection": [() => faulty.rejectUnhandled(), "error"],
    "a port that is closed": [() => faulty.closePort(), "exit"]
  } as const

  for (const [what, [call, reason]] of Object.entries(ends)) {
    it.live(`EV-81: ${what} fails the call, and the thread is replaced`, () =>
      Effect.gen(function* () {
        const first = yield* faulty.thread()
        const error = yield* crashed(within(what, call()))
        expect(error).toMatchObject({
          _tag: "ThreadCrashed",
          pool: "test",
          thread: first,
          started: true,
          reason
        })
        expect(error.task).toMatch(/^faulty\.ts#/)

        const next = yield* within("the next call", faulty.thread())
        expect(next).not.toBe(first)
        expect(yield* ThreadPool.stats).toMatchObject({
          crashes: 1,
          crashed: 1,
          killed: 0,
          failed: 0,
          size: 1
        })
      }).pipe(overThreads())
    )
  }

  it.live("what nobody caught in the thread is the cause, and its message is told", () =>
    Effect.gen(function* () {
      const timer = yield* crashed(faulty.throwInTimer())
      expect(timer.cause).toMatchObject({ name: "RangeError", message: "thrown in a timer", code: "E_TIMER" })
      expect(timer.message).toContain("RangeError: thrown in a timer")
      expect(timer.message).toContain("faulty.ts#throwInTimer was running")

      const rejection = yield* crashed(faulty.rejectUnhandled())
      expect(rejection.cause).toMatchObject({ message: "nobody handles this" })

      const text = yield* crashed(faulty.throwNoError())
      expect(text.cause).toBe("just a text")

      const exit = yield* crashed(faulty.exit(0))
      expect(exit.cause).toBeUndefined()
      expect(exit.message).toContain("the thread exited")
    }).pipe(overThreads())
  )

  it.live("a throw in a timer of a task that has ended fails nobody, and the thread is replaced", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const listener = yield* listen
      const first = yield* faulty.throwAfterwards(cells.shared, 0)
      cells.raise(0)
      yield* listener.hears("ThreadCrashed")
      expect(listener.of("ThreadCrashed")).toMatchObject([
        { pool: "test", thread: first, reason: "error", failed: 0, moved: 0 }
      ])
      yield* eventuallyStats("a new thread", (_) => _.size === 1 && _.idle === 1 && _.created === 2)
      expect(yield* faulty.thread()).not.toBe(first)
      expect(yield* ThreadPool.stats).toMatchObject({ crashes: 1, crashed: 0, failed: 0 })
    }).pipe(overThreads())
  )

  it.live("out of memory is a typed failure of that call: the process and the other threads live on", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const other = yield* start(faulty.hold(cells.shared, 0))
      yield* cells.raised(0)
      const error = yield* crashed(within("running out of memory", faulty.outOfMemory()))
      expect(error).toMatchObject({ started: true, reason: "outOfMemory" })
      expect(error.message).toContain("resourceLimits")
      expect(error.cause).toMatchObject({ code: "ERR_WORKER_OUT_OF_MEMORY" })
      cells.raise(1)
      const thread = yield* Fiber.join(other)
      expect(error.thread).not.toBe(thread)
      expect(yield* within("the next call", faulty.thread())).toBeGreaterThan(0)
    }).pipe(overThreads({ size: 2, resourceLimits: { maxOldGenerationSizeMb: 48 } }))
  )

  it.live("process.exit in a module that is loaded fails the call", () =>
    Effect.gen(function* () {
      const exiting = ThreadPool.module<typeof import("./modules/exiting.ts")>(moduleUrl("exiting"))
      expect(yield* crashed(within("the call", exiting.never()))).toMatchObject({
        started: true,
        reason: "exit",
        task: "exiting.ts#never"
      })
      expect(yield* within("the next call", faulty.thread())).toBe(2)
    }).pipe(overThreads())
  )

  it.live("process.exit in a constructor fails the proxy; in a disposal it fails nobody", () =>
    Effect.gen(function* () {
      const made = Effect.scoped(ThreadPool.proxy(faulty, "Stillborn"))
      expect(yield* crashed(within("the proxy", made))).toMatchObject({
        task: "new Stillborn",
        reason: "exit"
      })
      const used = Effect.scoped(
        Effect.flatMap(ThreadPool.proxy(faulty, "Vengeful"), (thing) => thing.thread())
      )
      expect(yield* within("a proxy", used)).toBe(2)
      expect(yield* within("the next call", faulty.thread())).toBe(3)
    }).pipe(overThreads())
  )

  it.live("a hundred in a row: each fails its call alone, and nothing piles up", () =>
    Effect.gen(function* () {
      const warnings: Array<string> = []
      const onWarning = (warning: Error): number => warnings.push(warning.message)
      process.on("warning", onWarning)
      const exits = yield* within(
        "the calls",
        Effect.forEach(
          Array.from({ length: 100 }),
          (_, i) => Effect.exit(i % 4 === 3 ? faulty.exit(1) : faulty.thread()),
          { concurrency: 4 }
        )
      )
      process.off("warning", onWarning)
      expect(exits.map(Exit.isSuccess)).toEqual(exits.map((_, i) => i % 4 !== 3))
      expect(warnings).toEqual([])
      expect(yield* ThreadPool.stats).toMatchObject({ crashes: 25, crashed: 25, succeeded: 75, running: 0 })
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("a stack that overflows is a failure like any other, and the thread lives on", () =>
    Effect.gen(function* () {
      expect(yield* failureAs("TaskFailed")(faulty.overflow(0))).toMatchObject({ className: "RangeError" })
      expect(yield* faulty.thread()).toBe(1)
    }).pipe(overThreads())
  )

  it.live("messages that a task posts to the parent itself harm nobody", () =>
    Effect.gen(function* () {
      const uncaught: Array<unknown> = []
      const onUncaught = (error: unknown): number => uncaught.push(error)
      process.on("uncaughtExceptionMonitor", onUncaught)
      for (let i = 0; i < 3; i++) expect(yield* within("a call", faulty.postJunk())).toBe(1)
      expect(yield* within("the next call", faulty.thread())).toBe(1)
      process.off("uncaughtExceptionMonitor", onUncaught)
      expect(uncaught).toEqual([])
      expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0, running: 0, succeeded: 4 })
    }).pipe(overThreads())
  )

  it.live("events tell which thread ended, and how many calls failed and moved with it", () =>
    Effect.gen(function* () {
      const listener = yield* listen
      const { thread } = yield* crashed(faulty.exit(1))
      yield* listener.hears("CallEnded")
      yield* listener.hears("ThreadCrashed")
      expect(listener.of("ThreadCrashed")).toMatchObject([
        { pool: "test", thread, reason: "exit", failed: 1, moved: 0 }
      ])
      expect(listener.of("CallEnded")).toMatchObject([
        { pool: "test", thread, task: "faulty.ts#exit", outcome: "crashed" }
      ])
      yield* listener.hears("Created")
    }).pipe(overThreads())
  )
})

describe("resourceLimits, in a process of its own", slow, () => {
  const wrong = {
    "maxOldGenerationSizeMb of NaN": ["maxOldGenerationSizeMb", "NaN"],
    "maxOldGenerationSizeMb below 0": ["maxOldGenerationSizeMb", "-4"],
    "maxOldGenerationSizeMb of 0": ["maxOldGenerationSizeMb", "0"],
    "maxYoungGenerationSizeMb of NaN": ["maxYoungGenerationSizeMb", "NaN"],
    "maxYoungGenerationSizeMb below 0": ["maxYoungGenerationSizeMb", "-1"],
    "codeRangeSizeMb below 0": ["codeRangeSizeMb", "-1"],
    "stackSizeMb below 0": ["stackSizeMb", "-1"]
  } as const
  for (const [what, [option, value]] of Object.entries(wrong)) {
    it.live(`${what} is rejected, and named`, () =>
      Effect.gen(function* () {
        const { code, err, signal } = yield* runProgram("limits", option, value)
        expect({ code, signal }).toEqual({ code: 1, signal: null })
        expect(err).toContain(`resourceLimits.${option} is ${value}`)
      })
    )
  }

  for (const [option, value] of [
    ["maxOldGenerationSizeMb", "1"],
    ["maxOldGenerationSizeMb", "6"],
    ["stackSizeMb", "0.2"]
  ] as const) {
    it.live(
      `${option} ${value}, with which no thread can start, ends with an error, and not with the process`,
      () =>
        Effect.gen(function* () {
          const { code, err, signal } = yield* runProgram("limits", option, value)
          expect({ code, signal }).toEqual({ code: 1, signal: null })
          expect(err).toMatch(/no thread could be started|resourceLimits/)
        })
    )
  }
})

describe("only the calls of the thread that ended fail", slow, () => {
  it.live(
    "a thread is killed while 100 calls are spread over 4: 25 fail, and each is told that it had begun",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const [begun, go, exit] = [0, 1, 2]
        const calls = yield* Effect.forEach(Array.from({ length: 100 }), (_, i) =>
          start(
            Effect.exit(
              i === 42
                ? faulty.waitOrExit(cells.shared, begun, go, exit)
                : faulty.wait(cells.shared, begun, go)
            )
          )
        )
        yield* cells.raised(begun, 100)
        expect(yield* ThreadPool.stats).toMatchObject({ running: 100, pending: 0 })

        cells.raise(exit)
        const victim = yield* within("the call that exits", Fiber.join(calls[42]!))
        const { thread } = yield* crashed(victim)
        yield* eventuallyStats("the others have heard", (_) => _.crashed === 25)
        cells.raise(go)

        const exits = yield* Effect.forEach(calls, Fiber.join)
        const failed = exits.filter(Exit.isFailure)
        expect(failed.length).toBe(25)
        for (const exit of failed) {
          expect(yield* failureOf(exit)).toMatchObject({ _tag: "ThreadCrashed", thread, started: true })
        }
        const others = exits.filter(Exit.isSuccess).map((_) => _.value)
        expect(others.length).toBe(75)
        expect(new Set(others).size).toBe(3)
        expect(others).not.toContain(thread)
        yield* eventuallyStats("4 threads", (_) => _.size === 4 && _.idle === 4)
      }).pipe(overThreads({ size: 4, concurrency: 25 }))
  )

  it.live("calls that were sent ahead and not begun are moved, and succeed", () =>
    Effect.gen(function* () {
      const cells = new Cells(128)
      const first = yield* faulty.whim("pass", cells.shared, 0)
      yield* makeShort(faulty.whim("pass", cells.shared, 0))
      // In one turn: nothing is sent ahead to a thread that is known to stand.
      const victim = yield* start(faulty.whim("holdAndExit", cells.shared, 1))
      const behind = yield* Effect.forEach(Array.from({ length: 100 }), (_, i) =>
        start(faulty.whim("pass", cells.shared, i + 10))
      )
      yield* cells.raised(1)
      expect((yield* ThreadPool.stats).running).toBeGreaterThan(1)

      cells.raise(2)
      expect(yield* crashed(Fiber.join(victim))).toMatchObject({ thread: first, started: true })
      const threads = yield* within("those behind it", Effect.forEach(behind, Fiber.join))
      expect(new Set(threads).size).toBe(1)
      expect(threads).not.toContain(first)
      expect(cells.slice(10, 110)).toEqual(Array.from({ length: 100 }, () => 1))
      const { crashed: lost, moved } = yield* ThreadPool.stats
      expect(lost).toBe(1)
      expect(moved).toBeGreaterThan(0)
    }).pipe(overThreads())
  )

  it.live("calls that are moved keep their order", () =>
    Effect.gen(function* () {
      const cells = new Cells(64)
      yield* makeShort(faulty.sign("pass", new Cells(32_768).shared, 2, 0))
      const victim = yield* start(faulty.sign("holdAndExit", cells.shared, 2, 100))
      const behind = yield* Effect.forEach(Array.from({ length: 40 }), (_, i) =>
        start(faulty.sign("pass", cells.shared, 2, i + 1))
      )
      yield* cells.raised(0)
      expect((yield* ThreadPool.stats).running).toBeGreaterThan(1)
      cells.raise(1)
      yield* crashed(Fiber.join(victim))
      yield* within("those behind it", Effect.forEach(behind, Fiber.join))
      expect(cells.slice(2, 43)).toEqual([100, ...Array.from({ length: 40 }, (_, i) => i + 1)])
    }).pipe(overThreads())
  )

  it.live("calls that are moved keep their order, also when all were made in the turn of a reply", () =>
    Effect.gen(function* () {
      const cells = new Cells(64)
      yield* makeShort(faulty.sign("pass", new Cells(32_768).shared, 2, 0))
      const scope = yield* Effect.scope
      const startAll = Effect.forEach([100, ...Array.from({ length: 40 }, (_, i) => i + 1)], (mark) =>
        Effect.forkIn(
          Effect.exit(faulty.sign(mark === 100 ? "holdAndExit" : "pass", cells.shared, 2, mark)),
          scope,
          { startImmediately: true }
        )
      )
      const all = yield* Effect.flatMap(faulty.sign("pass", new Cells().shared, 2, 0), () => startAll)
      yield* cells.raised(0)
      expect((yield* ThreadPool.stats).running).toBeGreaterThan(1)
      cells.raise(1)
      yield* within("all of them", Effect.forEach(all, Fiber.join))
      expect(cells.slice(2, 43)).toEqual([100, ...Array.from({ length: 40 }, (_, i) => i + 1)])
    }).pipe(overThreads())
  )

  it.live(
    "of 100 short calls spread over 4 threads the one fails that ends its thread, and each runs once",
    () =>
      Effect.gen(function* () {
        const cells = new Cells(256)
        yield* makeShort(faulty.whim("pass", cells.shared, 0))
        const exits = yield* within(
          "100 calls",
          Effect.forEach(
            Array.from({ length: 100 }),
            (_, i) => Effect.exit(faulty.whim(i === 37 ? "exit" : "pass", cells.shared, i + 10)),
            { concurrency: "unbounded" }
          )
        )
        yield* crashed(exits[37]!)
        expect(exits.filter(Exit.isFailure).length).toBe(1)
        expect(cells.slice(10, 110)).toEqual(exits.map(() => 1))
        yield* eventuallyStats("4 threads at rest", (_) => _.size === 4 && _.idle === 4 && _.running === 0)
      }).pipe(overThreads({ size: 4 }))
  )

  it.live(
    "calls on an object that were sent and not begun are told so, and the later ones that it is gone",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
        const running = yield* start(Effect.exit(thing.wait(0, 1)))
        yield* cells.raised(0)
        const waiting = yield* start(Effect.exit(thing.thread()))
        // It waits for its turn on the object, and the thread has time for others.
        yield* faulty.thread()
        yield* crashed(faulty.exit(1))

        expect(yield* crashed(yield* Fiber.join(running))).toMatchObject({
          started: true,
          task: "Thing.wait"
        })
        const untouched = yield* crashed(yield* Fiber.join(waiting))
        expect(untouched).toMatchObject({ started: false, task: "Thing.thread" })
        expect(untouched.message).toContain("had not started")
        expect(yield* failureOf(thing.thread())).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded" })
      }).pipe(overThreads({ concurrency: 2 }))
  )

  it.live("what had ended before the thread did has its result", () =>
    Effect.gen(function* () {
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      const before = yield* Effect.forEach(Array.from({ length: 20 }), () => start(thing.thread()))
      const last = yield* start(Effect.exit(thing.exit()))
      expect(yield* within("those before", Effect.forEach(before, Fiber.join))).toEqual(before.map(() => 1))
      yield* crashed(yield* within("the last", Fiber.join(last)))
    }).pipe(overThreads())
  )

  it.live("of more calls on an object than a thread has room for each hears when it ends", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const calls = yield* Effect.forEach(Array.from({ length: 2_500 }), (_, i) =>
        start(Effect.exit(i === 0 ? thing.hold(0) : i === 1500 ? thing.exit() : thing.thread()))
      )
      yield* cells.raised(0)
      cells.raise(1)
      const exits = yield* within("all of them", Effect.forEach(calls, Fiber.join))
      expect(exits.slice(0, 1500).every(Exit.isSuccess)).toBe(true)
      yield* crashed(exits[1500]!)
      for (const exit of exits.slice(1501)) {
        const error = yield* failureOf(exit)
        if (error._tag === "ThreadCrashed") expect(error.started).toBe(false)
        else expect(error).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded" })
      }
      expect(yield* ThreadPool.stats).toMatchObject({ running: 0, pending: 0 })
    }).pipe(overThreads())
  )
})

describe("objects and streams of a thread that ended", slow, () => {
  it.live("a remote is stale, and says what to do; a new one works", () =>
    Effect.gen(function* () {
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      const thread = yield* thing.thread()
      yield* crashed(thing.exit())
      for (const call of [thing.thread(), thing.cells, Remote.set(thing, "cells", new Int32Array(1))]) {
        const stale = yield* failureOf(call as Effect.Effect<unknown, { readonly message: string }>)
        expect(stale).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded", thread, pool: "test" })
        expect(stale.message).toContain("Make a new proxy")
      }
      const another = yield* ThreadPool.proxy(faulty, "Thing")
      expect(yield* another.thread()).not.toBe(thread)
    }).pipe(overThreads())
  )

  it.live("a stale remote as an argument fails as it would by itself", () =>
    Effect.gen(function* () {
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      yield* crashed(thing.exit())
      const call = ThreadPool.execute((thing: { readonly cells: Int32Array }) => thing.cells.length, thing)
      expect(yield* failureOf(call)).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded" })
    }).pipe(overThreads())
  )

  it.live("the scope of a proxy whose thread ended closes as any other", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.flatMap(ThreadPool.proxy(faulty, "Thing"), (thing) => crashed(thing.exit()))
      )
      expect(yield* faulty.thread()).toBeGreaterThan(0)
      expect(yield* ThreadPool.stats).toMatchObject({ threads: [{ objects: 0 }] })
    }).pipe(overThreads())
  )

  for (const what of ["countAndExit", "countAndExitStream"] as const) {
    it.live(`a stream (${what}) gives what came, and then fails typed`, () =>
      Effect.gen(function* () {
        const items: Array<number> = []
        const run = Stream.runForEach(faulty[what](3), (item) => Effect.sync(() => items.push(item)))
        expect(yield* crashed(within("the stream", run))).toMatchObject({
          started: true,
          reason: "exit",
          task: `faulty.ts#${what}`
        })
        expect(items).toEqual([1, 2, 3])
        expect(yield* Stream.runCollect(Stream.take(faulty.count(), 3))).toEqual([1, 2, 3])
      }).pipe(overThreads())
    )
  }

  it.live("a stream whose thread ends between two pulls fails typed too", () =>
    Effect.gen(function* () {
      const items: Array<number> = []
      const run = Stream.runForEach(faulty.count(), (item) =>
        Effect.gen(function* () {
          items.push(item)
          if (item === 10) yield* crashed(faulty.exit(1))
        })
      )
      expect(yield* failureOf(within("the stream", run))).toMatchObject({
        _tag: "StaleRemote",
        reason: "threadEnded"
      })
      expect(items.length).toBeGreaterThanOrEqual(10)
      expect(yield* ThreadPool.stats).toMatchObject({ running: 0 })
    }).pipe(overThreads())
  )
})

// -----------------------------------------------------------------------------
// Interruption
// -----------------------------------------------------------------------------

describe("calls that are interrupted", slow, () => {
  it.live("in line: it never runs, and the line goes on", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const running = yield* start(faulty.hold(cells.shared, 0))
      yield* cells.raised(0)
      const all = yield* Effect.forEach([4, 5, 6], (cell) => start(faulty.sleep(cells.shared, cell, 0)))
      expect(yield* ThreadPool.stats).toMatchObject({ pending: 3 })
      yield* Fiber.interrupt(all[1]!)
      expect(yield* ThreadPool.stats).toMatchObject({ pending: 2, interrupted: 1 })
      cells.raise(1)
      yield* Fiber.join(running)
      yield* Fiber.join(all[0]!)
      yield* Fiber.join(all[2]!)
      expect(cells.slice(4, 7)).toEqual([1, 0, 1])
    }).pipe(overThreads())
  )

  it.live("sent and not begun: it never runs, and those before and behind it do", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* makeShort(faulty.whim("pass", cells.shared, 15))
      const first = yield* start(faulty.whim("hold", cells.shared, 0))
      const all = yield* Effect.forEach([4, 5, 6], (cell) => start(faulty.whim("pass", cells.shared, cell)))
      yield* cells.raised(0)
      expect(yield* ThreadPool.stats).toMatchObject({ running: 4, pending: 0 })
      yield* within("the interruption", Fiber.interrupt(all[1]!))
      cells.raise(1)
      for (const fiber of [first, all[0]!, all[2]!]) yield* within("the others", Fiber.join(fiber))
      expect(cells.slice(4, 7)).toEqual([1, 0, 1])
      expect(yield* ThreadPool.stats).toMatchObject({ interrupted: 1, killed: 0, running: 0 })
    }).pipe(overThreads())
  )

  it.live("sent and not begun, on an object: it never runs", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const first = yield* start(thing.hold(0))
      yield* cells.raised(0)
      const all = yield* Effect.forEach([4, 5, 6], (cell) => start(thing.sleep(cell, 0)))
      yield* eventuallyStats("they are sent", (_) => _.running === 4)
      yield* Fiber.interrupt(all[1]!)
      cells.raise(1)
      for (const fiber of [first, all[0]!, all[2]!]) yield* within("the others", Fiber.join(fiber))
      expect(cells.slice(4, 7)).toEqual([1, 0, 1])
    }).pipe(overThreads())
  )

  for (const by of ["flag", "signal"] as const) {
    it.live(`a synchronous loop that looks at the ${by} stops by itself, and its thread lives on`, () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const thread = yield* faulty.thread()
        const call = yield* start(faulty.spinUntilAborted(cells.shared, 0, by))
        yield* cells.raised(0)
        yield* Fiber.interrupt(call)
        yield* cells.raised(1)
        expect(yield* within("the next call", faulty.thread())).toBe(thread)
        expect(yield* ThreadPool.stats).toMatchObject({ interrupted: 1, killed: 0, created: 1 })
      }).pipe(overThreads({ killGrace: "1 minute" }))
    )
  }

  it.live("a function that was sent by its source sees it as `this.aborted`", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thread = yield* faulty.thread()
      const call = yield* start(
        ThreadPool.execute(function (cells: Int32Array) {
          Atomics.store(cells, 0, 1)
          const until = Date.now() + 20_000
          while (!this.aborted) if (Date.now() > until) return
          Atomics.store(cells, 1, 1)
        }, cells.shared)
      )
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* cells.raised(1)
      expect(yield* within("the next call", faulty.thread())).toBe(thread)
    }).pipe(overThreads({ killGrace: "1 minute" }))
  )

  it.live("a method of an object sees it, and the object lives on", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const thread = yield* thing.thread()
      const call = yield* start(thing.untilAborted(0))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* cells.raised(1)
      expect(yield* within("the next call", thing.thread())).toBe(thread)
    }).pipe(overThreads({ killGrace: "1 minute" }))
  )

  it.live("an async task hears of it by its signal, and its thread lives on", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thread = yield* faulty.thread()
      const call = yield* start(faulty.untilSignal(cells.shared, 0))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* cells.raised(1)
      expect(yield* within("the next call", faulty.thread())).toBe(thread)
    }).pipe(overThreads({ killGrace: "1 minute" }))
  )

  it.live(
    "the fiber of an Effect in the thread is interrupted, its finalizers run, and its thread lives on",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const thread = yield* faulty.thread()
        const call = yield* start(faulty.untilInterrupted(cells.shared, 0))
        yield* cells.raised(0)
        yield* Fiber.interrupt(call)
        yield* cells.raised(1)
        expect(yield* within("the next call", faulty.thread())).toBe(thread)
        expect(yield* ThreadPool.stats).toMatchObject({ interrupted: 1, killed: 0 })
      }).pipe(overThreads({ killGrace: "1 minute" }))
  )

  it.effect(
    "killGrace: an endless loop is stopped after it, and not before; meanwhile nothing else gets its slot",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const workers = yield* watchWorkers
        const pool = yield* open({ size: 2, killGrace: "1 second" })
        const listener = yield* pool.use(listen)
        const other = yield* pool.use(start(faulty.hold(cells.shared, 4)))
        yield* cells.raised(4)
        const call = yield* pool.use(start(faulty.spin(cells.shared, 0)))
        yield* cells.raised(0)
        const next = yield* pool.use(start(faulty.thread()))

        // The caller goes on at once, although no time has passed.
        yield* within("the interruption", Fiber.interrupt(call))
        yield* TestClock.adjust("999 millis")
        yield* moment
        expect(yield* pool.use(ThreadPool.stats)).toMatchObject({
          interrupted: 1,
          killed: 0,
          pending: 1,
          size: 2
        })
        expect(workers.history).toBe("++")

        yield* TestClock.adjust("1 millis")
        expect(yield* within("the next call", Fiber.join(next))).toBe(3)
        // The old one was gone before the new one came.
        expect(workers.history).toBe("++-+")
        expect(listener.of("ThreadKilled")).toMatchObject([{ pool: "test", failed: 0, moved: 0 }])
        cells.raise(5)
        expect(yield* Fiber.join(other)).not.toBe(listener.of("ThreadKilled")[0]!.thread)
        expect(yield* pool.use(ThreadPool.stats)).toMatchObject({
          killed: 1,
          crashes: 0,
          crashed: 0,
          created: 3
        })
      })
  )

  it.effect("there are never more threads than max, also while one is being stopped", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 1, killGrace: 0 })
      for (let round = 1; round <= 3; round++) {
        const call = yield* pool.use(start(faulty.spin(cells.shared, 0)))
        yield* cells.raised(0, round)
        yield* Fiber.interrupt(call)
        const next = yield* pool.use(start(faulty.thread()))
        yield* TestClock.adjust("1 millis")
        yield* within("the next call", Fiber.join(next))
      }
      yield* pool.close
      expect(workers.history).toBe("+-".repeat(4))
    })
  )

  it.effect("EV-83: a caller that times out goes on at once, and its late result reaches nobody", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(Effect.exit(Effect.timeout(faulty.hold(cells.shared, 0), "1 second")))
      yield* cells.raised(0)
      yield* TestClock.adjust("1 second")
      expect(Exit.isFailure(yield* within("the caller", Fiber.join(call)))).toBe(true)
      const next = yield* start(ThreadPool.execute((text: string) => text, "mine"))
      cells.raise(1)
      expect(yield* within("the next call", Fiber.join(next))).toBe("mine")
      expect(yield* ThreadPool.stats).toMatchObject({ interrupted: 1, succeeded: 1, killed: 0, created: 1 })
    }).pipe(overThreads())
  )

  it.effect("killGrace Infinity never stops a thread", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(faulty.hold(cells.shared, 0))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* TestClock.adjust("365 days")
      yield* moment
      const next = yield* start(faulty.thread())
      cells.raise(1)
      expect(yield* within("the next call", Fiber.join(next))).toBe(1)
      expect(yield* ThreadPool.stats).toMatchObject({ killed: 0, created: 1 })
    }).pipe(overThreads({ killGrace: Infinity }))
  )

  it.effect("a task that stops within killGrace keeps its thread, also long afterwards", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(faulty.hold(cells.shared, 0))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* TestClock.adjust("900 millis")
      cells.raise(1)
      expect(yield* within("the next call", faulty.thread())).toBe(1)
      // Another call in the same place is not the one that was to be stopped.
      const later = yield* start(faulty.hold(cells.shared, 4))
      yield* cells.raised(4)
      yield* TestClock.adjust("1 minute")
      cells.raise(5)
      expect(yield* within("the later call", Fiber.join(later))).toBe(1)
      expect(yield* ThreadPool.stats).toMatchObject({ killed: 0, created: 1 })
    }).pipe(overThreads({ killGrace: "1 second" }))
  )

  for (const what of ["deaf", "deafEffect"] as const) {
    it.effect(`killGrace: a task that waits and does not hear (${what}) is stopped with its thread`, () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const call = yield* start(faulty[what](cells.shared, 0))
        yield* cells.raised(0)
        yield* within("the interruption", Fiber.interrupt(call))
        const next = yield* start(faulty.thread())
        yield* TestClock.adjust("1 second")
        expect(yield* within("the next call", Fiber.join(next))).toBe(2)
        expect(yield* ThreadPool.stats).toMatchObject({ killed: 1 })
      }).pipe(overThreads({ killGrace: "1 second" }))
    )
  }

  it.effect("killGrace: others that run on the thread fail with it, and are told why", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const call = yield* start(faulty.deaf(cells.shared, 0))
      const beside = yield* start(Effect.exit(faulty.wait(cells.shared, 0, 1)))
      yield* cells.raised(0, 2)
      yield* Fiber.interrupt(call)
      yield* TestClock.adjust("1 second")
      const error = yield* crashed(yield* within("the one beside it", Fiber.join(beside)))
      expect(error).toMatchObject({ started: true, reason: "killed", thread: 1 })
      expect(error.message).toContain("did not stop when it was told to")
    }).pipe(overThreads({ concurrency: 2, killGrace: "1 second" }))
  )
})

describe("nothing waits behind what takes long", slow, () => {
  it.live(
    "short calls that were sent ahead behind one that turns out to be long are taken back and run elsewhere",
    () =>
      Effect.gen(function* () {
        const cells = new Cells(64)
        yield* makeShort(faulty.whim("pass", cells.shared, 0))
        const before = (yield* ThreadPool.stats).moved
        // Both threads hold, so that those behind them are with one or the other; then one goes on.
        const one = yield* start(faulty.whim("hold", cells.shared, 2))
        const two = yield* start(faulty.whim("hold", cells.shared, 4))
        const behind = yield* Effect.forEach(Array.from({ length: 30 }), (_, i) =>
          start(faulty.whim("pass", cells.shared, i + 10))
        )
        yield* cells.raised(2)
        yield* cells.raised(4)
        expect((yield* ThreadPool.stats).running).toBeGreaterThan(2)
        cells.raise(3)
        const free = yield* within("the first to go on", Fiber.join(one))
        const threads = yield* within("those behind", Effect.forEach(behind, Fiber.join))
        expect(new Set(threads)).toEqual(new Set([free]))
        expect(cells.slice(10, 40)).toEqual(Array.from({ length: 30 }, () => 1))
        expect((yield* ThreadPool.stats).moved).toBeGreaterThan(before)
        cells.raise(5)
        yield* Fiber.join(two)
      }).pipe(overThreads({ size: 2 }))
  )

  it.live("nothing is handed to a thread that is stuck while others take calls", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* makeShort(faulty.whim("pass", cells.shared, 0))
      const listener = yield* listen
      const stuck = yield* start(faulty.whim("hold", cells.shared, 2))
      yield* cells.raised(2)
      yield* moment
      const { moved } = yield* ThreadPool.stats
      for (let round = 0; round < 20; round++) {
        yield* within(
          "the calls",
          Effect.forEach(Array.from({ length: 5 }), () => faulty.whim("pass", cells.shared, 0), {
            concurrency: "unbounded"
          })
        )
      }
      const after = yield* ThreadPool.stats
      const ended = listener.of("CallEnded")
      cells.raise(3)
      const thread = yield* Fiber.join(stuck)
      expect(ended.length).toBeGreaterThan(0)
      expect(ended.filter((_) => _.thread === thread)).toEqual([])
      // None had to be taken back from it.
      expect(after.moved).toBe(moved)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("nothing is handed to a thread whose call was interrupted and does not stop", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* makeShort(faulty.whim("pass", cells.shared, 0))
      const call = yield* start(faulty.whim("hold", cells.shared, 2))
      yield* cells.raised(2)
      yield* Fiber.interrupt(call)
      const next = yield* Effect.forEach([4, 5, 6], (cell) => start(faulty.whim("pass", cells.shared, cell)))
      yield* moment
      expect(yield* ThreadPool.stats).toMatchObject({ running: 1, pending: 3 })
      cells.raise(3)
      yield* within("the next calls", Effect.forEach(next, Fiber.join))
    }).pipe(overThreads({ killGrace: Infinity }))
  )
})

describe("replies do not wait for what comes after them", slow, () => {
  it.live("the reply of a call on an object does not wait for the next one", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      yield* moment
      const first = yield* start(thing.sleep(0, 5))
      const second = yield* start(thing.hold(2))
      yield* cells.raised(2)
      expect(yield* within("the first", Fiber.join(first))).toBe(1)
      cells.raise(3)
      expect(yield* within("the second", Fiber.join(second))).toBe(1)
    }).pipe(overThreads())
  )

  it.live("the reply of a call does not wait for one that was sent with it", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* makeShort(faulty.whim("pass", cells.shared, 8))
      yield* moment
      const first = yield* start(faulty.whim("pass", cells.shared, 0))
      const second = yield* start(faulty.whim("hold", cells.shared, 2))
      yield* cells.raised(2)
      expect(yield* within("the first", Fiber.join(first))).toBe(1)
      cells.raise(3)
      expect(yield* within("the second", Fiber.join(second))).toBe(1)
    }).pipe(overThreads())
  )
})

describe("calls that must not be killed", slow, () => {
  it.effect(
    "the thread is put into quarantine after killGrace, replaced at once, and ends after the task",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const listener = yield* listen
        yield* faulty.tellOfExit(cells.shared, 8)
        const call = yield* start(ThreadPool.unkillable(faulty.hold(cells.shared, 0)))
        yield* cells.raised(0)
        yield* within("the interruption", Fiber.interrupt(call))
        const next = yield* start(faulty.hold(cells.shared, 4))
        yield* TestClock.adjust("999 millis")
        expect(yield* ThreadPool.stats).toMatchObject({ quarantined: 0, pending: 1 })

        yield* TestClock.adjust("1 millis")
        yield* cells.raised(4)
        const { quarantined, threads, ...stats } = yield* ThreadPool.stats
        expect(quarantined).toBe(1)
        expect(stats).toMatchObject({ killed: 0, size: 1, used: 1 })
        expect(threads).toMatchObject([
          { thread: 1, state: "quarantined", running: 1 },
          { thread: 2, state: "busy", running: 1 }
        ])
        yield* listener.hears("ThreadQuarantined")
        expect(listener.of("ThreadQuarantined")).toMatchObject([
          { pool: "test", thread: 1, task: "faulty.ts#hold" }
        ])
        expect(listener.of("ThreadKilled")).toEqual([])
        cells.raise(5)
        expect(yield* Fiber.join(next)).toBe(2)

        // Whatever time passes, it is left alone until the task has ended; then it ends in good order.
        yield* TestClock.adjust("1 hour")
        expect(yield* faulty.thread()).toBeGreaterThan(1)
        expect(cells.get(8)).toBe(0)
        cells.raise(1)
        yield* cells.raised(8)
        yield* eventuallyStats("it is forgotten", (_) => _.threads.every(({ thread }) => thread !== 1))
      }).pipe(overThreads({ killGrace: "1 second", idleTimeout: Infinity }))
  )

  it.effect("calls that were sent ahead to it are taken back", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* makeShort(faulty.whim("pass", cells.shared, 15))
      const call = yield* start(ThreadPool.unkillable(faulty.whim("hold", cells.shared, 0)))
      const behind = yield* Effect.forEach([4, 5, 6], (cell) =>
        start(faulty.whim("pass", cells.shared, cell))
      )
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* TestClock.adjust("1 second")
      expect(yield* within("those behind it", Effect.forEach(behind, Fiber.join))).toEqual([2, 2, 2])
      expect(cells.slice(4, 7)).toEqual([1, 1, 1])
      cells.raise(1)
      yield* eventuallyStats("it has ended", (_) => _.threads.length === 1)
    }).pipe(overThreads({ killGrace: "1 second" }))
  )

  it.effect("an unkillable call keeps its thread also when another call on it does not stop", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const native = yield* start(Effect.exit(ThreadPool.unkillable(faulty.wait(cells.shared, 0, 1))))
      const deaf = yield* start(faulty.deaf(cells.shared, 0))
      yield* cells.raised(0, 2)
      yield* Fiber.interrupt(deaf)
      yield* TestClock.adjust("1 second")
      yield* moment
      cells.raise(1)
      expect(yield* within("the unkillable call", Fiber.join(native))).toEqual(Exit.succeed(1))
    }).pipe(overThreads({ concurrency: 2, killGrace: "1 second" }))
  )

  it.live("closing the pool does not stop it in the middle; its thread ends after the task", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 1, killGrace: 1, closeTimeout: 1 })
      yield* pool.use(faulty.tellOfExit(cells.shared, 8))
      const call = yield* pool.use(start(ThreadPool.unkillable(faulty.hold(cells.shared, 0))))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* pool.close
      yield* moment
      expect(cells.get(8)).toBe(0)
      cells.raise(1)
      yield* cells.raised(8)
      yield* eventually("no thread is left", () => workers.alive.size === 0)
    })
  )
})

// -----------------------------------------------------------------------------
// Timeouts
// -----------------------------------------------------------------------------

describe("taskTimeout", slow, () => {
  const tasks = {
    "a synchronous task": (cells: Cells) => faulty.spinUntilAborted(cells.shared, 0, "flag"),
    "an async task": (cells: Cells) => faulty.untilSignal(cells.shared, 0),
    "an Effect": (cells: Cells) => faulty.untilInterrupted(cells.shared, 0)
  }
  for (const [what, call] of Object.entries(tasks)) {
    it.effect(`${what} that runs longer fails with TaskTimeout, and is told to stop`, () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const listener = yield* listen
        const running = yield* start(Effect.exit(call(cells)))
        yield* cells.raised(0)
        yield* TestClock.adjust("1999 millis")
        expect(running.pollUnsafe()).toBeUndefined()
        // The time before it began is not its own, and is real time.
        yield* TestClock.adjust("1 second")
        yield* TestClock.adjust("1 minute")
        const error = yield* failureAs("TaskTimeout")(yield* within("the caller", Fiber.join(running)))
        expect(error).toMatchObject({ pool: "test", thread: 1 })
        expect(Duration.toMillis(error.timeout)).toBe(2000)
        expect(error.message).toContain("longer than 2 s (taskTimeout)")
        yield* cells.raised(1)
        expect(yield* within("the next call", faulty.thread())).toBe(1)
        expect(yield* ThreadPool.stats).toMatchObject({ timedOut: 1, interrupted: 0, killed: 0, created: 1 })
        expect(listener.of("CallEnded")[0]).toMatchObject({ outcome: "timedOut" })
      }).pipe(overThreads({ taskTimeout: "2 seconds", killGrace: "1 hour" }))
    )
  }

  it.effect("an endless loop is stopped killGrace after it", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const running = yield* start(Effect.exit(faulty.spin(cells.shared, 0)))
      yield* cells.raised(0)
      yield* TestClock.adjust("2 seconds")
      yield* TestClock.adjust("1 minute")
      yield* failureAs("TaskTimeout")(yield* within("the caller", Fiber.join(running)))
      expect(yield* ThreadPool.stats).toMatchObject({ timedOut: 1, killed: 0 })
      const next = yield* start(faulty.thread())
      yield* TestClock.adjust("1 hour")
      expect(yield* within("the next call", Fiber.join(next))).toBe(2)
      expect(yield* ThreadPool.stats).toMatchObject({ killed: 1 })
    }).pipe(overThreads({ taskTimeout: "2 seconds", killGrace: "1 hour" }))
  )

  it.effect("a task that ends in time is not touched, and neither is the next one in its place", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* faulty.thread()
      yield* TestClock.adjust("1500 millis")
      const running = yield* start(faulty.hold(cells.shared, 0))
      yield* cells.raised(0)
      yield* TestClock.adjust("1500 millis")
      cells.raise(1)
      expect(yield* within("the call", Fiber.join(running))).toBe(1)
      expect(yield* ThreadPool.stats).toMatchObject({ timedOut: 0 })
    }).pipe(overThreads({ taskTimeout: "2 seconds" }))
  )

  it.effect("waiting in line does not count", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const first = yield* start(Effect.exit(faulty.hold(cells.shared, 0)))
      yield* cells.raised(0)
      const second = yield* start(faulty.hold(cells.shared, 4))
      yield* TestClock.adjust("1500 millis")
      cells.raise(1)
      yield* cells.raised(4)
      yield* TestClock.adjust("1500 millis")
      cells.raise(5)
      yield* Fiber.join(first)
      expect(yield* within("the second", Fiber.join(second))).toBe(1)
    }).pipe(overThreads({ taskTimeout: "2 seconds" }))
  )

  // In real time: how long a task has waited in its thread is what the thread says.
  it.live("waiting for an object's earlier calls does not count", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const calls = yield* Effect.forEach([0, 2], (cell) => start(thing.sleep(cell, 2_000)))
      expect(yield* within("the calls", Effect.forEach(calls, Fiber.join))).toEqual([1, 1])
    }).pipe(overThreads({ taskTimeout: "3 seconds" }))
  )

  it.live("waiting in the thread behind another call does not count", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      yield* makeShort(faulty.sleep(cells.shared, 14, 0))
      const calls = yield* Effect.forEach([0, 2], (cell) => start(faulty.sleep(cells.shared, cell, 2_000)))
      yield* cells.raised(0)
      expect(yield* ThreadPool.stats).toMatchObject({ running: 2, pending: 0 })
      expect(yield* within("the calls", Effect.forEach(calls, Fiber.join))).toEqual([1, 1])
    }).pipe(overThreads({ taskTimeout: "3 seconds" }))
  )
})

// -----------------------------------------------------------------------------
// Modules
// -----------------------------------------------------------------------------

describe("modules that cannot be loaded", slow, () => {
  const broken = ThreadPool.module<typeof import("./modules/broken.ts")>(moduleUrl("broken"))

  it.live(
    "one that throws at load fails each call with the module's own error, and the thread lives on",
    () =>
      Effect.gen(function* () {
        for (let i = 0; i < 2; i++) {
          const error = yield* failureAs("TaskFailed")(broken.never())
          expect(error).toMatchObject({
            task: "broken.ts#never",
            className: "NoConfiguration",
            reason: "settings.json is missing",
            properties: { file: "settings.json" }
          })
          expect(error.cause).toMatchObject({ name: "NoConfiguration", cause: { message: "ENOENT" } })
          expect(error.message).toContain("NoConfiguration: settings.json is missing")
        }
        expect(yield* faulty.thread()).toBe(1)
        expect(yield* ThreadPool.stats).toMatchObject({ failed: 2, crashes: 0 })
      }).pipe(overThreads())
  )

  it.live("one that throws at load fails a proxy in the same way", () =>
    Effect.gen(function* () {
      const error = yield* failureAs("TaskFailed")(
        ThreadPool.proxy(broken, "NoConfiguration", ["it"]) as Effect.Effect<
          unknown,
          ThreadError.ThreadError,
          any
        >
      )
      expect(error).toMatchObject({ className: "NoConfiguration", reason: "settings.json is missing" })
    }).pipe(overThreads())
  )

  it.live("one that is not there fails the call, and the message names it; once it is there it works", () =>
    Effect.gen(function* () {
      const file = yield* makeEntry
      const late = ThreadPool.module<{ readonly answer: () => number }>(file.url)
      const error = yield* failureAs("TaskFailed")(late.answer())
      expect(error.properties).toMatchObject({ code: "ERR_MODULE_NOT_FOUND" })
      expect(error.reason).toContain("entry.mjs")
      file.write({ after: "export const answer = () => 42", runs: false })
      expect(yield* late.answer()).toBe(42)
    }).pipe(overThreads())
  )

  it.live("one that does not parse fails the call", () =>
    Effect.gen(function* () {
      const file = yield* makeEntry
      file.write({ after: "export const answer = = 42", runs: false })
      const call = ThreadPool.module<{ readonly answer: () => number }>(file.url).answer()
      expect(yield* failureAs("TaskFailed")(call)).toMatchObject({ className: "SyntaxError" })
      expect(yield* faulty.thread()).toBe(1)
    }).pipe(overThreads())
  )

  it.live(
    "preload: one that throws fails the layer with SpawnFailed, which shows the module's own error",
    () =>
      Effect.gen(function* () {
        const workers = yield* watchWorkers
        const layer = NodeThreads.layer({
          name: "test",
          size: 2,
          preload: [moduleUrl("broken")],
          spawnRetry: Schedule.recurs(0)
        })
        const error = yield* failureAs("SpawnFailed")(within("the layer", Effect.scoped(Layer.build(layer))))
        expect(error).toMatchObject({ pool: "test", reason: "NoConfiguration: settings.json is missing" })
        expect(error.cause).toMatchObject({ name: "NoConfiguration", file: "settings.json" })
        expect(error.message).toContain(
          "no thread could be started: NoConfiguration: settings.json is missing"
        )
        yield* eventually("no thread is left", () => workers.alive.size === 0)
      })
  )

  it.live("preload: with min 0 the calls in line fail with it", () =>
    Effect.gen(function* () {
      const error = yield* failureAs("SpawnFailed")(within("the call", faulty.thread()))
      expect(error.reason).toContain("settings.json is missing")
    }).pipe(
      overThreads({
        size: undefined,
        min: 0,
        max: 1,
        preload: [moduleUrl("broken")],
        spawnRetry: Schedule.recurs(0)
      })
    )
  )

  it.live("preload: a module is loaded before the thread is ready", () =>
    Effect.gen(function* () {
      const loaded = yield* ThreadPool.execute(() => (globalThis as { preloaded?: boolean }).preloaded)
      expect(loaded).toBe(true)
    }).pipe(overThreads({ preload: ["data:text/javascript,globalThis.preloaded = true"] }))
  )
})

// -----------------------------------------------------------------------------
// Threads that cannot start
// -----------------------------------------------------------------------------

describe("a thread that cannot start", slow, () => {
  const noRetry = { spawnRetry: Schedule.recurs(0) }
  const lazy = { size: undefined, min: 0, max: 1 }

  const entries = {
    "is not there": [undefined, "Cannot find module"],
    throws: [{ before: "throw new TypeError('the entry is wrong')" }, "TypeError: the entry is wrong"],
    "exits at once": [{ before: "process.exit(3)" }, "exited with code: 3"],
    "rejects later": [
      { before: "setTimeout(() => Promise.reject(new Error('too late')), 1)", runs: false },
      "too late"
    ]
  } as const

  for (const [what, [content, says]] of Object.entries(entries)) {
    it.live(`an entry that ${what} fails the layer with SpawnFailed, which tells why`, () =>
      Effect.gen(function* () {
        const entry = yield* makeEntry
        if (content !== undefined) entry.write(content)
        const workers = yield* watchWorkers
        const layer = NodeThreads.layer({ name: "test", size: 2, entry: entry.url, ...noRetry })
        const error = yield* failureAs("SpawnFailed")(within("the layer", Effect.scoped(Layer.build(layer))))
        expect(error.pool).toBe("test")
        expect(error.reason).toContain(says)
        expect(error.message).toContain(says)
        expect(error.cause).toBeDefined()
        yield* eventually("no thread is left", () => workers.alive.size === 0)
      })
    )

    it.live(`min 0: with an entry that ${what} all calls in line fail with it, and none hangs`, () =>
      Effect.gen(function* () {
        const entry = yield* makeEntry
        if (content !== undefined) entry.write(content)
        const pool = yield* open({ ...lazy, max: 2, entry: entry.url, ...noRetry })
        const calls = yield* pool.use(
          Effect.forEach(Array.from({ length: 7 }), () => start(Effect.exit(faulty.thread())))
        )
        for (const call of calls) {
          const error = yield* failureAs("SpawnFailed")(yield* within("a call", Fiber.join(call)))
          expect(error.reason).toContain(says)
        }
        expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ pending: 0, running: 0 })
      })
    )
  }

  it.live("when the entry comes to be there, the next call works", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      const pool = yield* open({ ...lazy, entry: entry.url, ...noRetry })
      yield* failureAs("SpawnFailed")(pool.use(faulty.thread()))
      entry.write({})
      expect(yield* within("the next call", pool.use(faulty.thread()))).toBeGreaterThan(0)
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ size: 1, failures: 1, created: 1 })
    })
  )

  it.effect("attempts follow one another after 100, 200 and 400 ms, unless spawnRetry says otherwise", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      const pool = yield* open({ ...lazy, entry: entry.url })
      const call = yield* pool.use(start(Effect.exit(faulty.thread())))
      for (const [attempt, pause] of [100, 200, 400].entries()) {
        yield* eventually(
          "the attempt",
          Effect.map(pool.use(ThreadPool.stats), (_) => _.failures === attempt + 1)
        )
        yield* TestClock.adjust(pause - 1)
        yield* moment
        expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ failures: attempt + 1, pending: 1 })
        yield* TestClock.adjust(1)
      }
      const error = yield* failureAs("SpawnFailed")(yield* within("the call", Fiber.join(call)))
      expect(error.reason).toContain("Cannot find module")
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ failures: 4, pending: 0 })
    })
  )

  it.effect("those in line are served when a later attempt succeeds", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      const pool = yield* open({ ...lazy, max: 2, entry: entry.url })
      const calls = yield* pool.use(Effect.forEach([1, 2, 3], () => start(faulty.thread())))
      yield* eventually(
        "the first attempts",
        Effect.map(pool.use(ThreadPool.stats), (_) => _.failures >= 2)
      )
      entry.write({})
      yield* TestClock.adjust(100)
      for (const call of calls) expect(yield* within("a call", Fiber.join(call))).toBeGreaterThan(0)
    })
  )

  it.live("calls wait for the threads that are up, when no more can be started", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      entry.write({})
      const pool = yield* open({ min: 1, max: 2, entry: entry.url, ...noRetry })
      const cells = new Cells()
      const first = yield* pool.use(start(faulty.hold(cells.shared, 0)))
      yield* cells.raised(0)
      entry.remove()
      const second = yield* pool.use(start(faulty.thread()))
      yield* eventually(
        "a failed attempt",
        Effect.map(pool.use(ThreadPool.stats), (_) => _.failures > 0)
      )
      expect(second.pollUnsafe()).toBeUndefined()
      cells.raise(1)
      expect(yield* within("the second", Fiber.join(second))).toBe(yield* Fiber.join(first))
    })
  )

  it.effect("attempts to start more pause when they fail, also while a thread is up and calls wait", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      entry.write({})
      const pool = yield* open({ min: 1, max: 2, entry: entry.url, ...noRetry })
      const cells = new Cells()
      const first = yield* pool.use(start(faulty.hold(cells.shared, 0)))
      yield* cells.raised(0)
      entry.remove()
      const second = yield* pool.use(start(faulty.thread()))
      const failures = Effect.map(pool.use(ThreadPool.stats), (_) => _.failures)
      yield* eventually(
        "a failed attempt",
        Effect.map(failures, (_) => _ > 0)
      )
      // No time passes: whoever tries again does not wait.
      for (let i = 0; i < 5; i++) yield* moment
      expect(yield* failures).toBeLessThan(4)
      cells.raise(1)
      yield* within("both", Effect.forEach([first, second], Fiber.join))
    })
  )

  it.effect("a thread that ends as soon as it is ready is not replaced again and again without a pause", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      entry.write({})
      const workers = yield* watchWorkers
      const pool = yield* open({
        size: 1,
        entry: entry.url,
        preload: ["data:text/javascript,setTimeout(() => process.exit(1), 5)"],
        ...noRetry
      })
      yield* eventually("the first has ended", () => workers.history.startsWith("+-"))
      for (let i = 0; i < 5; i++) yield* moment
      expect(workers.history.split("+").length - 1).toBeLessThan(4)
      yield* pool.close
    })
  )

  it.effect("spawnTimeout: a thread that does not get ready fails the layer, and is stopped", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      entry.write({ before: "setInterval(() => {}, 1000)", runs: false })
      const workers = yield* watchWorkers
      const layer = NodeThreads.layer({
        name: "test",
        size: 1,
        entry: entry.url,
        spawnTimeout: "3 seconds",
        ...noRetry
      })
      const building = yield* start(Effect.exit(Effect.scoped(Layer.build(layer))))
      yield* eventually("it is being started", () => workers.alive.size === 1)
      yield* TestClock.adjust("3 seconds")
      yield* moment
      yield* TestClock.adjust("1 minute")
      const error = yield* failureAs("SpawnFailed")(yield* within("the layer", Fiber.join(building)))
      expect(error.message).toMatch(/3 s|3000 ms/)
      expect(error.message).toContain("spawnTimeout")
      yield* eventually("no thread is left", () => workers.alive.size === 0)
    })
  )

  it.effect("spawnTimeout: with min 0 the calls in line fail with it", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      entry.write({ before: "for (;;);", runs: false })
      const workers = yield* watchWorkers
      const pool = yield* open({ ...lazy, entry: entry.url, spawnTimeout: "3 seconds", ...noRetry })
      const calls = yield* pool.use(Effect.forEach([1, 2], () => start(Effect.exit(faulty.thread()))))
      yield* eventually("a thread is being started", () => workers.alive.size === 1)
      yield* TestClock.adjust("3 seconds")
      for (const call of calls) {
        const error = yield* failureAs("SpawnFailed")(yield* within("a call", Fiber.join(call)))
        expect(error.message).toContain("spawnTimeout")
      }
      // Effect's own patience with a worker that is told to end.
      yield* TestClock.adjust("1 minute")
      yield* eventually("no thread is left", () => workers.alive.size === 0)
    })
  )
})

// -----------------------------------------------------------------------------
// Closing
// -----------------------------------------------------------------------------

describe("closing the pool", slow, () => {
  const closed = failureAs("ThreadPoolClosed")

  it.live(
    "what waits fails with ThreadPoolClosed at once, what runs ends with its result, and no thread is left",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const workers = yield* watchWorkers
        const pool = yield* open({ size: 1 })
        const running = yield* pool.use(start(faulty.hold(cells.shared, 0)))
        yield* cells.raised(0)
        const queued = yield* pool.use(
          Effect.forEach([4, 5, 6], (cell) => start(Effect.exit(faulty.sleep(cells.shared, cell, 0))))
        )
        const closing = yield* start(pool.close)
        for (const call of queued) {
          const error = yield* closed(yield* within("what waits", Fiber.join(call)))
          expect(error).toMatchObject({ pool: "test", task: "faulty.ts#sleep" })
        }
        expect(closing.pollUnsafe()).toBeUndefined()
        expect(running.pollUnsafe()).toBeUndefined()
        expect(yield* closed(pool.use(faulty.thread()))).toMatchObject({ task: "faulty.ts#thread" })

        cells.raise(1)
        expect(yield* within("what runs", Fiber.join(running))).toBe(1)
        yield* Fiber.join(closing)
        expect(workers.history).toBe("+-")
        expect(cells.slice(4, 7)).toEqual([0, 0, 0])
        yield* closed(pool.use(faulty.thread()))
      })
  )

  it.live("closeTimeout: an endless task is stopped after it, and not before; its caller hears", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 2, closeTimeout: "1 second" })
      const endless = yield* pool.use(start(Effect.exit(faulty.spin(cells.shared, 0))))
      const long = yield* pool.use(start(faulty.hold(cells.shared, 4)))
      yield* cells.raised(0)
      yield* cells.raised(4)
      const closing = yield* start(pool.close)
      yield* moment
      expect(closing.pollUnsafe()).toBeUndefined()
      expect(endless.pollUnsafe()).toBeUndefined()
      cells.raise(5)
      yield* within("the long task", Fiber.join(long))
      expect(endless.pollUnsafe()).toBeUndefined()
      expect(yield* crashed(yield* within("the endless task", Fiber.join(endless)))).toMatchObject({
        started: true,
        reason: "killed"
      })
      yield* Fiber.join(closing)
      expect(workers.alive.size).toBe(0)
    })
  )

  it.live("a task that nobody waits for any more does not keep the pool open", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 1, killGrace: Infinity, closeTimeout: Infinity })
      const call = yield* pool.use(start(faulty.spin(cells.shared, 0)))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* pool.close
      expect(workers.history).toBe("+-")
    })
  )

  it.live(
    "a task that nobody waits for any more does not keep it open beside one that somebody waits for",
    () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const workers = yield* watchWorkers
        const pool = yield* open({ size: 1, concurrency: 2, killGrace: Infinity, closeTimeout: Infinity })
        const call = yield* pool.use(start(faulty.deaf(cells.shared, 0)))
        const other = yield* pool.use(start(faulty.wait(cells.shared, 0, 1)))
        yield* cells.raised(0, 2)
        yield* Fiber.interrupt(call)
        const closing = yield* start(pool.close)
        cells.raise(1)
        yield* within("the other", Fiber.join(other))
        yield* Fiber.join(closing)
        expect(workers.history).toBe("+-")
      })
  )

  it.live("a caller that gives up while the pool closes does not keep it open", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const pool = yield* open({ size: 1, killGrace: Infinity, closeTimeout: Infinity })
      const call = yield* pool.use(start(faulty.spin(cells.shared, 0)))
      yield* cells.raised(0)
      const closing = yield* start(pool.close)
      yield* moment
      yield* Fiber.interrupt(call)
      yield* Fiber.join(closing)
      expect(workers.history).toBe("+-")
    })
  )

  it.live("the fiber of an interrupted Effect gets to its finalizers before its thread is stopped", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const pool = yield* open({ size: 1 })
      const call = yield* pool.use(start(faulty.untilInterrupted(cells.shared, 0)))
      yield* cells.raised(0)
      yield* Fiber.interrupt(call)
      yield* pool.close
      expect(cells.get(1)).toBe(1)
    })
  )

  it.live("what was sent ahead and not begun does not hang behind a task that is running", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const pool = yield* open({ size: 2 })
      yield* pool.use(makeShort(faulty.whim("pass", cells.shared, 15)))
      const running = yield* pool.use(
        Effect.forEach([0, 2], (cell) => start(faulty.whim("hold", cells.shared, cell)))
      )
      const ahead = yield* pool.use(
        Effect.forEach([8, 9, 10, 11], (cell) => start(Effect.exit(faulty.whim("pass", cells.shared, cell))))
      )
      yield* cells.raised(0)
      yield* cells.raised(2)
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ running: 6 })
      const closing = yield* start(pool.close)
      cells.raise(3)
      yield* within("the one that goes on", Fiber.join(running[1]!))
      yield* moment
      cells.raise(1)
      yield* within("the other one", Fiber.join(running[0]!))
      for (const call of ahead) {
        const exit = yield* within("what was sent ahead", Fiber.join(call))
        if (Exit.isFailure(exit)) yield* closed(exit)
      }
      yield* Fiber.join(closing)
    })
  )

  it.live("what was sent ahead behind an endless task is told when that is stopped", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const pool = yield* open({ size: 1, closeTimeout: "1 second" })
      yield* pool.use(makeShort(faulty.whim("pass", cells.shared, 15)))
      const endless = yield* pool.use(start(Effect.exit(faulty.whim("spin", cells.shared, 0))))
      const ahead = yield* pool.use(
        Effect.forEach([8, 9, 10], (cell) => start(Effect.exit(faulty.whim("pass", cells.shared, cell))))
      )
      yield* cells.raised(0)
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ running: 4 })
      const closing = yield* start(pool.close)
      yield* crashed(yield* within("the endless task", Fiber.join(endless)))
      for (const call of ahead) yield* closed(yield* within("what was sent ahead", Fiber.join(call)))
      yield* Fiber.join(closing)
      expect(cells.slice(8, 11)).toEqual([0, 0, 0])
    })
  )

  it.live("what was sent ahead is told when its thread ends while the pool closes", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const pool = yield* open({ size: 1, closeTimeout: Infinity })
      yield* pool.use(makeShort(faulty.whim("pass", cells.shared, 15)))
      const running = yield* pool.use(start(Effect.exit(faulty.whim("holdAndExit", cells.shared, 0))))
      const ahead = yield* pool.use(
        Effect.forEach([8, 9, 10], (cell) => start(Effect.exit(faulty.whim("pass", cells.shared, cell))))
      )
      yield* cells.raised(0)
      expect(yield* pool.use(ThreadPool.stats)).toMatchObject({ running: 4 })
      const closing = yield* start(pool.close)
      cells.raise(1)
      yield* crashed(yield* within("the one that exits", Fiber.join(running)))
      for (const call of ahead) {
        const exit = yield* within("what was sent ahead", Fiber.join(call))
        if (Exit.isFailure(exit)) yield* closed(exit)
      }
      yield* Fiber.join(closing)
    })
  )

  it.effect("a thread that is still being started does not keep the pool open", () =>
    Effect.gen(function* () {
      const entry = yield* makeEntry
      entry.write({ before: "setInterval(() => {}, 1000)", runs: false })
      const workers = yield* watchWorkers
      const pool = yield* open({
        min: 0,
        max: 1,
        entry: entry.url,
        spawnTimeout: Infinity,
        closeTimeout: Infinity
      })
      const call = yield* pool.use(start(Effect.exit(faulty.thread())))
      yield* eventually("it is being started", () => workers.alive.size === 1)
      const closing = yield* start(pool.close)
      yield* closed(yield* within("the call", Fiber.join(call)))
      yield* moment
      // Effect's own patience with a worker that is told to end.
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closing)
      yield* eventually("no thread is left", () => workers.alive.size === 0)
    })
  )

  it.live("remotes say so, and can be released afterwards", () =>
    Effect.gen(function* () {
      const pool = yield* open({ size: 1 })
      const scope = yield* Scope.make()
      const thing = yield* Scope.provide(pool.use(ThreadPool.proxy(faulty, "Thing")), scope)
      expect(yield* thing.thread()).toBe(1)
      yield* pool.close
      yield* closed(thing.thread())
      yield* within("the release", Scope.close(scope, Exit.void))
    })
  )

  it.live("a stream that is open does not keep the pool open, and fails typed", () =>
    Effect.gen(function* () {
      const pool = yield* open({ size: 1, closeTimeout: "1 minute" })
      const run = pool.use(
        Stream.runForEach(faulty.count(), (item) => (item === 1000 ? pool.close : Effect.void))
      )
      const error = yield* failureOf(within("the stream", run))
      expect(["ThreadPoolClosed", "StaleRemote"]).toContain(error._tag)
    })
  )

  it.live("a program that is interrupted closes its pool, whatever its tasks do", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const workers = yield* watchWorkers
      const program = yield* start(
        Effect.all(
          [
            faulty.spin(cells.shared, 0),
            faulty.deaf(cells.shared, 0),
            faulty.untilInterrupted(cells.shared, 0)
          ],
          { concurrency: "unbounded" }
        ).pipe(overThreads({ size: 3 }))
      )
      yield* cells.raised(0, 3)
      yield* within("the interruption", Fiber.interrupt(program))
      expect(Cause.hasInterruptsOnly(yield* Effect.flip(Effect.sandbox(Fiber.join(program))))).toBe(true)
      yield* turn
      expect(workers.alive.size).toBe(0)
    })
  )
})

// -----------------------------------------------------------------------------
// Disposal
// -----------------------------------------------------------------------------

describe("objects whose disposal fails", slow, () => {
  const names = ["Undisposable", "UndisposableLater", "Unaskable", "Clinging"] as const
  for (const name of names) {
    it.live(`${name}: nobody fails, and the thread lives on without the object`, () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const used = Effect.scoped(
          Effect.flatMap(ThreadPool.proxy(faulty, name, [cells.shared]), (thing) => thing.thread())
        )
        const thread = yield* within("the scope of the proxy", used)
        yield* cells.raised(0)
        for (let i = 0; i < 3; i++) expect(yield* within("the next call", faulty.thread())).toBe(thread)
        expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0, threads: [{ objects: 0 }] })
      }).pipe(overThreads({ killGrace: 100 }), Effect.provide(Logger.layer([])))
    )

    it.live(`${name}: the pool closes although it is still there`, () =>
      Effect.gen(function* () {
        const cells = new Cells()
        const workers = yield* watchWorkers
        const pool = yield* open({ size: 1 })
        const scope = yield* Scope.make()
        yield* Scope.provide(pool.use(ThreadPool.proxy(faulty, name, [cells.shared])), scope)
        yield* pool.close
        expect(workers.history).toBe("+-")
        yield* within("the scope of the proxy", Scope.close(scope, Exit.void))
        expect(cells.get(0)).toBe(1)
      }).pipe(Effect.provide(Logger.layer([])))
    )
  }
})
