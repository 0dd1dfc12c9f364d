/**
 * Nothing is left behind: no memory here or in the threads, no thread, and nothing that keeps a process from ending.
 * What a test makes is large, so that one in a thousand that stays would not matter, and each that stays would show.
 */
import { NodeThreads, Remote, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Layer, type Scope, Stream } from "effect"
import { Cells, eventually, faulty, open, runProgram, turn, watchWorkers, within } from "./faults-kit.ts"
import { collectGarbage, moduleUrl, overThreads, start } from "./kit.ts"
import { heap, payload } from "./modules/leaky.ts"

const leaky = ThreadPool.module<typeof import("./modules/leaky.ts")>(moduleUrl("leaky"))

/** Tests wait for things themselves, each with a bound: this one only ends a test that is stuck in spite of that. */
const slow = { timeout: 120_000 }

/** A thousand payloads are 16 MB. What a heap is more or less by, from one measurement to the next, is not 4. */
const tolerance = 4_000_000

/** Does something a hundred times, and then a thousand times more, and compares what is in use here and in the thread. */
const staysSmall = <E, R>(
  round: (i: number) => Effect.Effect<unknown, E, R | Scope.Scope | ThreadPool.ThreadPool>
) =>
  Effect.gen(function* () {
    const measure = Effect.gen(function* () {
      const thread = yield* leaky.heap()
      const main = yield* Effect.promise(heap)
      return { main, thread }
    })
    for (let i = 0; i < 100; i++) yield* round(i)
    const before = yield* measure
    for (let i = 100; i < 1_100; i++) yield* round(i)
    const after = yield* measure
    expect(after.thread - before.thread).toBeLessThan(tolerance)
    expect(after.main - before.main).toBeLessThan(tolerance)
    const { threads } = yield* ThreadPool.stats
    expect(threads).toMatchObject([{ objects: 0, running: 0 }])
  })

describe("memory, here and in the thread, after 100 times and after 1,000 times more", slow, () => {
  it.live("EV-91: calls that fail", () =>
    staysSmall((i) => Effect.exit(leaky.fail(payload(i)))).pipe(overThreads())
  )

  it.live("EV-91: async calls and Effects that fail", () =>
    staysSmall((i) =>
      Effect.exit(i % 2 === 0 ? leaky.reject(payload(i)) : leaky.failEffect(payload(i)))
    ).pipe(overThreads())
  )

  it.live("calls that succeed", () => staysSmall((i) => leaky.echo(payload(i))).pipe(overThreads()))

  it.live("calls that cannot be sent, and results that cannot come back", () =>
    staysSmall((i) =>
      Effect.exit(
        i % 2 === 0
          ? leaky.echo([...payload(i), (() => i) as never])
          : ThreadPool.execute((all: Array<number>) => [...all, () => 1], payload(i))
      )
    ).pipe(overThreads())
  )

  it.live("functions that are written in place, each with a closure of its own", () =>
    staysSmall((i) => {
      const all = payload(i)
      return ThreadPool.execute((all: Array<number>) => all.length, all)
    }).pipe(overThreads())
  )

  it.live("calls that are interrupted: in line, sent, running", () =>
    Effect.gen(function* () {
      const cells = new Cells()
      let begun = 0
      yield* staysSmall((i) =>
        Effect.gen(function* () {
          const calls = yield* Effect.forEach([0, 1, 2], (n) =>
            Effect.forkChild(leaky.forever(payload(3 * i + n), cells.shared), { startImmediately: true })
          )
          // Now and then before it has begun.
          if (i % 3 !== 0) yield* cells.raised(0, begun + 1)
          yield* Effect.forEach(calls, Fiber.interrupt)
          yield* eventually(
            "the thread is at rest",
            Effect.map(ThreadPool.stats, (_) => _.running === 0)
          )
          begun = cells.get(0)
        })
      )
      expect(yield* ThreadPool.stats).toMatchObject({ killed: 0, created: 1 })
    }).pipe(overThreads())
  )

  it.live("objects that are made and released", () =>
    staysSmall((i) =>
      Effect.scoped(Effect.flatMap(ThreadPool.proxy(leaky, "Hoard", [i]), (hoard) => hoard.first()))
    ).pipe(overThreads())
  )

  it.live("objects whose calls are interrupted", () =>
    staysSmall((i) =>
      Effect.scoped(
        Effect.gen(function* () {
          const hoard = yield* ThreadPool.proxy(leaky, "Hoard", [i])
          const call = yield* Effect.forkChild(hoard.first(), { startImmediately: true })
          if (i % 2 === 0) yield* Effect.yieldNow
          yield* Fiber.interrupt(call)
        })
      )
    ).pipe(overThreads())
  )

  it.live("streams that are read to their end, and streams that are not", () =>
    staysSmall((i) =>
      Stream.runDrain(
        i % 2 === 0
          ? Stream.take(leaky.generate(i), 3)
          : i % 4 === 1
            ? Stream.take(leaky.stream(i), 3)
            : leaky.stream(i)
      )
    ).pipe(overThreads())
  )

  it.live("pools that are opened and closed", () =>
    Effect.gen(function* () {
      const round = (i: number) =>
        Effect.scoped(
          Effect.flatMap(open({ size: 1 }), (pool) =>
            pool.use(Effect.andThen(leaky.echo(payload(i)), Effect.exit(leaky.fail(payload(i)))))
          )
        )
      for (let i = 0; i < 3; i++) yield* round(i)
      const before = yield* Effect.promise(heap)
      for (let i = 0; i < 20; i++) yield* round(i)
      const grown = (yield* Effect.promise(heap)) - before
      // What a pool and a worker are here: hundreds of KB each, if they stayed.
      expect(grown).toBeLessThan(tolerance)
    })
  )
})

describe("what nobody refers to any more can be collected", slow, () => {
  /** How many of what is behind these references is still there after a collection. */
  const remaining = (refs: ReadonlyArray<WeakRef<object>>): Effect.Effect<number> =>
    Effect.gen(function* () {
      for (let i = 0; i < 5; i++) yield* collectGarbage
      return refs.filter((ref) => ref.deref() !== undefined).length
    })

  it.live("arguments, results and errors of calls that are over, however they ended", () =>
    Effect.gen(function* () {
      const refs: Array<WeakRef<object>> = []
      const remember = <A>(value: A): A => {
        refs.push(new WeakRef(value as object))
        return value
      }
      const cells = new Cells()
      const round = Effect.gen(function* () {
        remember(yield* leaky.echo(remember(payload(1))))
        remember(yield* Effect.flip(leaky.fail(remember(payload(2)))))
        remember(yield* Effect.flip(leaky.failEffect(remember(payload(3)))))
        remember(yield* Effect.flip(leaky.echo(remember([(() => 1) as never]))))
        const begun = cells.get(0)
        const running = yield* Effect.forkChild(leaky.forever(remember(payload(4)), cells.shared), {
          startImmediately: true
        })
        const waiting = yield* Effect.forkChild(leaky.echo(remember(payload(5))), { startImmediately: true })
        yield* cells.raised(0, begun + 1)
        yield* Fiber.interrupt(waiting)
        yield* Fiber.interrupt(running)
      })
      yield* Effect.repeat(round, { times: 99 })
      yield* leaky.heap()
      expect(refs.length).toBe(1_000)
      expect(yield* remaining(refs)).toBeLessThan(20)
    }).pipe(overThreads())
  )

  it.live("remotes that were released", () =>
    Effect.gen(function* () {
      const refs: Array<WeakRef<object>> = []
      const round = (i: number) =>
        Effect.scoped(
          Effect.flatMap(ThreadPool.proxy(leaky, "Hoard", [i]), (hoard) => {
            refs.push(new WeakRef(hoard))
            return hoard.first()
          })
        )
      for (let i = 0; i < 100; i++) yield* round(i)
      yield* leaky.heap()
      expect(yield* remaining(refs)).toBeLessThan(5)
    }).pipe(overThreads())
  )

  it.live("objects whose remotes nobody holds any more go from their thread", () =>
    Effect.gen(function* () {
      const hoard = yield* ThreadPool.proxy(leaky, "Hoard", [1], { autowrap: ["Hoard"] })
      const before = yield* leaky.heap()
      for (let i = 0; i < 1_000; i++) {
        const child: unknown = yield* hoard.child()
        if (i === 0) expect(Remote.isRemote(child)).toBe(true)
      }
      yield* eventually(
        "they have gone",
        Effect.andThen(
          collectGarbage,
          Effect.map(ThreadPool.stats, ({ threads }) => threads[0]!.objects < 10)
        )
      )
      expect((yield* leaky.heap()) - before).toBeLessThan(tolerance)
      expect(yield* hoard.first()).toBe(1.5)
    }).pipe(overThreads())
  )

  it.live("what belongs to a thread that ended", () =>
    Effect.gen(function* () {
      const refs: Array<WeakRef<object>> = []
      const round = Effect.gen(function* () {
        // Threads that die before they have ended a call come back slowly.
        yield* leaky.heap()
        const all = payload(1)
        refs.push(new WeakRef(all))
        const cells = new Cells()
        const held = yield* Effect.forkChild(Effect.exit(leaky.untilSignal(all, cells.shared)), {
          startImmediately: true
        })
        yield* cells.raised(0)
        yield* Effect.exit(faulty.exit(1))
        yield* Fiber.join(held)
      })
      yield* Effect.repeat(round, { times: 9 })
      yield* leaky.heap()
      expect(yield* remaining(refs)).toBeLessThan(3)
    }).pipe(overThreads({ concurrency: 2 }))
  )
})

describe("no thread is left", slow, () => {
  const leavesNone = <E>(what: string, program: Effect.Effect<unknown, E, Scope.Scope>) =>
    it.live(what, () =>
      Effect.gen(function* () {
        const workers = yield* watchWorkers
        yield* within("the program", Effect.exit(Effect.scoped(program)))
        yield* turn
        expect(workers.history).toContain("+")
        expect(workers.alive.size).toBe(0)
      })
    )
  const layer = NodeThreads.layer({ size: 3, killGrace: "1 second" })

  leavesNone("when a program has ended", Effect.provide(faulty.thread(), layer))
  leavesNone(
    "when a program has failed",
    Effect.provide(Effect.andThen(faulty.thread(), Effect.fail("no")), layer)
  )
  leavesNone(
    "when a program has died",
    Effect.provide(Effect.andThen(faulty.thread(), Effect.die("no")), layer)
  )
  leavesNone("when its threads crashed", Effect.provide(Effect.exit(faulty.exit(1)), layer))
  leavesNone("when the layer was built and not used", Layer.build(layer))
  leavesNone(
    "when another layer beside it failed",
    Layer.build(Layer.merge(layer, Layer.effectDiscard(Effect.fail("no"))))
  )
  leavesNone(
    "when a program was interrupted in the middle of all kinds of calls",
    Effect.gen(function* () {
      const cells = new Cells()
      const program = yield* start(
        Effect.provide(
          Effect.all(
            [
              faulty.spin(cells.shared, 0),
              faulty.untilInterrupted(cells.shared, 0),
              Stream.runForEach(faulty.count(), (n) => (n === 3 ? Effect.never : Effect.void)),
              faulty.thread(),
              faulty.spin(cells.shared, 4)
            ],
            { concurrency: "unbounded" }
          ),
          layer
        )
      )
      yield* cells.raised(0, 2)
      yield* Fiber.interrupt(program)
    })
  )
  leavesNone(
    "when a program was interrupted while its threads started",
    Effect.gen(function* () {
      const program = yield* start(Effect.provide(faulty.thread(), layer))
      yield* turn
      yield* Fiber.interrupt(program)
    })
  )
})

// -----------------------------------------------------------------------------
// Processes
// -----------------------------------------------------------------------------

describe("a process that has used threads ends by itself", slow, () => {
  const well = {
    ends: "when its program has ended",
    drains: "when its pool was drained",
    crashes: "when its threads crashed",
    opens: "whatever the tasks left open in their threads",
    interrupts: "when calls were given up at different points",
    quarantines: "although a task that must not be killed goes on",
    closesOnQuarantined: "although a task that must not be killed goes on, and might for an hour",
    closesOnUnkillable: "although somebody waits for a task that must not be killed",
    cannotGrow: "when threads could not be started"
  }
  for (const [name, when] of Object.entries(well)) {
    it.live(`${when}, with code 0`, () =>
      Effect.gen(function* () {
        const { code, err, out, signal } = yield* runProgram(name)
        expect(err).toBe("")
        expect({ code, signal, out }).toEqual({ code: 0, signal: null, out: "over\n" })
      })
    )
  }

  const badly = {
    fails: ["when its program fails, as a test does", "an assertion of a test does not hold"],
    dies: ["when its program dies", "a defect of a test"],
    cannotStart: ["when no thread can be started", "no thread could be started"]
  } as const
  for (const [name, [when, says]] of Object.entries(badly)) {
    it.live(`${when}, with the error`, () =>
      Effect.gen(function* () {
        const { code, err, out, signal } = yield* runProgram(name)
        expect(err).toContain(says)
        expect({ code, signal, out }).toEqual({ code: 1, signal: null, out: "" })
      })
    )
  }
})
