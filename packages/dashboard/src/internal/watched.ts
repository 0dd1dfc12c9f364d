import type { Pool, PoolRegistry } from "@cenote/pool"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import type {
  Action,
  EventView,
  Figures,
  Focus,
  FocusChange,
  LeaseView,
  PoolView,
  Sample,
  ThreadView
} from "./protocol.ts"
import { judge } from "./verdict.ts"
import { Window } from "./window.ts"
import { causeOf, eventView, failureOf, oneLine } from "./words.ts"

/** Samples that are kept, and told to whoever begins to look. */
const mostSamples = 300
/** Events that are kept. */
const mostEvents = 200
/** Leases and waiters that are told. */
const mostRows = 100
/** Over how many paces percentiles and recent failures are taken. */
const recentPaces = 10

type Counts = Record<string, number>

/** One pool as the dashboard sees it: what it recorded, and how it was at the last look. */
export class Watched implements PoolRegistry.Recorder {
  readonly entry: PoolRegistry.Entry
  figures: Figures
  /** Samples, oldest first; a ring once it is full would cost more to send than it saves. */
  private history: Array<Sample> = []
  private events: Array<EventView> = []
  /** Events so far, of which `events` has the last. */
  private eventCount = 0
  private readonly waits = new Window(recentPaces)
  private readonly holds = new Window(recentPaces)
  private readonly failures = none()
  private readonly closes = none()
  /** Failures of each of the last paces, by reason; the current one first. */
  private readonly recent: Array<Counts> = Array.from({ length: recentPaces }, none)
  /** Why creating failed last, and whether something has been created since. */
  private lastFailure = ""
  private hasRecovered = false
  /** Loans that were told to be leaks: by resource and fiber, with the time at which they were. */
  private readonly leaks = new Map<string, number>()
  /** What each thread had done at the last look. */
  private readonly busy = new Map<number, { readonly age: number; readonly busy: number }>()
  private threads: ReadonlyArray<ThreadView> | undefined = undefined
  private calls: Readonly<Record<string, number>> | undefined = undefined

  constructor(entry: PoolRegistry.Entry, at: number) {
    this.entry = entry
    this.figures = this.look(at, 1_000)
  }

  // ---------------------------------------------------------------------------
  // Recording, on the stack of whoever borrows
  // ---------------------------------------------------------------------------

  readonly waited = (millis: number): void => this.waits.record(millis)

  readonly used = (millis: number): void => this.holds.record(millis)

  readonly told = (event: PoolRegistry.Occurrence): void => {
    const failure = failureOf(event)
    if (failure !== undefined) {
      add(this.failures, failure)
      add(this.recent[0]!, failure)
    }
    if (event._tag === "CreateFailed") {
      this.lastFailure = causeOf(event)
      this.hasRecovered = false
    } else if (event._tag === "Created") this.hasRecovered = true
    if (event._tag === "Closed" && Predicate.hasProperty(event, "reason"))
      add(this.closes, String(event.reason))
    if (
      event._tag === "Leaked" &&
      Predicate.hasProperty(event, "resource") &&
      Predicate.hasProperty(event, "fiber")
    )
      this.leaks.set(`${String(event.resource)} ${String(event.fiber)}`, event.at)
    this.eventCount++
    // Cut now and then: each time would cost a copy for each event.
    if (this.events.push(eventView(event)) > 2 * mostEvents) this.events = this.events.slice(-mostEvents)
  }

  // ---------------------------------------------------------------------------
  // Looking, once a pace
  // ---------------------------------------------------------------------------

  /** Looks at the pool, `pace` milliseconds after the last look. */
  look(at: number, pace: number): Figures {
    const { entry } = this
    const stats = now(entry.stats)
    const before = this.figures as Figures | undefined
    if (stats === undefined) return before ?? nothing
    const [oldest] = now(entry.leases(1)) ?? []
    const [head] = now(entry.waiters(1)) ?? []
    const [wait50, wait99] = this.waits.percentiles()
    const [hold50, hold99] = this.holds.percentiles()
    const lease = oldest === undefined ? undefined : leaseView(entry.kind, oldest)
    this.forgetLeaks(lease)
    const plain = {
      state: stats.state,
      min: stats.min,
      max: Number.isFinite(stats.max) ? stats.max : -1,
      size: stats.size,
      idle: stats.idle,
      used: stats.used,
      pending: stats.pending,
      creating: stats.creating,
      closing: stats.closing,
      created: stats.created,
      destroyed: stats.destroyed,
      borrowed: stats.borrowed,
      timeouts: stats.timeouts,
      failures: stats.failures,
      rate: before === undefined ? 0 : rounded(((stats.borrowed - before.borrowed) * 1_000) / pace),
      wait50: rounded(wait50),
      wait99: rounded(wait99),
      hold50: rounded(hold50),
      hold99: rounded(hold99),
      longestHeld: lease?.held ?? 0,
      longestWait: rounded(head?.waited ?? 0)
    }
    const verdict = judge({
      kind: entry.kind,
      figures: plain,
      recent: sum(this.recent),
      lastFailure: this.lastFailure,
      hasRecovered: this.hasRecovered,
      oldest: lease,
      leaks: this.leaks.size
    })
    this.figures = { ...plain, ...verdict }
    this.remember(at, before)
    this.lookAtThreads()
    this.waits.turn()
    this.holds.turn()
    this.recent.pop()
    this.recent.unshift(none())
    return this.figures
  }

  /** What was a leak and has come back is none, also when the same fiber has borrowed the same again. Leaks are the oldest loans. */
  private forgetLeaks(oldest: LeaseView | undefined): void {
    if (this.leaks.size === 0) return
    if (oldest === undefined) return this.leaks.clear()
    const held = now(this.entry.leases(this.leaks.size + mostRows)) ?? []
    const still = new Set<string>()
    for (const { fiber, resource, since } of held) {
      const leak = `${resource} ${fiber}`
      if (since < (this.leaks.get(leak) ?? -Infinity)) still.add(leak)
    }
    for (const leak of this.leaks.keys()) if (!still.has(leak)) this.leaks.delete(leak)
  }

  private remember(at: number, before: Figures | undefined): void {
    const { created, destroyed, hold50, hold99, idle, max, pending, used, wait50, wait99 } = this.figures
    const failed = Object.values(this.recent[0]!).reduce((total, n) => total + n, 0)
    const closed = destroyed - (before?.destroyed ?? destroyed)
    this.history.push([
      at,
      used,
      idle,
      pending,
      max,
      wait50,
      wait99,
      hold50,
      hold99,
      created - (before?.created ?? created),
      closed,
      failed
    ])
    if (this.history.length > 2 * mostSamples) this.history = this.history.slice(-mostSamples)
  }

  private lookAtThreads(): void {
    const told = this.entry.threads === undefined ? undefined : now(this.entry.threads)
    if (told === undefined) return
    const before = new Map(this.busy)
    this.busy.clear()
    this.calls = told.calls
    this.threads = told.each.map(({ age, busy, ended, heapUsed, running, since, state, task, thread }) => {
      const last = before.get(thread) ?? { age: 0, busy: 0 }
      this.busy.set(thread, { age, busy })
      const load = age > last.age ? Math.min(1, Math.max(0, (busy - last.busy) / (age - last.age))) : 0
      return { thread, state, running, task, since, ended, load: Math.round(load * 100) / 100, heapUsed }
    })
  }

  // ---------------------------------------------------------------------------
  // Telling
  // ---------------------------------------------------------------------------

  view(): PoolView {
    const { actions, id, kind, name, options } = this.entry
    return {
      id,
      name,
      kind,
      options,
      actions: (["resize", "recycle", "suspend", "resume", "evict"] satisfies ReadonlyArray<Action>).filter(
        (action) => actions[action] !== undefined
      ),
      figures: this.figures
    }
  }

  /** All that is known. */
  focus(): Focus {
    return {
      ...this.rows(),
      history: this.history.slice(-mostSamples),
      events: this.events.slice(-mostEvents)
    }
  }

  /** What is new since there were so many events. */
  focusChange(eventsSeen: number): FocusChange {
    const news = Math.min(this.eventCount - eventsSeen, this.events.length, mostEvents)
    return {
      ...this.rows(),
      sample: this.history.at(-1)!,
      events: news === 0 ? [] : this.events.slice(-news)
    }
  }

  get eventsSoFar(): number {
    return this.eventCount
  }

  private rows(): Omit<Focus, "history" | "events"> {
    const { entry } = this
    return {
      id: entry.id,
      leases: (now(entry.leases(mostRows)) ?? []).map((lease) => leaseView(entry.kind, lease)),
      waiters: (now(entry.waiters(mostRows)) ?? []).map(({ fiber, span, waited }) => ({
        fiber,
        span: span === undefined ? undefined : oneLine(span),
        waited: rounded(waited)
      })),
      failures: { ...this.failures },
      closes: { ...this.closes },
      threads: this.threads,
      calls: this.calls
    }
  }
}

/** What an effect gives at once. What waits, which nothing of a pool does, gives nothing. */
const now = <A>(effect: Effect.Effect<A>): A | undefined => {
  const exit = Effect.runSyncExit(effect)
  return Exit.isSuccess(exit) ? exit.value : undefined
}

const leaseView = (kind: PoolRegistry.Kind, lease: Pool.Lease<unknown>): LeaseView => ({
  resource: lease.resource,
  // What is pooled may be secret; the name of a task is not.
  item: kind === "threads" && typeof lease.item === "string" ? oneLine(lease.item, 100) : undefined,
  fiber: lease.fiber,
  span: lease.span === undefined ? undefined : oneLine(lease.span),
  since: Math.round(lease.since),
  held: rounded(lease.held)
})

/** Counts, of which there are none yet: a reason may have any name, also that of a prototype. */
const none = (): Counts => Object.create(null)

const add = (counts: Counts, reason: string): void => {
  counts[reason] = (counts[reason] ?? 0) + 1
}

const sum = (all: ReadonlyArray<Counts>): Counts => {
  const total = none()
  for (const counts of all) {
    for (const [reason, n] of Object.entries(counts)) total[reason] = (total[reason] ?? 0) + n
  }
  return total
}

/** Two digits after the point are more than anybody can see. */
const rounded = <N extends number | null>(value: N): N =>
  (value === null ? null : Math.round(value * 100) / 100) as N

/** Of a pool that could not be looked at yet. */
const nothing: Figures = {
  state: "open",
  min: 0,
  max: 0,
  size: 0,
  idle: 0,
  used: 0,
  pending: 0,
  creating: 0,
  closing: 0,
  created: 0,
  destroyed: 0,
  borrowed: 0,
  timeouts: 0,
  failures: 0,
  rate: 0,
  wait50: null,
  wait99: null,
  hold50: null,
  hold99: null,
  longestHeld: 0,
  longestWait: 0,
  level: "ok",
  matter: "",
  remedy: ""
}
