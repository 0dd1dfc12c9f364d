import { copyOf } from "./clone.ts"
import type { Core } from "./core.ts"
import { Host } from "./host.ts"
import { configOf } from "./options.ts"
import { ToThread } from "./protocol.ts"
import { Thread } from "./thread.ts"

/**
 * The thread's side on the calling thread. Everything is copied as it would be on its way to another thread, so that a
 * program does not come to rely on shared objects.
 */
export const startInline = (core: Core): Thread => {
  const thread = new Thread(0, Infinity, core, core.timers.now(), "none")
  const host = new Host({
    post: (message, transfer) => {
      const copy = copyOf(message, transfer)
      queueMicrotask(() => core.timers.still((now) => thread.receive(copy, now)))
    },
    heapUsed: undefined,
    now: () => performance.now()
  })
  thread.channel = {
    post: (message, transfer) => {
      const copy = copyOf(message, transfer)
      queueMicrotask(() => {
        host.receive(copy)
        host.flush()
      })
    },
    terminate: undefined
  }
  host.receive([ToThread.configure, configOf(core.settings, thread)])
  thread.state = "ready"
  return thread
}
