import { transferablesIn } from "./clone.ts"
import { type Call, type Handle, RemoteFunction } from "./call.ts"
import { Line } from "./line.ts"
import {
  beganAt,
  Cell,
  cellOf,
  type Extra,
  FromThread,
  memoryLength,
  realTime,
  slotsPerThread,
  Status,
  ToThread,
  type WireLog,
  type WireSpan
} from "./protocol.ts"

/** How to reach a thread. `post` throws when something in the message cannot cross. */
export interface Channel {
  readonly post: (message: ReadonlyArray<unknown>, transfer: ReadonlyArray<object>) => void
  /** Stops it in the middle of whatever it does; `undefined` where that is impossible. */
  readonly terminate: (() => void) | undefined
}

/** What a thread tells whoever made it. */
export interface Owner {
  /** What else goes with a call. */
  readonly extra: (call: Call) => Extra | undefined
  /** The arguments with the numbers of objects in place of their remotes, or the reason why that is impossible. */
  readonly sendable: (call: Call, thread: Thread) => Sendable
  /** A call ended in the thread. */
  readonly ended: (thread: Thread, call: Call, reply: Reply) => void
  /** A call has to go where an object among its arguments is. */
  readonly pinned: (thread: Thread, call: Call, handle: Handle) => void
  /** A call cannot be sent. */
  readonly refused: (call: Call, error: unknown) => void
  /** A thread has told everything that was in one message. */
  readonly heard: (thread: Thread) => void
  readonly log: (call: Call | undefined, log: WireLog) => void
  readonly span: (call: Call | undefined, span: WireSpan) => void
}

export type Sendable =
  | { readonly args: ReadonlyArray<unknown>; readonly objects: Extra["objects"] }
  | { readonly error: unknown }
  /** An object among them lives in another thread, to which the call can go. */
  | { readonly moveTo: Handle }

export interface Reply {
  readonly status: Status
  readonly value: any
  /** Milliseconds that it ran. */
  readonly ran: number
}

/** Calls of unknown length, and how much more than one thread's worth of short ones may be with a thread: milliseconds. */
const aheadBudget = 0.5

/** Functions that a thread knows at one time. */
const mostKnown = 2000

/** Without a reply for so long, a thread is at something that takes its time: milliseconds. */
const stuckAfter = 2

/** The most calls that are sent ahead to one thread. */
const mostAhead = 256

/** A thread as the pool sees it: what is with it, and how to talk to it. */
export class Thread {
  readonly id: number
  readonly concurrency: number
  /** Shared with the thread; `undefined` where memory cannot be shared. */
  memory: Int32Array | undefined
  channel: Channel | undefined = undefined
  /** Calls with the thread, by slot. A call that was withdrawn is not there any more, but has its slot. */
  private readonly calls: Array<Call | undefined> = []
  /** What the call of a slot counts for in {@link load}, for each slot that is taken; a call on an object: `onObject`. */
  private readonly loads: Array<number | undefined> = []
  private readonly freeSlots: Array<number> = []
  /** Taken slots: calls that the thread has not replied to, withdrawn ones included. */
  inFlight = 0
  /** Those of them that are not about an object. */
  unpinned = 0
  /** About how long those take whose length is known, in milliseconds, and how many there are besides. */
  private knownLoad = 0
  private unknown = 0
  /** Calls that it has begun, and that nobody wants. */
  private aborted = 0
  /** Calls on its objects for which there is no slot. */
  readonly backlog = new Line()
  /** Objects in the thread that somebody here still refers to. */
  objects = 0
  /** Ready to be sent. */
  private outbox: Array<unknown> = []
  private transfers: Array<object> = []
  /** Whether a call in the outbox has an object among its arguments. */
  private holdsObject = false
  /** Whether something in the outbox has to be looked at before it is sent. */
  private needsCare = false
  /** Functions that the thread has been told of, by number. */
  private readonly known = new Set<number>()

  /** `closing`: it is told to end; `dead`: it has ended, or is being stopped. */
  state: "starting" | "ready" | "closing" | "dead" = "starting"
  /** It gets no calls any more except those on its objects, and goes when it has nothing to do. */
  retiring = false
  /** The pool will close it when it comes back, whatever its size is then. */
  condemned = false
  /** A call that must not be killed does not stop: as `retiring`, and nothing waits for it. */
  quarantined = false
  /** The pool has lent it to the scheduler. */
  leased = false

  /** Calls that it has ended. */
  ended = 0
  heapUsed = 0
  /** Monotonic milliseconds, as all of the following. */
  readonly startedAt: number
  /** Since when it has something to do; `undefined` when it has not. */
  busySince: number | undefined = undefined
  /** Time for which it had something to do, in milliseconds. */
  busyMillis = 0
  lastReplyAt = 0
  /** When it last got on with calls that are not about an object: ended one, or got one when it had none. */
  progressAt = 0

  /** Called when it has nothing to do any more. */
  onRest: (() => void) | undefined = undefined

  /** When the thread was made, by {@link realTime}. */
  readonly epoch = realTime()
  /** Whether it matters since when a call runs. */
  timed = false

  private readonly owner: Owner

  constructor(
    id: number,
    concurrency: number,
    owner: Owner,
    now: number,
    memory: "shared" | "none" = "shared"
  ) {
    this.id = id
    this.concurrency = concurrency
    this.owner = owner
    this.startedAt = now
    this.memory =
      memory === "none" || typeof SharedArrayBuffer === "undefined"
        ? undefined
        : new Int32Array(new SharedArrayBuffer(4 * memoryLength))
  }

  /** Whether a call that any thread can run may be sent now. */
  admits(call: Call, now: number): boolean {
    if (this.retiring || this.state !== "ready") return false
    if (!this.hasSlot) return false
    if (this.unpinned < this.concurrency) return true
    if (this.memory === undefined || this.unpinned >= mostAhead || call.movesArguments) return false
    // Nor is anything sent ahead to a thread that does not get on.
    if (this.aborted > 0 || this.isStuck(now)) return false
    // What is sent ahead must be short, and so must what it waits for.
    return this.load + estimateOf(call) <= aheadBudget
  }

  /** Whether it may go on working although it is to go. */
  get mayBeSpared(): boolean {
    return (
      this.state === "ready" &&
      !this.quarantined &&
      this.objects > 0 &&
      this.unpinned < this.concurrency &&
      this.hasSlot
    )
  }

  /** Whether calls on its objects may be sent to it. */
  get servesObjects(): boolean {
    return this.state === "ready" && !this.quarantined
  }

  /** About how long what is with the thread takes, in milliseconds. */
  get load(): number {
    return this.unknown > 0 ? Infinity : this.knownLoad
  }

  /** Whether what it is at takes longer than what may be waited for. */
  private isStuck(now: number): boolean {
    if (this.busySince === undefined) return false
    // Replies of its objects say nothing of the call that others wait behind.
    return now - Math.min(Math.max(this.lastReplyAt, this.busySince), this.progressAt) >= stuckAfter
  }

  get hasSlot(): boolean {
    return this.memory === undefined || this.inFlight < slotsPerThread
  }

  isOf(owner: Owner): boolean {
    return this.owner === owner
  }

  /** Whether somebody waits for anything that is with it. */
  get isWanted(): boolean {
    return this.backlog.size > 0 || this.calls.some((call) => call?.state === "sent")
  }

  get isIdle(): boolean {
    return this.inFlight === 0
  }

  send(call: Call, now: number): void {
    const slot = this.freeSlots.pop() ?? this.calls.length
    const load = call.pinned === undefined ? estimateOf(call) : onObject
    this.calls[slot] = call
    this.loads[slot] = load
    if (this.memory !== undefined) Atomics.store(this.memory, cellOf(slot), Cell.queued)
    call.state = "sent"
    call.thread = this
    call.slot = slot
    call.sentAt = now
    if (this.timed) call.sentReal = Math.floor(realTime() - this.epoch)
    if (this.inFlight++ === 0) this.busySince = now
    if (load !== onObject) {
      if (this.unpinned++ === 0) this.progressAt = now
      if (load === Infinity) this.unknown++
      else this.knownLoad += load
    }
    this.write(call)
  }

  private write(call: Call): void {
    const { args, target } = call
    let sent: unknown = target
    if (target instanceof RemoteFunction) {
      sent = target.number
      if (!this.known.has(target.number)) {
        // A program that makes up its functions as it goes must not fill the thread with them.
        if (this.known.size === mostKnown) {
          this.known.clear()
          this.outbox.push(ToThread.forget)
        }
        this.known.add(target.number)
        this.outbox.push(ToThread.define, target.number, target.spec)
      }
    }
    const extra = this.owner.extra(call)
    // Within one message, what is the same object here is the same object there: calls must not share theirs.
    if (extra?.references !== undefined || args.some(isObject)) {
      if (this.holdsObject) this.flush()
      this.holdsObject = true
    }
    this.outbox.push(ToThread.call, call.slot, sent, extra, args.length)
    for (const arg of args) {
      // A remote, or else what cannot be sent: not every platform's messages fail over it.
      if (typeof arg === "function") this.needsCare = true
      this.outbox.push(arg)
    }
    if (call.transfers.length > 0) this.transfers.push(...call.transfers)
  }

  tell(...operation: ReadonlyArray<unknown>): void {
    this.outbox.push(...operation)
  }

  /** Sends what is ready, in one message. */
  flush(): void {
    if (this.outbox.length === 0 || this.channel === undefined) return
    const { outbox, transfers } = this
    this.outbox = []
    this.transfers = []
    this.holdsObject = false
    if (this.needsCare) return this.flushOneByOne(outbox)
    try {
      this.post(outbox, transfers)
    } catch {
      this.flushOneByOne(outbox)
    }
  }

  private post(message: ReadonlyArray<unknown>, transfers: ReadonlyArray<object>): void {
    this.channel!.post(message, transfers)
    // A thread that looks out for the next message sees it by this.
    if (this.memory !== undefined) Atomics.add(this.memory, 0, 1)
  }

  /** Something in the message cannot cross. Nothing of it was sent: finds out what, and sends the rest. */
  private flushOneByOne(outbox: ReadonlyArray<any>): void {
    this.needsCare = false
    for (let i = 0; i < outbox.length;) {
      const tag: number = outbox[i]
      const length = 1 + operands[tag]! + (tag === ToThread.call ? outbox[i + 4] : 0)
      const operation = outbox.slice(i, i + length)
      i += length
      const call = tag === ToThread.call ? this.calls[operation[1] as number] : undefined
      if (call?.args.some((arg) => typeof arg === "function") === true) {
        this.sendWithRemotes(call, operation)
        continue
      }
      try {
        if (call !== undefined || tag !== ToThread.call) {
          const transfers = call === undefined ? [] : transfersOf(call)
          this.post(operation, transfers)
          if (call !== undefined && transfers.length > 0) call.movesArguments = true
        } else this.free(operation[1] as number, this.busySince ?? 0)
      } catch {
        if (call !== undefined) this.sendWithRemotes(call, operation)
      }
    }
  }

  private sendWithRemotes(call: Call, operation: ReadonlyArray<any>): void {
    try {
      const sendable = this.owner.sendable(call, this)
      if ("error" in sendable) throw sendable.error
      if ("moveTo" in sendable) {
        this.free(call.slot, call.sentAt)
        this.owner.pinned(this, call, sendable.moveTo)
        return
      }
      const extra: Extra | undefined =
        sendable.objects === undefined ? operation[3] : { ...operation[3], objects: sendable.objects }
      if (sendable.args.some((arg) => typeof arg === "function"))
        throw new TypeError("functions cannot be sent")
      const transfers = transfersOf(call)
      this.post([...operation.slice(0, 3), extra, sendable.args.length, ...sendable.args], transfers)
      if (transfers.length > 0) call.movesArguments = true
    } catch (error) {
      this.free(call.slot, call.sentAt)
      this.owner.refused(call, error)
    }
  }

  /** Takes a message from the thread. */
  receive(message: ReadonlyArray<any>, now: number): void {
    this.lastReplyAt = now
    for (let i = 0; i < message.length;) {
      switch (message[i]) {
        case FromThread.done: {
          const slot: number = message[i + 1]
          const call = this.calls[slot]
          const reply: Reply = {
            status: message[i + 2],
            value: message[i + 3],
            ran: message[i + 4]
          }
          i += 5
          this.free(slot, now)
          if (call === undefined) break
          this.ended++
          if (reply.status !== Status.withdrawn && call.target instanceof RemoteFunction) {
            call.target.ran(reply.ran)
          }
          this.owner.ended(this, call, reply)
          break
        }
        case FromThread.log:
          this.owner.log(this.calls[message[i + 1] as number], message[i + 2])
          i += 3
          break
        case FromThread.span:
          this.owner.span(this.calls[message[i + 1] as number], message[i + 2])
          i += 3
          break
        case FromThread.heap:
          this.heapUsed = message[i + 1]
          i += 2
          break
        default:
          i = message.length
      }
    }
    this.owner.heard(this)
  }

  private free(slot: number, now: number): void {
    const load = this.loads[slot]
    // A reply that was on its way when the thread was given up.
    if (load === undefined) return
    this.loads[slot] = undefined
    if (this.calls[slot]?.aborted === true) this.aborted--
    this.calls[slot] = undefined
    this.freeSlots.push(slot)
    if (--this.inFlight === 0) this.rest(now)
    if (load === onObject) return
    this.progressAt = Math.max(this.progressAt, now)
    this.unpinned--
    if (load === Infinity) this.unknown--
    else this.knownLoad -= load
    // What rounding leaves must not add up.
    if (this.unpinned === 0) this.knownLoad = 0
  }

  private rest(now: number): void {
    if (this.busySince !== undefined) this.busyMillis += now - this.busySince
    this.busySince = undefined
  }

  /** Keeps the thread from beginning a call that it has not begun; `false` when it has. */
  withdraw(call: Call): boolean {
    if (this.memory === undefined) return false
    const { slot } = call
    const won =
      Atomics.compareExchange(this.memory, cellOf(slot), Cell.queued, Cell.withdrawn) === Cell.queued
    if (won) {
      this.calls[slot] = undefined
      // If it has not been sent, what it was to move stays here.
      if (call.transfers.length > 0) this.needsCare = true
    }
    return won
  }

  /** Whether the thread has begun a call. Without shared memory it is taken for begun. */
  hasStarted(call: Call): boolean {
    return this.memory === undefined || Atomics.load(this.memory, cellOf(call.slot)) !== Cell.queued
  }

  /**
   * For how long a call has run, in milliseconds; without shared memory it is taken for running since it was sent. What it
   * waited in the thread before is taken off, by a clock that both sides have: the pool's may be that of a test.
   */
  ranFor(call: Call, now: number): number {
    const there = now - call.sentAt
    if (this.memory === undefined) return there
    if (!this.hasStarted(call)) return 0
    return there - Math.max(0, Atomics.load(this.memory, beganAt(call.slot)) - call.sentReal)
  }

  /** Tells the thread that nobody wants the result of a call that it has begun. */
  abort(call: Call): void {
    if (this.memory !== undefined) {
      Atomics.compareExchange(this.memory, cellOf(call.slot), Cell.started, Cell.aborted)
    }
    call.aborted = true
    this.aborted++
    this.tell(ToThread.abort, call.slot)
    this.flush()
  }

  /** Whether a call is with the thread, and not an older one in its slot. */
  has(call: Call): boolean {
    return call.thread === this && this.calls[call.slot] === call
  }

  /** Whether there is a call that it has not begun, and that another thread could run. */
  get hasAhead(): boolean {
    const { memory } = this
    if (memory === undefined || this.unpinned === 0 || this.inFlight < 2) return false
    return this.calls.some(
      (call, slot) =>
        call?.state === "sent" &&
        call.pinned === undefined &&
        !call.movesArguments &&
        Atomics.load(memory, cellOf(slot)) === Cell.queued
    )
  }

  /** What is with the thread. */
  get withIt(): ReadonlyArray<Call> {
    return this.calls.filter((_) => _ !== undefined)
  }

  /** Forgets what is with the thread, which has ended, and gives it. */
  abandon(now: number): ReadonlyArray<Call> {
    const calls = this.withIt
    this.calls.length = this.loads.length = this.freeSlots.length = 0
    this.inFlight = this.unpinned = this.knownLoad = this.unknown = this.aborted = this.objects = 0
    this.outbox = []
    this.rest(now)
    this.state = "dead"
    return calls
  }
}

/** Number of operands, by tag; a call has its arguments besides. */
const operands: Record<number, number> = {
  [ToThread.configure]: 1,
  [ToThread.call]: 4,
  [ToThread.define]: 2,
  [ToThread.abort]: 1,
  [ToThread.release]: 2,
  [ToThread.forget]: 0
}

const onObject = -1

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null

const estimateOf = ({ target }: Call): number => (target instanceof RemoteFunction ? target.estimate : 0)

/** What is marked to be moved in the arguments, and what cannot but be moved. */
const transfersOf = ({ args, transfers }: Call): ReadonlyArray<object> => [
  ...new Set([...transfers, ...transferablesIn(args, "movableOnly")])
]
