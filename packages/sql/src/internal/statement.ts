/**
 * What a statement may do to a session that the next borrower would notice, as far as its text tells:
 *
 * - `"none"`: it opens no transaction
 * - `"opens"`: it may open one
 * - `"ends"`: it leaves none open, when it succeeds
 * - `"sets"`: from then on, any statement may open one, as after `SET autocommit = 0`
 *
 * A server tells whether a transaction is open, but not each driver does. So what is not known for certain to open none
 * costs a `ROLLBACK` at the return, and the statements that programs mostly run cost nothing.
 */
export type StatementEffect = "none" | "opens" | "ends" | "sets"

/** What is known of a text. */
export interface Reading {
  readonly effect: StatementEffect
  /** Whether it has nothing left to do where its session has died, and everything was rolled back. */
  readonly isUndoing: boolean
}

const known = new Map<string, Reading>()
const mostKnown = 1_000

export const readingOf = (sql: string): Reading => {
  let reading = known.get(sql)
  if (reading === undefined) {
    reading = { effect: read(sql), isUndoing: undoing.test(sql) }
    // Programs run few different texts; those that make theirs up may start afresh now and then.
    if (known.size >= mostKnown) known.clear()
    if (sql.length <= longest) known.set(sql, reading)
  }
  return reading
}

export const effectOf = (sql: string): StatementEffect => readingOf(sql).effect

/** Texts beyond this are not kept. */
const longest = 10_000

/** White space, comments and opening brackets before the first word. */
const lead = String.raw`^(?:\s|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|\/\*(?:[^*]|\*(?!\/))*\*\/|\()*`

const plain = startingWith(
  "select|insert|update|delete|with|values|table|replace|merge|truncate|show|explain|describe|listen|unlisten|notify|set"
)
const ending = new RegExp(`${lead}(?:commit|rollback|end|abort)(?:\\s+(?:work|transaction))?\\s*;?\\s*$`, "i")
/** What was prepared in two phases outlives its session. */
const undoing = startingWith("rollback(?!\\s+prepared)|abort|release")
/** Any of these can run anything, or say that statements open a transaction from now on. */
const setting = new RegExp(
  `${lead}(?:call|execute|prepare|do|set\\s+statement|set\\b[^]*\\b(?:autocommit|completion_type))\\b`,
  "i"
)
/** Of several statements in one text, the later ones are not read; and MySQL runs what is in some comments. */
const several = /;\s*\S|\/\*M?!/
/** What servers do not agree on: comments in comments, and whether a carriage return ends one. */
const unclear = /\/\*(?:(?!\*\/)[^])*\/\*|(?:--|#)[^\n]*\r(?!\n)/

const read = (sql: string): StatementEffect => {
  if (several.test(sql) || setting.test(sql)) return "sets"
  if (unclear.test(sql)) return "opens"
  if (ending.test(sql)) return "ends"
  return plain.test(sql) ? "none" : "opens"
}

function startingWith(words: string): RegExp {
  return new RegExp(`${lead}(?:${words})\\b`, "i")
}
