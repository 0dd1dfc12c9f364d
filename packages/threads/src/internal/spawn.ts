import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { Spawner, type SpawnerFn, type WorkerPlatform } from "effect/workers/Worker"
import { SpawnFailed, type ThreadCrashed } from "../ThreadError.ts"
import type { Core } from "./core.ts"
import { decodeError } from "./decode.ts"
import { configOf } from "./options.ts"
import { FromThread, ToThread } from "./protocol.ts"
import { Thread } from "./thread.ts"

/** What the platform's workers have in common that it does not tell: a way to end one that does not obey. */
interface Raw {
  readonly terminate?: () => unknown
  readonly kill?: (signal: string) => unknown
  readonly unref?: () => unknown
}

/** Starts a thread, which ends with the scope. */
export const startThread = Effect.fnUntraced(function* (
  core: Core,
  id: number,
  platform: WorkerPlatform["Service"],
  spawner: SpawnerFn
): Effect.fn.Return<Thread, SpawnFailed, Scope.Scope> {
  const failed = (error: unknown): SpawnFailed =>
    new SpawnFailed({ pool: core.name, reason: reasonOf(error), cause: error })
  const thread = new Thread(id, core.settings.concurrency, core, core.timers.now())
  thread.timed = core.settings.taskTimeout !== Infinity
  let raw: Raw | undefined
  // Put first, to come last.
  yield* Effect.addFinalizer(() => Effect.sync(() => core.left(thread)))
  const worker = yield* platform.spawn<ReadonlyArray<unknown>, ReadonlyArray<unknown>>(id).pipe(
    Effect.provideService(Spawner, (id: number) => (raw = spawner(id) as Raw)),
    Effect.mapError((error) => failed(underlying(error)))
  )
  const ready = Deferred.makeUnsafe<void, SpawnFailed>()

  const receive = (message: ReadonlyArray<unknown>): Effect.Effect<void> => {
    // Whatever it is, it is not from the pool's side of the thread.
    if (!Array.isArray(message)) return Effect.void
    if (thread.state !== "starting") core.timers.still((now) => thread.receive(message, now))
    else if (message[0] === FromThread.ready) {
      // Not every platform can share memory.
      if (message[1] !== true) thread.memory = undefined
      Deferred.doneUnsafe(ready, Exit.void)
    } else if (message[0] === FromThread.failedToStart) {
      Deferred.doneUnsafe(ready, Exit.fail(failed(decodeError(message[1] as never))))
    }
    return Effect.void
  }

  const running = yield* Effect.acquireRelease(
    Effect.sync(() => core.timers.fork(worker.run(receive))),
    (fiber) => stop(core, thread, fiber, () => raw?.unref?.())
  )
  running.addObserver((exit) => {
    const error = Exit.isFailure(exit) ? underlying(Cause.squash(exit.cause)) : undefined
    const wasReady = thread.state !== "starting"
    // Whoever starts it may hear, and have done with it, before this returns.
    Deferred.doneUnsafe(ready, Exit.fail(failed(error)))
    if (!wasReady) return
    core.died(thread, crashReason(error), isExit(error) ? undefined : error)
    core.left(thread)
  })
  if (!canShareMemory(raw)) thread.memory = undefined
  core.timers.fork(worker.send([ToThread.configure, configOf(core.settings, thread)]))
  yield* Deferred.await(ready)
  // It may have ended since it said so.
  if (running.pollUnsafe() !== undefined) return yield* failed(undefined)

  thread.channel = {
    post: (message, transfer) => {
      const sent = Effect.runSyncExit(worker.send(message, transfer))
      if (Exit.isFailure(sent)) throw underlying(Cause.squash(sent.cause))
    },
    terminate: terminateOf(raw)
  }
  thread.state = "ready"
  core.alive.add(thread)
  return thread
})

/** Ends a thread. One with a call that must not be killed is left to itself, and ends after that. */
const stop = (
  core: Core,
  thread: Thread,
  running: Fiber.Fiber<unknown, unknown>,
  unref: () => void
): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (thread.quarantined && !thread.isIdle) {
      unref()
      thread.onRest = () => {
        thread.state = "closing"
        running.interruptUnsafe()
      }
      return Effect.void
    }
    if (!thread.isIdle) core.died(thread, "killed", undefined)
    if (thread.state === "ready") thread.state = "closing"
    return Fiber.interrupt(running)
  })

const terminateOf = (raw: Raw | undefined): (() => void) | undefined => {
  if (raw?.terminate !== undefined) return () => void raw.terminate!()
  if (raw?.kill !== undefined) return () => void raw.kill!("SIGKILL")
  return undefined
}

/** Child processes, which have `send` and no `postMessage`, share none. */
const canShareMemory = (raw: Raw | undefined): boolean =>
  raw === undefined || !("send" in raw) || "postMessage" in raw

/** What is behind the platform's own error. */
const underlying = (error: unknown): unknown => {
  const reason: unknown = (error as any)?.reason
  return (reason as any)?.cause ?? reason ?? error
}

const isExit = (error: unknown): boolean => /exited with code/.test(messageOf(error))

const messageOf = (error: unknown): string => String((error as any)?.message ?? error)

const crashReason = (error: unknown): ThreadCrashed["reason"] =>
  (error as any)?.code === "ERR_WORKER_OUT_OF_MEMORY" ? "outOfMemory" : isExit(error) ? "exit" : "error"

const reasonOf = (error: unknown): string =>
  error === undefined
    ? "it ended without saying why"
    : error instanceof Error
      ? `${error.name}: ${error.message}`
      : messageOf(error)
