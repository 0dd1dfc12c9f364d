/**
 * Threads for work that would hold up the event loop: functions sent by their source, modules whose exports become
 * Effects and Streams, and objects that live in a thread.
 *
 * Which one to use:
 *
 * - {@link module} for code in a file of its own: the usual way, typed from the file
 * - {@link execute} for a few lines that need nothing but their arguments
 * - {@link proxy} for an object with a state, such as a parser or a database connection
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { NodeThreads, ThreadPool } from "@cenote/threads"
 *
 * const fibonacci = (n: number): number => {
 *   let [a, b] = [0, 1]
 *   for (let i = 0; i < n; i++) [a, b] = [b, a + b]
 *   return a
 * }
 *
 * const program = ThreadPool.execute(fibonacci, 50)
 *
 * await Effect.runPromise(Effect.provide(program, NodeThreads.layer({ size: 2 }))) // => 12586269025
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Spawner, WorkerPlatform } from "effect/workers/Worker"
import { Pool, type PoolEvent } from "@cenote/pool"
import * as PubSub from "effect/PubSub"
import { RemoteFunction } from "./internal/call.ts"
import { invoke } from "./internal/invocation.ts"
import * as internal from "./internal/make.ts"
import * as options_ from "./internal/options.ts"
import { insideOf } from "./internal/handle.ts"
import { makeMember } from "./internal/remotes.ts"
import * as report from "./internal/report.ts"
import * as service from "./internal/service.ts"
import { lastEvent } from "./internal/tally.ts"
import type { Remote, RemoteObject } from "./Remote.ts"
import type { Task } from "./Task.ts"
import { markMoved } from "./internal/clone.ts"
import type { SpawnFailed, ThreadError } from "./ThreadError.ts"
import type { ThreadEvent } from "./ThreadEvent.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * The thread pool of a program.
 *
 * @category services
 * @since 0.1.0
 */
export const ThreadPool = service.ThreadPool

/**
 * The thread pool of a program.
 *
 * @category services
 * @since 0.1.0
 */
export type ThreadPool = service.ThreadPool

/**
 * How a thread pool behaves. Everything has a default.
 *
 * **Gotchas**
 *
 * An option that makes no sense (`min` above `max`, a negative count, `NaN`) is a defect when the layer is built, whose
 * message names the option, its value and what is allowed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What errors, events and the registry call the pool. Default `"threads"`. */
  readonly name?: string | undefined
  /** Stands for `min` and `max` at once. */
  readonly size?: number | undefined
  /**
   * Threads that are kept up even when there is nothing to do. Default 1, so that the layer fails if a thread cannot
   * start; with 0 the first call starts the first thread. The layer is ready when the first thread is.
   */
  readonly min?: number | undefined
  /**
   * Threads that may be up at one time. With 0 there are none, and tasks run on the calling thread, after a
   * warning. Default: as many as the machine can run at one time.
   */
  readonly max?: number | undefined
  /**
   * Tasks that one thread may have under way at one time. Above 1 it means something for tasks that wait (promises,
   * Effects). Calls on objects do not count: each object has one under way at a time. Default 1.
   */
  readonly concurrency?: number | undefined
  /** Rest after which a thread above `min` ends. Default 60 s. */
  readonly idleTimeout?: Duration.Input | undefined
  /** Calls that may wait for a thread. One more fails with `QueueFull` at once. Default: no limit. */
  readonly maxQueue?: number | undefined
  /** How long a task may run; past it the call fails with `TaskTimeout`, and the task is told to stop. Default: no limit. */
  readonly taskTimeout?: Duration.Input | undefined
  /**
   * How long a task that was told to stop may go on before its thread is stopped. Default 5 s; `Infinity` never stops
   * one.
   */
  readonly killGrace?: Duration.Input | undefined
  /** Replaces a thread after so many tasks, or when so many bytes of its heap are in use. Default: never. */
  readonly recycle?: { readonly tasks?: number | undefined; readonly heap?: number | undefined } | undefined
  /** Modules that a thread loads before it is ready. One that throws fails the start of the thread. */
  readonly preload?: ReadonlyArray<URL | string> | undefined
  /** References whose values go with a call to tasks that are Effects. The values must be cloneable. */
  readonly references?: ReadonlyArray<Context.Reference<any>> | undefined
  /** How long a thread may take to start. Default 30 s. */
  readonly spawnTimeout?: Duration.Input | undefined
  /** Retries a start that failed. Default: 3 times, after 100, 200 and 400 ms. Then those who wait get `SpawnFailed`. */
  readonly spawnRetry?: Schedule.Schedule<unknown> | undefined
  /**
   * How long closing waits for tasks that somebody waits for, before their threads are stopped. Tasks that nobody waits for
   * have one second for their finalizers. Default 30 s.
   */
  readonly closeTimeout?: Duration.Input | undefined
  /** Logs each task that fails, as an error. Default `false`. */
  readonly logFailures?: boolean | undefined
}

/**
 * What a task of type `A` gives the caller: an Effect, or a Stream when it is a generator or a Stream.
 *
 * @category models
 * @since 0.1.0
 */
export type Result<A, R = never> = [A] extends [never]
  ? Effect.Effect<never, ThreadError, R>
  : // An `any` stays one Effect.
    0 extends 1 & A
    ? Effect.Effect<any, ThreadError, R>
    : [A] extends [Stream.Stream<infer Item, infer E, infer Needs>]
      ? Satisfied<Needs, Stream.Stream<Item, E | ThreadError, R>>
      : [A] extends [Effect.Effect<infer Value, infer E, infer Needs>]
        ? Satisfied<Needs, Effect.Effect<Value, E | ThreadError, R>>
        : [A] extends [Generator<infer Item> | AsyncGenerator<infer Item>]
          ? Stream.Stream<Item, ThreadError, R>
          : [A] extends [Promise<infer Value>]
            ? Result<Value, R>
            : Effect.Effect<Awaited<A>, ThreadError, R>

/** A task may need the thread pool, and nothing else. */
type Satisfied<Needs, A> = [Exclude<Needs, ThreadPool>] extends [never]
  ? A
  : NeedsServices<Exclude<Needs, ThreadPool>>

/**
 * Stands for a task that needs services: a thread has none of those of the program. Provide them in the module.
 *
 * @category models
 * @since 0.1.0
 */
export interface NeedsServices<in out Needs> {
  readonly "provide these services in the module": (_: Needs) => Needs
}

/**
 * An argument as it is, or a remote that stands for it where the call goes to the thread of that remote.
 *
 * @category models
 * @since 0.1.0
 */
export type Argument<A> = A extends object ? A | RemoteObject<A> : A

/**
 * The arguments of a call. See {@link Argument}.
 *
 * @category models
 * @since 0.1.0
 */
export type Arguments<Args extends ReadonlyArray<unknown>> = { [I in keyof Args]: Argument<Args[I]> }

/**
 * The exports of a module, in a thread: functions give Effects or Streams, everything else is an Effect that reads it.
 *
 * @category models
 * @since 0.1.0
 */
export type Module<M> = 0 extends 1 & M
  ? any
  : {
      readonly [K in keyof M]-?: 0 extends 1 & M[K]
        ? any
        : [NonNullable<M[K]>] extends [never]
          ? Result<M[K], ThreadPool>
          : NonNullable<M[K]> extends (...args: infer Args extends ReadonlyArray<any>) => infer A
            ? (...args: Arguments<Args>) => Result<A, ThreadPool>
            : M[K] extends abstract new (...args: any) => any
              ? ExportedClass<M[K]>
              : Result<M[K], ThreadPool>
    } & ModuleOf<M>

/**
 * What all modules have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface ModuleOf<out M> {
  readonly "~cenote/threads/Module": (_: never) => M
}

/**
 * A class that a module exports: its instances are had by {@link proxy}, it does not cross itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExportedClass<in out C> {
  readonly "make instances with ThreadPool.proxy": (_: C) => C
}

/** The names of the classes that a module exports. */
type ClassNames<M> = { [K in keyof M]: M[K] extends new (...args: any) => any ? K : never }[keyof M] & string

type InstanceOf<C> = C extends abstract new (...args: any) => infer A ? A : never

/** What {@link proxy} takes after the name of a class: the arguments may be left out where the constructor needs none. */
type ForConstructor<C, Options> = C extends new (...args: infer Args extends ReadonlyArray<any>) => any
  ? [] extends Args
    ? [args?: Arguments<Args>, options?: Options]
    : [args: Arguments<Args>, options?: Options]
  : never

/**
 * Which results of an object stay in its thread, and come as remotes of their own.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProxyOptions<Class extends string = string, Name extends string = string> {
  /** Instances of these classes, and of classes that extend them. */
  readonly autowrap?: ReadonlyArray<Class> | undefined
  /** What these methods and properties give. */
  readonly autowrapNames?: ReadonlyArray<Name> | undefined
}

/** The instances of those classes of a module that are named. */
type Wrapped<M, Class extends string> = Class extends keyof M ? InstanceOf<M[Class]> : never

/**
 * One thread at one moment. Durations are in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface ThreadStats {
  readonly thread: number
  /** `retiring`: it ends when it has nothing to do. `quarantined`: a task that must not be killed does not stop. */
  readonly state: "idle" | "busy" | "retiring" | "quarantined"
  /** Calls that are with it. */
  readonly running: number
  /** Objects in it that somebody refers to. */
  readonly objects: number
  /** Total of calls that it has ended. */
  readonly ended: number
  readonly age: number
  /** How long it has had something to do. */
  readonly busy: number
  /** Share of its age in which it had something to do, from 0 to 1. */
  readonly utilisation: number
  /** Bytes, where `recycle.heap` asks for them. */
  readonly heapUsed: number | undefined
}

/**
 * A thread pool at one moment: threads as in any pool (`size = idle + used + creating + closing`), where a thread is
 * `used` while it has calls or objects, and calls. `pending` calls wait for a thread. Durations are totals in
 * milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats extends Pool.Stats {
  readonly threads: ReadonlyArray<ThreadStats>
  /** Calls that are with threads. */
  readonly running: number
  /**
   * Total of calls. Each is `pending`, or `running`, or has `succeeded`, `failed`, been `interrupted`, `timedOut`, `crashed`
   * or been `rejected`. (A call that was interrupted or timed out counts as `running` too until its task has stopped.)
   */
  readonly calls: number
  readonly succeeded: number
  readonly failed: number
  readonly interrupted: number
  readonly timedOut: number
  /** Calls that failed because their thread ended. */
  readonly crashed: number
  /** Calls that were turned away: `maxQueue`, a closed pool, no thread to be had, an object that is gone. */
  readonly rejected: number
  /** Calls that went back to the line because the thread that had them stood still, or ended. */
  readonly moved: number
  /** Threads that ended without being told to. */
  readonly crashes: number
  /** Threads that were stopped because a task did not stop, or because the pool closed. */
  readonly killed: number
  /** Threads that were put into quarantine. */
  readonly quarantined: number
  readonly waited: number
  readonly ran: number
  readonly transport: number
}

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * A thread pool over a platform's workers, which must run what `@cenote/threads/worker` runs: worker threads, whose messages
 * are structured clones. `NodeThreads.layer` is this over those of Node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<ThreadPool, SpawnFailed, WorkerPlatform | Spawner> =>
  Layer.effect(ThreadPool, internal.make(options, parallelism()))

/** How many threads the machine can run at one time. */
const parallelism = (): number => globalThis.navigator?.hardwareConcurrency ?? 4

/**
 * A thread pool without threads: everything runs on the calling thread, and all else is as in any thread pool. Arguments
 * and results are copied, errors come as they would from a thread. For tests, and for places that have no threads.
 *
 * **Gotchas**
 *
 * A task that never gives up the thread holds up everything, and cannot be stopped.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ThreadPool } from "@cenote/threads"
 *
 * const program = ThreadPool.execute((a: number, b: number) => a + b, 1, 2)
 *
 * await Effect.runPromise(Effect.provide(program, ThreadPool.layerInline)) // => 3
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerInline: Layer.Layer<ThreadPool> = Layer.effect(
  ThreadPool,
  internal.makeInline({ name: "inline" })
)

// -----------------------------------------------------------------------------
// Calls
// -----------------------------------------------------------------------------

/**
 * Runs a function in a thread. Its source is sent, and compiled once in each thread. As `this` a `function` gets the
 * {@link Task}.
 *
 * **Gotchas**
 *
 * The function can use its arguments and globals, and nothing else: what is outside of it stays here. A name that it uses
 * and that is not there fails as `TaskFailed`, which tells the name. Code that needs imports goes into a {@link module}.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { NodeThreads, ThreadPool } from "@cenote/threads"
 *
 * const program = ThreadPool.execute((text: string, times: number) => text.repeat(times), "ab", 3)
 *
 * await Effect.runPromise(Effect.provide(program, NodeThreads.layer())) // => "ababab"
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const execute = <Args extends ReadonlyArray<unknown>, A>(
  f: (this: Task, ...args: Args) => A,
  ...args: Arguments<Args>
): Result<A, ThreadPool> => {
  const target = functionFor(f)
  return invoke({ pool: undefined, target, name: target.name, args }) as never
}

/** What a function is known by in threads, so that it is sent once. */
const functions = new WeakMap<Function, RemoteFunction>()
/** The same by source: a function that is written in place is a new one each time. */
const bySource = new Map<string, RemoteFunction>()
const mostSources = 1000

const functionFor = (f: Function): RemoteFunction => {
  let known = functions.get(f)
  if (known === undefined) {
    if (typeof f !== "function") {
      throw new TypeError(`ThreadPool.execute was given ${format(f)}, but it must be a function`)
    }
    const source = Function.prototype.toString.call(f)
    known = bySource.get(source)
    if (known === undefined) {
      const name = typeof f.name === "string" && f.name !== "" ? f.name : "anonymous function"
      known = new RemoteFunction({ kind: "source", name, source }, name)
      // Sources that a program makes up as it goes must not pile up here.
      if (bySource.size >= mostSources) bySource.delete(bySource.keys().next().value!)
      bySource.set(source, known)
    }
    functions.set(f, known)
  }
  return known
}

/**
 * The exports of a module, to be run in threads. Nothing is loaded here; each thread loads the module with the first call.
 *
 * **Details**
 *
 * A function gives an Effect, whether it is plain, async, or gives an Effect itself, whose typed error then comes out as
 * the same error, and whose interruption is passed on. A generator, an async generator or a function that gives a Stream
 * is a Stream here, in batches, and no more is made than is asked for. Any other export is an Effect that reads it.
 *
 * **Gotchas**
 *
 * Classes of errors do not cross, their names and fields do: match with `Effect.catchTag`, not with `instanceof`.
 *
 * An exported function is an Effect too, as it might have been a value. `Effect.andThen(hash.sha256)` takes it for one; write
 * `Effect.flatMap(hash.sha256)`.
 *
 * Of an overloaded function the last overload counts, and type parameters are lost.
 *
 * **Example**
 *
 * ```ts file=hash.ts
 * import { createHash } from "node:crypto"
 *
 * export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")
 * ```
 *
 * ```ts
 * import { Effect } from "effect"
 * import { NodeThreads, ThreadPool } from "@cenote/threads"
 *
 * const hash = ThreadPool.module<typeof import("./hash.ts")>(new URL("./hash.ts", import.meta.url))
 *
 * const digest = await Effect.runPromise(Effect.provide(hash.sha256("data"), NodeThreads.layer()))
 * digest.slice(0, 8) // => "3a6eb079"
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const module = <M extends object>(url: URL | string): Module<M> => {
  const href = options_.addressOf(url)
  // In front of the table of all exports, whose keys are long.
  const members = new Map<string, unknown>()
  return new Proxy(Object.create(null) as object, {
    get(_, key) {
      const known = typeof key === "string" ? members.get(key) : undefined
      if (known !== undefined) return known
      if (key === urlKey) return href
      if (key === Symbol.toPrimitive) return () => `Module<${href}>`
      if (typeof key === "symbol" || key === "then" || key === "toJSON") return undefined
      const member = exported(href, key)
      members.set(key, member)
      return member
    },
    has: (_, key) => key === urlKey,
    set() {
      throw new TypeError(`the exports of ${href} cannot be assigned to`)
    }
  }) as Module<M>
}

const urlKey = Symbol("url")

/** One for each export, however often its module is made: what is known of it is known to all. */
const exports = new Map<string, unknown>()

const exported = (url: string, key: string): unknown => {
  const id = `${url}#${key}`
  let member = exports.get(id)
  if (member === undefined) {
    const name = id.slice(url.lastIndexOf("/") + 1)
    const call = new RemoteFunction({ kind: "export", url, name: key }, name)
    const read = new RemoteFunction({ kind: "value", url, name: key }, name)
    member = makeMember(
      (...args) => invoke({ pool: undefined, target: call, name, args }),
      () => invoke({ pool: undefined, target: read, name, args: [] })
    )
    exports.set(id, member)
  }
  return member
}

/**
 * Makes an object in a thread. It lives there until the scope closes, and its calls run there one after the other.
 *
 * **Details**
 *
 * When the scope closes, an object that has `Symbol.asyncDispose` or `Symbol.dispose` is disposed of, and the scope waits
 * for it as long as `killGrace` allows. When its thread ends,
 * calls fail with `StaleRemote`. Handed to another call it goes there as the object, if the call can go to its thread.
 *
 * @category calls
 * @since 0.1.0
 */
export const proxy: {
  <
    M extends object,
    K extends ClassNames<M>,
    const Class extends string = never,
    const Name extends string = never
  >(
    module: ModuleOf<M>,
    className: K,
    ...rest: ForConstructor<M[K], ProxyOptions<Class, Name>>
  ): Effect.Effect<
    Remote<InstanceOf<M[K]>, Wrapped<M, Class>, string extends Name ? never : Name>,
    ThreadError,
    ThreadPool | Scope.Scope
  >
  <M extends object, K extends ClassNames<M> = ClassNames<M>>(
    url: URL | string,
    className: K,
    ...rest: ForConstructor<M[K], ProxyOptions>
  ): Effect.Effect<Remote<InstanceOf<M[K]>>, ThreadError, ThreadPool | Scope.Scope>
} = (
  from: URL | string | object,
  className: string,
  args: ReadonlyArray<unknown> = [],
  { autowrap = [], autowrapNames = [] }: ProxyOptions = {}
): Effect.Effect<any, ThreadError, ThreadPool | Scope.Scope> => {
  const url =
    typeof from === "string" || from instanceof URL
      ? options_.addressOf(from)
      : ((from as any)[urlKey] as string)
  const wrap =
    autowrap.length === 0 && autowrapNames.length === 0
      ? undefined
      : { types: autowrap, names: autowrapNames }
  const make = invoke({
    pool: undefined,
    target: { op: "create", url, name: className, wrap },
    name: `new ${className}`,
    args
  }) as Effect.Effect<unknown, ThreadError, ThreadPool>
  return Effect.uninterruptibleMask((restore) => Effect.acquireRelease(restore(make), disposeOf))
}

const disposeOf = (remote: unknown): Effect.Effect<void> => {
  const inside = insideOf(remote)
  return inside === undefined ? Effect.void : inside.core.dispose(inside.handle)
}

/**
 * Moves what is in a value (buffers, ports, streams) to the other thread, instead of copying it, when the value is an
 * argument of a call, or in one. It cannot be used here afterwards. Gives the value itself.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { NodeThreads, ThreadPool } from "@cenote/threads"
 *
 * const bytes = new Uint8Array(1_000_000)
 * const program = ThreadPool.execute((bytes: Uint8Array) => bytes.length, ThreadPool.move(bytes))
 *
 * await Effect.runPromise(Effect.provide(program, NodeThreads.layer())) // => 1000000
 * bytes.length // => 0
 * ```
 *
 * @category calls
 * @since 0.1.0
 */
export const move = <A>(value: A): A => markMoved(value)

/**
 * Runs the calls of an effect on the calling thread.
 *
 * @category calls
 * @since 0.1.0
 */
export const inline: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> =
  Effect.provideService(service.Inline, true)

/**
 * Marks the calls of an effect as unsafe to kill, as native code is: when such a task does not stop within `killGrace`,
 * its thread gets no more calls and is replaced, and ends by itself after the task.
 *
 * @category calls
 * @since 0.1.0
 */
export const unkillable: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> =
  Effect.provideService(service.Unkillable, true)

/**
 * The same for calls that are read as a Stream.
 *
 * @category calls
 * @since 0.1.0
 */
export const unkillableStream: <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R> =
  Stream.provideService(service.Unkillable, true)

/**
 * Marks the calls of an effect as such that wait for something outside of the thread and hold up nobody in it meanwhile, as a
 * query to a server does: `taskTimeout` does not count for them, and one that does not stop when it is told to is never a
 * reason to stop its thread, which others may be using.
 *
 * @category calls
 * @since 0.1.0
 */
export const patient: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> =
  Effect.provideService(service.Patient, true)

/**
 * The same for calls that are read as a Stream.
 *
 * @category calls
 * @since 0.1.0
 */
export const patientStream: <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R> =
  Stream.provideService(service.Patient, true)

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

/**
 * Changes how many threads there are, at once. Tasks under way end. A plain number is the new `max`, and lowers `min`
 * where that is above it; with 0, tasks run on the calling thread.
 *
 * @category operations
 * @since 0.1.0
 */
export const resize = (
  limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
): Effect.Effect<void, never, ThreadPool> =>
  Effect.flatMap(service.coreInContext, (core) => {
    const given = typeof limits === "object" && limits !== null ? limits : { max: limits }
    const { max, min } = options_.limits(core.name, given, core)
    return core.resize(min, max)
  })

/**
 * Lets everything that was submitted before end, and then the threads; their objects and open Streams go with them. Calls that come
 * meanwhile wait. The next call starts threads again. A task that nobody waits for, and that does not stop, is
 * waited for as long as `killGrace` says.
 *
 * @category operations
 * @since 0.1.0
 */
export const drain: Effect.Effect<void, never, ThreadPool> = Effect.flatMap(service.coreInContext, (core) =>
  core.drain()
)

/**
 * The figures of the pool at this moment.
 *
 * @category observing
 * @since 0.1.0
 */
export const stats: Effect.Effect<Stats, never, ThreadPool> = Effect.flatMap(
  service.coreInContext,
  report.stats
)

/**
 * What happens in the pool from now on: its threads come and go as the resources of a pool (`Created`, `Closed`,
 * `CreateFailed`, `Resized`), and calls end. Nothing is spent on events while nobody listens; a listener that is more
 * than 1,024 behind loses the oldest.
 *
 * @category observing
 * @since 0.1.0
 */
export const events: Stream.Stream<PoolEvent.PoolEvent | ThreadEvent, never, ThreadPool> = Stream.unwrap(
  Effect.map(service.coreInContext, (core) => {
    const ofCalls: Stream.Stream<ThreadEvent> = Stream.unwrap(
      Effect.acquireRelease(
        Effect.map(PubSub.subscribe(core.tally.events), (subscription) => {
          core.tally.listeners++
          return Stream.takeWhile(Stream.fromSubscription(subscription), (event) => event !== lastEvent)
        }),
        () => Effect.sync(() => core.tally.listeners--)
      )
    )
    const ofThreads = Stream.filter(
      Pool.events(core.pool),
      (event) => event._tag !== "Borrowed" && event._tag !== "Returned"
    )
    return Stream.merge(ofCalls, ofThreads)
  })
)
