/**
 * A global set-up for vitest: one MariaDB for all test files of a run, stopped at its end.
 *
 * **Details**
 *
 * `TestServers.MariaDb.shared` gives each test file an empty database on it. Several projects of one run share one
 * server. Where `CENOTE_MARIADB_URL` names a server, none is started; where none can be started, the tests that need one say so.
 *
 * **Example** (vitest.config.ts)
 *
 * ```ts no-run
 * import { defineConfig } from "vitest/config"
 *
 * export default defineConfig({ test: { globalSetup: ["@cenote/testing/vitestMariaDb"] } })
 * ```
 *
 * @since 0.1.0
 */
import { type GlobalSetup, globalSetup } from "./internal/globalSetup.ts"
import { mariadbKind } from "./internal/kinds.ts"
import type { ServerOptions } from "./TestServers.ts"

/**
 * The same with options, for a module of one's own that exports it as its default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: ServerOptions): GlobalSetup => globalSetup(mariadbKind, options)

/**
 * Starts the server, and returns what stops it.
 *
 * @category set-up
 * @since 0.1.0
 */
const setup: GlobalSetup = make({})

export default setup
