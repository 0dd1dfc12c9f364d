import { ThreadPoolClosed } from "../ThreadError.ts"
import { type Call, createsObject } from "./call.ts"
import type { Core } from "./core.ts"
import type { Thread } from "./thread.ts"

/** How long a call that was sent ahead stays with a thread that makes no progress while another is idle: milliseconds. */
const patience = 1

/** How calls of one thread pool that were sent ahead, and have not begun, are taken back and go elsewhere. */
export class Moving {
  /** Whether a timer is set that takes calls back from a thread that stands. */
  private watching = false
  /** Calls off the timer that was set last. */
  cancelWatch: (() => void) | undefined = undefined

  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  /** Sees to it that no call waits behind a long one while a thread is idle. */
  watch(): void {
    const { core } = this
    if (this.watching || core.waiting > 0 || !this.hasIdle() || !this.isAhead()) return
    this.watching = true
    this.cancelWatch = core.timers.after(patience, () => {
      this.watching = false
      const now = core.timers.now()
      for (const thread of core.threads) {
        if (thread.hasAhead && now - Math.min(thread.lastReplyAt, thread.progressAt) >= patience) {
          this.putBack(thread, this.takeBack(thread))
        }
      }
      core.pump()
    })
  }

  /** Takes from a thread what it has not begun and another could run, the oldest first. */
  takeBack(thread: Thread): ReadonlyArray<Call> {
    const taken = thread.withIt.filter(
      (call) =>
        call.state === "sent" && call.pinned === undefined && !call.movesArguments && thread.withdraw(call)
    )
    for (const call of taken) {
      call.cancelTimer?.()
      call.state = "new"
    }
    // A thread gives slots in no order: their numbers do not tell who came first.
    return taken.toSorted((a, b) => a.serial - b.serial)
  }

  /** Puts what was taken from a thread at the head of the line. */
  putBack(thread: Thread, taken: ReadonlyArray<Call>): void {
    const { core } = this
    const calls = taken.filter((call) => call.state === "new")
    if (calls.length === 0) return
    core.tally.totals.sent -= calls.length
    if (core.max === 0 && core.state === "open") {
      for (const call of calls) core.place(call)
      return
    }
    if (core.state === "closed") {
      for (const call of calls) core.refuse(call, new ThreadPoolClosed({ pool: core.name, task: call.name }))
      return
    }
    core.tally.totals.moved += calls.length
    const now = core.timers.now()
    for (const call of calls) core.joins(call, core.pumps - 1, now)
    core.creations.unshift(calls.filter(createsObject))
    core.line.unshift(calls.filter((call) => !createsObject(call)))
    core.tally.tell("CallsMoved", { thread: thread.id, count: calls.length })
  }

  private hasIdle(): boolean {
    const { core } = this
    const { growth } = core
    const mayGrow = core.threads.size + growth.asked < core.max && growth.isAllowed
    return mayGrow || core.idle() !== undefined
  }

  private isAhead(): boolean {
    for (const thread of this.core.threads) if (thread.hasAhead) return true
    return false
  }
}
