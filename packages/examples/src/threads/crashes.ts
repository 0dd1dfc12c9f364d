// Crashes and Runaways: a task that ends its thread, or does not end at all, is a failure of that one call.
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { Console, Duration, Effect, Option, Schedule } from "effect"

/** A task that nobody waits for any more is left alone for that long, and then its thread is stopped. */
const killGrace = "500 millis"

export const threads = NodeThreads.layer({ name: "crashes", size: 2, killGrace })

const tasks = ThreadPool.module<typeof import("./tasks.ts")>(new URL("./tasks.ts", import.meta.url))

const count = Effect.fnUntraced(function* (name: string) {
  return [name, yield* tasks.countPrimes(0, 1_000_000)] as const
})

/** When all threads are up and have nothing to do: their numbers. */
const atRest = Effect.repeat(ThreadPool.stats, {
  until: ({ idle, min }) => idle === min,
  schedule: Schedule.spaced("5 millis"),
  times: 2000
}).pipe(Effect.map(({ threads }) => threads.map((_) => _.thread).join(" and ")))

const crash = Effect.gen(function* () {
  const left = tasks.leave(7).pipe(
    Effect.as("left"),
    Effect.catchTag("ThreadCrashed", (error) => Effect.as(Console.log(error.message), error._tag))
  )
  const [end, ...others] = yield* Effect.all([left, ...["Count 1", "Count 2", "Count 3"].map(count)], {
    concurrency: "unbounded"
  })
  yield* Console.log(`The ${others.length} other calls succeeded, and now there are threads ${yield* atRest}`)
  return [["Crash", end] as const, ...others]
})

/** A loop that never ends, while others want a thread too. */
const runaway = Effect.fnUntraced(function* (name: string, loop: typeof endless) {
  const before = yield* ThreadPool.stats
  const [ended, other] = yield* Effect.all(
    [Effect.timed(Effect.timeoutOption(loop, "100 millis")), count(`Beside ${name}`)],
    { concurrency: "unbounded" }
  )
  const [took, result] = ended
  yield* Console.log(`${name}: the caller went on after ${Math.round(Duration.toMillis(took))} ms`)
  const numbers = yield* atRest
  const stopped = (yield* ThreadPool.stats).killed - before.killed
  yield* Console.log(
    `${name}: ${stopped === 0 ? "it saw that nobody waits" : "its thread was stopped"}; threads ${numbers}`
  )
  return [[name, Option.isNone(result) ? { stopped } : "ended"] as const, other]
})

const endless = Effect.asVoid(tasks.countPrimes(0, Number.MAX_SAFE_INTEGER))

/** Gives what each call came to. */
export const crashes = Effect.gen(function* () {
  return [
    ...(yield* crash),
    ...(yield* runaway("Loop that looks up", endless)),
    ...(yield* runaway("Loop that does not", tasks.spin()))
  ]
})
