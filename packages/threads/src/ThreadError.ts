/**
 * What a call in another thread can fail with.
 *
 * Every error is flat, names the pool and the task, and has a message that says what to do.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

/**
 * Everything that a call in another thread can fail with, beside the typed error of a task that is an Effect.
 *
 * @category models
 * @since 0.1.0
 */
export type ThreadError =
  | TaskFailed
  | ThreadCrashed
  | TaskTimeout
  | QueueFull
  | ThreadPoolClosed
  | NotCloneable
  | StaleRemote
  | SpawnFailed

const quoted = (pool: string): string => (pool === "" ? "thread pool" : `thread pool ${JSON.stringify(pool)}`)

const span = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  return millis < 1000 ? `${Math.round(millis)} ms` : `${Math.round(millis / 100) / 10} s`
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error)

/**
 * The task threw, or its promise was rejected, or its Effect died.
 *
 * **Details**
 *
 * `className`, `reason` (the message) and `properties` (the error's own properties) are those of the error in
 * the thread; `cause` is that error, rebuilt here with its stack, its own properties and its causes. What was
 * thrown without being an error is the `cause` itself. `stack` shows both sides.
 *
 * @category errors
 * @since 0.1.0
 */
export class TaskFailed extends Schema.TaggedError<TaskFailed>()("TaskFailed", {
  pool: Schema.String,
  /** The function, as `hash.ts#sha256` or its own name. */
  task: Schema.String,
  /** Number of the thread, as in events and statistics. */
  thread: Schema.Number,
  className: Schema.String,
  reason: Schema.String,
  properties: Schema.Record(Schema.String, Schema.Unknown),
  /** What to do about it, where that is known. */
  hint: Schema.optional(Schema.String),
  cause: Schema.Unknown
}) {
  override get message(): string {
    const hint = this.hint === undefined ? "" : `. ${this.hint}`
    return `${this.task} failed in thread ${this.thread}: ${this.className}: ${this.reason}${hint}`
  }
}

/**
 * The thread ended while the call was on it: it ran out of memory, called `process.exit`, threw where nobody
 * could catch it, or was stopped since another call on it would not stop.
 *
 * **Details**
 *
 * `started` says whether the task had begun. What had not can be run again without harm; calls that any thread can
 * run are moved to another thread instead of failing, so that only a call on an object, or one whose arguments were moved,
 * sees `false`.
 *
 * @category errors
 * @since 0.1.0
 */
export class ThreadCrashed extends Schema.TaggedError<ThreadCrashed>()("ThreadCrashed", {
  pool: Schema.String,
  task: Schema.String,
  thread: Schema.Number,
  started: Schema.Boolean,
  reason: Schema.Literals(["exit", "error", "outOfMemory", "killed"]),
  cause: Schema.optional(Schema.Unknown)
}) {
  override get message(): string {
    const why = {
      exit: "the thread exited",
      error: "an error that nobody caught ended the thread",
      outOfMemory: "the thread ran out of memory; raise resourceLimits, or split the work",
      killed: "the thread was stopped: a task on it did not stop when it was told to, or the pool closed"
    }[this.reason]
    const cause = this.cause === undefined ? "" : ` (${messageOf(this.cause)})`
    const state = this.started ? "was running" : "had not started"
    return `${this.task} ${state} in thread ${this.thread} of ${quoted(this.pool)} when it ended: ${why}${cause}`
  }
}

/**
 * The task ran longer than `taskTimeout`. It has been told to stop, as if it were interrupted.
 *
 * @category errors
 * @since 0.1.0
 */
export class TaskTimeout extends Schema.TaggedError<TaskTimeout>()("TaskTimeout", {
  pool: Schema.String,
  task: Schema.String,
  thread: Schema.Number,
  timeout: Schema.Duration
}) {
  override get message(): string {
    return `${this.task} ran longer than ${span(this.timeout)} (taskTimeout) in thread ${this.thread} of ${quoted(this.pool)}`
  }
}

/**
 * As many calls were waiting as `maxQueue` allows, so this one was turned away at once.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueFull extends Schema.TaggedError<QueueFull>()("QueueFull", {
  pool: Schema.String,
  task: Schema.String,
  maxQueue: Schema.Number,
  running: Schema.Number
}) {
  override get message(): string {
    return (
      `${this.task} was turned away: ${this.maxQueue} calls wait in ${quoted(this.pool)} (maxQueue), and ` +
      `${this.running} are running. Shed load, or raise max or maxQueue`
    )
  }
}

/**
 * The thread pool is closed, or was closed while the call waited.
 *
 * @category errors
 * @since 0.1.0
 */
export class ThreadPoolClosed extends Schema.TaggedError<ThreadPoolClosed>()("ThreadPoolClosed", {
  pool: Schema.String,
  task: Schema.String
}) {
  override get message(): string {
    return `${quoted(this.pool)} is closed: ${this.task} was not run`
  }
}

/**
 * A value cannot cross to another thread: functions, symbols, instances with private fields, and what holds one
 * of them.
 *
 * **Details**
 *
 * `path` leads to it: `arguments[0].user.onClick`, or `result.callback`. An argument fails before anything
 * is sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotCloneable extends Schema.TaggedError<NotCloneable>()("NotCloneable", {
  pool: Schema.String,
  task: Schema.String,
  path: Schema.String,
  /** What is there, as `function onClick`. */
  found: Schema.String,
  hint: Schema.optional(Schema.String)
}) {
  override get message(): string {
    const hint = this.hint ?? "Send plain data, or let the thread make it"
    return `${this.task}: ${this.path} is ${this.found}, which cannot cross to another thread. ${hint}`
  }
}

/**
 * The object that a remote stands for is gone: its thread ended, or it was released.
 *
 * @category errors
 * @since 0.1.0
 */
export class StaleRemote extends Schema.TaggedError<StaleRemote>()("StaleRemote", {
  pool: Schema.String,
  task: Schema.String,
  thread: Schema.Number,
  reason: Schema.Literals(["threadEnded", "released", "elsewhere"])
}) {
  override get message(): string {
    const why = {
      threadEnded: `thread ${this.thread} ended, and the object with it. Make a new proxy`,
      released: "it was released: its scope has closed",
      elsewhere: `it lives in thread ${this.thread}, where this call cannot go. Make what belongs together in one thread`
    }[this.reason]
    return `${this.task}: the object is not there: ${why}`
  }
}

/**
 * A thread could not be started: the worker's entry was not found or threw, a module of `preload` threw, or it
 * took longer than `spawnTimeout`. The `cause` is what the thread said.
 *
 * @category errors
 * @since 0.1.0
 */
export class SpawnFailed extends Schema.TaggedError<SpawnFailed>()("SpawnFailed", {
  pool: Schema.String,
  reason: Schema.String,
  cause: Schema.optional(Schema.Unknown)
}) {
  override get message(): string {
    return `${quoted(this.pool)}: no thread could be started: ${this.reason}`
  }
}
