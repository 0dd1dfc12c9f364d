/**
 * What the tests of faults and of the life of thread pools have besides the kit: real time under a test clock, a pool
 * that a test closes itself, entries that come and go, and who listens.
 */
import { NodeThreads, ThreadPool, type ThreadEvent } from "@cenote/threads"
import type { PoolEvent } from "@cenote/pool"
import { Clock, Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Worker } from "node:worker_threads"
import { start } from "./kit.ts"

export const faulty = ThreadPool.module<typeof import("./modules/faulty.ts")>(
  new URL("./modules/faulty.ts", import.meta.url)
)

// -----------------------------------------------------------------------------
// Waiting
// -----------------------------------------------------------------------------

/** How long a test waits at most for what must happen. */
const bound = 20_000

const realClock = Context.get(Context.empty(), Clock.Clock)

/** Runs an effect in real time, whatever the clock of the test is: threads live in real time. */
const inRealTime: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  Clock.Clock,
  realClock
)

/** Waits until something holds. Dies when it does not come to hold. */
export const eventually = <E = never, R = never>(
  what: string,
  holds: (() => boolean) | Effect.Effect<boolean, E, R>
): Effect.Effect<void, E, R> =>
  Effect.gen(function* () {
    const until = realClock.currentTimeMillisUnsafe() + bound
    while (!(yield* typeof holds === "function" ? Effect.sync(holds) : holds)) {
      if (realClock.currentTimeMillisUnsafe() > until) {
        return yield* Effect.die(new Error(`it did not come about within ${bound} ms: ${what}`))
      }
      yield* inRealTime(Effect.sleep(1))
    }
  })

export const eventuallyStats = (
  what: string,
  holds: (stats: ThreadPool.Stats) => boolean
): Effect.Effect<void, never, ThreadPool.ThreadPool> => eventually(what, Effect.map(ThreadPool.stats, holds))

/** Waits for an effect, and dies instead of hanging. The effect is not interrupted: it may not let itself be. */
export const within = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
    Effect.flatten(
      Effect.map(inRealTime(Effect.timeoutOption(Fiber.await(fiber), bound)), (exit): Effect.Effect<A, E> =>
        exit._tag === "Some"
          ? exit.value
          : Effect.die(new Error(`it had not ended after ${bound} ms: ${what}`))
      )
    )
  )

/** Lets the event loop go round once. */
export const turn: Effect.Effect<void> = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** Lets everything run for a moment that could run. For what must not happen: a wait for it would have no end. */
export const moment: Effect.Effect<void> = inRealTime(Effect.sleep(100))

/** Numbers that a test and its tasks share: tasks raise some, and wait for others. */
export class Cells {
  readonly shared: Int32Array<SharedArrayBuffer>

  constructor(count = 16) {
    this.shared = new Int32Array(new SharedArrayBuffer(4 * count))
  }

  /** How often a cell has been raised. */
  get(index: number): number {
    return Atomics.load(this.shared, index)
  }

  raise(index: number): void {
    Atomics.add(this.shared, index, 1)
    Atomics.notify(this.shared, index)
  }

  /** Waits until a cell has been raised that often. */
  raised(index: number, times = 1): Effect.Effect<void> {
    return eventually(`cell ${index} is ${times} (it is ${this.get(index)})`, () => this.get(index) >= times)
  }

  slice(from: number, to: number): ReadonlyArray<number> {
    return Array.from(this.shared.slice(from, to))
  }
}

// -----------------------------------------------------------------------------
// Pools
// -----------------------------------------------------------------------------

/** A pool that the test closes itself. */
export interface Open {
  readonly use: <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, Exclude<R, ThreadPool.ThreadPool>>
  /** Closes it, and waits until it is closed. */
  readonly close: Effect.Effect<void>
}

/** Opens a pool, which is closed with the test at the latest. */
export const open = (options: NodeThreads.Options): Effect.Effect<Open, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    // Whoever watches workers hears of their end in the same turn, and perhaps after the pool.
    const close = Effect.andThen(within("closing the pool", Scope.close(scope, Exit.void)), turn)
    yield* Effect.addFinalizer(() => close)
    const context = yield* Layer.buildWithScope(NodeThreads.layer({ name: "test", ...options }), scope)
    return { use: Effect.provideContext(context) as Open["use"], close }
  })

/** Makes calls until every thread knows the function, and until it has been short for a while, so that calls are sent ahead. */
export const makeShort = <A, E, R>(
  call: Effect.Effect<A, E, R>
): Effect.Effect<void, E, R | ThreadPool.ThreadPool> =>
  Effect.gen(function* () {
    yield* Effect.all(
      Array.from({ length: 100 }, () => call),
      { concurrency: "unbounded" }
    )
    const ran = Effect.map(ThreadPool.stats, (_) => _.ran)
    for (let before = yield* ran, i = 0; i < 500; i++) {
      for (let n = 0; n < 40; n++) yield* call
      const now = yield* ran
      // What counts is the longest of late.
      if (now - before < shortEnough) return
      before = now
    }
  })

/** Milliseconds. */
const shortEnough = 0.12

// -----------------------------------------------------------------------------
// Entries
// -----------------------------------------------------------------------------

const workerUrl = new URL("../src/worker.ts", import.meta.url).href

/** What a thread runs, in a file of its own that comes and goes as the test wants. */
export class Entry {
  readonly url: URL

  constructor(folder: string) {
    this.url = pathToFileURL(join(folder, "entry.mjs"))
  }

  /** Writes the file: `before` and `after` what threads run as a rule. */
  write({ after = "", before = "", runs = true }: { before?: string; after?: string; runs?: boolean }): void {
    writeFileSync(
      this.url,
      `${before}\n${runs ? `await import(${JSON.stringify(workerUrl)})` : ""}\n${after}\n`
    )
  }

  remove(): void {
    rmSync(this.url, { force: true })
  }
}

/** An entry that is not there. */
export const makeEntry: Effect.Effect<Entry, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "cenote-threads-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => new Entry(folder)
)

// -----------------------------------------------------------------------------
// Observing
// -----------------------------------------------------------------------------

type Event = PoolEvent.PoolEvent | ThreadEvent.ThreadEvent
type Tag = Event["_tag"]

/** Somebody who hears all that happens in a pool. */
export class Listener {
  readonly heard: Array<Event> = []

  of<T extends Tag>(tag: T): ReadonlyArray<Extract<Event, { readonly _tag: T }>> {
    return this.heard.filter((event) => event._tag === tag) as never
  }

  /** Waits until as many of a kind have been heard. */
  hears(tag: Tag, times = 1): Effect.Effect<void> {
    return eventually(
      `${times} ${tag} (heard ${this.heard.map((event) => event._tag).join()})`,
      () => this.of(tag).length >= times
    )
  }
}

/** Listens to the pool from now on. */
export const listen: Effect.Effect<Listener, never, ThreadPool.ThreadPool | Scope.Scope> = Effect.suspend(
  () => {
    const listener = new Listener()
    return Stream.runForEach(ThreadPool.events, (event) =>
      Effect.sync(() => listener.heard.push(event))
    ).pipe(start, Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 40 })), Effect.as(listener))
  }
)

/** The worker threads that are started from now on, and that live: as Node tells it, and not the pool. */
export class Workers {
  readonly alive = new Set<Worker>()
  /** `+` for each that was started, `-` for each that has ended, in order. */
  history = ""
}

export const watchWorkers: Effect.Effect<Workers, never, Scope.Scope> = Effect.suspend(() => {
  const workers = new Workers()
  const onWorker = (worker: Worker): void => {
    workers.alive.add(worker)
    workers.history += "+"
    worker.once("exit", () => {
      workers.alive.delete(worker)
      workers.history += "-"
    })
  }
  return Effect.as(
    Effect.acquireRelease(
      Effect.sync(() => process.on("worker", onWorker)),
      () => Effect.sync(() => process.off("worker", onWorker))
    ),
    workers
  )
})

// -----------------------------------------------------------------------------
// Processes
// -----------------------------------------------------------------------------

/** How a process ended, and what it said. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly out: string
  readonly err: string
}

/** Runs one of the programs in a process of its own. One that does not end is killed, and told by its signal. */
export const runProgram = (name: string, ...args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const program = fileURLToPath(new URL("./modules/program.ts", import.meta.url))
    const child = spawn(process.execPath, [program, name, ...args], { stdio: ["ignore", "pipe", "pipe"] })
    const kill = (): boolean => child.kill("SIGKILL")
    const timer = setTimeout(kill, 30_000)
    let out = ""
    let err = ""
    child.stdout.on("data", (data) => (out += data))
    child.stderr.on("data", (data) => (err += data))
    child.on("close", (code, signal) => {
      clearTimeout(timer)
      resume(Effect.succeed({ code, signal, out, err }))
    })
    return Effect.sync(() => {
      clearTimeout(timer)
      kill()
    })
  })
