import type { Clock } from "effect/Clock"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import { PoolEvent } from "../PoolEvent.ts"

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

/** The listeners of one pool. Whoever has something to tell asks {@link Events.heard} first. */
export class Events {
  /** Whether anybody listens. */
  heard = false
  private readonly listeners = new Set<Listener>()
  private closed = false

  private readonly clock: Clock

  constructor(clock: Clock) {
    this.clock = clock
  }

  tell<Tag extends PoolEvent["_tag"]>(pool: string, tag: Tag, fields: EventFields<Tag>): void {
    const at = this.clock.currentTimeMillisUnsafe()
    this.publish({ _tag: tag, pool, at, ...fields } as unknown as PoolEvent)
  }

  private publish(event: PoolEvent): void {
    for (const listener of this.listeners) {
      if (listener.unread.push(event) > capacity) {
        listener.unread.shift()
        listener.dropped++
      }
      listener.news.openUnsafe()
    }
  }

  /** Lets every listener read what there is for it, and then ends its stream. */
  close(): void {
    this.closed = true
    for (const { news } of this.listeners) news.openUnsafe()
  }

  readonly stream: Stream.Stream<PoolEvent> = Stream.scoped(
    Stream.fromPull(
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => this.listen()),
          (listener) => this.leave(listener)
        ),
        (listener) =>
          Effect.andThen(
            listener.news.await,
            Effect.suspend(() => this.read(listener))
          )
      )
    )
  )

  private listen(): Listener {
    const listener: Listener = { unread: [], dropped: 0, news: Latch.makeUnsafe(this.closed) }
    this.listeners.add(listener)
    this.heard = true
    return listener
  }

  private leave(listener: Listener): Effect.Effect<void> {
    return Effect.sync(() => {
      this.listeners.delete(listener)
      this.heard = this.listeners.size > 0
    })
  }

  private read(listener: Listener): Pull.Pull<Arr.NonEmptyReadonlyArray<PoolEvent>> {
    const { dropped, unread } = listener
    const [first] = unread
    if (first === undefined) return Cause.done()
    listener.unread = []
    listener.dropped = 0
    if (!this.closed) listener.news.closeUnsafe()
    const { at, pool } = first
    return Effect.succeed(
      dropped > 0 ? [PoolEvent.Dropped({ pool, at, count: dropped }), ...unread] : [first, ...unread.slice(1)]
    )
  }
}
