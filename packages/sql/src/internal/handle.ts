import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Inspectable from "effect/Inspectable"
import * as Scope from "effect/Scope"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Pool } from "@cenote/pool"
import type { Cleanup, SqlConnection } from "../SqlConnection.ts"
import type { SqlSession } from "../SqlDriver.ts"
import type { Member } from "./member.ts"

type Transform = Parameters<Connection["execute"]>[2]

/** A connection on loan: as long as it is held, the member's statements. */
export class Handle extends Inspectable.Class implements SqlConnection {
  readonly member: Member
  private readonly pool: string
  /** Closing it returns the connection. */
  private readonly loan: Scope.Closeable
  /** Of the one who borrows: closing it ends the loan, and it forgets the loan that has ended before. */
  private end: Scope.Closeable | undefined = undefined
  /** By which the pool finds a borrow that can never be served. */
  readonly mark: Pool.CurrentLoan | undefined
  private held = true
  /** Statements and streams that have begun and not ended. */
  private underWay = 0

  constructor(options: {
    readonly member: Member
    readonly pool: string
    readonly loan: Scope.Closeable
    readonly mark: Pool.CurrentLoan | undefined
  }) {
    super()
    this.member = options.member
    this.pool = options.pool
    this.loan = options.loan
    this.mark = options.mark
  }

  /** What logs show of it. In the driver's connection there may be a password. */
  toJSON() {
    const { connectedAt, id, pool } = this
    return { _id: "SqlConnection", pool, id, connectedAt }
  }

  get id(): number {
    return this.member.id
  }

  get connectedAt(): number {
    return this.member.connectedAt
  }

  get native(): unknown {
    if (!this.held) throw this.returned()
    return this.member.native
  }

  /** Something that only the services of a driver ask of a session. */
  streamOf<A>(f: (session: SqlSession) => Stream.Stream<A, SqlError>): Stream.Stream<A, SqlError> {
    return Stream.suspend(() =>
      this.held ? this.counted(f(this.member.session)) : Stream.fail(this.returned())
    )
  }

  get isHeld(): Effect.Effect<boolean> {
    return Effect.sync(() => this.held)
  }

  get invalidate(): Effect.Effect<void> {
    return Effect.suspend(() => (this.held ? this.member.invalidate : Effect.void))
  }

  release(options: { readonly cleanup?: Cleanup | undefined } = {}): Effect.Effect<void> {
    return Effect.uninterruptible(
      Effect.suspend(() => {
        if (!this.held) return Effect.void
        if (options.cleanup !== undefined) this.member.state.cleanup = options.cleanup
        return this.end === undefined ? this.giveBack : Scope.close(this.end, Exit.void)
      })
    )
  }

  /** Has the loan end with a scope, if it is not released before. */
  endWith(scope: Scope.Scope): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.end = Scope.forkUnsafe(scope)
      // Adds to one that has closed meanwhile by running it.
      return Scope.addFinalizer(this.end, this.giveBack)
    })
  }

  private readonly giveBack: Effect.Effect<void> = Effect.suspend(() => {
    this.held = false
    const close = Scope.close(this.loan, Exit.void)
    // What is still under way on it would be in the way of the next borrower.
    return this.underWay > 0 ? Effect.andThen(this.member.invalidate, close) : close
  })

  setCleanup(cleanup: Cleanup): Effect.Effect<void> {
    return Effect.sync(() => {
      if (this.held) this.member.state.cleanup = cleanup
    })
  }

  // ---------------------------------------------------------------------------
  // Statements
  // ---------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.whileHeld((member) => member.execute(sql, params, transformRows))
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.whileHeld((member) => member.executeRaw(sql, params))
  }

  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.whileHeld((member) => member.executeValues(sql, params))
  }

  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.whileHeld((member) => member.executeValuesUnprepared(sql, params))
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.whileHeld((member) => member.executeUnprepared(sql, params, transformRows))
  }

  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Stream.suspend(() =>
      this.held
        ? this.counted(this.member.executeStream(sql, params, transformRows))
        : Stream.fail(this.returned())
    )
  }

  get ping(): Effect.Effect<void, SqlError> {
    return this.whileHeld((member) => member.ping)
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return this.whileHeld((member) => member.rollback)
  }

  get reset(): Effect.Effect<void, SqlError> {
    return this.whileHeld((member) => member.reset)
  }

  private whileHeld<A>(f: (member: Member) => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.suspend(() => {
      if (!this.held) return Effect.fail(this.returned())
      this.underWay++
      return Effect.onExitPrimitive(
        // What it fails with then is only what the return has led to.
        Effect.mapError(f(this.member), (error) => (this.held ? error : this.returned())),
        () => {
          this.underWay--
          return undefined
        }
      )
    })
  }

  private counted<A>(stream: Stream.Stream<A, SqlError>): Stream.Stream<A, SqlError> {
    return Stream.suspend(() => {
      this.underWay++
      return Stream.ensuring(
        Stream.mapError(stream, (error) => (this.held ? error : this.returned())),
        Effect.sync(() => this.underWay--)
      )
    })
  }

  private returned(): SqlError {
    const message =
      `connection ${this.id} of pool ${JSON.stringify(this.pool)} was returned, and this handle on it cannot be used ` +
      "any more. Borrow one again, or use it before its scope closes"
    return new SqlError({
      reason: new ConnectionError({ cause: new Error(message), message, operation: "use" })
    })
  }
}
