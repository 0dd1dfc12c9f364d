/**
 * The pools of a program, for whatever watches them: metrics, dashboards, tests.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Lease, Stats } from "./Pool.ts"
import type { PoolEvent } from "./PoolEvent.ts"

/**
 * What sort of pool an entry stands for.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "pool" | "tokens" | "keyed" | "threads" | "connections"

/**
 * What a pool tells about itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Description {
  readonly kind: Kind
  readonly name: string
  readonly stats: Effect.Effect<Stats>
  readonly leases: Effect.Effect<ReadonlyArray<Lease<unknown>>>
  readonly events: Stream.Stream<PoolEvent>
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
  const freeId = (name: string): string => {
    let id = name
    for (let n = 2; entries.has(id); n++) id = `${name}#${n}`
    return id
  }
  return {
    entries: Effect.sync(() => [...entries.values()]),
    register: (description) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const entry: Entry = { ...description, id: freeId(description.name) }
          entries.set(entry.id, entry)
          return entry
        }),
        (entry) => Effect.sync(() => entries.delete(entry.id))
      )
  }
}

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
