import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type * as Stream from "effect/Stream"
import type { Pool, PoolEvent } from "@cenote/pool"
import type { SqlConnection } from "../SqlConnection.ts"
import type { ServicePool, SqlDriver } from "../SqlDriver.ts"
import type { SqlPoolError } from "../SqlPoolError.ts"

/** The service; documented as `ConnectionPool`. */
export class ConnectionPool extends Context.Service<
  ConnectionPool,
  ServicePool & {
    readonly name: string
    readonly driver: SqlDriver
    /** Borrows a connection for the caller alone, until the scope closes or it is released. */
    readonly get: Effect.Effect<SqlConnection, SqlPoolError, Scope.Scope>
    /** Borrows a connection for the caller alone while an effect runs. */
    readonly use: <A, E, R>(
      f: (connection: SqlConnection) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | SqlPoolError, Exclude<R, Scope.Scope>>
    /** Effect's client over this pool. */
    readonly client: SqlClient
    /** Has a borrowed connection closed when it is returned (EV-40). */
    readonly invalidate: (connection: SqlConnection) => Effect.Effect<void>
    /** Connects until there are `min` connections, and waits for them. */
    readonly warmUp: Effect.Effect<void, SqlPoolError>
    /** Changes the limits; nobody who holds is disturbed. A plain number is the new `max`. */
    readonly resize: (
      limits: number | { readonly min?: number | undefined; readonly max?: number | undefined }
    ) => Effect.Effect<void>
    /** Closes all idle connections, and says how many (EV-61). */
    readonly clear: Effect.Effect<number>
    /** Replaces everything that is connected now, as after a change of credentials or a fail-over. */
    readonly recycle: Effect.Effect<void>
    /** Stops lending until `resume`. */
    readonly suspend: Effect.Effect<void>
    readonly resume: Effect.Effect<void>
    readonly stats: Effect.Effect<Pool.Stats>
    /** Who holds which connection, since when, under which span. */
    readonly leases: Effect.Effect<ReadonlyArray<Pool.Lease<{ readonly connectedAt: number }>>>
    readonly events: Stream.Stream<PoolEvent.PoolEvent>
  }
>()("@cenote/sql/ConnectionPool") {}
