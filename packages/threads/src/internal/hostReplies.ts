import { findUncloneable, transferablesIn } from "./clone.ts"
import type { Environment } from "./host.ts"
import { FromThread, Status } from "./protocol.ts"

/** Replies do not wait for others longer than this before the next task begins, in milliseconds. */
const replyWithin = 0.1

/** Pauses between two readings of the heap, in milliseconds. */
const heapPause = 100

/** What one thread has to tell the pool, and has not sent: it goes out together, in one message. */
export class Replies {
  /** Operations, one after the other, in the order in which they came. */
  private waiting: Array<unknown> = []
  /** What moves with them. */
  private transfers: Array<object> = []
  /** Whether a reply among them has an object for its value. */
  private holdsObject = false
  /** When replies were last sent, in milliseconds. */
  private sentAt = 0
  /** Whether it tells how much of the heap is in use. */
  tellsHeap = false
  /** When it last did, in milliseconds. */
  private heapAt = 0

  private readonly environment: Environment

  constructor(environment: Environment) {
    this.environment = environment
  }

  /** A call has ended. */
  done(slot: number, status: Status, value: unknown, ran: number): void {
    this.waiting.push(FromThread.done, slot, status, value, ran)
  }

  /** Something else is to be told. */
  tell(operation: ReadonlyArray<unknown>): void {
    this.waiting.push(...operation)
  }

  /** Moves objects along with the value of the last reply. */
  move(objects: ReadonlyArray<object>): void {
    this.transfers.push(...objects)
  }

  /**
   * Sees to it that an object goes in another message than those before it. Within one message, what is the same object
   * here is the same object there: callers must not share theirs.
   */
  keepApart(value: unknown): void {
    if (typeof value !== "object" || value === null) return
    if (this.holdsObject) this.flush()
    this.holdsObject = true
  }

  /** Lets replies go that would wait too long for the end of what begins, which takes about so many milliseconds. */
  flushBefore(estimate: number): void {
    if (this.waiting.length === 0) return
    if (estimate > replyWithin || this.environment.now() - this.sentAt > replyWithin) this.flush()
  }

  /** Sends the replies there are, in one message. */
  flush(): void {
    if (this.tellsHeap) this.tellHeap()
    if (this.waiting.length === 0) return
    const { transfers, waiting } = this
    this.waiting = []
    this.transfers = []
    this.holdsObject = false
    this.sentAt = this.environment.now()
    try {
      this.environment.post(waiting, transfers)
    } catch {
      this.flushOneByOne(waiting, new Set(transfers))
    }
  }

  /** Something in the replies could not cross: finds out what, and lets the others go. */
  private flushOneByOne(replies: ReadonlyArray<any>, moved: ReadonlySet<object>): void {
    for (let i = 0; i < replies.length;) {
      const length = operands[replies[i] as number]! + 1
      const operation = replies.slice(i, i + length)
      i += length
      try {
        const own = transferablesIn(operation, "all").filter((one) => moved.has(one))
        this.environment.post(operation, [...new Set([...own, ...transferablesIn(operation, "movableOnly")])])
      } catch (error) {
        if (operation[0] !== FromThread.done) continue
        const place = findUncloneable(operation[3], "result") ?? { path: "result", found: String(error) }
        this.environment.post(operation.with(2, Status.notCloneable).with(3, place), [])
      }
    }
  }

  private tellHeap(): void {
    const now = this.environment.now()
    if (this.environment.heapUsed === undefined || now - this.heapAt < heapPause) return
    this.heapAt = now
    this.waiting.push(FromThread.heap, this.environment.heapUsed())
  }
}

/** Number of operands, by tag. */
const operands: Record<number, number> = {
  [FromThread.ready]: 1,
  [FromThread.failedToStart]: 1,
  [FromThread.done]: 4,
  [FromThread.log]: 2,
  [FromThread.span]: 2,
  [FromThread.heap]: 1
}
