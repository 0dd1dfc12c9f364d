/**
 * What programs written for eventlet's `tpool` rely on, one row of its list of behaviours after the other. Where
 * eventlet has a defect, the test asserts the remedy.
 */
import { NodeThreads, Remote, type Task, type ThreadError, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, type Layer, Option, Stream } from "effect"
import { availableParallelism } from "node:os"
import {
  collectGarbage,
  defectOf,
  eventually,
  eventuallyStats,
  failureAs,
  failureOf,
  logged,
  moduleUrl,
  over,
  overThreads,
  places,
  Shared,
  start,
  taskFailed
} from "./kit.ts"
import type * as Effects from "./modules/effects.ts"
import type * as Failures from "./modules/failures.ts"
import type * as Heap from "./modules/heap.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Plain from "./modules/plain.ts"

const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))
const effects = ThreadPool.module<typeof Effects>(moduleUrl("effects"))
const failures = ThreadPool.module<typeof Failures>(moduleUrl("failures"))
const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))
const heap = ThreadPool.module<typeof Heap>(moduleUrl("heap"))

/** What holds wherever tasks run. */
describe.each(places)("$name", ({ layer }) => {
  it.live("EV-75 execute gives what the function gives, and forwards its arguments", () =>
    Effect.gen(function* () {
      expect(yield* ThreadPool.execute((a: number, b: number) => a + b, 1, 2)).toBe(3)
      expect(yield* ThreadPool.execute(() => "nothing")).toBe("nothing")
      const given = [
        1,
        "a",
        undefined,
        null,
        { deep: [1n, new Date(0)] },
        new Map([["a", new Set([1])]])
      ] as const
      expect(yield* plain.all(...given)).toEqual(given)
      expect(yield* plain.countArguments(undefined, undefined)).toBe(2)
      expect(yield* plain.countArguments()).toBe(0)
    }).pipe(over(layer))
  )

  it.live("EV-75 only the fiber that calls waits for the call", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const waiting = yield* start(plain.beginAndWait(shared.cells))
      yield* shared.until(1)
      const steps: Array<number> = []
      for (let i = 0; i < 3; i++) {
        yield* Effect.yieldNow
        steps.push(i)
      }
      expect(steps).toEqual([0, 1, 2])
      expect(waiting.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      expect(yield* Fiber.join(waiting)).toBe(1)
    }).pipe(over(layer))
  )

  it.live("EV-79 a failure reaches the caller with class, message, stack and cause", () =>
    Effect.gen(function* () {
      const error = yield* taskFailed(failures.chain())
      expect(error).toMatchObject({ task: "failures.ts#chain", className: "Error", reason: "the outside" })
      expect(error.stack).toMatch(/failures\.ts/)
      expect(error.cause).toMatchObject({
        name: "Error",
        message: "the outside",
        cause: { name: "TypeError", message: "the middle", cause: { message: "more than 1", limit: 1 } }
      })

      const own = yield* taskFailed(
        ThreadPool.execute((text: string) => {
          throw new RangeError(text)
        }, "too far")
      )
      expect(own).toMatchObject({ className: "RangeError", reason: "too far" })
    }).pipe(over(layer))
  )

  it.live("EV-82 a value that looks like an error is a value", () =>
    Effect.gen(function* () {
      const looks = [0, 1, 2, 3, 4, 5]
      const expected = yield* Effect.promise(() => import("./modules/failures.ts"))
      for (const i of looks) {
        const value = yield* failures.lookAlike(i)
        expect(value).toEqual(expected.lookAlike(i))
      }
      const value = yield* failures.lookAlike(0)
      expect(value).toBeInstanceOf(Error)
      expect(value).toMatchObject({ name: "RangeError", message: "a value" })
      expect(yield* plain.later(1)).toBe(1)
      // As an argument, too.
      expect(yield* plain.echo(expected.lookAlikes())).toEqual(expected.lookAlikes())
    }).pipe(over(layer))
  )

  it.live("EV-83 a caller that times out goes on at once, and the late result reaches nobody", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const late = yield* Effect.timeoutOption(plain.beginAndWait(shared.cells), 5)
      expect(Option.isNone(late)).toBe(true)

      const callers = yield* Effect.forEach([10, 20, 30], (n) => start(plain.later(n, n)))
      shared.set(77, 1)
      const results = yield* Effect.forEach(callers, Fiber.join)
      expect(results).toEqual([10, 20, 30])
      // What was abandoned has ended by itself.
      yield* eventuallyStats("nothing runs", (stats) => stats.running === 0)
      expect(yield* ThreadPool.stats).toMatchObject({ succeeded: 3, interrupted: 1, failed: 0 })
    }).pipe(over(layer))
  )

  it.live("EV-83 with many that give up, each of the others gets its own result", () =>
    Effect.gen(function* () {
      const numbers = Array.from({ length: 200 }, (_, i) => i)
      const results = yield* Effect.forEach(
        numbers,
        (i) => {
          const call = plain.later(i, i % 7)
          return i % 3 === 0 ? Effect.asSome(call) : Effect.timeoutOption(call, i % 5)
        },
        { concurrency: "unbounded" }
      )
      results.forEach((result, i) => {
        if (i % 3 === 0) expect(result).toEqual(Option.some(i))
        else if (Option.isSome(result)) expect(result.value).toBe(i)
      })
    }).pipe(over(layer))
  )

  it.live("EV-84 a call within a call runs where it is, however deep", () =>
    Effect.gen(function* () {
      const { sum, threads } = yield* effects.nested(5)
      // 5 + 1 + 1, and 0 + 1 + 1 for the call inside.
      expect(sum).toBe(9)
      expect(new Set(threads).size).toBe(1)
      expect(yield* effects.nestedMany(100)).toBe(4950)
      const error = yield* failureAs("TaskFailed")(
        effects.nestedFailure() as Effect.Effect<never, ThreadError.ThreadError, ThreadPool.ThreadPool>
      )
      expect(error.reason).toMatch(/from the innermost/)
    }).pipe(over(layer))
  )

  it.live("EV-93 in 10 loops of 100 jittered calls each reply reaches its caller", () =>
    Effect.gen(function* () {
      for (let loop = 0; loop < 10; loop++) {
        const wanted = Array.from({ length: 100 }, (_, i) => loop * 100 + i)
        const got = yield* Effect.forEach(wanted, (n) => plain.later(n, (n * 7) % 5), {
          concurrency: "unbounded"
        })
        expect(got).toEqual(wanted)
      }
    }).pipe(over(layer))
  )

  it.live("EV-95 a missing member of an object fails at access, and the error tells what there is", () =>
    Effect.gen(function* () {
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      const read = yield* taskFailed(
        (counter as any).nothing as Effect.Effect<unknown, ThreadError.ThreadError>
      )
      expect(read).toMatchObject({ className: "TypeError", task: "Counter.nothing" })
      expect(read.reason).toMatch(/nothing does not exist .*Counter.*increment/)
      const called = yield* taskFailed(
        (counter as any).nothing(1) as Effect.Effect<unknown, ThreadError.ThreadError>
      )
      expect(called.reason).toMatch(/nothing is not a method of Counter.*increment/)
      // The object is none the worse.
      expect(yield* counter.increment()).toBe(2)
    }).pipe(over(layer))
  )

  it.live(
    "EV-97 with autowrap by type, matching results and attributes stay in the thread, others are plain",
    () =>
      Effect.gen(function* () {
        const node = yield* ThreadPool.proxy(objects, "Node", ["oak"], { autowrap: ["Leaf"] })
        const leaf = (yield* node.leaf) as any
        expect(Remote.isRemote(leaf)).toBe(true)
        expect(yield* leaf.shout()).toBe("FIRST")

        for (const call of [node.same(), node.sameLater(), node.sameEffect(), node.fresh()]) {
          const result = yield* call
          expect(Remote.isRemote(result)).toBe(true)
        }
        // Of a class that extends it.
        const big = (yield* node.big) as any
        expect(Remote.isRemote(big)).toBe(true)
        // Of the same kind: what it gives is wrapped as well.
        expect(Remote.isRemote(yield* Remote.get(node, "leaf"))).toBe(true)

        expect(yield* node.record()).toEqual({ answer: 42 })
        expect(yield* node.plain).toEqual({ of: "records" })
        expect(yield* node.text()).toBe("text")
        expect(yield* node.nothing()).toBe(null)
        // A Node is not asked for.
        expect(Remote.isRemote(yield* leaf.up())).toBe(false)
      }).pipe(over(layer))
  )

  it.live("EV-97 what is wrapped wraps by the same rules", () =>
    Effect.gen(function* () {
      const node = yield* ThreadPool.proxy(objects, "Node", ["oak"], { autowrap: ["Leaf", "Node"] })
      const leaf = (yield* node.same()) as any
      const again = yield* leaf.up()
      expect(again).toBe(node)
      expect(Remote.isRemote(yield* again.fresh())).toBe(true)
    }).pipe(over(layer))
  )

  it.live("EV-98 with autowrap by name, what named methods and attributes give stays in the thread", () =>
    Effect.gen(function* () {
      const node = yield* ThreadPool.proxy(objects, "Node", ["oak"], {
        autowrapNames: ["record", "plain", "sameLater", "sameEffect", "nothing", "text"]
      })
      const record = (yield* node.record()) as any
      expect(Remote.isRemote(record)).toBe(true)
      expect(yield* record.answer).toBe(42)
      expect(Remote.isRemote(yield* node.plain)).toBe(true)
      expect(Remote.isRemote(yield* Remote.get(node, "plain"))).toBe(true)
      for (const call of [node.sameLater(), node.sameEffect()]) {
        const leaf = (yield* call) as any
        expect(Remote.isRemote(leaf)).toBe(true)
        expect(yield* leaf.shout()).toBe("FIRST")
      }
      // What is no object is as it is.
      expect(yield* node.nothing()).toBe(null)
      expect(yield* node.text()).toBe("text")
      // Others are plain.
      expect(Remote.isRemote(yield* node.fresh())).toBe(false)
    }).pipe(over(layer))
  )

  it.live("EV-99 an object is never wrapped twice: it comes as the same remote, however it comes", () =>
    Effect.gen(function* () {
      const node = yield* ThreadPool.proxy(objects, "Node", ["oak"], {
        autowrap: ["Leaf"],
        autowrapNames: ["leaf", "same"]
      })
      const leaf = yield* node.leaf
      expect(yield* node.leaf).toBe(leaf)
      expect(yield* node.same()).toBe(leaf)
      expect(yield* node.sameLater()).toBe(leaf)
      expect(yield* node.sameEffect()).toBe(leaf)
      expect(yield* Remote.get(node, "leaf")).toBe(leaf)
      expect(yield* node.fresh()).not.toBe(leaf)
      // Nor is a remote wrapped that went there as an argument.
      expect(yield* node.isOwn(leaf)).toBe(true)

      const counter = yield* ThreadPool.proxy(objects, "Counter", [1], { autowrap: ["Counter"] })
      expect(yield* counter.self()).toBe(counter)
      expect(yield* counter.later()).toBe(counter)
    }).pipe(over(layer))
  )

  it.live("EV-100 an object that can be called is called through its remote, generators included", () =>
    Effect.gen(function* () {
      const adder = yield* ThreadPool.proxy(objects, "Adder", [10])
      expect(yield* Remote.call(adder, 5)).toBe(15)
      const error = yield* taskFailed(Remote.call(adder, -1))
      expect(error).toMatchObject({ className: "RangeError", reason: "below zero" })

      const counting = yield* ThreadPool.proxy(objects, "Counting")
      expect(yield* Stream.runCollect(Remote.call(counting, 4))).toEqual([1, 2, 3, 4])

      const multiplier = (yield* ThreadPool.proxy(objects, "Multiplier", [3])) as any
      expect(yield* Remote.call(multiplier, 5)).toBe(15)
      expect(yield* multiplier(5)).toBe(15)
      expect(yield* multiplier.factor).toBe(3)

      const node = yield* ThreadPool.proxy(objects, "Node", ["oak"], { autowrapNames: ["greet"] })
      const greet = (yield* node.greet()) as any
      expect(Remote.isRemote(greet)).toBe(true)
      expect(yield* greet("you")).toBe("oak greets you")

      const counter = yield* ThreadPool.proxy(objects, "Counter")
      const not = yield* taskFailed(
        (Remote.call as any)(counter) as Effect.Effect<unknown, ThreadError.ThreadError>
      )
      expect(not).toMatchObject({ className: "TypeError" })
      expect(not.reason).toMatch(/Counter.* cannot be called/)
    }).pipe(over(layer))
  )

  it.live("EV-101 elements are read and set by their index", () =>
    Effect.gen(function* () {
      const numbers = yield* ThreadPool.proxy(objects, "Numbers", [1, 2, 3])
      expect(yield* Remote.get(numbers, 0)).toBe(1)
      expect(yield* Remote.get(numbers, 2)).toBe(3)
      yield* Remote.set(numbers, 1, 20)
      expect(yield* Remote.get(numbers, 1)).toBe(20)
      yield* Remote.set(numbers, 3, 4)
      expect(yield* Remote.get(numbers, "length")).toBe(4)
      const error = yield* taskFailed(Remote.get(numbers, 9))
      expect(error.reason).toMatch(/9 does not exist/)
    }).pipe(over(layer))
  )

  it.live("EV-101 enter, next and exit run in the thread, and their errors pass", () =>
    Effect.gen(function* () {
      const session = yield* ThreadPool.proxy(objects, "Session")
      expect(yield* session.enter()).toBe("entered")
      expect(yield* session.next()).toBe(2)
      expect(yield* session.exit()).toEqual(["enter", "next", "exit"])

      const node = yield* ThreadPool.proxy(objects, "Node", [], { autowrapNames: ["iterator"] })
      const iterator = (yield* node.iterator()) as any
      expect(yield* iterator.next()).toEqual({ value: 1, done: false })
      expect(yield* iterator.next()).toEqual({ value: 2, done: false })
      expect(yield* iterator.next()).toEqual({ value: undefined, done: true })

      // A `using` of the thread's is the scope here.
      const shared = new Shared(2)
      yield* Effect.scoped(ThreadPool.proxy(objects, "Counter", [0, shared.cells]))
      yield* shared.until(1)
    }).pipe(over(layer))
  )

  it.live("EV-103 iteration over an object is a Stream, in order and in batches", () =>
    Effect.gen(function* () {
      const numbers = yield* ThreadPool.proxy(objects, "Numbers", [3, 1, 2])
      expect(yield* Stream.runCollect(Remote.stream(numbers))).toEqual([3, 1, 2])
      // Each run begins anew.
      expect(yield* Stream.runCollect(Remote.stream(numbers))).toEqual([3, 1, 2])
      expect(yield* numbers.runs).toBe(2)

      const shared = new Shared(2)
      const ticker = yield* ThreadPool.proxy(objects, "Ticker", [shared.cells])
      const items = yield* Stream.runCollect(Stream.take(Remote.stream(ticker), 1000))
      expect(items).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
      yield* shared.until(1, 1)

      const counter = yield* ThreadPool.proxy(objects, "Counter")
      const error = yield* taskFailed(Stream.runDrain(Remote.stream(counter)))
      expect(error.reason).toMatch(/Counter.* cannot be iterated/)
    }).pipe(over(layer))
  )

  it.live("EV-104 assigning to a remote says so, and `set` reaches the object", () =>
    Effect.gen(function* () {
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      expect(() => {
        ;(counter as any).count = 5
      }).toThrow(/Remote\.set/)
      expect(yield* counter.count).toBe(1)
      yield* Remote.set(counter, "count", 5)
      expect(yield* counter.count).toBe(5)
      // By a setter.
      yield* Remote.set(counter, "double", 20)
      expect(yield* counter.count).toBe(10)
    }).pipe(over(layer))
  )
})

const most = (layer: Layer.Layer<ThreadPool.ThreadPool, unknown>, config: Record<string, string> = {}) =>
  Effect.map(ThreadPool.stats, ({ max, min }) => [min, max]).pipe(
    Effect.provide(layer),
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(config))
  )

const rejection = (options: NodeThreads.Options) =>
  Effect.map(
    defectOf(Effect.provide(Effect.void, NodeThreads.layer({ name: "test", ...options }))),
    (_) => _.message
  )

const fail = (times: number) =>
  Effect.forEach(
    Array.from({ length: times }),
    () => Effect.all([Effect.exit(failures.chain()), Effect.exit(effects.find("nowhere"))]),
    { discard: true }
  )

const comeAndGo = (times: number) =>
  Effect.forEach(
    Array.from({ length: times }),
    (_, i) =>
      Effect.scoped(Effect.flatMap(ThreadPool.proxy(objects, "Counter", [i]), (counter) => counter.count)),
    { discard: true }
  )

/** Bytes that are in use here and in the thread, once what nobody refers to is gone. */
const used = Effect.gen(function* () {
  yield* collectGarbage
  yield* collectGarbage
  return { here: process.memoryUsage().heapUsed, there: yield* heap.heapAfterCollection() }
})

/** What needs threads. */
describe("threads", () => {
  it.live("EV-75 execute runs on a native thread", () =>
    Effect.gen(function* () {
      const { isMainThread, task, threadId } = yield* plain.where()
      expect(isMainThread).toBe(false)
      expect(threadId).toBeGreaterThan(0)
      expect(task).toBe(1)
      const number = yield* ThreadPool.execute(function (this: Task.Task) {
        return this.thread
      })
      expect(number).toBe(1)
    }).pipe(overThreads())
  )

  it.live("EV-76 the event loop keeps ticking while a thread is blocked", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const blocked = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      let ticks = 0
      yield* Effect.callback<void>((resume) => {
        const ticker = setInterval(() => {
          if (++ticks === 20) resume(Effect.void)
        }, 1)
        return Effect.sync(() => clearInterval(ticker))
      }).pipe(
        Effect.tap(() => Effect.sync(() => expect(blocked.pollUnsafe()).toBeUndefined())),
        // The thread goes on only when it has ticked that often.
        Effect.tap(() => Effect.sync(() => shared.set(5, 1)))
      )
      expect(yield* Fiber.join(blocked)).toBe(5)
      expect(ticks).toBeGreaterThanOrEqual(20)
    }).pipe(overThreads())
  )

  it.live("EV-77 with min 0 threads start with the first call, and no more than there are calls", () =>
    Effect.gen(function* () {
      expect(yield* ThreadPool.stats).toMatchObject({ size: 0, min: 0, max: 4, created: 0 })
      expect(yield* plain.add(1, 2)).toBe(3)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 1, created: 1 })
      for (let i = 0; i < 10; i++) yield* plain.add(1, 2)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 1, created: 1 })

      const shared = new Shared(2)
      const waiting = yield* Effect.forEach([1, 2, 3], () => start(plain.beginAndBlock(shared.cells)))
      yield* shared.until(3)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 3, created: 3 })
      shared.set(1, 1)
      yield* Effect.forEach(waiting, Fiber.join)
    }).pipe(overThreads({ size: undefined, min: 0, max: 4 }))
  )

  it.live(
    "EV-77 there are as many threads as the machine can run, unless options or the configuration say otherwise",
    () =>
      Effect.gen(function* () {
        expect(yield* most(NodeThreads.layer({ min: 0 }))).toEqual([0, availableParallelism()])
        expect(yield* most(NodeThreads.layer({ min: 0 }), { CENOTE_THREADS: "7" })).toEqual([0, 7])
        expect(yield* most(NodeThreads.layer({ min: 0, max: 3 }), { CENOTE_THREADS: "7" })).toEqual([0, 3])
        expect(yield* most(NodeThreads.layer(), { CENOTE_THREADS: "1" })).toEqual([1, 1])
        const wrong = yield* defectOf(most(NodeThreads.layer({ min: 0 }), { CENOTE_THREADS: "many" }))
        expect(String(wrong)).toMatch(/CENOTE_THREADS/)
      })
  )

  it.live("EV-78 calls form one line: one thread runs them in the order in which they came", () =>
    Effect.gen(function* () {
      yield* plain.takeNotes()
      const shared = new Shared(2)
      // Nothing is known of how long they take, so all of them wait.
      const blocked = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const numbers = Array.from({ length: 100 }, (_, i) => i)
      const all = yield* Effect.forEach(numbers, (i) => start(plain.note(i)))
      shared.set(1, 1)
      yield* Effect.forEach([blocked, ...all] as ReadonlyArray<Fiber.Fiber<unknown, unknown>>, Fiber.join)
      expect(yield* plain.takeNotes()).toEqual(numbers)

      // Now they are known to be short, and are sent ahead.
      yield* Effect.forEach(numbers, plain.note, { concurrency: "unbounded" })
      expect(yield* plain.takeNotes()).toEqual(numbers)
    }).pipe(overThreads())
  )

  it.live("EV-81 a thread that dies fails its call, and is replaced", () =>
    Effect.gen(function* () {
      const died = yield* failureAs("ThreadCrashed")(ThreadPool.execute(() => process.exit(1)))
      expect(died).toMatchObject({ started: true, reason: "exit", thread: 1 })
      expect(yield* plain.where()).toMatchObject({ task: 2 })
    }).pipe(overThreads())
  )

  it.live("EV-83 the thread of a caller that gave up is not used before it has ended", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const first = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      yield* Fiber.interrupt(first)
      const second = yield* start(plain.add(1, 2))
      yield* eventuallyStats("the second waits", (stats) => stats.pending + stats.running === 2)
      expect(second.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      expect(yield* Fiber.join(second)).toBe(3)
    }).pipe(overThreads())
  )

  it.live("EV-84 one thread never waits for itself", () =>
    Effect.gen(function* () {
      const all = yield* Effect.forEach([0, 1, 2, 3], (n) => effects.nested(n), { concurrency: "unbounded" })
      expect(all.map((_) => _.sum)).toEqual([2, 5, 6, 7])
      // All of it happened in the thread.
      expect(new Set(all.flatMap((_) => _.threads)).size).toBe(1)
      expect(all[0]!.threads[0]).toBeGreaterThan(0)
      expect((yield* ThreadPool.stats).calls).toBe(4)
    }).pipe(overThreads())
  )

  it.live("EV-85 with no threads tasks run on the calling thread, after one warning", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      expect(yield* plain.where()).toMatchObject({ isMainThread: true, threadId: 0, task: 0 })
      expect(yield* ThreadPool.execute((n: number) => n + 1, 1)).toBe(2)
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      expect(yield* counter.where()).toMatchObject({ isMainThread: true })
      expect((yield* ThreadPool.stats).size).toBe(0)
      const warnings = lines.filter((_) => _.level === "Warn")
      expect(warnings.map((_) => _.text)).toEqual([expect.stringMatching(/"test".*calling thread/)])
    }).pipe(overThreads({ size: 0 }), Effect.provide(layer))
  })

  it.live("EV-85 a pool that is made for the calling thread does not warn", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      expect(yield* plain.add(1, 2)).toBe(3)
      expect(lines).toEqual([])
    }).pipe(over(ThreadPool.layerInline), Effect.provide(layer))
  })

  it.live(
    "EV-86 a number of threads that makes no sense is rejected before anything runs, and the message says why",
    () =>
      Effect.gen(function* () {
        expect(yield* rejection({ size: -1 })).toMatch(/"test".*size is -1.*0 or more/)
        expect(yield* rejection({ max: -1 })).toMatch(/max is -1/)
        expect(yield* rejection({ min: -2 })).toMatch(/min is -2/)
        expect(yield* rejection({ max: Number.NaN })).toMatch(/max is NaN/)
        expect(yield* rejection({ max: 1.5 })).toMatch(/max is 1.5.*whole number/)
        expect(yield* rejection({ min: 3, max: 2 })).toMatch(/min is 3.*max.* 2/)
        expect(yield* rejection({ size: 1, max: 2 })).toMatch(/size.*alone/)
        expect(yield* rejection({ concurrency: 0 })).toMatch(/concurrency is 0/)
        expect(yield* rejection({ maxQueue: -1 })).toMatch(/maxQueue is -1/)
        expect(yield* rejection({ taskTimeout: 0 })).toMatch(/taskTimeout is 0/)
        expect(yield* rejection({ killGrace: Number.NaN })).toMatch(/killGrace is NaN/)
        expect(yield* rejection({ recycle: { tasks: 0 } })).toMatch(/recycle\.tasks is 0/)
      })
  )

  it.live("EV-86 a negative resize is rejected too, and changes nothing", () =>
    Effect.gen(function* () {
      expect((yield* defectOf(ThreadPool.resize(-1))).message).toMatch(/max is -1/)
      expect((yield* defectOf(ThreadPool.resize({ min: 5, max: 2 }))).message).toMatch(/min is 5/)
      expect(yield* ThreadPool.stats).toMatchObject({ min: 1, max: 1 })
      expect(yield* plain.add(1, 2)).toBe(3)
    }).pipe(overThreads())
  )

  it.live("EV-87 a resize takes effect at once, and what is under way ends", () =>
    Effect.gen(function* () {
      const shared = new Shared(4)
      const first = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const second = yield* start(plain.beginAndBlock(shared.cells, 2))
      yield* ThreadPool.resize(2)
      // It did not have to wait for the first.
      yield* shared.until(1, 2)
      expect(first.pollUnsafe()).toBeUndefined()

      yield* ThreadPool.resize(1)
      expect(yield* ThreadPool.stats).toMatchObject({ max: 1 })
      shared.set(1, 1)
      shared.set(2, 3)
      expect(yield* Fiber.join(first)).toBe(1)
      expect(yield* Fiber.join(second)).toBe(2)
      yield* eventuallyStats("one is left", (stats) => stats.size === 1)
    }).pipe(overThreads())
  )

  it.live("EV-88 drain lets what is queued and what runs end, and their callers get the results", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const running = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const queued = yield* Effect.forEach([1, 2, 3], (n) => start(plain.later(n)))
      const drained = yield* start(ThreadPool.drain)
      expect(drained.pollUnsafe()).toBeUndefined()
      shared.set(9, 1)
      yield* Fiber.join(drained)
      // Everything had ended before.
      expect(running.pollUnsafe()).toBeDefined()
      expect(yield* Fiber.join(running)).toBe(9)
      expect(yield* Effect.forEach(queued, Fiber.join)).toEqual([1, 2, 3])
      expect((yield* ThreadPool.stats).size).toBe(0)
    }).pipe(overThreads())
  )

  it.live("EV-89 a pool can be drained again and again, also by several at a time", () =>
    Effect.gen(function* () {
      yield* plain.add(1, 2)
      yield* ThreadPool.drain
      yield* ThreadPool.drain
      yield* plain.add(1, 2)
      yield* Effect.all([ThreadPool.drain, ThreadPool.drain, ThreadPool.drain], { concurrency: "unbounded" })
      expect((yield* ThreadPool.stats).size).toBe(0)
    }).pipe(overThreads())
  )

  it.live("EV-90 the next call starts threads again", () =>
    Effect.gen(function* () {
      expect((yield* plain.where()).task).toBe(1)
      yield* ThreadPool.drain
      expect((yield* plain.where()).task).toBe(2)
      expect((yield* ThreadPool.stats).size).toBe(1)
    }).pipe(overThreads())
  )

  it.live("EV-90 drain does not hold up the event loop", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const drained = yield* start(ThreadPool.drain)
      let ticks = 0
      yield* Effect.callback<void>((resume) => {
        const ticker = setInterval(() => {
          if (++ticks === 10) resume(Effect.void)
        }, 1)
        return Effect.sync(() => clearInterval(ticker))
      })
      expect(drained.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      yield* Fiber.join(drained)
    }).pipe(overThreads())
  )

  it.live("EV-91 failing calls leave nothing behind, here or in the thread", () =>
    Effect.gen(function* () {
      yield* fail(1000)
      const before = yield* used
      yield* fail(1000)
      const after = yield* used
      // Anything that stayed of each call would be more.
      expect(after.here - before.here).toBeLessThan(500_000)
      expect(after.there - before.there).toBeLessThan(500_000)
      expect((yield* ThreadPool.stats).threads).toMatchObject([{ objects: 0, running: 0 }])
    }).pipe(overThreads())
  )

  it.live("EV-91 objects that come and go leave nothing behind, here or in the thread", () =>
    Effect.gen(function* () {
      yield* comeAndGo(1000)
      const before = yield* used
      yield* comeAndGo(1000)
      const after = yield* used
      expect(after.here - before.here).toBeLessThan(500_000)
      expect(after.there - before.there).toBeLessThan(500_000)
      expect((yield* ThreadPool.stats).threads).toMatchObject([{ objects: 0, running: 0 }])
    }).pipe(overThreads())
  )

  describe("EV-94 with logFailures", () => {
    it.live("each task that fails is logged, with its cause", () => {
      const { layer, lines } = logged()
      return Effect.gen(function* () {
        yield* plain.add(1, 2)
        expect(lines).toEqual([])
        yield* taskFailed(failures.plain())
        yield* eventually("it is logged", () => lines.length > 0)
        expect(lines).toMatchObject([{ level: "Error", text: expect.stringContaining("failures.ts#plain") }])
        expect(lines[0]!.cause).toMatch(/QuotaExceeded.*more than 3/)

        yield* failureOf(effects.find("nowhere"))
        yield* eventually("the typed failure is logged", () => lines.length > 1)
        expect(lines[1]!.text).toMatch(/effects\.ts#find/)
        expect(lines[1]!.cause).toMatch(/there is no nowhere/)
      }).pipe(overThreads({ logFailures: true }), Effect.provide(layer))
    })

    it.live("nothing is logged without it", () => {
      const { layer, lines } = logged()
      return Effect.gen(function* () {
        yield* taskFailed(failures.plain())
        yield* Effect.sleep(5)
        expect(lines).toEqual([])
      }).pipe(overThreads(), Effect.provide(layer))
    })
  })

  it.live("EV-95 a method call runs in the thread of its object", () =>
    Effect.gen(function* () {
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      const { isMainThread, threadId } = yield* counter.where()
      expect(isMainThread).toBe(false)
      for (let i = 0; i < 10; i++) expect((yield* counter.where()).threadId).toBe(threadId)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("EV-96 calls can be marked to run on the calling thread", () =>
    Effect.gen(function* () {
      const both = Effect.all([plain.where(), plain.where()])
      const here = { isMainThread: true, threadId: 0, task: 0 }
      expect(yield* ThreadPool.inline(both)).toEqual([here, here])
      expect(yield* ThreadPool.inline(ThreadPool.execute((n: number) => n + 1, 1))).toBe(2)
      expect(
        yield* ThreadPool.inline(
          ThreadPool.execute(function (this: Task.Task) {
            return this.thread
          })
        )
      ).toBe(0)
      const counter = yield* ThreadPool.inline(ThreadPool.proxy(objects, "Counter", [1]))
      expect((yield* counter.where()).isMainThread).toBe(true)
      // Others go to threads.
      expect((yield* plain.where()).isMainThread).toBe(false)
    }).pipe(overThreads())
  )
})
