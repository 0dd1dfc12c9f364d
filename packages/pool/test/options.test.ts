/**
 * Options that make no sense are found when the pool is made, or resized, and not when the first borrower
 * runs into them. The message names the option, its value and what is allowed.
 */
import { KeyedPool, Pool, TokenPool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { defectOf, Things } from "./kit.ts"

type Options = Omit<Pool.Options<any, any, any>, "acquire">

const counts = { "a fraction": [1.5, "1.5"], NaN: [Number.NaN, "NaN"], negative: [-1, "-1"] } as const

/** Durations that are none, with how a message shows them. */
const durations = {
  NaN: [Number.NaN, "NaN"],
  negative: [-5, "-5"],
  "a negative Duration": [Duration.seconds(-5), "-5"],
  "no duration": ["5 parsecs" as Duration.Input, "5 parsecs"]
} as const

const validate = () => Effect.succeed(true)

/** Asserts that a pool with these options is not made, and that the message names `option` and the rest. */
const isRejected = (options: Options, option: string, ...says: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const things = new Things()
    const make = Pool.make({ name: "db", acquire: things.acquire, ...options })
    const { message } = yield* defectOf(make)
    expect(message).toContain('pool "db"')
    for (const text of [option, ...says]) expect(message).toContain(text)
    expect(things.attempts).toBe(0)
  })

describe("counts", () => {
  const least = {
    size: 0,
    min: 0,
    max: 0,
    maxWaiting: 0,
    concurrency: 1,
    createConcurrency: 1,
    validateAttempts: 1,
    maxUses: 1
  }
  for (const [option, lowest] of Object.entries(least)) {
    for (const [what, [value, shown]] of Object.entries(counts)) {
      it.effect(`${option} is rejected when it is ${what}`, () =>
        isRejected({ [option]: value }, option, shown, `${lowest} or more`)
      )
    }
    it.effect(`${option} may be ${lowest}, and not less`, () =>
      Effect.gen(function* () {
        yield* Effect.scoped(Pool.make({ acquire: new Things().acquire, [option]: lowest }))
        yield* isRejected({ [option]: lowest - 1 }, option, String(lowest - 1), `${lowest} or more`)
      })
    )
  }

  it.effect("min above max names both", () => isRejected({ min: 8, max: 3 }, "min", "8", "max", "3"))

  it.effect("max may not be infinite: a pool has a limit", () =>
    isRejected({ max: Number.POSITIVE_INFINITY }, "max", "Infinity", "whole number")
  )

  it.effect("where the default is no limit, Infinity says the same", () =>
    Effect.gen(function* () {
      const unlimited = { maxWaiting: Infinity, createConcurrency: Infinity, maxUses: Infinity }
      const pool = yield* Pool.make({ acquire: new Things().acquire, ...unlimited })
      expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(1)
    })
  )

  it.effect("size stands alone: with min or max it would contradict them", () =>
    Effect.gen(function* () {
      yield* isRejected({ size: 2, min: 1 }, "size", "2", "min and max")
      yield* isRejected({ size: 2, max: 4 }, "size", "2", "min and max")
    })
  )

  it.effect("without max it is 4, or min where that is more", () =>
    Effect.gen(function* () {
      const acquire = new Things().acquire
      expect(yield* Pool.stats(yield* Pool.make({ acquire }))).toMatchObject({ min: 0, max: 4 })
      expect(yield* Pool.stats(yield* Pool.make({ acquire, min: 9 }))).toMatchObject({ min: 9, max: 9 })
      expect(yield* Pool.stats(yield* Pool.make({ acquire, size: 3 }))).toMatchObject({ min: 3, max: 3 })
    })
  )
})

describe("shares", () => {
  const least = { maxAgeJitter: 0, targetUtilization: 0.1 }
  for (const [option, lowest] of Object.entries(least)) {
    it.effect(`${option} is from ${lowest} to 1`, () =>
      Effect.gen(function* () {
        for (const value of [lowest - 0.05, 1.01, Number.NaN, Number.POSITIVE_INFINITY]) {
          yield* isRejected({ [option]: value }, option, String(value), `${lowest} to 1`)
        }
        for (const value of [lowest, 0.5, 1]) {
          yield* Effect.scoped(Pool.make({ acquire: new Things().acquire, [option]: value }))
        }
      })
    )
  }
})

describe("durations", () => {
  const aboveZero = [
    "acquireTimeout",
    "createTimeout",
    "validateTimeout",
    "resetTimeout",
    "leakAfter",
    "destroyTimeout"
  ] as const
  const zeroOrMore = ["validateAfterIdle", "maxAge", "maxIdle", "closeTimeout"] as const

  for (const option of [...aboveZero, ...zeroOrMore]) {
    for (const [what, [value, shown]] of Object.entries(durations)) {
      it.effect(`${option} is rejected when it is ${what}`, () =>
        isRejected({ [option]: value }, option, shown, "a duration")
      )
    }
  }

  for (const option of aboveZero) {
    it.effect(`${option} of zero would let nothing succeed`, () =>
      isRejected({ [option]: 0 }, option, "0", "a duration above zero")
    )
  }

  for (const option of zeroOrMore) {
    it.effect(`${option} may be zero`, () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, [option]: 0 })
        expect(yield* Pool.use(pool, (thing) => Effect.succeed(thing.id))).toBe(1)
      })
    )
  }

  it.effect("keepAlive needs a period above zero, and something to call", () =>
    Effect.gen(function* () {
      yield* isRejected({ validate, keepAlive: { every: 0 } }, "keepAlive.every", "0", "above zero")
      yield* isRejected({ validate, keepAlive: { every: Number.NaN } }, "keepAlive.every", "NaN")
      yield* isRejected({ keepAlive: { every: "1 minute" } }, "validate", "keepAlive")
    })
  )
})

/** What only an untyped program can give: without a look at it, it would be found by a borrower, or never. */
describe("values of another kind", () => {
  const password = "S3CR3T"
  const wrong: Record<string, readonly [options: object, ...says: ReadonlyArray<string>]> = {
    "a name that is a number": [{ name: 5 }, "name is 5", "a string"],
    "an acquire that is left out": [{ acquire: undefined }, "acquire is undefined", "an Effect"],
    "an acquire that is a function": [{ acquire: () => 1 }, "acquire is [object Function]", "an Effect"],
    "an acquire that is a client": [{ acquire: { password } }, "acquire is [object Object]", "an Effect"],
    "a max of null": [{ max: null }, "max is null", "a whole number"],
    "a max that is text": [{ max: "5" }, 'max is "5"', "a whole number"],
    "a max that is a bigint": [{ max: 5n }, "max is 5n", "a whole number"],
    "a validate that is no function": [{ validate: true }, "validate is true", "a function"],
    "a reset that is no function": [{ reset: "discard all" }, 'reset is "discard all"', "a function"],
    "a createRetry that is no Schedule": [{ createRetry: 3 }, "createRetry is 3", "a Schedule"],
    "a keepAlive that is its duration": [
      { validate, keepAlive: "1 minute" },
      'keepAlive is "1 minute"',
      "every"
    ],
    "a keepAlive without a duration": [{ validate, keepAlive: {} }, "keepAlive is [object Object]", "every"]
  }
  for (const [what, [options, ...says]] of Object.entries(wrong)) {
    it.effect(`${what} is rejected when the pool is made`, () =>
      Effect.gen(function* () {
        const given = { acquire: new Things().acquire, ...options } as Pool.Options<unknown, never, never>
        const { message } = yield* defectOf(Pool.make(given))
        for (const text of ["pool: ", ...says]) expect(message).toContain(text)
        expect(message).not.toContain(password)
      })
    )
  }

  it.effect("a keyed pool's acquire is a function", () =>
    Effect.gen(function* () {
      const acquire = Effect.succeed(1) as unknown as (key: string) => Effect.Effect<number>
      const { message } = yield* defectOf(KeyedPool.make({ name: "hosts", acquire }))
      expect(message).toMatch(/^pool "hosts": acquire is \[object Object\], but it must be a function/)
    })
  )
})

describe("the rest", () => {
  it.effect("order is one of two words", () =>
    isRejected({ order: "random" as "fifo" }, "order", '"random"', '"fifo"', '"lifo"')
  )

  it.effect("a pool without a name complains without one", () =>
    Effect.gen(function* () {
      const { message } = yield* defectOf(Pool.make({ acquire: new Things().acquire, max: -1 }))
      expect(message).toMatch(/^pool: max is -1/)
    })
  )

  it.effect("makeWithTTL takes no lifetime that is none", () =>
    Effect.gen(function* () {
      const { message } = yield* defectOf(
        Pool.makeWithTTL({ acquire: new Things().acquire, min: 0, max: 1, timeToLive: Number.NaN })
      )
      expect(message).toContain("NaN")
    })
  )

  it.effect("token pools are as strict", () =>
    Effect.gen(function* () {
      for (const [option, value] of [
        ["max", -2],
        ["maxWaiting", 0.5],
        ["acquireTimeout", 0],
        ["leakAfter", 0],
        ["closeTimeout", -1]
      ] as const) {
        const { message } = yield* defectOf(TokenPool.make({ name: "slots", [option]: value }))
        expect(message).toContain(`"slots": ${option} is ${value}`)
      }
    })
  )
})

describe("resize", () => {
  const rejected = [
    ["min above max", { min: 5 }, ["min", "5", "max", "4"]],
    ["min above a new max", { min: 3, max: 2 }, ["min", "3", "max", "2"]],
    ["a negative max", -1, ["max", "-1", "0 or more"]],
    ["a fraction", { max: 2.5 }, ["max", "2.5", "whole number"]],
    ["NaN for min", { min: Number.NaN }, ["min", "NaN", "whole number"]],
    ["NaN for max", Number.NaN, ["max", "NaN", "whole number"]],
    ["an infinite max", Number.POSITIVE_INFINITY, ["max", "Infinity", "whole number"]],
    ["a max that is text", "3" as unknown as number, ['max is "3"', "whole number"]],
    ["a max of null", null as unknown as number, ["max is null", "whole number"]]
  ] as const

  for (const [what, limits, says] of rejected) {
    it.effect(`rejects ${what}, and the pool stays as it was`, () =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, min: 1, max: 4 })
        const before = yield* Pool.stats(pool)
        const { message } = yield* defectOf(Pool.resize(pool, limits))
        expect(message).toContain('pool "db"')
        for (const text of says) expect(message).toContain(text)
        expect(yield* Pool.stats(pool)).toEqual(before)
      })
    )
  }

  it.effect("a max alone takes min down with it, a min alone leaves max", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, min: 3, max: 4 })
      yield* Pool.resize(pool, 2)
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 2, max: 2 })
      yield* Pool.resize(pool, { max: 6 })
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 2, max: 6 })
      yield* Pool.resize(pool, { min: 5 })
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 5, max: 6 })
    })
  )
})
