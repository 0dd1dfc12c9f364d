// The programs on threads, and what must hold when each has ended.
import { isDeepStrictEqual } from "node:util"
import type { ThreadError, ThreadPool } from "@cenote/threads"
import { Effect, type FileSystem, type Layer, type Path, type PlatformError } from "effect"
import { expectations, problems } from "../checks.ts"
import { heldUp, type Tick } from "../loop.ts"
import * as crashes from "./crashes.ts"
import * as mixedWorkload from "./mixedWorkload.ts"
import { type Call, observeThreads } from "./observe.ts"
import * as threadPoolProxy from "./threadPoolProxy.ts"
import * as threadPoolSize from "./threadPoolSize.ts"

export interface Program {
  readonly title: string
  /** What there is to see, in a line. */
  readonly shows: string
  readonly threads: Layer.Layer<ThreadPool.ThreadPool, ThreadError.SpawnFailed>
  /** Gives what each of its tasks came to. */
  readonly effect: Effect.Effect<
    ReadonlyArray<readonly [task: string, result: unknown]>,
    ThreadError.ThreadError | PlatformError.PlatformError,
    ThreadPool.ThreadPool | FileSystem.FileSystem | Path.Path
  >
  /** What each must come to. */
  readonly expected: Record<string, unknown>
  /** How many threads crash, and are stopped, on purpose. */
  readonly crashes: number
  readonly killed: number
}

/** As Python's `hashlib` has it, after a million rounds. */
const hashes = ["b4365c6e939bdff8", "7ef97fd6cfcac91c", "2f64983b013a8ea9"]

/** How many primes there are in each million. */
const primes = [78_498, 70_435, 67_883, 66_330, 65_367, 64_336, 63_799, 63_129]

const calculation = [832_040, 3_628_800, 333_283_335_000]

export const programs: ReadonlyArray<Program> = [
  {
    title: "Mixed Workload",
    shows: "What waits does so in fibers, and what computes or blocks does so in threads",
    threads: mixedWorkload.threads,
    effect: mixedWorkload.mixedWorkload,
    expected: {
      "I/O worker 1": "completed",
      "I/O worker 2": "completed",
      "I/O worker 3": "completed",
      "CPU worker 1": hashes[0],
      "CPU worker 2": hashes[1],
      "CPU worker 3": hashes[2],
      "Blocking I/O worker 1": 10_000,
      "Blocking I/O worker 2": 10_000,
      Sieve: 148_933,
      "Files left": []
    },
    crashes: 0,
    killed: 0
  },
  {
    title: "Thread Pool Proxy",
    shows: "Three fibers use an object that lives in a thread",
    threads: threadPoolProxy.threads,
    effect: threadPoolProxy.threadPoolProxy,
    expected: {
      "Calculation 1": calculation,
      "Calculation 2": calculation,
      "Calculation 3": calculation,
      // Each fiber asks for the next when it has the last.
      Order: ["fibonacci", "factorial", "processData"].flatMap((name) => [name, name, name])
    },
    crashes: 0,
    killed: 0
  },
  {
    title: "Thread Pool Size",
    shows: "More threads, fewer, none, and again, while jobs run",
    threads: threadPoolSize.threads,
    effect: threadPoolSize.threadPoolSize,
    expected: {
      ...Object.fromEntries(primes.map((count, n) => [`Million ${n + 1}`, count])),
      "Once more": primes[0]
    },
    crashes: 0,
    killed: 0
  },
  {
    title: "Crashes and Runaways",
    shows: "A task ends its thread, and two do not end: each is the failure of that one call",
    threads: crashes.threads,
    effect: crashes.crashes,
    expected: {
      Crash: "ThreadCrashed",
      "Count 1": primes[0],
      "Count 2": primes[0],
      "Count 3": primes[0],
      "Loop that looks up": { stopped: 0 },
      "Beside Loop that looks up": primes[0],
      "Loop that does not": { stopped: 1 },
      "Beside Loop that does not": primes[0]
    },
    crashes: 1,
    killed: 1
  }
]

export interface Outcome {
  readonly title: string
  readonly calls: ReadonlyArray<Call>
  readonly ticks: ReadonlyArray<Tick>
  readonly atRest: ThreadPool.Stats
  /** What does not hold, each in a sentence. */
  readonly broken: ReadonlyArray<string>
}

/** Runs one of the programs, and looks at what it left behind. */
export const runProgram = Effect.fnUntraced(function* (program: Program) {
  const observed = yield* observeThreads(program.effect, program.threads)
  const { atRest, calls, left, pools, result, ticks, workers } = observed
  const { crashed, crashes, failed, interrupted, killed, moved, succeeded, timedOut } = atRest
  const ended = succeeded + failed + interrupted + timedOut + crashed
  const broken = [
    ...wrong(result, program.expected),
    ...(pools.length === 1 ? [] : [`there were ${pools.length} pools, not 1`]),
    ...pools.flatMap(problems),
    ...expectations({
      [`${atRest.running} calls still run`]: atRest.running === 0,
      [`${atRest.calls} calls went to threads, ${moved} of them twice, and ${ended} ended`]:
        atRest.calls - moved === ended,
      [`${ended} calls ended, and ${calls.length} were told of`]: calls.length === ended,
      [`${crashes} threads crashed with ${crashed} calls, not ${program.crashes}`]:
        crashes === program.crashes && crashed === program.crashes,
      [`${killed} threads were stopped, not ${program.killed}`]: killed === program.killed,
      [`the pool counts ${atRest.created} threads, and Node ${workers}`]: atRest.created === workers,
      [`${left} threads are left`]: left === 0,
      ...heldUp(calls, ticks)
    })
  ]
  return { title: program.title, calls, ticks, atRest, broken } satisfies Outcome
}, Effect.scoped)

/** What is not as it must be in the results of a program. */
const wrong = (
  results: ReadonlyArray<readonly [task: string, result: unknown]>,
  expected: Record<string, unknown>
): ReadonlyArray<string> => [
  ...results
    .filter(([task, result]) => !isDeepStrictEqual(result, expected[task]))
    .map(([task, result]) => `${task} gave ${JSON.stringify(result)}, not ${JSON.stringify(expected[task])}`),
  ...Object.keys(expected).flatMap((task) => {
    const times = results.filter((_) => _[0] === task).length
    return times === 1 ? [] : [`${task} has ${times} results, not 1`]
  })
]
