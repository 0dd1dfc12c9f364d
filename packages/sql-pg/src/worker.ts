/**
 * The module that threads load for connections of a `TpooledConnectionPool`.
 *
 * @since 0.1.0
 */
import { sessionClass } from "@cenote/sql/worker"
import { connect } from "./internal/session.ts"
import { fromWire, type WireConfig } from "./internal/wire.ts"

/**
 * A session in a thread.
 *
 * @category models
 * @since 0.1.0
 */
export const Session = sessionClass((config: WireConfig) => connect(fromWire(config)))
