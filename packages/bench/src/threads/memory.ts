/** Prints the bytes by which the process grows with each thread of the contender that the first argument names. */
import { Effect, Scope } from "effect"
import { collect } from "../harness.ts"
import * as contenders from "./contenders.ts"

const threads = 8

const contender = Object.values(contenders).find(({ name }) => name === process.argv[2])
if (contender === undefined) throw new Error(`there is no contender ${process.argv[2]}`)

/** Starts threads, and keeps all of them at work for a while. */
const start = async (size: number): Promise<void> => {
  const scope = Scope.makeUnsafe()
  const calls = await Effect.runPromise(Scope.provide(contender.start(size), scope))
  const spin = async (): Promise<number> =>
    calls.kind === "effect" ? Effect.runPromiseWith(calls.context)(calls.spin(20)) : calls.spin(20)
  for (let round = 0; round < 4; round++) await Promise.all(Array.from({ length: size * 2 }, spin))
}

const residentBytes = async (): Promise<number> => {
  for (let i = 0; i < 3; i++) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return process.memoryUsage.rss()
}

// What the main thread needs for the library, and for its first thread, is not counted.
await start(1)
const before = await residentBytes()
await start(threads)
const after = await residentBytes()
console.log((after - before) / threads)
process.exit()
