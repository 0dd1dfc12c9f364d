import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { runChecks } from "./checks.ts"
import { help, root, run } from "./lib.ts"

help(`
pnpm verify: all that CI runs. The tests, the static checks, the build, and the packages as they are published.
Everything runs, also when something fails; the last line counts the tests and the steps.
`)

const script = async (name: string, ...args: ReadonlyArray<string>): Promise<boolean> =>
  (await run(process.execPath, [join(root, "scripts", `${name}.ts`), ...args])).code === 0

const total = { passed: 0, failed: 0 }
const add = (passed: number, failed: number): void => {
  total.passed += passed
  total.failed += failed
}

/** The tests count one by one; a run that fails without a failed test (a file that does not load) counts as one. */
const runTests = async (): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), "cenote-ci-"))
  const file = join(folder, "tests.json")
  const ok = await script("test", "--reporter=default", "--reporter=json", `--outputFile.json=${file}`)
  try {
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(file, "utf8"))
    add(numPassedTests, ok ? numFailedTests : Math.max(1, numFailedTests))
  } catch {
    add(0, 1)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

await runTests()
const checks = await runChecks()
add(checks.passed, checks.failed)
for (const name of ["build", "pack"]) {
  const ok = await script(name)
  add(ok ? 1 : 0, ok ? 0 : 1)
}
console.log(`${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 ? 0 : 1
