import * as Duration from "effect/Duration"
import { format } from "effect/Formatter"
import type * as Schedule from "effect/Schedule"
import type { Options } from "../ThreadPool.ts"
import type { Config } from "./protocol.ts"
import type { Thread } from "./thread.ts"

/** Options with defaults filled in; times are in milliseconds, and `Infinity` stands for "never". */
export interface Settings {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly concurrency: number
  readonly idleTimeout: number
  readonly maxQueue: number
  readonly taskTimeout: number
  readonly killGrace: number
  readonly recycleTasks: number
  readonly recycleHeap: number
  readonly preload: ReadonlyArray<string>
  readonly references: Exclude<Options["references"], undefined>
  readonly spawnTimeout: number
  readonly spawnRetry: Schedule.Schedule<unknown> | undefined
  readonly closeTimeout: number
  readonly logFailures: boolean
}

/** What a wrong option dies with. The message names the option, its value and what is allowed. */
class InvalidOptions extends Error {
  override readonly name = "InvalidOptions"
}

export const reject = (pool: string, option: string, value: unknown, allowed: string): never => {
  throw new InvalidOptions(
    `thread pool ${JSON.stringify(pool)}: ${option} is ${format(value)}, but it must be ${allowed}`
  )
}

/** A whole number from `least` up. `Infinity` is taken where it is the default. */
const count = (
  pool: string,
  option: string,
  value: number | undefined,
  least: number,
  otherwise: number
): number => {
  if (value === undefined || (value === Infinity && otherwise === Infinity)) return otherwise
  return Number.isSafeInteger(value) && value >= least
    ? value
    : reject(pool, option, value, `a whole number, ${least} or more`)
}

/** A duration in milliseconds, above `least` or equal to it where that is allowed. */
const millis = (
  pool: string,
  option: string,
  value: Duration.Input | undefined,
  otherwise: number,
  zero: "zero allowed" | "above zero"
): number => {
  if (value === undefined) return otherwise
  const duration = typeof value === "number" && Number.isNaN(value) ? undefined : Duration.fromInput(value)
  const time = duration?._tag === "Some" ? Duration.toMillis(duration.value) : -1
  return time > 0 || (time === 0 && zero === "zero allowed")
    ? time
    : reject(
        pool,
        option,
        value,
        zero === "above zero" ? "a duration above zero" : "a duration, zero or more"
      )
}

const sizes = (pool: string, min: number, max: number): void => {
  if (min > max) reject(pool, "min", min, `at most max, which is ${max}: lower min or raise max`)
}

/** Limits that a pool is to have from now on, those that are not given as they are; never more than `max` of them by default. */
export const limits = (
  pool: string,
  given: { readonly min?: number | undefined; readonly max?: number | undefined },
  now: { readonly min: number; readonly max: number }
): { readonly min: number; readonly max: number } => {
  const max = count(pool, "max", given.max, 0, now.max)
  const min = count(pool, "min", given.min, 0, Math.min(now.min, max))
  sizes(pool, min, max)
  return { min, max }
}

/** The address of a module. What is relative would be looked for beside a file of this package. */
export const addressOf = (url: URL | string): string => {
  const text = String(url)
  if (/^[a-z][a-z\d+.-]+:/i.test(text)) return text
  if (text.startsWith("/")) return new URL(`file://${encodeURI(text)}`).href
  if (/^[a-z]:[\\/]/i.test(text)) return new URL(`file:///${encodeURI(text.replaceAll("\\", "/"))}`).href
  const given = JSON.stringify(text)
  throw new TypeError(
    `${given} is relative, and nothing says to what: write new URL(${given}, import.meta.url), or import.meta.resolve(${given})`
  )
}

/** Throws {@link InvalidOptions}, which becomes the defect that the layer dies with. */
export const resolve = (options: Options, defaultSize: number): Settings => {
  const { name = "threads" } = options
  if (typeof name !== "string") reject("threads", "name", name, "a string")
  const { max, min } = sizesOf(name, options, defaultSize)
  return {
    name,
    min,
    max,
    concurrency: count(name, "concurrency", options.concurrency, 1, 1),
    idleTimeout: millis(name, "idleTimeout", options.idleTimeout, 60_000, "zero allowed"),
    maxQueue: count(name, "maxQueue", options.maxQueue, 0, Infinity),
    taskTimeout: millis(name, "taskTimeout", options.taskTimeout, Infinity, "above zero"),
    killGrace: millis(name, "killGrace", options.killGrace, 5_000, "zero allowed"),
    recycleTasks: count(name, "recycle.tasks", options.recycle?.tasks, 1, Infinity),
    recycleHeap: count(name, "recycle.heap", options.recycle?.heap, 1, Infinity),
    preload: (options.preload ?? []).map(addressOf),
    references: options.references ?? [],
    spawnTimeout: millis(name, "spawnTimeout", options.spawnTimeout, 30_000, "above zero"),
    spawnRetry: options.spawnRetry,
    closeTimeout: millis(name, "closeTimeout", options.closeTimeout, 30_000, "zero allowed"),
    logFailures: options.logFailures ?? false
  }
}

/** What a thread is told of them, and of itself. */
export const configOf = (settings: Settings, thread: Thread): Config => {
  const { preload, recycleHeap, references, taskTimeout } = settings
  return {
    thread: thread.id,
    memory: thread.memory?.buffer as SharedArrayBuffer | undefined,
    concurrency: thread.concurrency,
    epoch: thread.epoch,
    preload,
    references: references.map(({ key }) => key),
    taskTimeout: taskTimeout === Infinity ? undefined : taskTimeout,
    tellHeap: recycleHeap !== Infinity
  }
}

/** Settings as a person reads them. What is switched off is not there. */
export const shown = (settings: Settings): Record<string, string | number | boolean> => {
  const { concurrency, logFailures, max, maxQueue, min, preload, recycleHeap, recycleTasks } = settings
  const options: Record<string, string | number | boolean> = { min, max }
  if (concurrency > 1) options["concurrency"] = concurrency
  for (const option of ["idleTimeout", "taskTimeout", "killGrace", "spawnTimeout", "closeTimeout"] as const) {
    const millis = settings[option]
    if (millis !== Infinity) options[option] = Duration.format(Duration.millis(millis))
  }
  if (maxQueue !== Infinity) options["maxQueue"] = maxQueue
  if (recycleTasks !== Infinity) options["recycle.tasks"] = recycleTasks
  if (recycleHeap !== Infinity) options["recycle.heap"] = recycleHeap
  if (preload.length > 0) options["preload"] = preload.join(", ")
  if (logFailures) options["logFailures"] = true
  return options
}

const sizesOf = (
  name: string,
  options: Options,
  defaultSize: number
): { readonly min: number; readonly max: number } => {
  if (options.size !== undefined) {
    if (options.min !== undefined || options.max !== undefined) {
      reject(name, "size", options.size, "given alone: it stands for both min and max")
    }
    const size = count(name, "size", options.size, 0, 0)
    return { min: size, max: size }
  }
  const max = count(name, "max", options.max, 0, Math.max(defaultSize, options.min ?? 0))
  const min = count(name, "min", options.min, 0, Math.min(1, max))
  sizes(name, min, max)
  return { min, max }
}
