import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Cleanup } from "../SqlConnection.ts"
import type { SqlDriver, SqlSession } from "../SqlDriver.ts"
import { effectOf, readingOf } from "./statement.ts"

type Transform = Parameters<Connection["execute"]>[2]

/** Whether a session lives: one for all who use it. */
interface Life {
  /** Why it has ended, if it has. */
  ended: SqlError | undefined
}

/** What was done to a session that a clean-up has to undo. */
interface State {
  /** Whether a transaction may be open, as far as the statements tell that were run. */
  mayBeOpen: boolean
  /** Whether statements may open one by themselves from now on, as after `SET autocommit = 0`. */
  opensByItself: boolean
  /** Whether the loan has had the driver's connection, which it may use at any time. */
  nativeWasRead: boolean
  /** How many statements may have opened one. */
  opened: number
  /** Stands in for the pool's at the next return. */
  cleanup: Cleanup | undefined
}

interface MemberOptions {
  readonly id: number
  readonly connectedAt: number
  readonly session: SqlSession
  readonly driver: SqlDriver
  readonly shared: boolean
  /** How long undoing may take. */
  readonly cleanupTimeout: Duration.Input
  readonly invalidate: (member: Member) => Effect.Effect<void>
}

/**
 * What the pool holds: a session, and what is known of it.
 *
 * It is the `Connection` that statements of a client run on: it notes what they do to the session (see {@link effectOf}),
 * and takes note when one of them fails in a way that ends it.
 */
export class Member extends Inspectable.Class implements Connection {
  readonly id: number
  readonly connectedAt: number
  readonly session: SqlSession
  readonly life: Life
  readonly state: State = fresh()
  private readonly driver: SqlDriver
  /** Whether statements of several fibers are under way on it at one time. */
  private readonly shared: boolean
  private readonly cleanupTimeout: Duration.Input
  /** Has the pool close it. */
  readonly invalidate: Effect.Effect<void>
  onEnd: () => void = () => {}
  /** Called when a statement was interrupted that shares the session: it may still be under way there. */
  onAbandon: () => void = () => {}

  constructor(options: MemberOptions, life: Life = { ended: undefined }) {
    super()
    this.id = options.id
    this.connectedAt = options.connectedAt
    this.session = options.session
    this.driver = options.driver
    this.shared = options.shared
    this.cleanupTimeout = options.cleanupTimeout
    this.invalidate = options.invalidate(this)
    this.life = life
  }

  /** What logs show of it, where a clean-up of a program's own logs it. */
  toJSON() {
    const { connectedAt, id } = this
    return { _id: "SqlConnection", id, connectedAt }
  }

  /** Begins to hear of the end of the session, which may have come already. */
  attend(): void {
    this.session.onEnd((error) => this.end(error))
    this.session.onRetire?.(() => this.onEnd())
  }

  /** The same member for one user alone, where others share its session: what that one does to it is undone apart. */
  over(session: SqlSession): Member {
    const { cleanupTimeout, connectedAt, driver, id, invalidate, life } = this
    const alone = new Member(
      { id, connectedAt, driver, session, shared: false, cleanupTimeout, invalidate: () => invalidate },
      life
    )
    alone.onEnd = this.onEnd
    return alone
  }

  /** Whether nothing can run on it any more. */
  get isOver(): boolean {
    return this.life.ended !== undefined || this.session.hasEnded === true
  }

  /** The driver's connection. Nobody sees what is done to it, so anything may have been. */
  get native(): unknown {
    this.mayHaveSwitched()
    this.state.nativeWasRead = true
    return this.session.native
  }

  end(error: SqlError): void {
    if (this.life.ended !== undefined) return
    this.life.ended = error
    this.onEnd()
  }

  // ---------------------------------------------------------------------------
  // Statements
  // ---------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.watch(sql, this.session.execute(sql, params, transformRows))
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.watch(sql, this.session.executeRaw(sql, params), false)
  }

  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.watch(sql, this.session.executeValues(sql, params))
  }

  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.watch(sql, this.session.executeValuesUnprepared(sql, params))
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.watch(sql, this.session.executeUnprepared(sql, params, transformRows))
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Stream.suspend(() => {
      if (effectOf(sql) !== "none") this.mayHaveSwitched()
      return Stream.onError(this.session.executeStream(sql, params, transformRows), (cause) =>
        Effect.sync(() => this.failed(cause))
      )
    })
  }

  get ping(): Effect.Effect<void, SqlError> {
    return this.watchFailure(this.session.ping)
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return Effect.tap(this.watchFailure(this.session.rollback), () =>
      Effect.sync(() => {
        this.state.mayBeOpen = this.state.opensByItself
      })
    )
  }

  get reset(): Effect.Effect<void, SqlError> {
    return Effect.tap(this.watchFailure(this.session.reset), () =>
      Effect.sync(() => {
        this.state.mayBeOpen = this.state.opensByItself = false
      })
    )
  }

  /** Runs a statement, and notes what it does to the session. */
  private watch<A>(
    sql: string,
    effect: Effect.Effect<A, SqlError>,
    givesRows = true
  ): Effect.Effect<A, SqlError> {
    const reading = readingOf(sql)
    const undone = givesRows && reading.isUndoing
    switch (reading.effect) {
      case "none":
        return this.watchFailure(effect)
      case "ends":
        return Effect.suspend(() => {
          const { opened } = this.state
          return Effect.tap(this.watchFailure(effect, undone), () =>
            Effect.sync(() => {
              // One that was opened meanwhile, by another fiber, may have come after it.
              if (this.state.opened === opened) this.state.mayBeOpen = this.state.opensByItself
            })
          )
        })
      case "sets":
        return Effect.suspend(() => {
          this.mayHaveSwitched()
          return this.watchFailure(effect)
        })
      default:
        return Effect.suspend(() => {
          this.state.mayBeOpen = true
          this.state.opened++
          return this.watchFailure(effect, undone)
        })
    }
  }

  /** Anything may have been done to the session. */
  private mayHaveSwitched(): void {
    this.state.mayBeOpen = true
    this.state.opened++
    if (this.driver.canSwitchAutocommit === true) this.state.opensByItself = true
  }

  /** `undone`: where the session has died, what the statement is for has come about: everything is rolled back. */
  private watchFailure<A>(effect: Effect.Effect<A, SqlError>, undone = false): Effect.Effect<A, SqlError> {
    if (undone) {
      return this.watchFailure(this.within(effect)).pipe(
        Effect.catch((error) =>
          this.life.ended === undefined ? Effect.fail(error) : Effect.succeed([] as A)
        )
      )
    }
    return Effect.onExitPrimitive(effect, (exit: Exit.Exit<A, SqlError>) => {
      if (exit._tag === "Success") return undefined
      if (this.shared && Cause.hasInterrupts(exit.cause)) this.onAbandon()
      this.failed(exit.cause)
      return undefined
    })
  }

  /**
   * A transaction that is given up is rolled back where nothing can be interrupted, and a server that is not heard any more
   * would hold its fiber for ever. The session is as good as ended then, and is closed.
   */
  private within<A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.flatMap(Effect.forkDetach(effect, { startImmediately: true }), (undoing) =>
      Fiber.join(undoing).pipe(
        Effect.timeoutOrElse({
          duration: this.cleanupTimeout,
          orElse: () => Effect.fail(notUndone(this.cleanupTimeout))
        }),
        Effect.onExit((exit) =>
          exit._tag === "Failure" ? Effect.sync(() => undoing.interruptUnsafe()) : Effect.void
        )
      )
    )
  }

  private failed(cause: Cause.Cause<unknown>): void {
    for (const reason of cause.reasons) {
      if (!Cause.isFailReason(reason)) continue
      const { error } = reason
      if (isSqlError(error) && this.driver.isFatal(error)) this.end(error)
    }
  }
}

const notUndone = (timeout: Duration.Input): SqlError => {
  const message =
    `no answer to a rollback within ${Duration.format(Duration.fromInputUnsafe(timeout))} (cleanupTimeout): ` +
    "the connection is closed"
  return new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "rollback" })
  })
}

const fresh = (): State => ({
  nativeWasRead: false,
  mayBeOpen: false,
  opensByItself: false,
  opened: 0,
  cleanup: undefined
})
