/**
 * Databases in place of real ones: under the program that is tested, each host and database that it asks its
 * `DatabaseConnector` for is a private one, empty but for the migrations, and gone at the end. Nothing else in the program
 * changes.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql/SqlClient"
 * import { DatabaseConnector } from "@cenote/sql"
 * import { DatabaseConnectorTest } from "@cenote/testing"
 *
 * // The program.
 * const register = Effect.fn("register")(function*(name: string) {
 *   const pool = yield* DatabaseConnector.get({ host: "users.internal", database: "users" })
 *   yield* pool.client`insert into users ${pool.client.insert({ name })}`
 *   return yield* pool.client`select id, name from users`
 * })
 *
 * // Its test.
 * const Databases = DatabaseConnectorTest.layer({
 *   migrations: () => Effect.flatMap(SqlClient, (sql) => sql`create table users (id integer primary key, name text)`)
 * })
 *
 * await Effect.runPromise(Effect.provide(register("Ada"), Databases)) // => [{ id: 1, name: "Ada" }]
 * ```
 *
 * @since 0.1.0
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import {
  type ConnectionPool,
  DatabaseConnector,
  RawConnectionPool,
  type SqlDriver,
  SqlPoolError
} from "@cenote/sql"
import { SqliteDriver } from "@cenote/sql-sqlite"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A database that the program under test asks for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  readonly host: string
  readonly database: string | undefined
}

/**
 * What the databases are like.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Run once on each new database, by its client: tables, and what the tests expect to be there. Default: nothing. */
  readonly migrations?: ((target: Target) => Effect.Effect<unknown, unknown, SqlClient>) | undefined
  /** The hosts that there are; any other fails with `UnknownHost`, as without credentials. Default: all. */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** What a target that names no host means. Default `"localhost"`. */
  readonly defaultHost?: string | undefined
  /** Options of each pool. Its connections live on the calling thread. */
  readonly pool?: RawConnectionPool.Options | undefined
}

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * Private SQLite databases, each a file in a temporary folder.
 *
 * **Gotchas**
 *
 * A program whose statements only PostgreSQL understands needs {@link layerFrom}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<DatabaseConnector.DatabaseConnector> =>
  layerFrom(sqlite, options)

/**
 * Databases of one's own making: given a target, a driver for a database that exists until the scope closes. A failure is a
 * defect of the test.
 *
 * **Example** (Private PostgreSQL databases on the server of the test run)
 *
 * ```ts no-run
 * import { Effect, Layer } from "effect"
 * import { PgDriver } from "@cenote/sql-pg"
 * import { DatabaseConnectorTest, TestServers } from "@cenote/testing"
 *
 * const Databases = Layer.unwrap(
 *   Effect.map(TestServers.Postgres, (server) =>
 *     DatabaseConnectorTest.layerFrom(() => Effect.map(server.freshDatabase, PgDriver.make))
 *   )
 * ).pipe(Layer.provide(TestServers.Postgres.shared))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFrom = <Services, E>(
  driver: (target: Target) => Effect.Effect<SqlDriver.SqlDriver<Services>, E, Scope.Scope>,
  options: Options = {}
): Layer.Layer<DatabaseConnector.DatabaseConnector> =>
  Layer.effect(DatabaseConnector.DatabaseConnector, make(driver, options))

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

interface Entry extends Target {
  readonly pool: Deferred.Deferred<ConnectionPool.Service>
}

const make = Effect.fnUntraced(function* <Services, E>(
  driver: (target: Target) => Effect.Effect<SqlDriver.SqlDriver<Services>, E, Scope.Scope>,
  { defaultHost = "localhost", hosts, migrations, pool: poolOptions }: Options
) {
  const scope = yield* Effect.scope
  const entries = new Map<string, Entry>()

  const open = (target: Target) =>
    Effect.gen(function* () {
      const database = yield* driver(target)
      const pool = yield* RawConnectionPool.make(database, poolOptions)
      if (migrations !== undefined) {
        yield* Effect.provideService(migrations(target), SqlClient, pool.client)
      }
      return pool
    }).pipe(
      Scope.provide(scope),
      Effect.catch((cause) =>
        Effect.die(new Error(`the database for ${nameOf(target)} could not be made`, { cause }))
      )
    )

  return DatabaseConnector.DatabaseConnector.of({
    get: ({ database, host = defaultHost } = {}) =>
      Effect.suspend(() => {
        if (hosts?.includes(host) === false) {
          return Effect.fail(new SqlPoolError.UnknownHost({ host, known: hosts }))
        }
        const key = JSON.stringify([host, database])
        const found = entries.get(key)
        if (found !== undefined) return Deferred.await(found.pool)
        const entry: Entry = { host, database, pool: Deferred.makeUnsafe() }
        entries.set(key, entry)
        // Others may wait for it too, so it does not end with the first who asked.
        return Effect.andThen(
          Effect.forkIn(Deferred.into(open({ host, database }), entry.pool), scope),
          Deferred.await(entry.pool)
        )
      }),
    stats: Effect.suspend(() =>
      Effect.forEach([...entries.values()], ({ database, host, pool }) =>
        Effect.flatMap(Deferred.await(pool), (pool) =>
          Effect.map(pool.stats, (stats) => ({ host, database, stats }))
        )
      )
    ),
    recycle: Effect.suspend(() =>
      Effect.forEach(
        [...entries.values()],
        ({ pool }) => Effect.flatMap(Deferred.await(pool), (pool) => pool.recycle),
        { discard: true }
      )
    )
  })
})

const nameOf = ({ database, host }: Target): string => (database === undefined ? host : `${host}/${database}`)

const sqlite = (): Effect.Effect<SqlDriver.SqlDriver, unknown, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise(() => mkdtemp(join(tmpdir(), "cenote-database-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
  ).pipe(Effect.map((folder) => SqliteDriver.make({ filename: join(folder, "database.sqlite") })))
