import * as Cause from "effect/Cause"
import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import type { SchedulerDispatcher } from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Pool, type PoolError } from "@cenote/pool"
import {
  QueueFull,
  type SpawnFailed,
  type StaleRemote,
  TaskTimeout,
  type ThreadCrashed,
  type ThreadError,
  ThreadPoolClosed
} from "../ThreadError.ts"
import { Call, type Handle, RemoteFunction, SourceHandle } from "./call.ts"
import { decodeError } from "./decode.ts"
import { Line } from "./line.ts"
import { replayLateSpan, replayLog, SpanReplay, traceWait } from "./observe.ts"
import type { Settings } from "./options.ts"
import { crashed, misused, refusal, spawnFailure, stale, taskFailed, unsendable } from "./outcome.ts"
import {
  type Config,
  type Extra,
  Status,
  ToThread,
  type WireLog,
  type WireRemote,
  type WireSpan
} from "./protocol.ts"
import { handleOf } from "./handle.ts"
import { Remotes, withNumbers } from "./remotes.ts"
import type { Owner, Reply, Sendable, Thread } from "./thread.ts"
import type { Tally } from "./tally.ts"
import type { Timers } from "./timers.ts"

/** How long a call that was sent ahead stays with a thread that makes no progress while another is idle: milliseconds. */
const patience = 1

/** How long tasks that nobody waits for may go on when the pool closes, in milliseconds. */
const lastMoment = 1_000

/** How much has to have ended. */
type Rest = "wanted" | "idle"

/** Up to what age a thread that crashes has died young, how many may in a row, and the pauses after that: milliseconds. */
const youth = 5_000
const patienceWithYoung = 2
const firstPause = 100
const longestPause = 10_000

/**
 * The scheduler: one line of calls, the threads that the pool has lent it, and what is with each of them.
 *
 * Threads themselves are resources of a {@link Pool}: it starts them, with retries and back-off, keeps `min` of them
 * warm, retires those that rest, and closes them. A thread is borrowed while it has anything to do, or holds objects.
 * Which call goes to which thread is decided here, since calls are sent ahead, moved, and pinned.
 */
export class Core implements Owner {
  readonly settings: Settings
  readonly timers: Timers
  readonly pool: Pool.Pool<Thread, SpawnFailed>
  readonly remotes: Remotes
  readonly tally: Tally
  /** `closing`: nothing new is taken, and what was taken is still run; `closed`: nothing is. */
  state: "open" | "closing" | "closed" = "open"
  /** Calls that no thread has. */
  readonly line = new Line()
  /** The same for calls that create objects: one that waits for a thread of its own holds up nothing else. */
  readonly creations = new Line()
  /** Calls that came while the pool drains. */
  private readonly held = new Line()
  private draining: Deferred.Deferred<void> | undefined = undefined
  /** The threads that the pool has lent, which calls can be sent to. */
  readonly threads = new Set<Thread>()
  /** All threads that are up, lent or not. */
  readonly alive = new Set<Thread>()
  /** Those who ask the pool for a thread, and have not got one. */
  private readonly leases = new Set<Fiber.Fiber<Thread, unknown>>()
  /** The thread's side on this very thread, for calls that are not to leave it. */
  private inlineThread: Thread | undefined = undefined
  private readonly makeInline: (owner: Core) => Thread
  /** Whether calls never leave this thread. */
  private readonly onlyInline: boolean
  private warnedOfNone = false
  /** Threads in a row that ended by themselves soon after they had started, before they had ended a call. */
  private diedYoung = 0
  /** Attempts in a row to start one more thread that failed, and whether the pause after the last goes on. */
  private failedToGrow = 0
  private growthPauses = false
  /** Whether {@link pump} is about to run, or runs. */
  private scheduled = false
  private pumping = false
  /** Pumps so far. A call that is sent in the first after it came has not had to wait. */
  private pumps = 0
  /** Whether a timer is set that takes calls back from a thread that stands. */
  private watching = false
  private cancelWatch: (() => void) | undefined = undefined
  private cancelGrow: (() => void) | undefined = undefined
  min: number
  max: number
  /** Whether `min` was put down to 0 by a drain, to be put back by the next call. */
  private cold = false
  private readonly whenAtRest = new Set<{ readonly kind: Rest; readonly done: () => void }>()

  private readonly dispatcher: SchedulerDispatcher

  constructor(options: {
    readonly settings: Settings
    readonly timers: Timers
    readonly pool: Pool.Pool<Thread, SpawnFailed>
    readonly tally: Tally
    readonly dispatcher: SchedulerDispatcher
    readonly makeInline: (owner: Core) => Thread
    readonly onlyInline: boolean
  }) {
    this.settings = options.settings
    this.timers = options.timers
    this.pool = options.pool
    this.tally = options.tally
    this.dispatcher = options.dispatcher
    this.makeInline = options.makeInline
    this.onlyInline = options.onlyInline
    this.min = options.settings.min
    this.max = options.settings.max
    this.remotes = new Remotes(this)
  }

  get name(): string {
    return this.settings.name
  }

  /** How long the next thread waits before it starts, in milliseconds: longer for each that died young. */
  get pauseBeforeStart(): number {
    if (this.diedYoung < patienceWithYoung) return 0
    // It counts against the time for the start.
    return Math.min(pauseAfter(this.diedYoung - patienceWithYoung + 1), this.settings.spawnTimeout / 3)
  }

  configFor(thread: Thread): Config {
    const { preload, recycleHeap, taskTimeout } = this.settings
    return {
      thread: thread.id,
      memory: thread.memory?.buffer as SharedArrayBuffer | undefined,
      concurrency: thread.concurrency,
      epoch: thread.epoch,
      preload,
      taskTimeout: taskTimeout === Infinity ? undefined : taskTimeout,
      tellHeap: recycleHeap !== Infinity
    }
  }

  /** Calls that no thread has, those first that came first. */
  waitingCalls(limit: number): ReadonlyArray<Call> {
    const calls: Array<Call> = []
    for (const line of [this.line, this.creations, this.held]) calls.push(...line.first(limit))
    for (const { backlog } of this.threads) calls.push(...backlog.first(limit))
    return calls.toSorted((a, b) => a.serial - b.serial).slice(0, limit)
  }

  // ---------------------------------------------------------------------------
  // Calls in
  // ---------------------------------------------------------------------------

  submit(call: Call): void {
    this.tally.totals.calls++
    this.place(call)
  }

  /** Sends a call on its way, unless its caller has given up. */
  private place(call: Call): void {
    if (call.state !== "new") return
    if (this.state !== "open")
      return this.refuse(call, new ThreadPoolClosed({ pool: this.name, task: call.name }))
    // What belongs to something that was begun before goes on while the pool drains.
    const isHeld = this.draining !== undefined && !call.inline && !belongsToEarlier(call)
    if (call.pinned !== undefined) {
      if (!isHeld) return this.placePinned(call, call.pinned)
      this.joins(call, this.pumps - 1, call.submittedAt)
      return this.held.push(call)
    }
    if ((call.inline || this.onlyInline || this.max === 0) && !isHeld) {
      if (!call.inline && !this.onlyInline) this.warnOfNone()
      this.send(this.inline(), call)
      return this.schedule()
    }
    const line = isHeld ? this.held : createsObject(call) ? this.creations : this.line
    if (this.isFull(line, call)) {
      // What is about to be sent is not waiting.
      this.pump()
      if (this.isFull(line, call)) return this.reject(call)
    }
    if (this.cold && line !== this.held) this.warm()
    // What is held waits for the end of a drain, whenever the next pump is.
    this.joins(call, isHeld ? this.pumps - 1 : this.pumps, call.submittedAt)
    line.push(call)
    this.schedule()
  }

  private placePinned(call: Call, handle: Handle): void {
    const { thread } = handle
    const reason = this.whyStale(handle)
    if (reason !== undefined) return this.refuse(call, stale(this.name, call, thread, reason))
    if (thread.hasSlot && thread.backlog.size === 0) this.send(thread, call)
    else thread.backlog.push(call)
    this.schedule()
  }

  /** Why a call cannot go to an object, if it cannot. */
  private whyStale({ released, thread }: Handle): StaleRemote["reason"] | undefined {
    if (released) return "released"
    if (!thread.isOf(this)) return "elsewhere"
    return thread.state === "ready" ? undefined : "threadEnded"
  }

  /** Whether a line may not get longer. Those for whom a thread is being started, or can be had now, do not wait. */
  private isFull(line: Line, call: Call): boolean {
    const { maxQueue } = this.settings
    if (maxQueue === Infinity) return false
    const waiting = line === this.held ? line.size : this.waiting
    if (waiting < maxQueue) return false
    if (line === this.held) return true
    const now = this.timers.now()
    const toCome = this.mayGrow ? Math.max(0, this.max - this.threads.size) : this.leases.size
    let free = 0
    for (const thread of this.threads) if (thread.admits(call, now)) free++
    return waiting - toCome - free >= maxQueue
  }

  private reject(call: Call): void {
    this.tally.tell("CallRejected", { task: call.name, fiber: call.fiber.id })
    const { maxQueue } = this.settings
    let running = 0
    for (const thread of this.threads) running += thread.inFlight
    this.refuse(call, new QueueFull({ pool: this.name, task: call.name, maxQueue, running }))
  }

  private refuse(call: Call, error: ThreadError): void {
    if (call.state !== "new") return
    call.state = "done"
    this.tally.totals.rejected++
    const exit = Exit.fail(error)
    this.waitEnded(call, exit)
    call.resume(exit)
  }

  /** A call is about to join a line, unless it has stood in one before and gone from it to another. */
  private joins(call: Call, pump: number, at: number): void {
    if (call.joinedIn !== -1) return
    call.joinedIn = pump
    call.joinedAt = at
  }

  /** A call has left the lines for good, or for now: shows in its caller's trace what it had to wait. */
  private waitEnded(call: Call, exit: Exit.Exit<unknown, unknown>): void {
    const { joinedIn } = call
    if (joinedIn === -1) return
    call.joinedIn = -1
    const hasWaited = exit._tag === "Success" ? this.pumps > joinedIn + 1 : this.pumps > joinedIn
    if (hasWaited) traceWait(this, call, exit)
  }

  /** All for which a thread is sought, as new. */
  private takeWaiting(): ReadonlyArray<Call> {
    return [...this.creations.takeAll(), ...this.line.takeAll()]
  }

  private refuseAll(): void {
    for (const call of [...this.takeWaiting(), ...this.held.takeAll()]) {
      this.refuse(call, new ThreadPoolClosed({ pool: this.name, task: call.name }))
    }
  }

  private warnOfNone(): void {
    if (this.warnedOfNone) return
    this.warnedOfNone = true
    this.timers.fork(
      Effect.logWarning(
        `thread pool ${JSON.stringify(this.name)} has no threads (max is 0): its tasks run on the calling thread`
      )
    )
  }

  /** Calls that no thread has. */
  get pending(): number {
    let pending = this.waiting + this.held.size
    for (const { backlog } of this.threads) pending += backlog.size
    return pending
  }

  /** Those of them for which a thread is sought. */
  private get waiting(): number {
    return this.line.size + this.creations.size
  }

  /** Calls that run on the calling thread. */
  get inlineRunning(): number {
    return this.inlineThread?.inFlight ?? 0
  }

  inline(): Thread {
    return (this.inlineThread ??= this.makeInline(this))
  }

  // ---------------------------------------------------------------------------
  // Which call goes where
  // ---------------------------------------------------------------------------

  /** Sees to it that what can be sent is sent, together with whatever else comes in this turn. */
  schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    this.dispatcher.scheduleTask(() => {
      this.scheduled = false
      this.pump()
    }, 0)
  }

  /** Sends what can be sent, in the order in which it came. */
  pump(): void {
    if (this.pumping) return
    this.pumping = true
    try {
      this.sendAll()
    } finally {
      this.pumping = false
    }
    for (const thread of this.threads) this.settle(thread)
    this.watch()
    this.checkRest()
  }

  private sendAll(): void {
    this.pumps++
    if (this.waiting > 0 && this.state !== "closed") {
      const now = this.timers.now()
      this.serve(this.creations, now)
      this.serve(this.line, now)
    }
    for (const thread of this.threads) thread.flush()
    this.inlineThread?.flush()
  }

  private serve(line: Line, now: number): void {
    for (let call = line.head; call !== undefined; call = line.head) {
      const thread = this.choose(call, now)
      if (thread === undefined) return
      line.shift()
      this.send(thread, call, now)
    }
  }

  /** An idle thread, a new one if there may be more, or the least busy of those that may get a call ahead of time. */
  private choose(call: Call, now: number): Thread | undefined {
    // Objects stay: they are spread over as many threads as there may be.
    const most = createsObject(call) ? 0 : Infinity
    const idle = this.idle(most)
    if (idle !== undefined) return idle
    const { mayGrow } = this
    while (this.leases.size < this.waiting && this.threads.size + this.leases.size < this.max) {
      if (!mayGrow) break
      this.lease()
      const lent = this.idle(most)
      if (lent !== undefined) return lent
    }
    // One that is about to be there has no objects yet.
    if (mayGrow && most === 0 && this.leases.size > 0) return undefined
    let best: Thread | undefined
    for (const thread of this.threads) {
      if (thread.admits(call, now) && (best === undefined || isLessBusy(thread, best, call))) best = thread
    }
    return best ?? this.spared()
  }

  /** Whether another thread may be asked for: not right after one could not be started, while others serve the line. */
  private get mayGrow(): boolean {
    return this.threads.size === 0 || !this.growthPauses
  }

  /** A thread that was to go, and that its objects keep: for want of any other it works on. */
  private spared(): Thread | undefined {
    let best: Thread | undefined
    for (const thread of this.threads) {
      if (!thread.retiring) return undefined
      if (thread.mayBeSpared && (best === undefined || thread.inFlight < best.inFlight)) best = thread
    }
    return best
  }

  /** The idle thread with the fewest objects, if it has not more than `most`. */
  private idle(most = Infinity): Thread | undefined {
    let best: Thread | undefined
    for (const thread of this.threads) {
      if (
        thread.isIdle &&
        thread.state === "ready" &&
        !thread.retiring &&
        thread.objects <= (best === undefined ? most : best.objects - 1)
      ) {
        best = thread
      }
    }
    return best
  }

  private send(thread: Thread, call: Call, now = this.timers.now()): void {
    this.waitEnded(call, Exit.void)
    thread.send(call, now)
    this.tally.totals.sent++
    const { taskTimeout } = this.settings
    if (taskTimeout !== Infinity && !call.patient && !isDisposal(call))
      call.cancelTimer = this.timers.after(taskTimeout, () => this.timedOut(call))
  }

  private lease(): void {
    const lease = this.timers.fork(Pool.acquire(this.pool))
    this.leases.add(lease)
    lease.addObserver((exit) => {
      this.leases.delete(lease)
      if (Exit.isSuccess(exit)) this.adopt(exit.value)
      else if (Cause.hasInterruptsOnly(exit.cause)) this.schedule()
      else this.leaseFailed(exit.cause)
    })
  }

  /** Calls off what was asked for beyond `most` threads. What is being started for it stays with the pool. */
  private unlease(most: number): void {
    for (const lease of [...this.leases].slice(Math.max(0, most - this.threads.size))) lease.interruptUnsafe()
  }

  private adopt(thread: Thread): void {
    thread.leased = true
    thread.retiring = false
    this.threads.add(thread)
    this.failedToGrow = 0
    this.growthPauses = false
    this.cancelGrow?.()
    if (thread.state !== "ready") this.giveBack(thread)
    else this.schedule()
  }

  /** With no thread up, and none coming, those in line hear why. */
  private leaseFailed(cause: Cause.Cause<SpawnFailed | PoolError.PoolError>): void {
    if (this.state === "closed" || this.leases.size > 0) return
    if (this.threads.size > 0) {
      // Those that are up serve the line; asking at once for another would end as this did.
      const pause = pauseAfter(++this.failedToGrow)
      this.growthPauses = true
      this.cancelGrow?.()
      this.cancelGrow = this.timers.after(pause, () => {
        this.growthPauses = false
        this.schedule()
      })
      return this.schedule()
    }
    const failure = spawnFailure(this.settings, Cause.squash(cause))
    for (const call of this.takeWaiting()) {
      this.refuse(call, failure ?? new ThreadPoolClosed({ pool: this.name, task: call.name }))
    }
    this.checkRest()
  }

  /** Returns a thread that has nothing to do to the pool, which keeps it, retires it or closes it. */
  private settle(thread: Thread): void {
    if (this.isWorn(thread)) this.retire(thread)
    if (thread.isIdle && thread.objects === 0) this.giveBack(thread)
  }

  /** Whether a thread is to be replaced. Objects keep theirs; it goes when they have gone. */
  private isWorn(thread: Thread): boolean {
    const { recycleHeap, recycleTasks } = this.settings
    return (
      !thread.retiring &&
      thread.objects === 0 &&
      (thread.ended >= recycleTasks || thread.heapUsed > recycleHeap)
    )
  }

  private retire(thread: Thread): void {
    thread.retiring = true
    thread.condemned = true
    this.timers.fork(Pool.invalidate(this.pool, thread))
  }

  private giveBack(thread: Thread): void {
    if (!thread.leased) return
    thread.leased = false
    this.threads.delete(thread)
    // Once more, should it have ended before the pool had it.
    if (thread.state !== "ready") this.retire(thread)
    this.timers.fork(Effect.orDie(Pool.release(this.pool, thread)))
    if (this.waiting > 0) this.schedule()
  }

  /** Sees to it that no call waits behind a long one while a thread is idle. */
  private watch(): void {
    if (this.watching || this.waiting > 0 || !this.hasIdle() || !this.isAhead()) return
    this.watching = true
    this.cancelWatch = this.timers.after(patience, () => {
      this.watching = false
      const now = this.timers.now()
      for (const thread of this.threads) {
        if (thread.hasAhead && now - thread.lastReplyAt >= patience) {
          this.putBack(thread, this.takeBack(thread))
        }
      }
      this.pump()
    })
  }

  private hasIdle(): boolean {
    const mayGrow = this.threads.size + this.leases.size < this.max && this.mayGrow
    return mayGrow || this.idle() !== undefined
  }

  private isAhead(): boolean {
    for (const thread of this.threads) if (thread.hasAhead) return true
    return false
  }

  /** Takes from a thread what it has not begun and another could run, the oldest first. */
  private takeBack(thread: Thread): ReadonlyArray<Call> {
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
  private putBack(thread: Thread, taken: ReadonlyArray<Call>): void {
    const calls = taken.filter((call) => call.state === "new")
    if (calls.length === 0) return
    this.tally.totals.sent -= calls.length
    if (this.max === 0 && this.state === "open") {
      for (const call of calls) this.place(call)
      return
    }
    if (this.state === "closed") {
      for (const call of calls) this.refuse(call, new ThreadPoolClosed({ pool: this.name, task: call.name }))
      return
    }
    this.tally.totals.moved += calls.length
    const now = this.timers.now()
    for (const call of calls) this.joins(call, this.pumps - 1, now)
    this.creations.unshift(calls.filter(createsObject))
    this.line.unshift(calls.filter((call) => !createsObject(call)))
    this.tally.tell("CallsMoved", { thread: thread.id, count: calls.length })
  }

  // ---------------------------------------------------------------------------
  // Calls out
  // ---------------------------------------------------------------------------

  ended(thread: Thread, call: Call, reply: Reply): void {
    call.cancelTimer?.()
    // A thread that ends a call is well.
    this.diedYoung = 0
    if (this.isWorn(thread)) this.retire(thread)
    if (call.state === "abandoned") {
      call.state = "done"
      if (reply.status === Status.remote || reply.status === Status.stream) {
        this.release(thread, reply.value.object, 1)
      }
      return
    }
    call.state = "done"
    this.guarded(() => call.spans?.end())
    let exit: Exit.Exit<unknown, unknown>
    try {
      exit = this.exitOf(thread, call, reply)
    } catch (error) {
      // Whatever is wrong with a reply, somebody waits for it.
      exit = Exit.die(error)
    }
    this.finished(thread, call, reply, exit)
  }

  private finished(
    thread: Thread,
    call: Call,
    reply: Reply | undefined,
    exit: Exit.Exit<unknown, unknown>
  ): void {
    const outcome =
      reply === undefined
        ? "crashed"
        : reply.status === Status.interrupted
          ? "interrupted"
          : Exit.isSuccess(exit)
            ? "succeeded"
            : "failed"
    this.tally.ended(thread, call, outcome, reply)
    if (this.settings.logFailures && Exit.isFailure(exit) && outcome === "failed") {
      Effect.runForkWith(call.context)(
        Effect.logError(`${call.name} failed in thread ${thread.id}`, exit.cause)
      )
    }
    call.resume(exit)
  }

  private exitOf(thread: Thread, call: Call, { status, value }: Reply): Exit.Exit<unknown, unknown> {
    switch (status) {
      case Status.ok:
        return Exit.succeed(value)
      case Status.remote:
        return Exit.succeed(this.receive(thread, call, value))
      case Status.stream: {
        const handle: Handle = { thread, object: value.object, received: 1, owners: 1, released: false }
        thread.objects++
        if (call.wantsStream) {
          call.kept = handle
          return Exit.succeed(new SourceHandle(handle))
        }
        this.letGo(handle)
        return Exit.fail(
          misused(
            this.name,
            thread.id,
            call.name,
            "it gave a generator or a Stream",
            "Use what the call gives as a Stream"
          )
        )
      }
      case Status.failed:
        return Exit.fail(decodeError(value))
      case Status.interrupted:
        return Exit.interrupt()
      case Status.stale:
        return Exit.fail(stale(this.name, call, thread, "released"))
      case Status.notCloneable:
        return Exit.fail(unsendable(this.name, call, value))
      default:
        return Exit.fail(taskFailed(this.name, thread, call, value))
    }
  }

  private receive(thread: Thread, call: Call, wire: WireRemote): object {
    const { isNew, remote } = this.remotes.received(thread, wire)
    const handle = handleOf(remote)!
    if (isNew) call.kept = handle
    if (createsObject(call)) handle.owners++
    return remote
  }

  heard(thread: Thread): void {
    for (let call = thread.backlog.head; call !== undefined && thread.hasSlot; call = thread.backlog.head) {
      thread.backlog.shift()
      this.send(thread, call)
    }
    if (thread.isIdle) thread.onRest?.()
    if (thread.retiring && thread.isIdle && thread.objects === 0) this.giveBack(thread)
    // Those who were just served have asked for more. A thread with nothing to do gets it at once; else it waits for
    // what other replies bring, and goes out together with that.
    if (thread.isIdle) this.pump()
    else this.schedule()
  }

  refused(call: Call, error: unknown): void {
    call.cancelTimer?.()
    if (call.state !== "sent") return
    call.state = "done"
    this.tally.totals.failed++
    call.resume(Exit.fail(refusal(this.name, call, error, this.referencesIn(call.context))))
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // Interruption
  // ---------------------------------------------------------------------------

  /** The caller is gone. It is not kept waiting; the thread is, until the task has stopped. */
  interrupted(call: Call): void {
    if (call.state === "line" || call.state === "new") {
      if (call.state === "line") call.line!.leave(call)
      call.state = "done"
      this.tally.totals.interrupted++
      this.waitEnded(call, Exit.interrupt())
      return this.checkRest()
    }
    const { thread } = call
    // The reply came after the interruption, and nobody took what it brought.
    if (call.state === "done" && call.kept !== undefined) this.letGo(call.kept)
    if (call.state !== "sent" || thread === undefined) return
    this.tally.ended(thread, call, "interrupted", undefined)
    this.stop(thread, call)
  }

  private timedOut(call: Call): void {
    const { thread } = call
    if (call.state !== "sent" || thread === undefined) return
    const { taskTimeout } = this.settings
    // The time before it began is not its own.
    const left = taskTimeout - thread.ranFor(call, this.timers.now())
    if (left >= 1) {
      call.cancelTimer = this.timers.after(left, () => this.timedOut(call))
      return
    }
    const timeout = Duration.millis(taskTimeout)
    this.tally.ended(thread, call, "timedOut", undefined)
    this.stop(thread, call)
    call.resume(Exit.fail(new TaskTimeout({ pool: this.name, task: call.name, thread: thread.id, timeout })))
  }

  private stop(thread: Thread, call: Call): void {
    call.cancelTimer?.()
    call.state = "abandoned"
    if (thread.withdraw(call)) {
      thread.flush()
      return this.checkRest()
    }
    thread.abort(call)
    this.checkRest()
    const { killGrace } = this.settings
    if (killGrace === Infinity || call.patient || thread.state !== "ready" || thread === this.inlineThread)
      return
    call.cancelTimer = this.timers.after(killGrace, () => {
      if (thread.has(call) && thread.state === "ready") this.stopThread(thread, call)
    })
  }

  /** A call did not stop: stops its thread, or keeps away from it. */
  private stopThread(thread: Thread, call: Call): void {
    if (thread.withIt.some(({ unkillable }) => unkillable) || thread.channel?.terminate === undefined) {
      if (!thread.quarantined && thread !== this.inlineThread) this.quarantine(thread, call)
      return
    }
    this.died(thread, "killed", undefined)
    thread.channel.terminate()
  }

  private quarantine(thread: Thread, call: Call): void {
    thread.quarantined = true
    this.tally.totals.quarantined++
    this.tally.tell("ThreadQuarantined", { thread: thread.id, task: call.name })
    this.putBack(thread, this.takeBack(thread))
    if (!thread.retiring) this.retire(thread)
    // Its place is free for another; the thread ends when its calls have.
    this.giveBack(thread)
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // The end of a thread
  // ---------------------------------------------------------------------------

  /** A thread has ended, or is being stopped: what it had begun fails, what it had not goes elsewhere. */
  died(thread: Thread, reason: ThreadCrashed["reason"], cause: unknown): void {
    if (thread.state === "dead") return
    const wasTold = thread.state === "closing"
    const moved = this.takeBack(thread)
    const now = this.timers.now()
    const started = new Map(thread.withIt.map((call) => [call, thread.hasStarted(call)]))
    const calls = thread.abandon(now)
    this.alive.delete(thread)
    const failing = calls.filter((call) => call.state === "sent")
    // All of them before any of them hears: what one caller does then may make another give up.
    for (const call of failing) call.state = "done"
    for (const call of calls) {
      call.cancelTimer?.()
      if (call.state === "abandoned") call.state = "done"
    }
    if (!wasTold) {
      const told = { thread: thread.id, failed: failing.length, moved: moved.length }
      this.tally.totals[reason === "killed" ? "killed" : "crashes"]++
      const isYoung = reason !== "killed" && thread.ended === 0 && now - thread.startedAt < youth
      this.diedYoung = isYoung ? this.diedYoung + 1 : 0
      if (reason === "killed") this.tally.tell("ThreadKilled", told)
      else this.tally.tell("ThreadCrashed", { ...told, reason })
    }
    if (thread.leased) this.giveBack(thread)
    else if (!thread.retiring) this.retire(thread)
    this.putBack(thread, moved)
    for (const call of thread.backlog.takeAll()) {
      this.refuse(call, stale(this.name, call, thread, "threadEnded"))
    }
    for (const call of failing) {
      const error = crashed(this.name, call, thread, started.get(call) ?? true, reason, cause)
      this.finished(thread, call, undefined, Exit.fail(error))
    }
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // Objects
  // ---------------------------------------------------------------------------

  /** Lets go of an object in a thread. */
  letGo(handle: Handle): void {
    if (handle.released) return
    handle.released = true
    const { thread } = handle
    if (thread.state !== "ready") return
    thread.objects--
    this.release(thread, handle.object, handle.received)
  }

  /** Disposes of an object in its thread, and waits for it, though not longer than a task may take to stop. */
  dispose(handle: Handle): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      const log = Effect.runForkWith(fiber.context)
      return Effect.callback((resume) => {
        if (--handle.owners > 0) return resume(Effect.void)
        // A thread that ends disposes of what is left in it.
        if (handle.released || handle.thread.state !== "ready" || this.state !== "open") {
          handle.released = true
          return resume(Effect.void)
        }
        const done = (): void => {
          this.guarded(() => handle.spans?.end())
          cancelTimer()
          if (handle.thread.state === "ready") handle.thread.objects--
          this.schedule()
          resume(Effect.void)
        }
        const call = new Call(
          fiber,
          (exit) => {
            done()
            if (Exit.isExit(exit) && Exit.isFailure(exit)) {
              log(Effect.logWarning("an object in a thread could not be disposed of", exit.cause))
            }
          },
          { op: "dispose", object: handle.object, name: "" },
          "[dispose]",
          [],
          {
            pinned: handle,
            wantsStream: false,
            unkillable: false,
            patient: false,
            transfers: [],
            inline: false
          },
          this.timers.now()
        )
        const limit = Math.min(this.settings.killGrace, longestDisposal)
        const cancelTimer = this.timers.after(limit, () => {
          // It goes on by itself: other objects live in the same thread.
          this.giveUp(call)
          log(
            Effect.logWarning(
              `an object in thread ${handle.thread.id} was not disposed of within ${limit} ms`
            )
          )
          done()
        })
        this.submit(call)
        handle.released = true
        this.remotes.forget(handle)
      })
    })
  }

  /** Waits no longer for a disposal, and stops nothing. */
  private giveUp(call: Call): void {
    if (call.state !== "sent" || call.thread === undefined) return this.interrupted(call)
    call.cancelTimer?.()
    this.tally.ended(call.thread, call, "interrupted", undefined)
    call.state = "abandoned"
    call.thread.abort(call)
  }

  private release(thread: Thread, object: number, received: number): void {
    thread.tell(ToThread.release, object, received)
    thread.flush()
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // Operations
  // ---------------------------------------------------------------------------

  resize(min: number, max: number): Effect.Effect<void> {
    // Waits for nothing, and must not stop half-way.
    return Effect.uninterruptible(
      Effect.suspend(() => {
        const drains = this.draining !== undefined
        this.min = min
        this.max = max
        const excess = this.threads.size - max
        // Those with nothing to lose first.
        const leaving = [...this.threads].toSorted((a, b) => a.objects - b.objects || a.load - b.load)
        // Those in excess go when they come back, if there are too many then; the others go on.
        for (const [i, thread] of leaving.entries()) thread.retiring = i < excess || thread.condemned
        return Effect.andThen(
          // A drain waits for the pool to be empty; the next call after it brings it to its min.
          Pool.resize(this.pool, { min: drains ? 0 : min, max }),
          Effect.sync(() => {
            this.unlease(max)
            if (max === 0) for (const call of this.takeWaiting()) this.place(call)
            // A drain may have ended between the two.
            if (drains && this.draining === undefined && !this.cold) this.warm()
            this.pump()
          })
        )
      })
    )
  }

  /** Lets everything that was submitted end, and then the threads. Calls that come meanwhile wait. */
  drain(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.state !== "open") return Effect.void
      let drained = this.draining
      if (drained === undefined) {
        const own = Deferred.makeUnsafe<void>()
        drained = this.draining = own
        // Not in the caller's fiber: a drain that was begun must end, or nothing would run again.
        this.timers
          .fork(
            Effect.andThen(
              this.atRest("idle"),
              Effect.suspend(() => this.cool())
            )
          )
          .addObserver(() => {
            this.draining = undefined
            for (const call of this.held.takeAll()) this.place(call)
            Deferred.doneUnsafe(own, Exit.void)
          })
      }
      return Deferred.await(drained)
    })
  }

  /** Replaces every thread, as soon as it has ended what it is at. */
  recycle(): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const thread of this.threads) if (!thread.retiring) this.retire(thread)
      this.schedule()
      return Pool.recycle(this.pool)
    })
  }

  /**
   * Waits until nothing is in the line, and nothing that anybody waits for is with a thread (`wanted`), or nothing at all
   * (`idle`).
   */
  private atRest(kind: Rest): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const waiter = { kind, done: () => resume(Effect.void) }
      this.whenAtRest.add(waiter)
      this.checkRest()
      return Effect.sync(() => this.whenAtRest.delete(waiter))
    })
  }

  private cool(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      this.unlease(0)
      yield* Pool.resize(this.pool, { min: 0, max: this.max })
      this.cold = true
      // Listening before anything goes, so that nothing goes unheard.
      const next = yield* Stream.toPull(Pool.events(this.pool))
      yield* Pool.recycle(this.pool)
      for (const thread of this.alive) {
        if (thread.quarantined) continue
        thread.state = "closing"
        this.giveBack(thread)
      }
      while ((yield* Pool.size(this.pool)) > 0) yield* next
      this.tally.tell("Drained", {})
    }).pipe(
      Effect.scoped,
      // The pool was closed meanwhile.
      Effect.ignore
    )
  }

  /** A thread has ended, or the pool has done with it. One in quarantine lives on. */
  left(thread: Thread): void {
    if (thread.quarantined && !thread.isIdle) return
    if (thread.state !== "dead") thread.state = "closing"
    this.alive.delete(thread)
  }

  private warm(): void {
    this.cold = false
    this.timers.fork(Pool.resize(this.pool, { min: this.min, max: this.max }))
  }

  private isAtRest(kind: Rest): boolean {
    if (this.waiting > 0) return false
    for (const thread of this.threads) {
      if (kind === "idle" ? !thread.isIdle : thread.isWanted) return false
    }
    // What runs here keeps no thread, except where there is none.
    const countsInline = kind === "wanted" || this.onlyInline || this.max === 0
    return !countsInline || this.inlineThread?.isWanted !== true
  }

  private checkRest(): void {
    if (this.whenAtRest.size === 0) return
    const rests = { wanted: this.isAtRest("wanted"), idle: this.isAtRest("idle") }
    for (const waiter of Array.from(this.whenAtRest)) {
      if (!rests[waiter.kind]) continue
      this.whenAtRest.delete(waiter)
      waiter.done()
    }
  }

  /**
   * Turns away what waits, and lets what somebody waits for end within `closeTimeout`. Tasks that nobody waits for have a
   * moment for their finalizers. Then everything is stopped.
   */
  close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.state !== "open") return Effect.void
      this.state = "closing"
      this.refuseAll()
      this.unlease(0)
      const { closeTimeout, killGrace } = this.settings
      // Threads take real time, whatever clock a test has: nobody would put it on while the scope closes.
      const within = (kind: Rest, millis: number) =>
        Effect.provideService(
          Effect.timeoutOption(this.atRest(kind), Duration.millis(millis)),
          Clock,
          Context.get(Context.empty(), Clock)
        )
      return within("wanted", closeTimeout).pipe(
        Effect.andThen(Effect.sync(() => this.stopWanted())),
        Effect.andThen(within("idle", Math.min(closeTimeout, killGrace, lastMoment))),
        Effect.andThen(Effect.sync(() => this.stopAll()))
      )
    })
  }

  /** Those who still wait hear it now, so that their tasks have a moment for their finalizers too. */
  private stopWanted(): void {
    for (const thread of this.threads) {
      for (const call of thread.withIt) {
        if (call.state !== "sent" || call.unkillable) continue
        const error = thread.hasStarted(call)
          ? crashed(this.name, call, thread, true, "killed", undefined)
          : new ThreadPoolClosed({ pool: this.name, task: call.name })
        this.tally.ended(thread, call, "crashed", undefined)
        this.stop(thread, call)
        call.resume(Exit.fail(error))
      }
    }
  }

  private stopAll(): void {
    this.state = "closed"
    this.unlease(0)
    this.refuseAll()
    for (const thread of this.threads) {
      this.stopForGood(thread)
      if (thread.quarantined) continue
      if (thread.state === "ready") thread.state = "closing"
      this.giveBack(thread)
    }
    // Nothing may keep the process up: not the timers of tasks that go on in quarantine either.
    for (const thread of this.alive) for (const call of thread.withIt) call.cancelTimer?.()
    this.cancelWatch?.()
    this.cancelGrow?.()
    this.tally.close()
  }

  /** Stops a thread that has something to do; one that must not be stopped is left to itself. */
  private stopForGood(thread: Thread): void {
    const [oldest] = thread.withIt
    if (oldest === undefined) return
    this.stopThread(thread, thread.withIt.find(({ unkillable }) => unkillable) ?? oldest)
  }

  // ---------------------------------------------------------------------------
  // What travels
  // ---------------------------------------------------------------------------

  extra(call: Call): Extra | undefined {
    const { context } = call
    const span = context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined
    const minimumLogLevel = context.mapUnsafe.get(References.MinimumLogLevel.key) as string | undefined
    const references = this.referencesIn(context)
    if (span === undefined && minimumLogLevel === undefined && references === undefined) return undefined
    return {
      span:
        span === undefined
          ? undefined
          : { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled },
      references,
      minimumLogLevel
    }
  }

  /** The chosen references that the caller has set. */
  private referencesIn(context: Context.Context<never>): Extra["references"] {
    const { references } = this.settings
    if (references.length === 0) return undefined
    return references
      .filter(({ key }) => context.mapUnsafe.has(key))
      .map((reference) => [reference.key, Context.get(context, reference)] as const)
  }

  sendable(call: Call, thread: Thread): Sendable {
    return withNumbers(call.args, (remote) => {
      const handle = handleOf(remote)
      if (handle === undefined) return undefined
      const reason = this.whyStale(handle)
      if (reason !== undefined) return { error: stale(this.name, call, handle.thread, reason) }
      if (handle.thread === thread) return handle.object
      return call.pinned === undefined
        ? { moveTo: handle }
        : { error: stale(this.name, call, handle.thread, "elsewhere") }
    })
  }

  pinned(thread: Thread, call: Call, handle: Handle): void {
    call.cancelTimer?.()
    if (call.state !== "sent") return
    call.pinned = handle
    call.state = "new"
    this.tally.totals.sent--
    this.place(call)
    handle.thread.flush()
    if (thread.isIdle) this.schedule()
  }

  log(call: Call | undefined, log: WireLog): void {
    this.guarded(() => replayLog(call?.context ?? this.timers.context, log))
  }

  span(call: Call | undefined, span: WireSpan): void {
    this.guarded(() => {
      if (call === undefined) replayLateSpan(this.timers.context, span)
      else this.replayOf(call).tell(span)
    })
  }

  /** Where the spans of a call go: those of pulls from one source belong together. */
  private replayOf(call: Call): SpanReplay {
    const owner = call.pinned !== undefined && belongsToEarlier(call) ? call.pinned : call
    return (owner.spans ??= new SpanReplay(call.context))
  }

  /** A logger or a tracer that throws must not take the replies with it that come in the same message. */
  private guarded(f: () => void): void {
    try {
      f()
    } catch (error) {
      this.timers.fork(Effect.logError("a logger or a tracer failed with what a thread told", error))
    }
  }
}

/** How long letting go of an object waits for its disposal where tasks are never stopped, in milliseconds. */
const longestDisposal = 30_000

const pauseAfter = (failures: number): number => Math.min(firstPause * 2 ** (failures - 1), longestPause)

const opOf = ({ target }: Call): string | undefined =>
  target instanceof RemoteFunction || typeof target === "number" ? undefined : target.op

const isDisposal = (call: Call): boolean => opOf(call) === "dispose"

/** Pulls from a source, and disposals. */
const belongsToEarlier = (call: Call): boolean => opOf(call) === "pull" || isDisposal(call)

const createsObject = (call: Call): boolean => opOf(call) === "create"

const isLessBusy = (a: Thread, b: Thread, call: Call): boolean =>
  createsObject(call) && a.objects !== b.objects
    ? a.objects < b.objects
    : a.load !== b.load
      ? a.load < b.load
      : a.inFlight < b.inFlight
