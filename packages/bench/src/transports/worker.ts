// The thread's side of each way to carry calls. All add one to a number.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads"
import { cells, type Shared, slots, type Way } from "./shared.ts"

const { memory, ring, way } = workerData as Shared & { readonly way: Way }
const port: MessagePort = parentPort!
const state = new Int32Array(memory)
const values = new Float64Array(ring)

const add = (n: number): number => n + 1

/** Calls that came in one message, and their results in one. */
const reply = (calls: ReadonlyArray<number>): void => {
  const results: Array<number> = []
  for (let i = 0; i < calls.length; i += 2) results.push(calls[i]!, add(calls[i + 1]!))
  port.postMessage(results)
  if (way === "waitAsync") {
    Atomics.add(state, cells.replies, 1)
    Atomics.notify(state, cells.replies)
  }
}

const receiveAll = (): boolean => {
  let received = false
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
    reply(next.message)
    received = true
  }
  return received
}

/** Sleeps for a millisecond at most, and is woken by memory. */
const wait = (): void => {
  for (;;) {
    const seen = Atomics.load(state, cells.calls)
    if (receiveAll()) continue
    if (Atomics.wait(state, cells.calls, seen, 1) === "timed-out") return
  }
}

/** Looks at memory for 50 µs, and does not sleep. */
const look = (): void => {
  let seen = -1
  for (let until = performance.now() + 0.05; performance.now() < until;) {
    const posted = Atomics.load(state, cells.calls)
    if (posted === seen) continue
    seen = posted
    if (receiveAll()) until = performance.now() + 0.05
  }
}

/** Nothing but memory: numbers in, numbers out. The event loop of the thread stands. */
const serveRing = (): void => {
  for (let done = 0; Atomics.load(state, cells.stop) === 0;) {
    const asked = Atomics.load(state, cells.calls)
    if (asked === done) {
      Atomics.wait(state, cells.calls, asked, 1_000)
      continue
    }
    for (; done !== asked; done = (done + 1) | 0) {
      values[slots + (done & (slots - 1))] = add(values[done & (slots - 1)]!)
    }
    Atomics.store(state, cells.replies, done)
    Atomics.notify(state, cells.replies)
  }
}

if (way === "ring") serveRing()
else if (way === "single") {
  port.on("message", ([id, n]: [number, number]) => port.postMessage([id, add(n)]))
} else {
  port.on("message", (calls: ReadonlyArray<number>) => {
    reply(calls)
    if (way === "wait" || way === "waitAsync") wait()
    if (way === "look") look()
  })
}
