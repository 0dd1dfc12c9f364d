// How much of a pool is in use: one element, drawn by the style sheet from four numbers.
import type { Figures } from "../internal/protocol.ts"
import { h } from "./dom.ts"
import { count } from "./format.ts"

export class Bar {
  readonly element = h("span", { class: "bar", "aria-hidden": "true" })
  private shown = ""
  private readonly maxSlots: number

  /** A pool of more than `maxSlots` is drawn without gaps between them: there is no room. */
  constructor(maxSlots: number) {
    this.maxSlots = maxSlots
  }

  render({ closing, creating, idle, max, size, used }: Figures): void {
    // After a shrink there are more than `max` for a while, and without a limit there are as many as there are.
    const whole = Math.max(max, size, 1)
    const key = [used, idle, creating + closing, whole].join(" ")
    if (key === this.shown) return
    this.shown = key
    const { style } = this.element
    style.setProperty("--used-end", percent(used, whole))
    style.setProperty("--idle-end", percent(used + idle, whole))
    style.setProperty("--changing-end", percent(used + idle + creating + closing, whole))
    style.setProperty("--slots", String(whole))
    this.element.classList.toggle("slots", whole <= this.maxSlots)
  }
}

const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(3)}%`

/** `8 / 10`, where there is a limit. */
export const useOf = ({ max, used }: Figures): string =>
  max < 0 ? count(used) : `${count(used)} / ${count(max)}`

/** What is left over after what is in use. */
export const othersOf = ({ closing, creating, idle }: Figures): string =>
  [
    idle > 0 ? `${count(idle)} idle` : "",
    creating > 0 ? `${count(creating)} creating` : "",
    closing > 0 ? `${count(closing)} closing` : ""
  ]
    .filter((_) => _ !== "")
    .join(", ")
