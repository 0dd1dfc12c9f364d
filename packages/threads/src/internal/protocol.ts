/**
 * What crosses between the pool and a thread.
 *
 * A message is one flat array, in which operations follow one another: a tag, and then as many operands as the tag
 * has. Whatever is ready together travels together. A nested array for each operation would cost more to clone.
 *
 * Each thread also has shared memory, an `Int32Array`: the first element counts the messages to the thread, and then
 * there is one element for each call that is with the thread, which both sides read and write ({@link Cell}), and one that
 * says when it began.
 */

/** Operations for a thread, and their operands. */
export const ToThread = {
  /** {@link Config} */
  configure: 1,
  /** slot, {@link Target}, {@link Extra} or `undefined`, number of arguments, each argument */
  call: 2,
  /** number, {@link FunctionSpec} */
  define: 3,
  /** slot */
  abort: 4,
  /** number of the object, how often it has been received */
  release: 5,
  /** no operand: all functions; those that are still wanted are defined again */
  forget: 6
} as const

/** Operations from a thread. */
export const FromThread = {
  /** whether it has the shared memory: it is configured, and has loaded what it should */
  ready: 1,
  /** {@link WireError}: it cannot start */
  failedToStart: 2,
  /** slot, {@link Status}, value, milliseconds that the task ran */
  done: 3,
  /** slot of the call, or `noSlot` when that has ended; {@link WireLog} */
  log: 4,
  /** slot of the call, or `noSlot` when that has ended; {@link WireSpan} */
  span: 5,
  /** bytes of heap in use */
  heap: 6
} as const

export const Status = {
  /** a value */
  ok: 0,
  /** {@link WireError}: thrown */
  threw: 1,
  /** {@link WireError}: the typed failure of an Effect */
  failed: 2,
  /** the call had been withdrawn, and was not begun */
  withdrawn: 3,
  /** {@link WireRemote}: the object stays in the thread */
  remote: 4,
  /** {@link WireRemote}: something to pull from stays in the thread */
  stream: 5,
  /** `{ path, found }`: the result cannot cross, since of what is there */
  notCloneable: 6,
  /** the task's own fiber was interrupted */
  interrupted: 7,
  /** number: the object is not there */
  stale: 8
} as const
export type Status = (typeof Status)[keyof typeof Status]

/** The state of a call that is with a thread. Whoever changes it from `queued` has the say over the call. */
export const Cell = {
  /** The thread has not begun it. */
  queued: 0,
  /** Set by the thread. */
  started: 1,
  /** Set by the pool: the thread must not begin it. */
  withdrawn: 2,
  /** Set by the pool after `started`: nobody wants the result. */
  aborted: 3
} as const

export const noSlot = -1

/** Calls that can be with one thread at one time. */
export const slotsPerThread = 1024

/** Where the cell of the call in a slot is. */
export const cellOf = (slot: number): number => slot + 1

/** Where it stands when the call in a slot began: whole milliseconds since the epoch of the thread. */
export const beganAt = (slot: number): number => slotsPerThread + slot + 1

/** A clock that threads have in common, and that no correction of the wall clock touches. */
export const realTime = (): number => performance.timeOrigin + performance.now()

/** Length of the shared memory. */
export const memoryLength = 2 * slotsPerThread + 1

export interface Config {
  readonly thread: number
  readonly memory: SharedArrayBuffer | undefined
  /** Calls that may run at one time, those on objects aside. */
  readonly concurrency: number
  /** Modules to load before the thread is ready. */
  readonly preload: ReadonlyArray<string>
  /** Keys of the references whose values go with calls, those within calls included. */
  readonly references: ReadonlyArray<string>
  /** What the beginnings of calls are counted from, by {@link realTime}. */
  readonly epoch: number
  /** Milliseconds. */
  readonly taskTimeout: number | undefined
  /** Whether to tell how much of the heap is in use. */
  readonly tellHeap: boolean
}

/** A function that a thread knows by number, once it has been told. */
export type FunctionSpec =
  | { readonly kind: "source"; readonly name: string; readonly source: string }
  | { readonly kind: "export"; readonly url: string; readonly name: string }
  | { readonly kind: "value"; readonly url: string; readonly name: string }

/** What a call is for: a function by number, or something about an object. */
export type Target =
  | number
  | {
      readonly op: "create"
      readonly url: string
      readonly name: string
      readonly wrap: Wrap | undefined
    }
  | {
      readonly op: "call" | "get" | "set" | "apply" | "iterate" | "pull" | "dispose"
      readonly object: number
      readonly name: PropertyKey
    }

/** Which results of an object stay in the thread: by the name of their class, and by what gave them. */
export interface Wrap {
  readonly types: ReadonlyArray<string>
  readonly names: ReadonlyArray<string>
}

/** What goes with a call besides its arguments, when there is anything. */
export interface Extra {
  /** Paths in the arguments at which the number of an object stands for the object. */
  readonly objects?: ReadonlyArray<ReadonlyArray<string | number>> | undefined
  readonly span?: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
  /** Values of references, by key. */
  readonly references?: ReadonlyArray<readonly [string, unknown]> | undefined
  readonly minimumLogLevel?: string | undefined
}

export interface WireError {
  readonly className: string
  readonly message: string
  /** `undefined` when what was thrown is not an error; `value` is what it is then. */
  readonly stack: string | undefined
  readonly isError: boolean
  readonly value: unknown
  readonly properties: Record<string, unknown>
  readonly cause: WireError | undefined
  readonly errors: ReadonlyArray<WireError> | undefined
  /** What to do about it, where that is known. */
  readonly hint?: string | undefined
}

export interface WireRemote {
  readonly object: number
  readonly className: string
}

export interface WireLog {
  readonly message: unknown
  readonly level: string
  readonly date: number
  readonly annotations: Record<string, unknown>
  readonly spans: ReadonlyArray<readonly [string, number]>
  readonly cause: string | undefined
}

export interface WireSpan {
  readonly name: string
  readonly spanId: string
  readonly traceId: string
  readonly parentId: string | undefined
  readonly kind: string
  readonly sampled: boolean
  readonly start: bigint
  readonly end: bigint
  readonly attributes: ReadonlyArray<readonly [string, unknown]>
  readonly events: ReadonlyArray<readonly [string, bigint, Record<string, unknown>]>
  readonly links: ReadonlyArray<{
    readonly traceId: string
    readonly spanId: string
    readonly sampled: boolean
    readonly attributes: Record<string, unknown>
  }>
  readonly failure: WireError | undefined
  readonly interrupted: boolean
}
