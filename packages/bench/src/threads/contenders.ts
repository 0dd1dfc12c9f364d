/** What is measured: each library brought to one of two shapes, with the same functions in its threads. */
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { NodeWorker } from "@effect/platform-node"
import { type Context, Effect, Layer, type Scope } from "effect"
import { RpcClient } from "effect/rpc"
import { Piscina } from "piscina"
import { FixedThreadPool } from "poolifier"
import { Tinypool } from "tinypool"
import workerpool from "workerpool"
import { cenoteEntry, installed } from "./installed.ts"
import type * as cenoteWorker from "./workers/cenote.ts"
import type { Reply, Request } from "./workers/raw.ts"
import { Rpcs } from "./workers/rpcs.ts"
import * as work from "./workers/work.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

type Kind = "effect" | "promise"

type Call<K extends Kind, A> = K extends "effect" ? Effect.Effect<A, unknown, any> : PromiseLike<A>

const bufferOf = (bytes: Uint8Array): ArrayBuffer => bytes.buffer as ArrayBuffer

/** A pool of threads that is up, and what can be called in it: see `workers/work.ts`. */
interface Calls<K extends Kind> {
  readonly kind: K
  readonly short: (seed: number) => Call<K, number>
  readonly spin: (millis: number) => Call<K, number>
  readonly either: (millis: number) => Call<K, number>
  /** The bytes are copied, there and back. */
  readonly echo: (bytes: Uint8Array) => Call<K, Uint8Array>
  /** The bytes move, there and back. */
  readonly pass: ((bytes: Uint8Array) => Call<K, Uint8Array>) | undefined
}

export interface EffectCalls extends Calls<"effect"> {
  readonly context: Context.Context<any>
}
export type PromiseCalls = Calls<"promise">

export interface Contender {
  readonly name: string
  /** Starts so many threads, which end with the scope. */
  readonly start: (threads: number) => Effect.Effect<EffectCalls | PromiseCalls, unknown, Scope.Scope>
}

const promises = (
  name: string,
  start: (threads: number) => { readonly calls: Omit<PromiseCalls, "kind">; readonly close: () => unknown }
): Contender => ({
  name,
  start: (threads) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => start(threads)),
        // poolifier's `destroy` does not always come to its end, though its threads do.
        ({ close }) =>
          Effect.timeoutOption(
            Effect.promise(async () => close()),
            "3 seconds"
          )
      ),
      ({ calls }) => ({ kind: "promise", ...calls })
    )
})

// -----------------------------------------------------------------------------
// By hand
// -----------------------------------------------------------------------------

/** One message a call, to the thread that has the fewest. */
export const raw: Contender = promises("raw postMessage", (size) => {
  const waiting = new Map<number, (result: any) => void>()
  const threads = Array.from({ length: size }, () => ({
    worker: new Worker(installed(new URL("./workers/raw.ts", import.meta.url))),
    calls: 0
  }))
  for (const thread of threads) {
    thread.worker.on("message", ([id, result]: Reply) => {
      thread.calls--
      waiting.get(id)!(result)
      waiting.delete(id)
    })
  }
  let last = 0
  const call = (name: Request[0], argument: unknown, transfer?: ReadonlyArray<ArrayBuffer>): Promise<any> =>
    new Promise((resolve) => {
      let thread = threads[0]!
      for (const other of threads) if (other.calls < thread.calls) thread = other
      thread.calls++
      const id = ++last
      waiting.set(id, resolve)
      thread.worker.postMessage([name, argument, id] satisfies Request, transfer)
    })
  return {
    calls: {
      short: (seed) => call("short", seed),
      spin: (millis) => call("spin", millis),
      either: (millis) => call("either", millis),
      echo: (bytes) => call("echo", bytes),
      pass: (bytes) => call("pass", bytes, [bufferOf(bytes)])
    },
    close: () => Promise.all(threads.map((_) => _.worker.terminate()))
  }
})

// -----------------------------------------------------------------------------
// Effect
// -----------------------------------------------------------------------------

const module = ThreadPool.module<typeof cenoteWorker>(
  pathToFileURL(installed(new URL("./workers/cenote.ts", import.meta.url)))
)

const cenoteCalls = (threads: number, calls: Omit<EffectCalls, "kind" | "context">) =>
  Effect.map(
    Layer.build(NodeThreads.layer({ size: threads, entry: cenoteEntry })),
    (context): EffectCalls => ({ kind: "effect", context, ...calls })
  )

const viaModule: Omit<EffectCalls, "kind" | "context"> = {
  short: (seed) => module.short(seed),
  spin: (millis) => module.spin(millis),
  either: (millis) => module.either(millis),
  echo: (bytes) => module.echo(bytes),
  pass: (bytes) => module.pass(ThreadPool.move(bytes))
}

export const cenote: Contender = {
  name: "Cenote module",
  start: (threads) => cenoteCalls(threads, viaModule)
}

export const cenoteExecute: Contender = {
  name: "Cenote execute",
  start: (threads) =>
    cenoteCalls(threads, { ...viaModule, short: (seed) => ThreadPool.execute(work.short, seed) })
}

/** One worker of Effect's pool has one call at a time, as in all the others. */
export const effectRpc: Contender = {
  name: "Effect RPC workers",
  start: (threads) =>
    Effect.gen(function* () {
      const context = yield* Layer.build(
        RpcClient.layerProtocolWorker({ size: threads }).pipe(
          Layer.provide(
            NodeWorker.layer(() => new Worker(installed(new URL("./workers/rpc.ts", import.meta.url))))
          )
        )
      )
      const client = yield* Effect.provideContext(RpcClient.make(Rpcs, { disableTracing: true }), context)
      return {
        kind: "effect",
        context,
        short: (seed) => client.short(seed),
        spin: (millis) => client.spin(millis),
        either: (millis) => client.either(millis),
        echo: (bytes) => client.echo(bytes),
        pass: (bytes) => client.pass(bytes as Uint8Array<ArrayBuffer>)
      }
    })
}

// -----------------------------------------------------------------------------
// Promise libraries, told to keep no statistics where that is possible
// -----------------------------------------------------------------------------

const viaPiscina = (
  name: string,
  options: { readonly atomics?: "async" | "disabled"; readonly concurrentTasksPerWorker?: number }
): Contender =>
  promises(name, (size) => {
    const pool = new Piscina({
      filename: installed(new URL("./workers/piscina.ts", import.meta.url)),
      minThreads: size,
      maxThreads: size,
      recordTiming: false,
      ...options
    })
    const [short, spin, either, echo] = ["short", "spin", "either", "echo"].map((name) => ({ name }))
    return {
      calls: {
        short: (seed) => pool.run(seed, short),
        spin: (millis) => pool.run(millis, spin),
        either: (millis) => pool.run(millis, either),
        echo: (bytes) => pool.run(bytes, echo),
        pass: (bytes) => pool.run(bytes, { name: "pass", transferList: [bufferOf(bytes)] })
      },
      close: () => pool.destroy()
    }
  })

export const piscina = viaPiscina("piscina, atomics sync", {})
export const piscinaAsync = viaPiscina("piscina, atomics async", { atomics: "async" })
export const piscinaDisabled = viaPiscina("piscina, atomics disabled", { atomics: "disabled" })
/** So many calls are with a thread at one time, whether or not another one is idle. */
export const piscinaAhead = viaPiscina("piscina, 256 calls a thread", { concurrentTasksPerWorker: 256 })

export const tinypool: Contender = promises("tinypool", (size) => {
  const pool = new Tinypool({
    filename: installed(new URL("./workers/tinypool.ts", import.meta.url)),
    minThreads: size,
    maxThreads: size
  })
  const [short, spin, either, echo] = ["short", "spin", "either", "echo"].map((name) => ({ name }))
  return {
    calls: {
      short: (seed) => pool.run(seed, short),
      spin: (millis) => pool.run(millis, spin),
      either: (millis) => pool.run(millis, either),
      echo: (bytes) => pool.run(bytes, echo),
      pass: (bytes) => pool.run(bytes, { name: "pass", transferList: [bufferOf(bytes)] })
    },
    close: () => pool.destroy()
  }
})

export const viaWorkerpool: Contender = promises("workerpool", (size) => {
  const pool = workerpool.pool(installed(new URL("./workers/workerpool.ts", import.meta.url)), {
    minWorkers: size,
    maxWorkers: size,
    workerType: "thread"
  })
  const call = (name: string, argument: unknown): PromiseLike<any> => pool.exec(name, [argument])
  return {
    calls: {
      short: (seed) => call("short", seed),
      spin: (millis) => call("spin", millis),
      either: (millis) => call("either", millis),
      echo: (bytes) => call("echo", bytes),
      pass: (bytes) => pool.exec("pass", [bytes], { transfer: [bufferOf(bytes)] })
    },
    close: () => pool.terminate(true)
  }
})

/** Its threads cannot move what they give back. */
export const poolifier: Contender = promises("poolifier", (size) => {
  const pool = new FixedThreadPool<any, any>(
    size,
    installed(new URL("./workers/poolifier.ts", import.meta.url)),
    { enableEvents: false }
  )
  return {
    calls: {
      short: (seed) => pool.execute(seed, "short"),
      spin: (millis) => pool.execute(millis, "spin"),
      either: (millis) => pool.execute(millis, "either"),
      echo: (bytes) => pool.execute(bytes, "echo"),
      pass: undefined
    },
    close: () => pool.destroy()
  }
})
