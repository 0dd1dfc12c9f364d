/**
 * What a task can know and do while it runs in a thread. For use in modules that threads load; the functions that
 * `ThreadPool.execute` sends get the same as `this`. Import it by its own path there: `@cenote/threads` would load all of the
 * pool's side into each thread.
 *
 * **Example** (A synchronous loop that can be stopped)
 *
 * ```ts
 * import * as Task from "@cenote/threads/Task"
 *
 * export const countPrimes = (limit: number): number => {
 *   const task = Task.current()
 *   let count = 0
 *   for (let n = 2; n < limit && !task.aborted; n++) {
 *     let isPrime = true
 *     for (let d = 2; d * d <= n && isPrime; d++) isPrime = n % d !== 0
 *     if (isPrime) count++
 *   }
 *   return count
 * }
 *
 * countPrimes(100) // => 25
 * ```
 *
 * @since 0.1.0
 */
import { markMoved } from "./internal/clone.ts"

/**
 * A task that runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Task {
  /** Number of the thread; 0 on the calling thread. */
  readonly thread: number
  /** When `taskTimeout` will have passed, in milliseconds since the epoch; `undefined` without one. */
  readonly deadline: number | undefined
  /**
   * Whether nobody waits for the result any more: the caller was interrupted, or `taskTimeout` passed. It is read
   * from shared memory, and so it changes also while a loop never gives up the thread.
   */
  readonly aborted: boolean
  /** The same as a signal, for `fetch` and its like. */
  readonly signal: AbortSignal
  /** The caller's span, if it has one: to be told to whatever the task asks in its turn. */
  readonly span: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
  /** {@link move} */
  readonly move: <A>(value: A) => A
}

/**
 * Moves what is in a value (buffers, ports, streams) instead of copying it when the value is an argument or the
 * result of a call. The sender cannot use it afterwards. Gives the value itself.
 *
 * **Gotchas**
 *
 * A view of a part of a buffer is copied, so that the rest is not taken away.
 *
 * @category operations
 * @since 0.1.0
 */
export const move = <A>(value: A): A => markMoved(value)

/** Where the thread says which task it is running. One place for all copies of this module. */
const holder: { task: Task | undefined } = ((globalThis as any)[Symbol.for("~cenote/threads/task")] ??= {
  task: undefined
})

/**
 * The task that is running. Ask before the first `await`, and in an Effect before its first asynchronous step: afterwards
 * other tasks may have had their turn. Outside of
 * any task it is one that nobody aborts, so that a function works on the main thread too.
 *
 * @category operations
 * @since 0.1.0
 */
export const current = (): Task => holder.task ?? noTask

const noTask: Task = {
  thread: 0,
  deadline: undefined,
  span: undefined,
  aborted: false,
  get signal() {
    return new AbortController().signal
  },
  move
}
