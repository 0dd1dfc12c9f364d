/**
 * A connection that a pool has lent.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"

/**
 * What makes a connection ready for its next borrower, when it is returned.
 *
 * - `"rollback"`: rolls back what is open, as eventlet does. Costs nothing where nothing can be open.
 * - `"reset"`: rolls back, and then has the driver reset the session: settings, temporary tables, locks.
 * - `"none"`: nothing.
 * - a function: that alone. The connection is closed if it fails.
 *
 * @category models
 * @since 0.1.0
 */
export type Cleanup =
  | "rollback"
  | "reset"
  | "none"
  | ((connection: Connection) => Effect.Effect<unknown, unknown>)

/**
 * A connection on loan: all that Effect's `Connection` has, until it is returned. Each loan has a handle of its
 * own; one that was returned fails at any use.
 *
 * @category models
 * @since 0.1.0
 */
export interface SqlConnection extends Connection {
  /** Number of the connection in its pool, as in statistics and events. */
  readonly id: number
  /** When it was connected, in milliseconds since 1970. */
  readonly connectedAt: number
  /** Whether it has not been returned yet. */
  readonly isHeld: Effect.Effect<boolean>
  /**
   * Returns the connection before its scope closes; the connection stays open. Does nothing the second
   * time. `cleanup` stands in for the pool's, this once.
   */
  readonly release: (options?: { readonly cleanup?: Cleanup | undefined }) => Effect.Effect<void>
  /** What is to be done at this return instead of the pool's `cleanup`. */
  readonly setCleanup: (cleanup: Cleanup) => Effect.Effect<void>
  /** Has the connection closed when it is returned. */
  readonly invalidate: Effect.Effect<void>
  /** Asks the database for a sign of life. */
  readonly ping: Effect.Effect<void, SqlError>
  /** Rolls back the transaction that is open, if one is. */
  readonly rollback: Effect.Effect<void, SqlError>
  /** Makes the session as good as new: settings, temporary tables, locks. */
  readonly reset: Effect.Effect<void, SqlError>
  /** The driver's own connection. Of a connection in a thread: its proxy. */
  readonly native: unknown
}
