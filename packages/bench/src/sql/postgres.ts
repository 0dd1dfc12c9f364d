/** PostgreSQL: a server of our own, and the libraries that are measured on it. */
import { PgDriver } from "@cenote/sql-pg"
import type { TestServers } from "@cenote/testing"
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import { Pool, type Query } from "pg"
import postgresJs from "postgres"
import {
  cenotePools,
  type Contender,
  type Database,
  forLong,
  promises,
  readItems,
  rowsOfItems,
  viaClient
} from "./contenders.ts"

type Settings = TestServers.Settings

// -----------------------------------------------------------------------------
// Effect
// -----------------------------------------------------------------------------

const select = (sql: SqlClient, n: number) => sql<{ readonly n: number }>`select ${n}::int as n`

const cenote = cenotePools((settings: Settings) => PgDriver.make(settings), select)

const effectClient = (name: string, multiplex: boolean): Contender<Settings> => ({
  name,
  open: (settings, { max, warm }) =>
    PgClient.make({
      ...settings,
      multiplex,
      maxConnections: max,
      ...(warm ? { minConnections: max, idleTimeout: forLong } : {})
    }).pipe(
      Effect.map((sql) => viaClient(sql, select)),
      Effect.provide(Reactivity.layer)
    )
})

// -----------------------------------------------------------------------------
// Promise libraries
// -----------------------------------------------------------------------------

/** `query` says how a statement is called, as those do who want it prepared. */
const viaPg = (name: string, query: (name: string, text: string, values: ReadonlyArray<unknown>) => Query) =>
  promises<Settings>(name, ({ password, username: user, ...settings }, { max, warm }) => {
    const pool = new Pool({
      ...settings,
      user,
      password: Redacted.value(password),
      max,
      ...(warm ? { min: max, idleTimeoutMillis: 0 } : {})
    })
    const insertText = "insert into orders (item, note) values ($1, $2)"
    return {
      calls: {
        select: async (n) => {
          const { rows } = await pool.query(query("select", "select $1::int as n", [n]))
          return rows[0].n
        },
        insert: async (n) => {
          const client = await pool.connect()
          try {
            await client.query("begin")
            await client.query(query("insert", insertText, [n, "a note"]))
            await client.query("commit")
            client.release()
          } catch (error) {
            // Nobody else is to have it in the middle of a transaction.
            client.release(true)
            throw error
          }
        },
        read: async () => (await pool.query(query("read", readItems, []))).rows,
        run: async (sql) => (await pool.query(sql)).rows
      },
      close: async () => {
        // `end` itself does not wait until the connections are closed.
        let open = pool.totalCount
        const closed = new Promise<void>((resolve) => {
          if (open === 0) resolve()
          pool.on("remove", () => {
            if (--open === 0) resolve()
          })
        })
        await pool.end()
        await closed
      }
    }
  })

const pgNamed = viaPg("node-postgres, named", (name, text, values) => ({ name, text, values }))
const pgUnnamed = viaPg("node-postgres", (_, text, values) => ({ text, values }))

const viaPostgresJs = promises<Settings>("postgres.js", ({ password, ...settings }, { max }) => {
  const sql = postgresJs({ ...settings, password: Redacted.value(password), max })
  return {
    calls: {
      select: async (n) => (await sql`select ${n}::int as n`)[0]!["n"],
      insert: (n) => sql.begin((sql) => sql`insert into orders (item, note) values (${n}, ${"a note"})`),
      read: () => sql`select id, name, price, made_at from items order by id`,
      run: (text) => sql.unsafe(text)
    },
    close: () => sql.end()
  }
})

// -----------------------------------------------------------------------------
// The database
// -----------------------------------------------------------------------------

const start = 1_767_225_600_000

export const postgres = (server: Effect.Effect<TestServers.Server>): Database<Settings> => ({
  id: "postgres",
  name: "PostgreSQL",
  fresh: Effect.flatMap(server, (_) => _.freshDatabase),
  setUp: [
    "create table orders (id serial primary key, item int not null, note text not null)",
    "create table items (id int primary key, name text not null, price float8 not null, made_at timestamptz not null)",
    `insert into items select i, 'item ' || i, i * 0.5, to_timestamp(${start / 1_000} + i)
      from generate_series(1, ${rowsOfItems}) as i`,
    "analyze items"
  ],
  cleanUp: "truncate table orders",
  items: Array.from({ length: rowsOfItems }, (_, i) => ({
    id: i + 1,
    name: `item ${i + 1}`,
    price: (i + 1) * 0.5,
    made_at: new Date(start + (i + 1) * 1_000)
  })),
  contenders: [
    cenote.raw,
    cenote.multiplex,
    cenote.tpooled,
    effectClient("PgClient", false),
    effectClient("PgClient, multiplex", true),
    pgNamed,
    pgUnnamed,
    viaPostgresJs
  ]
})
