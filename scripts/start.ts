import { existsSync } from "node:fs"
import { join } from "node:path"
import { args, help, root, run } from "./lib.ts"

help(`
pnpm start [arguments]: runs the example programs (packages/examples/src/start.ts) and passes on the arguments.
`)

const program = join(root, "packages/examples/src/start.ts")
if (existsSync(program)) {
  const { code } = await run(process.execPath, [program, ...args])
  process.exitCode = code
} else {
  console.error("start: packages/examples/src/start.ts is missing")
  process.exitCode = 1
}
