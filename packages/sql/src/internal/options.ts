import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { Cleanup } from "../SqlConnection.ts"
import type { ConnectTimeout } from "../SqlPoolError.ts"

/** Options of both kinds of connection pool; documented in `ConnectionPool`. */
export interface Options {
  readonly name?: string | undefined
  readonly size?: number | undefined
  readonly min?: number | undefined
  readonly max?: number | undefined
  readonly order?: "fifo" | "lifo" | undefined
  readonly connectTimeout?: Duration.Input | undefined
  readonly connectConcurrency?: number | undefined
  readonly connectRetry?: Schedule.Schedule<unknown, SqlError | ConnectTimeout> | undefined
  readonly acquireTimeout?: Duration.Input | undefined
  readonly maxWaiting?: number | undefined
  readonly maxIdle?: Duration.Input | undefined
  readonly maxAge?: Duration.Input | undefined
  readonly maxAgeJitter?: number | undefined
  readonly maxUses?: number | undefined
  readonly validateAfterIdle?: Duration.Input | undefined
  readonly validateTimeout?: Duration.Input | undefined
  readonly keepAlive?: { readonly every: Duration.Input } | undefined
  readonly cleanup?: Cleanup | undefined
  readonly cleanupTimeout?: Duration.Input | undefined
  readonly multiplex?: boolean | { readonly statements: number } | undefined
  readonly leakAfter?: Duration.Input | undefined
  readonly closeTimeout?: Duration.Input | undefined
}

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
