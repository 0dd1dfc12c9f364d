/** What the tests of this driver are made with: databases in files and in memory, and several connections to each. */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { DatabaseSync } from "node:sqlite"
import { Cause, Effect, Exit, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { SqlDriver, SqlSession } from "@cenote/sql/SqlDriver"
import { SqliteDriver } from "@cenote/sql-sqlite"

type Options = Omit<SqliteDriver.Config, "filename">

/** A folder that goes with the scope. */
export const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "cenote-sqlite-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

/** The path of a file that is not there yet. */
export const file: Effect.Effect<string, never, Scope.Scope> = Effect.map(folder, (path) =>
  join(path, "test.db")
)

/** Where a database can be. */
export interface Place {
  readonly name: string
  readonly driver: (options?: Options) => Effect.Effect<SqlDriver, never, Scope.Scope>
}

export const inFile: Place = {
  name: "in a file",
  driver: (options) => Effect.map(file, (filename) => SqliteDriver.make({ filename, ...options }))
}

export const inMemory: Place = {
  name: "in memory",
  driver: (options) => Effect.sync(() => SqliteDriver.make({ filename: ":memory:", ...options }))
}

export const places: ReadonlyArray<Place> = [inFile, inMemory]

export const connect = (driver: SqlDriver): Effect.Effect<SqlSession, SqlError, Scope.Scope> =>
  driver.connect({})

/** One connection to a database of its own. */
export const session = (options?: Options): Effect.Effect<SqlSession, SqlError, Scope.Scope> =>
  Effect.flatMap(inMemory.driver(options), connect)

/** What the driver has SQLite open. */
export const pathOf = (driver: SqlDriver): Effect.Effect<string, SqlError> =>
  Effect.map(driver.worker.config, (config) => (config as { readonly path: string }).path)

export const nativeOf = (connection: SqlSession): DatabaseSync => connection.native as DatabaseSync

export const query = (
  connection: SqlSession,
  sql: string,
  ...params: ReadonlyArray<unknown>
): Effect.Effect<ReadonlyArray<any>, SqlError> => connection.execute(sql, params, undefined)

/** Runs statements one after the other. */
export const script = (
  connection: SqlSession,
  ...statements: ReadonlyArray<string>
): Effect.Effect<void, SqlError> =>
  Effect.forEach(statements, (sql) => query(connection, sql), { discard: true })

/** What an effect that has to fail fails with. */
export const errorOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.flatMap(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return Effect.die(new Error("it did not fail"))
    const reason = exit.cause.reasons.find(Cause.isFailReason)
    return reason === undefined
      ? Effect.failCause(exit.cause as Cause.Cause<never>)
      : Effect.succeed(reason.error)
  })
