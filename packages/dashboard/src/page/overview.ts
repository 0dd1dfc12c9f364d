// All pools, the worst first: found by name and kind, sorted by any column.
import { Banner } from "./banner.ts"
import { columns, comparison, placesByName, type Sort, worstFirst } from "./columns.ts"
import { h, icon, setAttribute, setHidden } from "./dom.ts"
import { count, several } from "./format.ts"
import { Row } from "./row.ts"
import type { Dirty, Pool, State } from "./state.ts"
import { kindWord } from "./words.ts"

/** Filter and order outlive a page that loads itself again. */
const key = "cenote.overview"

export class Overview {
  private readonly state: State
  private readonly root: HTMLElement
  private readonly banner = new Banner()
  /** A row for each pool that was ever shown, and is still there. */
  private readonly rows = new Map<string, Row>()
  /** Those of them that are on the screen or close to it. The others are written when they come into sight. */
  private readonly inSight = new Map<string, Row>()
  private readonly sight = new IntersectionObserver((entries) => this.look(entries), { rootMargin: "300px" })
  /** Something has changed while another page was shown. */
  private isBehind = true
  private readonly body = h("div", { role: "rowgroup", class: "rows" })
  private readonly headers = columns.map(header)
  private readonly search = h("input", {
    type: "search",
    id: "search",
    placeholder: "Find a pool by its name",
    "aria-label": "Find a pool by its name",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false"
  })
  private readonly kind = h("select", { "aria-label": "Kind of pool" })
  private readonly order = h("select", { "aria-label": "Order", class: "order" })
  private readonly shown = h("p", { class: "shown", role: "status" })
  private readonly nothing = h("p", { class: "note", hidden: true }, "No pool fits the filter.")
  private sort: Sort = worstFirst
  /** Chosen, also while there is no pool of this kind. */
  private wantedKind = ""
  /** Of all pools there are. */
  private places: ReadonlyMap<string, number> = new Map()

  constructor(root: HTMLElement, state: State) {
    this.root = root
    this.state = state
    for (const { key, title } of [
      { key: "", title: "Worst first" },
      ...columns.filter((_) => _.key !== "level")
    ]) {
      this.order.append(h("option", { value: key }, title))
    }
    this.restore()
    const find = h(
      "label",
      { class: "find" },
      icon("search"),
      this.search,
      h("kbd", { "aria-hidden": "true" }, "/")
    )
    const table = h("div", { role: "table", class: "pools", "aria-label": "Pools" })
    table.append(
      h(
        "div",
        { role: "rowgroup" },
        h("div", { role: "row", class: "head" }, ...this.headers.map((_) => _.cell))
      ),
      this.body
    )
    root.append(
      h("h1", { class: "unseen" }, "Pools"),
      this.banner.heard.element,
      this.banner.element,
      h("div", { class: "bench", role: "search" }, find, this.kind, this.order, this.shown),
      table,
      this.nothing
    )
    this.listen()
  }

  /** Draws what has changed. */
  render(dirty: Dirty): void {
    const { pools } = this.state
    if (dirty.list) {
      for (const [id, row] of this.rows) if (pools.get(id)?.kind !== row.kind) this.drop(id, row)
      this.places = placesByName(pools.keys())
      this.renderKinds()
    }
    for (const id of dirty.figures) this.inSight.get(id)?.render(pools.get(id)?.figures)
    if (!dirty.list && dirty.figures.size === 0) return
    if (this.root.hidden) this.isBehind = true
    else this.renderAll()
  }

  show(): void {
    setHidden(this.root, false)
    if (this.isBehind) this.renderAll()
  }

  private renderAll(): void {
    this.isBehind = false
    this.banner.render(this.state.pools.values())
    this.arrange()
  }

  hide(): void {
    setHidden(this.root, true)
  }

  /** Moves to the next pool, or the one before; to the first, when none is in focus. */
  move(by: number): void {
    const links = [...this.body.querySelectorAll<HTMLAnchorElement>("a.open")]
    const now = links.findIndex((link) => link === document.activeElement)
    const next = now < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(now + by, 0), links.length - 1)
    links[next]?.focus()
  }

  focusSearch(): void {
    this.search.focus()
    this.search.select()
  }

  focusPool(id: string): void {
    this.rows.get(id)?.link.focus()
  }

  /** Whether there was a filter to clear. */
  clearFilter(): boolean {
    const had = this.search.value !== "" || this.kind.value !== ""
    this.search.value = ""
    this.kind.value = ""
    this.filtered()
    return had
  }

  private listen(): void {
    this.search.addEventListener("input", () => this.filtered())
    this.kind.addEventListener("change", () => this.filtered())
    this.order.addEventListener("change", () => {
      this.sort = this.order.value === "" ? worstFirst : { key: this.order.value, down: true }
      this.filtered()
    })
    for (const { button, column } of this.headers) {
      button.addEventListener("click", () => {
        this.sort = nextSort(this.sort, column.key)
        this.filtered()
      })
    }
    // The whole row opens the pool, its link for those who use keys.
    this.body.addEventListener("click", (event) => {
      if (!(event.target instanceof Element) || event.target.closest("a") !== null) return
      if (getSelection()?.isCollapsed === false) return
      event.target.closest(".row")?.querySelector<HTMLAnchorElement>("a.open")?.click()
    })
  }

  private filtered(): void {
    this.wantedKind = this.kind.value
    this.keep()
    this.arrange()
  }

  /** Puts the rows that fit into their order, with as few moves as that takes. */
  private arrange(): void {
    const { pools } = this.state
    const wanted = this.search.value.trim().toLowerCase()
    const kind = this.kind.value
    const fitting = [...pools.values()]
      .filter(
        (_) => (kind === "" || _.kind === kind) && (wanted === "" || _.id.toLowerCase().includes(wanted))
      )
      .toSorted(comparison(this.sort, this.places))
    const held = document.activeElement
    let cursor = this.body.firstElementChild
    for (const pool of fitting) {
      const { element } = this.rowOf(pool)
      if (cursor !== element && cursor?.nextElementSibling === element) {
        // One that belongs further down stood in the way: taking it out moves one row, and not all that follow.
        cursor.remove()
        cursor = element
      }
      if (cursor === element) cursor = element.nextElementSibling
      else this.body.insertBefore(element, cursor)
    }
    while (cursor !== null) {
      const next: Element | null = cursor.nextElementSibling
      cursor.remove()
      cursor = next
    }
    // A row that moves loses the focus.
    if (held instanceof HTMLElement && held !== document.activeElement && this.body.contains(held)) {
      held.focus({ preventScroll: true })
    }
    this.renderSort()
    const all = pools.size
    const text =
      fitting.length === all ? several(all, "pool") : `${count(fitting.length)} of ${several(all, "pool")}`
    if (this.shown.textContent !== text) this.shown.textContent = text
    setHidden(this.nothing, fitting.length > 0 || all === 0)
  }

  private renderSort(): void {
    for (const { cell, column } of this.headers) {
      const isSorted = column.key === (this.sort.key ?? "level")
      setAttribute(cell, "aria-sort", !isSorted ? "none" : this.sort.down ? "descending" : "ascending")
    }
    const order = this.sort.key ?? ""
    if (this.order.value !== order) this.order.value = order
  }

  private renderKinds(): void {
    const kinds = [...new Set([...this.state.pools.values()].map((_) => _.kind))].toSorted()
    this.kind.replaceChildren(
      h("option", { value: "" }, "All kinds"),
      ...kinds.map((kind) => h("option", { value: kind }, kindWord[kind]))
    )
    this.kind.value = kinds.some((kind) => kind === this.wantedKind) ? this.wantedKind : ""
  }

  private rowOf(pool: Pool): Row {
    const found = this.rows.get(pool.id)
    if (found !== undefined) return found
    const row = new Row(pool)
    row.render(pool.figures)
    this.rows.set(pool.id, row)
    this.sight.observe(row.element)
    return row
  }

  private drop(id: string, row: Row): void {
    row.element.remove()
    this.sight.unobserve(row.element)
    this.rows.delete(id)
    this.inSight.delete(id)
  }

  private look(entries: ReadonlyArray<IntersectionObserverEntry>): void {
    for (const { isIntersecting, target } of entries) {
      const id = target instanceof HTMLElement ? (target.dataset["pool"] ?? "") : ""
      const row = this.rows.get(id)
      if (row === undefined || row.element !== target) continue
      if (isIntersecting) this.inSight.set(id, row)
      else this.inSight.delete(id)
      // Also as it goes out of sight: what somebody finds there by other ways than their eyes is not older than that.
      row.render(this.state.pools.get(id)?.figures)
    }
  }

  private keep(): void {
    try {
      const { sort } = this
      sessionStorage.setItem(key, JSON.stringify({ search: this.search.value, kind: this.kind.value, sort }))
    } catch {
      // Storage may be forbidden: then they last as long as the page.
    }
  }

  private restore(): void {
    try {
      const kept = JSON.parse(sessionStorage.getItem(key) ?? "{}")
      if (typeof kept.search === "string") this.search.value = kept.search
      if (typeof kept.kind === "string") this.wantedKind = kept.kind
      if (columns.some((_) => _.key === kept.sort?.key))
        this.sort = { key: kept.sort.key, down: kept.sort.down === true }
    } catch {
      // As above.
    }
  }
}

/** Downwards first, then upwards, then the worst first again. By name it begins with A. */
const nextSort = (sort: Sort, key: string): Sort => {
  if (key === "level") return worstFirst
  if (sort.key !== key) return { key, down: true }
  return sort.down ? { key, down: false } : worstFirst
}

const header = (column: (typeof columns)[number]) => {
  const button = h("button", { type: "button", title: column.hint }, column.title)
  const kind = column.text === undefined ? "" : "number"
  const cell = h(
    "div",
    { role: "columnheader", class: `${kind} ${column.key}`.trim(), "aria-sort": "none" },
    button
  )
  return { button, cell, column }
}
