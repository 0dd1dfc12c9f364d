// Functions that give Effects and Streams.
import * as ThreadPool from "@cenote/threads/ThreadPool"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { threadId } from "node:worker_threads"
import type * as Plain from "./plain.ts"

export class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string; readonly tried: number }> {
  override get message(): string {
    return `there is no ${this.id}`
  }
}

export class Denied extends Schema.TaggedError<Denied>()("Denied", {
  user: Schema.String,
  since: Schema.Date
}) {}

export const version: Effect.Effect<string> = Effect.succeed("1.2.3")
export const countdown: Stream.Stream<number> = Stream.make(3, 2, 1)

export const double = (n: number): Effect.Effect<number> => Effect.as(Effect.sleep(1), n * 2)

export const find = (id: string): Effect.Effect<string, NotFound> =>
  id === "here" ? Effect.succeed("found") : Effect.fail(new NotFound({ id, tried: 3 }))

export const enter = (user: string): Effect.Effect<never, Denied> =>
  Effect.fail(new Denied({ user, since: new Date(86_400_000) }))

export const either = (id: string, user: string): Effect.Effect<string, NotFound | Denied> =>
  Effect.andThen(find(id), enter(user))

export const failWith = (value: string): Effect.Effect<never, string> => Effect.fail(value)
export const failWithRecord = (): Effect.Effect<never, { readonly _tag: "Odd"; readonly n: number }> =>
  Effect.fail({ _tag: "Odd", n: 1 } as const)

export const die = (message: string): Effect.Effect<never> => Effect.die(new RangeError(message))
export const throwInside = (): Effect.Effect<number> =>
  Effect.sync(() => {
    throw new RangeError("thrown inside")
  })
export const throwBefore = (): Effect.Effect<number> => {
  throw new RangeError("thrown before there was an Effect")
}
export const interruptItself = (): Effect.Effect<never> => Effect.interrupt

export const promised = async (n: number): Promise<Effect.Effect<number, NotFound>> =>
  n < 0 ? Effect.fail(new NotFound({ id: String(n), tried: 1 })) : Effect.succeed(n)

export class Clockwork extends Context.Service<Clockwork, { readonly ticks: number }>()("test/Clockwork") {}
export const needsService = (): Effect.Effect<number, never, Clockwork> =>
  Effect.map(Clockwork, ({ ticks }) => ticks)

/** Sets cell 0 when it runs, cell 1 when it is interrupted, and cell 2 when its finalizer has ended. */
export const hang = (cells: Int32Array): Effect.Effect<never> =>
  Effect.sync(() => Atomics.store(cells, 0, 1)).pipe(
    Effect.andThen(Effect.never),
    Effect.onInterrupt(() => Effect.sync(() => Atomics.store(cells, 1, 1))),
    Effect.ensuring(
      Effect.andThen(
        Effect.sleep(5),
        Effect.sync(() => Atomics.store(cells, 2, 1))
      )
    )
  )

/** Is not to be interrupted before it has ended. */
export const finishAnyway = (cells: Int32Array): Effect.Effect<void> =>
  Effect.uninterruptible(
    Effect.sync(() => Atomics.store(cells, 0, 1)).pipe(
      Effect.andThen(Effect.sleep(20)),
      Effect.andThen(Effect.sync(() => Atomics.store(cells, 1, 1)))
    )
  )

/** A module of its own, to be called from within. */
const plain = ThreadPool.module<typeof Plain>(new URL("./plain.ts", import.meta.url))

/** Calls from within a thread: a function, a module, and a call that again makes a call. */
export const nested = (
  n: number
): Effect.Effect<
  { readonly sum: number; readonly threads: ReadonlyArray<number> },
  unknown,
  ThreadPool.ThreadPool
> =>
  Effect.gen(function* () {
    const first = yield* ThreadPool.execute((n: number) => n + 1, n)
    const second = yield* plain.add(first, 1)
    const { threadId: inside } = yield* plain.where()
    const inner = n > 0 ? yield* nested(0) : { sum: 0, threads: [] }
    return { sum: second + inner.sum, threads: [threadId, inside, ...inner.threads] }
  })

/** Calls the same in its own pool, many times at once. */
export const nestedMany = (count: number): Effect.Effect<number, unknown, ThreadPool.ThreadPool> =>
  Effect.map(
    Effect.forEach(
      Array.from({ length: count }, (_, i) => i),
      (i) => plain.later(i),
      {
        concurrency: "unbounded"
      }
    ),
    (all) => all.reduce((a, b) => a + b, 0)
  )

export const nestedFailure = (): Effect.Effect<never, unknown, ThreadPool.ThreadPool> =>
  Effect.andThen(
    ThreadPool.execute(() => {
      throw new RangeError("from the innermost")
    }),
    Effect.never
  )

// -----------------------------------------------------------------------------
// Streams
// -----------------------------------------------------------------------------

export const range = (from: number, to: number): Stream.Stream<number> => Stream.range(from, to)

/** Counts in a cell what it has made, one at a time. */
export const counted = (cells: Int32Array): Stream.Stream<number> =>
  Stream.ensuring(
    Stream.rechunk(
      Stream.tap(Stream.range(1, 1_000_000), () => Effect.sync(() => Atomics.add(cells, 0, 1))),
      1
    ),
    Effect.sync(() => Atomics.add(cells, 1, 1))
  )

export const endless = (): Stream.Stream<number> => Stream.fromEffectRepeat(Effect.as(Effect.yieldNow, 1))

export const failAfter = (count: number): Stream.Stream<number, NotFound> =>
  Stream.concat(Stream.range(1, count), Stream.fail(new NotFound({ id: "the rest", tried: count })))

export const dieAfter = (count: number): Stream.Stream<number> =>
  Stream.concat(Stream.range(1, count), Stream.die(new RangeError("no more")))

/** Gives one item, says that it waits, and waits; cell 1 says that it was interrupted, and cell 2 that it was finalised. */
export const stall = (cells: Int32Array): Stream.Stream<string> =>
  Stream.concat(
    Stream.make("first"),
    Stream.fromEffect(
      Effect.sync(() => Atomics.store(cells, 0, 1)).pipe(
        Effect.andThen(Effect.never),
        Effect.onInterrupt(() => Effect.sync(() => Atomics.store(cells, 1, 1)))
      )
    )
  ).pipe(Stream.ensuring(Effect.sync(() => Atomics.store(cells, 2, 1))))

export const effectOfStream = (n: number): Effect.Effect<Stream.Stream<number>> =>
  Effect.succeed(Stream.range(1, n))
