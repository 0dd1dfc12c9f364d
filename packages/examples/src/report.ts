// What a run looks like: lines as they come, on a terminal with the pools below them, and a table at the end.
import { stdout } from "node:process"
import { styleText } from "node:util"
import { PoolRegistry } from "@cenote/pool"
import { Clock, Console, Effect, Schedule } from "effect"
import type { Tick } from "./loop.ts"
import type { Figures } from "./observe.ts"
import type * as OfPools from "./pools/programs.ts"
import type * as OfDatabases from "./sql/programs.ts"
import type * as OfThreads from "./threads/programs.ts"

/**
 * Puts the time before each line that a program prints. On a terminal, the state of the open pools is drawn
 * below the lines, over and over.
 */
export const live = Effect.fnUntraced(function* <A, E, R>(program: Effect.Effect<A, E, R>) {
  const clock = yield* Clock.Clock
  const console = yield* Console.Console
  const started = clock.currentTimeMillisUnsafe()
  const elapsed = () => `${((clock.currentTimeMillisUnsafe() - started) / 1000).toFixed(2).padStart(6)} s  `

  /** What stands below the lines now; always empty when there is no terminal. */
  let status = ""
  const draw = (next: string) => {
    if (status === "" && next === "") return
    stdout.write(`\r\x1b[K${next}`)
    status = next
  }
  const print =
    (write: (text: string) => void) =>
    (...args: ReadonlyArray<unknown>) => {
      const below = status
      draw("")
      write(styleText("dim", elapsed()) + args.join(" "))
      draw(below)
    }
  const withTime: Console.Console = Object.assign(Object.create(console), {
    log: print((text) => console.log(text)),
    error: print((text) => console.error(text))
  })

  let frame = 0
  const watch = Effect.gen(function* () {
    const entries = yield* PoolRegistry.entries
    const pools = yield* Effect.forEach(entries, state)
    frame++
    const text = `${elapsed()}${spinner[frame % spinner.length]} ${pools.join("   ")}`
    draw(text.slice(0, (stdout.columns || 80) - 1))
  }).pipe(Effect.repeat(Schedule.spaced("80 millis")), Effect.ensuring(Effect.sync(() => draw(""))))

  const shown = Effect.provideService(program, Console.Console, withTime)
  return yield* stdout.isTTY ? Effect.raceFirst(shown, Effect.andThen(watch, Effect.never)) : shown
})

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

const state = ({ kind, stats }: PoolRegistry.Entry): Effect.Effect<string> =>
  Effect.map(stats, ({ borrowed, created, idle, max, name, pending, size, used }) => {
    const bar = "■".repeat(used) + "□".repeat(idle) + "·".repeat(Math.max(0, max - used - idle))
    return kind === "threads"
      ? `${name} ${bar} ${used} of ${used + idle} threads at work, ${pending} waiting, ${borrowed} calls begun`
      : `${name} ${bar} ${used} of ${size} in use, ${pending} waiting, ${borrowed} borrowed, ${created} created`
  })

/** Above several programs. */
export const chapter = (title: string): string =>
  `\n${styleText(["bold", "cyan"], `── ${title} ${"─".repeat(Math.max(0, 76 - title.length))}`)}`

/** Above a program. */
export const heading = ({ shows, title }: { readonly title: string; readonly shows: string }): string =>
  `\n${styleText("bold", title)}\n${styleText("dim", shows)}`

/** The summary of the programs on sessions of PostgreSQL: a line a program. */
export const tableOfPools = (outcomes: ReadonlyArray<OfPools.Outcome>): string =>
  table(
    ["program", ...columnsOfPools, "lost"],
    outcomes.map(({ lost, pools, title }) => [title, ...cellsOfPools(pools), String(lost)]),
    "waits: borrows not served at once, in line or while a session was opened or checked"
  )

/** The same of the programs on connection pools. */
export const tableOfConnections = (outcomes: ReadonlyArray<OfDatabases.Outcome>): string =>
  table(
    ["program", ...columnsOfPools, "lost", "late"],
    outcomes.map(({ lost, pools, ticks, title }) => [
      title,
      ...cellsOfPools(pools),
      String(lost),
      millis(percentile(latenessOf(ticks), 1))
    ]),
    "late: the most that a timer of the main loop was late meanwhile; SQLite computes on the thread that its connection is on"
  )

/** What all of them came to. */
export const totals = (pools: ReadonlyArray<Figures>, threads: ReadonlyArray<OfThreads.Outcome>): string => {
  const ofThreads = (figure: "created" | "crashes" | "killed") =>
    total(threads, ({ atRest }) => atRest[figure])
  return (
    `${total(pools, (_) => _.waited.length)} loans from ${pools.length} pools, ${total(pools, (_) => _.waits)} of them after a wait, ` +
    `and ${total(pools, (_) => _.returned)} returns; ${total(pools, (_) => _.created)} resources created, ` +
    `${total(pools, (_) => _.replaced)} replaced while their pool was open\n` +
    `${ofThreads("created")} threads started in ${threads.length} pools, ${ofThreads("crashes")} crashed and ` +
    `${ofThreads("killed")} stopped, and replaced`
  )
}

const total = <A>(all: ReadonlyArray<A>, of: (one: A) => number): number =>
  all.reduce((sum, one) => sum + of(one), 0)

const columnsOfPools = ["borrows", "waits", "p50 wait", "p99 wait", "created", "replaced"]

const cellsOfPools = (pools: ReadonlyArray<Figures>): ReadonlyArray<string> => {
  const waited = sorted(pools.flatMap((_) => _.waited))
  const total = (figure: "waits" | "created" | "replaced") =>
    String(pools.reduce((sum, pool) => sum + pool[figure], 0))
  return [
    String(waited.length),
    total("waits"),
    millis(percentile(waited, 0.5)),
    millis(percentile(waited, 0.99)),
    total("created"),
    total("replaced")
  ]
}

/** The same of the programs on threads. */
export const tableOfThreads = (outcomes: ReadonlyArray<OfThreads.Outcome>): string =>
  table(
    ["program", "calls", "p50 wait", "p99 wait", "ran", "threads", "crashed", "stopped", "busiest", "late"],
    outcomes.map(({ atRest, calls, ticks, title }) => {
      const waited = sorted(calls.map((_) => _.waited))
      return [
        title,
        String(calls.length),
        millis(percentile(waited, 0.5)),
        millis(percentile(waited, 0.99)),
        millis(atRest.ran),
        String(atRest.created),
        String(atRest.crashes),
        String(atRest.killed),
        `${Math.round(100 * Math.max(0, ...atRest.threads.map((_) => _.utilisation)))} %`,
        millis(percentile(latenessOf(ticks), 1))
      ]
    }),
    "threads: all that were started, those that crashed or were stopped included; busiest: the share of its life\n" +
      "for which a thread had something to do; late: the most that a timer of the main loop was late meanwhile"
  )

/** What the main loop did while threads were at work. */
export const loopLine = ({ ticks }: OfThreads.Outcome): string => {
  const late = latenessOf(ticks)
  return (
    `The main loop kept ticking: ${late.length} ticks, late by ${millis(percentile(late, 0.99))} at p99, ` +
    `by ${millis(percentile(late, 1))} at worst`
  )
}

const table = (
  header: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  legend: string
): string => {
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => row[column]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
  return [styleText("bold", line(header)), ...rows.map(line), styleText("dim", legend)].join("\n")
}

const latenessOf = (ticks: ReadonlyArray<Tick>): ReadonlyArray<number> => sorted(ticks.map((_) => _.late))

const sorted = (values: ReadonlyArray<number>): ReadonlyArray<number> => values.toSorted((a, b) => a - b)

/** The smallest value that this share of the sorted values does not exceed. */
const percentile = (sorted: ReadonlyArray<number>, share: number): number =>
  sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0

const millis = (value: number): string => `${value.toFixed(1)} ms`
