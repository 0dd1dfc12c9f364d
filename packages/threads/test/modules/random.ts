// What random programs run in threads. Each call has a number of its own, and counts itself in shared memory when it begins.
// Without Effect: threads are started again and again, and each has to load it.
import * as Task from "@cenote/threads/Task"

export const begin = (begun: Int32Array, id: number): Task.Task => {
  Atomics.add(begun, id, 1)
  return Task.current()
}

/** What a call gives, by its number. */
export const answerOf = (id: number): string => `answer ${id}`

const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

const spin = (millis: number): void => {
  const until = performance.now() + millis
  while (performance.now() < until);
}

export const fast = (begun: Int32Array, id: number): string => {
  begin(begun, id)
  return answerOf(id)
}

export const slow = (begun: Int32Array, id: number, millis: number): string => {
  begin(begun, id)
  spin(millis)
  return answerOf(id)
}

export const later = async (begun: Int32Array, id: number, millis: number): Promise<string> => {
  begin(begun, id)
  await sleep(millis)
  return answerOf(id)
}

export const throws = (begun: Int32Array, id: number): string => {
  begin(begun, id)
  throw new RangeError(`no ${id}`)
}

/** Gives what cannot be sent. */
export const ungivable = (begun: Int32Array, id: number): unknown => {
  begin(begun, id)
  return { id, f: () => id }
}

/** Ends its thread, where there is one. */
export const exits = (begun: Int32Array, id: number): string => {
  if (begin(begun, id).thread !== 0) process.exit(3)
  return answerOf(id)
}

/** Ends its thread with an error that nobody catches, where there is one. */
export const dies = async (begun: Int32Array, id: number): Promise<string> => {
  if (begin(begun, id).thread === 0) return answerOf(id)
  setTimeout(() => {
    throw new Error(`dies ${id}`)
  }, 1)
  return new Promise(() => {})
}

/** Never ends, where that holds up nobody else. */
export const loops = (begun: Int32Array, id: number): string => {
  if (begin(begun, id).thread !== 0) for (;;);
  return answerOf(id)
}

/** Ends when nobody wants it any more. */
export const loopsUntilTold = (begun: Int32Array, id: number): string => {
  const task = begin(begun, id)
  if (task.thread !== 0) while (!task.aborted);
  return answerOf(id)
}

/** Waits for ever, and ends when nobody wants it any more. */
export const holds = (begun: Int32Array, id: number): Promise<string> => {
  const { signal } = begin(begun, id)
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(answerOf(id))))
}

export function* generates(begun: Int32Array, id: number, count: number): Generator<number> {
  begin(begun, id)
  for (let i = 0; i < count; i++) yield i
}

export async function* generatesLater(
  begun: Int32Array,
  id: number,
  count: number
): AsyncGenerator<number, void, unknown> {
  begin(begun, id)
  for (let i = 0; i < count; i++) {
    if (i % 100 === 99) await sleep(1)
    yield i
  }
}

/** Counts its calls, so that it shows their order. */
export class Counter {
  private last = 0
  next(begun: Int32Array, id: number): number {
    begin(begun, id)
    return ++this.last
  }
  async nextLater(begun: Int32Array, id: number, millis: number): Promise<number> {
    begin(begun, id)
    const number = ++this.last
    await sleep(millis)
    return number
  }
  throws(begun: Int32Array, id: number): number {
    begin(begun, id)
    this.last++
    throw new RangeError(`no ${id}`)
  }
  exits(begun: Int32Array, id: number): number {
    if (begin(begun, id).thread !== 0) process.exit(4)
    return ++this.last
  }
}
