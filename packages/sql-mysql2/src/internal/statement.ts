// Statements, as mysql2 takes them.
import type * as Mysql from "mysql2"
import type { Command, Reply } from "./link.ts"
import { encode } from "./values.ts"

/** A statement with its parameters as mysql2 takes them. */
export interface Statement {
  readonly sql: string
  readonly values: Array<unknown>
  readonly isPrepared: boolean
  readonly rowsAsArray: boolean
}

/** Throws a TypeError where a parameter cannot go. */
export const make = (
  sql: string,
  params: ReadonlyArray<unknown>,
  isPrepared: boolean,
  rowsAsArray = false
): Statement => ({ sql, values: encode(params, isPrepared), isPrepared, rowsAsArray })

/** What mysql2 is given. It keeps it, and writes into it. */
export const optionsOf = ({ rowsAsArray, sql, values }: Statement) => ({ sql, values, rowsAsArray })

/** How many parameters the statements of a session have. */
export class Placeholders {
  private readonly counts = new Map<string, number>()

  /**
   * Has a statement prepared, if it is to be, before it is run: mysql2 would send as many parameters as it is given, and a server
   * reads what is too much as something else.
   */
  prepare(
    connection: Mysql.Connection,
    statement: Statement,
    command: Command,
    reply: Reply,
    run: () => void
  ): void {
    const { sql, values } = statement
    if (!statement.isPrepared || this.counts.get(sql) === values.length) return run()
    connection.prepare(optionsOf(statement) as never, (error, prepared) => {
      if (error !== null) return reply(error)
      const { parameters } = prepared as unknown as { readonly parameters: ReadonlyArray<unknown> }
      if (parameters.length !== values.length) return reply(mismatch(parameters.length, values.length))
      this.remember(sql, parameters.length)
      // Whoever wanted it may have gone meanwhile.
      if (command.isAbandoned) return reply(new Error("the statement was interrupted before it was run"))
      run()
    })
  }

  private remember(sql: string, count: number): void {
    if (sql.length > longestText) return
    if (this.counts.size >= mostTexts) this.counts.clear()
    this.counts.set(sql, count)
  }
}

/** Texts beyond this are not remembered, and no more of them than that. */
const longestText = 10_000
const mostTexts = 1_000

const mismatch = (expected: number, given: number): TypeError =>
  new TypeError(`the statement has ${expected} placeholders, and ${given} parameters were given`)

/** For a statement that is not prepared, mysql2 gives the text with all the values in it. */
export const withoutValues = (error: unknown, sql: string): unknown => {
  if (typeof error === "object" && error !== null && "sql" in error) error.sql = sql
  return error
}
