// What a session needs in order to connect, made of a configuration.
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import * as Redacted from "effect/Redacted"
import type { SqlError } from "effect/sql/SqlError"
import type * as Mysql from "mysql2"
import { isIP } from "node:net"
import type { Config } from "../MysqlDriver.ts"
import { usageError } from "./errors.ts"

/** Everything that opening a session takes, secrets in the clear. It is asked for again at each connect. */
export interface Settings {
  /** What mysql2 gets. */
  readonly options: Mysql.ConnectionOptions
  /** Whether statements are prepared. */
  readonly prepares: boolean
  /** Whether a statement that is interrupted is stopped by `KILL QUERY`. */
  readonly kills: boolean
}

/** Where the server is. */
export interface Address {
  readonly host: string
  readonly port: number
  readonly socketPath: string | undefined
  readonly database: string | undefined
}

/** Never fails: what is wrong with the configuration is told by the connect. */
export const addressOf = (config: Config): Address => {
  const parts = partsOf(config) ?? noParts
  const { socketPath } = parts.params
  return {
    host: config.host ?? parts.host ?? "localhost",
    port: config.port ?? parts.port ?? 3306,
    socketPath: config.connection?.socketPath ?? (typeof socketPath === "string" ? socketPath : undefined),
    database: config.database ?? parts.database
  }
}

/** What the server is called, never with a password. */
export const targetOf = (address: Address): string => {
  const { database, host, port, socketPath } = address
  return `mysql ${socketPath ?? `${host}:${port}`}${database === undefined ? "" : `/${database}`}`
}

/** Fails where the configuration cannot be understood. */
export const settingsOf = (config: Config): Effect.Effect<Settings, SqlError> => {
  const parts = partsOf(config)
  if (parts === undefined) return Effect.fail(malformedUrl())
  if (typeof config.connection?.stream === "object") return Effect.fail(streamObject())
  const { database, host, port } = addressOf(config)
  // mysql2 would take the usual one for what is none.
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return Effect.fail(noPort(port))
  const { ssl, ...params } = parts.params
  const connection = Object.entries(config.connection ?? {}).filter(([key]) => !ours.has(key))
  const fixed: Mysql.ConnectionOptions = {
    supportBigNumbers: true,
    // As `@effect/sql-mysql2` has it: `SqlModel` needs it. What is prepared is one statement all the same.
    multipleStatements: true,
    // How long connecting may take is the pool's to say.
    connectTimeout: 0,
    maxPreparedStatements,
    ...params,
    ...Object.fromEntries(connection),
    ...given({
      host,
      port,
      user: config.username ?? parts.user,
      database,
      // mysql2 writes into what it gets, and shares what it has made of one object `ssl`: it gets one of its own, always the same.
      ssl: sslOf(config.ssl ?? ssl, host)
    })
  }
  const settings = (password: string | undefined): Settings => ({
    options: { ...fixed, ...given({ password }) },
    prepares: config.disablePreparedStatements !== true,
    kills: config.killQueries !== false
  })
  const { password } = config
  // Not a value: whoever looks at an Effect sees one that is in it.
  if (password === undefined) return Effect.sync(() => settings(parts.password))
  return Effect.map(Effect.isEffect(password) ? password : Effect.succeed(password), (password) =>
    settings(Redacted.value(password))
  )
}

/** What a thread gets. */
export interface WireConfig {
  readonly settings: Settings
  readonly target: string
}

/** The settings for a thread. Fails where an option cannot go there. */
export const toWire = (
  config: Config,
  settings: Effect.Effect<Settings, SqlError>,
  target: string
): Effect.Effect<WireConfig, SqlError> => {
  const option = unclonable(config.connection, "connection") ?? unclonable(config.ssl, "ssl")
  return option === undefined
    ? Effect.map(settings, (settings) => ({ settings, target }))
    : Effect.fail(cannotTravel(option))
}

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

/** A server keeps 16,382 for all its sessions together, and mysql2 would keep 16,000 for each. */
const maxPreparedStatements = 500

/** Options of mysql2 that have another name in the configuration, or belong to its pool. */
const ours = new Set([
  "uri",
  "host",
  "port",
  "user",
  "database",
  "password",
  "password1",
  "ssl",
  "pool",
  "isServer",
  "Promise",
  "connectionLimit",
  "waitForConnections",
  "queueLimit",
  "maxIdle",
  "idleTimeout",
  "resetOnRelease",
  "gracefulEnd",
  "rowsAsArray"
])

interface Parts {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly user?: string | undefined
  readonly password?: string | undefined
  readonly database?: string | undefined
  /** Options of mysql2, as in `?charset=latin1`. */
  readonly params: Readonly<Record<string, unknown>>
}

const noParts: Parts = { params: {} }

/** What the URL says. Undefined if it is not one. */
const partsOf = ({ host, url }: Config): Parts | undefined => {
  if (url === undefined) return noParts
  const parsed = URL.parse(Redacted.value(url))
  if (parsed === null || !protocols.has(parsed.protocol) || isCutShort(parsed)) return undefined
  try {
    const { hostname } = parsed
    return {
      host: part(hostname.startsWith("[") ? hostname.slice(1, -1) : hostname),
      port: parsed.port === "" ? undefined : Number(parsed.port),
      user: part(parsed.username),
      password: part(parsed.password),
      database: part(parsed.pathname.slice(1)),
      params: Object.fromEntries(
        [...parsed.searchParams]
          .filter(([key]) => !ours.has(key) || key === "ssl")
          // To mysql2 it goes before a host, and here the host may be an option.
          .filter(([key]) => key !== "socketPath" || host === undefined)
          .map(([key, value]) => [key, param(value)])
      )
    }
  } catch {
    // A percent sign that is not followed by what it should be.
    return undefined
  }
}

/**
 * A password with a `/`, `?` or `#` in it as it stands ends the authority: the user is taken for the host, what the password
 * begins with for the port, and the rest of it for the name of the database, which is shown.
 */
const isCutShort = ({ hash, password, pathname, search, username }: URL): boolean =>
  username + password === "" && ((pathname + hash).includes("@") || /^[^=]*@/.test(search))

const protocols = new Set(["mysql:", "mysql2:", "mariadb:"])

const part = (text: string): string | undefined => (text === "" ? undefined : decodeURIComponent(text))

/** As mysql2 reads it: JSON where it is, else text. */
const param = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

/** `true`: encrypted, by a server that has a certificate for its name. */
const sslOf = (ssl: unknown, host: string): string | Mysql.SslOptions | undefined => {
  if (ssl === undefined || ssl === false || ssl === null) return undefined
  if (ssl === true) return { rejectUnauthorized: true, verifyIdentity: isIP(host) === 0 }
  return typeof ssl === "string" ? ssl : { ...(ssl as Mysql.SslOptions) }
}

const given = <A extends object>(options: A): { [K in keyof A]: Exclude<A[K], undefined> } =>
  Object.fromEntries(Object.entries(options).filter((entry) => entry[1] !== undefined)) as any

const malformedUrl = (): SqlError =>
  usageError(
    "the option url of MysqlDriver is not a URL. Expected mysql://user:password@host:port/database, " +
      "with the special characters of its parts percent-encoded",
    "connect"
  )

const noPort = (port: unknown): SqlError =>
  usageError(
    `the option port of MysqlDriver is ${format(port)}. Expected a whole number from 1 to 65535`,
    "connect"
  )

const streamObject = (): SqlError =>
  usageError(
    "the option connection.stream of MysqlDriver is a stream, and a pool has many connections. " +
      "Pass a function that makes one",
    "connect"
  )

const cannotTravel = (option: string): SqlError =>
  usageError(
    `the option ${option} of MysqlDriver cannot go to the thread of a TpooledConnectionPool. ` +
      "Leave it out, or use RawConnectionPool",
    "connect"
  )

/** The first thing in an option that structured clone cannot carry, by its path. */
const unclonable = (value: unknown, path: string): string | undefined => {
  if (typeof value === "function" || typeof value === "symbol") return path
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return undefined
  if (!Array.isArray(value) && ![Object.prototype, null].includes(Object.getPrototypeOf(value))) return path
  for (const [key, inner] of Object.entries(value)) {
    const found = unclonable(inner, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`)
    if (found !== undefined) return found
  }
  return undefined
}
