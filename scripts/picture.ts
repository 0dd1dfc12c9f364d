// Draws what `pnpm start` prints as a terminal, for the README.
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { help, root, run } from "./lib.ts"

help(`
node scripts/picture.ts: runs the programs of \`pnpm start\` and draws their output as docs/images/start.svg.
Long stretches are left out; what is left is as it was printed.
`)

const target = join(root, "docs/images/start.svg")
const command = "npx -y pnpm@12 start"

// -----------------------------------------------------------------------------
// What is shown
// -----------------------------------------------------------------------------

interface Line {
  readonly text: string
  readonly style: string
}

/** Whether a line is the title of a program: a line on what it shows follows, and then what it does, with the time. */
const isTitle = (lines: ReadonlyArray<string>, i: number): boolean =>
  lines[i - 1] === "" && /^\S/.test(lines[i] ?? "") && isTimed(lines[i + 2] ?? "")

const isTimed = (line: string): boolean => /^\s*[\d.]+ s {2}/.test(line)

const isChapter = (line: string): boolean => line.startsWith("── ")

/** Keeps the lines around what is worth seeing, and says how many are left out in between. */
const excerpt = (lines: ReadonlyArray<string>): ReadonlyArray<Line> => {
  const shown = new Set<number>()
  const show = (from: number, to: number) => {
    for (let i = Math.max(from, 0); i <= Math.min(to, lines.length - 1); i++) shown.add(i)
  }
  show(0, 12)
  for (const [i, line] of lines.entries()) {
    if (isChapter(line)) show(i - 1, i + 1)
    // The programs on connection pools are one and the same, over and over.
    if (isTitle(lines, i)) show(i - 1, / on [A-Z]\w+$/.test(line) ? i + 1 : i + 2)
    if (/kept ticking|was running in thread|its thread was stopped/.test(line)) show(i, i)
    if (/Backend \d+ was terminated in the middle/.test(line)) show(i - 2, i + 3)
    if (line.endsWith("$ cenote top --check")) show(i, i + 8)
    if (/Held by whom: /.test(line)) show(i, i + 3)
  }
  show(lines.lastIndexOf(lines.findLast(isChapter) ?? "") - 1, lines.length - 1)

  const excerpt: Array<Line> = []
  let left = 0
  for (const [i, text] of lines.entries()) {
    if (!shown.has(i)) left++
    else {
      if (left > 0) excerpt.push({ text: `  … ${left} lines …`, style: "dim" })
      left = 0
      excerpt.push({ text, style: styleOf(lines, i) })
    }
  }
  return excerpt
}

// -----------------------------------------------------------------------------
// How it looks
// -----------------------------------------------------------------------------

const font = {
  family: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  size: 13,
  width: 7.83,
  height: 18
}
const margin = 18
const bar = 30

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

const styleOf = (lines: ReadonlyArray<string>, i: number): string => {
  const line = lines[i] ?? ""
  if (isChapter(line)) return "chapter"
  if (isTitle(lines, i) || line.startsWith("program ")) return "heading"
  if (isTitle(lines, i - 1)) return "dim"
  if (/^\s+[\d.]+ s\s+\+ /.test(line)) return "created"
  if (/^\s+[\d.]+ s\s+- /.test(line)) return "closed"
  if (/was terminated|failed:|was running in thread|was stopped|crashed \(/.test(line)) return "broken"
  if (/^\s+[\d.]+ s\s+(short|app\/Db \(short\)) /.test(line)) return "short"
  if (/ \$ cenote /.test(line) || / tasks committed, /.test(line)) return "strong"
  return "plain"
}

const draw = (lines: ReadonlyArray<Line>): string => {
  const columns = Math.max(...lines.map(({ text }) => text.length))
  const width = Math.ceil(columns * font.width + 2 * margin)
  const height = bar + lines.length * font.height + margin
  const text = lines.map(({ style, text }, i) => {
    const y = bar + (i + 1) * font.height - 4
    const shown = text.trim()
    const x = (margin + (text.length - text.trimStart().length) * font.width).toFixed(1)
    // Whatever font there is, columns stay columns.
    const length = (shown.length * font.width).toFixed(1)
    return shown === ""
      ? ""
      : `<text x="${x}" y="${y}" class="${style}" textLength="${length}" ` +
          `xml:space="preserve">${escape(shown)}</text>\n`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="A terminal that runs ${command}">
<style>
text { white-space: pre; fill: #c9d1d9 }
.dim { fill: #7d8590 } .created { fill: #7ee787 } .closed { fill: #a5b4c8 } .broken { fill: #ffa198 }
.short { fill: #e3b341 } .chapter { fill: #d2a8ff; font-weight: 600 }
.heading { fill: #79c0ff; font-weight: 600 } .strong { fill: #ffffff; font-weight: 600 }
</style>
<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>
<circle cx="20" cy="16" r="5" fill="#ff5f57"/><circle cx="38" cy="16" r="5" fill="#febc2e"/><circle cx="56" cy="16" r="5" fill="#28c840"/>
<g font-family="${font.family}" font-size="${font.size}">
${text.join("")}</g>
</svg>
`
}

const { code, output } = await run(process.execPath, [join(root, "packages/examples/src/start.ts")], {
  quiet: true,
  env: { NO_COLOR: "1" }
})
if (code === 0) {
  const lines = [{ text: `$ ${command}`, style: "strong" }, ...excerpt(output.trimEnd().split("\n"))]
  mkdirSync(dirname(target), { recursive: true })
  writeFileSync(target, draw(lines))
  console.log(`picture: ${relative(root, target)} shows ${lines.length} lines`)
} else {
  console.error(output)
  console.error("picture: the programs failed, and nothing was drawn")
}
process.exitCode = code
