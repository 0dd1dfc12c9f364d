import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { CreateTimeout } from "../PoolError.ts"
import type { Settings } from "./options.ts"
import type { Slot } from "./slot.ts"
import type { Work } from "./work.ts"

/** Told of each attempt that failed, and whether another will follow. */
export type OnAttemptFailed = (cause: Cause.Cause<unknown>, willRetry: boolean) => void

/**
 * Creates the resource of `slot`, with the timeout of each attempt and the retries between them.
 *
 * On success `slot.scope` closes the resource. An attempt that failed, or that came too late, cleans up
 * after itself; while that lasts it is `slot.straggler`, and the slot must stay taken.
 */
export const createResource = <A, E>(
  slot: Slot<A>,
  settings: Settings<A, E>,
  work: Work,
  onFailed: OnAttemptFailed
): Effect.Effect<A, E | CreateTimeout, any> => {
  const attempt: Effect.Effect<A, E | CreateTimeout, any> =
    settings.createTimeout === Infinity ? acquire(slot, settings, work) : timed(slot, settings, work)
  return settings.createRetry === undefined
    ? Effect.onExitPrimitive(attempt, (exit) => {
        if (exit._tag === "Failure" && slot.phase === "creating") onFailed(exit.cause, false)
        return undefined
      })
    : retried(attempt, slot, settings, settings.createRetry, work, onFailed)
}

/** One attempt, in a scope of its own. `late` says whether nobody waits for it any more. */
const acquire = <A, E>(
  slot: Slot<A>,
  settings: Settings<A, E>,
  work: Work,
  late: () => boolean = () => false
): Effect.Effect<A, E, any> =>
  Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    return Effect.onExitPrimitive(Scope.provide(settings.acquire, scope), (exit) => {
      const unwanted = late() || slot.phase !== "creating"
      if (exit._tag === "Success" && !unwanted) {
        slot.scope = scope
        return undefined
      }
      if (scope.state._tag === "Empty") {
        // What the attempt has left running may yet add to it.
        Scope.closeUnsafe(scope, exit)
        return undefined
      }
      const cleanUp = Effect.ignoreCause(Scope.close(scope, exit), {
        log: "Warn",
        message: "a finalizer failed after an attempt to create a resource for a pool"
      })
      if (unwanted) return cleanUp
      // The borrower hears of the failure now, however long the cleaning up takes.
      slot.straggler = work.fork(cleanUp)
      return undefined
    })
  })

/** One attempt with a time limit. The borrower does not wait for an attempt that will not be interrupted. */
const timed = <A, E>(
  slot: Slot<A>,
  settings: Settings<A, E>,
  work: Work
): Effect.Effect<A, E | CreateTimeout> =>
  Effect.callback((resume) => {
    let late = false
    const fiber = work.fork(acquire(slot, settings, work, () => late))
    const giveUp = (): void => {
      late = true
      slot.straggler = fiber
      fiber.interruptUnsafe()
      // It had just succeeded, and nothing else closes what it made.
      const scope = slot.scope
      slot.scope = undefined
      if (scope !== undefined)
        slot.straggler = work.fork(Effect.ignoreCause(Scope.close(scope, Exit.void), { log: "Warn" }))
    }
    work.whenEnded(fiber, settings.createTimeout, (exit) => {
      if (exit !== undefined) return resume(exit)
      giveUp()
      const timeout = Duration.millis(settings.createTimeout)
      resume(Effect.fail(new CreateTimeout({ pool: settings.name, timeout })))
    })
    return Effect.sync(giveUp)
  })

const retried = Effect.fnUntraced(function* <A, E>(
  attempt: Effect.Effect<A, E | CreateTimeout, any>,
  slot: Slot<A>,
  settings: Settings<A, E>,
  schedule: Schedule.Schedule<unknown, any, never, any>,
  work: Work,
  onFailed: OnAttemptFailed
) {
  const step = yield* Schedule.toStep(schedule)
  while (true) {
    const exit = yield* Effect.exit(attempt)
    if (Exit.isSuccess(exit)) return exit.value
    const error = Cause.findErrorOption(exit.cause)
    // A defect is a mistake in the program: another attempt would hide it.
    const next = Option.isNone(error)
      ? Option.none()
      : yield* Effect.onError(Effect.option(step(work.clock.currentTimeMillisUnsafe(), error.value)), () =>
          // The schedule died, and the attempt has failed all the same.
          Effect.sync(() => {
            if (slot.phase === "creating") onFailed(exit.cause, false)
          })
        )
    onFailed(exit.cause, Option.isSome(next))
    if (Option.isNone(next)) return yield* exit
    yield* Effect.sleep(next.value[1])
    if (slot.straggler !== undefined) yield* awaitEnded(slot.straggler, settings, work)
    slot.straggler = undefined
  }
})

const awaitEnded = (
  fiber: Parameters<Work["whenEnded"]>[0],
  settings: Settings<any, any>,
  work: Work
): Effect.Effect<void> =>
  Effect.callback((resume) => work.whenEnded(fiber, settings.destroyTimeout, () => resume(Effect.void)))
