// What the tests of servers have in common.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Schedule } from "effect"

/** How long that may take, in seconds: a whole test run with servers may be starting, and others beside it. */
const bound = 45

/** Waits for something that is about to happen. */
export const eventually = <E, R>(condition: Effect.Effect<boolean, E, R>, what: string) =>
  Effect.repeat(condition, {
    until: (holds) => holds,
    schedule: Schedule.spaced("20 millis"),
    times: (bound * 1000) / 20
  }).pipe(
    Effect.filterOrFail(
      (holds) => holds,
      () => new Error(`waited for ${bound} s in vain: ${what}`)
    )
  )

export const temporary = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = mkdtempSync(join(tmpdir(), "cenote-test-"))
    // The server may run as another user, who has to get through.
    chmodSync(folder, 0o711)
    return folder
  }),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

/** Whether there is such a process. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // What nobody has asked about yet is still listed.
    return !/^State:\s+Z/m.test(existsSync("/proc") ? readFileSync(`/proc/${pid}/status`, "utf8") : "")
  } catch {
    return false
  }
}
