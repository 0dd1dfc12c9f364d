import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as RawConnectionPool from "../RawConnectionPool.ts"

/** Of both kinds of pool; what connections in threads cannot have is looked for where they are made. */
export type Options = RawConnectionPool.Options

/** Statements that share a connection where nothing else is said: what `@effect/sql-pg` takes. */
const defaultStatements = 32

export const defaults = {
  max: 4,
  maxIdle: Duration.seconds(10),
  maxAge: Duration.seconds(30),
  connectTimeout: Duration.seconds(5),
  cleanupTimeout: Duration.seconds(30)
} as const

/** Options that pools have too, under another name: what is wrong with them is told by the name that they have here. */
export const check = (pool: string, options: Options): void => {
  const reject = (option: string, value: unknown, allowed: string): never => {
    throw new TypeError(
      `pool ${JSON.stringify(pool)}: ${option} is ${String(value)}; it has to be ${allowed}`
    )
  }
  for (const option of ["connectTimeout", "cleanupTimeout"] as const) {
    const value = options[option]
    if (value === undefined) continue
    const duration = Duration.fromInput(value)
    if (Option.isNone(duration) || !(Duration.toMillis(duration.value) > 0)) {
      reject(option, typeof value === "object" ? JSON.stringify(value) : value, "a duration above zero")
    }
  }
  const { connectConcurrency } = options
  if (connectConcurrency === undefined || connectConcurrency === Infinity) return
  if (!Number.isInteger(connectConcurrency) || connectConcurrency < 1) {
    reject("connectConcurrency", connectConcurrency, "a whole number of at least 1")
  }
}

/** How many statements may share a connection; 1 where they may not. */
export const sharedBy = ({ multiplex }: Options): number => {
  const statements = typeof multiplex === "object" ? multiplex.statements : multiplex ? defaultStatements : 1
  if (!Number.isInteger(statements) || statements < 1) {
    throw new TypeError(
      `multiplex.statements is ${statements}: it has to be a whole number of at least 1, the statements that may share a connection`
    )
  }
  return statements
}
