/**
 * What no other test noticed when thread pools were broken on purpose, one subject after the other.
 */
import { Remote, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Call, RemoteFunction } from "../src/internal/call.ts"
import { Cell, cellOf, FromThread, Status, ToThread } from "../src/internal/protocol.ts"
import { type Owner, Thread } from "../src/internal/thread.ts"
import { Cells, eventually, faulty, within } from "./faults-kit.ts"
import { failureOf, logged, moduleUrl, overThreads, start } from "./kit.ts"
import type * as Effects from "./modules/effects.ts"

const effects = ThreadPool.module<typeof Effects>(moduleUrl("effects"))

// -----------------------------------------------------------------------------
// A thread, as the pool sees it
// -----------------------------------------------------------------------------

/** A thread whose messages the test reads, and whose replies the test writes. */
class Bench {
  readonly thread: Thread
  readonly posted: Array<unknown> = []

  constructor() {
    const owner: Owner = {
      extra: () => undefined,
      sendable: ({ args }) => ({ args, objects: undefined }),
      ended: () => {},
      pinned: () => {},
      refused: () => {},
      heard: () => {},
      log: () => {},
      span: () => {}
    }
    this.thread = new Thread(1, 1, owner, 0)
    this.thread.state = "ready"
    this.thread.channel = { post: (message) => void this.posted.push(...message), terminate: undefined }
  }

  send(target: RemoteFunction): Call {
    const call = callOf(target)
    this.thread.send(call, 0)
    return call
  }

  begin({ slot }: Call): void {
    Atomics.store(this.thread.memory!, cellOf(slot), Cell.started)
  }

  reply({ slot }: Call): void {
    this.thread.receive([FromThread.done, slot, Status.ok, undefined, 0.01], 0)
  }
}

/** A function that is known to take so many milliseconds. */
const functionOf = (estimate: number): RemoteFunction => {
  const f = new RemoteFunction({ kind: "source", name: "f", source: "() => 1" }, "f")
  f.estimate = estimate
  return f
}

/** A call that nobody waits for. */
const callOf = (target: RemoteFunction): Call =>
  new Call(
    { id: 1, context: Context.empty() } as never,
    () => {},
    target,
    "task",
    [],
    {
      pinned: undefined,
      wantsStream: false,
      unkillable: false,
      patient: false,
      inline: false,
      transfers: []
    },
    0
  )

describe("a thread that had a task that nobody wanted any more", () => {
  it("is sent nothing ahead until the task has stopped, and then again", () => {
    const bench = new Bench()
    const short = functionOf(0.01)
    const [unwanted, next] = [bench.send(short), bench.send(short)]
    bench.begin(unwanted)
    bench.thread.abort(unwanted)
    expect(bench.thread.admits(callOf(short), 0)).toBe(false)
    bench.reply(unwanted)
    bench.begin(next)
    expect(bench.thread.admits(callOf(short), 0)).toBe(true)
  })
})

describe("a program that makes up functions as it goes", () => {
  it("does not fill its threads with them: what was defined first is forgotten, and defined again when it is wanted", () => {
    const bench = new Bench()
    const functions = Array.from({ length: 2001 }, () => functionOf(0.01))
    const define = (f: RemoteFunction): ReadonlyArray<unknown> => {
      bench.posted.length = 0
      bench.reply(bench.send(f))
      bench.thread.flush()
      const [first, second] = bench.posted
      return first === ToThread.forget ? ["forget", second === ToThread.define] : [first === ToThread.define]
    }
    for (const f of functions.slice(0, 2000)) expect(define(f)).toEqual([true])
    expect(define(functions[0]!), "it is known").toEqual([false])
    expect(define(functions[2000]!), "it is one too many").toEqual(["forget", true])
    expect(define(functions[0]!), "it was forgotten").toEqual([true])
    expect(define(functions[0]!)).toEqual([false])
  })
})

// -----------------------------------------------------------------------------
// Objects
// -----------------------------------------------------------------------------

/** A module as text: it may have anything, and no other test has it. */
const moduleOf = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`

describe("an object with more calls than its thread has room for", () => {
  it.live("whose thread ends under the first of them: each hears, those that were never sent too", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const doomed = moduleOf(`
        export class Doomed {
          constructor(cells) { this.cells = cells }
          leave() {
            Atomics.add(this.cells, 0, 1)
            Atomics.wait(this.cells, 1, 0, 30_000)
            process.exit(1)
          }
          never() {}
        }
      `)
      const object: any = yield* ThreadPool.proxy(doomed, "Doomed" as never, ...([[cells.shared]] as never))
      const first = yield* start(Effect.exit(object.leave() as Effect.Effect<never, any>))
      yield* cells.raised(0)
      const later = yield* Effect.forEach(Array.from({ length: 1_100 }), () =>
        start(Effect.exit(object.never() as Effect.Effect<void, any>))
      )
      const { pending, running } = yield* ThreadPool.stats
      expect({ pending, running }).toEqual({ pending: 77, running: 1024 })
      cells.raise(1)
      const exits = yield* within("all of them", Effect.forEach(later, Fiber.join))
      expect(yield* failureOf(yield* Fiber.join(first))).toMatchObject({
        _tag: "ThreadCrashed",
        started: true
      })
      const errors = yield* Effect.forEach(exits, (exit) => failureOf(exit))
      const sent = errors.filter((error) => error._tag === "ThreadCrashed" && !error.started)
      const unsent = errors.filter((error) => error._tag === "StaleRemote" && error.reason === "threadEnded")
      expect([sent.length, unsent.length]).toEqual([1023, 77])
      expect(yield* ThreadPool.stats).toMatchObject({ pending: 0, running: 0, crashed: 1024, rejected: 77 })
    }).pipe(overThreads())
  )
})

describe("an object that its class gives to each who makes one", () => {
  it.live("is disposed of when the last of their scopes closes", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const shared = moduleOf(`
        let one
        export class Single {
          constructor(cells) {
            if (one !== undefined) return one
            one = this
            this.cells = cells
          }
          works() { return true }
          [Symbol.dispose]() { Atomics.add(this.cells, 0, 1) }
        }
      `)
      const make = ThreadPool.proxy(shared, "Single" as never, ...([[cells.shared]] as never))
      const scopes = [yield* Scope.make(), yield* Scope.make()] as const
      const [first, second]: Array<any> = yield* Effect.forEach(scopes, (scope) => Scope.provide(make, scope))
      expect(second).toBe(first)
      yield* Scope.close(scopes[0], Exit.void)
      expect(yield* second.works() as Effect.Effect<boolean>).toBe(true)
      expect(cells.get(0)).toBe(0)
      yield* Scope.close(scopes[1], Exit.void)
      expect(cells.get(0)).toBe(1)
      expect(Remote.isAlive(second)).toBe(false)
    }).pipe(overThreads())
  )
})

// -----------------------------------------------------------------------------
// Sizes
// -----------------------------------------------------------------------------

describe("fewer threads", () => {
  it.live("of those at work the ones without objects go, also where one with an object was there first", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const home = yield* thing.thread()
      // So that the task goes to the other one.
      const own = yield* start(thing.wait(2, 3))
      yield* cells.raised(2)
      const other = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0)
      yield* ThreadPool.resize(1)
      const states = (yield* ThreadPool.stats).threads.map(({ state, thread }) => [thread === home, state])
      expect(states.toSorted()).toEqual([
        [false, "retiring"],
        [true, "busy"]
      ])
      for (const cell of [1, 3]) cells.raise(cell)
      expect(yield* Fiber.join(own)).toBe(home)
      expect(yield* Fiber.join(other)).not.toBe(home)
      yield* eventually(
        "one thread is left",
        Effect.map(ThreadPool.stats, ({ threads }) => threads.length === 1)
      )
      expect(yield* faulty.thread()).toBe(home)
      expect(yield* thing.thread()).toBe(home)
    }).pipe(overThreads({ size: 2 }))
  )
})

describe("recycle.tasks", () => {
  it.live("does not keep a thread from calls that its objects keep from being replaced", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const things = yield* Effect.forEach([1, 2], () => ThreadPool.proxy(faulty, "Thing", [cells.shared]))
      const homes = yield* Effect.forEach(things, (thing) => thing.thread())
      expect(new Set(homes).size).toBe(2)
      // The first is worn by far, the second is not.
      for (let i = 0; i < 20; i++) yield* things[0]!.thread()
      const calls = yield* Effect.forEach([0, 2], (cell) => start(faulty.wait(cells.shared, cell, 4)))
      for (const cell of [0, 2]) yield* cells.raised(cell)
      cells.raise(4)
      expect(new Set(yield* Effect.forEach(calls, Fiber.join))).toEqual(new Set(homes))
    }).pipe(overThreads({ size: 2, recycle: { tasks: 10 } }))
  )
})

describe("a drain that waits for a task", () => {
  it.live("keeps calls on objects until it has ended, when the objects have gone", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      const long = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0)
      const drained = yield* start(ThreadPool.drain)
      const late = yield* start(Effect.exit(thing.thread()))
      expect(yield* ThreadPool.stats).toMatchObject({ pending: 1, running: 1 })
      cells.raise(1)
      yield* within("the drain", Fiber.join(drained))
      const error = yield* failureOf(yield* within("the late call", Fiber.join(late)))
      expect(error).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded" })
      yield* Fiber.join(long)
    }).pipe(overThreads())
  )

  it.live("holds up no Stream that was open before, and no scope that lets go of an object", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const scope = yield* Scope.make()
      yield* Scope.provide(ThreadPool.proxy(faulty, "Thing", [cells.shared]), scope)
      const long = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0)
      let items = 0
      // Of more items than there are in one pull.
      const reading = yield* start(
        Stream.runForEach(
          ThreadPool.execute(function* () {
            for (let i = 0; i < 1_000; i++) yield i
          }),
          () =>
            Effect.gen(function* () {
              if (++items === 1) yield* cells.raised(2)
            })
        )
      )
      yield* eventually("the first item", () => items === 1)
      const drained = yield* start(ThreadPool.drain)
      cells.raise(2)
      yield* within("the Stream", Fiber.join(reading))
      expect(items).toBe(1_000)
      yield* within("the scope of the object", Scope.close(scope, Exit.void))
      expect(drained.pollUnsafe(), "the task still runs").toBeUndefined()
      cells.raise(1)
      yield* within("the drain", Fiber.join(drained))
      yield* Fiber.join(long)
    }).pipe(overThreads({ size: 2 }))
  )
})

// -----------------------------------------------------------------------------
// The line
// -----------------------------------------------------------------------------

describe("maxQueue", () => {
  it.live("0: a thread that only an object keeps takes the next call", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const thing = yield* ThreadPool.proxy(faulty, "Thing", [cells.shared])
      expect(yield* faulty.thread()).toBe(yield* thing.thread())
    }).pipe(overThreads({ maxQueue: 0 }))
  )

  it.live("does not count calls that come together and can be sent at once", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      // The thread is up, and lent.
      const first = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0)
      const others = yield* Effect.forEach(Array.from({ length: 9 }), () =>
        start(faulty.wait(cells.shared, 0, 1))
      )
      yield* cells.raised(0, 10)
      cells.raise(1)
      yield* Effect.forEach([first, ...others], Fiber.join)
    }).pipe(overThreads({ maxQueue: 1, concurrency: 10 }))
  )
})

// -----------------------------------------------------------------------------
// Ends of calls
// -----------------------------------------------------------------------------

describe("a task that interrupts itself", () => {
  it.live("counts as interrupted, and is not logged as one that failed", () => {
    const log = logged()
    return Effect.gen(function* () {
      yield* Effect.exit(effects.interruptItself())
      expect(yield* ThreadPool.stats).toMatchObject({ interrupted: 1, failed: 0, succeeded: 0 })
      yield* failureOf(effects.find("nowhere"))
      yield* eventually("a failure is logged", () => log.lines.length > 0)
      expect(log.lines.map(({ text }) => text)).toEqual([expect.stringContaining("effects.ts#find")])
    }).pipe(overThreads({ logFailures: true }), Effect.provide(log.layer))
  })
})

describe("a thenable that goes on after it has given something", () => {
  it.live("ends no other call", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const twice = ThreadPool.execute(
        (cells: Int32Array) => ({
          // oxlint-disable-next-line unicorn/no-thenable -- that is what it is about
          then(give: (value: string) => void) {
            give("first")
            const timer = setInterval(() => {
              if (Atomics.load(cells, 0) === 0) return
              clearInterval(timer)
              give("second")
              Atomics.add(cells, 2, 1)
            }, 1)
          }
        }),
        cells.shared
      )
      expect(yield* twice).toBe("first")
      // In its place in the thread.
      const next = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(2)
      cells.raise(1)
      expect(yield* within("the next call", Fiber.join(next))).toBe(1)
    }).pipe(overThreads())
  )
})

describe("a disposal", () => {
  it.live("has killGrace, and no taskTimeout", () => {
    const log = logged()
    return Effect.gen(function* () {
      const cells = new Cells()
      yield* within("the scope", Effect.scoped(ThreadPool.proxy(faulty, "Clinging", [cells.shared])))
      expect(log.lines.map(({ text }) => text)).toEqual([
        "an object in thread 1 was not disposed of within 1500 ms"
      ])
      // It goes on, and keeps nothing waiting.
      yield* within("a drain", ThreadPool.drain)
    }).pipe(
      overThreads({ preload: [moduleUrl("faulty")], taskTimeout: 500, killGrace: 1_500 }),
      Effect.provide(log.layer)
    )
  })
})

describe("a patient call", () => {
  it.live("has no taskTimeout", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const patient = yield* start(ThreadPool.patient(faulty.wait(cells.shared, 0, 1)))
      yield* cells.raised(0)
      // This one began later, and has come to its limit.
      expect(yield* failureOf(faulty.wait(cells.shared, 0, 1))).toMatchObject({ _tag: "TaskTimeout" })
      cells.raise(1)
      expect(yield* within("the patient call", Fiber.join(patient))).toBeGreaterThan(0)
    }).pipe(overThreads({ concurrency: 2, taskTimeout: 50 }))
  )

  it.live("that nobody waits for any more does not have its thread stopped", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      const patient = yield* start(ThreadPool.patient(faulty.wait(cells.shared, 0, 1)))
      yield* cells.raised(0)
      const [home] = (yield* ThreadPool.stats).threads.filter(({ running }) => running === 1)
      const other = yield* start(faulty.wait(cells.shared, 0, 1))
      yield* cells.raised(0, 2)
      yield* Fiber.interrupt(patient)
      // Told to stop later than the patient one, in the other thread, which is stopped.
      yield* Fiber.interrupt(other)
      yield* eventually(
        "the other thread has been stopped",
        Effect.map(ThreadPool.stats, ({ killed }) => killed > 0)
      )
      const { killed, threads } = yield* ThreadPool.stats
      expect(killed).toBe(1)
      expect(threads.map(({ thread }) => thread)).toContain(home!.thread)
      cells.raise(1)
    }).pipe(overThreads({ size: 2, killGrace: 50 }))
  )
})
