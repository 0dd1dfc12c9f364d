// One connection of mysql2: its beginning, its end, and what is under way on it.
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import Mysql from "mysql2"
import type * as Net from "node:net"
import { connectionError, isFatal, lossError, sqlError } from "./errors.ts"

/** What is under way: a statement, or another command. Its end is told once. */
export class Command {
  readonly operation: string
  /** Whether nobody wants its result any more. */
  isAbandoned = false
  isDone = false
  /** What it failed with, if it did. */
  error: SqlError | undefined = undefined
  /** Belongs to who asked for it. */
  private readonly tell: (command: Command, result: unknown) => void
  /** Belongs to who waits for its end after it was abandoned. */
  private onDone: (() => void) | undefined = undefined

  constructor(operation: string, tell: (command: Command, result: unknown) => void) {
    this.operation = operation
    this.tell = tell
  }

  settle(error: SqlError | undefined, result: unknown): void {
    if (this.isDone) return
    this.isDone = true
    this.error = error
    this.tell(this, result)
    this.onDone?.()
  }

  /** Its end, however it ends. */
  get done(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.isDone) resume(Effect.void)
      else this.onDone = () => resume(Effect.void)
    })
  }
}

/** How mysql2 tells the result of a command. */
export type Reply = (error: unknown, result?: unknown) => void

export class Link {
  readonly connection: Mysql.Connection
  /** Known when it is open, as `threadId` is. */
  isMariaDb: boolean | undefined = undefined
  /** Why it must not be used any more. Set once. */
  ended: SqlError | undefined = undefined
  /** What is under way. One thing at a time. */
  private command: Command | undefined = undefined
  /** Whether it was told to close: what happens then is nobody's business. */
  private isClosing = false
  private readonly listeners: Array<(error: SqlError) => void> = []

  private constructor(connection: Mysql.Connection, target: string) {
    this.connection = connection
    const what = `Failed to connect to ${target}`
    connection.on("error", (cause) =>
      this.end(
        this.isMariaDb === undefined
          ? sqlError(cause, what, "connect")
          : lossError(cause, this.operation, this.isMariaDb)
      )
    )
    connection.on("end", () => this.lose())
    connection.once("connect", (handshake: { readonly serverVersion: string }) => {
      this.isMariaDb = /mariadb/i.test(handshake.serverVersion)
      // With TLS it is another one than in the beginning, and mysql2 does not look at its end.
      this.stream.once("end", () => this.lose()).once("close", () => this.lose())
    })
  }

  /** Begins to connect. `target` is what errors call the server. */
  static start(options: Mysql.ConnectionOptions, target: string): Effect.Effect<Link, SqlError> {
    return Effect.try({
      try: () => new Link(Mysql.createConnection(options), target),
      catch: (cause) => sqlError(cause, `Failed to connect to ${target}`, "connect")
    })
  }

  /** Waits until it can be used. One that is not waited for any more is given up at once: none comes late. */
  readonly opened: Effect.Effect<void, SqlError> = Effect.callback<void, SqlError>((resume) => {
    this.onEnd((error) => resume(Effect.fail(error)))
    this.connection.once("connect", () => resume(Effect.void))
    return Effect.sync(() => this.destroy())
  })

  /**
   * Sends a command, and waits for its result. Only who has the turn may. What is to be done with it when the wait is
   * interrupted is for `onInterrupt` to say.
   */
  ask<A>(
    what: string,
    operation: string,
    send: (connection: Mysql.Connection, reply: Reply, command: Command) => void,
    onInterrupt: (command: Command) => Effect.Effect<void>
  ): Effect.Effect<A, SqlError> {
    return Effect.callback<A, SqlError>((resume) => {
      if (this.ended !== undefined) return resume(Effect.fail(this.ended))
      const command = this.begin(operation, ({ error }, result) =>
        resume(error === undefined ? Effect.succeed(result as A) : Effect.fail(error))
      )
      const reply: Reply = (cause, result) => this.reply(command, what, cause, result)
      try {
        send(this.connection, reply, command)
      } catch (cause) {
        reply(cause)
      }
      return Effect.suspend(() => {
        command.isAbandoned = true
        return command.isDone ? Effect.void : onInterrupt(command)
      })
    })
  }

  /** Notes what is under way, so that it is told when the connection ends. */
  begin(operation: string, tell: (command: Command, result: unknown) => void): Command {
    const command = new Command(operation, tell)
    this.command = command
    return command
  }

  /** Ends what is under way. */
  reply(command: Command, what: string, cause: unknown, result?: unknown): void {
    if (command.isDone) return
    this.command = undefined
    if (cause === null || cause === undefined) return command.settle(undefined, result)
    const error = sqlError(cause, what, command.operation, this.isMariaDb)
    command.settle(error, undefined)
    if (isFatal(error)) this.end(error)
  }

  /** Notes that it must not be used any more, and tears it down. */
  end(error: SqlError): void {
    if (this.ended !== undefined) return
    this.ended = error
    this.stream.destroy()
    const { command } = this
    this.command = undefined
    command?.settle(error, undefined)
    if (this.isClosing) return
    for (const listener of this.listeners) listener(error)
  }

  onEnd(listener: (error: SqlError) => void): void {
    if (this.ended !== undefined && !this.isClosing) return listener(this.ended)
    this.listeners.push(listener)
  }

  /** Takes leave of the server, and waits until the connection is closed: for a moment, as the server may not hear it. */
  readonly close: Effect.Effect<void> = Effect.callback<void>((resume) => {
    this.isClosing = true
    const { stream } = this
    if (stream.destroyed) return resume(Effect.void)
    // A statement is not waited for, nor is a server that has not even let us in.
    if (this.command !== undefined || this.ended !== undefined || !this.isOpen) {
      stream.once("close", () => resume(Effect.void))
      this.destroy()
      return
    }
    const timer = setTimeout(() => stream.destroy(), longestLeave)
    stream.once("close", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
    this.connection.end(() => {})
  })

  private destroy(): void {
    this.isClosing = true
    this.end(connectionError("the connection was given up", this.operation))
  }

  /** Whether the server has let us in, at some time. */
  get isOpen(): boolean {
    return this.isMariaDb !== undefined
  }

  /** Whether something is under way. */
  get isBusy(): boolean {
    return this.command !== undefined
  }

  /** The same server again, not another one of the same name. Undefined where that cannot be said. */
  get peer(): { readonly host: string; readonly port: number } | undefined {
    const { remoteAddress, remotePort } = this.stream
    return remoteAddress === undefined || remotePort === undefined
      ? undefined
      : { host: remoteAddress, port: remotePort }
  }

  get bytesRead(): number {
    return this.stream.bytesRead ?? 0
  }

  private lose(): void {
    this.end(connectionError("The connection has ended: the server closed it", this.operation))
  }

  private get operation(): string {
    return this.command?.operation ?? (this.isOpen ? "idle" : "connect")
  }

  private get stream(): Net.Socket {
    return (this.connection as unknown as { readonly stream: Net.Socket }).stream
  }
}

/** How long taking leave may take, in milliseconds of the real time. */
const longestLeave = 1_000
