/**
 * Times contestants side by side, and writes down what came out.
 *
 * Why not tinybench or mitata: they run one task to its end before the next one starts, so whatever changes
 * meanwhile (another process wakes up, the heap has grown, the clock was throttled) counts against whoever
 * is running. Here each round measures every contestant once, and contestants are compared within rounds.
 * A contestant also times itself, so that making fibers and filling a line stay out of the figure.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { arch, cpus, platform } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Effect, type Scope } from "effect"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

export interface Contestant {
  readonly name: string
  /** Measures once, in the unit of its {@link Group}. */
  readonly sample: () => Promise<Figure>
  /** The contestant that does the same work without borrowing. */
  readonly floor?: string | undefined
}

/** What is compared, and what else the same run tells. */
export type Figure = number | { readonly value: number; readonly also: number }

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
  /** Median of the other figure of the same samples. */
  readonly also: number | undefined
  /** Median over the rounds of what this one took beyond its floor. */
  readonly overFloor: number | undefined
  /** Median over the rounds of this one's figure divided by the baseline's. */
  readonly ratio: number | undefined
}

/** What a table is about. */
interface Heading {
  readonly id: string
  readonly title: string
  readonly unit: string
  /** What the other figure of the samples is, where they have one. */
  readonly also?: string | undefined
  /** Digits after the point. Default 0. */
  readonly digits?: number | undefined
  readonly note?: string | undefined
  /** What the last column calls the row that the others are compared with. Default Cenote. */
  readonly comparedWith?: string | undefined
}

export interface Section extends Heading {
  readonly rows: ReadonlyArray<Row>
}

/** A table that is to be measured. */
export interface Group extends Heading {
  /** What the other rows are compared with. */
  readonly baseline: string
  readonly rounds: number
  readonly warmUps?: number | undefined
  readonly contestants: Effect.Effect<ReadonlyArray<Contestant>, never, Scope.Scope>
}

export interface Measure {
  readonly measure: string
  readonly target: string
  readonly measured: string
  /** `undefined` when there is no target. */
  readonly reached: boolean | undefined
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
  const others = new Map(contestants.map((_) => [_.name, new Array<number>()]))
  const started = performance.now()
  collect()
  for (let round = -plan.warmUps; round < plan.rounds; round++) {
    if (round >= 3 && performance.now() - started > plan.budgetMillis) break
    const first = (round + plan.warmUps) % contestants.length
    for (const contestant of [...contestants.slice(first), ...contestants.slice(0, first)]) {
      settle()
      await tick()
      const figure = await contestant.sample()
      if (round < 0) continue
      samples.get(contestant.name)!.push(typeof figure === "number" ? figure : figure.value)
      if (typeof figure !== "number") others.get(contestant.name)!.push(figure.also)
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
      also: others.get(name)!.length === 0 ? undefined : quantile(others.get(name)!, 0.5),
      overFloor: inRounds(floor, (own, other) => own - other),
      ratio: inRounds(plan.baseline, (own, other) => own / other)
    }
  })
}

/** The value below which a share of the values lies, from 0 to 1. */
export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * q
  const below = sorted[Math.floor(position)]!
  const above = sorted[Math.ceil(position)]!
  return below + (above - below) * (position - Math.floor(position))
}

// -----------------------------------------------------------------------------
// Showing
// -----------------------------------------------------------------------------

/** A Markdown table that can also be read as it stands; the first column is text, the others are aligned right. */
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((title, i) => Math.max(3, title.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`
  const rule = widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`))
  return [line(head), line(rule), ...rows.map(line)].join("\n")
}

const showSection = ({
  also,
  comparedWith = "Cenote",
  digits = 0,
  note,
  rows,
  title,
  unit
}: Section): string => {
  const numbers = new Intl.NumberFormat("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits
  })
  const format = (value: number): string => numbers.format(value)
  const hasFloor = rows.some((row) => row.overFloor !== undefined)
  const head = [
    "",
    unit,
    "quartiles",
    ...(also === undefined ? [] : [also]),
    ...(hasFloor ? ["over floor"] : []),
    `× ${comparedWith}`
  ]
  const cells = rows.map((row) => [
    row.name,
    format(row.median),
    `${format(row.q1)}..${format(row.q3)}`,
    ...(also === undefined ? [] : [row.also === undefined ? "" : format(row.also)]),
    ...(hasFloor ? [row.overFloor === undefined ? "" : format(row.overFloor)] : []),
    row.ratio === undefined ? "" : row.ratio.toFixed(2)
  ])
  return [`### ${title}`, ...(note === undefined ? [] : [note]), table(head, cells)].join("\n\n")
}

const showMeasures = (measures: ReadonlyArray<Measure>): string =>
  [
    "## Measures",
    table(
      ["Measure", "Target", "Measured", "Result"],
      measures.map((_) => [
        _.measure,
        _.target,
        _.measured,
        _.reached === undefined ? "stated" : _.reached ? "reached" : "missed"
      ])
    )
  ].join("\n\n")

// -----------------------------------------------------------------------------
// Writing
// -----------------------------------------------------------------------------

const bench = join(import.meta.dirname, "..")

const readJson = (file: string) => JSON.parse(readFileSync(file, "utf8"))

const versions = (packages: ReadonlyArray<string>): Record<string, string> => {
  const installed = packages.map((name) => [
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
const writeReport = (
  { name, packages, title }: Benchmark,
  sections: ReadonlyArray<Section>,
  measures: ReadonlyArray<Measure>
): string => {
  const about = {
    date: new Date().toISOString().slice(0, 10),
    versions: versions(packages),
    machine: machine()
  }
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

// -----------------------------------------------------------------------------
// Running
// -----------------------------------------------------------------------------

export interface Options {
  readonly quick: boolean
  readonly only: string | undefined
  /** The one section that this process is to measure, for the process that started it: see {@link Benchmark.apart}. */
  readonly section: string | undefined
}

const leave = (code: number, message: string): never => {
  console.log(message)
  process.exit(code)
}

/** Reads what the benchmark was called with; `about` says in a sentence what it measures. */
export const readOptions = (name: string, about: string): Options => {
  const usage = `pnpm bench ${name} [--quick] [--only <text>]

${about}

  --quick         few rounds and fewer operations, for a first look; writes nothing
  --only <text>   only the sections whose name contains the text; writes nothing`
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean" },
        only: { type: "string" },
        section: { type: "string" },
        help: { type: "boolean" }
      }
    })
    if (values.help === true) leave(0, usage)
    return { quick: values.quick === true, only: values.only, section: values.section }
  } catch (error) {
    return leave(1, `${(error as Error).message}\n\n${usage}`)
  }
}

/** One row of measures, or none when what it needs was not measured. Without a target it is only stated. */
export const measureOf = (
  measure: string,
  target: string,
  value: number | undefined,
  show: (value: number) => string,
  reached?: (value: number) => boolean
): ReadonlyArray<Measure> =>
  value === undefined ? [] : [{ measure, target, measured: show(value), reached: reached?.(value) }]

/** How measures show a ratio. */
export const times = (value: number): string => `${value.toFixed(2)} ×`

/** Cenote's figure divided by another's, from that other's `× Cenote`. */
export const inverse = (ratio: number | undefined): number | undefined =>
  ratio === undefined ? undefined : 1 / ratio

const runGroup = (group: Group, quick: boolean): Effect.Effect<Section> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { baseline, contestants, rounds, warmUps, ...heading } = group
      const made = yield* contestants
      const rows = yield* Effect.promise(() =>
        compare(made, {
          rounds: quick ? Math.ceil(rounds / 4) : rounds,
          warmUps: warmUps ?? (quick ? 1 : 2),
          budgetMillis: 60_000,
          baseline
        })
      )
      return { ...heading, rows }
    })
  )

/** Measures a group in a process of its own, which is this program once more. */
const runApart = async (group: Group, quick: boolean): Promise<Section> => {
  const program = fork(process.argv[1]!, ["--section", group.id, ...(quick ? ["--quick"] : [])])
  const exited = once(program, "exit")
  const [section] = await Promise.race([
    once(program, "message"),
    exited.then(([code, signal]) => {
      throw new Error(`section ${group.id} ended with ${code ?? signal} before it had figures`)
    })
  ])
  await exited
  return section
}

export interface Benchmark {
  readonly name: string
  readonly title: string
  /**
   * Whether each section is measured in a process of its own: what V8 has learnt from one, about the shapes of objects and who calls
   * whom, would else be part of the figures of the next.
   */
  readonly apart?: boolean
  /** What is measured, and against what: the report tells their versions. */
  readonly packages: ReadonlyArray<string>
  readonly groups: ReadonlyArray<Group>
  /** The targets of the design, as far as the sections that they need were run. */
  readonly measures: (row: (section: string, contestant: string) => Row | undefined) => ReadonlyArray<Measure>
}

/** Measures the groups that the options choose, prints what comes out, and writes the report of a full run. */
export const runBenchmark = async (
  { only, quick, section }: Options,
  benchmark: Benchmark
): Promise<void> => {
  const { apart = false, groups } = benchmark
  const asked = groups.find(({ id }) => id === section)
  if (asked !== undefined) {
    const figures = await Effect.runPromise(runGroup(asked, quick))
    process.send?.(figures)
    return process.disconnect()
  }
  const text = (only ?? "").toLowerCase()
  const chosen = groups.filter(({ id, title }) => `${id} ${title}`.toLowerCase().includes(text))
  if (chosen.length === 0) {
    leave(
      1,
      `no section has that in its name; there are:\n${groups.map((_) => `${_.id}: ${_.title}`).join("\n")}`
    )
  }
  const sections: Array<Section> = []
  for (const group of chosen) {
    const section = apart ? await runApart(group, quick) : await Effect.runPromise(runGroup(group, quick))
    console.log(`${showSection(section)}\n`)
    sections.push(section)
  }
  const measures = benchmark.measures((section, contestant) =>
    sections.find((_) => _.id === section)?.rows.find((_) => _.name === contestant)
  )
  if (measures.length > 0) console.log(showMeasures(measures))
  if (quick) console.log("\nA first look at few samples: a single figure can be far off.")
  if (!quick && only === undefined) console.log(`\nwrote ${writeReport(benchmark, sections, measures)}`)
}
