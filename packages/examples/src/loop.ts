// What the main loop did meanwhile: a loop that is held up does not get to its timers.
import { Clock, Effect } from "effect"

/** A timer of the main loop. Times are in milliseconds. */
export interface Tick {
  readonly at: number
  readonly late: number
}

/** Runs a program, with timers beside it. */
export const ticking = Effect.fnUntraced(function* <A, E, R>(program: Effect.Effect<A, E, R>) {
  const { currentTimeMillis, monotonicTimeNanos } = yield* Clock.Clock
  const now = Effect.map(monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)
  const ticks: Array<Tick> = []
  let due = (yield* now) + period

  const tick = Effect.gen(function* () {
    const time = yield* now
    ticks.push({ at: yield* currentTimeMillis, late: Math.max(0, time - due) })
    due = time + period
  })
  const result = yield* Effect.raceFirst(program, Effect.forever(Effect.andThen(Effect.sleep(period), tick)))
  // The one that was due when the program ended, and could not come while the loop was held up.
  yield* tick
  return { result, ticks } as const
})

/** Pause between two ticks. */
const period = 5

/** A call to a thread: when it ended, and how long it ran. */
interface Call {
  readonly at: number
  readonly ran: number
}

/** Calls that ran this long leave time for many ticks, and on a very busy machine for some; on the main loop there could not be two. */
const longCall = 100
const fewTicks = 2

/** What does not hold, if the loop did not tick on while threads were at work. */
export const heldUp = (
  calls: ReadonlyArray<Call>,
  ticks: ReadonlyArray<Tick>
): { readonly [problem: string]: boolean } => {
  const long = calls.filter((call) => call.ran >= longCall)
  const ticked = long.reduce(
    (sum, call) => sum + ticks.filter(({ at }) => at > call.at - call.ran && at < call.at).length,
    0
  )
  return {
    [`the main loop ticked ${ticked} times during ${long.length} long calls: it was held up`]:
      ticked >= long.length * fewTicks
  }
}
