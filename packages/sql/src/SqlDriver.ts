/**
 * What a database driver is to a connection pool.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type * as Stream from "effect/Stream"
import type { Compiler } from "effect/sql/Statement"
import { remembering as remembering_ } from "./internal/compiler.ts"
import { extraOf } from "./internal/extra.ts"
import type { SqlConnection } from "./SqlConnection.ts"

/**
 * One session with a database: what a pool holds. It runs one statement after the other.
 *
 * **Details**
 *
 * A statement that is interrupted is cancelled on the server where that is possible, and the session is then ready for the
 * next; where it is not, the session ends.
 *
 * @category models
 * @since 0.1.0
 */
export interface SqlSession extends Connection {
  /** Asks the database for a sign of life. */
  readonly ping: Effect.Effect<void, SqlError>
  /** Rolls back the transaction that is open. Does nothing when none is. */
  readonly rollback: Effect.Effect<void, SqlError>
  /** Makes the session as good as new: settings, temporary tables, locks. It need not roll back first. */
  readonly reset: Effect.Effect<void, SqlError>
  /**
   * Calls back when the session has ended by itself, as after a restart of the server: at most once, and at once when it is
   * so already.
   */
  readonly onEnd: (listener: (error: SqlError) => void) => void
  /**
   * Calls back when the session must not be lent again, though whoever has it can go on: a cancel that the server has not
   * confirmed may hit its next statement.
   */
  readonly onRetire?: ((listener: () => void) => void) | undefined
  /**
   * The session for one user alone, where statements of several fibers share it (`multiplex`).
   */
  readonly exclusive?: Effect.Effect<SqlSession, never, Scope.Scope> | undefined
  /** What it is to the driver beneath: its connection object. */
  readonly native: unknown
  /** Whether it is known to have ended, where that is known sooner than {@link onEnd} tells. */
  readonly hasEnded?: boolean | undefined
  /**
   * What has to be waited for before the next borrower can have the session: a statement that was interrupted, and is still
   * being cancelled elsewhere. Tells whether the session can be lent again. `undefined`: there is nothing to wait for.
   */
  readonly settling?: Effect.Effect<boolean, SqlError> | undefined
  /** What only the driver's own services ask of a session, by name: see {@link extra}. */
  readonly extras?: Readonly<
    Record<string, (...args: ReadonlyArray<any>) => Stream.Stream<unknown, SqlError>>
  >
}

/**
 * What is asked of a new session.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConnectOptions {
  /** Whether fibers share the session, and send statements without waiting for each other. Default false. */
  readonly multiplex?: boolean | undefined
}

/**
 * What a worker needs in order to open sessions.
 *
 * @category models
 * @since 0.1.0
 */
export interface WorkerModule {
  /** A module that exports a class `Session`, made by {@link "./worker".sessionClass}. */
  readonly url: URL
  /**
   * What the class gets. It is asked for before each connect, and travels by structured clone: functions cannot, and a
   * password goes as a string. Fails where an option of the driver cannot travel, and says which.
   */
  readonly config: Effect.Effect<unknown, SqlError>
}

/**
 * A kind of database, and where it is.
 *
 * **Details**
 *
 * `Services` are the services that the driver's packages add to `SqlClient`, such as `PgClient`; without it, any driver will do.
 *
 * @category models
 * @since 0.1.0
 */
export interface SqlDriver<Services = never> {
  /** What errors and names of pools call it: `"pg"`. */
  readonly name: string
  /** What a pool is called that has no name: kind, server and database, never a password. */
  readonly target: string
  /** Opens a session; closing the scope ends it. Can be interrupted. */
  readonly connect: (options: ConnectOptions) => Effect.Effect<SqlSession, SqlError, Scope.Scope>
  /** For connections in threads. */
  readonly worker: WorkerModule
  /** Whether an error means that the session cannot be used again. */
  readonly isFatal: (error: SqlError) => boolean
  /** Whether fibers may share a session. */
  readonly canMultiplex?: boolean | undefined
  /** Whether a statement runs in native code that cannot be stopped, so that a thread must not be killed in it. */
  readonly unkillable?: boolean | undefined
  /**
   * Whether statements can make a session open transactions by itself, as MySQL's `SET autocommit = 0` does. A session on which
   * such a statement may have run is rolled back and reset at its return. Default false.
   */
  readonly canSwitchAutocommit?: boolean | undefined
  /** How its `SqlClient` is made: compiler, attributes of spans, statements of transactions. */
  readonly client: Omit<
    SqlClient.MakeOptions,
    "acquirer" | "borrower" | "transactionAcquirer" | "transactionService" | "driver"
  >
  /** The driver's own services over a pool's client. */
  readonly services: (client: SqlClient, pool: ServicePool) => Context.Context<Services>
}

/**
 * What the services of a driver may use of a pool.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServicePool {
  /** A connection for the caller alone, until the scope closes. */
  readonly reserve: Effect.Effect<SqlConnection, SqlError, Scope.Scope>
}

/**
 * Asks a connection for something that only the services of its driver know, such as PostgreSQL's notifications: one of the
 * session's `extras`, wherever the session lives. Arguments and items travel by structured clone.
 *
 * @category operations
 * @since 0.1.0
 */
export const extra = (
  connection: SqlConnection,
  name: string,
  args: ReadonlyArray<unknown> = []
): Stream.Stream<unknown, SqlError> => extraOf(connection, name, args)

/**
 * A compiler that remembers the texts of statements that have nothing in them but literals and parameters. They are compiled
 * once, and have the very same string each time after that.
 *
 * **Gotchas**
 *
 * For compilers of which a text depends on where parameters are, and not on what they are, such as those of
 * `Statement.makeCompiler` whose `placeholder` does not look at its second argument.
 *
 * @category constructors
 * @since 0.1.0
 */
export const remembering: (compiler: Compiler) => Compiler = remembering_
