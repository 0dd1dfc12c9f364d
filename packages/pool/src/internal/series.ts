import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { Histogram } from "./histogram.ts"

type Attributes = Readonly<Record<string, string>>

/** One metric of one pool: its whole name, and all its attributes with the unit. */
export interface Named {
  readonly id: string
  readonly description: string
  readonly attributes: Attributes
}

/** Metrics that are read from their source when somebody asks, until they are removed. */
export class Series {
  private readonly sources: Array<Source> = []
  private readonly context: Context.Context<never>

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  gauge({ id, ...options }: Named, read: () => number): void {
    this.add(Metric.gauge(id, options), () => ({ value: read() }))
  }

  counter({ id, ...options }: Named, read: () => number): void {
    this.add(Metric.counter(id, { ...options, incremental: true }), () => ({
      count: read(),
      incremental: true
    }))
  }

  histogram({ id, ...options }: Named, histogram: Histogram): void {
    const { boundaries } = histogram
    this.add(Metric.histogram(id, { ...options, boundaries }), () => histogram.state)
  }

  remove(): void {
    for (const source of this.sources) source.remove()
    this.sources.length = 0
  }

  private add<Input, State>(metric: Metric.Metric<Input, State>, get: () => State): void {
    this.sources.push(new Source(metric, get, this.context))
  }
}

/**
 * Where one metric is read from. Of those with the same identity, as two layers give them, Effect's registry has room for one alone: it
 * is the one that came last, and when that goes, the one before it.
 */
class Source {
  private readonly identity: string
  private readonly registry: Metric.MetricRegistry
  private readonly show: () => Metric.Registration
  private registration: Metric.Registration

  constructor(metric: Metric.Metric<any, any>, get: () => unknown, context: Context.Context<never>) {
    const { attributes, description, id, type } = metric
    const more = Context.get(context, Metric.CurrentMetricAttributes)
    const hooks = { get, update: () => {}, modify: () => {} }
    this.identity = JSON.stringify([type, id, description, attributes, more])
    this.registry = Context.get(context, Metric.MetricRegistry)
    this.show = () => Metric.registerUnsafe(metric, context, hooks)
    this.registration = this.show()
    const peers = this.peers
    if (peers === undefined) this.all.set(this.identity, [this])
    else peers.push(this)
  }

  remove(): void {
    const others = (this.peers ?? []).filter((other) => other !== this)
    this.registration.remove()
    if (others.length === 0) return void this.all.delete(this.identity)
    this.all.set(this.identity, others)
    const last = others.at(-1)!
    last.registration = last.show()
  }

  private get all(): Map<string, Array<Source>> {
    let all = sources.get(this.registry)
    if (all === undefined) sources.set(this.registry, (all = new Map()))
    return all
  }

  /** Those of the same identity, this one included, in the order in which they came. */
  private get peers(): Array<Source> | undefined {
    return this.all.get(this.identity)
  }
}

/** What is read now, by Effect's registry and identity. */
const sources = new WeakMap<Metric.MetricRegistry, Map<string, Array<Source>>>()
