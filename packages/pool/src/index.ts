/**
 * Resource pools for Effect.
 *
 * @since 0.1.0
 */
export * as KeyedPool from "./KeyedPool.ts"
export * as Pool from "./Pool.ts"
export * as PoolError from "./PoolError.ts"
export * as PoolEvent from "./PoolEvent.ts"
export * as PoolMetrics from "./PoolMetrics.ts"
export * as PoolRegistry from "./PoolRegistry.ts"
export * as TokenPool from "./TokenPool.ts"
