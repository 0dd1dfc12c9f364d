import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { blocksOf, checkTypes, runBlock } from "./blocks.ts"
import { help, type Package, publishable, type Ran, readManifest, report, root, run } from "./lib.ts"

help(`
pnpm pack:check: builds, packs each package that is published, runs publint on it, installs the tarball into
an empty project, and type-checks and runs the first \`\`\`ts block of the package's README there.
`)

const temporary = mkdtempSync(join(tmpdir(), "cenote-pack-"))
const tarballs = new Map<string, string>()

const pack = async ({ folder, id, manifest }: Package): Promise<Ran> => {
  const destination = join(temporary, "tarballs", id)
  mkdirSync(destination, { recursive: true })
  const packed = await run("pnpm", ["pack", "--pack-destination", destination], { cwd: folder, quiet: true })
  const [tarball] = readdirSync(destination)
  if (packed.code !== 0 || tarball === undefined) return packed
  tarballs.set(manifest.name, join(destination, tarball))
  return run("publint", ["run", "--strict", join(destination, tarball)], { quiet: true })
}

/** Packages that users patch as the workspace does: see the README of whatever needs them. */
const applyPatches = async (project: string): Promise<void> => {
  const folder = join(root, "patches")
  for (const file of readdirSync(folder)) {
    const name = file.slice(0, file.lastIndexOf("@")).replace("__", "/")
    const installed = join(project, "node_modules", name)
    if (existsSync(installed))
      await run("git", ["apply", join(folder, file)], { cwd: installed, quiet: true })
  }
}

/** Installs the tarball beside `effect` alone, and what of ours its README uses besides; what it needs comes from the other tarballs. */
const useTarball = async ({ folder, id, manifest }: Package): Promise<Ran> => {
  const project = join(temporary, id)
  mkdirSync(project)
  const [block] = blocksOf(join(folder, "README.md"))
  if (block === undefined) return { code: 1, output: `packages/${id}/README.md has no \`\`\`ts block` }
  const used = [...tarballs.keys()].filter((name) => block.code.includes(`"${name}"`))
  const fileOf = (name: string) => `file:${tarballs.get(name)}`
  const others = [...tarballs.keys()].filter((name) => name !== manifest.name)
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({
      private: true,
      type: "module",
      dependencies: {
        ...Object.fromEntries([manifest.name, ...used].map((name) => [name, fileOf(name)])),
        effect: readManifest(join(root, "node_modules/effect")).version
      },
      overrides: Object.fromEntries(
        others.filter((name) => !used.includes(name)).map((name) => [name, fileOf(name)])
      )
    })
  )
  const install = await run("npm", ["install", "--no-audit", "--no-fund"], { cwd: project, quiet: true })
  if (install.code !== 0) return install
  await applyPatches(project)
  // The published declarations are checked too; Effect's name types of the web.
  const types = await checkTypes([block], project, { skipLibCheck: false, lib: ["es2023", "dom"] })
  return types.code !== 0 || !block.runs ? types : runBlock(block, project)
}

const steps: ReadonlyArray<readonly [name: string, (_: Package) => Promise<Ran>]> = [
  ["packs", pack],
  ["works when installed", useTarball]
]

let failed = 0
try {
  const build = await run(process.execPath, [join(root, "scripts/build.ts")])
  if (build.code !== 0) failed += 1
  else {
    for (const [name, step] of steps) {
      for (const each of publishable) {
        const started = performance.now()
        if (!report(`${each.manifest.name} ${name}`, await step(each), started)) failed += 1
      }
    }
  }
} finally {
  rmSync(temporary, { recursive: true })
}
console.log(`pack: ${publishable.length} packages packed and used, ${failed} failures`)
process.exitCode = failed === 0 ? 0 : 1
