import * as Context from "effect/Context"
import type { Lease } from "./lease.ts"
import type { List } from "./list.ts"

/** How long every holder's family must have stood in line, and nothing come back, to be called a deadlock. */
export const suspicionMillis = 5_000

// -----------------------------------------------------------------------------
// Families
// -----------------------------------------------------------------------------

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

/** Skips loans that are over, so that a chain of them does not grow with a fiber's history. */
const live = (lease: Lease<any, any> | undefined): Lease<any, any> | undefined => {
  while (lease !== undefined && lease.state === "done") lease = lease.outer
  return lease
}

// -----------------------------------------------------------------------------
// Detection
// -----------------------------------------------------------------------------

/**
 * Finds the deadlock of one pool: every loan's family is itself in the pool's line, so nothing can come back.
 *
 * `stuck` counts the loans of which that is true. It is kept up to date by those who join and leave the
 * line, so that asking costs nothing however many there are.
 *
 * When each loan's very own fiber waits, that is certain, and the newcomer who made it so is failed at once.
 * When only a child waits, its parent may yet go on without it; then the newest is failed if nothing has come
 * back for {@link suspicionMillis}.
 */
export class Deadlock<A, E> {
  /** Loans whose family has someone in line. */
  private stuck = 0
  /** Since when all loans have been stuck, without one coming back. */
  suspectedAt: number | undefined = undefined

  private readonly pool: object
  private readonly loans: List<Lease<A, E>>
  private readonly line: List<Lease<A, E>>

  constructor(pool: object, loans: List<Lease<A, E>>, line: List<Lease<A, E>>) {
    this.pool = pool
    this.loans = loans
    this.line = line
  }

  joined(waiter: Lease<A, E>): void {
    waiter.outer = live(waiter.fiber.getRef(Holding))
    for (let loan = waiter.outer; loan !== undefined; loan = loan.outer) {
      if (loan.pool !== this.pool || loan.state !== "held") continue
      if (loan.familyWaiting++ === 0) this.stuck++
    }
  }

  left(waiter: Lease<A, E>): void {
    for (let loan = waiter.outer; loan !== undefined; loan = loan.outer) {
      if (loan.pool !== this.pool || loan.state !== "held" || loan.familyWaiting === 0) continue
      if (--loan.familyWaiting === 0) this.stuck--
    }
    waiter.outer = undefined
  }

  returned(loan: Lease<A, E>): void {
    this.suspectedAt = undefined
    if (loan.familyWaiting === 0) return
    loan.familyWaiting = 0
    this.stuck--
  }

  /** Whether no loan can come back, as long as what waits goes on waiting. */
  get allStuck(): boolean {
    return this.loans.size > 0 && this.stuck === this.loans.size
  }

  /** Whether `newcomer`, who has just joined the line, has made the deadlock certain. */
  isCertain(newcomer: Lease<A, E>): boolean {
    if (!this.holds(newcomer, endsWithFiber)) return false
    const waiting = new Set<unknown>()
    for (const lease of this.line) waiting.add(lease.fiber)
    for (const loan of this.loans) if (loan.kind === "manual" || !waiting.has(loan.fiber)) return false
    return true
  }

  /** The newest in line whose family has a loan. */
  newest(): Lease<A, E> | undefined {
    let newest = this.line.tail
    while (newest !== undefined && !this.holds(newest, () => true)) newest = newest.previous
    return newest
  }

  private holds(waiter: Lease<A, E>, test: (loan: Lease<any, any>, waiter: Lease<A, E>) => boolean): boolean {
    for (let loan = waiter.outer; loan !== undefined; loan = loan.outer) {
      if (loan.pool === this.pool && loan.state === "held" && test(loan, waiter)) return true
    }
    return false
  }
}

/** Whether the loan is the waiting fiber's own, and nobody else is meant to end it. */
const endsWithFiber = (loan: Lease<any, any>, waiter: Lease<any, any>): boolean =>
  loan.fiber === waiter.fiber && loan.kind === "scoped"
