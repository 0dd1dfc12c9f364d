import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { SqlDriver } from "../SqlDriver.ts"
import type { Options } from "./options.ts"
import { type Connect, make, toSqlError } from "./pool.ts"
import { ConnectionPool } from "./service.ts"

/**
 * The pool, its client, and the services of the driver, over sessions that are opened in some way. Connections that are to
 * be there from the start (`min`) are waited for: a program whose database is not there does not start.
 */
export const layerOver = <Services, R>(
  driver: SqlDriver<Services>,
  options: Options,
  connect: Effect.Effect<Connect, never, R>
): Layer.Layer<ConnectionPool | SqlClient | Services, SqlError, R> =>
  withReactivity(
    Layer.effectContext(
      Effect.gen(function* () {
        const pool = yield* make(driver, options, yield* connect)
        if ((options.min ?? options.size ?? 0) > 0) yield* Effect.mapError(pool.warmUp, toSqlError)
        return Context.make(ConnectionPool, pool).pipe(
          Context.add(SqlClient, pool.client),
          Context.merge(driver.services(pool.client, pool))
        )
      })
    ) as Layer.Layer<ConnectionPool | SqlClient | Services, SqlError, R>
  )

/**
 * Lets clients share the program's `Reactivity`: the one that is given, or else that of `Reactivity.layer`, which is the same
 * wherever a program uses it.
 */
export const withReactivity = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  Layer.unwrap(
    Effect.map(Effect.serviceOption(Reactivity.Reactivity), (given) =>
      Option.isSome(given) ? layer : Layer.provide(layer, Reactivity.layer)
    )
  )
