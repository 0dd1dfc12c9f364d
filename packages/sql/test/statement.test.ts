import { describe, expect, it } from "vitest"
import { effectOf, readingOf } from "../src/internal/statement.ts"

const cases = {
  none: [
    "select 1",
    "  SELECT 1;",
    "(select 1) union (select 2)",
    "/* who */ select 1",
    "-- who\nselect 1",
    "# who\nselect 1",
    "/* a */ -- b\n /* c */ insert into t values (1)",
    "update t set a = 1",
    "delete from t",
    "with a as (select 1) select * from a",
    "values (1)",
    "show tables",
    "explain select 1",
    "set search_path to public",
    "set @a = 1"
  ],
  opens: [
    "begin",
    "BEGIN IMMEDIATE",
    "start transaction",
    "savepoint a",
    "rollback to savepoint a",
    "rollback and chain",
    "commit and chain",
    "/* a /* b */ select */ begin",
    "-- x\rbegin /*\nselect */",
    "select /* a /* b */ 1",
    "lock tables t write",
    "create table t (a int)",
    "selection",
    "/*a*/ savepoint x /*b*/ select",
    "xa start 'a'",
    ""
  ],
  ends: ["commit", "COMMIT;", "rollback", "  rollback work ", "end", "abort transaction", "/* a */ commit"],
  sets: [
    "set autocommit = 0",
    "SET @@session.autocommit=0",
    "set completion_type = 1",
    "set statement max_statement_time=1 for begin",
    "/*!40101 SET autocommit=0 */",
    "/*M! SET autocommit=0 */",
    "call p()",
    "EXECUTE IMMEDIATE 'SET autocommit=0'",
    "do $$ begin end $$",
    "select 1; begin",
    "select 1; set autocommit = 0"
  ]
} as const

describe("what a statement may do to its session, by its text", () => {
  for (const [effect, texts] of Object.entries(cases)) {
    for (const text of texts) {
      it(`${effect}: ${JSON.stringify(text)}`, () => {
        expect(effectOf(text)).toBe(effect)
        // Known by now.
        expect(effectOf(text)).toBe(effect)
      })
    }
  }

  it("knows a rollback by its first word alone", () => {
    for (const sql of ["ROLLBACK", "/* why */ rollback to savepoint a", "abort"])
      expect(readingOf(sql).isUndoing).toBe(true)
    for (const sql of [
      "/* action=rollback */ COMMIT",
      "-- abort\ncommit",
      "select 'rollback'",
      "rollback prepared 'x'"
    ]) {
      expect(readingOf(sql).isUndoing).toBe(false)
    }
  })

  it("keeps no more texts than it needs", () => {
    for (let i = 0; i < 5_000; i++) expect(effectOf(`select ${i}`)).toBe("none")
    expect(effectOf(`select ${"x".repeat(100_000)}`)).toBe("none")
  })

  it("reads a text of many spaces and comments in no time", () => {
    const started = performance.now()
    expect(effectOf(`${" ".repeat(50_000)}/*${"*".repeat(50_000)}`)).toBe("opens")
    expect(effectOf(`${"-- \n".repeat(20_000)}select 1`)).toBe("none")
    expect(performance.now() - started).toBeLessThan(1_000)
  })
})
