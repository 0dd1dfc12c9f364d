// Thread Pool Size: how many threads there are changes while they work, down to none at all.
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { Console, Effect, Fiber, Schedule } from "effect"

export const threads = NodeThreads.layer({ name: "size", size: 2 })

const tasks = ThreadPool.module<typeof import("./tasks.ts")>(new URL("./tasks.ts", import.meta.url))

const million = 1_000_000

const job = Effect.fnUntraced(function* (n: number) {
  const primes = yield* tasks.countPrimes(n * million, (n + 1) * million)
  return [`Million ${n + 1}`, primes] as const
})

const show = Effect.fnUntraced(function* (when: string) {
  const { max, pending, running, succeeded, threads } = yield* ThreadPool.stats
  const each = threads.map(({ state, thread }) => `thread ${thread} ${state}`)
  yield* Console.log(
    `${when}: max ${max}, ${each.join(", ") || "no thread"}; ${running} running, ${pending} waiting, ${succeeded} done`
  )
})

const waitFor = (done: (stats: ThreadPool.Stats) => boolean) =>
  Effect.repeat(ThreadPool.stats, { until: done, schedule: Schedule.spaced("5 millis"), times: 2000 })

/** Gives what each job came to. */
export const threadPoolSize = Effect.gen(function* () {
  const jobs = yield* Effect.forkChild(
    Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], job, { concurrency: "unbounded" })
  )
  yield* waitFor((_) => _.succeeded >= 1)
  yield* show("Two threads")

  // The thread that is to go ends what it has begun.
  yield* ThreadPool.resize(1)
  yield* show("Resized to 1")
  yield* waitFor((_) => _.size === 1)
  yield* show("A moment later")

  // The line moves on with the one thread that there is while the others start.
  yield* ThreadPool.resize(3)
  yield* waitFor((_) => _.threads.length === 3)
  yield* show("Resized to 3")

  // Everything that was submitted ends, and then the threads. The main loop is not held up.
  yield* ThreadPool.drain
  yield* show("Drained")
  const results = yield* Fiber.join(jobs)

  const again = yield* job(0)
  yield* show("After one more call")
  return [...results, ["Once more", again[1]] as const]
})
