/**
 * Thread pools on the worker threads of Node.
 *
 * @since 0.1.0
 */
import * as NodeWorker from "@effect/platform-node/NodeWorker"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Worker } from "node:worker_threads"
import { addressOf, reject } from "./internal/options.ts"
import type { SpawnFailed } from "./ThreadError.ts"
import * as ThreadPool from "./ThreadPool.ts"

/**
 * How a thread pool on Node behaves.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends ThreadPool.Options {
  /**
   * What a thread runs: a file that imports `@cenote/threads/worker`. Only needed where a bundler has put the program
   * into one file, beside which the package's own is not to be found.
   */
  readonly entry?: URL | string | undefined
  /** Limits of the memory of each thread. A task that exceeds them fails with `ThreadCrashed`. Default: those of Node. */
  readonly resourceLimits?:
    | {
        readonly maxOldGenerationSizeMb?: number | undefined
        readonly maxYoungGenerationSizeMb?: number | undefined
        readonly codeRangeSizeMb?: number | undefined
        readonly stackSizeMb?: number | undefined
      }
    | undefined
  /** Options of Node for the threads, such as `["--conditions=development"]`. Default: those of the process. */
  readonly execArgv?: ReadonlyArray<string> | undefined
  /** Environment variables of the threads. Default: a copy of those of the process. */
  readonly env?: Record<string, string> | undefined
}

/** Beside this file in an installed package, and in the sources. */
const ownEntry = (): URL =>
  new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url)

/**
 * A thread pool. Without a size it has as many threads as the machine can run at one time, or as the configuration says
 * under `CENOTE_THREADS`.
 *
 * **Example**
 *
 * ```ts
 * import { Effect } from "effect"
 * import { NodeThreads, ThreadPool } from "@cenote/threads"
 *
 * const Threads = NodeThreads.layer({ max: 2, taskTimeout: "10 seconds" })
 * const program = ThreadPool.execute((n: number) => n * 2, 21)
 *
 * await Effect.runPromise(Effect.provide(program, Threads)) // => 42
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<ThreadPool.ThreadPool, SpawnFailed> =>
  Layer.unwrap(Effect.map(Effect.orDie(checked(options)), onNode))

/**
 * {@link layer} with options from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<ThreadPool.ThreadPool, SpawnFailed | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Effect.flatMap(Config.unwrap(options), checked), onNode))

const checked = (options: Options): Effect.Effect<Options, Config.ConfigError> =>
  Effect.suspend(() => {
    checkLimits(options)
    return sized(options)
  })

const sized = (options: Options): Effect.Effect<Options, Config.ConfigError> =>
  options.size !== undefined || options.max !== undefined
    ? Effect.succeed(options)
    : Effect.map(Config.option(Config.Int("CENOTE_THREADS")), (max) =>
        max._tag === "None" ? options : { ...options, max: max.value }
      )

/** The least of each limit: with less, Node does not fail but aborts, at once or with the first thread. */
const leastLimits = {
  maxOldGenerationSizeMb: 4,
  maxYoungGenerationSizeMb: 1,
  codeRangeSizeMb: 1,
  stackSizeMb: 0.5
} as const

const checkLimits = ({ name = "threads", resourceLimits = {} }: Options): void => {
  for (const [limit, least] of Object.entries(leastLimits)) {
    const value = resourceLimits[limit as keyof typeof leastLimits]
    if (value !== undefined && !(Number.isFinite(value) && value >= least)) {
      reject(name, `resourceLimits.${limit}`, value, `a number, ${least} or more`)
    }
  }
}

const onNode = (options: Options): Layer.Layer<ThreadPool.ThreadPool, SpawnFailed> =>
  Layer.provide(
    ThreadPool.layer(options),
    NodeWorker.layer(() => {
      const { entry = ownEntry(), env, execArgv, resourceLimits } = options
      return new Worker(typeof entry === "string" ? new URL(addressOf(entry)) : entry, {
        name: options.name ?? "threads",
        ...(resourceLimits === undefined ? {} : { resourceLimits: defined(resourceLimits) }),
        ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
        ...(env === undefined ? {} : { env })
      })
    })
  )

const defined = <A extends object>(options: A): { [K in keyof A]?: Exclude<A[K], undefined> } =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
