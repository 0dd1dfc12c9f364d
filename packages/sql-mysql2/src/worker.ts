/**
 * The module that threads load for connections of a `TpooledConnectionPool`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { sessionClass } from "@cenote/sql/worker"
import type { WireConfig } from "./internal/options.ts"
import { connect } from "./internal/session.ts"

/**
 * A session in a thread.
 *
 * @category models
 * @since 0.1.0
 */
export const Session = sessionClass(({ settings, target }: WireConfig) =>
  connect(Effect.succeed(settings), target)
)
