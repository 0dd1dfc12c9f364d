// `pnpm start [arguments]`: runs the example programs, which also answer --help.
import { existsSync } from "node:fs"
import { join } from "node:path"
import { args, root, run } from "./lib.ts"

const program = join(root, "packages/examples/src/start.ts")
if (existsSync(program)) {
  const { code } = await run(process.execPath, [program, ...args])
  process.exitCode = code
} else {
  console.error("start: packages/examples/src/start.ts is missing")
  process.exitCode = 1
}
