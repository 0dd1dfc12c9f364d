/**
 * Pools whose connections live in the threads of a `ThreadPool`, so that neither a slow driver nor a database that runs in
 * the process itself, as SQLite does, holds up the calling thread.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { ThreadPool } from "@cenote/threads"
import type { ConnectionPool, Options, Service } from "./ConnectionPool.ts"
import { layerOver } from "./internal/layer.ts"
import * as internal from "./internal/pool.ts"
import { connectInThread, withoutMultiplex } from "./internal/tpooledSession.ts"
import type { SqlDriver } from "./SqlDriver.ts"

/**
 * A pool as a layer, with Effect's `SqlClient` over it and the driver's own services.
 *
 * **Details**
 *
 * Connections are spread over the threads, and any number of them may live in one. Rows come back as plain data; streams
 * come in batches, no more than are asked for. A statement that is interrupted is cancelled where it runs. When a thread
 * ends, its connections have ended, and others are made on other threads.
 *
 * Fails where `min` connections cannot be made. Without a `min` nothing connects before the first borrow.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <Services>(
  driver: SqlDriver<Services>,
  options: Options = {}
): Layer.Layer<ConnectionPool | SqlClient | Services, SqlError, ThreadPool.ThreadPool> =>
  layerOver(driver, withoutMultiplex(options), connectInThread(driver, options))

/**
 * A pool that lives as long as the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Services>(
  driver: SqlDriver<Services>,
  options: Options = {}
): Effect.Effect<Service, never, ThreadPool.ThreadPool | Scope.Scope> =>
  Effect.flatMap(connectInThread(driver, options), (connect) =>
    internal.make(driver, withoutMultiplex(options), connect)
  )
