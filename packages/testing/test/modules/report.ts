// What the programs and test files that end in all kinds of ways say about their servers: a line of JSON each.
import { appendFileSync } from "node:fs"
import type { MariaDb, Postgres, Server } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Effect, Redacted } from "effect"
import { createConnection } from "mysql2/promise"

export interface Report {
  readonly kind: string
  readonly pid: number
  readonly database: string
  readonly version: string
  /** Where the server keeps its files, as it says itself. */
  readonly folder: string
}

export const report = Effect.fnUntraced(function* (kind: typeof Postgres | typeof MariaDb) {
  const server: Server = yield* kind as Effect.Effect<Server, never, Postgres | MariaDb>
  const { config, version } = server
  const folder = yield* kind.key.endsWith("Postgres") ? folderOfPostgres(server) : folderOfMariaDb(server)
  const found: Report = { kind: kind.key, pid: yield* server.pid, database: config.database, version, folder }
  appendFileSync(process.env["REPORT_TO"] ?? "", `${JSON.stringify(found)}\n`)
})

const folderOfPostgres = Effect.fnUntraced(function* ({ config }: Server) {
  const session = yield* PgConnection.make(config)
  const { rows } = yield* session.query("show data_directory")
  return String(rows[0]?.["data_directory"])
}, Effect.scoped)

const folderOfMariaDb = ({ config: { database, host, password, port, username } }: Server) =>
  Effect.promise(async () => {
    const session = await createConnection({
      host,
      port,
      database,
      user: username,
      password: Redacted.value(password)
    })
    const [rows] = await session.query("select @@datadir as folder")
    await session.end()
    return String((rows as unknown as ReadonlyArray<{ readonly folder: string }>)[0]?.folder).replace(
      /\/$/,
      ""
    )
  })
