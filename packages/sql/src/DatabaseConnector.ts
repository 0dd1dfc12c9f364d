/**
 * One place that knows how to reach each database: a pool for each host and database, with the credentials of the host.
 *
 * Programs ask it for a pool, or take `SqlClient` from {@link client}. Tests put `DatabaseConnectorTest` of `@cenote/testing`
 * in its place, and nothing else in the program changes.
 *
 * **Example**
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { DatabaseConnector } from "@cenote/sql"
 * import { PgDriver } from "@cenote/sql-pg"
 *
 * const ConnectorLive = DatabaseConnector.layer({
 *   driver: PgDriver.make,
 *   defaults: { port: 5432 },
 *   credentials: {
 *     "db1.internal": { username: "app", password: Redacted.make("secret") },
 *     default: { username: "guest" }
 *   },
 *   kind: "raw",
 *   pool: { max: 10 }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const connector = yield* DatabaseConnector.DatabaseConnector
 *   const orders = yield* connector.get({ host: "db1.internal", database: "orders" })
 *   return orders.name
 * })
 *
 * await Effect.runPromise(Effect.provide(program, ConnectorLive)) // => "postgresql db1.internal:5432/orders"
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import { AuthenticationError, SqlError } from "effect/sql/SqlError"
import type { Pool } from "@cenote/pool"
import type { ThreadPool } from "@cenote/threads"
import { ConnectionPool, type Options as PoolOptions, type Service as PoolService } from "./ConnectionPool.ts"
import { withReactivity } from "./internal/layer.ts"
import { makeLazy } from "./internal/lazyPool.ts"
import { checkConnector, defaults as poolDefaults } from "./internal/options.ts"
import { connectRaw, makeBare } from "./internal/pool.ts"
import { makeBareTpooled } from "./internal/tpooledSession.ts"
import type { Options as RawPoolOptions } from "./RawConnectionPool.ts"
import type { SqlDriver } from "./SqlDriver.ts"
import { UnknownHost } from "./SqlPoolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Which database.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  /** Default: the host of `defaults`, or of its `url`, or else `"localhost"`. */
  readonly host?: string | undefined
  /** Default: the database of `defaults`, or else what the driver takes. */
  readonly database?: string | undefined
}

/**
 * What a driver's configuration has to have room for.
 *
 * @category models
 * @since 0.1.0
 */
export interface TargetConfig {
  readonly host?: string | undefined
  readonly database?: string | undefined
  /** Where a host or a database is not asked for, and `defaults` has none, it is that of the `url`, if there is one. */
  readonly url?: unknown
}

/**
 * How databases are reached.
 *
 * **Details**
 *
 * What a driver gets is `defaults`, then host and database as they were asked for, then the credentials of the host: what
 * comes later wins. If there is a `url` among it, the driver has the other options win over the same parts of that: a target
 * of another database, or a host's own password, is what it says.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Config extends TargetConfig> {
  /** Makes the driver for one target, as `PgDriver.make` does. */
  readonly driver: (config: Config) => SqlDriver
  readonly defaults?: Partial<Config> | undefined
  /**
   * What each host needs, by its exact name; `default` is for all others. An Effect is run at each connect, so that
   * a secret can change: `recycle` then has all connections made anew.
   */
  readonly credentials: Readonly<Record<string, Partial<Config> | Effect.Effect<Partial<Config>, unknown>>>
  /** Whether connections live in threads or on the calling thread. Default `"tpooled"`. */
  readonly kind?: "tpooled" | "raw" | undefined
  /** Options of each pool. Its name is the driver's target, after `name` and a slash if there is one. */
  readonly pool?: PoolOptions | undefined
  /**
   * A pool that has had no connection and no borrower for this long is closed, until it is used again. Default 5 min. It does
   * not keep the process up: a program that has nothing else to do ends when the connections have.
   */
  readonly idleTimeout?: Duration.Input | undefined
}

/**
 * The same for connections on the calling thread.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawOptions<Config extends TargetConfig> extends Omit<Options<Config>, "kind" | "pool"> {
  readonly kind: "raw"
  readonly pool?: RawPoolOptions | undefined
}

/**
 * The pool of one target, as {@link DatabaseConnector} shows it.
 *
 * @category models
 * @since 0.1.0
 */
export interface TargetStats {
  readonly host: string
  readonly database: string | undefined
  readonly stats: Pool.Stats
}

/**
 * Knows how to reach each database.
 *
 * @category services
 * @since 0.1.0
 */
export class DatabaseConnector extends Context.Service<
  DatabaseConnector,
  {
    /**
     * The pool for a host and a database: made with the first call, and the same at each later one. Nothing connects
     * before the first borrow.
     */
    readonly get: (target?: Target) => Effect.Effect<PoolService, UnknownHost>
    /** The figures of each pool that was asked for. */
    readonly stats: Effect.Effect<ReadonlyArray<TargetStats>>
    /** Replaces all connections of all pools, as after a change of credentials. */
    readonly recycle: Effect.Effect<void>
  }
>()("@cenote/sql/DatabaseConnector") {}

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * A connector. Its pools close with the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <Config extends TargetConfig>(options: RawOptions<Config>): Layer.Layer<DatabaseConnector>
  <Config extends TargetConfig>(
    options: Options<Config>
  ): Layer.Layer<DatabaseConnector, never, ThreadPool.ThreadPool>
} = (options: Options<any> | RawOptions<any>): Layer.Layer<DatabaseConnector> =>
  withReactivity(Layer.effect(DatabaseConnector, make(options)))

/**
 * `SqlClient` and the pool of one target, for programs and repositories that are written against these.
 *
 * @category layers
 * @since 0.1.0
 */
export const client = (
  target: Target = {}
): Layer.Layer<SqlClient | ConnectionPool, UnknownHost, DatabaseConnector> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const connector = yield* DatabaseConnector
      const pool = yield* connector.get(target)
      return Context.make(SqlClient, pool.client).pipe(Context.add(ConnectionPool, pool))
    })
  )

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

/**
 * The pool for a host and a database.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = (target: Target = {}): Effect.Effect<PoolService, UnknownHost, DatabaseConnector> =>
  Effect.flatMap(DatabaseConnector, (_) => _.get(target))

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

type Secret = Options<TargetConfig>["credentials"][string]

interface Entry {
  readonly host: string
  readonly database: string | undefined
  readonly pool: PoolService
}

const make = Effect.fnUntraced(function* (options: Options<TargetConfig> | RawOptions<TargetConfig>) {
  const scope = yield* Effect.scope
  const runSync = Effect.runSyncWith(yield* Effect.context<Scope.Scope>())
  const { credentials, defaults, kind = "tpooled" } = options
  const poolOptions: RawPoolOptions = options.pool ?? {}
  const idleTimeout = checkConnector(kind, options.idleTimeout ?? "5 minutes")
  const entries = new Map<string, Entry>()

  const secretOf = (host: string) => {
    if (Object.hasOwn(credentials, host)) return credentials[host]
    return Object.hasOwn(credentials, "default") ? credentials["default"] : undefined
  }

  /** `asked` is the host that somebody named. Another one is not given to the driver where a `url` names it. */
  const open = (
    host: string,
    asked: string | undefined,
    database: string | undefined,
    secret: Secret
  ): Entry => {
    const target = merge(defaults, { host: asked, database })
    const make = (credentials?: TargetConfig) => {
      const config = merge(target, credentials)
      return options.driver(config.url === undefined ? { host, ...config } : config)
    }
    const driver = Effect.isEffect(secret) ? asking(host, make, secret) : make(secret)
    const name = poolOptions.name === undefined ? driver.target : `${poolOptions.name}/${driver.target}`
    const own = { ...poolOptions, name }
    const pool = makeLazy({
      name,
      driver,
      min: own.size ?? own.min ?? 0,
      max: own.size ?? own.max ?? Math.max(poolDefaults.max, own.min ?? 0),
      make:
        kind === "raw"
          ? makeBare(driver, own, connectRaw(driver, own))
          : (makeBareTpooled(driver, own) as ReturnType<typeof makeBare>),
      idleTimeout
    })
    return { host, database, pool: runSync(Scope.provide(pool, scope)) }
  }

  const usual = defaults?.host ?? hostOf(defaults)

  return DatabaseConnector.of({
    get: ({ database = defaults?.database, host: asked } = {}) =>
      Effect.suspend(() => {
        const named = asked ?? usual
        const host = named ?? "localhost"
        const secret = secretOf(host)
        if (secret === undefined) {
          return Effect.fail(new UnknownHost({ host, known: Object.keys(credentials) }))
        }
        // Where a `url` may say the host, "localhost" is another one.
        const hasUrl = defaults?.url !== undefined || (!Effect.isEffect(secret) && secret.url !== undefined)
        const key = JSON.stringify([hasUrl ? named : host, database])
        const found = entries.get(key) ?? open(host, asked, database, secret)
        entries.set(key, found)
        return Effect.succeed(found.pool)
      }),
    stats: Effect.suspend(() =>
      Effect.forEach([...entries.values()], ({ database, host, pool }) =>
        Effect.map(pool.stats, (stats) => ({ host, database, stats }))
      )
    ),
    recycle: Effect.suspend(() =>
      Effect.forEach([...entries.values()], ({ pool }) => pool.recycle, { discard: true })
    )
  })
})

/** What comes later wins, where it says anything: an option that is `undefined` is one that was left out. */
const merge = (...configs: ReadonlyArray<TargetConfig | undefined>): TargetConfig =>
  Object.fromEntries(
    configs.flatMap((config) => Object.entries(config ?? {}).filter(([, value]) => value !== undefined))
  )

/** The host that a `url` names. */
const hostOf = ({ url }: TargetConfig = {}): string | undefined => {
  const text = Redacted.isRedacted(url) ? Redacted.value(url) : url
  const parsed = typeof text === "string" ? URL.parse(text) : null
  return parsed?.hostname.replaceAll(/^\[|\]$/g, "") || undefined
}

/** A driver that asks for the credentials at each connect. */
const asking = (
  host: string,
  make: (credentials?: TargetConfig) => SqlDriver,
  secret: Effect.Effect<TargetConfig, unknown>
): SqlDriver => {
  const now = Effect.map(secret, make).pipe(
    Effect.mapError((cause) => {
      const message = `the credentials of host ${JSON.stringify(host)} could not be had`
      return new SqlError({ reason: new AuthenticationError({ cause, message, operation: "connect" }) })
    })
  )
  const shape = make()
  return {
    ...shape,
    connect: (options) => Effect.flatMap(now, (driver) => driver.connect(options)),
    worker: { ...shape.worker, config: Effect.flatMap(now, (driver) => driver.worker.config) }
  }
}
