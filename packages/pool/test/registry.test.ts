/**
 * Where the pools of a program can be found.
 */
import { KeyedPool, Pool, PoolRegistry, TokenPool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope, Stream } from "effect"
import { borrow, settle, start, Things } from "./kit.ts"

const ids = Effect.map(PoolRegistry.entries, (all) => all.map((_) => _.id))

/** Makes a pool, and lists what the registry has then. */
const idsWith = (name: string) => Effect.andThen(Pool.make({ name, acquire: Effect.succeed(1) }), ids)

/** Each test has a registry of its own. */
const test = <A, E>(name: string, body: () => Effect.Effect<A, E, Scope.Scope>) =>
  it.effect(name, () => Effect.provide(body(), PoolRegistry.layer))

describe("the registry", () => {
  test("has every pool with a name, in the order in which they were made", () =>
    Effect.gen(function* () {
      expect(yield* ids).toEqual([])
      yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      yield* TokenPool.make({ name: "app/Slots" })
      yield* KeyedPool.make({ name: "app/Hosts", acquire: (key: string) => Effect.succeed(key) })
      const entries = yield* PoolRegistry.entries
      expect(entries.map(({ id, kind, name }) => [id, kind, name])).toEqual([
        ["app/Db", "pool", "app/Db"],
        ["app/Slots", "tokens", "app/Slots"],
        ["app/Hosts", "keyed", "app/Hosts"]
      ])
    }))

  test("does not have pools without a name", () =>
    Effect.gen(function* () {
      yield* Pool.make({ acquire: Effect.succeed(1) })
      yield* TokenPool.make()
      expect(yield* ids).toEqual([])
    }))

  test("numbers pools of one name", () =>
    Effect.gen(function* () {
      const make = Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      yield* make
      const scope = yield* Scope.make()
      yield* Scope.provide(make, scope)
      yield* make
      expect(yield* ids).toEqual(["app/Db", "app/Db#2", "app/Db#3"])
      expect((yield* PoolRegistry.entries).map((_) => _.name)).toEqual(["app/Db", "app/Db", "app/Db"])

      // A number that is free again is given again.
      yield* Scope.close(scope, Exit.void)
      expect(yield* ids).toEqual(["app/Db", "app/Db#3"])
      yield* make
      expect((yield* ids).toSorted((a, b) => a.localeCompare(b))).toEqual(["app/Db", "app/Db#2", "app/Db#3"])
    }))

  test("does not have a pool whose scope has closed", () =>
    Effect.gen(function* () {
      const inside = yield* Effect.scoped(
        Effect.andThen(Pool.make({ name: "app/Db", acquire: Effect.succeed(1) }), ids)
      )
      expect(inside).toEqual(["app/Db"])
      expect(yield* ids).toEqual([])
    }))

  test("does not have a pool that was closed by hand: it lists those that are open", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      yield* Pool.close(pool)
      expect(yield* ids).toEqual([])
    }))

  test("does not have a pool whose options were impossible", () =>
    Effect.gen(function* () {
      yield* Effect.exit(Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: -1 }))
      expect(yield* ids).toEqual([])
    }))

  test("gives each pool's figures, holders and events", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: new Things().acquire, max: 3 })
      const [entry] = yield* PoolRegistry.entries
      const seen: Array<string> = []
      yield* start(Stream.runForEach(entry!.events, (event) => Effect.sync(() => seen.push(event._tag))))
      const holder = yield* borrow(pool)
      expect(yield* entry!.stats).toEqual(yield* Pool.stats(pool))
      expect(yield* entry!.stats).toMatchObject({ name: "app/Db", used: 1, max: 3 })
      expect(yield* entry!.leases()).toMatchObject([{ item: holder.item, fiber: holder.id }])
      yield* settle
      expect(seen).toEqual(["WaitStarted", "Created", "Borrowed"])
    }))

  test("takes what is no pool of ours, until its scope closes", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ acquire: Effect.succeed(1) })
      const scope = yield* Scope.make()
      const entry = yield* Scope.provide(
        PoolRegistry.register({
          kind: "pool",
          name: "theirs",
          options: {},
          stats: Pool.stats(pool),
          leases: () => Pool.leases(pool),
          waiters: () => Pool.waiters(pool),
          events: Pool.events(pool),
          record: () => Effect.void,
          actions: {}
        }),
        scope
      )
      expect(entry.id).toBe("theirs")
      expect(yield* ids).toEqual(["theirs"])
      yield* Scope.close(scope, Exit.void)
      expect(yield* ids).toEqual([])
    }))

  it.effect("is isolated by its layer", () =>
    Effect.gen(function* () {
      expect(yield* Effect.provide(idsWith("one"), PoolRegistry.layer)).toEqual(["one"])
      expect(yield* Effect.provide(idsWith("two"), PoolRegistry.layer)).toEqual(["two"])
    })
  )

  test("is shared where a layer is provided again inside, as layers are; a fresh one is not", () =>
    Effect.gen(function* () {
      yield* Pool.make({ name: "outer", acquire: Effect.succeed(1) })
      expect(yield* Effect.provide(ids, PoolRegistry.layer)).toEqual(["outer"])
      expect(yield* Effect.provide(ids, Layer.fresh(PoolRegistry.layer))).toEqual([])
    }))

  it.effect("is one for the whole process where nobody provides another", () =>
    Effect.gen(function* () {
      yield* Pool.make({ name: "registry.test/process", acquire: Effect.succeed(1) })
      expect(yield* ids).toContain("registry.test/process")
      expect(yield* Effect.provide(ids, PoolRegistry.layer)).toEqual([])
    })
  )
})
