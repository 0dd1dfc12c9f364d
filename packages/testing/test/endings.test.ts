// How programs and test runs with servers end, and what is left then: nothing.
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { TestServers } from "@cenote/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { vi } from "vitest"
import { findProgram } from "../src/internal/machine.ts"
import type { Report } from "./modules/report.ts"
import { eventually, isAlive, temporary } from "./serverKit.ts"

const { MariaDb, Postgres } = TestServers

// Each starts a program or a test run of its own, while others are running.
vi.setConfig({ testTimeout: 150_000 })

// -----------------------------------------------------------------------------
// Runs
// -----------------------------------------------------------------------------

const modules = join(import.meta.dirname, "modules")
const vitest = join(import.meta.dirname, "../../../node_modules/vitest/vitest.mjs")

/** The processes with this in their environment, which each hands on to those that it starts. */
const processesOf = (mark: string): ReadonlyArray<string> =>
  !existsSync("/proc")
    ? []
    : readdirSync("/proc").filter((pid) => {
        try {
          return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, "utf8").includes(mark)
        } catch {
          return false
        }
      })

interface Run {
  readonly child: ChildProcess
  readonly output: () => string
  /** What it and what it has started have written to the file of reports. */
  readonly written: () => string
  readonly reports: () => ReadonlyArray<Report>
  readonly ended: Effect.Effect<number | string>
  /** Whether there is a process or a file left of it. */
  readonly isGone: () => boolean
}

let runs = 0

/** Runs a program of `modules`, or a test run of them. */
const run = Effect.fnUntraced(function* (args: ReadonlyArray<string>, env: Record<string, string> = {}) {
  const folder = yield* temporary
  const mark = `CENOTE_TEST_RUN=${process.pid}-${++runs}-${Date.now()}.`
  const reportTo = join(folder, "reports")
  writeFileSync(reportTo, "")
  const written = () => readFileSync(reportTo, "utf8")
  const reports = () =>
    written()
      .split("\n")
      .filter((line) => line.endsWith("}"))
      .map((line): Report => JSON.parse(line))

  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const { CENOTE_MARIADB_URL: _, CENOTE_POSTGRES_URL: __, CI: ___, ...inherited } = process.env
      return spawn(process.execPath, args, {
        stdio: ["ignore", "pipe", "pipe"],
        env: {
          ...inherited,
          REPORT_TO: reportTo,
          CENOTE_TEST_RUN: mark.slice("CENOTE_TEST_RUN=".length),
          ...env
        }
      })
    }),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let output = ""
  let end: number | string | undefined
  child.stdout.on("data", (chunk) => (output += chunk))
  child.stderr.on("data", (chunk) => (output += chunk))
  child.once("close", (code, signal) => (end = signal ?? code ?? 0))
  return {
    child,
    written,
    reports,
    output: () => output,
    ended: Effect.callback<number | string>((resume) => {
      if (end !== undefined) resume(Effect.succeed(end))
      else child.once("close", () => resume(Effect.succeed(end ?? 0)))
    }).pipe(Effect.timeout("60 seconds"), Effect.orDie),
    isGone: () =>
      reports().every(({ folder, pid }) => !isAlive(pid) && !existsSync(join(folder, ".."))) &&
      processesOf(mark).length === 0
  } satisfies Run
})

const ready = ({ output }: Run, times = 1) =>
  eventually(
    Effect.sync(() => output().split("ready").length > times),
    "it is ready"
  ).pipe(Effect.mapError((error) => new Error(`${error.message}\n${output()}`)))

const gone = ({ isGone }: Run) => eventually(Effect.sync(isGone), "nothing is left")

// -----------------------------------------------------------------------------
// How they end
// -----------------------------------------------------------------------------

await TestServers.describeWith("servers are gone", [Postgres.available, MariaDb.available], () => {
  const program = join(modules, "program.ts")
  const nothing = "stays"

  for (const signal of ["SIGTERM", "SIGINT", "SIGKILL"] as const) {
    it.live(`when the program is ended by ${signal}`, () =>
      Effect.gen(function* () {
        const started = yield* run([program, nothing])
        yield* ready(started)
        assert.isFalse(started.isGone())
        assert.strictEqual(started.reports().length, 2)
        started.child.kill(signal)
        assert.strictEqual(yield* started.ended, signal)
        yield* gone(started)
      }).pipe(Effect.scoped)
    )
  }

  for (const [ending, code] of [
    ["throw", 1],
    ["exit", 3]
  ] as const) {
    it.live(`before the program has ended, when it ends by ${ending}`, () =>
      Effect.gen(function* () {
        const started = yield* run([program, ending])
        assert.strictEqual(yield* started.ended, code)
        assert.strictEqual(started.reports().length, 2)
        assert.isTrue(started.reports().every(({ folder, pid }) => !isAlive(pid) && !existsSync(folder)))
        yield* gone(started)
      }).pipe(Effect.scoped)
    )
  }

  it.live("when the program is killed while they start", () =>
    Effect.gen(function* () {
      const scratch = yield* temporary
      for (const after of [0, 50, 150, 300]) {
        const started = yield* run([program, nothing], { TMPDIR: scratch })
        yield* eventually(
          Effect.sync(() => readdirSync(scratch).length > 0),
          "a folder is made"
        )
        yield* Effect.sleep(after)
        started.child.kill("SIGKILL")
        yield* started.ended
        yield* gone(started)
        yield* eventually(
          Effect.sync(() => readdirSync(scratch).length === 0),
          "no folder is left"
        )
      }
    }).pipe(Effect.scoped)
  )
})

describe("a program", () => {
  it.live.skipIf(process.platform === "win32")("does not begin when nobody is left who could end it", () =>
    Effect.gen(function* () {
      const started = yield* run([join(modules, "unwatched.ts")])
      assert.strictEqual(yield* started.ended, "SIGKILL")
      yield* gone(started)
      assert.strictEqual(started.written(), "")
    }).pipe(Effect.scoped)
  )
})

await TestServers.describeWith(
  "a test run with a global set-up",
  [Postgres.available, MariaDb.available],
  () => {
    const test = [vitest, "run", "--config", join(modules, "run.config.ts")]

    it.live("starts each server once, gives each file a database of its own, and stops them", () =>
      Effect.gen(function* () {
        const started = yield* run(test, { FILES: "2" })
        assert.strictEqual(yield* started.ended, 0, started.output())
        const reports = started.reports()
        assert.strictEqual(reports.length, 4)
        assert.strictEqual(new Set(reports.map((_) => _.pid)).size, 2)
        assert.strictEqual(new Set(reports.map((_) => _.database)).size, 4)
        assert.isTrue(reports.every((_) => _.database.startsWith("cenote_")))
        assert.isTrue(reports.every(({ folder, pid }) => !isAlive(pid) && !existsSync(folder)))
        yield* gone(started)
      }).pipe(Effect.scoped)
    )

    it.live("starts each server once for all its projects", () =>
      Effect.gen(function* () {
        const started = yield* run([vitest, "run", "--config", join(modules, "projects.config.ts")])
        assert.strictEqual(yield* started.ended, 0, started.output())
        const reports = started.reports()
        assert.strictEqual(reports.length, 4)
        assert.strictEqual(new Set(reports.map((_) => _.pid)).size, 2)
        yield* gone(started)
      }).pipe(Effect.scoped)
    )

    it.live("has each file start its own without the set-up", () =>
      Effect.gen(function* () {
        const started = yield* run(test, { FILES: "2", GLOBAL_SETUP: "none" })
        assert.strictEqual(yield* started.ended, 0, started.output())
        assert.strictEqual(new Set(started.reports().map((_) => _.pid)).size, 4)
        yield* gone(started)
      }).pipe(Effect.scoped)
    )

    for (const ending of ["fail", "throw"]) {
      it.live(`leaves nothing when a test ends by ${ending}`, () =>
        Effect.gen(function* () {
          const started = yield* run(test, { ENDING: ending })
          assert.strictEqual(yield* started.ended, 1, started.output())
          assert.strictEqual(started.reports().length, 2, started.output())
          yield* gone(started)
        }).pipe(Effect.scoped)
      )
    }

    for (const [signal, setup] of [
      ["SIGTERM", "vitest"],
      ["SIGINT", "vitest"],
      ["SIGKILL", "vitest"],
      ["SIGKILL", "none"]
    ] as const) {
      it.live(`leaves nothing when it is ended by ${signal} (set-up: ${setup})`, () =>
        Effect.gen(function* () {
          const started = yield* run(test, { ENDING: "hang", GLOBAL_SETUP: setup })
          yield* ready(started)
          assert.isFalse(started.isGone())
          started.child.kill(signal)
          yield* started.ended
          yield* gone(started)
        }).pipe(Effect.scoped)
      )
    }
  }
)

// -----------------------------------------------------------------------------
// What is missing
// -----------------------------------------------------------------------------

describe("tests that need a server", () => {
  const test = [vitest, "run", "--reporter=verbose", "--config", join(modules, "missing.config.ts")]

  it.live("are skipped by name where there is none, with a line that says what is missing", () =>
    Effect.gen(function* () {
      const started = yield* run(test)
      assert.strictEqual(yield* started.ended, 0, started.output())
      assert.include(started.output(), "skipped: what needs a server: no Oracle: it is not installed. Buy it")
      assert.match(started.output(), /1 passed.*1 skipped/)
    }).pipe(Effect.scoped)
  )

  it.live("fail in CI", () =>
    Effect.gen(function* () {
      const started = yield* run(test, { CI: "true" })
      assert.strictEqual(yield* started.ended, 1)
      assert.include(started.output(), "no Oracle: it is not installed. Buy it")
    }).pipe(Effect.scoped)
  )

  it.live("fail everywhere when the server is there and does not start", () =>
    Effect.gen(function* () {
      const started = yield* run(test, { BROKEN: "1" })
      assert.strictEqual(yield* started.ended, 1)
      assert.include(started.output(), "Oracle did not start")
    }).pipe(Effect.scoped)
  )

  it.effect("are told of the programs of this machine", () =>
    Effect.gen(function* () {
      assert.isString(yield* findProgram("no-such-program", "sh"))
      assert.isUndefined(yield* findProgram("no-such-program"))
    })
  )
})
