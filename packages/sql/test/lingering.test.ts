import { execFile } from "node:child_process"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"

const module = join(import.meta.dirname, "modules/lingering.ts")

it("a connector whose pools are idle does not keep a program up that closes nothing", async () => {
  const run = await new Promise<{ readonly failure: Error | null; readonly output: string }>((resolve) => {
    // Its idle pool would be closed after 5 to 10 minutes.
    execFile(process.execPath, [module], { timeout: 45_000 }, (failure, stdout, stderr) =>
      resolve({ failure, output: stdout + stderr })
    )
  })
  expect(run).toEqual({ failure: null, output: '[{"one":1}]\n' })
})
