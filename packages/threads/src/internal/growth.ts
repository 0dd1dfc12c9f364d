import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { Pool, type PoolError } from "@cenote/pool"
import { type SpawnFailed, type ThreadCrashed, ThreadPoolClosed } from "../ThreadError.ts"
import type { Core } from "./core.ts"
import { spawnFailure } from "./outcome.ts"
import type { Thread } from "./thread.ts"

/** Up to what age a thread that crashes has died young, how many may in a row, and the pauses after that: milliseconds. */
const youth = 5_000
const patienceWithYoung = 2
const firstPause = 100
const longestPause = 10_000

/** How one thread pool comes to more threads: asks the pool that lends them, and pauses after those that failed. */
export class Growth {
  /** Those who ask the pool for a thread, and have not got one. */
  private readonly leases = new Set<Fiber.Fiber<Thread, unknown>>()
  /** Threads in a row that ended by themselves soon after they had started, before they had ended a call. */
  diedYoung = 0
  /** Why a thread that was asked for did not come, until all that were asked for beside it have come or have not. */
  private failure: Cause.Cause<SpawnFailed | PoolError.PoolError> | undefined = undefined
  /** How often in a row that was so while others served the line, and whether the pause after the last goes on. */
  private failed = 0
  private pauses = false
  /** Calls off the end of that pause. */
  cancelPause: (() => void) | undefined = undefined

  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  /** How many threads have been asked for, and have not come. */
  get asked(): number {
    return this.leases.size
  }

  /**
   * Whether another thread may be asked for. Not after one that could not be started, while more are being started: were
   * each replaced by the next, those in line would never hear. And not right after that while others serve the line.
   */
  get isAllowed(): boolean {
    return this.failure === undefined && (this.core.threads.size === 0 || !this.pauses)
  }

  /** How long the next thread waits before it starts, in milliseconds: longer for each that died young. */
  get pauseBeforeStart(): number {
    if (this.diedYoung < patienceWithYoung) return 0
    // It counts against the time for the start.
    return Math.min(pauseAfter(this.diedYoung - patienceWithYoung + 1), this.core.settings.spawnTimeout / 3)
  }

  /** Asks for a thread. It may be there when this returns. */
  ask(): void {
    const { core } = this
    const lease = core.timers.fork(Pool.acquire(core.pool))
    this.leases.add(lease)
    lease.addObserver((exit) => {
      this.leases.delete(lease)
      if (Exit.isSuccess(exit)) return this.came(exit.value)
      if (!Cause.hasInterruptsOnly(exit.cause)) this.failure = exit.cause
      if (this.failure === undefined) core.schedule()
      else if (this.leases.size === 0 && core.state !== "closed") this.noneCame(this.failure)
    })
  }

  /** Calls off what was asked for beyond `most` threads. What is being started for it stays with the pool. */
  callOff(most: number): void {
    for (const lease of [...this.leases].slice(Math.max(0, most - this.core.threads.size)))
      lease.interruptUnsafe()
  }

  /** A thread has ended, and had not been told to. Says whether it has died young. */
  died(thread: Thread, reason: ThreadCrashed["reason"], now: number): boolean {
    const isYoung = reason !== "killed" && thread.ended === 0 && now - thread.startedAt < youth
    this.diedYoung = isYoung ? this.diedYoung + 1 : 0
    return isYoung
  }

  private came(thread: Thread): void {
    this.failure = undefined
    this.failed = 0
    this.pauses = false
    this.cancelPause?.()
    this.core.adopt(thread)
  }

  /** All that were asked for have failed or were called off. With no thread up, those in line hear why. */
  private noneCame(cause: Cause.Cause<SpawnFailed | PoolError.PoolError>): void {
    const { core } = this
    this.failure = undefined
    if (core.threads.size > 0) {
      // Those that are up serve the line; asking at once for another would end as this did.
      const pause = pauseAfter(++this.failed)
      this.pauses = true
      this.cancelPause?.()
      this.cancelPause = core.timers.after(pause, () => {
        this.pauses = false
        core.schedule()
      })
      return core.schedule()
    }
    const failure = spawnFailure(core.settings, Cause.squash(cause))
    for (const call of core.takeWaiting()) {
      core.refuse(call, failure ?? new ThreadPoolClosed({ pool: core.name, task: call.name }))
    }
    core.rest.check()
  }
}

const pauseAfter = (failures: number): number => Math.min(firstPause * 2 ** (failures - 1), longestPause)
