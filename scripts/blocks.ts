// Finds the ```ts blocks of the docs and the sources, type-checks them, and runs them with their comparisons.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { type Expression, type Node, parseSync, Visitor } from "oxc-parser"
import { filesIn, packages, type Ran, root, run } from "./lib.ts"

export interface Block {
  /** The file that it stands in, and the line of its first fence. */
  readonly file: string
  readonly line: number
  /** The code after as many empty lines as stand before it, so that line numbers are those of the file. */
  readonly code: string
  /** False for a block fenced as ```ts no-run, which is only type-checked. */
  readonly runs: boolean
  /** Files that it may import: the blocks of the same page that are fenced as ```ts file=name.ts, by name. */
  readonly beside: ReadonlyMap<string, string>
}

export const nameOf = (block: Block): string => `${relative(root, block.file)}:${block.line}`

/** The blocks of a file, in Markdown or in a doc comment. */
export const blocksOf = (file: string): ReadonlyArray<Block> => {
  const text = readFileSync(file, "utf8")
  const beside = new Map<string, string>()
  const fences = /^([ \t]*(?:\* )?)```ts\b(.*)\n([\s\S]*?)^[ \t]*(?:\* )?```[ \t]*$/gm
  return [...text.matchAll(fences)].flatMap(({ 1: margin = "", 2: info = "", 3: body = "", index }) => {
    const line = text.slice(0, index).split("\n").length
    const code = body
      .split("\n")
      .map((_) => (_.startsWith(margin) ? _.slice(margin.length) : _.replace(/^\s*\*?$/, "")))
      .join("\n")
    const name = /file=(\S+)/.exec(info)?.[1]
    if (name === undefined) {
      return [{ file, line, code: "\n".repeat(line) + code, runs: info.trim() !== "no-run", beside }]
    }
    beside.set(name, code)
    return []
  })
}

export const allBlocks = (): ReadonlyArray<Block> =>
  [
    join(root, "README.md"),
    ...filesIn(join(root, "docs"), ".md"),
    ...packages.flatMap(({ folder }) => [join(folder, "README.md"), ...filesIn(join(folder, "src"), ".ts")])
  ]
    .filter((file) => existsSync(file))
    .flatMap(blocksOf)

/** Runs `f` with a new folder under `parent`, where the blocks' imports are looked up, and removes it. */
const inFolder = async <A>(parent: string, f: (folder: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(parent, ".docs-"))
  try {
    return await f(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Writes a block into the folder of its page, with the files that are beside it there. */
const write = (folder: string, block: Block, code: string): string => {
  const page = join(folder, relative(root, block.file).replaceAll(/[/\\.]/g, "-"))
  mkdirSync(page, { recursive: true })
  for (const [name, text] of block.beside) writeFileSync(join(page, name), text)
  const file = join(page, `line-${block.line}.ts`)
  writeFileSync(file, code)
  return file
}

/** Type-checks all the blocks with one run of the compiler. */
export const checkTypes = (blocks: ReadonlyArray<Block>, parent = root, options = {}): Promise<Ran> =>
  inFolder(parent, async (folder) => {
    const config = {
      extends: join(root, "tsconfig.base.json"),
      compilerOptions: {
        composite: false,
        noEmit: true,
        noUnusedLocals: false,
        allowImportingTsExtensions: true,
        rewriteRelativeImportExtensions: false,
        types: ["node"],
        typeRoots: [join(root, "node_modules/@types")],
        ...options
      },
      files: blocks.map((block) => write(folder, block, block.code))
    }
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config))
    return config.files.length === 0
      ? { code: 0, output: "" }
      : run("tsc", ["-p", folder], { cwd: folder, quiet: true })
  })

/** Runs a block as a module of its own, and checks its comparisons. */
export const runBlock = (block: Block, parent = root): Promise<Ran> =>
  inFolder(parent, (folder) => {
    const { code, lines } = withComparisons(block)
    return run(process.execPath, ["--import", expectation, write(folder, block, code)], {
      quiet: true,
      env: { CENOTE_EXPECT_LINES: lines.join(",") },
      timeout: 60_000
    })
  })

const expectation = new URL("./expect.ts", import.meta.url).href

/** Makes `expr // => value` a call that compares the two, for the expression of the statement that ends there. */
const withComparisons = (block: Block): { readonly code: string; readonly lines: ReadonlyArray<number> } => {
  const { comments, errors, program } = parseSync("block.ts", block.code)
  if (errors[0] !== undefined) throw new Error(`${nameOf(block)}: ${errors[0].message}`)

  const compared: Array<Node> = []
  new Visitor({
    ExpressionStatement: ({ expression }) => void compared.push(printed(expression)),
    ReturnStatement: ({ argument }) => void (argument !== null && compared.push(argument)),
    VariableDeclarator: ({ init }) => void (init !== null && compared.push(init))
  }).visit(program)

  const comparisons = comments
    .filter((comment) => /^\s*=>/.test(comment.value))
    .map((comment) => {
      const line = block.code.slice(0, comment.start).split("\n").length
      const target = compared.find(
        ({ end }) => end <= comment.start && /^\)?;?[ \t]*$/.test(block.code.slice(end, comment.start))
      )
      if (target === undefined) {
        throw new Error(`${relative(root, block.file)}:${line}: no statement ends before this comparison`)
      }
      return { line, target, value: comment.value.replace(/^\s*=>/, "") }
    })

  const code = comparisons
    .flatMap(({ line, target, value }) => [
      { at: target.start, text: `__expect(${line}, ` },
      { at: target.end, text: `, (${value}))` }
    ])
    .toSorted((a, b) => b.at - a.at)
    .reduce((text, insert) => text.slice(0, insert.at) + insert.text + text.slice(insert.at), block.code)
  return { code, lines: comparisons.map((_) => _.line) }
}

/** What `console.log(x)` prints is `x`. */
const printed = (expression: Expression): Node =>
  expression.type === "CallExpression" &&
  expression.callee.type === "MemberExpression" &&
  expression.callee.object.type === "Identifier" &&
  expression.callee.object.name === "console"
    ? (expression.arguments.at(-1) ?? expression)
    : expression
