/**
 * What a thread of `NodeThreads` runs. It is for the second entry point of a bundled program, and not to be imported
 * anywhere else: a file that holds `import "@cenote/threads/worker"`, whose address is the `entry` of `NodeThreads.layer`.
 *
 * @since 0.1.0
 */
import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads"
import { Host } from "./internal/host.ts"
import { Inbox } from "./internal/inbox.ts"

const now = () => performance.now()

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
    now
  })

  const receive = (message: readonly [0, ReadonlyArray<unknown>] | readonly [1]): void => {
    if (message[0] === 0) host.receive(message[1])
    // Whatever a module left open (a timer, a server) does not keep the thread.
    else void host.close().finally(() => process.exit())
  }

  const inbox = new Inbox(host, {
    receiveNext: () => {
      const next = receiveMessageOnPort(port)
      if (next !== undefined) receive(next.message)
      return next !== undefined
    },
    nextTurn: setImmediate,
    now
  })

  // What has ended has its result, also when what came after it ends the thread.
  process.on("exit", () => host.flush())

  port.on("message", (message) => {
    receive(message)
    inbox.goOn()
  })
  post([0])
}

if (parentPort === null) {
  throw new Error(
    "@cenote/threads/worker was imported outside of a worker thread. It is what threads run: give its address to NodeThreads.layer as entry"
  )
}
start(parentPort)
