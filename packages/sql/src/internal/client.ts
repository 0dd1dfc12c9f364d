import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { SqlConnection } from "../SqlConnection.ts"
import type { SqlDriver } from "../SqlDriver.ts"

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
  return yield* Effect.provideService(
    SqlClient.make({
      ...driver.client,
      driver: driver.name,
      acquirer: reserve,
      borrower: lend,
      transactionAcquirer: reserve
    }),
    Reactivity.Reactivity,
    reactivity
  )
})
