// The package where it is used: compiled, installed, and put into one file by a bundler.
import { execFile } from "node:child_process"
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify, stripVTControlCharacters } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { rolldown } from "rolldown"

const run = promisify(execFile)
const packageFolder = fileURLToPath(new URL("..", import.meta.url))
const poolFolder = join(packageFolder, "../pool")
const rootFolder = join(packageFolder, "../..")

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "cenote-threads-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
)

/** Writes files, and links what they import beside them. */
const project = Effect.fnUntraced(function* (files: Record<string, string>) {
  const path = yield* folder
  yield* Effect.promise(async () => {
    await mkdir(join(path, "node_modules/@cenote"), { recursive: true })
    await mkdir(join(path, "node_modules/@effect"), { recursive: true })
    await symlink(join(packageFolder, "node_modules/effect"), join(path, "node_modules/effect"))
    await symlink(
      join(packageFolder, "node_modules/@effect/platform-node"),
      join(path, "node_modules/@effect/platform-node")
    )
    await writeFile(
      join(path, "package.json"),
      JSON.stringify({ name: "app", type: "module", private: true })
    )
    for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
  })
  return path
})

const node = (path: string, file: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const { stderr, stdout } = await run(process.execPath, [join(path, file)], {
      env: { ...process.env, NODE_OPTIONS: "", NODE_V8_COVERAGE: "" }
    })
    return stripVTControlCharacters(stdout + stderr).trim()
  })

const hash = `import { createHash } from "node:crypto"
export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 8)
`

const main = (address: string, options = "{ max: 1 }"): string => `import { Effect } from "effect"
import { NodeThreads, ThreadPool } from "@cenote/threads"
const hash = ThreadPool.module(new URL("${address}", import.meta.url))
const program = Effect.all([hash.sha256("data"), ThreadPool.execute((n) => n + 1, 41)])
console.log(JSON.stringify(await Effect.runPromise(Effect.provide(program, NodeThreads.layer(${options})))))
`

/** A call within a call, whose caller knows only this. */
const deep = `import * as Effect from "effect/Effect"
import { ThreadPool } from "@cenote/threads"
export const sha256 = (text: string) => Effect.map(ThreadPool.execute(() => "3a6eb079"), (_) => text === "data" ? _ : "")
`

const expected = JSON.stringify(["3a6eb079", 42])

describe("where the package is used", () => {
  it.live(
    "runs from the compiled files of an installed package, and finds the compiled form of a module",
    () =>
      Effect.gen(function* () {
        const path = yield* project({
          "main.js": main("./hash.ts"),
          "hash.js": hash.replaceAll(": string", "")
        })
        yield* Effect.promise(async () => {
          for (const [name, from] of [
            ["threads", packageFolder],
            ["pool", poolFolder]
          ] as const) {
            const to = join(path, "node_modules/@cenote", name)
            await run(process.execPath, [
              join(rootFolder, "node_modules/typescript/bin/tsc"),
              "-b",
              join(from, "tsconfig.json")
            ])
            await cp(join(from, "dist"), join(to, "dist"), { recursive: true })
            const { default: manifest } = (await import(join(from, "package.json"), {
              with: { type: "json" }
            })) as {
              default: { readonly publishConfig: object }
            }
            await writeFile(
              join(to, "package.json"),
              JSON.stringify({ ...manifest, ...manifest.publishConfig })
            )
          }
        })
        assert.strictEqual(yield* node(path, "main.js"), expected)
      }).pipe(Effect.scoped),
    120_000
  )

  const entries = { main: "./main.ts", worker: "./worker.ts", hash: "./hash.ts" }
  for (const [what, bundles, code] of [
    ["a bundle, with the worker and the modules as further entries", [entries], hash],
    ["such a bundle, with calls within calls", [entries], deep],
    [
      "bundles of their own for the program, the worker and each module",
      Object.entries(entries).map(([name, file]) => ({ [name]: file })),
      deep
    ]
  ] as const) {
    it.live(
      `runs from ${what}`,
      () =>
        Effect.gen(function* () {
          const path = yield* project({
            "main.ts": main("./hash.js", `{ max: 1, entry: new URL("./worker.js", import.meta.url) }`),
            "hash.ts": code,
            "worker.ts": `import "@cenote/threads/worker"\n`
          })
          yield* Effect.promise(async () => {
            for (const [name, from] of [
              ["threads", packageFolder],
              ["pool", poolFolder]
            ] as const) {
              await symlink(from, join(path, "node_modules/@cenote", name))
            }
            for (const input of bundles) {
              const bundle = await rolldown({ cwd: path, input, platform: "node" })
              await bundle.write({ dir: join(path, "dist"), format: "esm" })
              await bundle.close()
            }
            // Nothing of the sources or the packages is needed any more.
            await rm(join(path, "node_modules"), { recursive: true })
            await rm(join(path, "hash.ts"))
          })
          assert.strictEqual(yield* node(path, "dist/main.js"), expected)
        }).pipe(Effect.scoped),
      120_000
    )
  }
})
