import * as Duration from "effect/Duration"
import { resolve } from "node:path"
import { fileURLToPath } from "node:url"
import type { Config } from "../SqliteDriver.ts"

/** What a connection is opened with, wherever it lives: defaults filled in, and nothing that cannot travel. */
export interface WireConfig {
  /** What SQLite is given: an absolute path, or a URI. */
  readonly path: string
  /** What errors, spans and pools call it. */
  readonly database: string
  readonly readonly: boolean
  readonly wal: boolean
  readonly foreignKeys: boolean
  /** In milliseconds. */
  readonly busyTimeout: number
  readonly prepareCacheSize: number
  readonly extensions: ReadonlyArray<string>
  readonly pragmas: ReadonlyArray<Pragma>
}

interface Pragma {
  readonly name: string
  readonly value: string
}

/** What a wrong option dies with. The message names the option, its value and what is allowed. */
class InvalidOptions extends Error {
  override readonly name = "InvalidOptions"
}

const reject = (option: string, value: unknown, allowed: string): never => {
  const given = typeof value === "string" ? JSON.stringify(value) : String(value)
  throw new InvalidOptions(`SqliteDriver: ${option} is ${given}, but it must be ${allowed}`)
}

/** A database, and where it is. */
interface Place {
  readonly path: string
  readonly name: string
  readonly inMemory: boolean
  readonly readonly: boolean
}

export const inMemory = ":memory:"

export interface Checked {
  readonly wire: WireConfig
  /** Whether the database is gone as soon as nobody has it open. */
  readonly inMemory: boolean
  readonly transactions: "deferred" | "immediate"
}

/** `memory` makes the address of a database in memory. */
export const check = (config: Config, memory: () => string): Checked => {
  for (const option of ["readonly", "wal", "foreignKeys"] as const) {
    const value = config[option]
    if (value !== undefined && typeof value !== "boolean") reject(option, value, "true or false")
  }
  const { extensions = [] } = config
  if (!Array.isArray(extensions)) reject("extensions", extensions, "an array of paths")
  const place = placeOf(config.filename, memory)
  const readonly = config.readonly === true || place.readonly
  const { transactions = readonly ? "deferred" : "immediate" } = config
  if (transactions !== "deferred" && transactions !== "immediate") {
    reject("transactions", transactions, '"deferred" or "immediate"')
  }
  if (readonly && transactions === "immediate") {
    reject("transactions", transactions, '"deferred", since a database that is only read has no lock to take')
  }
  return {
    wire: {
      path: place.path,
      database: place.name,
      readonly,
      wal: config.wal !== false && !readonly && !place.inMemory,
      foreignKeys: config.foreignKeys !== false,
      busyTimeout: millis("busyTimeout", config.busyTimeout, 5_000),
      prepareCacheSize: count("prepareCacheSize", config.prepareCacheSize, 200),
      extensions: extensions.map((path) =>
        typeof path === "string" && path !== ""
          ? path
          : reject("extensions", path, "paths of shared libraries")
      ),
      pragmas: Object.entries(config.pragmas ?? {}).flatMap(([name, value]) =>
        value === undefined ? [] : [pragma(name, value)]
      )
    },
    inMemory: place.inMemory,
    transactions
  }
}

// -----------------------------------------------------------------------------
// Where the database is
// -----------------------------------------------------------------------------

const places = `the path of a file, a file: URL, or ${JSON.stringify(inMemory)}`

const placeOf = (filename: string | URL, memory: () => string): Place => {
  if (typeof filename !== "string") return inFile(pathOf(filename), String(filename))
  if (filename === inMemory) return { path: memory(), name: inMemory, inMemory: true, readonly: false }
  if (filename === "" || filename.includes("\0")) reject("filename", filename, places)
  return filename.startsWith("file:") ? atUri(filename) : inFile(resolve(filename), filename)
}

const inFile = (path: string, name: string): Place => ({ path, name, inMemory: false, readonly: false })

const pathOf = (url: URL): string => {
  if (!(url instanceof URL) || url.protocol !== "file:") reject("filename", url, places)
  return fileURLToPath(url)
}

/** https://www.sqlite.org/uri.html */
const atUri = (uri: string): Place => {
  const [, path = "", query = ""] = /^file:(?:\/\/[^/?#]*)?([^?#]*)(?:\?([^#]*))?/.exec(uri) ?? []
  const options = new URLSearchParams(query)
  const memdb = options.get("vfs") === "memdb"
  const memory = memdb || options.get("mode") === "memory" || path === inMemory
  const shared = memdb ? path.startsWith("/") : options.get("cache") === "shared"
  if ((memory && !shared) || path === "") {
    reject(
      "filename",
      uri,
      `one that all connections share, or each has a database of its own: ${JSON.stringify(inMemory)} gives one in memory`
    )
  }
  const readonly = options.get("mode") === "ro" || isOn(options.get("immutable"))
  // A path in a URI is looked for from where the process is at that time, as any path is.
  const absolute =
    memory || path.startsWith("/") ? uri : uri.replace(/^file:[^?#]*/, `file:${encodedFromHere(path)}`)
  return { path: absolute, name: uri.replace(/[?#].*/, ""), inMemory: memory, readonly }
}

const encodedFromHere = (path: string): string =>
  encodeURI(resolve(".")).replace(/[?#]/g, encodeURIComponent) + `/${path}`

const isOn = (value: string | null): boolean => value !== null && /^(?:1|yes|true|on)$/i.test(value)

// -----------------------------------------------------------------------------
// Options
// -----------------------------------------------------------------------------

const millis = (option: string, value: Duration.Input | undefined, otherwise: number): number => {
  if (value === undefined) return otherwise
  const duration = typeof value === "number" && Number.isNaN(value) ? undefined : Duration.fromInput(value)
  const time = duration?._tag === "Some" ? Duration.toMillis(duration.value) : -1
  return time >= 0 ? time : reject(option, value, "a duration, zero or more")
}

const count = (option: string, value: number | undefined, otherwise: number): number => {
  if (value === undefined) return otherwise
  return Number.isSafeInteger(value) && value >= 0
    ? value
    : reject(option, value, "a whole number, 0 or more")
}

const pragma = (name: string, value: string | number | boolean): Pragma => {
  if (!/^[a-z_]+(?:\.[a-z_]+)?$/i.test(name)) reject("pragmas", name, "names of pragmas")
  switch (typeof value) {
    case "boolean":
      return { name, value: value ? "ON" : "OFF" }
    case "number":
      return Number.isFinite(value)
        ? { name, value: String(value) }
        : reject(`pragmas.${name}`, value, "finite")
    case "string":
      return { name, value: `'${value.replaceAll("'", "''")}'` }
    default:
      return reject(`pragmas.${name}`, value, "a string, a number or a boolean")
  }
}
