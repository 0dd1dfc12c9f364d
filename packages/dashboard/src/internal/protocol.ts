// What the server tells the page and the terminal, and what they may ask of it. Types alone: the page loads this file too.
//
// GET  /api/stream?focus=<pool id>     server-sent events: "whole" once, then "change" at a fixed pace
// POST /api/pools/<pool id>/<action>   does something; the body is JSON, `{}` or {@link Limits}. Answers with {@link Answer}.
//
// With a token, a request has it in `Authorization: Bearer …` or in the cookie that opening `/?token=…` sets.
// Pool ids are percent-encoded. Times are in milliseconds; moments are milliseconds since the epoch.

/** What a stream begins with. */
export interface Whole {
  /** Changes when the server was started anew: a page that sees another one than before loads itself again. */
  readonly instance: string
  readonly process: {
    readonly pid: number
    readonly title: string
    readonly node: string
    readonly startedAt: number
  }
  /** Whether actions are refused. */
  readonly readOnly: boolean
  /** Between two changes. */
  readonly pace: number
  readonly at: number
  readonly pools: ReadonlyArray<PoolView>
  /** Of the pool in focus, if there is such. */
  readonly focus: Focus | undefined
}

/** What has changed since the message before. What is `removed` goes before what is `added` comes: it may be the same name. */
export interface Change {
  readonly at: number
  readonly added: ReadonlyArray<PoolView>
  readonly removed: ReadonlyArray<string>
  /** Of pools that were there before: the figures that have changed. */
  readonly figures: Readonly<Record<string, Partial<Figures>>>
  readonly focus: FocusChange | undefined
}

export interface PoolView {
  readonly id: string
  readonly name: string
  readonly kind: "pool" | "tokens" | "keyed" | "threads" | "connections"
  /** As it was made, as a person reads it. */
  readonly options: Readonly<Record<string, string | number | boolean>>
  readonly actions: ReadonlyArray<Action>
  readonly figures: Figures
}

export type Action = "resize" | "recycle" | "suspend" | "resume" | "evict"

/** A pool at one moment, flat, so that a change can name those fields that differ. `null` is "there was none to measure". */
export interface Figures {
  readonly state: "open" | "suspended" | "closing" | "closed"
  readonly min: number
  /** -1: no limit. */
  readonly max: number
  readonly size: number
  readonly idle: number
  readonly used: number
  readonly pending: number
  readonly creating: number
  readonly closing: number
  readonly created: number
  readonly destroyed: number
  readonly borrowed: number
  readonly timeouts: number
  /** Attempts to create that failed. */
  readonly failures: number
  /** Borrows of the last pace, each second. */
  readonly rate: number
  /** Percentiles over the last ten paces. */
  readonly wait50: number | null
  readonly wait99: number | null
  readonly hold50: number | null
  readonly hold99: number | null
  /** For how long the oldest loan has lasted, and the head of the line has waited: 0 without one. */
  readonly longestHeld: number
  readonly longestWait: number
  /** How it is: `short` means that borrowers wait for want of resources, `down` that they cannot be served at all. */
  readonly level: Level
  /** In a sentence: what is the matter, and what to do. Empty when all is well. */
  readonly matter: string
  readonly remedy: string
}

export type Level = "ok" | "watch" | "short" | "down"

/** More of one pool: that which the page shows. */
export interface Focus {
  readonly id: string
  /** The past, oldest first, one sample a pace; at most 300. */
  readonly history: ReadonlyArray<Sample>
  /** The longest first, at most 100 each: `figures.used` and `figures.pending` say of how many. */
  readonly leases: ReadonlyArray<LeaseView>
  readonly waiters: ReadonlyArray<WaiterView>
  /** The newest last, at most 200. */
  readonly events: ReadonlyArray<EventView>
  /** Counts since the server began to look, by reason. */
  readonly failures: Readonly<Record<string, number>>
  readonly closes: Readonly<Record<string, number>>
  /** Of a thread pool. */
  readonly threads: ReadonlyArray<ThreadView> | undefined
  /** Of a thread pool: totals of calls by how they ended. */
  readonly calls: Readonly<Record<string, number>> | undefined
}

/** As {@link Focus}: one more sample, events that are new, and all else as it is now. */
export interface FocusChange extends Omit<Focus, "history"> {
  readonly sample: Sample
}

/** One moment of the charts, in this order: see {@link sampleFields}. */
export type Sample = readonly [
  at: number,
  used: number,
  idle: number,
  pending: number,
  max: number,
  wait50: number | null,
  wait99: number | null,
  hold50: number | null,
  hold99: number | null,
  created: number,
  closed: number,
  failed: number
]

export interface LeaseView {
  /** Number of the resource, or of the thread. */
  readonly resource: number
  /** What is lent, where that is a short word: the task of a thread. */
  readonly item: string | undefined
  readonly fiber: number
  readonly span: string | undefined
  readonly since: number
  readonly held: number
}

export interface WaiterView {
  readonly fiber: number
  readonly span: string | undefined
  readonly waited: number
}

export interface EventView {
  readonly at: number
  /** `Created`, `Closed`, `TimedOut`, …: the tag of a PoolEvent or ThreadEvent. */
  readonly what: string
  /** How much it matters. */
  readonly tone: "plain" | "notable" | "bad"
  /** The rest in words. */
  readonly text: string
}

export interface ThreadView {
  readonly thread: number
  readonly state: string
  readonly running: number
  readonly task: string | undefined
  readonly since: number
  readonly ended: number
  /** Share of the last pace in which it had something to do, from 0 to 1. */
  readonly load: number
  readonly heapUsed: number | undefined
}

/** The body of `resize`. */
export interface Limits {
  readonly min?: number
  readonly max?: number
}

/** What an action answers: with status 200, or 400 (bad values), 401 (no token), 403 (read-only, other origin), 404 (no such pool or action). */
export type Answer = { readonly done: string } | { readonly error: string }
