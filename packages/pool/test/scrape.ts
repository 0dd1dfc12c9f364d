/**
 * What tests read metrics with: a registry of metrics of their own, in the text that Prometheus gets.
 */
import { PoolMetrics, PoolRegistry } from "@cenote/pool"
import { Effect, Layer, Metric, type Scope } from "effect"
import { PrometheusMetrics } from "effect/observability"

/** The samples of a scrape, by what stands before the value: `name{label="value",…}`. */
export type Samples = ReadonlyMap<string, number>

export const scrape: Effect.Effect<Samples> = Effect.map(
  PrometheusMetrics.format(),
  (text) =>
    new Map(
      text
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith("#"))
        .map((line) => {
          const space = line.lastIndexOf(" ")
          return [line.slice(0, space), Number(line.slice(space + 1).replace("Inf", "Infinity"))]
        })
    )
)

/** Those samples of a pool whose metric is so called: by their own labels, `{}` where there are none. */
export const samplesOf = (samples: Samples, metric: string, pool = "db"): Record<string, number> =>
  Object.fromEntries(
    [...samples].flatMap(([sample, value]) => {
      const [, name, labels = ""] = /^([^{]*)\{(.*)\}$/.exec(sample) ?? []
      const own = labels.split(",").filter((label) => !/_(name|kind)=/.test(label))
      return name === metric && labels.includes(`_name="${pool}"`) ? [[`{${own.join(",")}}`, value]] : []
    })
  )

/** Runs a test with registries of its own, of pools and of metrics. */
export const isolated = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  effect.pipe(
    Effect.provide(Layer.fresh(PoolRegistry.layer)),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

/** Has metrics of all pools until the scope closes. */
export const withMetrics = (options?: PoolMetrics.Options): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Layer.build(Layer.fresh(PoolMetrics.layer(options))))
