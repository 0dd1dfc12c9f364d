// A session that lives in a thread, as the calling thread sees it.
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import {
  ConnectionError,
  isSqlError,
  SqlError,
  StatementTimeoutError,
  UnknownError
} from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Remote, type ThreadError, ThreadPool } from "@cenote/threads"
import type { SqlDriver, SqlSession } from "../SqlDriver.ts"
import { ConnectTimeout } from "../SqlPoolError.ts"
import { defaults, type Options } from "./options.ts"
import { type Connect, makeBare } from "./pool.ts"
import { type HostedSession, type Port, retired } from "./workerSession.ts"
import { decodeSqlError, isWireSqlError, type WireSqlError } from "./wire.ts"

type Transform = Parameters<Connection["execute"]>[2]
type Params = ReadonlyArray<unknown>

/** What the module of a driver's worker exports. */
interface WorkerModule {
  readonly Session: new (config: unknown, port: Port) => HostedSession
}

/**
 * Opens a session in a thread of the pool in the context. Its scope ends it there. What connecting takes is limited, and not
 * how long it takes to have a thread: the thread pool says that itself.
 */
const openInThread = (
  driver: SqlDriver,
  { connectTimeout = defaults.connectTimeout, name = driver.target }: Options
): Effect.Effect<SqlSession, SqlError | ConnectTimeout, ThreadPool.ThreadPool | Scope.Scope> => {
  const timeout = Duration.fromInputUnsafe(connectTimeout)
  // Who waits does not wait for what does not obey: a provider of passwords may be out of reach and not to be interrupted.
  const limited = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | ConnectTimeout, R> =>
    Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (fiber) =>
      Fiber.join(fiber).pipe(
        Effect.timeoutOrElse({
          duration: timeout,
          orElse: () => Effect.fail(new ConnectTimeout({ pool: name, timeout }))
        }),
        Effect.onExit(() => Effect.sync(() => fiber.interruptUnsafe()))
      )
    )
  const attempt = Effect.gen(function* () {
    const { url } = driver.worker
    const config = yield* limited(driver.worker.config)
    const ends = new Ends()
    // Closed by the other side, or with its thread; here at the latest with the scope.
    const channel = new MessageChannel()
    const port: Port = channel.port1 as any
    yield* Effect.addFinalizer(() => Effect.sync(() => port.close()))
    const remote = yield* ThreadPool.proxy<WorkerModule, "Session">(url, "Session", [
      config,
      ThreadPool.move(channel.port2 as any)
    ])
    // Before the object in the thread is disposed of: what still runs on it is in the way of that.
    yield* Effect.addFinalizer(() => ends.close)
    ends.listen(port)
    yield* limited(ThreadPool.patient(remote.open()))
    return new TpooledSession(remote, ends, driver.unkillable === true)
  })
  return attempt.pipe(
    Effect.retry({ times: 3, while: isNotBegun }),
    Effect.mapError((error) => (isOwn(error) ? error : sqlError(error, "connect")))
  )
}

/** Whether the thread went away before anything was done in it: another will do. */
const isNotBegun = (error: SqlError | ConnectTimeout | WireSqlError | ThreadError.ThreadError): boolean =>
  error._tag === "StaleRemote" || (error._tag === "ThreadCrashed" && !error.started)

const isOwn = (error: unknown): error is SqlError | ConnectTimeout =>
  isSqlError(error) || error instanceof ConnectTimeout

/** The same, in the threads of the pool that is in the context now. */
export const connectInThread = (
  driver: SqlDriver,
  options: Options
): Effect.Effect<Connect, never, ThreadPool.ThreadPool> =>
  Effect.map(ThreadPool.ThreadPool, (threads) => ({
    open: Effect.provideService(openInThread(driver, options), ThreadPool.ThreadPool, threads),
    isLimited: true
  }))

/** A pool over such sessions, without a client. */
export const makeBareTpooled = (driver: SqlDriver, options: Options) =>
  Effect.flatMap(connectInThread(driver, options), (connect) =>
    makeBare(driver, withoutMultiplex(options), connect)
  )

/** A connection in a thread runs one call after the other. */
export const withoutMultiplex = <A extends object>(options: A & { readonly multiplex?: unknown }): A => {
  if (options.multiplex !== undefined && options.multiplex !== false) {
    throw new TypeError(
      "multiplex is set, but a connection in a thread runs one statement after the other. Leave it out, or use RawConnectionPool"
    )
  }
  return options
}

/** Tells once that the session has ended. */
class Ends {
  private error: SqlError | undefined = undefined
  private listener: ((error: SqlError) => void) | undefined = undefined
  private closed = false
  private readonly over = Deferred.makeUnsafe<never, SqlError>()
  onRetire: (() => void) | undefined = undefined

  listen(port: Port): void {
    port.addEventListener("message", ({ data }) => {
      if (isWireSqlError(data)) this.end(decodeSqlError(data))
      else if (data === retired && !this.closed) this.onRetire?.()
    })
    port.addEventListener("close", () => this.end(threadEnded()))
    port.start()
    // A connection at rest does not keep the process up.
    port.unref?.()
  }

  end(error: SqlError): void {
    if (this.closed || this.error !== undefined) return
    this.error = error
    this.listener?.(error)
  }

  onEnd(listener: (error: SqlError) => void): void {
    this.listener = listener
    if (this.error !== undefined) listener(this.error)
  }

  /** From now on nothing is told, and what is under way is given up. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.closed = true
    return Deferred.fail(this.over, wasClosed())
  })

  /** Runs a call for as long as the session is open. */
  during<A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> {
    return Effect.raceFirst(call, Deferred.await(this.over))
  }
}

class TpooledSession implements SqlSession {
  readonly native: Remote.Remote<HostedSession>
  private readonly ends: Ends
  private readonly unkillable: boolean
  /** Whether a call was given up, and nobody has waited for its end in the thread. */
  private unsettled = false

  constructor(remote: Remote.Remote<HostedSession>, ends: Ends, unkillable: boolean) {
    this.native = remote
    this.ends = ends
    this.unkillable = unkillable
  }

  onEnd(listener: (error: SqlError) => void): void {
    this.ends.onEnd(listener)
  }

  onRetire(listener: () => void): void {
    this.ends.onRetire = listener
  }

  execute(sql: string, params: Params, transformRows: Transform) {
    const rows = this.statement("execute", (safe) => this.native.execute(safe, sql, ...params))
    return transformRows === undefined ? rows : Effect.map(rows, transformRows)
  }

  executeRaw(sql: string, params: Params) {
    return this.statement("executeRaw", (safe) => this.native.executeRaw(safe, sql, ...params))
  }

  executeValues(sql: string, params: Params) {
    return this.statement("executeValues", (safe) => this.native.executeValues(safe, sql, ...params))
  }

  executeValuesUnprepared(sql: string, params: Params) {
    return this.statement("executeValues", (safe) =>
      this.native.executeValuesUnprepared(safe, sql, ...params)
    )
  }

  executeUnprepared(sql: string, params: Params, transformRows: Transform) {
    const rows = this.statement("execute", (safe) => this.native.executeUnprepared(safe, sql, ...params))
    return transformRows === undefined ? rows : Effect.map(rows, transformRows)
  }

  executeStream(sql: string, params: Params, transformRows: Transform): Stream.Stream<any, SqlError> {
    const rows = Stream.unwrap(
      Effect.map(SafeIntegers, (safe) => this.asStream(this.native.stream(safe, sql, ...params), "stream"))
    )
    return transformRows === undefined ? rows : Stream.mapArray(rows, (_) => transformRows(_ as any) as any)
  }

  get ping() {
    return this.run("ping", this.native.ping())
  }

  get rollback() {
    return this.run("rollback", this.native.rollback())
  }

  get reset() {
    return this.run("reset", this.native.reset())
  }

  /** Whatever it is called, the session in the thread knows whether it has it. */
  readonly extras: NonNullable<SqlSession["extras"]> = new Proxy(
    {},
    {
      get:
        (_, name: string) =>
        (...args: Params) =>
          this.asStream(this.native.extra(name, args), name)
    }
  )

  private statement<A>(
    operation: string,
    call: (safe: boolean) => Effect.Effect<A, WireSqlError | ThreadError.ThreadError>
  ): Effect.Effect<A, SqlError> {
    return Effect.flatMap(SafeIntegers, (safe) => this.run(operation, call(safe)))
  }

  run<A>(
    operation: string,
    call: Effect.Effect<A, WireSqlError | ThreadError.ThreadError>
  ): Effect.Effect<A, SqlError> {
    const done = Effect.mapError(this.asCall(call), (error) => this.failed(error, operation))
    return this.ends.during(Effect.onInterrupt(done, () => this.leftBehind))
  }

  /** A call that is given up is over here at once, and goes on in the thread until it has been cancelled there. */
  private readonly leftBehind = Effect.sync(() => {
    this.unsettled = true
  })

  get hasEnded(): boolean {
    return !Remote.isAlive(this.native)
  }

  get settling(): Effect.Effect<boolean, SqlError> | undefined {
    if (!this.unsettled) return undefined
    const settled = Effect.mapError(this.asCall(this.native.settle()), (error) =>
      this.failed(error, "cancel")
    )
    return settled.pipe(
      Effect.timeoutOrElse({ duration: longestCancel, orElse: () => Effect.fail(notCancelled()) }),
      Effect.tapError((error) => Effect.sync(() => this.ends.end(error))),
      Effect.tap(
        Effect.sync(() => {
          this.unsettled = false
        })
      )
    )
  }

  /** Calls of a session wait for a server, unless the database is in the thread itself. */
  private asCall<A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return this.unkillable ? ThreadPool.unkillable(call) : ThreadPool.patient(call)
  }

  private asStream<A>(
    stream: Stream.Stream<A, WireSqlError | ThreadError.ThreadError>,
    operation: string
  ): Stream.Stream<A, SqlError> {
    return (this.unkillable ? ThreadPool.unkillableStream(stream) : ThreadPool.patientStream(stream)).pipe(
      Stream.mapError((error) => this.failed(error, operation)),
      // It may be left while the thread waits for more of it.
      Stream.ensuring(this.leftBehind)
    )
  }

  private failed(error: WireSqlError | ThreadError.ThreadError, operation: string): SqlError {
    const failure = sqlError(error, operation)
    if (!isWireSqlError(error)) {
      if (endsSession(error)) this.ends.end(failure)
      this.unsettled = true
    }
    return failure
  }
}

/** Whether what a call failed with means that the session cannot be used again. */
const endsSession = ({ _tag }: ThreadError.ThreadError): boolean =>
  _tag === "ThreadCrashed" || _tag === "StaleRemote" || _tag === "ThreadPoolClosed" || _tag === "TaskFailed"

const sqlError = (error: WireSqlError | ThreadError.ThreadError, operation: string): SqlError => {
  if (isWireSqlError(error)) return decodeSqlError(error)
  const props = { cause: error, message: error.message, operation }
  switch (error._tag) {
    case "TaskTimeout":
      return new SqlError({ reason: new StatementTimeoutError(props) })
    case "NotCloneable":
    case "TaskFailed":
      return new SqlError({ reason: new UnknownError(props) })
    default:
      return new SqlError({ reason: new ConnectionError(props) })
  }
}

/** How long a statement that was interrupted may take to stop. Drivers give up sooner, and end the session. */
const longestCancel = "10 seconds"

const notCancelled = (): SqlError => {
  const message = `a statement that was interrupted had not stopped after ${longestCancel}: the connection is given up`
  return new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "cancel" })
  })
}

const wasClosed = (): SqlError => {
  const message = "the connection was closed while a statement was under way on it"
  return new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "close" })
  })
}

const threadEnded = (): SqlError => {
  const message = "the thread of the connection has ended"
  return new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "use" })
  })
}
