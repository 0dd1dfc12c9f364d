// The programs that the tests need, and npm does not have: servers, a browser, and Prometheus's own check of alert rules.
import { accessSync, constants, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import { type Ran, root, run } from "./lib.ts"

export interface Machine {
  readonly env: Record<string, string | undefined>
  /** Whether there is such a program. */
  readonly has: (program: string) => boolean
  readonly isRoot: boolean
  /** Whether packages are those of Debian. */
  readonly isDebian: boolean
  /** Runs a program that asks nothing, and ends in any case. */
  readonly run: (command: string, args: ReadonlyArray<string>, timeout: number) => Promise<Ran>
  readonly say: (line: string) => void
}

interface Need {
  readonly name: string
  /** All of them are needed; of each group, any. */
  readonly programs: ReadonlyArray<ReadonlyArray<string>>
  /** Debian's; without the packages that would have a server run on the machine all day, where there are such. */
  readonly packages: ReadonlyArray<string>
  /** Names a server elsewhere, or a program that is not on the path. */
  readonly variable?: string
  /** Whether packages are only unpacked, under {@link unpackedIn}: to install them would start a server, and bring what nobody needs. */
  readonly unpacked?: boolean
}

const unpackedIn = join(root, "node_modules/.cache/unpacked")

const needs: ReadonlyArray<Need> = [
  {
    name: "MariaDB",
    programs: [["mariadbd", "mysqld"], ["mariadb-install-db", "mysql_install_db"], ["my_print_defaults"]],
    packages: ["mariadb-server-core", "mariadb-client-core"],
    variable: "CENOTE_MARIADB_URL"
  },
  { name: "PgBouncer", programs: [["pgbouncer"]], packages: ["pgbouncer"] },
  {
    name: "Chromium",
    programs: [["chromium", "chromium-browser", "google-chrome"]],
    packages: ["chromium"],
    variable: "CENOTE_CHROMIUM"
  },
  { name: "promtool", programs: [["promtool"]], packages: ["prometheus"], unpacked: true }
]

/**
 * Installs what is missing of `names`, where that is allowed: on Debian, as root or with a sudo that does not ask. Gives a line for each
 * thing that is missing then, with what to do about it.
 */
export const ensureServers = async (
  machine: Machine = thisMachine(),
  names: ReadonlyArray<string> = needs.map((_) => _.name)
): Promise<ReadonlyArray<string>> => {
  const missing = needs.filter((need) => names.includes(need.name) && isMissing(need, machine))
  if (missing.length === 0) return []
  const toUnpack = missing.filter((_) => _.unpacked === true)
  const toInstall = missing.filter((_) => _.unpacked !== true)
  const obstacles = {
    unpacked:
      toUnpack.length === 0
        ? ""
        : await unpack(
            toUnpack.flatMap((_) => _.packages),
            machine
          ),
    installed:
      toInstall.length === 0
        ? ""
        : await install(
            toInstall.flatMap((_) => _.packages),
            machine
          )
  }
  return missing
    .filter((need) => isMissing(need, machine))
    .map(({ name, packages, unpacked, variable }) => {
      const elsewhere = variable === undefined ? "" : `, or name another in ${variable}`
      const obstacle = unpacked === true ? obstacles.unpacked : obstacles.installed
      return `${name} is missing: ${obstacle}. Install it (Debian and Ubuntu: apt-get install ${packages.join(" ")})${elsewhere}`
    })
}

const isMissing = ({ programs, variable }: Need, { env, has }: Machine): boolean =>
  (variable === undefined || (env[variable] ?? "") === "") && !programs.every((names) => names.some(has))

/** Why nothing may be fetched here, if so. */
const whyNot = ({ env, has, isDebian }: Machine): string | undefined => {
  if ((env["CENOTE_NO_INSTALL"] ?? "") !== "") return "CENOTE_NO_INSTALL forbids to install it"
  return isDebian && has("apt-get")
    ? undefined
    : "this is not a Debian, on which it would have been installed"
}

/** Says why not, if it is not there then. That takes no rights. */
const unpack = async (packages: ReadonlyArray<string>, machine: Machine): Promise<string> => {
  const obstacle = whyNot(machine)
  if (obstacle !== undefined) return obstacle
  machine.say(`test: unpacking ${packages.join(", ")} for this checkout (CENOTE_NO_INSTALL=1 prevents it)`)
  const script =
    'mkdir -p "$0" && cd "$0" && apt-get -qq download "$@" && for deb in ./*.deb; do dpkg-deb -x "$deb" . && rm "$deb"; done'
  const ran = await machine.run("env", [...quiet, "sh", "-c", script, unpackedIn, ...packages], 240_000)
  return ran.code === 0 ? "apt-get has brought something else" : `apt-get failed: ${lastLine(ran.output)}`
}

/** Says why not, if it is not installed then. */
const install = async (packages: ReadonlyArray<string>, machine: Machine): Promise<string> => {
  const { has, isRoot, run, say } = machine
  const obstacle = whyNot(machine)
  if (obstacle !== undefined) return obstacle
  const sudo = isRoot ? [] : ["sudo", "-n"]
  if (!isRoot && (!has("sudo") || (await run("sudo", ["-n", "true"], 10_000)).code !== 0)) {
    return "to install it takes root, or a sudo that does not ask for a password"
  }
  say(`test: installing ${packages.join(", ")} (CENOTE_NO_INSTALL=1 prevents it)`)
  const aptGet = (...args: ReadonlyArray<string>) => {
    const [command = "env", ...rest] = [...sudo, "env", ...quiet, "apt-get", ...args]
    return run(command, rest, 240_000)
  }
  const args = ["install", "-y", "--no-install-recommends", ...unattended, ...packages]
  let ran = await aptGet(...args)
  if (ran.code !== 0) {
    // The lists may be old, or not be there at all.
    const updated = await aptGet("update", ...unattended)
    ran = updated.code === 0 ? await aptGet(...args) : updated
  }
  return ran.code === 0 ? "apt-get has installed something else" : `apt-get failed: ${lastLine(ran.output)}`
}

const quiet = ["DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C"]
const unattended = ["-qq", "-o", "DPkg::Lock::Timeout=60", "-o", "Dpkg::Options::=--force-confold"]

const lastLine = (output: string): string => {
  const lines = output.split("\n").filter((line) => line.trim() !== "")
  return (lines.findLast((line) => line.startsWith("E: ")) ?? lines.at(-1) ?? "it said nothing").replace(
    /^E: /,
    ""
  )
}

export const thisMachine = (): Machine => ({
  env: process.env,
  has: (program) =>
    // Servers are where not every path goes.
    [
      ...(process.env["PATH"] ?? "").split(delimiter),
      "/usr/sbin",
      "/usr/local/sbin",
      "/usr/libexec",
      "/opt/homebrew/bin",
      join(unpackedIn, "usr/bin")
    ]
      .filter((folder) => folder !== "")
      .some((folder) => isProgram(join(folder, program))),
  isRoot: process.getuid?.() === 0,
  isDebian: /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(read("/etc/os-release")),
  run: (command, args, timeout) => run(command, args, { quiet: true, timeout }),
  say: (line) => console.log(line)
})

const isProgram = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8")
  } catch {
    return ""
  }
}
