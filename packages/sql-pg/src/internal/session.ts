import { PgConnection } from "@effect/sql-pg"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SqlSession } from "@cenote/sql/SqlDriver"
import { isFatal } from "./errors.ts"

type Transform = Parameters<Connection["execute"]>[2]
type Params = ReadonlyArray<unknown>

/** Opens a session. Its scope ends it. */
export const connect = (config: PgConnection.Config): Effect.Effect<SqlSession, SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    let connection: PgConnection.PgConnection | undefined
    // After the driver has said goodbye.
    yield* Effect.addFinalizer(() => Effect.sync(() => connection !== undefined && hangUp(connection)))
    const opened = (connection = yield* PgConnection.make(config))
    // The server would go on with what is still under way.
    yield* Effect.addFinalizer(() => (isBusy(opened) ? cancel(opened) : Effect.void))
    return new PgSession(opened)
  })

const isBusy = (connection: PgConnection.PgConnection): boolean => {
  const { base, deadError } = internalsOf(connection)
  return base?.consumer !== undefined && deadError() === undefined
}

/**
 * Sends a cancel over a connection of its own, which the driver gives up after a while. That is waited for, but not long: where
 * nothing gets through it goes on without anybody.
 */
const cancel = (connection: PgConnection.PgConnection): Effect.Effect<void> =>
  Effect.forkDetach(cancelAll(connection), { startImmediately: true }).pipe(
    Effect.flatMap((cancelling) => Effect.timeoutOption(Fiber.await(cancelling), longestGoodbye)),
    Effect.asVoid,
    // The server does not wait for the clock of a test.
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )

/**
 * Of a session that was shared there may be several statements on their way that nobody waits for any more, and the driver's own
 * `interrupt` does nothing there, as it cannot know that.
 */
const cancelAll = (connection: PgConnection.PgConnection): Effect.Effect<void> => {
  const { base } = internalsOf(connection)
  if (base?.multiplex !== true || base.cancel === undefined) return connection.interrupt
  const next = Effect.andThen(base.cancel, Effect.sleep(nextCancel))
  return Effect.whileLoop({ while: () => isBusy(connection), body: () => next, step: () => {} })
}

/** How long a statement may take to hear of a cancel, in milliseconds. */
const nextCancel = 10

/** How long a server may take to answer a goodbye, or a cancel that comes before it, in milliseconds. */
const longestGoodbye = 1_000

/** A server that has gone silent would keep the socket, and with it the process. */
const hangUp = (connection: PgConnection.PgConnection): void => {
  const { base } = internalsOf(connection)
  const socket = base?.session.socket
  if (socket === undefined || socket.destroyed) return
  socket.unref?.()
  const timer = setTimeout(() => socket.destroy(), longestGoodbye)
  timer.unref()
}

/** What {@link PgSession.extras} has under `listen` gives this first, when the server has confirmed. */
export const listening = null

class PgSession implements SqlSession {
  readonly native: PgConnection.PgConnection

  constructor(connection: PgConnection.PgConnection) {
    this.native = connection
  }

  execute(sql: string, params: Params, transformRows: Transform) {
    return this.rows(this.native.query(sql, params), transformRows)
  }

  executeUnprepared(sql: string, params: Params, transformRows: Transform) {
    return this.rows(this.native.query(sql, params, false), transformRows)
  }

  executeRaw(sql: string, params: Params) {
    return Effect.mapError(this.native.query(sql, params), named)
  }

  executeValues(sql: string, params: Params) {
    return Effect.mapError(this.native.queryValues(sql, params), named)
  }

  executeValuesUnprepared(sql: string, params: Params) {
    return Effect.mapError(this.native.queryValues(sql, params, false), named)
  }

  executeStream(sql: string, params: Params, transformRows: Transform): Stream.Stream<any, SqlError> {
    const rows = Stream.mapError(this.native.stream(sql, params), named)
    return transformRows === undefined ? rows : Stream.mapArray(rows, (_) => transformRows(_) as any)
  }

  get ping() {
    return Effect.asVoid(this.rows(this.native.query("SELECT 1", [], false), undefined))
  }

  get rollback() {
    return Effect.asVoid(this.rows(this.native.query("ROLLBACK", [], false), undefined))
  }

  get reset() {
    return Effect.forEach(resets, (sql) => this.native.query(sql, [], false), { discard: true }).pipe(
      Effect.mapError(named)
    )
  }

  onEnd(listener: (error: SqlError) => void): void {
    const { deadError, retireHooks } = internalsOf(this.native)
    let told = false
    const tell = () => {
      const error = deadError()
      if (told || error === undefined) return
      told = true
      listener(named(error))
    }
    tell()
    retireHooks.add(tell)
  }

  onRetire(listener: () => void): void {
    const { deadError, retireHooks } = internalsOf(this.native)
    retireHooks.add(() => {
      if (deadError() === undefined) listener()
    })
  }

  get exclusive(): Effect.Effect<SqlSession, never, Scope.Scope> {
    return Effect.map(this.native.pin, (connection) => new PgSession(connection))
  }

  readonly extras = {
    listen: (channel: string): Stream.Stream<PgConnection.Notification | typeof listening, SqlError> =>
      Stream.unwrap(
        Effect.map(this.native.listen(channel), (notifications) =>
          Stream.concat(Stream.succeed(listening), Stream.fromQueue(notifications))
        )
      ).pipe(Stream.mapError(named))
  }

  private rows(
    result: Effect.Effect<PgConnection.Result, SqlError>,
    transformRows: Transform
  ): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return transformRows === undefined
      ? Effect.matchCauseEffect(result, plainRows)
      : Effect.mapBoth(result, { onFailure: named, onSuccess: ({ rows }) => transformRows(rows) })
  }
}

/** What the server says last on a connection that it ends is an error of the connection, whatever it says. */
const named = (error: SqlError): SqlError => {
  const { reason } = error
  return reason._tag !== "ConnectionError" && isFatal(error)
    ? new SqlError({
        reason: new ConnectionError({
          cause: reason.cause,
          message: reason.message,
          operation: reason.operation
        })
      })
    : error
}

/** For the statements that programs mostly run: made once, it is a tenth less garbage for each. */
const plainRows = {
  onFailure: (cause: Cause.Cause<SqlError>) => Effect.failCause(Cause.map(cause, named)),
  onSuccess: ({ rows }: PgConnection.Result) => Effect.succeed(rows)
}

/** What `DISCARD ALL` does, but for the prepared statements: the driver counts on those that it has made. */
const resets = [
  "CLOSE ALL",
  "SET SESSION AUTHORIZATION DEFAULT",
  "RESET ALL",
  "UNLISTEN *",
  "SELECT pg_advisory_unlock_all()",
  "DISCARD PLANS",
  "DISCARD TEMP",
  "DISCARD SEQUENCES"
]

interface Internals {
  readonly deadError: () => SqlError | undefined
  readonly retireHooks: Set<() => void>
  readonly base?: Base | undefined
}

interface Base {
  readonly session: { readonly socket: Socket }
  readonly multiplex: boolean
  /** Who reads what the server answers, while it does. */
  readonly consumer?: unknown
  /** What `interrupt` does, whoever's statement it hits. */
  readonly cancel?: Effect.Effect<void> | undefined
}

interface Socket {
  readonly destroyed: boolean
  readonly unref?: () => void
  readonly destroy: () => void
}

const internalsKey = "~@effect/sql-pg/PgConnection/internals"

/**
 * How the driver's own pool hears that a session has died, or must not be used again since a late cancel might hit its next
 * statement. It is not part of the public interface of `@effect/sql-pg`, which has nothing else for that: a test holds that it
 * is there. Without it, what has died is found when it is used or validated.
 */
const internalsOf = (connection: PgConnection.PgConnection): Internals =>
  (connection as unknown as Record<string, Internals | undefined>)[internalsKey] ?? {
    deadError: () => undefined,
    retireHooks: new Set()
  }
