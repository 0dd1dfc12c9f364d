import * as Context from "effect/Context"
import type { Lease } from "./lease.ts"

/**
 * The newest loan of the fiber that reads it, or of the fiber that forked it: children inherit the
 * context, so a fiber and its children are one family. Loans of other pools are reached by `outer`.
 */
const Holding = Context.Reference<Lease<any, any> | undefined>("~cenote/Pool/Holding", {
  defaultValue: () => undefined
})

/**
 * Marks the borrower's fiber, and those that it forks from here on, as holders of `lease`. Gives the
 * context that {@link unmark} restores.
 */
export const mark = (lease: Lease<any, any>): Context.Context<never> => {
  const fiber = lease.fiber
  const context = fiber.context
  lease.outer = live(fiber.getRef(Holding))
  fiber.setContext(Context.add(context, Holding, lease))
  return context
}

/** Undoes {@link mark}, in the same fiber. */
export const unmark = (lease: Lease<any, any>): void => {
  lease.fiber.setContext(lease.restore!)
  lease.restore = undefined
}

/**
 * Finds the certain deadlock of one pool: every loan's family is itself in the pool's line, so nothing can
 * come back.
 *
 * `stuck` counts the loans of which that is true. It is kept up to date by those who join and leave the
 * line, so that asking costs nothing however many there are.
 */
export class Deadlock {
  /** Loans whose family has someone in line. */
  stuck = 0

  private readonly pool: object

  constructor(pool: object) {
    this.pool = pool
  }

  joined(waiter: Lease<any, any>): void {
    waiter.outer = live(waiter.fiber.getRef(Holding))
    for (let loan = waiter.outer; loan !== undefined; loan = loan.outer) {
      if (loan.pool !== this.pool || loan.state !== "held") continue
      if (loan.familyWaiting++ === 0) this.stuck++
    }
  }

  left(waiter: Lease<any, any>): void {
    for (let loan = waiter.outer; loan !== undefined; loan = loan.outer) {
      if (loan.pool !== this.pool || loan.state !== "held" || loan.familyWaiting === 0) continue
      if (--loan.familyWaiting === 0) this.stuck--
    }
    waiter.outer = undefined
  }

  returned(loan: Lease<any, any>): void {
    if (loan.familyWaiting === 0) return
    loan.familyWaiting = 0
    this.stuck--
  }

  /** Whether `waiter`, or the fiber that forked it, has a loan of this pool. */
  holds(waiter: Lease<any, any>): boolean {
    return this.loans(waiter, () => true)
  }

  /**
   * Whether this very fiber has the loan, and only the end of what the fiber does can end it. Such a loan
   * is certain not to come back while the fiber waits, where a parent may go on without its child.
   */
  holdsItself(waiter: Lease<any, any>): boolean {
    return this.loans(waiter, (loan) => loan.fiber === waiter.fiber && loan.kind === "scoped")
  }

  private loans(waiter: Lease<any, any>, test: (loan: Lease<any, any>) => boolean): boolean {
    for (let loan = waiter.outer; loan !== undefined; loan = loan.outer) {
      if (loan.pool === this.pool && loan.state === "held" && test(loan)) return true
    }
    return false
  }
}

/** Skips loans that are over, so that a chain of them does not grow with a fiber's history. */
const live = (lease: Lease<any, any> | undefined): Lease<any, any> | undefined => {
  while (lease !== undefined && lease.state === "done") lease = lease.outer
  return lease
}
