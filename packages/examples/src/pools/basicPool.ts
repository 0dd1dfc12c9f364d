// Basic Resource Pool: four workers share three database sessions.
import { Pool } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Console, Effect } from "effect"
import { insertUser, runTask } from "./users.ts"

type Session = PgConnection.PgConnection

const count = Effect.fnUntraced(function* (session: Session) {
  const { rows } = yield* session.query("select count(*)::int as n from users")
  return `total users: ${Number(rows[0]?.["n"])}`
})

const select = (pattern: string) =>
  Effect.fnUntraced(function* (session: Session) {
    const { rows } = yield* session.query("select * from users where name like $1", [`%${pattern}%`])
    return `found ${rows.length} users matching '${pattern}'`
  })

const insert = (name: string) =>
  Effect.fnUntraced(function* (session: Session) {
    yield* insertUser(session, name)
    return `inserted user ${name}`
  })

const workers = [
  [count, select("A")],
  [select("B"), count],
  [insert("Frank"), count],
  [select("e"), insert("Grace")]
]

/** Gives the ids of the tasks that it committed. */
export const basicPool = Effect.gen(function* () {
  const { config } = yield* Postgres

  // A session is opened when a worker needs one and none is free, and closed when the pool's scope closes.
  const pool = yield* Pool.make({
    name: "basic",
    acquire: PgConnection.make({ ...config, applicationName: "basic" }),
    max: 3
  })

  const worker = Effect.fnUntraced(function* (operations: (typeof workers)[number], index: number) {
    const name = `Worker ${index + 1}`
    const committed: Array<string> = []
    yield* Console.log(`${name} starting`)
    for (const [step, operation] of operations.entries()) {
      const id = `basic/${index + 1}/${step + 1}`
      // Borrowed for these lines, and given back however they end.
      const result = yield* Pool.use(pool, (session) =>
        Effect.gen(function* () {
          const found = yield* operation(session)
          yield* runTask(session, { id, userId: index + 1, seconds: 0.1 + 0.05 * index })
          return `${found} (backend ${session.processId})`
        })
      )
      committed.push(id)
      yield* Console.log(`${name}: ${result}`)
      yield* Effect.sleep("50 millis")
    }
    yield* Console.log(`${name} finished`)
    return committed
  })

  const committed = yield* Effect.forEach(workers, worker, { concurrency: "unbounded" })
  yield* Console.log(`Pool has ${yield* Pool.idle(pool)} sessions, all idle`)
  return committed.flat()
}).pipe(Effect.scoped)
