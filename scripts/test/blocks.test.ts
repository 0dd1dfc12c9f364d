import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { blocksOf, checkTypes, runBlock } from "../blocks.ts"

const folder = mkdtempSync(join(tmpdir(), "cenote-blocks-"))
afterAll(() => rmSync(folder, { recursive: true }))

const document = (text: string) => {
  const file = join(folder, "page.md")
  writeFileSync(file, text)
  return blocksOf(file)
}

const runCode = (code: string) => {
  const [block] = document(`Some text.\n\n\`\`\`ts\n${code}\n\`\`\`\n`)
  return runBlock(block!)
}

describe("blocksOf", () => {
  it("finds blocks in Markdown, keeps their line numbers, and skips other languages", () => {
    const text = "```sh\nls\n```\n\n```ts\nconst a = 1\n```\n\n```ts no-run\nconst b = 2\n```\n"
    const file = join(folder, "page.md")
    expect(document(text)).toEqual([
      { file, line: 5, code: `${"\n".repeat(5)}const a = 1\n`, runs: true, beside: new Map() },
      { file, line: 9, code: `${"\n".repeat(9)}const b = 2\n`, runs: false, beside: new Map() }
    ])
  })

  it("takes the margin of a doc comment away", () => {
    const [block] = document("  /**\n   * ```ts\n   * if (a) {\n   *   b()\n   *\n   * }\n   * ```\n   */\n")
    expect(block?.code.trim()).toBe("if (a) {\n  b()\n\n}")
  })
})

describe("a file of a page", () => {
  const page =
    '```ts file=one.ts\nexport const one: number = 1\n```\n\n```ts\nimport { one } from "./one.ts"\none + 1 // => 2\n```\n'

  it("can be imported by the blocks of the page, and is none of them", async () => {
    const blocks = document(page)
    expect(blocks).toHaveLength(1)
    expect(await runBlock(blocks[0]!)).toMatchObject({ code: 0 })
    expect(await checkTypes(blocks)).toEqual({ code: 0, output: "" })
  })

  it("is type-checked with what imports it", async () => {
    const { code, output } = await checkTypes(document(page.replace("number = 1", "number = ''")))
    expect(code).not.toBe(0)
    expect(output).toContain("one.ts")
  })
})

describe("a comparison", () => {
  const right = {
    "an expression": "1 + 1 // => 2",
    "a declaration": "const { a } = { a: [1] } // => { a: [1] }\na // => [1]",
    "what is printed": `console.log("a" + "b") // => "ab"`,
    "a statement over several lines": "Math.max(\n  1,\n  2\n) // => 2",
    "a promise": "Promise.resolve({ a: undefined }) // => { a: undefined }",
    "inside a generator":
      "const f = function*() {\n  const n = yield* [1, 2] // => undefined\n  return n // => undefined\n}\n;[...f()].length // => 2"
  }
  for (const [name, code] of Object.entries(right)) {
    it(`holds for ${name}`, async () => {
      expect(await runCode(code)).toMatchObject({ code: 0 })
      expect(await runCode(code.replaceAll(/\/\/ => .*/g, "// => 'other'"))).toMatchObject({ code: 1 })
    })
  }

  it("names the line, and what was expected", async () => {
    expect((await runCode("1 + 1 // => 3")).output).toBe("line 4: expected 3, got 2\n")
  })

  it("fails when it is never reached", async () => {
    expect((await runCode("const f = () => {\n  return 1 // => 1\n}")).output).toBe(
      "line 5: the comparison was never reached\n"
    )
  })

  it("fails when there is nothing to compare", async () => {
    await expect(runCode("// => 3")).rejects.toThrow("no statement ends before this comparison")
  })
})
