/**
 * Pools of anything: connections, browsers, sessions, buffers.
 *
 * A pool creates resources as they are asked for, lends them to one borrower after another, and closes
 * them when they are old, broken or no longer needed. Borrowers that find none stand in a line and are
 * served strictly first come, first served.
 *
 * **Example** (Two connections for five queries)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Pool } from "@cenote/pool"
 *
 * let opened = 0
 * const connect = Effect.acquireRelease(
 *   Effect.sync(() => ({ id: ++opened, query: (sql: string) => Effect.delay(Effect.succeed(`${sql}: done`), 10) })),
 *   () => Effect.void
 * )
 *
 * const program = Effect.gen(function*() {
 *   const pool = yield* Pool.make({ name: "db", acquire: connect, max: 2 })
 *   return yield* Effect.forEach([1, 2, 3, 4, 5], (n) => Pool.use(pool, (db) => db.query(`select ${n}`)), {
 *     concurrency: "unbounded"
 *   })
 * })
 *
 * const rows = await Effect.runPromise(Effect.scoped(program))
 * rows.length // => 5
 * opened // => 2
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type { Pipeable } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import { Holding } from "./internal/deadlock.ts"
import * as internal from "./internal/pool.ts"
import * as report from "./internal/report.ts"
import type { Stats as Stats_ } from "./internal/stats.ts"
import { type CreateTimeout, NotLeased, type PoolError } from "./PoolError.ts"
import type { PoolEvent } from "./PoolEvent.ts"

const TypeId = internal.TypeId

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A pool of resources of type `A`, whose creation can fail with `E`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pool<in out A, in out E = never> extends Pipeable {
  readonly [internal.TypeId]: {
    readonly _A: Types.Invariant<A>
    readonly _E: Types.Invariant<E>
  }
  /** The name that errors, events and the registry call it by; empty when none was given. */
  readonly name: string
}

/**
 * A pool at one moment. `size = idle + used + creating + closing` always holds.
 *
 * @category models
 * @since 0.1.0
 */
export type Stats = Stats_

/**
 * Who holds what.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease<out A> {
  readonly item: A
  /** Number of the resource, as in the pool's events. */
  readonly resource: number
  /** Identifier of the fiber that borrowed. */
  readonly fiber: number
  /** Name of the span that it borrowed under. */
  readonly span: string | undefined
  /** When it was lent, in milliseconds since the epoch. */
  readonly since: number
  /** For how long it has been held, in milliseconds. */
  readonly held: number
}

/**
 * A borrower in line.
 *
 * @category models
 * @since 0.1.0
 */
export interface Waiter {
  /** Identifier of its fiber. */
  readonly fiber: number
  /** Name of the span that it borrows under. */
  readonly span: string | undefined
  /** For how long it has been in line, in milliseconds. */
  readonly waited: number
}

/**
 * How a pool behaves. Only `acquire` is required.
 *
 * **Gotchas**
 *
 * An option that makes no sense (`min` above `max`, a negative count, `NaN`, a deadline of zero) is a
 * defect at construction, whose message names the option, its value and what is allowed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<A, E, R, RValidate = R, RReset = R, RRetry = R> {
  /** What errors, events, spans and the registry call the pool. A pool without a name is not registered. */
  readonly name?: string | undefined
  /**
   * Creates one resource. Its scope is closed when the resource leaves the pool. It runs in a fiber of
   * the pool's: a borrower that gives up does not abort it.
   */
  readonly acquire: Effect.Effect<A, E, R>
  /** Stands for `min` and `max` at once: a pool of fixed size, filled at construction. */
  readonly size?: number | undefined
  /** Resources kept ready even when nobody asks. Default 0. */
  readonly min?: number | undefined
  /** Resources that may exist at one time, those being closed included. Default 4, or `min` if more. */
  readonly max?: number | undefined
  /**
   * Which idle resource is lent next: the one idle longest (`"fifo"`, the default) spreads the use over
   * all of them, the one used last (`"lifo"`) keeps few in use, so that the rest can expire.
   */
  readonly order?: "fifo" | "lifo" | undefined
  /** Borrowers that may share one resource. Default 1. */
  readonly concurrency?: number | undefined
  /**
   * From 0.1 to 1: below 1, more resources are created ahead when the existing ones are used to this
   * share of their `concurrency`. Default 1: only when there is no room left.
   */
  readonly targetUtilization?: number | undefined

  /**
   * One deadline for the whole borrow: line, creation, validation and retries. Past it the borrow fails
   * with `AcquireTimeout`. Default: none.
   */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * Borrowers that may wait for another borrower. One more fails with `LineFull` at once. Those whose
   * resource is being created do not count. Default: no limit.
   */
  readonly maxWaiting?: number | undefined

  /** Limit for one attempt to create; past it the attempt fails with `CreateTimeout`. Default: none. */
  readonly createTimeout?: Duration.Input | undefined
  /** Creations that may be under way at one time. Default: no limit. */
  readonly createConcurrency?: number | undefined
  /**
   * Retries a failed creation, with the error as the schedule's input. Meanwhile borrowers wait, up to
   * their own deadline. Default: none; the first in line gets the error.
   */
  readonly createRetry?:
    | Schedule.Schedule<unknown, Types.NoInfer<E> | CreateTimeout, never, RRetry>
    | undefined

  /** Whether an idle resource can still be lent. Failing counts as no; the resource is then closed. */
  readonly validate?: ((item: Types.NoInfer<A>) => Effect.Effect<boolean, unknown, RValidate>) | undefined
  /** Resources used within this time are lent without validation. Default 500 ms, as HikariCP has it. */
  readonly validateAfterIdle?: Duration.Input | undefined
  /** A validation that takes longer counts as no. Default 5 s. */
  readonly validateTimeout?: Duration.Input | undefined
  /** Invalid resources after which a borrower fails with `ValidationFailed`. Default 3. */
  readonly validateAttempts?: number | undefined

  /**
   * Makes a resource ready for the next borrower, when its last borrower has returned it. The one who
   * returns does not wait for it. Failing closes the resource.
   */
  readonly reset?: ((item: Types.NoInfer<A>) => Effect.Effect<unknown, unknown, RReset>) | undefined
  /** A reset that takes longer fails. Default 30 s. */
  readonly resetTimeout?: Duration.Input | undefined

  /**
   * Age past which a resource is closed: at rest at once, on loan when it is returned. Zero: never
   * reused, so that the pool only limits. Default: none.
   */
  readonly maxAge?: Duration.Input | undefined
  /** Share of `maxAge` that is taken off at random, so that not all expire together. Default 0.025. */
  readonly maxAgeJitter?: number | undefined
  /** Rest past which a resource is closed, while there are more than `min`. Zero: never reused. Default: none. */
  readonly maxIdle?: Duration.Input | undefined
  /** Loans after which a resource is closed. Default: no limit. */
  readonly maxUses?: number | undefined
  /** Validates idle resources this often, so that nothing on the way drops them for being quiet. */
  readonly keepAlive?: { readonly every: Duration.Input } | undefined

  /** A loan that lasts longer is logged, and told as `Leaked`, with who holds it. Default: never. */
  readonly leakAfter?: Duration.Input | undefined
  /** How long closing the pool waits for borrowers before it interrupts them. Default 30 s. */
  readonly closeTimeout?: Duration.Input | undefined
  /** How long a finalizer may hold its slot; past it the slot is free, and the finalizer left behind. Default 30 s. */
  readonly destroyTimeout?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// Guards
// -----------------------------------------------------------------------------

/**
 * Whether a value is a {@link Pool}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPool = (u: unknown): u is Pool<unknown, unknown> => hasProperty(u, TypeId)

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a pool that lives as long as the scope. It never fails: what goes wrong while the first `min`
 * resources are created is told by {@link warmUp}, by events, and to borrowers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E, R, RValidate = never, RReset = never, RRetry = never>(
  options: Options<A, E, R, RValidate, RReset, RRetry>
): Effect.Effect<Pool<A, E>, never, R | RValidate | RReset | RRetry | Scope.Scope> => internal.make(options)

/**
 * Makes a pool whose resources have a time to live: what is in excess of `min` is closed when it has not been
 * used for that long (`"usage"`, the default), or everything is replaced at that age (`"creation"`).
 *
 * It takes what `makeWithTTL` of Effect's own pool takes. {@link make} with `maxIdle` and `maxAge` says
 * the same, and more.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeWithTTL = <A, E, R, RValidate = never, RReset = never, RRetry = never>(
  options: Omit<Options<A, E, R, RValidate, RReset, RRetry>, "size" | "maxAge" | "maxIdle"> & {
    readonly min: number
    readonly max: number
    readonly timeToLive: Duration.Input
    readonly timeToLiveStrategy?: "creation" | "usage" | undefined
  }
): Effect.Effect<Pool<A, E>, never, R | RValidate | RReset | RRetry | Scope.Scope> => {
  const { timeToLive, timeToLiveStrategy, ...rest } = options
  return make<A, E, R, RValidate, RReset, RRetry>(
    timeToLiveStrategy === "creation"
      ? { maxAgeJitter: 0, ...rest, maxAge: timeToLive }
      : { ...rest, maxIdle: timeToLive }
  )
}

// -----------------------------------------------------------------------------
// Borrowing
// -----------------------------------------------------------------------------

/**
 * Borrows a resource until the scope closes.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const get = <A, E>(self: Pool<A, E>): Effect.Effect<A, E | PoolError, Scope.Scope> =>
  internal.get(internal.core(self))

/**
 * Borrows a resource for the caller alone until the scope closes. Borrowers that share it already are not waited for; nobody
 * is lent it meanwhile. Differs from {@link get} where `concurrency` is above 1.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const getAlone = <A, E>(self: Pool<A, E>): Effect.Effect<A, E | PoolError, Scope.Scope> =>
  internal.get(internal.core(self), "alone")

/**
 * Borrows a resource while an effect runs. The cheapest way to borrow.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Pool } from "@cenote/pool"
 *
 * const program = Effect.gen(function*() {
 *   const pool = yield* Pool.make({ acquire: Effect.succeed("resource"), max: 1 })
 *   return yield* Pool.use(pool, (item) => Effect.succeed(item.length))
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => 8
 * ```
 *
 * @category borrowing
 * @since 0.1.0
 */
export const use: {
  <A, B, E2, R2>(
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): <E>(self: Pool<A, E>) => Effect.Effect<B, E | E2 | PoolError, R2>
  <A, E, B, E2, R2>(
    self: Pool<A, E>,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E | E2 | PoolError, R2>
} = dual(
  2,
  <A, E, B, E2, R2>(
    self: Pool<A, E>,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<B, E | E2 | PoolError, R2> => internal.use(internal.core(self), f)
)

/**
 * Borrows a resource while an effect runs if one can be lent without any wait, and gives `Option.none()`
 * at once if not, as it does when the pool is closed. Where there is room, a resource is then created, and
 * what has rested for long is validated, for a later try.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const tryUse: {
  <A, B, E2, R2>(
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): <E>(self: Pool<A, E>) => Effect.Effect<Option.Option<B>, E2, R2>
  <A, E, B, E2, R2>(
    self: Pool<A, E>,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<Option.Option<B>, E2, R2>
} = dual(
  2,
  <A, E, B, E2, R2>(
    self: Pool<A, E>,
    f: (item: A) => Effect.Effect<B, E2, R2>
  ): Effect.Effect<Option.Option<B>, E2, R2> => internal.tryUse(internal.core(self), f)
)

/**
 * Borrows a resource until {@link release}. For programs in which neither a scope nor a body fits;
 * otherwise prefer {@link use} and {@link get}, which cannot forget to give back.
 *
 * **Gotchas**
 *
 * Call it where the fiber cannot be interrupted before the release is in place, as in the example; the wait
 * in line cannot be interrupted there either, so set `acquireTimeout`. As any fiber may release it, a loan of
 * this kind is never taken for part of a deadlock.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Pool } from "@cenote/pool"
 *
 * const program = Effect.gen(function*() {
 *   const pool = yield* Pool.make({ acquire: Effect.succeed("resource") })
 *   return yield* Effect.acquireUseRelease(
 *     Pool.acquire(pool),
 *     (item) => Effect.succeed(item.length),
 *     (item) => Effect.orDie(Pool.release(pool, item))
 *   )
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => 8
 * ```
 *
 * @category borrowing
 * @since 0.1.0
 */
export const acquire = <A, E>(self: Pool<A, E>): Effect.Effect<A, E | PoolError> =>
  internal.acquire(internal.core(self))

/**
 * Gives back what {@link acquire} borrowed. Anything else fails with `NotLeased` and changes nothing.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const release: {
  <A>(item: A): <E>(self: Pool<A, E>) => Effect.Effect<void, NotLeased>
  <A, E>(self: Pool<A, E>, item: A): Effect.Effect<void, NotLeased>
} = dual(2, <A, E>(self: Pool<A, E>, item: A): Effect.Effect<void, NotLeased> =>
  Effect.withFiber((fiber) =>
    internal.core(self).releaseManual(item, fiber)
      ? Effect.void
      : Effect.fail(new NotLeased({ pool: self.name }))
  )
)

/**
 * Keeps a resource that the caller has borrowed from being lent to anyone else until the scope closes.
 * Borrowers that already share it are not waited for. Means something where `concurrency` is above 1.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const reserve: {
  <A>(item: A): <E>(self: Pool<A, E>) => Effect.Effect<void, never, Scope.Scope>
  <A, E>(self: Pool<A, E>, item: A): Effect.Effect<void, never, Scope.Scope>
} = dual(2, <A, E>(self: Pool<A, E>, item: A): Effect.Effect<void, never, Scope.Scope> => {
  const core = internal.core(self)
  return Effect.asVoid(
    Effect.acquireRelease(
      Effect.withFiber((fiber) => {
        // Where only one may borrow a resource, there is nobody to keep it from.
        const slot = core.settings.concurrency === 1 ? undefined : core.find(item, fiber)
        if (slot !== undefined) core.reserve(slot)
        return Effect.succeed(slot)
      }),
      (slot) =>
        Effect.sync(() => {
          if (slot !== undefined) core.unreserve(slot)
        })
    )
  )
})

/**
 * Marks a resource as broken: at rest it is closed at once, on loan when it is returned. Either way its
 * slot then serves the line. Does nothing when the pool does not have the resource.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const invalidate: {
  <A>(item: A): <E>(self: Pool<A, E>) => Effect.Effect<void>
  <A, E>(self: Pool<A, E>, item: A): Effect.Effect<void>
} = dual(2, <A, E>(self: Pool<A, E>, item: A): Effect.Effect<void> => {
  const core = internal.core(self)
  return Effect.withFiber((fiber) => {
    const slot = core.find(item, fiber)
    if (slot !== undefined) core.invalidate(slot, "invalidated")
    return Effect.void
  })
})

/**
 * The newest loan of the fiber that reads it, or of the one that forked it: what a deadlock is found by (`WouldDeadlock`).
 *
 * For what is built on pools. A borrow marks the context that it runs in; where that context ends before the loan does, as
 * when {@link get} runs in a scope that is provided to it alone, the mark is read right after the borrow and provided to
 * whatever the loan is for.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentLoan: Context.Reference<CurrentLoan | undefined> = Holding as Context.Reference<any>

/**
 * A loan, as the reference has it. There is nothing to be done with it but to hand it on.
 *
 * @category models
 * @since 0.1.0
 */
export interface CurrentLoan {
  readonly state: string
}

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

/**
 * Changes the limits of a live pool. Nobody who holds is disturbed: idle resources in excess are closed at
 * once, those on loan when they are returned. A plain number is the new `max`, as `{ max }` alone it
 * lowers `min` where that is above it. A `max` of 0 pauses the pool.
 *
 * @category operations
 * @since 0.1.0
 */
export const resize: {
  (
    limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
  ): <A, E>(self: Pool<A, E>) => Effect.Effect<void>
  <A, E>(
    self: Pool<A, E>,
    limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
  ): Effect.Effect<void>
} = dual(
  2,
  <A, E>(
    self: Pool<A, E>,
    limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
  ): Effect.Effect<void> =>
    Effect.sync(() => {
      const core = internal.core(self)
      const { max = core.max, min = Math.min(core.min, max) } =
        typeof limits === "object" && limits !== null ? limits : { max: limits }
      core.resize(min, max)
    })
)

/**
 * Creates resources until there are `min`, and waits for them. Fails with the first error.
 *
 * @category operations
 * @since 0.1.0
 */
export const warmUp = <A, E>(self: Pool<A, E>): Effect.Effect<void, E | PoolError> =>
  internal.warmUp(internal.core(self))

/**
 * Closes the idle resources that are past `maxAge` or `maxIdle`, without waiting for the timer that would,
 * and says how many.
 *
 * @category operations
 * @since 0.1.0
 */
export const evictExpired = <A, E>(self: Pool<A, E>): Effect.Effect<number> =>
  Effect.sync(() => internal.core(self).evictExpired())

/**
 * Closes all idle resources, and says how many. Those on loan are left alone and are pooled again when
 * they are returned.
 *
 * @category operations
 * @since 0.1.0
 */
export const clear = <A, E>(self: Pool<A, E>): Effect.Effect<number> =>
  Effect.sync(() => internal.core(self).closeIdle(() => "cleared"))

/**
 * Replaces everything that exists now, as after a change of credentials or a fail-over: what is idle is
 * closed at once, what is on loan or being created when it arrives. If that fails to be created, no borrower
 * hears of it: another is created.
 *
 * @category operations
 * @since 0.1.0
 */
export const recycle = <A, E>(self: Pool<A, E>): Effect.Effect<void> =>
  Effect.sync(() => internal.core(self).recycle())

/**
 * Stops lending until {@link resume}. Borrowers wait, with their deadlines; returns are taken.
 *
 * @category operations
 * @since 0.1.0
 */
export const suspend = <A, E>(self: Pool<A, E>): Effect.Effect<void> =>
  Effect.sync(() => internal.core(self).suspend())

/**
 * Lends again after {@link suspend}.
 *
 * @category operations
 * @since 0.1.0
 */
export const resume = <A, E>(self: Pool<A, E>): Effect.Effect<void> =>
  Effect.sync(() => internal.core(self).resume())

/**
 * Closes the pool for good, as the end of its scope does.
 *
 * **Details**
 *
 * Everyone in line, and everyone who asks from now on, fails with `PoolClosed`. What is idle is closed.
 * Borrowers may go on until `closeTimeout`; then they are interrupted, and what they have not returned
 * within `destroyTimeout` more is closed under them. The effect ends when nothing is left. A fiber that
 * closes the pool inside its own {@link use} does not wait: its resource is closed when it returns it.
 *
 * **Gotchas**
 *
 * Who is interrupted is the fiber that borrowed, also if it has handed on what it has by {@link acquire}.
 *
 * @category operations
 * @since 0.1.0
 */
export const close = <A, E>(self: Pool<A, E>): Effect.Effect<void> =>
  Effect.withFiber((fiber) => internal.core(self).shutdown(fiber))

// -----------------------------------------------------------------------------
// Observing
// -----------------------------------------------------------------------------

/**
 * The pool's figures at this moment.
 *
 * @category observing
 * @since 0.1.0
 */
export const stats = <A, E>(self: Pool<A, E>): Effect.Effect<Stats> =>
  Effect.sync(() => report.stats(internal.core(self)))

/**
 * Resources that exist, those being created and those being closed included.
 *
 * @category observing
 * @since 0.1.0
 */
export const size = <A, E>(self: Pool<A, E>): Effect.Effect<number> =>
  Effect.sync(() => internal.core(self).slots.size)

/**
 * Resources at rest.
 *
 * @category observing
 * @since 0.1.0
 */
export const idle = <A, E>(self: Pool<A, E>): Effect.Effect<number> =>
  Effect.sync(() => internal.core(self).idle)

/**
 * Borrows that would not have to wait for another borrower. Never negative.
 *
 * @category observing
 * @since 0.1.0
 */
export const free = <A, E>(self: Pool<A, E>): Effect.Effect<number> =>
  Effect.sync(() => report.room(internal.core(self)))

/**
 * Borrowers in line.
 *
 * @category observing
 * @since 0.1.0
 */
export const pending = <A, E>(self: Pool<A, E>): Effect.Effect<number> =>
  Effect.sync(() => internal.core(self).line.size)

/**
 * Who holds what, since when, under which span; the longest first.
 *
 * @category observing
 * @since 0.1.0
 */
export const leases = <A, E>(self: Pool<A, E>): Effect.Effect<ReadonlyArray<Lease<A>>> =>
  Effect.sync(() => report.leases(internal.core(self)))

/**
 * Who is in line, for how long, under which span; the head first.
 *
 * @category observing
 * @since 0.1.0
 */
export const waiters = <A, E>(self: Pool<A, E>): Effect.Effect<ReadonlyArray<Waiter>> =>
  Effect.sync(() => report.waiters(internal.core(self)))

/**
 * What happens in the pool from now on, until it has closed. A pool that nobody listens to spends nothing
 * on events, and a listener that is more than 1,024 behind loses the oldest, and is told how many (`Dropped`).
 *
 * @category observing
 * @since 0.1.0
 */
export const events = <A, E>(self: Pool<A, E>): Stream.Stream<PoolEvent> => internal.core(self).events.stream

// -----------------------------------------------------------------------------
// Service
// -----------------------------------------------------------------------------

/**
 * The class that {@link Service} makes: a service whose value is the pool, its layer, and the pool's
 * operations on the service in the context.
 *
 * @category services
 * @since 0.1.0
 */
export interface ServiceClass<
  in out Self,
  in out Id extends string,
  in out A,
  in out E
> extends Context.ServiceClass<Self, Id, Pool<A, E>> {
  /** The pool as a scoped layer, by the identifier of the service as its name unless another is given. */
  readonly layer: <R = never, RValidate = never, RReset = never, RRetry = never>(
    options: Options<A, E, R, RValidate, RReset, RRetry>
  ) => Layer.Layer<Self, never, Exclude<R | RValidate | RReset | RRetry, Scope.Scope>>
  readonly get: Effect.Effect<A, E | PoolError, Self | Scope.Scope>
  /** {@link use}; the static `use` of a service is Effect's own, and gives the pool. */
  readonly borrow: <B, E2, R2>(
    f: (item: A) => Effect.Effect<B, E2, R2>
  ) => Effect.Effect<B, E | E2 | PoolError, Self | R2>
  readonly tryBorrow: <B, E2, R2>(
    f: (item: A) => Effect.Effect<B, E2, R2>
  ) => Effect.Effect<Option.Option<B>, E2, Self | R2>
  readonly getAlone: Effect.Effect<A, E | PoolError, Self | Scope.Scope>
  readonly acquire: Effect.Effect<A, E | PoolError, Self>
  readonly release: (item: A) => Effect.Effect<void, NotLeased, Self>
  readonly reserve: (item: A) => Effect.Effect<void, never, Self | Scope.Scope>
  readonly invalidate: (item: A) => Effect.Effect<void, never, Self>
  readonly resize: (
    limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
  ) => Effect.Effect<void, never, Self>
  readonly warmUp: Effect.Effect<void, E | PoolError, Self>
  readonly evictExpired: Effect.Effect<number, never, Self>
  readonly clear: Effect.Effect<number, never, Self>
  readonly recycle: Effect.Effect<void, never, Self>
  readonly suspend: Effect.Effect<void, never, Self>
  readonly resume: Effect.Effect<void, never, Self>
  /** Ahead of the end of the layer's scope, which closes the pool as well. */
  readonly close: Effect.Effect<void, never, Self>
  readonly stats: Effect.Effect<Stats, never, Self>
  readonly leases: Effect.Effect<ReadonlyArray<Lease<A>>, never, Self>
  readonly waiters: Effect.Effect<ReadonlyArray<Waiter>, never, Self>
  readonly events: Stream.Stream<PoolEvent, never, Self>
}

/**
 * A pool as a service, with its layer.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Pool } from "@cenote/pool"
 *
 * class Words extends Pool.Service<Words, Array<string>>()("app/Words") {}
 *
 * const program = Words.borrow((words) => Effect.sync(() => words.push("hello")))
 *
 * const WordsLive = Words.layer({ acquire: Effect.sync(() => new Array<string>()), max: 2 })
 *
 * await Effect.runPromise(Effect.provide(program, WordsLive)) // => 1
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Service =
  <Self, A, E = never>() =>
  <const Id extends string>(id: Id): ServiceClass<Self, Id, A, E> => {
    class PoolService extends Context.Service<Self, Pool<A, E>>()(id) {}
    const service: Context.Service<Self, Pool<A, E>> = PoolService
    const withPool = <B, E2, R2>(
      f: (pool: Pool<A, E>) => Effect.Effect<B, E2, R2>
    ): Effect.Effect<B, E2, R2 | Self> => Effect.flatMap(service, f)
    const operations: Omit<ServiceClass<Self, Id, A, E>, keyof Context.ServiceClass<Self, Id, Pool<A, E>>> = {
      layer: (options) =>
        Layer.effect(service, make({ ...options, name: options.name ?? id })) as Layer.Layer<
          Self,
          never,
          any
        >,
      get: withPool(get),
      borrow: (f) => withPool((pool) => use(pool, f)),
      tryBorrow: (f) => withPool((pool) => tryUse(pool, f)),
      getAlone: withPool(getAlone),
      acquire: withPool(acquire),
      release: (item) => withPool((pool) => release(pool, item)),
      reserve: (item) => withPool((pool) => reserve(pool, item)),
      invalidate: (item) => withPool((pool) => invalidate(pool, item)),
      resize: (limits) => withPool((pool) => resize(pool, limits)),
      warmUp: withPool(warmUp),
      evictExpired: withPool(evictExpired),
      clear: withPool(clear),
      recycle: withPool(recycle),
      suspend: withPool(suspend),
      resume: withPool(resume),
      close: withPool(close),
      stats: withPool(stats),
      leases: withPool(leases),
      waiters: withPool(waiters),
      events: Stream.unwrap(Effect.map(service, events))
    }
    return Object.assign(PoolService, operations)
  }
