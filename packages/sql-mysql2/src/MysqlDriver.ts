/**
 * MySQL and MariaDB, on connections of `mysql2`.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { remembering, type SqlDriver } from "@cenote/sql/SqlDriver"
import type * as Mysql from "mysql2"
import * as errors from "./internal/errors.ts"
import { addressOf, settingsOf, targetOf, toWire } from "./internal/options.ts"
import { connect } from "./internal/session.ts"

/**
 * Where the server is, and how sessions are opened.
 *
 * **Details**
 *
 * How long connecting may take is the pool's `connectTimeout`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Config {
  /**
   * `mysql://user:password@host:port/database`, with other options of `mysql2` as its parameters (`?charset=latin1`). An option
   * that is given wins over the same part of it.
   */
  readonly url?: Redacted.Redacted | undefined
  /** Default `localhost`. */
  readonly host?: string | undefined
  /** Default 3306. */
  readonly port?: number | undefined
  readonly database?: string | undefined
  readonly username?: string | undefined
  /**
   * An Effect is asked at each connect, so that a password can change: see `recycle` of the pool. It is asked also when a
   * statement is to be stopped, which takes a connection of its own. In a thread it is asked when the session is opened, and
   * not again.
   */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted> | undefined
  /**
   * `true`: encrypted, and the server must have a certificate for its name (for an IP address: any that is trusted). Otherwise
   * what `mysql2` takes: a profile such as `"Amazon RDS"`, or options; those check the name with `verifyIdentity: true` alone.
   * Default: not encrypted.
   */
  readonly ssl?: boolean | string | Mysql.SslOptions | undefined
  /**
   * Whether values are written into the text of statements, instead of statements being prepared: for proxies that cannot
   * prepare, such as Cloudflare Hyperdrive. Default false.
   *
   * **Gotchas**
   *
   * The values are escaped here for the usual `sql_mode`, so not for a server that runs with `NO_BACKSLASH_ESCAPES`.
   */
  readonly disablePreparedStatements?: boolean | undefined
  /**
   * Whether a statement that is interrupted, or a stream that is left early, is stopped by a `KILL QUERY` over a second
   * connection to the same address, and the session lives on. Otherwise its connection is closed. Default true.
   *
   * **When to use**
   *
   * Set it to false where that address is a balancer with several servers behind it, or a proxy that does not know
   * `KILL QUERY`: the number of a session means another one, or nothing, on another server.
   */
  readonly killQueries?: boolean | undefined
  /** Added to each span of a statement. */
  readonly spanAttributes?: Record<string, unknown> | undefined
  /** Applied to the names of columns that come back, such as `String.snakeToCamel`. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Applied to the names in statements, such as `String.camelToSnake`. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /**
   * Everything else that `mysql2` can be told: `socketPath`, `timezone`, `dateStrings`, `charset`, `typeCast`, …
   *
   * **Details**
   *
   * - `supportBigNumbers` is true here: integers beyond 2^53 come back as strings
   * - `multipleStatements` is true, as `@effect/sql-mysql2` has it, since `SqlModel` sends two at once. That goes for statements
   *   that are not prepared (`.unprepared`); what is prepared is one statement
   * - `maxPreparedStatements`, of each session, is 500: a server keeps 16,382 for all of them together
   * - functions, such as `typeCast` and `stream`, cannot go to a thread: they need a `RawConnectionPool`
   */
  readonly connection?: ConnectionOptions | undefined
}

/**
 * The options of `mysql2` that have no other name in {@link Config}.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionOptions = Omit<
  Mysql.ConnectionOptions,
  | "uri"
  | "host"
  | "port"
  | "user"
  | "database"
  | "password"
  | "password1"
  | "ssl"
  | "rowsAsArray"
  | "isServer"
  | "pool"
  | "Promise"
  | "connectionLimit"
  | "maxIdle"
  | "idleTimeout"
  | "queueLimit"
  | "waitForConnections"
  | "gracefulEnd"
>

/**
 * A driver for MySQL and MariaDB. Pools of it also provide `MysqlClient`.
 *
 * **Details**
 *
 * - Statements of one session run one after the other. A stream of rows is read as fast as it is consumed; another statement
 *   that comes in the middle, as in a transaction, has the rest of the rows read into memory and then runs.
 * - An interrupted statement is stopped on the server before the session is used again.
 * - At a deadlock the server rolls back the whole transaction, also where it was met in a nested `withTransaction`: the outer
 *   one then fails with that `DeadlockError`, and can be retried.
 *
 * **Gotchas**
 *
 * Statements such as `CREATE TABLE` commit the transaction that they are in, and its savepoints are gone: a nested
 * `withTransaction` that fails after one dies, since what it has done cannot be taken back.
 *
 * **Example**
 *
 * ```ts
 * import { RawConnectionPool } from "@cenote/sql"
 * import { MysqlDriver } from "@cenote/sql-mysql2"
 * import { Redacted } from "effect"
 *
 * const driver = MysqlDriver.make({ host: "localhost", database: "app", username: "app", password: Redacted.make("secret") })
 *
 * const PoolLive = RawConnectionPool.layer(driver, { max: 10 })
 *
 * driver.target // => "mysql localhost:3306/app"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (config: Config): SqlDriver<MysqlClient.MysqlClient> => {
  checkSecrets(config)
  const { spanAttributes, transformQueryNames, transformResultNames } = config
  const address = addressOf(config)
  const target = targetOf(address)
  const settings = settingsOf(config)
  return {
    name: "mysql2",
    target,
    connect: () => connect(settings, target),
    worker: { url: workerUrl, config: toWire(config, settings, target) },
    isFatal,
    canSwitchAutocommit: true,
    client: {
      compiler: remembering(MysqlClient.makeCompiler(transformQueryNames)),
      transformRows:
        transformResultNames === undefined
          ? undefined
          : Statement.defaultTransforms(transformResultNames).array,
      // A savepoint is not released: one of the same name takes its place, and it may be gone after an implicit commit.
      spanAttributes: [
        ...Object.entries(spanAttributes ?? {}),
        ["db.system.name", "mysql"],
        ["server.address", address.socketPath ?? address.host],
        ...(address.socketPath === undefined ? [["server.port", address.port] as const] : []),
        ...(address.database === undefined ? [] : [["db.namespace", address.database] as const])
      ]
    },
    services: (client) =>
      Context.make(
        MysqlClient.MysqlClient,
        Object.assign(client, { [MysqlClient.TypeId]: MysqlClient.TypeId, config: clientConfig(config) })
      )
  }
}

/** Types would have refused them, where somebody looked. They are not shown. */
const checkSecrets = ({ password, url }: Config): void => {
  if (url !== undefined && !Redacted.isRedacted(url)) {
    throw new TypeError("MysqlDriver: url must be Redacted, so that nothing shows it: Redacted.make(url)")
  }
  if (password !== undefined && !Redacted.isRedacted(password) && !Effect.isEffect(password)) {
    throw new TypeError(
      "MysqlDriver: password must be Redacted, so that nothing shows it, or an Effect of one: Redacted.make(password)"
    )
  }
}

/** Beside this module, compiled or not. */
const workerUrl = new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url)

/**
 * Whether an error means that the session is over: the server has ended it, or nothing can be heard of it.
 *
 * @category guards
 * @since 0.1.0
 */
export const isFatal: (error: SqlError) => boolean = errors.isFatal

/** What is a client's of it: no Effect, and nothing in the clear. */
const clientConfig = (config: Config): MysqlClient.MysqlClientConfig => ({
  url: config.url,
  host: config.host,
  port: config.port,
  database: config.database,
  username: config.username,
  password: Redacted.isRedacted(config.password) ? config.password : undefined,
  disablePreparedStatements: config.disablePreparedStatements,
  spanAttributes: config.spanAttributes,
  transformResultNames: config.transformResultNames,
  transformQueryNames: config.transformQueryNames
})
