// The orders in which pools are shown.
import type { Level, PoolView } from "../protocol.ts"

export const sorts = ["worst", "name", "kind", "use", "waiting", "held", "rate", "failures"] as const

export type Sort = (typeof sorts)[number]

export const nextSort = (sort: Sort): Sort => sorts[(sorts.indexOf(sort) + 1) % sorts.length]!

export const levels: ReadonlyArray<Level> = ["down", "short", "watch", "ok"]

/** Numbers that say how far up a pool belongs: the first that differ decide, the greatest first. */
const weights: Readonly<Record<Sort, (pool: PoolView) => ReadonlyArray<number>>> = {
  worst: ({ figures }) => [
    -levels.indexOf(figures.level),
    figures.pending,
    figures.longestWait,
    share(figures)
  ],
  name: () => [],
  kind: () => [],
  use: ({ figures }) => [share(figures), figures.used],
  waiting: ({ figures }) => [figures.pending, figures.longestWait],
  held: ({ figures }) => [figures.longestHeld],
  rate: ({ figures }) => [figures.rate],
  failures: ({ figures }) => [figures.failures + figures.timeouts]
}

/** How much of what may be lent is lent. */
export const share = ({ max, used }: PoolView["figures"]): number =>
  max > 0 ? used / max : max < 0 || used === 0 ? 0 : 1

export const sorted = (pools: Iterable<PoolView>, sort: Sort): ReadonlyArray<PoolView> =>
  Array.from(pools, (pool) => ({ pool, weights: weights[sort](pool) }))
    .toSorted(
      (a, b) =>
        difference(b.weights, a.weights) ||
        (sort === "kind" ? compare(a.pool.kind, b.pool.kind) : 0) ||
        compare(a.pool.id, b.pool.id)
    )
    .map(({ pool }) => pool)

const difference = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number => {
  for (const [i, weight] of a.entries()) if (weight !== b[i]) return weight - b[i]!
  return 0
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
