/**
 * Metrics of all kinds of pool, as those get them who collect metrics: Prometheus, OTLP and OpenTelemetry's own SDK.
 */
import { createServer } from "node:http"
import { KeyedPool, Pool, PoolMetrics, PoolRegistry, TokenPool } from "@cenote/pool"
import { ConnectionPool, RawConnectionPool } from "@cenote/sql"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { NodeThreads, ThreadPool } from "@cenote/threads"
// The whole package would want all of its peers, those for logs and traces included.
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as Resource from "@effect/opentelemetry/Resource"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import * as SemConv from "@opentelemetry/semantic-conventions/incubating"
import { Deferred, Effect, Layer, Metric } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { OtlpMetrics, OtlpSerialization, PrometheusMetrics } from "effect/observability"

// -----------------------------------------------------------------------------
// What is measured
// -----------------------------------------------------------------------------

const Everything = Layer.mergeAll(
  NodeThreads.layer({ name: "workers", size: 1 }),
  RawConnectionPool.layer(SqliteDriver.make({ filename: ":memory:" }), { name: "shop", min: 1, max: 2 })
)

/** One pool of each kind, each of which has been used once. */
const usePools = Effect.gen(function* () {
  const printers = yield* Pool.make({ name: "printers", acquire: Effect.succeed("printer"), max: 3 })
  const slots = yield* TokenPool.make({ name: "slots", max: 5 })
  const hosts = yield* KeyedPool.make({ name: "hosts", acquire: (host: string) => Effect.succeed(host) })
  yield* Pool.use(printers, () => Effect.void)
  yield* TokenPool.withToken(slots, Effect.void)
  yield* KeyedPool.use(hosts, "a.example", () => Effect.void)
  yield* ThreadPool.execute(() => 1)
  yield* ConnectionPool.use((connection) => connection.execute("select 1", [], undefined))
})

/** Runs something while there are such pools, and metrics of them. */
const measured = <A, E>(f: Effect.Effect<A, E>): Effect.Effect<A, unknown> =>
  Effect.andThen(usePools, f).pipe(
    Effect.scoped,
    Effect.provide(Everything),
    Effect.provide(PoolMetrics.layer()),
    Effect.provide(Layer.fresh(PoolRegistry.layer)),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

/** What OpenTelemetry's conventions say of pools of connections: kind, unit, and values of the state. */
const conventions = [
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_COUNT, kind: "gauge", unit: "{connection}" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_IDLE_MAX, kind: "gauge", unit: "{connection}" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_IDLE_MIN, kind: "gauge", unit: "{connection}" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_MAX, kind: "gauge", unit: "{connection}" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_PENDING_REQUESTS, kind: "gauge", unit: "{request}" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_TIMEOUTS, kind: "counter", unit: "{timeout}" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_CREATE_TIME, kind: "histogram", unit: "s" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_USE_TIME, kind: "histogram", unit: "s" },
  { name: SemConv.METRIC_DB_CLIENT_CONNECTION_WAIT_TIME, kind: "histogram", unit: "s" }
]

/** What Cenote has besides. */
const own = [
  { name: "cenote.pool.borrowed", kind: "counter", unit: "{borrow}" },
  { name: "cenote.pool.closed", kind: "counter", unit: "{resource}" },
  { name: "cenote.pool.created", kind: "counter", unit: "{resource}" },
  { name: "cenote.pool.failures", kind: "counter", unit: "{failure}" },
  { name: "cenote.pool.leaks", kind: "counter", unit: "{leak}" }
]

/** What all pools but those of connections have under Cenote's own names. */
const others = conventions.map(({ name, ...rest }) => ({
  ...rest,
  name: name.replace("db.client.connection", "cenote.pool")
}))

const threads = [
  { name: "cenote.pool.calls", kind: "counter", unit: "{call}" },
  { name: "cenote.pool.utilization", kind: "gauge", unit: "1" }
]

/** A metric of one pool. */
interface Told {
  readonly name: string
  readonly kind: string
  readonly unit: string
}

const sorted = (all: Iterable<Told>): ReadonlyArray<Told> =>
  [...new Map([...all].map((told) => [told.name, told])).values()]
    .map(({ kind, name, unit }) => ({ name, kind, unit }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))

/** What there should be of each pool. */
const expected: Readonly<Record<string, ReadonlyArray<Told>>> = {
  printers: sorted([...others, ...own]),
  slots: sorted([...others, ...own]),
  // It has no limit.
  hosts: sorted([...others, ...own].filter(({ name }) => !name.endsWith("max"))),
  workers: sorted([...others, ...own, ...threads]),
  shop: sorted([...conventions, ...own])
}

type Attributes = Readonly<Record<string, unknown>>

/** A value as it was told. */
interface Point extends Told {
  readonly attributes: Attributes
  readonly value: number
}

const poolOf = (attributes: Attributes): unknown =>
  attributes[SemConv.ATTR_DB_CLIENT_CONNECTION_POOL_NAME] ?? attributes["cenote.pool.name"]

/** Holds what all ways to tell have in common. */
const expectAll = (points: ReadonlyArray<Point>): void => {
  const pools = new Set(points.map(({ attributes }) => String(poolOf(attributes))))
  const told = Array.from(pools, (pool) => [
    pool,
    sorted(points.filter(({ attributes }) => poolOf(attributes) === pool))
  ])
  expect(Object.fromEntries(told)).toEqual(expected)
  const valueOf = (name: string, attributes: Attributes): number | undefined =>
    points.find(
      (point) =>
        point.name === name &&
        Object.entries(attributes).every(([key, value]) => point.attributes[key] === value)
    )?.value
  const shop = { [SemConv.ATTR_DB_CLIENT_CONNECTION_POOL_NAME]: "shop" }
  const state = SemConv.ATTR_DB_CLIENT_CONNECTION_STATE
  expect(
    valueOf("db.client.connection.count", {
      ...shop,
      [state]: SemConv.DB_CLIENT_CONNECTION_STATE_VALUE_IDLE
    })
  ).toBe(1)
  expect(
    valueOf("db.client.connection.count", {
      ...shop,
      [state]: SemConv.DB_CLIENT_CONNECTION_STATE_VALUE_USED
    })
  ).toBe(0)
  expect(valueOf("db.client.connection.max", shop)).toBe(2)
  for (const [pool, kind] of [
    ["printers", "pool"],
    ["slots", "tokens"],
    ["hosts", "keyed"],
    ["workers", "threads"],
    ["shop", "connections"]
  ]) {
    const attributes = { "cenote.pool.name": pool, "cenote.pool.kind": kind }
    expect([pool, valueOf("cenote.pool.borrowed", attributes)]).toEqual([pool, 1])
  }
  expect(valueOf("cenote.pool.wait_time", { "cenote.pool.name": "printers" })).toBe(1)
  expect(valueOf("cenote.pool.calls", { "cenote.pool.outcome": "succeeded" })).toBe(1)
  expect(valueOf("cenote.pool.failures", { "cenote.pool.reason": "AcquireTimeout" })).toBe(0)
}

// -----------------------------------------------------------------------------
// Prometheus
// -----------------------------------------------------------------------------

/** A name as Prometheus has it. */
const flat = (name: string): string => name.replaceAll(".", "_")

/** The samples of a scrape, under the names that they have elsewhere; histograms by their counts. */
const parse = (text: string): ReadonlyArray<Point> => {
  const names = [...conventions, ...others, ...own, ...threads]
  const kinds = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name!, kind!]))
  return [...text.matchAll(/^(\w+?)(_count)?\{(.*)\} (\S+)$/gm)].flatMap(
    ([line, base, count, labels, value]) => {
      const whole = kinds.has(`${base}${count ?? ""}`) ? `${base}${count ?? ""}` : base!
      const kind = kinds.get(whole)
      if (kind === undefined) return []
      if (kind === "histogram" && (count === undefined || whole.endsWith("_count"))) return []
      const metric = names.find(({ name }) => flat(name) === whole)
      if (metric === undefined) throw new Error(`nobody knows ${line}`)
      const attributes = Object.fromEntries(
        [...labels!.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, of]) => [
          key!
            .replace("db_client_connection_pool_name", "db.client.connection.pool.name")
            .replace("db_client_connection_state", "db.client.connection.state")
            .replace(/^cenote_pool_/, "cenote.pool."),
          of
        ])
      )
      return [{ name: metric.name, unit: metric.unit, kind, attributes, value: Number(value) }]
    }
  )
}

const urlOf = ({ address }: HttpServer.HttpServer["Service"], path: string): string => {
  if (address._tag === "UnixPathAddress") throw new Error("the server listens on no port")
  return `http://127.0.0.1:${address.port}${path}`
}

describe("metrics of all kinds of pool", () => {
  it.live("are there for Prometheus to scrape over HTTP, under OpenTelemetry's names", () =>
    measured(
      Effect.gen(function* () {
        const server = yield* HttpServer.HttpServer
        const response = yield* Effect.promise(() => fetch(urlOf(server, "/metrics")))
        expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/)
        const text = yield* Effect.promise(() => response.text())
        expectAll(parse(text))
        expect(text).toContain(
          'db_client_connection_wait_time_bucket{db_client_connection_pool_name="shop",le="30"} 1\n'
        )
        expect(text).not.toMatch(/unit=|NaN|Inf$/m)
      }).pipe(
        Effect.provide(
          HttpRouter.serve(PrometheusMetrics.layerHttp(), {
            disableListenLog: true,
            disableLogger: true
          }).pipe(Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })))
        )
      )
    )
  )

  it.live("are sent by OTLP, with their units", () => {
    const received = Deferred.makeUnsafe<string>()
    const collector = Effect.acquireRelease(
      Effect.callback<{ readonly url: string; readonly close: Effect.Effect<void> }>((resume) => {
        const server = createServer((request, response) => {
          let body = ""
          request.on("data", (part) => (body += String(part)))
          request.on("end", () => {
            Deferred.doneUnsafe(received, Effect.succeed(`${request.method} ${request.url} ${body}`))
            response.writeHead(200, { "content-type": "application/json" }).end("{}")
          })
        })
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          if (address === null || typeof address === "string") throw new Error("the collector has no port")
          const close = Effect.callback<void>((resume) => {
            server.close(() => resume(Effect.void))
            server.closeAllConnections()
          })
          resume(Effect.succeed({ url: `http://127.0.0.1:${address.port}/v1/metrics`, close }))
        })
      }),
      ({ close }) => close
    )
    return measured(
      Effect.gen(function* () {
        const { url } = yield* collector
        // What is left is sent when the exporter closes.
        yield* Effect.void.pipe(
          Effect.provide(
            OtlpMetrics.layer({ url, resource: { serviceName: "shop" } }).pipe(
              Layer.provide([OtlpSerialization.layerJson, FetchHttpClient.layer])
            )
          )
        )
        const request = yield* Deferred.await(received)
        expect(request).toMatch(/^POST \/v1\/metrics \{/)
        const body = JSON.parse(request.slice(request.indexOf("{")))
        expectAll(pointsOf(body.resourceMetrics[0].scopeMetrics[0].metrics))
        // Infinity would be null.
        expect(request).not.toContain("null")
      }).pipe(Effect.scoped)
    )
  })

  it.live("are read by @effect/opentelemetry for OpenTelemetry's SDK", () =>
    measured(
      Effect.gen(function* () {
        const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
        yield* Effect.void.pipe(
          Effect.provide(
            OtelMetrics.layer(
              () => new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
            ).pipe(Layer.provide(Resource.layer({ serviceName: "shop" })))
          )
        )
        const [first] = exporter.getMetrics()
        const points = first!.scopeMetrics.flatMap(({ metrics }) =>
          metrics.flatMap(({ dataPointType, dataPoints, descriptor }) =>
            dataPoints.map(({ attributes, value }) => ({
              name: descriptor.name,
              unit: descriptor.unit,
              kind:
                dataPointType === DataPointType.HISTOGRAM
                  ? "histogram"
                  : dataPointType === DataPointType.GAUGE
                    ? "gauge"
                    : "counter",
              attributes,
              value: typeof value === "number" ? value : value.count
            }))
          )
        )
        expectAll(points)
      })
    )
  )
})

/** The points of OTLP's JSON; histograms by their counts. */
const pointsOf = (metrics: ReadonlyArray<any>): ReadonlyArray<Point> =>
  metrics.flatMap(({ gauge, histogram, name, sum, unit }) => {
    if (sum !== undefined) expect([name, sum.isMonotonic]).toEqual([name, true])
    const kind = gauge !== undefined ? "gauge" : sum !== undefined ? "counter" : "histogram"
    return (gauge ?? sum ?? histogram).dataPoints.map((point: any) => ({
      name,
      unit,
      kind,
      attributes: Object.fromEntries(point.attributes.map(({ key, value }: any) => [key, value.stringValue])),
      value: point.asDouble ?? point.count
    }))
  })
