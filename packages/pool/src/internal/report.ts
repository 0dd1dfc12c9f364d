import * as Cause from "effect/Cause"
import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as References from "effect/References"
import type { AnySpan } from "effect/Tracer"
import type { Lease as LeaseInfo, Waiter } from "../Pool.ts"
import { AcquireTimeout, type Phase } from "../PoolError.ts"
import type { Core } from "./core.ts"
import type { Lease } from "./lease.ts"
import type { List } from "./list.ts"
import type { Stats } from "./stats.ts"
import type { Work } from "./work.ts"

const nanosPerMilli = 1e6

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
    state: core.state === "open" && core.suspended ? "suspended" : core.state,
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

/** Oldest first, which is how the loans stand. */
export const leases = <A>(core: Core<A, any>, limit = Infinity): ReadonlyArray<LeaseInfo<A>> =>
  first(core.loans, limit).map((lease) => loan(lease, core.work))

export const waiters = (core: Core<any, any>, limit = Infinity): ReadonlyArray<Waiter> => {
  const now = core.work.now()
  return first(core.line, limit).map((lease) => waiter(lease, now))
}

export const loan = <A>(lease: Lease<A, any>, work: Work): LeaseInfo<A> => ({
  item: lease.slot!.value,
  resource: lease.slot!.id,
  fiber: lease.fiber.id,
  span: nameOf(lease.span),
  since: work.wallAt(lease.since),
  held: work.now() - lease.since
})

export const waiter = (lease: Lease<any, any>, now: number): Waiter => ({
  fiber: lease.fiber.id,
  span: nameOf(lease.fiber.cache.span),
  waited: Math.max(0, now - lease.since)
})

const first = <A>(all: Iterable<A>, limit: number): Array<A> => {
  const some: Array<A> = []
  if (limit <= 0) return some
  for (const one of all) if (some.push(one) >= limit) break
  return some
}

/** The oldest of many lists, each of which has its own oldest first. Of a list whose head is too young nothing else is looked at. */
export const oldest = <A>(
  lists: Iterable<List<Lease<A, any>>>,
  limit: number
): ReadonlyArray<Lease<A, any>> => {
  let some: Array<Lease<A, any>> = []
  let tooYoung = Infinity
  const cut = (): void => {
    some = some.toSorted((a, b) => a.since - b.since).slice(0, limit)
  }
  if (limit <= 0) return some
  for (const list of lists) {
    for (let lease = list.head; lease !== undefined && lease.since < tooYoung; lease = lease.next) {
      // Cut now and then: each time would cost a sort for each loan.
      if (some.push(lease) < 2 * limit) continue
      cut()
      tooYoung = some.at(-1)!.since
    }
  }
  cut()
  return some
}

/** Name of the span that a loan was taken under. */
export const spanName = (lease: Lease<any, any>): string | undefined => nameOf(lease.span)

const nameOf = (span: AnySpan | undefined): string | undefined =>
  span?._tag === "Span" ? span.name : undefined

/** Whether the wait of a borrower is to be seen in a trace. */
export const isTraced = ({ fiber }: Lease<any, any>): boolean =>
  fiber.cache.span?.sampled === true && fiber.cache.tracerEnabled

/** Shows the wait of a borrower that {@link isTraced} in its trace, as a span that ends now. */
export const traceWait = (
  core: Core<any, any>,
  lease: Lease<any, any>,
  waited: number,
  exit: Exit.Exit<unknown, unknown>
): void => {
  if (!isTraced(lease)) return
  const { clock } = core.work
  const { name } = core.settings
  const end = clock.currentTimeNanosUnsafe()
  const start = end - BigInt(Math.round(waited * nanosPerMilli))
  const span = Effect.makeSpan(name === "" ? "wait for a pool" : `wait for ${name}`, {
    attributes: { "cenote.pool.name": name }
  })
  const isTimed = Context.get(lease.fiber.context, References.TracerTimingEnabled)
  // Made as any span of the borrower's is, but for the time that it began. A tracer that fails must not stop the pool.
  Effect.runSyncExit(
    Effect.map(span, (span) => span.end(isTimed ? end : 0n, exit)).pipe(
      Effect.provideContext(
        Context.add(
          lease.fiber.context,
          Clock,
          Object.create(clock, { currentTimeNanosUnsafe: { value: () => start } })
        )
      )
    )
  )
}

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
            heldMillis: core.work.now() - longest.since
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
