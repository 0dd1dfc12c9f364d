/** SQLite: a file in a temporary folder, and the libraries that are measured on it. */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SqliteDriver } from "@cenote/sql-sqlite"
import BetterSqlite3 from "better-sqlite3"
import { Effect } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { cenotePools, type Database, promises, readItems, rowsOfItems } from "./contenders.ts"
import type { Heavy } from "./scenarios.ts"

/** Nobody waits for the disk at each commit; a crash of the machine could lose the last ones. */
const synchronous = "normal"

const cenote = cenotePools(
  (filename: string) => SqliteDriver.make({ filename, pragmas: { synchronous } }),
  (sql: SqlClient, n: number) => sql<{ readonly n: number }>`select ${n} as n`
)

/** One connection, since nobody ever waits for another. */
const betterSqlite3 = promises<string>("better-sqlite3", (filename) => {
  const database = new BetterSqlite3(filename)
  database.pragma("journal_mode = wal")
  database.pragma(`synchronous = ${synchronous}`)
  const prepared = new Map<string, ReturnType<typeof database.prepare>>()
  const prepare = (sql: string) => {
    const statement = prepared.get(sql) ?? database.prepare(sql)
    prepared.set(sql, statement)
    return statement
  }
  const insert = database.transaction((n: number) => {
    prepare("insert into orders (item, note) values (?, ?)").run(n, "a note")
  })
  return {
    calls: {
      select: (n) => prepare("select ? as n").get(n).n,
      insert,
      read: () => prepare(readItems).all(),
      run: (sql) => {
        const statement = prepare(sql)
        return statement.reader ? statement.all() : (statement.run(), [])
      }
    },
    close: () => database.close()
  }
})

/** Tens of milliseconds of computing, and little to give back. */
export const heavy: Heavy = {
  sql: `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < 100000)
    select count(*) as n, sum(n) as total from numbers`,
  isRight: ([row]) => row.n === 100_000 && row.total === 5_000_050_000
}

export const sqlite: Database<string> = {
  id: "sqlite",
  name: "SQLite",
  fresh: Effect.map(
    Effect.acquireRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "cenote-bench-"))),
      (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
    ),
    (folder) => join(folder, "bench.db")
  ),
  setUp: [
    "create table orders (id integer primary key, item integer not null, note text not null)",
    "create table items (id integer primary key, name text not null, price real not null, made_at text not null)",
    `with recursive numbers(i) as (select 1 union all select i + 1 from numbers where i < ${rowsOfItems})
      insert into items select i, 'item ' || i, i * 0.5, 'at ' || i from numbers`
  ],
  cleanUp: "delete from orders",
  items: Array.from({ length: rowsOfItems }, (_, i) => ({
    id: i + 1,
    name: `item ${i + 1}`,
    price: (i + 1) * 0.5,
    made_at: `at ${i + 1}`
  })),
  contenders: [cenote.raw, cenote.tpooled, betterSqlite3]
}
