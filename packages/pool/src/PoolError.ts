/**
 * What a borrow can fail with, beside the error of the pool's own `acquire`.
 *
 * Every error is flat, carries the figures that explain it, and has a message that says what to do.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { format } from "effect/Formatter"
import * as Schema from "effect/Schema"
import { type Stats, StatsSchema } from "./internal/stats.ts"

/**
 * Everything that a borrow can fail with, beside the error of `acquire`.
 *
 * @category models
 * @since 0.1.0
 */
export type PoolError =
  | AcquireTimeout
  | LineFull
  | PoolClosed
  | ValidationFailed
  | CreateTimeout
  | WouldDeadlock

/**
 * Where a borrower stood when its deadline passed: in the line behind other borrowers, waiting for a
 * resource to be created for it, or waiting for an idle resource to be checked.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "line" | "create" | "validate"

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`

const ordinal = (n: number): string => {
  const tens = n % 100
  const suffix = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th")
  return `${n}${suffix}`
}

const span = (millis: number): string => {
  const seconds = millis / 1000
  if (seconds < 1) return `${Math.round(millis)} ms`
  if (seconds < 120) return `${Math.round(seconds * 10) / 10} s`
  if (seconds < 7200) return `${Math.round(seconds / 6) / 10} min`
  return `${Math.round(seconds / 360) / 10} h`
}

const describe = (error: unknown): string => (error instanceof Error ? String(error) : format(error))

const quoted = (pool: string): string => (pool === "" ? "pool" : `pool ${JSON.stringify(pool)}`)

const occupancy = (stats: Stats): string => {
  const parts = [`${stats.used} of ${stats.max} in use`]
  if (stats.creating > 0) parts.push(`${stats.creating} being created`)
  if (stats.closing > 0) parts.push(`${stats.closing} closing`)
  if (stats.idle > 0) parts.push(`${stats.idle} idle`)
  return parts.join(", ")
}

/**
 * The borrower that has held longest, as an {@link AcquireTimeout} names it.
 *
 * @category models
 * @since 0.1.0
 */
export const Holder = Schema.Struct({
  /** Identifier of the fiber that borrowed. */
  fiber: Schema.Number,
  /** Name of the span in which it borrowed, when there was one. */
  span: Schema.optional(Schema.String),
  /** How long it has held, in milliseconds. */
  heldMillis: Schema.Number
})

/**
 * The one deadline of the borrow (`acquireTimeout`) passed: time in line, creation, validation and
 * retries together.
 *
 * **Details**
 *
 * `phase` says where the borrower stood, `position` and `waiting` its place in the line, `stats` the
 * pool at that moment, `longestHeld` who has held a resource for the longest time. `lastFailure` is the
 * most recent failure to create a resource, when creation was what kept the borrower waiting.
 *
 * @category errors
 * @since 0.1.0
 */
export class AcquireTimeout extends Schema.TaggedError<AcquireTimeout>()("AcquireTimeout", {
  pool: Schema.String,
  phase: Schema.Literals(["line", "create", "validate"]),
  timeout: Schema.Duration,
  position: Schema.Number,
  waiting: Schema.Number,
  stats: StatsSchema,
  longestHeld: Schema.optional(Holder),
  lastFailure: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    const place =
      this.phase === "line"
        ? `waiting in line, ${ordinal(this.position)} of ${this.waiting}`
        : this.phase === "create"
          ? "waiting for a resource to be created"
          : "waiting for an idle resource to be validated"
    const holder =
      this.longestHeld === undefined
        ? ""
        : `, longest held ${span(this.longestHeld.heldMillis)} by fiber #${this.longestHeld.fiber}` +
          (this.longestHeld.span === undefined ? "" : ` in span ${this.longestHeld.span}`)
    const failure =
      this.lastFailure === undefined
        ? ""
        : `; the last attempt to create failed: ${describe(this.lastFailure)}`
    return (
      `${quoted(this.pool)}: no resource within ${span(Duration.toMillis(this.timeout))} (${place}; ` +
      `${occupancy(this.stats)}${holder}${failure})`
    )
  }
}

/**
 * The line was as long as `maxWaiting` allows, so the borrower was turned away at once.
 *
 * @category errors
 * @since 0.1.0
 */
export class LineFull extends Schema.TaggedError<LineFull>()("LineFull", {
  pool: Schema.String,
  maxWaiting: Schema.Number,
  stats: StatsSchema
}) {
  override get message(): string {
    return (
      `${quoted(this.pool)}: the line is full (maxWaiting: ${this.maxWaiting}; ${occupancy(this.stats)}, ` +
      `${count(this.stats.pending, "borrower")} waiting). Shed load, or raise max or maxWaiting`
    )
  }
}

/**
 * The pool is closed, or was closed while the borrower waited.
 *
 * @category errors
 * @since 0.1.0
 */
export class PoolClosed extends Schema.TaggedError<PoolClosed>()("PoolClosed", {
  pool: Schema.String
}) {
  override get message(): string {
    return `${quoted(this.pool)} is closed: nothing can be borrowed from it any more`
  }
}

/**
 * As many idle resources as `validateAttempts` allows were offered to one borrower, and each failed its
 * validation.
 *
 * @category errors
 * @since 0.1.0
 */
export class ValidationFailed extends Schema.TaggedError<ValidationFailed>()("ValidationFailed", {
  pool: Schema.String,
  attempts: Schema.Number
}) {
  override get message(): string {
    return (
      `${quoted(this.pool)}: ${count(this.attempts, "resource")} failed validation one after the other ` +
      `(validateAttempts: ${this.attempts}). They were closed; is what they connect to up?`
    )
  }
}

/**
 * One attempt to create a resource took longer than `createTimeout`. What arrives later is closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class CreateTimeout extends Schema.TaggedError<CreateTimeout>()("CreateTimeout", {
  pool: Schema.String,
  timeout: Schema.Duration
}) {
  override get message(): string {
    return (
      `${quoted(this.pool)}: creating a resource took longer than ` +
      `${span(Duration.toMillis(this.timeout))} (createTimeout)`
    )
  }
}

/**
 * Every holder of the pool's resources is itself waiting in the pool's line, so nothing can ever come
 * back. The newest such borrower is failed, which lets the others go on.
 *
 * **Details**
 *
 * `certain` when the holders' very own fibers wait; that is told at once. When fibers that they forked wait,
 * it is told after nothing has come back for five seconds: a parent may go on without its child.
 *
 * Only borrowers without a deadline (`acquireTimeout`) get this error.
 *
 * @category errors
 * @since 0.1.0
 */
export class WouldDeadlock extends Schema.TaggedError<WouldDeadlock>()("WouldDeadlock", {
  pool: Schema.String,
  max: Schema.Number,
  holders: Schema.Number,
  certain: Schema.Boolean
}) {
  override get message(): string {
    const holders = this.holders === 1 ? "the only holder" : `each of the ${this.holders} holders`
    const what = this.certain
      ? `deadlock: ${holders} is waiting for one more resource`
      : `probable deadlock: nothing has come back for 5 s, and ${holders} is, or has forked a fiber that is, ` +
        "waiting for one more resource"
    return (
      `${quoted(this.pool)}: ${what} (max: ${this.max}). Pass the borrowed resource on instead of borrowing ` +
      "inside a borrow, or set acquireTimeout"
    )
  }
}

/**
 * What was given back is not on loan from this pool by `Pool.acquire`: it was returned already, was
 * borrowed in another way, or belongs elsewhere. Nothing was changed.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotLeased extends Schema.TaggedError<NotLeased>()("NotLeased", {
  pool: Schema.String
}) {
  override get message(): string {
    return (
      `${quoted(this.pool)}: this resource is not on loan by Pool.acquire (returned already, borrowed by ` +
      `get or use, or of another pool). Nothing was changed`
    )
  }
}
