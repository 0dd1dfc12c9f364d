// How fast troubles come and go.
import { Context, Effect } from "effect"

/** How many times as fast as people can follow. */
export const Speed = Context.Reference<number>("examples/Speed", { defaultValue: () => 1 })

/** So many seconds, at speed 1; in milliseconds. */
export const lasting = (seconds: number): Effect.Effect<number> =>
  Effect.map(Speed, (speed) => (seconds * 1000) / speed)

export const pause = (seconds: number): Effect.Effect<void> => Effect.flatMap(lasting(seconds), Effect.sleep)
