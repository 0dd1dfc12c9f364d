/**
 * What a thread loads to open connections in it. Only pools need it.
 *
 * @since 0.1.0
 */
import { sessionClass, type SessionClass } from "@cenote/sql/worker"
import type { WireConfig } from "./internal/config.ts"
import { connect } from "./internal/session.ts"

/**
 * A connection in a thread.
 *
 * @category constructors
 * @since 0.1.0
 */
export const Session: SessionClass<WireConfig> = sessionClass(connect)
