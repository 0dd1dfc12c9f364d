/**
 * What happens in a thread pool, beside what happens in any pool. Read it with `ThreadPool.events`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * How a call ended: with a value, with an error, interrupted by its caller, past `taskTimeout`, or with its thread.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = "succeeded" | "failed" | "interrupted" | "timedOut" | "crashed"

/**
 * What happens in a thread pool. Durations are in milliseconds, `at` is in milliseconds since the epoch, `thread`
 * is the number of the thread, from 1 in the order of their creation.
 *
 * @category models
 * @since 0.1.0
 */
export type ThreadEvent = Data.TaggedEnum<{
  /**
   * A call ended. `waited` in the line, `ran` in the thread, and spent `transport` on the way there and back
   * (queueing inside the thread included).
   */
  CallEnded: {
    readonly pool: string
    readonly at: number
    readonly thread: number
    readonly task: string
    readonly fiber: number
    readonly outcome: Outcome
    readonly waited: number
    readonly ran: number
    readonly transport: number
  }
  /** A call was turned away: the line was as long as `maxQueue`. */
  CallRejected: {
    readonly pool: string
    readonly at: number
    readonly task: string
    readonly fiber: number
  }
  /** A thread ended without being told to. `failed` calls failed with it, `moved` calls went back to the line. */
  ThreadCrashed: {
    readonly pool: string
    readonly at: number
    readonly thread: number
    readonly reason: "exit" | "error" | "outOfMemory"
    readonly failed: number
    readonly moved: number
  }
  /** A thread was stopped: a task did not stop within `killGrace`, or the pool closed. Numbers as for a crash. */
  ThreadKilled: {
    readonly pool: string
    readonly at: number
    readonly thread: number
    readonly failed: number
    readonly moved: number
  }
  /** A call that must not be killed did not stop within `killGrace`: its thread gets no more calls, and ends after it. */
  ThreadQuarantined: {
    readonly pool: string
    readonly at: number
    readonly thread: number
    readonly task: string
  }
  /** Calls that were sent ahead to a thread, and that it had not begun, went back to the head of the line. */
  CallsMoved: { readonly pool: string; readonly at: number; readonly thread: number; readonly count: number }
  Drained: { readonly pool: string; readonly at: number }
}>

/**
 * Constructors, `$is` and `$match` for {@link ThreadEvent}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ThreadEvent = Data.taggedEnum<ThreadEvent>()
