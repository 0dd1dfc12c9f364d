import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Options } from "../Pool.ts"

/** Options with defaults filled in; times are in milliseconds, and `Infinity` stands for "never". */
export interface Settings<A, E> {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly order: "fifo" | "lifo"
  readonly concurrency: number
  readonly targetUtilization: number
  readonly acquireTimeout: number
  readonly maxWaiting: number
  readonly createTimeout: number
  readonly createConcurrency: number
  readonly createRetry: Schedule.Schedule<unknown, any, never, any> | undefined
  readonly validate: ((item: A) => Effect.Effect<boolean, unknown, any>) | undefined
  readonly validateAfterIdle: number
  readonly validateTimeout: number
  readonly validateAttempts: number
  readonly reset: ((item: A) => Effect.Effect<void, unknown, any>) | undefined
  readonly resetTimeout: number
  readonly maxAge: number
  readonly maxAgeJitter: number
  readonly maxIdle: number
  readonly maxUses: number
  readonly keepAlive: number
  readonly leakAfter: number
  readonly closeTimeout: number
  readonly destroyTimeout: number
  readonly acquire: Effect.Effect<A, E, any>
}

/** What a wrong option dies with: the value, what is allowed, and what to do. */
export class InvalidOptions extends Error {
  override readonly name = "InvalidOptions"
}

const reject = (pool: string, option: string, value: unknown, allowed: string): never => {
  const where = pool === "" ? "pool" : `pool ${JSON.stringify(pool)}`
  throw new InvalidOptions(`${where}: ${option} is ${String(value)}, but it must be ${allowed}`)
}

/** Says no to impossible sizes. Used at construction and by `Pool.resize`. */
export const checkSizes = (pool: string, min: number, max: number): void => {
  checkCount(pool, "min", min, 0)
  checkCount(pool, "max", max, 0)
  if (min > max) reject(pool, "min", min, `at most max, which is ${max}: lower min or raise max`)
}

const checkCount = (pool: string, option: string, value: number, least: number): void => {
  if (!Number.isSafeInteger(value) || value < least) {
    reject(pool, option, value, `a whole number, ${least} or more`)
  }
}

/** Throws {@link InvalidOptions}; the caller turns it into a defect. */
export const resolve = <A, E, R>(options: Options<A, E, R>): Settings<A, E> => {
  const name = options.name ?? ""

  type Name = Extract<keyof Options<A, E, R>, string>
  const count = (option: Name, value: number | undefined, least: number, otherwise: number): number => {
    if (value === undefined) return otherwise
    if (value === Infinity && otherwise === Infinity) return value
    checkCount(name, option, value, least)
    return value
  }
  const millis = (
    option: Name,
    value: Duration.Input | undefined,
    otherwise: number,
    zero: "zero allowed" | "above zero"
  ): number => {
    if (value === undefined) return otherwise
    const allowed = zero === "above zero" ? "a duration above zero" : "a duration, zero or more"
    const decoded = typeof value === "number" && Number.isNaN(value) ? undefined : decodeDuration(value)
    if (decoded === undefined) return reject(name, option, describe(value), allowed)
    const time = Duration.toMillis(decoded)
    if (time < 0 || (time === 0 && zero === "above zero"))
      return reject(name, option, describe(value), allowed)
    return time
  }
  const fraction = (option: Name, value: number | undefined, least: number, otherwise: number): number => {
    if (value === undefined) return otherwise
    if (!(value >= least && value <= 1)) reject(name, option, value, `a number from ${least} to 1`)
    return value
  }

  if (options.size !== undefined && (options.min !== undefined || options.max !== undefined)) {
    reject(name, "size", options.size, "given alone: it stands for both min and max")
  }
  if (options.size !== undefined) checkCount(name, "size", options.size, 0)
  const min = options.size ?? options.min ?? 0
  // A lone `min` above the default `max` asks for at least that many.
  const max = options.size ?? options.max ?? Math.max(4, min)
  checkSizes(name, min, max)

  if (options.order !== undefined && options.order !== "fifo" && options.order !== "lifo") {
    reject(name, "order", options.order, '"fifo" or "lifo"')
  }
  if (options.keepAlive !== undefined && options.validate === undefined) {
    reject(name, "keepAlive", "set without validate", "given together with validate, which it calls")
  }

  return {
    name,
    acquire: options.acquire,
    min,
    max,
    order: options.order ?? "fifo",
    concurrency: count("concurrency", options.concurrency, 1, 1),
    targetUtilization: fraction("targetUtilization", options.targetUtilization, 0.1, 1),
    acquireTimeout: millis("acquireTimeout", options.acquireTimeout, Infinity, "above zero"),
    maxWaiting: count("maxWaiting", options.maxWaiting, 0, Infinity),
    createTimeout: millis("createTimeout", options.createTimeout, Infinity, "above zero"),
    createConcurrency: count("createConcurrency", options.createConcurrency, 1, Infinity),
    createRetry: options.createRetry as Settings<A, E>["createRetry"],
    validate: options.validate,
    validateAfterIdle: millis("validateAfterIdle", options.validateAfterIdle, 500, "zero allowed"),
    validateTimeout: millis("validateTimeout", options.validateTimeout, 5_000, "above zero"),
    validateAttempts: count("validateAttempts", options.validateAttempts, 1, 3),
    reset: options.reset,
    resetTimeout: millis("resetTimeout", options.resetTimeout, 30_000, "above zero"),
    maxAge: millis("maxAge", options.maxAge, Infinity, "zero allowed"),
    maxAgeJitter: fraction("maxAgeJitter", options.maxAgeJitter, 0, 0.025),
    maxIdle: millis("maxIdle", options.maxIdle, Infinity, "zero allowed"),
    maxUses: count("maxUses", options.maxUses, 1, Infinity),
    keepAlive: millis("keepAlive", options.keepAlive?.every, Infinity, "above zero"),
    leakAfter: millis("leakAfter", options.leakAfter, Infinity, "above zero"),
    closeTimeout: millis("closeTimeout", options.closeTimeout, 30_000, "zero allowed"),
    destroyTimeout: millis("destroyTimeout", options.destroyTimeout, 30_000, "above zero")
  }
}

const decodeDuration = (value: Duration.Input): Duration.Duration | undefined => {
  const decoded = Duration.fromInput(value)
  return decoded._tag === "Some" ? decoded.value : undefined
}

const describe = (value: Duration.Input): string =>
  typeof value === "string" ? JSON.stringify(value) : String(value)
