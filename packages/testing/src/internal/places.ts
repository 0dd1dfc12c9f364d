// Where a server listens, and where it keeps its files.
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import { randomBytes } from "node:crypto"
import { existsSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import type { Guard } from "./guard.ts"
import { atExit } from "./processes.ts"
import { fail, oneLine, type ServerError } from "./serverError.ts"

export const host = "127.0.0.1"

export const portTaken = (port: number): ServerError =>
  fail(
    "Port",
    `port ${port} of ${host} is taken. Choose another with \`port\`, or leave it out for a free one`
  )

/** Listens for a moment, to see that the port can be had. */
export const choosePort = (wanted: number | undefined): Effect.Effect<number, ServerError> =>
  Effect.callback((resume) => {
    const probe = createServer()
    probe.once("error", (error: NodeJS.ErrnoException) =>
      resume(
        error.code === "EADDRINUSE"
          ? portTaken(wanted ?? 0)
          : fail("Port", `port ${wanted ?? 0} of ${host} cannot be used: ${error.message}`)
      )
    )
    probe.listen({ host, port: wanted ?? 0, exclusive: true }, () => {
      const address = probe.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      probe.close(() => resume(Effect.succeed(port)))
    })
    return Effect.sync(() => probe.close())
  })

export interface Folder {
  /** Everything of ours is in here. */
  readonly root: string
  /** Whether `root` is ours too. */
  readonly isNew: boolean
  readonly data: string
  /** Where a copy of the programs goes, if one is needed. */
  readonly native: string
  /** What the server reads once, a password among it. Gone as soon as it has been read. */
  readonly secret: string
}

/** Makes the folder, or takes the empty one that was given; nothing that was there before is removed. */
export const claimFolder = Effect.fnUntraced(function* (
  kind: string,
  wanted: string | undefined,
  guard: Guard
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const remove = (target: string) => Effect.ignore(fs.remove(target, { recursive: true, force: true }))
  const cannot = (error: PlatformError) => {
    const why =
      error.reason._tag === "NotFound"
        ? "the folder that it is to be in does not exist"
        : error.reason._tag === "BadResource"
          ? "it is not a folder"
          : oneLine(error.message)
    return fail("Folder", `folder ${wanted ?? "for the server"} cannot be used: ${why}`)
  }
  const taken = fail(
    "Folder",
    `folder ${wanted} is not empty. Choose an empty or a new one with \`folder\`, or leave it out for a temporary one`
  )

  let root: string
  let isNew = true
  if (wanted === undefined) {
    root = path.join(tmpdir(), `cenote-${kind}-${randomBytes(8).toString("hex")}`)
    // Before it is there: a moment later it may be too late to tell anyone.
    guard.remove(root)
    const temporary = fs.makeDirectory(root, { mode: 0o700 })
    yield* Effect.acquireRelease(temporary, () => remove(root)).pipe(Effect.mapError(cannot))
  } else {
    root = path.resolve(wanted)
    isNew = yield* Effect.acquireRelease(
      fs.makeDirectory(root).pipe(
        Effect.as(true),
        Effect.catchReason("PlatformError", "AlreadyExists", () => Effect.succeed(false))
      ),
      (isNew) => (isNew ? remove(root) : Effect.void)
    ).pipe(Effect.mapError(cannot))
    if (!isNew && (yield* Effect.mapError(fs.readDirectory(root), cannot)).length > 0) return yield* taken
  }

  const data = path.join(root, "data")
  // Of two runs on one folder, only one can make this.
  yield* Effect.acquireRelease(fs.makeDirectory(data, { mode: 0o700 }), () => remove(data)).pipe(
    Effect.catchReason("PlatformError", "AlreadyExists", () => Effect.fail(taken)),
    Effect.catchTag("PlatformError", (error) => Effect.fail(cannot(error)))
  )
  const native = path.join(root, "native")
  const secret = path.join(root, "secret")
  const ours = isNew ? [root] : [data, native, secret]
  ours.forEach(guard.remove)
  yield* atExit(() => ours.forEach(removeNow))
  return { root, isNew, data, native, secret } satisfies Folder
})

/** Lets other users go through a folder that we have made, and see nothing in it. */
export const letIn = ({ isNew, root }: Folder): Effect.Effect<void, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => (isNew ? Effect.ignore(fs.chmod(root, 0o711)) : Effect.void))

/** For when the process is ending. The server has been told to stop, and may still write for a moment. */
const removeNow = (target: string): void => {
  const remove = Effect.try(() => rmSync(target, { recursive: true, force: true }))
  for (let attempts = 60; existsSync(target) && attempts > 0; attempts--) {
    Effect.runSync(Effect.ignore(remove))
    if (existsSync(target)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
  }
}
