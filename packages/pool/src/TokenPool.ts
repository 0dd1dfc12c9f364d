/**
 * A pool of tokens: no resources, only the right to go on. It limits how many do something at one time,
 * with the line, the deadlines and the figures of a pool.
 *
 * **Example** (At most two at a time)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TokenPool } from "@cenote/pool"
 *
 * let running = 0
 * let most = 0
 * const job = Effect.gen(function*() {
 *   most = Math.max(most, ++running)
 *   yield* Effect.sleep("5 millis")
 *   running--
 * })
 *
 * const program = Effect.gen(function*() {
 *   const tokens = yield* TokenPool.make({ max: 2 })
 *   yield* Effect.forEach([1, 2, 3, 4, 5], () => TokenPool.withToken(tokens, job), { concurrency: "unbounded" })
 * })
 *
 * await Effect.runPromise(Effect.scoped(program))
 * most // => 2
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
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as internal from "./internal/pool.ts"
import * as Pool from "./Pool.ts"
import type { NotLeased, PoolError } from "./PoolError.ts"
import type { PoolEvent } from "./PoolEvent.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * One token. Tokens held at the same time are distinct; a returned one is lent again.
 *
 * @category models
 * @since 0.1.0
 */
export interface Token {
  /** From 1 to the most that were ever out at one time. */
  readonly id: number
}

/**
 * A pool of tokens: a {@link Pool.Pool}, so that all operations on pools work on it too.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenPool extends Pool.Pool<Token> {}

/**
 * How a token pool behaves. See {@link Pool.Options} for what each option means.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly name?: string | undefined
  /** Tokens that may be out at one time. Default 4. */
  readonly max?: number | undefined
  readonly acquireTimeout?: Duration.Input | undefined
  readonly maxWaiting?: number | undefined
  readonly leakAfter?: Duration.Input | undefined
  readonly closeTimeout?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Makes a token pool that lives as long as the scope. Impossible options are a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<TokenPool, never, Scope.Scope> =>
  Effect.suspend(() => {
    let last = 0
    return internal.make({ ...options, acquire: Effect.sync((): Token => ({ id: ++last })) }, "tokens")
  })

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

/**
 * Takes a token until the scope closes.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const get: (self: TokenPool) => Effect.Effect<Token, PoolError, Scope.Scope> = Pool.get

/**
 * Runs an effect while holding a token. Reads both ways: `withToken(tokens, effect)`, and
 * `effect.pipe(withToken(tokens))`.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const withToken: {
  (self: TokenPool): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | PoolError, R>
  <A, E, R>(self: TokenPool, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | PoolError, R>
} = ((self: TokenPool, ...effect: [] | [Effect.Effect<unknown, unknown, unknown>]) =>
  effect.length === 0
    ? (effect: Effect.Effect<unknown, unknown, unknown>) => Pool.use(self, () => effect)
    : Pool.use(self, () => effect[0])) as typeof withToken

/**
 * Runs an effect if a token is free this moment, and gives `Option.none()` at once if not.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const tryWithToken: {
  (self: TokenPool): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E, R>
  <A, E, R>(self: TokenPool, effect: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R>
} = ((self: TokenPool, ...effect: [] | [Effect.Effect<unknown, unknown, unknown>]) =>
  effect.length === 0
    ? (effect: Effect.Effect<unknown, unknown, unknown>) => Pool.tryUse(self, () => effect)
    : Pool.tryUse(self, () => effect[0])) as typeof tryWithToken

/**
 * Takes a token until {@link release}.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const acquire: (self: TokenPool) => Effect.Effect<Token, PoolError> = Pool.acquire

/**
 * Gives back what {@link acquire} took. Any other token fails with `NotLeased` and changes nothing.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const release: {
  (token: Token): (self: TokenPool) => Effect.Effect<void, NotLeased>
  (self: TokenPool, token: Token): Effect.Effect<void, NotLeased>
} = dual(2, (self: TokenPool, token: Token): Effect.Effect<void, NotLeased> => Pool.release(self, token))

/**
 * Changes how many tokens there are. Nobody who holds one is disturbed.
 *
 * @category operations
 * @since 0.1.0
 */
export const resize: {
  (max: number): (self: TokenPool) => Effect.Effect<void>
  (self: TokenPool, max: number): Effect.Effect<void>
} = dual(2, (self: TokenPool, max: number): Effect.Effect<void> => Pool.resize(self, max))

/**
 * The pool's figures at this moment.
 *
 * @category observing
 * @since 0.1.0
 */
export const stats: (self: TokenPool) => Effect.Effect<Pool.Stats> = Pool.stats

/**
 * What happens in the pool from now on.
 *
 * @category observing
 * @since 0.1.0
 */
export const events: (self: TokenPool) => Stream.Stream<PoolEvent> = Pool.events

// -----------------------------------------------------------------------------
// Service
// -----------------------------------------------------------------------------

/**
 * The class that {@link Service} makes.
 *
 * @category services
 * @since 0.1.0
 */
export interface ServiceClass<in out Self, in out Id extends string> extends Context.ServiceClass<
  Self,
  Id,
  TokenPool
> {
  /** The token pool as a scoped layer, named like the service unless another name is given. */
  readonly layer: (options?: Options) => Layer.Layer<Self>
  readonly get: Effect.Effect<Token, PoolError, Self | Scope.Scope>
  readonly withToken: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | PoolError, Self | R>
  readonly tryWithToken: <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<Option.Option<A>, E, Self | R>
  readonly acquire: Effect.Effect<Token, PoolError, Self>
  readonly release: (token: Token) => Effect.Effect<void, NotLeased, Self>
  readonly resize: (max: number) => Effect.Effect<void, never, Self>
  readonly stats: Effect.Effect<Pool.Stats, never, Self>
  readonly events: Stream.Stream<PoolEvent, never, Self>
}

/**
 * A token pool as a service, with its layer.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TokenPool } from "@cenote/pool"
 *
 * class Slots extends TokenPool.Service<Slots>()("app/Slots") {}
 *
 * const program = Slots.withToken(Effect.succeed("done"))
 *
 * await Effect.runPromise(Effect.provide(program, Slots.layer({ max: 2 }))) // => "done"
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Service =
  <Self>() =>
  <const Id extends string>(id: Id): ServiceClass<Self, Id> => {
    class TokenPoolService extends Context.Service<Self, TokenPool>()(id) {}
    const service: Context.Service<Self, TokenPool> = TokenPoolService
    const operations: Omit<ServiceClass<Self, Id>, keyof Context.ServiceClass<Self, Id, TokenPool>> = {
      layer: (options) => Layer.effect(service, make({ ...options, name: options?.name ?? id })),
      get: Effect.flatMap(service, get),
      withToken: (effect) => Effect.flatMap(service, (tokens) => withToken(tokens, effect)),
      tryWithToken: (effect) => Effect.flatMap(service, (tokens) => tryWithToken(tokens, effect)),
      acquire: Effect.flatMap(service, acquire),
      release: (token) => Effect.flatMap(service, (tokens) => release(tokens, token)),
      resize: (max) => Effect.flatMap(service, (tokens) => resize(tokens, max)),
      stats: Effect.flatMap(service, stats),
      events: Stream.unwrap(Effect.map(service, events))
    }
    return Object.assign(TokenPoolService, operations)
  }
