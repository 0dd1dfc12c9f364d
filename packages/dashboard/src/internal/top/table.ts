// All pools, a line each.
import type { PoolView } from "../protocol.ts"
import { type Column, grid, type Look } from "./grid.ts"
import { ofLevel } from "./headline.ts"
import { share } from "./order.ts"
import { bar, duration, harmless, rate, short } from "./text.ts"

const columns: ReadonlyArray<Column<PoolView>> = [
  { title: "LEVEL", cell: ({ figures }) => ofLevel(figures.level) },
  { title: "NAME", cell: (pool) => ({ text: nameOf(pool), style: "bold" }), shrinks: [20, 8] },
  { title: "KIND", cell: ({ kind }) => kind, spare: 4 },
  { title: "IN USE", cell: ({ figures }) => inUse(figures), align: "right", spare: 1 },
  {
    title: "",
    cell: ({ figures }) => ({
      text: figures.max < 0 ? "" : bar(share(figures), 10),
      style: ofLevel(figures.level).style
    }),
    spare: 5
  },
  { title: "IDLE", cell: ({ figures }) => short(figures.idle), align: "right", spare: 8 },
  { title: "WAITING", cell: ({ figures }) => short(figures.pending), align: "right" },
  { title: "WAITED", cell: ({ figures }) => some(figures.longestWait), align: "right", spare: 2 },
  { title: "HELD", cell: ({ figures }) => some(figures.longestHeld), align: "right", spare: 3 },
  { title: "RATE", cell: ({ figures }) => rate(figures.rate), align: "right", spare: 7 },
  { title: "WAIT P99", cell: ({ figures }) => measured(figures.wait99), align: "right", spare: 9 },
  { title: "HOLD P99", cell: ({ figures }) => measured(figures.hold99), align: "right", spare: 10 },
  { title: "TIMEOUTS", cell: ({ figures }) => short(figures.timeouts), align: "right", spare: 11 },
  { title: "FAILED", cell: ({ figures }) => short(figures.failures), align: "right", spare: 6 }
]

/** A line for the titles, and one a pool. */
export const table = (pools: ReadonlyArray<PoolView>, look: Look): ReadonlyArray<string> =>
  grid(columns, pools, look)

/** With its state, where that is not the usual one. */
export const nameOf = ({ figures, id }: PoolView): string =>
  figures.state === "open" ? harmless(id) : `${harmless(id)} (${figures.state})`

/** `3/10` */
export const inUse = ({ max, used }: PoolView["figures"]): string =>
  `${short(used)}/${max < 0 ? "∞" : short(max)}`

/** Where there is none, there is nothing to read. */
export const some = (millis: number): string => (millis === 0 ? "-" : duration(millis))

export const measured = (millis: number | null): string => (millis === null ? "-" : duration(millis))
