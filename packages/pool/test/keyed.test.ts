import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { KeyedPool, PoolEvent, PoolRegistry } from "@cenote/pool"
import { Context, Data, Deferred, Duration, Effect, Exit, Fiber, Layer, pipe, Scope, Stream } from "effect"
import { describe, expect } from "vitest"
import {
  borrow,
  Borrower,
  borrowers,
  defectOf,
  type Item,
  makePool,
  pass,
  Refused,
  rest,
  settle,
  statsFor,
  statsOf,
  test,
  Workshop
} from "./keyed-kit.ts"

/** The states of some borrowers, in a form that is easy to read in a failure. */
const statesOf = (all: ReadonlyArray<Borrower<any, any, any>>): string =>
  all.map((borrower) => borrower.state).join(" ")

/** Borrows for a key over and over, and holds each time as long as `hold` takes. */
const loop = <K, A, E>(
  pool: KeyedPool.KeyedPool<K, A, E>,
  key: K,
  count: number,
  hold: (item: A) => Effect.Effect<unknown>
) =>
  Effect.forEach(
    Array.from({ length: count }),
    () =>
      Effect.forkScoped(Effect.forever(KeyedPool.use(pool, key, hold)), {
        startImmediately: true
      }),
    { discard: true }
  )

/** A millisecond of work, and then a note of it. */
const work = (note: () => unknown): Effect.Effect<void> =>
  Effect.asVoid(Effect.andThen(Effect.sleep(1), Effect.sync(note)))

/** Lets go of everything that nothing refers to any more. */
const collectGarbage = Effect.promise(async () => {
  setFlagsFromString("--expose-gc")
  const gc: unknown = runInNewContext("gc")
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setImmediate(resolve))
    if (typeof gc === "function") gc()
  }
})

describe("keys and their limits", () => {
  test("nothing is made before somebody asks, and then for the key that was asked for", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ name: "hosts", maxPerKey: 2 })
      expect(workshop.attempts).toEqual([])
      expect((yield* statsOf(pool)).keys).toEqual([])
      const a = yield* borrow(pool, "a")
      expect(a.item.key).toBe("a")
      expect(workshop.attempts).toEqual(["a"])
      const stats = yield* statsOf(pool)
      expect(stats.keys.map(([key]) => key)).toEqual(["a"])
      const b = yield* borrow(pool, "b")
      expect(b.item.key).toBe("b")
      expect(workshop.attempts).toEqual(["a", "b"])
    }))

  test("a resource serves its key again and again", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      for (let turn = 0; turn < 5; turn++) {
        yield* rest(pool, "a")
        yield* rest(pool, "b")
      }
      expect(workshop.attempts).toEqual(["a", "b"])
      expect((yield* statsOf(pool)).borrowed).toBe(10)
    }))

  test("maxPerKey holds for each key by itself", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2 })
      const a = yield* borrowers(pool, "a", 3)
      const b = yield* borrowers(pool, "b", 3)
      expect(statesOf(a)).toBe("holding holding waiting")
      expect(statesOf(b)).toBe("holding holding waiting")
      expect(workshop.of("a").peak).toBe(2)
      expect(workshop.of("b").peak).toBe(2)
      expect(yield* statsFor(pool, "a")).toMatchObject({ max: 2, size: 2, used: 2, pending: 1 })
      yield* a[1]!.giveBack
      expect(statesOf(a)).toBe("holding over holding")
      expect(statesOf(b)).toBe("holding holding waiting")
      expect(a[2]!.item).toBe(a[1]!.item)
    }))

  test("maxPerKey is 4 when it is not given, and the whole has no limit", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      for (const key of ["a", "b", "c", "d", "e"]) {
        const all = yield* borrowers(pool, key, 5)
        expect(statesOf(all)).toBe("holding holding holding holding waiting")
      }
      const stats = yield* statsOf(pool)
      expect(stats.max).toBe(Infinity)
      expect(stats).toMatchObject({ size: 20, used: 20, pending: 5 })
      expect(workshop.whole.now).toBe(20)
    }))

  test("max holds over all keys", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 3 })
      const a = yield* borrowers(pool, "a", 2)
      const b = yield* borrowers(pool, "b", 2)
      const c = yield* borrowers(pool, "c", 1)
      expect(statesOf([...a, ...b, ...c])).toBe("holding holding holding waiting waiting")
      expect(workshop.whole.now).toBe(3)
      expect(yield* statsOf(pool)).toMatchObject({ max: 3, size: 3, used: 3, pending: 2 })
      yield* a[0]!.giveBack
      expect(workshop.whole.peak).toBe(3)
      expect((yield* statsOf(pool)).pending).toBe(1)
    }))

  test("a max below maxPerKey is what counts", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 10, max: 2 })
      const all = yield* borrowers(pool, "a", 5)
      expect(statesOf(all)).toBe("holding holding waiting waiting waiting")
      expect(workshop.whole.peak).toBe(2)
      for (const borrower of all) yield* borrower.giveBack
      expect(statesOf(all)).toBe("over over over over over")
      expect(workshop.items.length).toBe(2)
    }))

  test("keys are compared by value", () =>
    Effect.gen(function* () {
      class Host extends Data.Class<{ readonly name: string; readonly port: number }> {}
      const { pool, workshop } = yield* makePool<Host>({ maxPerKey: 1 })
      const first = yield* borrow(pool, new Host({ name: "a.example", port: 80 }))
      const same = yield* borrow(pool, new Host({ name: "a.example", port: 80 }))
      const other = yield* borrow(pool, new Host({ name: "a.example", port: 81 }))
      expect(statesOf([first, same, other])).toBe("holding waiting holding")
      expect((yield* KeyedPool.stats(pool)).keys.map(([key]) => key.port)).toEqual([80, 81])
      yield* first.giveBack
      expect(same.item).toBe(first.item)
      yield* same.giveBack
      expect(yield* KeyedPool.clear(pool, new Host({ name: "a.example", port: 80 }))).toBe(1)
      expect(workshop.closed).toEqual([1])
    }))

  test("plain structures are keys by value too, and undefined is a key like any other", () =>
    Effect.gen(function* () {
      type Key = { readonly host: string } | ReadonlyArray<number> | undefined
      const { pool, workshop } = yield* makePool<Key>({ maxPerKey: 1 })
      yield* rest<Key, Item<Key>, Refused>(pool, { host: "a" })
      yield* rest<Key, Item<Key>, Refused>(pool, { host: "a" })
      yield* rest<Key, Item<Key>, Refused>(pool, [1, 2])
      yield* rest<Key, Item<Key>, Refused>(pool, [1, 2])
      yield* rest<Key, Item<Key>, Refused>(pool, undefined)
      yield* rest<Key, Item<Key>, Refused>(pool, undefined)
      expect(workshop.attempts).toEqual([{ host: "a" }, [1, 2], undefined])
      expect(yield* KeyedPool.clear(pool, undefined)).toBe(1)
      expect(workshop.closed).toEqual([3])
    }))
})

describe("lines", () => {
  test("each key has a line of its own, first come, first served", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ maxPerKey: 1 })
      const a: Array<Borrower<string, Item<string>, Refused>> = []
      const b: Array<Borrower<string, Item<string>, Refused>> = []
      for (let n = 0; n < 4; n++) {
        a.push(yield* borrow(pool, "a"))
        b.push(yield* borrow(pool, "b"))
      }
      yield* a[0]!.giveBack
      yield* a[1]!.giveBack
      expect(statesOf(a)).toBe("over over holding waiting")
      expect(statesOf(b)).toBe("holding waiting waiting waiting")
      yield* b[0]!.giveBack
      expect(statesOf(b)).toBe("over holding waiting waiting")
    }))

  test("a newcomer does not overtake, also in the moment in which a resource comes back", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ maxPerKey: 1, max: 1 })
      const [holder, first] = yield* borrowers(pool, "a", 2)
      yield* holder!.letGo
      const newcomer = new Borrower<string, Item<string>, Refused>("a")
      yield* newcomer.start(pool)
      yield* settle
      expect(statesOf([first!, newcomer])).toBe("holding waiting")
    }))

  test("the line for room is in order within a key", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ max: 1 })
      const busy = yield* borrow(pool, "busy")
      const line = yield* borrowers(pool, "a", 3)
      yield* busy.giveBack
      expect(statesOf(line)).toBe("holding waiting waiting")
      yield* line[0]!.giveBack
      expect(statesOf(line)).toBe("over holding waiting")
    }))

  test("keys that wait for room get it in the order in which they asked", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ max: 1 })
      const all: Array<Borrower<string, Item<string>, Refused>> = []
      for (const key of ["a", "d", "b", "c"]) {
        all.push(yield* borrow(pool, key))
        yield* pass(1)
      }
      for (const [n, borrower] of all.entries()) {
        expect(borrower.state, borrower.key).toBe("holding")
        expect(statesOf(all.slice(n + 1))).not.toContain("holding")
        yield* borrower.giveBack
      }
    }))

  test("an interrupted waiter takes nothing with it", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, max: 1 })
      const holder = yield* borrow(pool, "a")
      const [first, second] = yield* borrowers(pool, "a", 2)
      const other = yield* borrow(pool, "b")
      yield* first!.interrupt
      yield* other.interrupt
      expect(statesOf([holder, first!, second!, other])).toBe("holding over waiting over")
      expect((yield* statsOf(pool)).pending).toBe(1)
      yield* holder.giveBack
      expect(second!.item).toBe(holder.item)
      yield* second!.giveBack
      expect(workshop.attempts).toEqual(["a"])
      expect(workshop.closed).toEqual([])
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, idle: 1, pending: 0 })
    }))

  test("a waiter that is interrupted in the moment it is served passes on what it got", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, max: 1 })
      const holder = yield* borrow(pool, "a")
      const [first, second] = yield* borrowers(pool, "a", 2)
      yield* holder.letGo
      yield* first!.cutOff
      yield* settle
      expect(statesOf([first!, second!])).toBe("over holding")
      yield* second!.giveBack
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, idle: 1, used: 0 })
      expect(workshop.items.length).toBe(1)
    }))

  test("acquireTimeout counts the wait for room, and says so", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ name: "hosts", max: 1, acquireTimeout: 100 })
      const holder = yield* borrow(pool, "a")
      yield* pass(50)
      const late = yield* borrow(pool, "b")
      yield* pass(99)
      expect(late.state).toBe("waiting")
      yield* pass(1)
      expect(late.error).toMatchObject({ _tag: "AcquireTimeout", phase: "line", position: 1, waiting: 1 })
      expect(yield* statsFor(pool, "b")).toMatchObject({ timeouts: 1, pending: 0, size: 0 })
      expect((yield* statsOf(pool)).timeouts).toBe(1)
      yield* holder.giveBack
      expect(workshop.closed).toEqual([])
    }))

  test("maxWaiting counts those who wait for the room that others hold", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ maxPerKey: 4, max: 1, maxWaiting: 1 })
      yield* borrow(pool, "a")
      const [first, second] = yield* borrowers(pool, "b", 2)
      expect(first!.state).toBe("waiting")
      expect(second!.state).toBe("over")
      expect(second!.error).toMatchObject({ _tag: "LineFull", maxWaiting: 1 })
    }))

  test("maxWaiting does not count those for whom room is being made", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 4, max: 1, maxWaiting: 1 })
      workshop.closing = () => 50
      yield* rest(pool, "a")
      const [first, second, third] = yield* borrowers(pool, "b", 3)
      expect(workshop.closed).toEqual([1])
      expect(statesOf([first!, second!, third!])).toBe("waiting waiting over")
      expect(third!.error._tag).toBe("LineFull")
      yield* pass(50)
      expect(statesOf([first!, second!])).toBe("holding waiting")
    }))

  test("maxWaiting counts those who wait for room that is being made for others", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1, maxWaiting: 0 })
      workshop.closing = () => 50
      yield* rest(pool, "a")
      const first = yield* borrow(pool, "b")
      const other = yield* borrow(pool, "c")
      expect(first.state).toBe("waiting")
      expect(other.state).toBe("over")
      expect(other.error._tag).toBe("LineFull")
    }))

  test("maxWaiting is a limit for each key, and a place that can be made does not count", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ maxPerKey: 1, maxWaiting: 1 })
      const a = yield* borrowers(pool, "a", 3)
      const b = yield* borrowers(pool, "b", 3)
      expect(statesOf(a)).toBe("holding waiting over")
      expect(statesOf(b)).toBe("holding waiting over")
      expect(a[2]!.error._tag).toBe("LineFull")
    }))

  test("a borrow inside a borrow of the same key at its limit is a deadlock, and is called one", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ maxPerKey: 1 })
      const error = yield* Effect.flip(
        KeyedPool.use(pool, "a", () => KeyedPool.use(pool, "a", () => Effect.void))
      )
      expect(error._tag).toBe("WouldDeadlock")
      expect((yield* rest(pool, "a")).length).toBe(1)
    }))

  for (const inner of ["a", "b"]) {
    test(`a borrow for ${inner} inside one for a that takes all the room ends with acquireTimeout`, () =>
      Effect.gen(function* () {
        const { pool } = yield* makePool({ maxPerKey: 4, max: 1, acquireTimeout: 100 })
        const fiber = yield* Effect.forkScoped(
          Effect.flip(KeyedPool.use(pool, "a", () => KeyedPool.use(pool, inner, () => Effect.void)))
        )
        yield* pass(100)
        expect(fiber.pollUnsafe()).toMatchObject({ _tag: "Success", value: { _tag: "AcquireTimeout" } })
        expect(yield* statsOf(pool)).toMatchObject({ used: 0, pending: 0, idle: 1 })
        expect((yield* borrow(pool, inner)).state).toBe("holding")
      }))
  }
})

describe("room for other keys", () => {
  test("nothing is closed while there is room", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 3 })
      yield* rest(pool, "a")
      yield* rest(pool, "b")
      yield* rest(pool, "c")
      expect(workshop.closed).toEqual([])
      expect(yield* statsOf(pool)).toMatchObject({ size: 3, idle: 3 })
    }))

  test("a key with something at rest takes that, and nobody's room", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 2 })
      yield* rest(pool, "a")
      yield* rest(pool, "b")
      const b = yield* borrow(pool, "b")
      expect(b.item.id).toBe(2)
      expect(workshop.closed).toEqual([])
    }))

  test("an idle resource of another key makes room, the one that has rested longest", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 3 })
      for (const key of ["a", "b", "c"]) {
        yield* rest(pool, key)
        yield* pass(10)
      }
      const d = yield* borrow(pool, "d")
      expect(d.state).toBe("holding")
      expect(workshop.closed).toEqual([1])
      const e = yield* borrow(pool, "e")
      expect(e.state).toBe("holding")
      expect(workshop.closed).toEqual([1, 2])
      expect(workshop.whole.peak).toBe(3)
      expect(workshop.items.map((item) => item.closings)).toEqual([1, 1, 0, 0, 0])
    }))

  test("a resource that was used again has not rested long", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 3 })
      for (const key of ["a", "b", "c", "a"]) {
        yield* rest(pool, key)
        yield* pass(10)
      }
      yield* borrow(pool, "d")
      expect(workshop.closed).toEqual([2])
    }))

  test("what counts is how long each resource has rested, and not its key", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 3 })
      const [first, second] = yield* borrowers(pool, "a", 2)
      const third = yield* borrow(pool, "b")
      yield* first!.giveBack
      yield* pass(10)
      yield* third.giveBack
      yield* pass(10)
      yield* second!.giveBack
      yield* pass(10)
      yield* borrow(pool, "c")
      expect(workshop.closed).toEqual([first!.item.id])
      yield* borrow(pool, "d")
      expect(workshop.items.filter((item) => item.closings === 0)).toContain(second!.item)
      expect(third.item.closings).toBe(1)
      yield* borrow(pool, "e")
      expect(workshop.closed.length).toBe(3)
    }))

  test("what is on loan is not touched", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 2 })
      const a = yield* borrow(pool, "a")
      const b = yield* borrow(pool, "b")
      const c = yield* borrow(pool, "c")
      yield* pass(1_000)
      expect(statesOf([a, b, c])).toBe("holding holding waiting")
      expect(workshop.closed).toEqual([])
      yield* b.giveBack
      expect(c.state).toBe("holding")
      expect(workshop.closed).toEqual([2])
      expect(workshop.whole.peak).toBe(2)
    }))

  test("the room is not given on before the resource is closed", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 2 })
      workshop.closing = () => 50
      yield* rest(pool, "a")
      yield* rest(pool, "b")
      const c = yield* borrow(pool, "c")
      expect(c.state).toBe("waiting")
      expect(workshop.attempts).toEqual(["a", "b"])
      expect(yield* statsOf(pool)).toMatchObject({ size: 2, idle: 1, closing: 1, pending: 1 })
      yield* pass(49)
      expect(c.state).toBe("waiting")
      yield* pass(1)
      expect(c.state).toBe("holding")
      expect(workshop.whole.peak).toBe(2)
      expect(workshop.items.map((item) => item.closings)).toEqual([1, 0, 0])
    }))

  test("no more is closed than is wanted, however long that takes", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 4, max: 4 })
      workshop.closing = () => 50
      yield* rest(pool, "a", 4)
      const b = yield* borrow(pool, "b")
      const c = yield* borrow(pool, "c")
      yield* pass(10)
      expect(workshop.closed.length).toBe(2)
      yield* pass(1_000)
      expect(statesOf([b, c])).toBe("holding holding")
      expect(workshop.closed.length).toBe(2)
      expect(workshop.whole.peak).toBe(4)
    }))

  test("no more is closed than the key may have, however long its line", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 6 })
      workshop.closing = () => 50
      yield* rest(pool, "a", 2)
      yield* rest(pool, "b", 2)
      yield* rest(pool, "c", 2)
      const line = yield* borrowers(pool, "d", 10)
      expect(workshop.closed.length).toBe(2)
      yield* pass(1_000)
      expect(line.filter((borrower) => borrower.state === "holding").length).toBe(2)
      expect(workshop.closed.length).toBe(2)
    }))

  test("a resource that comes back is not closed for a line that has all that its key may have", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 4 })
      workshop.closing = () => 50
      const a = yield* borrowers(pool, "a", 2)
      const b = yield* borrowers(pool, "b", 1)
      yield* rest(pool, "c")
      const more = yield* borrowers(pool, "b", 9)
      expect(workshop.closed.length).toBe(1)
      for (const borrower of a) yield* borrower.giveBack
      yield* pass(1_000)
      expect([...b, ...more].filter((borrower) => borrower.state === "holding").length).toBe(2)
      expect(workshop.closed.length).toBe(1)
    }))

  test("no more is closed than may be created at one time", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 4, max: 4, createConcurrency: 1 })
      workshop.making = (key) => (key === "b" ? 100 : 0)
      yield* rest(pool, "a", 4)
      const b = yield* borrowers(pool, "b", 2)
      yield* pass(50)
      expect(workshop.closed.length).toBe(1)
      yield* pass(1_000)
      expect(statesOf(b)).toBe("holding holding")
      expect(workshop.closed.length).toBe(2)
      expect(workshop.whole.peak).toBe(4)
    }))

  test("room that was made for somebody who has left is there for the next", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 2 })
      workshop.closing = () => 50
      yield* rest(pool, "a", 2)
      const gone = yield* borrow(pool, "b")
      yield* gone.interrupt
      const next = yield* borrow(pool, "c")
      expect(workshop.closed.length).toBe(1)
      yield* pass(50)
      expect(next.state).toBe("holding")
      yield* pass(1_000)
      expect(workshop.closed.length).toBe(1)
      expect(workshop.attempts).toEqual(["a", "a", "c"])
    }))

  test("a creation that has outlived its borrower makes room for another key", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1 })
      workshop.making = (key) => (key === "slow" ? 100 : 0)
      const gone = yield* borrow(pool, "slow")
      const waiting = yield* borrow(pool, "a")
      yield* gone.interrupt
      yield* pass(100)
      expect(workshop.madeFor("slow")).toBe(1)
      expect(waiting.state).toBe("holding")
      expect(workshop.whole.peak).toBe(1)
    }))

  test("a resource that is being reset makes room, once it is", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1, reset: () => Effect.sleep(20) })
      yield* rest(pool, "a")
      expect((yield* statsOf(pool)).used).toBe(1)
      const b = yield* borrow(pool, "b")
      expect(b.state).toBe("waiting")
      yield* pass(20)
      expect(b.state).toBe("holding")
      expect(workshop.closed).toEqual([1])
    }))

  test("a resource that is being validated makes room, once it is", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({
        max: 1,
        validate: () => Effect.as(Effect.sleep(20), true),
        keepAlive: { every: 1_000 }
      })
      yield* rest(pool, "a")
      yield* pass(1_000)
      expect((yield* statsOf(pool)).used).toBe(1)
      const b = yield* borrow(pool, "b")
      expect(b.state).toBe("waiting")
      yield* pass(20)
      expect(b.state).toBe("holding")
      expect(workshop.closed).toEqual([1])
    }))

  test("one key takes the room of all others, and gives it back", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 5, max: 5 })
      const keys = ["a", "b", "c", "d", "e"]
      for (const key of keys) yield* rest(pool, key)
      yield* rest(pool, "all", 5)
      expect(workshop.closed.length).toBe(4 + 1)
      for (const key of keys) expect((yield* rest(pool, key))[0]!.key).toBe(key)
      expect(workshop.whole.peak).toBe(5)
      expect(workshop.items.every((item) => item.closings <= 1)).toBe(true)
      expect(yield* statsOf(pool)).toMatchObject({ size: 5, idle: 5, created: 15, destroyed: 10 })
    }))

  test("a finalizer that dies or hangs holds the room no longer than destroyTimeout", () =>
    Effect.gen(function* () {
      const closings: Array<string> = []
      const pool = yield* KeyedPool.make({
        acquire: (key: string) =>
          Effect.acquireRelease(Effect.succeed(key), () => {
            closings.push(key)
            return key === "dies" ? Effect.die("broken") : key === "hangs" ? Effect.never : Effect.void
          }),
        max: 2,
        destroyTimeout: 1_000
      })
      yield* rest(pool, "dies")
      yield* rest(pool, "hangs")
      const a = yield* borrow(pool, "a")
      expect(a.item).toBe("a")
      const b = yield* borrow(pool, "b")
      yield* pass(999)
      expect(b.state).toBe("waiting")
      yield* pass(1)
      expect(b.item).toBe("b")
      expect(closings).toEqual(["dies", "hangs"])
    }))
})

describe("fairness between keys", () => {
  for (const max of [1, 10]) {
    for (const closing of [0, 5]) {
      test(`100 borrowers of a busy key do not starve a quiet one (max ${max}, closing takes ${closing} ms)`, () =>
        Effect.gen(function* () {
          const { pool, workshop } = yield* makePool({ maxPerKey: max, max })
          workshop.closing = () => closing
          let turns = 0
          yield* loop(pool, "busy", 100, () => work(() => turns++))
          yield* pass(50)
          for (let round = 0; round < 10; round++) {
            const before = turns
            const quiet = yield* borrow(pool, "quiet")
            // Those who stood in line before may all go first, and the other places go on while one is closed.
            for (let step = 0; quiet.state === "waiting" && step < 500; step++) yield* pass(1)
            expect(quiet.state, `round ${round}`).toBe("holding")
            expect(turns - before, `turns of the busy key in round ${round}`).toBeLessThanOrEqual(
              100 + (2 + closing) * max
            )
            const meanwhile = turns
            yield* quiet.giveBack
            yield* pass(50)
            expect(turns, "the busy key goes on").toBeGreaterThan(meanwhile)
          }
          expect(workshop.whole.peak).toBeLessThanOrEqual(max)
        }))
    }

    test(`nor do they where no time passes between their turns (max ${max})`, () =>
      Effect.gen(function* () {
        const { pool } = yield* makePool({ maxPerKey: max, max })
        let turns = 0
        let turnsBefore = Infinity
        const turn = Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => turns++)
        )
        const busy = Effect.repeat(
          KeyedPool.use(pool, "busy", () => turn),
          { times: 99 }
        )
        for (let n = 0; n < 100; n++) yield* Effect.forkScoped(busy, { startImmediately: true })
        yield* Effect.forkScoped(
          KeyedPool.use(pool, "quiet", () => Effect.sync(() => (turnsBefore = turns))),
          { startImmediately: true }
        )
        yield* settle
        expect(turns).toBe(100 * 100)
        expect(turnsBefore).toBeLessThanOrEqual(100 + 2 * max)
      }))
  }

  test("many quiet keys are all served beside a busy one", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 4, max: 4 })
      let busy = 0
      yield* loop(pool, "busy", 50, () => work(() => busy++))
      yield* pass(20)
      const before = busy
      const quiet = Array.from({ length: 20 }, (_, n) => `quiet ${n}`)
      const served: Array<string> = []
      for (const key of quiet) {
        yield* Effect.forkScoped(
          KeyedPool.use(pool, key, () => work(() => served.push(key))),
          { startImmediately: true }
        )
      }
      yield* pass(60)
      expect(served.toSorted()).toEqual(quiet.toSorted())
      expect(busy).toBeGreaterThan(before)
      expect(workshop.whole.peak).toBe(4)
    }))

  test("keys that have their share do not take from each other", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 2 })
      const turns = { a: 0, b: 0 }
      for (const key of ["a", "b"] as const) {
        yield* loop(pool, key, 2, () => work(() => turns[key]++))
      }
      yield* pass(1_000)
      expect(turns.a + turns.b).toBeGreaterThan(1_900)
      // The first key had all the room before the second one came.
      expect(workshop.items.length).toBeLessThanOrEqual(3)
      expect(Math.min(turns.a, turns.b)).toBeGreaterThan(900)
    }))

  for (const [closing, making, pause] of [
    [0, 0, 0],
    [0, 0, 100],
    [5, 0, 0],
    [5, 0, 100],
    [0, 5, 100],
    [5, 5, 100],
    [50, 20, 0],
    [50, 20, 200]
  ] as const) {
    const times = `closing ${closing} ms, making ${making} ms, one ${pause} ms before the other`
    test(`two busy keys share the room and keep it (${times})`, () =>
      Effect.gen(function* () {
        const { pool, workshop } = yield* makePool({ maxPerKey: 10, max: 10 })
        workshop.closing = () => closing
        workshop.making = () => making
        const turns = { a: 0, b: 0 }
        for (const key of ["a", "b"] as const) {
          yield* loop(pool, key, 40, () => work(() => turns[key]++))
        }
        yield* pass(1_000)
        const made = workshop.items.length
        // Ten to begin with, five for the second key, and some grace while resources are on their way.
        expect(made).toBeLessThanOrEqual(25)
        const before = { ...turns }
        yield* pass(1_000)
        expect(workshop.items.length, "nothing is made any more").toBe(made)
        for (const key of ["a", "b"] as const) expect(turns[key] - before[key]).toBeGreaterThan(3_000)
        expect(workshop.whole.peak).toBeLessThanOrEqual(10)
      }))
  }

  test("three keys over two places take turns", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 2 })
      const turns: Record<string, number> = { a: 0, b: 0, c: 0 }
      for (const key of ["a", "b", "c"]) {
        yield* loop(pool, key, 5, () => work(() => turns[key]!++))
      }
      yield* pass(900)
      for (const key of ["a", "b", "c"]) expect(turns[key], key).toBeGreaterThan(200)
      expect(workshop.whole.peak).toBe(2)
    }))
})

describe("what goes wrong", () => {
  test("the first in line of the key gets the error, and nobody else does", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1 })
      workshop.making = () => 10
      workshop.refuses = (key) => key === "bad" && workshop.attempts.length < 3
      const bad = yield* borrowers(pool, "bad", 2)
      const good = yield* borrow(pool, "good")
      yield* pass(10)
      expect(statesOf([...bad, good])).toBe("over waiting holding")
      expect(bad[0]!.error).toEqual(new Refused({ key: "bad" }))
      yield* pass(10)
      expect(statesOf(bad)).toBe("over holding")
      expect(yield* statsFor(pool, "bad")).toMatchObject({ failures: 1, created: 1 })
      expect(yield* statsFor(pool, "good")).toMatchObject({ failures: 0, created: 1 })
    }))

  test("a creation that fails gives its room to the other keys", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1 })
      workshop.making = () => 10
      workshop.refuses = (key) => key === "bad"
      const bad = yield* borrow(pool, "bad")
      const good = yield* borrow(pool, "good")
      yield* pass(10)
      expect(bad.error._tag).toBe("Refused")
      expect(good.state).toBe("waiting")
      yield* pass(10)
      expect(good.state).toBe("holding")
      expect(workshop.whole.peak).toBe(1)
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, used: 1, failures: 1, created: 1 })
    }))

  test("room that was taken for a creation that fails is there again", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 2 })
      workshop.refuses = (key) => key === "bad"
      yield* rest(pool, "a")
      yield* rest(pool, "b")
      const bad = yield* borrow(pool, "bad")
      expect(bad.error._tag).toBe("Refused")
      expect(workshop.closed).toEqual([1])
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, idle: 1 })
      const a = yield* borrow(pool, "a")
      expect(a.state).toBe("holding")
      expect(workshop.closed).toEqual([1])
    }))

  test("acquire that throws is a defect of its borrower alone", () =>
    Effect.gen(function* () {
      const pool = yield* KeyedPool.make({
        acquire: (key: string) => {
          if (key === "bad") throw new Error("no such key")
          return Effect.succeed(key)
        },
        max: 1
      })
      expect(yield* defectOf(KeyedPool.use(pool, "bad", Effect.succeed))).toBe("no such key")
      expect(yield* KeyedPool.use(pool, "good", Effect.succeed)).toBe("good")
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, idle: 1, failures: 1 })
    }))

  test("thousands of keys that fail at once are told, one and all", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1 })
      const holder = yield* borrow(pool, "good")
      workshop.refuses = () => true
      const all: Array<Borrower<string, Item<string>, Refused>> = []
      for (let n = 0; n < 3_000; n++) {
        const borrower = new Borrower<string, Item<string>, Refused>(`bad ${n}`)
        yield* borrower.start(pool)
        all.push(borrower)
      }
      yield* settle
      expect(all.every((borrower) => borrower.state === "waiting")).toBe(true)
      yield* holder.giveBack
      expect(all.filter((borrower) => borrower.state === "over").length).toBe(3_000)
      expect(all.every((borrower) => borrower.error._tag === "Refused")).toBe(true)
      expect(yield* statsOf(pool)).toMatchObject({ size: 0, pending: 0, failures: 3_000 })
    }))

  test("a creation that hangs blocks no other key", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, max: 2 })
      workshop.making = (key) => (key === "hangs" ? Infinity : 0)
      const hanging = yield* borrowers(pool, "hangs", 3)
      for (const key of ["a", "b", "a", "c"]) {
        const borrower = yield* borrow(pool, key)
        expect(borrower.state, key).toBe("holding")
        yield* borrower.giveBack
      }
      expect(statesOf(hanging)).toBe("waiting waiting waiting")
      expect(workshop.whole.peak).toBe(2)
      expect(yield* statsFor(pool, "hangs")).toMatchObject({ creating: 1, pending: 3, size: 1 })
    }))

  test("createTimeout gives the room of a creation that hangs to the other keys", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1, createTimeout: 100 })
      workshop.making = (key) => (key === "hangs" ? Infinity : 0)
      const hanging = yield* borrow(pool, "hangs")
      const a = yield* borrow(pool, "a")
      yield* pass(100)
      expect(hanging.error._tag).toBe("CreateTimeout")
      expect(a.state).toBe("holding")
      expect(workshop.whole.peak).toBe(1)
    }))
})

describe("invalidate", () => {
  test("closes what rests at once, whatever key it belongs to", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      yield* rest(pool, "a")
      const [b] = yield* rest(pool, "b")
      yield* KeyedPool.invalidate(pool, b!)
      yield* settle
      expect(workshop.closed).toEqual([b!.id])
      expect(yield* statsFor(pool, "b")).toMatchObject({ size: 0, destroyed: 1 })
      expect((yield* borrow(pool, "b")).item).not.toBe(b)
      expect((yield* borrow(pool, "a")).item.id).toBe(1)
    }))

  test("closes what is on loan when it comes back, and its room serves the line", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, max: 1 })
      workshop.closing = () => 50
      const [holder, next] = yield* borrowers(pool, "a", 2)
      yield* KeyedPool.invalidate(pool, holder!.item)
      yield* KeyedPool.invalidate(pool, holder!.item)
      yield* settle
      expect(workshop.closed).toEqual([])
      yield* holder!.giveBack
      expect(next!.state).toBe("waiting")
      yield* pass(50)
      expect(next!.item).not.toBe(holder!.item)
      expect(holder!.item.closings).toBe(1)
      expect(workshop.whole.peak).toBe(1)
    }))

  test("makes room for another key", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ max: 1 })
      const a = yield* borrow(pool, "a")
      const b = yield* borrow(pool, "b")
      yield* KeyedPool.invalidate(pool, a.item)
      yield* a.giveBack
      expect(b.state).toBe("holding")
    }))

  test("does nothing for what the pool does not have", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      const [a] = yield* rest(pool, "a")
      yield* KeyedPool.invalidate(pool, { ...a! })
      yield* settle
      expect(workshop.closed).toEqual([])
      yield* KeyedPool.invalidate(pool, a!)
      yield* settle
      yield* KeyedPool.invalidate(pool, a!)
      yield* settle
      expect(a!.closings).toBe(1)
    }))

  test("means the one that the caller holds, where keys have equal resources", () =>
    Effect.gen(function* () {
      const closed: Array<string> = []
      const pool = yield* KeyedPool.make({
        acquire: (key: string) =>
          Effect.acquireRelease(Effect.succeed("the same"), () => Effect.sync(() => closed.push(key)))
      })
      yield* rest(pool, "a")
      yield* KeyedPool.use(pool, "b", (item) => KeyedPool.invalidate(pool, item))
      yield* settle
      expect(closed).toEqual(["b"])
      yield* rest(pool, "b")
      yield* KeyedPool.use(pool, "a", (item) => KeyedPool.invalidate(pool, item))
      yield* settle
      expect(closed).toEqual(["b", "a"])
    }))
})

describe("clear", () => {
  test("closes what rests for one key, and says how many", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      yield* rest(pool, "a", 3)
      yield* rest(pool, "b", 2)
      const held = yield* borrow(pool, "a")
      expect(yield* KeyedPool.clear(pool, "a")).toBe(2)
      yield* settle
      expect(workshop.items.filter((item) => item.closings > 0).map((item) => item.key)).toEqual(["a", "a"])
      expect(yield* statsFor(pool, "a")).toMatchObject({ size: 1, used: 1 })
      expect(yield* statsFor(pool, "b")).toMatchObject({ size: 2, idle: 2 })
      yield* held.giveBack
      expect(yield* statsFor(pool, "a")).toMatchObject({ size: 1, idle: 1 })
    }))

  test("closes what rests for all keys, and says how many", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      yield* rest(pool, "a", 3)
      yield* rest(pool, "b", 2)
      const held = yield* borrow(pool, "b")
      expect(yield* KeyedPool.clear(pool)).toBe(4)
      yield* settle
      expect(workshop.closed.length).toBe(4)
      expect(held.item.closings).toBe(0)
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, used: 1, destroyed: 4 })
      expect(yield* KeyedPool.clear(pool)).toBe(0)
    }))

  test("knows nothing of a key that nobody has asked for, and does not make it", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool()
      expect(yield* KeyedPool.clear(pool, "a")).toBe(0)
      expect((yield* statsOf(pool)).keys).toEqual([])
    }))

  test("what is closing counts until it is gone", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, max: 2 })
      workshop.closing = () => 50
      yield* rest(pool, "a", 2)
      yield* KeyedPool.clear(pool)
      const [a, b] = [yield* borrow(pool, "a"), yield* borrow(pool, "b")]
      expect(statesOf([a, b])).toBe("waiting waiting")
      expect(yield* statsOf(pool)).toMatchObject({ size: 2, closing: 2, pending: 2 })
      yield* pass(50)
      expect(statesOf([a, b])).toBe("holding holding")
      expect(workshop.whole.peak).toBe(2)
    }))
})

describe("keys that nobody uses", () => {
  test("a key vanishes after keyIdle, its resources are closed, its totals are kept", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      yield* rest(pool, "a", 3)
      yield* pass(999)
      expect((yield* statsOf(pool)).keys.length).toBe(1)
      expect(workshop.closed).toEqual([])
      yield* pass(1)
      expect(workshop.closed).toEqual([1, 2, 3])
      expect(workshop.whole.now).toBe(0)
      const stats = yield* statsOf(pool, "keys may have gone")
      expect(stats.keys).toEqual([])
      expect(stats).toMatchObject({ size: 0, idle: 0, created: 3, destroyed: 3, borrowed: 3, pending: 0 })
    }))

  test("failures and timeouts are kept too", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, keyIdle: 1_000, acquireTimeout: 100 })
      workshop.refuses = (key) => key === "bad"
      const bad = yield* borrow(pool, "bad")
      expect(bad.state).toBe("over")
      const holder = yield* borrow(pool, "a")
      yield* borrow(pool, "a")
      yield* pass(100)
      yield* holder.giveBack
      yield* pass(3_000)
      const stats = yield* statsOf(pool, "keys may have gone")
      expect(stats.keys).toEqual([])
      expect(stats).toMatchObject({ created: 1, destroyed: 1, borrowed: 1, timeouts: 1, failures: 1 })
    }))

  test("what is still closing when its key has vanished counts until it is gone", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1, keyIdle: 1_000 })
      workshop.closing = () => 50
      yield* rest(pool, "a")
      yield* pass(1_000)
      const stats = yield* statsOf(pool, "keys may have gone")
      expect(stats).toMatchObject({ size: 1, closing: 1, created: 1, destroyed: 0 })
      const b = yield* borrow(pool, "b")
      expect(b.state).toBe("waiting")
      yield* pass(50)
      expect(b.state).toBe("holding")
      expect(workshop.whole.peak).toBe(1)
      expect(yield* statsOf(pool, "keys may have gone")).toMatchObject({
        size: 1,
        used: 1,
        created: 2,
        destroyed: 1
      })
    }))

  test("the limit of a key holds over its vanishing", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, keyIdle: 1_000 })
      workshop.closing = () => 50
      yield* rest(pool, "a")
      yield* pass(1_000)
      expect(workshop.closed).toEqual([1])
      const again = yield* borrow(pool, "a")
      expect(workshop.of("a").now).toBe(1)
      yield* pass(50)
      expect(again.state).toBe("holding")
      expect(workshop.of("a").peak).toBe(1)
    }))

  test("a key that is asked for again after it vanished works as if it were new", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      yield* rest(pool, "a")
      yield* pass(1_000)
      const again = yield* borrow(pool, "a")
      expect(again.item.id).toBe(2)
      yield* pass(5_000)
      yield* again.giveBack
      const stats = yield* statsOf(pool, "keys may have gone")
      expect(stats.keys.map(([key, part]) => [key, part.created])).toEqual([["a", 1]])
      expect(stats).toMatchObject({ created: 2, borrowed: 2, destroyed: 1, idle: 1 })
      yield* pass(5_000)
      expect(workshop.closed).toEqual([1, 2])
      expect((yield* statsOf(pool, "keys may have gone")).keys).toEqual([])
    }))

  test("a key that is used now and then stays", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      for (let n = 0; n < 10; n++) {
        yield* rest(pool, "a")
        yield* pass(900)
      }
      expect(workshop.items.length).toBe(1)
      expect(workshop.closed).toEqual([])
      yield* pass(200)
      expect(workshop.closed).toEqual([1])
    }))

  test("a key with a loan stays, and keyIdle counts from the end of the loan", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      const holder = yield* borrow(pool, "a")
      yield* pass(10_900)
      expect(holder.state).toBe("holding")
      expect((yield* statsOf(pool)).keys.length).toBe(1)
      yield* holder.giveBack
      yield* pass(999)
      expect(workshop.closed).toEqual([])
      expect((yield* statsOf(pool)).keys.length).toBe(1)
      yield* pass(201)
      expect(workshop.closed).toEqual([1])
    }))

  test("keyIdle counts from the end of a short loan, too", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      const holder = yield* borrow(pool, "a")
      yield* pass(900)
      yield* holder.giveBack
      yield* pass(999)
      expect(workshop.closed).toEqual([])
      expect((yield* statsOf(pool)).keys.length).toBe(1)
    }))

  test("a key with somebody in line stays", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ max: 1, keyIdle: 1_000 })
      const holder = yield* borrow(pool, "a")
      const waiting = yield* borrow(pool, "b")
      yield* pass(10_000)
      expect((yield* statsOf(pool)).keys.map(([key]) => key)).toEqual(["a", "b"])
      yield* holder.giveBack
      expect(waiting.item.key).toBe("b")
    }))

  test("keyIdle counts from when the last in line gave up", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ max: 1, keyIdle: 1_000 })
      yield* borrow(pool, "a")
      const waiting = yield* borrow(pool, "b")
      yield* pass(900)
      yield* waiting.interrupt
      yield* pass(999)
      expect((yield* statsOf(pool)).keys.map(([key]) => key)).toEqual(["a", "b"])
      yield* pass(201)
      expect((yield* statsOf(pool, "keys may have gone")).keys.map(([key]) => key)).toEqual(["a"])
    }))

  test("a key whose making hangs vanishes when nobody waits for it any more, and gives its room back", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ max: 1, keyIdle: 1_000 })
      workshop.making = (key) => (key === "hangs" ? Infinity : 0)
      const gone = yield* borrow(pool, "hangs")
      yield* gone.interrupt
      const other = yield* borrow(pool, "a")
      expect(other.state).toBe("waiting")
      yield* pass(1_200)
      expect((yield* statsOf(pool, "keys may have gone")).keys.map(([key]) => key)).toEqual(["a"])
      expect(other.state).toBe("holding")
      expect(workshop.whole.peak).toBe(1)
    }))

  test("a key that is asked for while it vanishes vanishes again later", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      workshop.closing = () => 50
      yield* rest(pool, "a")
      yield* pass(1_000)
      expect(workshop.closed).toEqual([1])
      yield* rest(pool, "a")
      yield* pass(999)
      expect(workshop.closed).toEqual([1])
      yield* pass(1_000)
      expect(workshop.closed).toEqual([1, 2])
      expect(workshop.whole.now).toBe(0)
      const stats = yield* statsOf(pool, "keys may have gone")
      expect(stats.keys).toEqual([])
      expect(stats).toMatchObject({ size: 0, created: 2, destroyed: 2, borrowed: 2 })
    }))

  test("keepAlive does not keep a key that nobody uses", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({
        keyIdle: 3_050,
        keepAlive: { every: 1_000 },
        validate: () => Effect.as(Effect.sleep(20), true)
      })
      yield* rest(pool, "a")
      yield* pass(2_900)
      expect(workshop.closed).toEqual([])
      yield* pass(3_000)
      expect(workshop.closed).toEqual([1])
      expect((yield* statsOf(pool, "keys may have gone")).keys).toEqual([])
    }))

  test("a key whose resource is being reset when its time is up vanishes all the same", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000, reset: () => Effect.sleep(1_500) })
      yield* rest(pool, "a")
      yield* pass(5_000)
      expect(workshop.closed).toEqual([1])
      expect((yield* statsOf(pool, "keys may have gone")).keys).toEqual([])
    }))

  test("each key has its own time", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      yield* rest(pool, "a")
      yield* pass(500)
      yield* rest(pool, "b")
      yield* pass(500)
      expect(workshop.closed).toEqual([1])
      yield* pass(499)
      expect(workshop.closed).toEqual([1])
      yield* pass(101)
      expect(workshop.closed).toEqual([1, 2])
    }))

  test("keyIdle is five minutes when it is not given", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      yield* rest(pool, "a")
      yield* pass(5 * 60_000 - 1)
      expect(workshop.closed).toEqual([])
      yield* pass(1)
      expect(workshop.closed).toEqual([1])
    }))

  test("keys stay for ever where keyIdle has no end", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: Duration.infinity })
      yield* rest(pool, "a")
      yield* pass(365 * 24 * 3_600_000)
      expect(workshop.closed).toEqual([])
      expect((yield* statsOf(pool)).keys.length).toBe(1)
    }))

  for (const max of [undefined, 200]) {
    test(`nothing that is gone is kept in memory (max ${max})`, () =>
      Effect.gen(function* () {
        const refs: Array<WeakRef<object>> = []
        const pool = yield* KeyedPool.make({
          acquire: (key: number) =>
            Effect.sync(() => {
              const item = { key, bytes: new Uint8Array(1_000) }
              refs.push(new WeakRef(item))
              return item
            }),
          keyIdle: 1_000,
          max
        })
        for (let key = 0; key < 100; key++) yield* KeyedPool.use(pool, key, () => Effect.void)
        expect((yield* KeyedPool.stats(pool)).idle).toBe(100)
        yield* pass(2_000)
        expect(yield* statsOf(pool, "keys may have gone")).toMatchObject({ size: 0, keys: [] })
        yield* collectGarbage
        expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThanOrEqual(5)
      }))
  }

  test("very many keys go each at its time, and those that are used meanwhile stay", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ maxPerKey: 1, keyIdle: 1_000 })
      const touch = (key: number) => KeyedPool.use(pool, `${key}`, () => Effect.void)
      for (let key = 0; key < 2_000; key++) {
        yield* touch(key)
        if (key % 2 === 0) yield* pass(1)
      }
      // Those of the last 990 ms at least, and of the last 1,010 at most.
      yield* pass(500)
      const there = (yield* statsOf(pool, "keys may have gone")).keys.length
      expect(there).toBeGreaterThanOrEqual(980)
      expect(there).toBeLessThanOrEqual(1_022)
      for (let turn = 0; turn < 10; turn++) {
        yield* touch(1_999)
        yield* pass(990)
      }
      expect((yield* statsOf(pool, "keys may have gone")).keys.map(([key]) => key)).toEqual(["1999"])
      yield* pass(20)
      expect((yield* statsOf(pool, "keys may have gone")).keys).toEqual([])
    }))

  test("resources of a key that stays expire by maxIdle, and make room", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 10_000, maxIdle: 1_000, max: 1 })
      yield* rest(pool, "a")
      yield* pass(1_001)
      expect(workshop.closed).toEqual([1])
      expect(yield* statsOf(pool)).toMatchObject({ size: 0 })
      expect((yield* statsOf(pool)).keys.length).toBe(1)
    }))
})

describe("stats and events", () => {
  test("stats tell of the whole and of each key, and add up", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ name: "hosts", maxPerKey: 2, max: 5 })
      workshop.closing = () => 50
      workshop.making = (key) => (key === "slow" ? 50 : 0)
      const [first] = yield* borrowers(pool, "a", 3)
      yield* rest(pool, "b", 2)
      yield* borrow(pool, "slow")
      yield* KeyedPool.clear(pool, "b")
      const stats = yield* statsOf(pool)
      expect(stats.name).toBe("hosts")
      expect(stats).toMatchObject({ max: 5, size: 5, used: 2, idle: 0, creating: 1, closing: 2, pending: 2 })
      const byKey = Object.fromEntries(stats.keys)
      expect(byKey["a"]).toMatchObject({ max: 2, size: 2, used: 2, pending: 1, created: 2, borrowed: 2 })
      expect(byKey["b"]).toMatchObject({ max: 2, size: 2, closing: 2, created: 2, borrowed: 2 })
      expect(byKey["slow"]).toMatchObject({ max: 2, size: 1, creating: 1, pending: 1, created: 0 })
      expect(new Set(stats.keys.map(([, part]) => part.name)).size).toBe(3)
      yield* first!.giveBack
      yield* pass(50)
      expect(yield* statsOf(pool)).toMatchObject({ size: 3, used: 3, closing: 0, creating: 0, pending: 0 })
    }))

  test("add up when thousands of keys have come and gone, and nobody looked meanwhile", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 2, keyIdle: 1_000 })
      const held = yield* borrowers(pool, "held", 3)
      for (const turn of [0, 1]) {
        for (let key = 0; key < 3_000; key++) {
          if (key % 7 === turn) workshop.refuses = () => true
          yield* Effect.exit(KeyedPool.use(pool, `${key}`, () => Effect.void))
          workshop.refuses = () => false
        }
      }
      const stats = yield* statsOf(pool)
      expect(stats).toMatchObject({ used: 2, idle: 3_000, pending: 1, borrowed: 2 + 6_000 - 429 })
      expect(stats.failures).toBe(429)
      yield* pass(2_000)
      const gone = yield* statsOf(pool, "keys may have gone")
      expect(gone).toMatchObject({ size: 2, borrowed: stats.borrowed, created: stats.created, failures: 429 })
      expect(gone.keys.length).toBe(1)
      for (const borrower of held) yield* borrower.giveBack
      expect(yield* statsOf(pool, "keys may have gone")).toMatchObject({
        idle: 2,
        borrowed: stats.borrowed + 1
      })
    }))

  test("a look at a pool of 100,000 keys is over in a moment, however few are in use", () =>
    Effect.gen(function* () {
      const registry = PoolRegistry.makeUnsafe()
      const pool = yield* Effect.provideService(
        KeyedPool.make({ name: "hosts", acquire: (key: number) => Effect.succeed(key) }),
        PoolRegistry.PoolRegistry,
        registry
      )
      const [entry] = yield* registry.entries
      const look = Effect.gen(function* () {
        const began = performance.now()
        const stats = yield* entry!.stats
        const leases = yield* entry!.leases(1)
        const waiters = yield* entry!.waiters(1)
        return { stats, leases, waiters, took: performance.now() - began }
      })
      for (let key = 0; key < 100_000; key++) yield* KeyedPool.use(pool, key, () => Effect.void)
      const first = yield* look
      expect(first).toMatchObject({ stats: { idle: 100_000, borrowed: 100_000 }, leases: [], waiters: [] })
      yield* Effect.forkScoped(
        KeyedPool.use(pool, 7, () => Effect.never),
        { startImmediately: true }
      )
      const second = yield* look
      expect(second).toMatchObject({ stats: { idle: 99_999, used: 1 }, leases: [{ item: 7 }], waiters: [] })
      // To look at each key takes ten times as long; once may be late for any reason.
      expect(Math.min(first.took, second.took)).toBeLessThan(4)
    }))

  test("a new key of a full pool gets its room as fast, however many others rest", () =>
    Effect.gen(function* () {
      const pool = yield* KeyedPool.make({ acquire: (key: number) => Effect.succeed(key), max: 50_000 })
      for (let key = 0; key < 50_000; key++) yield* KeyedPool.use(pool, key, () => Effect.void)
      const began = performance.now()
      for (let key = 50_000; key < 50_300; key++) yield* KeyedPool.use(pool, key, () => Effect.void)
      const took = performance.now() - began
      expect(yield* KeyedPool.stats(pool)).toMatchObject({ size: 50_000, idle: 50_000, destroyed: 300 })
      // A copy of all that rest, for each of them, takes three times as long.
      expect(took).toBeLessThan(200)
    }))

  test("events name the key", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ name: "hosts", max: 1 })
      const seen: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(KeyedPool.events(pool), (event) =>
          Effect.sync(() => seen.push(`${event._tag} ${event.pool}`))
        ),
        { startImmediately: true }
      )
      yield* settle
      yield* rest(pool, "a.example")
      yield* rest(pool, "b.example")
      const of = (key: string) =>
        seen.filter((line) => line.includes(key) && line.includes("hosts")).map((line) => line.split(" ")[0])
      expect(of("a.example")).toEqual(["WaitStarted", "Created", "Borrowed", "Returned", "Closed"])
      expect(of("b.example")).toEqual(["WaitStarted", "Created", "Borrowed", "Returned"])
      expect(seen.length).toBe(9)
    }))

  test("a resource that made room says why it was closed", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ max: 1, name: "hosts" })
      const reasons: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(KeyedPool.events(pool), (event) =>
          Effect.sync(() => {
            if (PoolEvent.PoolEvent.$is("Closed")(event)) reasons.push(event.reason)
          })
        ),
        { startImmediately: true }
      )
      yield* settle
      yield* rest(pool, "a")
      const b = yield* borrow(pool, "b")
      const c = yield* borrow(pool, "c")
      yield* b.giveBack
      yield* KeyedPool.invalidate(pool, c.item)
      yield* c.giveBack
      yield* rest(pool, "a")
      yield* KeyedPool.clear(pool)
      yield* settle
      expect(reasons).toEqual(["stolen", "stolen", "invalidated", "cleared"])
    }))

  test("names tell keys apart that are structures", () =>
    Effect.gen(function* () {
      class Host extends Data.Class<{ readonly host: string; readonly port: number }> {}
      const { pool } = yield* makePool<Host | { readonly tenant: string }>({ name: "hosts", maxPerKey: 1 })
      yield* rest(pool, new Host({ host: "a.example", port: 80 }))
      yield* rest(pool, new Host({ host: "a.example", port: 81 }))
      yield* rest(pool, { tenant: "x" })
      const names = (yield* KeyedPool.stats(pool)).keys.map(([, part]) => part.name)
      expect(names[0]).toContain("80")
      expect(names[1]).toContain("81")
      expect(names[2]).toContain("x")
    }))

  test("errors name the key", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ name: "hosts", maxPerKey: 1, acquireTimeout: 10 })
      yield* borrow(pool, "a.example")
      const late = yield* borrow(pool, "a.example")
      yield* pass(10)
      expect(late.error).toHaveProperty("pool", expect.stringMatching(/hosts.*a\.example/))
      expect(late.error.message).toMatch(/hosts.*a\.example/)
    }))

  test("events end when the pool has closed", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool({ name: "hosts" })
      const listener = yield* Effect.forkScoped(
        Stream.runCollect(Stream.map(KeyedPool.events(pool), (event) => event._tag)),
        { startImmediately: true }
      )
      yield* settle
      yield* rest(pool, "a")
      yield* KeyedPool.close(pool)
      const tags = yield* Fiber.join(listener)
      expect(tags.slice(-2)).toEqual(["Closing", "Closed"])
    }))
})

describe("close", () => {
  test("turns everyone in every line away, and all who ask from now on", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ name: "hosts", maxPerKey: 1, max: 2 })
      const a = yield* borrowers(pool, "a", 2)
      const b = yield* borrowers(pool, "b", 2)
      const c = yield* borrow(pool, "c")
      const closing = yield* Effect.forkScoped(KeyedPool.close(pool), { startImmediately: true })
      yield* settle
      for (const borrower of [a[1]!, b[1]!, c]) {
        expect(borrower.error).toMatchObject({ _tag: "PoolClosed", pool: expect.stringContaining("hosts") })
      }
      for (const key of ["a", "new"]) {
        const late = yield* borrow(pool, key)
        expect(late.error._tag, key).toBe("PoolClosed")
      }
      expect(statesOf([a[0]!, b[0]!])).toBe("holding holding")
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* a[0]!.giveBack
      expect(a[0]!.item.closings).toBe(1)
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* b[0]!.giveBack
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(workshop.items.map((item) => item.closings)).toEqual([1, 1])
      expect(workshop.attempts).toEqual(["a", "b"])
      for (const key of ["a", "new"]) {
        const late = yield* borrow(pool, key)
        expect(late.error._tag, key).toBe("PoolClosed")
      }
      expect(yield* statsOf(pool)).toMatchObject({ size: 0, pending: 0, created: 2, destroyed: 2 })
    }))

  test("closes what rests for all keys, and waits for slow finalizers", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      workshop.closing = (item) => (item.key === "a" ? 50 : 100)
      yield* rest(pool, "a", 2)
      yield* rest(pool, "b", 2)
      const closing = yield* Effect.forkScoped(KeyedPool.close(pool), { startImmediately: true })
      yield* settle
      expect(workshop.closed).toEqual([1, 2, 3, 4])
      yield* pass(99)
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* pass(1)
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(workshop.items.map((item) => [item.closings, item.gone])).toEqual(
        Array.from({ length: 4 }, () => [1, true])
      )
    }))

  test("interrupts those who still hold after closeTimeout, whatever their key", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ closeTimeout: 1_000 })
      const all = [yield* borrow(pool, "a"), yield* borrow(pool, "b"), yield* borrow(pool, "b")]
      const closing = yield* Effect.forkScoped(KeyedPool.close(pool), { startImmediately: true })
      yield* pass(999)
      expect(statesOf(all)).toBe("holding holding holding")
      yield* pass(1)
      expect(statesOf(all)).toBe("over over over")
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(workshop.items.map((item) => item.closings)).toEqual([1, 1, 1])
    }))

  test("aborts what is being made", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      workshop.making = () => 50
      const a = yield* borrow(pool, "a")
      yield* KeyedPool.close(pool)
      yield* settle
      expect(a.error._tag).toBe("PoolClosed")
      expect(workshop.whole.now).toBe(0)
      yield* pass(100)
      expect(workshop.items).toEqual([])
    }))

  test("waits for what is closing of keys that have vanished", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ keyIdle: 1_000 })
      workshop.closing = () => 500
      yield* rest(pool, "a")
      yield* pass(1_000)
      const closing = yield* Effect.forkScoped(KeyedPool.close(pool), { startImmediately: true })
      yield* pass(499)
      expect(closing.pollUnsafe()).toBeUndefined()
      yield* pass(1)
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(workshop.items[0]).toMatchObject({ closings: 1, gone: true })
      expect(yield* statsOf(pool, "keys may have gone")).toMatchObject({ size: 0, created: 1, destroyed: 1 })
    }))

  test("can be said twice, and inside a borrow", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      yield* rest(pool, "b")
      yield* KeyedPool.use(pool, "a", (item) =>
        Effect.gen(function* () {
          yield* KeyedPool.close(pool)
          expect(item.closings).toBe(0)
          yield* KeyedPool.close(pool)
          expect((yield* Effect.flip(KeyedPool.use(pool, "c", () => Effect.void)))._tag).toBe("PoolClosed")
        })
      )
      yield* KeyedPool.close(pool)
      expect(workshop.items.map((item) => item.closings)).toEqual([1, 1])
    }))

  test("happens with the scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { pool, workshop } = yield* Scope.provide(makePool(), scope)
      yield* rest(pool, "a")
      yield* rest(pool, "b", 2)
      yield* Scope.close(scope, Exit.void)
      expect(workshop.items.map((item) => item.closings)).toEqual([1, 1, 1])
      expect(workshop.whole.now).toBe(0)
      const late = yield* borrow(pool, "a")
      expect(late.error._tag).toBe("PoolClosed")
    }))
})

const acquire = (key: string) => Effect.succeed(key)

describe("options", () => {
  const impossible: ReadonlyArray<readonly [option: string, value: number | string]> = [
    ...[0, -1, 1.5, NaN, Infinity].map((value) => ["maxPerKey", value] as const),
    ...[0, -1, 1.5, NaN].map((value) => ["max", value] as const),
    ...[0, -1, NaN, "0 seconds"].map((value) => ["keyIdle", value] as const),
    ["concurrency", 0],
    ["acquireTimeout", 0]
  ]
  for (const [option, value] of impossible) {
    test(`${option} cannot be ${value}`, () =>
      Effect.gen(function* () {
        const named = yield* defectOf(KeyedPool.make({ acquire, name: "hosts", [option]: value }))
        expect(named).toContain("hosts")
        expect(named).toMatch(new RegExp(`\\b${option} is "?${value}`))
        const nameless = yield* defectOf(KeyedPool.make({ acquire, [option]: value }))
        expect(nameless).toMatch(new RegExp(`\\b${option} is "?${value}`))
      }))
  }

  test("a pool that could not be made is not in the registry", () =>
    Effect.gen(function* () {
      yield* defectOf(
        KeyedPool.make({ acquire: (key: string) => Effect.succeed(key), name: "hosts", max: 0 })
      )
      expect(yield* PoolRegistry.entries).toEqual([])
    }).pipe(Effect.provide(PoolRegistry.layer)))

  test("concurrency lets borrowers of one key share", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, max: 2, concurrency: 2 })
      const a = yield* borrowers(pool, "a", 3)
      const b = yield* borrowers(pool, "b", 1)
      expect(statesOf([...a, ...b])).toBe("holding holding waiting holding")
      expect(a[0]!.item).toBe(a[1]!.item)
      const c = yield* borrow(pool, "c")
      yield* a[0]!.giveBack
      expect(a[2]!.state).toBe("holding")
      expect(c.state).toBe("waiting")
      yield* b[0]!.giveBack
      expect(c.state).toBe("holding")
      expect(workshop.whole.peak).toBe(2)
    }))
})

describe("registry, service and forms", () => {
  test("a pool with a name is in the registry as long as it is open", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { pool } = yield* Scope.provide(makePool({ name: "hosts", max: 3 }), scope)
      yield* Scope.provide(makePool(), scope)
      expect(pool.name).toBe("hosts")
      const entries = yield* PoolRegistry.entries
      expect(entries.map((entry) => [entry.id, entry.kind, entry.name])).toEqual([
        ["hosts", "keyed", "hosts"]
      ])
      const [entry] = entries
      const a = yield* borrow(pool, "a")
      const b = yield* borrow(pool, "b")
      expect(yield* entry!.stats).toMatchObject({ name: "hosts", max: 3, size: 2, used: 2 })
      const leases = yield* entry!.leases()
      expect(leases.map((lease) => lease.item)).toEqual([a.item, b.item])
      const heard = yield* Effect.forkScoped(Stream.runHead(entry!.events), { startImmediately: true })
      yield* settle
      yield* a.giveBack
      expect(heard.pollUnsafe()).toMatchObject({ _tag: "Success", value: { value: { _tag: "Returned" } } })
      yield* b.giveBack
      yield* Scope.close(scope, Exit.void)
      expect(yield* PoolRegistry.entries).toEqual([])
    }).pipe(Effect.provide(PoolRegistry.layer)))

  test("a keyed pool is a service, with a layer that closes it", () =>
    Effect.gen(function* () {
      class Hosts extends KeyedPool.Service<Hosts, string, Item<string>, Refused>()("test/Hosts") {}
      const workshop = new Workshop<string>()
      const program = Effect.gen(function* () {
        expect(yield* Hosts.borrow("a", (item) => Effect.succeed(item.key))).toBe("a")
        const item = yield* Effect.scoped(Hosts.get("a"))
        expect(item.id).toBe(1)
        const pool = yield* Hosts
        expect(pool.name).toBe("test/Hosts")
        expect(KeyedPool.isKeyedPool(pool)).toBe(true)
        expect(yield* Hosts.use((pool) => KeyedPool.clear(pool, "b"))).toBe(0)
        const stats = yield* Hosts.stats
        expect(stats).toMatchObject({ name: "test/Hosts", borrowed: 2, idle: 1, max: 2 })
        expect(stats.keys.map(([key]) => key)).toEqual(["a"])
        expect((yield* PoolRegistry.entries).map((entry) => entry.id)).toEqual(["test/Hosts"])
      })
      const live = Hosts.layer({ acquire: workshop.acquire, max: 2 })
      yield* program.pipe(Effect.provide(live), Effect.provide(PoolRegistry.layer))
      expect(workshop.items.map((item) => item.closings)).toEqual([1])
    }))

  test("the layer of a service takes a name, and gives acquire what it needs", () =>
    Effect.gen(function* () {
      class Prefix extends Context.Service<Prefix, { readonly text: string }>()("test/Prefix") {}
      class Words extends KeyedPool.Service<Words, string, string>()("test/Words") {}
      const live = Words.layer({
        name: "words",
        acquire: (key) => Effect.map(Prefix, (prefix) => prefix.text + key)
      }).pipe(Layer.provide(Layer.succeed(Prefix, { text: "un" })))
      const [name, word] = yield* Effect.zip(
        Words.use((pool) => Effect.succeed(pool.name)),
        Words.borrow("tie", Effect.succeed)
      ).pipe(Effect.provide(live), Effect.provide(PoolRegistry.layer))
      expect(name).toBe("words")
      expect(word).toBe("untie")
    }))

  test("errors of a service are typed and come through", () =>
    Effect.gen(function* () {
      class Hosts extends KeyedPool.Service<Hosts, string, Item<string>, Refused>()("test/Hosts") {}
      const workshop = new Workshop<string>()
      workshop.refuses = () => true
      const answer = yield* Hosts.borrow("a", () => Effect.succeed("served")).pipe(
        Effect.catchTag("Refused", (error) => Effect.succeed(error.message)),
        Effect.provide(Hosts.layer({ acquire: workshop.acquire })),
        Effect.provide(PoolRegistry.layer)
      )
      expect(answer).toBe("refused: a")
    }))

  test("data-last forms do the same", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool()
      expect(
        yield* pipe(
          pool,
          KeyedPool.use("a", (item) => Effect.succeed(item.key))
        )
      ).toBe("a")
      expect(yield* pool.pipe(KeyedPool.use("a", (item) => Effect.succeed(item.id)))).toBe(1)
      const scope = yield* Scope.make()
      const item = yield* Scope.provide(pool.pipe(KeyedPool.get("a")), scope)
      expect(item.id).toBe(1)
      yield* pool.pipe(KeyedPool.invalidate(item))
      yield* Scope.close(scope, Exit.void)
      yield* settle
      expect(workshop.closed).toEqual([1])
    }))

  test("use gives back however its body ends", () =>
    Effect.gen(function* () {
      const { pool, workshop } = yield* makePool({ maxPerKey: 1, max: 1 })
      expect(yield* KeyedPool.use(pool, "a", () => Effect.succeed(1))).toBe(1)
      expect(yield* Effect.flip(KeyedPool.use(pool, "a", () => Effect.fail("no")))).toBe("no")
      expect(
        yield* defectOf(
          KeyedPool.use(pool, "a", (): Effect.Effect<void> => {
            throw new Error("thrown")
          })
        )
      ).toBe("thrown")
      const never = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkScoped(
        KeyedPool.use(pool, "a", () => Deferred.await(never)),
        { startImmediately: true }
      )
      yield* settle
      expect((yield* statsOf(pool)).used).toBe(1)
      yield* Fiber.interrupt(fiber)
      expect(yield* statsOf(pool)).toMatchObject({ size: 1, idle: 1, used: 0, borrowed: 4 })
      expect(workshop.items.length).toBe(1)
    }))

  test("isKeyedPool knows a keyed pool", () =>
    Effect.gen(function* () {
      const { pool } = yield* makePool()
      expect(KeyedPool.isKeyedPool(pool)).toBe(true)
      expect(KeyedPool.isKeyedPool({})).toBe(false)
      expect(KeyedPool.isKeyedPool(undefined)).toBe(false)
    }))
})
