import type { Clock } from "effect/Clock"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Pull from "effect/Pull"
import type { SchedulerDispatcher } from "effect/Scheduler"
import * as Stream from "effect/Stream"
import { PoolEvent } from "../PoolEvent.ts"
import { Recorders } from "../PoolRegistry.ts"

/** What a listener is behind by at the most; older events make way for newer ones. */
const capacity = 1024

interface Listener {
  /** What it has not read, oldest first. */
  unread: Array<PoolEvent>
  /** Events that made way for those in `unread`. */
  dropped: number
  /** Open while there is something to read, or nothing more to come. */
  readonly news: Latch.Latch
}

/** An event's own fields: those that all events have are filled in by {@link Events.tell}. */
export type EventFields<Tag extends PoolEvent["_tag"]> = Omit<
  Extract<PoolEvent, { readonly _tag: Tag }>,
  "_tag" | "pool" | "at"
>

/** What each borrow has: told to listeners alone. */
type Traffic = "Borrowed" | "Returned" | "WaitStarted" | "WaitCancelled"

/** The listeners and recorders of one pool. Whoever has something to tell asks {@link Events.heard} or {@link Events.noted} first. */
export class Events {
  /** Whether anybody listens. */
  heard = false
  /** Whether anybody listens or records. */
  noted = false
  readonly recorders = new Recorders(() => this.count())
  private readonly listeners = new Set<Listener>()
  private closed = false

  /** Whether the listeners are about to be told that there is news. */
  private telling = false

  private readonly clock: Clock
  private readonly dispatcher: SchedulerDispatcher

  constructor(clock: Clock, dispatcher: SchedulerDispatcher) {
    this.clock = clock
    this.dispatcher = dispatcher
  }

  /** Tells what each borrow has. */
  tellTraffic<Tag extends Traffic>(pool: string, tag: Tag, fields: EventFields<Tag>): void {
    this.publish(this.event(pool, tag, fields))
  }

  /** Tells anything else. */
  tell<Tag extends Exclude<PoolEvent["_tag"], Traffic>>(
    pool: string,
    tag: Tag,
    fields: EventFields<Tag>
  ): void {
    const event = this.event(pool, tag, fields)
    this.recorders.all?.told(event)
    if (this.heard) this.publish(event)
  }

  private event<Tag extends PoolEvent["_tag"]>(pool: string, tag: Tag, fields: EventFields<Tag>): PoolEvent {
    const at = this.clock.currentTimeMillisUnsafe()
    return { _tag: tag, pool, at, ...fields } as unknown as PoolEvent
  }

  private publish(event: PoolEvent): void {
    for (const listener of this.listeners) {
      if (listener.unread.push(event) > capacity) {
        listener.unread.shift()
        listener.dropped++
      }
    }
    this.announce()
  }

  /** Lets every listener read what there is for it, and then ends its stream. */
  close(): void {
    this.closed = true
    this.announce()
  }

  /** Wakes the listeners, in a task of their own: what they do must not come in between two steps of the pool. */
  private announce(): void {
    if (this.telling) return
    this.telling = true
    this.dispatcher.scheduleTask(() => {
      this.telling = false
      for (const { news, unread } of Array.from(this.listeners))
        if (this.closed || unread.length > 0) news.openUnsafe()
    }, 0)
  }

  readonly stream: Stream.Stream<PoolEvent> = Stream.scoped(
    Stream.fromPull(
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => this.listen()),
          (listener) => this.leave(listener)
        ),
        (listener) => {
          const pull: Pull.Pull<Arr.NonEmptyReadonlyArray<PoolEvent>> = Effect.andThen(
            listener.news.await,
            Effect.suspend(() => this.read(listener) ?? pull)
          )
          return pull
        }
      )
    )
  )

  private listen(): Listener {
    const listener: Listener = { unread: [], dropped: 0, news: Latch.makeUnsafe(this.closed) }
    this.listeners.add(listener)
    this.count()
    return listener
  }

  private leave(listener: Listener): Effect.Effect<void> {
    return Effect.sync(() => {
      this.listeners.delete(listener)
      this.count()
    })
  }

  private count(): void {
    this.heard = this.listeners.size > 0
    this.noted = this.heard || this.recorders.all !== undefined
  }

  /** What there is to read, or `undefined` when there is nothing yet. */
  private read(listener: Listener): Pull.Pull<Arr.NonEmptyReadonlyArray<PoolEvent>> | undefined {
    const { dropped, unread } = listener
    const [first, ...rest] = unread
    if (!this.closed) listener.news.closeUnsafe()
    if (first === undefined) return this.closed ? Cause.done() : undefined
    listener.unread = []
    listener.dropped = 0
    const { at, pool } = first
    return Effect.succeed(
      dropped > 0 ? [PoolEvent.Dropped({ pool, at, count: dropped }), ...unread] : [first, ...rest]
    )
  }
}
