import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SqlSession } from "@cenote/sql/SqlDriver"
import Mysql from "mysql2"
import { connectionError, isUnknownCommand, usageError } from "./errors.ts"
import { type Command, Link, type Reply } from "./link.ts"
import type { Settings } from "./options.ts"
import { Rows } from "./rows.ts"
import { make, optionsOf, Placeholders, type Statement, withoutValues } from "./statement.ts"
import { hangUp, stop, waitOrEnd } from "./stop.ts"
import { TransactionWatch } from "./transaction.ts"
import { Turn } from "./turn.ts"
import { plainBytes } from "./values.ts"

type Transform = Parameters<Connection["execute"]>[2]
type Params = ReadonlyArray<unknown>

/**
 * Opens a session. Its scope ends it. The settings are asked for again when a statement is to be stopped, as that takes a
 * connection of its own. `target` is what errors call the server.
 */
export const connect = (
  settings: Effect.Effect<Settings, SqlError>,
  target: string
): Effect.Effect<SqlSession, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { kills, options, prepares } = yield* restore(settings)
      const link = yield* Effect.acquireRelease(Link.start(options, target), (link) =>
        kills && link.isOpen ? hangUp(link, settings, target) : link.close
      )
      // It is not kept open until its scope closes by who gives up.
      yield* Effect.onError(restore(link.opened), () => link.close)
      return new MysqlSession(link, options.database, prepares, kills ? settings : undefined, target)
    })
  )

class MysqlSession implements SqlSession {
  readonly native: Mysql.Connection
  private readonly link: Link
  private readonly database: string | undefined
  private readonly prepares: boolean
  /** For the connection that stops a statement, if one may. */
  private readonly settings: Effect.Effect<Settings, SqlError> | undefined
  private readonly target: string
  /** What puts back what was agreed on in the beginning. */
  private readonly greeting: string | undefined
  private readonly turn = new Turn()
  private readonly placeholders = new Placeholders()
  private readonly transaction = new TransactionWatch()

  constructor(
    link: Link,
    database: string | undefined,
    prepares: boolean,
    settings: Effect.Effect<Settings, SqlError> | undefined,
    target: string
  ) {
    this.native = link.connection
    this.link = link
    this.database = database
    this.prepares = prepares
    this.settings = settings
    this.target = target
    this.greeting = greetingOf(link.connection)
  }

  execute(sql: string, params: Params, transformRows: Transform) {
    return this.rows("execute", sql, params, this.prepares, transformRows)
  }

  executeUnprepared(sql: string, params: Params, transformRows: Transform) {
    return this.rows("executeUnprepared", sql, params, false, transformRows)
  }

  executeRaw(sql: string, params: Params) {
    return this.run("execute", sql, params, this.prepares)
  }

  executeValues(sql: string, params: Params) {
    return Effect.map(this.run("execute", sql, params, this.prepares, true), toRows)
  }

  executeValuesUnprepared(sql: string, params: Params) {
    return Effect.map(this.run("executeUnprepared", sql, params, false, true), toRows)
  }

  executeStream(sql: string, params: Params, transformRows: Transform): Stream.Stream<any, SqlError> {
    const rows = Stream.fromChannel(
      Channel.fromTransformBracket((_, __, scope) => this.stream(sql, params, scope))
    )
    return transformRows === undefined ? rows : Stream.mapArray(rows, (_) => transformRows(_) as any)
  }

  get ping() {
    return this.turn.run(this.control("ping", (connection, reply) => connection.ping(reply)))
  }

  get rollback() {
    return this.turn.run(
      Effect.tap(
        this.control("rollback", (connection, reply) => connection.query("ROLLBACK", reply)),
        () => Effect.sync(() => this.transaction.clear())
      )
    )
  }

  get reset() {
    return this.turn.run(
      // Half reset, it is good for nobody.
      Effect.onExitPrimitive(this.resetAll(), (exit) => {
        if (Exit.isFailure(exit)) this.link.end(notReset())
        return undefined
      })
    )
  }

  onEnd(listener: (error: SqlError) => void): void {
    let isTold = false
    this.link.onEnd((error) => {
      if (isTold) return
      isTold = true
      listener(error)
    })
  }

  // ---------------------------------------------------------------------------
  // Statements
  // ---------------------------------------------------------------------------

  private rows(
    operation: string,
    sql: string,
    params: Params,
    isPrepared: boolean,
    transformRows: Transform
  ): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return Effect.map(this.run(operation, sql, params, isPrepared), (result) => {
      const rows = toRows(result)
      return transformRows === undefined ? rows : transformRows(rows)
    })
  }

  private run(
    operation: string,
    sql: string,
    params: Params,
    isPrepared: boolean,
    rowsAsArray = false
  ): Effect.Effect<unknown, SqlError> {
    return Effect.suspend(() => {
      let statement: Statement
      try {
        statement = make(sql, params, isPrepared, rowsAsArray)
      } catch (cause) {
        return Effect.fail(refused(operation, cause))
      }
      return this.turn.run(
        Effect.suspend(() => {
          const answer = this.transaction.before(sql, operation)
          if (answer === undefined) return this.send(operation, statement)
          return answer.error === undefined ? Effect.succeed([]) : Effect.fail(answer.error)
        })
      )
    })
  }

  private send(operation: string, statement: Statement): Effect.Effect<unknown, SqlError> {
    const { sql } = statement
    const asked = this.link.ask<unknown>(
      "Failed to execute statement",
      operation,
      (connection, reply, command) => {
        const done: Reply = (error, result) =>
          reply(error === null ? null : withoutValues(error, sql), result)
        this.placeholders.prepare(connection, statement, command, done, () => {
          const options = optionsOf(statement)
          if (statement.isPrepared) connection.execute(options, done)
          else connection.query(options, done)
        })
      },
      (command) => this.stop(command)
    )
    return Effect.matchEffect(asked, {
      onFailure: (error) => (this.transaction.after(sql, error) ? Effect.fail(error) : Effect.succeed([])),
      onSuccess: (result) => {
        this.transaction.after(sql, undefined)
        return Effect.succeed(result)
      }
    })
  }

  private stream(sql: string, params: Params, scope: Scope.Scope) {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function* () {
        const operation = "stream"
        const statement = yield* Effect.try({
          try: () => make(sql, params, this.prepares),
          catch: (cause) => refused(operation, cause)
        })
        yield* this.turn.take(restore)
        const problem = this.transaction.before(sql, operation)?.error ?? this.link.ended
        if (problem !== undefined) {
          this.turn.pass()
          return yield* Effect.fail(problem)
        }
        const rows = new Rows(this.link, (error) => {
          this.transaction.after(sql, error)
          // Others need not wait until all rows are taken. One that is being stopped keeps the turn until that is settled.
          if (!rows.command.isAbandoned) this.turn.pass()
        })
        yield* Scope.addFinalizer(
          scope,
          Effect.suspend(() => {
            if (rows.command.isDone) return Effect.void
            rows.abandon()
            // The end may be in what has come already.
            const settled = Effect.andThen(
              pieceRead,
              Effect.suspend(() => this.stop(rows.command))
            )
            return Effect.ensuring(
              settled,
              Effect.sync(() => this.turn.pass())
            )
          })
        )
        this.turn.whenAwaited(rows.readAhead)
        rows.start(statement, this.placeholders)
        return rows.pull
      })
    )
  }

  private stop(command: Command): Effect.Effect<void> {
    if (command.isDone) return Effect.void
    return this.settings === undefined
      ? waitOrEnd(this.link, command, 0)
      : stop(this.link, command, this.settings, this.target)
  }

  // ---------------------------------------------------------------------------
  // Other commands
  // ---------------------------------------------------------------------------

  /** A command that cannot be stopped, and takes a moment. */
  private control<A = void>(
    operation: string,
    send: (connection: Mysql.Connection, reply: Reply) => void
  ): Effect.Effect<A, SqlError> {
    return this.link.ask<A>(`Failed to ${operation}`, operation, send, (command) =>
      waitOrEnd(this.link, command, longestControl)
    )
  }

  private query<A>(sql: string): Effect.Effect<A, SqlError> {
    return this.control<A>("reset", (connection, reply) => connection.query(sql, reply))
  }

  private resetAll(): Effect.Effect<void, SqlError> {
    return Effect.gen({ self: this }, function* () {
      yield* Effect.catchIf(
        this.control("reset", (connection, reply) => connection.reset(reply)),
        // It came with MySQL 5.7 and MariaDB 10.2.
        isUnknownCommand,
        () => this.changeUser
      )
      this.transaction.clear()
      if (this.greeting !== undefined) yield* this.query(this.greeting)
      // The database that was chosen stays chosen.
      if (this.database !== undefined) {
        yield* this.query(`USE ${Mysql.escapeId(this.database, true)}`)
      } else {
        const rows = yield* this.query<ReadonlyArray<{ readonly d: unknown }>>("SELECT DATABASE() AS d")
        if (rows[0]?.d !== null) yield* this.changeUser
      }
    })
  }

  /** Signs in again over the same connection. */
  private get changeUser(): Effect.Effect<void, SqlError> {
    return this.control("reset", (connection, reply) => connection.changeUser({}, reply))
  }
}

/** How long a command may go on that nobody waits for any more, in milliseconds of the real time. */
const longestControl = 500

const toRows = (result: unknown): ReadonlyArray<any> => (Array.isArray(result) ? plainBytes(result) : [])

const refused = (operation: string, cause: unknown): SqlError =>
  usageError(cause instanceof Error ? cause.message : String(cause), operation, cause)

const notReset = (): SqlError =>
  connectionError("the session could not be reset: its connection was closed", "reset")

/** One turn of the event loop: what has come over the connection is read in it. */
const pieceRead: Effect.Effect<void> = Effect.callback((resume) => {
  setImmediate(() => resume(Effect.void))
})

/**
 * How text goes over a connection, and how it is read, are agreed on when it is made. A reset goes back to what the server does
 * by itself; and mysql2 does not hear of it, where a statement had changed the character set.
 */
const greetingOf = (connection: Mysql.Connection): string | undefined => {
  const { charsetNumber, clientFlags = 0 } = connection.config as {
    readonly charsetNumber?: number
    readonly clientFlags?: number
  }
  const collation = Object.entries(Mysql.Charsets)
    .find(([name, number]) => number === charsetNumber && name.includes("_"))?.[0]
    .toLowerCase()
  const settings = [
    ...(collation === undefined ? [] : [`NAMES ${collation.split("_")[0]} COLLATE ${collation}`]),
    ...((clientFlags & ignoreSpace) === 0 ? [] : ["sql_mode = CONCAT('IGNORE_SPACE,', @@sql_mode)"])
  ]
  return settings.length === 0 ? undefined : `SET ${settings.join(", ")}`
}

/** CLIENT_IGNORE_SPACE, which mysql2 asks for. */
const ignoreSpace = 256
