// A driver between a pool and the real one, whose sessions fail when they are told to.
import type { SqlDriver } from "@cenote/sql"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { type Fault, InjectedFault, type Script } from "./script.ts"

type SqlSession = SqlDriver.SqlSession

/**
 * Where the sessions of a driver can go wrong.
 *
 * @category models
 * @since 0.1.0
 */
export type DriverPoint = "connect" | "statement" | "ping" | "rollback" | "reset" | "close"

/**
 * What has happened to the sessions of a driver.
 *
 * @category models
 * @since 0.1.0
 */
export interface DriverStats {
  /** Sessions that are open now. */
  readonly open: number
  /** The most that were open at one time. */
  readonly mostOpen: number
  /** Sessions that were ever opened, and that were closed. */
  readonly opened: number
  readonly closed: number
  /** Connects that have begun, how they ended aside. */
  readonly connects: number
  readonly statements: number
  readonly pings: number
  readonly rollbacks: number
  readonly resets: number
  /** How many are held up now by `"hang"` and `"stick"`. */
  readonly held: number
}

export type Counts = { -readonly [K in Exclude<keyof DriverStats, "held">]: number }

type PointScript = Script<DriverPoint, "fatal">

/** Its reason says whether the session is lost. */
const sqlError = (fault: InjectedFault): SqlError => {
  const fields = { cause: fault, message: fault.message, operation: fault.point }
  return new SqlError({ reason: fault.fatal ? new ConnectionError(fields) : new UnknownError(fields) })
}

/** Of an error that a test has asked for: whether it was to be the end of the session. */
export const isFatal = (error: SqlError): boolean | undefined =>
  error.reason.cause instanceof InjectedFault ? error.reason.cause.fatal : undefined

/** Of a session and its parts: they end together. */
class Life {
  ended: SqlError | undefined
  private readonly listeners = new Set<(error: SqlError) => void>()

  constructor(inner: SqlSession) {
    inner.onEnd((error) => this.end(error))
  }

  end(error: SqlError): void {
    if (this.ended !== undefined) return
    this.ended = error
    for (const listener of this.listeners) listener(error)
    this.listeners.clear()
  }

  onEnd(listener: (error: SqlError) => void): () => void {
    if (this.ended !== undefined) {
      listener(this.ended)
      return () => {}
    }
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Fails with the end. */
  readonly over: Effect.Effect<never, SqlError> = Effect.callback((resume) => {
    const forget = this.onEnd((error) => resume(Effect.fail(error)))
    return Effect.sync(forget)
  })

  /** What is under way when the session ends fails with it. */
  readonly within = <A, R>(effect: Effect.Effect<A, SqlError, R>): Effect.Effect<A, SqlError, R> =>
    Effect.raceFirst(effect, this.over)
}

export class Sessions {
  readonly counts: Counts = {
    open: 0,
    mostOpen: 0,
    opened: 0,
    closed: 0,
    connects: 0,
    statements: 0,
    pings: 0,
    rollbacks: 0,
    resets: 0
  }
  private readonly lives = new Set<Life>()
  private readonly script: PointScript

  constructor(script: PointScript) {
    this.script = script
  }

  /** Ends all that are open, as a server that goes away does. Says how many. */
  kill(): number {
    const lives = [...this.lives].filter((_) => _.ended === undefined)
    for (const life of lives) life.end(sqlError(new InjectedFault({ point: "session", fatal: true })))
    return lives.length
  }

  /** What a connect comes to before a session in a thread is asked for. */
  readonly connecting: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    this.count("connects")
    return this.happen("connect", this.script.take("connect"))
  })

  connect(
    connect: Effect.Effect<SqlSession, SqlError, Scope.Scope>
  ): Effect.Effect<SqlSession, SqlError, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function* () {
        this.count("connects")
        const fault = this.script.take("connect")
        const opening = Effect.andThen(this.happen("connect", fault), connect)
        let life: Life | undefined
        // Put first, to come last: after the session is closed.
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            if (life === undefined) return
            this.lives.delete(life)
            this.counts.open--
            this.count("closed")
          })
        )
        // What sticks arrives, even if nobody wants it any more.
        const inner = yield* fault === "stick" ? opening : restore(opening)
        life = new Life(inner)
        this.lives.add(life)
        this.count("opened")
        this.counts.mostOpen = Math.max(this.counts.mostOpen, this.counts.open + 1)
        this.count("open")
        yield* Effect.addFinalizer(() =>
          Effect.suspend(() => Effect.orDie(this.happen("close", this.script.take("close"))))
        )
        return this.wrap(inner, life)
      })
    )
  }

  private count(which: keyof Counts): void {
    this.counts[which]++
    this.script.changed()
  }

  /** Has happen to a session what is to happen here, now. */
  private strike(point: DriverPoint, life: Life, subject?: string): Effect.Effect<void, SqlError> {
    return Effect.suspend(() =>
      life.ended === undefined
        ? this.happen(point, this.script.take(point, subject), life)
        : Effect.fail(life.ended)
    )
  }

  private happen(
    point: DriverPoint,
    fault: Fault | "fatal" | undefined,
    life?: Life
  ): Effect.Effect<void, SqlError> {
    if (fault !== "fatal") return Effect.mapError(this.script.happen(point, fault), sqlError)
    const error = sqlError(new InjectedFault({ point, fatal: true }))
    life?.end(error)
    return Effect.fail(error)
  }

  private wrap(inner: SqlSession, life: Life): SqlSession {
    const before = (point: DriverPoint, which: keyof Counts, run: () => Effect.Effect<void, SqlError>) =>
      Effect.suspend(() => {
        this.count(which)
        return life.within(Effect.andThen(this.strike(point, life), Effect.suspend(run)))
      })
    const begin = (sql: string) =>
      Effect.suspend(() => {
        this.count("statements")
        return this.strike("statement", life, sql)
      })
    const statement =
      <Args extends ReadonlyArray<unknown>, A>(
        run: (sql: string, ...args: Args) => Effect.Effect<A, SqlError>
      ) =>
      (sql: string, ...args: Args) =>
        life.within(Effect.andThen(begin(sql), run(sql, ...args)))
    const { exclusive, extras } = inner
    return {
      execute: statement((...args) => inner.execute(...args)),
      executeRaw: statement((...args) => inner.executeRaw(...args)),
      executeValues: statement((...args) => inner.executeValues(...args)),
      executeValuesUnprepared: statement((...args) => inner.executeValuesUnprepared(...args)),
      executeUnprepared: statement((...args) => inner.executeUnprepared(...args)),
      executeStream: (sql, ...args) =>
        Stream.unwrap(Effect.as(begin(sql), inner.executeStream(sql, ...args))).pipe(
          Stream.interruptWhen(life.over)
        ),
      ping: before("ping", "pings", () => inner.ping),
      rollback: before("rollback", "rollbacks", () => inner.rollback),
      reset: before("reset", "resets", () => inner.reset),
      onEnd: (listener) => void life.onEnd(listener),
      ...(exclusive === undefined ? {} : { exclusive: Effect.map(exclusive, (_) => this.wrap(_, life)) }),
      native: inner.native,
      // It changes with what the session is doing.
      get settling() {
        return inner.settling
      },
      ...(extras === undefined ? {} : { extras })
    }
  }
}
