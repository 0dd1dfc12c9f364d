import * as Cause from "effect/Cause"
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import type { Lease as LeaseInfo } from "../Pool.ts"
import { AcquireTimeout, type Phase } from "../PoolError.ts"
import type { Core } from "./core.ts"
import type { Lease } from "./lease.ts"
import type { Stats } from "./stats.ts"

export const stats = (core: Core<any, any>): Stats => {
  const size = core.slots.size
  return {
    name: core.settings.name,
    min: core.min,
    max: core.max,
    size,
    idle: core.idle,
    used: size - core.idle - core.creating - core.closing,
    pending: core.line.size,
    creating: core.creating,
    closing: core.closing,
    ...core.totals
  }
}

/** Borrows that would not have to wait for another borrower. */
export const room = (core: Core<any, any>): number => {
  if (core.state !== "open") return 0
  const { concurrency } = core.settings
  let room = (core.max - core.slots.size) * concurrency
  for (const slot of core.shelf) room += concurrency - slot.leases
  return Math.max(0, room)
}

export const leases = <A>(core: Core<A, any>): ReadonlyArray<LeaseInfo<A>> =>
  Array.from(core.loans, (lease) => ({
    item: lease.slot!.value,
    resource: lease.slot!.id,
    fiber: lease.fiber.id,
    span: spanName(lease),
    since: lease.since,
    held: heldFor(lease, core.work.clock)
  }))

/** For how long a loan has lasted, in milliseconds; never negative, also when the wall clock was put back. */
export const heldFor = (lease: Lease<any, any>, clock: Clock): number =>
  Math.max(0, clock.currentTimeMillisUnsafe() - lease.since)

/** Name of the span that a loan was taken under. */
export const spanName = (lease: Lease<any, any>): string | undefined =>
  lease.span?._tag === "Span" ? lease.span.name : undefined

/** What a borrower fails with whose deadline passed while it was number `position` of `waiting` in line. */
export const acquireTimeout = <A, E>(
  core: Core<A, E>,
  lease: Lease<A, E>,
  position: number,
  waiting: number,
  lastFailure: Cause.Cause<unknown> | undefined
): AcquireTimeout => {
  const phase = phaseOf(core, lease, position)
  const longest = core.loans.head
  return new AcquireTimeout({
    pool: core.settings.name,
    phase,
    timeout: Duration.millis(core.settings.acquireTimeout),
    position,
    waiting,
    stats: stats(core),
    longestHeld:
      longest === undefined
        ? undefined
        : {
            fiber: longest.fiber.id,
            span: spanName(longest),
            heldMillis: heldFor(longest, core.work.clock)
          },
    lastFailure: phase === "create" && lastFailure !== undefined ? Cause.squash(lastFailure) : undefined
  })
}

/** What a borrower in line is waiting for. */
const phaseOf = <A, E>(core: Core<A, E>, lease: Lease<A, E>, position: number): Phase => {
  if (core.validating > 0) {
    for (const slot of core.slots) if (slot.checkedFor === lease) return "validate"
  }
  const place = Math.ceil(position / core.settings.concurrency)
  return place <= core.creating + core.validating ? "create" : "line"
}
