// Columns of text, as many as there is room for.
import { styleText } from "node:util"
import { cut, toLeft, toRight, widthOf } from "./text.ts"

/** What a picture is drawn for. */
export interface Look {
  /** Cells in a line. `Infinity`: as many as it takes. */
  readonly columns: number
  readonly color: boolean
  readonly timeZone?: string | undefined
}

export type Style = Parameters<typeof styleText>[0]

export const paint = (look: Look, style: Style, text: string): string =>
  look.color && text.trim() !== "" ? styleText(style, text, { validateStream: false }) : text

export interface Cell {
  readonly text: string
  readonly style: Style
}

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string | Cell
  readonly align?: "left" | "right"
  /** Columns without it stay; of the others, those with the greatest go first where the room is short. */
  readonly spare?: number
  /** How wide it is at most while others have to go, and when they are gone. */
  readonly shrinks?: readonly [first: number, last: number]
}

const gap = 2

/** A column as it is drawn. */
interface Placed {
  readonly column: Omit<Column<never>, "cell">
  readonly cells: ReadonlyArray<{ readonly text: string; readonly style?: Style }>
  readonly width: number
}

/** A line for the titles, and one a row. */
export const grid = <Row>(
  columns: ReadonlyArray<Column<Row>>,
  rows: ReadonlyArray<Row>,
  look: Look
): ReadonlyArray<string> => {
  const all = columns.map((column): Placed => {
    const cells = rows.map((row) => {
      const cell = column.cell(row)
      return typeof cell === "string" ? { text: cell } : cell
    })
    return {
      column,
      cells,
      width: Math.max(widthOf(column.title), ...cells.map(({ text }) => widthOf(text)))
    }
  })
  const fitted = fit(all, look.columns)
  const titles = fitted.map(({ column, width }) => place(column.title, width, column.align))
  const lines = rows.map((_, row) =>
    fitted
      .map(({ cells, column, width }, i) => {
        const { style, text } = cells[row]!
        const isLast = i === fitted.length - 1 && column.align !== "right"
        const placed = isLast ? cut(text, width) : place(text, width, column.align)
        return style === undefined ? placed : paint(look, style, placed)
      })
      .join(" ".repeat(gap))
      .trimEnd()
  )
  return [paint(look, "dim", titles.join(" ".repeat(gap)).trimEnd()), ...lines]
}

const place = (text: string, width: number, align: Placed["column"]["align"]): string =>
  align === "right" ? toRight(text, width) : toLeft(text, width)

const fit = (all: ReadonlyArray<Placed>, room: number): ReadonlyArray<Placed> => {
  let kept = all
  while (true) {
    const fitted = narrowed(kept, room, 0)
    if (total(fitted) <= room) return fitted
    const spare = Math.max(...kept.map(({ column }) => column.spare ?? 0))
    if (spare === 0) return narrowed(kept, room, 1)
    kept = kept.filter(({ column }) => column.spare !== spare)
  }
}

const total = (columns: ReadonlyArray<Placed>): number =>
  columns.reduce((sum, { width }) => sum + width, 0) + gap * (columns.length - 1)

/** Takes what is too much from the columns that may shrink, the last first. */
const narrowed = (columns: ReadonlyArray<Placed>, room: number, step: 0 | 1): ReadonlyArray<Placed> => {
  let excess = total(columns) - room
  return columns
    .toReversed()
    .map((placed) => {
      const least = placed.column.shrinks?.[step] ?? placed.width
      const width = Math.max(Math.min(placed.width, least), placed.width - Math.max(0, excess))
      excess -= placed.width - width
      return { ...placed, width }
    })
    .toReversed()
}
