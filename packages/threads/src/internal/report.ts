import type { Pool as PoolModule } from "@cenote/pool"
import { Pool } from "@cenote/pool"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import type { Stats, ThreadStats } from "../ThreadPool.ts"
import type { Call } from "./call.ts"
import type { Core } from "./core.ts"
import type { Thread } from "./thread.ts"

export const stats = (core: Core): Effect.Effect<Stats> =>
  Effect.map(Pool.stats(core.pool), (ofPool) => {
    const now = core.timers.now()
    const { sent, ...totals } = core.tally.totals
    const running = [...core.threads].reduce((sum, thread) => sum + thread.inFlight, 0)
    return {
      ...ofPool,
      pending: core.pending,
      borrowed: sent,
      timeouts: totals.timedOut,
      ...totals,
      running: running + core.inlineRunning,
      threads: [...core.alive].map((thread) => threadStats(thread, now))
    }
  })

const threadStats = (thread: Thread, now: number): ThreadStats => {
  const age = Math.max(0, now - thread.startedAt)
  const busy = thread.busyMillis + (thread.busySince === undefined ? 0 : now - thread.busySince)
  return {
    thread: thread.id,
    state: thread.quarantined
      ? "quarantined"
      : thread.retiring
        ? "retiring"
        : thread.isIdle
          ? "idle"
          : "busy",
    running: thread.inFlight,
    objects: thread.objects,
    ended: thread.ended,
    age,
    busy,
    utilisation: age === 0 ? 0 : Math.min(1, busy / age),
    heapUsed: thread.heapUsed === 0 ? undefined : thread.heapUsed
  }
}

/** The calls that threads have, the oldest first. */
export const leases = (core: Core): Effect.Effect<ReadonlyArray<PoolModule.Lease<unknown>>> =>
  Effect.sync(() => {
    const now = core.timers.now()
    const today = core.timers.clock.currentTimeMillisUnsafe()
    return [...core.alive]
      .flatMap((thread) => thread.withIt.map((call) => lease(thread, call, now, today)))
      .toSorted((a, b) => b.held - a.held)
  })

const lease = (thread: Thread, call: Call, now: number, today: number): PoolModule.Lease<unknown> => {
  const held = Math.max(0, now - call.sentAt)
  const span = call.context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined
  return {
    item: call.name,
    resource: thread.id,
    fiber: call.fiber.id,
    span: span?._tag === "Span" ? span.name : undefined,
    since: today - held,
    held
  }
}
