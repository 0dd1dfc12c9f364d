// MariaDB: where its programs are, how it is set up, what it is told.
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import { type Guard, make as makeGuard } from "./guard.ts"
import { findProgram } from "./machine.ts"
import { choosePort, claimFolder, type Folder, host } from "./places.ts"
import { launch, run } from "./processes.ts"
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
import { fail } from "./serverError.ts"

export const name = "MariaDB"
const superuser = "root"
const database = "test"
const complaints = [
  /^.*?\[ERROR\] (?!Aborting|Do you already)/,
  /^.*?\b(FATAL ERROR|ERROR): (\s*\d+\s+)?/,
  /^.*?\[ERROR\] /
]

/** A server that is running, and is stopped and removed with the scope. */
export const make = Effect.fnUntraced(function* (options: ServerOptions) {
  const guard = yield* makeGuard
  const port = yield* choosePort(options.port)
  const programs = yield* findPrograms(guard)
  const folder = yield* claimFolder("mariadb", options.folder, guard)
  const path = yield* Path.Path
  const places = {
    datadir: path.join(folder.data, "files"),
    // Of its own: a server that starts removes the temporary tables that it finds, also those of others that are running.
    tmpdir: path.join(folder.data, "tmp")
  }
  yield* install(programs, places, guard)
  const password = yield* newPassword

  const config = (port: number): Settings => ({ host, port, database, username: superuser, password })
  const settings = (port: number) => ({
    max_connections: 100,
    // Nothing here has to outlive the machine.
    innodb_flush_log_at_trx_commit: 2,
    ...small,
    ...options.settings,
    ...places,
    socket: path.join(folder.data, "s.sock"),
    bind_address: host,
    port
  })
  let isNew = true
  const start = (port: number, more: ReadonlyArray<string>) =>
    launch({
      command: programs.server,
      args: [
        "--no-defaults",
        ...asRoot(),
        ...Object.entries(settings(port)).map(([name, value]) => `--${name}=${value}`),
        "--skip-name-resolve",
        ...more
      ],
      user: undefined,
      guard,
      signals: ["SIGTERM", "SIGKILL"],
      lastSignal: "SIGKILL"
    })
  const server = yield* withSecret(folder, accountsOf(password), (file) =>
    supervise(
      {
        name,
        // The first start has it make the accounts, before anyone can connect.
        launch: (port) => start(port, isNew ? [`--init-file=${file}`] : []),
        ready: "ready for connections",
        portTaken: "Address already in use",
        complaints,
        killSignal: "SIGKILL"
      },
      { port, isWanted: options.port !== undefined }
    )
  )
  isNew = false
  return {
    ...server,
    config: config(server.port),
    version: programs.version,
    freshDatabase: freshDatabase(config(server.port), databases)
  } satisfies Server
})

/** Fails if no server can run on this machine. */
export const check = Effect.scoped(Effect.flatMap(makeGuard, (guard) => findPrograms(guard)))

// -----------------------------------------------------------------------------
// Databases
// -----------------------------------------------------------------------------

type Rows = ReadonlyArray<Readonly<Record<string, unknown>>>

/** Runs statements one after the other in a session of their own; gives the rows of the last. */
const query = (
  { host, password, port, username }: Settings,
  ...statements: ReadonlyArray<string>
): Effect.Effect<Rows, unknown> =>
  Effect.acquireUseRelease(
    Effect.tryPromise({
      // Loaded here, so that a program that only starts a server does not load it.
      try: async () => {
        const { createConnection } = await import("mysql2/promise")
        return createConnection({
          host,
          port,
          user: username,
          password: Redacted.value(password),
          connectTimeout: 10_000
        })
      },
      catch: (error) => error
    }),
    (session) =>
      Effect.reduce(
        statements,
        (): Rows => [],
        (_, statement) =>
          Effect.tryPromise({
            try: async () => (await session.query(statement))[0] as unknown as Rows,
            catch: (error) => error
          })
      ),
    (session) => Effect.sync(() => session.destroy())
  )

export const databases: Databases = {
  create: (config, database) =>
    query(config, `create database \`${database}\``).pipe(asDatabaseError(name, config, "make a database")),
  // To drop a database it waits for all who have locks there. They are asked to leave first.
  drop: Effect.fnUntraced(
    function* (config: Settings, database: string) {
      const sessions = yield* query(
        config,
        `select id from information_schema.processlist where db = '${database}'`
      )
      const ends = sessions.map(({ id }) => query(config, `kill connection ${Number(id)}`))
      yield* Effect.forEach(ends, (end) => Effect.ignore(end))
      yield* query(config, "set lock_wait_timeout = 10", `drop database if exists \`${database}\``)
    },
    (effect, config) => asDatabaseError(name, config, "drop a database")(effect)
  )
}

export const versionOf = (config: Settings) =>
  query(config, "select version() as version").pipe(
    Effect.map((rows) => String(rows[0]?.["version"]).replace(/-.*/, "")),
    asDatabaseError(name, config, "tell its version")
  )

// -----------------------------------------------------------------------------
// Programs
// -----------------------------------------------------------------------------

interface Programs {
  readonly server: string
  readonly install: string
  readonly version: string
}

const howToGet = "Install it (Debian and Ubuntu: apt-get install mariadb-server; macOS: brew install mariadb)"

const findPrograms = Effect.fnUntraced(function* (guard: Guard) {
  const server = yield* findProgram("mariadbd", "mysqld")
  const install = yield* findProgram("mariadb-install-db", "mysql_install_db")
  if (server === undefined) {
    return yield* fail("Binaries", `no MariaDB: there is no mariadbd on this machine. ${howToGet}`)
  }
  const output = yield* run(server, ["--no-defaults", "--version"], {
    user: undefined,
    guard,
    complaints
  }).pipe(
    Effect.mapError(({ message }) =>
      fail("Binaries", `the MariaDB of this machine does not run: ${server}: ${message}`)
    )
  )
  if (install === undefined || !output.includes("MariaDB")) {
    return yield* fail(
      "Binaries",
      `no MariaDB: ${server} is there, but ${install === undefined ? "mariadb-install-db is not" : "it is not MariaDB"}. ${howToGet}`
    )
  }
  return { server, install, version: /[\d.]+(?=-MariaDB)/.exec(output)?.[0] ?? "" } satisfies Programs
})

/** It takes no more room on the disk than a test needs. */
const small = { innodb_log_file_size: "8M", innodb_buffer_pool_size: "32M" }

/** It wants to be told that root is meant. */
const asRoot = (): ReadonlyArray<string> => (process.getuid?.() === 0 ? ["--user=root"] : [])

/** Makes the data folder, without any accounts worth the name. */
const install = Effect.fnUntraced(
  function* (programs: Programs, places: Places, guard: Guard) {
    const fs = yield* FileSystem.FileSystem
    yield* fs.makeDirectory(places.tmpdir, { mode: 0o700 })
    const settings = Object.entries({ ...places, ...small }).map(([name, value]) => `--${name}=${value}`)
    const args = [
      "--no-defaults",
      ...asRoot(),
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      ...settings
    ]
    yield* run(programs.install, args, { user: undefined, guard, complaints })
  },
  Effect.mapError((error) => didNotStart(name, error.message))
)

interface Places {
  readonly datadir: string
  readonly tmpdir: string
}

/** One superuser, with a password, and nobody else. A statement a line. */
const accountsOf = (password: Redacted.Redacted): string => {
  const secret = `identified by '${Redacted.value(password)}'`
  return [
    `create or replace user '${superuser}'@'localhost' ${secret}`,
    `create or replace user '${superuser}'@'${host}' ${secret}`,
    `grant all privileges on *.* to '${superuser}'@'localhost' with grant option`,
    `grant all privileges on *.* to '${superuser}'@'${host}' with grant option`,
    `delete from mysql.global_priv where user not in ('${superuser}', 'mariadb.sys') or host not in ('localhost', '${host}')`,
    "flush privileges",
    `create database if not exists \`${database}\``,
    ""
  ].join(";\n")
}

/** A file that is there while it is needed. */
const withSecret = <A, E, R>(folder: Folder, text: string, use: (file: string) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return yield* Effect.acquireUseRelease(
      Effect.mapError(fs.writeFileString(folder.secret, text, { mode: 0o600, flag: "wx" }), (error) =>
        didNotStart(name, error.message)
      ),
      () => use(folder.secret),
      () => Effect.ignore(fs.remove(folder.secret, { force: true }))
    )
  })
