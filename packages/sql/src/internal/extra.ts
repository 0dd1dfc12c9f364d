import * as Effect from "effect/Effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SqlConnection } from "../SqlConnection.ts"
import { Handle } from "./handle.ts"

export const extraOf = (
  connection: SqlConnection,
  name: string,
  args: ReadonlyArray<unknown>
): Stream.Stream<unknown, SqlError> =>
  Stream.unwrap(
    Effect.map(connection instanceof Handle ? connection.session : Effect.undefined, (session) => {
      const extra = session?.extras?.[name]
      if (extra !== undefined) return extra(...args)
      const message = `connection ${connection.id} has no ${JSON.stringify(name)}: it is of another driver`
      return Stream.fail(
        new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation: name }) })
      )
    })
  )
