/**
 * A thread pool over threads that are none: what each of them takes and gives is a step of the test's own, as is every
 * primitive step of every fiber. So a call can be interrupted at each step of its way, one run a step, and a race can be
 * told how to end.
 */
import { Remote, ThreadPool } from "@cenote/threads"
import {
  Cause,
  Clock,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Schedule,
  Scheduler,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import { Spawner, type Worker, WorkerPlatform } from "effect/workers/Worker"
import { WorkerError, WorkerReceiveError, WorkerSendError } from "effect/workers/WorkerError"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { Host } from "../src/internal/host.ts"
import type { Core } from "../src/internal/core.ts"
import { ToThread } from "../src/internal/protocol.ts"
import { coreOf } from "../src/internal/service.ts"
import { collectGarbage, moduleUrl } from "./kit.ts"
import { type Thing, Workshop } from "./modules/workshop.ts"

// -----------------------------------------------------------------------------
// A world of the test's own
// -----------------------------------------------------------------------------

/** Runs nothing by itself: the test says when a task runs. */
class StepScheduler implements Scheduler.Scheduler {
  readonly executionMode = "async"
  private readonly tasks: Array<() => void> = []
  private readonly maxOps: number

  /**
   * With `maxOps` of 3, every primitive step of every fiber is a task of its own: of the three, two go into
   * coming back from the yield before.
   */
  constructor(maxOps: number) {
    this.maxOps = maxOps
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= this.maxOps
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task) => void this.tasks.push(task),
      flush: () => {}
    }
  }

  add(task: () => void): void {
    this.tasks.push(task)
  }

  get isIdle(): boolean {
    return this.tasks.length === 0
  }

  /** Runs one task; false when there is none. */
  runOne(): boolean {
    const task = this.tasks.shift()
    task?.()
    return task !== undefined
  }
}

/** Lets everything go on that does not wait for a step: promises, and what else goes on in the threads. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

class World {
  readonly scheduler: StepScheduler
  readonly scope = Scope.makeUnsafe()
  readonly context: Context.Context<never>
  readonly platform: FakePlatform

  constructor(maxOps = 2048) {
    this.scheduler = new StepScheduler(maxOps)
    const base = Context.make(Scheduler.Scheduler, this.scheduler)
    const build = Effect.runForkWith(base)(Layer.buildWithScope(TestClock.layer(), this.scope))
    while (this.scheduler.runOne());
    const exit = build.pollUnsafe()!
    if (Exit.isFailure(exit)) throw new Error("there is no clock")
    this.context = Context.merge(base, exit.value) as Context.Context<never>
    const clock = Context.get(this.context, Clock.Clock)
    this.platform = new FakePlatform(this, () => clock.currentTimeMillisUnsafe())
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** Runs one task, and what promises come of it; false when there is none, and none comes by itself. */
  async step(): Promise<boolean> {
    for (let turns = 0; turns < 2; turns++) {
      // A module may have to be loaded.
      for (let left = 100_000; this.scheduler.isIdle && this.platform.isAtWork && left > 0; left--)
        await turn()
      if (this.scheduler.runOne()) {
        await undefined
        return true
      }
      await turn()
    }
    return false
  }

  /** Runs until everything waits for the test. */
  async rest(): Promise<void> {
    for (let left = 100_000; await this.step();) {
      if (--left === 0) throw new Error("the program does not come to rest")
    }
  }

  /** Runs an effect, and everything that comes of it, until all is at rest. */
  async run<A, E>(effect: Effect.Effect<A, E>): Promise<A> {
    const fiber = this.fork(effect)
    await this.rest()
    const exit = fiber.pollUnsafe()
    if (exit === undefined) throw new Error("the effect does not end by itself")
    if (Exit.isFailure(exit)) throw new Error(`the effect failed: ${Cause.pretty(exit.cause)}`)
    return exit.value
  }

  async advance(millis: number): Promise<void> {
    await this.run(TestClock.adjust(millis))
  }

  async end(): Promise<void> {
    await this.run(Scope.close(this.scope, Exit.void))
  }
}

// -----------------------------------------------------------------------------
// Threads that are none
// -----------------------------------------------------------------------------

type Message = ReadonlyArray<unknown>

/** A thread's side, to which every message takes a step of its own, there and back. */
class FakeThread {
  state: "new" | "up" | "gone" = "new"
  /** While it stands still, nothing gets in or out: as when a task does not give up the thread. */
  isStill = false
  /** Messages on their way. */
  private readonly inwards: Array<Message> = []
  private readonly outwards: Array<Message> = []
  private tell: (message: Message) => void = () => {}
  private end: (error: WorkerError) => void = () => {}
  readonly host: Host
  readonly id: number
  private readonly world: World

  constructor(id: number, world: World, now: () => number) {
    this.id = id
    this.world = world
    this.host = new Host({
      post: (message, transfer) => {
        const copy = structuredClone(message, { transfer: [...transfer] as never })
        if (this.state === "gone") return
        this.outwards.push(copy)
        world.scheduler.add(() => this.moveOut())
      },
      heapUsed: undefined,
      now
    })
  }

  get worker(): Worker<any, any> {
    return {
      send: (message, transfers = []) =>
        Effect.try({
          try: () => {
            const copy = structuredClone(message, { transfer: [...transfers] as never }) as Message
            if (this.state === "gone") return
            if (copy[0] === ToThread.configure && !this.world.platform.sharesMemory) {
              Object.assign(copy[1] as object, { memory: undefined })
            }
            this.inwards.push(copy)
            this.world.scheduler.add(() => this.moveIn())
          },
          catch: (cause) => new WorkerError({ reason: new WorkerSendError({ message: "not sent", cause }) })
        }),
      run: (handler) =>
        Effect.contextWith((context: Context.Context<any>) =>
          Effect.callback<never, WorkerError>((resume) => {
            this.state = "up"
            this.tell = (message) =>
              void Effect.runForkWith(context)(handler(message) as Effect.Effect<unknown>)
            this.end = (error) => resume(Effect.fail(error))
            return Effect.callback<void>((closed) => {
              let left = this.world.platform.stepsToEnd
              const next = (): void => {
                if (--left > 0) return this.world.scheduler.add(next)
                this.state = "gone"
                closed(Effect.void)
              }
              this.world.scheduler.add(next)
            })
          })
        )
    }
  }

  /** Takes one message, and what it says then gets out; nothing else does. */
  async takeOne(): Promise<void> {
    this.isStill = false
    this.moveIn()
    this.isStill = true
    for (let left = 5; left > 0; left--) await turn()
    this.isStill = false
    while (this.outwards.length > 0) this.moveOut()
    this.isStill = true
  }

  private moveIn(): void {
    if (this.isStill || this.state !== "up") return
    const message = this.inwards.shift()
    if (message === undefined) return
    if (this.world.platform.diesWithFirst && message[0] !== ToThread.configure) return this.exit()
    this.host.receive(message)
    this.host.flush()
  }

  private moveOut(): void {
    if (this.isStill || this.state !== "up") return
    const message = this.outwards.shift()
    if (message !== undefined) this.tell(message)
  }

  /** Stands still, or goes on. */
  stand(still: boolean): void {
    this.isStill = still
    if (still) return
    for (const _ of this.inwards) this.world.scheduler.add(() => this.moveIn())
    for (const _ of this.outwards) this.world.scheduler.add(() => this.moveOut())
  }

  /** Ends as a thread does: what it has said is heard before. */
  exit(error: unknown = "The worker has exited with code: 1"): void {
    if (this.state !== "up") return
    this.isStill = false
    this.world.scheduler.add(() => {
      while (this.state === "up" && this.outwards.length > 0) this.moveOut()
      if (this.state === "gone") return
      this.state = "gone"
      this.end(
        new WorkerError({
          reason: new WorkerReceiveError(
            typeof error === "string" ? { message: error } : { message: "an error event", cause: error }
          )
        })
      )
    })
  }

  /** What the pool does with one that does not obey. */
  terminate(): void {
    this.exit()
  }

  unref(): void {}

  /** What it has, which should be nothing when the pool has nothing with it. */
  get has(): { readonly objects: number; readonly tasks: number; readonly isQuiet: boolean } {
    const { active, objects } = this.host as unknown as {
      readonly active: ReadonlyMap<number, unknown>
      readonly objects: { readonly byNumber: ReadonlyMap<number, unknown> }
    }
    return { objects: objects.byNumber.size, tasks: active.size, isQuiet: this.host.isQuiet }
  }
}

class FakePlatform {
  readonly threads: Array<FakeThread> = []
  /** Whether threads that are started from now on come up at once, when the test says so, or not at all. */
  starts: "at once" | "held" | "failing" = "at once"
  /** Whether shared memory is shared on its way to a thread. */
  sharesMemory = true
  /** Whether a thread ends when it gets its first call, which it does not begin. */
  diesWithFirst = false
  /** How long the end of a thread that was told to end takes. */
  stepsToEnd = 1
  /** Tasks on the calling thread. */
  inlineTasks = (): number => 0
  private readonly world: World
  private readonly now: () => number

  constructor(world: World, now: () => number) {
    this.world = world
    this.now = now
  }

  readonly layer = Layer.mergeAll(
    Layer.sync(Spawner, () => (id: number) => {
      const thread = new FakeThread(id, this.world, this.now)
      if (this.starts === "held") thread.stand(true)
      this.threads.push(thread)
      return thread
    }),
    Layer.sync(WorkerPlatform, () =>
      WorkerPlatform.of({
        spawn: (id: number) =>
          Effect.flatMap(Spawner, (spawn) =>
            this.starts === "failing"
              ? Effect.fail(
                  new WorkerError({
                    reason: new WorkerSendError({ message: "no thread", cause: new Error("no thread") })
                  })
                )
              : Effect.succeed((spawn as (id: number) => FakeThread)(id).worker)
          )
      })
    )
  )

  get up(): ReadonlyArray<FakeThread> {
    return this.threads.filter(({ state }) => state !== "gone")
  }

  /** Whether threads have tasks that go on by themselves: others than those that wait for the test. */
  get isAtWork(): boolean {
    const inThreads = this.threads.reduce((sum, { has, state }) => sum + (state === "up" ? has.tasks : 0), 0)
    return inThreads + this.inlineTasks() > globalThis.workshop.waiting.size
  }

  /** The thread with a number. */
  thread(id: number): FakeThread {
    return this.threads.find((thread) => thread.id === id)!
  }
}

// -----------------------------------------------------------------------------
// A pool in it
// -----------------------------------------------------------------------------

type InPool<A, E = unknown> = Effect.Effect<A, E, ThreadPool.ThreadPool>

class Bench {
  readonly world: World
  private readonly scope = Scope.makeUnsafe()
  private pool: Context.Context<ThreadPool.ThreadPool> | undefined

  constructor(maxOps?: number) {
    this.world = new World(maxOps)
  }

  async open(options: ThreadPool.Options): Promise<this> {
    const layer = Layer.provide(ThreadPool.layer(options), this.world.platform.layer)
    const quiet = Layer.merge(layer, Logger.layer([]))
    this.pool = await this.world.run(Layer.buildWithScope(quiet, this.scope))
    const { core } = this
    this.platform.inlineTasks = () => core.inlineRunning
    return this
  }

  get core(): Core {
    return coreOf(Context.get(this.pool!, ThreadPool.ThreadPool))
  }

  get platform(): FakePlatform {
    return this.world.platform
  }

  private in<A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool>): Effect.Effect<A, E> {
    return Effect.provideContext(effect, this.pool!)
  }

  fork<A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool>): Fiber.Fiber<A, E> {
    return this.world.fork(this.in(effect))
  }

  /** Starts an effect, and lets it come as far as it can. */
  async start<A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool>): Promise<Fiber.Fiber<A, E>> {
    const fiber = this.fork(effect)
    await this.world.rest()
    return fiber
  }

  run<A, E>(effect: Effect.Effect<A, E, ThreadPool.ThreadPool>): Promise<A> {
    return this.world.run(this.in(effect))
  }

  rest(): Promise<void> {
    return this.world.rest()
  }

  stats(): Promise<ThreadPool.Stats> {
    return this.run(ThreadPool.stats)
  }

  /** Everything that waits in a thread ends. */
  async endTasks(): Promise<void> {
    do {
      for (const id of [...globalThis.workshop.waiting.keys()]) globalThis.workshop.end(id)
      await this.rest()
    } while (globalThis.workshop.waiting.size > 0)
  }

  /** Nothing is with a thread, and every call has ended in one way. */
  async checkRest(): Promise<void> {
    const stats = await this.stats()
    const { closing, creating, idle, pending, running, size, threads, used } = stats
    expect({ closing, creating, pending, running, used }).toEqual({
      closing: 0,
      creating: 0,
      pending: 0,
      running: 0,
      used: 0
    })
    expect(idle).toBe(size)
    expect(size).toBeLessThanOrEqual(stats.max)
    expect(this.platform.up.length, "as many threads as the pool says").toBe(size)
    for (const { objects, running } of threads)
      expect({ objects, running }).toEqual({ objects: 0, running: 0 })
    expect(this.core.inline().objects).toBe(0)
    for (const thread of this.platform.up) expect(thread.has).toEqual({ objects: 0, tasks: 0, isQuiet: true })
    this.checkTotals(stats)
  }

  checkTotals(stats: ThreadPool.Stats): void {
    const { calls, crashed, failed, interrupted, rejected, succeeded, timedOut } = stats
    expect(succeeded + failed + interrupted + timedOut + crashed + rejected).toBe(calls)
  }

  /** As many tasks as there may be can be under way at one time, and one more cannot. */
  async checkRoom(most: number): Promise<void> {
    const { begun } = globalThis.workshop
    const before = begun.length
    const fibers = Array.from({ length: most + 1 }, (_, i) => this.fork(later(`room ${i}`)))
    await this.rest()
    // Calls that were sent ahead go to a thread that has come to rest.
    await this.world.advance(10)
    expect(begun.length - before).toBe(most)
    await this.endTasks()
    for (const fiber of fibers) expect(fiber.pollUnsafe()?._tag).toBe("Success")
  }

  startClosing(): Fiber.Fiber<void> {
    return this.world.fork(Scope.close(this.scope, Exit.void))
  }

  async close(): Promise<void> {
    const closing = this.startClosing()
    await this.rest()
    expect(closing.pollUnsafe()?._tag, "the pool has closed").toBe("Success")
    expect(this.platform.up, "no thread is left").toEqual([])
    await this.world.end()
  }
}

const shop = ThreadPool.module<typeof import("./modules/workshop.ts")>(moduleUrl("workshop"))

/** A task that ends when the test says so. */
const later = (id: string | number): InPool<unknown> =>
  ThreadPool.execute((id: string | number) => globalThis.workshop.later(id), id)

const double = (n: number): InPool<number> => ThreadPool.execute((n: number) => n * 2, n)

const proxied = (id: string, options?: ThreadPool.ProxyOptions) =>
  ThreadPool.proxy(shop, "Thing", [id, "friend"], options)

beforeEach(() => {
  globalThis.workshop = new Workshop()
})
afterEach(() => {
  globalThis.workshop = undefined as never
})

// -----------------------------------------------------------------------------
// Interrupted at each step
// -----------------------------------------------------------------------------

interface Scenario {
  readonly options: ThreadPool.Options
  /** What is done before the caller comes. */
  readonly before?: InPool<unknown>
  /** Tasks that are under way, or wait, when the caller comes, until nothing else can happen. */
  readonly others?: number
  /** Whether threads stand still until nothing else can happen. */
  readonly slow?: boolean
}

const operations: Record<string, InPool<unknown>> = {
  execute: double(21),
  "execute something asynchronous": later("x"),
  "execute several at one time": Effect.all([double(1), later("x"), double(3), later("y")], {
    concurrency: "unbounded"
  }),
  "an export": shop.double(21),
  "an export that is no function": shop.answer,
  "an export that gives an Effect": shop.doubled(21),
  "an export that fails": Effect.flip(shop.refuses("no")),
  "a generator": Stream.runCollect(shop.count(3)),
  "an async generator": Stream.runCollect(shop.countLater(3)),
  "a Stream": Stream.runCollect(shop.streamOf(3)),
  "a part of a generator": Stream.runCollect(Stream.take(shop.count(1000), 300)),
  "an argument that cannot be cloned": Effect.flip(ThreadPool.execute((f: unknown) => f, [() => 1])),
  "an object": Effect.scoped(Effect.flatMap(proxied("x"), (thing) => Effect.all([thing.name(), thing.id]))),
  "an object that is busy": Effect.scoped(
    Effect.flatMap(proxied("x"), (thing) =>
      Effect.all([thing.later("a"), thing.name(), thing.later("b")], { concurrency: "unbounded" })
    )
  ),
  "an object that gives itself": Effect.scoped(
    Effect.flatMap(proxied("x", { autowrap: ["Thing"] }), (thing) =>
      Effect.all([thing.self(), thing.selfLater("a")], { concurrency: "unbounded" })
    )
  ),
  "an object as an argument": Effect.scoped(Effect.flatMap(proxied("x"), (thing) => shop.nameOf(thing))),
  "what an object iterates": Effect.scoped(
    Effect.flatMap(proxied("x"), (thing) => Stream.runCollect(Remote.stream(thing)))
  ),
  drain: Effect.andThen(ThreadPool.drain, double(1)),
  "resize to none and back": Effect.all([
    ThreadPool.resize(0),
    double(1),
    ThreadPool.resize({ min: 0, max: 1 }),
    double(1)
  ])
}

const warm = Effect.all([double(0), Stream.runCollect(shop.streamOf(1))])

const withoutThreads = "on the calling thread"

const scenarios: Record<string, Scenario> = {
  "with a thread at rest": { options: { size: 1 }, before: warm },
  "with no thread yet": { options: { min: 0, max: 1 } },
  "with threads that are slow": { options: { min: 0, max: 1 }, slow: true },
  "behind others": { options: { size: 1 }, before: warm, others: 2 },
  "over two threads": { options: { min: 0, max: 2 }, others: 1 },
  "with tasks side by side": { options: { size: 1, concurrency: 2 }, before: warm, others: 1 },
  "with threads for one task": { options: { min: 0, max: 1, recycle: { tasks: 1 } } },
  [withoutThreads]: { options: { max: 0 } }
}

/** What is in the way of others on the calling thread waits for them, and not for time. */
const onlyInThreads = [
  "an object that is busy",
  "an object that gives itself",
  "drain",
  "resize to none and back"
]

const killGrace = 1000

/** Runs the operation, interrupts it after so many steps, and lets everything come to rest. Gives how many there were. */
const interruptAfter = async (
  scenario: Scenario,
  operation: InPool<unknown>,
  steps: number
): Promise<number> => {
  globalThis.workshop = new Workshop()
  const bench = await new Bench(3).open({ killGrace, ...scenario.options })
  const { platform, world } = bench
  if (scenario.before !== undefined) await bench.run(scenario.before)
  const others = Array.from({ length: scenario.others ?? 0 }, (_, i) => bench.fork(later(`other ${i}`)))
  await bench.rest()
  if (scenario.slow === true) {
    platform.starts = "held"
    for (const thread of platform.up) thread.stand(true)
  }
  /** Where nothing goes on by itself, something else does: a thread that stood still, or another task's end. */
  const goOn = (): boolean => {
    const standing = platform.up.find(({ isStill }) => isStill)
    if (standing !== undefined) {
      standing.stand(false)
      return true
    }
    const [id] = globalThis.workshop.waiting.keys()
    if (id === undefined) return false
    globalThis.workshop.end(id)
    return true
  }

  const fiber = bench.fork(operation)
  let done = 0
  while (done < steps && fiber.pollUnsafe() === undefined) {
    if (await world.step()) done++
    else if (!goOn()) break
  }
  fiber.interruptUnsafe()
  do await bench.rest()
  while (goOn())
  expect(fiber.pollUnsafe(), "the caller has ended").toBeDefined()
  for (const other of others)
    expect(other.pollUnsafe()?._tag, "nobody else has been interrupted").toBe("Success")
  // Threads that stood still have all gone on: none has had to be stopped.
  platform.starts = "at once"
  await world.advance(2 * killGrace)

  await bench.checkRest()
  const { killed, crashes } = await bench.stats()
  expect({ crashes, killed }).toEqual({ crashes: 0, killed: 0 })
  // It may have been interrupted between one size and the other, and in a drain.
  const max = Math.max(1, scenario.options.max ?? 1)
  await bench.run(ThreadPool.resize({ min: 0, max }))
  expect(await bench.run(double(4))).toBe(8)
  if (scenario.options.recycle === undefined) {
    await bench.checkRoom(max * (scenario.options.concurrency ?? 1))
  }
  await bench.checkRest()
  await bench.close()
  return done
}

for (const [name, operation] of Object.entries(operations)) {
  describe(`${name}, interrupted at each step`, () => {
    for (const [situation, scenario] of Object.entries(scenarios)) {
      if (situation === withoutThreads && onlyInThreads.includes(name)) continue
      it(situation, { timeout: 60_000 }, async () => {
        const most = await interruptAfter(scenario, operation, Infinity)
        expect(most).toBeGreaterThan(0)
        for (let steps = 0; steps < most; steps++) await interruptAfter(scenario, operation, steps)
      })
    }
  })
}

// -----------------------------------------------------------------------------
// A thread that ends at each step
// -----------------------------------------------------------------------------

/** What a call may fail with when its thread ends. */
const withThread = ["ThreadCrashed", "StaleRemote"]

describe("a thread that ends at each step of a call", () => {
  for (const name of [
    "execute",
    "execute several at one time",
    "an export that gives an Effect",
    "a Stream",
    "an object",
    "an object that is busy"
  ]) {
    it(name, { timeout: 60_000 }, async () => {
      /** Runs the operation, and ends the threads after so many steps. Gives how many steps there were. */
      const endAfter = async (steps: number): Promise<number> => {
        globalThis.workshop = new Workshop()
        const bench = await new Bench(3).open({ min: 0, max: 2 })
        const { platform, world } = bench
        const fiber = bench.fork(operations[name]!)
        const endOne = (): boolean => {
          const [id] = globalThis.workshop.waiting.keys()
          if (id !== undefined) globalThis.workshop.end(id)
          return id !== undefined
        }
        let done = 0
        while (done < steps && fiber.pollUnsafe() === undefined) {
          if (await world.step()) done++
          else if (!endOne()) break
        }
        for (const thread of platform.up) thread.exit()
        do await bench.rest()
        while (endOne())
        // A start that failed is tried again.
        await world.advance(1000)
        do await bench.rest()
        while (endOne())
        const exit = fiber.pollUnsafe()
        expect(exit, "the caller has heard").toBeDefined()
        if (Exit.isFailure(exit!)) {
          for (const reason of exit.cause.reasons) {
            if (Cause.isInterruptReason(reason)) continue
            const error = Cause.isFailReason(reason) ? reason.error : reason.defect
            expect(withThread, String(error)).toContain((error as { readonly _tag?: string })._tag)
          }
        }
        // Tasks of a thread that has ended wait for nobody.
        globalThis.workshop.waiting.clear()
        await bench.checkRest()
        await bench.checkRoom(2)
        await bench.close()
        return done
      }
      const most = await endAfter(Infinity)
      for (let steps = 0; steps < most; steps++) await endAfter(steps)
    })
  }
})

// -----------------------------------------------------------------------------
// Races
// -----------------------------------------------------------------------------

/** A task that says that it was begun. */
const marks = (id: string): InPool<number> =>
  ThreadPool.execute((id: string) => globalThis.workshop.begun.push(id), id)

/**
 * Lets it be known that these tasks take no time, so that they are sent ahead to busy threads. What they took in other tests
 * wanes with each run.
 */
const knownTasks = async (bench: Bench): Promise<void> => {
  for (let i = 0; i < 150; i++) {
    const fibers = [bench.fork(later("known")), bench.fork(double(0)), bench.fork(marks("known"))]
    await bench.rest()
    await bench.endTasks()
    for (const fiber of fibers) succeeded(fiber)
  }
  globalThis.workshop.begun.length = 0
}

/** An object that lives until its fiber is interrupted. */
const held = async (bench: Bench, id: string, options?: ThreadPool.ProxyOptions) => {
  let got: Remote.Remote<Thing> | undefined
  const fiber = await bench.start(
    Effect.scoped(
      Effect.flatMap(proxied(id, options), (thing) => {
        got = thing
        return Effect.never
      })
    )
  )
  return { thing: got!, fiber }
}

const succeeded = <A>(fiber: Fiber.Fiber<A, unknown>): A => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) throw new Error("it has not ended")
  if (Exit.isFailure(exit)) throw new Error(`it failed: ${Cause.pretty(exit.cause)}`)
  return exit.value
}

const failed = (fiber: Fiber.Fiber<unknown, unknown>): any => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) throw new Error("it has not ended")
  if (Exit.isSuccess(exit)) throw new Error(`it succeeded: ${String(exit.value)}`)
  return exit.cause.reasons.find(Cause.isFailReason)?.error
}

describe("a race", () => {
  it("EV-83: a reply that is on its way when its caller is interrupted reaches nobody, and the next call in its slot gets its own", async () => {
    const bench = await new Bench().open({ size: 1 })
    const [thread] = bench.platform.up
    const first = await bench.start(later("a"))
    thread!.stand(true)
    globalThis.workshop.end("a")
    await bench.rest()
    first.interruptUnsafe()
    const second = await bench.start(later("b"))
    thread!.stand(false)
    await bench.rest()
    expect(globalThis.workshop.begun).toEqual(["a", "b"])
    globalThis.workshop.end("b")
    await bench.rest()
    expect(succeeded(second)).toBe("b")
    await bench.checkRest()
    await bench.close()
  })

  it("between the end of a task and the end of its thread's patience stops no thread", async () => {
    const bench = await new Bench().open({ size: 1, killGrace })
    const first = await bench.start(later("a"))
    first.interruptUnsafe()
    await bench.world.advance(killGrace - 1)
    await bench.endTasks()
    const second = await bench.start(later("b"))
    await bench.world.advance(2 * killGrace)
    await bench.endTasks()
    expect(succeeded(second)).toBe("b")
    expect((await bench.stats()).killed).toBe(0)
    await bench.close()
  })

  it("of a thread that is stopped and its late reply: nobody is told twice, and nothing is left over", async () => {
    const bench = await new Bench().open({ size: 1, concurrency: 2, killGrace })
    const [thread] = bench.platform.up
    const [first, second] = [await bench.start(later("a")), await bench.start(later("b"))]
    thread!.stand(true)
    await bench.endTasks()
    first.interruptUnsafe()
    await bench.world.advance(killGrace)
    expect(failed(second)).toMatchObject({ _tag: "ThreadCrashed", reason: "killed", started: true })
    expect(thread!.state).toBe("gone")
    expect(await bench.run(double(3))).toBe(6)
    await bench.checkRest()
    expect(await bench.stats()).toMatchObject({ killed: 1, crashes: 0, crashed: 1, interrupted: 1 })
    await bench.close()
  })

  it("between an object that waits for a thread of its own and other calls: these go on", async () => {
    const bench = await new Bench().open({ min: 1, max: 2 })
    const first = await held(bench, "x")
    bench.platform.starts = "held"
    const second = bench.fork(Effect.scoped(Effect.flatMap(proxied("y"), (thing) => thing.name())))
    const other = await bench.start(double(1))
    expect(succeeded(other)).toBe(2)
    expect(second.pollUnsafe()).toBeUndefined()
    bench.platform.up.find(({ isStill }) => isStill)!.stand(false)
    await bench.rest()
    expect(succeeded(second)).toBe("y")
    first.fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between two who get the same object: one that gives up, at any step, takes nothing from the other", async () => {
    for (let steps = 0, ended = false; !ended; steps++) {
      globalThis.workshop = new Workshop()
      const bench = await new Bench(3).open({ size: 1 })
      const scope = Scope.makeUnsafe()
      const thing: any = await bench.run(Scope.provide(proxied("x", { autowrap: ["Thing"] }), scope))
      const friend = (): Effect.Effect<Remote.Remote<Thing>, unknown> => thing.asyncFriend()
      const [first, second] = [bench.fork(friend()), bench.fork(Effect.flatMap(friend(), (_) => _.name()))]
      for (let done = 0; done < steps; done++) await bench.world.step()
      ended = first.pollUnsafe() !== undefined
      first.interruptUnsafe()
      await bench.rest()
      expect(succeeded(second), `after ${steps} steps`).toBe("friend")
      await bench.run(Scope.close(scope, Exit.void))
      await bench.close()
    }
  })

  it("for a call that was sent ahead: a thread that has come to rest gets it, and it runs once", async () => {
    const bench = await new Bench().open({ size: 2 })
    await knownTasks(bench)
    const busy = [await bench.start(later("a")), await bench.start(later("b"))]
    const ahead = [await bench.start(marks("c")), await bench.start(marks("d"))]
    expect(await bench.stats()).toMatchObject({ pending: 0, running: 4 })
    globalThis.workshop.end("b")
    await bench.rest()
    await bench.world.advance(10)
    for (const fiber of ahead) succeeded(fiber)
    expect(globalThis.workshop.begun.toSorted()).toEqual(["a", "b", "c", "d"])
    expect((await bench.stats()).moved).toBe(1)
    await bench.endTasks()
    for (const fiber of busy) succeeded(fiber)
    await bench.checkRest()
    await bench.close()
  })

  it("for a call that was sent ahead: the thread that gave it up may get it again, and it runs once", async () => {
    const bench = await new Bench().open({ size: 1 })
    await knownTasks(bench)
    bench.platform.starts = "failing"
    await bench.run(ThreadPool.resize({ min: 1, max: 2 }))
    const busy = await bench.start(later("a"))
    const ahead = await bench.start(marks("b"))
    // As long as another thread may come, the call is not left with one that stands.
    for (let i = 0; i < 1000; i++) await bench.world.advance(7)
    expect((await bench.stats()).moved).toBeGreaterThan(0)
    await bench.endTasks()
    succeeded(busy)
    succeeded(ahead)
    expect(globalThis.workshop.begun).toEqual(["a", "b"])
    await bench.world.advance(10_000)
    await bench.checkRest()
    await bench.close()
  })

  it("for a thread that a call on an object holds up: no other call waits behind it while another thread is idle", async () => {
    const bench = await new Bench().open({ size: 2 })
    await knownTasks(bench)
    const { fiber, thing } = await held(bench, "x")
    await bench.start(thing.later("object"))
    const pinned = bench.platform.up.find(({ has }) => has.objects > 0)!
    const busy = await bench.start(later("b"))
    // As with a method that does not give up the thread.
    pinned.stand(true)
    const fibers = [await bench.start(marks("c")), await bench.start(marks("d"))]
    globalThis.workshop.end("b")
    await bench.rest()
    await bench.world.advance(10)
    succeeded(busy)
    for (const fiber of fibers) succeeded(fiber)
    pinned.stand(false)
    await bench.endTasks()
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between calls that are sent together: none sees what another does with the same argument", async () => {
    const bench = await new Bench().open({ size: 1 })
    await knownTasks(bench)
    const grow = (list: Array<number>): InPool<number> =>
      ThreadPool.execute((list: Array<number>) => list.push(0), list)
    // So that it is known how long it takes.
    await bench.run(grow([]))
    const list = [1]
    const all = Array.from({ length: 4 }, () => grow(list))
    expect(await bench.run(Effect.all(all, { concurrency: "unbounded" }))).toEqual([2, 2, 2, 2])
    await bench.checkRest()
    await bench.close()
  })

  it("EV-78: calls that come back from a thread keep their order", async () => {
    const bench = await new Bench().open({ min: 0, max: 1 })
    await knownTasks(bench)
    // So that the thread gives its slots in another order than that of their numbers.
    await bench.run(
      Effect.all(
        Array.from({ length: 6 }, () => double(1)),
        { concurrency: "unbounded" }
      )
    )
    const first = await bench.start(later("a"))
    const ids = ["b", "c", "d", "e", "f"]
    const fibers = ids.map((id) => bench.fork(marks(id)))
    await bench.rest()
    expect((await bench.stats()).running).toBe(6)
    bench.platform.up[0]!.exit()
    await bench.rest()
    expect(failed(first)).toMatchObject({ _tag: "ThreadCrashed", started: true })
    for (const fiber of fibers) succeeded(fiber)
    expect(globalThis.workshop.begun).toEqual(["a", ...ids])
    const { borrowed, calls, moved } = await bench.stats()
    expect(moved).toBe(5)
    expect(borrowed, "each counts as sent once").toBe(calls)
    globalThis.workshop.waiting.clear()
    await bench.checkRest()
    await bench.close()
  })

  it("between taskTimeout and a call on an object that has not begun: it has all of its time", async () => {
    const bench = await new Bench().open({ size: 1, taskTimeout: 1000, killGrace: Infinity })
    const { fiber, thing } = await held(bench, "x")
    const first = await bench.start(thing.later("a"))
    const behind = await bench.start(thing.name())
    await bench.world.advance(3000)
    expect(failed(first)).toMatchObject({ _tag: "TaskTimeout" })
    expect(behind.pollUnsafe()).toBeUndefined()
    await bench.endTasks()
    expect(succeeded(behind)).toBe("x")
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("of a thread's end and a new size of 0: what it had not begun runs on the calling thread", async () => {
    const bench = await new Bench().open({ size: 1 })
    await knownTasks(bench)
    const first = await bench.start(later("a"))
    const ahead = await bench.start(marks("b"))
    expect((await bench.stats()).running).toBe(2)
    await bench.run(ThreadPool.resize(0))
    bench.platform.up[0]!.exit()
    await bench.rest()
    expect(failed(first)).toMatchObject({ _tag: "ThreadCrashed", started: true })
    succeeded(ahead)
    expect(globalThis.workshop.begun).toEqual(["a", "b"])
    globalThis.workshop.waiting.clear()
    await bench.checkRest()
    await bench.close()
  })

  it("of a thread's end and what moved to it: the call is told that it was not begun, and is not sent again", async () => {
    const bench = await new Bench().open({ size: 1 })
    const [thread] = bench.platform.up
    thread!.stand(true)
    const data = new Uint8Array(8)
    const call = await bench.start(
      ThreadPool.execute((bytes: Uint8Array) => bytes.length, ThreadPool.move(data))
    )
    expect(data.byteLength).toBe(0)
    thread!.exit()
    await bench.rest()
    expect(failed(call)).toMatchObject({ _tag: "ThreadCrashed", started: false })
    await bench.checkRest()
    await bench.close()
  })

  it("of a thread's end and what is on its way to it: what was begun fails, the rest runs elsewhere, and calls on its objects say that they were not begun", async () => {
    const bench = await new Bench().open({ min: 0, max: 1 })
    await knownTasks(bench)
    const [thread] = bench.platform.up
    const { fiber, thing } = await held(bench, "x")
    const object = await bench.start(thing.later("object"))
    const behind = await bench.start(thing.name())
    const begun = await bench.start(later("a"))
    const ahead = await bench.start(marks("b"))
    // Nothing arrives any more.
    thread!.stand(true)
    const sent = await bench.start(marks("c"))
    const name = await bench.start(thing.name())
    thread!.exit()
    await bench.rest()
    expect(failed(object)).toMatchObject({ _tag: "ThreadCrashed", started: true, reason: "exit" })
    expect(failed(begun)).toMatchObject({ _tag: "ThreadCrashed", started: true })
    for (const call of [behind, name]) {
      expect(failed(call)).toMatchObject({ _tag: "ThreadCrashed", started: false })
    }
    succeeded(ahead)
    succeeded(sent)
    expect(globalThis.workshop.begun.filter((id) => id === "b" || id === "c")).toEqual(["b", "c"])
    expect(failed(await bench.start(thing.name()))).toMatchObject({
      _tag: "StaleRemote",
      reason: "threadEnded"
    })
    fiber.interruptUnsafe()
    globalThis.workshop.waiting.clear()
    await bench.checkRest()
    await bench.close()
  })

  it("between callers that fail with one thread: one that interrupts another makes it count once", async () => {
    const bench = await new Bench().open({ size: 1, concurrency: 3 })
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (const id of ["a", "b", "c"]) {
      const others = Effect.sync(() => {
        for (const fiber of fibers) fiber.interruptUnsafe()
      })
      fibers.push(bench.fork(Effect.onExit(later(id), () => others)))
    }
    await bench.rest()
    bench.platform.up[0]!.exit()
    await bench.rest()
    for (const fiber of fibers) expect(fiber.pollUnsafe()?._tag).toBe("Failure")
    globalThis.workshop.waiting.clear()
    await bench.checkRest()
    expect(await bench.run(double(1))).toBe(2)
    await bench.close()
  })

  it("between callers that get no thread: one that interrupts another leaves nobody behind who comes later", async () => {
    const bench = await new Bench().open({ min: 0, max: 1 })
    bench.platform.starts = "failing"
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (let i = 0; i < 3; i++) {
      const others = Effect.sync(() => {
        for (const fiber of fibers) fiber.interruptUnsafe()
      })
      fibers.push(bench.fork(Effect.onExit(double(i), () => others)))
    }
    await bench.rest()
    await bench.world.advance(10_000)
    expect(failed(fibers[0]!)).toMatchObject({ _tag: "SpawnFailed" })
    for (const fiber of fibers) expect(fiber.pollUnsafe()?._tag).toBe("Failure")
    await bench.checkRest()
    bench.platform.starts = "at once"
    expect(await bench.run(double(2))).toBe(4)
    await bench.checkRest()
    await bench.close()
  })

  it("between callers in a line that is turned away as a whole, and one that starts anew at once", async () => {
    const bench = await new Bench().open({ min: 0, max: 1 })
    bench.platform.starts = "failing"
    const again = Effect.catch(double(1), () => double(2))
    const fibers = [bench.fork(again), bench.fork(double(3))]
    await bench.rest()
    await bench.world.advance(1000)
    bench.platform.starts = "at once"
    await bench.world.advance(10_000)
    expect(succeeded(fibers[0]!)).toBe(4)
    await bench.checkRest()
    await bench.close()
  })

  it("between a call that cannot be sent and the next one of the same caller", async () => {
    const bench = await new Bench().open({ size: 1 })
    // The object keeps the thread from going back to the pool in between.
    const both = Effect.scoped(
      Effect.gen(function* () {
        yield* proxied("x")
        yield* Effect.yieldNow
        yield* Effect.flip(ThreadPool.execute((f: unknown) => f, [() => 1]))
        return yield* double(4)
      })
    )
    expect(await bench.run(both)).toBe(8)
    await bench.checkRest()
    await bench.close()
  })

  it("between the end of an object's scope and a call on it that gives it again: it is disposed of after the call, and once", async () => {
    const bench = await new Bench().open({ size: 1 })
    const fiber = await bench.start(
      Effect.gen(function* () {
        const call = yield* Effect.scoped(
          Effect.gen(function* () {
            const thing = yield* proxied("x", { autowrap: ["Thing"] })
            return yield* Effect.forkDetach(thing.selfLater("a"), { startImmediately: true })
          })
        )
        const again = (yield* Fiber.join(call)) as unknown as Remote.Remote<Thing>
        return yield* Effect.flip(again.name())
      })
    )
    expect(globalThis.workshop.disposed).toEqual([])
    await bench.endTasks()
    expect(succeeded(fiber)).toMatchObject({ _tag: "StaleRemote" })
    expect(globalThis.workshop.disposed).toEqual(["x"])
    expect(await bench.run(double(1))).toBe(2)
    await bench.close()
  })

  it("between more calls on an object than a thread has slots, short calls, and those who give up", async () => {
    const bench = await new Bench().open({ size: 1 })
    await knownTasks(bench)
    const count = 1500
    const { fiber, thing } = await held(bench, "x")
    const object = await bench.start(thing.later("object"))
    const behind = Array.from({ length: count }, () => bench.fork(thing.name()))
    await bench.rest()
    const short = Array.from({ length: 20 }, (_, i) => bench.fork(double(i)))
    await bench.rest()
    const before = await bench.stats()
    expect(before.pending + before.running + before.succeeded, "each call is somewhere").toBe(before.calls)
    // In the thread, and in the line for it.
    for (const i of [3, 700, 1100, 1499]) behind[i]!.interruptUnsafe()
    await bench.rest()
    bench.checkTotals({ ...(await bench.stats()), calls: before.succeeded + 4 })
    await bench.endTasks()
    expect(succeeded(object)).toBe("object")
    expect(behind.filter((fiber) => fiber.pollUnsafe()?._tag === "Success").length).toBe(count - 4)
    expect(short.map(succeeded)).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i))
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it(
    "between a drain and a call on an object at each step: the call ends in some way",
    { timeout: 60_000 },
    async () => {
      const callAfter = async (steps: number): Promise<number> => {
        globalThis.workshop = new Workshop()
        const bench = await new Bench(3).open({ size: 1 })
        const { fiber, thing } = await held(bench, "x")
        const drain = bench.fork(ThreadPool.drain)
        let done = 0
        while (done < steps && (await bench.world.step())) done++
        const call = bench.fork(thing.name())
        await bench.rest()
        const exit = call.pollUnsafe()
        expect(exit, "the caller has heard").toBeDefined()
        if (Exit.isFailure(exit!)) expect(withThread).toContain(failed(call)._tag)
        expect(drain.pollUnsafe()?._tag).toBe("Success")
        fiber.interruptUnsafe()
        expect(await bench.run(double(1))).toBe(2)
        await bench.checkRest()
        await bench.close()
        return done
      }
      const most = await callAfter(Infinity)
      for (let steps = 0; steps < most; steps++) await callAfter(steps)
    }
  )

  it("EV-87, EV-88: between a drain and a new size: what was there ends, what came meanwhile runs afterwards", async () => {
    for (const size of [0, 1, 3]) {
      globalThis.workshop = new Workshop()
      const bench = await new Bench().open({ size: 2 })
      const running = [
        await bench.start(later("a")),
        await bench.start(later("b")),
        await bench.start(later("c"))
      ]
      const drain = await bench.start(ThreadPool.drain)
      const held = [await bench.start(double(1)), await bench.start(double(2))]
      const { calls, pending, running: with_ } = await bench.stats()
      expect(pending + with_, "each call waits, or runs").toBe(calls)
      await bench.run(ThreadPool.resize({ min: 0, max: size }))
      expect(held.map((fiber) => fiber.pollUnsafe())).toEqual([undefined, undefined])
      expect(drain.pollUnsafe()).toBeUndefined()
      await bench.endTasks()
      await bench.world.advance(10)
      for (const fiber of running) succeeded(fiber)
      succeeded(drain)
      expect(held.map(succeeded)).toEqual([2, 4])
      const stats = await bench.stats()
      expect(stats.max).toBe(size)
      expect(stats.size).toBeLessThanOrEqual(size)
      if (size > 0) await bench.checkRoom(size)
      await bench.checkRest()
      await bench.close()
    }
  })

  it("EV-87, EV-88: between a drain and a new size at each step: both come about, and what waits runs", async () => {
    const resizeAfter = async (steps: number): Promise<number> => {
      globalThis.workshop = new Workshop()
      const bench = await new Bench(3).open({ size: 2 })
      await bench.run(double(0))
      const drain = bench.fork(Effect.andThen(ThreadPool.drain, double(1)))
      const call = bench.fork(Effect.andThen(Effect.yieldNow, double(2)))
      let done = 0
      while (done < steps && (await bench.world.step())) done++
      const resize = bench.fork(ThreadPool.resize({ min: 2, max: 3 }))
      await bench.rest()
      succeeded(resize)
      expect(succeeded(drain)).toBe(2)
      expect(succeeded(call)).toBe(4)
      expect(await bench.run(double(3))).toBe(6)
      expect(await bench.stats()).toMatchObject({ size: 2, min: 2, max: 3 })
      await bench.checkRest()
      await bench.close()
      return done
    }
    const most = await resizeAfter(Infinity)
    for (let steps = 0; steps < most; steps++) await resizeAfter(steps)
  })

  it("EV-88: between a drain and a thread that starts for nobody any more", async () => {
    const bench = await new Bench().open({ min: 0, max: 2 })
    bench.platform.starts = "held"
    const calls = [await bench.start(double(1)), await bench.start(double(2))]
    for (const call of calls) call.interruptUnsafe()
    const drain = await bench.start(ThreadPool.drain)
    bench.platform.starts = "at once"
    for (const thread of bench.platform.up) thread.stand(false)
    await bench.rest()
    succeeded(drain)
    expect(await bench.run(double(3))).toBe(6)
    await bench.checkRest()
    await bench.close()
  })

  it("EV-88: between a drain and those who give up while it lasts", async () => {
    const bench = await new Bench().open({ size: 1 })
    const running = await bench.start(later("a"))
    const drain = await bench.start(ThreadPool.drain)
    const held = [await bench.start(marks("b")), await bench.start(marks("c"))]
    held[0]!.interruptUnsafe()
    drain.interruptUnsafe()
    await bench.endTasks()
    succeeded(running)
    succeeded(held[1]!)
    expect(globalThis.workshop.begun).toEqual(["a", "c"])
    await bench.checkRest()
    await bench.close()
  })

  it("between a thread's start and the end of the pool: nobody waits for it, and no thread is left", async () => {
    const bench = await new Bench().open({ min: 0, max: 2 })
    bench.platform.starts = "held"
    const calls = [await bench.start(double(1)), await bench.start(double(2))]
    expect(bench.platform.up.length).toBeGreaterThan(0)
    // No time passes.
    await bench.close()
    for (const call of calls) expect(failed(call)).toMatchObject({ _tag: "ThreadPoolClosed" })
  })

  it("between a thread's start and a new size: calls run, and a drain ends", async () => {
    for (const size of [0, 1]) {
      const bench = await new Bench().open({ min: 0, max: 3 })
      bench.platform.starts = "held"
      const calls = [1, 2, 3].map((n) => bench.fork(double(n)))
      await bench.rest()
      await bench.run(ThreadPool.resize(size))
      for (const thread of bench.platform.up) thread.stand(false)
      bench.platform.starts = "at once"
      await bench.rest()
      expect(calls.map(succeeded)).toEqual([2, 4, 6])
      const drain = await bench.start(ThreadPool.drain)
      succeeded(drain)
      await bench.checkRest()
      await bench.close()
    }
  })

  it("between a drain and the end of the pool: everybody hears", async () => {
    const bench = await new Bench().open({ size: 1, closeTimeout: 10 })
    const running = await bench.start(later("a"))
    const drain = await bench.start(ThreadPool.drain)
    const held = await bench.start(double(1))
    const closing = bench.startClosing()
    await bench.rest()
    expect(failed(held)).toMatchObject({ _tag: "ThreadPoolClosed" })
    expect(failed(await bench.start(double(2)))).toMatchObject({ _tag: "ThreadPoolClosed" })
    // The time that a pool takes to close is real, whatever clock there is.
    for (let left = 5000; closing.pollUnsafe() === undefined && left > 0; left--) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      await bench.rest()
    }
    expect(closing.pollUnsafe()?._tag).toBe("Success")
    expect(failed(running)).toMatchObject({ _tag: "ThreadCrashed", reason: "killed" })
    expect(drain.pollUnsafe()).toBeDefined()
    expect(bench.platform.up).toEqual([])
  })

  it("of a call and the objects in its arguments, wherever those are: it goes to their threads, and counts as sent once", async () => {
    const bench = await new Bench().open({ size: 2 })
    const objects = [await held(bench, "x"), await held(bench, "y")]
    expect(bench.platform.up.map(({ has }) => has.objects)).toEqual([1, 1])
    const idOf = (thing: unknown): InPool<unknown> =>
      ThreadPool.execute((given: { readonly thing: unknown }) => (given.thing as Thing).id, { thing })
    for (const [i, { thing }] of objects.entries()) expect(await bench.run(idOf(thing))).toBe("xy"[i])
    expect(await bench.stats()).toMatchObject({ calls: 4, borrowed: 4 })
    for (const { fiber } of objects) fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("of a task and its interruption where a thread turns out to share no memory: it is told", async () => {
    const bench = new Bench()
    bench.platform.sharesMemory = false
    await bench.open({ size: 1 })
    const task = await bench.start(shop.waits("w"))
    task.interruptUnsafe()
    await bench.rest()
    expect(globalThis.workshop.disposed).toEqual(["w"])
    await bench.checkRest()
    await bench.close()
  })

  it("between a task that nobody waits for and the end of the pool: closeTimeout is all the time it has", async () => {
    const bench = await new Bench().open({ size: 1, closeTimeout: 10, killGrace: Infinity })
    const task = await bench.start(later("a"))
    task.interruptUnsafe()
    await bench.rest()
    // Real time, as above. What is due later comes later, however slow the machine is.
    let isLate = false
    const timer = setTimeout(() => (isLate = true), 900)
    const closing = bench.startClosing()
    while (closing.pollUnsafe() === undefined && !isLate) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      await bench.rest()
    }
    clearTimeout(timer)
    expect(isLate).toBe(false)
    expect(bench.platform.up).toEqual([])
  })

  it("between a task that must not be killed and the end of the pool: what was sent behind it hears, and is not begun", async () => {
    const bench = await new Bench().open({ size: 1, closeTimeout: 10 })
    await knownTasks(bench)
    const [thread] = bench.platform.up
    const native = await bench.start(ThreadPool.unkillable(later("native")))
    const ahead = await bench.start(ThreadPool.unkillable(marks("b")))
    expect((await bench.stats()).running).toBe(2)
    const closing = bench.startClosing()
    // As above.
    for (let left = 5000; closing.pollUnsafe() === undefined && left > 0; left--) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      await bench.rest()
    }
    expect(closing.pollUnsafe()?._tag).toBe("Success")
    expect(failed(ahead)).toMatchObject({ _tag: "ThreadPoolClosed" })
    expect(native.pollUnsafe()).toBeUndefined()
    await bench.endTasks()
    expect(succeeded(native)).toBe("native")
    expect(globalThis.workshop.begun).toEqual(["native"])
    expect(thread!.state).toBe("gone")
  })

  it("between a task that must not be killed and a pool that goes on without its thread", async () => {
    const bench = await new Bench().open({ size: 1, killGrace })
    const [thread] = bench.platform.up
    const native = await bench.start(ThreadPool.unkillable(later("native")))
    native.interruptUnsafe()
    await bench.world.advance(killGrace)
    expect(await bench.run(double(2))).toBe(4)
    expect(await bench.stats()).toMatchObject({ quarantined: 1, killed: 0, size: 1, used: 0 })
    expect(thread!.state).toBe("up")
    // A drain does not wait for it, and does not stop it.
    await bench.run(ThreadPool.drain)
    expect(thread!.state).toBe("up")
    await bench.endTasks()
    expect(thread!.state, "it ends with its task").toBe("gone")
    expect(await bench.run(double(3))).toBe(6)
    await bench.checkRest()
    await bench.close()
  })

  it("between a thread that goes into quarantine and the calls on its object: those with it go on, the others hear at once", async () => {
    const bench = await new Bench().open({ size: 1, killGrace })
    const [thread] = bench.platform.up
    const { fiber, thing } = await held(bench, "x")
    const native = await bench.start(ThreadPool.unkillable(thing.later("native")))
    // More than a thread has room for.
    const behind = Array.from({ length: 1100 }, () => bench.fork(thing.name()))
    await bench.rest()
    native.interruptUnsafe()
    await bench.world.advance(killGrace)
    expect((await bench.stats()).quarantined).toBe(1)
    const heard = behind.filter((fiber) => fiber.pollUnsafe() !== undefined)
    expect(heard.length).toBe(1100 - 1023)
    const late = await bench.start(thing.name())
    for (const fiber of [...heard, late]) {
      expect(failed(fiber)).toMatchObject({ _tag: "StaleRemote", reason: "threadEnded" })
    }
    expect(Remote.isAlive(thing)).toBe(false)
    fiber.interruptUnsafe()
    await bench.rest()
    expect(fiber.pollUnsafe(), "its scope waits for nothing").toBeDefined()
    expect(globalThis.workshop.disposed).toEqual([])
    await bench.endTasks()
    expect(behind.filter((fiber) => fiber.pollUnsafe()?._tag === "Success").length).toBe(1023)
    expect(thread!.state, "it ends with its calls").toBe("gone")
    await bench.checkRest()
    await bench.close()
  })

  it("between a thread that goes into quarantine and a call on its object in the same turn: it still gets there", async () => {
    const bench = await new Bench().open({ size: 1 })
    const { fiber, thing } = await held(bench, "x")
    const native = await bench.start(ThreadPool.unkillable(thing.later("native")))
    const [thread] = bench.core.threads
    const behind = bench.fork(thing.name())
    bench.core.stopping.stopThread(thread!, thread!.withIt[0]!)
    await bench.rest()
    expect((await bench.stats()).quarantined).toBe(1)
    await bench.endTasks()
    expect(succeeded(native)).toBe("native")
    expect(succeeded(behind)).toBe("x")
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between a thread in quarantine and a drain: its end still counts", async () => {
    const bench = await new Bench().open({ size: 1, killGrace })
    const [thread] = bench.platform.up
    const native = await bench.start(ThreadPool.unkillable(later("native")))
    native.interruptUnsafe()
    await bench.world.advance(killGrace)
    await bench.run(ThreadPool.drain)
    thread!.exit()
    await bench.rest()
    expect(await bench.stats()).toMatchObject({ quarantined: 1, crashes: 1 })
    globalThis.workshop.waiting.clear()
    await bench.checkRest()
    await bench.close()
  })

  it("between a thread for a few tasks and the object that keeps it: calls go on, and then it goes", async () => {
    const bench = await new Bench().open({ size: 1, recycle: { tasks: 2 } })
    const [thread] = bench.platform.up
    const all = Effect.scoped(
      Effect.gen(function* () {
        const thing = yield* proxied("x")
        const names = yield* Effect.all(Array.from({ length: 5 }, () => thing.name()))
        return [...names, yield* double(1), yield* double(2)]
      })
    )
    expect(await bench.run(all)).toEqual(["x", "x", "x", "x", "x", 2, 4])
    expect(thread!.state).toBe("gone")
    expect(await bench.run(double(3))).toBe(6)
    await bench.checkRest()
    await bench.close()
  })

  it("between an object that keeps a thread that is to be replaced, and a new size: other calls go elsewhere", async () => {
    const bench = await new Bench().open({ min: 1, max: 2 })
    const { fiber, thing } = await held(bench, "x")
    await bench.run(bench.core.recycle())
    // The first goes on for want of any other, until that is up.
    expect(await bench.run(double(1))).toBe(2)
    await bench.run(ThreadPool.resize({ min: 1, max: 2 }))
    expect(await bench.run(double(2))).toBe(4)
    expect(await bench.run(thing.name())).toBe("x")
    const { threads } = await bench.stats()
    expect(threads.map(({ ended, state, thread }) => [thread, ended, state])).toEqual([
      [1, 3, "retiring"],
      [2, 1, "idle"]
    ])
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between fewer threads and the objects that keep them: calls go on", async () => {
    const bench = await new Bench().open({ size: 2 })
    const objects = [await held(bench, "x"), await held(bench, "y")]
    expect(bench.platform.up.map(({ has }) => has.objects)).toEqual([1, 1])
    await bench.run(ThreadPool.resize(1))
    expect(await bench.run(double(1))).toBe(2)
    // The one that is left is one that was to go.
    const retiring = (await bench.stats()).threads.find(({ state }) => state === "retiring")!.thread
    for (const thread of bench.platform.up) if (thread.id !== retiring) thread.exit()
    await bench.rest()
    expect(await bench.run(double(2))).toBe(4)
    for (const { fiber } of objects) fiber.interruptUnsafe()
    await bench.rest()
    expect(await bench.run(double(3))).toBe(6)
    await bench.checkRest()
    expect((await bench.stats()).size).toBe(1)
    await bench.close()
  })

  it("between starts that fail and a thread that comes: the pauses grow up to 10 s, and are over when one has come", async () => {
    const bench = await new Bench().open({ min: 0, max: 2, spawnRetry: Schedule.recurs(0) })
    const { platform } = bench
    const begun = (): ReadonlyArray<unknown> => globalThis.workshop.begun
    const failures = async (): Promise<number> => (await bench.stats()).failures
    const failsAfter = async (pause: number): Promise<void> => {
      const before = await failures()
      await bench.world.advance(pause - 1)
      expect(await failures(), `before ${pause} ms`).toBe(before)
      await bench.world.advance(1)
      expect(await failures(), `after ${pause} ms`).toBe(before + 1)
    }
    // Nobody knows how long this takes, other than with what other tests have run: nothing is sent ahead.
    await bench.start(shop.later("a"))
    platform.starts = "failing"
    await bench.start(shop.later("b"))
    for (const pause of [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]) await failsAfter(pause)
    platform.starts = "at once"
    await bench.world.advance(10_000)
    expect(begun()).toEqual(["a", "b"])
    await bench.endTasks()

    await bench.start(shop.later("c"))
    const [busy, idle] = platform.up.toSorted((x, y) => y.has.tasks - x.has.tasks)
    idle!.exit()
    platform.starts = "failing"
    await bench.start(shop.later("d"))
    await failsAfter(100)
    // The next pause goes on when there is no thread left, and one comes at once.
    platform.starts = "at once"
    globalThis.workshop.waiting.delete("c")
    busy!.exit()
    await bench.rest()
    expect(begun().at(-1)).toBe("d")
    await bench.start(shop.later("e"))
    expect(begun().at(-1), "another is asked for at once").toBe("e")
    await bench.endTasks()
    await bench.checkRest()
    await bench.close()
  })

  it("between a start that fails and another that goes on: those in line wait for that", async () => {
    const bench = await new Bench().open({ min: 0, max: 2, spawnRetry: Schedule.recurs(0) })
    bench.platform.starts = "held"
    const calls = [await bench.start(double(1)), await bench.start(double(2))]
    const [first, second] = bench.platform.up
    first!.exit()
    await bench.rest()
    expect((await bench.stats()).failures).toBe(1)
    expect(calls.map((fiber) => fiber.pollUnsafe())).toEqual([undefined, undefined])
    second!.stand(false)
    await bench.rest()
    expect(calls.map(succeeded)).toEqual([2, 4])
    // One more may have been asked for meanwhile.
    for (const thread of bench.platform.up) thread.stand(false)
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between starts that fail in turn, while calls keep coming: no start follows another, and all calls hear", async () => {
    const bench = await new Bench().open({ min: 0, max: 3, spawnRetry: Schedule.recurs(0) })
    bench.platform.starts = "held"
    const calls = [1, 2, 3].map((n) => bench.fork(double(n)))
    await bench.rest()
    for (const left of [3, 2, 1]) {
      expect(bench.platform.up.length).toBe(left)
      expect(calls.every((fiber) => fiber.pollUnsafe() === undefined)).toBe(true)
      bench.platform.up[0]!.exit()
      await bench.rest()
      if (left > 1) calls.push(await bench.start(double(left)))
    }
    for (const call of calls) expect(failed(call)).toMatchObject({ _tag: "SpawnFailed" })
    expect(await bench.stats()).toMatchObject({ failures: 3, pending: 0, creating: 0 })
    // The next call may ask again.
    bench.platform.starts = "at once"
    expect(await bench.run(double(5))).toBe(10)
    await bench.checkRest()
    await bench.close()
  })

  it("between starts that fail in turn, while a thread serves those in line: no start follows another without a pause", async () => {
    const bench = await new Bench().open({ min: 0, max: 3, spawnRetry: Schedule.recurs(0) })
    const { platform } = bench
    await bench.start(shop.later("a"))
    platform.starts = "held"
    const calls = ["b", "c", "d"].map((id) => bench.fork(shop.later(id)))
    await bench.rest()
    expect(platform.up.length).toBe(3)
    platform.up[1]!.exit()
    calls.push(await bench.start(shop.later("e")))
    expect(platform.up.length, "none in place of the first that failed").toBe(2)
    platform.up[1]!.exit()
    calls.push(await bench.start(shop.later("f")))
    expect(platform.up.length, "none during the pause").toBe(1)
    await bench.world.advance(100)
    expect(platform.up.length, "both after it").toBe(3)

    // One that is called off is the last that is heard of.
    platform.up[1]!.exit()
    await bench.rest()
    await bench.run(ThreadPool.resize({ min: 0, max: 1 }))
    platform.up[1]!.exit()
    await bench.run(ThreadPool.resize({ min: 0, max: 2 }))
    await bench.rest()
    expect(platform.up.length, "none during the pause").toBe(1)
    platform.starts = "at once"
    await bench.world.advance(200)
    expect(platform.up.length, "one after it").toBe(2)
    await bench.endTasks()
    for (const call of calls) expect(call.pollUnsafe()?._tag).toBe("Success")
    await bench.checkRest()
    await bench.close()
  })

  it("between a drain and a start that fails, and leaves something behind for a while: the drain ends", async () => {
    const bench = await new Bench().open({
      min: 0,
      max: 2,
      spawnRetry: Schedule.recurs(0),
      spawnTimeout: 1000
    })
    await bench.start(later("a"))
    bench.platform.starts = "held"
    await bench.start(later("b"))
    await bench.endTasks()
    expect(bench.platform.up.length).toBe(2)
    const drain = await bench.start(ThreadPool.drain)
    const call = await bench.start(double(4))
    bench.platform.starts = "at once"
    bench.platform.stepsToEnd = 50
    await bench.world.advance(1000)
    expect(drain.pollUnsafe()?._tag).toBe("Success")
    expect(succeeded(call)).toBe(8)
    await bench.checkRest()
    await bench.close()
  })

  it("between threads that die before they begin what they are sent: the caller hears", async () => {
    const bench = await new Bench().open({ min: 0, max: 1 })
    bench.platform.diesWithFirst = true
    const call = await bench.start(double(1))
    for (let left = 60; left > 0 && call.pollUnsafe() === undefined; left--) await bench.world.advance(1000)
    expect(failed(call)).toMatchObject({ _tag: "ThreadCrashed", started: false })
    expect((await bench.stats()).crashes).toBe(10)
    bench.platform.diesWithFirst = false
    const next = await bench.start(double(2))
    await bench.world.advance(10_000)
    expect(succeeded(next)).toBe(4)
    await bench.checkRest()
    await bench.close()
  })

  it("between calls that create objects, which keep coming, and one that does not: it has its turn", async () => {
    const bench = await new Bench().open({ size: 1 })
    const [thread] = bench.platform.up
    const objects: Array<Fiber.Fiber<unknown, unknown>> = []
    const create = async (): Promise<void> => {
      objects.push(await bench.start(Effect.scoped(Effect.andThen(proxied("x"), Effect.never))))
    }
    thread!.stand(true)
    for (let i = 0; i < 3; i++) await create()
    // Nobody knows how long this takes: it is not sent ahead.
    const call = await bench.start(ThreadPool.execute(() => globalThis.workshop.later("a")))
    for (let i = 0; i < 10; i++) {
      await create()
      await thread!.takeOne()
      await bench.rest()
    }
    expect(globalThis.workshop.begun).toEqual(["a"])
    thread!.stand(false)
    await bench.endTasks()
    expect(succeeded(call)).toBe("a")
    for (const fiber of objects) fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between a long task and calls on an object of the same thread: what was sent behind the task goes elsewhere", async () => {
    const bench = await new Bench().open({ size: 2 })
    const { fiber, thing } = await held(bench, "x")
    // It is known to be short.
    for (let i = 0; i < 20; i++) await bench.run(shop.laterOrNow(undefined))
    const calls: Array<Fiber.Fiber<unknown, unknown>> = []
    for (const id of ["a", "b", undefined]) calls.push(await bench.start(shop.laterOrNow(id)))
    const threads = [...bench.core.threads]
    expect(threads.map(({ objects, unpinned }) => [objects, unpinned])).toEqual([
      [1, 2],
      [0, 1]
    ])
    globalThis.workshop.end(threads[1]!.withIt[0]!.args[0])
    for (let i = 0; i < 10; i++) {
      await bench.start(thing.name())
      await bench.world.advance(0.5)
    }
    expect(calls[2]!.pollUnsafe()?._tag).toBe("Success")
    await bench.endTasks()
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })

  it("between a drain of a pool without threads and calls on the calling thread that keep coming: it ends", async () => {
    const bench = await new Bench().open({ max: 0 })
    const first = await bench.start(ThreadPool.inline(later("a")))
    const drain = await bench.start(ThreadPool.drain)
    const second = await bench.start(ThreadPool.inline(later("b")))
    globalThis.workshop.end("a")
    await bench.rest()
    expect(drain.pollUnsafe()?._tag).toBe("Success")
    await bench.endTasks()
    expect([first, second].map(succeeded)).toEqual(["a", "b"])
    await bench.close()
  })

  it("between the end of an object's scope and that of the pool: nobody is warned of a disposal", async () => {
    const bench = await new Bench().open({ size: 1 })
    const lines: Array<unknown> = []
    const loggers = Logger.layer([Logger.make(({ message }) => void lines.push(message))])
    const scope = Scope.makeUnsafe()
    await bench.run(Effect.provide(Scope.provide(proxied("x"), scope), loggers))
    const task = await bench.start(later("a"))
    const closing = bench.startClosing()
    await bench.rest()
    await bench.world.run(Scope.close(scope, Exit.void))
    expect(lines).toEqual([])
    expect(closing.pollUnsafe(), "the task still runs").toBeUndefined()
    await bench.endTasks()
    succeeded(task)
    expect(closing.pollUnsafe()?._tag).toBe("Success")
    expect(bench.platform.up).toEqual([])
  })

  it("between the garbage that a remote became and its object's next coming: what is swept late takes nothing from the new one", async () => {
    const refs: Array<{ readonly of: object; isGone: boolean }> = []
    const swept: Array<() => void> = []
    vi.stubGlobal(
      "WeakRef",
      class {
        readonly ref: { readonly of: object; isGone: boolean }
        constructor(of: object) {
          refs.push((this.ref = { of, isGone: false }))
        }
        deref() {
          return this.ref.isGone ? undefined : this.ref.of
        }
      }
    )
    vi.stubGlobal(
      "FinalizationRegistry",
      class {
        private readonly sweep: (held: unknown) => void
        constructor(sweep: (held: unknown) => void) {
          this.sweep = sweep
        }
        register(_: object, held: unknown) {
          swept.push(() => this.sweep(held))
        }
      }
    )
    try {
      const bench = await new Bench().open({ size: 1 })
      const { fiber, thing } = await held(bench, "x", { autowrap: ["Thing"] })
      const friend = (): Promise<any> => bench.run(thing.asyncFriend())
      const old = await friend()
      const [index] = refs.flatMap(({ of }, i) => (of === old ? [i] : []))
      refs[index!]!.isGone = true
      const remote = await friend()
      expect(remote).not.toBe(old)
      swept[index!]!()
      await bench.rest()
      expect(await friend()).toBe(remote)
      expect(await bench.run(remote.name())).toBe("friend")
      fiber.interruptUnsafe()
      await bench.rest()
      for (const sweep of swept) sweep()
      await bench.rest()
      await bench.checkRest()
      await bench.close()
    } finally {
      vi.unstubAllGlobals()
    }
  })

  it("between tasks that do not stop and the start of new threads: stopped threads have not died young", async () => {
    const bench = await new Bench().open({ size: 1, killGrace })
    for (let i = 1; i <= 4; i++) {
      const task = await bench.start(later(i))
      task.interruptUnsafe()
      await bench.world.advance(killGrace)
      expect((await bench.stats()).killed).toBe(i)
      expect(bench.platform.up.length, "the next is there at once").toBe(1)
    }
    globalThis.workshop.waiting.clear()
    await bench.checkRest()
    await bench.close()
  })

  it("between threads that die young and one that ends calls: what died before does not count any more", async () => {
    const bench = await new Bench().open({ size: 2 })
    const task = await bench.start(later("a"))
    const busy = bench.platform.up.find(({ has }) => has.tasks > 0)!
    const dies = async (): Promise<void> => {
      bench.platform.up.find((thread) => thread !== busy)!.exit()
      await bench.rest()
    }
    await dies()
    expect((await bench.stats()).size, "it is replaced at once").toBe(2)
    await bench.endTasks()
    expect(succeeded(task)).toBe("a")
    await dies()
    expect(bench.platform.up.length, "and so is the next").toBe(2)
    // One more in a row, and there is a pause.
    await dies()
    expect(bench.platform.up.length).toBe(1)
    await bench.world.advance(100)
    expect(bench.platform.up.length).toBe(2)
    await bench.checkRest()
    await bench.close()
  })

  it("EV-88: between a drain and a call that waits for a thread to start: the call runs in it, and then the thread ends", async () => {
    const bench = await new Bench().open({ min: 0, max: 1 })
    bench.platform.starts = "held"
    const call = await bench.start(double(1))
    const [thread] = bench.platform.up
    const drain = await bench.start(ThreadPool.drain)
    thread!.stand(false)
    await bench.rest()
    expect(succeeded(call)).toBe(2)
    succeeded(drain)
    expect(thread!.state).toBe("gone")
    expect(bench.platform.threads.length, "no other was started for it").toBe(1)
    await bench.checkRest()
    await bench.close()
  })

  it("between an object that came twice and the garbage that its remote became: the thread keeps nothing of it", async () => {
    const bench = await new Bench().open({ size: 1 })
    const { fiber, thing } = await held(bench, "x", { autowrap: ["Thing"] })
    const [thread] = bench.platform.up
    const twice = Effect.gen(function* () {
      const first = yield* thing.asyncFriend()
      expect(yield* thing.asyncFriend()).toBe(first)
    })
    await bench.run(twice)
    expect(thread!.has.objects).toBe(2)
    for (let left = 1000; thread!.has.objects > 1 && left > 0; left--) {
      await Effect.runPromise(collectGarbage)
      await bench.rest()
    }
    expect(thread!.has.objects).toBe(1)
    expect(globalThis.workshop.disposed, "it is not the pool's").toEqual([])
    fiber.interruptUnsafe()
    await bench.rest()
    await bench.checkRest()
    await bench.close()
  })
})
