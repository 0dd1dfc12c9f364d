import { args, help, run } from "./lib.ts"

help(`
pnpm test [arguments of vitest]: runs the tests of every package once, and the examples in the docs.
\`pnpm test Pool\` runs the files whose name contains "Pool".
`)

const { code } = await run("vitest", ["run", "--config", "vitest.workspace.ts", ...args])
console.log(`test: vitest ${code === 0 ? "passed" : "failed"} on Node ${process.versions.node}`)
process.exitCode = code
