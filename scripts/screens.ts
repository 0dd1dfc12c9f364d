// Takes the pictures of the dashboard that the README shows.
import { mkdirSync } from "node:fs"
import { join, relative } from "node:path"
import { help, root, run } from "./lib.ts"
import { ensureServers, thisMachine } from "./servers.ts"

help(`
pnpm screens: runs a program with several pools for a minute, one of which runs short, and takes pictures of its dashboard as
docs/images/dashboard-light.png, -dark.png and -narrow.png. Needs Chromium, which is installed where that is allowed.
`)

const folder = join(root, "docs/images")
const missing = await ensureServers(thisMachine(), ["Chromium"])
for (const line of missing) console.log(`screens: ${line}`)
mkdirSync(folder, { recursive: true })
const { code } = await run(process.execPath, [join(root, "packages/dashboard/test/screens.ts"), folder])
console.log(
  code === 0 ? `screens: the pictures are in ${relative(root, folder)}` : "screens: no pictures were taken"
)
process.exitCode = code
