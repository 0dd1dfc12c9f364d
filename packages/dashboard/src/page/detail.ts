// One pool: what is the matter with it, its past, who holds, who waits, what happened, and what it can be told to do.
import type { Figures } from "../internal/protocol.ts"
import { buttons, isPointless } from "./actions.ts"
import { Bar, othersOf, useOf } from "./bar.ts"
import { matterOf } from "./banner.ts"
import { Charts } from "./charts.ts"
import { h, icon, setAttribute, setHidden, setIcon, Words } from "./dom.ts"
import { count, longest, measured, none, rate, some } from "./format.ts"
import type { Dirty, Pool, State } from "./state.ts"
import { events, Facts, leases, threads, waiters } from "./tables.ts"
import { kindWord, levelWord } from "./words.ts"

interface Figure {
  readonly label: string
  readonly text: (figures: Figures) => string
  readonly isHot?: (figures: Figures) => boolean
}

const strip: ReadonlyArray<Figure> = [
  { label: "in use", text: useOf },
  { label: "waiting", text: (_) => some(_.pending), isHot: (_) => _.pending > 0 },
  { label: "longest wait", text: (_) => longest(_.longestWait) },
  { label: "longest held", text: (_) => longest(_.longestHeld) },
  { label: "borrows/s", text: (_) => rate(_.rate) },
  { label: "wait p50 · p99", text: (_) => pair(_.wait50, _.wait99) },
  { label: "hold p50 · p99", text: (_) => pair(_.hold50, _.hold99) },
  { label: "timeouts", text: (_) => some(_.timeouts), isHot: (_) => _.timeouts > 0 },
  { label: "failed creates", text: (_) => some(_.failures), isHot: (_) => _.failures > 0 }
]

const pair = (a: number | null, b: number | null): string =>
  a === null && b === null ? none : `${measured(a)} · ${measured(b)}`

export class Detail {
  private readonly root: HTMLElement
  private readonly state: State
  private view: View | undefined
  private id: string | undefined

  constructor(root: HTMLElement, state: State) {
    this.root = root
    this.state = state
  }

  get isOpen(): boolean {
    return this.id !== undefined
  }

  open(id: string): void {
    this.close()
    this.id = id
    setAttribute(this.root, "aria-label", id)
    setHidden(this.root, false)
    this.render({ list: true, figures: new Set([id]), focus: "other" })
    this.root.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true })
  }

  close(): void {
    this.view?.stop()
    this.view = undefined
    this.id = undefined
    this.root.replaceChildren()
    setHidden(this.root, true)
  }

  /** Draws what has changed. */
  render(dirty: Dirty): void {
    const { id, state } = this
    if (id === undefined || state.whole === undefined) return
    const pool = state.pools.get(id)
    if (pool === undefined) return this.showMissing(id)
    const before = this.view
    const view = before !== undefined && isAsMade(before.pool, pool) ? before : this.show(pool)
    if (view !== before || dirty.figures.has(id)) view.renderFigures(pool.figures)
    if (view !== before || dirty.focus !== "same") view.renderFocus(pool.figures)
  }

  /** Lets the clocks of loans and waits go on. */
  tick(): void {
    this.view?.tick(this.state.sinceMessage)
  }

  recolour(): void {
    this.view?.recolour()
  }

  private show(pool: Pool): View {
    this.view?.stop()
    const view = new View(pool, this.state)
    this.view = view
    this.root.replaceChildren(...view.elements)
    view.start()
    return view
  }

  private showMissing(id: string): void {
    if (
      this.root.dataset["missing"] === id &&
      this.root.firstElementChild !== null &&
      this.view === undefined
    )
      return
    this.view?.stop()
    this.view = undefined
    this.root.dataset["missing"] = id
    this.root.replaceChildren(
      back(),
      h("h1", { tabindex: "-1" }, id),
      h(
        "p",
        { class: "note" },
        "There is no such pool now. It may have been closed, or not have been made yet."
      )
    )
  }
}

/** Whether all that does not change of a pool is the same: another one may have taken its name. */
const isAsMade = (a: Pool, b: Pool): boolean =>
  a === b || JSON.stringify([a.kind, a.options, a.actions]) === JSON.stringify([b.kind, b.options, b.actions])

const back = (): HTMLElement => h("a", { href: "#/", class: "back" }, icon("back"), "All pools")

/** The elements of one pool. */
class View {
  readonly pool: Pool
  readonly elements: ReadonlyArray<HTMLElement>
  private readonly state: State
  private readonly head: HTMLElement
  private readonly levelIcon = icon("ok")
  private readonly level = new Words(h("span"))
  private readonly stateBadge = new Words(h("span", { class: "badge" }))
  private readonly actions: ReadonlyArray<HTMLElement>
  private readonly report = h("div", { class: "banner" })
  private reported = ""
  private readonly bar = new Bar(64)
  private readonly others = new Words(h("span", { class: "others" }))
  private readonly strip = strip.map((figure) => ({ ...figure, words: new Words(h("dd")) }))
  private readonly charts: Charts
  private readonly leases = leases()
  private readonly waiters = waiters()
  private readonly events = events()
  private readonly threads = threads()
  private readonly failures = new Facts("Failures by reason", "None.")
  private readonly closes = new Facts("Closed by reason", "None.")
  private readonly calls = new Facts("Calls by outcome", "None.", "calls")
  private readonly options = new Facts("Made with", "Defaults throughout.", "options")

  constructor(pool: Pool, state: State) {
    const { actions, id, kind, options } = pool
    this.pool = pool
    this.state = state
    this.charts = new Charts(state.whole?.pace ?? 1000)
    this.actions = state.whole?.readOnly === true ? [] : buttons(actions, () => state.pools.get(id))
    this.head = h("header", { class: "head" }, back())
    this.head.append(
      h(
        "div",
        { class: "title" },
        h("h1", { tabindex: "-1" }, id),
        h("span", { class: "kind" }, kindWord[kind]),
        h("span", { class: "level" }, this.levelIcon, this.level.element),
        this.stateBadge.element
      )
    )
    if (this.actions.length > 0) {
      this.head.append(
        h("div", { class: "actions", role: "group", "aria-label": "Actions" }, ...this.actions)
      )
    }
    const use = h("div", { class: "inuse wide" }, this.bar.element, this.others.element)
    const figures = h("dl", { class: "strip" })
    for (const { label, words } of this.strip) figures.append(h("div", {}, h("dt", {}, label), words.element))
    const isThreads = kind === "threads"
    const reasons = [this.failures, this.closes, ...(isThreads ? [this.calls] : []), this.options]
    this.options.render(options)
    this.elements = [
      this.head,
      this.report,
      h("section", { class: "panel now", "aria-label": "Now" }, use, figures),
      this.charts.element,
      h("div", { class: "halves" }, this.leases.element, this.waiters.element),
      ...(isThreads ? [this.threads.element] : []),
      h(
        "div",
        { class: "halves events" },
        this.events.element,
        h("div", { class: "stack" }, ...reasons.map((_) => _.element))
      )
    ]
  }

  start(): void {
    this.charts.start()
  }

  stop(): void {
    this.charts.stop()
  }

  recolour(): void {
    this.charts.recolour()
  }

  tick(elapsed: number): void {
    this.leases.tick(elapsed)
    this.waiters.tick(elapsed)
    this.threads.tick(elapsed)
  }

  renderFigures(figures: Figures): void {
    const { level, matter, remedy, state } = figures
    setAttribute(this.head, "data-level", level)
    setIcon(this.levelIcon, level)
    this.level.set(levelWord[level])
    this.stateBadge.set(state)
    setHidden(this.stateBadge.element, state === "open")
    for (const button of this.actions) {
      if (button instanceof HTMLButtonElement)
        button.disabled = isPointless(button.dataset["action"], figures)
    }
    const key = JSON.stringify([level, matter, remedy])
    if (key !== this.reported) {
      this.reported = key
      this.report.dataset["level"] = level
      this.report.replaceChildren(h("div", { class: "report" }, ...matterOf(matter, remedy)))
      setHidden(this.report, matter === "" && remedy === "")
    }
    this.bar.render(figures)
    this.others.set(othersOf(figures))
    setHidden(this.others.element, othersOf(figures) === "")
    for (const { isHot, text, words } of this.strip) {
      words.set(text(figures))
      setAttribute(words.element, "data-tone", isHot?.(figures) === true ? "hot" : "plain")
    }
  }

  renderFocus({ pending, used }: Figures): void {
    const { focus } = this.state
    if (focus === undefined || focus.id !== this.pool.id) return
    this.charts.render(focus.history)
    this.leases.render(focus.leases, Math.max(used, focus.leases.length))
    this.waiters.render(focus.waiters, Math.max(pending, focus.waiters.length))
    this.events.render(focus.events.toReversed())
    this.failures.render(focus.failures)
    this.closes.render(focus.closes)
    if (focus.threads !== undefined) this.threads.render(focus.threads)
    if (focus.calls !== undefined) this.calls.render(focus.calls)
  }
}

/** For the title of the window. */
export const titleOf = (pools: Iterable<Pool>, program: string): string => {
  let ill = 0
  for (const { figures } of pools) if (figures.level === "short" || figures.level === "down") ill++
  return ill === 0 ? `${program} · Cenote` : `(${count(ill)}) ${program} · Cenote`
}
