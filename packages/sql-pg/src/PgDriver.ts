/**
 * PostgreSQL, on the sessions of `@effect/sql-pg`.
 *
 * @since 0.1.0
 */
import { PgClient, type PgConnection } from "@effect/sql-pg"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { remembering, type SqlDriver } from "@cenote/sql/SqlDriver"
import { commit, services } from "./internal/client.ts"
import { isFatal as isFatal_ } from "./internal/errors.ts"
import { connect } from "./internal/session.ts"
import { toWire } from "./internal/wire.ts"

/**
 * Where the server is, and how sessions are opened. What `@effect/sql-pg` says about its options holds here.
 *
 * **Details**
 *
 * - `url`, or `host` (default `localhost`), `port` (5432), `database`, `username`, `password`; `path` is a Unix socket. An option
 *   that is given wins over the same part of the `url`
 * - `password` may be an Effect: it is asked for at each connect, so that a secret can change (see `recycle`)
 * - `prepare: false` where a pooler between here and the server cannot keep prepared statements, as PgBouncer before 1.21 in
 *   transaction mode
 * - `stream`, `types` and functions in `ssl` cannot go to a thread: they need a `RawConnectionPool`
 *
 * How long connecting may take is the pool's `connectTimeout`, and who shares a session its `multiplex`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Config extends Omit<PgConnection.Config, "connectTimeout" | "multiplex"> {
  /** Added to each span of a statement. */
  readonly spanAttributes?: Record<string, unknown> | undefined
  /** Applied to the names of columns that come back, such as `String.snakeToCamel`. */
  readonly transformResultNames?: ((name: string) => string) | undefined
  /** Applied to the names in statements, such as `String.camelToSnake`. */
  readonly transformQueryNames?: ((name: string) => string) | undefined
  /** Whether the transformations also go into JSON values. Default true. */
  readonly transformJson?: boolean | undefined
}

/**
 * A driver for PostgreSQL. Pools of it also provide `PgClient`, with `json`, `listen` and `notify`.
 *
 * **Gotchas**
 *
 * `notify` inside a transaction belongs to it: PostgreSQL delivers on commit, and not at all after a rollback. The client of
 * `@effect/sql-pg` itself sends it on another connection.
 *
 * **Example**
 *
 * ```ts
 * import { RawConnectionPool } from "@cenote/sql"
 * import { PgDriver } from "@cenote/sql-pg"
 * import { Redacted } from "effect"
 *
 * const driver = PgDriver.make({ host: "localhost", database: "app", username: "app", password: Redacted.make("secret") })
 *
 * const PoolLive = RawConnectionPool.layer(driver, { max: 10 })
 *
 * driver.target // => "postgresql localhost:5432/app"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (config: Config): SqlDriver<PgClient.PgClient> => {
  checkSecrets(config)
  const { spanAttributes, transformJson, transformQueryNames, transformResultNames, ...rest } = config
  // The pool limits how long connecting may take.
  const session: PgConnection.Config = { ...rest, connectTimeout: Duration.infinity }
  const { database, host, port } = targetOf(config)
  return {
    name: "pg",
    target: `postgresql ${host}:${port}/${database}`,
    connect: ({ multiplex }) =>
      Effect.andThen(checkUrl(config), connect(multiplex === true ? { ...session, multiplex } : session)),
    worker: {
      url: workerUrl,
      config: Effect.andThen(checkUrl(config), toWire(session))
    },
    isFatal: isFatal_,
    canMultiplex: true,
    client: {
      compiler: remembering(PgClient.makeCompiler(transformQueryNames, transformJson)),
      transformRows:
        transformResultNames === undefined
          ? undefined
          : Statement.defaultTransforms(transformResultNames, transformJson).array,
      prepareTransactionControls: true,
      commit,
      releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
      spanAttributes: [
        ...Object.entries(spanAttributes ?? {}),
        ["db.system.name", "postgresql"],
        ["db.namespace", database],
        ["server.address", host],
        ["server.port", port]
      ]
    },
    services: (client, pool) => services(client, pool, config)
  }
}

/**
 * Whether an error means that the session is over: the server says that it is fatal, or nothing can be heard of it.
 *
 * @category guards
 * @since 0.1.0
 */
export const isFatal: (error: SqlError) => boolean = isFatal_

/** Both are written out, so that bundlers find them. */
const workerUrl = import.meta.url.endsWith(".ts")
  ? new URL("./worker.ts", import.meta.url)
  : new URL("./worker.js", import.meta.url)

/** Types would have refused them, where somebody looked. They are not shown. */
const checkSecrets = ({ password, url }: Config): void => {
  if (url !== undefined && !Redacted.isRedacted(url)) {
    throw new TypeError("PgDriver: url must be Redacted, so that nothing shows it: Redacted.make(url)")
  }
  if (password !== undefined && !Redacted.isRedacted(password) && !Effect.isEffect(password)) {
    throw new TypeError(
      "PgDriver: password must be Redacted, so that nothing shows it, or an Effect of one: Redacted.make(password)"
    )
  }
}

/** What is under it would put the URL into its error, with the password that is in it. */
const checkUrl = ({ url }: Config): Effect.Effect<void, SqlError> => {
  if (url === undefined || parse(url) !== undefined) return Effect.void
  const message =
    "the url of PgDriver is none: postgres://user:password@host:port/database is expected, with the special characters of its " +
    "parts percent-encoded. It is not shown, since it may hold a password"
  return Effect.fail(
    new SqlError({
      reason: new UnknownError({ cause: new TypeError(message), message, operation: "connect" })
    })
  )
}

const parse = (url: Redacted.Redacted): URL | undefined => {
  const parsed = URL.parse(Redacted.value(url))
  return parsed !== null && /^postgres(?:ql)?:$/.test(parsed.protocol) && !isCutShort(parsed)
    ? parsed
    : undefined
}

/**
 * A password with a `/`, `?` or `#` in it as it stands ends the authority: the user is taken for the host, what the password
 * begins with for the port, and the rest of it for the name of the database, which is shown.
 */
const isCutShort = ({ hash, password, pathname, search, username }: URL): boolean =>
  username + password === "" && ((pathname + hash).includes("@") || /^[^=]*@/.test(search))

/**
 * What the pool is called, and what spans say: what `@effect/sql-pg` makes of the same options. Never fails: what is wrong with
 * them is told by the connect.
 */
const targetOf = ({ database, host, path, port, url, username }: Config) => {
  const parsed = url === undefined ? undefined : parse(url)
  const named = (parameter: string) => parsed?.searchParams.getAll(parameter).at(-1)
  const user =
    username ??
    named("user") ??
    (decoded(parsed?.username) || process.env["USER"] || process.env["USERNAME"] || "postgres")
  return {
    host:
      path ?? host ?? named("host") ?? (decoded(parsed?.hostname.replaceAll(/^\[|\]$/g, "")) || "localhost"),
    port: port ?? (Number(named("port") ?? parsed?.port) || 5432),
    database: database ?? named("dbname") ?? (decoded(parsed?.pathname.slice(1)) || user)
  }
}

const decoded = (text: string = ""): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
