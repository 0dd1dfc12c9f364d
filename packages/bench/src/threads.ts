/**
 * `pnpm bench threads`: Cenote's threads beside other thread pools, and beside `postMessage` by hand.
 */
import { Effect, Exit, Scope } from "effect"
import { type Benchmark, type Contestant, type Group, inverse, measureOf, times } from "./harness.ts"
import { readOptions, runBenchmark } from "./harness.ts"
import * as contenders from "./threads/contenders.ts"
import { install } from "./threads/installed.ts"
import * as scenarios from "./threads/scenarios.ts"

const options = readOptions(
  "threads",
  "Measures Cenote's threads beside other thread pools, prints the tables, and writes docs/benchmarks/threads.md and .json."
)
const { quick } = options

// -----------------------------------------------------------------------------
// Sections
// -----------------------------------------------------------------------------

const cenote = contenders.cenote.name
const raw = contenders.raw.name
const piscina = contenders.piscina.name

const libraries: ReadonlyArray<contenders.Contender> = [
  contenders.raw,
  contenders.cenote,
  contenders.piscina,
  contenders.tinypool,
  contenders.viaWorkerpool,
  contenders.poolifier,
  contenders.effectRpc
]

/** With both ways in which Cenote sends a function, and all in which piscina waits. */
const variants: ReadonlyArray<contenders.Contender> = [
  contenders.raw,
  contenders.cenote,
  contenders.cenoteExecute,
  contenders.piscina,
  contenders.piscinaAsync,
  contenders.piscinaDisabled,
  ...libraries.slice(3)
]

type Scenario = ReturnType<typeof scenarios.inFlight>

/** Each contender's two threads, which sleep while others are measured. They stay, and get warm, from section to section. */
const started = new Map<contenders.Contender, scenarios.Calls>()
const scope = Scope.makeUnsafe()

const over = (
  makes: ReadonlyArray<contenders.Contender>,
  scenario: Scenario
): Effect.Effect<ReadonlyArray<Contestant>> =>
  Effect.forEach(makes, (contender) =>
    Effect.gen(function* () {
      const calls = started.get(contender) ?? (yield* Scope.provide(scenarios.start(contender, 2), scope))
      started.set(contender, calls)
      return scenario(contender.name, calls)
    })
  )

const perCall = { unit: "µs/call", digits: 2, baseline: cenote, warmUps: quick ? 2 : 4 }

const inFlightGroup = (callers: number): Group => ({
  id: `in-flight-${callers}`,
  title: `${callers.toLocaleString("en")} calls in flight over 2 threads, of a microsecond`,
  ...perCall,
  rounds: 8,
  contestants: over(
    [...variants.slice(0, 6), contenders.piscinaAhead, ...variants.slice(6)],
    scenarios.inFlight(callers, quick ? 50 : 150)
  )
})

const sizes = [
  { id: "0", bytes: 0 },
  { id: "1 KB", bytes: 2 ** 10 },
  { id: "100 KB", bytes: 100 * 2 ** 10 },
  { id: "1 MB", bytes: 2 ** 20 }
]

const idOf = (size: string): string => size.replace(" ", "").toLowerCase()

const clonedGroups = sizes.map(({ bytes, id }): Group => ({
  id: `cloned-${idOf(id)}`,
  title: `One at a time, ${id === "0" ? "no bytes" : id} cloned, there and back`,
  ...perCall,
  rounds: 8,
  contestants: over(libraries, scenarios.cloned(bytes, quick ? 30 : 60))
}))

const transferredGroups = sizes.slice(1).map(({ bytes, id }): Group => ({
  id: `transferred-${idOf(id)}`,
  title: `One at a time, ${id} transferred, there and back`,
  note: "Left out: poolifier, whose threads cannot transfer what they give back.",
  ...perCall,
  rounds: 8,
  contestants: over(
    libraries.filter((_) => _ !== contenders.poolifier),
    scenarios.transferred(bytes, quick ? 30 : 60)
  )
}))

/** Where each sample takes long. */
const warmUps = quick ? 0 : 1

const startUpGroup = (threads: number): Group => ({
  id: `start-${threads}`,
  title: `Start: a pool of ${threads} ${threads === 1 ? "thread" : "threads"} until its first result`,
  unit: "ms",
  digits: 1,
  baseline: cenote,
  rounds: 7,
  warmUps,
  contestants: Effect.sync(() => libraries.map(scenarios.startUp(threads)))
})

const waits = { unit: "p99, µs", also: "p50, µs", baseline: cenote }

const groups: ReadonlyArray<Group> = [
  {
    id: "alone",
    title: "One call at a time, of a microsecond",
    ...perCall,
    rounds: 12,
    contestants: over(variants, scenarios.inFlight(1, quick ? 50 : 100))
  },
  inFlightGroup(64),
  inFlightGroup(1_024),
  {
    id: "mix",
    title:
      "How long short calls wait: 64 in flight over 2 threads, every 20th takes 1 ms, every 2,500th 100 ms",
    ...waits,
    rounds: 5,
    warmUps,
    contestants: over(
      [...variants.filter((_) => _ !== contenders.cenoteExecute), contenders.piscinaAhead],
      scenarios.mixed(64, quick ? 5_000 : 15_000, "several")
    )
  },
  {
    id: "mix-one-function",
    title: "The same, all calls of one function",
    note: "So that nobody can know beforehand which call is a long one.",
    ...waits,
    rounds: 5,
    warmUps,
    contestants: over(
      [contenders.raw, contenders.cenote, contenders.piscina],
      scenarios.mixed(64, quick ? 5_000 : 15_000, "one")
    )
  },
  ...clonedGroups,
  ...transferredGroups,
  startUpGroup(1),
  startUpGroup(2),
  {
    id: "memory",
    title: "Memory, each thread after the first",
    note: "By how much the process grows, of which the threads are most; each has a process of its own.",
    unit: "MB",
    digits: 1,
    baseline: cenote,
    rounds: 3,
    warmUps: 0,
    contestants: Effect.sync(() => libraries.map(scenarios.memory))
  },
  {
    id: "ticker",
    title: "How late a timer of 1 ms is on the main thread while 2 threads compute for 1 to 10 ms a call",
    ...waits,
    rounds: 7,
    warmUps,
    contestants: Effect.map(over(variants, scenarios.ticking(32, quick ? 200 : 400)), (all) => [
      scenarios.tickingAlone(quick ? 200 : 400),
      ...all
    ])
  }
]

// -----------------------------------------------------------------------------
// Measures
// -----------------------------------------------------------------------------

const stated = (
  measure: string,
  section: string,
  unit: string,
  row: Parameters<Benchmark["measures"]>[0]
) => {
  const names = [cenote, raw, piscina]
  const rows = names.map((name) => row(section, name))
  return measureOf(measure, "none", rows[0]?.median, () =>
    rows.map((_, i) => `${_!.median.toFixed(1)} ${unit} (${names[i]})`).join(", ")
  )
}

const measures: Benchmark["measures"] = (row) => [
  ...measureOf(
    "One call at a time: time beside raw postMessage",
    "at most 1.3 ×",
    inverse(row("alone", raw)?.ratio),
    times,
    (value) => value <= 1.3
  ),
  ...measureOf(
    "One call at a time: time beside raw postMessage (aim)",
    "below 1 ×",
    inverse(row("alone", raw)?.ratio),
    times,
    (value) => value < 1
  ),
  ...measureOf(
    "One call at a time: time beside piscina",
    "below 1 ×",
    inverse(row("alone", piscina)?.ratio),
    times,
    (value) => value < 1
  ),
  ...[64, 1_024].flatMap((callers) =>
    measureOf(
      `${callers.toLocaleString("en")} in flight: throughput beside piscina`,
      "at least 8 ×",
      row(`in-flight-${callers}`, piscina)?.ratio,
      times,
      (value) => value >= 8
    )
  ),
  ...["mix", "mix-one-function"].flatMap((section) =>
    measureOf(
      `Long calls among short ones${section === "mix" ? "" : ", of one function"}: p99 wait beside piscina`,
      "at most 1 ×",
      inverse(row(section, piscina)?.ratio),
      times,
      (value) => value <= 1
    )
  ),
  ...measureOf(
    "1 MB transferred: time beside piscina",
    "at most 1 ×",
    inverse(row("transferred-1mb", piscina)?.ratio),
    times,
    (value) => value <= 1
  ),
  ...stated("Start of 1 thread", "start-1", "ms", row),
  ...stated("Start of 2 threads", "start-2", "ms", row),
  ...stated("Memory a thread", "memory", "MB", row)
]

install()
await runBenchmark(options, {
  name: "threads",
  title: "Threads, side by side",
  packages: [
    "@cenote/threads",
    "@effect/platform-node",
    "effect",
    "piscina",
    "poolifier",
    "tinypool",
    "workerpool"
  ],
  groups,
  measures
})
await Effect.runPromise(Scope.close(scope, Exit.void))
