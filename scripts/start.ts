// `pnpm start [arguments]`: runs the example programs, which also answer --help; `pnpm start top [arguments]`: `cenote top` of
// this workspace.
import { existsSync } from "node:fs"
import { join, relative } from "node:path"
import { args, root, run } from "./lib.ts"

const program = join(
  root,
  args[0] === "top" ? "packages/dashboard/src/cenote.ts" : "packages/examples/src/start.ts"
)
if (existsSync(program)) {
  const { code } = await run(process.execPath, [program, ...args])
  process.exitCode = code
} else {
  console.error(`start: ${relative(root, program)} is missing`)
  process.exitCode = 1
}
