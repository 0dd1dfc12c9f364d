import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { AnySpan } from "effect/Tracer"
import type { PoolError } from "../PoolError.ts"
import type { Linked, List } from "./list.ts"
import type { Slot } from "./slot.ts"

/** How a loan ends: with its scope or body, or by a call of `Pool.release`. What is lent `alone` is shared with nobody. */
export type LeaseKind = "scoped" | "alone" | "manual"

/**
 * One borrow, from the question to the return.
 *
 * ```text
 * asking ──> held ────> done
 *  │  │        ^          ^
 *  │  └─> waiting ────────┤   (failed, or gave up)
 *  └──────────────────────┘   (turned away)
 * ```
 */
export class Lease<A, E> implements Linked<Lease<A, E>> {
  previous: Lease<A, E> | undefined = undefined
  next: Lease<A, E> | undefined = undefined
  /** The pool's line while "waiting", its list of loans while "held". */
  list: List<Lease<A, E>> | undefined = undefined

  state: "asking" | "waiting" | "held" | "done" = "asking"
  /** In monotonic milliseconds: while "waiting", when it joined the line; while "held", when it was lent. */
  since = 0
  /** When it counts as leaked, in monotonic milliseconds; `undefined` when it cannot, or that has been told. */
  leaksAt: number | undefined = undefined
  /** Its place among all borrowers that ever joined a line; set when it joins one. */
  ticket = 0
  /** What was lent; set while "held" alone. */
  slot: Slot<A> | undefined = undefined
  /** Why it got nothing; set when it is "done" by the pool's decision. */
  failure: Exit.Exit<never, E | PoolError> | undefined = undefined
  /** Wakes the borrower, to go on with `nextStep`; both are set while its fiber is suspended in the line. */
  resume: ((nextStep: Effect.Effect<any, any, any>) => void) | undefined = undefined
  nextStep: Effect.Effect<any, any, any> | undefined = undefined
  /** Resources offered to it that failed validation. */
  failedChecks = 0
  /** Failures to create that it did not get, since what was being created was not for it. */
  spared = 0
  /** The span that it borrowed under. */
  span: AnySpan | undefined = undefined
  /** The loan that its fiber, or the one that forked it, had before. This and the next four: see deadlock.ts. */
  outer: Lease<any, any> | undefined = undefined
  /** The context of its fiber before the loan, and with it; set while a body has the loan. */
  outside: Context.Context<never> | undefined = undefined
  inside: Context.Context<never> | undefined = undefined
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
