import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Line } from "./line.ts"
import type { SpanReplay } from "./observe.ts"
import type { FunctionSpec, Target } from "./protocol.ts"
import type { Thread } from "./thread.ts"

let lastFunction = 0
let lastCall = 0

/** A function that threads know by number. */
export class RemoteFunction {
  readonly number = ++lastFunction
  readonly spec: FunctionSpec
  readonly name: string
  /**
   * About how long it takes, in milliseconds: the longest of late, which wanes. `Infinity` until it has run. It decides
   * how many calls are sent ahead to a busy thread.
   */
  estimate = Infinity

  constructor(spec: FunctionSpec, name: string) {
    this.spec = spec
    this.name = name
  }

  ran(millis: number): void {
    this.estimate = millis >= this.estimate ? millis : millis + (this.estimate - millis) * fading
    if (this.estimate === Infinity) this.estimate = millis
  }
}

/** What is left of the distance to a shorter run after it. */
const fading = 0.9

/** An object that stays in its thread. */
export interface Handle {
  readonly thread: Thread
  readonly object: number
  /** How often the thread has sent it. */
  received: number
  /** Scopes that are to dispose of it. */
  owners: number
  released: boolean
  /** Of what is pulled from: its spans go on through many calls. */
  spans?: SpanReplay | undefined
}

/** What a call ends in when its result is something to pull from. */
export class SourceHandle {
  readonly handle: Handle

  constructor(handle: Handle) {
    this.handle = handle
  }
}

export type Resume = (effect: Effect.Effect<any, any, any>) => void

/** What a thread is asked to do, and who waits for it. */
export class Call {
  /** Tells who came first. */
  readonly serial = ++lastCall
  readonly fiber: Fiber.Fiber<any, any>
  /** The fiber's, when it made the call: one that is interrupted has left what was provided to it. */
  readonly context: Context.Context<never>
  readonly resume: Resume
  readonly target: Target | RemoteFunction
  readonly name: string
  readonly args: ReadonlyArray<unknown>
  /** The object that it is about, or that is among its arguments: only the thread of that object can run it. */
  pinned: Handle | undefined
  /** Whether what cannot be kept as a value may be kept as a source to pull from. */
  readonly wantsStream: boolean
  readonly unkillable: boolean
  /** Whether it only waits, and is no reason to stop its thread. */
  readonly patient: boolean
  /** Whether it is not to leave the calling thread. */
  readonly inline: boolean
  /** What moves with its arguments. */
  readonly transfers: ReadonlyArray<object>
  /** Whether something does, so that it can be sent only once. */
  movesArguments: boolean
  /** When it was sent, by the clock that the thread has too: see `Thread.ranFor`. */
  sentReal = 0
  /**
   * Who has it: the line, the outbox or the memory of a thread, or nobody any more. In the state `abandoned` a thread
   * has it, and the caller has been told already.
   */
  state: "new" | "line" | "sent" | "abandoned" | "done" = "new"
  /** Whether its thread has been told that nobody wants it. */
  aborted = false
  /** The line that it is in, or was in last. */
  line: Line | undefined = undefined
  /** The pump before it joined the line, and when that was in monotonic milliseconds; -1 while it has not, or has left it again. */
  joinedIn = -1
  joinedAt = 0
  thread: Thread | undefined = undefined
  /** Threads that died young before they had begun it. */
  misses = 0
  slot = -1
  /** Monotonic milliseconds. */
  submittedAt: number
  sentAt = 0
  /** What its result refers to: let go of when the caller is found to be gone after all, and no other call has brought it. */
  kept: Handle | undefined = undefined
  /** Made with the first span that the task told. */
  spans: SpanReplay | undefined = undefined
  /** Calls off the timer that was set for it. */
  cancelTimer: (() => void) | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<any, any>,
    resume: Resume,
    target: Target | RemoteFunction,
    name: string,
    args: ReadonlyArray<unknown>,
    options: {
      readonly pinned: Handle | undefined
      readonly wantsStream: boolean
      readonly unkillable: boolean
      readonly patient: boolean
      readonly transfers: ReadonlyArray<object>
      readonly inline: boolean
    },
    now: number
  ) {
    this.fiber = fiber
    this.context = fiber.context
    this.resume = resume
    this.target = target
    this.name = name
    this.args = args
    this.pinned = options.pinned
    this.wantsStream = options.wantsStream
    this.unkillable = options.unkillable
    this.patient = options.patient
    this.inline = options.inline
    this.transfers = options.transfers
    this.movesArguments = options.transfers.length > 0
    this.submittedAt = now
  }
}

const opOf = ({ target }: Call): string | undefined =>
  target instanceof RemoteFunction || typeof target === "number" ? undefined : target.op

export const isDisposal = (call: Call): boolean => opOf(call) === "dispose"

/** Pulls from a source, and disposals. */
export const belongsToEarlier = (call: Call): boolean => opOf(call) === "pull" || isDisposal(call)

export const createsObject = (call: Call): boolean => opOf(call) === "create"
