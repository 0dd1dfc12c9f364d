// The calling side of each way.
import { Worker } from "node:worker_threads"
import { cells, type Shared, slots, type Way } from "./shared.ts"

/** A thread that adds one. Calls of one turn are sent together by `flush`, where the way can. */
export interface Thread {
  readonly call: (n: number, done: (result: number) => void) => void
  readonly flush: () => void
  readonly stop: () => Promise<unknown>
}

const spawn = (way: Way) => {
  const shared: Shared = { memory: new SharedArrayBuffer(64), ring: new SharedArrayBuffer(8 * 2 * slots) }
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: { ...shared, way } })
  return { worker, state: new Int32Array(shared.memory), values: new Float64Array(shared.ring) }
}

export const start = (way: Way): Thread =>
  way === "single" ? single() : way === "ring" ? ring() : batched(way)

const single = (): Thread => {
  const { worker } = spawn("single")
  const waiting = new Map<number, (result: number) => void>()
  let last = 0
  worker.on("message", ([id, result]: [number, number]) => {
    const done = waiting.get(id)!
    waiting.delete(id)
    done(result)
  })
  return {
    call: (n, done) => {
      waiting.set(++last, done)
      worker.postMessage([last, n])
    },
    flush: () => {},
    stop: () => worker.terminate()
  }
}

const batched = (way: Way): Thread => {
  const { state, worker } = spawn(way)
  const waiting = new Map<number, (result: number) => void>()
  let last = 0
  let outbox: Array<number> = []
  const flush = (): void => {
    if (outbox.length === 0) return
    const message = outbox
    outbox = []
    worker.postMessage(message)
    Atomics.add(state, cells.calls, 1)
    Atomics.notify(state, cells.calls)
  }
  worker.on("message", (results: ReadonlyArray<number>) => {
    for (let i = 0; i < results.length; i += 2) {
      const done = waiting.get(results[i]!)!
      waiting.delete(results[i]!)
      done(results[i + 1]!)
    }
    flush()
  })
  return {
    call: (n, done) => {
      waiting.set(++last, done)
      outbox.push(last, n)
    },
    flush,
    stop: () => worker.terminate()
  }
}

/** Not in the types of a TypeScript that knows it. */
interface Waiter {
  readonly waitAsync: (
    memory: Int32Array,
    index: number,
    value: number
  ) => { readonly async: false } | { readonly async: true; readonly value: Promise<unknown> }
}

const waiter = Atomics as unknown as Waiter

const ring = (): Thread => {
  const { state, values, worker } = spawn("ring")
  const waiting: Array<(result: number) => void> = []
  let asked = 0
  let done = 0
  const flush = (): void => {
    if (Atomics.load(state, cells.calls) === asked) return
    Atomics.store(state, cells.calls, asked)
    Atomics.notify(state, cells.calls)
  }
  const drain = (): void => {
    for (const replied = Atomics.load(state, cells.replies); done !== replied;) {
      const slot = done & (slots - 1)
      done = (done + 1) | 0
      waiting[slot]!(values[slots + slot]!)
    }
    flush()
  }
  const listen = (): void => {
    for (;;) {
      const next = waiter.waitAsync(state, cells.replies, done)
      if (next.async) {
        void next.value.then(() => {
          drain()
          return listen()
        })
        return
      }
      drain()
    }
  }
  listen()
  return {
    call: (n, finished) => {
      const slot = asked & (slots - 1)
      values[slot] = n
      waiting[slot] = finished
      asked = (asked + 1) | 0
    },
    flush,
    stop: () => {
      Atomics.store(state, cells.stop, 1)
      return worker.terminate()
    }
  }
}
