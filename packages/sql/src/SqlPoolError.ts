/**
 * What can go wrong with a connection pool, apart from what the database says (`SqlError`).
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import type { PoolError } from "@cenote/pool"

/**
 * All that a borrow can fail with.
 *
 * @category errors
 * @since 0.1.0
 */
export type SqlPoolError = SqlError | ConnectTimeout | PoolError.PoolError

/**
 * Connecting took longer than `connectTimeout`. A connection that comes later is closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectTimeout extends Schema.TaggedError<ConnectTimeout>()("ConnectTimeout", {
  pool: Schema.String,
  timeout: Schema.Duration
}) {
  override get message(): string {
    return (
      `${JSON.stringify(this.pool)}: no connection within ${Duration.format(this.timeout)} (connectTimeout). ` +
      "Is the server up, and its address right?"
    )
  }
}

/**
 * There are no credentials for a host: neither under its own name nor under `default`.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownHost extends Schema.TaggedError<UnknownHost>()("UnknownHost", {
  host: Schema.String,
  known: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const known =
      this.known.length === 0 ? "there are none at all" : `there are some for ${this.known.join(", ")}`
    return `no credentials for host ${JSON.stringify(this.host)}: ${known}. Add the host, or "default", to credentials`
  }
}
