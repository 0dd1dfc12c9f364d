/**
 * SQLite for connection pools, on `node:sqlite`.
 *
 * @since 0.1.0
 */
export * as SqliteDriver from "./SqliteDriver.ts"
