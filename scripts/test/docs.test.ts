import { describe, expect, it } from "vitest"
import { allBlocks, checkTypes, nameOf, runBlock } from "../blocks.ts"

const blocks = allBlocks()
const timeout = 90_000

describe("the examples in the docs", () => {
  it("have no type errors", { timeout }, async () => {
    expect(await checkTypes(blocks)).toEqual({ code: 0, output: "" })
  })

  for (const block of blocks.filter((_) => _.runs)) {
    it(nameOf(block), { timeout }, async () => {
      const { code, output } = await runBlock(block)
      expect(code, output).toBe(0)
    })
  }
})
