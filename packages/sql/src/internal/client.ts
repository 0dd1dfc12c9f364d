import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { Pool } from "@cenote/pool"
import type { SqlConnection } from "../SqlConnection.ts"
import type { SqlDriver } from "../SqlDriver.ts"
import { Handle } from "./handle.ts"

/** What a client needs of a pool. */
export interface Lender {
  /** For the caller alone, until the scope closes: transactions, streams, and whoever reserves a connection. */
  readonly reserve: Effect.Effect<SqlConnection, SqlError, Scope.Scope>
  /** For one statement. */
  readonly lend: <A, E, R>(
    f: (connection: Connection) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError, R>
}

/** Effect's `SqlClient` over a pool. It tells the queries that are reactive by the program's `Reactivity`, if it has one. */
export const makeClient = Effect.fnUntraced(function* (driver: SqlDriver, { lend, reserve }: Lender) {
  const given = yield* Effect.serviceOption(Reactivity.Reactivity)
  const reactivity = Option.isSome(given) ? given.value : yield* Reactivity.make
  const client = yield* Effect.provideService(
    SqlClient.make({
      ...driver.client,
      // A session that has died has no transaction any more, and what it failed with is not to be hidden by a rollback
      // that fails too.
      isTransaction: (connection) =>
        (!(connection instanceof Handle) || connection.member.life.ended === undefined) &&
        driver.client.isTransaction?.(connection) !== false,
      driver: driver.name,
      acquirer: reserve,
      borrower: lend,
      transactionAcquirer: reserve
    }),
    Reactivity.Reactivity,
    reactivity
  )
  return Object.assign(client, { withTransaction: marking(client) })
})

/**
 * `withTransaction` runs what is in the transaction outside of the context in which it borrowed: what says that it holds a
 * connection is taken there, so that a transaction that waits for another connection is found when none can come.
 */
const marking =
  ({ transactionService, withTransaction }: SqlClient.SqlClient): SqlClient.SqlClient["withTransaction"] =>
  (effect) =>
    withTransaction(
      Effect.withFiber((fiber) => {
        const connection = Context.getOrUndefined(fiber.context, transactionService)?.[0]
        return connection instanceof Handle
          ? Effect.provideService(effect, Pool.CurrentLoan, connection.mark)
          : effect
      })
    )
