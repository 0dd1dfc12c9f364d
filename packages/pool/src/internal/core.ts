import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { Random } from "effect/Random"
import type { SchedulerDispatcher } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import { type CreateTimeout, LineFull, PoolClosed, type PoolError, ValidationFailed } from "../PoolError.ts"
import type { CloseReason } from "../PoolEvent.ts"
import { createResource } from "./create.ts"
import { Deadlines } from "./deadlines.ts"
import { Deadlock } from "./deadlock.ts"
import { type EventFields, Events } from "./events.ts"
import type { Lease } from "./lease.ts"
import { Line } from "./line.ts"
import { List } from "./list.ts"
import { ManualLoans } from "./manual.ts"
import { Reader, type Settings } from "./options.ts"
import { isTraced, stats, traceWait } from "./report.ts"
import { Shelf } from "./shelf.ts"
import { Shutdown } from "./shutdown.ts"
import { Slot } from "./slot.ts"
import { type Settle, WarmUps } from "./warmUps.ts"
import { isOver, type Work } from "./work.ts"

/** The pauses between attempts to get back to `min` after a failed one, unless a borrower asks first. */
const refillPauses = { first: 100, most: 30_000 }

/** Failures of what was recycled that a borrower is spared: so an attempt that itself recycles the pool is not repeated for ever. */
const mostSpared = 100

/** Counts all who ever joined a line: turns compare across pools, and never tie as readings of a clock do. */
let tickets = 0

/** Decides over the room that several pools share. See keyed.ts. */
export interface Group {
  /** Takes one place of the shared room; if there is none, remembers that `core` wants it. */
  readonly take: (core: Core<any, any>) => boolean
  /** How many places `take` would give `core`, counting those that can be had without any borrower's return. */
  readonly room: (core: Core<any, any>) => number
  /** A place will be free as soon as what is in it has closed. */
  readonly leaving: (slot: Slot<any>) => void
  /** A place that was {@link leaving} is free. */
  readonly left: (core: Core<any, any>) => void
  /** A resource of `core` is at rest, and nobody of its own line wants it. */
  readonly rests: (core: Core<any, any>, slot: Slot<any>) => void
  /** Whether `core` must give up a resource that comes back, because others need the room more. */
  readonly claims: (core: Core<any, any>) => boolean
  /** `core` is about to leave its rest, if it is at rest: see {@link Core.isAtRest}. */
  readonly stirs: (core: Core<any, any>) => void
  /** Where the pools of the group tell what happens. */
  readonly events: Events
}

/**
 * The pool itself: one synchronous state machine, in which every change that could let a borrower go on
 * ends in {@link Core.pump}. All of a user's effects (create, validate, reset, finalize) run in fibers of
 * their own, so no borrower waits for them or can abort them.
 *
 * Such a fiber runs at once up to its first asynchronous step, on the stack of whoever starts it, and may call
 * this very pool. So whatever starts one (`create`, `validate`, `reset`, `close`, and all that may call these)
 * does so with the state in order, and takes nothing for granted afterwards.
 */
export class Core<A, E> {
  min: number
  max: number
  state: "open" | "closing" | "closed" = "open"
  suspended = false

  /** Everything that counts against `max`: creating, at rest, on loan, busy and closing. */
  readonly slots = new Set<Slot<A>>()
  readonly shelf: Shelf<A>
  readonly line: Line<A, E>
  /** How many in it want a resource for themselves. */
  private waitingAlone = 0
  /** Loans, oldest first. */
  readonly loans = new List<Lease<A, E>>()
  /** Loans by `Pool.acquire`. */
  readonly manual = new ManualLoans<A, E>()

  /** Slots that are "ready" without a borrower. */
  idle = 0
  /** Slots that are "creating". */
  creating = 0
  /** Slots that are "closing". */
  closing = 0
  /** Slots that are "busy". */
  busy = 0
  /** Slots that are "busy" because they are being validated for somebody in line. */
  validating = 0
  readonly totals = { created: 0, destroyed: 0, borrowed: 0, timeouts: 0, failures: 0 }
  /** When somebody last held or waited, in monotonic milliseconds. Kept for groups alone. */
  usedAt = 0

  /** Slots made so far: the next one's number. */
  private serial = 0
  /** Times that a resource came to rest so far. */
  private rests = 0
  private pumping = false
  /** Something changed while pumping. */
  private pumpAgain = false
  /** The most recent failure to create, until one succeeds. */
  lastFailure: Cause.Cause<unknown> | undefined = undefined
  /** Until when creating for `min` alone waits; above 0 only after a failure to create. */
  refillAt = 0
  private refillPause = refillPauses.first
  /** Who waits until there are `min`. */
  readonly warmUps = new WarmUps<A, E>(this)
  readonly deadlines: Deadlines<A, E>
  private readonly ending = new Shutdown<A, E>(this)
  /** Run once, when the pool stops lending for good. */
  onClosing: Effect.Effect<void> | undefined = undefined
  /** Finds the pool that has taken the place of this one; set when a group has forgotten it. */
  successor: (() => Core<A, E>) | undefined = undefined

  readonly settings: Settings<A, E>
  readonly work: Work
  readonly events: Events
  readonly group: Group | undefined
  readonly deadlock: Deadlock<A, E> | undefined
  /** Whether anything depends on how long resources have existed or rested. */
  readonly timed: boolean
  private readonly random: Random

  constructor(settings: Settings<A, E>, work: Work, dispatcher: SchedulerDispatcher, group?: Group) {
    const { acquireTimeout, keepAlive, maxAge, maxIdle, validate } = settings
    this.settings = settings
    this.min = settings.min
    this.max = settings.max
    this.work = work
    this.group = group
    this.events = group?.events ?? new Events(work.clock, dispatcher)
    this.shelf = new Shelf(settings.order)
    this.line = new Line(dispatcher)
    this.deadlines = new Deadlines(this)
    this.random = Context.get(work.context, Random)
    this.timed =
      validate !== undefined || group !== undefined || Math.min(maxAge, maxIdle, keepAlive) < Infinity
    // With a deadline a deadlock resolves itself, and borrows need not be marked.
    this.deadlock = acquireTimeout === Infinity ? new Deadlock<A, E>(this) : undefined
  }

  // -----------------------------------------------------------------------------
  // Borrowing
  // -----------------------------------------------------------------------------

  /**
   * Serves `lease` at once if nobody is ahead of it, else puts it in the line. Afterwards it is "held",
   * "waiting", or "done" with its failure.
   */
  ask(lease: Lease<A, E>): void {
    const now = this.timeToLend()
    const slot = this.mayLendNow() ? this.shelf.next : undefined
    if (slot !== undefined && !this.isStale(slot, now)) {
      this.lend(this.slotFor(lease, slot, now), lease, now)
      if (this.settings.targetUtilization < 1) this.pump()
    } else if (this.state !== "open") {
      this.refuse(lease, new PoolClosed({ pool: this.settings.name }))
    } else if (this.isLineFull()) {
      const { maxWaiting, name } = this.settings
      if (this.events.noted) this.tell("Rejected", { fiber: lease.fiber.id, reason: "LineFull" })
      this.refuse(lease, new LineFull({ pool: name, maxWaiting, stats: stats(this) }))
    } else {
      this.joinLine(lease, now)
      this.pump()
      if (lease.state === "waiting") this.deadlock?.check(lease)
    }
  }

  /** Serves `lease` if that needs no wait at all. What it would have had to wait for is under way afterwards. */
  tryAsk(lease: Lease<A, E>): boolean {
    let now = this.timeToLend()
    if (!this.mayLendNow()) return false
    let slot = this.shelf.next
    if (slot !== undefined && this.isStale(slot, now)) {
      this.validate(slot, undefined)
      if (slot.list === undefined) slot = undefined
      now = this.work.now()
    } else if (slot === undefined && this.creating === 0 && this.canGrow()) {
      this.create()
      slot = this.shelf.next
      now = this.work.now()
    }
    // What was started may be over, and may have done anything.
    if (slot === undefined || !this.mayLendNow()) return false
    this.lend(slot, lease, now)
    return true
  }

  /** Whether a borrower who asks now is, most likely, served at once. */
  isReady(): boolean {
    return this.mayLendNow() && this.shelf.size > 0
  }

  /** Ends a borrow, however far it came: leaves the line, or gives back. Does nothing the second time. */
  finish(lease: Lease<A, E>): void {
    if (lease.state === "held") return this.giveBack(lease)
    if (lease.state !== "waiting") return
    this.leaveLine(lease)
    lease.state = "done"
    if (!this.events.heard && !isTraced(lease)) return
    const waited = this.work.now() - lease.since
    traceWait(this, lease, waited, Exit.interrupt())
    if (this.events.heard) this.tellTraffic("WaitCancelled", { fiber: lease.fiber.id, waited })
  }

  /** Ends a loan by `Pool.acquire`; says whether there was one. */
  releaseManual(item: A, fiber: unknown): boolean {
    const lease = this.manual.take(item, fiber)
    if (lease === undefined) return false
    this.finish(lease)
    return true
  }

  private lend(slot: Slot<A>, lease: Lease<A, E>, now: number): void {
    this.group?.stirs(this)
    if (slot.leases++ === 0) this.idle--
    slot.uses++
    if (lease.kind === "alone") this.reserve(slot)
    else if (slot.leases >= this.settings.concurrency) this.shelf.remove(slot)
    if (slot.uses >= this.settings.maxUses) this.condemn(slot, "maxUses")
    const waited = lease.state === "waiting" ? now - lease.since : undefined
    lease.state = "held"
    lease.slot = slot
    lease.since = now
    lease.span = lease.fiber.cache.span
    this.loans.push(lease)
    this.totals.borrowed++
    if (this.settings.leakAfter !== Infinity) {
      lease.leaksAt = now + this.settings.leakAfter
      this.deadlines.arm(lease.leaksAt)
    }
    // Last, as a tracer or recorder may do anything.
    if (waited !== undefined) traceWait(this, lease, waited, Exit.void)
    if (this.events.noted) this.tellLent(lease, slot, waited ?? 0)
  }

  private tellLent(lease: Lease<A, E>, slot: Slot<A>, waited: number): void {
    const { events } = this
    events.recorders.all?.waited(waited)
    if (events.heard) this.tellTraffic("Borrowed", { resource: slot.id, fiber: lease.fiber.id, waited })
  }

  private giveBack(lease: Lease<A, E>): void {
    const slot = lease.slot!
    // Where nothing expires and nobody is told, the time is not looked up.
    const now = this.timed || this.events.noted ? this.work.now() : 0
    this.loans.remove(lease)
    lease.state = "done"
    this.deadlock?.returned(lease)
    this.usedAt = now
    lease.slot = undefined
    if (lease.kind === "alone") slot.reservations--
    if (this.events.noted) this.tellReturned(lease, slot, now)
    slot.leases--
    // A pool that is closed by force closes resources under their holders.
    if (slot.phase !== "ready") return
    slot.knownGoodAt = now
    if (slot.leases === 0) {
      this.idle++
      slot.idleSince = now
      slot.restOrder = ++this.rests
    }
    const ending = this.reasonToClose(slot, now)
    if (ending !== undefined) {
      if (slot.leases === 0) this.close(slot, ending)
      else this.condemn(slot, ending)
    } else if (slot.leases === 0 && this.settings.reset !== undefined) {
      this.reset(slot)
    } else {
      this.offer(slot, now)
    }
  }

  private tellReturned(lease: Lease<A, E>, slot: Slot<A>, now: number): void {
    const { events } = this
    const held = now - lease.since
    events.recorders.all?.used(held)
    if (events.heard) this.tellTraffic("Returned", { resource: slot.id, fiber: lease.fiber.id, held })
  }

  /** Why a resource that comes back must not be lent again, if so. */
  private reasonToClose(slot: Slot<A>, now: number): CloseReason | undefined {
    if (slot.condemned !== undefined) return slot.condemned
    if (this.state !== "open") return "poolClosed"
    const { maxAge, maxIdle } = this.settings
    if (maxAge !== Infinity && (maxAge === 0 || isOver(slot.maxAge, slot.createdAt, now))) return "maxAge"
    if (slot.leases > 0) return this.reasonToEmpty()
    if (maxIdle === 0) return "maxIdle"
    if (this.live() > this.max) return "shrunk"
    return this.group !== undefined && this.group.claims(this) ? "stolen" : undefined
  }

  /** Why one that others still share is to be lent to nobody more: it might never come to rest by itself. */
  private reasonToEmpty(): CloseReason | undefined {
    if (this.live() > this.max) {
      let staying = 0
      for (const { condemned, phase } of this.slots) {
        if (condemned === undefined && (phase === "ready" || phase === "busy")) staying++
      }
      if (staying > this.max) return "shrunk"
    }
    if (this.group === undefined || !this.group.claims(this)) return undefined
    // One at a time: its room is not there before all have returned it.
    for (const { condemned, phase } of this.slots) {
      if (condemned === "stolen" && phase === "ready") return undefined
    }
    return "stolen"
  }

  // -----------------------------------------------------------------------------
  // The line
  // -----------------------------------------------------------------------------

  /**
   * Serves the line as far as that is possible now, and creates what is missing. Whoever changes anything
   * that a borrower may be waiting for calls this; it may be called at any time, also by itself. `now` is the time
   * where the caller has just read it, else 0.
   */
  pump(now = 0): void {
    if (this.pumping) {
      this.pumpAgain = true
      return
    }
    this.pumping = true
    try {
      do {
        this.pumpAgain = false
        if (this.state === "open") this.serve(now)
        now = 0
      } while (this.pumpAgain)
    } finally {
      this.pumping = false
    }
  }

  private serve(now: number): void {
    // What is started here may close the pool, and takes time.
    for (; this.state === "open"; now = 0) {
      this.lendFromShelf(now)
      if (!this.wantsMore() || !this.canGrow()) return
      // It may be there when this returns.
      this.create()
    }
  }

  /** Whatever users have run by each step takes time, and may do anything: all that counts is looked at anew. */
  private lendFromShelf(now: number): void {
    let slot: Slot<A> | undefined
    for (; !this.suspended && this.line.head !== undefined; now = 0) {
      if ((slot = this.shelf.next) === undefined) return
      if (now === 0) now = this.work.now()
      if (this.closeExpired(slot, now)) continue
      if (!this.isStale(slot, now)) this.serveHead(slot, now)
      // One validation for each that waits, beside what is being created: the first to end serves.
      else if (this.validating < this.demand()) this.validate(slot, this.nthUnserved(this.validating))
      else return
    }
  }

  /** The borrower whom the resource after `n` others would serve. */
  private nthUnserved(n: number): Lease<A, E> | undefined {
    return this.line.nth(n * this.settings.concurrency)
  }

  private serveHead(slot: Slot<A>, now: number): void {
    const lease = this.line.head!
    this.leaveLine(lease)
    this.lend(this.slotFor(lease, slot, now), lease, now)
    this.line.wake(lease)
  }

  /** Who wants a resource alone gets one that nobody has, if there is one that can be lent. */
  private slotFor(lease: Lease<A, E>, next: Slot<A>, now: number): Slot<A> {
    if (lease.kind !== "alone" || next.leases === 0) return next
    for (const slot of this.shelf) {
      const isFit = slot.leases === 0 && !this.isStale(slot, now)
      if (isFit && (!this.timed || this.expiry(slot, now) === undefined)) return slot
    }
    return next
  }

  private joinLine(lease: Lease<A, E>, now: number): void {
    this.group?.stirs(this)
    if (lease.kind === "alone") this.waitingAlone++
    lease.state = "waiting"
    lease.since = now
    lease.ticket = ++tickets
    this.line.push(lease)
    this.deadlock?.joined(lease)
    if (this.settings.acquireTimeout !== Infinity)
      this.deadlines.arm(lease.since + this.settings.acquireTimeout)
    if (this.events.heard)
      this.tellTraffic("WaitStarted", { fiber: lease.fiber.id, position: this.line.size })
  }

  private leaveLine(lease: Lease<A, E>): void {
    if (lease.kind === "alone") this.waitingAlone--
    this.line.remove(lease)
    this.deadlock?.left(lease)
    if (this.group !== undefined) this.usedAt = this.work.now()
  }

  /** Fails a borrower that waits. */
  fail(lease: Lease<A, E>, cause: Cause.Cause<E | PoolError>): void {
    this.leaveLine(lease)
    this.line.fail(lease, cause)
    // Last, as a tracer may do anything: the lease is served to nobody any more.
    if (isTraced(lease)) traceWait(this, lease, this.work.now() - lease.since, Exit.failCause(cause))
  }

  /** Fails a borrower that has just asked. */
  private refuse(lease: Lease<A, E>, error: PoolError): void {
    lease.state = "done"
    lease.failure = Exit.fail(error)
  }

  /** Whether a newcomer would be served before anybody else. */
  private mayLendNow(): boolean {
    return this.line.size === 0 && !this.suspended && this.state === "open"
  }

  /** The time, once what would be lent next to a newcomer is not past its limits. */
  private timeToLend(): number {
    let now = this.work.now()
    let slot: Slot<A> | undefined
    while (this.timed && this.mayLendNow() && (slot = this.shelf.next) !== undefined) {
      if (!this.closeExpired(slot, now)) break
      now = this.work.now()
    }
    return now
  }

  /** Takes a resource off the shelf that is past its limits; says whether it was. */
  private closeExpired(slot: Slot<A>, now: number): boolean {
    const expired = this.timed ? this.expiry(slot, now) : undefined
    if (expired === undefined) return false
    if (slot.leases === 0) this.close(slot, expired)
    else this.condemn(slot, expired)
    return true
  }

  /** Whether a resource has to be validated before it is lent. */
  private isStale(slot: Slot<A>, now: number): boolean {
    const { validate, validateAfterIdle } = this.settings
    return validate !== undefined && slot.leases === 0 && now - slot.knownGoodAt >= validateAfterIdle
  }

  expiry(slot: Slot<A>, now: number): CloseReason | undefined {
    const { maxAge, maxIdle } = this.settings
    // A limit of 0 means "never reused", and is seen to when the resource comes back.
    if (maxAge !== Infinity && maxAge > 0 && isOver(slot.maxAge, slot.createdAt, now)) return "maxAge"
    if (slot.leases > 0 || maxIdle === Infinity || maxIdle === 0) return undefined
    // `min` resources are kept however long nobody asks; their age still counts.
    return isOver(maxIdle, slot.idleSince, now) && this.live() > this.min ? "maxIdle" : undefined
  }

  /** Resources that would serve the whole line. */
  private demand(): number {
    const { concurrency } = this.settings
    if (concurrency === 1) return this.line.size
    return this.waitingAlone + Math.ceil((this.line.size - this.waitingAlone) / concurrency)
  }

  /** Resources that the line wants beyond those that are on their way, as far as they may be created. */
  shortage(): number {
    if (this.suspended || this.line.head === undefined) return 0
    const wanted = this.demand() - this.creating - this.validating
    return Math.min(wanted, this.max - this.slots.size, this.settings.createConcurrency - this.creating)
  }

  private wantsMore(): boolean {
    if (this.shortage() > 0) return true
    const live = this.live()
    if (live >= this.max) return false
    if (live < this.min) return this.refillAt === 0
    const { concurrency, targetUtilization } = this.settings
    if (targetUtilization === 1 || this.suspended) return false
    return live < Math.ceil((this.loans.size + this.line.size) / targetUtilization / concurrency)
  }

  private canGrow(): boolean {
    return (
      this.slots.size < this.max &&
      this.creating < this.settings.createConcurrency &&
      (this.group === undefined || this.group.take(this))
    )
  }

  /** Whether all that it has is at rest, and nobody waits. */
  isAtRest(): boolean {
    return this.idle === this.slots.size && this.loans.size === 0 && this.line.size === 0
  }

  /** Slots that will still be there when what is closing now is gone. */
  live(): number {
    return this.slots.size - this.closing
  }

  /** Whether as many as allowed wait for another borrower, and not just for a resource to be made ready. */
  private isLineFull(): boolean {
    const { concurrency, maxWaiting } = this.settings
    if (maxWaiting === Infinity) return false
    const growth = Math.min(Math.max(0, this.max - this.slots.size), this.group?.room(this) ?? Infinity)
    const coming = this.creating + this.busy + this.shelf.size + growth
    return this.line.size - coming * concurrency >= maxWaiting
  }

  // -----------------------------------------------------------------------------
  // Resources
  // -----------------------------------------------------------------------------

  private create(): void {
    const slot = new Slot<A>(++this.serial)
    const startedAt = this.work.now()
    this.group?.stirs(this)
    this.slots.add(slot)
    this.creating++
    slot.creator = this.work.fork(
      createResource(slot, this.settings, this.work, (cause, willRetry) => {
        this.totals.failures++
        this.lastFailure = cause
        if (this.events.noted) this.tell("CreateFailed", { cause, willRetry })
      })
    )
    // An `acquire` may close the pool that calls it, before `abandon` can know of it.
    if (this.state !== "open" && slot.phase === "creating" && slot.creator.pollUnsafe() === undefined)
      this.abandon(slot)
    slot.creator.addObserver((exit) =>
      this.onCreated(slot, startedAt, exit as Exit.Exit<A, E | CreateTimeout>)
    )
  }

  private onCreated(slot: Slot<A>, startedAt: number, exit: Exit.Exit<A, E | CreateTimeout>): void {
    slot.creator = undefined
    // Abandoned: see there.
    if (slot.phase !== "creating") return
    this.creating--
    if (exit._tag === "Failure") return this.onCreateFailed(slot, exit.cause)
    const now = this.work.now()
    const { maxAge, maxAgeJitter } = this.settings
    slot.phase = "ready"
    slot.value = exit.value
    slot.createdAt = slot.knownGoodAt = slot.idleSince = now
    slot.maxAge =
      maxAge === Infinity ? Infinity : maxAge * (1 - maxAgeJitter * this.random.nextDoubleUnsafe())
    slot.restOrder = ++this.rests
    this.idle++
    this.totals.created++
    this.lastFailure = undefined
    this.refillAt = 0
    this.refillPause = refillPauses.first
    if (this.events.noted) this.tell("Created", { resource: slot.id, took: now - startedAt })
    this.admit(slot, now)
    this.warmUps.check()
  }

  /** Finds its first use for a resource that has just been created. */
  private admit(slot: Slot<A>, now: number): void {
    if (slot.condemned !== undefined) return this.close(slot, slot.condemned)
    if (this.state !== "open") return this.close(slot, "abandoned")
    if (this.live() > this.max) return this.close(slot, "shrunk")
    // Whatever its limits are, it serves whom it was created for.
    if (this.line.head !== undefined && !this.suspended) this.serveHead(slot, now)
    this.offer(slot, now)
    this.pump()
    // One more than `min` lets those expire that were kept for it.
    if (this.min > 0) this.deadlines.armNext()
  }

  private onCreateFailed(slot: Slot<A>, cause: Cause.Cause<E | CreateTimeout>): void {
    const warmUps = this.warmUps.takeAll()
    const { head } = this.line
    if (this.state === "open" && head !== undefined) {
      // One that was recycled would have served nobody, and its error may be of credentials that nobody goes by any more.
      if (slot.condemned === undefined || head.spared++ >= mostSpared) this.fail(head, cause)
    } else if (this.state === "open") {
      this.refillAt = this.work.now() + this.refillPause
      this.refillPause = Math.min(this.refillPause * 2, refillPauses.most)
      this.deadlines.arm(this.refillAt)
    }
    this.leave(slot)
    if (slot.straggler === undefined) {
      this.gone(slot)
    } else {
      // What the attempt left behind still counts until it is cleaned up.
      this.work.whenEnded(slot.straggler, this.settings.destroyTimeout, () => this.cleanedUp(slot))
      this.pump()
    }
    for (const settle of warmUps) settle(Exit.failCause(cause))
  }

  /** Puts a resource where the next borrower finds it. */
  private offer(slot: Slot<A>, now: number): void {
    const isFree = slot.leases < this.settings.concurrency && slot.reservations === 0
    // Whoever was served with it before may have given it back.
    if (isFree && slot.phase === "ready" && slot.condemned === undefined) {
      this.shelf.put(slot)
      if (slot.leases === 0 && this.timed) this.deadlines.arm(this.deadlines.ofIdle(slot))
    }
    if (this.line.head !== undefined) this.pump(now)
    if (this.group !== undefined && slot.list !== undefined && slot.leases === 0) this.group.rests(this, slot)
  }

  /** Asks whether an idle resource is still good, for `lease` or, without one, to keep it alive. */
  validate(slot: Slot<A>, lease: Lease<A, E> | undefined): void {
    this.occupy(slot)
    if (lease !== undefined) this.validating++
    slot.checkedFor = lease
    this.perform(slot, this.settings.validate!, this.settings.validateTimeout, (exit) => {
      if (slot.phase !== "busy") return
      this.checked(slot)
      if (exit?._tag === "Success" && exit.value) return this.unoccupy(slot, "validated")
      if (lease?.state === "waiting" && ++lease.failedChecks >= this.settings.validateAttempts) {
        const attempts = lease.failedChecks
        this.fail(lease, Cause.fail(new ValidationFailed({ pool: this.settings.name, attempts })))
        if (this.events.noted) this.tell("Rejected", { fiber: lease.fiber.id, reason: "ValidationFailed" })
      }
      this.close(slot, "invalid")
    })
  }

  /** Nobody waits for what is being validated any more. */
  private checked(slot: Slot<A>): void {
    if (slot.checkedFor !== undefined) this.validating--
    slot.checkedFor = undefined
  }

  private reset(slot: Slot<A>): void {
    this.occupy(slot)
    const task = this.resetOf(slot)
    // Asked what to do, it may have closed the pool.
    if (slot.phase !== "busy") return
    // Nothing to do, as with a connection on which nothing was begun: that is not worth a fiber.
    if (Exit.isExit(task) && task._tag === "Success") return this.unoccupy(slot, "reset")
    this.perform(
      slot,
      () => task,
      this.settings.resetTimeout,
      (exit) => {
        if (slot.phase !== "busy") return
        if (exit?._tag === "Success") return this.unoccupy(slot, "reset")
        this.close(slot, "resetFailed")
        this.warn("a resource could not be reset, and is closed", exit)
      }
    )
  }

  private resetOf(slot: Slot<A>): Effect.Effect<unknown, unknown, any> {
    try {
      return this.settings.reset!(slot.value)
    } catch (error) {
      return Effect.die(error)
    }
  }

  /** Does something with a resource that is occupied. */
  private perform<B>(
    slot: Slot<A>,
    task: (item: A) => Effect.Effect<B, unknown, any>,
    timeout: number,
    done: (exit: Exit.Exit<B, unknown> | undefined) => void
  ): void {
    const worker = this.work.bounded(
      Effect.scoped(Effect.suspend(() => task(slot.value))),
      timeout,
      (exit) => {
        slot.worker = undefined
        done(exit)
      }
    )
    if (worker.pollUnsafe() !== undefined) return
    if (slot.phase === "busy") slot.worker = worker
    // It has closed the pool, before `close` could know of it.
    else worker.interruptUnsafe()
  }

  /** Takes a resource that nobody holds, to do something with it that no borrower may see. */
  private occupy(slot: Slot<A>): void {
    this.group?.stirs(this)
    this.shelf.remove(slot)
    slot.phase = "busy"
    this.idle--
    this.busy++
  }

  private unoccupy(slot: Slot<A>, after: "validated" | "reset"): void {
    const now = this.work.now()
    slot.phase = "ready"
    this.idle++
    this.busy--
    if (after === "validated") slot.knownGoodAt = now
    const ending = this.reasonToClose(slot, now)
    if (ending !== undefined) return this.close(slot, ending)
    // What has just been validated is lent whatever `validateAfterIdle` is.
    if (after === "validated" && this.line.head !== undefined && !this.suspended) this.serveHead(slot, now)
    this.offer(slot, now)
  }

  condemn(slot: Slot<A>, reason: CloseReason): void {
    slot.condemned ??= reason
    this.shelf.remove(slot)
  }

  /** Closes a resource. Its slot stays taken until that is done, or has taken too long. */
  close(slot: Slot<A>, reason: CloseReason): void {
    if (slot.phase === "closing") return
    this.group?.stirs(this)
    this.shelf.remove(slot)
    if (slot.phase === "busy") {
      this.busy--
      this.checked(slot)
    } else if (slot.leases === 0) this.idle--
    this.leave(slot)
    slot.condemned ??= reason
    slot.worker?.interruptUnsafe()
    const finalize = slot.scope === undefined ? Effect.void : Scope.close(slot.scope, Exit.void)
    slot.scope = undefined
    this.work.whenEnded(this.work.fork(finalize), this.settings.destroyTimeout, (exit) => {
      this.totals.destroyed++
      if (exit === undefined || exit._tag === "Failure") this.warn("a resource did not close cleanly", exit)
      if (this.events.noted) {
        this.tell("Closed", {
          resource: slot.id,
          reason,
          age: this.work.now() - slot.createdAt,
          uses: slot.uses,
          failure: exit?._tag === "Failure" ? exit.cause : undefined,
          timedOut: exit === undefined
        })
      }
      this.gone(slot)
    })
    // There may be fewer than `min` now, and that need not wait for the end of this one.
    if (this.slots.has(slot)) this.pump()
  }

  /** Stops a creation; its slot goes when the attempt has ended, or has taken too long to. */
  abandon(slot: Slot<A>): void {
    // It is being started at this moment: see `create`.
    if (slot.creator === undefined) return
    const attempt = slot.creator
    this.creating--
    this.leave(slot)
    attempt.interruptUnsafe()
    const awaited = slot.straggler ?? attempt
    this.work.whenEnded(awaited, this.settings.destroyTimeout, () => {
      // It had just succeeded, and nothing else closes it.
      const late = slot.scope
      slot.scope = undefined
      let cleanUp = slot.straggler === awaited ? undefined : slot.straggler
      if (late !== undefined) {
        cleanUp = this.work.fork(Effect.ignoreCause(Scope.close(late, Exit.void), { log: "Warn" }))
      }
      if (cleanUp === undefined) this.cleanedUp(slot)
      else this.work.whenEnded(cleanUp, this.settings.destroyTimeout, () => this.cleanedUp(slot))
    })
  }

  private cleanedUp(slot: Slot<A>): void {
    if (this.events.noted) this.tell("CreateCleanedUp", { resource: slot.id })
    this.gone(slot)
  }

  /** The slot's resource is on its way out, and counts until it is {@link gone}. */
  leave(slot: Slot<A>): void {
    slot.phase = "closing"
    this.closing++
    this.group?.leaving(slot)
  }

  /** Ends a slot: there is room for another. */
  gone(slot: Slot<A>): void {
    this.closing--
    this.slots.delete(slot)
    this.group?.left(this)
    if (this.state !== "open") return void this.ending.check()
    this.pump()
    this.deadlock?.check(undefined)
  }

  // -----------------------------------------------------------------------------
  // Operations on the whole pool
  // -----------------------------------------------------------------------------

  /** The slot that has `item`. Equal values may be pooled more than once: one that `fiber` holds is meant. */
  find(item: A, fiber: unknown): Slot<A> | undefined {
    let found = this.findLent(item, fiber)
    if (found !== undefined) return found
    for (const slot of this.slots) {
      if ((slot.phase !== "ready" && slot.phase !== "busy") || !Object.is(slot.value, item)) continue
      if (slot.leases > 0) return slot
      found ??= slot
    }
    return found
  }

  findLent(item: A, fiber: unknown): Slot<A> | undefined {
    for (const { fiber: holder, slot } of this.loans) {
      if (holder === fiber && Object.is(slot!.value, item)) return slot
    }
    return undefined
  }

  invalidate(slot: Slot<A>, reason: CloseReason): void {
    if (slot.phase === "ready" && slot.leases === 0) this.close(slot, reason)
    else if (slot.phase !== "closing") this.condemn(slot, reason)
  }

  /** Closes those resources at rest for which there is a reason, and says how many. */
  closeIdle(reason: (slot: Slot<A>) => CloseReason | undefined): number {
    let closed = 0
    for (const slot of this.shelf.atRest()) {
      const ending = slot.phase === "ready" && slot.leases === 0 ? reason(slot) : undefined
      if (ending === undefined) continue
      this.close(slot, ending)
      closed++
    }
    return closed
  }

  /** Lets go of all that nobody holds or waits for. */
  vacate(reason: CloseReason): void {
    this.deadlines.disarm()
    for (const slot of Array.from(this.slots)) {
      if (slot.phase === "creating") this.abandon(slot)
      else if (slot.phase === "busy") this.close(slot, reason)
    }
    this.closeIdle(() => reason)
  }

  evictExpired(): number {
    const now = this.work.now()
    return this.closeIdle((slot) => this.expiry(slot, now))
  }

  recycle(): void {
    for (const slot of Array.from(this.slots)) this.invalidate(slot, "recycled")
    if (this.events.noted) this.tell("Recycled", {})
  }

  resize(min: number, max: number): void {
    new Reader(this.settings.name).sizes(min, max)
    this.min = min
    this.max = max
    if (this.events.noted) this.tell("Resized", { min, max })
    this.closeIdle(() => (this.live() > this.max ? "shrunk" : undefined))
    this.pump()
    this.deadlines.armNext()
    this.warmUps.check()
    this.deadlock?.check(undefined)
  }

  suspend(): void {
    if (this.suspended || this.state !== "open") return
    this.suspended = true
    if (this.events.noted) this.tell("Suspended", {})
  }

  resume(): void {
    if (!this.suspended) return
    this.suspended = false
    if (this.events.noted) this.tell("Resumed", {})
    this.pump()
    this.deadlock?.check(undefined)
  }

  /** Keeps the slot for those who have it. */
  reserve(slot: Slot<A>): void {
    slot.reservations++
    this.shelf.remove(slot)
  }

  unreserve(slot: Slot<A>): void {
    if (--slot.reservations > 0 || slot.phase !== "ready") return
    const now = this.work.now()
    const ending = slot.leases === 0 ? this.reasonToClose(slot, now) : undefined
    if (ending === undefined) this.offer(slot, now)
    else this.close(slot, ending)
  }

  /**
   * Calls `settle` once there are `min` resources, or with the first failure to create one. A caller that
   * gives up takes it out of `warmUps`.
   */
  warmUp(settle: Settle<E>): void {
    this.refillAt = 0
    this.warmUps.add(settle)
    this.pump()
    this.warmUps.check()
  }

  /** See {@link Shutdown.run}. */
  shutdown(closer: unknown): Effect.Effect<void> {
    return this.ending.run(closer)
  }

  // -----------------------------------------------------------------------------
  // Telling
  // -----------------------------------------------------------------------------

  tell<Tag extends Parameters<Events["tell"]>[1]>(tag: Tag, fields: EventFields<Tag>): void {
    this.events.tell(this.settings.name, tag, fields)
  }

  private tellTraffic<Tag extends Parameters<Events["tellTraffic"]>[1]>(
    tag: Tag,
    fields: EventFields<Tag>
  ): void {
    this.events.tellTraffic(this.settings.name, tag, fields)
  }

  private warn(message: string, exit: Exit.Exit<unknown, unknown> | undefined): void {
    const text = `pool ${JSON.stringify(this.settings.name)}: ${message}`
    this.work.detach(
      exit?._tag === "Failure"
        ? Effect.logWarning(text, exit.cause)
        : Effect.logWarning(`${text} (timed out)`)
    )
  }
}
