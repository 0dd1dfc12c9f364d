import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { StaleRemote } from "../ThreadError.ts"
import { Call, createsObject, type Handle, SourceHandle } from "./call.ts"
import type { Core } from "./core.ts"
import { handleOf } from "./handle.ts"
import { misused, stale } from "./outcome.ts"
import { ToThread, type WireRemote } from "./protocol.ts"
import { Remotes, withNumbers } from "./remotes.ts"
import type { Sendable, Thread } from "./thread.ts"

/** How long letting go of an object waits for its disposal where tasks are never stopped, in milliseconds. */
const longestDisposal = 30_000

/** The objects that stay in the threads of one pool, from the reply that brings one until it is let go of. */
export class Objects {
  private readonly remotes: Remotes

  private readonly core: Core

  constructor(core: Core) {
    this.core = core
    this.remotes = new Remotes(core)
  }

  /** The remote for an object that a call gave. */
  received(thread: Thread, call: Call, wire: WireRemote): object {
    const remote = this.remotes.received(thread, wire)
    const handle = handleOf(remote)!
    call.kept = handle
    if (createsObject(call)) handle.owners++
    return remote
  }

  /** What a call comes to that gave something to pull from. */
  opened(thread: Thread, call: Call, wire: WireRemote): Exit.Exit<unknown, unknown> {
    const handle: Handle = { thread, object: wire.object, received: 1, owners: 1, released: false }
    thread.objects++
    if (call.wantsStream) {
      call.kept = handle
      return Exit.succeed(new SourceHandle(handle))
    }
    this.letGo(handle)
    return Exit.fail(
      misused(
        this.core.name,
        thread.id,
        call.name,
        "it gave a generator or a Stream",
        "Use what the call gives as a Stream"
      )
    )
  }

  /** The arguments with numbers in place of remotes, if its thread is where their objects are. */
  sendable(call: Call, thread: Thread): Sendable {
    const { core } = this
    return withNumbers(call.args, (remote) => {
      const handle = handleOf(remote)
      if (handle === undefined) return undefined
      const reason = whyStale(core, handle)
      if (reason !== undefined) return { error: stale(core.name, call, handle.thread, reason) }
      if (handle.thread === thread) return handle.object
      return call.pinned === undefined
        ? { moveTo: handle }
        : { error: stale(core.name, call, handle.thread, "elsewhere") }
    })
  }

  /** The caller gave up before it had what its call brought: it goes, unless others have got it too. */
  notTaken(call: Call, handle: Handle): void {
    if (createsObject(call)) handle.owners--
    if (handle.received === 1) this.letGo(handle)
  }

  /** Lets go of an object in a thread. */
  letGo(handle: Handle): void {
    if (handle.released) return
    handle.released = true
    const { thread } = handle
    if (thread.state !== "ready") return
    thread.objects--
    this.release(thread, handle.object, handle.received)
  }

  /** Tells a thread that an object is let go of that it has sent so often. */
  release(thread: Thread, object: number, received: number): void {
    thread.tell(ToThread.release, object, received)
    thread.flush()
    this.core.schedule()
  }

  /** Disposes of an object in its thread, and waits for it, though not longer than a task may take to stop. */
  dispose(handle: Handle): Effect.Effect<void> {
    const { core } = this
    return Effect.withFiber((fiber) => {
      const log = Effect.runForkWith(fiber.context)
      return Effect.callback((resume) => {
        if (--handle.owners > 0) return resume(Effect.void)
        // A thread that ends disposes of what is left in it.
        if (handle.released || !handle.thread.servesObjects || core.state !== "open") {
          handle.released = true
          return resume(Effect.void)
        }
        const done = (): void => {
          core.guarded(() => handle.spans?.end())
          cancelTimer()
          if (handle.thread.state === "ready") handle.thread.objects--
          core.schedule()
          resume(Effect.void)
        }
        const call = new Call(
          fiber,
          (exit) => {
            done()
            if (Exit.isExit(exit) && Exit.isFailure(exit)) {
              log(Effect.logWarning("an object in a thread could not be disposed of", exit.cause))
            }
          },
          { op: "dispose", object: handle.object, name: "" },
          "[dispose]",
          [],
          {
            pinned: handle,
            wantsStream: false,
            unkillable: false,
            patient: false,
            transfers: [],
            inline: false
          },
          core.timers.now()
        )
        const limit = Math.min(core.settings.killGrace, longestDisposal)
        const cancelTimer = core.timers.after(limit, () => {
          // It goes on by itself: other objects live in the same thread.
          this.giveUp(call)
          log(
            Effect.logWarning(
              `an object in thread ${handle.thread.id} was not disposed of within ${limit} ms`
            )
          )
          done()
        })
        core.submit(call)
        handle.released = true
        this.remotes.forget(handle)
      })
    })
  }

  /** Waits no longer for a disposal, and stops nothing. */
  private giveUp(call: Call): void {
    const { core } = this
    if (call.state !== "sent" || call.thread === undefined) return core.stopping.interrupted(call)
    call.cancelTimer?.()
    core.tally.ended(call.thread, call, "interrupted", undefined)
    call.state = "abandoned"
    call.thread.abort(call)
  }
}

/** Why a call cannot go to an object, if it cannot. */
export const whyStale = (core: Core, { released, thread }: Handle): StaleRemote["reason"] | undefined => {
  if (released) return "released"
  if (!thread.isOf(core)) return "elsewhere"
  return thread.servesObjects ? undefined : "threadEnded"
}
