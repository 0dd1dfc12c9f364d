import { SqlError, UnknownError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { SqlConnection } from "../SqlConnection.ts"
import { Handle } from "./handle.ts"

export const extraOf = (
  connection: SqlConnection,
  name: string,
  args: ReadonlyArray<unknown>
): Stream.Stream<unknown, SqlError> =>
  connection instanceof Handle
    ? connection.streamOf((session) => session.extras?.[name]?.(...args) ?? unknown(connection, name))
    : unknown(connection, name)

const unknown = ({ id }: SqlConnection, name: string): Stream.Stream<never, SqlError> => {
  const message = `connection ${id} has no ${JSON.stringify(name)}: it is of another driver`
  return Stream.fail(
    new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation: name }) })
  )
}
