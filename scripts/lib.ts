// What the scripts share: where things are, how to run a program, how to say what happened.
import { spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"

export const root = join(import.meta.dirname, "..")

export const args = process.argv.slice(2)

/** Prints `text` and leaves, when the script was called with `--help`. */
export const help = (text: string): void => {
  if (args[0] === "--help") {
    console.log(text.trim())
    process.exit(0)
  }
}

/** Ctrl-C reaches the child by itself; we wait for it. */
const ignore = (): void => {}

export interface Ran {
  readonly code: number
  readonly output: string
}

/** Runs a program with the workspace's own tools first on the path; `quiet` collects what it prints. */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  options: {
    readonly cwd?: string
    readonly quiet?: boolean
    readonly env?: Record<string, string>
    readonly timeout?: number
  } = {}
): Promise<Ran> =>
  new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: {
        ...process.env,
        PATH: join(root, "node_modules/.bin") + delimiter + process.env["PATH"],
        ...options.env
      },
      timeout: options.timeout,
      shell: process.platform === "win32",
      stdio: options.quiet === true ? ["ignore", "pipe", "pipe"] : "inherit"
    })
    let output = ""
    child.stdout?.on("data", (chunk) => (output += chunk))
    child.stderr?.on("data", (chunk) => (output += chunk))
    const terminate = () => child.kill("SIGTERM")
    process.on("SIGTERM", terminate).on("SIGINT", ignore)
    const finish = (code: number) => {
      process.off("SIGTERM", terminate).off("SIGINT", ignore)
      resolve({ code, output })
    }
    child.on("error", (error) => {
      output += `cannot run ${command}: ${error.message}\n`
      if (options.quiet !== true) console.error(output)
      finish(1)
    })
    child.on("close", (code, signal) => {
      if (signal !== null) output += `${command} was ended by ${signal}\n`
      finish(code ?? 1)
    })
  })

export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly dependencies?: Record<string, string>
  readonly optionalDependencies?: Record<string, string>
  readonly peerDependencies?: Record<string, string>
}

export const readManifest = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))

export interface Package {
  /** The folder's name, as in `packages/pool`. */
  readonly id: string
  readonly folder: string
  readonly manifest: Manifest
}

export const packages: ReadonlyArray<Package> = readdirSync(join(root, "packages"))
  .map((id) => ({ id, folder: join(root, "packages", id) }))
  .filter(({ folder }) => existsSync(join(folder, "package.json")))
  .map((found) => ({ ...found, manifest: readManifest(found.folder) }))

export const publishable: ReadonlyArray<Package> = packages.filter((_) => _.manifest.private !== true)

/** Every file under `folder` with one of the extensions, sorted; no installed, hidden or built ones. */
export const filesIn = (folder: string, extension: string): ReadonlyArray<string> =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: "utf8" })
        .filter(
          (file) => file.endsWith(extension) && !/(^|[\\/])(node_modules|dist|\.[^\\/]+)[\\/]/.test(file)
        )
        .toSorted()
        .map((file) => join(folder, file))
    : []

/** Says how a step ended, with its output when it failed. */
export const report = (name: string, ran: Ran, started: number): boolean => {
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  if (ran.code !== 0) console.log(ran.output.trimEnd())
  console.log(`${ran.code === 0 ? "ok  " : "FAIL"}  ${name} (${seconds} s)`)
  return ran.code === 0
}
