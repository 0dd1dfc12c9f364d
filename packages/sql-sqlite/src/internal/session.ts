import { DatabaseSync, type SQLInputValue } from "node:sqlite"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import { SafeIntegers } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SqlSession } from "@cenote/sql/SqlDriver"
import type { WireConfig } from "./config.ts"
import { isBusy, isClosed, Rejected, sqlError } from "./error.ts"
import { bindable, type Changes, kindOf, Prepared, Statements, toObjects } from "./statement.ts"
import { isWaitedFor, pause, pauseBefore, wakeAll } from "./waiting.ts"

type Transform = Parameters<Connection["execute"]>[2]
type Params = ReadonlyArray<unknown>
type Values = ReadonlyArray<SQLInputValue>

/** Opens the database; closing the scope closes it. */
export const connect = (config: WireConfig): Effect.Effect<SqliteSession, SqlError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => new SqliteSession(config),
      catch: (cause) => sqlError(cause, { operation: "connect", database: config.database })
    }),
    (session) => Effect.sync(() => session.close())
  ).pipe(Effect.tap((session) => session.open))

export class SqliteSession implements SqlSession {
  readonly native: DatabaseSync
  private readonly config: WireConfig
  private readonly statements: Statements
  /** How often the database was opened: what was begun before, is over. */
  private opened = 0
  /** Whether the transaction that is open has had no statement yet, and so may wait for others as if there were none. */
  private fresh = false
  private ended: SqlError | undefined = undefined
  private readonly listeners: Array<(error: SqlError) => void> = []

  constructor(config: WireConfig) {
    this.config = config
    this.native = new DatabaseSync(config.path, {
      open: false,
      readOnly: config.readonly,
      enableForeignKeyConstraints: config.foreignKeys,
      allowExtension: config.extensions.length > 0
    })
    this.statements = new Statements(this.native, config.prepareCacheSize)
  }

  // ---------------------------------------------------------------------------
  // Opening and closing
  // ---------------------------------------------------------------------------

  /** Opens the database, and sets it up as the options say. */
  get open(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      try {
        this.native.open()
        this.opened++
        this.loadExtensions()
      } catch (cause) {
        return Effect.fail(this.failure(cause, "connect"))
      }
      return this.attempt("connect", "", () => this.setUp())
    })
  }

  private loadExtensions(): void {
    const { extensions } = this.config
    if (extensions.length === 0) return
    this.native.enableLoadExtension(true)
    for (const path of extensions) this.native.loadExtension(path)
    // From SQL, none can be loaded.
    this.native.enableLoadExtension(false)
  }

  /** Can be done again, where a lock was in the way. */
  private setUp(): void {
    const { pragmas, wal } = this.config
    // Where the file system cannot have one, SQLite leaves the file as it is, and goes on.
    if (wal) this.native.exec("PRAGMA journal_mode = WAL")
    for (const { name, value } of pragmas) {
      this.checkPragma(name)
      this.native.exec(`PRAGMA ${name} = ${value}`)
    }
  }

  /** SQLite passes over names that it does not know. */
  private checkPragma(name: string): void {
    const plain = name.slice(name.indexOf(".") + 1).toLowerCase()
    const known = this.native.prepare("SELECT 1 FROM pragma_pragma_list WHERE name = ?").get(plain)
    if (known === undefined)
      throw new Rejected("connection", `pragmas: SQLite knows no pragma ${JSON.stringify(name)}`)
  }

  close(): void {
    this.statements.clear()
    if (this.native.isOpen) this.native.close()
    wakeAll(this.config.path)
  }

  // ---------------------------------------------------------------------------
  // Statements
  // ---------------------------------------------------------------------------

  execute(
    sql: string,
    params: Params,
    transformRows: Transform
  ): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return transformed(this.run("execute", sql, params, getPrepared, rowsOf), transformRows)
  }

  executeUnprepared(
    sql: string,
    params: Params,
    transformRows: Transform
  ): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return transformed(this.run("execute", sql, params, prepareOnce, rowsOf), transformRows)
  }

  executeRaw(sql: string, params: Params): Effect.Effect<unknown, SqlError> {
    return this.run("executeRaw", sql, params, getPrepared, resultOf)
  }

  executeValues(sql: string, params: Params): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.run("executeValues", sql, params, getPrepared, valuesOf)
  }

  executeValuesUnprepared(
    sql: string,
    params: Params
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.run("executeValues", sql, params, prepareOnce, valuesOf)
  }

  executeStream(sql: string, params: Params, transformRows: Transform): Stream.Stream<any, SqlError> {
    const rows = Stream.unwrap(
      Effect.map(
        Effect.acquireRelease(
          Effect.map(SafeIntegers, (bigInts) => new Cursor(sql, params, bigInts)),
          (cursor) => Effect.sync(() => this.release(cursor))
        ),
        (cursor) => Stream.fromPull(Effect.succeed(this.pull(cursor)))
      )
    )
    return transformRows === undefined ? rows : Stream.mapArray(rows, (_) => transformRows(_) as typeof _)
  }

  private run<A>(
    operation: string,
    sql: string,
    params: Params,
    prepare: (statements: Statements, database: DatabaseSync, sql: string) => Prepared,
    use: (statement: Statement, values: Values, bigInts: boolean) => A
  ): Effect.Effect<A, SqlError> {
    return Effect.withFiber((fiber) => {
      const bigInts = fiber.getRef(SafeIntegers)
      return this.attempt(operation, sql, () => {
        const prepared = this.prepare(() => prepare(this.statements, this.native, sql))
        const { kind } = prepared
        // SQLite rolls back by itself where it must, as when the disk is full. What then wants to roll back finds it done,
        // rather than a failure in place of the one that was the cause.
        const isDone = kind === "undo" && !this.native.isTransaction
        const opens = kind === "begin" && (this.fresh || !this.native.isTransaction)
        const result = use(isDone ? nothing : prepared, bindable(params), bigInts)
        this.fresh = opens
        if (kind === "commit" || kind === "undo") this.wakeOthers()
        return result
      })
    })
  }

  private prepare(prepare: () => Prepared): Prepared {
    try {
      return prepare()
    } catch (cause) {
      throw isBusy(cause) ? cause : new Failed(this.failure(cause, "prepare"))
    }
  }

  // ---------------------------------------------------------------------------
  // Locks of others
  // ---------------------------------------------------------------------------

  /** Does something with the database, again and again as long as another connection has a lock that is in the way. */
  private attempt<A>(operation: string, sql: string, action: () => A): Effect.Effect<A, SqlError> {
    let cause: unknown
    try {
      return Effect.succeed(action())
    } catch (error) {
      cause = error
    }
    return this.canWait(cause, sql)
      ? this.again(operation, cause, action)
      : Effect.fail(this.failure(cause, operation, this.config.busyTimeout === 0 ? 0 : undefined))
  }

  private again<A>(operation: string, first: unknown, action: () => A): Effect.Effect<A, SqlError> {
    const { busyTimeout, path } = this.config
    return Effect.gen({ self: this }, function* () {
      const deadline = (yield* Clock.currentTimeMillis) + busyTimeout
      let cause = first
      for (let attempt = 0; isBusy(cause); attempt++) {
        const left = deadline - (yield* Clock.currentTimeMillis)
        if (left <= 0) return yield* Effect.fail(this.failure(cause, operation, busyTimeout))
        yield* pause(path, Math.min(left, pauseBefore(attempt)))
        try {
          return action()
        } catch (next) {
          cause = next
        }
      }
      return yield* Effect.fail(this.failure(cause, operation))
    })
  }

  /**
   * Within a transaction, the one who waits may be the one who is waited for: it keeps what it has read. Only its end can
   * wait, and its first statement, which has nothing yet.
   */
  private canWait(cause: unknown, sql: string): boolean {
    if (!isBusy(cause) || this.config.busyTimeout === 0 || !this.native.isOpen) return false
    if (!this.native.isTransaction || this.fresh) return true
    const kind = kindOf(sql)
    return kind === "commit" || kind === "undo"
  }

  /** Statements by themselves are over before anyone in this thread can wait for them; transactions and streams last. */
  private wakeOthers(): void {
    const { path } = this.config
    if (isWaitedFor(path) && !(this.native.isOpen && this.native.isTransaction)) wakeAll(path)
  }

  // ---------------------------------------------------------------------------
  // Streams
  // ---------------------------------------------------------------------------

  private pull(cursor: Cursor): Pull.Pull<Arr.NonEmptyReadonlyArray<object>, SqlError> {
    return Effect.suspend(() => {
      if (cursor.isDone) return Cause.done()
      return Effect.flatMap(
        this.attempt("stream", cursor.sql, () => this.read(cursor)),
        (rows) => (Arr.isReadonlyArrayNonEmpty(rows) ? Effect.succeed(rows) : Cause.done())
      )
    })
  }

  private read(cursor: Cursor): ReadonlyArray<object> {
    if (cursor.opened === undefined) {
      cursor.begin(
        this.prepare(() => this.statements.take(cursor.sql)),
        this.opened
      )
    } else if (cursor.opened !== this.opened) {
      throw new Rejected("connection", "the stream has ended early: its connection was reset meanwhile")
    }
    const rows = cursor.read()
    this.fresh = false
    // What has given rows cannot be done again.
    if (rows.length === 0 && cursor.failed !== undefined) {
      throw new Failed(this.failure(cursor.failed.cause, "stream"))
    }
    return rows
  }

  /** The statement lets go of what it reads, and can be used for others. */
  private release(cursor: Cursor): void {
    // Otherwise it was finalised already.
    if (cursor.opened !== this.opened || !this.native.isOpen) return
    const prepared = cursor.end()
    if (prepared !== undefined) this.statements.giveBack(cursor.sql, prepared)
    this.wakeOthers()
  }

  // ---------------------------------------------------------------------------
  // The session
  // ---------------------------------------------------------------------------

  get ping(): Effect.Effect<void, SqlError> {
    return Effect.asVoid(this.run("ping", "SELECT 1", [], getPrepared, valuesOf))
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() =>
      this.attempt("rollback", "ROLLBACK", () => {
        if (this.native.isTransaction) this.native.exec("ROLLBACK")
        this.fresh = false
        this.wakeOthers()
      })
    )
  }

  /**
   * Opens the database anew: of all that a session can have (temporary tables, attached databases, pragmas, functions),
   * nothing else is sure to leave nothing behind.
   */
  get reset(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      // Somebody else has closed it: this tells.
      if (!this.native.isOpen) return this.ping
      this.close()
      this.fresh = false
      return this.open
    })
  }

  onEnd(listener: (error: SqlError) => void): void {
    if (this.ended === undefined) this.listeners.push(listener)
    else listener(this.ended)
  }

  /** What a failure is called. One that shows that the connection was closed ends the session. */
  private failure(cause: unknown, operation: string, waited?: number): SqlError {
    if (cause instanceof Failed) return cause.error
    // SQLite may have rolled back.
    if (!isBusy(cause)) this.wakeOthers()
    const error = sqlError(cause, { operation, database: this.config.database, waited })
    if (isClosed(cause) && this.ended === undefined) {
      this.ended = error
      for (const listener of this.listeners.splice(0)) listener(error)
    }
    return error
  }
}

/** Carries an error through code that throws. */
class Failed {
  readonly error: SqlError

  constructor(error: SqlError) {
    this.error = error
  }
}

// -----------------------------------------------------------------------------
// What is done with statements
// -----------------------------------------------------------------------------

const getPrepared = (statements: Statements, _: DatabaseSync, sql: string): Prepared => statements.get(sql)
const prepareOnce = (_: Statements, database: DatabaseSync, sql: string): Prepared =>
  new Prepared(database, sql)

/** What statements are to those who run them. */
type Statement = Pick<Prepared, "hasRows" | "rows" | "values" | "run">

/** A statement that does nothing. */
const nothing: Statement = {
  hasRows: false,
  rows: () => [],
  values: () => [],
  run: () => ({ changes: 0, lastInsertRowid: 0 })
}

const rowsOf = (statement: Statement, values: Values, bigInts: boolean): ReadonlyArray<any> =>
  statement.rows(values, bigInts)

const valuesOf = (
  statement: Statement,
  values: Values,
  bigInts: boolean
): ReadonlyArray<ReadonlyArray<unknown>> => statement.values(values, bigInts)

const resultOf = (statement: Statement, values: Values, bigInts: boolean): ReadonlyArray<any> | Changes =>
  statement.hasRows ? statement.rows(values, bigInts) : statement.run(values, bigInts)

const transformed = (
  rows: Effect.Effect<ReadonlyArray<any>, SqlError>,
  transform: Transform
): Effect.Effect<ReadonlyArray<any>, SqlError> =>
  transform === undefined ? rows : Effect.map(rows, transform)

// -----------------------------------------------------------------------------
// Streams
// -----------------------------------------------------------------------------

/** Rows that are fetched at one time: few at first, for those who want few. */
const firstRows = 16
const mostRows = 256

/** A statement whose rows are fetched as they are wanted. */
class Cursor {
  readonly sql: string
  /** Which opening of the database it belongs to, once it has begun. */
  opened: number | undefined = undefined
  isDone = false
  /** What stopped it. The rows before come first. */
  failed: { readonly cause: unknown } | undefined = undefined
  private readonly params: Params
  private readonly bigInts: boolean
  private prepared: Prepared | undefined = undefined
  private rows: Iterator<ReadonlyArray<unknown>> | undefined = undefined
  private columns: ReadonlyArray<string> = []
  private atOnce = firstRows

  constructor(sql: string, params: Params, bigInts: boolean) {
    this.sql = sql
    this.params = params
    this.bigInts = bigInts
  }

  begin(prepared: Prepared, opened: number): void {
    this.prepared = prepared
    this.opened = opened
  }

  /** The next rows; none when there are no more. */
  read(): ReadonlyArray<object> {
    const found: Array<ReadonlyArray<unknown>> = []
    const rows = this.rows ?? this.prepared!.iterate(bindable(this.params), this.bigInts)
    while (found.length < this.atOnce && !this.isDone && this.failed === undefined) {
      try {
        const next = rows.next()
        if (next.done === true) this.isDone = true
        else found.push(next.value)
      } catch (cause) {
        if (this.rows === undefined) {
          // The first row may have to wait for a lock, and is then asked for anew. Or else the failure would show up again
          // with the next use of the statement.
          rows.return?.()
          throw cause
        }
        this.failed = { cause }
      }
      this.rows = rows
    }
    if (found.length > 0 && this.columns.length === 0) this.columns = this.prepared!.columns()
    this.atOnce = Math.min(this.atOnce * 2, mostRows)
    return toObjects(found, this.columns)
  }

  /** Lets go of what it reads. The statement, for others. */
  end(): Prepared | undefined {
    this.isDone = true
    this.rows?.return?.()
    return this.prepared
  }
}
