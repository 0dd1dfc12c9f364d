/**
 * Those who watch the pools of a registry, and record what happens in them.
 */
import { KeyedPool, Pool, PoolRegistry, TokenPool } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, References, Scope, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { borrow, borrowers, defectOf, logged, settle, start, Things } from "./kit.ts"
import { isolated } from "./scrape.ts"

const test = <A, E>(name: string, body: () => Effect.Effect<A, E, Scope.Scope>) =>
  it.effect(name, () => isolated(Effect.scoped(body())))

const make = (name: string) => Pool.make({ name, acquire: new Things().acquire, max: 2 })

/** Somebody who watches, and writes down when pools come and go. */
class Diary {
  readonly lines: Array<string> = []

  readonly watch = PoolRegistry.watch((entry) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => this.lines.push(`${entry.id} is here`)),
        () => Effect.sync(() => this.lines.push(`${entry.id} has gone`))
      )
    )
  )

  /** What was written since this was asked for before. */
  get news(): ReadonlyArray<string> {
    return this.lines.splice(0)
  }
}

/** A recorder that remembers. */
class Tape implements PoolRegistry.Recorder {
  readonly waits: Array<number> = []
  readonly uses: Array<number> = []
  readonly events: Array<string> = []
  readonly waited = (millis: number): void => void this.waits.push(millis)
  readonly used = (millis: number): void => void this.uses.push(millis)
  readonly told = (event: PoolRegistry.Occurrence): void => void this.events.push(event._tag)
}

const entryOf = (id: string) =>
  Effect.map(PoolRegistry.entries, (entries) => entries.find((entry) => entry.id === id)!)

describe("whoever watches", () => {
  test("sees pools that are open and those that come later, each once, and when each goes", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      yield* make("one")
      yield* diary.watch
      expect(diary.news).toEqual(["one is here"])
      const two = yield* make("two")
      yield* Effect.scoped(TokenPool.make({ name: "two" }))
      expect(diary.news).toEqual(["two is here", "two#2 is here", "two#2 has gone"])
      yield* Pool.close(two)
      expect(diary.news).toEqual(["two has gone"])
    }))

  test("sees a pool before its first resource is created, and before its first borrow", () =>
    Effect.gen(function* () {
      const tape = new Tape()
      yield* PoolRegistry.watch((entry) => entry.record(tape))
      const pool = yield* Pool.make({ name: "db", acquire: new Things().acquire, size: 2 })
      yield* Pool.use(pool, () => Effect.void)
      expect(tape).toMatchObject({ waits: [0], uses: [0], events: ["Created", "Created"] })
    }))

  test("sees nothing more when its scope has closed", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      yield* make("one")
      yield* Effect.scoped(diary.watch)
      expect(diary.news).toEqual(["one is here", "one has gone"])
      yield* make("two")
      expect(diary.news).toEqual([])
    }))

  test("that fails or dies is logged, and disturbs neither the pool nor others who watch", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const diary = new Diary()
      yield* PoolRegistry.watch(() => Effect.die(new Error("no good eyes")))
      yield* PoolRegistry.watch(() => Effect.addFinalizer(() => Effect.die(new Error("no good end"))))
      yield* diary.watch
      yield* Effect.scoped(Effect.flatMap(make("db"), (pool) => Pool.use(pool, () => Effect.void)))
      expect(diary.news).toEqual(["db is here", "db has gone"])
      expect(lines).toEqual([
        expect.stringMatching(/^Warn: something that watches pools failed .*no good eyes/s),
        expect.stringMatching(/^Warn: something that watches pools failed .*no good end/s)
      ])
    }).pipe(Effect.provide(layer))
  })

  test("that is slow holds up no pool, neither when it comes nor when it goes", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const scope = yield* Scope.make()
      const slow = PoolRegistry.watch(() =>
        Effect.gen(function* () {
          yield* Effect.addFinalizer(() =>
            Effect.andThen(
              Effect.sleep("1 hour"),
              Effect.sync(() => seen.push("end"))
            )
          )
          seen.push("begin")
          yield* Effect.sleep("1 hour")
          seen.push("never")
        }).pipe(Effect.onInterrupt(() => Effect.sync(() => seen.push("interrupted"))))
      )
      yield* Scope.provide(slow, scope)
      yield* Effect.scoped(Effect.flatMap(make("one"), (pool) => Pool.use(pool, () => Effect.void)))
      expect(seen).toEqual(["begin", "interrupted"])
      yield* TestClock.adjust("1 hour")
      expect(seen).toEqual(["begin", "interrupted", "end"])

      // The end of its own scope waits for it.
      yield* make("two")
      const closing = yield* start(Scope.close(scope, Exit.void))
      expect(closing.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(closing)
      expect(seen).toEqual(["begin", "interrupted", "end", "begin", "interrupted", "end"])
    }))

  test("may make and close pools, and begin and cease to watch, while it is told of one", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const inner = yield* Scope.make()
      const doomed = yield* Scope.make()
      const other = yield* Scope.make()
      yield* Scope.provide(make("doomed"), doomed)
      yield* PoolRegistry.watch((entry) =>
        entry.id === "trigger"
          ? Effect.gen(function* () {
              yield* Scope.provide(make("nested"), inner)
              yield* Scope.close(doomed, Exit.void)
              yield* Scope.close(other, Exit.void)
            })
          : Effect.void
      )
      yield* diary.watch
      const late = new Diary()
      yield* Scope.provide(late.watch, other)
      yield* make("trigger")
      yield* settle
      expect(diary.news.toSorted()).toEqual([
        "doomed has gone",
        "doomed is here",
        "nested is here",
        "trigger is here"
      ])
      // It was gone before it was told of the trigger.
      expect(late.news.toSorted()).toEqual([
        "doomed has gone",
        "doomed is here",
        "nested has gone",
        "nested is here"
      ])
    }))

  test("begins with what is open: a pool that goes meanwhile is not left behind", () =>
    Effect.gen(function* () {
      const doomed = yield* Scope.make()
      const seen: Array<string> = []
      yield* make("first")
      yield* Scope.provide(make("doomed"), doomed)
      yield* PoolRegistry.watch((entry) =>
        Effect.andThen(
          Effect.sync(() => seen.push(entry.id)),
          entry.id === "first" ? Scope.close(doomed, Exit.void) : Effect.void
        )
      )
      expect(seen).toEqual(["first"])
    }))

  test("does so in its own context, and not in that of whoever makes a pool", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      yield* PoolRegistry.watch(() =>
        Effect.gen(function* () {
          seen.push(yield* References.CurrentLogAnnotations, yield* Effect.serviceOption(Tracer.ParentSpan))
        })
      ).pipe(Effect.annotateLogs("watch", "mine"), Effect.withSpan("start"))
      yield* make("db").pipe(Effect.annotateLogs("pool", "theirs"), Effect.withSpan("request"))
      expect(seen).toMatchObject([{ watch: "mine" }, { _tag: "None" }])
      expect(seen[0]).not.toHaveProperty("pool")
    }))
})

const fail = (): never => {
  throw new Error("the tape is torn")
}

describe("a recorder", () => {
  test("hears of each borrow once, from when it begins until it ends", () =>
    Effect.gen(function* () {
      const pool = yield* make("db")
      const entry = yield* entryOf("db")
      const [early, late] = [new Tape(), new Tape()]
      const scope = yield* Scope.make()
      yield* Scope.provide(entry.record(early), scope)
      const [first, , third] = yield* borrowers(pool, 3)
      yield* TestClock.adjust("2 seconds")
      yield* entry.record(late)
      yield* first!.giveBack
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 second")
      yield* third!.giveBack
      expect(early).toMatchObject({ waits: [0, 0, 2_000], uses: [2_000], events: ["Created", "Created"] })
      expect(late).toMatchObject({ waits: [2_000], uses: [2_000, 1_000], events: [] })
    }))

  test("that throws is told nothing more, which is logged, and no borrower notices", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const pool = yield* make("db")
      const entry = yield* entryOf("db")
      const tape = new Tape()
      yield* entry.record({ waited: fail, used: fail, told: () => {} })
      yield* entry.record(tape)
      yield* entry.record({ waited: () => {}, used: () => {}, told: fail })
      yield* borrowers(pool, 2)
      const third = yield* borrow(pool)
      yield* third.interrupt
      expect(yield* Pool.stats(pool)).toMatchObject({ used: 2, pending: 0, size: 2 })
      yield* Pool.use(yield* make("other"), () => Effect.void)
      expect(tape.waits).toEqual([0, 0])
      expect(lines).toEqual([
        expect.stringMatching(/^Warn: a recorder of a pool threw an error.*the tape is torn/s),
        expect.stringMatching(/^Warn: a recorder of a pool threw an error.*the tape is torn/s)
      ])
    }).pipe(Effect.provide(layer))
  })

  test("of a keyed pool hears of all keys", () =>
    Effect.gen(function* () {
      const hosts = yield* KeyedPool.make({ name: "hosts", acquire: (key: string) => Effect.succeed(key) })
      const tape = new Tape()
      yield* (yield* entryOf("hosts")).record(tape)
      yield* KeyedPool.use(hosts, "a", () => KeyedPool.use(hosts, "b", () => Effect.void))
      expect(tape).toMatchObject({ waits: [0, 0], uses: [0, 0], events: ["Created", "Created"] })
    }))
})

describe("an entry", () => {
  test("has its options as a person reads them", () =>
    Effect.gen(function* () {
      yield* Pool.make({
        name: "db",
        acquire: new Things().acquire,
        min: 1,
        max: 10,
        acquireTimeout: "5 seconds",
        maxAge: "1 hour",
        validate: () => Effect.succeed(true),
        keepAlive: { every: "90 seconds" }
      })
      expect((yield* entryOf("db")).options).toEqual({
        min: 1,
        max: 10,
        acquireTimeout: "5s",
        validate: true,
        validateAfterIdle: "500ms",
        validateTimeout: "5s",
        validateAttempts: 3,
        maxAge: "1h",
        maxAgeJitter: 0.025,
        keepAlive: "1m 30s",
        closeTimeout: "30s",
        destroyTimeout: "30s"
      })
      yield* KeyedPool.make({
        name: "hosts",
        acquire: (key: string) => Effect.succeed(key),
        maxPerKey: 2,
        keyIdle: "1 minute"
      })
      const { options } = yield* entryOf("hosts")
      expect(options).toMatchObject({ maxPerKey: 2, keyIdle: "1m" })
      expect(options).not.toHaveProperty("max")
      expect(options).not.toHaveProperty("acquireTimeout")
    }))

  test("has no options that do nothing in its pool", () =>
    Effect.gen(function* () {
      const acquire = new Things().acquire
      const ends = { closeTimeout: "30s", destroyTimeout: "30s" }
      yield* Pool.make({ name: "plain", acquire })
      expect((yield* entryOf("plain")).options).toEqual({ min: 0, max: 4, ...ends })
      // What belongs to an option that is not there, or is as if it were not.
      yield* Pool.make({
        name: "idle",
        acquire,
        order: "fifo",
        concurrency: 1,
        targetUtilization: 1,
        validateAfterIdle: "1 second",
        validateTimeout: "1 second",
        validateAttempts: 2,
        resetTimeout: "1 second",
        maxAgeJitter: 0.5
      })
      expect((yield* entryOf("idle")).options).toEqual({ min: 0, max: 4, ...ends })
      yield* Pool.make({
        name: "busy",
        acquire,
        order: "lifo",
        concurrency: 2,
        targetUtilization: 0.5,
        reset: () => Effect.void,
        resetTimeout: "1 second",
        maxAge: "1 minute",
        maxAgeJitter: 0.5
      })
      expect((yield* entryOf("busy")).options).toEqual({
        min: 0,
        max: 4,
        order: "lifo",
        concurrency: 2,
        targetUtilization: 0.5,
        reset: true,
        resetTimeout: "1s",
        maxAge: "1m",
        maxAgeJitter: 0.5,
        ...ends
      })
    }))

  test("tells who waits and who holds, the longest first, and no more than are asked for", () =>
    Effect.gen(function* () {
      const pool = yield* make("db")
      const entry = yield* entryOf("db")
      const all: Array<number> = []
      for (let i = 0; i < 6; i++) {
        all.push((yield* borrow(pool)).id)
        yield* TestClock.adjust("1 second")
      }
      const waiters = yield* entry.waiters()
      expect(waiters.map(({ fiber, waited }) => [fiber, waited])).toEqual([
        [all[2], 4_000],
        [all[3], 3_000],
        [all[4], 2_000],
        [all[5], 1_000]
      ])
      expect(waiters).toEqual(yield* Pool.waiters(pool))
      expect(yield* entry.waiters(2)).toEqual(waiters.slice(0, 2))
      const leases = yield* entry.leases()
      expect(leases.map(({ fiber }) => fiber)).toEqual(all.slice(0, 2))
      expect(yield* entry.leases(1)).toEqual(leases.slice(0, 1))
      for (const none of [0, -1]) {
        expect(yield* entry.waiters(none)).toEqual([])
        expect(yield* entry.leases(none)).toEqual([])
      }
    }))

  test("of a keyed pool finds the oldest of very many keys, whatever order they stand in", () =>
    Effect.gen(function* () {
      const hosts = yield* KeyedPool.make({
        name: "hosts",
        acquire: (key: number) => Effect.succeed(key),
        maxPerKey: 3
      })
      const entry = yield* entryOf("hosts")
      // Keys in the order in which they were first asked for are not in that of their loans, nor of their lines.
      for (let i = 0; i < 40; i++) yield* KeyedPool.use(hosts, i, () => Effect.void)
      for (let i = 0; i < 200; i++) {
        yield* start(KeyedPool.use(hosts, (i * 27) % 40, () => Effect.never))
        yield* TestClock.adjust("1 second")
      }
      const leases = yield* entry.leases()
      const waiters = yield* entry.waiters()
      expect(leases.map(({ held }) => held)).toEqual(Array.from({ length: 120 }, (_, i) => (200 - i) * 1_000))
      expect(waiters.map(({ waited }) => waited)).toEqual(
        Array.from({ length: 80 }, (_, i) => (80 - i) * 1_000)
      )
      for (const limit of [0, 1, 2, 7, 39, 500]) {
        expect(yield* entry.leases(limit)).toEqual(leases.slice(0, limit))
        expect(yield* entry.waiters(limit)).toEqual(waiters.slice(0, limit))
      }
      expect(yield* entry.stats).toMatchObject({ size: 120, used: 120, idle: 0, pending: 80, borrowed: 160 })
    }))

  test("of a keyed pool tells those of all keys together", () =>
    Effect.gen(function* () {
      const hosts = yield* KeyedPool.make({
        name: "hosts",
        acquire: (key: string) => Effect.succeed(key),
        maxPerKey: 1
      })
      const entry = yield* entryOf("hosts")
      for (const key of ["a", "b", "a", "b", "b"]) {
        yield* start(KeyedPool.use(hosts, key, () => Effect.never))
        yield* TestClock.adjust("1 second")
      }
      expect((yield* entry.waiters()).map(({ waited }) => waited)).toEqual([3_000, 2_000, 1_000])
      expect((yield* entry.waiters(2)).map(({ waited }) => waited)).toEqual([3_000, 2_000])
      expect((yield* entry.leases()).map(({ held, item }) => [item, held])).toEqual([
        ["a", 5_000],
        ["b", 4_000]
      ])
      expect(yield* entry.leases(1)).toHaveLength(1)
      yield* start(KeyedPool.close(hosts))
      expect(yield* entry.stats).toMatchObject({ state: "closing" })
      yield* TestClock.adjust("30 seconds")
      expect(yield* entry.stats).toMatchObject({ state: "closed", size: 0 })
    }))

  test("says how its pool is", () =>
    Effect.gen(function* () {
      const pool = yield* make("db")
      const entry = yield* entryOf("db")
      const state = Effect.map(entry.stats, (stats) => stats.state)
      expect(yield* state).toBe("open")
      yield* entry.actions.suspend!
      expect(yield* state).toBe("suspended")
      yield* entry.actions.resume!
      const holder = yield* borrow(pool)
      yield* start(Pool.close(pool))
      expect(yield* state).toBe("closing")
      yield* holder.giveBack
      expect(yield* state).toBe("closed")
    }))
})

describe("actions", () => {
  test("of a pool are all there are, and do what they say", () =>
    Effect.gen(function* () {
      const things = new Things()
      const pool = yield* Pool.make({ name: "db", acquire: things.acquire, min: 2, max: 4 })
      const { evict, recycle, resize, resume, suspend } = (yield* entryOf("db")).actions
      yield* settle
      yield* resize!({ max: 1 })
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 1, max: 1, size: 1 })
      yield* resize!({ min: 0 })
      yield* resize!({ min: 1, max: 2 })
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 1, max: 2 })
      for (const wrong of [{ max: -1 }, { max: Number.NaN }, { min: 3 }, { min: 2.5 }]) {
        expect((yield* defectOf(resize!(wrong))).message).toMatch(/pool "db": (min|max) is/)
      }
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 1, max: 2 })

      const holder = yield* borrow(pool)
      const held = holder.item.id
      yield* recycle!
      expect(things.closed).not.toContain(held)
      yield* holder.giveBack
      expect(things.closed).toContain(held)

      yield* suspend!
      const waiter = yield* borrow(pool)
      expect(waiter.state).toBe("waiting")
      yield* resume!
      yield* settle
      expect(waiter.state).toBe("holding")
      yield* waiter.giveBack
      const before = things.closed.length
      expect(yield* evict!).toBe(1)
      expect(things.closed).toHaveLength(before + 1)
    }))

  test("of tokens are those that mean something for tokens", () =>
    Effect.gen(function* () {
      const tokens = yield* TokenPool.make({ name: "slots", max: 1 })
      const { actions } = yield* entryOf("slots")
      expect(Object.keys(actions).toSorted()).toEqual(["resize", "resume", "suspend"])
      const [, waiter] = yield* borrowers(tokens, 2)
      yield* actions.suspend!
      yield* actions.resize!({ max: 2 })
      expect(waiter!.state).toBe("waiting")
      yield* actions.resume!
      yield* settle
      expect(waiter!.state).toBe("holding")
    }))

  test("of a keyed pool are for all keys, those included that come later", () =>
    Effect.gen(function* () {
      let made = 0
      const hosts = yield* KeyedPool.make({ name: "hosts", acquire: () => Effect.sync(() => ++made) })
      const { actions } = yield* entryOf("hosts")
      expect(Object.keys(actions).toSorted()).toEqual(["evict", "recycle", "resume", "suspend"])
      const visit = (key: string) => KeyedPool.use(hosts, key, (item) => Effect.succeed(item))
      expect([yield* visit("a"), yield* visit("b"), yield* visit("a")]).toEqual([1, 2, 1])
      yield* actions.recycle!
      expect([yield* visit("a"), yield* visit("b")]).toEqual([3, 4])
      expect(yield* actions.evict!).toBe(2)

      yield* actions.suspend!
      expect((yield* KeyedPool.stats(hosts)).state).toBe("suspended")
      const old = yield* start(visit("a"))
      const fresh = yield* start(visit("c"))
      expect([old.pollUnsafe(), fresh.pollUnsafe()]).toEqual([undefined, undefined])
      yield* actions.resume!
      yield* settle
      expect([yield* Fiber.join(old), yield* Fiber.join(fresh)].toSorted((a, b) => a - b)).toEqual([5, 6])
      expect((yield* KeyedPool.stats(hosts)).state).toBe("open")
    }))

  test("on a pool that has closed do nothing", () =>
    Effect.gen(function* () {
      const pool = yield* make("db")
      const hosts = yield* KeyedPool.make({ name: "hosts", acquire: (key: string) => Effect.succeed(key) })
      const all = [(yield* entryOf("db")).actions, (yield* entryOf("hosts")).actions]
      yield* Pool.close(pool)
      yield* KeyedPool.close(hosts)
      for (const { evict, recycle, resume, suspend } of all) {
        yield* suspend!
        yield* resume!
        yield* recycle!
        expect(yield* evict!).toBe(0)
      }
      expect(yield* Pool.stats(pool)).toMatchObject({ state: "closed", size: 0 })
      expect(yield* KeyedPool.stats(hosts)).toMatchObject({ state: "closed", size: 0 })
    }))
})
