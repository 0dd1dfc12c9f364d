import { Effect } from "effect"
import * as SqlConformance from "@cenote/testing/SqlConformance"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { existsSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = Effect.acquireRelease(
  Effect.sync(() => realpathSync(mkdtempSync(join(tmpdir(), "cenote-sqlite-")))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

const fds = "/proc/self/fd"
const openings = (file: string): number =>
  readdirSync(fds).filter((fd) => {
    try {
      return readlinkSync(join(fds, fd)) === file
    } catch {
      return false
    }
  }).length

SqlConformance.suite({
  name: "SQLite",
  dialect: SqlConformance.sqlite,
  database: Effect.map(folder, (folder) => {
    const filename = join(folder, "test.db")
    return {
      driver: ({ transformQueryNames, transformResultNames } = {}) =>
        SqliteDriver.make({ filename, transformQueryNames, transformResultNames }),
      broken: () => SqliteDriver.make({ filename: join(folder, "missing", "test.db") }),
      ...(existsSync(fds) ? { sessions: Effect.sync(() => openings(filename)) } : {})
    }
  })
})
