/**
 * Thread pools for Effect.
 *
 * @since 0.1.0
 */
export * as NodeThreads from "./NodeThreads.ts"
export * as Remote from "./Remote.ts"
export * as Task from "./Task.ts"
export * as ThreadError from "./ThreadError.ts"
export * as ThreadEvent from "./ThreadEvent.ts"
export * as ThreadPool from "./ThreadPool.ts"
