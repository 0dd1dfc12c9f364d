import { args, help, run } from "./lib.ts"
import { ensureServers } from "./servers.ts"

help(`
pnpm test [arguments of vitest]: runs the tests of every package once, and the examples in the docs.
\`pnpm test Pool\` runs the files whose name contains "Pool".
Where MariaDB, PgBouncer or Chromium is missing, it is installed first, on Debian and where that takes no password; promtool is
unpacked into node_modules. CENOTE_NO_INSTALL=1 prevents both. Tests that need a server or Chromium that is not there are skipped,
and fail where CI=true.
`)

const missing = await ensureServers()
// Much of what is tested waits for threads and servers: two files at a time also where there are two cores.
const options = ["run", "--config", "vitest.workspace.ts", "--maxWorkers=2"]
const { code } = await run("vitest", [...options, ...args])
for (const line of missing) console.log(`test: ${line}`)
console.log(`test: vitest ${code === 0 ? "passed" : "failed"} on Node ${process.versions.node}`)
process.exitCode = code
