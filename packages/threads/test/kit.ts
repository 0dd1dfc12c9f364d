/**
 * What the tests of thread pools are made with: the places where tasks can run, numbers that tests and threads share,
 * and ways to wait for what happens in another thread.
 */
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { Cause, Clock, Effect, Exit, type Fiber, type Scope, type Layer, Logger, References } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

// -----------------------------------------------------------------------------
// Places
// -----------------------------------------------------------------------------

/** Where tasks can run. */
export interface Place {
  readonly name: string
  readonly layer: Layer.Layer<ThreadPool.ThreadPool, unknown>
}

/** A thread pool without threads is to do what one with threads does: what holds for both is tested in both. */
export const places: ReadonlyArray<Place> = [
  { name: "in threads", layer: NodeThreads.layer({ size: 2, name: "test" }) },
  { name: "on the calling thread", layer: ThreadPool.layerInline }
]

/**
 * Runs a program over a pool. Its scope closes before the pool does, which closes before the test ends. What is called
 * by names that types do not know needs `unknown`: should it be anything else, it shows when it runs.
 */
export const over =
  (layer: Layer.Layer<ThreadPool.ThreadPool, unknown>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, unknown> =>
    Effect.provide(Effect.scoped(effect), layer) as Effect.Effect<A, unknown>

/** Runs a program over threads of Node. */
export const overThreads = (options?: NodeThreads.Options) =>
  over(NodeThreads.layer({ size: 1, name: "test", ...options }))

/** The address of a module of the tests. */
export const moduleUrl = (name: string): URL => new URL(`./modules/${name}.ts`, import.meta.url)

// -----------------------------------------------------------------------------
// Waiting
// -----------------------------------------------------------------------------

/** How long a test waits at most for what must happen. */
const bound = 20_000

/** Waits until something holds. Dies when it does not come to hold. */
export const eventually = <E = never, R = never>(
  what: string,
  holds: (() => boolean) | Effect.Effect<boolean, E, R>
): Effect.Effect<void, E, R> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const until = clock.currentTimeMillisUnsafe() + bound
    while (!(yield* typeof holds === "function" ? Effect.sync(holds) : holds)) {
      if (clock.currentTimeMillisUnsafe() > until) {
        return yield* Effect.die(new Error(`it did not come about within ${bound} ms: ${what}`))
      }
      yield* Effect.sleep(1)
    }
  })

/** The same for the statistics of the pool. */
export const eventuallyStats = (
  what: string,
  holds: (stats: ThreadPool.Stats) => boolean
): Effect.Effect<void, never, ThreadPool.ThreadPool> => eventually(what, Effect.map(ThreadPool.stats, holds))

/** Numbers that tests and threads share. Every wait for one has a bound, so that a test that fails also ends. */
export class Shared {
  readonly cells: Int32Array<SharedArrayBuffer>

  constructor(count = 1) {
    this.cells = new Int32Array(new SharedArrayBuffer(4 * count))
  }

  get(index = 0): number {
    return Atomics.load(this.cells, index)
  }

  /** Sets a number, and wakes up whoever waits for it. */
  set(value: number, index = 0): void {
    Atomics.store(this.cells, index, value)
    Atomics.notify(this.cells, index)
  }

  /** Waits until a thread has set a number. */
  until(value: number, index = 0): Effect.Effect<void> {
    return eventually(`cell ${index} is ${value}`, () => this.get(index) === value)
  }
}

/** Starts an effect that ends with the scope at the latest. */
export const start = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.Fiber<A, E>, never, R | Scope.Scope> =>
  Effect.forkScoped(effect, { startImmediately: true })

// -----------------------------------------------------------------------------
// Outcomes
// -----------------------------------------------------------------------------

/** What an effect failed with. Whatever else it ends in fails the test. */
export const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) throw new Error("it succeeded, where it should have failed")
    const reason = exit.cause.reasons.find(Cause.isFailReason)
    if (reason === undefined) {
      throw new Error(`it did not fail, where it should have: ${Cause.pretty(exit.cause)}`)
    }
    return reason.error
  })

/** The same, with an error of one kind. Another kind fails the test, and is shown. */
export const failureAs =
  <Tag extends string>(tag: Tag) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Extract<E, { readonly _tag: Tag }>, never, R> =>
    Effect.map(failureOf(effect), (error) => {
      if ((error as { readonly _tag?: unknown } | undefined)?._tag === tag) return error as never
      throw new Error(`it should have failed with ${tag}, and failed with ${String(error)}`)
    })

export const taskFailed = failureAs("TaskFailed")

/** What an effect died with. */
export const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Error, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) throw new Error("it succeeded, where it should have died")
    const reason = exit.cause.reasons.find(Cause.isDieReason)
    if (reason === undefined) {
      throw new Error(`it failed, where it should have died: ${Cause.pretty(exit.cause)}`)
    }
    return reason.defect as Error
  })

/** A log line. */
export interface Line {
  readonly level: string
  readonly text: string
  readonly annotations: Readonly<Record<string, unknown>>
  readonly spans: ReadonlyArray<string>
  readonly cause: string
}

/** The lines that are logged while an effect runs. */
export const logged = (): { readonly lines: ReadonlyArray<Line>; readonly layer: Layer.Layer<never> } => {
  const lines: Array<Line> = []
  const logger = Logger.make<unknown, void>(({ cause, fiber, logLevel, message }) => {
    lines.push({
      level: logLevel,
      text: (Array.isArray(message) ? message : [message])
        .map((part) => (typeof part === "string" ? part : JSON.stringify(part)))
        .join(" "),
      annotations: fiber.getRef(References.CurrentLogAnnotations),
      spans: fiber.getRef(References.CurrentLogSpans).map(([label]) => label),
      cause: cause.reasons.length === 0 ? "" : Cause.pretty(cause)
    })
  })
  return { lines, layer: Logger.layer([logger]) }
}

// -----------------------------------------------------------------------------
// Garbage
// -----------------------------------------------------------------------------

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

/** Collects what nobody refers to, and lets those run who want to know. */
export const collectGarbage: Effect.Effect<void> = Effect.andThen(
  Effect.sync(() => gc()),
  Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
)
