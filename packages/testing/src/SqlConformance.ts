/**
 * The tests that a driver for connection pools must pass, for the test files of drivers, under vitest.
 *
 * **Details**
 *
 * One suite runs over pools on the calling thread and over pools in threads, on a real database: what a borrower has and
 * what becomes of a connection that comes back, limits, expiry, clean-up, transactions, streams, values, errors,
 * interruption, and programs that are written against Effect's `SqlClient` alone. After each test the database is asked
 * whether a session is left, and what was logged is looked at.
 *
 * What SQL databases do not have in common is said by a {@link Dialect}. Those that Cenote has drivers for are here:
 * {@link postgres}, {@link mariadb} and {@link sqlite}.
 *
 * It imports `vitest`, and so is not part of what `@cenote/testing` gives.
 *
 * **Example** (test/conformance.test.ts)
 *
 * ```ts no-run
 * import { SqliteDriver } from "@cenote/sql-sqlite"
 * import * as SqlConformance from "@cenote/testing/SqlConformance"
 * import { Effect } from "effect"
 * import { mkdtempSync, rmSync } from "node:fs"
 * import { tmpdir } from "node:os"
 * import { join } from "node:path"
 *
 * const folder = Effect.acquireRelease(
 *   Effect.sync(() => mkdtempSync(join(tmpdir(), "conformance-"))),
 *   (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
 * )
 *
 * SqlConformance.suite({
 *   name: "SQLite",
 *   dialect: SqlConformance.sqlite,
 *   database: Effect.map(folder, (folder) => ({
 *     driver: (changes) => SqliteDriver.make({ filename: join(folder, "test.db"), ...changes }),
 *     broken: () => SqliteDriver.make({ filename: join(folder, "missing", "test.db") })
 *   }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import { afterAll, beforeAll, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as dialects from "./internal/conformance/dialects.ts"
import { alike } from "./internal/conformance/failing.ts"
import * as kit from "./internal/conformance/kit.ts"
import type * as model from "./internal/conformance/model.ts"
import { subjects } from "./internal/conformance/subjects.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * What is tested, and with what.
 *
 * @category models
 * @since 0.1.0
 */
export type Options<Services = never> = model.Options<Services>

/**
 * A database, and the drivers for it.
 *
 * @category models
 * @since 0.1.0
 */
export type Database<Services = never> = model.Database<Services>

/**
 * What is to be different about a driver. Those that do not have such an option can leave it aside.
 *
 * @category models
 * @since 0.1.0
 */
export type DriverChanges = model.DriverChanges

/**
 * How the SQL of a database differs from that of others. What a database does not have is left out, and is not tested.
 *
 * @category models
 * @since 0.1.0
 */
export type Dialect = model.Dialect

/**
 * What a server can be asked. A database without one has no sessions that others could see or end.
 *
 * @category models
 * @since 0.1.0
 */
export type Server = model.Server

/**
 * A value of a type: what goes in, and what comes out.
 *
 * @category models
 * @since 0.1.0
 */
export type Value = model.Value

/**
 * A statement that fails, and what with.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure = model.Failure

/**
 * A constraint that is checked at the commit: three statements.
 *
 * @category models
 * @since 0.1.0
 */
export type Deferred = model.Deferred

/**
 * Where connections live.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = model.Kind

/**
 * What the tests of one kind of pool are registered with.
 *
 * @category models
 * @since 0.1.0
 */
export type Bench<Services> = kit.Bench<Services>

/**
 * What a test has: a pool, what it is made with, and what can be done with it.
 *
 * @category models
 * @since 0.1.0
 */
export type Tools<Services> = kit.Tools<Services>

// -----------------------------------------------------------------------------
// Dialects
// -----------------------------------------------------------------------------

/**
 * PostgreSQL.
 *
 * @category dialects
 * @since 0.1.0
 */
export const postgres: Dialect = dialects.postgres

/**
 * MariaDB.
 *
 * @category dialects
 * @since 0.1.0
 */
export const mariadb: Dialect = dialects.mariadb

/**
 * SQLite.
 *
 * @category dialects
 * @since 0.1.0
 */
export const sqlite: Dialect = dialects.sqlite

// -----------------------------------------------------------------------------
// Tests
// -----------------------------------------------------------------------------

/**
 * Registers all tests of a driver with vitest.
 *
 * **Details**
 *
 * Where a driver has services of its own, name them: `suite<PgClient>({ … })`.
 *
 * Some tests wait for something in real time, for half a minute at most: give the project a `testTimeout` of a minute.
 *
 * @category testing
 * @since 0.1.0
 */
export const suite = <Services = never>(options: Options<NoInfer<Services>>): void => {
  describe(options.name, () => {
    const scope = Scope.makeUnsafe()
    let ground: kit.Ground<Services> | undefined
    const get = (): kit.Ground<Services> => {
      if (ground === undefined)
        throw new Error(`the database of ${options.name} is there while tests run, and only then`)
      return ground
    }
    beforeAll(async () => {
      ground = await Effect.runPromise(Scope.provide(kit.makeGround(options), scope))
    })
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

    const kinds = options.kinds ?? ["raw", "tpooled"]
    for (const kind of kinds) {
      describe(kind, () => {
        const bench = kit.makeBench(kind, options, get)
        for (const subject of subjects) subject(bench)
        options.more?.(bench)
      })
    }
    if (kinds.length === 2) alike(options.dialect, get)
  })
}
