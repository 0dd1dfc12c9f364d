/** MariaDB: a server of our own, and the libraries that are measured on it. */
import { MysqlDriver } from "@cenote/sql-mysql2"
import type { TestServers } from "@cenote/testing"
import { MysqlClient } from "@effect/sql-mysql2"
import { Effect, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlClient } from "effect/sql/SqlClient"
import { createPool, type RowDataPacket } from "mysql2/promise"
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

const select = (sql: SqlClient, n: number) => sql<{ readonly n: number }>`select cast(${n} as signed) as n`

const cenote = cenotePools((settings: Settings) => MysqlDriver.make(settings), select)

const effectClient: Contender<Settings> = {
  name: "MysqlClient",
  open: (settings, { max, warm }) =>
    MysqlClient.make({
      ...settings,
      maxConnections: max,
      ...(warm ? { connectionTTL: forLong } : {})
    }).pipe(
      Effect.map((sql) => viaClient(sql, select)),
      Effect.provide(Reactivity.layer)
    )
}

// -----------------------------------------------------------------------------
// mysql2
// -----------------------------------------------------------------------------

/** `execute` prepares statements, and `query` sends them as text. */
const viaMysql2 = (name: string, method: "execute" | "query") =>
  promises<Settings>(name, ({ password, username: user, ...settings }, { max, warm }) => {
    const pool = createPool({
      ...settings,
      user,
      password: Redacted.value(password),
      connectionLimit: max,
      ...(warm ? { idleTimeout: 3_600_000 } : {})
    })
    const rows = async (sql: string, values: Array<number>) => {
      const [rows] = await (method === "execute"
        ? pool.execute<Array<RowDataPacket>>(sql, values)
        : pool.query<Array<RowDataPacket>>(sql, values))
      return rows
    }
    const insertText = "insert into orders (item, note) values (?, ?)"
    return {
      calls: {
        select: async (n) => (await rows("select cast(? as signed) as n", [n]))[0]!["n"],
        insert: async (n) => {
          const connection = await pool.getConnection()
          try {
            await connection.beginTransaction()
            if (method === "execute") await connection.execute(insertText, [n, "a note"])
            else await connection.query(insertText, [n, "a note"])
            await connection.commit()
            connection.release()
          } catch (error) {
            // Nobody else is to have it in the middle of a transaction.
            connection.destroy()
            throw error
          }
        },
        read: () => rows(readItems, []),
        run: async (sql) => {
          const [rows] = await pool.query(sql)
          return Array.isArray(rows) ? rows : []
        }
      },
      close: () => pool.end()
    }
  })

// -----------------------------------------------------------------------------
// The database
// -----------------------------------------------------------------------------

const second = (i: number) => `2026-01-01 ${new Date(i * 1_000).toISOString().slice(11, 19)}`

export const mariadb = (server: Effect.Effect<TestServers.Server>): Database<Settings> => ({
  id: "mariadb",
  name: "MariaDB",
  fresh: Effect.flatMap(server, (_) => _.freshDatabase),
  setUp: [
    "create table orders (id int primary key auto_increment, item int not null, note varchar(100) not null)",
    "create table items (id int primary key, name varchar(100) not null, price double not null, made_at datetime not null)",
    `insert into items select seq, concat('item ', seq), seq * 0.5, date_add('2026-01-01', interval seq second)
      from seq_1_to_${rowsOfItems}`,
    "analyze table items"
  ],
  cleanUp: "truncate table orders",
  items: Array.from({ length: rowsOfItems }, (_, i) => ({
    id: i + 1,
    name: `item ${i + 1}`,
    price: (i + 1) * 0.5,
    // In the time zone of the client, whatever that is.
    made_at: new Date(second(i + 1))
  })),
  contenders: [
    cenote.raw,
    cenote.tpooled,
    effectClient,
    viaMysql2("mysql2 execute", "execute"),
    viaMysql2("mysql2 query", "query")
  ]
})
