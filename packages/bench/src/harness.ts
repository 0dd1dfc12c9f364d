/**
 * Times contestants side by side, and writes down what came out.
 *
 * Why not tinybench or mitata: they run one task to its end before the next one starts, so whatever changes
 * meanwhile (another process wakes up, the heap has grown, the clock was throttled) counts against whoever
 * is running. Here each round measures every contestant once, and contestants are compared within rounds.
 * A contestant also times itself, so that making fibers and filling a line stay out of the figure.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { arch, cpus, platform } from "node:os"
import { join } from "node:path"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

export interface Contestant {
  readonly name: string
  /** Measures once: nanoseconds an operation, or bytes a thing. */
  readonly sample: () => Promise<number>
  /** The contestant that does the same work without borrowing. */
  readonly floor?: string | undefined
}

export interface Plan {
  readonly rounds: number
  readonly warmUps: number
  /** No further round starts after this time, once there were three. */
  readonly budgetMillis: number
  /** The contestant that the others are compared with. */
  readonly baseline: string
}

export interface Row {
  readonly name: string
  readonly rounds: number
  readonly median: number
  readonly q1: number
  readonly q3: number
  readonly min: number
  readonly max: number
  /** Median over the rounds of what this one took beyond its floor. */
  readonly overFloor: number | undefined
  /** Median over the rounds of this one's figure divided by the baseline's. */
  readonly ratio: number | undefined
}

export interface Section {
  readonly id: string
  readonly title: string
  readonly unit: string
  readonly note?: string | undefined
  readonly rows: ReadonlyArray<Row>
}

export interface Measure {
  readonly measure: string
  readonly target: string
  readonly measured: string
  readonly reached: boolean
}

// -----------------------------------------------------------------------------
// Measuring
// -----------------------------------------------------------------------------

/** Lets everything that is due run. */
export const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Collects all garbage. */
export const collect = (): void => {
  if (globalThis.gc === undefined) throw new Error("run with node --expose-gc")
  globalThis.gc()
}

const muchHeap = 256 * 2 ** 20

/**
 * Collects what others left behind before the clock starts. What is alive moves to the old generation, as
 * it would in a program that has run for a while. A full collection also throws away optimised code, which
 * would then be compiled again on the clock (a third more time was seen), so it is left to large heaps,
 * whose samples are long.
 */
export const settle = (): void => {
  if (process.memoryUsage().heapUsed > muchHeap) return collect()
  for (let i = 0; i < 2; i++) globalThis.gc?.({ type: "minor" })
}

/** Runs all contestants once a round, each round starting with another one. */
export const compare = async (
  contestants: ReadonlyArray<Contestant>,
  plan: Plan
): Promise<ReadonlyArray<Row>> => {
  const samples = new Map(contestants.map((_) => [_.name, new Array<number>()]))
  const started = performance.now()
  collect()
  for (let round = -plan.warmUps; round < plan.rounds; round++) {
    if (round >= 3 && performance.now() - started > plan.budgetMillis) break
    const first = (round + plan.warmUps) % contestants.length
    for (const contestant of [...contestants.slice(first), ...contestants.slice(0, first)]) {
      settle()
      await tick()
      const value = await contestant.sample()
      if (round >= 0) samples.get(contestant.name)!.push(value)
    }
  }
  return contestants.map(({ floor, name }) => {
    const values = samples.get(name)!
    const inRounds = (other: string | undefined, f: (own: number, other: number) => number) => {
      const others = samples.get(other ?? "")
      return others === undefined
        ? undefined
        : quantile(
            values.map((value, i) => f(value, others[i]!)),
            0.5
          )
    }
    return {
      name,
      rounds: values.length,
      median: quantile(values, 0.5),
      q1: quantile(values, 0.25),
      q3: quantile(values, 0.75),
      min: quantile(values, 0),
      max: quantile(values, 1),
      overFloor: inRounds(floor, (own, other) => own - other),
      ratio: inRounds(plan.baseline, (own, other) => own / other)
    }
  })
}

const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * q
  const below = sorted[Math.floor(position)]!
  const above = sorted[Math.ceil(position)]!
  return below + (above - below) * (position - Math.floor(position))
}

// -----------------------------------------------------------------------------
// Showing
// -----------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

/** A Markdown table that can also be read as it stands; the first column is text, the others are aligned right. */
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((title, i) => Math.max(3, title.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`
  const rule = widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`))
  return [line(head), line(rule), ...rows.map(line)].join("\n")
}

export const showSection = ({ note, rows, title, unit }: Section): string => {
  const hasFloor = rows.some((row) => row.overFloor !== undefined)
  const head = ["", unit, "quartiles", ...(hasFloor ? ["over floor"] : []), "× Cenote"]
  const cells = rows.map((row) => [
    row.name,
    whole.format(row.median),
    `${whole.format(row.q1)}..${whole.format(row.q3)}`,
    ...(hasFloor ? [row.overFloor === undefined ? "" : whole.format(row.overFloor)] : []),
    row.ratio === undefined ? "" : row.ratio.toFixed(2)
  ])
  return [`### ${title}`, ...(note === undefined ? [] : [note]), table(head, cells)].join("\n\n")
}

export const showMeasures = (measures: ReadonlyArray<Measure>): string =>
  [
    "## Measures",
    table(
      ["Measure", "Target", "Measured", "Result"],
      measures.map((_) => [_.measure, _.target, _.measured, _.reached ? "reached" : "missed"])
    )
  ].join("\n\n")

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

const bench = join(import.meta.dirname, "..")

const readJson = (file: string) => JSON.parse(readFileSync(file, "utf8"))

/** Cenote's own packages, Effect and all that they are measured against, as installed. */
const versions = (): Record<string, string> => {
  const names = Object.keys(readJson(join(bench, "package.json")).dependencies)
  const installed = names.map((name) => [
    name,
    String(readJson(join(bench, "node_modules", name, "package.json")).version)
  ])
  return { node: process.versions.node, ...Object.fromEntries(installed) }
}

const machine = () => ({
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  os: `${platform()} ${arch()}`
})

const rounded = (_: string, value: unknown): unknown =>
  typeof value === "number" ? Number(value.toFixed(3)) : value

/** Writes `docs/benchmarks/<name>.md` and `.json`, and returns the path of the first. */
export const writeReport = (
  name: string,
  title: string,
  sections: ReadonlyArray<Section>,
  measures: ReadonlyArray<Measure>
): string => {
  const about = { date: new Date().toISOString().slice(0, 10), versions: versions(), machine: machine() }
  const { cores, cpu, os } = about.machine
  const page = [
    `# ${title}`,
    `Written by \`pnpm bench ${name}\` on ${about.date}. How it measures and how to read it: ` +
      "[packages/bench](../../packages/bench/README.md). Other machines give other times; compare ratios.",
    `${cpu}, ${cores} cores, ${os}. ${Object.entries(about.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ")}.`,
    showMeasures(measures),
    "## Figures",
    ...sections.map(showSection)
  ]
  const folder = join(bench, "../../docs/benchmarks")
  mkdirSync(folder, { recursive: true })
  writeFileSync(
    join(folder, `${name}.json`),
    `${JSON.stringify({ ...about, measures, sections }, rounded, 2)}\n`
  )
  writeFileSync(join(folder, `${name}.md`), `${page.join("\n\n")}\n`)
  return `docs/benchmarks/${name}.md`
}
