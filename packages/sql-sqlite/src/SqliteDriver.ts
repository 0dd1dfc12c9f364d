/**
 * SQLite, as connection pools use it.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql/SqlClient"
 * import { RawConnectionPool } from "@cenote/sql"
 * import { SqliteDriver } from "@cenote/sql-sqlite"
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient
 *   yield* sql`create table users (id integer primary key, name text)`
 *   return yield* sql`insert into users ${sql.insert({ name: "Ada" })} returning *`
 * })
 *
 * const PoolLive = RawConnectionPool.layer(SqliteDriver.make({ filename: ":memory:" }))
 *
 * await Effect.runPromise(Effect.provide(program, PoolLive)) // => [{ id: 1, name: "Ada" }]
 * ```
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import { DatabaseSync } from "node:sqlite"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { remembering, type SqlDriver } from "@cenote/sql/SqlDriver"
import { check, type WireConfig } from "./internal/config.ts"
import { isFatal, sqlError } from "./internal/error.ts"
import { connect } from "./internal/session.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A database, and how its connections behave.
 *
 * **Gotchas**
 *
 * An option that makes no sense throws in {@link make}, with a message that names it and says what is allowed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Config {
  /**
   * The path of a file, a `file:` URL, a URI as SQLite knows them (`"file:app.db?mode=ro"`), or `":memory:"`.
   *
   * A file is created if it is not there. With `":memory:"`, all connections of this driver, also those in threads, share one
   * database, which exists as long as the driver does. It may have 1 GiB. Its reads wait for a transaction that writes.
   */
  readonly filename: string | URL
  /** Opens the database for reading only; the file has to be there. Default false. */
  readonly readonly?: boolean | undefined
  /**
   * Has the file keep a write-ahead log, so that reading and writing do not wait for each other. It stays so for the file.
   * Default true; for files that are opened for writing.
   */
  readonly wal?: boolean | undefined
  /** Has foreign keys enforced. Default true. */
  readonly foreignKeys?: boolean | undefined
  /**
   * How long a statement waits for a lock of another connection before it fails with `LockTimeoutError`. Zero: not at all.
   * Only the fiber waits, not the thread. Default 5 seconds.
   *
   * Within a transaction only its first statement and its end wait, since two that have begun could wait for each other.
   * `withTransaction` cannot be interrupted while it waits to begin.
   */
  readonly busyTimeout?: Duration.Input | undefined
  /**
   * When `withTransaction` takes the lock that lets it write.
   *
   * - `"immediate"`: as it begins, and so it waits for others that write. The default.
   * - `"deferred"`: at its first statement that writes. Transactions that only read go on side by side, but one that reads
   *   and then writes fails when another has written in between, and waiting would not help. The default with `readonly`.
   *
   * One transaction can have it otherwise: `Effect.provideService(SqlClient.BeginTransaction, "BEGIN")`.
   */
  readonly transactions?: "deferred" | "immediate" | undefined
  /** Statements that a connection keeps prepared: those that it ran last. Default 200. */
  readonly prepareCacheSize?: number | undefined
  /** Pragmas that each connection sets: `{ synchronous: "NORMAL", cache_size: -20000 }`. */
  readonly pragmas?: Readonly<Record<string, string | number | boolean | undefined>> | undefined
  /** Paths of extensions that each connection loads. */
  readonly extensions?: ReadonlyArray<string> | undefined
  /** Attributes for the spans of statements. */
  readonly spanAttributes?: Readonly<Record<string, unknown>> | undefined
  /** Renames the columns of results. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Renames what a program has as names, on their way into SQL. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * A driver for the database that the options name. Nothing is opened before a pool connects.
 *
 * **Details**
 *
 * - Parameters: strings, numbers, bigints, `Uint8Array` and null as they are, booleans as 0 and 1, a `Date` as text in
 *   ISO 8601. As with `node:sqlite`, a number is bound as a real one, so that `'no. ' || ?` gives `no. 7.0`: pass a bigint, or
 *   cast.
 * - Results: plain objects. Integers are numbers, and one that is too large for a number fails; with `SafeIntegers` of
 *   `SqlClient` all are bigints. A blob is a `Uint8Array`. A raw statement without rows gives
 *   `{ changes, lastInsertRowid }`.
 * - A statement cannot be stopped once it runs: an interruption waits until it has ended. Streams fetch rows as they are
 *   wanted, and can be stopped between two fetches.
 * - `ROLLBACK` without a transaction does nothing, as SQLite may have rolled back already when something failed.
 *
 * **Example** (A file, in threads)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql/SqlClient"
 * import { ConnectionPool } from "@cenote/sql"
 * import { SqliteDriver } from "@cenote/sql-sqlite"
 * import { NodeThreads } from "@cenote/threads"
 *
 * const driver = SqliteDriver.make({
 *   filename: new URL("./app.db", import.meta.url),
 *   busyTimeout: "10 seconds",
 *   pragmas: { synchronous: "NORMAL" }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient
 *   const [row] = yield* sql<{ journal_mode: string }>`pragma journal_mode`
 *   return row?.journal_mode
 * })
 *
 * const PoolLive = ConnectionPool.layer(driver, { max: 2 })
 *
 * await program.pipe(Effect.provide(PoolLive), Effect.provide(NodeThreads.layer({ max: 2 })), Effect.runPromise) // => "wal"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (config: Config): SqlDriver => {
  const { inMemory, transactions, wire } = check(config, newMemory)
  const ready = inMemory ? anchored(wire) : Effect.succeed(wire)
  return {
    name: "sqlite",
    target: `sqlite:${wire.database}`,
    connect: () => Effect.flatMap(ready, connect),
    worker: { url: ownWorker(), config: ready },
    isFatal,
    unkillable: true,
    client: {
      compiler: remembering(Statement.makeCompilerSqlite(config.transformQueryNames)),
      spanAttributes: [
        ...Object.entries(config.spanAttributes ?? {}),
        ["db.system.name", "sqlite"],
        ["db.namespace", wire.database]
      ],
      transformRows:
        config.transformResultNames && Statement.defaultTransforms(config.transformResultNames).array,
      prepareTransactionControls: true,
      beginTransaction: transactions === "immediate" ? "BEGIN IMMEDIATE" : "BEGIN",
      // After a COMMIT that failed, as on a foreign key that is checked only then, the transaction is still open.
      onCommitFailure: (connection) => Effect.asVoid(connection.execute("ROLLBACK", [], undefined)),
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`
    },
    services: () => Context.empty()
  }
}

/** Beside this file in an installed package, and in the sources. */
const ownWorker = (): URL =>
  new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url)

/**
 * A database in memory that connections share across threads. Unlike SQLite's shared cache, this has locks that can be
 * waited for.
 */
const newMemory = (): string => `file:/cenote-${randomUUID()}?vfs=memdb`

/**
 * Keeps the database while no connection of a pool has it open: it would be gone with the last one. It is let go of
 * together with the driver, by the garbage collector.
 */
const anchored = (wire: WireConfig): Effect.Effect<WireConfig, SqlError> => {
  let anchor: DatabaseSync | undefined
  return Effect.try({
    try: () => {
      anchor ??= new DatabaseSync(wire.path)
      return wire
    },
    catch: (cause) => sqlError(cause, { operation: "connect", database: wire.database })
  })
}
