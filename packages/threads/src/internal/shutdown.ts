import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { ThreadPoolClosed } from "../ThreadError.ts"
import type { Core } from "./core.ts"
import { crashed } from "./outcome.ts"
import type { Kind } from "./rest.ts"
import type { Thread } from "./thread.ts"

/** How long tasks that nobody waits for may go on when the pool closes, in milliseconds. */
const lastMoment = 1_000

/** The end of one thread pool. */
export class Shutdown {
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  /**
   * Turns away what waits, and lets what somebody waits for end within `closeTimeout`. Tasks that nobody waits for have a
   * moment for their finalizers. Then everything is stopped.
   */
  run(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { core } = this
      core.state = "closing"
      core.refuseAll()
      core.growth.callOff(0)
      const { closeTimeout, killGrace } = core.settings
      return this.within("wanted", closeTimeout).pipe(
        Effect.andThen(Effect.sync(() => this.stopWanted())),
        Effect.andThen(this.within("idle", Math.min(closeTimeout, killGrace, lastMoment))),
        Effect.andThen(Effect.sync(() => this.stopAll()))
      )
    })
  }

  /** Waits for so much to end, or for so long. */
  private within(kind: Kind, millis: number): Effect.Effect<unknown> {
    // Threads take real time, whatever clock a test has: nobody would put it on while the scope closes.
    return Effect.provideService(
      Effect.timeoutOption(this.core.rest.reached(kind), Duration.millis(millis)),
      Clock,
      Context.get(Context.empty(), Clock)
    )
  }

  /** Those who still wait hear it now, so that their tasks have a moment for their finalizers too. */
  private stopWanted(): void {
    const { core } = this
    for (const thread of core.threads) {
      for (const call of thread.withIt) {
        if (call.state !== "sent" || call.unkillable) continue
        const error = thread.hasStarted(call)
          ? crashed(core.name, call, thread, true, "killed", undefined)
          : new ThreadPoolClosed({ pool: core.name, task: call.name })
        core.tally.ended(thread, call, "crashed", undefined)
        core.stopping.stop(thread, call)
        call.resume(Exit.fail(error))
      }
    }
  }

  private stopAll(): void {
    const { core } = this
    core.state = "closed"
    core.growth.callOff(0)
    core.refuseAll()
    for (const thread of core.threads) {
      this.stopForGood(thread)
      if (thread.quarantined) continue
      if (thread.state === "ready") thread.state = "closing"
      core.giveBack(thread)
    }
    // Nothing may keep the process up: not the timers of tasks that go on in quarantine either.
    for (const thread of core.alive) for (const call of thread.withIt) call.cancelTimer?.()
    core.moving.cancelWatch?.()
    core.growth.cancelPause?.()
    core.tally.close()
  }

  /** Stops a thread that has something to do; one that must not be stopped is left to itself. */
  private stopForGood(thread: Thread): void {
    const [oldest] = thread.withIt
    if (oldest === undefined) return
    this.core.stopping.stopThread(thread, thread.withIt.find(({ unkillable }) => unkillable) ?? oldest)
  }
}
