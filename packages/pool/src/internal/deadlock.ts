import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import { WouldDeadlock } from "../PoolError.ts"
import type { Core } from "./core.ts"
import type { Lease } from "./lease.ts"
import { isDue } from "./work.ts"

/** How long every holder's family must have stood in line, and nothing come back, to be called a deadlock. */
const suspicionMillis = 5_000

// -----------------------------------------------------------------------------
// Families
// -----------------------------------------------------------------------------

/**
 * The newest loan of the fiber that reads it, or that the fiber which forked it had at that time: children
 * inherit the context, so a fiber and its children are one family. The loans before it are reached by `outer`.
 */
export const Holding = Context.Reference<Lease<any, any> | undefined>("~cenote/Pool/Holding", {
  defaultValue: () => undefined
})

/** Makes `lease` the newest loan of its fiber, and of those that the fiber forks from here on. */
export const mark = (lease: Lease<any, any>): void => {
  const { fiber } = lease
  const outer = live(Context.get(fiber.context, Holding))
  // Each loan shortens the way behind the one before it, so that a chain does not grow with what is over.
  if (outer !== undefined) outer.outer = live(outer.outer)
  lease.outer = outer
  lease.outside = fiber.context
  lease.inside = Context.add(fiber.context, Holding, lease)
  fiber.setContext(lease.inside)
}

/** Undoes {@link mark} in the same fiber, and nothing that the body has done to the context. */
export const unmark = (lease: Lease<any, any>): void => {
  if (lease.outside === undefined) return
  const { context } = lease.fiber
  lease.fiber.setContext(
    context === lease.inside ? lease.outside : Context.add(context, Holding, lease.outer)
  )
  lease.outside = lease.inside = undefined
}

/** Like {@link mark}, for a loan without a body: nothing undoes it but whoever set the fiber's context before. */
export const markOpenEnded = (lease: Lease<any, any>): void => {
  mark(lease)
  lease.outside = lease.inside = undefined
}

/** Skips loans that are over. */
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
  private suspectedAt: number | undefined = undefined

  private readonly core: Core<A, E>

  constructor(core: Core<A, E>) {
    this.core = core
  }

  joined(waiter: Lease<A, E>): void {
    const behind = this.loansBehind(waiter.fiber)
    if (behind === undefined) return
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

  /** Called when `newcomer` has joined the line, or something else changed that may leave everyone stuck. */
  check(newcomer: Lease<A, E> | undefined): void {
    if (!this.isStuck()) return
    if (newcomer !== undefined && this.isCertain(newcomer)) return this.break(newcomer, true)
    if (this.suspectedAt !== undefined) return
    this.suspectedAt = this.core.work.now()
    this.core.deadlines.arm(this.confirmAt)
  }

  /** When a suspicion is to be confirmed; `Infinity` without one. */
  get confirmAt(): number {
    return this.suspectedAt === undefined ? Infinity : this.suspectedAt + suspicionMillis
  }

  /** Fails the newest if a suspicion has lasted for long enough. */
  confirm(now: number): void {
    if (!isDue(this.confirmAt, now)) return
    this.suspectedAt = undefined
    const newest = this.isStuck() ? this.newest() : undefined
    if (newest === undefined) return
    this.break(newest, false)
    this.check(undefined)
  }

  private break(lease: Lease<A, E>, certain: boolean): void {
    const { core } = this
    const error = new WouldDeadlock({
      pool: core.settings.name,
      max: core.max,
      holders: core.loans.size,
      certain
    })
    core.fail(lease, Cause.fail(error))
    if (core.events.noted) core.tell("Rejected", { fiber: lease.fiber.id, reason: "WouldDeadlock" })
  }

  /** Whether no loan can come back as long as what waits goes on waiting, and nothing can be created. */
  private isStuck(): boolean {
    const { busy, closing, creating, idle, loans, max, slots, suspended } = this.core
    const allWait = loans.size > 0 && this.stuck === loans.size
    const isFull = max > 0 && slots.size >= max
    const isMoving = suspended || idle + creating + busy + closing > 0
    return allWait && isFull && !isMoving
  }

  /** Whether `newcomer`, who has just joined the line, has made the deadlock certain. */
  private isCertain(newcomer: Lease<A, E>): boolean {
    if (newcomer.behind?.some((loan) => loan.fiber === newcomer.fiber) !== true) return false
    const waiting = new Set<unknown>()
    for (const lease of this.core.line) waiting.add(lease.fiber)
    for (const loan of this.core.loans) if (!waiting.has(loan.fiber)) return false
    return true
  }

  /** The newest in line whose family has a loan. */
  private newest(): Lease<A, E> | undefined {
    let newest = this.core.line.tail
    while (newest !== undefined && newest.behind === undefined) newest = newest.previous
    return newest
  }

  /** The loans of this pool that a fiber's family has. */
  private loansBehind(fiber: Fiber.Fiber<any, any>): Array<Lease<any, any>> | undefined {
    let loans: Array<Lease<any, any>> | undefined
    for (let loan = fiber.getRef(Holding); loan !== undefined; loan = loan.outer) {
      // Any fiber may end a loan that `Pool.release` ends: such a one is never stuck.
      if (loan.pool !== this.core || loan.state !== "held" || loan.kind === "manual") continue
      if (loans === undefined) loans = [loan]
      else loans.push(loan)
    }
    return loans
  }
}
