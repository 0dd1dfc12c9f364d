/**
 * Pools of tokens: the line of a pool without the resources.
 */
import { Pool, PoolError, TokenPool } from "@cenote/pool"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, listen, logged, settle, start } from "./kit.ts"

describe("tokens", () => {
  it.effect("limit how many do something at one time, in the order in which they come", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 2 })
      const log: Array<string> = []
      const job = (n: number) =>
        Effect.gen(function* () {
          log.push(`+${n}`)
          yield* Effect.yieldNow
          log.push(`-${n}`)
        })
      yield* Effect.forEach([1, 2, 3, 4], (n) => TokenPool.withToken(tokens, job(n)), {
        concurrency: "unbounded"
      })
      const started = log.filter((entry) => entry.startsWith("+"))
      expect(started).toEqual(["+1", "+2", "+3", "+4"])
      let running = 0
      for (const entry of log) {
        running += entry.startsWith("+") ? 1 : -1
        expect(running).toBeLessThanOrEqual(2)
      }
    })
  )

  it.effect("are 4 unless said otherwise", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make()
      const all = yield* borrowers(tokens, 5)
      expect(all.filter((_) => _.state === "holding").map((_) => _.item.id)).toEqual([1, 2, 3, 4])
      expect(all[4]!.state).toBe("waiting")
    })
  )

  it.effect("are numbered up to the most that were ever out", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 10 })
      for (let i = 0; i < 5; i++) {
        const some = yield* borrowers(tokens, 3)
        expect(some.map((_) => _.item.id).toSorted((a, b) => a - b)).toEqual([1, 2, 3])
        for (const borrower of some) yield* borrower.giveBack
      }
    })
  )

  it.effect("come back however the effect ends", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      const boom = new Error("boom")
      expect(yield* TokenPool.withToken(tokens, Effect.succeed("done"))).toBe("done")
      expect(yield* Effect.exit(TokenPool.withToken(tokens, Effect.fail(boom)))).toEqual(Exit.fail(boom))
      expect(yield* Effect.exit(TokenPool.withToken(tokens, Effect.die(boom)))).toEqual(Exit.die(boom))
      const hanging = yield* start(TokenPool.withToken(tokens, Effect.never))
      expect(yield* Pool.free(tokens)).toBe(0)
      yield* Fiber.interrupt(hanging)
      expect(yield* Pool.free(tokens)).toBe(1)
    })
  )

  it.effect("get: until the scope closes", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      const scope = yield* Scope.make()
      expect(yield* Scope.provide(TokenPool.get(tokens), scope)).toEqual({ id: 1 })
      expect(yield* TokenPool.stats(tokens)).toMatchObject({ used: 1, idle: 0 })
      yield* Scope.close(scope, Exit.void)
      expect(yield* TokenPool.stats(tokens)).toMatchObject({ used: 0, idle: 1 })
    })
  )

  it.effect("acquire and release: a second release, or another's token, is not taken", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 2 })
      const others = yield* TokenPool.make({ max: 2 })
      const token = yield* TokenPool.acquire(tokens)
      const foreign = yield* TokenPool.acquire(others)
      yield* TokenPool.release(tokens, token)
      for (const wrong of [token, foreign, { id: 1 }]) {
        expect(yield* Effect.flip(TokenPool.release(tokens, wrong))).toBeInstanceOf(PoolError.NotLeased)
      }
      expect(yield* TokenPool.stats(tokens)).toMatchObject({ used: 0, idle: 1 })
    })
  )

  it.effect("tryWithToken: now or not at all", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      expect(yield* TokenPool.tryWithToken(tokens, Effect.succeed("done"))).toEqual(Option.some("done"))
      const holder = yield* borrow(tokens)
      let ran = false
      const job = Effect.sync(() => (ran = true))
      expect(yield* TokenPool.tryWithToken(tokens, job)).toEqual(Option.none())
      expect(ran).toBe(false)
      expect(yield* TokenPool.stats(tokens)).toMatchObject({ pending: 0 })
      yield* holder.giveBack
      expect(yield* TokenPool.tryWithToken(tokens, job)).toEqual(Option.some(true))
    })
  )

  it.effect("resize: more serve the line at once, fewer disturb nobody", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      const all = yield* borrowers(tokens, 4)
      yield* TokenPool.resize(tokens, 3)
      yield* settle
      expect(all.map((_) => _.state)).toEqual(["holding", "holding", "holding", "waiting"])
      yield* TokenPool.resize(tokens, 1)
      yield* all[0]!.giveBack
      yield* all[1]!.giveBack
      expect(all[3]!.state).toBe("waiting")
      expect(all[2]!.state).toBe("holding")
      yield* all[2]!.giveBack
      expect(all[3]!.state).toBe("holding")
    })
  )
})

describe("the line", () => {
  it.effect("acquireTimeout, with the message of a pool", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ name: "slots", max: 1, acquireTimeout: "2 seconds" })
      const holder = yield* borrow(tokens)
      const waiter = yield* borrow(tokens)
      yield* TestClock.adjust("2 seconds")
      const error = yield* waiter.error
      expect(error).toMatchObject({ _tag: "AcquireTimeout", phase: "line", position: 1 })
      expect(error.message).toBe(
        'pool "slots": no resource within 2 s (waiting in line, 1st of 1; 1 of 1 in use, ' +
          `longest held 2 s by fiber #${holder.id})`
      )
    })
  )

  it.effect("maxWaiting", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1, maxWaiting: 1 })
      yield* borrowers(tokens, 2)
      expect(yield* Effect.flip(TokenPool.withToken(tokens, Effect.void))).toBeInstanceOf(PoolError.LineFull)
    })
  )

  it.effect("a token inside a token of a pool of one fails at once", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      const nested = TokenPool.withToken(tokens, TokenPool.withToken(tokens, Effect.void))
      expect(yield* Effect.flip(nested)).toBeInstanceOf(PoolError.WouldDeadlock)
    })
  )

  it.effect("leakAfter", () =>
    Effect.gen(function* () {
      const tokens = yield* Effect.provide(TokenPool.make({ max: 1, leakAfter: "1 minute" }), logged().layer)
      const events = yield* listen(tokens)
      const holder = yield* borrow(tokens)
      yield* TestClock.adjust("1 minute")
      expect(events.of("Leaked")).toMatchObject([{ resource: 1, fiber: holder.id, held: 60_000 }])
    })
  )

  it.effect("closeTimeout: those who still hold are interrupted", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1, closeTimeout: "1 second" })
      const [holder, waiter] = yield* borrowers(tokens, 2)
      const closing = yield* start(Pool.close(tokens))
      expect(yield* waiter!.error).toBeInstanceOf(PoolError.PoolClosed)
      yield* TestClock.adjust("1 second")
      expect(Exit.hasInterrupts(yield* holder!.exit)).toBe(true)
      yield* Fiber.join(closing)
    })
  )

  it.effect("events", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      const seen = yield* start(Stream.runCollect(Stream.take(TokenPool.events(tokens), 6)))
      const [holder, waiter] = yield* borrowers(tokens, 2)
      yield* holder!.giveBack
      expect(waiter!.state).toBe("holding")
      expect((yield* Fiber.join(seen)).map((event) => event._tag)).toEqual([
        "WaitStarted",
        "Created",
        "Borrowed",
        "WaitStarted",
        "Returned",
        "Borrowed"
      ])
    })
  )
})

describe("forms", () => {
  it.effect("the forms that take the pool first, and the effect after", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ max: 1 })
      const used = Effect.map(TokenPool.stats(tokens), (stats) => stats.used)
      expect(yield* used.pipe(TokenPool.withToken(tokens))).toBe(1)
      expect(yield* used.pipe(TokenPool.tryWithToken(tokens))).toEqual(Option.some(1))
    })
  )

  it.effect("data-last forms", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make()
      const token = yield* TokenPool.acquire(tokens)
      yield* tokens.pipe(TokenPool.release(token))
      yield* tokens.pipe(TokenPool.resize(7))
      expect(yield* TokenPool.stats(tokens)).toMatchObject({ max: 7, idle: 1 })
    })
  )

  it.effect("types: a token pool is a pool that cannot fail to create", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make()
      expectTypeOf(tokens).toExtend<Pool.Pool<TokenPool.Token>>()
      const one = TokenPool.withToken(tokens, Effect.succeed(1))
      expectTypeOf(one).toEqualTypeOf<Effect.Effect<number, PoolError.PoolError>>()
      expect(yield* one).toBe(1)
    })
  )
})
