// What the programs on connection pools run on: a database each, empty but for five users.
import type { SqlDriver } from "@cenote/sql"
import { MysqlDriver } from "@cenote/sql-mysql2"
import { PgDriver } from "@cenote/sql-pg"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { MariaDb, Postgres, type ServerError } from "@cenote/testing/TestServers"
import { Effect, FileSystem, Path, type PlatformError, type Scope } from "effect"
import type { SqlError } from "effect/sql"

export interface Database {
  readonly driver: SqlDriver.SqlDriver
  /** How many connections of others it has now. */
  readonly open: Effect.Effect<number, SqlError.SqlError | PlatformError.PlatformError>
}

/** A kind of database, and how to have a new one, which is gone with the scope. */
export interface Kind<R> {
  readonly name: string
  readonly make: Effect.Effect<
    Database,
    ServerError | SqlError.SqlError | PlatformError.PlatformError,
    R | Scope.Scope
  >
}

export const postgres: Kind<Postgres> = {
  name: "PostgreSQL",
  make: Effect.gen(function* () {
    const { freshDatabase } = yield* Postgres
    const driver = PgDriver.make({ ...(yield* freshDatabase), applicationName: "pool" })
    yield* createTables(driver, "integer generated always as identity primary key")
    const sessions =
      "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    return { driver, open: Effect.map(readColumn(driver, sessions), ([count]) => Number(count)) }
  })
}

export const mariadb: Kind<MariaDb> = {
  name: "MariaDB",
  make: Effect.gen(function* () {
    const { freshDatabase } = yield* MariaDb
    const driver = MysqlDriver.make(yield* freshDatabase)
    yield* createTables(driver, "integer auto_increment primary key")
    const sessions =
      "select count(*) from information_schema.processlist where db = database() and id <> connection_id()"
    return { driver, open: Effect.map(readColumn(driver, sessions), ([count]) => Number(count)) }
  })
}

export const sqlite: Kind<FileSystem.FileSystem | Path.Path> = {
  name: "SQLite",
  make: Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const folder = yield* fs.makeTempDirectoryScoped({ prefix: "cenote-start-" })
    const filename = path.join(folder, "pool.db")
    const driver = SqliteDriver.make({ filename })
    yield* createTables(driver, "integer primary key")
    // SQLite removes this file when the last connection to the database closes.
    return { driver, open: Effect.map(fs.exists(`${filename}-wal`), Number) }
  })
}

const createTables = (driver: SqlDriver.SqlDriver, id: string) =>
  inSession(driver, (run) =>
    Effect.gen(function* () {
      yield* run(
        `create table users (id ${id}, name varchar(40) not null, email varchar(80) not null unique)`
      )
      yield* run("create table audit_log (id varchar(40) primary key, worker integer not null)")
      for (const name of ["Alice", "Bob", "Charlie", "Diana", "Eve"]) {
        yield* run(`insert into users (name, email) values ('${name}', '${name.toLowerCase()}@example.com')`)
      }
    })
  )

/** The first column of what a query finds, by a connection of its own. */
export const readColumn = (driver: SqlDriver.SqlDriver, sql: string) =>
  inSession(driver, (run) => Effect.map(run(sql), (rows) => rows.map(([value]) => value)))

/** Runs statements on a connection that is in no pool. */
const inSession = <A>(
  driver: SqlDriver.SqlDriver,
  f: (
    run: (sql: string) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError.SqlError>
  ) => Effect.Effect<A, SqlError.SqlError>
) =>
  Effect.scoped(Effect.flatMap(driver.connect({}), (session) => f((sql) => session.executeValues(sql, []))))
