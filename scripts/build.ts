import { rmSync } from "node:fs"
import { join } from "node:path"
import { help, publishable, run } from "./lib.ts"

help(`
pnpm build: removes packages/*/dist and compiles the packages that are published into it anew.
`)

for (const { folder } of publishable) rmSync(join(folder, "dist"), { recursive: true, force: true })
const { code } = await run("tsc", ["-b", ...publishable.map((_) => join("packages", _.id))])
console.log(
  code === 0 ? `build: compiled ${publishable.map((_) => _.manifest.name).join(", ")}` : "build: failed"
)
process.exitCode = code
