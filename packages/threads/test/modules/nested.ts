// Tasks that make calls themselves.
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { ThreadPool } from "@cenote/threads"
import * as Task from "@cenote/threads/Task"
import { isMainThread } from "node:worker_threads"

const faulty = ThreadPool.module<typeof import("./faulty.ts")>(new URL("./faulty.ts", import.meta.url))
const self = ThreadPool.module<{ readonly depth: (n: number) => Effect.Effect<number> }>(import.meta.url)

/** The thread that it runs in, and what a call within it gave. */
export const executeWithin = (n: number) => {
  const { thread } = Task.current()
  return Effect.map(
    ThreadPool.execute((n: number) => n * 2, n),
    (doubled) => [thread, doubled] as const
  )
}

export const depth = (n: number): Effect.Effect<number, unknown, ThreadPool.ThreadPool> =>
  n === 0 ? Effect.succeed(0) : Effect.map(self.depth(n - 1), (depth) => depth + 1)

export const everything = () =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* faulty.thread()
      const thing = yield* ThreadPool.proxy(faulty, "Thing")
      yield* thing.thread()
      const stream = yield* Stream.runCollect(Stream.take(faulty.count(), 3))
      return { module: !isMainThread, proxy: !isMainThread, stream }
    })
  )

export const failsWithin = () =>
  ThreadPool.execute((): number => {
    throw new RangeError("within")
  }).pipe(
    Effect.match({
      onSuccess: String,
      onFailure: (error) =>
        error._tag === "TaskFailed" ? `${error._tag}: ${error.className}: ${error.reason}` : error._tag
    })
  )

export const waitsWithin = (cells: Int32Array) => faulty.untilInterrupted(cells, 0)
