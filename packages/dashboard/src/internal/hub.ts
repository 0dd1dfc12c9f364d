import type { PoolRegistry } from "@cenote/pool"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import type { Figures, Focus, FocusChange, PoolView, Whole } from "./protocol.ts"
import { Watched } from "./watched.ts"

const nanosPerMilli = 1e6

/** Each costs the program some 0.1 ms of its thread a pace. */
export const mostViewers = 50

export type Message =
  | { readonly event: "whole"; readonly data: string }
  | { readonly event: "change"; readonly data: string }

/** Someone who watches. However slow it is, it is behind by one message at most: it starts anew after that. */
interface Viewer {
  readonly focus: string | undefined
  /** Events of the pool in focus that it has been told. */
  eventsSeen: number
  /** What it has been told the past of: another pool may come under the same name. */
  focused: Watched | undefined
  next: Message | undefined
  /** It has not read the last message, or knows nothing yet. */
  lost: boolean
  readonly news: Latch.Latch
}

/** Looks at all pools once a pace, and tells those who watch what has changed. */
export class Hub {
  private readonly pools = new Map<string, Watched>()
  private readonly viewers = new Set<Viewer>()
  /** Since the last look. */
  private added = new Set<Watched>()
  private removed = new Set<string>()
  private at = 0
  private closed = false

  private readonly about: Omit<Whole, "at" | "pools" | "focus">

  constructor(about: Omit<Whole, "at" | "pools" | "focus">) {
    this.about = about
  }

  // ---------------------------------------------------------------------------
  // Pools
  // ---------------------------------------------------------------------------

  /** Takes a pool in until the scope closes. */
  readonly take = Effect.fnUntraced(function* (this: Hub, entry: PoolRegistry.Entry) {
    const watched = new Watched(entry, yield* Clock.currentTimeMillis)
    yield* entry.record(watched)
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        this.pools.set(entry.id, watched)
        this.added.add(watched)
      }),
      () =>
        Effect.sync(() => {
          this.pools.delete(entry.id)
          this.added.delete(watched)
          // Whoever began to watch since the last look knows also of what has come since.
          this.removed.add(entry.id)
        })
    )
  })

  /** When the first look was. */
  began(at: number): void {
    this.at = at
  }

  find(id: string): Watched | undefined {
    return this.pools.get(id)
  }

  /** Looks and tells, once a pace, until it is interrupted. */
  readonly run: Effect.Effect<never> = Effect.gen({ self: this }, function* () {
    const clock = yield* Clock.Clock
    let last = clock.monotonicTimeNanosUnsafe()
    while (true) {
      yield* Effect.sleep(this.about.pace)
      // The wall clock may have been set meanwhile, which is no rate of anything.
      const now = clock.monotonicTimeNanosUnsafe()
      const passed = Math.max(1, Number(now - last) / nanosPerMilli)
      // What goes wrong in one look must not end all others.
      yield* Effect.ignoreCause(
        Effect.sync(() => this.look(clock.currentTimeMillisUnsafe(), passed)),
        { log: "Warn", message: "the dashboard could not look at the pools" }
      )
      last = now
    }
  })

  private look(at: number, passed: number): void {
    this.at = at
    const { added, removed } = this
    this.added = new Set()
    this.removed = new Set()
    // A pool may have any name, also that of a prototype.
    const figures: Record<string, Partial<Figures>> = Object.create(null)
    for (const [id, watched] of this.pools) {
      const before = watched.figures
      const after = watched.look(at, passed)
      const changed = added.has(watched) ? undefined : difference(before, after)
      if (changed !== undefined) figures[id] = changed
    }
    if (this.viewers.size === 0) return
    const change = { at, added: Array.from(added, (_) => _.view()), removed: [...removed], figures }
    // The same for all who watch, save for the pool that each has in focus.
    const common = JSON.stringify(change).slice(0, -1)
    for (const viewer of this.viewers) this.tell(viewer, common)
  }

  // ---------------------------------------------------------------------------
  // Viewers
  // ---------------------------------------------------------------------------

  get isFull(): boolean {
    return this.viewers.size >= mostViewers
  }

  /** What someone is told who begins to watch now, with one pool in focus. */
  watch(focus: string | undefined): Stream.Stream<Message> {
    return Stream.unwrap(
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => this.join(focus)),
          (viewer) => Effect.sync(() => this.viewers.delete(viewer))
        ),
        (viewer) =>
          Stream.takeWhile(
            Stream.fromEffectRepeat(
              Effect.andThen(
                viewer.news.await,
                Effect.sync(() => this.read(viewer))
              )
            ),
            (message) => message !== undefined
          )
      )
    )
  }

  /** Ends what everybody is told. */
  close(): void {
    this.closed = true
    for (const viewer of this.viewers) viewer.news.openUnsafe()
  }

  private join(focus: string | undefined): Viewer {
    const viewer: Viewer = {
      focus,
      eventsSeen: 0,
      focused: undefined,
      next: undefined,
      lost: true,
      news: Latch.makeUnsafe(true)
    }
    this.viewers.add(viewer)
    return viewer
  }

  private tell(viewer: Viewer, common: string): void {
    if (viewer.lost || viewer.next !== undefined) {
      viewer.lost = true
      viewer.next = undefined
    } else {
      const watched = viewer.focus === undefined ? undefined : this.pools.get(viewer.focus)
      // One that comes into focus has a past, which a change has no room for.
      if (watched !== undefined && watched !== viewer.focused) viewer.lost = true
      else viewer.next = { event: "change", data: `${common}${this.focusChange(viewer, watched)}}` }
    }
    viewer.news.openUnsafe()
  }

  /** The last field of a change, if it has one. */
  private focusChange(viewer: Viewer, watched: Watched | undefined): string {
    viewer.focused = watched
    if (watched === undefined) return ""
    const change: FocusChange = watched.focusChange(viewer.eventsSeen)
    viewer.eventsSeen = watched.eventsSoFar
    return `,"focus":${JSON.stringify(change)}`
  }

  private read(viewer: Viewer): Message | undefined {
    if (this.closed) return undefined
    viewer.news.closeUnsafe()
    const { next } = viewer
    viewer.next = undefined
    if (next !== undefined && !viewer.lost) return next
    viewer.lost = false
    return { event: "whole", data: JSON.stringify(this.whole(viewer)) }
  }

  private whole(viewer: Viewer): Whole {
    const watched = viewer.focus === undefined ? undefined : this.pools.get(viewer.focus)
    viewer.focused = watched
    viewer.eventsSeen = watched?.eventsSoFar ?? 0
    const focus: Focus | undefined = watched?.focus()
    // Those that came since the last look are told as added then: nobody minds being told twice.
    const pools: ReadonlyArray<PoolView> = Array.from(this.pools.values(), (_) => _.view())
    return { ...this.about, at: this.at, pools, focus }
  }
}

/** The fields that differ; `undefined` when none does. */
const difference = (before: Figures, after: Figures): Partial<Figures> | undefined => {
  const changed: Record<string, unknown> = {}
  let any = false
  for (const key of Object.keys(after) as Array<keyof Figures>) {
    if (before[key] === after[key]) continue
    changed[key] = after[key]
    any = true
  }
  return any ? changed : undefined
}
