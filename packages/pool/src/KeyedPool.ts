/**
 * A pool for each key, under one roof: connections by host, browsers by profile, sessions by tenant. Each
 * key has its own line and its own limit, and one limit holds over all keys.
 *
 * **Example** (A connection for each host)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { KeyedPool } from "@cenote/pool"
 *
 * const program = Effect.gen(function*() {
 *   const hosts = yield* KeyedPool.make({
 *     acquire: (host: string) => Effect.succeed({ get: (path: string) => `${host}${path}` }),
 *     maxPerKey: 2,
 *     max: 10
 *   })
 *   return yield* KeyedPool.use(hosts, "a.example", (http) => Effect.sync(() => http.get("/index")))
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => "a.example/index"
 * ```
 *
 * @since 0.1.0
 */
import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { hasProperty, isFunction } from "effect/Predicate"
import { Scheduler } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import { KeyedCore } from "./internal/keyed.ts"
import { Reader, resolve, shown } from "./internal/options.ts"
import * as internal from "./internal/pool.ts"
import * as report from "./internal/report.ts"
import { Work } from "./internal/work.ts"
import type * as Pool from "./Pool.ts"
import type { PoolError } from "./PoolError.ts"
import type { PoolEvent } from "./PoolEvent.ts"

const TypeId = "~cenote/KeyedPool"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Pools of resources `A`, one for each key `K`, whose creation can fail with `E`. Keys are compared by
 * value, as `Equal` of Effect does.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyedPool<in out K, in out A, in out E = never> extends Pipeable {
  readonly [TypeId]: {
    readonly _K: Types.Invariant<K>
    readonly _A: Types.Invariant<A>
    readonly _E: Types.Invariant<E>
  }
  readonly name: string
}

/**
 * How a keyed pool behaves. What is not described here means what it means in {@link Pool.Options}, and
 * holds for each key by itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<K, A, E, R, RValidate = R, RReset = R, RRetry = R> extends Omit<
  Pool.Options<A, E, R, RValidate, RReset, RRetry>,
  "acquire" | "size" | "min" | "max" | "targetUtilization"
> {
  /** Creates one resource for a key. */
  readonly acquire: (key: K) => Effect.Effect<A, E, R>
  /** Resources that may exist for one key. Default 4. */
  readonly maxPerKey?: number | undefined
  /**
   * Resources that may exist over all keys. When that many do, an idle resource of another key is closed
   * to make room, the one that has rested longest first. Default: no limit. A borrow inside a borrow that
   * takes all the room for itself is not found to be a deadlock: set `acquireTimeout`.
   */
  readonly max?: number | undefined
  /** A key that nobody has asked for, held or waited for this long vanishes, and its pool is closed. Default 5 min. */
  readonly keyIdle?: Duration.Input | undefined
}

/**
 * A keyed pool at one moment: the sums over all keys, and each key that exists by itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats<K> extends Pool.Stats {
  readonly keys: ReadonlyArray<readonly [key: K, stats: Pool.Stats]>
}

// -----------------------------------------------------------------------------
// Guards
// -----------------------------------------------------------------------------

/**
 * Whether a value is a {@link KeyedPool}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isKeyedPool = (u: unknown): u is KeyedPool<unknown, unknown, unknown> => hasProperty(u, TypeId)

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a keyed pool that lives as long as the scope. Impossible options are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <K, A, E, R, RValidate = never, RReset = never, RRetry = never>(
  options: Options<K, A, E, R, RValidate, RReset, RRetry>
): Effect.Effect<KeyedPool<K, A, E>, never, R | RValidate | RReset | RRetry | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const context = yield* Effect.context<R | RValidate | RReset | RRetry | Scope.Scope>()
      const core = makeCore(options, context)
      yield* Scope.addFinalizer(
        Context.get(context, Scope.Scope),
        Effect.withFiber((fiber) => core.shutdown(fiber))
      )
      if (core.name !== "") {
        core.onClosing = yield* internal.register({
          kind: "keyed",
          name: core.name,
          options: core.shown,
          stats: Effect.sync(() => core.stats()),
          leases: (limit) => Effect.sync(() => core.leases(limit)),
          waiters: (limit) => Effect.sync(() => core.waiters(limit)),
          events: core.events.stream,
          record: (recorder) => core.events.recorders.record(recorder),
          actions: {
            recycle: Effect.sync(() => core.recycle()),
            suspend: Effect.sync(() => core.suspend()),
            resume: Effect.sync(() => core.resume()),
            evict: Effect.sync(() => core.clear())
          }
        })
      }
      return new KeyedPoolImpl(core)
    })
  )

// -----------------------------------------------------------------------------
// Borrowing
// -----------------------------------------------------------------------------

/**
 * Borrows a resource of a key until the scope closes.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const get: {
  <K>(key: K): <A, E>(self: KeyedPool<K, A, E>) => Effect.Effect<A, E | PoolError, Scope.Scope>
  <K, A, E>(self: KeyedPool<K, A, E>, key: K): Effect.Effect<A, E | PoolError, Scope.Scope>
} = dual(2, <K, A, E>(self: KeyedPool<K, A, E>, key: K): Effect.Effect<A, E | PoolError, Scope.Scope> =>
  Effect.suspend(() => internal.get(coreOf(self).pool(key)))
)

/**
 * Borrows a resource of a key while an effect runs.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const use: {
  <K, A, B, E2, R2>(
    key: K,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): <E>(self: KeyedPool<K, A, E>) => Effect.Effect<B, E | E2 | PoolError, R2>
  <K, A, E, B, E2, R2>(
    self: KeyedPool<K, A, E>,
    key: K,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E | E2 | PoolError, R2>
} = dual(
  3,
  <K, A, E, B, E2, R2>(
    self: KeyedPool<K, A, E>,
    key: K,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E | E2 | PoolError, R2> => Effect.suspend(() => internal.use(coreOf(self).pool(key), f))
)

/**
 * Marks a resource as broken, whatever key it belongs to: at rest it is closed at once, on loan when it is
 * returned. Does nothing when the pool does not have it.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const invalidate: {
  <A>(item: A): <K, E>(self: KeyedPool<K, A, E>) => Effect.Effect<void>
  <K, A, E>(self: KeyedPool<K, A, E>, item: A): Effect.Effect<void>
} = dual(2, <K, A, E>(self: KeyedPool<K, A, E>, item: A): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    coreOf(self).invalidate(item, fiber)
    return Effect.void
  })
)

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

/**
 * Closes the idle resources of one key, or of all when none is given, and says how many.
 *
 * @category operations
 * @since 0.1.0
 */
export const clear = <K, A, E>(
  self: KeyedPool<K, A, E>,
  ...key: readonly [] | readonly [key: K]
): Effect.Effect<number> =>
  Effect.sync(() => {
    const core = coreOf(self)
    return key.length === 0 ? core.clear() : (core.find(key[0])?.core.closeIdle(() => "cleared") ?? 0)
  })

/**
 * Closes everything that exists now, of all keys: at rest at once, on loan when it comes back.
 *
 * @category operations
 * @since 0.1.0
 */
export const recycle = <K, A, E>(self: KeyedPool<K, A, E>): Effect.Effect<void> =>
  Effect.sync(() => coreOf(self).recycle())

/**
 * Lends nothing more, of any key, until {@link resume}: borrowers wait in their lines.
 *
 * @category operations
 * @since 0.1.0
 */
export const suspend = <K, A, E>(self: KeyedPool<K, A, E>): Effect.Effect<void> =>
  Effect.sync(() => coreOf(self).suspend())

/**
 * Ends a {@link suspend}.
 *
 * @category operations
 * @since 0.1.0
 */
export const resume = <K, A, E>(self: KeyedPool<K, A, E>): Effect.Effect<void> =>
  Effect.sync(() => coreOf(self).resume())

/**
 * Closes the pools of all keys for good, as the end of the scope does. See `Pool.close`.
 *
 * @category operations
 * @since 0.1.0
 */
export const close = <K, A, E>(self: KeyedPool<K, A, E>): Effect.Effect<void> =>
  Effect.withFiber((fiber) => coreOf(self).shutdown(fiber))

// -----------------------------------------------------------------------------
// Observing
// -----------------------------------------------------------------------------

/**
 * The figures of the whole, and of each key.
 *
 * @category observing
 * @since 0.1.0
 */
export const stats = <K, A, E>(self: KeyedPool<K, A, E>): Effect.Effect<Stats<K>> =>
  Effect.sync(() => {
    const core = coreOf(self)
    return { ...core.stats(), keys: core.all().map(({ core, key }) => [key, report.stats(core)] as const) }
  })

/**
 * What happens in the pools of all keys from now on. The `pool` of an event names the key.
 *
 * @category observing
 * @since 0.1.0
 */
export const events = <K, A, E>(self: KeyedPool<K, A, E>): Stream.Stream<PoolEvent> =>
  coreOf(self).events.stream

// -----------------------------------------------------------------------------
// Service
// -----------------------------------------------------------------------------

/**
 * The class that {@link Service} makes.
 *
 * @category services
 * @since 0.1.0
 */
export interface ServiceClass<
  in out Self,
  in out Id extends string,
  in out K,
  in out A,
  in out E
> extends Context.ServiceClass<Self, Id, KeyedPool<K, A, E>> {
  /** The keyed pool as a scoped layer, named like the service unless another name is given. */
  readonly layer: <R = never, RValidate = never, RReset = never, RRetry = never>(
    options: Options<K, A, E, R, RValidate, RReset, RRetry>
  ) => Layer.Layer<Self, never, Exclude<R | RValidate | RReset | RRetry, Scope.Scope>>
  readonly get: (key: K) => Effect.Effect<A, E | PoolError, Self | Scope.Scope>
  readonly borrow: <B, E2, R2>(
    key: K,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ) => Effect.Effect<B, E | E2 | PoolError, Self | R2>
  readonly invalidate: (item: A) => Effect.Effect<void, never, Self>
  readonly clear: (...key: readonly [] | readonly [key: K]) => Effect.Effect<number, never, Self>
  readonly recycle: Effect.Effect<void, never, Self>
  readonly suspend: Effect.Effect<void, never, Self>
  readonly resume: Effect.Effect<void, never, Self>
  /** Ahead of the end of the layer's scope, which closes the pool as well. */
  readonly close: Effect.Effect<void, never, Self>
  readonly stats: Effect.Effect<Stats<K>, never, Self>
  readonly events: Stream.Stream<PoolEvent, never, Self>
}

/**
 * A keyed pool as a service, with its layer.
 *
 * @category services
 * @since 0.1.0
 */
export const Service =
  <Self, K, A, E = never>() =>
  <const Id extends string>(id: Id): ServiceClass<Self, Id, K, A, E> => {
    class KeyedPoolService extends Context.Service<Self, KeyedPool<K, A, E>>()(id) {}
    const service: Context.Service<Self, KeyedPool<K, A, E>> = KeyedPoolService
    const withPool = <B, E2, R2>(
      f: (pool: KeyedPool<K, A, E>) => Effect.Effect<B, E2, R2>
    ): Effect.Effect<B, E2, R2 | Self> => Effect.flatMap(service, f)
    const operations: Omit<
      ServiceClass<Self, Id, K, A, E>,
      keyof Context.ServiceClass<Self, Id, KeyedPool<K, A, E>>
    > = {
      layer: (options) =>
        Layer.effect(service, make({ ...options, name: options.name ?? id })) as Layer.Layer<
          Self,
          never,
          any
        >,
      get: (key) => withPool((pool) => get(pool, key)),
      borrow: (key, f) => withPool((pool) => use(pool, key, f)),
      invalidate: (item) => withPool((pool) => invalidate(pool, item)),
      clear: (...key) => withPool((pool) => clear(pool, ...key)),
      recycle: withPool(recycle),
      suspend: withPool(suspend),
      resume: withPool(resume),
      close: withPool(close),
      stats: withPool(stats),
      events: Stream.unwrap(Effect.map(service, events))
    }
    return Object.assign(KeyedPoolService, operations)
  }

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

class KeyedPoolImpl<K, A, E> implements Pipeable {
  readonly [TypeId]: any = TypeId
  readonly name: string
  readonly core: KeyedCore<K, A, E>

  constructor(core: KeyedCore<K, A, E>) {
    this.name = core.name
    this.core = core
  }
  pipe() {
    return pipeArguments(this, arguments)
  }
}

const coreOf = <K, A, E>(self: KeyedPool<K, A, E>): KeyedCore<K, A, E> =>
  (self as unknown as KeyedPoolImpl<K, A, E>).core

const makeCore = <K, A, E>(
  options: Options<K, A, E, any>,
  context: Context.Context<any>
): KeyedCore<K, A, E> => {
  const { acquire, keyIdle, max, maxPerKey, ...rest } = options
  const read = new Reader(rest.name ?? "")
  read.expect("acquire", acquire, isFunction, "a function that gives an Effect for a key")
  const shared = resolve({
    ...rest,
    acquire: Effect.void,
    max: read.count("maxPerKey", maxPerKey, 1, 4)
  } as Pool.Options<any, never, any>)
  const total = read.count("max", max, 1, Infinity)
  const idle = read.millis("keyIdle", keyIdle, 300_000, "above zero")
  const { max: _max, min: _min, ...perKey } = shown(shared)
  return new KeyedCore<K, A, E>(
    {
      name: shared.name,
      max: total,
      keyIdle: idle,
      shown: {
        ...perKey,
        maxPerKey: shared.max,
        ...(total === Infinity ? {} : { max: total }),
        keyIdle: Duration.format(Duration.millis(idle))
      },
      settingsOf: (key) => ({
        ...shared,
        name: `${shared.name}[${typeof key === "string" ? key : format(key)}]`,
        acquire: Effect.suspend(() => acquire(key))
      })
    },
    new Work(context, Context.get(context, Clock)),
    Context.get(context, Scheduler).makeDispatcher()
  )
}
