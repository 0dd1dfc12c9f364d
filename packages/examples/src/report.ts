// What a run looks like: lines as they come, on a terminal with the pools below them, and a table at the end.
import { stdout } from "node:process"
import { styleText } from "node:util"
import { PoolRegistry, type Pool } from "@cenote/pool"
import { Clock, Console, Effect, Schedule } from "effect"
import type { Outcome } from "./programs.ts"

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
    const pools = yield* Effect.forEach(entries, (_) => _.stats)
    frame++
    const text = `${elapsed()}${spinner[frame % spinner.length]} ${pools.map(state).join("   ")}`
    draw(text.slice(0, (stdout.columns || 80) - 1))
  }).pipe(Effect.repeat(Schedule.spaced("80 millis")), Effect.ensuring(Effect.sync(() => draw(""))))

  const shown = Effect.provideService(program, Console.Console, withTime)
  return yield* stdout.isTTY ? Effect.raceFirst(shown, Effect.andThen(watch, Effect.never)) : shown
})

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

const state = ({ borrowed, created, idle, max, name, pending, size, used }: Pool.Stats): string =>
  `${name} ${"■".repeat(used)}${"□".repeat(idle)}${"·".repeat(Math.max(0, max - used - idle))}` +
  ` ${used} of ${size} in use, ${pending} waiting, ${borrowed} borrowed, ${created} created`

export const heading = (title: string): string => `\n${styleText("bold", title)}`

/** The summary: a line a program. */
export const table = (outcomes: ReadonlyArray<Outcome>): string => {
  const header = ["program", "borrows", "waits", "p50 wait", "p99 wait", "created", "replaced", "lost"]
  const rows = outcomes.map(({ lost, pools, title }) => {
    const waited = pools.flatMap((_) => _.waited).toSorted((a, b) => a - b)
    const total = (figure: "waits" | "created" | "replaced") =>
      String(pools.reduce((sum, pool) => sum + pool[figure], 0))
    return [
      title,
      String(waited.length),
      total("waits"),
      millis(percentile(waited, 0.5)),
      millis(percentile(waited, 0.99)),
      total("created"),
      total("replaced"),
      String(lost)
    ]
  })
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => row[column]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
  const legend = "waits: borrows not served at once, in line or while a session was opened or checked"
  return [styleText("bold", line(header)), ...rows.map(line), styleText("dim", legend)].join("\n")
}

/** The smallest value that this share of the sorted values does not exceed. */
export const percentile = (sorted: ReadonlyArray<number>, share: number): number =>
  sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0

const millis = (value: number): string => `${value.toFixed(1)} ms`
