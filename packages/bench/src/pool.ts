/**
 * `pnpm bench pool`: Cenote's pools beside Effect's own and the promise libraries.
 */
import { Effect } from "effect"
import { type Benchmark, type Contestant, type Group, inverse, measureOf, times } from "./harness.ts"
import { readOptions, runBenchmark } from "./harness.ts"
import * as contenders from "./pool/contenders.ts"
import * as scenarios from "./pool/scenarios.ts"

const options = readOptions(
  "pool",
  "Measures Cenote's pools beside other libraries, prints the tables, and writes docs/benchmarks/pool.md and .json."
)
const { quick } = options

// -----------------------------------------------------------------------------
// Sections
// -----------------------------------------------------------------------------

const cenote = "Cenote Pool.use"
const measured = "Cenote Pool.use, PoolMetrics"
const limited = "Cenote Pool.use, limits"
const limitedMeasured = "Cenote Pool.use, limits, PoolMetrics"
const effectUse = "Effect Pool.use"
const yieldNow = "floor: yieldNow"
const setImmediate = "floor: setImmediate"
const sizes = [10, 100, 1_000, 10_000, 100_000]

const make = <C extends contenders.Contender>(
  makes: ReadonlyArray<contenders.Make<C>>,
  scenario: (contender: C) => Contestant
): Group["contestants"] => Effect.map(Effect.all(makes), (made) => made.map(scenario))

const handOff = (fibers: number) =>
  scenarios.handOff(
    fibers,
    quick ? Math.min(Math.max(fibers * 3, 10_000), 30_000) : Math.max(fibers, 30_000),
    { effect: yieldNow, promise: setImmediate }
  )

const handOffGroup = (fibers: number): Group => {
  const upTo = <A>(most: number, peer: A): ReadonlyArray<A> => (fibers <= most ? [peer] : [])
  const leftOut =
    fibers > 10_000
      ? "Effect's Queue (over 200 µs) and Semaphore (more still), tarn (over 100 µs)"
      : "Effect's Semaphore (about 400 µs)"
  return {
    id: `hand-off-${fibers}`,
    title: `Hand-off, ${fibers.toLocaleString("en")} fibers over 10 resources`,
    note: fibers > 1_000 ? `Left out, as too slow in a line this long: ${leftOut}.` : undefined,
    unit: "ns/op",
    baseline: cenote,
    rounds: fibers > 10_000 ? 4 : fibers > 1_000 ? 7 : 11,
    // Samples of this many take seconds.
    warmUps: quick && fibers > 1_000 ? 0 : undefined,
    contestants: make<contenders.Contender>(
      [
        contenders.effectFloor(yieldNow),
        contenders.cenoteUse,
        contenders.cenoteDeadline,
        contenders.effectUse,
        ...upTo(1_000, contenders.semaphore),
        ...upTo(10_000, contenders.queue),
        contenders.promiseFloor(setImmediate),
        contenders.viaGenericPool,
        ...upTo(10_000, contenders.viaTarn),
        contenders.viaLightningPool
      ],
      handOff(fibers)
    )
  }
}

const givingUpGroup = (waiters: number): Group => ({
  id: `giving-up-${waiters}`,
  title: `Giving up, ${waiters.toLocaleString("en")} fibers join the line and every second one is interrupted`,
  unit: "ns/fiber",
  baseline: cenote,
  rounds: 9,
  contestants: make(
    [contenders.cenoteUse, contenders.effectUse, ...(waiters <= 1_000 ? [contenders.semaphore] : [])],
    scenarios.givingUp(waiters, 20_000 / waiters)
  )
})

/** What metrics cost, alone and in a crowd, beside the same pool without. */
const metricsGroups = (
  of: "" | "limits-",
  baseline: string,
  pools: ReadonlyArray<contenders.Make<contenders.EffectContender>>
): ReadonlyArray<Group> => {
  const which = of === "" ? "" : ", a pool with limits"
  return [
    {
      id: `metrics-${of}alone`,
      title: `Borrow and return with and without metrics, one fiber${which}`,
      unit: "ns/op",
      baseline,
      rounds: 31,
      contestants: make<contenders.Contender>(
        [contenders.effectFloor("floor: Effect.sync"), ...pools],
        scenarios.alone(quick ? 20_000 : 100_000)
      )
    },
    {
      id: `metrics-${of}1000`,
      title: `Hand-off with and without metrics, 1,000 fibers over 10 resources${which}`,
      unit: "ns/op",
      baseline,
      rounds: 21,
      contestants: make<contenders.Contender>([contenders.effectFloor(yieldNow), ...pools], handOff(1_000))
    }
  ]
}

const churn = [
  contenders.churnCenote,
  contenders.churnCenoteInvalidate,
  contenders.churnEffect,
  contenders.churnGenericPool,
  contenders.churnLightningPool
]

const groups: ReadonlyArray<Group> = [
  {
    id: "alone",
    title: "Borrow and return, one fiber, warm pool",
    unit: "ns/op",
    baseline: cenote,
    rounds: 15,
    contestants: make<contenders.Contender>(
      [
        contenders.effectFloor("floor: Effect.sync"),
        contenders.cenoteUse,
        contenders.cenoteDeadline,
        contenders.effectUse,
        contenders.cenoteGet,
        contenders.effectGet,
        contenders.semaphore,
        contenders.promiseFloor("floor: await"),
        contenders.viaGenericPool,
        contenders.viaTarn,
        contenders.viaLightningPool
      ],
      scenarios.alone(quick ? 20_000 : 50_000)
    )
  },
  ...metricsGroups("", cenote, [contenders.cenoteUse, contenders.cenoteMeasured]),
  ...metricsGroups("limits-", limited, [contenders.cenoteLimits, contenders.cenoteLimitsMeasured]),
  ...sizes.map(handOffGroup),
  ...[1_000, 10_000].map(givingUpGroup),
  {
    id: "churn-alone",
    title: "Create and close for every borrow, one fiber",
    note: "tarn replaces what fails its validation, and waits for a timer of a millisecond each time.",
    unit: "ns/op",
    baseline: "Cenote maxUses: 1",
    rounds: 9,
    contestants: Effect.zipWith(
      make<contenders.Contender>(churn, scenarios.alone(5_000)),
      make([contenders.churnTarn], scenarios.alone(100)),
      (all, tarn) => [...all, ...tarn]
    )
  },
  {
    id: "churn-many",
    title: "Create and close for every borrow, 100 fibers over 10 resources",
    unit: "ns/op",
    baseline: "Cenote maxUses: 1",
    rounds: 9,
    contestants: make<contenders.Contender>(
      [contenders.effectFloor(yieldNow), contenders.promiseFloor(setImmediate), ...churn],
      scenarios.handOff(100, 5_000, { effect: yieldNow, promise: setImmediate })
    )
  },
  {
    id: "memory-waiter",
    title: "Memory, 50,000 in line for 10 resources",
    note: "Over floor: what standing in line adds to a fiber or async function that is suspended anyway.",
    unit: "bytes each",
    baseline: cenote,
    rounds: 3,
    warmUps: 0,
    contestants: Effect.map(
      Effect.all([
        make(
          [contenders.cenoteUse, contenders.cenoteDeadline, contenders.effectUse],
          scenarios.bytesOfWaiter(50_000)
        ),
        make(
          [contenders.viaGenericPool, contenders.viaLightningPool],
          scenarios.bytesOfWaitingFunction(50_000)
        )
      ]),
      ([fibers, functions]) => [
        scenarios.bytesOfSuspendedFiber(50_000),
        ...fibers,
        scenarios.bytesOfSuspendedFunction(50_000),
        ...functions
      ]
    )
  },
  {
    id: "memory-idle",
    title: "Memory, 10,000 idle resources",
    unit: "bytes each",
    baseline: "Cenote",
    rounds: 3,
    warmUps: 0,
    contestants: Effect.sync(() => scenarios.bytesOfIdle(10_000))
  },
  {
    id: "tokens-alone",
    title: "Tokens, one fiber",
    unit: "ns/op",
    baseline: "Cenote TokenPool.withToken",
    rounds: 15,
    contestants: make<contenders.Contender>(
      [contenders.tokenPool, contenders.semaphore, contenders.viaPLimit, contenders.viaAsyncSema],
      scenarios.alone(quick ? 20_000 : 50_000)
    )
  },
  {
    id: "tokens-1000",
    title: "Tokens, 1,000 fibers over 10 tokens",
    unit: "ns/op",
    baseline: "Cenote TokenPool.withToken",
    rounds: 7,
    contestants: make<contenders.Contender>(
      [
        contenders.effectFloor(yieldNow),
        contenders.tokenPool,
        contenders.semaphore,
        contenders.promiseFloor(setImmediate),
        contenders.viaPLimit,
        contenders.viaAsyncSema
      ],
      handOff(1_000)
    )
  }
]

// -----------------------------------------------------------------------------
// Measures
// -----------------------------------------------------------------------------

const measures: Benchmark["measures"] = (row) => [
  ...measureOf(
    "Borrow and return alone: time beside Effect's Pool.use",
    "at most 1 ×",
    inverse(row("alone", effectUse)?.ratio),
    times,
    (value) => value <= 1
  ),
  ...[[1_000, 2] as const, [10_000, 4] as const, [100_000, 3] as const].flatMap(([fibers, target]) =>
    measureOf(
      `Hand-off at ${fibers.toLocaleString("en")}: speed beside Effect's Pool.use`,
      `at least ${target} ×`,
      row(`hand-off-${fibers}`, effectUse)?.ratio,
      times,
      (value) => value >= target
    )
  ),
  ...sizes.flatMap((fibers) =>
    measureOf(
      `Hand-off at ${fibers.toLocaleString("en")}: cost over yieldNow alone (aim)`,
      "at most 1.5 µs",
      row(`hand-off-${fibers}`, cenote)?.overFloor,
      (value) => `${(value / 1_000).toFixed(2)} µs`,
      (value) => value <= 1_500
    )
  ),
  ...(
    [
      ["alone", "metrics-alone", measured],
      ["at 1,000", "metrics-1000", measured],
      ["alone, a pool with limits", "metrics-limits-alone", limitedMeasured],
      ["at 1,000, a pool with limits", "metrics-limits-1000", limitedMeasured]
    ] as const
  ).flatMap(([where, section, contender]) =>
    measureOf(
      `Metrics: time of a borrow ${where}, beside one without (aim)`,
      "at most 1.05 ×",
      row(section, contender)?.ratio,
      times,
      (value) => value <= 1.05
    )
  ),
  ...measureOf(
    "Hand-off at 10,000: time beside generic-pool (aim)",
    "at most 1 ×",
    inverse(row("hand-off-10000", "generic-pool")?.ratio),
    times,
    (value) => value <= 1
  )
]

await runBenchmark(options, {
  name: "pool",
  title: "Pools, side by side",
  apart: true,
  packages: ["@cenote/pool", "async-sema", "effect", "generic-pool", "lightning-pool", "p-limit", "tarn"],
  groups,
  measures
})
