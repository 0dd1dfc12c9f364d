import { PoolRegistry } from "@cenote/pool"
import * as PubSub from "effect/PubSub"
import type { Outcome, ThreadEvent } from "../ThreadEvent.ts"
import type { Call } from "./call.ts"
import type { Reply, Thread } from "./thread.ts"
import type { Timers } from "./timers.ts"

/** Ends the events, and is none: nobody sees it. */
export const lastEvent = { _tag: "Drained", pool: "", at: 0 } satisfies ThreadEvent as ThreadEvent

/** What a thread pool counts, and tells those who listen. */
export class Tally {
  /** Those who listen now. Nothing is told while there are none. */
  listeners = 0
  readonly recorders = new PoolRegistry.Recorders()
  readonly totals = {
    calls: 0,
    sent: 0,
    succeeded: 0,
    failed: 0,
    interrupted: 0,
    timedOut: 0,
    crashed: 0,
    rejected: 0,
    moved: 0,
    crashes: 0,
    killed: 0,
    quarantined: 0,
    /** Milliseconds, as the next two. */
    waited: 0,
    ran: 0,
    transport: 0
  }
  readonly events: PubSub.PubSub<ThreadEvent>
  private readonly name: string
  private readonly timers: Timers

  constructor(name: string, timers: Timers, events: PubSub.PubSub<ThreadEvent>) {
    this.name = name
    this.timers = timers
    this.events = events
  }

  tell<Tag extends ThreadEvent["_tag"]>(
    tag: Tag,
    fields: Omit<Extract<ThreadEvent, { readonly _tag: Tag }>, "_tag" | "pool" | "at">
  ): void {
    const recorder = this.recorders.all
    if (this.listeners === 0 && recorder === undefined) return
    const at = this.timers.clock.currentTimeMillisUnsafe()
    const event = { _tag: tag, pool: this.name, at, ...fields } as unknown as ThreadEvent
    if (this.listeners > 0) PubSub.publishUnsafe(this.events, event)
    // Calls that ended are counted one by one.
    if (tag !== "CallEnded") recorder?.told(event)
  }

  /** A call that was with a thread has ended for its caller; without a reply when the thread has not. */
  ended(thread: Thread, call: Call, outcome: Outcome, reply: Reply | undefined): void {
    const ran = reply?.ran ?? (thread.hasStarted(call) ? Math.max(0, this.timers.now() - call.sentAt) : 0)
    const waited = call.sentAt - call.submittedAt
    const transport = reply === undefined ? 0 : Math.max(0, thread.lastReplyAt - call.sentAt - ran)
    const { totals } = this
    totals[outcome]++
    totals.waited += waited
    totals.ran += ran
    totals.transport += transport
    const recorder = this.recorders.all
    recorder?.waited(waited)
    recorder?.used(ran)
    if (this.listeners === 0) return
    const { fiber, name: task } = call
    this.tell("CallEnded", { thread: thread.id, task, fiber: fiber.id, outcome, waited, ran, transport })
  }

  close(): void {
    PubSub.endUnsafe(this.events, lastEvent)
  }
}
