/**
 * The pools of a program, for whatever watches them: metrics, dashboards, tests.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import type { Lease, Stats, Waiter } from "./Pool.ts"
import type { PoolEvent } from "./PoolEvent.ts"

/**
 * What sort of pool an entry stands for.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "pool" | "tokens" | "keyed" | "threads" | "connections"

/**
 * What a pool tells about itself, and what can be done to it from outside.
 *
 * @category models
 * @since 0.1.0
 */
export interface Description {
  readonly kind: Kind
  readonly name: string
  /** How it was made, as a person reads it: `{ max: 10, acquireTimeout: "5s" }`. What was left to a default of "never", or does nothing in this pool, is missing. */
  readonly options: Readonly<Record<string, string | number | boolean>>
  readonly stats: Effect.Effect<Stats>
  /** Who holds what, the longest first; at most `limit` of them. */
  readonly leases: (limit?: number) => Effect.Effect<ReadonlyArray<Lease<unknown>>>
  /** Who is in line, the head first; at most `limit` of them. */
  readonly waiters: (limit?: number) => Effect.Effect<ReadonlyArray<Waiter>>
  readonly events: Stream.Stream<PoolEvent>
  /** Has the pool call a recorder until the scope closes. A pool without one spends nothing on it. */
  readonly record: (recorder: Recorder) => Effect.Effect<void, never, Scope.Scope>
  /** What this kind of pool can be told to do. */
  readonly actions: Actions
  /** Of a thread pool: its threads. */
  readonly threads?: Effect.Effect<Threads> | undefined
}

/**
 * What a pool tells as it happens, on the stack of whoever borrows or gives back: a method must be quick, must not throw, and must
 * not call the pool. For all else there are `events`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recorder {
  /** A borrower got what it had asked for, after so many milliseconds in line: 0 when it did not have to wait. */
  readonly waited: (millis: number) => void
  /** A borrower gave back, after so many milliseconds. Whole ones: the clock that loans are measured by has no finer. */
  readonly used: (millis: number) => void
  /** Whatever else happened: all events except those that each borrow has (`Borrowed`, `Returned`, `WaitStarted`, `WaitCancelled`). */
  readonly told: (event: Occurrence) => void
}

/**
 * A {@link PoolEvent}, or an event that only some kind of pool has.
 *
 * @category models
 * @since 0.1.0
 */
export interface Occurrence {
  readonly _tag: string
  readonly pool: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/**
 * What a pool can be told to do from outside. What is missing makes no sense for its kind.
 *
 * @category models
 * @since 0.1.0
 */
export interface Actions {
  readonly resize?: (limits: {
    readonly min?: number | undefined
    readonly max?: number | undefined
  }) => Effect.Effect<void>
  /** Everything that exists now is closed: at rest at once, on loan when it comes back. */
  readonly recycle?: Effect.Effect<void>
  readonly suspend?: Effect.Effect<void>
  readonly resume?: Effect.Effect<void>
  /** Closes everything at rest, and says how many that were. */
  readonly evict?: Effect.Effect<number>
}

/**
 * The threads of a thread pool.
 *
 * @category models
 * @since 0.1.0
 */
export interface Threads {
  /** Totals of calls, by how they ended. */
  readonly calls: Readonly<Record<string, number>>
  readonly each: ReadonlyArray<{
    readonly thread: number
    readonly state: string
    /** Calls that are with it. */
    readonly running: number
    /** What it has been at for longest. */
    readonly task: string | undefined
    /** For how long it has been at that, in milliseconds. */
    readonly since: number
    /** Total of calls that it has ended. */
    readonly ended: number
    /** How long it has existed, and how much of that it has had something to do, in milliseconds. */
    readonly age: number
    readonly busy: number
    /** Bytes of its heap in use, where that is known. */
    readonly heapUsed: number | undefined
  }>
}

/**
 * A pool in the registry. `id` is its name, followed by a number when there is another pool of that name:
 * `"app/Db"`, `"app/Db#2"`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry extends Description {
  readonly id: string
}

/**
 * A registry of pools.
 *
 * @category models
 * @since 0.1.0
 */
export interface Registry {
  /** The pools that are open now, in the order in which they were made. */
  readonly entries: Effect.Effect<ReadonlyArray<Entry>>
  /** Adds an entry until the scope closes. Pools with a name do this themselves. */
  readonly register: (description: Description) => Effect.Effect<Entry, never, Scope.Scope>
  /**
   * Runs `f` for each pool that is open now, and for each that will be. What `f` does without waiting is done before the first borrow;
   * the rest goes on beside it, and no pool waits for that. When the pool goes, or the scope of `watch` closes, `f` is interrupted where
   * it has not ended, and what it has opened in its scope is closed. A failure of `f` is logged, and is no failure of the pool.
   */
  readonly watch: (
    f: (entry: Entry) => Effect.Effect<void, never, Scope.Scope>
  ) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * The registry in use: one for the whole process, unless a program or a test provides another.
 *
 * @category references
 * @since 0.1.0
 */
export const PoolRegistry: Context.Reference<Registry> = Context.Reference<Registry>("~cenote/PoolRegistry", {
  defaultValue: () => makeUnsafe()
})

/**
 * The recorders of one pool, for a pool that registers itself.
 *
 * A recorder that throws an error is told nothing more, and the error is logged: it must not disturb whoever borrows.
 *
 * @category constructors
 * @since 0.1.0
 */
export class Recorders {
  /** All of them in one; `undefined` while there are none. */
  all: Recorder | undefined = undefined
  private each: ReadonlyArray<Recorder> = []
  private readonly changed: () => void

  constructor(changed: () => void = () => {}) {
    this.changed = changed
  }

  /** What {@link Description} has under this name. */
  record(recorder: Recorder): Effect.Effect<void, never, Scope.Scope> {
    return Effect.contextWith((context: Context.Context<Scope.Scope>) => {
      const own = guarded(recorder, (error) => {
        leave()
        Effect.runForkWith(context)(
          Effect.logWarning("a recorder of a pool threw an error, and is told nothing more", Cause.die(error))
        )
      })
      const leave = (): void => this.set(this.each.filter((other) => other !== own))
      return Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => this.set([...this.each, own])),
          () => Effect.sync(leave)
        )
      )
    })
  }

  private set(each: ReadonlyArray<Recorder>): void {
    this.each = each
    this.all = each.length > 1 ? inOne(each) : each[0]
    this.changed()
  }
}

const inOne = (recorders: ReadonlyArray<Recorder>): Recorder => ({
  waited: (millis) => {
    for (const recorder of recorders) recorder.waited(millis)
  },
  used: (millis) => {
    for (const recorder of recorders) recorder.used(millis)
  },
  told: (event) => {
    for (const recorder of recorders) recorder.told(event)
  }
})

/** A recorder whose errors `failed` gets. */
const guarded = (recorder: Recorder, failed: (error: unknown) => void): Recorder => ({
  waited: (millis) => {
    try {
      recorder.waited(millis)
    } catch (error) {
      failed(error)
    }
  },
  used: (millis) => {
    try {
      recorder.used(millis)
    } catch (error) {
      failed(error)
    }
  },
  told: (event) => {
    try {
      recorder.told(event)
    } catch (error) {
      failed(error)
    }
  }
})

/**
 * An empty registry.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (): Registry => {
  const entries = new Map<string, Entry>()
  const watchers = new Set<Watcher>()
  const freeId = (name: string): string => {
    let id = name
    for (let n = 2; entries.has(id); n++) id = `${name}#${n}`
    return id
  }
  const begin = (watcher: Watcher, entry: Entry): void => {
    // Whoever was told before may have closed the one or the other.
    if (watchers.has(watcher) && entries.get(entry.id) === entry) watcher.begin(entry)
  }
  const add = (description: Description): Entry => {
    const entry: Entry = { ...description, id: freeId(description.name) }
    entries.set(entry.id, entry)
    for (const watcher of Array.from(watchers)) begin(watcher, entry)
    return entry
  }
  const remove = (entry: Entry): void => {
    entries.delete(entry.id)
    for (const watcher of Array.from(watchers)) watcher.end(entry)
  }
  return {
    entries: Effect.sync(() => [...entries.values()]),
    register: (description) =>
      Effect.acquireRelease(
        Effect.sync(() => add(description)),
        (entry) => Effect.sync(() => remove(entry))
      ),
    watch: (f) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.contextWith((context: Context.Context<never>) =>
            Effect.sync(() => {
              const watcher = new Watcher(f, context)
              watchers.add(watcher)
              for (const entry of Array.from(entries.values())) begin(watcher, entry)
              return watcher
            })
          ),
          (watcher) =>
            Effect.suspend(() => {
              watchers.delete(watcher)
              return Fiber.awaitAll(watcher.endAll())
            })
        )
      )
  }
}

/** Someone who looks at every pool. What it does for each runs in a fiber of its own, in the context that it came from. */
class Watcher {
  private readonly looks = new Map<Entry, Look>()
  private readonly f: Parameters<Registry["watch"]>[0]
  private readonly run: <A>(effect: Effect.Effect<A>) => Fiber.Fiber<A>

  constructor(f: Parameters<Registry["watch"]>[0], context: Context.Context<never>) {
    this.f = f
    // The span that was open when it began has nothing to do with pools that come later.
    this.run = Effect.runForkWith(
      Context.omit(Tracer.ParentSpan)(context as Context.Context<Tracer.ParentSpan>)
    )
  }

  begin(entry: Entry): void {
    const look: Look = { scope: Scope.makeUnsafe(), fiber: undefined }
    this.looks.set(entry, look)
    look.fiber = this.run(logged(Scope.provide(this.f(entry), look.scope)))
    // It may have seen the end of the pool already.
    if (this.looks.get(entry) !== look) look.fiber.interruptUnsafe()
  }

  end(entry: Entry): Fiber.Fiber<void> | undefined {
    const look = this.looks.get(entry)
    if (look === undefined) return undefined
    this.looks.delete(entry)
    const { fiber, scope } = look
    return this.run(
      logged(
        Effect.andThen(
          fiber === undefined ? Effect.void : Fiber.interrupt(fiber),
          Scope.close(scope, Exit.void)
        )
      )
    )
  }

  endAll(): ReadonlyArray<Fiber.Fiber<void>> {
    return Array.from(this.looks.keys(), (entry) => this.end(entry)).filter((_) => _ !== undefined)
  }
}

/** What is done for one pool. */
interface Look {
  readonly scope: Scope.Closeable
  /** Set as soon as it has come to its first wait, or its end. */
  fiber: Fiber.Fiber<void> | undefined
}

/** What goes wrong for whoever watches is not the fault of the pool. */
const logged = (effect: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.ignoreCause(effect, { log: "Warn", message: "something that watches pools failed" })

/**
 * A registry of its own for what is built on this layer, as tests want it. Provided twice it is one and the same,
 * as any layer is; `Layer.fresh` makes it another.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Pool, PoolRegistry } from "@cenote/pool"
 *
 * const program = Effect.gen(function*() {
 *   yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
 *   yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(2) })
 *   const entries = yield* PoolRegistry.entries
 *   return entries.map((entry) => entry.id)
 * })
 *
 * const ids = await Effect.runPromise(Effect.scoped(Effect.provide(program, PoolRegistry.layer)))
 * ids // => ["app/Db", "app/Db#2"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.effect(PoolRegistry, Effect.sync(makeUnsafe))

/**
 * The pools that are open now.
 *
 * @category operations
 * @since 0.1.0
 */
export const entries: Effect.Effect<ReadonlyArray<Entry>> = Effect.flatMap(PoolRegistry, (_) => _.entries)

/**
 * Adds an entry until the scope closes.
 *
 * @category operations
 * @since 0.1.0
 */
export const register = (description: Description): Effect.Effect<Entry, never, Scope.Scope> =>
  Effect.flatMap(PoolRegistry, (_) => _.register(description))

/**
 * Runs `f` for each pool that is open now and for each that will be: see {@link Registry.watch}.
 *
 * @category operations
 * @since 0.1.0
 */
export const watch = (
  f: (entry: Entry) => Effect.Effect<void, never, Scope.Scope>
): Effect.Effect<void, never, Scope.Scope> => Effect.flatMap(PoolRegistry, (_) => _.watch(f))
