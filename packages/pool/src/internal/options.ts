import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { format } from "effect/Formatter"
import { hasProperty, isFunction, isObjectKeyword, isString } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type { Options } from "../Pool.ts"

/** Options with defaults filled in; times are in milliseconds, and `Infinity` stands for "never". */
export interface Settings<A, E> {
  readonly name: string
  readonly acquire: Effect.Effect<A, E, any>
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
  readonly reset: ((item: A) => Effect.Effect<unknown, unknown, any>) | undefined
  readonly resetTimeout: number
  readonly maxAge: number
  readonly maxAgeJitter: number
  readonly maxIdle: number
  readonly maxUses: number
  readonly keepAlive: number
  readonly leakAfter: number
  readonly closeTimeout: number
  readonly destroyTimeout: number
}

/** What a wrong option dies with. The message names the option, its value and what is allowed. */
class InvalidOptions extends Error {
  override readonly name = "InvalidOptions"
}

/** The options of one pool, under the name that complaints about them give it. */
export class Reader {
  private readonly pool: string

  constructor(pool: string) {
    this.pool = pool
  }

  reject(option: string, value: unknown, allowed: string): never {
    const where = this.pool === "" ? "pool" : `pool ${JSON.stringify(this.pool)}`
    // Of an object only the kind is shown: a client may have been given where an Effect was wanted, with its password.
    const isShort = !isObjectKeyword(value) || Duration.isDuration(value)
    const given = isShort ? format(value) : Object.prototype.toString.call(value)
    throw new InvalidOptions(`${where}: ${option} is ${given}, but it must be ${allowed}`)
  }

  /** What types would have refused, where nobody looked at them. */
  expect(option: string, value: unknown, isRight: (value: unknown) => boolean, allowed: string): void {
    if (!isRight(value)) this.reject(option, value, allowed)
  }

  /** A whole number. `Infinity` is taken where it is the default. */
  count(option: string, value: number | undefined, least: number, otherwise: number): number {
    if (value === undefined || (value === Infinity && otherwise === Infinity)) return otherwise
    if (!Number.isSafeInteger(value) || value < least) {
      this.reject(option, value, `a whole number, ${least} or more`)
    }
    return value
  }

  fraction(option: string, value: number | undefined, least: number, otherwise: number): number {
    if (value === undefined) return otherwise
    if (!(value >= least && value <= 1)) this.reject(option, value, `a number from ${least} to 1`)
    return value
  }

  /** A duration in milliseconds. */
  millis(
    option: string,
    value: Duration.Input | undefined,
    otherwise: number,
    zero: "zero allowed" | "above zero"
  ): number {
    if (value === undefined) return otherwise
    const time = toMillis(value)
    if (time === undefined || time < 0 || (time === 0 && zero === "above zero")) {
      this.reject(option, value, zero === "above zero" ? "a duration above zero" : "a duration, zero or more")
    }
    return time
  }

  sizes(min: number, max: number): void {
    this.count("max", max, 0, 0)
    this.count("min", min, 0, 0)
    if (min > max) this.reject("min", min, `at most max, which is ${max}: lower min or raise max`)
  }
}

/** Throws {@link InvalidOptions}, which becomes the defect that the pool's construction dies with. */
export const resolve = <A, E>(options: Options<A, E, any>): Settings<A, E> => {
  const { name = "" } = options
  const read = new Reader(isString(name) ? name : "")
  read.expect("name", name, isString, "a string")
  read.expect("acquire", options.acquire, Effect.isEffect, "an Effect that makes one resource")
  const { max, min } = sizes(read, options)
  if (options.order !== undefined && options.order !== "fifo" && options.order !== "lifo") {
    read.reject("order", options.order, '"fifo" or "lifo"')
  }
  const { createRetry, keepAlive, reset, validate } = options
  if (validate !== undefined) read.expect("validate", validate, isFunction, "a function that gives an Effect")
  if (reset !== undefined) read.expect("reset", reset, isFunction, "a function that gives an Effect")
  if (createRetry !== undefined) read.expect("createRetry", createRetry, Schedule.isSchedule, "a Schedule")
  if (keepAlive !== undefined) {
    read.expect("keepAlive", keepAlive, hasEvery, 'an object with a duration: { every: "30 seconds" }')
    if (validate === undefined) {
      read.reject("validate", undefined, "given when keepAlive is: it is what keepAlive calls")
    }
  }
  return {
    name,
    acquire: options.acquire,
    min,
    max,
    order: options.order ?? "fifo",
    concurrency: read.count("concurrency", options.concurrency, 1, 1),
    targetUtilization: read.fraction("targetUtilization", options.targetUtilization, 0.1, 1),
    acquireTimeout: read.millis("acquireTimeout", options.acquireTimeout, Infinity, "above zero"),
    maxWaiting: read.count("maxWaiting", options.maxWaiting, 0, Infinity),
    createTimeout: read.millis("createTimeout", options.createTimeout, Infinity, "above zero"),
    createConcurrency: read.count("createConcurrency", options.createConcurrency, 1, Infinity),
    createRetry: createRetry as Settings<A, E>["createRetry"],
    validate,
    validateAfterIdle: read.millis("validateAfterIdle", options.validateAfterIdle, 500, "zero allowed"),
    validateTimeout: read.millis("validateTimeout", options.validateTimeout, 5_000, "above zero"),
    validateAttempts: read.count("validateAttempts", options.validateAttempts, 1, 3),
    reset,
    resetTimeout: read.millis("resetTimeout", options.resetTimeout, 30_000, "above zero"),
    maxAge: read.millis("maxAge", options.maxAge, Infinity, "zero allowed"),
    maxAgeJitter: read.fraction("maxAgeJitter", options.maxAgeJitter, 0, 0.025),
    maxIdle: read.millis("maxIdle", options.maxIdle, Infinity, "zero allowed"),
    maxUses: read.count("maxUses", options.maxUses, 1, Infinity),
    keepAlive: read.millis("keepAlive.every", keepAlive?.every, Infinity, "above zero"),
    leakAfter: read.millis("leakAfter", options.leakAfter, Infinity, "above zero"),
    closeTimeout: read.millis("closeTimeout", options.closeTimeout, 30_000, "zero allowed"),
    destroyTimeout: read.millis("destroyTimeout", options.destroyTimeout, 30_000, "above zero")
  }
}

const sizes = (
  read: Reader,
  options: Options<any, any, any>
): { readonly min: number; readonly max: number } => {
  if (options.size !== undefined) {
    if (options.min !== undefined || options.max !== undefined) {
      read.reject("size", options.size, "given alone: it stands for both min and max")
    }
    const size = read.count("size", options.size, 0, 0)
    return { min: size, max: size }
  }
  const min = read.count("min", options.min, 0, 0)
  // A lone `min` above the default `max` asks for at least that many.
  const { max = Math.max(4, min) } = options
  read.sizes(min, max)
  return { min, max }
}

/** Settings as a person reads them. What is switched off is not there, and neither is what does nothing in this pool. */
export const shown = (settings: Settings<any, any>): Record<string, string | number | boolean> => {
  const { acquire: _acquire, name: _name, ...rest } = settings
  const options: Record<string, string | number | boolean> = {}
  for (const [option, value] of Object.entries(rest)) {
    if (value === undefined || value === Infinity || matters[option as Option]?.(settings) === false) continue
    if (typeof value !== "number") options[option] = typeof value === "string" ? value : true
    else options[option] = times.has(option) ? Duration.format(Duration.millis(value)) : value
  }
  return options
}

type Option = keyof Settings<any, any>

const validates = ({ validate }: Settings<any, any>): boolean => validate !== undefined

/** When options make a difference that may make none, though they have a value. All others always do. */
const matters: { readonly [_ in Option]?: (settings: Settings<any, any>) => boolean } = {
  order: ({ order }) => order !== "fifo",
  concurrency: ({ concurrency }) => concurrency > 1,
  targetUtilization: ({ targetUtilization }) => targetUtilization < 1,
  validateAfterIdle: validates,
  validateTimeout: validates,
  validateAttempts: validates,
  resetTimeout: ({ reset }) => reset !== undefined,
  maxAgeJitter: ({ maxAge, maxAgeJitter }) => maxAge > 0 && maxAge < Infinity && maxAgeJitter > 0
}

/** Which numbers are milliseconds. */
const times: ReadonlySet<string> = new Set([
  "acquireTimeout",
  "closeTimeout",
  "createTimeout",
  "destroyTimeout",
  "keepAlive",
  "leakAfter",
  "maxAge",
  "maxIdle",
  "resetTimeout",
  "validateAfterIdle",
  "validateTimeout"
] satisfies ReadonlyArray<Option>)

const hasEvery = (value: unknown): boolean => hasProperty(value, "every") && value.every !== undefined

const toMillis = (value: Duration.Input): number | undefined => {
  const duration = typeof value === "number" && Number.isNaN(value) ? undefined : Duration.fromInput(value)
  return duration?._tag === "Some" ? Duration.toMillis(duration.value) : undefined
}
