// PgBouncer: a pool between programs and a PostgreSQL.
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import { type Guard, make as makeGuard } from "./guard.ts"
import { findProgram } from "./machine.ts"
import { choosePort, claimFolder, host, letIn } from "./places.ts"
import { launch, run, unprivileged } from "./processes.ts"
import { didNotStart, type ServerOptions, type Settings, supervise } from "./server.ts"
import { fail } from "./serverError.ts"

/**
 * How a private PgBouncer is set up. `settings` are those of the section `[pgbouncer]` of its configuration file.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends ServerOptions {
  /** The server behind it, and who may connect. All its databases can be reached. */
  readonly postgres: Settings
  /** For how long a client has a session of the server. Default `"transaction"`. */
  readonly poolMode?: "session" | "transaction" | "statement" | undefined
}

const name = "PgBouncer"
const complaints = [/^.*?\bWARNING (?=cannot listen)/, /^.*?\bERROR\s*/, /^.*?\bFATAL\s*/]

/** One that is running, and is stopped and removed with the scope. */
export const make = Effect.fnUntraced(function* (options: Options) {
  const guard = yield* makeGuard
  const port = yield* choosePort(options.port)
  const program = yield* findIt(guard)
  const folder = yield* claimFolder("pgbouncer", options.folder, guard)
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const user = yield* unprivileged
  const { postgres } = options
  const accounts = path.join(folder.data, "users.txt")
  const file = (port: number) => path.join(folder.data, `${port}.ini`)
  if (user !== undefined) yield* letIn(folder)

  /** Only the one who runs it can read it: what it reads has the password. */
  const write = Effect.fnUntraced(function* (file: string, text: string) {
    yield* fs.writeFileString(file, text, { mode: 0o600 })
    if (user !== undefined) yield* fs.chown(file, user.uid, user.gid)
  })
  const prepare = Effect.gen(function* () {
    if (user !== undefined) yield* fs.chown(folder.data, user.uid, user.gid)
    yield* write(accounts, `${quoted(postgres.username)} ${quoted(Redacted.value(postgres.password))}\n`)
  })
  const settings = (port: number) => ({
    pool_mode: options.poolMode ?? "transaction",
    max_client_conn: 200,
    default_pool_size: 20,
    // What clients send when they connect, and it does not know.
    ignore_startup_parameters: "extra_float_digits",
    ...options.settings,
    listen_addr: host,
    listen_port: port,
    unix_socket_dir: "",
    auth_type: "scram-sha-256",
    auth_file: accounts
  })

  yield* Effect.mapError(prepare, (error) => didNotStart(name, error.message))
  const server = yield* supervise(
    {
      name,
      launch: (port) =>
        Effect.andThen(
          Effect.orDie(write(file(port), configuration(postgres, settings(port)))),
          launch({
            command: program.command,
            args: [file(port)],
            user,
            guard,
            // In order, it would wait for its clients to leave.
            signals: ["SIGTERM", "SIGKILL"],
            lastSignal: "SIGKILL"
          })
        ),
      ready: "process up",
      portTaken: "Address already in use",
      complaints,
      killSignal: "SIGKILL"
    },
    { port, isWanted: options.port !== undefined }
  )
  const config: Settings = { ...postgres, host, port: server.port }
  return { ...server, config, version: program.version }
})

/** Fails if it cannot run on this machine. */
export const check = Effect.scoped(Effect.flatMap(makeGuard, (guard) => findIt(guard)))

const findIt = Effect.fnUntraced(function* (guard: Guard) {
  const command = yield* findProgram("pgbouncer")
  if (command === undefined) {
    return yield* fail(
      "Binaries",
      "no PgBouncer: there is no pgbouncer on this machine. Install it (Debian and Ubuntu: apt-get install pgbouncer; macOS: brew install pgbouncer)"
    )
  }
  const output = yield* run(command, ["--version"], { user: yield* unprivileged, guard, complaints }).pipe(
    Effect.mapError(({ message }) =>
      fail("Binaries", `the PgBouncer of this machine does not run: ${command}: ${message}`)
    )
  )
  return { command, version: /[\d.]+/.exec(output)?.[0] ?? "" }
})

const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`

/** Every database of the server, under its own name. */
const configuration = (postgres: Settings, settings: Readonly<Record<string, unknown>>): string =>
  [
    "[databases]",
    `* = host=${postgres.host} port=${postgres.port}`,
    "[pgbouncer]",
    ...Object.entries(settings).map(
      ([name, value]) => `${name} = ${String(value).replaceAll(/[\r\n]+/g, " ")}`
    ),
    ""
  ].join("\n")
