import { describe, expect, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as Statement from "effect/sql/Statement"
import { PgDriver } from "@cenote/sql-pg"
import { MysqlDriver } from "@cenote/sql-mysql2"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { remembering } from "../src/internal/compiler.ts"

/** How many statements the compiler beneath was asked for. */
const counting = (transform?: (name: string) => string) => {
  const compiler = Statement.makeCompilerSqlite(transform)
  let asked = 0
  const counted: Statement.Compiler = {
    dialect: compiler.dialect,
    compile: (statement, withoutTransform) => {
      asked++
      return compiler.compile(statement, withoutTransform)
    },
    get withoutTransform() {
      return compiler.withoutTransform
    }
  }
  return { compiler: counted, asked: () => asked }
}

/** A client that is only asked for statements. Clients are told apart by where they get their connections. */
const clientOver = (compiler: Statement.Compiler) =>
  Statement.make(
    Effect.suspend(() => Effect.die("nothing is run")),
    compiler,
    [],
    undefined
  )

const upper = (name: string) => name.toUpperCase()

const statements = (sql: Statement.Constructor): ReadonlyArray<Statement.Fragment> => [
  sql`select 1`,
  sql`select ${1}`,
  sql`select ${2}`,
  sql`select ${1}, ${2}`,
  sql`select ${1}${2}`,
  sql`${1}`,
  sql`${sql`select`} ${null} from (select 1)`,
  sql`select ${sql("a")}, ${3}`,
  sql`select ${sql("b")}, ${3}`,
  sql`select * from t where ${sql.and([sql`a = ${1}`, sql`b = ${2}`])}`,
  sql`select * from t where a in ${sql.in([1, 2])}`,
  sql`select * from t where a in ${sql.in([1, 2, 3])}`,
  sql`select * from t where a in ${sql.in([])}`,
  sql`insert into t ${sql.insert({ a: 1, b: "x" })}`,
  sql`insert into t ${sql.insert([{ a: 1 }, { a: 2 }])}`,
  sql`update t set ${sql.update({ a: 1, b: 2 }, ["b"])} where c = ${3}`,
  sql.unsafe("select 1"),
  sql.unsafe("select ?", [7]),
  sql.unsafe("select ?", []),
  sql.literal("select 1"),
  sql`${sql.literal("select")} ${1}`
]

describe("texts of statements that were compiled before", () => {
  it("a statement compiles to what it does without, the first time and after that", () => {
    const plain = Statement.makeCompilerSqlite(upper)
    const remembered = remembering(Statement.makeCompilerSqlite(upper))
    for (let time = 1; time <= 3; time++) {
      for (const compiler of [
        [plain, remembered],
        [plain.withoutTransform, remembered.withoutTransform]
      ] as const) {
        const expected = statements(clientOver(compiler[0]))
        const got = statements(clientOver(compiler[1]))
        for (const withoutTransform of [false, true]) {
          expect(got.map((_) => compiler[1].compile(_, withoutTransform))).toEqual(
            expected.map((_) => compiler[0].compile(_, withoutTransform))
          )
        }
      }
    }
  })

  it("literals and parameters are compiled once, and what depends on values each time", () => {
    const { asked, compiler } = counting()
    const remembered = remembering(compiler)
    const sql = clientOver(remembered)
    const compile = (statement: Statement.Fragment) => remembered.compile(statement, false)
    for (let n = 0; n < 5; n++) expect(compile(sql`select ${n}, ${"a"}`)).toEqual(["select ?, ?", [n, "a"]])
    expect(asked()).toBe(1)
    for (let n = 0; n < 5; n++) compile(sql`select ${sql.in(Array.from({ length: n }, () => 0))}`)
    expect(asked()).toBe(6)
  })

  it("whoever changes the parameters of one statement does not change another's", () => {
    const remembered = remembering(Statement.makeCompilerSqlite())
    const sql = clientOver(remembered)
    const [, first] = remembered.compile(sql`select ${1}`, false)
    ;(first as Array<unknown>).push("more")
    expect(remembered.compile(sql`select ${1}`, false)).toEqual(["select ?", [1]])
  })

  it("a program that makes up its texts gets them right, however many they are", () => {
    const { asked, compiler } = counting()
    const remembered = remembering(compiler)
    const sql = clientOver(remembered)
    const long = " ".repeat(20_000)
    for (let n = 0; n < 10_000; n++) {
      expect(remembered.compile(sql.unsafe(`select ${n}`), false)).toEqual([`select ${n}`, []])
    }
    expect(asked()).toBe(10_000)
    expect(remembered.compile(sql.unsafe(long), false)).toEqual([long, []])
    expect(remembered.compile(sql.unsafe(long), false)).toEqual([long, []])
    // The long one is compiled each time, and the early ones are not kept.
    expect(asked()).toBe(10_002)
    remembered.compile(sql.unsafe("select 9999"), false)
    expect(asked()).toBe(10_002)
    remembered.compile(sql.unsafe("select 0"), false)
    expect(asked()).toBe(10_003)
  })

  it("placeholders of the three databases", () => {
    const password = Redacted.make("secret")
    const compilers = {
      pg: PgDriver.make({ password }).client.compiler,
      mysql: MysqlDriver.make({ password }).client.compiler,
      sqlite: SqliteDriver.make({ filename: ":memory:" }).client.compiler
    }
    for (const n of [1, 2]) {
      const texts = Object.entries(compilers).map(([dialect, compiler]) => {
        const sql = clientOver(compiler)
        expect(compiler.dialect).toBe(dialect)
        return compiler.compile(sql`select ${n}, ${"two"}`, false)
      })
      const params = [n, "two"]
      expect(texts).toEqual([
        ["select $1, $2", params],
        ["select ?, ?", params],
        ["select ?, ?", params]
      ])
    }
  })
})
