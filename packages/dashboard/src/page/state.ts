// What the page knows: the pools as the server told last, and what must be drawn anew because of it.
import type { Change, EventView, Figures, Focus, PoolView, Sample, Whole } from "../internal/protocol.ts"

/** A pool, with the figures that it has now. */
export interface Pool extends Omit<PoolView, "figures"> {
  figures: Figures
}

/** What must be drawn anew. */
export interface Dirty {
  /** Pools came or went. */
  list: boolean
  /** The pools whose figures have changed. */
  readonly figures: Set<string>
  /** `more`: all that the focus says is new, and its history has one more sample. */
  focus: "same" | "more" | "other"
}

const clean = (): Dirty => ({ list: false, figures: new Set(), focus: "same" })

/** As many samples and events as the server keeps. */
const maxSamples = 300
const maxEvents = 200

export class State {
  /** By id, in the order in which they were made. */
  readonly pools = new Map<string, Pool>()
  /** The last whole message; nothing before the first one. */
  whole: Whole | undefined
  /** What the server says of the pool in focus. */
  focus: Focus | undefined
  /** The server's clock at the last message, and this page's. */
  private at = 0
  private received = 0
  private dirty: Dirty = clean()

  /** The server's clock, as far as it is known. */
  get now(): number {
    return this.at + this.sinceMessage
  }

  /** For how long the server has said nothing. */
  get sinceMessage(): number {
    return performance.now() - this.received
  }

  begin(whole: Whole): void {
    this.whole = whole
    this.told(whole.at)
    this.pools.clear()
    for (const pool of whole.pools) {
      this.pools.set(pool.id, { ...pool })
      this.dirty.figures.add(pool.id)
    }
    this.focus = whole.focus
    this.dirty.list = true
    this.dirty.focus = "other"
  }

  change({ added, at, figures, focus, removed }: Change): void {
    this.told(at)
    for (const id of removed) this.pools.delete(id)
    for (const pool of added) {
      this.pools.set(pool.id, { ...pool })
      this.dirty.figures.add(pool.id)
    }
    if (added.length > 0 || removed.length > 0) this.dirty.list = true
    for (const [id, changed] of Object.entries(figures)) {
      const pool = this.pools.get(id)
      if (pool === undefined) continue
      pool.figures = { ...pool.figures, ...changed }
      this.dirty.figures.add(id)
    }
    if (!focus) return
    const { sample, ...rest } = focus
    const before = this.focus?.id === focus.id ? this.focus : undefined
    this.focus = {
      ...rest,
      history: newest<Sample>(before?.history ?? [], [sample], maxSamples),
      events: newest<EventView>(before?.events ?? [], rest.events, maxEvents)
    }
    if (before === undefined) this.dirty.focus = "other"
    else if (this.dirty.focus === "same") this.dirty.focus = "more"
  }

  /** What must be drawn since this was asked last. */
  takeDirty(): Dirty {
    const dirty = this.dirty
    this.dirty = clean()
    return dirty
  }

  private told(at: number): void {
    this.at = at
    this.received = performance.now()
  }
}

const newest = <A>(before: ReadonlyArray<A>, more: ReadonlyArray<A>, max: number): ReadonlyArray<A> =>
  [...before, ...more].slice(-max)
