// Database Connection Pool: four workers share three connections by way of Effect's SqlClient. The program knows neither
// which database it is on, nor whether the connections live on the main thread or in others.
import { ConnectionPool } from "@cenote/sql"
import { Console, Effect } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

const count = Effect.gen(function* () {
  const sql = yield* SqlClient
  const [row] = yield* sql<{ users: unknown }>`select count(*) as users from users`
  return `total users: ${Number(row?.users)}`
})

const select = (pattern: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    const rows = yield* sql`select name from users where name like ${`%${pattern}%`}`
    return `found ${rows.length} users matching '${pattern}'`
  })

const insert = (name: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    yield* sql`insert into users ${sql.insert({ name, email: `${name.toLowerCase()}@example.com` })}`
    return `inserted user ${name}`
  })

const workers = [
  [count, select("A")],
  [select("B"), count],
  [insert("Frank"), count],
  [select("e"), insert("Grace")]
]

/** Keeps a connection busy for a while: a server's session sleeps, and SQLite, which is no server, computes. */
const work = Effect.flatMap(SqlClient, (sql) =>
  sql.onDialectOrElse({
    pg: () => sql`select pg_sleep(0.12)`,
    mysql: () => sql`select sleep(0.12)`,
    orElse: () =>
      sql`with recursive n(i) as (select 1 union all select i + 1 from n where i < 500000) select sum(i) from n`
  })
)

const worker = Effect.fnUntraced(function* (operations: (typeof workers)[number], index: number) {
  const sql = yield* SqlClient
  const name = `DB Worker ${index + 1}`
  const committed: Array<string> = []
  for (const [step, operation] of operations.entries()) {
    const id = `${index + 1}/${step + 1}`
    // One statement, and the first connection that is free.
    yield* work
    // Several statements, one connection, and all or nothing.
    const result = yield* sql.withTransaction(
      Effect.gen(function* () {
        const found = yield* operation
        yield* sql`insert into audit_log ${sql.insert({ id, worker: index + 1 })}`
        return found
      })
    )
    committed.push(id)
    yield* Console.log(`${name}: ${result}`)
  }
  return committed
})

/** Connects all that the pool may have: each is held until the scope closes, and so none is lent twice. */
const connectAll = Effect.gen(function* () {
  const { max } = yield* ConnectionPool.stats
  const connections = yield* Effect.replicateEffect(ConnectionPool.get, max, { concurrency: "unbounded" })
  yield* Console.log(`Connected: ${connections.map((_) => _.id).join(", ")}`)
}).pipe(Effect.scoped)

/** A connection of one's own. Whoever has it forgets to commit: when it is returned, the pool rolls back. */
const forget = ConnectionPool.use((connection) =>
  Effect.gen(function* () {
    yield* connection.execute("begin", [], undefined)
    yield* connection.execute(
      "insert into users (name, email) values ('Mallory', 'mallory@example.com')",
      [],
      undefined
    )
    yield* Console.log(`Connection ${connection.id} was returned in the middle of a transaction`)
  })
)

/** Has the server end the other sessions of the pool, behind the pool's back; gives how many there were. */
const endSessions = Effect.flatMap(SqlClient, (sql) => {
  const others = sql.onDialectOrElse({
    pg: () => sql<{ id: number }>`
      select pid as id from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
    mysql: () => sql<{ id: number }>`
      select id from information_schema.processlist where db = database() and id <> connection_id()`,
    orElse: () => Effect.succeed([])
  })
  const end = (id: number) =>
    sql.onDialectOrElse({
      mysql: () => sql.unsafe(`kill connection ${id}`),
      orElse: () => sql`select pg_terminate_backend(${id}, 5000)`
    })
  // In a transaction, so that all of it runs on one connection, which is not among the others.
  return sql.withTransaction(
    Effect.map(
      Effect.flatMap(
        others,
        Effect.forEach(({ id }) => end(id))
      ),
      (ended) => ended.length
    )
  )
})

/** A statement that nothing is lost by running twice. One that was sent on a session that has just ended is. */
const again = <A, R>(statement: Effect.Effect<A, SqlError, R>) =>
  Effect.retry(statement, { while: ({ reason }) => reason._tag === "ConnectionError", times: 3 })

/** Gives the ids of what it committed, and how many sessions it lost. */
export const connectionPool = Effect.gen(function* () {
  yield* connectAll
  yield* forget
  const committed = yield* Effect.forEach(workers, worker, { concurrency: "unbounded" })

  const ended = yield* endSessions
  if (ended > 0) yield* Console.log(`${ended} sessions were ended by the server`)
  const found = yield* Effect.forEach([1, 2, 3], () => again(count), { concurrency: "unbounded" })
  yield* Console.log(`Asked three times at once: ${found.join(", ")}`)
  return { committed: committed.flat(), ended }
})
