import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import type { SchedulerDispatcher } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import {
  AcquireTimeout,
  CreateTimeout,
  LineFull,
  type Phase,
  PoolClosed,
  type PoolError,
  ValidationFailed,
  WouldDeadlock
} from "../PoolError.ts"
import { type CloseReason, PoolEvent } from "../PoolEvent.ts"
import { createResource } from "./create.ts"
import { Deadlock } from "./deadlock.ts"
import { Events } from "./events.ts"
import type { Lease } from "./lease.ts"
import { List } from "./list.ts"
import type { Lease as LeaseInfo } from "../Pool.ts"
import { Reader, type Settings } from "./options.ts"
import { Slot } from "./slot.ts"
import type { Stats } from "./stats.ts"
import { Alarm, isDue, isOver, overAt, Work } from "./work.ts"

/** How long every holder's family must have stood in line, and nothing come back, to be called a deadlock. */
const suspicionMillis = 5_000

/** The pauses between attempts to get back to `min` after a failed one, unless a borrower asks first. */
const refillPauses = { first: 100, most: 30_000 }

/** Decides over the room that several pools share. See keyed.ts. */
export interface Group {
  /** Takes one place of the shared room; if there is none, remembers that `core` wants it. */
  readonly take: (core: Core<any, any>) => boolean
  /** A place will be free as soon as what is in it has closed. */
  readonly leaving: () => void
  /** A place that was {@link leaving} is free. */
  readonly left: () => void
  /** `core` has something at rest. */
  readonly rests: (core: Core<any, any>) => void
  /** Whether `core` must give up a resource that comes back, because others need the room more. */
  readonly claims: (core: Core<any, any>) => boolean
  /** Where the pools of the group tell what happens. */
  readonly events: Events
}

/**
 * The pool itself: one synchronous state machine, in which every change that could let a borrower go on
 * ends in {@link Core.pump}. All of a user's effects (create, validate, reset, finalize) run in fibers of
 * their own, so no borrower waits for them or can abort them.
 */
export class Core<A, E> {
  min: number
  max: number
  state: "open" | "closing" | "closed" = "open"
  suspended = false

  /** Everything that counts against `max`: creating, at rest, on loan, busy and closing. */
  readonly slots = new Set<Slot<A>>()
  /** What can be lent now: ready, room for a borrower, not condemned, not reserved. By `idleSince`. */
  readonly available = new List<Slot<A>>()
  /** Borrowers without a resource, oldest first, so by deadline too. */
  readonly line = new List<Lease<A, E>>()
  /** Loans, oldest first. */
  readonly loans = new List<Lease<A, E>>()

  /** Slots that are "ready" without a borrower. */
  idle = 0
  /** Slots that are "creating". */
  creating = 0
  /** Slots that are "closing". */
  closing = 0
  /** Slots that are "busy" because they are being validated. */
  validating = 0

  created = 0
  destroyed = 0
  borrowed = 0
  timeouts = 0
  failures = 0

  /** Slots made so far: the next one's number. */
  private serial = 0
  /** Borrowers whose wait is over, and who have not been woken. */
  private ready: Array<Lease<A, E>> = []
  private pumping = false
  /** Something changed while pumping. */
  private pumpAgain = false
  /** The most recent failure to create, until one succeeds. */
  private lastFailure: Cause.Cause<unknown> | undefined = undefined
  /** Until when creating for `min` alone waits; above 0 only after a failure to create. */
  private refillAt = 0
  private refillPause = refillPauses.first
  /** Since when every loan's family has stood in line. */
  private suspectedAt: number | undefined = undefined

  /** Who waits until there are `min`. */
  readonly warmUps = new Set<(result: Effect.Effect<void, E | PoolError>) => void>()
  /** Calls off what closing would do by force. */
  private stopForce: (() => void) | undefined = undefined
  /** Loans by `Pool.acquire`, by their resource. */
  private readonly manual = new Map<A, Array<Lease<A, E>>>()

  readonly settings: Settings<A, E>
  readonly group: Group | undefined
  readonly work: Work
  readonly events: Events
  readonly deadlock: Deadlock | undefined
  readonly terminated = Deferred.makeUnsafe<void>()
  private readonly alarm: Alarm
  private readonly dispatcher: SchedulerDispatcher
  private readonly random: (typeof Random.Random)["Service"]

  constructor(settings: Settings<A, E>, work: Work, dispatcher: SchedulerDispatcher, group?: Group) {
    this.settings = settings
    this.min = settings.min
    this.max = settings.max
    this.group = group
    this.work = work
    this.dispatcher = dispatcher
    this.random = Context.get(work.context, Random.Random)
    this.events = group?.events ?? new Events(work, settings.name)
    this.alarm = new Alarm(work, (now) => this.onAlarm(now))
    // With a deadline a deadlock resolves itself, and borrows need not be marked.
    this.deadlock = settings.acquireTimeout === Infinity ? new Deadlock(this) : undefined
  }

  // ---------------------------------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------------------------------

  /**
   * Serves `lease` at once if nobody is ahead of it, else puts it in the line. Afterwards it is "held",
   * "waiting", or "done" with its failure.
   */
  ask(lease: Lease<A, E>): void {
    const now = this.work.now()
    if (this.line.size === 0 && !this.suspended && this.state === "open") {
      const slot = this.next(now)
      if (slot !== undefined && !this.isStale(slot, now)) {
        this.lend(slot, lease, now, 0)
        if (this.settings.targetUtilization < 1) this.pump()
        return
      }
    }
    if (this.state !== "open") return this.refuse(lease, new PoolClosed({ pool: this.settings.name }))
    if (this.settings.maxWaiting !== Infinity && this.waitingForOthers() >= this.settings.maxWaiting) {
      this.reject(lease, "LineFull")
      return this.refuse(
        lease,
        new LineFull({ pool: this.settings.name, maxWaiting: this.settings.maxWaiting, stats: this.stats() })
      )
    }
    lease.state = "waiting"
    lease.since = now
    this.line.push(lease)
    this.deadlock?.joined(lease)
    if (this.settings.acquireTimeout !== Infinity) this.alarm.arm(now + this.settings.acquireTimeout)
    if (this.events.heard) {
      this.events.publish(
        PoolEvent.WaitStarted({ ...this.stamp(), fiber: lease.fiber.id, position: this.line.size })
      )
    }
    this.pump()
    if (lease.state === "waiting") this.checkDeadlock(lease)
  }

  /** Serves `lease` if that needs no wait at all. What has to be created first is on its way afterwards. */
  tryAsk(lease: Lease<A, E>): boolean {
    if (this.state !== "open" || this.suspended || this.line.size > 0) return false
    const now = this.work.now()
    let slot = this.next(now)
    if (slot === undefined && this.creating === 0 && this.canGrow()) {
      this.create()
      slot = this.next(now)
    } else if (slot !== undefined && this.isStale(slot, now)) {
      slot = undefined
    }
    if (slot === undefined) return false
    this.lend(slot, lease, now, 0)
    return true
  }

  /** Ends a borrow, however far it came: leaves the line, or gives back. Does nothing the second time. */
  finish(lease: Lease<A, E>): void {
    if (lease.state === "held") return this.giveBack(lease)
    if (lease.state !== "waiting") return
    this.leaveLine(lease)
    lease.state = "done"
    if (this.events.heard) {
      this.events.publish(
        PoolEvent.WaitCancelled({
          ...this.stamp(),
          fiber: lease.fiber.id,
          waited: this.work.now() - lease.since
        })
      )
    }
  }

  /** Remembers a loan that {@link releaseManual} is to end. */
  lentManually(lease: Lease<A, E>): void {
    const item = lease.slot!.value
    const leases = this.manual.get(item)
    if (leases === undefined) this.manual.set(item, [lease])
    else leases.push(lease)
  }

  /** Whether there was such a loan to end. Of several on one resource, the fiber's own is meant. */
  releaseManual(item: A, fiber: unknown): boolean {
    const leases = this.manual.get(item)
    if (leases === undefined) return false
    const own = leases.findIndex((lease) => lease.fiber === fiber)
    const [lease] = leases.splice(Math.max(own, 0), 1)
    if (leases.length === 0) this.manual.delete(item)
    this.finish(lease!)
    return true
  }

  private lend(slot: Slot<A>, lease: Lease<A, E>, now: number, waited: number): void {
    if (slot.leases++ === 0) this.idle--
    slot.uses++
    if (slot.leases >= this.settings.concurrency) this.available.remove(slot)
    if (slot.uses >= this.settings.maxUses) this.condemn(slot, "maxUses")
    lease.state = "held"
    lease.slot = slot
    lease.since = now
    lease.span = lease.fiber.cache.span
    this.loans.push(lease)
    this.borrowed++
    if (this.settings.leakAfter !== Infinity) this.alarm.arm(now + this.settings.leakAfter)
    if (this.events.heard) {
      this.events.publish(
        PoolEvent.Borrowed({ ...this.stamp(), resource: slot.id, fiber: lease.fiber.id, waited })
      )
    }
  }

  private giveBack(lease: Lease<A, E>): void {
    const slot = lease.slot!
    const now = this.work.now()
    this.loans.remove(lease)
    this.deadlock?.returned(lease)
    this.suspectedAt = undefined
    lease.state = "done"
    lease.slot = undefined
    if (this.events.heard) {
      this.events.publish(
        PoolEvent.Returned({
          ...this.stamp(),
          resource: slot.id,
          fiber: lease.fiber.id,
          held: now - lease.since
        })
      )
    }
    slot.leases--
    // A pool that is closed by force closes resources under their holders.
    if (slot.phase !== "ready") return
    slot.knownGoodAt = now
    if (slot.leases === 0) {
      this.idle++
      slot.idleSince = now
    }
    const ending = this.reasonToClose(slot, now)
    if (ending !== undefined) {
      if (slot.leases === 0) this.close(slot, ending)
      else this.condemn(slot, ending)
    } else if (slot.leases === 0 && this.settings.reset !== undefined) {
      this.reset(slot)
    } else {
      this.offer(slot)
    }
  }

  /** Why a resource that comes back must not be lent again, if so. */
  private reasonToClose(slot: Slot<A>, now: number): CloseReason | undefined {
    if (slot.condemned !== undefined) return slot.condemned
    if (this.state !== "open") return "poolClosed"
    if (
      this.settings.maxAge !== Infinity &&
      (this.settings.maxAge === 0 || isOver(slot.maxAge, slot.createdAt, now))
    ) {
      return "maxAge"
    }
    if (slot.leases > 0) return undefined
    if (this.settings.maxIdle === 0) return "maxIdle"
    if (this.live() > this.max) return "shrunk"
    return this.group?.claims(this) === true ? "stolen" : undefined
  }

  // ---------------------------------------------------------------------------------------------------
  // The line
  // ---------------------------------------------------------------------------------------------------

  /**
   * Serves the line as far as that is possible now, and creates what is missing. Whoever changes anything
   * that a borrower may be waiting for calls this; it may be called at any time, also by itself.
   */
  pump(): void {
    if (this.pumping) {
      this.pumpAgain = true
      return
    }
    this.pumping = true
    do {
      this.pumpAgain = false
      if (this.state === "open") this.serve()
    } while (this.pumpAgain)
    this.pumping = false
  }

  private serve(): void {
    while (true) {
      this.lendAvailable()
      if (!this.wantsMore() || !this.canGrow()) return
      // It may be there when this returns.
      this.create()
    }
  }

  private lendAvailable(): void {
    if (this.suspended || this.line.head === undefined || this.available.head === undefined) return
    const now = this.work.now()
    let slot: Slot<A> | undefined
    while (this.line.head !== undefined && (slot = this.next(now)) !== undefined) {
      if (!this.isStale(slot, now)) this.serveHead(slot, now)
      // One validation for each that waits, beside what is being created: the first to end serves.
      else if (this.validating < this.demand()) this.validate(slot, this.nthInLine(this.validating))
      else return
    }
  }

  private serveHead(slot: Slot<A>, now: number): void {
    const lease = this.line.head!
    const waited = now - lease.since
    this.leaveLine(lease)
    this.lend(slot, lease, now, waited)
    this.wake(lease)
  }

  private leaveLine(lease: Lease<A, E>): void {
    this.line.remove(lease)
    this.deadlock?.left(lease)
  }

  /** Fails a borrower that waits. */
  private fail(lease: Lease<A, E>, cause: Cause.Cause<E | PoolError>): void {
    this.leaveLine(lease)
    lease.state = "done"
    lease.failure = Exit.failCause(cause)
    this.wake(lease)
  }

  /** Fails a borrower that has just asked. */
  private refuse(lease: Lease<A, E>, error: PoolError): void {
    lease.state = "done"
    lease.failure = Exit.fail(error)
  }

  /** Borrowers are woken together in a task of their own, never on the stack of the one who gives back. */
  private wake(lease: Lease<A, E>): void {
    if (this.ready.push(lease) === 1) this.dispatcher.scheduleTask(this.wakeAll, 0)
  }

  private readonly wakeAll = (): void => {
    const ready = this.ready
    this.ready = []
    for (const lease of ready) lease.resume?.(Effect.void)
  }

  private nthInLine(n: number): Lease<A, E> | undefined {
    let lease = this.line.head
    while (lease !== undefined && n-- > 0) lease = lease.next
    return lease
  }

  /** The resource to lend next; closes the expired that stand before it. */
  private next(now: number): Slot<A> | undefined {
    const { available, settings } = this
    let slot: Slot<A> | undefined
    while ((slot = settings.order === "lifo" ? available.tail : available.head) !== undefined) {
      const expired = this.expiry(slot, now)
      if (expired === undefined) return slot
      if (slot.leases === 0) this.close(slot, expired)
      else this.condemn(slot, expired)
    }
    return undefined
  }

  /** Whether a resource has to be validated before it is lent. */
  private isStale(slot: Slot<A>, now: number): boolean {
    return (
      this.settings.validate !== undefined &&
      slot.leases === 0 &&
      now - slot.knownGoodAt >= this.settings.validateAfterIdle
    )
  }

  private expiry(slot: Slot<A>, now: number): CloseReason | undefined {
    const { maxAge, maxIdle } = this.settings
    // A limit of 0 means "never reused", and is seen to when the resource comes back.
    if (maxAge !== Infinity && maxAge > 0 && isOver(slot.maxAge, slot.createdAt, now)) return "maxAge"
    if (slot.leases > 0 || maxIdle === Infinity || maxIdle === 0) return undefined
    // `min` resources are kept however long nobody asks; their age still counts.
    return isOver(maxIdle, slot.idleSince, now) && this.live() > this.min ? "maxIdle" : undefined
  }

  /** Resources that would serve the whole line. */
  private demand(): number {
    return this.settings.concurrency === 1
      ? this.line.size
      : Math.ceil(this.line.size / this.settings.concurrency)
  }

  /** Resources that the line wants beyond those that are on their way. */
  shortage(): number {
    return this.suspended ? 0 : Math.max(0, this.demand() - this.creating - this.validating)
  }

  private wantsMore(): boolean {
    if (this.shortage() > 0) return true
    const live = this.live()
    if (live >= this.max) return false
    if (live < this.min) return this.refillAt === 0
    const { concurrency, targetUtilization } = this.settings
    return (
      targetUtilization < 1 &&
      !this.suspended &&
      live < Math.ceil((this.loans.size + this.line.size) / targetUtilization / concurrency)
    )
  }

  private canGrow(): boolean {
    return (
      this.slots.size < this.max &&
      this.creating < this.settings.createConcurrency &&
      (this.group === undefined || this.group.take(this))
    )
  }

  /** Slots that will still be there when what is closing now is gone. */
  live(): number {
    return this.slots.size - this.closing
  }

  /** How many in line wait for another borrower, and not just for a resource to be created or validated. */
  private waitingForOthers(): number {
    const coming =
      this.creating + this.validating + this.available.size + Math.max(0, this.max - this.slots.size)
    return this.line.size - coming * this.settings.concurrency
  }

  // ---------------------------------------------------------------------------------------------------
  // Resources
  // ---------------------------------------------------------------------------------------------------

  private create(): void {
    const slot = new Slot<A>(++this.serial)
    const startedAt = this.work.now()
    this.slots.add(slot)
    this.creating++
    slot.creator = this.work.fork(
      createResource(slot, this.settings, this.work, (cause, willRetry) => {
        this.failures++
        this.lastFailure = cause
        if (this.events.heard)
          this.events.publish(PoolEvent.CreateFailed({ ...this.stamp(), cause, willRetry }))
      })
    )
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
    this.idle++
    this.created++
    this.lastFailure = undefined
    this.refillAt = 0
    this.refillPause = refillPauses.first
    if (this.events.heard) {
      this.events.publish(PoolEvent.Created({ ...this.stamp(), resource: slot.id, took: now - startedAt }))
    }
    this.settleWarmUps()
    if (slot.condemned !== undefined) return this.close(slot, slot.condemned)
    if (this.state !== "open") return this.close(slot, "abandoned")
    if (this.live() > this.max) return this.close(slot, "shrunk")
    // Whatever its limits are, it serves whom it was created for.
    if (this.line.head !== undefined && !this.suspended) this.serveHead(slot, now)
    this.offer(slot)
  }

  private onCreateFailed(slot: Slot<A>, cause: Cause.Cause<E | CreateTimeout>): void {
    this.settleWarmUps(Exit.failCause(cause))
    if (this.state === "open" && this.line.head !== undefined) {
      this.fail(this.line.head, cause)
    } else if (this.state === "open") {
      this.refillAt = this.work.now() + this.refillPause
      this.refillPause = Math.min(this.refillPause * 2, refillPauses.most)
      this.alarm.arm(this.refillAt)
    }
    this.leave(slot)
    if (slot.straggler === undefined) return this.gone(slot)
    // What the attempt left behind still counts until it is cleaned up.
    this.work.ended(slot.straggler, this.settings.destroyTimeout, () => this.gone(slot))
    this.pump()
  }

  /** Puts a resource where the next borrower finds it. */
  private offer(slot: Slot<A>): void {
    if (slot.leases < this.settings.concurrency && slot.condemned === undefined && slot.reservations === 0) {
      if (slot.leases === 0) this.available.remove(slot)
      if (slot.list === undefined) this.insertAvailable(slot)
      if (slot.leases === 0) {
        this.alarm.arm(this.idleDeadline(slot))
        this.group?.rests(this)
      }
    }
    this.pump()
  }

  private insertAvailable(slot: Slot<A>): void {
    // Those created ahead of any borrower come out in the order of their creation, also last in, first out.
    if (slot.uses === 0 && this.settings.order === "lifo") return this.available.insertAfter(undefined, slot)
    if (slot.leases > 0) return this.available.push(slot)
    let anchor = this.available.tail
    while (anchor !== undefined && anchor.leases === 0 && anchor.idleSince > slot.idleSince)
      anchor = anchor.previous
    this.available.insertAfter(anchor, slot)
  }

  /** Asks whether an idle resource is still good, for `lease` or, without one, to keep it alive. */
  private validate(slot: Slot<A>, lease: Lease<A, E> | undefined): void {
    this.occupy(slot)
    this.validating++
    slot.checkedFor = lease
    const valid = Effect.suspend(() => this.settings.validate!(slot.value))
    slot.worker = this.work.bounded(valid, this.settings.validateTimeout, (exit) => {
      this.validating--
      const checkedFor = slot.checkedFor as Lease<A, E> | undefined
      slot.checkedFor = undefined
      if (slot.phase !== "busy") return
      if (exit !== undefined && exit._tag === "Success" && exit.value) {
        slot.knownGoodAt = this.work.now()
        return this.unoccupy(slot, "validated")
      }
      if (checkedFor?.state === "waiting" && ++checkedFor.failedChecks >= this.settings.validateAttempts) {
        const attempts = checkedFor.failedChecks
        this.fail(checkedFor, Cause.fail(new ValidationFailed({ pool: this.settings.name, attempts })))
      }
      this.close(slot, "invalid")
    })
  }

  private reset(slot: Slot<A>): void {
    this.occupy(slot)
    const reset = Effect.suspend(() => this.settings.reset!(slot.value))
    slot.worker = this.work.bounded(reset, this.settings.resetTimeout, (exit) => {
      if (slot.phase !== "busy") return
      if (exit?._tag === "Success") return this.unoccupy(slot, "reset")
      this.log("a resource could not be reset, and is closed", exit)
      this.close(slot, "resetFailed")
    })
  }

  /** Takes a resource that nobody holds, to do something with it that no borrower may see. */
  private occupy(slot: Slot<A>): void {
    this.available.remove(slot)
    slot.phase = "busy"
    this.idle--
  }

  private unoccupy(slot: Slot<A>, after: "validated" | "reset"): void {
    const now = this.work.now()
    slot.phase = "ready"
    this.idle++
    const ending = this.reasonToClose(slot, now)
    if (ending !== undefined) return this.close(slot, ending)
    // What has just been validated is lent whatever `validateAfterIdle` is.
    if (after === "validated" && this.line.head !== undefined && !this.suspended) this.serveHead(slot, now)
    this.offer(slot)
  }

  private condemn(slot: Slot<A>, reason: CloseReason): void {
    slot.condemned ??= reason
    this.available.remove(slot)
  }

  /** Closes a resource that nobody holds. Its slot stays taken until that is done, or has taken too long. */
  close(slot: Slot<A>, reason: CloseReason): void {
    this.available.remove(slot)
    if (slot.phase === "ready" && slot.leases === 0) this.idle--
    this.leave(slot)
    slot.condemned ??= reason
    slot.worker?.interruptUnsafe()
    const finalize = slot.scope === undefined ? Effect.void : Scope.close(slot.scope, Exit.void)
    slot.scope = undefined
    const done = (exit: Exit.Exit<void, unknown> | undefined): void => {
      this.destroyed++
      if (exit === undefined || exit._tag === "Failure") this.log("a resource did not close cleanly", exit)
      if (this.events.heard) {
        this.events.publish(
          PoolEvent.Closed({
            ...this.stamp(),
            resource: slot.id,
            reason,
            age: this.work.now() - slot.createdAt,
            uses: slot.uses,
            failure: exit?._tag === "Failure" ? exit.cause : undefined,
            timedOut: exit === undefined
          })
        )
      }
      this.gone(slot)
    }
    this.work.ended(this.work.fork(finalize), this.settings.destroyTimeout, done)
    // Fewer are left than `min`, perhaps, and that does not have to wait for the end of this one.
    if (slot.phase === "closing") this.pump()
  }

  /** The slot's resource is on its way out, and counts until it is {@link gone}. */
  private leave(slot: Slot<A>): void {
    slot.phase = "closing"
    this.closing++
    this.group?.leaving()
  }

  /** Ends a slot: there is room for another. */
  private gone(slot: Slot<A>): void {
    this.closing--
    this.slots.delete(slot)
    this.group?.left()
    if (this.state === "open") this.pump()
    else this.checkTerminated()
  }

  /** Closes the resource that has been idle longest, if there is one. */
  stealIdle(): boolean {
    for (const slot of this.available) {
      if (slot.leases > 0) continue
      this.close(slot, "stolen")
      return true
    }
    return false
  }

  // ---------------------------------------------------------------------------------------------------
  // Operations on the whole pool
  // ---------------------------------------------------------------------------------------------------

  find(item: A, fiber: unknown): Slot<A> | undefined {
    let found: Slot<A> | undefined
    // Equal values may be pooled more than once: the one that the caller itself holds is meant.
    for (const lease of this.loans) {
      if (Object.is(lease.slot!.value, item) && (found === undefined || lease.fiber === fiber))
        found = lease.slot
    }
    if (found !== undefined) return found
    for (const slot of this.slots) {
      if ((slot.phase === "ready" || slot.phase === "busy") && Object.is(slot.value, item)) return slot
    }
    return undefined
  }

  invalidate(slot: Slot<A>, reason: CloseReason): void {
    if (slot.phase === "ready" && slot.leases === 0) this.close(slot, reason)
    else if (slot.phase !== "closing") this.condemn(slot, reason)
  }

  /** Closes idle resources, those that have been idle longest first, and says how many. */
  closeIdle(reason: (slot: Slot<A>) => CloseReason | undefined): number {
    let closed = 0
    // Of those that are idle now: closing one may at once make room for a new one.
    for (const slot of Array.from(this.available)) {
      if (slot.phase !== "ready" || slot.leases > 0) continue
      const ending = reason(slot)
      if (ending === undefined) continue
      this.close(slot, ending)
      closed++
    }
    return closed
  }

  clear(): number {
    return this.closeIdle(() => "cleared")
  }

  evictExpired(): number {
    const now = this.work.now()
    return this.closeIdle((slot) => this.expiry(slot, now))
  }

  recycle(): void {
    for (const slot of Array.from(this.slots)) this.invalidate(slot, "recycled")
    if (this.events.heard) this.events.publish(PoolEvent.Recycled(this.stamp()))
  }

  resize(min: number, max: number): void {
    new Reader(this.settings.name).sizes(min, max)
    this.min = min
    this.max = max
    if (this.events.heard) this.events.publish(PoolEvent.Resized({ ...this.stamp(), min, max }))
    this.closeIdle(() => (this.live() > this.max ? "shrunk" : undefined))
    this.pump()
    this.alarm.arm(this.nextDeadline())
    this.checkDeadlock(undefined)
  }

  suspend(): void {
    if (this.suspended || this.state !== "open") return
    this.suspended = true
    if (this.events.heard) this.events.publish(PoolEvent.Suspended(this.stamp()))
  }

  resume(): void {
    if (!this.suspended) return
    this.suspended = false
    if (this.events.heard) this.events.publish(PoolEvent.Resumed(this.stamp()))
    this.pump()
  }

  reserve(slot: Slot<A>): void {
    slot.reservations++
    this.available.remove(slot)
  }

  unreserve(slot: Slot<A>): void {
    if (--slot.reservations === 0 && slot.phase === "ready") this.offer(slot)
  }

  /**
   * Turns everyone away, closes what is at rest, and waits for the borrowed until `closeTimeout`. Then the
   * holders are interrupted, and what they have not given back after `destroyTimeout` is closed under them.
   *
   * What the closing fiber itself holds cannot come back before it goes on. If a body is to end that loan,
   * the closer does not wait; if `Pool.release` is, the resource is closed now.
   */
  shutdown(closer: unknown): Effect.Effect<void> {
    if (this.state === "open") this.beginShutdown(closer)
    let holds = false
    for (const lease of Array.from(this.loans)) {
      if (lease.fiber !== closer) continue
      if (lease.kind === "scoped") holds = true
      else if (lease.slot!.phase === "ready") this.close(lease.slot!, "poolClosed")
    }
    return holds ? Effect.void : Deferred.await(this.terminated)
  }

  private beginShutdown(closer: unknown): void {
    this.state = "closing"
    this.alarm.stop()
    if (this.events.heard) this.events.publish(PoolEvent.Closing(this.stamp()))
    for (const lease of this.line) this.fail(lease, Cause.fail(new PoolClosed({ pool: this.settings.name })))
    this.settleWarmUps()
    for (const slot of Array.from(this.slots)) {
      if (slot.phase === "creating") this.abandon(slot)
      else if (slot.phase === "busy" || (slot.phase === "ready" && slot.leases === 0))
        this.close(slot, "poolClosed")
    }
    if (this.checkTerminated() || this.settings.closeTimeout === Infinity) return
    const { closeTimeout, destroyTimeout } = this.settings
    this.stopForce = this.work.after(closeTimeout, () => {
      for (const lease of this.loans) if (lease.fiber !== closer) lease.fiber.interruptUnsafe()
      this.stopForce = this.work.after(destroyTimeout, () => {
        for (const lease of this.loans)
          if (lease.slot!.phase === "ready") this.close(lease.slot!, "poolClosed")
      })
    })
  }

  /** Stops a creation; its slot goes when the attempt has ended, or has taken too long to. */
  private abandon(slot: Slot<A>): void {
    // An `acquire` that closes the pool it is called by: see to it when it has ended.
    if (slot.creator === undefined) return
    const attempt = slot.creator
    this.creating--
    this.leave(slot)
    attempt.interruptUnsafe()
    this.work.ended(slot.straggler ?? attempt, this.settings.destroyTimeout, () => {
      // It had just succeeded, and nothing else closes it.
      const late = slot.scope
      slot.scope = undefined
      if (late === undefined) return this.gone(slot)
      const closing = this.work.fork(Effect.ignoreCause(Scope.close(late, Exit.void), { log: "Warn" }))
      this.work.ended(closing, this.settings.destroyTimeout, () => this.gone(slot))
    })
  }

  private checkTerminated(): boolean {
    if (this.state !== "closing" || this.slots.size > 0) return this.state === "closed"
    this.state = "closed"
    this.stopForce?.()
    if (this.group === undefined) this.events.close()
    Deferred.doneUnsafe(this.terminated, Exit.void)
    return true
  }

  // ---------------------------------------------------------------------------------------------------
  // Time
  // ---------------------------------------------------------------------------------------------------

  private onAlarm(now: number): void {
    if (this.state !== "open") return
    this.expireWaiters(now)
    this.reportLeaks(now)
    this.sweepIdle(now)
    if (this.refillAt !== 0 && isDue(this.refillAt, now)) this.refillAt = 0
    this.confirmDeadlock(now)
    this.pump()
    this.alarm.arm(this.nextDeadline())
  }

  private nextDeadline(): number {
    let next = this.refillAt === 0 ? Infinity : this.refillAt
    if (this.line.head !== undefined)
      next = Math.min(next, this.line.head.since + this.settings.acquireTimeout)
    if (this.suspectedAt !== undefined) next = Math.min(next, this.suspectedAt + suspicionMillis)
    if (this.settings.leakAfter !== Infinity) {
      for (const lease of this.loans) {
        if (lease.leaked) continue
        next = Math.min(next, lease.since + this.settings.leakAfter)
        break
      }
    }
    for (const slot of this.available) {
      if (slot.leases === 0) next = Math.min(next, this.idleDeadline(slot))
    }
    return next
  }

  /** When something is next due to happen to a resource at rest. */
  private idleDeadline(slot: Slot<A>): number {
    const { keepAlive, maxAge, maxIdle } = this.settings
    let next = maxAge === Infinity ? Infinity : overAt(slot.maxAge, slot.createdAt)
    if (maxIdle !== Infinity && this.live() > this.min) next = Math.min(next, overAt(maxIdle, slot.idleSince))
    if (keepAlive !== Infinity) next = Math.min(next, slot.knownGoodAt + keepAlive)
    return next
  }

  private sweepIdle(now: number): void {
    const { keepAlive, maxAge, maxIdle } = this.settings
    if (maxAge !== Infinity || maxIdle !== Infinity) this.closeIdle((slot) => this.expiry(slot, now))
    if (keepAlive === Infinity) return
    for (const slot of this.available) {
      if (slot.leases === 0 && isDue(slot.knownGoodAt + keepAlive, now)) this.validate(slot, undefined)
    }
  }

  private expireWaiters(now: number): void {
    const { acquireTimeout } = this.settings
    const waiting = this.line.size
    let position = 1
    for (const lease of this.line) {
      if (!isDue(lease.since + acquireTimeout, now)) break
      this.timeOut(lease, now, position++, waiting)
    }
  }

  private timeOut(lease: Lease<A, E>, now: number, position: number, waiting: number): void {
    const phase = this.phaseOf(lease, position)
    const longest = this.loans.head
    this.timeouts++
    const error = new AcquireTimeout({
      pool: this.settings.name,
      phase,
      timeout: Duration.millis(this.settings.acquireTimeout),
      position,
      waiting,
      stats: this.stats(),
      longestHeld:
        longest === undefined
          ? undefined
          : {
              fiber: longest.fiber.id,
              span: spanName(longest),
              heldMillis: now - longest.since
            },
      lastFailure: this.lastFailure === undefined ? undefined : Cause.squash(this.lastFailure)
    })
    if (this.events.heard) {
      this.events.publish(
        PoolEvent.TimedOut({ ...this.stamp(), fiber: lease.fiber.id, waited: now - lease.since, phase })
      )
    }
    this.fail(lease, Cause.fail(error))
  }

  /** What a borrower at `position` in the line is waiting for. */
  private phaseOf(lease: Lease<A, E>, position: number): Phase {
    const place = Math.ceil(position / this.settings.concurrency)
    if (this.validating > 0) {
      for (const slot of this.slots) if (slot.checkedFor === lease) return "validate"
    }
    return place <= this.creating + this.validating ? "create" : "line"
  }

  private reportLeaks(now: number): void {
    const { leakAfter, name } = this.settings
    if (leakAfter === Infinity) return
    for (const lease of this.loans) {
      if (lease.leaked) continue
      if (!isDue(lease.since + leakAfter, now)) break
      lease.leaked = true
      const held = now - lease.since
      const details = { resource: lease.slot!.id, fiber: lease.fiber.id, span: spanName(lease), held }
      this.work.detach(
        Effect.logWarning(
          `a borrower of pool ${JSON.stringify(name)} has held a resource for longer than leakAfter`,
          details
        )
      )
      if (this.events.heard) this.events.publish(PoolEvent.Leaked({ ...this.stamp(), ...details }))
    }
  }

  // ---------------------------------------------------------------------------------------------------
  // Deadlock
  // ---------------------------------------------------------------------------------------------------

  /** Called when `newcomer` has joined the line, or something else changed that may leave everyone stuck. */
  private checkDeadlock(newcomer: Lease<A, E> | undefined): void {
    const deadlock = this.deadlock
    if (deadlock === undefined || !this.allStuck()) return
    if (newcomer !== undefined && deadlock.holdsItself(newcomer) && this.allHoldersWaitThemselves()) {
      return this.breakDeadlock(newcomer)
    }
    if (this.suspectedAt !== undefined) return
    this.suspectedAt = this.work.now()
    this.alarm.arm(this.suspectedAt + suspicionMillis)
  }

  /** Whether nothing that exists can come back, and nothing can be created. */
  private allStuck(): boolean {
    return (
      this.loans.size > 0 &&
      this.deadlock!.stuck === this.loans.size &&
      this.max > 0 &&
      !this.suspended &&
      this.slots.size >= this.max &&
      this.creating + this.closing + this.validating + this.idle === 0
    )
  }

  private allHoldersWaitThemselves(): boolean {
    const waiting = new Set<unknown>()
    for (const lease of this.line) waiting.add(lease.fiber)
    for (const lease of this.loans) if (lease.kind === "manual" || !waiting.has(lease.fiber)) return false
    return true
  }

  private confirmDeadlock(now: number): void {
    if (this.suspectedAt === undefined) return
    if (!this.allStuck()) {
      this.suspectedAt = undefined
    } else if (isDue(this.suspectedAt + suspicionMillis, now)) {
      this.suspectedAt = undefined
      let newest = this.line.tail
      while (newest !== undefined && !this.deadlock!.holds(newest)) newest = newest.previous
      if (newest !== undefined) this.breakDeadlock(newest)
      if (this.allStuck()) this.suspectedAt = now
    }
  }

  private breakDeadlock(lease: Lease<A, E>): void {
    this.reject(lease, "WouldDeadlock")
    const error = new WouldDeadlock({ pool: this.settings.name, max: this.max, holders: this.loans.size })
    this.fail(lease, Cause.fail(error))
  }

  /**
   * Calls `settle` once there are `min` resources, or with the first failure to create one. To be taken
   * out of `warmUps` by a caller that gives up.
   */
  warmUp(settle: (result: Effect.Effect<void, E | PoolError>) => void): void {
    this.refillAt = 0
    this.warmUps.add(settle)
    this.pump()
    this.settleWarmUps()
  }

  private settleWarmUps(failure?: Exit.Exit<never, E | PoolError>): void {
    if (this.warmUps.size === 0) return
    if (failure === undefined && this.state === "open" && this.live() - this.creating < this.min) return
    const closed = () => Exit.fail(new PoolClosed({ pool: this.settings.name }))
    const result = failure ?? (this.state === "open" ? Exit.void : closed())
    for (const settle of this.warmUps) settle(result)
    this.warmUps.clear()
  }

  // ---------------------------------------------------------------------------------------------------
  // Telling
  // ---------------------------------------------------------------------------------------------------

  stats(): Stats {
    const size = this.slots.size
    return {
      name: this.settings.name,
      min: this.min,
      max: this.max,
      size,
      idle: this.idle,
      used: size - this.idle - this.creating - this.closing,
      pending: this.line.size,
      creating: this.creating,
      closing: this.closing,
      created: this.created,
      destroyed: this.destroyed,
      borrowed: this.borrowed,
      timeouts: this.timeouts,
      failures: this.failures
    }
  }

  room(): number {
    const { concurrency } = this.settings
    let room = (this.max - this.slots.size) * concurrency
    for (const slot of this.available) room += concurrency - slot.leases
    return Math.max(0, room)
  }

  describeLoans(): ReadonlyArray<LeaseInfo<A>> {
    const now = this.work.now()
    return Array.from(this.loans, (lease) => ({
      item: lease.slot!.value,
      resource: lease.slot!.id,
      fiber: lease.fiber.id,
      span: spanName(lease),
      since: this.work.epoch(lease.since),
      held: now - lease.since
    }))
  }

  private stamp(): { readonly pool: string; readonly at: number } {
    return { pool: this.settings.name, at: this.work.clock.currentTimeMillisUnsafe() }
  }

  private reject(lease: Lease<A, E>, reason: "LineFull" | "WouldDeadlock"): void {
    if (!this.events.heard) return
    this.events.publish(PoolEvent.Rejected({ ...this.stamp(), fiber: lease.fiber.id, reason }))
  }

  private log(message: string, exit: Exit.Exit<unknown, unknown> | undefined): void {
    const text = `pool ${JSON.stringify(this.settings.name)}: ${message}`
    this.work.detach(
      exit?._tag === "Failure"
        ? Effect.logWarning(text, exit.cause)
        : Effect.logWarning(`${text} (timed out)`)
    )
  }
}

/** The name of the span that a loan was taken under. */
export const spanName = (lease: Lease<any, any>): string | undefined =>
  lease.span?._tag === "Span" ? lease.span.name : undefined
