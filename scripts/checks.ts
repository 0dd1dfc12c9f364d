// The static checks, in the order in which they run.
import { checkImports } from "./imports.ts"
import { type Ran, report, run } from "./lib.ts"

const checks: ReadonlyArray<{ readonly name: string; readonly run: () => Ran | Promise<Ran> }> = [
  { name: "format", run: () => run("oxfmt", ["--check"], { quiet: true }) },
  { name: "types", run: () => run("tsc", ["-b", "--pretty"], { quiet: true }) },
  {
    name: "lint and import cycles",
    run: () => run("oxlint", ["--type-aware", "--deny-warnings"], { quiet: true })
  },
  { name: "import table", run: checkImports },
  {
    name: "unused files, exports and dependencies",
    run: () => run("knip", ["--no-progress"], { quiet: true })
  }
]

/** Runs all of them, says how each ended, and returns how many passed and failed. */
export const runChecks = async (): Promise<{ passed: number; failed: number }> => {
  const count = { passed: 0, failed: 0 }
  for (const check of checks) {
    const started = performance.now()
    const ok = report(check.name, await check.run(), started)
    count[ok ? "passed" : "failed"] += 1
  }
  return count
}
