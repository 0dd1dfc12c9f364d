/**
 * Programs that were written for Effect's own pool. Each is written once, and run twice: with that pool, and
 * with this one in its place, as after a change of the import. What comes of it must be the same.
 */
import { Pool as CenotePool, type PoolError } from "@cenote/pool"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Effect, Pool as EffectPool, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { type Refused, refused, settle, start, Things } from "./kit.ts"

type Module = typeof EffectPool

/** What a program may ask a pool's figures for. */
const figures = ({ idle, max, min, pending, used }: EffectPool.Stats) => ({ idle, max, min, pending, used })

/** The same program under both modules, with the one outcome that is right. */
const program = <A, E>(name: string, outcome: A, run: (Pool: Module) => Effect.Effect<A, E, Scope.Scope>) => {
  it.effect(`${name}: Effect's pool`, () => Effect.map(run(EffectPool), (_) => expect(_).toEqual(outcome)))
  it.effect(`${name}: this pool`, () =>
    Effect.map(run(CenotePool as unknown as Module), (_) => expect(_).toEqual(outcome))
  )
}

describe("types", () => {
  it("what the constructors of Effect's pool take, these take", () => {
    type Acquire = Effect.Effect<number, Refused, Scope.Scope>
    type Options<F extends (options: never) => unknown> = Parameters<F>[0]
    expectTypeOf<Options<typeof EffectPool.make<number, Refused, Scope.Scope>>>().toExtend<
      Options<typeof CenotePool.make<number, Refused, Scope.Scope>>
    >()
    expectTypeOf<Options<typeof EffectPool.makeWithTTL<number, Refused, Scope.Scope>>>().toExtend<
      Options<typeof CenotePool.makeWithTTL<number, Refused, Scope.Scope>>
    >()

    const acquire: Acquire = refused
    expectTypeOf(CenotePool.make({ acquire, size: 1 })).toEqualTypeOf<
      Effect.Effect<CenotePool.Pool<number, Refused>, never, Scope.Scope>
    >()
  })

  it("what they give is the same, with more errors", () => {
    type Theirs = EffectPool.Pool<number, Refused>
    type Ours = CenotePool.Pool<number, Refused>
    const theirs = (pool: Theirs) =>
      [
        EffectPool.get(pool),
        EffectPool.use(pool, (n) => Effect.succeed(String(n))),
        EffectPool.invalidate(pool, 1),
        EffectPool.reserve(pool, 1)
      ] as const
    const ours = (pool: Ours) =>
      [
        CenotePool.get(pool),
        CenotePool.use(pool, (n) => Effect.succeed(String(n))),
        CenotePool.invalidate(pool, 1),
        CenotePool.reserve(pool, 1)
      ] as const
    type More<F> =
      F extends Effect.Effect<infer A, infer E, infer R>
        ? [E] extends [never]
          ? F
          : Effect.Effect<A, E | PoolError.PoolError, R>
        : never
    type Given = ReturnType<typeof theirs>
    expectTypeOf<ReturnType<typeof ours>>().toEqualTypeOf<
      readonly [More<Given[0]>, More<Given[1]>, Given[2], Given[3]]
    >()
    expectTypeOf<CenotePool.Stats>().toExtend<EffectPool.Stats>()
  })
})

describe("make", () => {
  program(
    "creates all of its resources at once, and closes them with its scope",
    { created: 3, closedInside: 0, closedAfter: 3 },
    (Pool) =>
      Effect.gen(function* () {
        const things = new Things()
        const [created, closedInside] = yield* Effect.scoped(
          Effect.gen(function* () {
            yield* Pool.make({ acquire: things.acquire, size: 3 })
            yield* settle
            return [things.created.length, things.closed.length] as const
          })
        )
        return { created, closedInside, closedAfter: things.closed.length }
      })
  )

  program(
    "lends each resource to one at a time",
    { held: [1, 2], late: 1, stats: { pending: 1, used: 2 } },
    (Pool) =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, size: 2 })
        yield* settle
        const scope = yield* Scope.make()
        const held = [
          (yield* Scope.provide(Pool.get(pool), scope)).id,
          (yield* Scope.provide(Pool.get(pool), yield* Effect.scope)).id
        ]
        const waiter = yield* start(Pool.use(pool, (thing) => Effect.succeed(thing.id)))
        const { pending, used } = yield* Pool.stats(pool)
        yield* Scope.close(scope, Exit.void)
        return { held, late: yield* Fiber.join(waiter), stats: { pending, used } }
      })
  )

  program(
    "with concurrency, lends one resource to several",
    { first: 3, second: 3, seventh: "waits" },
    (Pool) =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, size: 2, concurrency: 3 })
        yield* settle
        const lent: Array<number> = []
        const holders = []
        for (let i = 0; i < 7; i++) {
          holders.push(
            yield* start(
              Pool.use(pool, (thing) =>
                Effect.andThen(
                  Effect.sync(() => lent.push(thing.id)),
                  Effect.never
                )
              )
            )
          )
        }
        const { pending } = yield* Pool.stats(pool)
        return {
          first: lent.filter((id) => id === 1).length,
          second: lent.filter((id) => id === 2).length,
          seventh: pending === 1 ? "waits" : "does not wait"
        }
      })
  )

  program(
    "fails those who ask when acquire fails, and works when it does not any more",
    ["refused", "refused", 1],
    (Pool) =>
      Effect.gen(function* () {
        const things = new Things()
        things.plan = () => refused
        const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
        const ask = Pool.use(pool, (thing) => Effect.succeed<number | string>(thing.id)).pipe(
          Effect.catchTag("Refused", (error) => Effect.succeed(error.why))
        )
        const outcomes = [yield* ask, yield* ask]
        things.plan = () => Effect.void
        return [...outcomes, yield* ask]
      })
  )
})

describe("get and use", () => {
  program("give the resource back however the borrower ends", [1, 1, 1, 1], (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* settle
      const idle = Effect.map(Pool.stats(pool), (stats) => stats.idle)
      const after: Array<number> = []
      yield* Effect.exit(Pool.use(pool, () => Effect.fail("mine")))
      after.push(yield* idle)
      yield* Effect.exit(Pool.use(pool, () => Effect.die("mine")))
      after.push(yield* idle)
      yield* Effect.scoped(Pool.get(pool))
      after.push(yield* idle)
      const hanging = yield* start(Effect.scoped(Effect.andThen(Pool.get(pool), Effect.never)))
      yield* Fiber.interrupt(hanging)
      after.push(yield* idle)
      return after
    })
  )

  program(
    "pass the body's own outcome on",
    [Exit.succeed("done"), Exit.fail("mine"), Exit.die("bug")],
    (Pool) =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
        const bodies: Array<Effect.Effect<string, string>> = [
          Effect.succeed("done"),
          Effect.fail("mine"),
          Effect.die("bug")
        ]
        return yield* Effect.forEach(bodies, (body) =>
          Effect.exit(pool.pipe(Pool.use(() => body))).pipe(
            Effect.map((exit) => exit as Exit.Exit<string, string>)
          )
        )
      })
  )

  program("an interrupted waiter takes nothing with it", { pending: [1, 0], next: 1 }, (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* settle
      const holder = yield* start(Pool.use(pool, () => Effect.never))
      const waiter = yield* start(Pool.use(pool, () => Effect.void))
      const pending = [(yield* Pool.stats(pool)).pending]
      yield* Fiber.interrupt(waiter)
      pending.push((yield* Pool.stats(pool)).pending)
      yield* Fiber.interrupt(holder)
      return { pending, next: yield* Pool.use(pool, (thing) => Effect.succeed(thing.id)) }
    })
  )

  program("serve those who wait in their order", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 2 })
      const order: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 10 }, (_, n) => n),
        (n) =>
          Pool.use(pool, () =>
            Effect.andThen(
              Effect.sync(() => order.push(n)),
              Effect.yieldNow
            )
          ),
        { concurrency: "unbounded" }
      )
      return order
    })
  )
})

describe("invalidate", () => {
  program(
    "on loan: the resource is closed on return, and replaced",
    { inside: [], after: [1], next: 2 },
    (Pool) =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
        yield* settle
        const inside = yield* Pool.use(pool, (thing) =>
          Effect.map(Pool.invalidate(pool, thing), () => Array.from(things.closed))
        )
        yield* settle
        const after = Array.from(things.closed)
        return { inside, after, next: yield* Pool.use(pool, (thing) => Effect.succeed(thing.id)) }
      })
  )

  program("at rest: the resource is closed at once, and replaced", { after: [1], created: [1, 2] }, (Pool) =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
      yield* settle
      const thing = yield* Effect.scoped(Pool.get(pool))
      yield* pool.pipe(Pool.invalidate(thing))
      const after = Array.from(things.closed)
      yield* settle
      return { after, created: things.created }
    })
  )

  program("of what the pool does not have: nothing", [], (Pool) =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ acquire: things.acquire, size: 1 })
      yield* settle
      yield* Pool.invalidate(pool, { id: 1 })
      yield* settle
      return things.closed
    })
  )
})

describe("reserve", () => {
  program("keeps others off a shared resource until its scope closes", { meanwhile: 0, after: 2 }, (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1, concurrency: 3 })
      yield* settle
      const scope = yield* Scope.make()
      const thing = yield* Scope.provide(Pool.get(pool), scope)
      yield* Scope.provide(Pool.reserve(pool, thing), scope)
      let served = 0
      const other = Pool.use(pool, () => Effect.sync(() => served++))
      yield* start(other)
      yield* start(other)
      const meanwhile = served
      yield* Scope.close(scope, Exit.void)
      yield* settle
      return { meanwhile, after: served }
    })
  )

  program<number | string, Refused>("changes nothing where one at a time is lent to", 1, (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: new Things().acquire, size: 1 })
      yield* settle
      const thing = yield* Pool.use(pool, Effect.succeed)
      yield* Pool.reserve(pool, thing)
      const next = yield* start(Pool.use(pool, ({ id }) => Effect.succeed(id)))
      return next.pollUnsafe() === undefined ? "it waits" : yield* Fiber.join(next)
    })
  )
})

describe("stats", () => {
  program(
    "count resources and those who wait, in every state",
    [
      { idle: 2, used: 0, pending: 0, min: 2, max: 2 },
      { idle: 1, used: 1, pending: 0, min: 2, max: 2 },
      { idle: 0, used: 2, pending: 1, min: 2, max: 2 },
      { idle: 2, used: 0, pending: 0, min: 2, max: 2 }
    ],
    (Pool) =>
      Effect.gen(function* () {
        const pool = yield* Pool.make({ acquire: new Things().acquire, size: 2 })
        yield* settle
        const seen: Array<ReturnType<typeof figures>> = []
        const look = Effect.map(Pool.stats(pool), (stats) => seen.push(figures(stats)))
        const hold = Pool.use(pool, () => Effect.never)
        yield* look
        const one = yield* start(hold)
        yield* look
        const two = yield* start(hold)
        const three = yield* start(hold)
        yield* look
        yield* Fiber.interruptAll([one, two, three])
        yield* settle
        yield* look
        return seen
      })
  )
})

describe("makeWithTTL", () => {
  program("grows with those who ask, up to max", { sizes: [1, 1, 2, 3, 3], pending: 1 }, (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.makeWithTTL({
        acquire: new Things().acquire,
        min: 1,
        max: 3,
        timeToLive: "1 minute"
      })
      yield* settle
      const size = Effect.map(Pool.stats(pool), ({ idle, used }) => idle + used)
      const sizes = [yield* size]
      for (let i = 0; i < 4; i++) {
        yield* start(Pool.use(pool, () => Effect.never))
        sizes.push(yield* size)
      }
      return { sizes, pending: (yield* Pool.stats(pool)).pending }
    })
  )

  program("with targetUtilization, grows before all are in use", [2, 2, 4, 6, 6], (Pool) =>
    Effect.gen(function* () {
      const pool = yield* Pool.makeWithTTL({
        acquire: new Things().acquire,
        min: 2,
        max: 6,
        targetUtilization: 0.5,
        timeToLive: "1 minute"
      })
      yield* settle
      const size = Effect.map(Pool.stats(pool), ({ idle, used }) => idle + used)
      const sizes = [yield* size]
      for (let i = 0; i < 4; i++) {
        yield* start(Pool.use(pool, () => Effect.never))
        sizes.push(yield* size)
      }
      return sizes
    })
  )

  program(
    "with targetUtilization and concurrency, counts places and not resources",
    [1, 1, 1, 2, 2, 3],
    (Pool) =>
      Effect.gen(function* () {
        const pool = yield* Pool.makeWithTTL({
          acquire: new Things().acquire,
          min: 1,
          max: 4,
          concurrency: 4,
          targetUtilization: 0.5,
          timeToLive: "1 minute"
        })
        yield* settle
        const size = Effect.map(Pool.stats(pool), ({ idle, used }) => idle + used)
        const sizes = [yield* size]
        for (let i = 0; i < 5; i++) {
          yield* start(Pool.use(pool, () => Effect.never))
          sizes.push(yield* size)
        }
        return sizes
      })
  )

  program(
    '"usage": what rests longer than its time is closed, down to min',
    { before: 5, after: 2, closed: 3 },
    (Pool) =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.makeWithTTL({
          acquire: things.acquire,
          min: 2,
          max: 5,
          timeToLive: "1 minute",
          timeToLiveStrategy: "usage"
        })
        const all = yield* Effect.replicateEffect(start(Pool.use(pool, () => Effect.never)), 5)
        yield* TestClock.adjust("10 minutes")
        const before = things.open.length
        yield* Fiber.interruptAll(all)
        // Effect's looks once each minute, so what has rested for one may be found a minute later.
        yield* TestClock.adjust("3 minutes")
        return { before, after: things.open.length, closed: things.closed.length }
      })
  )

  program('"usage": what is used keeps', { created: 2, closed: 0 }, (Pool) =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.makeWithTTL({
        acquire: things.acquire,
        min: 0,
        max: 4,
        timeToLive: "1 minute"
      })
      for (let i = 0; i < 20; i++) {
        const both = yield* Effect.replicateEffect(start(Pool.use(pool, () => Effect.never)), 2)
        yield* Fiber.interruptAll(both)
        yield* TestClock.adjust("20 seconds")
      }
      return { created: things.created.length, closed: things.closed.length }
    })
  )

  program(
    '"creation": what is older than its time is closed, and min are made anew',
    [
      [1, 2],
      [3, 4]
    ],
    (Pool) =>
      Effect.gen(function* () {
        const things = new Things()
        yield* Pool.makeWithTTL({
          acquire: things.acquire,
          min: 2,
          max: 4,
          timeToLive: "1 hour",
          timeToLiveStrategy: "creation"
        })
        yield* settle
        // This pool takes up to 2.5 % off at random.
        yield* TestClock.adjust("58 minutes")
        const young = Array.from(things.open)
        yield* TestClock.adjust("3 minutes")
        return [young, Array.from(things.open)]
      })
  )

  program(
    '"creation": what is in use is closed when it is returned',
    { inUse: true, returned: false },
    (Pool) =>
      Effect.gen(function* () {
        const things = new Things()
        const pool = yield* Pool.makeWithTTL({
          acquire: things.acquire,
          min: 0,
          max: 1,
          timeToLive: "1 hour",
          timeToLiveStrategy: "creation"
        })
        const holder = yield* start(Pool.use(pool, () => Effect.never))
        yield* TestClock.adjust("2 hours")
        const inUse = things.open.includes(1)
        yield* Fiber.interrupt(holder)
        yield* settle
        return { inUse, returned: things.open.includes(1) }
      })
  )
})

program("isPool knows a pool from anything else", [true, false, false], (Pool) =>
  Effect.gen(function* () {
    const pool = yield* Pool.make({ acquire: Effect.succeed(1), size: 1 })
    return [Pool.isPool(pool), Pool.isPool({}), Pool.isPool(undefined)]
  })
)
