// A database that is none, for sessions in threads: what they do when a statement is given up is for the test to say.
import type { SqlDriver } from "@cenote/sql"
import { Context, Effect, Stream, type Scope } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"

class ScriptedSession implements SqlDriver.SqlSession {
  readonly native = undefined
  readonly id: number
  private readonly database: Scripted
  private onEnded: (error: SqlError) => void = () => {}
  private onRetired: () => void = () => {}

  constructor(id: number, database: Scripted) {
    this.id = id
    this.database = database
  }

  /** A text that says "never" is under way until it is given up, and then until it is cancelled. */
  private run(sql: string): Effect.Effect<ReadonlyArray<any>, SqlError> {
    if (!sql.includes("never")) return Effect.sync(() => [{ session: this.id }])
    return Effect.onInterrupt(
      Effect.andThen(Effect.sync(this.database.begun), Effect.never),
      () => this.cancel
    )
  }
  private get cancel(): Effect.Effect<void> {
    return Effect.suspend(() => this.database.cancel(this))
  }
  execute(sql: string) {
    return this.run(sql)
  }
  executeRaw(sql: string) {
    return this.run(sql)
  }
  executeValues(sql: string) {
    return this.run(sql)
  }
  executeValuesUnprepared(sql: string) {
    return this.run(sql)
  }
  executeUnprepared(sql: string) {
    return this.run(sql)
  }
  executeStream(): Stream.Stream<any, SqlError> {
    return Stream.make(1, 2, 3).pipe(Stream.concat(Stream.never), Stream.ensuring(this.cancel))
  }
  get ping() {
    return Effect.void
  }
  get rollback() {
    return Effect.void
  }
  get reset() {
    return Effect.void
  }
  onEnd(listener: (error: SqlError) => void): void {
    this.onEnded = listener
  }
  onRetire(listener: () => void): void {
    this.onRetired = listener
  }
  end(): void {
    const cause = new Error("lost")
    this.onEnded(new SqlError({ reason: new ConnectionError({ cause, message: "lost", operation: "use" }) }))
  }
  retire(): void {
    this.onRetired()
  }
}

export class Scripted {
  /** How many sessions were opened, and how many are open. */
  opened = 0
  open = 0
  /** How often a session was asked whether it has settled. */
  settles = 0
  /** What connecting waits for. */
  connecting: Effect.Effect<void> = Effect.void
  /** What a thread needs, which is asked for before. */
  config: Effect.Effect<unknown> = Effect.succeed({})
  /** Called when a statement is under way. */
  begun = () => {}
  /** What is done about a statement that was given up. */
  cancel: (session: ScriptedSession) => Effect.Effect<void> = () => Effect.void

  readonly connect: Effect.Effect<SqlDriver.SqlSession, SqlError, Scope.Scope> = Effect.suspend(() =>
    Effect.andThen(
      this.connecting,
      Effect.acquireRelease(
        Effect.sync(() => {
          this.open++
          return new ScriptedSession(++this.opened, this)
        }),
        () => Effect.sync(() => this.open--)
      )
    )
  )

  readonly driver: SqlDriver.SqlDriver = {
    name: "scripted",
    target: "scripted",
    connect: () => this.connect,
    worker: {
      url: new URL("./modules/scripted.ts", import.meta.url),
      config: Effect.suspend(() => this.config)
    },
    isFatal: ({ reason }) => reason._tag === "ConnectionError",
    client: { compiler: Statement.makeCompilerSqlite(), spanAttributes: [] },
    services: () => Context.empty()
  }
}

const key = Symbol.for("@cenote/sql/test/scripted")
const place = globalThis as { [key]?: Scripted }

/** The one of the test that runs: the module of the thread may be loaded apart from the test's. */
export const scripted = (): Scripted => place[key]!

export const script = (): Scripted => (place[key] = new Scripted())
