// The columns of the overview: what each shows, and how pools are sorted by it.
import type { Figures } from "../internal/protocol.ts"
import { count, longest, measured, rate, some } from "./format.ts"
import type { Pool } from "./state.ts"
import { severity } from "./words.ts"

export interface Column {
  readonly key: string
  readonly title: string
  /** What the title leaves out. */
  readonly hint: string
  /** The larger goes first when sorted downwards. Without it: by name. */
  readonly size?: (figures: Figures) => number
  /** What a cell of figures shows; the first three columns draw themselves. */
  readonly text?: (figures: Figures) => string
  /** Whether the figure wants to be seen. */
  readonly isHot?: (figures: Figures) => boolean
}

const never = -1

export const columns: ReadonlyArray<Column> = [
  { key: "level", title: "Level", hint: "Down, short, watch or OK", size: (_) => 3 - severity(_.level) },
  { key: "name", title: "Pool", hint: "Its name and kind" },
  {
    key: "use",
    title: "In use",
    hint: "Used, idle and creating, of the most that may exist",
    size: (_) => _.used / Math.max(_.max, _.size, 1)
  },
  {
    key: "pending",
    title: "Waiting",
    hint: "Borrowers in line",
    size: (_) => _.pending,
    text: (_) => some(_.pending),
    isHot: (_) => _.pending > 0
  },
  {
    key: "longestWait",
    title: "Longest wait",
    hint: "For how long the head of the line has waited",
    size: (_) => _.longestWait,
    text: (_) => longest(_.longestWait)
  },
  {
    key: "longestHeld",
    title: "Longest held",
    hint: "For how long the oldest loan has lasted",
    size: (_) => _.longestHeld,
    text: (_) => longest(_.longestHeld)
  },
  {
    key: "rate",
    title: "Borrows/s",
    hint: "Borrows each second",
    size: (_) => _.rate,
    text: (_) => rate(_.rate)
  },
  {
    key: "wait99",
    title: "Wait p99",
    hint: "99 of 100 borrowers waited no longer",
    size: (_) => _.wait99 ?? never,
    text: (_) => measured(_.wait99)
  },
  {
    key: "hold99",
    title: "Hold p99",
    hint: "99 of 100 borrowers held no longer",
    size: (_) => _.hold99 ?? never,
    text: (_) => measured(_.hold99)
  },
  {
    key: "failed",
    title: "Failed",
    hint: "Attempts to create that failed, and borrowers whose deadline passed",
    size: (_) => _.failures + _.timeouts,
    text: ({ failures, timeouts }) => (failures + timeouts === 0 ? "–" : count(failures + timeouts)),
    isHot: (_) => _.failures + _.timeouts > 0
  }
]

export interface Sort {
  /** Nothing: the worst first. */
  readonly key: string | undefined
  readonly down: boolean
}

export const worstFirst: Sort = { key: undefined, down: true }

const collator = new Intl.Collator("en", { numeric: true })

/** The place of each pool among all by its name. Names stay as they are: figures alone are compared at each change. */
export const placesByName = (ids: Iterable<string>): ReadonlyMap<string, number> =>
  new Map([...ids].toSorted(collator.compare).map((id, place) => [id, place]))

/** Sorts by a column; those that are equal by level, and then by name. */
export const comparison = (
  { down, key }: Sort,
  places: ReadonlyMap<string, number>
): ((a: Pool, b: Pool) => number) => {
  const column = columns.find((_) => _.key === key)
  const sign = down ? -1 : 1
  const byName = (a: Pool, b: Pool): number => (places.get(a.id) ?? 0) - (places.get(b.id) ?? 0)
  const byLevel = (a: Pool, b: Pool): number =>
    severity(a.figures.level) - severity(b.figures.level) || byName(a, b)
  if (column === undefined) return byLevel
  const { size } = column
  // Downwards in a list of names is from A to Z.
  if (size === undefined) return (a, b) => -sign * byName(a, b)
  return (a, b) => sign * (size(a.figures) - size(b.figures)) || byLevel(a, b)
}
