import * as Duration from "effect/Duration"
import { format } from "effect/Formatter"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
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

/** What a connector has besides. Gives its `idleTimeout` in milliseconds. */
export const checkConnector = (kind: unknown, idleTimeout: Duration.Input): number => {
  if (kind !== "tpooled" && kind !== "raw") reject("DatabaseConnector", "kind", kind, '"tpooled" or "raw"')
  const millis = Option.match(Duration.fromInput(idleTimeout), {
    onNone: () => -1,
    onSome: Duration.toMillis
  })
  const isOne = !Number.isNaN(idleTimeout) && millis >= 0
  return isOne ? millis : reject("DatabaseConnector", "idleTimeout", idleTimeout, "a duration, zero or more")
}

const reject = (whose: string, option: string, value: unknown, allowed: string): never => {
  throw new TypeError(`${whose}: ${option} is ${format(value)}; it has to be ${allowed}`)
}

const cleanups: ReadonlySet<unknown> = new Set(["rollback", "reset", "none"])

/** Options that pools have too, under another name: what is wrong with them is told by the name that they have here. */
export const check = (pool: string, options: Options): void => {
  const whose = `pool ${JSON.stringify(pool)}`
  for (const option of ["connectTimeout", "cleanupTimeout"] as const) {
    const value = options[option]
    if (value === undefined) continue
    const duration = Duration.fromInput(value)
    if (Option.isNone(duration) || !(Duration.toMillis(duration.value) > 0)) {
      reject(whose, option, value, "a duration above zero")
    }
  }
  const { cleanup, connectConcurrency, connectRetry } = options
  if (cleanup !== undefined && typeof cleanup !== "function" && !cleanups.has(cleanup)) {
    reject(whose, "cleanup", cleanup, '"rollback", "reset", "none", or a function that gives an Effect')
  }
  if (connectRetry !== undefined && !Schedule.isSchedule(connectRetry)) {
    reject(whose, "connectRetry", connectRetry, "a Schedule")
  }
  if (connectConcurrency === undefined || connectConcurrency === Infinity) return
  if (!Number.isInteger(connectConcurrency) || connectConcurrency < 1) {
    reject(whose, "connectConcurrency", connectConcurrency, "a whole number of at least 1")
  }
}

/** How many statements may share a connection; 1 where they may not. */
export const sharedBy = ({ multiplex }: Options): number => {
  const statements = typeof multiplex === "object" ? multiplex.statements : multiplex ? defaultStatements : 1
  if (!Number.isInteger(statements) || statements < 1) {
    throw new TypeError(
      `multiplex.statements is ${format(statements)}: it has to be a whole number of at least 1, the statements that may share a connection`
    )
  }
  return statements
}
