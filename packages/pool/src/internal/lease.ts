import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { AnySpan } from "effect/Tracer"
import type { PoolError } from "../PoolError.ts"
import type { Linked, List } from "./list.ts"
import type { Slot } from "./slot.ts"

/** How a loan ends: with its scope or body, or by a call of `Pool.release`. */
export type LeaseKind = "scoped" | "manual"

/**
 * One borrow, from the question to the return.
 *
 * ```text
 * asking ──> held ──> done
 *    │         ^
 *    └─> waiting ──> done   (failed, or gave up)
 * ```
 */
export class Lease<A, E> implements Linked<Lease<A, E>> {
  previous: Lease<A, E> | undefined = undefined
  next: Lease<A, E> | undefined = undefined
  /** The pool's line while "waiting", its list of loans while "held". */
  list: List<Lease<A, E>> | undefined = undefined

  state: "asking" | "waiting" | "held" | "done" = "asking"
  /** When it joined the line while "waiting", when it was lent while "held". Monotonic milliseconds. */
  since = 0
  /** Its turn among all borrowers that ever joined a line; set when it joins one. */
  ticket = 0
  /** What was lent; set while "held" alone. */
  slot: Slot<A> | undefined = undefined
  /** Why it got nothing; set when it went from "waiting" to "done" by the pool's decision. */
  failure: Exit.Exit<never, E | PoolError> | undefined = undefined
  /** Wakes the borrower; set while its fiber is suspended in the line. */
  resume: ((effect: Effect.Effect<void>) => void) | undefined = undefined
  /** Resources offered to it that failed validation. */
  failedChecks = 0
  leaked = false
  /** The span that it borrowed under. */
  span: AnySpan | undefined = undefined
  /** The loan that the borrower, or the fiber that forked it, already had. See deadlock.ts. */
  outer: Lease<any, any> | undefined = undefined
  /** Borrowers of this loan's family in the line of this loan's pool. */
  familyWaiting = 0
  /** The context to give back to the fiber when the loan ends. */
  restore: Context.Context<never> | undefined = undefined

  readonly pool: object
  readonly fiber: Fiber.Fiber<any, any>
  readonly kind: LeaseKind

  constructor(pool: object, fiber: Fiber.Fiber<any, any>, kind: LeaseKind) {
    this.pool = pool
    this.fiber = fiber
    this.kind = kind
  }
}
