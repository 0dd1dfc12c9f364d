/**
 * PostgreSQL for connection pools.
 *
 * @since 0.1.0
 */
export * as PgDriver from "./PgDriver.ts"
