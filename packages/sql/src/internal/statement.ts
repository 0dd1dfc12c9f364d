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

const known = new Map<string, StatementEffect>()
const mostKnown = 1_000

export const effectOf = (sql: string): StatementEffect => {
  let effect = known.get(sql)
  if (effect === undefined) {
    effect = read(sql)
    // Programs run few different texts; those that make theirs up may start afresh now and then.
    if (known.size >= mostKnown) known.clear()
    if (sql.length <= longest) known.set(sql, effect)
  }
  return effect
}

/** Texts beyond this are not kept. */
const longest = 10_000

/** White space, comments and opening brackets before the first word. */
const lead = String.raw`^(?:\s|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|\/\*[^]*?\*\/|\()*`

const plain = new RegExp(
  `${lead}(?:select|insert|update|delete|with|values|table|replace|merge|truncate|show|explain|describe|listen|unlisten|notify|set)\\b`,
  "i"
)
const ending = new RegExp(`${lead}(?:commit|rollback|end|abort)(?:\\s+(?:work|transaction))?\\s*;?\\s*$`, "i")
const setting = new RegExp(`${lead}set\\b[^]*\\b(?:autocommit|completion_type)\\b`, "i")
/** Of several statements in one text, the later ones are not read. */
const several = /;\s*\S/

const rollback = new RegExp(`${lead}(?:rollback|abort)\\b`, "i")

/** Whether a statement has nothing left to do where its session has died. */
export const isRollback = (sql: string): boolean => rollback.test(sql)

const read = (sql: string): StatementEffect => {
  if (ending.test(sql)) return "ends"
  if (several.test(sql) || setting.test(sql)) return "sets"
  return plain.test(sql) ? "none" : "opens"
}
