import type { Pool as PoolModule, PoolRegistry } from "@cenote/pool"
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
export const leases = (
  core: Core,
  limit = Infinity
): Effect.Effect<ReadonlyArray<PoolModule.Lease<unknown>>> =>
  Effect.sync(() => {
    const now = core.timers.now()
    const today = core.timers.clock.currentTimeMillisUnsafe()
    return [...core.alive]
      .flatMap((thread) => thread.withIt.map((call) => lease(thread, call, now, today)))
      .toSorted((a, b) => b.held - a.held)
      .slice(0, Math.max(0, limit))
  })

/** The calls that no thread has, those first that came first. */
export const waiters = (core: Core, limit = Infinity): Effect.Effect<ReadonlyArray<PoolModule.Waiter>> =>
  Effect.sync(() => {
    const now = core.timers.now()
    return waitingCalls(core, Math.max(0, limit)).map((call) => ({
      fiber: call.fiber.id,
      span: spanName(call),
      waited: Math.max(0, now - call.submittedAt)
    }))
  })

const waitingCalls = (core: Core, limit: number): ReadonlyArray<Call> => {
  const calls: Array<Call> = []
  for (const line of [core.line, core.creations, core.held]) calls.push(...line.first(limit))
  for (const { backlog } of core.threads) calls.push(...backlog.first(limit))
  return calls.toSorted((a, b) => a.serial - b.serial).slice(0, limit)
}

/** What each thread is at. */
export const threads = (core: Core): Effect.Effect<PoolRegistry.Threads> =>
  Effect.sync(() => {
    const now = core.timers.now()
    const { crashed, failed, interrupted, rejected, succeeded, timedOut } = core.tally.totals
    return {
      calls: { succeeded, failed, interrupted, timedOut, crashed, rejected },
      each: [...core.alive].map((thread) => {
        const { age, busy, ended, heapUsed, running, state } = threadStats(thread, now)
        const [oldest] = thread.withIt.toSorted((a, b) => a.sentAt - b.sentAt)
        const since = oldest === undefined ? 0 : Math.max(0, now - oldest.sentAt)
        return { thread: thread.id, state, running, task: oldest?.name, since, ended, age, busy, heapUsed }
      })
    }
  })

const lease = (thread: Thread, call: Call, now: number, today: number): PoolModule.Lease<unknown> => {
  const held = Math.max(0, now - call.sentAt)
  return {
    item: call.name,
    resource: thread.id,
    fiber: call.fiber.id,
    span: spanName(call),
    since: today - held,
    held
  }
}

const spanName = (call: Call): string | undefined => {
  const span = call.context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined
  return span?._tag === "Span" ? span.name : undefined
}
