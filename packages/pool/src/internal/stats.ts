import * as Schema from "effect/Schema"

export const StatsSchema = Schema.Struct({
  name: Schema.String,
  min: Schema.Number,
  max: Schema.Number,
  size: Schema.Number,
  idle: Schema.Number,
  used: Schema.Number,
  pending: Schema.Number,
  creating: Schema.Number,
  closing: Schema.Number,
  state: Schema.Literals(["open", "suspended", "closing", "closed"]),
  created: Schema.Number,
  destroyed: Schema.Number,
  borrowed: Schema.Number,
  timeouts: Schema.Number,
  failures: Schema.Number
})

/**
 * A pool at one moment. `size = idle + used + creating + closing` always holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats {
  readonly name: string
  /** Resources kept even when nobody asks. */
  readonly min: number
  /** Resources that may exist at one time. */
  readonly max: number
  /** Resources that exist, those being created and those being closed included. */
  readonly size: number
  /** Resources at rest. */
  readonly idle: number
  /** Resources on loan, being reset or being validated. */
  readonly used: number
  /** Borrowers in line. */
  readonly pending: number
  readonly creating: number
  readonly closing: number
  /** `suspended`: nobody is lent anything until `Pool.resume`. `closing`: it waits for what is on loan. */
  readonly state: "open" | "suspended" | "closing" | "closed"
  /** Total of resources created. */
  readonly created: number
  /** Total of resources closed. */
  readonly destroyed: number
  /** Total of loans. */
  readonly borrowed: number
  /** Total of borrowers whose deadline passed. */
  readonly timeouts: number
  /** Total of attempts to create that failed. */
  readonly failures: number
}
