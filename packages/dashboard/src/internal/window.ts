/** Below this many milliseconds all durations count as none. */
const floor = 0.05
/** Buckets for each doubling: a percentile is right within 6 %. */
const perDoubling = 6
const buckets = 200

const bucketOf = (millis: number): number =>
  millis < floor ? 0 : Math.min(buckets - 1, 1 + Math.floor(Math.log2(millis / floor) * perDoubling))

/** The middle of a bucket. */
const middleOf = (bucket: number): number => (bucket === 0 ? 0 : floor * 2 ** ((bucket - 0.5) / perDoubling))

/** Percentiles of durations over the last few paces. A pace in which there were none takes no room. */
export class Window {
  /** Counts by bucket of each pace, the current one first. */
  private readonly paces: Array<Uint32Array | undefined>

  constructor(paces: number) {
    this.paces = Array.from({ length: paces }, () => undefined)
  }

  record(millis: number): void {
    const counts = (this.paces[0] ??= new Uint32Array(buckets))
    counts[bucketOf(millis)]!++
  }

  /** Begins another pace, and forgets the oldest. */
  turn(): void {
    this.paces.pop()
    this.paces.unshift(undefined)
  }

  /** What half of all were at most, and what 99 in 100 were; `null` where there were none. */
  percentiles(): readonly [p50: number | null, p99: number | null] {
    const sums = new Float64Array(buckets)
    let total = 0
    for (const counts of this.paces) {
      if (counts === undefined) continue
      for (let bucket = 0; bucket < buckets; bucket++) {
        sums[bucket]! += counts[bucket]!
        total += counts[bucket]!
      }
    }
    return total === 0 ? [null, null] : [valueAt(sums, 0.5 * total), valueAt(sums, 0.99 * total)]
  }
}

const valueAt = (sums: Float64Array, rank: number): number => {
  let seen = 0
  let bucket = 0
  for (; bucket < buckets - 1; bucket++) {
    seen += sums[bucket]!
    if (seen >= rank && seen > 0) break
  }
  return middleOf(bucket)
}
