// The part of `random.ts` for which threads need Effect.
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { answerOf, begin } from "./random.ts"

export class Refused extends Data.TaggedError("Refused")<{ readonly id: number }> {}

export const effect = (begun: Int32Array, id: number, millis: number) => {
  begin(begun, id)
  return Effect.as(Effect.sleep(millis), answerOf(id))
}

export const refuses = (begun: Int32Array, id: number) => {
  begin(begun, id)
  return Effect.fail(new Refused({ id }))
}

/** Waits for ever, and ends when it is interrupted. */
export const waits = (begun: Int32Array, id: number) => {
  begin(begun, id)
  return Effect.never
}

export const streams = (begun: Int32Array, id: number, count: number) => {
  begin(begun, id)
  return count === 0 ? Stream.empty : Stream.range(0, count - 1)
}
