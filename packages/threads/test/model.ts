/**
 * What a call on a thread pool may come to, as plain data: what the documentation promises, without any notion of how it is
 * done. Random programs are run on real threads, and each call must end in one of the ways that are left to it here.
 */

export interface Config {
  readonly min: number
  readonly max: number
  readonly concurrency: number
  readonly maxQueue: number | undefined
  /** Milliseconds, as the next. */
  readonly taskTimeout: number | undefined
  readonly killGrace: number
  readonly recycleTasks: number | undefined
  /** Whether there are tasks that are Effects, for which a thread has to load more than for others. */
  readonly effects: boolean
}

/** What a call asks for. */
export type Kind =
  | "fast"
  | "slow"
  | "later"
  | "effect"
  | "source"
  | "throws"
  | "refuses"
  | "unsendable"
  | "ungivable"
  | "exits"
  | "dies"
  | "loops"
  | "loopsUntilTold"
  | "waits"

/** What an object is asked for. */
export type ObjectKind = "next" | "nextLater" | "throws" | "exits"

export type StreamKind = "generates" | "generatesLater" | "streams"

/** When a caller gives up: not at all, at once, after some turns, or after some milliseconds. */
export type GivesUp =
  | { readonly after: "never" | "once" }
  | { readonly after: "turns" | "millis"; readonly count: number }

export interface Ask {
  readonly kind: Kind
  readonly millis: number
  readonly givesUp: GivesUp
}

export type Step =
  | { readonly do: "ask"; readonly asks: ReadonlyArray<Ask> }
  | {
      readonly do: "stream"
      readonly kind: StreamKind
      readonly count: number
      readonly take: number
      readonly givesUp: GivesUp
    }
  | {
      readonly do: "object"
      readonly asks: ReadonlyArray<{
        readonly kind: ObjectKind
        readonly millis: number
        readonly givesUp: GivesUp
      }>
      /** Whether the calls are made one after the other, or all at once. */
      readonly inTurn: boolean
      readonly givesUp: GivesUp
    }
  | { readonly do: "resize"; readonly min: number; readonly extra: number }
  | { readonly do: "drain" }
  | { readonly do: "pause"; readonly millis: number }
  | { readonly do: "await" }

/** A call that was made. */
export interface Made {
  readonly id: number
  readonly kind: Kind | ObjectKind | StreamKind | "object"
  readonly on: "pool" | "object" | "stream"
  /** Whether its caller was interrupted. */
  gaveUp: boolean
  outcome: Outcome | undefined
}

export type Outcome =
  | { readonly tag: "value"; readonly value: unknown }
  | { readonly tag: "interrupted" }
  | { readonly tag: "failed"; readonly error: any }
  | { readonly tag: "died"; readonly defect: unknown }

/** What has happened in a program that calls may feel. */
export interface Circumstances {
  readonly config: Config
  /** Whether there was a call that ends its thread. */
  readonly threadsEnd: boolean
  /** Whether there was a call that nobody waited for any more: its thread is stopped if the task does not stop in time. */
  readonly threadsAreStopped: boolean
  readonly drained: boolean
}

/** Whether a kind of call ends its thread. */
export const endsThread = (kind: Kind | ObjectKind): boolean => ["exits", "dies"].includes(kind)

/** Whether a kind of call ends only when its caller gives up, or its time is over. */
export const isEndless = (kind: Kind): boolean => ["loops", "loopsUntilTold", "waits"].includes(kind)

const valued: ReadonlyArray<Made["kind"]> = ["fast", "slow", "later", "effect", "source"]
/** On the calling thread these do no harm, and give a value. */
const valuedInline: ReadonlyArray<Made["kind"]> = ["exits", "dies", "loops", "loopsUntilTold"]

/** What is wrong with how a call has ended; `undefined` when it may end so. */
export const wrongWith = (call: Made, circumstances: Circumstances): string | undefined => {
  const { config, drained, threadsAreStopped, threadsEnd } = circumstances
  const { id, kind, on, outcome } = call
  if (outcome === undefined) return "it has not ended"
  switch (outcome.tag) {
    case "interrupted":
      return call.gaveUp ? undefined : "it was interrupted, and its caller was not"
    case "died":
      return "it is a defect"
    case "value": {
      if (on !== "pool") return undefined
      if (!valued.includes(kind) && !valuedInline.includes(kind) && !(isTold(kind) && call.gaveUp)) {
        return "it has a value, where it should have failed"
      }
      return outcome.value === `answer ${id}` ? undefined : "it is the value of another call"
    }
  }
  const { error } = outcome
  switch (error._tag) {
    case "TaskFailed":
      if (kind !== "throws") return "it failed, and should not have"
      return error.reason === `no ${id}` && error.className === "RangeError"
        ? undefined
        : "it is another's failure"
    case "Refused":
      if (kind !== "refuses") return "it failed, and should not have"
      return error.id === id ? undefined : "it is another's failure"
    case "NotCloneable":
      return (kind === "unsendable" && error.path === "arguments[1].f") ||
        (kind === "ungivable" && error.path === "result.f")
        ? undefined
        : "it can be cloned"
    case "QueueFull":
      if (config.maxQueue === undefined) return "the line has no bound"
      return on === "object" && kind !== "object" ? "calls on objects do not wait in the line" : undefined
    case "TaskTimeout":
      return config.taskTimeout === undefined ? "tasks have no limit" : undefined
    case "ThreadCrashed":
      if (!(error.reason === "killed" ? threadsAreStopped : threadsEnd)) return "no thread has ended so"
      return !error.started && (on === "pool" || kind === "object") ? "it could have been moved" : undefined
    case "StaleRemote":
      if (on === "pool") return "it is about no object"
      return threadsEnd || threadsAreStopped || drained ? undefined : "its thread lives"
    default:
      return "nothing of that kind can happen"
  }
}

const isTold = (kind: Made["kind"]): boolean => kind === "loopsUntilTold"

/** What is wrong with how often a task was begun. */
export const wrongWithBeginnings = ({ kind, on, outcome }: Made, begun: number): string | undefined => {
  if (begun > 1) return `it was begun ${begun} times`
  if (outcome?.tag === "value" && begun === 0) return "it has a value, and was not begun"
  if (outcome?.tag !== "failed") return undefined
  const { _tag: tag, started } = outcome.error
  // What a stream is pulled by is a call of its own.
  const wasNotBegun = tag === "ThreadCrashed" && started === false && on !== "stream"
  const cannotHave = tag === "QueueFull" || kind === "unsendable" || wasNotBegun
  if (cannotHave && begun > 0) return "it was begun, where it cannot have been"
  const must = ["TaskFailed", "Refused"].includes(tag)
  return must && begun === 0 ? "it has failed, and was not begun" : undefined
}
