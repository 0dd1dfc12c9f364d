// The answer to the first question: is all well, and if not, what is to be done about what.
import type { Level } from "../internal/protocol.ts"
import { h, icon, Words } from "./dom.ts"
import { count, several } from "./format.ts"
import type { Pool } from "./state.ts"
import { hashOf, levelPhrase, levels, levelWord, severity } from "./words.ts"

/** As many pools are named. */
const maxNamed = 3

export class Banner {
  readonly element = h("div", { class: "banner" })
  /** What is read out: that a pool has become short, and not each figure that moves. */
  readonly heard = new Words(h("p", { class: "unseen", role: "status" }))
  /** What is shown, to leave it alone when it is the same. */
  private shown = ""

  render(pools: Iterable<Pool>): void {
    const all = [...pools]
    const ill = all.filter(({ figures }) => figures.level !== "ok").toSorted(worse)
    const named = ill.slice(0, maxNamed)
    const key = JSON.stringify([
      all.length,
      ill.length,
      named.map(({ id, figures }) => [id, figures.level, figures.matter, figures.remedy])
    ])
    if (key === this.shown) return
    this.shown = key
    const level: Level = named[0]?.figures.level ?? "ok"
    this.element.dataset["level"] = all.length === 0 ? "none" : level
    if (named.length === 0) this.element.replaceChildren(nothingIll(all.length))
    else
      this.element.replaceChildren(...named.map((pool) => report(pool, level)), ...rest(ill.slice(maxNamed)))
    this.heard.set(
      named.length === 0
        ? all.length === 0
          ? ""
          : "All pools are well"
        : named.map(({ figures: { level }, id }) => `${id} ${levelPhrase[level]}`).join(", ")
    )
  }
}

/** The worst first. Lines of about the same length stand by their names, so that they do not change places all the time. */
const worse = (a: Pool, b: Pool): number =>
  severity(a.figures.level) - severity(b.figures.level) || digits(b) - digits(a) || (a.id < b.id ? -1 : 1)

const digits = ({ figures: { pending } }: Pool): number => String(pending).length

const nothingIll = (pools: number): HTMLElement =>
  pools === 0
    ? h("p", { class: "well" }, "No pools yet. A pool that has a name shows up here as soon as it is made.")
    : h(
        "p",
        { class: "well level", "data-level": "ok" },
        icon("ok"),
        h("strong", {}, pools === 1 ? "The only pool is well" : `All ${count(pools)} pools are well`)
      )

/** `worst` is the level of the worst pool: beside that, what only wants to be watched is told in a line. */
const report = ({ figures: { level, matter, remedy }, id }: Pool, worst: Level): HTMLElement => {
  const name = h("strong", {}, h("a", { href: hashOf(id) }, id), ` ${levelPhrase[level]}`)
  const title = h("p", { class: "what level", "data-level": level }, icon(level), name)
  return level === "watch" && worst !== "watch"
    ? h("div", { class: "report brief" }, title, ...matterOf(matter, ""))
    : h("div", { class: "report" }, title, ...matterOf(matter, remedy))
}

/** What is the matter, and what to do. */
export const matterOf = (matter: string, remedy: string): ReadonlyArray<HTMLElement> => [
  ...(matter === "" ? [] : [h("p", { class: "matter" }, matter)]),
  ...(remedy === "" ? [] : [h("p", { class: "remedy" }, h("b", {}, "What to do: "), remedy)])
]

const rest = (pools: ReadonlyArray<Pool>): ReadonlyArray<HTMLElement> => {
  if (pools.length === 0) return []
  const counts = levels.flatMap((level) => {
    const n = pools.filter(({ figures }) => figures.level === level).length
    return n === 0 ? [] : [`${count(n)} ${levelWord[level].toLowerCase()}`]
  })
  return [h("p", { class: "rest" }, `and ${several(pools.length, "other pool")}: ${counts.join(", ")}`)]
}
