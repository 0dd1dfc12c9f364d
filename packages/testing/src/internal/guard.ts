// Sees to it that nothing is left, however this process ends.
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { platform } from "node:process"

/**
 * A small process beside ours, which notices when ours is gone: a pipe closes then, also after SIGKILL and when a thread of
 * ours is ended. Then it ends the process groups and removes the files that it was told of.
 */
export interface Guard {
  /** Until the returned function is called, this group is to be ended, by this signal first. */
  readonly watch: (group: number, signal: NodeJS.Signals) => () => void
  /** This file or folder is to be removed. */
  readonly remove: (path: string) => void
}

/** Windows has no shell that could do it; there the "exit" event of the process has to be enough. */
const none: Guard = { watch: () => () => {}, remove: () => {} }

export const make: Effect.Effect<Guard, never, Scope.Scope> = Effect.suspend(() =>
  platform === "win32" ? Effect.succeed(none) : Effect.map(Effect.acquireRelease(start, dismiss), instruct)
)

const start = Effect.callback<ChildProcess | undefined>((resume) => {
  const child = spawn("/bin/sh", ["-c", script, "cenote-guard"], {
    cwd: "/",
    // Not to be reached by a Ctrl-C in the terminal.
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  // Without it there is still the "exit" event of the process.
  child.once("error", () => resume(Effect.succeed(undefined)))
  child.stdin?.on("error", () => {})
  child.once("spawn", () => resume(Effect.succeed(child)))
})

const dismiss = (child: ChildProcess | undefined): Effect.Effect<void> =>
  child === undefined || child.exitCode !== null || child.signalCode !== null
    ? Effect.void
    : Effect.callback((resume) => {
        child.once("close", () => resume(Effect.void))
        child.stdin?.end("dismiss\n")
      })

const instruct = (child: ChildProcess | undefined): Guard => {
  if (child === undefined) return none
  const groups = new Map<number, NodeJS.Signals>()
  const tell = (line: string) => void child.stdin?.write(`${line}\n`)
  const tellGroups = () =>
    tell(`groups ${Array.from(groups, ([group, signal]) => `${signal.slice(3)}:${group}`).join(" ")}`)
  return {
    watch: (group, signal) => {
      groups.set(group, signal)
      tellGroups()
      return () => {
        if (groups.delete(group)) tellGroups()
      }
    },
    remove: (path) => tell(`remove ${path}`)
  }
}

/** Each line tells it what there is to do at the end, which is when there are no more lines. */
const script = `
trap '' HUP INT TERM QUIT
groups=
while read -r what value; do
  case $what in
    groups) groups=$value ;;
    remove) set -- "$@" "$value" ;;
    dismiss) exit ;;
  esac
done
signal() {
  for each in $groups; do kill -s "$1" -- "-\${each#*:}"; done
}
isAlive() {
  for each in $groups; do kill -s 0 -- "-\${each#*:}" && return; done
  return 1
}
for each in $groups; do kill -s "\${each%:*}" -- "-\${each#*:}"; done
tries=100
while [ $tries -gt 0 ] && isAlive; do
  tries=$((tries - 1))
  sleep 0.05 || sleep 1
done
signal KILL
rm -rf -- "$@"
`
