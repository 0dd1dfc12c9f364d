// What a program did to its threads, and what that did to the main loop: the program itself knows nothing of it.
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import type { Worker } from "node:worker_threads"
import { type ThreadEvent, ThreadPool } from "@cenote/threads"
import { Console, Effect, Fiber, type Layer, Stream } from "effect"
import { ticking } from "../loop.ts"
import { comeToRest, observe } from "../observe.ts"

/** A call, as it was told when it ended. Durations are in milliseconds. */
export interface Call {
  readonly task: string
  readonly outcome: ThreadEvent.Outcome
  readonly waited: number
  readonly ran: number
  /** When it ended, in milliseconds since the epoch. */
  readonly at: number
}

/** What is worth a line of its own. */
const tell = (event: ThreadEvent.ThreadEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "ThreadCrashed":
      return Console.log(`  ! ${event.pool} thread ${event.thread} crashed (${event.reason})`)
    case "ThreadKilled":
      return Console.log(`  ! ${event.pool} thread ${event.thread} was stopped`)
    default:
      return Effect.void
  }
}

type Told = Stream.Success<typeof ThreadPool.events>

const isOfCalls = (event: Told): event is ThreadEvent.ThreadEvent =>
  ["CallEnded", "ThreadCrashed", "ThreadKilled"].includes(event._tag)

/** Runs a program on a pool of threads, from its first thread to its last. */
export const observeThreads = Effect.fnUntraced(function* <A, E, E2, R, R2>(
  program: Effect.Effect<A, E, R>,
  threads: Layer.Layer<ThreadPool.ThreadPool, E2, R2>
) {
  const scope = yield* Effect.scope
  const workers = yield* startedWorkers

  const inside = Effect.gen(function* () {
    const calls: Array<Call> = []
    const listener = yield* Stream.filter(ThreadPool.events, isOfCalls).pipe(
      Stream.tap(tell),
      Stream.runForEach((event) =>
        Effect.sync(() => {
          if (event._tag === "CallEnded") calls.push(event)
        })
      ),
      // It ends with the pool, which is later than the program.
      Effect.forkIn(scope, { startImmediately: true })
    )
    const { result, ticks } = yield* ticking(program)
    const atRest = yield* comeToRest(ThreadPool.stats)
    return { result, ticks, atRest, calls: Effect.as(Fiber.join(listener), calls) }
  })

  const observed = yield* observe(Effect.provide(inside, threads))
  const { atRest, result, ticks } = observed.result
  const calls = yield* observed.result.calls
  const left = workers.filter((worker) => worker.threadId !== -1).length
  return { result, pools: observed.pools, atRest, calls, ticks, workers: workers.length, left }
})

/** The threads that this process starts from now on, as Node tells them. */
export const startedWorkers = Effect.acquireRelease(
  Effect.sync(() => {
    const workers: Array<Worker> = []
    const listener = (message: unknown) => {
      workers.push((message as { readonly worker: Worker }).worker)
    }
    subscribe("worker_threads", listener)
    return { workers, listener }
  }),
  ({ listener }) => Effect.sync(() => unsubscribe("worker_threads", listener))
).pipe(Effect.map((_) => _.workers))
