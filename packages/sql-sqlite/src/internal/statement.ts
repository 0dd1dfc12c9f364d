// Statements of one connection: preparing and keeping them, what goes into them, and what comes out.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { inMemory } from "./config.ts"
import { Rejected } from "./error.ts"

// -----------------------------------------------------------------------------
// Prepared statements
// -----------------------------------------------------------------------------

/**
 * What a statement does to the transaction: `"begin"` opens one if none is open, `"commit"` ends it, `"undo"` ends it or goes back to a
 * savepoint. `"pragma"` may have its effect already as it is prepared, and so must be prepared each time.
 */
export type Kind = "begin" | "commit" | "undo" | "pragma" | "other"

/** White space and comments. */
const blank = String.raw`\s|--[^\n]*(?:\n|$)|\/\*(?:[^*]|\*(?!\/))*(?:\*\/|$)`
const firstWord = new RegExp(`^(?:${blank})*([a-z]+)`, "i")
const onlyBlank = new RegExp(`^(?:${blank}|;)*$`)

const kinds: Readonly<Record<string, Kind>> = {
  BEGIN: "begin",
  SAVEPOINT: "begin",
  COMMIT: "commit",
  END: "commit",
  ROLLBACK: "undo",
  RELEASE: "undo",
  PRAGMA: "pragma"
}

export const kindOf = (sql: string): Kind => kinds[firstWord.exec(sql)?.[1]?.toUpperCase() ?? ""] ?? "other"

export class Prepared {
  readonly kind: Kind
  /** Whether it gives rows at all. */
  readonly hasRows: boolean
  private readonly statement: StatementSync
  private bigInts = false
  private arrays = false
  /** Whether there were several rows the last time. */
  private several = false

  constructor(database: DatabaseSync, sql: string) {
    if (onlyBlank.test(sql)) throw new Rejected("statement", "there is no statement in the text")
    this.kind = kindOf(sql)
    this.statement = database.prepare(sql)
    // SQLite stops reading behind the first statement, and nobody would run what follows.
    const rest = sql.slice(this.statement.sourceSQL.length)
    if (!onlyBlank.test(rest)) {
      throw new Rejected(
        "statement",
        `there is more than one statement in the text: the next one begins at ${excerpt(rest)}. Run each by itself`
      )
    }
    this.hasRows = this.statement.columns().length > 0
  }

  /** The rows as plain objects. */
  rows(params: ReadonlyArray<SQLInputValue>, bigInts: boolean): Array<object> {
    // Of few rows, the objects of node:sqlite are had for less; of many, it is the names that are had once for all.
    const arrays = this.several
    this.read(bigInts, arrays)
    const found = this.all(params)
    this.several = found.length > few
    if (arrays) return found.length === 0 ? [] : toObjects(found as never, this.columns())
    // They have no prototype, and so would differ from `{}` for assertions, and have no methods.
    for (const row of found) Object.setPrototypeOf(row, Object.prototype)
    return found
  }

  /** The rows as arrays. */
  values(params: ReadonlyArray<SQLInputValue>, bigInts: boolean): Array<Array<unknown>> {
    this.read(bigInts, true)
    return this.all(params) as never
  }

  /** Row after row, as arrays. Nothing else may run the statement meanwhile. */
  iterate(params: ReadonlyArray<SQLInputValue>, bigInts: boolean): Iterator<Array<unknown>> {
    this.read(bigInts, true)
    return this.statement.iterate(...params) as never
  }

  /** The names of the columns. They follow the schema, and so may differ from one run to the next. */
  columns(): Array<string> {
    return this.statement.columns().map(({ name }) => name)
  }

  run(params: ReadonlyArray<SQLInputValue>, bigInts: boolean): Changes {
    this.read(bigInts, this.arrays)
    const { changes, lastInsertRowid } = this.statement.run(...params)
    return { changes, lastInsertRowid }
  }

  private all(params: ReadonlyArray<SQLInputValue>): Array<Record<string, unknown>> {
    return allKnowsColumns() ? this.statement.all(...params) : collect(this.statement.iterate(...params))
  }

  private read(bigInts: boolean, arrays: boolean): void {
    if (this.bigInts !== bigInts) this.statement.setReadBigInts((this.bigInts = bigInts))
    if (this.arrays !== arrays) this.statement.setReturnArrays((this.arrays = arrays))
  }
}

/**
 * Whether `all` gives the columns that a table has when the statement runs. In older versions of Node it gives those that it
 * had when the statement was prepared, or fails; `iterate` does not.
 */
const allKnowsColumns = (): boolean => (isKnown ??= tryOut())

let isKnown: boolean | undefined

const tryOut = (): boolean => {
  const database = new DatabaseSync(inMemory)
  try {
    database.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    const statement = database.prepare("SELECT * FROM t")
    database.exec("ALTER TABLE t ADD COLUMN b DEFAULT 2")
    return Object.keys(statement.all()[0]!).length === 2
  } finally {
    database.close()
  }
}

const collect = <A>(rows: Iterator<A>): Array<A> => {
  const found: Array<A> = []
  try {
    for (let next = rows.next(); next.done !== true; next = rows.next()) found.push(next.value)
    return found
  } catch (cause) {
    // Or else the failure would show up again with the next use of the statement.
    rows.return?.()
    throw cause
  }
}

/** What a statement without rows gives. */
export interface Changes {
  readonly changes: number | bigint
  readonly lastInsertRowid: number | bigint
}

const few = 4

const excerpt = (sql: string): string => {
  const text = sql.trim()
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)
}

/** The statements of a connection that are kept: those that were run last. */
export class Statements {
  private readonly database: DatabaseSync
  private readonly most: number
  private readonly kept = new Map<string, Prepared>()

  constructor(database: DatabaseSync, most: number) {
    this.database = database
    this.most = most
  }

  /** A statement to be run to its end at once. */
  get(sql: string): Prepared {
    const prepared = this.take(sql)
    this.giveBack(sql, prepared)
    return prepared
  }

  /** A statement for the caller alone, until it is given back. */
  take(sql: string): Prepared {
    const known = this.kept.get(sql)
    if (known === undefined) return new Prepared(this.database, sql)
    this.kept.delete(sql)
    return known
  }

  giveBack(sql: string, prepared: Prepared): void {
    if (this.most === 0 || prepared.kind === "pragma" || this.kept.has(sql)) return
    if (this.kept.size >= this.most) this.kept.delete(this.kept.keys().next().value!)
    this.kept.set(sql, prepared)
  }

  /** Forgets all; closing the connection has finalised them. */
  clear(): void {
    this.kept.clear()
  }
}

// -----------------------------------------------------------------------------
// Parameters
// -----------------------------------------------------------------------------

/** The parameters as SQLite takes them. */
export const bindable = (params: ReadonlyArray<unknown>): ReadonlyArray<SQLInputValue> => {
  for (let i = 0; i < params.length; i++) {
    if (!isBindable(params[i])) return params.map(toBindable)
  }
  return params as ReadonlyArray<SQLInputValue>
}

const isBindable = (value: unknown): boolean =>
  typeof value === "string" ||
  typeof value === "number" ||
  value === null ||
  (value instanceof Uint8Array && value.byteLength > 0)

const toBindable = (value: unknown, index: number): SQLInputValue => {
  switch (typeof value) {
    case "string":
    case "number":
      return value
    case "boolean":
      return value ? 1 : 0
    case "bigint":
      return BigInt.asIntN(64, value) === value
        ? value
        : unfit(index, `${value}n`, "SQLite's integers have 64 bits. Pass it as text")
    case "undefined":
      return unfit(index, "undefined", "Pass null for NULL")
    case "object":
      return objectToBindable(value, index)
    default:
      return unfit(index, `a ${typeof value}`, allowed)
  }
}

const objectToBindable = (value: object | null, index: number): SQLInputValue => {
  if (value === null) return null
  if (ArrayBuffer.isView(value)) return bytes(value as NodeJS.ArrayBufferView)
  if (value instanceof ArrayBuffer) return bytes(new Uint8Array(value))
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? unfit(index, "an invalid Date", allowed) : value.toISOString()
  }
  const found = Array.isArray(value) ? "an array" : `an object (${value.constructor?.name ?? "no class"})`
  return unfit(index, found, `${allowed}. Pass JSON.stringify of it, or one parameter for each part`)
}

/** Node 22 takes no bytes for NULL, where they come from a message or from SQLite itself. */
const bytes = (view: NodeJS.ArrayBufferView): NodeJS.ArrayBufferView =>
  view.byteLength === 0 ? new Uint8Array() : view

const allowed =
  "SQLite takes strings, numbers, bigints, booleans (as 0 and 1), Dates (as text), Uint8Arrays and null"

const unfit = (index: number, found: string, advice: string): never => {
  throw new Rejected("parameter", `parameter ${index + 1} is ${found}. ${advice}`)
}

// -----------------------------------------------------------------------------
// Rows
// -----------------------------------------------------------------------------

export const toObjects = (
  rows: ReadonlyArray<ReadonlyArray<unknown>>,
  columns: ReadonlyArray<string>
): Array<object> => rows.map(columns.includes("__proto__") ? carefully(columns) : plainly(columns))

const plainly = (columns: ReadonlyArray<string>) => (row: ReadonlyArray<unknown>) => {
  const object: Record<string, unknown> = {}
  for (let i = 0; i < columns.length; i++) object[columns[i]!] = row[i]
  return object
}

/** A column called `__proto__` is to be a property like any other. */
const carefully = (columns: ReadonlyArray<string>) => (row: ReadonlyArray<unknown>) =>
  Object.fromEntries(columns.map((column, i) => [column, row[i]]))
