/** What every driver must do, and what is special about integers. */
import { SqliteDriver } from "@cenote/sql-sqlite"
import * as SqlConformance from "@cenote/testing/SqlConformance"
import { describe, expect } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SafeIntegers } from "effect/sql/SqlClient"
import { existsSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = Effect.acquireRelease(
  Effect.sync(() => realpathSync(mkdtempSync(join(tmpdir(), "cenote-sqlite-")))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** Where Linux says which files the process has open, in all its threads. */
const opened = "/proc/self/fd"

const openings = (file: string): number =>
  readdirSync(opened).filter((fd) => {
    try {
      return readlinkSync(join(opened, fd)) === file
    } catch {
      // It was closed since, as the one that lists them is.
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
      sessions: existsSync(opened) ? Effect.sync(() => openings(filename)) : undefined
    }
  }),
  more: (bench) => integers(bench)
})

const integers = ({ test }: SqlConformance.Bench<never>): void => {
  describe("integers", () => {
    test(
      "one that a number cannot say fails, and is a bigint with SafeIntegers",
      { max: 1 },
      function* ({ sql, table }) {
        const name = yield* table("n integer")
        for (const n of [9_007_199_254_740_993n, -9_223_372_036_854_775_807n, 9_223_372_036_854_775_807n]) {
          yield* sql`delete from ${sql(name)}`
          yield* sql`insert into ${sql(name)} values (${n})`
          const query = sql`select n from ${sql(name)}`
          for (const unsafe of [query, query.values, query.unprepared, Stream.runCollect(query.stream)]) {
            expect((yield* Effect.exit<unknown, unknown, never>(unsafe))._tag).toBe("Failure")
          }
          const safely = Effect.provideService(SafeIntegers, true)
          expect(yield* safely(query)).toEqual([{ n }])
          expect(yield* safely(query.unprepared)).toEqual([{ n }])
          expect(yield* safely(query.values)).toEqual([[n]])
          expect(Array.from(yield* safely(Stream.runCollect(query.stream)))).toEqual([{ n }])
          expect(yield* sql`select count(*) as n from ${sql(name)} where n = ${n}`).toEqual([{ n: 1 }])
        }
      }
    )
  })
}
