import { Pool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"

const make = (options: Partial<Pool.Options<number, never, never>> = {}) => {
  let made = 0
  return Pool.make({ acquire: Effect.sync(() => ++made), concurrency: 10, max: 3, ...options })
}

const getIn = <A, E>(borrow: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    // Before the pool closes, which waits for its borrowers.
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const item = yield* Scope.provide(borrow, scope)
    return { item, release: Scope.close(scope, Exit.void) }
  })

describe("getAlone", () => {
  it.effect("gives each borrower a resource of its own, however many might share one", () =>
    Effect.gen(function* () {
      const pool = yield* make()
      const loans = yield* Effect.forEach([1, 2, 3], () => getIn(Pool.getAlone(pool)))
      expect(new Set(loans.map((_) => _.item)).size).toBe(3)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 3, used: 3 })
      const fourth = yield* Effect.forkScoped(getIn(Pool.getAlone(pool)), { startImmediately: true })
      const shared = yield* Effect.forkScoped(getIn(Pool.get(pool)), { startImmediately: true })
      expect(yield* Pool.pending(pool)).toBe(2)
      yield* loans[1]!.release
      expect((yield* Fiber.join(fourth)).item).toBe(loans[1]!.item)
      yield* loans[0]!.release
      expect((yield* Fiber.join(shared)).item).toBe(loans[0]!.item)
    })
  )

  it.effect("a line of borrowers is served by as many resources, and not by as many as could share", () =>
    Effect.gen(function* () {
      const pool = yield* make({ max: 5 })
      const go = yield* Deferred.make<void>()
      const borrowers = yield* Effect.forEach(Array.from({ length: 20 }), () =>
        Effect.forkChild(
          Effect.scoped(
            Effect.gen(function* () {
              const item = yield* Pool.getAlone(pool)
              yield* Deferred.await(go)
              return item
            })
          ),
          { startImmediately: true }
        )
      )
      yield* Effect.repeat(Effect.andThen(Effect.yieldNow, Pool.stats(pool)), {
        until: ({ used }) => used === 5
      })
      expect(yield* Pool.pending(pool)).toBe(15)
      yield* Deferred.succeed(go, undefined)
      const items = yield* Effect.forEach(borrowers, Fiber.join)
      expect(new Set(items).size).toBe(5)
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 5, used: 0, idle: 5 })
    })
  )

  it.effect("takes one that nobody has, before one that others share", () =>
    Effect.gen(function* () {
      const pool = yield* make({ order: "lifo" })
      const [a, b] = yield* Effect.all([getIn(Pool.getAlone(pool)), getIn(Pool.getAlone(pool))])
      yield* a.release
      yield* b.release
      const shared = yield* getIn(Pool.get(pool))
      const alone = yield* getIn(Pool.getAlone(pool))
      expect(alone.item).not.toBe(shared.item)
      yield* shared.release
      yield* alone.release
    })
  )

  it.effect(
    "shares with those who have it already, where there is no other, and with nobody after them",
    () =>
      Effect.gen(function* () {
        const pool = yield* make({ max: 1 })
        const shared = yield* getIn(Pool.get(pool))
        const alone = yield* getIn(Pool.getAlone(pool))
        expect(alone.item).toBe(shared.item)
        const next = yield* Effect.forkScoped(getIn(Pool.get(pool)), { startImmediately: true })
        yield* shared.release
        expect(next.pollUnsafe()).toBeUndefined()
        yield* alone.release
        yield* (yield* Fiber.join(next)).release
        expect(yield* Pool.stats(pool)).toMatchObject({ idle: 1, used: 0, pending: 0 })
      })
  )

  it.effect("one who gives up in line leaves nothing behind", () =>
    Effect.gen(function* () {
      const pool = yield* make({ max: 1 })
      const first = yield* getIn(Pool.getAlone(pool))
      const second = yield* Effect.forkScoped(getIn(Pool.getAlone(pool)), { startImmediately: true })
      yield* Fiber.interrupt(second)
      yield* first.release
      const many = yield* Effect.forEach(Array.from({ length: 10 }), () => getIn(Pool.get(pool)))
      expect(new Set(many.map((_) => _.item)).size).toBe(1)
    })
  )

  it.effect("is what get is where nobody can share", () =>
    Effect.gen(function* () {
      const pool = yield* make({ concurrency: 1, max: 1 })
      const first = yield* getIn(Pool.getAlone(pool))
      yield* first.release
      expect(yield* Pool.use(pool, Effect.succeed)).toBe(1)
    })
  )
})
