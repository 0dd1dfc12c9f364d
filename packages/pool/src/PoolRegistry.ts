/**
 * The pools of a program, for whatever watches them: metrics, dashboards, tests.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
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
  /** How it was made, as a person reads it: `{ max: 10, acquireTimeout: "5s" }`. What was left to a default of "never" is missing. */
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
   * Runs `f` for each pool that is open now, and for each that will be, before its first borrow. What `f` opens in its scope is closed
   * when that pool goes, or when the scope of `watch` closes. `f` must not wait.
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
  const add = (description: Description): Effect.Effect<Entry> =>
    Effect.suspend(() => {
      const entry: Entry = { ...description, id: freeId(description.name) }
      entries.set(entry.id, entry)
      return Effect.as(
        Effect.forEach(Array.from(watchers), (_) => _.begin(entry), { discard: true }),
        entry
      )
    })
  const remove = (entry: Entry): Effect.Effect<void> =>
    Effect.suspend(() => {
      entries.delete(entry.id)
      return Effect.forEach(Array.from(watchers), (_) => _.end(entry), { discard: true })
    })
  return {
    entries: Effect.sync(() => [...entries.values()]),
    register: (description) => Effect.acquireRelease(add(description), remove),
    watch: (f) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const watcher = new Watcher(f)
          watchers.add(watcher)
          return Effect.as(
            Effect.forEach(Array.from(entries.values()), (_) => watcher.begin(_), { discard: true }),
            watcher
          )
        }),
        (watcher) => {
          watchers.delete(watcher)
          return watcher.endAll
        }
      )
  }
}

/** Someone who looks at every pool, with a scope for each. */
class Watcher {
  private readonly scopes = new Map<Entry, Scope.Closeable>()
  private readonly f: Parameters<Registry["watch"]>[0]

  constructor(f: Parameters<Registry["watch"]>[0]) {
    this.f = f
  }

  /** What goes wrong for whoever watches is not the fault of the pool. */
  begin(entry: Entry): Effect.Effect<void> {
    return Effect.suspend(() => {
      const scope = Scope.makeUnsafe()
      this.scopes.set(entry, scope)
      return logged(Scope.provide(this.f(entry), scope))
    })
  }

  end(entry: Entry): Effect.Effect<void> {
    return Effect.suspend(() => {
      const scope = this.scopes.get(entry)
      this.scopes.delete(entry)
      return scope === undefined ? Effect.void : logged(Scope.close(scope, Exit.void))
    })
  }

  readonly endAll: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach(Array.from(this.scopes.keys()), (_) => this.end(_), { discard: true })
  )
}

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
