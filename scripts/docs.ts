import { allBlocks, checkTypes, nameOf, runBlock } from "./blocks.ts"
import { help, report } from "./lib.ts"

help(`
pnpm run docs: type-checks and runs every \`\`\`ts block of README.md, docs/*.md, packages/*/README.md and
the doc comments in packages/*/src. A block fenced as \`\`\`ts no-run is only type-checked,
and one fenced as \`\`\`ts file=name.ts is a file that the other blocks of the page can import.
A line that ends in \`// => value\` must have that value, and must be reached.
`)

const blocks = allBlocks()
const runnable = blocks.filter((_) => _.runs)
let started = performance.now()
let failed = report("types of all blocks", await checkTypes(blocks), started) ? 0 : 1
for (const block of runnable) {
  started = performance.now()
  if (!report(nameOf(block), await runBlock(block), started)) failed += 1
}
console.log(`docs: ${blocks.length} blocks type-checked, ${runnable.length} run, ${failed} failures`)
process.exitCode = failed === 0 ? 0 : 1
