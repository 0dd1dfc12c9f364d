// A database that is none: its sessions remember what they were asked, and do what the test says.
import { Context, Effect, type Redacted, type Scope, Stream } from "effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import type { SqlDriver } from "@cenote/sql"

export interface FakeConfig {
  readonly host?: string | undefined
  readonly database?: string | undefined
  readonly port?: number | undefined
  readonly username?: string | undefined
  readonly password?: string | undefined
  readonly url?: Redacted.Redacted | undefined
}

export class FakeSession implements SqlDriver.SqlSession {
  readonly statements: Array<string> = []
  readonly config: FakeConfig
  hasEnded = false
  private listener: ((error: SqlError) => void) | undefined = undefined

  constructor(config: FakeConfig) {
    this.config = config
  }

  private run(sql: string): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return Effect.suspend(() => {
      this.statements.push(sql)
      return sql.startsWith("fatal") ? Effect.fail(lost()) : Effect.succeed([{ sql }])
    })
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
  executeStream(sql: string): Stream.Stream<any, SqlError> {
    return Stream.fromIterableEffect(this.run(sql))
  }
  get ping() {
    return Effect.asVoid(this.run("ping"))
  }
  get rollback() {
    return Effect.asVoid(this.run("rollback"))
  }
  get reset() {
    return Effect.asVoid(this.run("reset"))
  }
  onEnd(listener: (error: SqlError) => void): void {
    this.listener = listener
  }
  end(): void {
    this.listener?.(lost())
  }
  get native() {
    return this
  }
}

export const lost = (): SqlError =>
  new SqlError({
    reason: new ConnectionError({ cause: new Error("lost"), message: "lost", operation: "use" })
  })

/** Databases, and the sessions that were opened with them. */
export class FakeDatabases {
  readonly opened: Array<FakeSession> = []
  open = 0
  /** Run before a session is open. */
  connecting: Effect.Effect<unknown, SqlError> = Effect.void

  readonly driver = (config: FakeConfig): SqlDriver.SqlDriver => ({
    name: "fake",
    target: `fake ${config.host}/${config.database}`,
    connect: () => this.connect(config),
    worker: { url: new URL("./none.ts", import.meta.url), config: Effect.succeed(config) },
    isFatal: ({ reason }) => reason._tag === "ConnectionError",
    client: { compiler: Statement.makeCompilerSqlite(), spanAttributes: [] },
    services: () => Context.empty()
  })

  private connect(config: FakeConfig): Effect.Effect<FakeSession, SqlError, Scope.Scope> {
    return Effect.andThen(
      Effect.suspend(() => this.connecting),
      Effect.acquireRelease(
        Effect.sync(() => {
          const session = new FakeSession(config)
          this.opened.push(session)
          this.open++
          return session
        }),
        () => Effect.sync(() => this.open--)
      )
    )
  }
}
