// Mixed Workload: what waits does so in fibers, and what blocks does so in threads.
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { Console, Duration, Effect, FileSystem, Path, Random } from "effect"

export const threads = NodeThreads.layer({ name: "mixed", size: 2 })

/** The exports of a module, as Effects that run in threads. */
const tasks = ThreadPool.module<typeof import("./tasks.ts")>(new URL("./tasks.ts", import.meta.url))

const ioBoundWorker = Effect.fnUntraced(function* (id: number) {
  const name = `I/O worker ${id}`
  const [took] = yield* Effect.timed(Effect.sleep(yield* Random.nextBetween(500, 1500)))
  yield* Console.log(`${name} completed in ${seconds(took)}`)
  return [name, "completed"] as const
})

const cpuBoundWorker = Effect.fnUntraced(function* (id: number) {
  const name = `CPU worker ${id}`
  const [took, { result }] = yield* Effect.timed(tasks.cpuIntensiveTask(`test_data_${id - 1}`, 1_000_000))
  yield* Console.log(`${name} completed in ${seconds(took)}, hash: ${result}`)
  return [name, result] as const
})

const blockingIoWorker = Effect.fnUntraced(function* (id: number, folder: string) {
  const name = `Blocking I/O worker ${id}`
  const path = yield* Path.Path
  const filename = path.join(folder, `test_file_${id}.txt`)
  const [took, { linesRead }] = yield* Effect.timed(tasks.blockingIoTask(filename, 10_000))
  yield* Console.log(`${name} completed in ${seconds(took)}, ${linesRead} lines`)
  return [name, linesRead] as const
})

/** A function that needs nothing but its arguments can go to a thread as it stands: its source is sent. */
const sieve = Effect.fnUntraced(function* (limit: number) {
  const primes = yield* ThreadPool.execute((limit: number) => {
    const composite = new Uint8Array(limit)
    let primes = 0
    for (let n = 2; n < limit; n++) {
      if (composite[n] === 1) continue
      primes++
      for (let multiple = n * n; multiple < limit; multiple += n) composite[multiple] = 1
    }
    return primes
  }, limit)
  yield* Console.log(`There are ${primes} primes below ${limit}`)
  return ["Sieve", primes] as const
})

/** Gives what each worker came to. */
export const mixedWorkload = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "cenote-start-" })
  yield* Console.log("I/O tasks run in fibers, CPU and blocking I/O tasks in threads")
  const results = yield* Effect.all(
    [
      ...[1, 2, 3].map(ioBoundWorker),
      ...[1, 2, 3].map(cpuBoundWorker),
      ...[1, 2].map((id) => blockingIoWorker(id, folder)),
      sieve(2_000_000)
    ],
    { concurrency: "unbounded" }
  )
  return [...results, ["Files left", yield* fs.readDirectory(folder)] as const]
}).pipe(Effect.scoped)

const seconds = (duration: Duration.Duration): string => `${Duration.toSeconds(duration).toFixed(2)} s`
