// One pool, with all that is known of it.
import type { EventView, Focus, LeaseView, PoolView, ThreadView, WaiterView } from "../protocol.ts"
import { type Cell, type Column, grid, type Look, paint } from "./grid.ts"
import { clock, matter, ofLevel, readable } from "./headline.ts"
import { share } from "./order.ts"
import { inUse, measured, nameOf, some } from "./table.ts"
import { bar, cut, duration, harmless, rate, short, spark, toLeft, wrap } from "./text.ts"

/** A part of the picture that may have more lines than there is room for. */
interface Section {
  readonly key: SectionKey
  readonly title: string
  /** The titles of its columns, and a line each. */
  readonly lines: ReadonlyArray<string>
}

export const sectionKeys = ["all", "held", "line", "threads", "events"] as const

export type SectionKey = (typeof sectionKeys)[number]

/** Which part is shown, and from which of its lines on. */
export interface Part {
  readonly section: SectionKey
  readonly offset: number
}

export const onePool = (
  pool: PoolView,
  focus: Focus | undefined,
  look: Look,
  room: number,
  part: Part
): ReadonlyArray<string> => {
  const top = summary(pool, focus, look)
  if (focus === undefined) return [...top, "", cut("More comes with the next message.", look.columns)]
  const all = sections(focus, pool, look)
  const left = room - top.length
  const chosen = all.filter(({ key }) => key === part.section)
  return [
    ...top,
    ...(chosen.length === 0 ? shared(all, left) : chosen.flatMap((_) => from(_, part.offset, left)))
  ]
}

/** How many lines of a part there are to go through. */
export const linesOf = (focus: Focus, section: SectionKey): number => {
  switch (section) {
    case "held":
      return focus.leases.length
    case "line":
      return focus.waiters.length
    case "threads":
      return focus.threads?.length ?? 0
    case "events":
      return focus.events.length
    default:
      return 0
  }
}

// -----------------------------------------------------------------------------
// The pool as a whole
// -----------------------------------------------------------------------------

const summary = (pool: PoolView, focus: Focus | undefined, look: Look): ReadonlyArray<string> => {
  const { figures } = pool
  const { style, text } = ofLevel(figures.level)
  const what = matter(pool)
  const usage = figures.max < 0 ? "" : ` ${bar(share(figures), 10)}`
  return [
    cut(`${nameOf(pool)}  ${pool.kind}`, Math.max(0, look.columns - text.length - 2)) +
      `  ${paint(look, style, text)}`,
    ...(what === ""
      ? []
      : wrap(what, Math.min(look.columns, readable)).map((line) => paint(look, style, line))),
    "",
    ...facts(
      {
        now: `${inUse(figures)}${usage} in use, ${figures.idle} idle, ${figures.pending} waiting${
          figures.creating + figures.closing === 0
            ? ""
            : `, ${figures.creating} being created, ${figures.closing} being closed`
        }`,
        longest: `held ${some(figures.longestHeld)}, waited ${some(figures.longestWait)}`,
        "wait, hold":
          `p50 ${measured(figures.wait50)}, ${measured(figures.hold50)}; ` +
          `p99 ${measured(figures.wait99)}, ${measured(figures.hold99)}; ${rate(figures.rate)}`,
        totals: `${figures.borrowed} borrowed, ${figures.created} created, ${figures.destroyed} closed, ${figures.timeouts} timed out, ${figures.failures} failed to create`,
        failures: tally(focus?.failures),
        closed: tally(focus?.closes),
        calls: tally(focus?.calls),
        options: Object.entries(pool.options)
          .map(([name, value]) => `${name} ${value}`)
          .join(", "),
        "in use": focus === undefined ? "" : past(focus, 1, look),
        waiting: focus === undefined ? "" : past(focus, 3, look)
      },
      look
    )
  ]
}

/** A line a fact that there is. */
const facts = (all: Readonly<Record<string, string>>, look: Look): ReadonlyArray<string> => {
  const width = Math.max(...Object.keys(all).map((_) => _.length))
  return Object.entries(all).flatMap(([name, text]) =>
    text === ""
      ? []
      : [
          paint(look, "dim", toLeft(name, width)) +
            cut(`  ${harmless(text)}`, Math.max(0, look.columns - width))
        ]
  )
}

const tally = (counts: Readonly<Record<string, number>> | undefined): string =>
  Object.entries(counts ?? {})
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${count}`)
    .join(", ")

const past = ({ history }: Focus, field: 1 | 3, look: Look): string => {
  const width = Math.min(60, look.columns - 30)
  const values = history.slice(-width).map((sample) => sample[field])
  const [first] = history.slice(-width)
  const last = history.at(-1)
  if (values.length < 2 || width < 10 || first === undefined || last === undefined) return ""
  return `${spark(values, width)} at most ${short(Math.max(...values))} in ${duration(last[0] - first[0])}`
}

// -----------------------------------------------------------------------------
// Its parts
// -----------------------------------------------------------------------------

const sections = (focus: Focus, { figures }: PoolView, look: Look): ReadonlyArray<Section> => [
  {
    key: "held",
    title: heading(look, `Held by whom: ${of(focus.leases.length, figures.used)}, the longest first`),
    lines: focus.leases.length === 0 ? [] : grid(ofLeases(look), focus.leases, look)
  },
  {
    key: "line",
    title: heading(look, `In line: ${of(focus.waiters.length, figures.pending)}, the head first`),
    lines: focus.waiters.length === 0 ? [] : grid(ofWaiters, focus.waiters, look)
  },
  ...(focus.threads === undefined
    ? []
    : [
        {
          key: "threads" as const,
          title: heading(look, `Threads: ${focus.threads.length}`),
          lines: focus.threads.length === 0 ? [] : grid(ofThreads, focus.threads, look)
        }
      ]),
  {
    key: "events",
    title: heading(look, `Events: ${focus.events.length}, the newest first`),
    lines: focus.events.length === 0 ? [] : grid(ofEvents(look), focus.events.toReversed(), look)
  }
]

const heading = (look: Look, text: string): string => paint(look, "bold", cut(text, look.columns))

const of = (shown: number, all: number): string => (shown >= all ? String(shown) : `${shown} of ${all}`)

const spanCell = (span: string | undefined): string => (span === undefined ? "-" : harmless(span))

const ofLeases = (look: Look): ReadonlyArray<Column<LeaseView>> => [
  { title: "HELD", cell: ({ held }) => duration(held), align: "right" },
  { title: "SINCE", cell: ({ since }) => clock(since, look), spare: 2 },
  {
    title: "WHAT",
    cell: ({ item, resource }) => `#${resource}${item === undefined ? "" : ` ${harmless(item)}`}`,
    shrinks: [24, 6]
  },
  { title: "FIBER", cell: ({ fiber }) => String(fiber), align: "right", spare: 1 },
  { title: "SPAN", cell: ({ span }) => spanCell(span), shrinks: [40, 8] }
]

const ofWaiters: ReadonlyArray<Column<WaiterView>> = [
  { title: "WAITED", cell: ({ waited }) => duration(waited), align: "right" },
  { title: "FIBER", cell: ({ fiber }) => String(fiber), align: "right", spare: 1 },
  { title: "SPAN", cell: ({ span }) => spanCell(span), shrinks: [40, 8] }
]

const ofThreads: ReadonlyArray<Column<ThreadView>> = [
  { title: "THREAD", cell: ({ thread }) => String(thread), align: "right" },
  { title: "STATE", cell: ({ state }) => harmless(state) },
  { title: "LOAD", cell: ({ load }) => `${Math.round(load * 100)} %`, align: "right" },
  { title: "", cell: ({ load }) => bar(load, 10), spare: 4 },
  { title: "RUNNING", cell: ({ running }) => String(running), align: "right", spare: 3 },
  { title: "ENDED", cell: ({ ended }) => short(ended), align: "right", spare: 2 },
  {
    title: "HEAP",
    cell: ({ heapUsed }) => (heapUsed === undefined ? "-" : `${short(heapUsed / 2 ** 20)} MiB`),
    align: "right",
    spare: 1
  },
  {
    title: "TASK",
    cell: ({ since, task }) => (task === undefined ? "-" : `${harmless(task)} for ${duration(since)}`),
    shrinks: [40, 8]
  }
]

const tones: Readonly<Record<EventView["tone"], Cell["style"]>> = {
  plain: "reset",
  notable: "cyan",
  bad: "red"
}

const ofEvents = (look: Look): ReadonlyArray<Column<EventView>> => [
  { title: "AT", cell: ({ at }) => clock(at, look) },
  { title: "WHAT", cell: ({ tone, what }) => ({ text: harmless(what), style: tones[tone] }) },
  { title: "", cell: ({ text }) => harmless(text), shrinks: [20, 4] }
]

// -----------------------------------------------------------------------------
// Room
// -----------------------------------------------------------------------------

/** Lines of a section besides those of its rows: an empty one, and its title. */
const frame = 2

/** All of them, the room shared fairly: what a short one leaves goes to the others. */
const shared = (all: ReadonlyArray<Section>, room: number): ReadonlyArray<string> => {
  let left = room - frame * all.length
  let toServe = all.length
  const rooms = new Map<Section, number>()
  for (const section of all.toSorted((a, b) => a.lines.length - b.lines.length)) {
    const own = Math.min(section.lines.length, Math.max(0, Math.floor(left / toServe)))
    rooms.set(section, own)
    left -= own
    toServe--
  }
  return all.flatMap((section) => from(section, 0, (rooms.get(section) ?? 0) + frame))
}

/** A section from one of its rows on, with a word on how many there are after the last that is shown. */
const from = ({ lines, title }: Section, offset: number, room: number): ReadonlyArray<string> => {
  const [titles, ...rows] = lines
  const head = ["", title, ...(titles === undefined ? [] : [titles])]
  const left = rows.slice(Math.min(offset, Math.max(0, rows.length - 1)))
  const space = room - head.length
  if (left.length <= space) return [...head, ...left].slice(0, Math.max(0, room))
  const shown = left.slice(0, Math.max(0, space - 1))
  return [...head, ...shown, `… ${left.length - shown.length} more`].slice(0, Math.max(0, room))
}
