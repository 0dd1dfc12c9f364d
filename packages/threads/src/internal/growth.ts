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
  /** Attempts in a row to start one more thread that failed, and whether the pause after the last goes on. */
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

  /** Whether another thread may be asked for: not right after one could not be started, while others serve the line. */
  get isAllowed(): boolean {
    return this.core.threads.size === 0 || !this.pauses
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
      if (Exit.isSuccess(exit)) this.came(exit.value)
      else if (Cause.hasInterruptsOnly(exit.cause)) core.schedule()
      else this.failedToCome(exit.cause)
    })
  }

  /** Calls off what was asked for beyond `most` threads. What is being started for it stays with the pool. */
  callOff(most: number): void {
    for (const lease of [...this.leases].slice(Math.max(0, most - this.core.threads.size)))
      lease.interruptUnsafe()
  }

  /** A thread has ended, and had not been told to. */
  died(thread: Thread, reason: ThreadCrashed["reason"], now: number): void {
    const isYoung = reason !== "killed" && thread.ended === 0 && now - thread.startedAt < youth
    this.diedYoung = isYoung ? this.diedYoung + 1 : 0
  }

  private came(thread: Thread): void {
    this.failed = 0
    this.pauses = false
    this.cancelPause?.()
    this.core.adopt(thread)
  }

  /** With no thread up, and none coming, those in line hear why. */
  private failedToCome(cause: Cause.Cause<SpawnFailed | PoolError.PoolError>): void {
    const { core } = this
    if (core.state === "closed" || this.leases.size > 0) return
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
