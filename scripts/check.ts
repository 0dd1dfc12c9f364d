import { runChecks } from "./checks.ts"
import { help } from "./lib.ts"

help(`
pnpm check: the static checks. Formatting, types, lint and import cycles, the table of who may import
whom, and whatever nobody uses. All of them run; the exit code is 1 when any fails.
`)

const { passed, failed } = await runChecks()
console.log(`check: ${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
