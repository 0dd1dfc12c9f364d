import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import type { Lease } from "./lease.ts"
import type { List } from "./list.ts"

/** How long every holder's family must have stood in line, and nothing come back, to be called a deadlock. */
export const suspicionMillis = 5_000

// -----------------------------------------------------------------------------
// Families
// -----------------------------------------------------------------------------

/** A fiber that has borrowed, and its loans. What it forks from then on inherits it as `parent`. */
interface Family {
  readonly fiber: Fiber.Fiber<any, any>
  readonly parent: Family | undefined
  /** The loan taken last; the others are reached by `outer`. Some may be over. */
  newest: Lease<any, any> | undefined
}

/** The family of the fiber that reads it, or of the fiber that forked it: children inherit the context. */
const Family = Context.Reference<Family | undefined>("~cenote/Pool/Family", {
  defaultValue: () => undefined
})

/**
 * Counts `lease` among the loans of its fiber's family. The fiber is made one with its first loan, and stays
 * one until whoever set its context restores it, so that the second loan costs next to nothing.
 */
export const mark = (lease: Lease<any, any>): void => {
  const fiber = lease.fiber
  let family = fiber.getRef(Family)
  if (family === undefined || family.fiber !== fiber) {
    family = { fiber, parent: family, newest: undefined }
    fiber.setContext(Context.add(fiber.context, Family, family))
  }
  lease.outer = live(family.newest)
  family.newest = lease
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
    if (waiter.fiber.getRef(Family) === undefined) return
    const behind = this.loansBehind(waiter.fiber)
    if (behind.length === 0) return
    waiter.behind = behind
    for (const loan of behind) if (loan.familyWaiting++ === 0) this.stuck++
  }

  left(waiter: Lease<A, E>): void {
    if (waiter.behind === undefined) return
    for (const loan of waiter.behind) {
      if (loan.state === "held" && --loan.familyWaiting === 0) this.stuck--
    }
    waiter.behind = undefined
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
    if (newcomer.behind?.some((loan) => loan.fiber === newcomer.fiber) !== true) return false
    const waiting = new Set<unknown>()
    for (const lease of this.line) waiting.add(lease.fiber)
    for (const loan of this.loans) if (!waiting.has(loan.fiber)) return false
    return true
  }

  /** The newest in line whose family has a loan. */
  newest(): Lease<A, E> | undefined {
    let newest = this.line.tail
    while (newest !== undefined && newest.behind === undefined) newest = newest.previous
    return newest
  }

  /** The loans of this pool that a fiber's family has. */
  private loansBehind(fiber: Fiber.Fiber<any, any>): Array<Lease<any, any>> {
    const loans: Array<Lease<any, any>> = []
    for (let family = fiber.getRef(Family); family !== undefined; family = family.parent) {
      for (let loan = family.newest; loan !== undefined; loan = loan.outer) {
        // Any fiber may end a loan that `Pool.release` ends: such a one is never stuck.
        if (loan.pool === this.pool && loan.state === "held" && loan.kind === "scoped") loans.push(loan)
      }
    }
    return loans
  }
}
