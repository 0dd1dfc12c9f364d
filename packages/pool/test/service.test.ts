/**
 * Pools as services, with their layers.
 */
import { KeyedPool, Pool, PoolError, PoolRegistry, TokenPool } from "@cenote/pool"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { borrow, defectOf, type Refused, settle, start, type Thing, Things } from "./kit.ts"

class Db extends Pool.Service<Db, Thing, Refused>()("app/Db") {}

class Server extends Context.Service<Server, { readonly port: number }>()("test/Server") {}
class Probe extends Context.Service<Probe, { readonly ask: (thing: Thing) => Effect.Effect<boolean> }>()(
  "test/Probe"
) {}

describe("what a pool needs", () => {
  const options = {
    acquire: Effect.as(Server, { id: 1 } satisfies Thing),
    validate: (thing: Thing) => Effect.flatMap(Probe, (probe) => probe.ask(thing)),
    validateAfterIdle: 0
  }

  it.effect("may differ between acquire and validate, and is all in its type", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const make = Pool.make(options)
      expectTypeOf(make).toEqualTypeOf<
        Effect.Effect<Pool.Pool<{ id: number }>, never, Server | Probe | Scope.Scope>
      >()
      const pool = yield* Effect.provide(
        make,
        Context.make(Server, { port: 1 }).pipe(
          Context.add(Probe, { ask: ({ id }) => Effect.sync(() => asked.push(id) > 0) })
        )
      )
      yield* Pool.use(pool, () => Effect.void)
      yield* Pool.use(pool, () => Effect.void)
      expect(asked).toEqual([1])
    })
  )

  it("is what a layer asks for", () => {
    class Things extends Pool.Service<Things, { id: number }>()("test/Things") {}
    expectTypeOf(Things.layer(options)).toEqualTypeOf<Layer.Layer<Things, never, Server | Probe>>()
  })
})

describe("Pool.Service", () => {
  it.effect("is a pool in the context, and its operations are on the class", () =>
    Effect.gen(function* () {
      const things = new Things()
      const program = Effect.gen(function* () {
        yield* Db.warmUp
        expect(yield* Db.stats).toMatchObject({ name: "app/Db", idle: 1, min: 1, max: 3 })
        expect(yield* Db.borrow((thing) => Effect.succeed(thing.id))).toBe(1)
        expect(yield* Effect.scoped(Effect.map(Db.get, (thing) => thing.id))).toBe(1)
        expect(yield* Db.tryBorrow((thing) => Effect.succeed(thing.id))).toEqual(Option.some(1))

        const thing = yield* Db.acquire
        expect(yield* Db.leases).toMatchObject([{ item: { id: 1 }, resource: 1 }])
        yield* Db.invalidate(thing)
        yield* Db.release(thing)
        expect(yield* Effect.flip(Db.release(thing))).toBeInstanceOf(PoolError.NotLeased)
        yield* settle
        expect(things.closed).toEqual([1])

        expect(yield* Db.clear).toBe(1)
        yield* settle
        yield* Db.recycle
        yield* settle
        expect(things.open).toEqual([4])

        const first = yield* start(Stream.runHead(Db.events))
        yield* Db.resize({ max: 9 })
        expect(yield* Fiber.join(first)).toMatchObject({ value: { _tag: "Resized", max: 9 } })
        expect(yield* Db.stats).toMatchObject({ max: 9 })
      })
      yield* Effect.provide(program, Db.layer({ acquire: things.acquire, min: 1, max: 3 }))
    })
  )

  it.effect("stops and starts lending, evicts, reserves, and closes before its layer does", () =>
    Effect.gen(function* () {
      const things = new Things()
      const program = Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const thing = yield* Db.getAlone
            expect(yield* Db.leases).toMatchObject([{ item: { id: thing.id } }])
          })
        )
        const tried = yield* Db.borrow((thing) =>
          Effect.scoped(
            Effect.andThen(
              Db.reserve(thing),
              Db.tryBorrow(() => Effect.void)
            )
          )
        )
        expect(tried).toEqual(Option.none())

        yield* Db.suspend
        const waiting = yield* start(Db.borrow((thing) => Effect.succeed(thing.id)))
        expect(yield* Db.waiters).toMatchObject([{ fiber: waiting.id, waited: 0 }])
        yield* Db.resume
        expect(yield* Fiber.join(waiting)).toBe(1)

        yield* TestClock.adjust("1 minute")
        expect(yield* Db.stats).toMatchObject({ idle: 1 })
        yield* Db.resize({ min: 0 })
        expect(yield* Db.evictExpired).toBe(1)
        yield* Db.close
        expect(things.closed).toEqual([1])
        expect(yield* Effect.flip(Db.borrow(() => Effect.void))).toBeInstanceOf(PoolError.PoolClosed)
      })
      yield* Effect.provide(
        program,
        Db.layer({ acquire: things.acquire, min: 1, max: 1, concurrency: 2, maxIdle: "10 seconds" })
      )
    })
  )

  it.effect("`use` stays what it is for every service: it gives the pool", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const pool = yield* Db
        expect(Pool.isPool(pool)).toBe(true)
        expect(yield* Db.use((_) => Effect.succeed(_))).toBe(pool)
        expect(yield* Db.use(Pool.idle)).toBe(0)
      })
      yield* Effect.provide(program, Db.layer({ acquire: new Things().acquire }))
    })
  )

  it.effect("the pool closes with the layer's scope", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Effect.provide(
        Effect.tap(Db, () => settle),
        Db.layer({ acquire: things.acquire, size: 2 })
      )
      expect(things.closed).toEqual([1, 2])
      expect(yield* (yield* borrow(pool)).error).toBeInstanceOf(PoolError.PoolClosed)
    })
  )

  it.effect("has the identifier of the service as its name, unless another is given", () =>
    Effect.gen(function* () {
      const registered = Effect.andThen(
        Db,
        Effect.map(PoolRegistry.entries, (all) => all.map((_) => _.id))
      )
      const acquire = new Things().acquire
      // The registry is provided around the pool's layer, so that the pool is made under it.
      const run = (layer: Layer.Layer<Db>) =>
        registered.pipe(Effect.provide(layer), Effect.provide(PoolRegistry.layer))
      expect(yield* run(Db.layer({ acquire }))).toEqual(["app/Db"])
      expect(yield* run(Db.layer({ acquire, name: "replica" }))).toEqual(["replica"])
    })
  )

  it.effect("one layer is one pool, however often it is provided", () =>
    Effect.gen(function* () {
      const layer = Db.layer({ acquire: new Things().acquire })
      class A extends Context.Service<A, Pool.Pool<Thing, Refused>>()("test/A") {
        static readonly layer = Layer.effect(this, Db).pipe(Layer.provide(layer))
      }
      class B extends Context.Service<B, Pool.Pool<Thing, Refused>>()("test/B") {
        static readonly layer = Layer.effect(this, Db).pipe(Layer.provide(layer))
      }
      const same = Effect.map(Effect.all([A, B]), ([a, b]) => a === b)
      expect(yield* Effect.provide(same, Layer.mergeAll(A.layer, B.layer))).toBe(true)
    })
  )

  it.effect("two services of one shape are two pools", () =>
    Effect.gen(function* () {
      class Other extends Pool.Service<Other, Thing, Refused>()("app/Other") {}
      const program = Effect.gen(function* () {
        yield* Db.borrow(() => Effect.void)
        expect(yield* Db.stats).toMatchObject({ name: "app/Db", created: 1 })
        expect(yield* Other.stats).toMatchObject({ name: "app/Other", created: 0 })
      })
      const acquire = new Things().acquire
      yield* Effect.provide(program, Layer.mergeAll(Db.layer({ acquire }), Other.layer({ acquire })))
    })
  )

  it.effect("what acquire needs is what the layer needs", () =>
    Effect.gen(function* () {
      class Config extends Context.Service<Config, { readonly from: number }>()("test/Config") {}
      const things = new Things()
      const acquire = Effect.flatMap(Config, ({ from }) =>
        Effect.map(things.acquire, ({ id }): Thing => ({ id: id + from }))
      )
      const layer = Db.layer({ acquire })
      expectTypeOf(layer).toEqualTypeOf<Layer.Layer<Db, never, Config>>()
      const program = Db.borrow((thing) => Effect.succeed(thing.id))
      const configured = Layer.provide(layer, Layer.succeed(Config, { from: 100 }))
      expect(yield* Effect.provide(program, configured)).toBe(101)
    })
  )

  it.effect("has all that can go wrong in its types", () =>
    Effect.gen(function* () {
      expectTypeOf(Db.get).toEqualTypeOf<
        Effect.Effect<Thing, Refused | PoolError.PoolError, Db | Scope.Scope>
      >()
      const failing = Db.borrow(() => Effect.fail("mine" as const))
      expectTypeOf(failing).toEqualTypeOf<Effect.Effect<never, "mine" | Refused | PoolError.PoolError, Db>>()
      const layer = Db.layer({ acquire: new Things().acquire })
      expect(yield* Effect.flip(Effect.provide(failing, layer))).toBe("mine")
    })
  )

  it.effect("impossible options are a defect of the layer", () =>
    Effect.gen(function* () {
      const layer = Db.layer({ acquire: new Things().acquire, min: 3, max: 1 })
      const { message } = yield* defectOf(Effect.provide(Db.stats, layer))
      expect(message).toMatch(/"app\/Db": min is 3/)
    })
  )
})

describe("TokenPool.Service", () => {
  class Slots extends TokenPool.Service<Slots>()("app/Slots") {}

  it.effect("is a token pool in the context", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        expect(yield* Slots.stats).toMatchObject({ name: "app/Slots", max: 2 })
        expect(yield* Slots.withToken(Effect.map(Slots.stats, (_) => _.used))).toBe(1)
        expect(yield* Effect.scoped(Effect.map(Slots.get, (token) => token.id))).toBe(1)
        yield* Slots.resize(5)
        expect(yield* Slots.stats).toMatchObject({ max: 5, used: 0, idle: 1 })
        expect(Pool.isPool(yield* Slots)).toBe(true)

        expect(yield* Slots.tryWithToken(Effect.succeed("served"))).toEqual(Option.some("served"))
        const first = yield* start(Stream.runHead(Slots.events))
        const token = yield* Slots.acquire
        expect(yield* Fiber.join(first)).toMatchObject({ value: { _tag: "Borrowed" } })
        expect(yield* Slots.stats).toMatchObject({ used: 1 })
        yield* Slots.release(token)
        expect(yield* Effect.flip(Slots.release(token))).toBeInstanceOf(PoolError.NotLeased)
      })
      yield* Effect.provide(program, Slots.layer({ max: 2 }))
    })
  )

  it.effect("limits those who use it, and closes with its layer", () =>
    Effect.gen(function* () {
      let running = 0
      let most = 0
      const job = Effect.gen(function* () {
        most = Math.max(most, ++running)
        yield* Effect.yieldNow
        running--
      })
      const program = Effect.gen(function* () {
        yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7], () => Slots.withToken(job), { concurrency: "unbounded" })
        return yield* Slots
      })
      const tokens = yield* Effect.provide(program, Slots.layer({ max: 3 }))
      expect(most).toBe(3)
      expect(yield* Effect.flip(TokenPool.withToken(tokens, job))).toBeInstanceOf(PoolError.PoolClosed)
    })
  )

  it.effect("needs no options", () =>
    Effect.gen(function* () {
      const layer = Slots.layer()
      expectTypeOf(layer).toEqualTypeOf<Layer.Layer<Slots>>()
      expect(yield* Effect.provide(Slots.stats, layer)).toMatchObject({ max: 4 })
    })
  )
})

describe("KeyedPool.Service", () => {
  class Hosts extends KeyedPool.Service<Hosts, string, Thing, Refused>()("app/Hosts") {}

  it.effect("is a keyed pool in the context, and its operations are on the class", () =>
    Effect.gen(function* () {
      const things = new Things()
      const program = Effect.gen(function* () {
        yield* Hosts.borrow("a", Hosts.invalidate)
        yield* Hosts.borrow("b", () => Effect.void)
        yield* settle
        expect(things.closed).toEqual([1])
        expect(yield* Hosts.clear("a")).toBe(0)
        expect(yield* Hosts.clear()).toBe(1)
        yield* settle

        yield* Hosts.suspend
        const waiting = yield* start(Hosts.borrow("c", (thing) => Effect.succeed(thing.id)))
        expect(yield* Hosts.stats).toMatchObject({ pending: 1, state: "suspended" })
        yield* Hosts.resume
        expect(yield* Fiber.join(waiting)).toBe(3)

        const first = yield* start(Stream.runHead(Hosts.events))
        yield* Hosts.recycle
        expect(yield* Fiber.join(first)).toMatchObject({ value: { _tag: "Recycled" } })
        expect(things.closed).toEqual([1, 2, 3])
        yield* Hosts.close
        const refused = yield* Effect.flip(Hosts.borrow("a", () => Effect.void))
        expect(refused).toBeInstanceOf(PoolError.PoolClosed)
      })
      yield* Effect.provide(program, Hosts.layer({ acquire: () => things.acquire }))
    })
  )
})

describe("the class of a service", () => {
  it("has what its module has", () => {
    const renamed: Readonly<Record<string, string>> = { use: "borrow", tryUse: "tryBorrow" }
    // `stats` has these; what makes pools, and what is known inside a loan, is no operation on a pool.
    const others = {
      Pool: ["isPool", "make", "makeWithTTL", "CurrentLoan", "Service", "size", "idle", "free", "pending"],
      TokenPool: ["make", "Service"],
      KeyedPool: ["isKeyedPool", "make", "Service"]
    }
    const operations = (module: keyof typeof others, of: object): Array<string> =>
      Object.keys(of)
        .filter((name) => !others[module].includes(name))
        .map((name) => renamed[name] ?? name)
        .toSorted()
    class Slots extends TokenPool.Service<Slots>()("test/Slots") {}
    class Hosts extends KeyedPool.Service<Hosts, string, string>()("test/Hosts") {}
    expect(own(Object.getPrototypeOf(Db), "app/Db")).toEqual(operations("Pool", Pool))
    expect(own(Object.getPrototypeOf(Slots), "test/Slots")).toEqual(operations("TokenPool", TokenPool))
    expect(own(Object.getPrototypeOf(Hosts), "test/Hosts")).toEqual(operations("KeyedPool", KeyedPool))
  })
})

/** What a service has beyond those that Effect gives every service. */
const own = (service: object, id: string): Array<string> => {
  const plain: object = Context.Service<object, object>()(id)
  return Object.keys(service)
    .filter((name) => name !== "layer" && !Object.hasOwn(plain, name))
    .toSorted()
}
