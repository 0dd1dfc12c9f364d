import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Core } from "./core.ts"
import type { Lease } from "./lease.ts"
import { acquireTimeout, spanName } from "./report.ts"
import type { Slot } from "./slot.ts"
import { Alarm, isDue, overAt } from "./work.ts"

/**
 * All that falls due in one pool: deadlines of borrowers, limits of what rests, leaks, pauses after a failure to create, and
 * the suspicion of a deadlock. One alarm serves them all; each time it goes off, whatever is due is done.
 */
export class Deadlines<A, E> {
  private readonly alarm: Alarm
  private readonly core: Core<A, E>

  constructor(core: Core<A, E>) {
    this.core = core
    this.alarm = new Alarm(core.work, (now) => this.onAlarm(now))
  }

  /** Makes sure that what falls due at `at` (monotonic milliseconds) is seen to. */
  arm(at: number): void {
    this.alarm.arm(at)
  }

  /** The same for whatever falls due next. */
  armNext(): void {
    this.alarm.arm(this.next())
  }

  disarm(): void {
    this.alarm.disarm()
  }

  stop(): void {
    this.alarm.stop()
  }

  /** When something is next due to happen to a resource at rest. */
  ofIdle(slot: Slot<A>): number {
    const { core } = this
    const { keepAlive, maxAge, maxIdle } = core.settings
    let next = maxAge === Infinity ? Infinity : overAt(slot.maxAge, slot.createdAt)
    if (maxIdle !== Infinity && core.live() > core.min) next = Math.min(next, overAt(maxIdle, slot.idleSince))
    if (keepAlive !== Infinity) next = Math.min(next, slot.knownGoodAt + keepAlive)
    return next
  }

  private onAlarm(now: number): void {
    const { core } = this
    if (core.state !== "open") return
    this.expireWaiters(now)
    this.reportLeaks(now)
    this.sweepIdle(now)
    if (core.refillAt !== 0 && isDue(core.refillAt, now)) core.refillAt = 0
    core.deadlock?.confirm(now)
    core.pump()
    this.armNext()
  }

  private next(): number {
    const { core } = this
    const { acquireTimeout, leakAfter } = core.settings
    let next = core.refillAt === 0 ? Infinity : core.refillAt
    if (core.line.head !== undefined) next = Math.min(next, core.line.head.since + acquireTimeout)
    if (core.deadlock !== undefined) next = Math.min(next, core.deadlock.confirmAt)
    if (leakAfter !== Infinity) {
      for (const { leaksAt } of core.loans) {
        if (leaksAt === undefined) continue
        next = Math.min(next, leaksAt)
        break
      }
    }
    if (core.timed) {
      for (const slot of core.shelf) if (slot.leases === 0) next = Math.min(next, this.ofIdle(slot))
    }
    return next
  }

  private sweepIdle(now: number): void {
    const { core } = this
    const { keepAlive, maxAge, maxIdle } = core.settings
    if (Math.min(maxAge, maxIdle) < Infinity) core.closeIdle((slot) => core.expiry(slot, now))
    if (keepAlive === Infinity) return
    for (const slot of core.shelf.atRest()) {
      if (slot.list !== undefined && slot.leases === 0 && isDue(slot.knownGoodAt + keepAlive, now))
        core.validate(slot, undefined)
    }
  }

  private expireWaiters(now: number): void {
    const { core } = this
    const waiting = core.line.size
    let position = 1
    let lease: Lease<A, E> | undefined
    while ((lease = core.line.head) !== undefined) {
      if (!isDue(lease.since + core.settings.acquireTimeout, now)) break
      const waited = now - lease.since
      const error = acquireTimeout(core, lease, position++, waiting, core.lastFailure)
      core.totals.timeouts++
      core.fail(lease, Cause.fail(error))
      if (core.events.noted) core.tell("TimedOut", { fiber: lease.fiber.id, waited, phase: error.phase })
    }
  }

  private reportLeaks(now: number): void {
    const { core } = this
    const { leakAfter, name } = core.settings
    if (leakAfter === Infinity) return
    for (const lease of core.loans) {
      // A logger may have ended the loan.
      if (lease.leaksAt === undefined || lease.state !== "held") continue
      if (!isDue(lease.leaksAt, now)) break
      const held = now - lease.leaksAt + leakAfter
      lease.leaksAt = undefined
      const details = { resource: lease.slot!.id, fiber: lease.fiber.id, span: spanName(lease), held }
      const message = `pool ${JSON.stringify(name)}: a resource has been held for ${inWords(held)}, longer than leakAfter`
      core.work.detach(Effect.logWarning(message, details))
      if (core.events.noted) core.tell("Leaked", details)
    }
  }
}

/** For people: without the fraction of a millisecond. */
const inWords = (millis: number): string => Duration.format(Duration.millis(Math.round(millis)))
