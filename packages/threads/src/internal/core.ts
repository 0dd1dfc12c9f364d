import type * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SchedulerDispatcher } from "effect/Scheduler"
import { Pool } from "@cenote/pool"
import {
  QueueFull,
  type SpawnFailed,
  type ThreadCrashed,
  type ThreadError,
  ThreadPoolClosed
} from "../ThreadError.ts"
import { belongsToEarlier, type Call, createsObject, type Handle, isDisposal } from "./call.ts"
import { decodeError } from "./decode.ts"
import { Drain } from "./drain.ts"
import { extraOf, referencesIn } from "./extra.ts"
import { Growth } from "./growth.ts"
import { Line } from "./line.ts"
import { Moving } from "./moving.ts"
import { Objects, whyStale } from "./objects.ts"
import { replayLateSpan, replayLog, replayOf, traceWait } from "./observe.ts"
import type { Settings } from "./options.ts"
import { crashed, refusal, stale, taskFailed, unsendable } from "./outcome.ts"
import { type Extra, Status, type WireLog, type WireSpan } from "./protocol.ts"
import { Rest } from "./rest.ts"
import { Shutdown } from "./shutdown.ts"
import { Stopping } from "./stopping.ts"
import type { Owner, Reply, Sendable, Thread } from "./thread.ts"
import type { Tally } from "./tally.ts"
import type { Timers } from "./timers.ts"

/** Threads that may die young under a call before they begin it. Then its caller hears, as no other may do better. */
const mostMisses = 10

/**
 * The scheduler: one line of calls, the threads that the pool has lent it, and what is with each of them.
 *
 * Threads themselves are resources of a {@link Pool}: it starts them, with retries and back-off, keeps `min` of them
 * warm, retires those that rest, and closes them. A thread is borrowed while it has anything to do, or holds objects.
 * Which call goes to which thread is decided here, since calls are sent ahead, moved, and pinned.
 *
 * This is one synchronous state machine. What comes up only at times has files of its own, which work on its state:
 * growing, moving what was sent ahead, stopping, objects, and the drain and the end of the pool.
 */
export class Core implements Owner {
  /** `closing`: nothing new is taken, and what was taken is still run; `closed`: nothing is. */
  state: "open" | "closing" | "closed" = "open"
  min: number
  max: number

  /** Calls that no thread has. */
  readonly line = new Line()
  /** The same for calls that create objects: one that waits for a thread of its own holds up nothing else. */
  readonly creations = new Line()
  /** Calls that came while the pool drains. */
  readonly held = new Line()
  /** Done with the drain that goes on; `undefined` while none does. */
  draining: Deferred.Deferred<void> | undefined = undefined
  /** Whether `min` was put down to 0 by a drain, to be put back by the next call. */
  cold = false

  /** The threads that the pool has lent, which calls can be sent to. */
  readonly threads = new Set<Thread>()
  /** All threads that are up, lent or not. */
  readonly alive = new Set<Thread>()
  /** The thread's side on this very thread, for calls that are not to leave it; `undefined` until there is one. */
  inlineThread: Thread | undefined = undefined
  /** Whether calls never leave this thread. */
  readonly onlyInline: boolean
  private readonly makeInline: (owner: Core) => Thread
  /** Whether it was said that calls run here for want of threads. */
  private warnedOfNone = false

  /** Whether {@link pump} is about to run, or runs. */
  private scheduled = false
  private pumping = false
  /** Pumps so far. A call that is sent in the first after it came has not had to wait. */
  pumps = 0

  readonly growth = new Growth(this)
  readonly moving = new Moving(this)
  readonly stopping = new Stopping(this)
  readonly objects = new Objects(this)
  readonly rest = new Rest(this)
  private readonly drains = new Drain(this)
  private readonly ending = new Shutdown(this)

  readonly settings: Settings
  readonly timers: Timers
  readonly pool: Pool.Pool<Thread, SpawnFailed>
  readonly tally: Tally
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
  }

  get name(): string {
    return this.settings.name
  }

  // ---------------------------------------------------------------------------
  // Calls in
  // ---------------------------------------------------------------------------

  submit(call: Call): void {
    this.tally.totals.calls++
    this.place(call)
  }

  /** Sends a call on its way, unless its caller has given up. */
  place(call: Call): void {
    if (call.state !== "new") return
    if (this.state !== "open")
      return this.refuse(call, new ThreadPoolClosed({ pool: this.name, task: call.name }))
    // What belongs to something that was begun before goes on while the pool drains, as does what never goes to its threads.
    const isApart = call.inline && !this.onlyInline && this.max > 0
    const isHeld = this.draining !== undefined && !isApart && !belongsToEarlier(call)
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
    if (this.cold && line !== this.held) this.drains.warm()
    // What is held waits for the end of a drain, whenever the next pump is.
    this.joins(call, isHeld ? this.pumps - 1 : this.pumps, call.submittedAt)
    line.push(call)
    this.schedule()
  }

  private placePinned(call: Call, handle: Handle): void {
    const { thread } = handle
    const reason = whyStale(this, handle)
    if (reason !== undefined) return this.refuse(call, stale(this.name, call, thread, reason))
    if (thread.hasSlot && thread.backlog.size === 0) this.send(thread, call)
    else thread.backlog.push(call)
    this.schedule()
  }

  /** Whether a line may not get longer. Those for whom a thread is being started, or can be had now, do not wait. */
  private isFull(line: Line, call: Call): boolean {
    const { maxQueue } = this.settings
    if (maxQueue === Infinity) return false
    const waiting = line === this.held ? line.size : this.waiting
    if (waiting < maxQueue) return false
    if (line === this.held) return true
    const now = this.timers.now()
    const { growth } = this
    const toCome = growth.isAllowed ? Math.max(0, this.max - this.threads.size) : growth.asked
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

  refuse(call: Call, error: ThreadError): void {
    if (call.state !== "new") return
    call.state = "done"
    this.tally.totals.rejected++
    const exit = Exit.fail(error)
    this.waitEnded(call, exit)
    call.resume(exit)
  }

  /** A call is about to join a line, unless it has stood in one before and gone from it to another. */
  joins(call: Call, pump: number, at: number): void {
    if (call.joinedIn !== -1) return
    call.joinedIn = pump
    call.joinedAt = at
  }

  /** A call has left the lines for good, or for now: shows in its caller's trace what it had to wait. */
  waitEnded(call: Call, exit: Exit.Exit<unknown, unknown>): void {
    const { joinedIn } = call
    if (joinedIn === -1) return
    call.joinedIn = -1
    const hasWaited = exit._tag === "Success" ? this.pumps > joinedIn + 1 : this.pumps > joinedIn
    if (hasWaited) traceWait(this, call, exit)
  }

  /** All for which a thread is sought, as new. */
  takeWaiting(): ReadonlyArray<Call> {
    return [...this.creations.takeAll(), ...this.line.takeAll()]
  }

  refuseAll(): void {
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
  get waiting(): number {
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
    this.moving.watch()
    this.rest.check()
  }

  private sendAll(): void {
    this.pumps++
    if (this.waiting > 0 && this.state !== "closed") {
      this.serve(this.timers.now())
    }
    for (const thread of this.threads) thread.flush()
    this.inlineThread?.flush()
  }

  /** The oldest first, whichever line it is in. Only those that create objects are passed by others while they wait. */
  private serve(now: number): void {
    let creationsWait = false
    for (let line = this.oldest(creationsWait); line.head !== undefined; line = this.oldest(creationsWait)) {
      const call = line.head
      const thread = this.choose(call, now)
      if (thread !== undefined) {
        line.shift()
        this.send(thread, call, now)
      } else if (line === this.creations) creationsWait = true
      else return
    }
  }

  /** The line whose head came first. */
  private oldest(withoutCreations: boolean): Line {
    const { creations, line } = this
    if (withoutCreations || creations.head === undefined) return line
    return line.head !== undefined && line.head.serial < creations.head.serial ? line : creations
  }

  /** An idle thread, a new one if there may be more, or the least busy of those that may get a call ahead of time. */
  private choose(call: Call, now: number): Thread | undefined {
    // Objects stay: they are spread over as many threads as there may be.
    const most = createsObject(call) ? 0 : Infinity
    const idle = this.idle(most)
    if (idle !== undefined) return idle
    const { growth } = this
    // Looked at before each: a start that fails at once is followed by a pause.
    while (growth.asked < this.waiting && this.threads.size + growth.asked < this.max && growth.isAllowed) {
      growth.ask()
      const lent = this.idle(most)
      if (lent !== undefined) return lent
    }
    // One that is about to be there has no objects yet.
    if (growth.isAllowed && most === 0 && growth.asked > 0) return undefined
    let best: Thread | undefined
    for (const thread of this.threads) {
      if (thread.admits(call, now) && (best === undefined || isLessBusy(thread, best, call))) best = thread
    }
    return best ?? this.spared()
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
  idle(most = Infinity): Thread | undefined {
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
      call.cancelTimer = this.timers.after(taskTimeout, () => this.stopping.timedOut(call))
  }

  // ---------------------------------------------------------------------------
  // Calls out
  // ---------------------------------------------------------------------------

  ended(thread: Thread, call: Call, reply: Reply): void {
    call.cancelTimer?.()
    // A thread that ends a call is well.
    this.growth.diedYoung = 0
    if (this.isWorn(thread)) this.retire(thread)
    if (call.state === "abandoned") {
      call.state = "done"
      if (reply.status === Status.remote || reply.status === Status.stream) {
        this.objects.release(thread, reply.value.object, 1)
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
        return Exit.succeed(this.objects.received(thread, call, value))
      case Status.stream:
        return this.objects.opened(thread, call, value)
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

  heard(thread: Thread): void {
    for (let call = thread.backlog.head; call !== undefined && thread.hasSlot; call = thread.backlog.head) {
      thread.backlog.shift()
      this.send(thread, call)
    }
    if (thread.isIdle) thread.onRest?.()
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
    call.resume(
      Exit.fail(refusal(this.name, call, error, referencesIn(call.context, this.settings.references)))
    )
    this.schedule()
  }

  // ---------------------------------------------------------------------------
  // Threads
  // ---------------------------------------------------------------------------

  /** Takes over a thread that the pool has lent. */
  adopt(thread: Thread): void {
    thread.leased = true
    thread.retiring = false
    this.threads.add(thread)
    if (thread.state !== "ready") this.giveBack(thread)
    else this.schedule()
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

  retire(thread: Thread): void {
    thread.retiring = true
    thread.condemned = true
    this.timers.fork(Pool.invalidate(this.pool, thread))
  }

  giveBack(thread: Thread): void {
    if (!thread.leased) return
    thread.leased = false
    this.threads.delete(thread)
    // Once more, should it have ended before the pool had it.
    if (thread.state !== "ready") this.retire(thread)
    this.timers.fork(Effect.orDie(Pool.release(this.pool, thread)))
    if (this.waiting > 0) this.schedule()
  }

  /** A thread has ended, or is being stopped: what it had begun fails, what it had not goes elsewhere. */
  died(thread: Thread, reason: ThreadCrashed["reason"], cause: unknown): void {
    if (thread.state === "dead") return
    const wasTold = thread.state === "closing"
    const moved = this.moving.takeBack(thread)
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
      if (this.growth.died(thread, reason, now)) for (const call of moved) call.misses++
      if (reason === "killed") this.tally.tell("ThreadKilled", told)
      else this.tally.tell("ThreadCrashed", { ...told, reason })
    }
    if (thread.leased) this.giveBack(thread)
    else if (!thread.retiring) this.retire(thread)
    for (const call of moved) {
      if (call.misses >= mostMisses) this.refuse(call, crashed(this.name, call, thread, false, reason, cause))
    }
    this.moving.putBack(thread, moved)
    for (const call of thread.backlog.takeAll()) {
      this.refuse(call, stale(this.name, call, thread, "threadEnded"))
    }
    for (const call of failing) {
      const error = crashed(this.name, call, thread, started.get(call) ?? true, reason, cause)
      this.finished(thread, call, undefined, Exit.fail(error))
    }
    this.schedule()
  }

  /** A thread has ended, or the pool has done with it. One in quarantine lives on. */
  left(thread: Thread): void {
    if (thread.quarantined && !thread.isIdle) return
    if (thread.state !== "dead") thread.state = "closing"
    this.alive.delete(thread)
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
            this.growth.callOff(max)
            if (max === 0) for (const call of this.takeWaiting()) this.place(call)
            // A drain may have ended between the two.
            if (drains && this.draining === undefined && !this.cold) this.drains.warm()
            this.pump()
          })
        )
      })
    )
  }

  /** Lets everything that was submitted end, and then the threads. Calls that come meanwhile wait. */
  drain(): Effect.Effect<void> {
    return this.drains.run()
  }

  /** Replaces every thread, as soon as it has ended what it is at. */
  recycle(): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const thread of this.threads) if (!thread.retiring) this.retire(thread)
      this.schedule()
      return Pool.recycle(this.pool)
    })
  }

  /** Lets what somebody waits for end within `closeTimeout`, and stops everything. */
  close(): Effect.Effect<void> {
    return this.ending.run()
  }

  /** Disposes of an object in its thread, and waits for it, though not longer than a task may take to stop. */
  dispose(handle: Handle): Effect.Effect<void> {
    return this.objects.dispose(handle)
  }

  // ---------------------------------------------------------------------------
  // What travels
  // ---------------------------------------------------------------------------

  extra(call: Call): Extra | undefined {
    return extraOf(call, this.settings.references)
  }

  sendable(call: Call, thread: Thread): Sendable {
    return this.objects.sendable(call, thread)
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
      else replayOf(call).tell(span)
    })
  }

  /** A logger or a tracer that throws must not take the replies with it that come in the same message. */
  guarded(f: () => void): void {
    try {
      f()
    } catch (error) {
      this.timers.fork(Effect.logError("a logger or a tracer failed with what a thread told", error))
    }
  }
}

const isLessBusy = (a: Thread, b: Thread, call: Call): boolean =>
  createsObject(call) && a.objects !== b.objects
    ? a.objects < b.objects
    : a.load !== b.load
      ? a.load < b.load
      : a.inFlight < b.inFlight
