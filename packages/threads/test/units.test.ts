/**
 * The parts of a thread pool, each by itself: the line of calls, what can cross, errors on the wire, the pool's side of
 * one thread, and the thread's own side, driven by hand.
 */
import { Context } from "effect"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { Call, type Handle, RemoteFunction } from "../src/internal/call.ts"
import { findUncloneable, markMoved, takeMarks, transferablesIn } from "../src/internal/clone.ts"
import { decodeError } from "../src/internal/decode.ts"
import { Host } from "../src/internal/host.ts"
import { Line } from "../src/internal/line.ts"
import {
  Cell,
  cellOf,
  FromThread,
  type FunctionSpec,
  memoryLength,
  slotsPerThread,
  Status,
  type Target,
  ToThread
} from "../src/internal/protocol.ts"
import { withNumbers } from "../src/internal/remotes.ts"
import { type Owner, type Reply, type Sendable, Thread } from "../src/internal/thread.ts"
import { encodeError } from "../src/internal/wire.ts"
import { moduleUrl } from "./kit.ts"
import { Workshop } from "./modules/workshop.ts"

interface CallOptions {
  readonly target?: Target | RemoteFunction
  readonly args?: ReadonlyArray<unknown>
  readonly pinned?: Handle
}

/** A call that nobody waits for. */
const callOf = ({ args = [], pinned, target = 1 }: CallOptions = {}): Call =>
  new Call(
    { id: 1, context: Context.empty() } as never,
    () => {},
    target,
    "task",
    args,
    {
      pinned,
      wantsStream: false,
      unkillable: false,
      patient: false,
      inline: false,
      transfers: takeMarks(args)
    },
    0
  )

const handleIn = (thread: Thread): Handle => ({ thread, object: 1, received: 1, owners: 1, released: false })

const functionOf = (estimate: number): RemoteFunction => {
  const f = new RemoteFunction({ kind: "source", name: "f", source: "() => 1" }, "f")
  f.estimate = estimate
  return f
}

// -----------------------------------------------------------------------------
// The line
// -----------------------------------------------------------------------------

type LineStep =
  | { readonly do: "push" | "shift" | "unshift"; readonly count: number }
  | { readonly do: "leave"; readonly which: number; readonly count: number }
  | { readonly do: "takeAll" }

/** Now and then so many that the line is cut. */
const counts = fc.oneof(
  { weight: 5, arbitrary: fc.nat(5) },
  { weight: 1, arbitrary: fc.integer({ min: 500, max: 3000 }) }
)

const lineSteps: fc.Arbitrary<LineStep> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom("push" as const, "push" as const, "shift" as const, "unshift" as const),
      count: counts
    })
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(), count: counts }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("takeAll" as const) }) }
)

describe("the line", () => {
  it("does what an array does that calls are taken out of one by one", () => {
    fc.assert(
      fc.property(fc.array(lineSteps, { maxLength: 30, size: "max" }), (program) => {
        const line = new Line()
        let model: Array<Call> = []
        /** Calls that have left the line at its front, and may come back. */
        let sent: Array<Call> = []
        for (const step of program) {
          switch (step.do) {
            case "push":
              for (let i = 0; i < step.count; i++) {
                const call = callOf()
                line.push(call)
                model.push(call)
              }
              break
            case "shift":
              for (let i = 0; i < step.count && model.length > 0; i++) {
                const call = model.shift()!
                expect(line.head).toBe(call)
                line.shift()
                call.state = "sent"
                sent.push(call)
              }
              break
            case "unshift": {
              const back = sent.slice(-step.count)
              sent = sent.slice(0, sent.length - back.length)
              line.unshift(back)
              model = [...back, ...model]
              break
            }
            case "leave":
              for (let i = 0; i < step.count && model.length > 0; i++) {
                const [call] = model.splice((step.which + 7 * i) % model.length, 1)
                line.leave(call!)
              }
              break
            case "takeAll":
              expect(line.takeAll()).toEqual(model)
              model = []
              break
          }
          expect(line.size).toBe(model.length)
          expect(line.head).toBe(model[0])
        }
        expect(line.takeAll()).toEqual(model)
        expect(line.size).toBe(0)
        expect(line.head).toBeUndefined()
      }),
      { numRuns: 200 }
    )
  })

  it("holds on to no calls that have left it", () => {
    const line = new Line()
    const array = () => (line as unknown as { readonly calls: ReadonlyArray<unknown> }).calls
    for (let round = 0; round < 50; round++) {
      const calls = Array.from({ length: 1000 }, () => callOf())
      for (const call of calls) line.push(call)
      for (const call of calls.slice(500)) line.leave(call)
      for (let i = 0; i < 500; i++) {
        expect(line.head).toBeDefined()
        line.shift()
      }
    }
    expect(line.size).toBe(0)
    expect(array().length).toBeLessThan(5000)
    expect(line.head).toBeUndefined()
    expect(array()).toEqual([])
  })

  it("is not changed by a call that is given up after it was taken out with all others", () => {
    const line = new Line()
    const calls = [callOf(), callOf()]
    for (const call of calls) line.push(call)
    expect(line.takeAll()).toEqual(calls)
    // As whoever interrupts its caller does.
    if (calls[1]!.state === "line") calls[1]!.line?.leave(calls[1]!)
    expect(line.size).toBe(0)
    const next = callOf()
    line.push(next)
    expect(line.size).toBe(1)
    expect(line.head).toBe(next)
  })
})

// -----------------------------------------------------------------------------
// What can cross
// -----------------------------------------------------------------------------

/** A way into a value, and how a path shows it. */
type Wrapping = (inner: unknown) => readonly [outer: unknown, step: string]

const wrappings: fc.Arbitrary<Wrapping> = fc.oneof(
  fc.constantFrom("a", "user", "$x1").map((key): Wrapping => (_) => [{ first: 1, [key]: _ }, `.${key}`]),
  fc.constantFrom("a-b", "1x", "", "it's", 'q"').map((key): Wrapping => (_) => [
    { [key]: _, last: 1 },
    `[${JSON.stringify(key)}]`
  ]),
  fc.nat(3).map((i): Wrapping => (_) => [[...Array<number>(i).fill(0), _, "x"], `[${i}]`]),
  fc.constantFrom("k", "a b").map((key): Wrapping => (_) => [
    new Map([
      ["other", 1 as unknown],
      [key, _]
    ]),
    `.get(${JSON.stringify(key)})`
  ]),
  fc.constant<Wrapping>((_) => [new Map([[1, _]]), ".values[0]"]),
  fc.constant<Wrapping>((_) => [new Map([[_, 1]]), ".keys[0]"]),
  fc.constant<Wrapping>((_) => [new Set([0, _]), ".values[1]"]),
  fc.constant<Wrapping>((_) => {
    const object: Record<string, unknown> = { inner: _ }
    object["self"] = object
    return [object, ".inner"]
  })
)

describe("what cannot be cloned", () => {
  it("is found wherever it is, and the path leads there", () => {
    const named = (): void => {}
    const culprits = fc.constantFrom<readonly [unknown, string]>(
      [named, "function named"],
      [(() => () => {})(), "a function"],
      [Symbol("s"), "Symbol(s)"],
      [new WeakMap(), "a WeakMap"],
      [Promise.resolve(), "a Promise"]
    )
    fc.assert(
      fc.property(culprits, fc.array(wrappings, { maxLength: 6, size: "max" }), ([culprit, found], all) => {
        let value = culprit
        let path = ""
        for (const wrapping of all) {
          const [outer, step] = wrapping(value)
          value = outer
          path = step + path
        }
        expect(findUncloneable(value, "arguments[0]")).toEqual({ path: `arguments[0]${path}`, found })
      })
    )
  })

  it("is found in nothing that can be cloned", () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true }),
        (value) => {
          structuredClone(value)
          expect(findUncloneable(value, "result")).toBeUndefined()
        }
      )
    )
  })

  it("is what cannot be read, too", () => {
    const value = {
      ok: 1,
      deep: {
        get broken(): never {
          throw new Error("no")
        }
      }
    }
    const place = findUncloneable([value], "arguments")
    expect(place?.path).toBe("arguments[0].deep")
    expect(place?.found).toContain("cannot be read: Error: no")
  })

  it("is not a port or a stream: those move", () => {
    const { port1, port2 } = new MessageChannel()
    expect(findUncloneable({ port: port1 }, "arguments[0]")).toBeUndefined()
    expect(findUncloneable({ port: port1, f: Math.max }, "arguments[0]")?.path).toBe("arguments[0].f")
    port1.close()
    port2.close()
  })
})

describe("what moves", () => {
  it("is what cannot be copied; and all that can move, where that is asked for", () => {
    const { port1, port2 } = new MessageChannel()
    const buffer = new ArrayBuffer(8)
    const whole = new Uint8Array(16)
    const part = new Uint8Array(new ArrayBuffer(32), 8, 8)
    const shared = new SharedArrayBuffer(4)
    const value = {
      port: port1,
      list: [buffer, new Map([["whole", whole]]), part],
      shared,
      set: new Set([port1])
    }
    expect(transferablesIn(value, "movableOnly")).toEqual([port1])
    expect(new Set(transferablesIn(value, "all"))).toEqual(new Set([port1, buffer, whole.buffer]))
    port1.close()
    port2.close()
  })

  it("is found in values that hold themselves", () => {
    const buffer = new ArrayBuffer(8)
    const value: Record<string, unknown> = { buffer }
    value["self"] = [value]
    expect(transferablesIn(value, "all")).toEqual([buffer])
  })

  it("is known by the value that was marked, wherever that is in what is sent, and once", () => {
    const bytes = new Uint8Array(4)
    expect(takeMarks(bytes)).toEqual([])
    expect(markMoved(bytes)).toBe(bytes)
    expect(takeMarks([1, { deep: [bytes, new Uint8Array(4), bytes] }])).toEqual([bytes.buffer])
    expect(takeMarks(bytes)).toEqual([])
    markMoved(bytes)
    expect(takeMarks(bytes.buffer)).toEqual([])
    const round: Array<unknown> = [bytes]
    round.push(round)
    expect(takeMarks(round)).toEqual([bytes.buffer])
    expect(markMoved(5)).toBe(5)
    expect(takeMarks("text")).toEqual([])
  })

  it("is searched for no longer than something is marked, also when that was marked twice", () => {
    const bytes = new Uint8Array(4)
    let read = 0
    const watched = {
      get inside() {
        return ++read
      }
    }
    markMoved(bytes)
    markMoved(bytes)
    expect(takeMarks(watched)).toEqual([])
    expect(read).toBe(1)
    expect(takeMarks(bytes)).toEqual([bytes.buffer])
    expect(takeMarks(watched)).toEqual([])
    expect(read).toBe(1)
  })
})

describe("remotes in arguments", () => {
  const remote = (): number => 0
  const numberOf = (value: unknown): number | undefined => (value === remote ? 7 : undefined)

  it("become numbers, and the paths say where", () => {
    expect(withNumbers([1, remote, { a: [remote, { b: remote }] }], numberOf)).toEqual({
      args: [1, 7, { a: [7, { b: 7 }] }],
      objects: [[1], [2, "a", 0], [2, "a", 1, "b"]]
    })
    expect(withNumbers([1, { a: [] }], numberOf)).toEqual({ args: [1, { a: [] }], objects: undefined })
  })

  it("leave what is beside them as it is, whatever it is called", () => {
    const value: Record<string, unknown> = JSON.parse('{ "__proto__": { "a": 1 } }')
    value["remote"] = remote
    const sendable = withNumbers([value], numberOf)
    if (!("args" in sendable)) throw new Error("it should have found the remote")
    expect(Object.entries(sendable.args[0] as object)).toEqual([
      ["__proto__", { a: 1 }],
      ["remote", 7]
    ])
  })

  it("are found in values that hold themselves", () => {
    const value: Record<string, unknown> = { remote }
    value["self"] = value
    const sendable = withNumbers([value], numberOf)
    if (!("args" in sendable)) throw new Error("it should have found the remote")
    const [sent] = sendable.args as [Record<string, unknown>]
    expect(sent["remote"]).toBe(7)
    expect(sent["self"]).toBe(sent)
    expect(sendable.objects).toEqual([[0, "remote"]])
    // The caller's own value is as it was.
    expect(value).toEqual({ remote, self: value })
  })
})

// -----------------------------------------------------------------------------
// Errors on the wire
// -----------------------------------------------------------------------------

const crossed = (error: unknown): any => decodeError(structuredClone(encodeError(error)))

class HttpError extends Error {
  readonly status: number
  constructor(message: string, status: number, options?: ErrorOptions) {
    super(message, options)
    this.status = status
  }
}

describe("an error", () => {
  it("crosses with its class name, message, stack, own properties and causes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ message: fc.string(), status: fc.integer(), at: fc.object() }), {
          minLength: 1,
          maxLength: 5
        }),
        (levels) => {
          let error: HttpError | undefined
          for (const { at, message, status } of levels) {
            error = Object.assign(new HttpError(message, status, error && { cause: error }), { at })
          }
          let told = crossed(error)
          for (const { at, message, status } of levels.toReversed()) {
            expect(told).toBeInstanceOf(Error)
            expect([told.name, told.message, told.status]).toEqual(["HttpError", message, status])
            expect(told.at).toEqual(structuredClone(at))
            expect(told.stack).toBe(error!.stack)
            told = told.cause
            error = error!.cause as HttpError | undefined
          }
          expect(told).toBeUndefined()
        }
      )
    )
  })

  it("crosses with the errors that it gathers", () => {
    const told = crossed(new AggregateError([new RangeError("a"), "b", new TypeError("c")], "all"))
    expect(told.name).toBe("AggregateError")
    expect(told.errors.map((_: any) => _.message ?? _)).toEqual(["a", "b", "c"])
    expect(told.errors[0].name).toBe("RangeError")
  })

  it("that is none crosses as it is, or as a text where it cannot", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true }), (value) => {
        expect(crossed(value)).toEqual(structuredClone(value))
      })
    )
    expect(crossed(Symbol("s"))).toBe("Symbol(s)")
    expect(crossed(function named() {})).toBe("[function named]")
    expect(crossed({ f: () => 1, n: 1 })).toBe('{"n":1}')
  })

  it("with a property that cannot cross keeps all the others", () => {
    const told = crossed(Object.assign(new Error("e"), { f: () => 1, n: 5, inner: new TypeError("t") }))
    expect(told.n).toBe(5)
    expect(told.f).toBe("[function f]")
    expect(told.inner).toMatchObject({ name: "TypeError", message: "t" })
  })

  it("that is its own cause, or has no end of causes, crosses all the same", () => {
    const causesOf = (error: any): Set<unknown> => {
      const causes = new Set<unknown>()
      for (let at = error; at !== undefined && !causes.has(at); at = at.cause) causes.add(at)
      return causes
    }
    const round = new Error("round", { cause: new Error("other") })
    ;(round.cause as Error).cause = round
    expect(causesOf(crossed(round)).size).toBeLessThan(20)
    const all = new AggregateError([round], "all")
    all.errors.push(all)
    expect(crossed(all).errors[0].message).toBe("round")
    let long = new Error("first")
    for (let i = 0; i < 10_000; i++) long = new Error(`later ${i}`, { cause: long })
    const told = causesOf(crossed(long))
    expect(told.size).toBeGreaterThan(10)
    expect(told.size).toBeLessThan(100)
  })

  it("that cannot be read crosses with what can be", () => {
    const error = Object.defineProperty(new Error("e"), "secret", {
      enumerable: true,
      get: () => {
        throw new Error("no")
      }
    })
    expect(crossed(error).message).toBe("e")
    const nameless = Object.defineProperty(new Error("e"), "name", {
      get: () => {
        throw new Error("no")
      }
    })
    expect(crossed(nameless).message).toBe("e")
  })
})

// -----------------------------------------------------------------------------
// The pool's side of a thread
// -----------------------------------------------------------------------------

/** A thread whose messages the test reads, and whose replies the test writes. */
class Bench implements Owner {
  readonly thread: Thread
  /** What the thread was sent, and what went along to be moved. */
  readonly posted: Array<ReadonlyArray<unknown>> = []
  readonly moved: Array<ReadonlyArray<object>> = []
  readonly ends: Array<readonly [Call, Reply]> = []
  readonly turnedAway: Array<readonly [Call, unknown]> = []
  readonly extra = () => undefined
  readonly log = () => {}
  readonly span = () => {}
  readonly pinned = () => {}

  constructor(concurrency = 1, memory: "shared" | "none" = "shared") {
    this.thread = new Thread(1, concurrency, this, 0, memory)
    this.thread.state = "ready"
    this.thread.channel = {
      post: (message, transfer) => {
        this.posted.push(structuredClone(message, { transfer: [...transfer] as never }))
        this.moved.push(transfer)
      },
      terminate: undefined
    }
  }

  sendable(call: Call): Sendable {
    return withNumbers(call.args, () => undefined)
  }

  ended(_: Thread, call: Call, reply: Reply): void {
    this.ends.push([call, reply])
  }

  refused(call: Call, error: unknown): void {
    this.turnedAway.push([call, error])
  }

  heard(): void {}

  /** What the thread does when it begins a call. */
  begin(slot: number): boolean {
    const { memory } = this.thread
    return Atomics.compareExchange(memory!, cellOf(slot), Cell.queued, Cell.started) === Cell.queued
  }

  reply(slot: number, status: Status = Status.ok, value: unknown = undefined, ran = 0.01): void {
    this.thread.receive([FromThread.done, slot, status, value, ran], 1)
  }

  get loads() {
    const { inFlight, load, unpinned } = this.thread
    return { inFlight, load, unpinned }
  }
}

const nothing = { inFlight: 0, load: 0, unpinned: 0 }

/** The calls in a message: slot, target and arguments. */
const callsIn = (message: ReadonlyArray<any>): Array<readonly [number, unknown, ReadonlyArray<unknown>]> => {
  const operands: Record<number, number> = { 1: 1, 3: 2, 4: 1, 5: 2, 6: 0 }
  const calls: Array<readonly [number, unknown, ReadonlyArray<unknown>]> = []
  for (let i = 0; i < message.length;) {
    if (message[i] === ToThread.call) {
      const count: number = message[i + 4]
      calls.push([message[i + 1], message[i + 2], message.slice(i + 5, i + 5 + count)])
      i += 5 + count
    } else i += 1 + operands[message[i]]!
  }
  return calls
}

type ThreadStep =
  | { readonly do: "send"; readonly estimate: number; readonly pinned: boolean }
  | { readonly do: "begin" | "reply" | "withdraw" | "abort" | "flush"; readonly which: number }

const threadSteps: fc.Arbitrary<ThreadStep> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("send" as const),
      estimate: fc.constantFrom(0.001, 0.1, 0.3, 7, Infinity),
      pinned: fc.boolean()
    })
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "begin" as const,
        "begin" as const,
        "reply" as const,
        "reply" as const,
        "withdraw" as const,
        "abort" as const,
        "flush" as const
      ),
      which: fc.nat()
    })
  }
)

describe("a thread, as the pool sees it", () => {
  it("knows at each moment what is with it, and what that weighs", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.array(threadSteps, { maxLength: 80, size: "max" }),
        (most, program) => {
          const bench = new Bench(most)
          const { thread } = bench
          const handle = handleIn(thread)
          /** What has a slot: by its slot, as the thread will reply. */
          const taken = new Map<
            number,
            { call: Call; load: number; state: "queued" | "begun" | "withdrawn" }
          >()
          const ended: Array<Call> = []
          const pick = (which: number) => [...taken.values()][which % Math.max(1, taken.size)]
          for (const step of program) {
            const it = step.do === "send" ? undefined : pick(step.which)
            switch (step.do) {
              case "send": {
                const call = callOf({
                  target: functionOf(step.estimate),
                  ...(step.pinned ? { pinned: handle } : {})
                })
                thread.send(call, 1)
                expect(taken.has(call.slot), "a slot that was taken was given away").toBe(false)
                taken.set(call.slot, { call, load: step.pinned ? -1 : step.estimate, state: "queued" })
                break
              }
              case "begin":
                if (it === undefined) break
                expect(bench.begin(it.call.slot)).toBe(it.state === "queued")
                if (it.state === "queued") it.state = "begun"
                break
              case "reply":
                if (it === undefined || it.state === "queued") break
                thread.flush()
                taken.delete(it.call.slot)
                if (it.state === "begun") ended.push(it.call)
                bench.reply(it.call.slot, it.state === "begun" ? Status.ok : Status.withdrawn)
                break
              case "withdraw":
                if (it === undefined || it.state === "withdrawn") break
                expect(thread.withdraw(it.call)).toBe(it.state === "queued")
                if (it.state === "queued") it.state = "withdrawn"
                break
              case "abort":
                if (it === undefined || it.state === "withdrawn") break
                thread.abort(it.call)
                break
              case "flush":
                thread.flush()
                break
            }
            const others = [...taken.values()].filter(({ load }) => load !== -1)
            const live = [...taken.values()]
              .filter(({ state }) => state !== "withdrawn")
              .map(({ call }) => call)
            expect(thread.inFlight).toBe(taken.size)
            expect(thread.unpinned).toBe(others.length)
            expect(thread.load).toBeCloseTo(others.reduce((sum, { load }) => sum + load, 0))
            expect(new Set(thread.withIt)).toEqual(new Set(live))
            for (const { call, state } of taken.values()) {
              expect(thread.has(call)).toBe(state !== "withdrawn")
              if (state !== "withdrawn") expect(thread.hasStarted(call)).toBe(state === "begun")
            }
          }
          expect(bench.ends.map(([call]) => call)).toEqual(ended)
          for (const { call, state } of taken.values()) {
            bench.reply(call.slot, state === "withdrawn" ? Status.withdrawn : Status.ok)
          }
          expect(bench.loads).toEqual(nothing)
          expect(thread.busySince).toBeUndefined()
        }
      ),
      { numRuns: 300 }
    )
  })

  it("has no more calls than there is shared memory for", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const handle = handleIn(thread)
    const short = callOf({ target: functionOf(0.001) })
    thread.send(callOf({ target: functionOf(0.001) }), 1)
    while (thread.hasSlot) thread.send(callOf({ pinned: handle }), 1)
    expect(thread.inFlight).toBe(slotsPerThread)
    expect(thread.admits(short, 1)).toBe(false)
    bench.reply(5)
    expect(thread.hasSlot).toBe(true)
    expect(thread.admits(short, 1)).toBe(true)
    thread.send(short, 1)
    expect(short.slot).toBe(5)
  })

  it("has no more calls than that either when it works on because of its objects", () => {
    const { thread } = new Bench(1)
    const handle = handleIn(thread)
    thread.retiring = true
    thread.objects = 1
    expect(thread.mayBeSpared).toBe(true)
    while (thread.hasSlot) thread.send(callOf({ pinned: handle }), 1)
    expect(thread.mayBeSpared).toBe(false)
  })

  it("is sent short calls ahead again once what nobody knew the length of has ended", () => {
    const bench = new Bench(2)
    const { thread } = bench
    const short = functionOf(0.01)
    const unknown = callOf({ target: functionOf(Infinity) })
    thread.send(unknown, 1)
    thread.send(callOf({ target: short }), 1)
    expect(thread.admits(callOf({ target: short }), 1)).toBe(false)
    bench.reply(unknown.slot)
    // One of two is always busy from here on.
    for (let i = 0; i < 100; i++) {
      const last = callOf({ target: short })
      thread.send(last, 1)
      bench.reply(last.slot === 0 ? 1 : 0)
    }
    expect(thread.load).toBeCloseTo(0.01)
    thread.send(callOf({ target: short }), 1)
    expect(thread.unpinned).toBe(2)
    expect(thread.admits(callOf({ target: short }), 1)).toBe(true)
  })

  it("is sent short calls ahead for as long as it replies, however long it has been busy", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const short = functionOf(0.01)
    let last = callOf({ target: short })
    thread.send(last, 0)
    for (let now = 1; now <= 100; now++) {
      const next = callOf({ target: short })
      expect(thread.admits(next, now)).toBe(true)
      thread.send(next, now)
      thread.receive([FromThread.done, last.slot, Status.ok, undefined, 0.01], now)
      last = next
    }
    expect(thread.busySince).toBe(0)
    expect(thread.admits(callOf({ target: short }), 200), "it has not replied for long").toBe(false)
  })

  it("is sent so many calls ahead at most, however short they are: another thread may come to rest", () => {
    const { thread } = new Bench(1)
    const instant = functionOf(0)
    const next = callOf({ target: instant })
    while (thread.admits(next, 0)) thread.send(callOf({ target: instant }), 0)
    expect(thread.unpinned).toBeGreaterThan(1)
    expect(thread.hasSlot).toBe(true)
  })

  it("has nothing ahead that could be taken back when that moves its arguments", () => {
    const bench = new Bench(2)
    const { thread } = bench
    for (let i = 0; i < 2; i++) thread.send(callOf({ args: [markMoved(new Uint8Array(4))] }), 0)
    expect(thread.hasAhead).toBe(false)
    thread.send(callOf(), 0)
    expect(thread.hasAhead).toBe(true)
  })

  it("has nothing ahead that could be taken back when a port has moved with it, also beside a remote", () => {
    const remote = (): number => 0
    for (const other of [undefined, remote]) {
      const bench = new Bench(2)
      const { thread } = bench
      bench.sendable = ({ args }) => withNumbers(args, (value) => (value === remote ? 7 : undefined))
      const ports = [new MessageChannel(), new MessageChannel()]
      for (const { port1 } of ports) thread.send(callOf({ args: [{ port: port1, other }] }), 0)
      thread.flush()
      expect(bench.posted.length).toBe(2)
      expect(thread.hasAhead).toBe(false)
      for (const { port2 } of ports) port2.close()
    }
  })

  it("is not sent functions where a platform would make nothing of them", () => {
    const bench = new Bench(2)
    const { thread } = bench
    const posted: Array<unknown> = []
    // As JSON does.
    thread.channel = {
      post: (message) => void posted.push(...JSON.parse(JSON.stringify(message))),
      terminate: undefined
    }
    const [bad, good] = [callOf({ args: [() => 1] }), callOf({ args: ["good"] })]
    for (const call of [bad, good]) thread.send(call, 0)
    thread.flush()
    expect(bench.turnedAway.map(([call, error]) => [call, String(error)])).toEqual([
      [bad, "TypeError: functions cannot be sent"]
    ])
    expect(posted).toContain("good")
    expect(bench.loads.inFlight).toBe(1)
  })

  it("weighs nothing when it has nothing, whatever was done with it", () => {
    const bench = new Bench(1)
    const { thread } = bench
    for (let i = 0; i < 10_000; i++) {
      const calls = [callOf({ target: functionOf(0.1) }), callOf({ target: functionOf(0.2) })]
      for (const call of calls) thread.send(call, 1)
      for (const call of calls) bench.reply(call.slot)
    }
    expect(bench.loads).toEqual(nothing)
  })

  it("that gave up a call, and got it again, replies to the caller once", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const call = callOf()
    thread.send(call, 1)
    const first = call.slot
    expect(thread.withdraw(call)).toBe(true)
    expect(thread.has(call)).toBe(false)
    thread.send(call, 1)
    expect(call.slot).not.toBe(first)
    expect(bench.begin(call.slot)).toBe(true)
    bench.reply(first, Status.withdrawn)
    expect(bench.ends).toEqual([])
    expect(thread.has(call)).toBe(true)
    bench.reply(call.slot, Status.ok, "done")
    expect(bench.ends.map(([of, { value }]) => [of, value])).toEqual([[call, "done"]])
    expect(bench.loads).toEqual(nothing)
  })

  it("does not abort the next call in a slot in place of the one before it", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const [first, second] = [callOf(), callOf()]
    thread.send(first, 1)
    bench.begin(first.slot)
    bench.reply(first.slot)
    thread.send(second, 1)
    expect(second.slot).toBe(first.slot)
    expect(thread.has(first)).toBe(false)
    expect(Atomics.load(thread.memory!, cellOf(second.slot))).toBe(Cell.queued)
    thread.abort(second)
    expect(Atomics.load(thread.memory!, cellOf(second.slot)), "not begun: nothing to abort").toBe(Cell.queued)
    expect(bench.begin(second.slot)).toBe(true)
    thread.abort(second)
    expect(Atomics.load(thread.memory!, cellOf(second.slot))).toBe(Cell.aborted)
  })

  it("sends what is ready together, and tells the thread of each function once", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const f = functionOf(0.1)
    for (const arg of [1, 2]) thread.send(callOf({ target: f, args: [arg] }), 1)
    thread.flush()
    thread.send(callOf({ target: f, args: [3] }), 1)
    thread.flush()
    thread.flush()
    expect(bench.posted).toEqual([
      [
        [ToThread.define, f.number, f.spec],
        [ToThread.call, 0, f.number, undefined, 1, 1],
        [ToThread.call, 1, f.number, undefined, 1, 2]
      ].flat(),
      [ToThread.call, 2, f.number, undefined, 1, 3]
    ])
    expect(Atomics.load(thread.memory!, 0), "the messages are counted").toBe(2)
  })

  it("loses nothing of a message in which one call cannot be sent, and is at rest after that one", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const bytes = markMoved(new Uint8Array([1, 2, 3]))
    const f = functionOf(0.1)
    const calls = [
      callOf({ target: f, args: ["a", bytes] }),
      callOf({ target: f, args: [{ bad: () => 1 }] }),
      callOf({ target: f, args: ["b"] })
    ]
    for (const call of calls) thread.send(call, 1)
    thread.tell(ToThread.release, 4, 1)
    thread.flush()
    expect(bench.posted.flatMap(callsIn)).toEqual([
      [0, f.number, ["a", new Uint8Array([1, 2, 3])]],
      [2, f.number, ["b"]]
    ])
    expect(bench.posted.at(-1)).toEqual([ToThread.release, 4, 1])
    expect(bytes.byteLength, "it has moved").toBe(0)
    expect(bench.turnedAway.map(([call]) => call)).toEqual([calls[1]])
    bench.reply(0)
    bench.reply(2)
    expect(bench.loads).toEqual(nothing)

    thread.send(callOf({ target: f, args: [() => 1] }), 1)
    thread.flush()
    expect(bench.loads).toEqual(nothing)
    expect(thread.busySince, "it has nothing to do").toBeUndefined()
  })

  it("does not send a call that was withdrawn before its message could go, where it had to be taken apart", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const calls = [callOf({ args: [() => 1] }), callOf({ args: [1] })]
    for (const call of calls) thread.send(call, 1)
    expect(thread.withdraw(calls[0]!)).toBe(true)
    thread.flush()
    expect(bench.posted.flatMap(callsIn)).toEqual([[1, 1, [1]]])
    expect(bench.turnedAway).toEqual([])
    bench.reply(1)
    expect(bench.loads).toEqual(nothing)
  })

  it("moves nothing of a call that was withdrawn before its message could go", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const [bytes, kept] = [markMoved(new Uint8Array(8)), markMoved(new Uint8Array(8))]
    const calls = [callOf({ args: [kept] }), callOf({ args: [bytes] })]
    for (const call of calls) thread.send(call, 1)
    expect(thread.withdraw(calls[1]!)).toBe(true)
    thread.flush()
    expect([kept.byteLength, bytes.byteLength]).toEqual([0, 8])
    bench.reply(0)
    expect(bench.loads).toEqual(nothing)
  })

  it("moves each thing with the call that it is marked for", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const bytes = markMoved(new Uint8Array(8))
    const { port1, port2 } = new MessageChannel()
    thread.send(callOf({ args: [bytes] }), 1)
    thread.send(callOf({ args: [{ port: port1 }] }), 1)
    thread.flush()
    expect(bytes.byteLength).toBe(0)
    expect(new Set(bench.moved.flat())).toEqual(new Set([bytes.buffer, port1]))
    // What has moved away is not there any more.
    thread.send(callOf({ args: [bytes.buffer] }), 1)
    thread.flush()
    expect(bench.turnedAway.map(([call]) => call.slot)).toEqual([2])
    expect(thread.inFlight).toBe(2)
    port2.close()
  })

  it("has calls that share nothing, also when they are sent together with the same arguments", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const shared = { deep: [1] }
    for (const args of [[shared], [{ other: shared }], [1], [shared.deep]]) thread.send(callOf({ args }), 1)
    thread.flush()
    const [first, second, , last] = bench.posted.flatMap(callsIn).map(([, , args]) => args[0] as any)
    expect(first).toEqual(shared)
    expect(second.other).not.toBe(first)
    expect(second.other.deep).not.toBe(first.deep)
    expect(last).not.toBe(first.deep)
  })

  it("that has ended has nothing with it, and late replies change nothing", () => {
    const bench = new Bench(1)
    const { thread } = bench
    const calls = Array.from({ length: 5 }, () => callOf({ target: functionOf(0.1) }))
    for (const call of calls) thread.send(call, 1)
    thread.withdraw(calls[2]!)
    expect(thread.abandon(1)).toEqual(calls.filter((_) => _ !== calls[2]))
    expect(bench.loads).toEqual(nothing)
    expect(thread.withIt).toEqual([])
    for (const call of calls) bench.reply(call.slot)
    expect(bench.ends).toEqual([])
    expect(bench.loads).toEqual(nothing)
    expect(thread.isIdle).toBe(true)
  })

  it("that shares no memory has its calls taken for begun, and tells each abort", () => {
    const bench = new Bench(1, "none")
    const { thread } = bench
    const call = callOf()
    thread.send(call, 1)
    expect(thread.admits(callOf({ target: functionOf(0.001) }), 1), "it would not come back").toBe(false)
    expect(thread.withdraw(call)).toBe(false)
    expect(thread.hasStarted(call)).toBe(true)
    thread.abort(call)
    expect(bench.posted.at(-1)!.slice(-2)).toEqual([ToThread.abort, call.slot])
    bench.reply(call.slot, Status.withdrawn)
    expect(bench.loads).toEqual(nothing)
  })
})

// -----------------------------------------------------------------------------
// The thread's own side
// -----------------------------------------------------------------------------

const sourceOf = (f: Function): FunctionSpec => ({ kind: "source", name: f.name, source: String(f) })
const exportOf = (name: string): FunctionSpec => ({ kind: "export", url: moduleUrl("workshop").href, name })

interface Told {
  readonly slot: number
  readonly status: Status
  readonly value: any
}

/** A thread's side without a thread: the test sends, and reads what it replies. */
class Desk {
  readonly host: Host
  readonly memory: Int32Array | undefined
  /** What it has sent, by message. */
  readonly messages: Array<ReadonlyArray<any>> = []
  now = 0
  private functions = 0
  private slots = 0

  constructor({
    concurrency = 1,
    heapUsed,
    memory = "shared",
    preload = []
  }: {
    readonly concurrency?: number
    readonly heapUsed?: () => number
    readonly memory?: "shared" | "none"
    readonly preload?: ReadonlyArray<string>
  } = {}) {
    this.memory = memory === "none" ? undefined : new Int32Array(new SharedArrayBuffer(4 * memoryLength))
    this.host = new Host({
      post: (message, transfer) => {
        this.messages.push(structuredClone(message, { transfer: [...transfer] as never }))
      },
      heapUsed,
      now: () => this.now
    })
    this.send(ToThread.configure, {
      thread: 3,
      memory: this.memory?.buffer,
      concurrency,
      preload,
      references: [],
      taskTimeout: undefined,
      tellHeap: heapUsed !== undefined
    })
    if (preload.length === 0) this.messages.shift()
  }

  /** As a thread does with a message that no other follows. */
  send(...message: ReadonlyArray<unknown>): void {
    this.host.receive(structuredClone(message))
    this.host.flush()
  }

  define(spec: FunctionSpec | Function): number {
    const number = ++this.functions
    this.send(ToThread.define, number, typeof spec === "function" ? sourceOf(spec) : spec)
    return number
  }

  /** A call, as it is written in a message. Its slot is the next that no call had before. */
  call(target: Target, ...args: ReadonlyArray<unknown>): ReadonlyArray<unknown> {
    return this.callIn(this.slots++, target, ...args)
  }

  callIn(slot: number, target: Target, ...args: ReadonlyArray<unknown>): ReadonlyArray<unknown> {
    if (this.memory !== undefined) Atomics.store(this.memory, cellOf(slot), Cell.queued)
    return [ToThread.call, slot, target, undefined, args.length, ...args]
  }

  cell(slot: number): number {
    return Atomics.load(this.memory!, cellOf(slot))
  }

  /** What the pool does to have a call not begun. */
  withdraw(slot: number): boolean {
    return Atomics.compareExchange(this.memory!, cellOf(slot), Cell.queued, Cell.withdrawn) === Cell.queued
  }

  /** What the pool does when nobody wants the result. */
  abort(slot: number): void {
    if (this.memory !== undefined) {
      Atomics.compareExchange(this.memory, cellOf(slot), Cell.started, Cell.aborted)
    }
    this.send(ToThread.abort, slot)
  }

  /** The ends of calls that were told, by message. */
  get toldByMessage(): ReadonlyArray<ReadonlyArray<Told>> {
    return this.messages.map((message) => {
      const told: Array<Told> = []
      for (let i = 0; i < message.length;) {
        if (message[i] === FromThread.done) {
          told.push({ slot: message[i + 1], status: message[i + 2], value: message[i + 3] })
          i += 5
        } else i += message[i] === FromThread.log || message[i] === FromThread.span ? 3 : 2
      }
      return told
    })
  }

  get told(): ReadonlyArray<Told> {
    return this.toldByMessage.flat()
  }

  /** Slots, how their calls ended, and with what. */
  get ends(): ReadonlyArray<readonly [number, Status, unknown]> {
    return this.told.map(({ slot, status, value }) => [slot, status, value])
  }

  /** Waits until so many calls have ended. */
  async until(count: number): Promise<void> {
    for (let i = 0; this.told.length < count; i++) {
      if (i > 2000) throw new Error(`${this.told.length} of ${count} calls have ended, and no other will`)
      await turn()
    }
  }

  /** Makes an object. */
  async make(className: string, ...args: ReadonlyArray<unknown>): Promise<number> {
    return this.makeWith(
      { op: "create", url: moduleUrl("workshop").href, name: className, wrap: undefined },
      ...args
    )
  }

  async makeWith(target: Target, ...args: ReadonlyArray<unknown>): Promise<number> {
    const before = this.told.length
    this.send(...this.call(target, ...args))
    await this.until(before + 1)
    const { status, value } = this.told.at(-1)!
    expect(status).toBe(Status.remote)
    return value.object
  }
}

/** Lets everything run that can. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))

const pulling = (object: number): Target => ({ op: "pull", object, name: "" })
const calling = (object: number, name: string): Target => ({ op: "call", object, name })

describe("the thread's side", () => {
  beforeEach(() => {
    globalThis.workshop = new Workshop()
  })
  afterEach(() => {
    globalThis.workshop = undefined as never
  })

  const { ok, remote, stale, stream, threw, withdrawn } = Status

  it("runs calls one after the other, and sends the replies together", () => {
    const desk = new Desk()
    const double = desk.define((n: number) => n * 2)
    desk.send(...[1, 2, 3].flatMap((n) => desk.call(double, n)))
    expect(desk.toldByMessage.map((all) => all.map((_) => [_.slot, _.status, _.value]))).toEqual([
      [
        [0, ok, 2],
        [1, ok, 4],
        [2, ok, 6]
      ]
    ])
  })

  it("does not count the time for loading its module as a task's own", async () => {
    const desk = new Desk()
    const double = desk.define(exportOf("double"))
    desk.send(...desk.call(double, 2))
    desk.now = 5_000
    await desk.until(1)
    const [, , , value, ran] = desk.messages.at(-1)!
    expect([value, ran]).toEqual([4, 0])
  })

  it("keeps no reply waiting for long tasks", () => {
    const desk = new Desk()
    const number = desk.define(() => globalThis.workshop.begun.push("x"))
    const begun = globalThis.workshop.begun
    // Each task takes a millisecond.
    begun.push = (...items) => {
      desk.now += 1
      return items.length
    }
    desk.send(...[1, 2, 3].flatMap(() => desk.call(number)))
    expect(desk.toldByMessage.map((_) => _.map(({ slot }) => slot))).toEqual([[0], [1], [2]])
  })

  it("does not begin what was withdrawn, and says so", async () => {
    const desk = new Desk()
    const later = desk.define((id: unknown) => globalThis.workshop.later(id))
    desk.send(...["a", "b", "c"].flatMap((id) => desk.call(later, id)))
    expect(desk.withdraw(0), "it was begun").toBe(false)
    expect(desk.withdraw(1)).toBe(true)
    globalThis.workshop.waiting.get("a")!.resolve(1)
    await desk.until(2)
    expect(globalThis.workshop.begun).toEqual(["a", "c"])
    globalThis.workshop.waiting.get("c")!.resolve(3)
    await desk.until(3)
    expect(desk.ends).toEqual([
      [0, ok, 1],
      [1, withdrawn, undefined],
      [2, ok, 3]
    ])
  })

  it("has as many tasks under way as it may have, and begins them in order", async () => {
    const desk = new Desk({ concurrency: 2 })
    const later = desk.define((id: unknown) => globalThis.workshop.later(id))
    const { begun, waiting } = globalThis.workshop
    desk.send(...[0, 1, 2, 3].flatMap((id) => desk.call(later, id)))
    expect(begun).toEqual([0, 1])
    waiting.get(1)!.resolve("one")
    await desk.until(1)
    expect(begun).toEqual([0, 1, 2])
    waiting.get(0)!.reject(new Error("zero"))
    waiting.get(2)!.resolve("two")
    await desk.until(3)
    expect(begun).toEqual([0, 1, 2, 3])
    waiting.get(3)!.resolve("three")
    await desk.until(4)
    expect(desk.told.map(({ slot, status }) => [slot, status])).toEqual([
      [1, ok],
      [0, threw],
      [2, ok],
      [3, ok]
    ])
    expect(desk.host.isQuiet).toBe(true)
  })

  it("gives results that share nothing, also when they are sent together", () => {
    const desk = new Desk()
    const number = desk.define(() => ((globalThis as any).workshop.kept ??= { deep: [1] }))
    desk.send(...[1, 2, 3].flatMap(() => desk.call(number)))
    const [first, second, third] = desk.told.map(({ value }) => value)
    expect(first).toEqual({ deep: [1] })
    expect(second).not.toBe(first)
    expect(second.deep).not.toBe(first.deep)
    expect(third).not.toBe(second)
  })

  it("loses no reply to one that cannot cross, and says where that cannot", () => {
    const desk = new Desk()
    const number = desk.define((n: number) =>
      n === 1 ? { deep: [n, () => n] } : n === 3 ? Symbol("three") : { n }
    )
    desk.send(...[0, 1, 2, 3, 4].flatMap((n) => desk.call(number, n)))
    expect(desk.ends).toEqual([
      [0, ok, { n: 0 }],
      [1, Status.notCloneable, { path: "result.deep[1]", found: "a function" }],
      [2, ok, { n: 2 }],
      [3, Status.notCloneable, { path: "result", found: "Symbol(three)" }],
      [4, ok, { n: 4 }]
    ])
    desk.send(...desk.call(number, 5))
    expect(desk.told.at(-1)?.value).toEqual({ n: 5 })
  })

  it("is not ended by results and errors that cannot even be looked at", async () => {
    const desk = new Desk()
    const evil = desk.define((n: number): unknown => {
      const no = (): never => {
        throw new Error("no")
      }
      if (n === 0) return Object.defineProperty({}, "then", { get: no })
      if (n === 1) return new Proxy({}, { get: no, has: no, getPrototypeOf: no, ownKeys: no })
      if (n === 2) throw Object.defineProperty(new Error("e"), "name", { get: no })
      if (n === 3) throw new Proxy({}, { get: no, has: no, getPrototypeOf: no, ownKeys: no })
      return n
    })
    desk.send(...[0, 1, 2, 3, 4].flatMap((n) => desk.call(evil, n)))
    await desk.until(5)
    expect(desk.told.map(({ slot }) => slot).toSorted()).toEqual([0, 1, 2, 3, 4])
    expect(desk.told.find(({ slot }) => slot === 4)).toEqual({ slot: 4, status: ok, value: 4 })
    expect(desk.told.filter(({ status }) => status === ok).length).toBe(1)
  })

  it("calls the task of a function its own, and nobody else's", async () => {
    const desk = new Desk({ concurrency: 2 })
    const number = desk.define(async function (this: any) {
      const { signal } = this
      await globalThis.workshop.later(this.call.slot)
      return [this.thread, this.aborted, signal.aborted]
    })
    desk.send(...desk.call(number), ...desk.call(number))
    desk.abort(1)
    for (const slot of [0, 1]) globalThis.workshop.waiting.get(slot)!.resolve(undefined)
    await desk.until(2)
    expect(desk.ends).toEqual([
      [0, ok, [3, false, false]],
      [1, ok, [3, true, true]]
    ])
  })

  it("shows an abort to a loop that never gives up the thread", () => {
    const desk = new Desk()
    // The pool sets the cell while the loop runs.
    globalThis.workshop.later = () => {
      Atomics.compareExchange(desk.memory!, cellOf(0), Cell.started, Cell.aborted)
      return undefined as never
    }
    const number = desk.define(function (this: any) {
      const { signal } = this
      const before = [this.aborted, signal.aborted]
      void globalThis.workshop.later(0)
      return [...before, this.aborted, signal.aborted]
    })
    desk.send(...desk.call(number))
    expect(desk.ends).toEqual([[0, ok, [false, false, true, true]]])
  })

  it("shows a task that has ended nothing of the next call in its slot", async () => {
    const desk = new Desk()
    const tasks: Array<any> = []
    globalThis.workshop.later = (task) => {
      tasks.push(task)
      return Promise.resolve(tasks.length)
    }
    const number = desk.define(function (this: any) {
      return globalThis.workshop.later(this)
    })
    desk.send(...desk.callIn(0, number))
    await desk.until(1)
    const never = desk.define(() => new Promise(() => {}))
    desk.send(...desk.callIn(0, never))
    desk.abort(0)
    expect(desk.cell(0)).toBe(Cell.aborted)
    expect([tasks[0].aborted, tasks[0].signal.aborted]).toEqual([false, false])
  })

  it("ignores an abort that comes too late, also when the slot has its next call in the same message", async () => {
    const desk = new Desk()
    const later = desk.define((id: unknown) => globalThis.workshop.later(id))
    desk.send(...desk.callIn(0, later, "a"))
    globalThis.workshop.waiting.get("a")!.resolve("a")
    await desk.until(1)
    // Sent before the reply was there, and read after it.
    desk.send(ToThread.abort, 0, ...desk.callIn(0, later, "b"))
    expect(globalThis.workshop.begun).toEqual(["a", "b"])
    globalThis.workshop.waiting.get("b")!.resolve("b")
    await desk.until(2)
    expect(desk.ends.at(-1)).toEqual([0, ok, "b"])
  })

  it("takes an abort for a withdrawal where no memory is shared", async () => {
    const desk = new Desk({ memory: "none" })
    const later = desk.define((id: unknown) => globalThis.workshop.later(id))
    const object = await desk.make("Thing", 1)
    desk.send(
      ...["a", "b", "c"].flatMap((id) => desk.call(later, id)),
      ...["d", "e"].flatMap((id) => desk.call(calling(object, "later"), id))
    )
    // Slots from 1: 0 made the object.
    expect(globalThis.workshop.begun.toSorted()).toEqual(["a", "d"])
    desk.abort(2)
    desk.abort(5)
    desk.abort(17)
    for (const id of ["a", "d"]) globalThis.workshop.waiting.get(id)!.resolve(id)
    await desk.until(5)
    globalThis.workshop.waiting.get("c")!.resolve("c")
    await desk.until(6)
    expect(globalThis.workshop.begun.toSorted()).toEqual(["a", "c", "d"])
    expect(new Set(desk.ends.slice(1))).toEqual(
      new Set([
        [1, ok, "a"],
        [2, withdrawn, undefined],
        [3, ok, "c"],
        [4, ok, "d"],
        [5, withdrawn, undefined]
      ])
    )
    expect(desk.host.isQuiet).toBe(true)
  })

  it("runs the calls of each object in their order, and keeps no object waiting for another", async () => {
    const desk = new Desk()
    const [first, second] = [await desk.make("Thing", 1), await desk.make("Thing", 2)]
    const { begun, waiting } = globalThis.workshop
    desk.send(
      ...["1a", "1b"].flatMap((id) => desk.call(calling(first, "later"), id)),
      ...["2a", "2b"].flatMap((id) => desk.call(calling(second, "later"), id)),
      ...desk.call(calling(first, "name"))
    )
    expect(begun).toEqual(["1a", "2a"])
    waiting.get("2a")!.resolve("2a")
    await desk.until(3)
    expect(begun).toEqual(["1a", "2a", "2b"])
    waiting.get("1a")!.reject(new Error("1a"))
    await desk.until(4)
    waiting.get("1b")!.resolve("1b")
    await desk.until(6)
    waiting.get("2b")!.resolve("2b")
    await desk.until(7)
    expect(desk.told.slice(2).map(({ slot, status }) => [slot, status])).toEqual([
      [4, ok],
      [2, threw],
      [3, ok],
      [6, ok],
      [5, ok]
    ])
  })

  it("runs the calls that gathered behind a long one on an object, however many", async () => {
    const desk = new Desk({ memory: "none" })
    const object = await desk.make("Thing", "thing")
    const count = 20_000
    const calls = Array.from({ length: count }, () => desk.call(calling(object, "name")))
    desk.send(...desk.call(calling(object, "later"), "a"))
    for (const call of calls) desk.host.receive(call)
    globalThis.workshop.waiting.get("a")!.resolve("a")
    await desk.until(count + 2)
    expect(desk.told.every(({ status }) => status === ok || status === remote)).toBe(true)
  })

  it("replies in some order to everything, once, whatever the tasks do", async () => {
    interface Plan {
      readonly kind: "plain" | "throws" | "uncloneable" | "later" | "rejects" | "object" | "objectLater"
      readonly withdraw: boolean
    }
    const plans: fc.Arbitrary<Plan> = fc.record({
      kind: fc.constantFrom("plain", "throws", "uncloneable", "later", "rejects", "object", "objectLater"),
      withdraw: fc.boolean()
    })
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(plans, { maxLength: 30, size: "max" }),
        fc.infiniteStream(fc.nat()),
        async (concurrency, program, choices) => {
          globalThis.workshop = new Workshop()
          const { waiting } = globalThis.workshop
          const desk = new Desk({ concurrency })
          const object = await desk.make("Thing", "object")
          const run = desk.define((id: number, kind: Plan["kind"]): unknown => {
            if (kind === "plain") return id
            if (kind === "throws") throw new Error(String(id))
            if (kind === "uncloneable") return { id, f: () => id }
            return globalThis.workshop.later(id)
          })
          // Slots from 1: 0 made the object.
          const calls = program.map(({ kind }, i) =>
            kind === "object"
              ? desk.call(calling(object, "name"))
              : kind === "objectLater"
                ? desk.call(calling(object, "later"), i)
                : desk.call(run, i, kind)
          )
          const withdrawals = new Set<number>()
          for (let sent = 0; sent < calls.length;) {
            const count = 1 + (choices.next().value! % 4)
            desk.send(...calls.slice(sent, sent + count).flat())
            sent += count
            for (let i = 0; i < Math.min(sent, calls.length); i++) {
              if (program[i]!.withdraw && choices.next().value! % 2 === 0 && desk.withdraw(i + 1))
                withdrawals.add(i)
            }
            const ids = [...waiting.keys()] as Array<number>
            if (ids.length > 0 && choices.next().value! % 2 === 0)
              end(ids[choices.next().value! % ids.length]!)
            await Promise.resolve()
          }
          function end(id: number): void {
            const task = waiting.get(id)!
            waiting.delete(id)
            if (program[id]!.kind === "rejects") task.reject(new Error(String(id)))
            else task.resolve(id)
          }
          for (let i = 0; desk.told.length < calls.length + 1; i++) {
            if (i > 500) throw new Error("some call gets no reply")
            for (const id of waiting.keys()) end(id as number)
            await turn()
          }
          const expected = program.map(({ kind }, i): unknown =>
            withdrawals.has(i)
              ? [withdrawn, undefined]
              : kind === "throws" || kind === "rejects"
                ? [threw, String(i)]
                : kind === "uncloneable"
                  ? [Status.notCloneable, "result.f"]
                  : [ok, kind === "object" ? "object" : i]
          )
          const got = desk.told.slice(1).toSorted((a, b) => a.slot - b.slot)
          expect(got.map(({ slot }) => slot)).toEqual(program.map((_, i) => i + 1))
          expect(
            got.map(({ status, value }) => [
              status,
              status === threw ? value.message : status === Status.notCloneable ? value.path : value
            ])
          ).toEqual(expected)
          expect(desk.host.isQuiet).toBe(true)
        }
      ),
      { numRuns: 100 }
    )
  })

  // --- Objects ---------------------------------------------------------------------------------------

  const wrapping = (className: string): Target => ({
    op: "create",
    url: moduleUrl("workshop").href,
    name: className,
    wrap: { types: ["Thing"], names: [] }
  })

  it("keeps an object until it was let go of as often as it was sent, and disposes of it once", async () => {
    const desk = new Desk()
    const object = await desk.makeWith(wrapping("Thing"), "thing")
    desk.send(...desk.call(calling(object, "self")), ...desk.call(calling(object, "self")))
    expect(desk.told.slice(1).map(({ status, value }) => [status, value.object])).toEqual([
      [remote, object],
      [remote, object]
    ])
    desk.send(ToThread.release, object, 2)
    desk.send(...desk.call(calling(object, "name")))
    expect(desk.told.at(-1)?.value).toBe("thing")
    expect(globalThis.workshop.disposed).toEqual([])
    desk.send(ToThread.release, object, 1, ToThread.release, object, 1)
    desk.send(...desk.call(calling(object, "name")))
    expect(desk.told.at(-1)?.status).toBe(stale)
    expect(globalThis.workshop.disposed).toEqual(["thing"])
  })

  it("does not take an object that was let go of for another that came later", async () => {
    const desk = new Desk()
    const first = await desk.make("Thing", "first")
    desk.send(ToThread.release, first, 1)
    const second = await desk.make("Thing", "second")
    expect(second).not.toBe(first)
    desk.send(ToThread.release, first, 1)
    desk.send(...desk.call(calling(second, "name")))
    expect(desk.told.at(-1)?.value).toBe("second")
  })

  it("lets a call on an object end that was let go of meanwhile; those behind it find nothing", async () => {
    const desk = new Desk()
    const object = await desk.make("Thing", "thing")
    desk.send(...desk.call(calling(object, "later"), "a"), ...desk.call(calling(object, "name")))
    desk.send(ToThread.release, object, 1)
    expect(globalThis.workshop.disposed, "it is in use").toEqual([])
    globalThis.workshop.waiting.get("a")!.resolve("a")
    await desk.until(3)
    expect(desk.told.slice(1)).toEqual([
      { slot: 1, status: ok, value: "a" },
      // It was sent before the release: it may still be run, too.
      { slot: 2, status: expect.toBeOneOf([stale, ok]), value: expect.toBeOneOf([undefined, "thing"]) }
    ])
    expect(globalThis.workshop.disposed).toEqual(["thing"])
  })

  it("keeps an object that was let go of while it was on its way again", async () => {
    const desk = new Desk()
    const object = await desk.makeWith(wrapping("Thing"), "thing")
    desk.send(...desk.call(calling(object, "selfLater"), "a"))
    // The pool has no other remote: it lets go, and the reply that is about to come is one more.
    desk.send(ToThread.release, object, 1)
    globalThis.workshop.waiting.get("a")!.resolve(undefined)
    await desk.until(2)
    const { status, value } = desk.told.at(-1)!
    expect(status).toBe(remote)
    desk.send(...desk.call(calling(value.object, "name")))
    expect(desk.told.at(-1)).toMatchObject({ status: ok, value: "thing" })
    expect(globalThis.workshop.disposed).toEqual([])
    desk.send(ToThread.release, value.object, 1)
    expect(globalThis.workshop.disposed).toEqual(["thing"])
  })

  it("gives objects for their numbers, and nothing for the numbers of those that are gone", async () => {
    const desk = new Desk()
    const object = await desk.make("Thing", "thing")
    const withObject = (slot: number, target: Target) => {
      Atomics.store(desk.memory!, cellOf(slot), Cell.queued)
      return [ToThread.call, slot, target, { objects: [[0]] }, 1, object]
    }
    desk.send(...withObject(10, calling(object, "knows")))
    expect(desk.told.at(-1)?.value).toBe("me")
    const number = desk.define((thing: { readonly id: unknown }) => thing.id)
    desk.send(...withObject(11, number))
    expect(desk.told.at(-1)?.value).toBe("thing")
    desk.send(ToThread.release, object, 1, ...withObject(12, number))
    expect(desk.told.at(-1)).toMatchObject({ slot: 12, status: stale })
  })

  it("gives the same number to the same object, also when a promise gives it", async () => {
    const desk = new Desk()
    const object = await desk.makeWith(wrapping("Thing"), "thing", "friend")
    desk.send(...desk.call({ op: "get", object, name: "friend" }))
    desk.send(...desk.call(calling(object, "asyncFriend")))
    await desk.until(3)
    const [get, call] = desk.told.slice(1)
    expect(get).toMatchObject({ status: remote, value: { className: "Thing" } })
    expect(call).toMatchObject({ status: remote, value: { object: get!.value.object } })
    // What an object gave is the object's: letting go of it ends nothing.
    desk.send(ToThread.release, get!.value.object, 2)
    expect(globalThis.workshop.disposed).toEqual([])
  })

  // --- Streams ---------------------------------------------------------------------------------------

  const opened = async (desk: Desk, number: number, ...args: ReadonlyArray<unknown>): Promise<number> => {
    const before = desk.told.length
    desk.send(...desk.call(number, ...args))
    await desk.until(before + 1)
    const { status, value } = desk.told.at(-1)!
    expect(status).toBe(stream)
    return value.object
  }

  const pull = async (desk: Desk, object: number): Promise<Told> => {
    const before = desk.told.length
    desk.send(...desk.call(pulling(object)))
    await desk.until(before + 1)
    return desk.told.at(-1)!
  }

  it("opens a Stream that is the first thing that it is asked for", async () => {
    const desk = new Desk()
    const object = await opened(desk, desk.define(exportOf("streamOf")), 3)
    const items: Array<unknown> = []
    for (let ended = false; !ended;) {
      const { status, value } = await pull(desk, object)
      expect(status).toBe(ok)
      items.push(...value[0])
      ended = value[1]
    }
    expect(items).toEqual([1, 2, 3])
  })

  it("makes no more of a generator than is asked for, and ends it when it is let go of", async () => {
    const desk = new Desk()
    const number = desk.define(function* () {
      try {
        for (let i = 0; ; i++) {
          globalThis.workshop.begun.push(i)
          yield i
        }
      } finally {
        globalThis.workshop.disposed.push("generator")
      }
    })
    const object = await opened(desk, number)
    expect(globalThis.workshop.begun).toEqual([])
    // As many as there were before, up to 256.
    let given = 0
    for (const count of [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 256]) {
      const { value } = await pull(desk, object)
      expect(value[1]).toBe(false)
      expect(value[0]).toEqual(globalThis.workshop.begun.slice(given))
      expect(value[0].length).toBe(count)
      given += count
    }
    desk.send(ToThread.release, object, 1)
    await turn()
    expect(globalThis.workshop.disposed).toEqual(["generator"])
    expect((await pull(desk, object)).status).toBe(stale)
    expect(globalThis.workshop.begun.length).toBe(given)
  })

  it("gives what a generator has made in some milliseconds, and stops when nobody waits any more", async () => {
    const desk = new Desk()
    let onItem = (): void => {}
    Object.assign(globalThis.workshop, { later: () => onItem() })
    const endless = desk.define(function* () {
      for (let i = 0; ; i++) {
        void globalThis.workshop.later(i)
        yield i
      }
    })
    desk.send(...desk.call(endless))
    const { object } = desk.told[0]!.value
    for (let i = 0; i < 7; i++) desk.send(...desk.call(pulling(object)))
    expect(desk.told[7]!.value[0].length).toBe(32)
    onItem = () => void desk.now++
    desk.send(...desk.call(pulling(object)))
    const [slow] = desk.told[8]!.value
    expect(slow.length).toBeGreaterThan(1)
    expect(slow.length).toBeLessThan(20)
    // No time passes, and the generator never gives up the thread.
    let left = 3
    onItem = () => {
      if (--left === 0) Atomics.store(desk.memory!, cellOf(9), Cell.aborted)
    }
    desk.send(...desk.call(pulling(object)))
    expect(desk.told[9]!.value[0].length).toBe(3)
  })

  it("gives what a generator made before it failed, and then the failure", async () => {
    const desk = new Desk()
    const plain = desk.define(function* () {
      yield* [1, 2, 3]
      throw new Error("plain")
    })
    const asynchronous = desk.define(async function* () {
      yield* [1, 2, 3]
      throw new Error("asynchronous")
    })
    for (const [number, message] of [
      [plain, "plain"],
      [asynchronous, "asynchronous"]
    ] as const) {
      const object = await opened(desk, number)
      const items: Array<unknown> = []
      let last = await pull(desk, object)
      for (; last.status === ok; last = await pull(desk, object)) {
        expect(last.value[1]).toBe(false)
        items.push(...last.value[0])
      }
      expect(items).toEqual([1, 2, 3])
      expect(last).toMatchObject({ status: threw, value: { message } })
    }
  })

  it("gives each item of an async generator once, however slowly they come", async () => {
    const desk = new Desk()
    const number = desk.define(async function* () {
      for (let i = 0; i < 5; i++) yield await globalThis.workshop.later(i)
    })
    const object = await opened(desk, number)
    const { waiting } = globalThis.workshop
    const items: Array<unknown> = []
    for (let ended = false; !ended;) {
      const before = desk.told.length
      desk.send(...desk.call(pulling(object)))
      while (desk.told.length === before) {
        await turn()
        for (const [id, { resolve }] of waiting) {
          waiting.delete(id)
          resolve(id)
        }
      }
      const { value } = desk.told.at(-1)!
      items.push(...value[0])
      ended = value[1]
    }
    expect(items).toEqual([0, 1, 2, 3, 4])
  })

  // --- Effects ---------------------------------------------------------------------------------------

  it("interrupts an Effect that is aborted, also when it was aborted before it could begin", async () => {
    const desk = new Desk({ concurrency: 2 })
    const waits = desk.define(exportOf("waits"))
    desk.send(...desk.call(waits, "a"))
    // The module is not loaded yet.
    desk.abort(0)
    await desk.until(1)
    desk.send(...desk.call(waits, "b"))
    await turn()
    desk.abort(1)
    await desk.until(2)
    expect(desk.ends).toEqual([
      [0, Status.interrupted, undefined],
      [1, Status.interrupted, undefined]
    ])
    expect(globalThis.workshop.disposed).toContain("b")
  })

  // --- Start -----------------------------------------------------------------------------------------

  it("says when it is ready, and why it is not", async () => {
    const good = new Desk({ preload: [moduleUrl("workshop").href] })
    while (good.messages.length === 0) await turn()
    expect(good.messages).toEqual([[FromThread.ready, true]])
    const bad = new Desk({ preload: ["data:text/javascript,throw new RangeError('no')"] })
    while (bad.messages.length === 0) await turn()
    const [tag, error] = bad.messages[0]!
    expect(tag).toBe(FromThread.failedToStart)
    expect(error).toMatchObject({ className: "RangeError", message: "no" })
  })

  it("tells its heap now and then", () => {
    let heap = 5
    const desk = new Desk({ heapUsed: () => heap })
    const number = desk.define(() => 1)
    const heaps = () =>
      desk.messages.flat().filter((_, i, all) => all[i - 1] === FromThread.heap && i % 2 === 1)
    desk.now = 1000
    desk.send(...desk.call(number))
    heap = 6
    desk.send(...desk.call(number))
    desk.now = 2000
    desk.send(...desk.call(number))
    expect(desk.told.length).toBe(3)
    expect(desk.messages.at(-1)).toContain(6)
    expect(heaps()).not.toContain(7)
  })

  it("does not take a message for something else than it is", () => {
    expect(() => new Desk().send(99)).toThrow("unknown operation: 99")
  })
})
