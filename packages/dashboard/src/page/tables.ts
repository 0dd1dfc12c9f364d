// The tables of one pool. Rows are used again by their place: what stays the same is not written.
import type { EventView, LeaseView, ThreadView, WaiterView } from "../internal/protocol.ts"
import { h, setAttribute, setHidden, Words } from "./dom.ts"
import { bytes, clock, count, duration, none, share } from "./format.ts"

interface Column<A> {
  readonly title: string
  readonly kind?: "number" | "code" | "load" | "text"
  /** `elapsed` is the time since the server told of the item, in milliseconds; the first item has the index 0. */
  readonly text: (item: A, elapsed: number, index: number) => string
}

interface Options<A> {
  readonly title: string
  /** Of its element, for the style sheet. */
  readonly name: string
  /** Shown in place of an empty table. */
  readonly empty: string
  readonly columns: ReadonlyArray<Column<A>>
  readonly tone?: (item: A) => string
  /** Sums up what the table shows, where that helps: who has most of it. */
  readonly span?: (item: A) => string | undefined
}

/** A panel with a heading and a table, and words for when there is nothing in it, or more than it shows. */
export class Section<A> {
  readonly element: HTMLElement
  private readonly options: Options<A>
  private readonly heading = new Words(h("h2"))
  private readonly empty: HTMLElement
  private readonly summary = new Words(h("p", { class: "summary" }))
  private readonly more = new Words(h("p", { class: "more" }))
  /** Scrolls within itself where the table is too wide. */
  private readonly scroll: HTMLElement
  private readonly body = h("tbody")
  private readonly rows: Array<{ readonly row: HTMLTableRowElement; readonly cells: ReadonlyArray<Words> }> =
    []
  private items: ReadonlyArray<A> = []

  constructor(options: Options<A>) {
    const { columns, empty, name, title } = options
    this.options = options
    this.empty = h("p", { class: "empty" }, empty)
    const heads = columns.map(({ kind, title }) => h("th", { scope: "col", class: kind }, title))
    const table = h("table", { "aria-label": title }, h("thead", {}, h("tr", {}, ...heads)), this.body)
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": title }, table)
    this.element = h("section", { class: `panel ${name}`, "aria-label": title })
    this.element.append(
      this.heading.element,
      this.empty,
      this.summary.element,
      this.scroll,
      this.more.element
    )
    // Until there is news, nothing is claimed.
    for (const part of [this.empty, this.summary.element, this.scroll, this.more.element]) part.hidden = true
  }

  /** `total` is how many there are, of which `items` are some. */
  render(items: ReadonlyArray<A>, total: number = items.length): void {
    this.items = items
    const { title } = this.options
    this.heading.set(total > 0 ? `${title} (${count(total)})` : title)
    for (const { row } of this.rows.splice(items.length)) row.remove()
    this.tick(0)
    setHidden(this.scroll, items.length === 0)
    setHidden(this.empty, items.length > 0)
    const summary = this.options.span === undefined ? "" : bySpan(items.map(this.options.span))
    this.summary.set(summary)
    setHidden(this.summary.element, summary === "")
    const left = total - items.length
    this.more.set(left > 0 ? `… and ${count(left)} more` : "")
    setHidden(this.more.element, left <= 0)
  }

  /** Draws what changes by itself as time passes. */
  tick(elapsed: number): void {
    const { columns, tone } = this.options
    this.items.forEach((item, index) => {
      const { cells, row } = this.rows[index] ?? this.add()
      if (tone !== undefined) setAttribute(row, "data-tone", tone(item))
      columns.forEach(({ kind, text }, i) => {
        const cell = cells[i]
        const shown = text(item, elapsed, index)
        cell?.set(shown)
        if (kind === "load") cell?.element.style.setProperty("--load", shown.replace(" ", ""))
      })
    })
  }

  private add() {
    const cells = this.options.columns.map(({ kind }) => new Words(h("td", { class: kind })))
    const row = h("tr", {}, ...cells.map((_) => _.element))
    const added = { row, cells }
    this.body.append(row)
    this.rows.push(added)
    return added
  }
}

/** `checkout 9 · GET /orders 1`, the most first; nothing where that says no more than the table. */
const bySpan = (spans: ReadonlyArray<string | undefined>): string => {
  const counts = new Map<string, number>()
  for (const span of spans) counts.set(span ?? "no span", (counts.get(span ?? "no span") ?? 0) + 1)
  if (spans.length < 2 || counts.size === spans.length || (counts.size === 1 && counts.has("no span")))
    return ""
  const most = [...counts].toSorted(([, a], [, b]) => b - a)
  const named = most.slice(0, 4).map(([span, n]) => `${span} × ${count(n)}`)
  const others = most.slice(4).reduce((sum, [, n]) => sum + n, 0)
  return [...named, ...(others === 0 ? [] : [`others × ${count(others)}`])].join("  ·  ")
}

/** Only what has lasted this long goes on between two messages: what is shorter has most likely ended. In milliseconds. */
const lasting = 1000

const lasted = (ms: number, elapsed: number): string => duration(ms < lasting ? ms : ms + elapsed)

export const leases = (): Section<LeaseView> =>
  new Section<LeaseView>({
    title: "Who holds it",
    name: "leases",
    empty: "Nobody: nothing is on loan.",
    span: ({ span }) => span,
    columns: [
      { title: "Held for", kind: "number", text: ({ held }, elapsed) => lasted(held, elapsed) },
      { title: "Since", kind: "number", text: ({ since }) => clock(since) },
      { title: "Span", kind: "code", text: ({ span }) => span ?? none },
      { title: "Fiber", kind: "number", text: ({ fiber }) => `#${fiber}` },
      {
        title: "Resource",
        kind: "code",
        text: ({ item, resource }) => `${resource}${item === undefined ? "" : ` ${item}`}`
      }
    ]
  })

export const waiters = (): Section<WaiterView> =>
  new Section<WaiterView>({
    title: "Who waits",
    name: "waiters",
    empty: "Nobody is in line.",
    span: ({ span }) => span,
    columns: [
      { title: "Place", kind: "number", text: (_, __, index) => `${index + 1}` },
      { title: "Waits for", kind: "number", text: ({ waited }, elapsed) => lasted(waited, elapsed) },
      { title: "Span", kind: "code", text: ({ span }) => span ?? none },
      { title: "Fiber", kind: "number", text: ({ fiber }) => `#${fiber}` }
    ]
  })

/** The newest first. */
export const events = (): Section<EventView> =>
  new Section<EventView>({
    title: "Recent events",
    name: "events",
    empty: "None since the page was opened.",
    tone: ({ tone }) => tone,
    columns: [
      { title: "At", kind: "number", text: ({ at }) => clock(at) },
      {
        title: "What",
        text: ({ tone, what }) => `${tone === "bad" ? "✕ " : tone === "notable" ? "● " : ""}${what}`
      },
      { title: "More", kind: "text", text: ({ text }) => text }
    ]
  })

export const threads = (): Section<ThreadView> =>
  new Section<ThreadView>({
    title: "Threads",
    name: "threads",
    empty: "No thread is up: the next call starts one.",
    columns: [
      { title: "Thread", kind: "number", text: ({ thread }) => `${thread}` },
      { title: "State", text: ({ state }) => state },
      { title: "Load", kind: "load", text: ({ load }) => share(load) },
      { title: "Calls", kind: "number", text: ({ running }) => count(running) },
      { title: "Task", kind: "code", text: ({ task }) => task ?? none },
      {
        title: "For",
        kind: "number",
        text: ({ since, task }, elapsed) => (task === undefined ? none : lasted(since, elapsed))
      },
      { title: "Ended", kind: "number", text: ({ ended }) => count(ended) },
      {
        title: "Heap",
        kind: "number",
        text: ({ heapUsed }) => (heapUsed === undefined ? none : bytes(heapUsed))
      }
    ]
  })

const shownFact = (value: string | number | boolean): string =>
  typeof value === "number" ? count(value) : String(value)

/** Names with values: counts by reason, and options. */
export class Facts {
  readonly element: HTMLElement
  private readonly list = h("dl", { class: "facts" })
  private readonly empty: HTMLElement
  private shown = ""

  constructor(title: string, empty: string, name = "facts-panel") {
    this.empty = h("p", { class: "empty", hidden: true }, empty)
    this.element = h(
      "section",
      { class: `panel ${name}`, "aria-label": title },
      h("h2", {}, title),
      this.empty,
      this.list
    )
  }

  render(facts: Readonly<Record<string, string | number | boolean>>): void {
    const key = JSON.stringify(facts)
    if (key === this.shown) return
    this.shown = key
    const entries = Object.entries(facts)
    this.list.replaceChildren(
      ...entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, shownFact(value))))
    )
    setHidden(this.list, entries.length === 0)
    setHidden(this.empty, entries.length > 0)
  }
}
