import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import { TaskTimeout } from "../ThreadError.ts"
import type { Call } from "./call.ts"
import type { Core } from "./core.ts"
import { stale } from "./outcome.ts"
import type { Thread } from "./thread.ts"

/** How calls of one thread pool are stopped that nobody waits for any more, and, if they do not stop, their threads. */
export class Stopping {
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  /** The caller is gone. It is not kept waiting; the thread is, until the task has stopped. */
  interrupted(call: Call): void {
    const { core } = this
    if (call.state === "line" || call.state === "new") {
      if (call.state === "line") call.line!.leave(call)
      call.state = "done"
      core.tally.totals.interrupted++
      core.waitEnded(call, Exit.interrupt())
      return core.rest.check()
    }
    const { thread } = call
    // The reply came after the interruption, and nobody took what it brought.
    if (call.state === "done" && call.kept !== undefined) core.objects.notTaken(call, call.kept)
    if (call.state !== "sent" || thread === undefined) return
    core.tally.ended(thread, call, "interrupted", undefined)
    this.stop(thread, call)
  }

  /** A call has been with its thread for `taskTimeout`. */
  timedOut(call: Call): void {
    const { core } = this
    const { thread } = call
    if (call.state !== "sent" || thread === undefined) return
    const { taskTimeout } = core.settings
    // The time before it began is not its own.
    const left = taskTimeout - thread.ranFor(call, core.timers.now())
    if (left >= 1) {
      call.cancelTimer = core.timers.after(left, () => this.timedOut(call))
      return
    }
    const timeout = Duration.millis(taskTimeout)
    core.tally.ended(thread, call, "timedOut", undefined)
    this.stop(thread, call)
    call.resume(Exit.fail(new TaskTimeout({ pool: core.name, task: call.name, thread: thread.id, timeout })))
  }

  /** Withdraws a call, or tells its thread that nobody wants it; after `killGrace` the thread is stopped. */
  stop(thread: Thread, call: Call): void {
    const { core } = this
    call.cancelTimer?.()
    call.state = "abandoned"
    if (thread.withdraw(call)) {
      thread.flush()
      return core.rest.check()
    }
    thread.abort(call)
    core.rest.check()
    const { killGrace } = core.settings
    if (killGrace === Infinity || call.patient || thread.state !== "ready" || thread === core.inlineThread)
      return
    call.cancelTimer = core.timers.after(killGrace, () => {
      if (thread.has(call) && thread.state === "ready") this.stopThread(thread, call)
    })
  }

  /** A call did not stop: stops its thread, or keeps away from it. */
  stopThread(thread: Thread, call: Call): void {
    const { core } = this
    if (thread.withIt.some(({ unkillable }) => unkillable) || thread.channel?.terminate === undefined) {
      if (!thread.quarantined) this.quarantine(thread, call)
      return
    }
    core.died(thread, "killed", undefined)
    thread.channel.terminate()
  }

  private quarantine(thread: Thread, call: Call): void {
    const { core } = this
    thread.quarantined = true
    core.tally.totals.quarantined++
    core.tally.tell("ThreadQuarantined", { thread: thread.id, task: call.name })
    core.moving.putBack(thread, core.moving.takeBack(thread))
    // What it has, it may still do; nothing else reaches it from here on.
    thread.flush()
    for (const call of thread.backlog.takeAll()) {
      core.refuse(call, stale(core.name, call, thread, "threadEnded"))
    }
    if (!thread.retiring) core.retire(thread)
    // Its place is free for another; the thread ends when its calls have.
    core.giveBack(thread)
    core.schedule()
  }
}
