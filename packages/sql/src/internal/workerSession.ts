// A session in a thread: what the other side calls.
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { SafeIntegers } from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SqlSession } from "../SqlDriver.ts"
import { encodeSqlError, type WireSqlError } from "./wire.ts"

type Rows = ReadonlyArray<any>
type Values = ReadonlyArray<ReadonlyArray<unknown>>
type Params = ReadonlyArray<unknown>

/**
 * What an object in the thread can do; its other side is `tpooledSession.ts`. `safe`: integers as bigints. Parameters come one
 * by one, and not in an array: calls whose arguments are plain values share a message.
 */
export interface HostedSession {
  readonly open: () => Effect.Effect<void, WireSqlError>
  readonly execute: (safe: boolean, sql: string, ...params: Params) => Effect.Effect<Rows, WireSqlError>
  readonly executeRaw: (safe: boolean, sql: string, ...params: Params) => Effect.Effect<unknown, WireSqlError>
  readonly executeValues: (
    safe: boolean,
    sql: string,
    ...params: Params
  ) => Effect.Effect<Values, WireSqlError>
  readonly executeValuesUnprepared: (
    safe: boolean,
    sql: string,
    ...params: Params
  ) => Effect.Effect<Values, WireSqlError>
  readonly executeUnprepared: (
    safe: boolean,
    sql: string,
    ...params: Params
  ) => Effect.Effect<Rows, WireSqlError>
  readonly stream: (safe: boolean, sql: string, ...params: Params) => Stream.Stream<any, WireSqlError>
  readonly ping: () => Effect.Effect<void, WireSqlError>
  readonly rollback: () => Effect.Effect<void, WireSqlError>
  readonly reset: () => Effect.Effect<void, WireSqlError>
  /** Runs after what was called before; tells whether the session can be lent again, and fails when it has ended. */
  readonly settle: () => Effect.Effect<boolean, WireSqlError>
  /** Something that only the driver's own services ask of a session. */
  readonly extra: (name: string, args: ReadonlyArray<unknown>) => Stream.Stream<unknown, WireSqlError>
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

/** One end of a `MessageChannel`, as every platform has it. */
export interface Port {
  readonly postMessage: (message: unknown) => void
  readonly addEventListener: (
    type: "message" | "close",
    listener: (event: { readonly data: unknown }) => void
  ) => void
  readonly start: () => void
  readonly close: () => void
  /** On Node: a port that nobody waits for does not keep the process up. */
  readonly unref?: () => void
}

export const hosted = <Config>(
  connect: (config: Config) => Effect.Effect<SqlSession, SqlError, Scope.Scope>
): new (config: Config, port: Port) => HostedSession =>
  class Session implements HostedSession {
    private readonly config: Config
    private readonly port: Port
    private readonly scope = Scope.makeUnsafe()
    private session: SqlSession | undefined = undefined
    private ended: SqlError | undefined = undefined
    private retired = false

    constructor(config: Config, port: Port) {
      this.config = config
      this.port = port
    }

    open(): Effect.Effect<void, WireSqlError> {
      return Scope.provide(connect(this.config), this.scope).pipe(
        Effect.map((session) => {
          this.session = session
          // The other side hears at once that a session is over, also when nothing runs on it.
          session.onEnd((error) => {
            this.ended = error
            tell(this.port, encodeSqlError(error))
          })
          session.onRetire?.(() => {
            this.retired = true
            tell(this.port, retired)
          })
        }),
        Effect.mapError(encodeSqlError)
      )
    }

    execute(safe: boolean, sql: string, ...params: Params) {
      return this.run(safe, (session) => session.execute(sql, params, undefined))
    }
    executeRaw(safe: boolean, sql: string, ...params: Params) {
      return this.run(safe, (session) => session.executeRaw(sql, params))
    }
    executeValues(safe: boolean, sql: string, ...params: Params) {
      return this.run(safe, (session) => session.executeValues(sql, params))
    }
    executeValuesUnprepared(safe: boolean, sql: string, ...params: Params) {
      return this.run(safe, (session) => session.executeValuesUnprepared(sql, params))
    }
    executeUnprepared(safe: boolean, sql: string, ...params: Params) {
      return this.run(safe, (session) => session.executeUnprepared(sql, params, undefined))
    }
    stream(safe: boolean, sql: string, ...params: Params) {
      return Stream.suspend(() =>
        this.session === undefined
          ? Stream.fail(encodeSqlError(notOpen()))
          : this.session
              .executeStream(sql, params, undefined)
              .pipe(Stream.mapError(encodeSqlError), Stream.provideService(SafeIntegers, safe))
      )
    }
    ping() {
      return this.run(false, (session) => session.ping)
    }
    rollback() {
      return this.run(false, (session) => session.rollback)
    }
    reset() {
      return this.run(false, (session) => session.reset)
    }
    settle() {
      return this.run(false, () => Effect.succeed(!this.retired))
    }
    extra(name: string, args: ReadonlyArray<unknown>): Stream.Stream<unknown, WireSqlError> {
      return Stream.suspend(() => {
        const extra = this.session?.extras?.[name]
        return Stream.mapError(extra === undefined ? Stream.fail(notOpen()) : extra(...args), encodeSqlError)
      })
    }

    async [Symbol.asyncDispose](): Promise<void> {
      this.session = undefined
      await Effect.runPromise(Scope.close(this.scope, Exit.void))
      this.port.close()
    }

    private run<A>(
      safe: boolean,
      f: (session: SqlSession) => Effect.Effect<A, SqlError>
    ): Effect.Effect<A, WireSqlError> {
      return Effect.suspend(() => {
        if (this.ended !== undefined) return Effect.fail(encodeSqlError(this.ended))
        const effect = this.session === undefined ? Effect.fail(notOpen()) : f(this.session)
        return Effect.mapError(
          safe ? Effect.provideService(effect, SafeIntegers, true) : effect,
          encodeSqlError
        )
      })
    }
  }

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port has none
const tell = (port: Port, news: WireSqlError | typeof retired): void => port.postMessage(news)

/** What the port says of a session that is not to be lent again. */
export const retired = "retired"

const notOpen = (): SqlError => {
  const message = "the session in the thread is not open"
  return new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "use" })
  })
}
