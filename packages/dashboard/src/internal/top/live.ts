// The picture that is drawn over and over, and what news and keys do to it.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Terminal from "effect/Terminal"
import type { Address } from "./address.ts"
import { watch } from "./connection.ts"
import type { CannotWatch } from "./errors.ts"
import { frame, type Model, pressed, quits } from "./screen.ts"
import { show, wholeScreen } from "./terminal.ts"

/** Pauses before the server is asked again, in milliseconds: each twice as long as the one before. */
const firstPause = 250
const longestPause = 10_000

/** Has the screen until somebody quits. */
export const live = Effect.fnUntraced(
  function* (
    address: Address,
    first: Model,
    options: { readonly color: boolean; readonly hasKeys: boolean }
  ) {
    const terminal = yield* Terminal.Terminal
    const model = yield* SubscriptionRef.make(first)
    const update = (f: (model: Model) => Model) => SubscriptionRef.update(model, f)

    const drawing = Effect.gen(function* () {
      // Whatever has changed in the meantime, it is the last that is drawn.
      const redraw = yield* Queue.sliding<void>(1)
      const asks = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
        Stream.runForEach(stream, () => Queue.offer(redraw, undefined))
      yield* Effect.forkChild(asks(SubscriptionRef.changes(model)))
      yield* Effect.forkChild(asks(Stream.fromQueue(yield* terminal.size)))
      return yield* Effect.forever(
        Effect.gen(function* () {
          yield* Queue.take(redraw)
          // A terminal that does not know its size says 0.
          const size = { columns: (yield* terminal.columns) || 80, rows: (yield* terminal.rows) || 24 }
          const { color } = options
          yield* show(frame(SubscriptionRef.getUnsafe(model), size, { columns: size.columns, color }))
        })
      )
    })

    /** Watches with one pool in focus, and goes on when the server comes back. */
    const following = (focus: string | undefined) =>
      Effect.gen(function* () {
        let attempts = 0
        while (true) {
          const end = yield* watch(address, focus).pipe(
            Stream.runForEach((known) => {
              attempts = 0
              return update((_) => ({ ..._, known, lost: undefined }))
            }),
            Effect.result
          )
          if (end._tag === "Failure" && end.failure.final === true) return yield* end.failure
          const why = end._tag === "Failure" ? end.failure.reason : "the program has closed its dashboard"
          attempts++
          const now = yield* Clock.currentTimeMillis
          yield* update((_) => ({ ..._, lost: { since: _.lost?.since ?? now, why, attempts } }))
          yield* Effect.sleep(Math.min(longestPause, firstPause * 2 ** (attempts - 1)))
        }
      })

    const news = SubscriptionRef.changes(model).pipe(
      Stream.map(({ opened }) => opened),
      Stream.changes,
      Stream.switchMap((focus) => Stream.fromEffect(following(focus))),
      Stream.runDrain
    )

    const keys = options.hasKeys
      ? Stream.fromQueue(yield* terminal.readInput).pipe(
          Stream.takeWhile(({ key }) => !quits(key)),
          Stream.runForEach(({ key }) => update((_) => pressed(_, key)))
        )
      : Effect.never

    yield* wholeScreen
    return yield* Effect.raceAllFirst([keys, news, drawing])
  },
  // A terminal that is gone needs no more drawing.
  Effect.catchTag("PlatformError", () => Effect.void),
  Effect.scoped
) satisfies (...args: ReadonlyArray<never>) => Effect.Effect<unknown, CannotWatch, unknown>
