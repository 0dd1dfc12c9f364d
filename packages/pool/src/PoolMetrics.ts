/**
 * Metrics of every pool that has a name, under the names that OpenTelemetry gives to those of database connections.
 *
 * Whatever reads Effect's metrics reads these: `PrometheusMetrics` and `OtlpMetrics` of `effect/observability`, and
 * `@effect/opentelemetry`. Figures are taken when somebody reads them, and not before; of each borrow the pool only counts how long it
 * waited and how long it held.
 *
 * | Name | Kind | Unit | What it says |
 * |---|---|---|---|
 * | `count` | gauge, by `state` (`idle`, `used`) | `{connection}` | Resources at rest, and on loan |
 * | `idle.max`, `idle.min`, `max` | gauge | `{connection}` | How many may be at rest, are kept, and may exist |
 * | `pending_requests` | gauge | `{request}` | Borrowers in line |
 * | `timeouts` | counter | `{timeout}` | Borrowers whose deadline passed |
 * | `create_time` | histogram | `s` | How long a resource took to create |
 * | `wait_time` | histogram | `s` | How long a borrower waited, those who did not have to included |
 * | `use_time` | histogram | `s` | How long a borrower held |
 *
 * Of pools of connections these begin with `db.client.connection.`, and have the attributes `db.client.connection.pool.name` and
 * `db.client.connection.state`, as OpenTelemetry's conventions say. (Those ask for up-down counters where there are gauges here: Effect
 * has none that Prometheus would not take for a counter.) There is no convention for other pools: there they begin with the prefix,
 * `cenote.pool.` if no other is given, and so do their attributes, `cenote.pool.name`, `cenote.pool.kind` and `cenote.pool.state`. Of a
 * thread pool, a borrow is a call. A keyed pool without a limit has no `max` and no `idle.max`.
 *
 * For what the conventions have no name, all kinds of pool have these under the prefix: `created`, `closed` (by `reason`, as
 * `PoolEvent.CloseReason` has them), `borrowed`, `failures` (by `reason`), `leaks`, and of a thread pool `calls` (by `outcome`) and
 * `utilization` (from 0 to 1: the share of the last 10 to 20 seconds in which the threads that are up had something to do). Reasons of
 * failures are `CreateFailed` and `CreateTimeout`, one for each attempt, `AcquireTimeout`, `LineFull`, `ValidationFailed` and
 * `WouldDeadlock`, one for each borrower, and of a thread pool `CallRejected`, `ThreadCrashed`, `ThreadKilled` and `ThreadQuarantined`.
 *
 * **Example** (What Prometheus reads)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { PrometheusMetrics } from "effect/observability"
 * import { Pool, PoolMetrics } from "@cenote/pool"
 *
 * const program = Effect.gen(function*() {
 *   const pool = yield* Pool.make({ name: "printers", acquire: Effect.succeed("printer"), max: 2 })
 *   yield* Pool.use(pool, () => Effect.void)
 *   return yield* PrometheusMetrics.format()
 * }).pipe(Effect.scoped, Effect.provide(PoolMetrics.layer()))
 *
 * const text = await Effect.runPromise(program)
 * text.includes(`cenote_pool_max{cenote_pool_name="printers",cenote_pool_kind="pool"} 2`) // => true
 * ```
 *
 * @see https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#connection-pools
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import { Clock } from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { isTagged as hasTag } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { Histogram } from "./internal/histogram.ts"
import { type Named, Series } from "./internal/series.ts"
import type { CloseReason } from "./PoolEvent.ts"
import * as PoolRegistry from "./PoolRegistry.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * How metrics are named and divided.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What names begin with where OpenTelemetry has none: letters, digits, `_`, `-` and `.`. Default `"cenote.pool"`. */
  readonly prefix?: string | undefined
  /** Upper bounds of the histograms' buckets, in seconds. Default {@link defaultBoundaries}. */
  readonly boundaries?: ReadonlyArray<number> | undefined
}

/**
 * From 1 ms to 30 s.
 *
 * @category models
 * @since 0.1.0
 */
export const defaultBoundaries: ReadonlyArray<number> = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30
]

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

/**
 * Metrics of all pools of the registry, those included that are made later. A pool's metrics vanish with it.
 *
 * Give it to the whole program once, beside the exporter: metrics go to the `Metric.MetricRegistry` that this layer is built with,
 * whatever a pool is made with. Impossible boundaries, or an impossible prefix, are a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<never> =>
  Layer.effectDiscard(Effect.suspend(() => PoolRegistry.watch(observer(options))))

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

type Observer = (entry: PoolRegistry.Entry) => Effect.Effect<void, never, Scope.Scope>

/** What is done with each pool. */
const observer = ({ boundaries = defaultBoundaries, prefix = "cenote.pool" }: Options): Observer => {
  checkBoundaries(boundaries)
  checkPrefix(prefix)
  return (entry) =>
    Effect.gen(function* () {
      const series = new Series(yield* Effect.context<Scope.Scope>())
      yield* Effect.addFinalizer(() => Effect.sync(() => series.remove()))
      const own: Family = {
        base: prefix,
        attributes: { [`${prefix}.name`]: entry.id, [`${prefix}.kind`]: entry.kind }
      }
      const family = entry.kind === "connections" ? conventional(entry.id) : own
      const read = reader(entry.stats, yield* entry.stats)

      series.gauge(named(family, "count", "state", "idle"), () => read().idle)
      series.gauge(named(family, "count", "state", "used"), () => read().used)
      series.gauge(named(family, "idle.min"), () => read().min)
      // A keyed pool may have no limit, and infinity is no number for OTLP.
      if (read().max < Infinity) {
        series.gauge(named(family, "idle.max"), () => read().max)
        series.gauge(named(family, "max"), () => read().max)
      }
      series.gauge(named(family, "pending_requests"), () => read().pending)
      series.counter(named(family, "timeouts"), () => read().timeouts)
      series.counter(named(own, "created"), () => read().created)
      series.counter(named(own, "borrowed"), () => read().borrowed)

      const times = {
        create_time: new Histogram(boundaries),
        wait_time: new Histogram(boundaries),
        use_time: new Histogram(boundaries)
      }
      for (const [name, histogram] of Object.entries(times)) series.histogram(named(family, name), histogram)

      const closed = new Counts((reason, read) =>
        series.counter(named(own, "closed", "reason", reason), read)
      )
      const failed = new Counts((reason, read) =>
        series.counter(named(own, "failures", "reason", reason), read)
      )
      for (const reason of closeReasons) closed.add(reason, 0)
      for (const reason of failuresOf(entry.kind)) failed.add(reason, 0)
      const leaks = new Counts((_, read) => series.counter(named(own, "leaks"), read))
      leaks.add("", 0)
      if (entry.threads !== undefined) {
        ofThreads(series, own, reader(entry.threads, yield* entry.threads), yield* Clock)
      }

      yield* entry.record({
        waited: (millis) => times.wait_time.record(millis),
        used: (millis) => times.use_time.record(millis),
        told: (event) => {
          const { _tag, reason, took } = event as Told
          const failure = failureOf(event)
          if (failure !== undefined) failed.add(failure, 1)
          else if (_tag === "Created") times.create_time.record(took ?? 0)
          else if (_tag === "Closed") closed.add(reason ?? "", 1)
          else if (_tag === "Leaked") leaks.add("", 1)
        }
      })
    })
}

const checkBoundaries = (boundaries: ReadonlyArray<number>): void => {
  const isRising = boundaries.every((bound, i) => bound > (boundaries[i - 1] ?? 0) && bound < Infinity)
  if (boundaries.length > 0 && isRising) return
  throw new TypeError(
    `PoolMetrics: boundaries are [${boundaries.join(", ")}], but they must be seconds above zero, each more than the one before`
  )
}

const checkPrefix = (prefix: string): void => {
  if (/^[a-z](?:[\w.-]*\w)?$/i.test(prefix)) return
  throw new TypeError(
    `PoolMetrics: prefix is ${JSON.stringify(prefix)}, but it must be letters, digits, "_", "-" and ".", with a letter first and no "." at the end`
  )
}

// -----------------------------------------------------------------------------
// Names
// -----------------------------------------------------------------------------

/** What names begin with, and what tells one pool's metrics from another's. */
interface Family {
  readonly base: string
  readonly attributes: Readonly<Record<string, string>>
}

const conventional = (id: string): Family => ({
  base: "db.client.connection",
  attributes: { "db.client.connection.pool.name": id }
})

/** One metric of a family, or that part of it which has `value` for `attribute`. */
const named = ({ attributes, base }: Family, name: string, attribute?: string, value = ""): Named => {
  const [unit, description] = explained[name]!
  const part = attribute === undefined ? {} : { [`${base}.${attribute}`]: value }
  return { id: `${base}.${name}`, description, attributes: { ...attributes, ...part, unit } }
}

/** Unit and description of each metric, by the end of its name. */
const explained: Readonly<Record<string, readonly [unit: string, description: string]>> = {
  count: ["{connection}", "Resources of the pool, by whether they are at rest or on loan"],
  "idle.max": ["{connection}", "Most resources that may be at rest"],
  "idle.min": ["{connection}", "Resources that are kept even when nobody asks"],
  max: ["{connection}", "Most resources that may exist"],
  pending_requests: ["{request}", "Borrowers in line"],
  timeouts: ["{timeout}", "Borrowers whose deadline passed"],
  create_time: ["s", "Time that it took to create a resource"],
  wait_time: ["s", "Time that it took to get a resource, 0 where nobody had to wait"],
  use_time: ["s", "Time between getting a resource and giving it back"],
  created: ["{resource}", "Resources created"],
  borrowed: ["{borrow}", "Loans"],
  closed: ["{resource}", "Resources closed, by the reason"],
  failures: ["{failure}", "What went wrong, by the reason"],
  leaks: ["{leak}", "Loans that lasted longer than leakAfter"],
  calls: ["{call}", "Calls that ended, by how"],
  utilization: ["1", "Share of the last moments in which the threads that are up had something to do"]
}

// -----------------------------------------------------------------------------
// Counts
// -----------------------------------------------------------------------------

/**
 * Counts by reason. All reasons that there may be are there from the start: what begins with 1 has, to whoever looks at what changes,
 * never risen.
 */
class Counts {
  private readonly counts = new Map<string, { value: number }>()
  private readonly show: (reason: string, read: () => number) => void

  constructor(show: (reason: string, read: () => number) => void) {
    this.show = show
  }

  add(reason: string, n: number): void {
    const count = this.counts.get(reason)
    if (count !== undefined) return void (count.value += n)
    const first = { value: n }
    this.counts.set(reason, first)
    this.show(reason, () => first.value)
  }
}

/** What is read of events, whichever kind of pool they come from. */
interface Told extends PoolRegistry.Occurrence {
  readonly took?: number
  readonly reason?: string
  readonly cause?: Cause.Cause<unknown>
}

/** What an event says went wrong, if it says so: each is told by one event alone. */
const failureOf = (event: Told): string | undefined => {
  switch (event._tag) {
    case "TimedOut":
      return "AcquireTimeout"
    case "Rejected":
      return event.reason
    case "CreateFailed":
      return event.cause?.reasons.some(isTimeout) === true ? "CreateTimeout" : event._tag
    case "CallRejected":
    case "ThreadCrashed":
    case "ThreadKilled":
    case "ThreadQuarantined":
      return event._tag
    default:
      return undefined
  }
}

/** `ConnectTimeout` is what a driver makes of it that keeps to the limit itself. */
const isTimeout = (reason: Cause.Reason<unknown>): boolean =>
  Cause.isFailReason(reason) &&
  (hasTag(reason.error, "CreateTimeout") || hasTag(reason.error, "ConnectTimeout"))

/** What can go wrong in each kind of pool. */
const failuresOf = (kind: PoolRegistry.Kind): ReadonlyArray<string> => {
  const borrowing = ["AcquireTimeout", "LineFull", "WouldDeadlock"]
  const creating = ["CreateFailed", "CreateTimeout"]
  switch (kind) {
    case "tokens":
      return borrowing
    case "threads":
      return [...creating, "CallRejected", "ThreadCrashed", "ThreadKilled", "ThreadQuarantined"]
    default:
      return [...borrowing, ...creating, "ValidationFailed"]
  }
}

const closeReasons: ReadonlyArray<CloseReason> = [
  "maxAge",
  "maxIdle",
  "maxUses",
  "invalid",
  "resetFailed",
  "invalidated",
  "recycled",
  "cleared",
  "shrunk",
  "stolen",
  "keyIdle",
  "abandoned",
  "poolClosed"
]

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

/** Reads what an entry tells, at once. What cannot be read so, which a pool's never is, stays as it was. */
const reader = <A>(effect: Effect.Effect<A>, first: A): (() => A) => {
  let last = first
  return () => {
    const exit = Effect.runSyncExit(effect)
    if (Exit.isSuccess(exit)) last = exit.value
    return last
  }
}

// -----------------------------------------------------------------------------
// Threads
// -----------------------------------------------------------------------------

const ofThreads = (series: Series, own: Family, read: () => PoolRegistry.Threads, clock: Clock): void => {
  for (const outcome of Object.keys(read().calls)) {
    series.counter(named(own, "calls", "outcome", outcome), () => read().calls[outcome] ?? 0)
  }
  const lately = new Lately(clock, read().each)
  series.gauge(named(own, "utilization"), () => lately.share(read().each))
}

/** For how long utilization looks back at least, in milliseconds. */
const moments = 10_000

/** How busy threads have been of late: for the last 10 to 20 seconds, or since somebody asked before that. */
class Lately {
  /** What threads had done when somebody asked: at some time before {@link moments}, and within them. */
  private before: ReadonlyMap<number, Worked>
  private since: ReadonlyMap<number, Worked>
  private sinceAt: number
  private readonly clock: Clock

  constructor(clock: Clock, threads: PoolRegistry.Threads["each"]) {
    this.clock = clock
    this.before = this.since = byNumber(threads)
    this.sinceAt = clock.currentTimeMillisUnsafe()
  }

  share(threads: PoolRegistry.Threads["each"]): number {
    const now = this.clock.currentTimeMillisUnsafe()
    if (now - this.sinceAt >= moments) {
      this.before = this.since
      this.since = byNumber(threads)
      this.sinceAt = now
    }
    let age = 0
    let busy = 0
    for (const thread of threads) {
      const before = this.before.get(thread.thread)
      age += thread.age - (before?.age ?? 0)
      busy += thread.busy - (before?.busy ?? 0)
    }
    return age > 0 ? Math.min(1, Math.max(0, busy / age)) : 0
  }
}

const byNumber = (threads: PoolRegistry.Threads["each"]): ReadonlyMap<number, Worked> =>
  new Map(threads.map((thread) => [thread.thread, thread]))

interface Worked {
  readonly age: number
  readonly busy: number
}
