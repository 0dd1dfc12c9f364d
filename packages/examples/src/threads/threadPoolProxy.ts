// Thread Pool Proxy: an object that lives in a thread, used from here as if its methods were Effects.
import { NodeThreads, type Remote, ThreadPool } from "@cenote/threads"
import { Console, Duration, Effect } from "effect"
import type { ExpensiveCalculator } from "./calculator.ts"

export const threads = NodeThreads.layer({ name: "proxy", size: 2 })

const calculators = ThreadPool.module<typeof import("./calculator.ts")>(
  new URL("./calculator.ts", import.meta.url)
)

const runCalculations = Effect.fnUntraced(function* (
  id: number,
  calculator: Remote.Remote<ExpensiveCalculator>
) {
  const [took, results] = yield* Effect.timed(
    Effect.all([calculator.fibonacci(30), calculator.factorial(10), calculator.processData(10_000)])
  )
  const [fibonacci, factorial, data] = results
  yield* Console.log(
    `Calculation ${id} (${Math.round(Duration.toMillis(took))} ms): ` +
      `fibonacci(30) = ${fibonacci}, factorial(10) = ${factorial}, processed data = ${data}`
  )
  return [`Calculation ${id}`, results] as const
})

/** Gives what each calculation came to. */
export const threadPoolProxy = Effect.gen(function* () {
  // Made in a thread, where it stays until the scope closes.
  const calculator = yield* ThreadPool.proxy(calculators, "ExpensiveCalculator", ["Calculator1"])
  yield* Console.log(`${yield* calculator.name} lives in a thread; three fibers use it at the same time`)

  const results = yield* Effect.forEach([1, 2, 3], (id) => runCalculations(id, calculator), {
    concurrency: "unbounded"
  })

  // Without a lock: calls on one object run one after the other, in the order in which they were made.
  const calls = yield* calculator.calls
  yield* Console.log(`Its calls, in their order: ${calls.join(", ")}`)
  return [...results, ["Order", calls] as const]
}).pipe(Effect.scoped)
