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
  /**
   * While "waiting": when it joined the line, in monotonic milliseconds. While "held": when it was lent, in
   * milliseconds since the epoch, which is cheaper to read and for people alone.
   */
  since = 0
  /** When it counts as leaked, in monotonic milliseconds; `Infinity` once that has been told. */
  leaksAt = Infinity
  /** Its turn among all borrowers that ever joined a line; set when it joins one. */
  ticket = 0
  /** What was lent; set while "held" alone. */
  slot: Slot<A> | undefined = undefined
  /** Why it got nothing; set when it went from "waiting" to "done" by the pool's decision. */
  failure: Exit.Exit<never, E | PoolError> | undefined = undefined
  /** Wakes the borrower; set while its fiber is suspended in the line. */
  resume: (() => void) | undefined = undefined
  /** Resources offered to it that failed validation. */
  failedChecks = 0
  /** The span that it borrowed under. */
  span: AnySpan | undefined = undefined
  /** The loan that its fiber took before. See deadlock.ts. */
  outer: Lease<any, any> | undefined = undefined
  /** The loans of this pool that its family has; set while "waiting", where there are any. */
  behind: ReadonlyArray<Lease<any, any>> | undefined = undefined
  /** Borrowers of this loan's family in the line of this loan's pool. */
  familyWaiting = 0
  readonly pool: object
  readonly fiber: Fiber.Fiber<any, any>
  readonly kind: LeaseKind

  constructor(pool: object, fiber: Fiber.Fiber<any, any>, kind: LeaseKind) {
    this.pool = pool
    this.fiber = fiber
    this.kind = kind
  }
}
