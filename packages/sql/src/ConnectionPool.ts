/**
 * Pools of database connections, under Effect's `SqlClient`.
 *
 * A program that is written against `SqlClient` runs on such a pool as it stands: statements borrow a connection each,
 * transactions and streams keep one until they end. What the pool adds is for the rest: connections of one's own, limits,
 * statistics, and what happens when a server goes away.
 *
 * - {@link layer}, which is `TpooledConnectionPool.layer`: each connection lives in a thread of a `ThreadPool`
 * - `RawConnectionPool.layer`: connections live on the calling thread
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
 *   yield* sql`create table users (name text)`
 *   yield* sql`insert into users ${sql.insert([{ name: "Ada" }, { name: "Grace" }])}`
 *   return yield* sql`select count(*) as users from users`
 * })
 *
 * const PoolLive = RawConnectionPool.layer(SqliteDriver.make({ filename: ":memory:" }), { max: 1 })
 *
 * await Effect.runPromise(Effect.provide(program, PoolLive)) // => [{ users: 2 }]
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Pool, PoolEvent } from "@cenote/pool"
import type { Cleanup, SqlConnection } from "./SqlConnection.ts"
import type { ConnectTimeout, SqlPoolError } from "./SqlPoolError.ts"
import * as service from "./internal/service.ts"
import { layer as tpooledLayer } from "./TpooledConnectionPool.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * How a connection pool behaves. Each option may be left out; the defaults are eventlet's, and pools of the other
 * packages say more about those that they share.
 *
 * **Gotchas**
 *
 * An option that makes no sense is a defect at construction, whose message names it and says what is allowed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What errors, spans and the registry call the pool. Default: kind, server and database. */
  readonly name?: string | undefined
  /** Stands for `min` and `max` at once: a pool of fixed size, connected at construction. */
  readonly size?: number | undefined
  /** Connections kept open even when nobody asks. Default 0: nothing connects before the first borrow. */
  readonly min?: number | undefined
  /** Connections that may be open at one time. Default 4, or `min` if more. */
  readonly max?: number | undefined
  /** Which idle connection is lent next. Default `"lifo"`, the one used last, so that the rest can expire. */
  readonly order?: "fifo" | "lifo" | undefined

  /** Limit for one attempt to connect; past it the borrow fails with `ConnectTimeout`. Default 5 s. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Attempts to connect that may be under way at one time. Default: no limit. */
  readonly connectConcurrency?: number | undefined
  /** Retries an attempt to connect that failed. Meanwhile borrowers wait, up to their own deadline. Default: none. */
  readonly connectRetry?: Schedule.Schedule<unknown, SqlError | ConnectTimeout> | undefined
  /** One deadline for the whole borrow: line, connecting, validation, retries. Default: none. */
  readonly acquireTimeout?: Duration.Input | undefined
  /** Borrowers that may wait for another borrower; one more fails with `LineFull` at once. Default: no limit. */
  readonly maxWaiting?: number | undefined

  /** Rest past which a connection is closed. Zero: never reused. Default 10 s. */
  readonly maxIdle?: Duration.Input | undefined
  /** Age past which a connection is closed, at the latest when it is returned. Zero: never reused. Default 30 s. */
  readonly maxAge?: Duration.Input | undefined
  /** Share of `maxAge` that is taken off at random, so that not all go together. Default 0.025. */
  readonly maxAgeJitter?: number | undefined
  /** Loans after which a connection is closed. Default: no limit. */
  readonly maxUses?: number | undefined

  /** A connection that has rested longer is asked for a sign of life before it is lent. Default 500 ms. */
  readonly validateAfterIdle?: Duration.Input | undefined
  /** How long it may take to give one. Default 5 s. */
  readonly validateTimeout?: Duration.Input | undefined
  /** Asks idle connections for a sign of life this often, so that nothing on the way drops them for being quiet. */
  readonly keepAlive?: { readonly every: Duration.Input } | undefined

  /** What makes a connection ready for its next borrower. Default `"rollback"`. */
  readonly cleanup?: Cleanup | undefined
  /** A clean-up that takes longer fails, and the connection is closed; so does the rollback of a transaction. Default 30 s. */
  readonly cleanupTimeout?: Duration.Input | undefined

  /** A loan that lasts longer is logged, and told as an event, with who holds it. Default: never. */
  readonly leakAfter?: Duration.Input | undefined
  /** How long closing the pool waits for borrowers before it interrupts them. Default 30 s. */
  readonly closeTimeout?: Duration.Input | undefined
}

/**
 * A pool of database connections.
 *
 * @category services
 * @since 0.1.0
 */
export const ConnectionPool = service.ConnectionPool

/**
 * A pool of database connections.
 *
 * @category services
 * @since 0.1.0
 */
export type ConnectionPool = service.ConnectionPool

/**
 * What a pool of database connections can do.
 *
 * @category models
 * @since 0.1.0
 */
export type Service = service.ConnectionPool["Service"]

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * A pool whose connections live in threads: `TpooledConnectionPool.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = tpooledLayer

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

/**
 * Borrows a connection for the caller alone, until the scope closes or the connection is released.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const get: Effect.Effect<SqlConnection, SqlPoolError, ConnectionPool | Scope.Scope> = Effect.flatMap(
  ConnectionPool,
  (_) => _.get
)

/**
 * Borrows a connection for the caller alone while an effect runs.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const use = <A, E, R>(
  f: (connection: SqlConnection) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlPoolError, ConnectionPool | Exclude<R, Scope.Scope>> =>
  Effect.flatMap(ConnectionPool, (_) => _.use(f))

/**
 * Has a borrowed connection closed when it is returned.
 *
 * @category borrowing
 * @since 0.1.0
 */
export const invalidate = (connection: SqlConnection): Effect.Effect<void> => connection.invalidate

/**
 * Changes the limits of the pool; nobody who holds is disturbed. A plain number is the new `max`.
 *
 * @category operations
 * @since 0.1.0
 */
export const resize = (
  limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
): Effect.Effect<void, never, ConnectionPool> => Effect.flatMap(ConnectionPool, (_) => _.resize(limits))

/**
 * Closes all idle connections, and says how many.
 *
 * @category operations
 * @since 0.1.0
 */
export const clear: Effect.Effect<number, never, ConnectionPool> = Effect.flatMap(
  ConnectionPool,
  (_) => _.clear
)

/**
 * Replaces everything that is connected now, as after a change of credentials or a fail-over: what is idle at once, what is
 * on loan when it is returned.
 *
 * @category operations
 * @since 0.1.0
 */
export const recycle: Effect.Effect<void, never, ConnectionPool> = Effect.flatMap(
  ConnectionPool,
  (_) => _.recycle
)

/**
 * The pool's figures at this moment.
 *
 * @category observing
 * @since 0.1.0
 */
export const stats: Effect.Effect<Pool.Stats, never, ConnectionPool> = Effect.flatMap(
  ConnectionPool,
  (_) => _.stats
)

/**
 * What happens in the pool from now on.
 *
 * @category observing
 * @since 0.1.0
 */
export const events: Stream.Stream<PoolEvent.PoolEvent, never, ConnectionPool> = Stream.unwrap(
  Effect.map(ConnectionPool, (_) => _.events)
)
