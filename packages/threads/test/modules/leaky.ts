// Tasks and objects that are large, so that one that is left behind shows.
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

/** Numbers that a payload has: 16 KB of them. */
export const size = 2_000

export const payload = (seed: number): Array<number> => Array.from({ length: size }, (_, i) => seed + i + 0.5)

/** Bytes of this thread's heap that are in use, once everything is collected that nobody refers to. */
export const heap = async (): Promise<number> => {
  for (let i = 0; i < 4; i++) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}

export const echo = (payload: Array<number>): Array<number> => payload

export const fail = (payload: Array<number>): never => {
  throw Object.assign(new Error("failed"), { payload: payload.slice() })
}

export const reject = async (payload: Array<number>): Promise<never> => fail(payload)

export class Failed extends Data.TaggedError("Failed")<{ readonly payload: Array<number> }> {}

export const failEffect = (payload: Array<number>): Effect.Effect<never, Failed> =>
  Effect.fail(new Failed({ payload: payload.slice() }))

/** Runs until it is interrupted. */
export const forever = (payload: Array<number>, cells: Int32Array): Effect.Effect<Array<number>> => {
  Atomics.add(cells, 0, 1)
  return Effect.as(Effect.never, payload)
}

/** Ends after it was told to, and not before. */
export const untilSignal = async (payload: Array<number>, signal: Int32Array): Promise<Array<number>> => {
  Atomics.add(signal, 0, 1)
  while (Atomics.load(signal, 1) === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  return payload
}

export function* generate(seed: number): Generator<Array<number>> {
  for (let i = 0; ; i++) yield payload(seed + i)
}

export const stream = (seed: number): Stream.Stream<Array<number>> =>
  Stream.map(Stream.range(1, 20), (i) => payload(seed + i))

export class Hoard {
  readonly all: Array<number>

  constructor(seed: number) {
    this.all = payload(seed)
  }

  first(): number {
    return this.all[0]!
  }

  child(): Hoard {
    return new Hoard(this.all[0]! + 1)
  }
}
