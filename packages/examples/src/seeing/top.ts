// `cenote top`, as one runs it: a command.
import { fileURLToPath } from "node:url"
import { Effect, Fiber, Stream } from "effect"
import { ChildProcess } from "effect/process"

const program = fileURLToPath(import.meta.resolve("@cenote/dashboard/cenote"))

/** What it prints where there is no terminal, and its exit code. */
export const top = Effect.fnUntraced(function* (args: ReadonlyArray<string>) {
  const child = yield* ChildProcess.make(process.execPath, [program, "top", ...args], {
    stdin: "ignore",
    stderr: "inherit",
    env: { COLUMNS: "104", NO_COLOR: "1" },
    extendEnv: true
  })
  const text = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(child.stdout)))
  const code = Number(yield* child.exitCode)
  return { code, lines: (yield* Fiber.join(text)).trimEnd().split("\n") }
}, Effect.scoped)
