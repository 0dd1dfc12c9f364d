/**
 * What a thread of `NodeThreads` runs. It is for the second entry point of a bundled program, and not to be imported
 * anywhere else: a file that holds `import "@cenote/threads/worker"`, whose address is the `entry` of `NodeThreads.layer`.
 *
 * @since 0.1.0
 */
import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads"
import { Host } from "./internal/host.ts"

/**
 * How long a thread that has just replied looks out for the next call before it goes to sleep, in milliseconds. Waking
 * it up takes longer than most short tasks do.
 */
const alert = 0.05

/** What comes after that has to wait for the event loop's next turn: timers, promises and streams of tasks want theirs too. */
const most = { messages: 64, millis: 2 }

/** How many vain look-outs in a row a thread has patience for, and how many messages it then sleeps through. */
const patience = { least: 1, most: 4, pause: 64 }

const start = (port: MessagePort): void => {
  const post = port.postMessage.bind(port)
  let warned = false
  // The port is the pool's: nobody would hear what a task says here, or it would be taken for the pool's own words.
  port.postMessage = () => {
    if (!warned)
      console.warn("cenote: a task posted a message to the parent of its thread, where nobody listens")
    warned = true
  }
  // The messages and the close of Effect's worker platform: [0, message], [1]; and [1, message], [0] on the way back.
  const host = new Host({
    post: (message, transfer) => post([1, message], transfer as never),
    heapUsed: () => process.memoryUsage().heapUsed,
    now: () => performance.now()
  })

  const receive = (message: readonly [0, ReadonlyArray<unknown>] | readonly [1]): void => {
    if (message[0] === 0) host.receive(message[1])
    // Whatever a module left open (a timer, a server) does not keep the thread.
    else void host.close().finally(() => process.exit())
  }

  /** Takes the messages that are there, so many at most; their replies go out together. */
  const receiveAll = (): boolean => {
    let received = 0
    while (received < most.messages) {
      const next = receiveMessageOnPort(port)
      if (next === undefined) break
      receive(next.message)
      received++
    }
    host.flush()
    return received > 0
  }

  let vain = 0
  let pause = 0

  /** Waits for the next call without sleeping, as long as calls keep coming one right after the other. */
  const lookOut = (): void => {
    const memory = host.sharedMemory
    if (memory === undefined || !host.isQuiet) return
    if (pause > 0) {
      pause--
      return
    }
    let until = performance.now() + alert
    let seen = Atomics.load(memory, 0)
    while (host.isQuiet && performance.now() < until) {
      const posted = Atomics.load(memory, 0)
      if (posted === seen) continue
      seen = posted
      if (!receiveAll()) continue
      vain = 0
      until = performance.now() + alert
    }
    if (++vain < patience.most) return
    vain = patience.most - patience.least
    pause = patience.pause
  }

  // What has ended has its result, also when what came after it ends the thread.
  process.on("exit", () => host.flush())

  port.on("message", (message) => {
    receive(message)
    receiveAll()
    lookOut()
  })
  post([0])
}

if (parentPort === null) {
  throw new Error(
    "@cenote/threads/worker was imported outside of a worker thread. It is what threads run: give its address to NodeThreads.layer as entry"
  )
}
start(parentPort)
