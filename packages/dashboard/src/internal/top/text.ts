// Text as a terminal takes it: nothing that moves its cursor, and as many cells as were meant.
import { stripVTControlCharacters } from "node:util"

/** Names come from anywhere. What a terminal would obey, or would hide, is shown as one harmless sign. */
export const harmless = (text: string): string =>
  stripVTControlCharacters(text).replaceAll(
    // Controls, line separators, marks that turn the direction of writing or take no room, and halves of a character.
    // eslint-disable-next-line no-control-regex
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    "\ufffd"
  )

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" })

/** How many cells a text takes. */
export const widthOf = (text: string): number => {
  if (/^[ -~]*$/.test(text)) return text.length
  let width = 0
  for (const { segment } of graphemes.segment(text)) width += cells(segment)
  return width
}

const cells = (grapheme: string): number => {
  if (/^\p{M}/u.test(grapheme)) return 0
  return wide.test(grapheme) ? 2 : 1
}

/** Signs of East Asia and small pictures take two cells. */
const wide =
  /^(?:[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1b000}-\u{1b2ff}\u{20000}-\u{3ffff}]|\p{Emoji_Presentation}|.\ufe0f)/u

/** Cuts what is too long, and says so with `…`. */
export const cut = (text: string, width: number): string => {
  if (widthOf(text) <= width) return text
  if (width < 1) return ""
  let left = width - 1
  let kept = ""
  for (const { segment } of graphemes.segment(text)) {
    left -= cells(segment)
    if (left < 0) break
    kept += segment
  }
  return `${kept}…`
}

export const toLeft = (text: string, width: number): string => {
  const kept = cut(text, width)
  return kept + " ".repeat(Math.max(0, width - widthOf(kept)))
}

export const toRight = (text: string, width: number): string => {
  const kept = cut(text, width)
  return " ".repeat(Math.max(0, width - widthOf(kept))) + kept
}

/** Lines of at most `width` cells, broken between words. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ").filter((_) => _ !== "")) {
    const longer = line === "" ? word : `${line} ${word}`
    if (widthOf(longer) <= width || line === "") line = longer
    else {
      lines.push(line)
      line = word
    }
  }
  return (line === "" ? lines : [...lines, line]).map((_) => cut(_, width))
}

/** `0.4 ms`, `12 ms`, `3.2 s`, `48 s`, `2 m 5 s`, `3 h 20 m`, `2 d 3 h`. */
export const duration = (millis: number): string => {
  if (millis < 1) return `${millis.toFixed(1)} ms`
  if (millis < 999.5) return `${Math.round(millis)} ms`
  if (millis < 9_950) return `${(millis / 1000).toFixed(1)} s`
  const seconds = Math.round(millis / 1000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} m ${seconds % 60} s`
  const hours = Math.floor(minutes / 60)
  return hours < 24 ? `${hours} h ${minutes % 60} m` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** Of each second: `0.4/s`, `12/s`, `1.2k/s`, `3.4M/s`; nothing where there was nothing. */
export const rate = (each: number): string => (each === 0 ? "-" : `${short(each)}/s`)

/** `0.4`, `12`, `1.2k`, `3.4M`. */
export const short = (value: number): string => {
  if (value < 9.95) return Number.isInteger(value) ? String(value) : value.toFixed(1)
  if (value < 999.5) return String(Math.round(value))
  return value < 999_500 ? `${(value / 1e3).toPrecision(3)}k` : `${(value / 1e6).toPrecision(3)}M`
}

/** Of how much: `████░░░░`. */
export const bar = (share: number, width: number): string => {
  const full = Math.max(0, Math.min(width, Math.round(share * width)))
  // Something is not nothing, and not all is not all.
  const shown = share > 0 && full === 0 ? 1 : share < 1 && full === width ? width - 1 : full
  return "█".repeat(shown) + "░".repeat(width - shown)
}

/** The last `width` values, each against the greatest of them: `▁▂▅█`. */
export const spark = (values: ReadonlyArray<number | null>, width: number): string => {
  const last = values.slice(-width)
  const most = Math.max(...last.map((value) => value ?? 0))
  return last
    .map((value) =>
      value === null ? " " : (steps[most === 0 ? 0 : Math.ceil((value / most) * (steps.length - 1))] ?? " ")
    )
    .join("")
}

const steps = "▁▂▃▄▅▆▇█"
