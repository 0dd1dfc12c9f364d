// What servers of all kinds have in common: being started, stopped, and started again on the same port.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { randomBytes } from "node:crypto"
import { choosePort, host, portTaken } from "./places.ts"
import { complaintOf, type Failed, type Running } from "./processes.ts"
import { fail, oneLine, type ServerError } from "./serverError.ts"

/**
 * What a session needs to connect. The options of `PgClient` and `MysqlClient` accept it as it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settings {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly username: string
  readonly password: Redacted.Redacted
}

/**
 * How a private server is set up.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerOptions {
  /** Default: a free one. */
  readonly port?: number | undefined
  /** Where it keeps its files: an empty folder, or one to be made. Default: a temporary one. It is left as it was found. */
  readonly folder?: string | undefined
  /**
   * Settings of the server, as in its configuration file. Unless told otherwise, it takes 100 connections, and does not wait for
   * the disk.
   */
  readonly settings?: Readonly<Record<string, string | number | boolean>> | undefined
}

/**
 * The life of a server that is started here.
 *
 * @category models
 * @since 0.1.0
 */
export interface Process {
  /** The server's process; another one after each start. */
  readonly pid: Effect.Effect<number, ServerError>
  /** Stops it in good order: sessions are told, and what they were doing is rolled back. Does nothing when it is stopped. */
  readonly stop: Effect.Effect<void, ServerError>
  /** Ends it as a crash would. */
  readonly kill: Effect.Effect<void, ServerError>
  /** Starts it again, on the same port and with the same data. Does nothing when it is running. */
  readonly start: Effect.Effect<void, ServerError>
  readonly restart: Effect.Effect<void, ServerError>
  /** The end of what it has written. Empty for a server that was started elsewhere. */
  readonly logs: Effect.Effect<string>
}

/**
 * A database server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Server extends Process {
  /** A superuser, and a database that is there: of the layer `shared` an empty one of one's own. */
  readonly config: Settings
  readonly port: number
  readonly version: string
  /** A new, empty database. It is dropped with its scope, whoever is connected to it. */
  readonly freshDatabase: Effect.Effect<Settings, ServerError, Scope.Scope>
}

export interface Kind {
  /** What messages call it. */
  readonly name: string
  readonly launch: (port: number) => Effect.Effect<Running, Failed, Scope.Scope>
  /** What it writes when it can be connected to. */
  readonly ready: string
  /** What it writes when its port is taken. */
  readonly portTaken: string
  readonly complaints: ReadonlyArray<RegExp>
  /** What ends it at once. */
  readonly killSignal: NodeJS.Signals
}

/** Servers live in the real time, whatever the clock of a test says. */
export const inRealTime: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> =
  Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())

export const didNotStart = (name: string, why: string): ServerError =>
  fail("Start", `${name} did not start: ${oneLine(why)}`)

export const newPassword: Effect.Effect<Redacted.Redacted> = Effect.sync(() =>
  Redacted.make(randomBytes(24).toString("base64url"))
)

/** Starts a server that ends with the scope. */
export const supervise = Effect.fnUntraced(function* (
  kind: Kind,
  options: { readonly port: number; readonly isWanted: boolean }
): Effect.fn.Return<Process & { readonly port: number }, ServerError, Scope.Scope> {
  const parent = yield* Effect.scope
  const lock = yield* Semaphore.make(1)
  let current: { readonly running: Running; readonly scope: Scope.Closeable } | undefined
  let earlierLogs = ""

  const launch = Effect.fnUntraced(function* (port: number) {
    const running = yield* Effect.mapError(kind.launch(port), (error) =>
      didNotStart(kind.name, error.message)
    )
    yield* Effect.raceFirst(
      running.said(kind.ready),
      Effect.flatMap(running.exited, () =>
        running.output().includes(kind.portTaken)
          ? portTaken(port)
          : didNotStart(kind.name, complaintOf(running.output(), kind.complaints))
      )
    ).pipe(
      Effect.timeoutOrElse({
        duration: "20 seconds",
        orElse: () => didNotStart(kind.name, "it was not ready within 20 s")
      })
    )
    return running
  })

  const end = Effect.suspend(() => {
    if (current === undefined) return Effect.void
    const { running, scope } = current
    return Effect.andThen(
      Scope.close(scope, Exit.void),
      Effect.sync(() => {
        earlierLogs = (earlierLogs + running.output()).slice(-100_000)
        current = undefined
      })
    )
  })

  const startOn = (port: number) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        if (isRunning()) return
        yield* end
        const scope = yield* Scope.fork(parent)
        const running = yield* restore(Scope.provide(launch(port), scope)).pipe(
          Effect.onError(() => Scope.close(scope, Exit.void))
        )
        current = { running, scope }
      })
    )
  const isRunning = () => current?.running.hasExited() === false

  let port = options.port
  yield* startOn(port).pipe(
    // The port was free a moment ago. If somebody else was quicker, there are others.
    Effect.catchIf(
      (error) => error.reason === "Port" && !options.isWanted,
      () =>
        Effect.flatMap(choosePort(undefined), (another) => {
          port = another
          return startOn(another)
        }).pipe(Effect.retry({ times: 3, while: (error) => error.reason === "Port" }))
    )
  )

  const locked = (effect: Effect.Effect<void, ServerError>) => inRealTime(lock.withPermits(1)(effect))
  const stop = locked(Effect.uninterruptible(end))
  const start = locked(Effect.suspend(() => startOn(port)))
  return {
    port,
    pid: Effect.suspend(() =>
      current !== undefined && isRunning()
        ? Effect.succeed(current.running.pid)
        : Effect.fail(
            fail("Stopped", `${kind.name} on ${host}:${port} is not running. Start it with \`start\``)
          )
    ),
    stop,
    kill: locked(
      Effect.uninterruptible(
        Effect.suspend(() => {
          if (current === undefined) return Effect.void
          current.running.kill(kind.killSignal)
          return Effect.andThen(Effect.timeoutOption(current.running.exited, "10 seconds"), end)
        })
      )
    ),
    start,
    restart: Effect.andThen(stop, start),
    logs: Effect.sync(() => earlierLogs + (current?.running.output() ?? ""))
  }
})

/** The life of a server that was started elsewhere: nobody here can end it. */
export const notOurs = (name: string, port: number, pid: number | undefined): Process => {
  const refuse = Effect.fail(
    fail(
      "NotOurs",
      `${name} on port ${port} is shared, and was started elsewhere. Use \`layer()\` for a server that can be stopped and started`
    )
  )
  const known = pid === undefined ? refuse : Effect.succeed(pid)
  return {
    pid: known,
    stop: refuse,
    kill: refuse,
    start: refuse,
    restart: refuse,
    logs: Effect.succeed("")
  }
}

/** How a kind of server is told to make and drop databases. */
export interface Databases {
  readonly create: (config: Settings, name: string) => Effect.Effect<void, ServerError>
  readonly drop: (config: Settings, name: string) => Effect.Effect<void, ServerError>
}

export const freshDatabase = (
  config: Settings,
  databases: Databases
): Effect.Effect<Settings, ServerError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => `cenote_${randomBytes(8).toString("hex")}`),
    // A server that is gone has no databases either.
    (database) => Effect.ignore(databases.drop(config, database))
  ).pipe(
    Effect.tap((database) => databases.create(config, database)),
    Effect.map((database) => ({ ...config, database })),
    inRealTime
  )

/** Runs what speaks to the server, and says in one line what went wrong. */
export const asDatabaseError =
  (name: string, { host, port }: Settings, doing: string) =>
  <A, R>(effect: Effect.Effect<A, unknown, R>): Effect.Effect<A, ServerError, R> =>
    effect.pipe(
      Effect.timeoutOrElse({
        duration: "30 seconds",
        orElse: () => Effect.fail(new Error("no answer within 30 s"))
      }),
      Effect.mapError((error) =>
        fail("Database", `${name} on ${host}:${port} did not ${doing}: ${messagesOf(error).join(": ")}`)
      )
    )

/** The messages of an error and of its causes, without those that say nothing new. */
const messagesOf = (error: unknown): ReadonlyArray<string> => {
  if (!(error instanceof Error)) return []
  const causes = messagesOf(error.cause)
  const message = oneLine(error.message)
  return message === "" || causes.some((_) => _.includes(message)) ? causes : [message, ...causes]
}
