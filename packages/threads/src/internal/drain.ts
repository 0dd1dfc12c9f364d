import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { Pool } from "@cenote/pool"
import type { Core } from "./core.ts"

/** How one thread pool goes down to no threads, and comes back with the next call. */
export class Drain {
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  /** Lets everything that was submitted end, and then the threads. Calls that come meanwhile wait. */
  run(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { core } = this
      if (core.state !== "open") return Effect.void
      let drained = core.draining
      if (drained === undefined) {
        const own = Deferred.makeUnsafe<void>()
        drained = core.draining = own
        // Not in the caller's fiber: a drain that was begun must end, or nothing would run again.
        core.timers
          .fork(
            Effect.andThen(
              core.rest.reached("idle"),
              Effect.suspend(() => this.cool())
            )
          )
          .addObserver(() => {
            core.draining = undefined
            for (const call of core.held.takeAll()) core.place(call)
            Deferred.doneUnsafe(own, Exit.void)
          })
      }
      return Deferred.await(drained)
    })
  }

  /** Brings the threads back that a drain has ended. */
  warm(): void {
    const { core } = this
    core.cold = false
    core.timers.fork(Pool.resize(core.pool, { min: core.min, max: core.max }))
  }

  /** Ends all threads. */
  private cool(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      const { core } = this
      core.growth.callOff(0)
      yield* Pool.resize(core.pool, { min: 0, max: core.max })
      core.cold = true
      // Listening before anything goes, so that nothing goes unheard.
      const next = yield* Stream.toPull(Pool.events(core.pool))
      yield* Pool.recycle(core.pool)
      for (const thread of core.alive) {
        if (thread.quarantined) continue
        thread.state = "closing"
        core.giveBack(thread)
      }
      while ((yield* Pool.size(core.pool)) > 0) yield* next
      core.tally.tell("Drained", {})
    }).pipe(
      Effect.scoped,
      // The pool was closed meanwhile.
      Effect.ignore
    )
  }
}
