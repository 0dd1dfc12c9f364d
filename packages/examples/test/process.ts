// Start as it is used: a process.
import { createServer, type Server } from "node:net"
import { fileURLToPath } from "node:url"
import { Effect, FileSystem, Fiber, Path, Stream } from "effect"
import { ChildProcess } from "effect/process"

const program = fileURLToPath(new URL("../src/start.ts", import.meta.url))

/** Starts the program; when the scope closes it is told to stop, and stops its server. */
export const start = Effect.fnUntraced(function* (args: ReadonlyArray<string>) {
  const child = yield* ChildProcess.make(process.execPath, [program, ...args], {
    stdin: "ignore",
    env: { NO_COLOR: "1" },
    extendEnv: true
  })
  const stdout = Stream.splitLines(Stream.decodeText(child.stdout))
  const stderr = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(child.stderr)))
  return { child, stdout, stderr: Fiber.join(stderr) }
})

/** Runs it to its end. */
export const run = Effect.fnUntraced(function* (args: ReadonlyArray<string>) {
  const { child, stderr, stdout } = yield* start(args)
  const out = yield* Stream.runCollect(stdout)
  return { code: Number(yield* child.exitCode), out: out.join("\n"), err: yield* stderr }
}, Effect.scoped)

export const listen = Effect.acquireRelease(
  Effect.callback<Server>((resume) => {
    const server = createServer()
    server.listen({ host: "127.0.0.1", port: 0 }, () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
)

export const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** A folder that does not exist yet, in one that goes when the test ends. */
export const newFolder = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const parent = yield* fs.makeTempDirectoryScoped({ prefix: "cenote-test-" })
  // The server may run as another user, who has to get through.
  yield* fs.chmod(parent, 0o711)
  return path.join(parent, "data")
})
