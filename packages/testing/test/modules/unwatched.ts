// Is killed at the moment in which a program of its own has been started, and the guard does not know of it yet.
import { Effect } from "effect"
import { launch } from "../../src/internal/processes.ts"

const guard = {
  watch: () => {
    process.kill(process.pid, "SIGKILL")
    return () => {}
  },
  remove: () => {}
}

const stays = launch({
  command: "/bin/sh",
  args: ["-c", 'echo "$$" >> "$REPORT_TO"; exec sleep 100'],
  user: undefined,
  guard,
  signals: ["SIGKILL"],
  lastSignal: "SIGKILL"
})

Effect.runFork(Effect.scoped(Effect.andThen(stays, Effect.never)))
