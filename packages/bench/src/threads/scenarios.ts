/** How it is measured: what every contender has to do, timed the same way. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { Effect, Exit, Scope } from "effect"
import { type Contestant, type Figure, quantile } from "../harness.ts"
import type { Contender, EffectCalls, PromiseCalls } from "./contenders.ts"
import { short } from "./workers/work.ts"

export type Calls = EffectCalls | PromiseCalls

/** Starts a contender's threads, and sees that they do what they should before anything is timed. */
export const start = (
  { name, start }: Contender,
  threads: number
): Effect.Effect<Calls, never, Scope.Scope> =>
  Effect.gen(function* () {
    const calls = yield* Effect.orDie(start(threads))
    const results = yield* Effect.promise(() =>
      Promise.all(Array.from({ length: 4 * threads }, (_, i) => one(calls, i)))
    )
    if (results.some((result, i) => result !== short(i))) throw new Error(`${name} gives wrong results`)
    return calls
  })

/** Makes one short call. */
const one = (calls: Calls, seed: number): PromiseLike<number> =>
  calls.kind === "effect" ? Effect.runPromiseWith(calls.context)(calls.short(seed)) : calls.short(seed)

/** What one of many callers does: it asks for work until there is none. */
type Caller = {
  readonly effect: (calls: EffectCalls) => Effect.Effect<void, unknown, any>
  readonly promise: (calls: PromiseCalls) => Promise<void>
}

/** Runs callers, each of them a fiber or an async function, and waits for all. */
const run = (calls: Calls, callers: number, caller: Caller): Promise<unknown> =>
  Promise.all(
    Array.from({ length: callers }, () =>
      calls.kind === "effect"
        ? Effect.runPromiseWith(calls.context)(caller.effect(calls))
        : caller.promise(calls)
    )
  )

/** So many calls go by between two looks at the clock, which would cost too much each time. */
const stride = 16

/**
 * Counts calls, and times those in the middle: the clock starts when every caller has had a result, and stops while all
 * still ask. All contenders have the same time, which for slow ones means fewer calls.
 */
class Stopwatch {
  private count = 0
  private startedAt = 0
  private micros = 0
  private readonly first: number
  private readonly least: number
  private readonly millis: number

  constructor(callers: number, millis: number) {
    this.first = callers + 1
    this.least = 2 * callers
    this.millis = millis
  }

  /** Called before each call; `false` when there are to be no more. */
  more(): boolean {
    if (this.micros > 0) return false
    const counted = ++this.count - this.first
    if (counted === 0) this.startedAt = performance.now()
    else if (counted >= this.least && counted % stride === 0) {
      const elapsed = performance.now() - this.startedAt
      if (elapsed >= this.millis) this.micros = (elapsed * 1_000) / counted
    }
    return true
  }

  get microsPerCall(): number {
    return this.micros
  }
}

// -----------------------------------------------------------------------------
// Calls of microseconds
// -----------------------------------------------------------------------------

/** So many callers make one short call after the other. */
export const inFlight =
  (callers: number, millis: number) =>
  (name: string, calls: Calls): Contestant => ({
    name,
    sample: async () => {
      const watch = new Stopwatch(callers, millis)
      await run(calls, callers, {
        effect: ({ short }) =>
          Effect.gen(function* () {
            for (let i = 0; watch.more(); i++) yield* short(i)
          }),
        promise: async ({ short }) => {
          for (let i = 0; watch.more(); i++) await short(i)
        }
      })
      return watch.microsPerCall
    }
  })

// -----------------------------------------------------------------------------
// Payloads
// -----------------------------------------------------------------------------

/** One caller sends the same bytes again and again, and gets a copy of a copy. */
export const cloned =
  (size: number, millis: number) =>
  (name: string, calls: Calls): Contestant => ({
    name,
    sample: async () => {
      const bytes = new Uint8Array(size)
      const watch = new Stopwatch(1, millis)
      await run(calls, 1, {
        effect: ({ echo }) =>
          Effect.gen(function* () {
            while (watch.more()) yield* echo(bytes)
          }),
        promise: async ({ echo }) => {
          while (watch.more()) await echo(bytes)
        }
      })
      return watch.microsPerCall
    }
  })

/** One caller sends bytes, and sends again what comes back: nothing is copied. */
export const transferred =
  (size: number, millis: number) =>
  (name: string, calls: Calls): Contestant => ({
    name,
    sample: async () => {
      let bytes = new Uint8Array(size)
      const watch = new Stopwatch(1, millis)
      const take = (back: Uint8Array): void => {
        if (bytes.length !== 0 || back.length !== size) throw new Error(`${name} does not transfer`)
        bytes = back as Uint8Array<ArrayBuffer>
      }
      await run(calls, 1, {
        effect: ({ pass }) =>
          Effect.gen(function* () {
            while (watch.more()) take(yield* pass!(bytes))
          }),
        promise: async ({ pass }) => {
          while (watch.more()) take(await pass!(bytes))
        }
      })
      return watch.microsPerCall
    }
  })

// -----------------------------------------------------------------------------
// Long calls among short ones
// -----------------------------------------------------------------------------

/**
 * Of 2,500 calls 125 take a millisecond, and one takes 100, at regular places. While that one holds a thread the other
 * gets through all that comes before the next such call; and what is stuck behind it shows in the 99th percentile.
 */
const millisOf = (call: number): number => (call % 2_500 === 1_250 ? 100 : call % 20 === 10 ? 1 : 0)

/**
 * How long short calls take from when they are made until the result is there, with long ones among them. They need
 * microseconds: the rest is waiting.
 */
export const mixed =
  (callers: number, operations: number, functions: "several" | "one") =>
  (name: string, calls: Calls): Contestant => ({
    name,
    sample: async () => {
      const waits: Array<number> = []
      let made = 0
      await run(calls, callers, {
        effect: ({ either, short, spin }) =>
          Effect.gen(function* () {
            while (made < operations) {
              const millis = millisOf(made++)
              const madeAt = performance.now()
              if (functions === "one") yield* either(millis)
              else yield* millis === 0 ? short(1) : spin(millis)
              if (millis === 0) waits.push(performance.now() - madeAt)
            }
          }),
        promise: async ({ either, short, spin }) => {
          while (made < operations) {
            const millis = millisOf(made++)
            const madeAt = performance.now()
            await (functions === "one" ? either(millis) : millis === 0 ? short(1) : spin(millis))
            if (millis === 0) waits.push(performance.now() - madeAt)
          }
        }
      })
      return percentiles(waits)
    }
  })

/** The 99th percentile of times, and the 50th, in microseconds. */
const percentiles = (millis: ReadonlyArray<number>): Figure => ({
  value: quantile(millis, 0.99) * 1_000,
  also: quantile(millis, 0.5) * 1_000
})

// -----------------------------------------------------------------------------
// The main thread
// -----------------------------------------------------------------------------

/** How late a timer of a millisecond is on the main thread while `busy` runs. */
const lateness = async (busy: () => Promise<unknown>): Promise<Figure> => {
  const late: Array<number> = []
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    late.push(Math.max(0, now - last - 1))
    last = now
  }, 1)
  await busy()
  clearInterval(timer)
  return percentiles(late)
}

/** Of ten calls one takes ten milliseconds, and the others take one. */
const heavyMillis = (call: number): number => (call % 10 === 5 ? 10 : 1)

/** The timer on the main thread while both threads compute for as long as there is time. */
export const ticking =
  (callers: number, millis: number) =>
  (name: string, calls: Calls): Contestant => ({
    name,
    sample: () =>
      lateness(() => {
        const until = performance.now() + millis
        let made = 0
        return run(calls, callers, {
          effect: ({ spin }) =>
            Effect.gen(function* () {
              while (performance.now() < until) yield* spin(heavyMillis(made++))
            }),
          promise: async ({ spin }) => {
            while (performance.now() < until) await spin(heavyMillis(made++))
          }
        })
      })
  })

/** The timer while nothing runs. */
export const tickingAlone = (millis: number): Contestant => ({
  name: "floor: nothing runs",
  sample: () => lateness(() => new Promise((resolve) => setTimeout(resolve, millis)))
})

// -----------------------------------------------------------------------------
// Start and memory
// -----------------------------------------------------------------------------

/** From the first line until the first result; the library is loaded, and what was started is stopped off the clock. */
export const startUp =
  (threads: number) =>
  (contender: Contender): Contestant => ({
    name: contender.name,
    sample: async () => {
      const scope = Scope.makeUnsafe()
      const startedAt = performance.now()
      const calls = await Effect.runPromise(Scope.provide(contender.start(threads), scope))
      await one(calls, 1)
      const millis = performance.now() - startedAt
      await Effect.runPromise(Scope.close(scope, Exit.void))
      return millis
    }
  })

/** Megabytes for each further thread, each of which has run something; measured by `memory.ts` in a process of its own. */
export const memory = (contender: Contender): Contestant => ({
  name: contender.name,
  sample: async () => {
    const program = fileURLToPath(new URL("./memory.ts", import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", program, contender.name])
    return Number(stdout) / 2 ** 20
  }
})
