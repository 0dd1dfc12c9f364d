/**
 * The thread's side of connections that live in threads. Only the worker module of a driver needs it.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { hosted, type HostedSession, type Port } from "./internal/workerSession.ts"
import type { SqlSession } from "./SqlDriver.ts"

/**
 * A class whose objects are sessions in a thread.
 *
 * @category models
 * @since 0.1.0
 */
export type SessionClass<Config> = new (config: Config, port: Port) => HostedSession

/**
 * The class `Session` that the worker module of a driver exports.
 *
 * **Example**
 *
 * ```ts file=worker.ts
 * import { sessionClass } from "@cenote/sql/worker"
 * import type { SqlSession } from "@cenote/sql/SqlDriver"
 * import type { Effect, Scope } from "effect"
 * import type { SqlError } from "effect/sql/SqlError"
 *
 * declare const connect: (config: { filename: string }) => Effect.Effect<SqlSession, SqlError.SqlError, Scope.Scope>
 *
 * export const Session = sessionClass(connect)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sessionClass = <Config>(
  connect: (config: Config) => Effect.Effect<SqlSession, SqlError, Scope.Scope>
): SessionClass<Config> => hosted(connect)
