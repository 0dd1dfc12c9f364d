/**
 * The workers as they would be installed: as JavaScript. Node can run TypeScript too, but each thread would first start
 * the compiler that takes the types away, which takes longer and needs more memory than all else that a thread does.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { basename, dirname, join } from "node:path"

const bench = join(import.meta.dirname, "../..")
/** Inside the package, so that what the workers import is found. */
const folder = join(bench, "node_modules/.cache/threads")
const threads = join(folder, "node_modules/@cenote/threads")

const quietly = <A>(f: () => A): A => {
  const emitWarning = process.emitWarning.bind(process)
  // That stripping types is new is of no interest here.
  process.emitWarning = () => {}
  try {
    return f()
  } finally {
    process.emitWarning = emitWarning
  }
}

const toJavaScript = (source: string): string =>
  stripTypeScriptTypes(source).replaceAll(/(\bfrom |\bimport |\bimport\()("\.{1,2}\/[^"]+)\.ts"/g, '$1$2.js"')

/** Copies the TypeScript of a folder as JavaScript. */
const copy = (from: string, to: string): void => {
  for (const file of readdirSync(from, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts")) continue
    const target = join(to, `${file.slice(0, -3)}.js`)
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, toJavaScript(readFileSync(join(from, file), "utf8")))
  }
}

const writeManifest = (to: string, manifest: object): void =>
  writeFileSync(join(to, "package.json"), JSON.stringify({ type: "module", ...manifest }))

/** Makes the copies. */
export const install = (): void =>
  quietly(() => {
    copy(join(import.meta.dirname, "workers"), join(folder, "workers"))
    writeManifest(folder, {})
    copy(join(bench, "../threads/src"), threads)
    writeManifest(threads, { name: "@cenote/threads", exports: { "./*": "./*.js" } })
  })

/** What Cenote's threads run. */
export const cenoteEntry = join(threads, "worker.js")

/** The copy of a file in `workers`. */
export const installed = (file: URL): string =>
  join(folder, "workers", basename(file.pathname).replace(/ts$/, "js"))
