/**
 * Database connection pools for Effect.
 *
 * @since 0.1.0
 */
export * as ConnectionPool from "./ConnectionPool.ts"
export * as DatabaseConnector from "./DatabaseConnector.ts"
export * as RawConnectionPool from "./RawConnectionPool.ts"
export * as SqlConnection from "./SqlConnection.ts"
export * as SqlDriver from "./SqlDriver.ts"
export * as SqlPoolError from "./SqlPoolError.ts"
export * as TpooledConnectionPool from "./TpooledConnectionPool.ts"
