/**
 * `pnpm bench transports`: ways to carry calls to a thread and results back, by hand, without a pool. From these the way of
 * `@cenote/threads` was chosen.
 */
import { Effect } from "effect"
import type { Contestant, Group } from "./harness.ts"
import { readOptions, runBenchmark } from "./harness.ts"
import { start, type Thread } from "./transports/main.ts"
import type { Way } from "./transports/shared.ts"

const options = readOptions(
  "transports",
  "Measures ways to carry calls to threads, and writes docs/benchmarks/transports.md and .json."
)

const names: Record<Way, string> = {
  single: "a message for each call",
  batch: "a message for the calls of a turn",
  wait: "the same, the thread waits in Atomics.wait",
  waitAsync: "the same, and Atomics.notify for each reply",
  look: "the same, the thread looks out for 50 µs",
  ring: "a ring of numbers in shared memory"
}
const ways = Object.keys(names) as ReadonlyArray<Way>

const callsAtOnce = async (thread: Thread, calls: number): Promise<number> => {
  const started = performance.now()
  for (let i = 0; i < calls; i++) {
    await new Promise<void>((resolve) => {
      thread.call(i, () => resolve())
      thread.flush()
    })
  }
  return ((performance.now() - started) / calls) * 1_000_000
}

const callsInFlight = (threads: ReadonlyArray<Thread>, inFlight: number, calls: number): Promise<number> =>
  new Promise((resolve) => {
    const started = performance.now()
    let begun = 0
    let ended = 0
    const next = (thread: Thread): void => {
      if (begun === calls) return
      thread.call(begun++, () => {
        if (++ended === calls) resolve(((performance.now() - started) / calls) * 1_000_000)
        else next(thread)
      })
    }
    for (let i = 0; i < inFlight; i++) next(threads[i % threads.length]!)
    for (const thread of threads) thread.flush()
  })

/** Two threads for each way, for all groups. */
const threads = new Map(ways.map((way) => [way, [start(way), start(way)] as const]))

const group = (
  id: string,
  title: string,
  measure: (threads: readonly [Thread, Thread]) => Promise<number>
): Group => ({
  id,
  title,
  unit: "ns/call",
  baseline: names.single,
  comparedWith: "the first",
  rounds: options.quick ? 5 : 15,
  contestants: Effect.succeed(
    ways.map((way): Contestant => ({ name: names[way], sample: () => measure(threads.get(way)!) }))
  )
})

const calls = options.quick ? 2_000 : 10_000

await runBenchmark(options, {
  name: "transports",
  title: "Ways to carry calls to a thread",
  packages: [],
  groups: [
    group("alone", "One call at a time", ([thread]) => callsAtOnce(thread, calls / 5)),
    group("64", "64 calls in flight over 2 threads", (both) => callsInFlight(both, 64, calls)),
    group("1024", "1,024 calls in flight over 2 threads", (both) => callsInFlight(both, 1_024, calls * 2))
  ],
  measures: () => []
})
for (const thread of [...threads.values()].flat()) void thread.stop()
