import { describe, expect, it } from "vitest"
import { ensureServers, type Machine } from "../servers.ts"

const mariadb = ["mariadbd", "mariadb-install-db", "my_print_defaults"]
/** All that is not MariaDB's. */
const others = ["pgbouncer", "chromium", "promtool"]

/** A machine that is not there: what is on it, and how the programs that it runs end. */
const machine = (
  options: {
    readonly programs?: ReadonlyArray<string>
    readonly env?: Record<string, string>
    readonly isRoot?: boolean
    readonly isDebian?: boolean
    readonly ends?: (command: string, attempt: number) => { readonly code: number; readonly output?: string }
    readonly installs?: ReadonlyArray<string>
  } = {}
) => {
  const programs = new Set(["apt-get", ...(options.programs ?? [])])
  const ran: Array<string> = []
  const said: Array<string> = []
  const self: Machine = {
    env: options.env ?? {},
    has: (program) => programs.has(program),
    isRoot: options.isRoot ?? true,
    isDebian: options.isDebian ?? true,
    run: async (command, args, timeout) => {
      expect(timeout).toBeLessThanOrEqual(300_000)
      const line = [command, ...args].join(" ")
      ran.push(line)
      const { code, output = "" } = options.ends?.(line, ran.length) ?? { code: 0 }
      if (code === 0 && /install|download/.test(line)) {
        for (const program of options.installs ?? [...mariadb, ...others]) programs.add(program)
      }
      return { code, output }
    },
    say: (line) => said.push(line)
  }
  return { self, ran, said }
}

describe("the servers that the tests need", () => {
  it("are left as they are where they are there", async () => {
    const { ran, said, self } = machine({ programs: [...mariadb, ...others] })
    expect(await ensureServers(self)).toEqual([])
    expect([ran, said]).toEqual([[], []])
  })

  it("are installed by root, without a question", async () => {
    const { ran, said, self } = machine({ programs: ["promtool"] })
    expect(await ensureServers(self)).toEqual([])
    expect(ran).toEqual([
      expect.stringMatching(
        /^env DEBIAN_FRONTEND=noninteractive .*apt-get install -y --no-install-recommends .* mariadb-server-core mariadb-client-core pgbouncer chromium$/
      )
    ])
    expect(said).toEqual([
      "test: installing mariadb-server-core, mariadb-client-core, pgbouncer, chromium (CENOTE_NO_INSTALL=1 prevents it)"
    ])
  })

  it("are installed one by one", async () => {
    const { ran, self } = machine({ programs: [...mariadb, "promtool"] })
    expect(await ensureServers(self)).toEqual([])
    expect(ran).toEqual([expect.stringMatching(/force-confold pgbouncer chromium$/)])
  })

  it("are installed with a sudo that does not ask, and with no other", async () => {
    const kind = machine({ isRoot: false, programs: ["sudo", "promtool"] })
    expect(await ensureServers(kind.self)).toEqual([])
    expect(kind.ran).toEqual(["sudo -n true", expect.stringMatching(/^sudo -n env .*apt-get install/)])

    for (const options of [
      { programs: ["sudo", "promtool"], ends: () => ({ code: 1 }) },
      { programs: ["promtool"] }
    ]) {
      const strict = machine({ isRoot: false, ...options })
      expect(await ensureServers(strict.self)).toEqual([
        "MariaDB is missing: to install it takes root, or a sudo that does not ask for a password. Install it (Debian and Ubuntu: apt-get install mariadb-server-core mariadb-client-core), or name another in CENOTE_MARIADB_URL",
        "PgBouncer is missing: to install it takes root, or a sudo that does not ask for a password. Install it (Debian and Ubuntu: apt-get install pgbouncer)",
        "Chromium is missing: to install it takes root, or a sudo that does not ask for a password. Install it (Debian and Ubuntu: apt-get install chromium), or name another in CENOTE_CHROMIUM"
      ])
      expect(strict.said).toEqual([])
    }
  })

  it("are not installed where that is forbidden, or where it is no Debian", async () => {
    for (const [options, why] of [
      [{ env: { CENOTE_NO_INSTALL: "1" } }, /CENOTE_NO_INSTALL forbids/],
      [{ isDebian: false }, /this is not a Debian/]
    ] as const) {
      const { ran, self } = machine(options)
      expect(await ensureServers(self)).toEqual([
        expect.stringMatching(why),
        expect.stringMatching(why),
        expect.stringMatching(why),
        expect.stringMatching(why)
      ])
      expect(ran).toEqual([])
    }
  })

  it("are not needed where the environment names one", async () => {
    const { ran, self } = machine({
      env: { CENOTE_MARIADB_URL: "mariadb://there", CENOTE_CHROMIUM: "/opt/chrome" },
      programs: ["pgbouncer", "promtool"]
    })
    expect(await ensureServers(self)).toEqual([])
    expect(ran).toEqual([])
  })

  it("are looked for in new lists when the old ones do not know them", async () => {
    const { ran, self } = machine({
      programs: ["promtool"],
      ends: (_, attempt) => ({ code: attempt === 1 ? 100 : 0 })
    })
    expect(await ensureServers(self)).toEqual([])
    expect(ran.map((line) => / (install|update) /.exec(line)?.[1])).toEqual(["install", "update", "install"])
  })

  it("are given up after that, with a line that says why", async () => {
    const output = "Reading\nE: Unable to locate package mariadb-server-core\n"
    const { ran, self } = machine({ programs: others, ends: () => ({ code: 100, output }) })
    expect(await ensureServers(self)).toEqual([
      "MariaDB is missing: apt-get failed: Unable to locate package mariadb-server-core. Install it (Debian and Ubuntu: apt-get install mariadb-server-core mariadb-client-core), or name another in CENOTE_MARIADB_URL"
    ])
    expect(ran).toHaveLength(2)
  })

  it("are only unpacked, which takes no rights, where to install them would start one", async () => {
    const { ran, said, self } = machine({ isRoot: false, programs: [...mariadb, "pgbouncer", "chromium"] })
    expect(await ensureServers(self)).toEqual([])
    expect(ran).toEqual([
      expect.stringMatching(
        / apt-get -qq download "\$@" .*dpkg-deb -x .*node_modules\/\.cache\/unpacked prometheus$/
      )
    ])
    expect(said).toEqual(["test: unpacking prometheus for this checkout (CENOTE_NO_INSTALL=1 prevents it)"])

    const failing = machine({
      programs: [...mariadb, "pgbouncer", "chromium"],
      ends: () => ({ code: 100, output: "E: no network" })
    })
    expect(await ensureServers(failing.self)).toEqual([
      "promtool is missing: apt-get failed: no network. Install it (Debian and Ubuntu: apt-get install prometheus)"
    ])
  })

  it("are only those that are asked for", async () => {
    const { ran, self } = machine()
    expect(await ensureServers(self, ["Chromium"])).toEqual([])
    expect(ran).toEqual([expect.stringMatching(/force-confold chromium$/)])
  })

  it("may still be missing when all went well", async () => {
    const { self } = machine({ programs: ["promtool"], installs: mariadb })
    expect(await ensureServers(self)).toEqual([
      expect.stringMatching(/^PgBouncer is missing: apt-get has installed something else/),
      expect.stringMatching(/^Chromium is missing: apt-get has installed something else/)
    ])
  })
})
