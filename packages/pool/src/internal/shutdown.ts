import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { PoolClosed } from "../PoolError.ts"
import type { Core } from "./core.ts"

/** The end of one pool. */
export class Shutdown<A, E> {
  /** Calls off what it would do by force. */
  private stopForce: (() => void) | undefined = undefined
  private readonly terminated = Deferred.makeUnsafe<void>()

  private readonly core: Core<A, E>

  constructor(core: Core<A, E>) {
    this.core = core
  }

  /**
   * Turns everyone away, closes what is at rest, and waits for the borrowed until `closeTimeout`. Then the
   * holders are interrupted, and what they have not given back after `destroyTimeout` is closed under them.
   *
   * What the closing fiber itself holds cannot come back before it goes on. If a body or scope is to end that
   * loan, the closer does not wait; if `Pool.release` is, the resource is closed now.
   */
  run(closer: unknown): Effect.Effect<void> {
    const { core } = this
    if (core.state === "open") this.begin(closer)
    const own = Array.from(core.loans).filter((lease) => lease.fiber === closer)
    const holds = own.some((lease) => lease.kind !== "manual")
    for (const { slot } of own) {
      const sharers = own.filter((lease) => lease.slot === slot && lease.kind === "manual")
      if (slot?.phase === "ready" && sharers.length === slot.leases) core.close(slot, "poolClosed")
    }
    return holds ? Effect.void : Deferred.await(this.terminated)
  }

  /** Ends once nothing is left; says whether the pool is closed. */
  check(): boolean {
    const { core } = this
    if (core.state !== "closing" || core.slots.size > 0) return this.isOver()
    core.state = "closed"
    this.stopForce?.()
    if (core.group === undefined) core.events.close()
    Deferred.doneUnsafe(this.terminated, Exit.void)
    return true
  }

  private begin(closer: unknown): void {
    const { core } = this
    const { closeTimeout, name } = core.settings
    core.state = "closing"
    core.deadlines.stop()
    if (core.onClosing !== undefined) core.work.detach(core.onClosing)
    if (core.events.noted) core.tell("Closing", {})
    while (core.line.head !== undefined) core.fail(core.line.head, Cause.fail(new PoolClosed({ pool: name })))
    core.warmUps.check()
    for (const slot of Array.from(core.slots)) {
      if (slot.phase === "creating") core.abandon(slot)
      else if (slot.phase === "busy" || (slot.phase === "ready" && slot.leases === 0))
        core.close(slot, "poolClosed")
    }
    if (this.check() || closeTimeout === Infinity) return
    this.stopForce = core.work.after(closeTimeout, () => this.force(closer))
  }

  private force(closer: unknown): void {
    const { core } = this
    for (const lease of Array.from(core.loans)) {
      // Interrupting one may end the loan of another.
      if (lease.state === "held" && lease.fiber !== closer) lease.fiber.interruptUnsafe()
    }
    if (this.isOver()) return
    this.stopForce = core.work.after(core.settings.destroyTimeout, () => {
      for (const { slot } of Array.from(core.loans))
        if (slot?.phase === "ready") core.close(slot, "poolClosed")
    })
  }

  private isOver(): boolean {
    return this.core.state === "closed"
  }
}
