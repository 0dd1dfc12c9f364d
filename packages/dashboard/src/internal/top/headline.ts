// What stands above all: where this is, how the pools are, what is the matter and what to do.
import type { Level, PoolView } from "../protocol.ts"
import { type Look, paint, type Style } from "./grid.ts"
import { levels, sorted } from "./order.ts"
import type { Known } from "./state.ts"
import { cut, duration, harmless, wrap } from "./text.ts"

/** Since when, and why, nothing new is known. */
export interface Lost {
  readonly since: number
  readonly why: string
  readonly attempts: number
}

const colors: Readonly<Record<Level, Style>> = {
  ok: "green",
  watch: "cyan",
  short: "yellow",
  down: ["red", "bold"]
}

export const ofLevel = (level: Level) => ({ text: level, style: colors[level] })

/** `12:03:10` */
export const clock = (at: number, { timeZone }: Look): string =>
  new Intl.DateTimeFormat("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
    ...(timeZone === undefined ? {} : { timeZone })
  }).format(at)

/** Which program this is. */
export const title = ({ at, process }: Known, url: string, look: Look): string => {
  const program = `${harmless(lastPart(process.title))}, process ${process.pid}, Node ${harmless(process.node.replace(/^v/, ""))}`
  const text = `${clock(at, look)}  ${url}  ${program}, up ${duration(Math.max(0, at - process.startedAt))}`
  return paint(look, "dim", cut(text, look.columns))
}

/** Node calls a process by the path that it was started by, unless it is told another name. */
const lastPart = (title: string): string => title.replace(/^[\w.\-:\\/@]*[\\/]/, "")

/** `3 pools: 1 short, 2 ok` */
export const counts = ({ pools }: Known, look: Look): string => {
  if (pools.size === 0) return cut("There is no pool with a name yet.", look.columns)
  const each = levels.flatMap((level) => {
    const count = Array.from(pools.values()).filter(({ figures }) => figures.level === level).length
    return count === 0 ? [] : [`${count} ${level}`]
  })
  return paint(
    look,
    "bold",
    cut(`${pools.size} ${pools.size === 1 ? "pool" : "pools"}: ${each.join(", ")}`, look.columns)
  )
}

/** Longer lines are hard to read. */
export const readable = 120

/** A pool's own: empty when all is well with it. */
export const matter = ({ figures }: PoolView): string =>
  harmless(`${figures.matter} ${figures.remedy}`.trim())

/** What is the matter, the worst first: of the first `most` pools. */
export const matters = ({ pools }: Known, most: number, look: Look): ReadonlyArray<string> => {
  const troubled = sorted(pools.values(), "worst").filter(({ figures }) => figures.level !== "ok")
  const more = troubled.length - most
  return troubled.slice(0, most).flatMap((pool, i) => {
    const { level } = pool.figures
    const others = more > 0 && i === most - 1 ? ` (${more} more below)` : ""
    const text = `${harmless(pool.id)} (${level}): ${matter(pool)}${others}`
    return wrap(text, Math.min(look.columns, readable)).map((line) => paint(look, colors[level], line))
  })
}

export const lostLines = (lost: Lost | undefined, known: Known, look: Look): ReadonlyArray<string> =>
  lost === undefined
    ? []
    : wrap(
        `No news since ${clock(lost.since, look)}: ${lost.why}. Trying again (${lost.attempts} so far); what follows is of ${clock(known.at, look)}.`,
        look.columns
      ).map((line) => paint(look, ["red", "bold"], line))
