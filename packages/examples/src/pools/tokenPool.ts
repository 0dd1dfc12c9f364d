// Token Pool for Concurrency Control: five tasks, of which two may run at one time.
import { TokenPool } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Clock, Console, Effect } from "effect"
import { runTask } from "./users.ts"

/** How long each task takes, in seconds. */
const tasks = [0.8, 0.6, 0.4, 1, 0.2]

/** Gives the ids of the tasks that it committed. */
export const tokenPool = Effect.gen(function* () {
  const { config } = yield* Postgres
  const tokens = yield* TokenPool.make({ name: "tokens", max: 2 })

  const task = Effect.fnUntraced(function* (seconds: number, index: number) {
    const name = `Task ${index + 1}`
    const id = `tokens/${index + 1}`
    yield* Console.log(`${name} waiting for a token...`)

    const open = yield* TokenPool.withToken(
      tokens,
      // Nothing is pooled here: a task opens a session of its own, when it has its token.
      Effect.scoped(
        Effect.gen(function* () {
          yield* Console.log(`${name} got a token, starting work...`)
          const session = yield* PgConnection.make({ ...config, applicationName: "tokens" })
          yield* runTask(session, { id, userId: index + 1, seconds })
          return yield* countSessions(session)
        })
      )
    )

    yield* Console.log(`${name} completed its work (${seconds} s) and returned the token`)
    return { id, open }
  })

  const started = yield* Clock.currentTimeMillis
  const done = yield* Effect.forEach(tasks, task, { concurrency: "unbounded" })
  const took = (yield* Clock.currentTimeMillis) - started

  const most = Math.max(...done.map((_) => _.open))
  yield* Console.log(`All tasks completed in ${(took / 1000).toFixed(1)} s, at most ${most} at one time`)
  return done.map((_) => _.id)
}).pipe(Effect.scoped)

/** How many sessions of this program the server has in the middle of a statement, this one included. */
const countSessions = Effect.fnUntraced(function* (session: PgConnection.PgConnection) {
  const { rows } = yield* session.query(
    "select count(*)::int as n from pg_stat_activity where application_name = 'tokens' and state = 'active'"
  )
  return Number(rows[0]?.["n"])
})
