import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { PoolEvent } from "../PoolEvent.ts"
import type { Work } from "./work.ts"

/** What a listener is behind by at the most; older events make way for newer ones. */
const capacity = 1024

interface Listener {
  readonly queue: Queue.Queue<PoolEvent, Cause.Done>
  /** Events that made way since the last `Dropped` was told. */
  dropped: number
}

/** The listeners of one pool. A pool asks {@link Events.heard} before it builds an event. */
export class Events {
  private readonly listeners = new Set<Listener>()
  private closed = false

  private readonly work: Work
  private readonly pool: string

  constructor(work: Work, pool: string) {
    this.work = work
    this.pool = pool
  }

  /** Whether anybody listens. */
  heard = false

  publish(event: PoolEvent): void {
    for (const listener of this.listeners) {
      if (Queue.sizeUnsafe(listener.queue) >= capacity) listener.dropped++
      Queue.offerUnsafe(listener.queue, event)
    }
  }

  /** Lets every listener read what it has, and then ends its stream. */
  close(): void {
    this.closed = true
    for (const { queue } of this.listeners) Queue.endUnsafe(queue)
  }

  readonly stream: Stream.Stream<PoolEvent> = Stream.unwrap(
    Effect.gen({ self: this }, function* () {
      const queue = yield* Queue.sliding<PoolEvent, Cause.Done>(capacity)
      const listener: Listener = { queue, dropped: 0 }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          if (this.closed) return void Queue.endUnsafe(queue)
          this.listeners.add(listener)
          this.heard = true
        }),
        () =>
          Effect.sync(() => {
            this.listeners.delete(listener)
            this.heard = this.listeners.size > 0
          })
      )
      return Stream.fromQueue(queue).pipe(
        Stream.flatMap((event) => {
          if (listener.dropped === 0) return Stream.succeed(event)
          const count = listener.dropped
          listener.dropped = 0
          const at = this.work.clock.currentTimeMillisUnsafe()
          return Stream.make(PoolEvent.Dropped({ pool: this.pool, at, count }), event)
        })
      )
    })
  )
}
