/**
 * The alert rules of the guide: each fires in the trouble that it is for, and in no other, and goes when that is over.
 *
 * Pools live through half an hour of simulated time and are scraped every 15 seconds. What was scraped is given to Prometheus's
 * own evaluation of the rules.
 */
import { execFile } from "node:child_process"
import { accessSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { Pool, PoolMetrics, PoolRegistry, TokenPool } from "@cenote/pool"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Layer, Logger, Metric, Scope } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { eventuallyStats, moduleUrl, Shared } from "./kit.ts"
import type * as Plain from "./modules/plain.ts"

const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))

// -----------------------------------------------------------------------------
// Rules
// -----------------------------------------------------------------------------

const root = join(import.meta.dirname, "../../..")
const guide = readFileSync(join(root, "docs/observing.md"), "utf8")
const rules = /^```yaml\n(groups:\n[\s\S]*?)^```$/m.exec(guide)![1]!
const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => name!)

/** On the path, or where the tests have unpacked it; `undefined` where there is none. */
const promtool = ((): string | undefined => {
  const folders = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    join(root, "node_modules/.cache/unpacked/usr/bin")
  ]
  for (const folder of folders) {
    try {
      accessSync(join(folder, "promtool"))
      return join(folder, "promtool")
    } catch {
      continue
    }
  }
  return undefined
})()

const missing =
  "no promtool: `pnpm test` brings it to Debian and Ubuntu (from the package prometheus); elsewhere install Prometheus"

/** Skipped by name where there is no promtool; with `CI=true` in the environment that is a failure. */
const describeRules = (name: string, tests: () => void): void => {
  if (promtool !== undefined || process.env["CI"] === "true") return void describe(name, tests)
  console.warn(`skipped: ${name}: ${missing}`)
  describe.skip(`${name} (skipped: ${missing})`, tests)
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "cenote-alerts-"))
  writeFileSync(join(folder, "rules.yml"), rules)
})
afterAll(() => rmSync(folder, { recursive: true }))

/** What promtool says; fails with that where it is not content. */
const check = (...args: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.callback((resume) => {
    if (promtool === undefined) return resume(Effect.die(new Error(missing)))
    execFile(promtool, args, { cwd: folder }, (error, stdout, stderr) =>
      resume(
        error === null
          ? Effect.succeed(stdout)
          : Effect.die(new Error(`promtool ${args.join(" ")}: ${stdout}${stderr}`))
      )
    )
  })

// -----------------------------------------------------------------------------
// Half an hour of a pool
// -----------------------------------------------------------------------------

/** Minutes of trouble, after so many without any; then it is quiet again. */
const quiet = 6
const trouble = 9
const after = 18
const stepSeconds = 15
const stepsPerMinute = 60 / stepSeconds

/** The values of each series, one a step. */
type History = Map<string, Array<number | undefined>>

const scrapeInto = (history: History, step: number): Effect.Effect<void> =>
  Effect.map(PrometheusMetrics.format(), (text) => {
    for (const [, name, labels, value] of text.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)) {
      const series = `${name}{job="shop",instance="one",${labels}}`
      let values = history.get(series)
      if (values === undefined) history.set(series, (values = []))
      values[step] = Number(value)
    }
  })

interface Scenario {
  /** The one alert that fires, or `undefined` if none does. */
  readonly alert: string | undefined
  readonly pool: string
  readonly live: Effect.Effect<Life, never, Scope.Scope | ThreadPool.ThreadPool>
}

/** What happens in each step of good times and of bad ones; what bad ones begin with ends with them. */
interface Life {
  readonly good: Effect.Effect<unknown, unknown, ThreadPool.ThreadPool>
  readonly bad?: Effect.Effect<unknown, unknown, ThreadPool.ThreadPool>
  readonly begin?: Effect.Effect<unknown, unknown, Scope.Scope | ThreadPool.ThreadPool>
}

/** Lets fibers run that take no time, and threads that take some of their own. */
const settle = Effect.repeat(Effect.yieldNow, { times: 40 })

const historyOf = ({ live }: Scenario): Effect.Effect<History> =>
  Effect.gen(function* () {
    const history: History = new Map()
    const { bad = Effect.void, begin = Effect.void, good } = yield* live
    const bads = yield* Scope.make()
    for (let step = 0; step < (quiet + trouble + after) * stepsPerMinute; step++) {
      const minute = step / stepsPerMinute
      if (minute === quiet) yield* Effect.exit(Scope.provide(begin, bads))
      if (minute === quiet + trouble) yield* Scope.close(bads, Exit.void)
      const isBad = minute >= quiet && minute < quiet + trouble
      yield* Effect.forkChild(isBad ? bad : good)
      yield* settle
      yield* TestClock.adjust(stepSeconds * 1_000)
      yield* settle
      yield* scrapeInto(history, step)
    }
    return history
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeThreads.layer({ name: "workers", size: 1 })),
    Effect.provide(PoolMetrics.layer()),
    Effect.provide(Layer.fresh(PoolRegistry.layer)),
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.provide(Logger.layer([])),
    Effect.provide(TestClock.layer()),
    Effect.orDie
  )

/** A test of rules in promtool's format. */
const unitTest = (
  history: History,
  expectations: ReadonlyArray<{ readonly minute: number; readonly firing: ReadonlyArray<string> }>
) =>
  JSON.stringify({
    rule_files: ["rules.yml"],
    evaluation_interval: `${stepSeconds}s`,
    tests: [
      {
        interval: `${stepSeconds}s`,
        input_series: Array.from(history, ([series, values]) => ({
          series,
          values: Array.from(values, (value) => value ?? "_").join(" ")
        })),
        promql_expr_test: expectations.map(({ firing, minute }) => ({
          expr: 'count by (alertname, job, instance) (ALERTS{alertstate="firing"})',
          eval_time: `${minute}m`,
          exp_samples: firing.map((alertname) => ({
            labels: `{alertname="${alertname}", job="shop", instance="one"}`,
            value: 1
          }))
        }))
      }
    ]
  })

// -----------------------------------------------------------------------------
// Troubles
// -----------------------------------------------------------------------------

const acquire = Effect.sync(() => ({}))
const busy = <A, E>(pool: Pool.Pool<A, E>, seconds = 0) => Pool.use(pool, () => Effect.sleep(seconds * 1_000))

/** A pool that registers as those of `@cenote/sql` do: its metrics have the names of OpenTelemetry. */
const makeConnections: typeof Pool.make = (options) =>
  Effect.updateService(Pool.make(options), PoolRegistry.PoolRegistry, (registry) => ({
    ...registry,
    register: (description) => registry.register({ ...description, kind: "connections" })
  }))

/** Work as there always is: some of it has to wait, though not for long. */
const usual = <A, E>(pool: Pool.Pool<A, E>) =>
  Effect.forEach([1, 2, 3, 4, 5], () => Pool.use(pool, () => Effect.sleep("100 millis")), {
    concurrency: "unbounded"
  })

/** Threads take real time, whatever clock a test has. */
const inRealTime = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Clock.Clock, Context.get(Context.empty(), Clock.Clock))

const scenarios: ReadonlyArray<Scenario> = [
  {
    alert: undefined,
    pool: "calm",
    live: Effect.gen(function* () {
      let attempts = 0
      const pool = yield* Pool.make({
        name: "calm",
        // Once in a while one fails, as connects do.
        acquire: Effect.suspend(() => (++attempts % 10 === 9 ? Effect.fail("no") : acquire)),
        max: 2,
        maxUses: 7,
        leakAfter: "1 minute",
        acquireTimeout: "10 seconds"
      })
      const tokens = yield* TokenPool.make({ name: "calm tokens", max: 2 })
      const good = Effect.all([Effect.exit(usual(pool)), usual(tokens), plain.add(1, 2)], {
        concurrency: "unbounded"
      })
      return { good, bad: good }
    })
  },
  ...[Pool.make, makeConnections].flatMap((make): ReadonlyArray<Scenario> => [
    {
      alert: "PoolShort",
      pool: "db",
      live: Effect.gen(function* () {
        const pool = yield* make({ name: "db", acquire, max: 2 })
        return {
          good: usual(pool),
          begin: Effect.all([1, 2, 3].map(() => Effect.forkScoped(Pool.use(pool, () => Effect.never))))
        }
      })
    },
    {
      alert: "PoolWaitsLong",
      pool: "db",
      live: Effect.gen(function* () {
        const pool = yield* make({ name: "db", acquire, max: 1 })
        return {
          good: usual(pool),
          bad: Effect.all([busy(pool, 3), busy(pool, 1)], { concurrency: "unbounded" })
        }
      })
    }
  ]),
  {
    alert: "PoolTurnsAway",
    pool: "db",
    live: Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire, max: 1, acquireTimeout: "1 second" })
      const bad = Effect.all([busy(pool, 3), Effect.exit(busy(pool))], { concurrency: "unbounded" })
      return { good: busy(pool), bad }
    })
  },
  {
    alert: "PoolCannotCreate",
    pool: "db",
    live: Effect.gen(function* () {
      let isDown = false
      const pool = yield* Pool.make({
        name: "db",
        acquire: Effect.suspend(() => (isDown ? Effect.fail("connection refused") : acquire)),
        maxUses: 3
      })
      const begin = Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => (isDown = true)),
          () => Effect.sync(() => (isDown = false))
        ),
        Pool.clear(pool)
      )
      return { good: usual(pool), bad: Effect.exit(busy(pool)), begin }
    })
  },
  {
    alert: "PoolLeaks",
    pool: "db",
    live: Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire, leakAfter: "30 seconds" })
      return { good: usual(pool), bad: busy(pool), begin: Effect.forkScoped(busy(pool, 3_600)) }
    })
  },
  {
    alert: "PoolDeadlock",
    pool: "db",
    live: Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "db", acquire, max: 1 })
      return { good: usual(pool), begin: Effect.flip(Pool.use(pool, () => busy(pool))) }
    })
  },
  {
    alert: "ThreadsSaturated",
    pool: "workers",
    live: Effect.gen(function* () {
      const shared = new Shared(2)
      const begin = Effect.gen(function* () {
        yield* Effect.addFinalizer(() =>
          Effect.andThen(
            Effect.sync(() => shared.set(1, 1)),
            inRealTime(eventuallyStats("all have ended", ({ pending, running }) => pending + running === 0))
          )
        )
        yield* Effect.forkDetach(plain.beginAndBlock(shared.cells))
        yield* inRealTime(shared.until(1))
        yield* Effect.forkDetach(plain.add(1, 2))
        yield* inRealTime(eventuallyStats("a call waits", ({ pending }) => pending === 1))
      })
      return { good: plain.add(1, 2), begin }
    })
  },
  {
    alert: "ThreadsEnd",
    pool: "workers",
    live: Effect.succeed({
      good: plain.add(1, 2),
      begin: inRealTime(
        Effect.andThen(
          Effect.exit(ThreadPool.execute(() => process.exit(1))),
          eventuallyStats("another is up", ({ threads }) => threads.some(({ thread }) => thread > 1))
        )
      )
    })
  }
]

describeRules("the alert rules of the guide", () => {
  it.live("are rules", () =>
    Effect.gen(function* () {
      expect(yield* check("check", "rules", "rules.yml")).toMatch(/SUCCESS: \d+ rules found/)
    })
  )

  it("have a trouble each that they are for", () => {
    expect(new Set(scenarios.map(({ alert }) => alert ?? "none"))).toEqual(new Set(["none", ...alerts]))
  })

  it.live.each(scenarios.map((_) => ({ ..._, only: _.alert ?? "nothing" })))(
    "$only fires in half an hour of $pool",
    (scenario) =>
      Effect.gen(function* () {
        const history = yield* historyOf(scenario)
        expect([...history.keys()].some((series) => series.includes(`="${scenario.pool}"`))).toBe(true)
        const firing = scenario.alert === undefined ? [] : [scenario.alert]
        const file = `${scenario.alert ?? "none"}.json`
        writeFileSync(
          join(folder, file),
          unitTest(history, [
            ...Array.from({ length: quiet }, (_, minute) => ({ minute, firing: [] })),
            { minute: quiet + trouble - 1, firing },
            { minute: quiet + trouble + after - 1, firing: [] }
          ])
        )
        expect(yield* check("test", "rules", file)).toContain("SUCCESS")
      })
  )
})
