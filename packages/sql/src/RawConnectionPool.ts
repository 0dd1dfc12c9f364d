/**
 * Pools whose connections live on the calling thread.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { ConnectionPool, Options as PoolOptions, Service } from "./ConnectionPool.ts"
import { layerOver } from "./internal/layer.ts"
import * as internal from "./internal/pool.ts"
import type { SqlDriver } from "./SqlDriver.ts"

/**
 * Options of all connection pools, and one that only connections on the calling thread have.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends PoolOptions {
  /**
   * Whether single statements of several fibers share a connection, and are sent without waiting for each other's results
   * (PostgreSQL's pipelining). Transactions, streams and borrowed connections still have one for themselves. `statements`
   * is how many may share one, 32 by default: more is faster and waits longer behind a slow one. A statement that is
   * interrupted is not cancelled on the server before those who share its connection have their results. Default false.
   */
  readonly multiplex?: boolean | { readonly statements: number } | undefined
}

/**
 * A pool as a layer, with Effect's `SqlClient` over it and the driver's own services.
 *
 * **Details**
 *
 * Fails where `min` connections cannot be made. Without a `min` nothing connects before the first borrow.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <Services>(
  driver: SqlDriver<Services>,
  options: Options = {}
): Layer.Layer<ConnectionPool | SqlClient | Services, SqlError> =>
  layerOver(driver, options, Effect.succeed(internal.connectRaw(driver, options)))

/**
 * A pool that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Services>(
  driver: SqlDriver<Services>,
  options: Options = {}
): Effect.Effect<Service, never, Scope.Scope> =>
  internal.make(driver, options, internal.connectRaw(driver, options))
