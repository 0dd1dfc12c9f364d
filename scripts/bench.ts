import { basename, dirname, join } from "node:path"
import { args, filesIn, help, root, run } from "./lib.ts"

help(`
pnpm bench <name> [arguments]: runs packages/bench/src/<name>.ts and passes on the arguments. The names are pool, threads, sql and
transports; --quick and --only <section> measure less, and write nothing. See packages/bench/README.md.
`)

const [name, ...rest] = args
const folder = join(root, "packages/bench/src")
const program = join(folder, `${name}.ts`)
// One file a benchmark; the harness and what is in folders serves them.
const programs = filesIn(folder, ".ts").filter(
  (file) => dirname(file) === folder && basename(file) !== "harness.ts"
)
if (programs.includes(program)) {
  const { code } = await run(process.execPath, ["--expose-gc", program, ...rest])
  console.log(`bench: ${name} ended with ${code}`)
  process.exitCode = code
} else {
  const names = programs.map((_) => _.slice(folder.length + 1, -3)).join(", ")
  console.error(`bench: say which benchmark to run; there is ${names === "" ? "none yet" : names}`)
  process.exitCode = 1
}
