// Tasks that end badly, late or never, and that tell the test how far they have come.
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Task from "@cenote/threads/Task"
import { parentPort } from "node:worker_threads"

/** How long a task waits at most for the test's word, so that a test that fails also ends. */
const bound = 30_000

/** Tells the test, and whoever else looks at the cell. */
const raise = (cells: Int32Array, index: number): void => {
  Atomics.add(cells, index, 1)
  Atomics.notify(cells, index)
}

const raised = async (cells: Int32Array, index: number): Promise<void> => {
  const until = Date.now() + bound
  while (Atomics.load(cells, index) === 0 && Date.now() < until) await pause(1)
}

const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

// -----------------------------------------------------------------------------
// Tasks that the test holds
// -----------------------------------------------------------------------------

/** Gives the number of its thread. */
export const thread = (): number => Task.current().thread

/** Says that it has begun, and holds its thread until the next cell is raised. */
export const hold = (cells: Int32Array, index: number): number => {
  const task = Task.current()
  raise(cells, index)
  Atomics.wait(cells, index + 1, 0, bound)
  return task.thread
}

/** The same without holding the thread. */
export const wait = async (cells: Int32Array, begun: number, go: number): Promise<number> => {
  const task = Task.current()
  raise(cells, begun)
  await raised(cells, go)
  return task.thread
}

/** The same, and takes its thread with it when it is told to. */
export const waitOrExit = async (
  cells: Int32Array,
  begun: number,
  go: number,
  exit: number
): Promise<number> => {
  const task = Task.current()
  raise(cells, begun)
  const until = Date.now() + bound
  while (Atomics.load(cells, go) === 0 && Date.now() < until) {
    if (Atomics.load(cells, exit) !== 0) process.exit(1)
    await pause(1)
  }
  return task.thread
}

/** Says that it has begun, and takes a while in which the thread does nothing else. */
export const sleep = (cells: Int32Array, index: number, millis: number): number => {
  const task = Task.current()
  raise(cells, index)
  Atomics.wait(cells, index + 1, 0, millis)
  return task.thread
}

export const sleepAsync = async (cells: Int32Array, index: number, millis: number): Promise<number> => {
  const task = Task.current()
  raise(cells, index)
  await pause(millis)
  return task.thread
}

export const sleepEffect = (cells: Int32Array, index: number, millis: number): Effect.Effect<number> => {
  const task = Task.current()
  raise(cells, index)
  return Effect.as(Effect.sleep(millis), task.thread)
}

/** What a task does that is done in no time as a rule. */
export type Whim = "pass" | "hold" | "spin" | "exit" | "holdAndExit"

/** Mostly it is short, so that calls of it are sent ahead. Counts its runs, and gives the number of its thread. */
export const whim = (what: Whim, cells: Int32Array, index: number): number => {
  const { thread } = Task.current()
  raise(cells, index)
  switch (what) {
    case "pass":
      break
    case "hold":
      Atomics.wait(cells, index + 1, 0, bound)
      break
    case "spin":
      for (;;);
    case "exit":
      return process.exit(1)
    case "holdAndExit":
      Atomics.wait(cells, index + 1, 0, bound)
      return process.exit(1)
  }
  return thread
}

/** Puts its mark into the next free cell from `first` on, which is counted in cell 0. */
export const sign = (what: Whim, cells: Int32Array, first: number, mark: number): number => {
  Atomics.store(cells, first + Atomics.add(cells, 0, 1), mark)
  Atomics.notify(cells, 0)
  if (what === "holdAndExit") {
    Atomics.wait(cells, 1, 0, bound)
    process.exit(1)
  }
  if (what === "hold") Atomics.wait(cells, 1, 0, bound)
  return Task.current().thread
}

// -----------------------------------------------------------------------------
// Ends of a thread
// -----------------------------------------------------------------------------

export const exit = (code: number): never => process.exit(code)

export const exitLater = async (code: number): Promise<never> => {
  await pause(1)
  return process.exit(code)
}

export const exitEffect = (code: number): Effect.Effect<never> =>
  Effect.andThen(
    Effect.sleep(1),
    Effect.sync(() => process.exit(code))
  )

/** It never ends by itself. */
export const throwInTimer = (): Promise<never> => {
  setTimeout(() => {
    throw Object.assign(new RangeError("thrown in a timer"), { code: "E_TIMER" })
  }, 1)
  return new Promise<never>(() => {})
}

/** It has ended, with a value, before anything is thrown. */
export const throwAfterwards = (cells: Int32Array, go: number): number => {
  const look = setInterval(() => {
    if (Atomics.load(cells, go) === 0) return
    clearInterval(look)
    throw new RangeError("thrown in a timer")
  }, 1)
  return Task.current().thread
}

export const rejectUnhandled = (): Promise<never> => {
  void Promise.reject(new RangeError("nobody handles this"))
  return new Promise<never>(() => {})
}

export const throwNoError = (): Promise<never> => {
  setTimeout(() => {
    // oxlint-disable-next-line no-throw-literal
    throw "just a text"
  }, 1)
  return new Promise<never>(() => {})
}

export const throwNothing = (): Promise<never> => {
  setTimeout(() => {
    // oxlint-disable-next-line no-throw-literal
    throw undefined
  }, 1)
  return new Promise<never>(() => {})
}

/** What an error holds may not be able to cross. */
export const throwUncloneable = (): Promise<never> => {
  setTimeout(() => {
    throw Object.assign(new RangeError("with a function"), { f: () => 1 })
  }, 1)
  return new Promise<never>(() => {})
}

/** Nothing keeps the thread when its port is closed. */
export const closePort = (): Promise<never> => {
  parentPort!.close()
  return new Promise<never>(() => {})
}

/** Says something to the parent that the pool does not understand, as code does that was written for a worker of its own. */
export const postJunk = (): number => {
  for (const junk of [
    { progress: 1 },
    "text",
    7,
    null,
    undefined,
    [],
    [0],
    [1],
    [1, null],
    [1, { progress: 1 }],
    [1, [99]]
  ]) {
    parentPort!.postMessage(junk)
  }
  return Task.current().thread
}

export const overflow = (n: number): number => 1 + overflow(n + 1)

export const outOfMemory = (): number => {
  const all: Array<Array<number>> = []
  for (;;) all.push(Array.from({ length: 10_000 }, () => Math.random()))
}

/** Says in a cell when its thread ends in good order. */
export const tellOfExit = (cells: Int32Array, index: number): void => {
  process.once("exit", () => raise(cells, index))
}

// -----------------------------------------------------------------------------
// Tasks that are told to stop
// -----------------------------------------------------------------------------

export const spin = (cells: Int32Array, index: number): never => {
  raise(cells, index)
  for (;;);
}

/** A loop that looks whether it is wanted. Raises the next cell when it stops. */
export const spinUntilAborted = (cells: Int32Array, index: number, by: "flag" | "signal"): number => {
  const task = Task.current()
  const { signal } = task
  raise(cells, index)
  const until = Date.now() + bound
  while (!(by === "flag" ? task.aborted : signal.aborted)) if (Date.now() > until) return 0
  raise(cells, index + 1)
  return task.thread
}

/** Waits for the event. */
export const untilSignal = async (cells: Int32Array, index: number): Promise<void> => {
  const { signal } = Task.current()
  raise(cells, index)
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
  raise(cells, index + 1)
}

/** Never ends by itself, and needs a moment to clean up. */
export const untilInterrupted = (cells: Int32Array, index: number): Effect.Effect<never> =>
  Effect.suspend(() => {
    raise(cells, index)
    return Effect.onInterrupt(Effect.never, () =>
      Effect.andThen(
        Effect.sleep(5),
        Effect.sync(() => raise(cells, index + 1))
      )
    )
  })

/** Never ends, whoever asks. */
export const deaf = (cells: Int32Array, index: number): Promise<never> => {
  raise(cells, index)
  return new Promise<never>(() => {})
}

export const deafEffect = (cells: Int32Array, index: number): Effect.Effect<never> =>
  Effect.suspend(() => {
    raise(cells, index)
    return Effect.uninterruptible(Effect.never)
  })

// -----------------------------------------------------------------------------
// Streams
// -----------------------------------------------------------------------------

/** Ends its thread after some items, each of which is asked for. */
export async function* countAndExit(items: number): AsyncGenerator<number> {
  for (let i = 1; i <= items; i++) {
    yield i
    // Items that are there at once go out together.
    await pause(20)
  }
  process.exit(1)
}

export const countAndExitStream = (items: number): Stream.Stream<number> =>
  Stream.concat(Stream.range(1, items), Stream.fromEffect(Effect.sync((): number => process.exit(1))))

export function* count(): Generator<number> {
  for (let i = 1; ; i++) yield i
}

// -----------------------------------------------------------------------------
// Objects
// -----------------------------------------------------------------------------

export class Thing {
  readonly cells: Int32Array

  constructor(cells: Int32Array = new Int32Array(8)) {
    this.cells = cells
  }

  thread(): number {
    return Task.current().thread
  }

  hold(index: number): number {
    return hold(this.cells, index)
  }

  wait(begun: number, go: number): Promise<number> {
    return wait(this.cells, begun, go)
  }

  sleep(index: number, millis: number): number {
    return sleep(this.cells, index, millis)
  }

  untilAborted(index: number): number {
    return spinUntilAborted(this.cells, index, "flag")
  }

  exit(): never {
    return process.exit(1)
  }
}

/** Ends its thread when it is made. */
export class Stillborn {
  constructor() {
    process.exit(1)
  }
}

/** Ends its thread when it is disposed of. */
export class Vengeful extends Thing {
  [Symbol.dispose](): void {
    process.exit(1)
  }
}

/** Its disposal fails, after it has counted itself in cell 0. */
export class Undisposable extends Thing {
  [Symbol.dispose](): void {
    raise(this.cells, 0)
    throw new RangeError("will not go")
  }
}

export class UndisposableLater extends Thing {
  async [Symbol.asyncDispose](): Promise<void> {
    await pause(1)
    raise(this.cells, 0)
    throw new RangeError("will not go, later")
  }
}

/** Not even its disposal can be asked for. */
export class Unaskable extends Thing {
  get [Symbol.asyncDispose](): never {
    raise(this.cells, 0)
    throw new RangeError("do not ask")
  }
}

/** Its disposal never ends. */
export class Clinging extends Thing {
  [Symbol.asyncDispose](): Promise<void> {
    raise(this.cells, 0)
    return new Promise(() => {})
  }
}
