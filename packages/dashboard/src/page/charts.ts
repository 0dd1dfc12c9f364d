// The past of a pool in four charts that share their time: what is in use, who waits, for how long, and what came and went.
import type { Sample } from "../internal/protocol.ts"
import uPlot from "./uplot.js"
import { h, Words } from "./dom.ts"
import { clock, count, duration, none } from "./format.ts"

interface Series {
  readonly label: string
  /** A colour of the style sheet. */
  readonly colour: string
  readonly value: (sample: Sample) => number | null
  /** Where it is drawn, when that is not at its value: on top of another, or below zero. */
  readonly drawn?: (sample: Sample) => number | null
  readonly look: "area" | "line" | "dashed" | "dotted" | "bars"
}

interface Chart {
  readonly title: string
  readonly series: ReadonlyArray<Series>
  readonly scale: "count" | "time"
}

const charts: ReadonlyArray<Chart> = [
  {
    title: "Resources",
    scale: "count",
    series: [
      { label: "idle", colour: "idle", value: (_) => _[2], drawn: (_) => _[1] + _[2], look: "area" },
      { label: "used", colour: "used", value: (_) => _[1], look: "area" },
      // No limit is drawn as nothing.
      { label: "max", colour: "dim", value: (_) => (_[4] < 0 ? null : _[4]), look: "dashed" }
    ]
  },
  {
    title: "Waiting in line",
    scale: "count",
    series: [{ label: "waiting", colour: "short", value: (_) => _[3], look: "area" }]
  },
  {
    title: "Times to wait and to hold",
    scale: "time",
    series: [
      { label: "wait p50", colour: "short", value: (_) => _[5], look: "dotted" },
      { label: "wait p99", colour: "short", value: (_) => _[6], look: "line" },
      { label: "hold p50", colour: "used", value: (_) => _[7], look: "dotted" },
      { label: "hold p99", colour: "used", value: (_) => _[8], look: "line" }
    ]
  },
  {
    title: "Came and went",
    scale: "count",
    series: [
      { label: "created", colour: "used", value: (_) => _[9], look: "bars" },
      { label: "closed", colour: "dim", value: (_) => _[10], drawn: (_) => -_[10], look: "bars" },
      { label: "failed", colour: "down", value: (_) => _[11], look: "line" }
    ]
  }
]

/** Fewer samples than these are drawn as if there were as many, so that a young pool's line begins at the left and grows. */
const minWindow = 60
const maxSamples = 300
const height = 132

export class Charts {
  readonly element = h("div", { class: "charts" })
  private readonly panels: ReadonlyArray<Panel>
  private readonly observer: ResizeObserver
  private samples: ReadonlyArray<Sample> = []

  /** `pace` is the time between two samples, in milliseconds. */
  constructor(pace: number) {
    const sync = uPlot.sync("pools")
    this.panels = charts.map((chart) => new Panel(chart, pace, sync.key))
    this.element.append(...this.panels.map((_) => _.element))
    this.observer = new ResizeObserver(() => {
      for (const panel of this.panels) panel.resize()
    })
  }

  /** To be called when the element is in the page: sizes and colours come from there. */
  start(): void {
    for (const panel of this.panels) panel.start()
    this.observer.observe(this.element)
  }

  render(samples: ReadonlyArray<Sample>): void {
    if (samples === this.samples) return
    this.samples = samples
    for (const panel of this.panels) panel.render(samples.slice(-maxSamples))
  }

  /** Other colours are in force. */
  recolour(): void {
    for (const panel of this.panels) {
      panel.start()
      panel.render(this.samples)
    }
  }

  stop(): void {
    this.observer.disconnect()
    for (const panel of this.panels) panel.stop()
  }
}

class Panel {
  readonly element: HTMLElement
  private readonly chart: Chart
  private readonly pace: number
  private readonly sync: string
  private readonly plot = h("div", { class: "plot", role: "img" })
  private readonly values: ReadonlyArray<Words>
  private readonly time = new Words(h("span", { class: "at" }))
  private samples: ReadonlyArray<Sample> = []
  private uplot: uPlot | undefined

  constructor(chart: Chart, pace: number, sync: string) {
    this.chart = chart
    this.pace = pace
    this.sync = sync
    this.values = chart.series.map(() => new Words(h("b")))
    const legend = h("p", { class: "legend" })
    chart.series.forEach(({ colour, label, look }, i) => {
      const swatch = h("i", { class: "swatch", "data-colour": colour, "data-look": look })
      const value = this.values[i]
      if (value !== undefined) legend.append(h("span", {}, swatch, `${label} `, value.element), " ")
    })
    this.element = h(
      "figure",
      { class: "panel chart" },
      h("figcaption", {}, chart.title, " ", this.time.element),
      legend,
      this.plot
    )
  }

  start(): void {
    this.stop()
    this.uplot = new uPlot(this.options(), this.data(), this.plot)
  }

  stop(): void {
    this.uplot?.destroy()
    this.uplot = undefined
  }

  resize(): void {
    const width = this.plot.clientWidth
    if (this.uplot !== undefined && width > 0 && width !== this.uplot.width)
      this.uplot.setSize({ width, height })
  }

  render(samples: ReadonlyArray<Sample>): void {
    this.samples = samples
    this.uplot?.setData(this.data())
    this.renderLegend(this.uplot?.cursor.idx ?? undefined)
    const last = samples.at(-1)
    const now = this.chart.series.map(
      (_) => `${_.label} ${this.text(last === undefined ? null : _.value(last))}`
    )
    this.plot.setAttribute("aria-label", `${this.chart.title}, now: ${now.join(", ")}`)
  }

  /** The values under the pointer, or the last ones. */
  private renderLegend(index: number | undefined): void {
    const sample = this.samples[index ?? this.samples.length - 1]
    this.time.set(index === undefined || sample === undefined ? "" : clock(sample[0]))
    this.chart.series.forEach(({ value }, i) =>
      this.values[i]?.set(this.text(sample === undefined ? null : value(sample)))
    )
  }

  private text(value: number | null): string {
    if (value === null) return none
    return this.chart.scale === "time" ? duration(value) : count(value)
  }

  private data(): uPlot.AlignedData {
    const { samples } = this
    const place = this.chart.scale === "time" ? toLog : (value: number | null) => value
    return [
      samples.map((_) => _[0]),
      ...this.chart.series.map(({ drawn, value }) => samples.map((_) => place((drawn ?? value)(_))))
    ]
  }

  private options(): uPlot.Options {
    const colour = coloursOf(this.plot)
    const axis = { stroke: colour("dim"), font: `11px ${colour.font}`, ticks: { show: false } }
    const grid = { stroke: colour("line"), width: 1 }
    return {
      width: Math.max(this.plot.clientWidth, 120),
      height,
      ms: 1,
      padding: [8, 6, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: this.sync, setSeries: false },
        drag: { setScale: false, x: false, y: false },
        y: false,
        points: { show: false }
      },
      hooks: { setCursor: [(plot) => this.renderLegend(plot.cursor.idx ?? undefined)] },
      scales: {
        x: { time: true, range: (_, min, max) => [Math.min(min, max - minWindow * this.pace), max] },
        y: { range: this.chart.scale === "time" ? rangeOfTimes : rangeOfCounts }
      },
      axes: [
        { ...axis, grid: { show: false }, space: 76, size: 24, values: timeOfDay },
        this.chart.scale === "time"
          ? { ...axis, grid, size: 52, splits: timeSplits, values: (_, splits) => splits.map(timeLabel) }
          : {
              ...axis,
              grid,
              size: 40,
              space: 24,
              incrs: wholeSteps,
              values: (_, splits) => splits.map(countLabel)
            }
      ],
      series: [{}, ...this.chart.series.map((_) => looks[_.look](colour(_.colour)))]
    }
  }
}

// -----------------------------------------------------------------------------
// How series are drawn
// -----------------------------------------------------------------------------

const stepped = (): Partial<uPlot.Series> => {
  const paths = uPlot.paths.stepped?.({ align: -1 })
  return { points: { show: false }, ...(paths === undefined ? {} : { paths }) }
}

const looks: Readonly<Record<Series["look"], (colour: string) => uPlot.Series>> = {
  area: (colour) => ({ ...stepped(), stroke: colour, fill: colour, width: 1 }),
  line: (colour) => ({ stroke: colour, width: 1.75, points: { show: false } }),
  dashed: (colour) => ({ ...stepped(), stroke: colour, width: 1.5, dash: [6, 4] }),
  dotted: (colour) => ({ stroke: colour, width: 1.5, dash: [2, 3], points: { show: false } }),
  bars: (colour) => {
    const paths = uPlot.paths.bars?.({ size: [0.8, 6, 2] })
    return {
      stroke: colour,
      fill: colour,
      width: 0,
      points: { show: false },
      ...(paths === undefined ? {} : { paths })
    }
  }
}

/** The style sheet's colours as a canvas takes them: a canvas knows neither variables nor `light-dark()`. */
const coloursOf = (element: Element): ((name: string) => string) & { readonly font: string } => {
  const probe = h("i")
  element.append(probe)
  const found = new Map<string, string>()
  for (const name of ["used", "idle", "short", "down", "dim", "line"]) {
    probe.style.color = `var(--${name})`
    found.set(name, getComputedStyle(probe).color)
  }
  const font = getComputedStyle(probe).fontFamily
  probe.remove()
  return Object.assign((name: string) => found.get(name) ?? "gray", { font })
}

// -----------------------------------------------------------------------------
// Scales
// -----------------------------------------------------------------------------

const wholeSteps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6]

/** Some room above, and below as much as there is. */
const rangeOfCounts = (_: uPlot, min: number | null, max: number | null): [number, number] => [
  Math.min(0, (min ?? 0) * 1.1),
  Math.max(2, (max ?? 0) * 1.12)
]

/** None so close to the right end that it would be cut off. */
const timeOfDay = ({ scales }: uPlot, splits: ReadonlyArray<number>): Array<string> => {
  const { max = 0, min = 0 } = scales["x"] ?? {}
  return splits.map((at) => ((max ?? 0) - at < 0.09 * ((max ?? 0) - (min ?? 0)) ? "" : clock(at)))
}

/** Short numbers: `12k`. What goes below zero is counted too. */
const countLabel = (n: number): string => {
  const size = Math.abs(n)
  return size < 1e4 ? count(size) : size < 1e6 ? `${size / 1e3}k` : `${size / 1e6}m`
}

// Times are drawn by their logarithm, since a wait of 1 ms and one of 10 s are both of interest; and no wait at all is as well.
const toLog = (ms: number | null): number | null => (ms === null ? null : Math.log10(1 + ms))
const marks: ReadonlyArray<readonly [ms: number, label: string]> = [
  [0, "0"],
  [9, "10 ms"],
  [99, "100 ms"],
  [999, "1 s"],
  [9_999, "10 s"],
  [99_999, "100 s"],
  [999_999, "17 min"],
  [9_999_999, "3 h"],
  [99_999_999, "1 d"]
]

const rangeOfTimes = (_: uPlot, __: number | null, max: number | null): [number, number] => [
  0,
  Math.max(2.1, (max ?? 0) + 0.3)
]

const timeSplits = (_: uPlot, __: number, ___: number, max: number): Array<number> =>
  marks.map(([ms]) => Math.log10(1 + ms)).filter((split) => split <= max)

const timeLabel = (split: number): string => marks[Math.round(split)]?.[1] ?? ""
