// The table that the programs work on, and what they do to it.
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Effect, Predicate } from "effect"
import type { SqlError } from "effect/sql"

/** Makes the tables, with the five users that are there from the start. */
export const createTables = Effect.scoped(
  Effect.gen(function* () {
    const { config } = yield* Postgres
    const session = yield* PgConnection.make(config)
    yield* session.query(`
      create table users (
        id integer generated always as identity primary key,
        name text not null,
        email text unique not null,
        tasks integer not null default 0,
        created_at timestamptz not null default now()
      )`)
    yield* session.query(`
      create table audit_log (
        id text primary key,
        user_id integer not null references users,
        backend integer not null default pg_backend_pid(),
        at timestamptz not null default now()
      )`)
    for (const name of ["Alice", "Bob", "Charlie", "Diana", "Eve"]) yield* insertUser(session, name)
  })
)

export const insertUser = (session: PgConnection.PgConnection, name: string) =>
  session.query("insert into users (name, email) values ($1, $2)", [
    name,
    `${name.toLowerCase()}@example.com`
  ])

/**
 * A task of a user's, which takes the server a while and then commits two things at once: a row in the
 * log, and one more task on the user's account. Its id is ours, so running it a second time changes nothing.
 * That matters when a session breaks: then nobody can say whether the task had been committed.
 */
export const runTask = (
  session: PgConnection.PgConnection,
  task: { readonly id: string; readonly userId: number; readonly seconds: number }
) =>
  session.query(
    `with logged as (
       insert into audit_log (id, user_id) select $1::text, $2::int from pg_sleep($3::float8)
       on conflict (id) do nothing returning user_id
     )
     update users set tasks = tasks + 1 from logged where users.id = logged.user_id`,
    [task.id, task.userId, task.seconds]
  )

/**
 * Whether an error is the end of its session: the connection broke, or the server closed it. After any other error
 * the session can still be used.
 */
export const isFatal = (error: unknown): error is SqlError.SqlError => {
  if (!Predicate.isTagged(error, "SqlError")) return false
  const { reason } = error as SqlError.SqlError
  return (
    reason._tag === "ConnectionError" ||
    (Predicate.hasProperty(reason.cause, "severityUnlocalized") &&
      ["FATAL", "PANIC"].includes(String(reason.cause.severityUnlocalized)))
  )
}
