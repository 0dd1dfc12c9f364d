// Starts `scripts/<name>.ts`. Plain JavaScript, so that an old Node can still say what is missing.
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const [name, ...args] = process.argv.slice(2)
const script = new URL(`./${name}.ts`, import.meta.url)
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)

if (major < 22 || (major === 22 && minor < 19) || !existsSync(new URL("../node_modules", import.meta.url))) {
  console.error(
    `Cenote's scripts need Node 22.19 or newer (this is ${process.versions.node}) and their dependencies: ` +
      "start them with `npx -y pnpm@12 run ...`, which brings both"
  )
  process.exit(1)
}

// What Node has compiled once it keeps: programs, and above all threads, start in half the time. Benchmarks have none: a start is
// one of the things that they measure.
if (name !== "bench") {
  process.env["NODE_COMPILE_CACHE"] ??= fileURLToPath(new URL("../node_modules/.cache/node", import.meta.url))
}

process.argv = [process.execPath, script.pathname, ...args]
await import(script.href)
