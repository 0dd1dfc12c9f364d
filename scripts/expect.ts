// Loaded into the process that runs a code block: `expr // => value` becomes `__expect(line, expr, value)`.
// A mismatch is noted, not thrown, so that no handler in the block can swallow it.
import { inspect, isDeepStrictEqual } from "node:util"
import { isMainThread } from "node:worker_threads"

/** The lines whose comparison has not been reached yet. */
const pending = new Set((process.env["CENOTE_EXPECT_LINES"] ?? "").split(",").filter((_) => _ !== ""))

const compare = (line: number, actual: unknown, expected: unknown): void => {
  pending.delete(String(line))
  if (isDeepStrictEqual(actual, expected)) return
  console.error(`line ${line}: expected ${inspect(expected)}, got ${inspect(actual)}`)
  process.exitCode = 1
}

/** Hands `actual` back, so that it can stand where the expression stood. A promise is compared by its value. */
const expect = <A>(line: number, actual: A, expected: unknown): A => {
  if (!(actual instanceof Promise)) {
    compare(line, actual, expected)
    return actual
  }
  return actual.then((value: unknown) => {
    compare(line, value, expected)
    return value
  }) as A
}

Object.assign(globalThis, { __expect: expect })

// Threads that the block starts load this too, and reach none of its lines.
if (isMainThread) {
  process.on("exit", () => {
    for (const line of pending) console.error(`line ${line}: the comparison was never reached`)
    if (pending.size > 0) process.exitCode = 1
  })
}
