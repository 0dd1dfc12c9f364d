// What is done to a connection that comes back, before the next borrower has it.
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Cleanup } from "../SqlConnection.ts"
import type { Member } from "./member.ts"

/** Makes a connection ready for the next borrower. `Effect.void` where there is nothing to do. */
export const cleanUp = (member: Member, usual: Cleanup): Effect.Effect<unknown, unknown> => {
  const { life, state } = member
  const cleanup = state.cleanup ?? usual
  state.cleanup = undefined
  if (life.ended !== undefined) return Effect.fail(life.ended)
  const { settling } = member.session
  const undo = undoing(member, cleanup)
  if (settling === undefined) return undo
  return Effect.flatMap(settling, (isFit) => (isFit ? undo : member.invalidate))
}

const undoing = (member: Member, cleanup: Cleanup): Effect.Effect<unknown, unknown> => {
  if (typeof cleanup === "function") return cleanup(member)
  if (cleanup === "none") return Effect.void
  const { mayBeOpen, nativeWasRead, opensByItself } = member.state
  member.state.nativeWasRead = false
  const rollback = mayBeOpen || nativeWasRead ? member.rollback : Effect.void
  // What the next borrower does without a transaction is to be there when it has done it.
  return cleanup === "reset" || opensByItself ? Effect.andThen(rollback, member.reset) : rollback
}

/** The same where others are waiting for the session: the pool closes it only when all have returned it. */
export const cleanUpAlone = (member: Member, usual: Cleanup, timeout: Duration.Input): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (member.life.ended !== undefined) return Effect.void
    const undo = cleanUp(member, usual)
    // Nothing to do takes no time either.
    return undo === Effect.void ? undo : Effect.timeout(undo, timeout)
  }).pipe(
    // A function of the user's may also throw.
    Effect.catchCause((cause) =>
      Effect.all([
        Effect.logWarning("a connection could not be cleaned up, and is closed", cause),
        member.invalidate,
        Effect.ignore(Effect.timeout(member.rollback, timeout))
      ])
    ),
    Effect.asVoid
  )
