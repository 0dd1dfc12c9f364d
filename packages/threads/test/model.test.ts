import { NodeThreads, ThreadPool } from "@cenote/threads"
import type { Context } from "effect"
import { Cause, Effect, Exit, type Fiber, Layer, Logger, Scope, Stream } from "effect"
import * as fc from "fast-check"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import type { Worker } from "node:worker_threads"
import { expect, it } from "vitest"
import { moduleUrl } from "./kit.ts"
import {
  type Ask,
  type Circumstances,
  type Config,
  endsThread,
  type GivesUp,
  isEndless,
  type Made,
  type Outcome,
  type Step,
  type StreamKind,
  wrongWith,
  wrongWithBeginnings
} from "./model.ts"

/**
 * Random programs on real threads: calls of all kinds, whose callers give up whenever they like, threads that end in the
 * middle of it, and a pool that is resized and drained meanwhile. Each call must end once and in a way that the model allows,
 * each value must be its own caller's, no task may run twice, and in the end nothing may be left of it all.
 *
 * `CENOTE_MODEL_OPS=1000000` makes that many calls. A failure prints its seed; `CENOTE_MODEL_SEED` runs the same programs
 * again, though threads never run twice in the same way.
 */

// -----------------------------------------------------------------------------
// Programs
// -----------------------------------------------------------------------------

const givesUp: fc.Arbitrary<GivesUp> = fc.oneof(
  { weight: 12, arbitrary: fc.constant<GivesUp>({ after: "never" }) },
  { weight: 1, arbitrary: fc.constant<GivesUp>({ after: "once" }) },
  { weight: 2, arbitrary: fc.record({ after: fc.constant("turns" as const), count: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ after: fc.constant("millis" as const), count: fc.nat(8) }) }
)

/** What never ends must be given up. */
const soon: fc.Arbitrary<GivesUp> = fc.record({ after: fc.constantFrom("turns", "millis"), count: fc.nat(8) })

const ask = (kind: Ask["kind"], weight: number): fc.WeightedArbitrary<Ask> => ({
  weight,
  arbitrary: fc.record({
    kind: fc.constant(kind),
    millis: fc.nat(3),
    givesUp: isEndless(kind) ? soon : givesUp
  })
})

const asks: fc.Arbitrary<Ask> = fc.oneof(
  ask("fast", 40),
  ask("source", 15),
  ask("slow", 4),
  ask("later", 8),
  ask("effect", 8),
  ask("throws", 4),
  ask("refuses", 4),
  ask("unsendable", 2),
  ask("ungivable", 2),
  ask("loopsUntilTold", 1),
  ask("waits", 1)
)

/** Each of them costs a thread, and the time that it takes to start another. */
const costly: fc.Arbitrary<Ask> = fc.oneof(ask("exits", 2), ask("dies", 1), ask("loops", 2))

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      do: fc.constant("ask" as const),
      asks: fc.array(asks, { minLength: 1, maxLength: 120, size: "max" })
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("ask" as const),
      asks: fc.tuple(asks, costly, asks, asks)
    })
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("stream" as const),
      kind: fc.constantFrom("generates", "generatesLater", "streams"),
      count: fc.constantFrom(0, 1, 10, 300, 1000),
      take: fc.constantFrom(0, 1, 5, 290, 2000),
      givesUp
    })
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("object" as const),
      asks: fc.array(
        fc.record({
          kind: fc.oneof(
            { weight: 20, arbitrary: fc.constantFrom("next", "nextLater", "throws") },
            { weight: 1, arbitrary: fc.constant("exits" as const) }
          ),
          millis: fc.nat(3),
          givesUp
        }),
        { maxLength: 12, size: "max" }
      ),
      inTurn: fc.boolean(),
      givesUp
    })
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("resize" as const), min: fc.nat(2), extra: fc.nat(3) })
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("drain" as const) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("pause" as const), millis: fc.nat(5) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("await" as const) }) }
) as fc.Arbitrary<Step>

const configs: fc.Arbitrary<Config> = fc.record({
  min: fc.nat(1),
  max: fc.integer({ min: 1, max: 4 }),
  concurrency: fc.constantFrom(1, 1, 2, 3),
  maxQueue: fc.constantFrom(undefined, undefined, 0, 20),
  taskTimeout: fc.constantFrom(undefined, undefined, 300),
  killGrace: fc.constantFrom(20, 60),
  recycleTasks: fc.constantFrom(undefined, undefined, undefined, 50),
  effects: fc.boolean()
})

// -----------------------------------------------------------------------------
// One run of a program
// -----------------------------------------------------------------------------

const tasks = ThreadPool.module<typeof import("./modules/random.ts")>(moduleUrl("random"))
const effects = ThreadPool.module<typeof import("./modules/randomEffects.ts")>(moduleUrl("randomEffects"))

/** What stands for what in programs without Effect. */
const without: Partial<Record<Ask["kind"] | StreamKind, string>> = {
  effect: "later",
  refuses: "throws",
  waits: "loopsUntilTold",
  streams: "generates"
}

/** How long what must happen may take, in milliseconds. */
const bound = 20_000
/** Numbers of calls that there are for one program, of which the last are for the end of it. */
const mostCalls = 20_000
const last = mostCalls - 1

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

class Run {
  private readonly config: Config
  private readonly scope = Scope.makeUnsafe()
  private pool: Context.Context<ThreadPool.ThreadPool> | undefined
  private readonly made: Array<Made> = []
  private readonly fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  /** How often each call was begun, by its number. */
  private readonly begun = new Int32Array(new SharedArrayBuffer(4 * mostCalls))
  private readonly circumstances: { -readonly [K in keyof Circumstances]: Circumstances[K] }
  private min: number
  private max: number
  /** Threads that the pool had when it was last looked at. */
  private lastSize = 0
  /** Whether every call of the pool is one of those that were made. */
  private isPlain = true

  constructor(config: Config) {
    this.config = config
    this.min = config.min
    this.max = config.max
    this.circumstances = {
      config,
      threadsEnd: false,
      threadsAreStopped: config.taskTimeout !== undefined,
      drained: false
    }
  }

  async open(): Promise<void> {
    const { concurrency, killGrace, max, maxQueue, min, recycleTasks, taskTimeout } = this.config
    const layer = NodeThreads.layer({
      name: "model",
      min,
      max,
      concurrency,
      killGrace,
      maxQueue,
      taskTimeout,
      recycle: { tasks: recycleTasks }
    })
    // What is not disposed of in time is logged.
    const quiet = Layer.merge(layer, Logger.layer([]))
    this.pool = await Effect.runPromise(Layer.buildWithScope(quiet, this.scope))
    this.lastSize = this.stats.size
  }

  get calls(): number {
    return this.made.length
  }

  private in<A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool>): Effect.Effect<A, E> {
    return Effect.provideContext(effect, this.pool!)
  }

  private fork<A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool>): Fiber.Fiber<A, E> {
    const fiber = Effect.runFork(this.in(effect))
    this.fibers.add(fiber)
    fiber.addObserver(() => this.fibers.delete(fiber))
    return fiber
  }

  // --- Calls -----------------------------------------------------------------------------------------

  /** The kind of a call, in a program with Effect or without. */
  private kindOf<K extends Ask["kind"] | StreamKind>(kind: K): K {
    // What an Effect needs is loaded with the first one, in the time of that task.
    const { effects, taskTimeout } = this.config
    return effects && taskTimeout === undefined ? kind : ((without[kind] ?? kind) as K)
  }

  private make(kind: Made["kind"], on: Made["on"]): Made {
    const made: Made = { id: this.made.length, kind, on, gaveUp: false, outcome: undefined }
    this.made.push(made)
    return made
  }

  /** Makes a call whose end is noted. */
  private note<A>(made: Made, effect: Effect.Effect<A, unknown, ThreadPool.ThreadPool>) {
    return Effect.onExit(effect, (exit) =>
      Effect.sync(() => {
        expect(made.outcome, `call ${made.id} ends twice`).toBeUndefined()
        made.outcome = outcomeOf(exit)
      })
    )
  }

  private async giveUp(
    fiber: Fiber.Fiber<unknown, unknown>,
    made: ReadonlyArray<Made>,
    when: GivesUp
  ): Promise<void> {
    if (when.after === "never") return
    if (when.after === "turns") for (let i = 0; i < when.count; i++) await turn()
    if (when.after === "millis") await sleep(when.count)
    for (const one of made) one.gaveUp ||= one.outcome === undefined
    this.circumstances.threadsAreStopped = true
    fiber.interruptUnsafe()
  }

  private ask({ givesUp, kind: asked, millis }: Ask): void {
    const kind = this.kindOf(asked)
    const made = this.make(kind, "pool")
    const { begun } = this
    const { id } = made
    if (endsThread(kind)) this.circumstances.threadsEnd = true
    const call: Effect.Effect<unknown, unknown, ThreadPool.ThreadPool> =
      kind === "source"
        ? ThreadPool.execute(
            (begun: Int32Array, id: number) => {
              Atomics.add(begun, id, 1)
              return `answer ${id}`
            },
            begun,
            id
          )
        : kind === "unsendable"
          ? tasks.fast(begun, { id, f: () => id } as never)
          : kind === "effect" || kind === "refuses" || kind === "waits"
            ? (effects[kind] as typeof effects.effect)(begun, id, millis)
            : (tasks[kind] as typeof tasks.later)(begun, id, millis)
    // Where tasks have a limit, what never ends may be left to that.
    const isLimited = isEndless(kind) && this.config.taskTimeout !== undefined && millis === 0
    void this.giveUp(this.fork(this.note(made, call)), [made], isLimited ? { after: "never" } : givesUp)
  }

  private stream({ count, givesUp, kind: asked, take }: Extract<Step, { readonly do: "stream" }>): void {
    const kind = this.kindOf(asked)
    this.isPlain = false
    const made = this.make(kind, "stream")
    const items: Array<number> = []
    const stream: Stream.Stream<number, unknown, ThreadPool.ThreadPool> =
      kind === "streams"
        ? effects.streams(this.begun, made.id, count)
        : tasks[kind](this.begun, made.id, count)
    const call = Stream.runForEach(Stream.take(stream, take), (item) => Effect.sync(() => items.push(item)))
    const checked = Effect.onExit(call, (exit) =>
      Effect.sync(() => {
        // In order, none twice, and none left out.
        expect(items).toEqual(items.map((_, i) => i))
        if (Exit.isSuccess(exit)) expect(items.length).toBe(Math.min(count, take))
        else expect(items.length).toBeLessThanOrEqual(Math.min(count, take))
      })
    )
    // With nothing to take, nothing is begun.
    if (take === 0) made.outcome = { tag: "interrupted" }
    made.gaveUp = take === 0
    const noted = take === 0 ? checked : this.note(made, checked)
    void this.giveUp(this.fork(noted), [made], givesUp)
  }

  private object(step: Extract<Step, { readonly do: "object" }>): void {
    this.isPlain = false
    const whole = this.make("object", "object")
    if (step.asks.some(({ kind }) => endsThread(kind))) this.circumstances.threadsEnd = true
    const inside: Array<Made> = []
    /** What the calls gave, in the order in which they were made. */
    const numbers: Array<number> = []
    const program = Effect.gen({ self: this }, function* () {
      const counter = yield* ThreadPool.proxy(tasks, "Counter")
      Atomics.add(this.begun, whole.id, 1)
      const calls = step.asks.map(({ givesUp, kind, millis }, i) => {
        const made = this.make(kind, "object")
        inside.push(made)
        const call: Effect.Effect<number, unknown> =
          kind === "nextLater"
            ? counter.nextLater(this.begun, made.id, millis)
            : counter[kind](this.begun, made.id)
        const numbered = Effect.tap(call, (number) => Effect.sync(() => (numbers[i] = number)))
        return { givesUp, made, call: this.note(made, numbered) }
      })
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const { call, givesUp, made } of calls) {
        const fiber = this.fork(call)
        fibers.push(fiber)
        void this.giveUp(fiber, [made], givesUp)
        if (step.inTurn) yield* awaiting(fiber)
      }
      for (const fiber of fibers) yield* awaiting(fiber)
    })
    const fiber = this.fork(
      Effect.onExit(this.note(whole, Effect.scoped(program)), () =>
        Effect.sync(() => {
          // They ran in the order in which they were made.
          const known = numbers.filter((_) => _ !== undefined)
          expect(known).toEqual(known.toSorted((a, b) => a - b))
          expect(new Set(known).size).toBe(known.length)
        })
      )
    )
    void this.giveUp(fiber, [whole], step.givesUp)
    // A caller whose object is taken away from under it has not given up.
    fiber.addObserver(() => {
      for (const made of inside) this.orphans.add(made)
    })
  }

  /** Calls on objects whose scopes have closed. */
  private readonly orphans = new Set<Made>()

  // --- Steps -----------------------------------------------------------------------------------------

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "ask":
        for (const one of step.asks) this.ask(one)
        break
      case "stream":
        this.stream(step)
        break
      case "object":
        this.object(step)
        break
      case "resize":
        this.check()
        this.min = step.min
        this.max = step.min + step.extra
        await Effect.runPromise(this.in(ThreadPool.resize({ min: this.min, max: this.max })))
        break
      case "drain":
        this.circumstances.drained = true
        this.fork(ThreadPool.drain)
        break
      case "pause":
        await sleep(step.millis)
        break
      case "await":
        await this.allEnded()
        break
    }
    this.check()
  }

  private async allEnded(): Promise<void> {
    await this.eventually("every call ends", () => this.fibers.size === 0)
  }

  private async eventually(what: string, holds: () => boolean): Promise<void> {
    const until = performance.now() + bound
    while (!holds()) {
      if (performance.now() > until) {
        const open = this.made.filter(({ outcome }) => outcome === undefined)
        throw new Error(
          `it did not come about: ${what}. ${this.described()}; open: ${JSON.stringify(open.slice(0, 20))}`
        )
      }
      await sleep(1)
    }
  }

  // --- Checks ----------------------------------------------------------------------------------------

  private get stats(): ThreadPool.Stats {
    return Effect.runSync(this.in(ThreadPool.stats))
  }

  private described(): string {
    return JSON.stringify(this.stats)
  }

  /** What holds at any time. */
  private check(): void {
    const { stats } = this
    const { closing, creating, idle, max, min, pending, running, size, used } = stats
    expect({ max, size }).toEqual({ max: this.max, size: idle + used + creating + closing })
    expect(min).toBeLessThanOrEqual(this.min)
    // After it got smaller, the excess has to go, and there may be no more of it.
    expect(size).toBeLessThanOrEqual(Math.max(this.max, this.lastSize))
    this.lastSize = size
    expect(stats.calls, "each call is somewhere").toBeGreaterThanOrEqual(pending + endedIn(stats))
    expect(stats.calls, "no call is lost").toBeLessThanOrEqual(pending + running + endedIn(stats))
    for (const thread of stats.threads) {
      expect(thread.running).toBeGreaterThanOrEqual(0)
      expect(thread.objects).toBeGreaterThanOrEqual(0)
    }
  }

  /** Everybody goes home, and the pool closes. */
  async finish(workers: ReadonlySet<Worker>): Promise<void> {
    await this.allEnded()
    for (const made of this.made) {
      const wrong =
        wrongWith(made, this.circumstances) ?? wrongWithBeginnings(made, Atomics.load(this.begun, made.id))
      const excused = this.orphans.has(made) && (made.outcome === undefined || isStale(made.outcome))
      if (wrong !== undefined && !excused) {
        throw new Error(`${wrong}: ${describe(made)}, in ${JSON.stringify(this.circumstances)}`)
      }
    }
    // The next call works, and brings back what a drain took.
    expect(await Effect.runPromise(this.in(tasks.fast(this.begun, last)))).toBe(`answer ${last}`)
    const held = await this.checkRoom()
    await this.eventually("the pool is at rest", () => {
      const { closing, creating, pending, running, size, used } = this.stats
      return running + pending + used + creating + closing === 0 && size >= this.min && size <= this.max
    })
    const { stats } = this
    this.check()
    expect(endedIn(stats), "every call has ended once").toBe(stats.calls)
    expect(stats.threads.map(({ objects, running }) => objects + running)).toEqual(stats.threads.map(() => 0))
    if (!this.circumstances.threadsEnd) expect(stats.crashes).toBe(0)
    if (!this.circumstances.threadsAreStopped) expect(stats.killed).toBe(0)
    // Of what had begun, as much goes with a thread as may be under way in it.
    const crashed = this.made.filter(({ on, outcome }) => on === "pool" && isCrash(outcome)).length
    expect(crashed).toBeLessThanOrEqual((stats.crashes + stats.killed) * this.config.concurrency)
    if (this.isPlain) this.checkTotals(stats, held)
    await Effect.runPromise(Scope.close(this.scope, Exit.void))
    await this.eventually("every thread has ended", () => workers.size === 0)
  }

  /** No place is lost: as many tasks as there may be can be under way at one time. Gives how many calls that took. */
  private async checkRoom(): Promise<number> {
    const { concurrency, maxQueue, taskTimeout } = this.config
    const room = this.max * concurrency
    // A short line, or little time, may be too little for threads that have to start.
    if (taskTimeout !== undefined || (maxQueue ?? room) < room) return 0
    const first = last - room
    const fibers = Array.from({ length: room }, (_, i) => this.fork(tasks.holds(this.begun, first + i)))
    const areBegun = () => fibers.every((_, i) => Atomics.load(this.begun, first + i) === 1)
    await this.eventually("as many tasks as there may be are under way", areBegun)
    for (const fiber of fibers) fiber.interruptUnsafe()
    await this.allEnded()
    return room
  }

  /** Where each call of the pool is a call of the program's, each outcome is counted. */
  private checkTotals(stats: ThreadPool.Stats, held: number): void {
    const tags: Record<string, number> = {}
    for (const { outcome } of this.made) {
      const tag = outcome?.tag === "failed" ? String(outcome.error._tag) : String(outcome?.tag)
      tags[tag] = (tags[tag] ?? 0) + 1
    }
    const count = (...of: ReadonlyArray<string>) => of.reduce((sum, tag) => sum + (tags[tag] ?? 0), 0)
    const { crashed, failed, interrupted, rejected, succeeded, timedOut } = stats
    // One more has been made since.
    expect({ crashed, failed, interrupted, rejected, succeeded, timedOut }).toEqual({
      crashed: count("ThreadCrashed"),
      failed: count("TaskFailed", "Refused", "NotCloneable"),
      // Some have given up before they made their call.
      interrupted: expect.toSatisfy((n: number) => n >= held && n <= count("interrupted") + held),
      rejected: count("QueueFull"),
      succeeded: count("value") + 1,
      timedOut: count("TaskTimeout")
    })
  }
}

const awaiting = (fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const stop = fiber.addObserver(() => resume(Effect.void))
    return Effect.sync(stop)
  })

const endedIn = ({ crashed, failed, interrupted, rejected, succeeded, timedOut }: ThreadPool.Stats): number =>
  crashed + failed + interrupted + rejected + succeeded + timedOut

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): Outcome => {
  if (Exit.isSuccess(exit)) return { tag: "value", value: exit.value }
  const fail = exit.cause.reasons.find(Cause.isFailReason)
  if (fail !== undefined) return { tag: "failed", error: fail.error }
  const die = exit.cause.reasons.find(Cause.isDieReason)
  return die === undefined ? { tag: "interrupted" } : { tag: "died", defect: die.defect }
}

const isCrash = (outcome: Outcome | undefined): boolean =>
  outcome?.tag === "failed" && outcome.error._tag === "ThreadCrashed"

const isStale = (outcome: Outcome): boolean =>
  outcome.tag === "failed" && outcome.error._tag === "StaleRemote"

const describe = ({ id, kind, on, outcome }: Made): string => {
  const what = outcome?.tag === "failed" ? String(outcome.error) : JSON.stringify(outcome)
  return `call ${id} (${kind} on ${on}) ended with ${what}`
}

// -----------------------------------------------------------------------------
// Many runs
// -----------------------------------------------------------------------------

const ops = Number(process.env["CENOTE_MODEL_OPS"] ?? 0)
const least = 10_000
const programs = 16
const seed = process.env["CENOTE_MODEL_SEED"]

/** Runs a program, and knows of every thread that it starts. */
const runProgram = async (config: Config, program: ReadonlyArray<Step>): Promise<number> => {
  const workers = new Set<Worker>()
  const started = (message: unknown): void => {
    const { worker } = message as { readonly worker: Worker }
    workers.add(worker)
    worker.on("exit", () => workers.delete(worker))
  }
  subscribe("worker_threads", started)
  try {
    const run = new Run(config)
    await run.open()
    for (const step of program) await run.take(step)
    await run.finish(workers)
    return run.calls
  } finally {
    unsubscribe("worker_threads", started)
    for (const worker of workers) await worker.terminate()
  }
}

const wanted = Math.max(least, ops)

it(
  `${wanted} random calls come to what the model allows`,
  { timeout: ops > 0 ? 7_200_000 : 120_000 },
  async () => {
    let calls = 0
    let runs = 0
    const property = fc.asyncProperty(
      configs,
      fc.array(steps, { minLength: 20, maxLength: 40, size: "max" }),
      async (config, program) => {
        if (calls >= wanted) return
        calls += await runProgram(config, program)
        runs++
      }
    )
    // What threads do is not the same twice: the smallest program that fails now may not fail then.
    const options = { numRuns: programs, endOnFailure: true }
    for (let next = seed === undefined ? Date.now() & 0x7fffffff : Number(seed); calls < wanted; next++) {
      await fc.assert(property, { ...options, seed: next })
    }
    console.log(`model: ${runs} programs, ${calls} calls`)
  }
)
