// One server for a whole run of tests: started by the main process of the run, known to its test files.
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { inTests } from "./inTests.ts"
import { type Databases, freshDatabase, inRealTime, notOurs, type Server, type Settings } from "./server.ts"
import { fail, type ServerError } from "./serverError.ts"

/** A kind of server that tests can share. */
export interface Kind<Options> {
  readonly name: string
  readonly make: (
    options: Options
  ) => Effect.Effect<Server, ServerError, Scope.Scope | FileSystem.FileSystem | Path.Path>
  readonly check: Effect.Effect<unknown, ServerError, FileSystem.FileSystem | Path.Path>
  readonly versionOf: (config: Settings) => Effect.Effect<string, ServerError>
  readonly databases: Databases
  /** The environment variable that can name a server. */
  readonly variable: string
  readonly protocols: ReadonlyArray<string>
  readonly defaults: { readonly port: number; readonly database: string; readonly username: string }
  /** Under which the run tells its test files about the server. */
  readonly key: string
}

/** What the run tells its test files. It travels as plain data. */
type Told =
  | {
      readonly _tag: "Server"
      readonly version: string
      readonly pid: number
      readonly config: Omit<Settings, "password"> & { readonly password: string }
    }
  | { readonly _tag: "Missing"; readonly message: string }

// -----------------------------------------------------------------------------
// In the main process of a run
// -----------------------------------------------------------------------------

interface Shared {
  users: number
  readonly told: Promise<Told>
  readonly stop: () => Promise<void>
}

/** The projects of a run are in one process, but each with its own copy of this module. */
const servers = ((globalThis as Record<symbol, unknown>)[Symbol.for("@cenote/testing/servers")] ??=
  new Map()) as Map<string, Shared>

/** Starts the server, or joins the one that another project has started, and gives what is to be called at the end. */
export const join = async <Options>(
  kind: Kind<Options>,
  options: Options,
  run: <A>(effect: Effect.Effect<A, ServerError, FileSystem.FileSystem | Path.Path>) => Promise<A>,
  provide: (key: string, value: unknown) => void
): Promise<() => Promise<void>> => {
  // The test files see the variable too.
  if ((await run(addressOf(kind))) !== undefined) return async () => {}
  const id = `${kind.key} ${JSON.stringify(options)}`
  let shared = servers.get(id)
  if (shared === undefined) {
    const scope = Scope.makeUnsafe()
    shared = {
      users: 0,
      told: run(Scope.provide(tell(kind, options), scope)),
      stop: () => Effect.runPromise(Scope.close(scope, Exit.void))
    }
    servers.set(id, shared)
  }
  const { stop, told } = shared
  shared.users++
  const leave = async () => {
    if (--shared.users > 0) return
    servers.delete(id)
    await stop()
  }
  try {
    provide(kind.key, await told)
  } catch (error) {
    await leave()
    throw error
  }
  return leave
}

const tell = <Options>(kind: Kind<Options>, options: Options) =>
  Effect.gen(function* () {
    const server = yield* kind.make(options)
    const password = Redacted.value(server.config.password)
    const { version } = server
    return {
      _tag: "Server",
      version,
      pid: yield* server.pid,
      config: { ...server.config, password }
    } satisfies Told
  }).pipe(
    // The tests that need it say so, and are skipped or fail.
    Effect.catchIf(
      (error) => error.reason === "Binaries",
      ({ message }) => Effect.succeed({ _tag: "Missing", message } satisfies Told)
    ),
    inRealTime
  )

// -----------------------------------------------------------------------------
// In a test file
// -----------------------------------------------------------------------------

/** A server with an empty database, which is dropped with the scope. */
export const useShared = <Options>(kind: Kind<Options>, options: Options) =>
  Effect.gen(function* () {
    const server = yield* findShared(kind, options)
    return { ...server, config: yield* server.freshDatabase } satisfies Server
  }).pipe(advise(kind))

/** Without the programs there is another way. */
const advise =
  <Options>(kind: Kind<Options>) =>
  <A, R>(effect: Effect.Effect<A, ServerError, R>): Effect.Effect<A, ServerError, R> =>
    Effect.mapError(effect, (error) =>
      error.reason === "Binaries"
        ? fail("Binaries", `${error.message}. Or name a server in ${kind.variable}`)
        : error
    )

const findShared = <Options>(kind: Kind<Options>, options: Options) =>
  Effect.gen(function* () {
    const address = yield* addressOf(kind)
    if (address !== undefined) {
      return elsewhere(kind, { config: address, pid: undefined, version: yield* kind.versionOf(address) })
    }
    const told = yield* whatIsTold(kind)
    if (told === undefined) return yield* kind.make(options)
    if (told._tag === "Missing") return yield* fail("Binaries", told.message)
    const config = { ...told.config, password: Redacted.make(told.config.password) }
    return elsewhere(kind, { config, pid: told.pid, version: told.version })
  })

/** Fails if {@link useShared} can have no server. */
export const checkShared = <Options>(kind: Kind<Options>) =>
  Effect.gen(function* () {
    if ((yield* addressOf(kind)) !== undefined) return
    const told = yield* whatIsTold(kind)
    if (told === undefined) yield* kind.check
    else if (told._tag === "Missing") yield* fail("Binaries", told.message)
  }).pipe(advise(kind))

const whatIsTold = <Options>(kind: Kind<Options>): Effect.Effect<Told | undefined> =>
  Effect.map(inTests, (tests) => tests?.inject(kind.key) as Told | undefined)

const elsewhere = <Options>(
  kind: Kind<Options>,
  found: { readonly config: Settings; readonly version: string; readonly pid: number | undefined }
): Server => {
  const { config, pid, version } = found
  const { port } = config
  return {
    ...notOurs(kind.name, port, pid),
    config,
    port,
    version,
    freshDatabase: freshDatabase(config, kind.databases)
  }
}

const part = (text: string, otherwise: string): string => (text === "" ? otherwise : decodeURIComponent(text))

/** The server that the environment names. */
const addressOf = <Options>(kind: Kind<Options>): Effect.Effect<Settings | undefined, ServerError> =>
  Effect.gen(function* () {
    const value = yield* Config.option(Config.Redacted(kind.variable))
    if (value._tag === "None" || Redacted.value(value.value) === "") return undefined
    const text = Redacted.value(value.value)
    const settings = yield* Effect.orElseSucceed(
      Effect.try(() => parse(text, kind)),
      () => undefined
    )
    // What it says is not repeated: there is a password in it.
    return settings ?? (yield* unreadable(kind))
  }).pipe(Effect.catchTag("ConfigError", () => unreadable(kind)))

const unreadable = <Options>({ defaults, name, protocols, variable }: Kind<Options>) =>
  fail(
    "Address",
    `${variable} does not name a ${name} server. It should look like ${protocols[0]}://${defaults.username}:password@127.0.0.1:${defaults.port}`
  )

const parse = <Options>(text: string, { defaults, protocols }: Kind<Options>): Settings | undefined => {
  const url = new URL(text)
  if (!protocols.includes(url.protocol.slice(0, -1)) || url.hostname === "") return undefined
  return {
    host: url.hostname.replaceAll(/^\[|\]$/g, ""),
    port: url.port === "" ? defaults.port : Number(url.port),
    database: part(url.pathname.slice(1), defaults.database),
    username: part(url.username, defaults.username),
    password: Redacted.make(part(url.password, ""))
  }
}
