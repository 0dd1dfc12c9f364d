/**
 * What moves to another thread, what is shared with it, and what is copied.
 */
import { Task, type ThreadError, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { MessageChannel, type MessagePort } from "node:worker_threads"
import { failureAs, moduleUrl, over, overThreads, places, Shared, start } from "./kit.ts"
import type * as Buffers from "./modules/buffers.ts"
import type * as Generators from "./modules/generators.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Plain from "./modules/plain.ts"

const buffers = ThreadPool.module<typeof Buffers>(moduleUrl("buffers"))
const generators = ThreadPool.module<typeof Generators>(moduleUrl("generators"))
const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))

const size = 4096
const bytes = (fill = 1): Uint8Array<ArrayBuffer> => new Uint8Array(size).fill(fill)
const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** Sends a message through a port, and gives the answer. The port is closed by the other side. */
const ask = (port: MessagePort, message: number): Effect.Effect<unknown> =>
  Effect.callback((resume) => {
    port.once("message", (answer) => resume(Effect.succeed(answer)))
    port.postMessage(message)
    return Effect.sync(() => port.close())
  })

describe.each(places)("$name", ({ layer, name }) => {
  const inThreads = name === "in threads"

  describe("an argument", () => {
    it.live("is copied, and stays here, unless it is marked", () =>
      Effect.gen(function* () {
        const data = bytes()
        expect(yield* buffers.sum(data)).toBe(size)
        expect(data.byteLength).toBe(size)
      }).pipe(over(layer))
    )

    it.live("that is marked moves: its buffer is gone from here", () =>
      Effect.gen(function* () {
        const data = bytes()
        const marked = ThreadPool.move(data)
        expect(marked).toBe(data)
        expect(data.byteLength).toBe(size)
        expect(yield* buffers.sum(marked)).toBe(size)
        expect(data.byteLength).toBe(0)

        const buffer = new ArrayBuffer(size)
        expect(yield* buffers.lengthOf(ThreadPool.move(buffer))).toBe(size)
        expect(buffer.byteLength).toBe(0)
        // `Task.move` is the same.
        const other = bytes()
        expect(yield* buffers.sum(Task.move(other))).toBe(size)
        expect(other.byteLength).toBe(0)
      }).pipe(over(layer))
    )

    it.live("moves with everything in it, when the whole is marked", () =>
      Effect.gen(function* () {
        const data = bytes()
        expect(yield* buffers.sumNested(ThreadPool.move({ data }))).toBe(size)
        expect(data.byteLength).toBe(0)
        const many = [bytes(1), bytes(2), bytes(3)]
        expect(yield* buffers.sumAll(ThreadPool.move(many))).toBe(6 * size)
        expect(many.map((_) => _.byteLength)).toEqual([0, 0, 0])
      }).pipe(over(layer))
    )

    it.live("moves where something inside of it is marked, and nothing else of it does", () =>
      Effect.gen(function* () {
        const data = bytes()
        expect(yield* buffers.sumNested({ data: ThreadPool.move(data) })).toBe(size)
        expect(data.byteLength).toBe(0)
        const moved = bytes(1)
        const kept = bytes(2)
        expect(yield* buffers.sumAll([ThreadPool.move(moved), kept])).toBe(3 * size)
        expect(moved.byteLength).toBe(0)
        expect(kept.byteLength).toBe(size)
      }).pipe(over(layer))
    )

    it.live("that holds one buffer twice moves it once", () =>
      Effect.gen(function* () {
        const data = bytes()
        expect(yield* buffers.sumAll(ThreadPool.move([data, data]))).toBe(2 * size)
        const left = new Uint8Array(new ArrayBuffer(size)).fill(1)
        expect(yield* buffers.sumAll([ThreadPool.move(left), left])).toBe(2 * size)
        expect([data.byteLength, left.byteLength]).toEqual([0, 0])
      }).pipe(over(layer))
    )

    it.live("that is used again and marked again moves again", () =>
      Effect.gen(function* () {
        const message = { data: bytes() }
        for (let i = 0; i < 3; i++) {
          message.data = bytes()
          expect(yield* buffers.sumNested(ThreadPool.move(message))).toBe(size)
          expect(message.data.byteLength).toBe(0)
        }
        // What was marked once and is not sent does not move with the next.
        ThreadPool.move(message)
        message.data = bytes()
        const other = bytes()
        expect(yield* buffers.sum(other)).toBe(size)
        expect([message.data.byteLength, other.byteLength]).toEqual([size, size])
      }).pipe(over(layer))
    )

    it.live("that resists being searched for marks fails as it does without any", () =>
      Effect.gen(function* () {
        // From now on there is something to search for.
        ThreadPool.move({ data: bytes() })
        const resisting = {
          get data(): never {
            throw new Error("do not look")
          }
        }
        const { proxy, revoke } = Proxy.revocable({}, {})
        revoke()
        for (const value of [resisting, [resisting], proxy, { proxy }]) {
          const [error, sum] = yield* Effect.all(
            [failureAs("NotCloneable")(plain.echo(value)), plain.add(1, 2)],
            { concurrency: "unbounded" }
          )
          expect(error.path).toMatch(/^arguments\[0\]/)
          expect(sum).toBe(3)
        }
      }).pipe(over(layer))
    )

    it.live("that views a part of a buffer is copied: the rest is not taken away", () =>
      Effect.gen(function* () {
        const whole = new ArrayBuffer(100)
        const part = new Uint8Array(whole, 10, 5).fill(1)
        expect(yield* buffers.sum(ThreadPool.move(part))).toBe(5)
        expect(whole.byteLength).toBe(100)
        expect(part).toEqual(new Uint8Array(5).fill(1))
        // A view of all of it moves.
        expect(yield* buffers.sum(ThreadPool.move(new Uint8Array(whole)))).toBe(5)
        expect(whole.byteLength).toBe(0)
      }).pipe(over(layer))
    )

    it.live("that is a small Buffer of Node leaves Node's own pool alone", () =>
      Effect.gen(function* () {
        const one = Buffer.from([1, 2, 3])
        const two = Buffer.from([4, 5, 6])
        expect(yield* buffers.sum(one)).toBe(6)
        expect(yield* buffers.sum(ThreadPool.move(one))).toBe(6)
        expect([...one]).toEqual([1, 2, 3])
        expect([...two]).toEqual([4, 5, 6])
        expect(Buffer.from("still works").toString()).toBe("still works")
        // A large one has its buffer to itself.
        const large = Buffer.alloc(100_000, 1)
        expect(yield* buffers.sum(ThreadPool.move(large))).toBe(100_000)
        expect(large.byteLength).toBe(0)
      }).pipe(over(layer))
    )

    it.live("that has moved already fails the next call, which says so, and no other", () =>
      Effect.gen(function* () {
        const data = bytes()
        const call = buffers.sum(ThreadPool.move(data))
        expect(yield* call).toBe(size)
        const results = yield* Effect.all([Effect.flip(call), plain.add(1, 2), plain.add(3, 4)], {
          concurrency: "unbounded"
        })
        expect(results[0]).toMatchObject({ _tag: "NotCloneable", path: expect.stringMatching(/^arguments/) })
        expect(results.slice(1)).toEqual([3, 7])
      }).pipe(over(layer))
    )

    it.live("stays where it is when the call is refused", () =>
      Effect.gen(function* () {
        const data = bytes()
        yield* failureAs("NotCloneable")(plain.all(ThreadPool.move(data), () => 1))
        expect(data.byteLength).toBe(size)
        expect(yield* buffers.sum(data)).toBe(size)
      }).pipe(over(layer))
    )

    it.live("moves although another of the same batch is refused", () =>
      Effect.gen(function* () {
        const all = upTo(20).map(() => bytes())
        const results = yield* Effect.forEach(
          all,
          (data, i): Effect.Effect<number | string, ThreadError.ThreadError, ThreadPool.ThreadPool> =>
            i % 4 === 3
              ? Effect.as(failureAs("NotCloneable")(plain.all(ThreadPool.move(data), () => 1)), "refused")
              : buffers.sum(ThreadPool.move(data)),
          { concurrency: "unbounded" }
        )
        expect(results).toEqual(all.map((_, i) => (i % 4 === 3 ? "refused" : size)))
        expect(all.map((_) => _.byteLength)).toEqual(all.map((_, i) => (i % 4 === 3 ? size : 0)))
      }).pipe(over(layer))
    )

    it.live("of a method, a constructor and a function that is sent moves as well", () =>
      Effect.gen(function* () {
        const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))
        const first = bytes()
        expect(yield* ThreadPool.execute((b: Uint8Array) => b.byteLength, ThreadPool.move(first))).toBe(size)
        const node = yield* ThreadPool.proxy(objects, "Node", [ThreadPool.move(bytes()) as never])
        const second = bytes()
        yield* Effect.exit(node.isOwn(ThreadPool.move(second)))
        expect([first.byteLength, second.byteLength]).toEqual([0, 0])
      }).pipe(over(layer))
    )
  })

  describe("a result", () => {
    it.live("is copied, and stays there, unless it is marked", () =>
      Effect.gen(function* () {
        expect(yield* buffers.make(size, "copied")).toEqual(bytes())
        expect(yield* buffers.left()).toBe(size)
      }).pipe(inThreads ? overThreads() : over(layer))
    )

    for (const how of ["moved", "promised"] as const) {
      it.live(`moves when it is marked: ${how}`, () =>
        Effect.gen(function* () {
          expect(yield* buffers.make(size, how)).toEqual(bytes())
          expect(yield* buffers.left()).toBe(0)
        }).pipe(inThreads ? overThreads() : over(layer))
      )
    }

    for (const how of ["movedAround", "movedInside"] as const) {
      it.live(`moves inside of what is given: ${how}`, () =>
        Effect.gen(function* () {
          expect(yield* buffers.make(size, how)).toEqual({ data: bytes() })
          expect(yield* buffers.left()).toBe(0)
        }).pipe(inThreads ? overThreads() : over(layer))
      )
    }

    it.live("that resists being searched for marks fails its call, and no other", () =>
      Effect.gen(function* () {
        // From now on there is something to search for.
        yield* buffers.make(size, "moved")
        for (const how of ["getter", "revoked", "nested"] as const) {
          const [error, sum] = yield* Effect.all([Effect.flip(buffers.resist(how)), plain.add(1, 2)], {
            concurrency: "unbounded"
          })
          expect(error._tag).toMatch(/NotCloneable|TaskFailed/)
          expect(sum).toBe(3)
        }
      }).pipe(inThreads ? overThreads({ taskTimeout: "20 seconds" }) : over(layer))
    )

    it.live("of a function that is sent moves by `this.move`", () =>
      Effect.gen(function* () {
        const made = ThreadPool.execute(function (this: Task.Task, size: number) {
          const bytes = new Uint8Array(size).fill(1)
          const global = globalThis as { keptByTest?: Uint8Array }
          global.keptByTest = bytes
          return this.move(bytes)
        }, size)
        expect(yield* made).toEqual(bytes())
        const left = yield* ThreadPool.execute(
          () => (globalThis as { keptByTest?: Uint8Array }).keptByTest!.byteLength
        )
        expect(left).toBe(0)
      }).pipe(inThreads ? overThreads() : over(layer))
    )

    it.live("each of many that come back together arrives whole", () =>
      Effect.gen(function* () {
        const all = yield* Effect.forEach(
          upTo(100),
          (n) => buffers.make(n, n % 2 === 0 ? "moved" : "copied"),
          { concurrency: "unbounded" }
        )
        expect(all.map((_) => (_ as Uint8Array).byteLength)).toEqual(upTo(100))
      }).pipe(over(layer))
    )

    for (const move of [false, true]) {
      it.live(`items of a stream arrive whole, ${move ? "moved" : "copied"}`, () =>
        Effect.gen(function* () {
          const items = yield* Stream.runCollect(generators.buffers(300, 1000, move))
          expect(items.map((_) => _[0])).toEqual(upTo(300).map((n) => n % 256))
          expect(items.every((_) => _.byteLength === 1000)).toBe(true)
        }).pipe(over(layer))
      )
    }

    it.live("items of a stream that are marked move", () =>
      Effect.gen(function* () {
        const made = yield* Stream.runCollect(generators.keptBuffers(5, 1000))
        expect(made.map((_) => _.byteLength)).toEqual([1000, 1000, 1000, 1000, 1000])
        expect(yield* generators.keptLengths()).toEqual([0, 0, 0, 0, 0])
      }).pipe(inThreads ? overThreads() : over(layer))
    )
  })

  describe("a SharedArrayBuffer", () => {
    it.live("is shared as an argument", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        yield* buffers.write(shared.cells, 0, 7)
        yield* buffers.write(shared.cells, 1, 8)
        expect([...shared.cells]).toEqual([7, 8])
        // Marking it changes nothing: it cannot leave.
        yield* buffers.write(ThreadPool.move(shared.cells), 0, 9)
        expect(shared.get()).toBe(9)
      }).pipe(over(layer))
    )

    it.live("is shared as a result", () =>
      Effect.gen(function* () {
        const memory = yield* buffers.sharedMemory()
        expect(memory).toBeInstanceOf(SharedArrayBuffer)
        Atomics.store(new Int32Array(memory), 0, 42)
        expect(yield* buffers.readShared()).toBe(42)
      }).pipe(inThreads ? overThreads() : over(layer))
    )
  })

  describe("a MessagePort", () => {
    it.live("moves by itself as an argument, on top and inside", () =>
      Effect.gen(function* () {
        const one = new MessageChannel()
        yield* buffers.serve(one.port2)
        expect(yield* ask(one.port1, 21)).toBe(42)
        const two = new MessageChannel()
        yield* buffers.serveNested({ port: two.port2 })
        expect(yield* ask(two.port1, 4)).toBe(8)
      }).pipe(over(layer))
    )

    it.live("moves by itself as a result, on top and inside", () =>
      Effect.gen(function* () {
        expect(yield* ask(yield* buffers.connect(), 21)).toBe(42)
        const { ports } = yield* buffers.connectNested()
        expect(yield* ask(ports[0]!, 4)).toBe(8)
      }).pipe(over(layer))
    )

    it.live("moves among many other calls", () =>
      Effect.gen(function* () {
        const channels = upTo(10).map(() => new MessageChannel())
        const answers = yield* Effect.forEach(
          channels,
          ({ port1, port2 }, i) =>
            Effect.all(
              [plain.add(i, 0), Effect.andThen(buffers.serve(port2), ask(port1, i)), plain.add(i, 1)],
              { concurrency: "unbounded" }
            ),
          { concurrency: "unbounded" }
        )
        expect(answers).toEqual(channels.map((_, i) => [i, i * 2, i + 1]))
      }).pipe(over(layer))
    )
  })

  describe("a ReadableStream", () => {
    it.live("moves by itself as an argument", () =>
      Effect.gen(function* () {
        const letters = new ReadableStream<string>({
          start: (controller) => {
            for (const letter of ["x", "y", "z"]) controller.enqueue(letter)
            controller.close()
          }
        })
        expect(yield* buffers.readAll(letters)).toEqual(["x", "y", "z"])
      }).pipe(over(layer))
    )

    it.live("moves by itself as a result", () =>
      Effect.gen(function* () {
        const letters = yield* buffers.letters()
        const read = yield* Effect.promise(async () => {
          const items: Array<string> = []
          for await (const item of letters as unknown as AsyncIterable<string>) items.push(item)
          return items
        })
        expect(read).toEqual(["a", "b", "c"])
      }).pipe(over(layer))
    )
  })
})

// -----------------------------------------------------------------------------
// What needs threads
// -----------------------------------------------------------------------------

describe("in threads", () => {
  /** A pool that knows its functions to be short, so that it sends calls ahead. */
  const warmUp = Effect.gen(function* () {
    const open = new Shared(2)
    open.set(1, 1)
    yield* Effect.forEach(upTo(100), () => buffers.beginAndHold(open.cells))
    yield* Effect.forEach(upTo(100), () => buffers.sum(new Uint8Array(8)))
  })

  it.live("what moved is not lost when its call could not be begun at once, nor does it wait for long", () =>
    Effect.gen(function* () {
      yield* warmUp
      const shared = new Shared(2)
      // Takes longer than was to be expected, and holds up what is sent after it.
      const long = yield* start(buffers.beginAndHold(shared.cells))
      const all = upTo(20).map(() => bytes())
      const sums = yield* Effect.forEach(all, (data) => start(buffers.sum(ThreadPool.move(data))))
      yield* shared.until(1)
      // Another thread, to which calls that wait can go.
      yield* ThreadPool.resize(2)
      expect(yield* Effect.forEach(sums, Fiber.join)).toEqual(all.map(() => size))
      expect(all.map((_) => _.byteLength)).toEqual(all.map(() => 0))
      expect(long.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      yield* Fiber.join(long)
    }).pipe(overThreads())
  )

  it.live("what moved with a call whose thread died is gone with it, and the call is told", () =>
    Effect.gen(function* () {
      yield* warmUp
      const data = bytes()
      const [died, moved] = yield* Effect.all(
        [
          Effect.exit(
            ThreadPool.execute(() => process.exit(1)) as Effect.Effect<
              never,
              ThreadError.ThreadError,
              ThreadPool.ThreadPool
            >
          ),
          Effect.exit(buffers.sum(ThreadPool.move(data)))
        ],
        { concurrency: "unbounded" }
      )
      expect(died._tag).toBe("Failure")
      // Either it had not left, and was run by the next thread, or it was lost, and failed.
      if (moved._tag === "Success") expect(moved.value).toBe(size)
      else expect(String(moved.cause)).toMatch(/ThreadCrashed/)
      expect(yield* plain.add(1, 2)).toBe(3)
    }).pipe(overThreads())
  )

  it.live(
    "what was to move with a call on an object stays, where the caller gives up before anything is sent",
    () =>
      Effect.gen(function* () {
        const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))
        const node = yield* ThreadPool.proxy(objects, "Node")
        const data = bytes()
        yield* Fiber.interrupt(yield* start(node.isOwn(ThreadPool.move(data) as never)))
        // Behind it, so that it would have gone.
        yield* Effect.exit(node.isOwn(0 as never))
        expect(data).toEqual(bytes())
      }).pipe(overThreads())
  )

  it.live("a port that moved is not lost when its call could not be begun where it was first sent", () =>
    Effect.gen(function* () {
      yield* warmUp
      for (let i = 0; i < 50; i++) {
        const { port1, port2 } = new MessageChannel()
        yield* buffers.serve(port2)
        yield* ask(port1, 1)
      }
      const shared = new Shared(2)
      const long = yield* start(buffers.beginAndHold(shared.cells))
      const channels = upTo(10).map(() => new MessageChannel())
      const served = yield* Effect.forEach(channels, ({ port2 }) => start(buffers.serve(port2)))
      yield* shared.until(1)
      yield* ThreadPool.resize(2)
      shared.set(1, 1)
      yield* Effect.forEach(served, Fiber.join)
      expect(yield* Effect.forEach(channels, ({ port1 }, i) => ask(port1, i))).toEqual(
        channels.map((_, i) => i * 2)
      )
      yield* Fiber.join(long)
    }).pipe(overThreads())
  )
})
