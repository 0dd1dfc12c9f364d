// Generators and async generators. Where one is given cells, cell 0 counts what it has made, and cell 1 is 1 when its
// `finally` has run.
import * as Task from "@cenote/threads/Task"

export function* upTo(limit: number): Generator<number> {
  for (let i = 1; i <= limit; i++) yield i
}

export async function* upToAsync(limit: number): AsyncGenerator<number> {
  for (let i = 1; i <= limit; i++) {
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 0))
    yield i
  }
}

export const promisedGenerator = async (limit: number): Promise<Generator<number>> => upTo(limit)

export function* none(): Generator<number> {}

export function* counted(cells: Int32Array): Generator<number> {
  try {
    while (true) yield Atomics.add(cells, 0, 1)
  } finally {
    Atomics.store(cells, 1, 1)
  }
}

export async function* countedAsync(cells: Int32Array): AsyncGenerator<number> {
  try {
    while (true) yield Atomics.add(cells, 0, 1)
  } finally {
    await Promise.resolve()
    Atomics.store(cells, 1, 1)
  }
}

/** Gives one item, and then waits for cell 2. */
export async function* gated(cells: Int32Array): AsyncGenerator<string> {
  yield "first"
  while (Atomics.load(cells, 2) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  yield "second"
}

export function* throwAfter(count: number): Generator<number> {
  yield* upTo(count)
  throw new RangeError("no more")
}

export async function* throwAfterAsync(count: number): AsyncGenerator<number> {
  yield* upTo(count)
  throw new RangeError("no more")
}

/** Holds its thread in the second step, until it sees that nobody wants it. */
export function* spin(cells: Int32Array): Generator<number> {
  try {
    yield 1
    // A new batch begins here.
    while (Atomics.load(cells, 2) === 0) yield 2
    Atomics.store(cells, 0, 1)
    const task = Task.current()
    const until = Date.now() + 20_000
    while (!task.aborted && Date.now() < until);
    Atomics.store(cells, 3, task.aborted ? 1 : 2)
    yield 3
  } finally {
    Atomics.store(cells, 1, 1)
  }
}

export function* withFunction(): Generator {
  yield 1
  yield { inner: [() => 1] }
  yield 3
}

export function* buffers(count: number, size: number, move: boolean): Generator<Uint8Array> {
  for (let i = 1; i <= count; i++) {
    const bytes = new Uint8Array(size).fill(i)
    yield move ? Task.move(bytes) : bytes
  }
}

let kept: ReadonlyArray<Uint8Array> = []

/** Makes bytes, keeps hold of them, and moves them. */
export function* keptBuffers(count: number, size: number): Generator<Uint8Array> {
  kept = Array.from({ length: count }, () => new Uint8Array(size))
  for (const bytes of kept) yield Task.move(bytes)
}

export const keptLengths = (): ReadonlyArray<number> => kept.map((_) => _.byteLength)

/** What `return` gives is no item. */
export function* withReturn(): Generator<number, string> {
  yield 1
  return "the end"
}
