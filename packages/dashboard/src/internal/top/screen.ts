// What is on the screen, and what keys do to it.
import type { PoolView } from "../protocol.ts"
import { type Look, paint } from "./grid.ts"
import { counts, type Lost, lostLines, matter, matters, title } from "./headline.ts"
import { nextSort, type Sort, sorted } from "./order.ts"
import { linesOf, onePool, type Part, sectionKeys } from "./pool.ts"
import type { Known } from "./state.ts"
import { table } from "./table.ts"
import { cut, harmless, wrap } from "./text.ts"

export interface Model extends Part {
  readonly url: string
  readonly known: Known
  readonly lost: Lost | undefined
  readonly sort: Sort
  /** The pool whose line is marked; the first until a key has been pressed. */
  readonly selected: string | undefined
  /** The pool that is open. */
  readonly opened: string | undefined
}

export interface Size {
  readonly columns: number
  readonly rows: number
}

export const model = (url: string, known: Known, sort: Sort, opened: string | undefined): Model => ({
  url,
  known,
  lost: undefined,
  sort,
  selected: opened,
  opened,
  section: "all",
  offset: 0
})

// -----------------------------------------------------------------------------
// Drawing
// -----------------------------------------------------------------------------

/** As many lines as the screen has. */
export const frame = (model: Model, size: Size, look: Look): ReadonlyArray<string> => {
  const { known, lost, opened, url } = model
  const head = [
    title(known, url, look),
    ...lostLines(lost, known, look),
    ...(opened === undefined
      ? [counts(known, look), ...matters(known, 1, look).slice(0, Math.max(1, Math.floor(size.rows / 4)))]
      : [])
  ]
  const room = Math.max(0, size.rows - head.length - 2)
  const body = opened === undefined ? list(model, room, look) : open(model, opened, room, look)
  const keys = paint(look, "dim", cut(hints(model), look.columns))
  // Of a screen of a few lines, the first ones say most.
  const lines = [...head, "", ...body].slice(0, Math.max(1, size.rows - 1))
  const empty = Array.from({ length: Math.max(0, size.rows - 1 - lines.length) }, () => "")
  return [...lines, ...empty, keys].slice(0, size.rows)
}

/** For paper: every line, with no keys. */
export const snapshot = (
  { known, opened, sort, url }: Pick<Model, "known" | "opened" | "sort" | "url">,
  look: Look
): ReadonlyArray<string> => {
  const pool = opened === undefined ? undefined : known.pools.get(opened)
  return [
    title(known, url, look),
    ...(pool === undefined
      ? [
          counts(known, look),
          ...matters(known, Infinity, look),
          ...(known.pools.size === 0 ? [] : ["", ...table(sorted(known.pools.values(), sort), look)])
        ]
      : onePool(pool, known.focus, look, Infinity, { section: "all", offset: 0 }))
  ]
}

const list = (model: Model, room: number, look: Look): ReadonlyArray<string> => {
  const pools = sorted(model.known.pools.values(), model.sort)
  if (pools.length === 0)
    return ["Pools appear here as the program makes them. Give a pool a name to see it."]
  const at = position(model, pools)
  const about = footnote(pools[at], model, look)
  const rows = Math.max(1, room - 1 - about.length)
  const first = Math.max(0, Math.min(at - Math.floor(rows / 2), pools.length - rows))
  // Widths are those of all rows, so that columns stay where they are as one goes down.
  const [titles = "", ...lines] = table(pools, { ...look, columns: look.columns - marked.length })
  const shown = lines
    .slice(first, first + rows)
    .map((line, i) =>
      first + i === at ? paint(look, "bold", marked) + line : " ".repeat(marked.length) + line
    )
  return [" ".repeat(marked.length) + titles, ...shown, ...about]
}

const marked = "> "

/** What is the matter with the pool that is marked, if it is not the one above. */
const footnote = (pool: PoolView | undefined, { known }: Model, look: Look): ReadonlyArray<string> => {
  const [worst] = sorted(known.pools.values(), "worst")
  if (pool === undefined || pool.id === worst?.id || matter(pool) === "") return []
  return ["", ...wrap(`${harmless(pool.id)} (${pool.figures.level}): ${matter(pool)}`, look.columns)]
}

const open = (
  { known, offset, section }: Model,
  id: string,
  room: number,
  look: Look
): ReadonlyArray<string> => {
  const pool = known.pools.get(id)
  if (pool === undefined) return wrap(`${harmless(id)} is gone: the program has closed it.`, look.columns)
  const focus = known.focus?.id === id ? known.focus : undefined
  return onePool(pool, focus, look, room, { section, offset })
}

const hints = ({ known, opened, section, sort }: Model): string =>
  opened === undefined
    ? `q quit   ↑↓ choose   Enter open   s sort: ${sort}${known.readOnly ? "   (read-only)" : ""}`
    : `q quit   Esc back   Tab part: ${section}${section === "all" ? "" : "   ↑↓ move"}`

// -----------------------------------------------------------------------------
// Keys
// -----------------------------------------------------------------------------

/** A key by the name that Node has for it: `up`, `return`, `s`. */
export interface Key {
  readonly name: string
  readonly ctrl: boolean
}

export const quits = ({ ctrl, name }: Key): boolean => (ctrl ? name === "c" || name === "d" : name === "q")

/** Rows that a key goes down. */
const steps: Readonly<Record<string, number>> = {
  up: -1,
  k: -1,
  down: 1,
  j: 1,
  pageup: -10,
  pagedown: 10,
  home: -Infinity,
  end: Infinity
}

export const pressed = (model: Model, { ctrl, name }: Key): Model => {
  if (ctrl) return model
  const step = steps[name]
  if (model.opened !== undefined) {
    if (["escape", "backspace", "left"].includes(name)) {
      return { ...model, opened: undefined, section: "all", offset: 0 }
    }
    if (name === "tab") return { ...model, section: nextSection(model), offset: 0 }
    return step === undefined ? model : { ...model, offset: clamp(model.offset + step, rowsOf(model) - 1) }
  }
  const pools = sorted(model.known.pools.values(), model.sort)
  const at = position(model, pools)
  if (step !== undefined) return { ...model, selected: pools[clamp(at + step, pools.length - 1)]?.id }
  if (["return", "enter", "right"].includes(name)) {
    const id = pools[at]?.id
    return { ...model, opened: id, selected: id }
  }
  return name === "s" ? { ...model, sort: nextSort(model.sort) } : model
}

/** The next part that this pool has. */
const nextSection = ({ known, section }: Model): Part["section"] => {
  const keys = sectionKeys.filter((key) => key !== "threads" || known.focus?.threads !== undefined)
  return keys[(keys.indexOf(section) + 1) % keys.length]!
}

const rowsOf = ({ known, section }: Model): number =>
  known.focus === undefined ? 0 : linesOf(known.focus, section)

const position = ({ selected }: Model, pools: ReadonlyArray<PoolView>): number =>
  Math.max(
    0,
    pools.findIndex(({ id }) => id === selected)
  )

const clamp = (at: number, last: number): number => Math.max(0, Math.min(at, last))
