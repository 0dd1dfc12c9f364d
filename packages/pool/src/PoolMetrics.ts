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
 * | `use_time` | histogram | `s` | How long a borrower held, to the millisecond |
 *
 * Of pools of connections these begin with `db.client.connection.`, and have the attributes `db.client.connection.pool.name` and
 * `db.client.connection.state`, as OpenTelemetry's conventions say. There is no convention for other pools: there they begin with the prefix,
 * `cenote.pool.` if no other is given, and so do their attributes, `cenote.pool.name`, `cenote.pool.kind` and `cenote.pool.state`. Of a
 * thread pool, a borrow is a call.
 *
 * For what the conventions have no name, all kinds of pool have these under the prefix: `created`, `closed` (by `reason`), `borrowed`,
 * `failures` (by `reason`: `CreateFailed`, `AcquireTimeout`, `LineFull`, `WouldDeadlock`, `ThreadCrashed`, …), `leaks`, and of a thread pool
 * `calls` (by `outcome`) and `utilization` (from 0 to 1, over the threads that are up).
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
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import { Histogram } from "./internal/histogram.ts"
import type { Stats } from "./Pool.ts"
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
  /** What names begin with where OpenTelemetry has none. Default `"cenote.pool"`. */
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
 * Give it to the whole program once, beside the exporter. Impossible boundaries are a defect.
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
  return (entry) =>
    Effect.gen(function* () {
      const series = new Series(yield* Effect.context<Scope.Scope>())
      yield* Effect.addFinalizer(() => Effect.sync(() => series.remove()))
      const own: Family = {
        base: prefix,
        labels: { [`${prefix}.name`]: entry.id, [`${prefix}.kind`]: entry.kind }
      }
      const family = entry.kind === "connections" ? conventional(entry.id) : own
      const create = new Histogram(boundaries)
      const wait = new Histogram(boundaries)
      const use = new Histogram(boundaries)
      const read = reader(entry.stats, noStats)

      series.gauge(family, "count", () => read().idle, { [`${family.base}.state`]: "idle" })
      series.gauge(family, "count", () => read().used, { [`${family.base}.state`]: "used" })
      series.gauge(family, "idle.max", () => read().max)
      series.gauge(family, "idle.min", () => read().min)
      series.gauge(family, "max", () => read().max)
      series.gauge(family, "pending_requests", () => read().pending)
      series.counter(family, "timeouts", () => read().timeouts)
      series.histogram(family, "create_time", create)
      series.histogram(family, "wait_time", wait)
      series.histogram(family, "use_time", use)
      series.counter(own, "created", () => read().created)
      series.counter(own, "borrowed", () => read().borrowed)
      if (entry.threads !== undefined) ofThreads(series, own, reader(entry.threads, noThreads))

      const failed = (reason: string): void => series.count(own, "failures", { [`${prefix}.reason`]: reason })
      yield* entry.record({
        waited: (millis) => wait.record(millis),
        used: (millis) => use.record(millis),
        told: (event) => {
          const { _tag, reason = "", took = 0 } = event as Told
          if (_tag === "Created") create.record(took)
          else if (_tag === "Closed") series.count(own, "closed", { [`${prefix}.reason`]: reason })
          else if (_tag === "Leaked") series.count(own, "leaks", {})
          else if (_tag === "TimedOut") failed("AcquireTimeout")
          else if (_tag === "Rejected") failed(reason)
          else if (failures.has(_tag)) failed(_tag)
        }
      })
    })
}

/** Events that are failures by their name alone. */
const failures: ReadonlySet<string> = new Set([
  "CreateFailed",
  "CallRejected",
  "ThreadCrashed",
  "ThreadKilled",
  "ThreadQuarantined"
])

const ofThreads = (series: Series, own: Family, read: () => PoolRegistry.Threads): void => {
  for (const outcome of Object.keys(read().calls)) {
    series.counter(own, "calls", () => read().calls[outcome] ?? 0, { [`${own.base}.outcome`]: outcome })
  }
  series.gauge(own, "utilization", () => {
    const { each } = read()
    const age = each.reduce((sum, thread) => sum + thread.age, 0)
    return age === 0 ? 0 : Math.min(1, each.reduce((sum, thread) => sum + thread.busy, 0) / age)
  })
}

/** What is read of events, whichever kind of pool they come from. */
interface Told extends PoolRegistry.Occurrence {
  readonly took?: number
  readonly reason?: string
}

const checkBoundaries = (boundaries: ReadonlyArray<number>): void => {
  const isRising = boundaries.every((bound, i) => bound > 0 && bound > (boundaries[i - 1] ?? 0))
  if (boundaries.length > 0 && isRising) return
  throw new TypeError(
    `PoolMetrics: boundaries are [${boundaries.join(", ")}], but they must be seconds above zero, each more than the one before`
  )
}

/** What names begin with, and what tells one pool's metrics from another's. */
interface Family {
  readonly base: string
  readonly labels: Readonly<Record<string, string>>
}

const conventional = (id: string): Family => ({
  base: "db.client.connection",
  labels: { "db.client.connection.pool.name": id }
})

/** Unit and description of each metric, by the end of its name. */
const told: Readonly<Record<string, readonly [unit: string, description: string]>> = {
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
  utilization: ["1", "Share of their time in which threads had something to do"]
}

/** The metrics of one pool, read from it when somebody asks. */
class Series {
  private readonly registrations: Array<Metric.Registration> = []
  /** What is counted here, by its whole name. */
  private readonly counts = new Map<string, { value: number }>()
  private readonly context: Context.Context<never>

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  gauge(family: Family, name: string, read: () => number, labels: Family["labels"] = {}): void {
    const metric = Metric.gauge(`${family.base}.${name}`, options(family, name, labels))
    this.observe(metric, () => ({ value: read() }))
  }

  counter(family: Family, name: string, read: () => number, labels: Family["labels"] = {}): void {
    const metric = Metric.counter(`${family.base}.${name}`, {
      ...options(family, name, labels),
      incremental: true
    })
    this.observe(metric, () => ({ count: read(), incremental: true }))
  }

  histogram(family: Family, name: string, histogram: Histogram): void {
    const { boundaries } = histogram
    const metric = Metric.histogram(`${family.base}.${name}`, { ...options(family, name, {}), boundaries })
    this.observe(metric, () => histogram.state)
  }

  /** One more. */
  count(family: Family, name: string, labels: Family["labels"]): void {
    const key = [name, ...Object.values(labels)].join(" ")
    const count = this.counts.get(key)
    if (count !== undefined) return void count.value++
    const first = { value: 1 }
    this.counts.set(key, first)
    this.counter(family, name, () => first.value, labels)
  }

  remove(): void {
    for (const registration of this.registrations) registration.remove()
  }

  private observe<Input, State>(metric: Metric.Metric<Input, State>, get: () => State): void {
    const hooks = { get, update: () => {}, modify: () => {} }
    this.registrations.push(Metric.registerUnsafe(metric, this.context, hooks))
  }
}

const options = (
  { labels: own }: Family,
  name: string,
  labels: Family["labels"]
): { readonly description: string; readonly attributes: Readonly<Record<string, string>> } => {
  const [unit, description] = told[name]!
  return { description, attributes: { ...own, ...labels, unit } }
}

/** Reads what an entry tells, at once. What cannot be read so, which a pool's never is, stays as it was. */
const reader = <A>(effect: Effect.Effect<A>, initial: A): (() => A) => {
  let last = initial
  return () => {
    const exit = Effect.runSyncExit(effect)
    if (Exit.isSuccess(exit)) last = exit.value
    return last
  }
}

const noThreads: PoolRegistry.Threads = { calls: {}, each: [] }

const noStats: Stats = {
  name: "",
  min: 0,
  max: 0,
  size: 0,
  idle: 0,
  used: 0,
  pending: 0,
  creating: 0,
  closing: 0,
  state: "open",
  created: 0,
  destroyed: 0,
  borrowed: 0,
  timeouts: 0,
  failures: 0
}
