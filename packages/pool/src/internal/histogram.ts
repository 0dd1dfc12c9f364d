import type { HistogramState } from "effect/Metric"

/** Counts durations by buckets: of the shortest, which are the most, within a few nanoseconds. */
export class Histogram {
  /** Upper bounds of the buckets, in seconds, rising. */
  readonly boundaries: ReadonlyArray<number>
  /** The same in milliseconds, and what is longer than all. */
  private readonly bounds: Float64Array
  /** How many fell in each bucket. */
  private readonly counts: Float64Array
  private sum = 0
  private min = Infinity
  private max = 0

  constructor(boundaries: ReadonlyArray<number>) {
    this.boundaries = boundaries
    this.bounds = Float64Array.from([...boundaries, Infinity], (seconds) => seconds * 1e3)
    this.counts = new Float64Array(this.bounds.length)
  }

  /** What is no duration is left out, and what a clock that was put back makes negative took no time. */
  record(millis: number): void {
    if (!(millis < Infinity)) return
    if (millis < 0) millis = 0
    let bucket = 0
    while (millis > this.bounds[bucket]!) bucket++
    this.counts[bucket]!++
    this.sum += millis
    if (millis < this.min) this.min = millis
    if (millis > this.max) this.max = millis
  }

  /** In seconds; each bucket with those of all shorter ones. */
  get state(): HistogramState {
    let count = 0
    const cumulated = Array.from(this.counts, (n) => (count += n))
    return {
      buckets: this.boundaries.map((boundary, i): [number, number] => [boundary, cumulated[i]!]),
      count,
      min: count === 0 ? 0 : this.min / 1e3,
      max: this.max / 1e3,
      sum: this.sum / 1e3
    }
  }
}
