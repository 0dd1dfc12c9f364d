// What makes the client of a pool a `PgClient`.
import { PgClient, type PgConnection } from "@effect/sql-pg"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { extra, type ServicePool } from "@cenote/sql/SqlDriver"
import { listening } from "./session.ts"

/** The services of the driver: its own client, which is the pool's with what PostgreSQL has besides. */
export const services = (
  client: SqlClient,
  pool: ServicePool,
  config: PgClient.PgClientConfig
): Context.Context<PgClient.PgClient> => {
  const own: PgClient.PgClient = Object.assign(client, {
    [PgClient.TypeId]: PgClient.TypeId,
    config,
    json: (value: unknown) => Statement.fragment([json(value)]),
    listen: (channel: string) => listen(pool, channel),
    notify: (channel: string, payload: string) =>
      Effect.andThen(
        checkChannel(channel, "notify"),
        Effect.asVoid(client.unsafe("SELECT pg_notify($1, $2)", [channel, payload]))
      )
  })
  return Context.make(PgClient.PgClient, own)
}

/** The statement compiler of `@effect/sql-pg` knows it by this name. */
const json = Statement.custom<Statement.Custom<"PgJson", unknown>>("PgJson")

/** PostgreSQL answers a `COMMIT` of an aborted transaction with success, and rolls back. */
export const commit = (connection: Connection): Effect.Effect<void, SqlError> =>
  Effect.flatMap(connection.executeRaw("COMMIT", []), (result) =>
    (result as PgConnection.Result).command === "ROLLBACK"
      ? failed("the transaction was aborted by an earlier error, and COMMIT rolled it back", "commit")
      : Effect.void
  )

/** Keeps a connection until the scope closes; its notifications go into the queue, and so does its failure. */
const listen = Effect.fnUntraced(function* (
  pool: ServicePool,
  channel: string
): Effect.fn.Return<Queue.Dequeue<PgConnection.Notification, SqlError>, SqlError, Scope.Scope> {
  yield* checkChannel(channel, "listen")
  const queue = yield* Effect.acquireRelease(
    Queue.unbounded<PgConnection.Notification, SqlError>(),
    Queue.shutdown
  )
  const connection = yield* pool.reserve
  const isListening = yield* Deferred.make<void, SqlError>()
  yield* extra(connection, "listen", [channel]).pipe(
    Stream.runForEach((item) =>
      item === listening
        ? Deferred.succeed(isListening, undefined)
        : Queue.offer(queue, item as PgConnection.Notification)
    ),
    // Whoever reads hears of the end, however it came. At the end of this scope nobody reads any more.
    Effect.onExit((exit) => {
      const cause =
        Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
          ? exit.cause
          : Cause.fail(notListening(channel))
      return Effect.andThen(Deferred.failCause(isListening, cause), Queue.failCause(queue, cause))
    }),
    Effect.forkScoped
  )
  yield* Deferred.await(isListening)
  return queue
})

const notListening = (channel: string): SqlError => {
  const message = `the connection that listened to ${JSON.stringify(channel)} was closed`
  return new SqlError({
    reason: new ConnectionError({ cause: new Error(message), message, operation: "listen" })
  })
}

const longestChannel = 63

const checkChannel = (channel: string, operation: string): Effect.Effect<void, SqlError> => {
  const bytes = new TextEncoder().encode(channel).length
  return bytes <= longestChannel
    ? Effect.void
    : failed(
        `channel ${JSON.stringify(channel)} has ${bytes} bytes; PostgreSQL allows ${longestChannel}`,
        operation
      )
}

const failed = (message: string, operation: string): Effect.Effect<never, SqlError> =>
  Effect.fail(new SqlError({ reason: new UnknownError({ cause: new Error(message), message, operation }) }))
