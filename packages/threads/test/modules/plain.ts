// Functions as they are found in any module.
import { isMainThread, threadId } from "node:worker_threads"
import * as Task from "@cenote/threads/Task"

export const VERSION = "1.2.3"
export const settings = { retries: 3, hosts: ["a", "b"] }
export const nothing = undefined
export const comingSoon = Promise.resolve("came")
export const table = new Map([["one", 1]])
export const withCode = { name: "with code", run: () => 1 }

export const giveTwice = (): readonly [object, object] => [settings, settings]

export const add = (a: number, b: number): number => a + b
export const echo = <A>(value: A): A => value
export const all = (...values: ReadonlyArray<unknown>): ReadonlyArray<unknown> => values
export function declared(this: unknown, text: string): string {
  return text.toUpperCase()
}
export const countArguments = (...values: ReadonlyArray<unknown>): number => values.length

export const where = (): {
  readonly isMainThread: boolean
  readonly threadId: number
  readonly task: number
} => ({
  isMainThread,
  threadId,
  task: Task.current().thread
})

export const later = async (value: number, millis = 1): Promise<number> => {
  await new Promise((resolve) => setTimeout(resolve, millis))
  return value
}

export const thenable = (value: number): PromiseLike<number> => ({
  // oxlint-disable-next-line unicorn/no-thenable
  then: (resolve: any) => resolve(value)
})

/** Holds its thread until a cell is not 0. */
export const blockUntil = (cells: Int32Array, index = 0): number => {
  Atomics.wait(cells, index, 0, 20_000)
  return Atomics.load(cells, index)
}

/** Says that it has begun, and holds its thread until the next cell is not 0. */
export const beginAndBlock = (cells: Int32Array, index = 0): number => {
  Atomics.add(cells, index, 1)
  Atomics.notify(cells, index)
  Atomics.wait(cells, index + 1, 0, 20_000)
  return Atomics.load(cells, index + 1)
}

/** Waits without holding the thread. */
export const waitUntil = async (cells: Int32Array, index = 0): Promise<number> => {
  const until = Date.now() + 20_000
  while (Atomics.load(cells, index) === 0 && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return Atomics.load(cells, index)
}

export const beginAndWait = async (cells: Int32Array, index = 0): Promise<number> => {
  Atomics.add(cells, index, 1)
  return await waitUntil(cells, index + 1)
}

let notes: Array<unknown> = []
export const note = (value: unknown): void => void notes.push(value)
export const takeNotes = (): ReadonlyArray<unknown> => {
  const taken = notes
  notes = []
  return taken
}

/** Holds its thread, and then gives what was noted in it. */
export const noteAndBlock = (value: unknown, cells: Int32Array): ReadonlyArray<unknown> => {
  note(value)
  beginAndBlock(cells)
  return takeNotes()
}

/** Spins, and says how it was told to stop: 1 by the flag, 2 by the signal. */
export const spinUntilAborted = (cells: Int32Array, by: "flag" | "signal"): void => {
  const task = Task.current()
  const { signal } = task
  Atomics.store(cells, 0, 1)
  const until = Date.now() + 20_000
  while (Date.now() < until) {
    if (by === "flag" && task.aborted) return void Atomics.store(cells, 1, 1)
    if (by === "signal" && signal.aborted) return void Atomics.store(cells, 1, 2)
  }
}
