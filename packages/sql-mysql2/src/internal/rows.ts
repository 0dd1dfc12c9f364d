// The rows of one statement, as they come.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Pull } from "effect/Pull"
import type { Command, Link } from "./link.ts"
import { optionsOf, type Placeholders, type Statement, withoutValues } from "./statement.ts"
import { plainBytes } from "./values.ts"

/**
 * Rows that have come and were not taken yet. The connection rests while there are many, unless somebody else waits for it: then
 * the rest is read ahead, so that a statement that runs between two rows does not wait for ever.
 */
export class Rows {
  readonly command: Command
  private readonly link: Link
  private buffer: Array<unknown> = []
  /** Whether mysql2 was told to stop reading. */
  private isPaused = false
  /** Whether all is read, however much it is. */
  private isUnbounded = false
  /** What had been read from the connection when rows were last taken. */
  private readBefore = 0
  /** Whether rows are about to be told of: once for all that come in one piece. */
  private isTelling = false
  /** Who waits for rows. */
  private waiter: ((effect: Pull<NonEmptyReadonlyArray<any>, SqlError>) => void) | undefined = undefined

  constructor(link: Link, onDone: (error: SqlError | undefined) => void) {
    this.link = link
    this.command = link.begin("stream", ({ error }) => {
      onDone(error)
      this.tell()
    })
  }

  start(statement: Statement, placeholders: Placeholders): void {
    const { command, link } = this
    if (command.isDone) return
    const { connection } = link
    this.readBefore = link.bytesRead
    const reply = (cause: unknown) =>
      link.reply(command, "Failed to stream statement", withoutValues(cause, statement.sql))
    const run = () => {
      const options = optionsOf(statement)
      // Without a callback mysql2 gives each row when it comes.
      const rows = statement.isPrepared ? connection.execute(options) : connection.query(options)
      let isRow = false
      rows.on("fields", (fields: unknown) => {
        isRow = fields !== undefined
      })
      rows.on("result", (row: unknown) => {
        // The other results are those of statements that have no rows.
        if (isRow && !command.isAbandoned) this.push(row)
      })
      rows.on("error", reply)
      rows.on("end", () => reply(null))
    }
    try {
      placeholders.prepare(connection, statement, command, reply, run)
    } catch (cause) {
      reply(cause)
    }
  }

  /** The next rows, all that there are. */
  readonly pull: Pull<NonEmptyReadonlyArray<any>, SqlError> = Effect.callback((resume) => {
    const next = this.next()
    if (next !== undefined) return resume(next)
    this.waiter = resume
    return Effect.sync(() => {
      this.waiter = undefined
    })
  })

  /** Reads everything from now on. */
  readonly readAhead = (): void => {
    this.isUnbounded = true
    this.resume()
  }

  /** Nobody wants the rest. What has come already is read. */
  abandon(): void {
    this.command.isAbandoned = true
    this.buffer = []
    this.readAhead()
  }

  private push(row: unknown): void {
    this.buffer.push(plainBytes(row))
    this.tell()
  }

  private next(): Pull<NonEmptyReadonlyArray<any>, SqlError> | undefined {
    const { buffer, command } = this
    if (buffer.length > 0) {
      this.buffer = []
      this.readBefore = this.link.bytesRead
      this.resume()
      return Effect.succeed(buffer as any)
    }
    if (!command.isDone) return undefined
    return command.error === undefined ? Cause.done() : Effect.fail(command.error)
  }

  /** Not with each row: mysql2 gives the rows of one piece one after the other. */
  private tell(): void {
    if (this.isTelling) return
    this.isTelling = true
    queueMicrotask(() => {
      this.isTelling = false
      const { waiter } = this
      const next = waiter === undefined ? undefined : this.next()
      if (waiter !== undefined && next !== undefined) {
        this.waiter = undefined
        return waiter(next)
      }
      this.pause()
    })
  }

  private pause(): void {
    const isMuch = this.link.bytesRead - this.readBefore > mostBytes || this.buffer.length > mostRows
    if (!isMuch || this.isPaused || this.isUnbounded || this.command.isDone) return
    this.isPaused = true
    this.link.connection.pause()
  }

  private resume(): void {
    if (!this.isPaused) return
    this.isPaused = false
    this.link.connection.resume()
  }
}

/** How much may have come that was not taken. */
const mostBytes = 256 * 1024
const mostRows = 10_000
