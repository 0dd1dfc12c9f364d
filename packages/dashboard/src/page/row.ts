// One pool in the overview.
import type { Figures } from "../internal/protocol.ts"
import { Bar, othersOf, useOf } from "./bar.ts"
import { columns } from "./columns.ts"
import { h, icon, setAttribute, setHidden, setIcon, Words } from "./dom.ts"
import { none } from "./format.ts"
import type { Pool } from "./state.ts"
import { hashOf, kindWord, levelWord } from "./words.ts"

export class Row {
  readonly element = h("div", { class: "row", role: "row" })
  readonly link: HTMLAnchorElement
  readonly kind: Pool["kind"]
  private readonly levelIcon = icon("ok")
  private readonly level = new Words(h("span"))
  private readonly state = new Words(h("span", { class: "badge" }))
  private readonly bar = new Bar(16)
  private readonly use = new Words(h("span", { class: "use" }))
  private readonly others = new Words(h("span", { class: "others" }))
  private readonly cells = columns.flatMap(({ isHot, key, text, title }) =>
    text === undefined
      ? []
      : [
          {
            text,
            isHot,
            words: new Words(h("div", { role: "cell", class: `number ${key}`, "data-label": title }))
          }
        ]
  )
  /** What is drawn now. */
  private shown: Figures | undefined

  constructor({ id, kind }: Pool) {
    this.kind = kind
    this.element.dataset["pool"] = id
    this.link = h("a", { href: hashOf(id), class: "open", title: id }, id)
    const name = h("span", { class: "name" }, this.link)
    this.element.append(
      h("div", { role: "cell", class: "level" }, this.levelIcon, this.level.element),
      h(
        "div",
        { role: "cell", class: "pool" },
        name,
        h("span", { class: "kind" }, kindWord[kind]),
        this.state.element
      ),
      h("div", { role: "cell", class: "inuse" }, this.bar.element, this.use.element, this.others.element),
      ...this.cells.map(({ words }) => words.element)
    )
  }

  render(figures: Figures | undefined): void {
    if (figures === undefined || figures === this.shown) return
    const { level, state } = figures
    if (level !== this.shown?.level) {
      this.element.dataset["level"] = level
      setIcon(this.levelIcon, level)
      this.level.set(levelWord[level])
    }
    this.shown = figures
    this.state.set(state)
    setHidden(this.state.element, state === "open")
    this.bar.render(figures)
    this.use.set(useOf(figures))
    this.others.set(othersOf(figures))
    for (const { isHot, text, words } of this.cells) {
      const shown = text(figures)
      words.set(shown)
      const tone = shown === none ? "none" : isHot?.(figures) === true ? "hot" : "plain"
      setAttribute(words.element, "data-tone", tone)
    }
  }
}
