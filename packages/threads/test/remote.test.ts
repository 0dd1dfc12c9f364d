/**
 * Objects that live in a thread, and the remotes that stand for them.
 */
import { NodeThreads, Remote, type ThreadError, ThreadPool } from "@cenote/threads"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Deferred, Effect, Equal, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { inspect } from "node:util"
import {
  collectGarbage,
  eventually,
  eventuallyStats,
  failureAs,
  failureOf,
  logged,
  moduleUrl,
  over,
  overThreads,
  places,
  Shared,
  start,
  taskFailed
} from "./kit.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Plain from "./modules/plain.ts"

const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))
const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))

const staleRemote = failureAs("StaleRemote")
const notCloneable = failureAs("NotCloneable")

/** A call whose type says less than what it does. */
const untyped = (remote: object): any => remote
type Call<A = unknown> = Effect.Effect<A, ThreadError.ThreadError, ThreadPool.ThreadPool>

const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** Pools of their own, whatever else is provided. */
const overOne = NodeThreads.layer({ size: 1, name: "one" })
const freshInline = Layer.fresh(ThreadPool.layerInline)

/** How many objects threads keep for the pool. */
const kept = Effect.map(ThreadPool.stats, ({ threads }) => threads.reduce((sum, _) => sum + _.objects, 0))

describe.each(places)("$name", ({ layer, name }) => {
  const inThreads = name === "in threads"

  describe("an object", () => {
    it.live("is made with the arguments of its class, and keeps its state", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        expect(yield* counter.increment()).toBe(6)
        expect(yield* counter.increment(4)).toBe(10)
        expect(yield* counter.count).toBe(10)
        expect(yield* counter.double).toBe(20)
        expect(yield* counter.tags).toEqual(["a", "b"])

        const other = yield* ThreadPool.proxy(objects, "Counter")
        expect(yield* other.count).toBe(0)
        expect(yield* counter.count).toBe(10)
        expect(Remote.isRemote(counter)).toBe(true)
      }).pipe(over(layer))
    )

    it.live("is made from a module, its URL, or the text of that", () =>
      Effect.gen(function* () {
        const byUrl = yield* ThreadPool.proxy<typeof Objects>(moduleUrl("objects"), "Counter", [1])
        const byText = yield* ThreadPool.proxy<typeof Objects>(moduleUrl("objects").href, "Counter", [2])
        expect(yield* untyped(byUrl).count as Call).toBe(1)
        expect(yield* untyped(byText).count as Call).toBe(2)
      }).pipe(over(layer))
    )

    it.live("whose constructor throws fails as the constructor did, and nothing is kept", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(ThreadPool.proxy(objects, "Unborn", ["too early"]))
        expect(error).toMatchObject({
          task: "new Unborn",
          className: "RangeError",
          reason: "not made: too early"
        })
        expect(yield* kept).toBe(0)
      }).pipe(over(layer))
    )

    it.live("of a class that is not there, or of what is no class, fails and says so", () =>
      Effect.gen(function* () {
        const missing = yield* taskFailed(ThreadPool.proxy(objects, "Nothing" as "Counter"))
        expect(missing.reason).toMatch(/objects\.ts has no export Nothing; it has .*Counter/)
        const none = yield* taskFailed(ThreadPool.proxy(objects, "notAClass" as "Counter"))
        expect(none.reason).toMatch(/notAClass .*is not a class/)
      }).pipe(over(layer))
    )

    it.live("gives what its methods give, whatever they are", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        expect(yield* counter.slowly(3, 1)).toBe(3)
        expect(yield* counter.effectfully(4)).toBe(7)
        const caught = yield* counter
          .effectfully(101)
          .pipe(Effect.catchTag("TooLarge", ({ limit }) => Effect.succeed(limit)))
        expect(caught).toBe(100)
        expect(yield* Stream.runCollect(counter.upTo(300))).toEqual(upTo(300))
        expect(yield* Stream.runCollect(counter.upToAsync(300))).toEqual(upTo(300))
        expect(yield* Stream.runCollect(counter.streamed(300))).toEqual(upTo(300))
        expect(yield* counter.count).toBe(300)
        expect(yield* taskFailed(counter.fail("no"))).toMatchObject({
          task: "Counter.fail",
          className: "RangeError",
          reason: "no"
        })
        expect(yield* notCloneable(counter.callback() as Call)).toMatchObject({ path: "result" })
        // None of that hurts it.
        expect(yield* counter.increment()).toBe(301)
      }).pipe(over(layer))
    )

    it.live("has its methods interrupted with their callers", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        const caller = yield* start(counter.hang(shared.cells))
        yield* shared.until(1)
        yield* Fiber.interrupt(caller)
        yield* shared.until(1, 1)
        expect(yield* counter.increment()).toBe(1)
      }).pipe(over(layer))
    )
  })

  describe("calls on one object", () => {
    it.live("run in the order in which they are made, one at a time", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        // Each adds to what it found: two at one time would lose something. The first take the longest.
        const results = yield* Effect.forEach(upTo(20), (i) => counter.slowly(1, 20 - i), {
          concurrency: "unbounded"
        })
        expect(results).toEqual(upTo(20))
        expect(yield* counter.count).toBe(20)
      }).pipe(over(layer))
    )

    it.live("keep their order whatever they are", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        const results = yield* Effect.all(
          [
            counter.slowly(5, 5),
            counter.count,
            Remote.set(counter, "count", 10),
            Remote.get(counter, "count"),
            counter.effectfully(1),
            Stream.runCollect(counter.upTo(2)),
            counter.increment()
          ],
          { concurrency: "unbounded" }
        )
        expect(results.slice(0, 5)).toEqual([5, 5, undefined, 10, 11])
      }).pipe(over(layer))
    )

    it.live("keep their order also when there are thousands", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        const results = yield* Effect.forEach(upTo(5000), () => counter.increment(), {
          concurrency: "unbounded"
        })
        expect(results).toEqual(upTo(5000))
      }).pipe(over(layer))
    )

    it.live("do not hold up those on others", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const slow = yield* ThreadPool.proxy(objects, "Counter", [0])
        const many = yield* Effect.forEach(upTo(4), (n) => ThreadPool.proxy(objects, "Counter", [n]))
        const held = yield* start(slow.hang(shared.cells))
        yield* shared.until(1)
        expect(yield* Effect.forEach(many, (counter) => counter.increment())).toEqual([2, 3, 4, 5])
        expect(held.pollUnsafe()).toBeUndefined()
        yield* Fiber.interrupt(held)
      }).pipe(over(layer))
    )

    it.live("that were given up before they began are not made", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        const held = yield* start(counter.hang(shared.cells))
        yield* shared.until(1)
        const waiting = yield* start(counter.increment(100))
        const after = yield* start(counter.increment(1))
        yield* Effect.sleep(1)
        yield* Fiber.interrupt(waiting)
        yield* Fiber.interrupt(held)
        expect(yield* Fiber.join(after)).toBe(1)
      }).pipe(over(layer))
    )
  })

  describe("reading and writing", () => {
    it.live("`get` reads properties, accessors and elements, and waits for promises", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        expect(yield* Remote.get(counter, "count")).toBe(4)
        expect(yield* Remote.get(counter, "double")).toBe(8)
        const numbers = yield* ThreadPool.proxy(objects, "Numbers", [7, 8])
        expect(yield* Remote.get(numbers, 1)).toBe(8)
        const error = yield* taskFailed(Remote.get(counter, "nope" as "count"))
        expect(error.reason).toMatch(/nope does not exist/)
      }).pipe(over(layer))
    )

    it.live("`set` writes, also what was not there", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        yield* Remote.set(counter, "count", 9)
        expect(yield* counter.count).toBe(9)
        yield* Remote.set(counter, "more" as "count", 1)
        expect(yield* Remote.get(counter, "more" as "count")).toBe(1)
        // What has no setter.
        const session = yield* ThreadPool.proxy(objects, "Awkward")
        const error = yield* taskFailed(Remote.set(session, "name", "b"))
        expect(error).toMatchObject({ className: "TypeError", task: "Awkward.name =" })
        const uncloneable = yield* notCloneable(Remote.set(counter, "tags", (() => {}) as never))
        expect(uncloneable.path).toBe("arguments[0]")
      }).pipe(over(layer))
    )

    it.live("`invokeMethod` calls a method by its name, and `call` an object that can be called", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        expect(yield* Remote.invokeMethod(counter, "increment", 2)).toBe(6)
        expect(yield* Stream.runCollect(Remote.invokeMethod(counter, "upTo", 3))).toEqual([1, 2, 3])
        const adder = yield* ThreadPool.proxy(objects, "Adder", [1])
        expect(yield* Remote.call(adder, 2)).toBe(3)
      }).pipe(over(layer))
    )

    it.live("`stream` iterates, again with each run, and ends early without leaving anything behind", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const ticker = yield* ThreadPool.proxy(objects, "Ticker", [shared.cells])
        const ticks = Remote.stream(ticker)
        expect(yield* Stream.runCollect(Stream.take(ticks, 2))).toEqual([1, 2])
        yield* shared.until(1, 1)
        expect(yield* Stream.runCollect(Stream.take(ticks, 2))).toHaveLength(2)
        yield* shared.until(2, 1)
        yield* eventually(
          "only the ticker is kept",
          Effect.map(kept, (n) => n <= 1)
        )
      }).pipe(over(layer))
    )

    it.live("a function of this module given what is no remote says so", () =>
      Effect.gen(function* () {
        for (const what of [{}, () => 1, undefined, null, 3, "text", plain, plain.add]) {
          expect(Remote.isRemote(what)).toBe(false)
          expect(() => Remote.get(what as never, "a" as never)).toThrow(/a remote was expected/)
        }
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        expect(Remote.isRemote(counter.increment)).toBe(false)
      }).pipe(over(layer))
    )
  })

  describe("a remote", () => {
    it.live("reaches members whose names mean something to others", () =>
      Effect.gen(function* () {
        const awkward = yield* ThreadPool.proxy(objects, "Awkward")
        const loose = untyped(awkward)
        expect(yield* loose.pipe(1) as Call).toBe("pipe 1")
        expect(yield* loose.toString() as Call).toBe("toString")
        expect(yield* loose.valueOf() as Call).toBe(7)
        expect(yield* loose.call(1) as Call).toBe("call 1")
        expect(yield* loose.apply(1) as Call).toBe("apply 1")
        expect(yield* loose.bind(1) as Call).toBe("bind 1")
        expect(yield* loose.asEffect() as Call).toBe("asEffect")
        expect(yield* loose.name as Call).toBe("a name")
        expect(yield* loose.length as Call).toBe(99)
        expect(yield* loose.prototype as Call).toBe("a prototype")
        expect(yield* loose.channel as Call).toBe("a channel")
        expect(yield* loose.read as Call).toBe("a read")
        expect(yield* loose._tag as Call).toBe("a tag")
        expect(yield* Remote.get(awkward, "name")).toBe("a name")
        // These two cannot be written as members.
        expect(loose.then).toBeUndefined()
        expect(yield* Remote.invokeMethod(awkward, "then", 1)).toBe("then 1")
        expect(yield* Remote.invokeMethod(awkward, "toJSON")).toBe("toJSON")
      }).pipe(over(layer))
    )

    it.live("that an async function returns is not taken for a promise", () =>
      Effect.gen(function* () {
        const awkward = yield* ThreadPool.proxy(objects, "Awkward")
        const loose = untyped(awkward)
        expect(yield* Effect.promise(async () => loose)).toBe(awkward)
        const calls = (yield* ThreadPool.stats).calls
        const both = yield* Effect.promise(() => Promise.all([loose, loose]))
        expect(both.every((_) => _ === awkward)).toBe(true)
        expect((yield* ThreadPool.stats).calls).toBe(calls)
      }).pipe(over(layer))
    )

    it.live("can be shown, logged, compared, and put into maps", () => {
      const { layer: logger, lines } = logged()
      return Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        const other = yield* ThreadPool.proxy(objects, "Counter", [4])
        expect(Object.prototype.toString.call(counter)).toContain("Counter")
        expect(inspect(counter)).toContain("Counter")
        expect(String(counter)).toContain("Counter")
        expect(JSON.stringify({ counter })).toBe("{}")
        expect(Object.keys(counter)).toEqual([])
        expect(Equal.equals(counter, counter)).toBe(true)
        expect(Equal.equals(counter, other)).toBe(false)
        expect(new Map<unknown, number>([[counter, 1]]).get(counter)).toBe(1)
        yield* Effect.log("a counter", counter)
        expect(lines).toHaveLength(1)
      }).pipe(over(layer), Effect.provide(logger))
    })

    it.live("gives the same member each time, which is an Effect and a method", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        expect(counter.increment).toBe(counter.increment)
        const { increment } = counter
        expect(yield* increment(1)).toBe(5)
        const read = counter.count
        expect(yield* read).toBe(5)
        yield* increment(1)
        expect(yield* read).toBe(6)
        expect(yield* Effect.map(counter.count, (n) => n * 2)).toBe(12)
        expect(yield* counter.count.pipe(Effect.map((n) => n + 1))).toBe(7)
      }).pipe(over(layer))
    )

    it.live("cannot be assigned to, deleted from, or defined on", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        expect(() => (untyped(counter).count = 1)).toThrow(/Remote\.set/)
        expect(() => delete untyped(counter).count).toThrow(TypeError)
        expect(() => Object.defineProperty(counter, "count", { value: 1 })).toThrow(TypeError)
        expect(yield* counter.count).toBe(4)
      }).pipe(over(layer))
    )

    it.live("is lazy: nothing happens before a call is run, and each run is a call", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        const increment = counter.increment()
        expect(yield* counter.count).toBe(0)
        yield* increment
        yield* increment
        expect(yield* counter.count).toBe(2)
      }).pipe(over(layer))
    )

    it.live("needs no pool in the context: it knows where it belongs", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [4])
        const run = Effect.runPromise(counter.increment())
        expect(yield* Effect.promise(() => run)).toBe(5)
      }).pipe(over(layer))
    )
  })

  // ---------------------------------------------------------------------------
  // As arguments
  // ---------------------------------------------------------------------------

  describe("as an argument", () => {
    it.live("a remote arrives as its object", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        expect(yield* objects.readCount(counter)).toBe(5)
        expect(yield* objects.isCounter(counter)).toBe(true)
        expect(yield* ThreadPool.execute((c: { count: number }) => ++c.count, counter as never)).toBe(6)
        expect(yield* counter.count).toBe(6)
      }).pipe(over(layer))
    )

    it.live("it arrives inside of plain objects and arrays as well", () =>
      Effect.gen(function* () {
        // Enough of them that they are in all threads.
        const counters = yield* Effect.forEach(upTo(4), (n) => ThreadPool.proxy(objects, "Counter", [n]))
        for (const [i, counter] of counters.entries()) {
          expect(yield* objects.readNested({ counter: counter as never })).toBe(i + 1)
          expect(
            yield* objects.readDeep({ list: [{ counter: counter as never }, { counter: counter as never }] })
          ).toBe(2 * (i + 1))
          expect(yield* objects.isCounter([counter])).toBe(false)
        }
      }).pipe(over(layer))
    )

    it.live("a call goes to the thread of the object, whichever that is", () =>
      Effect.gen(function* () {
        const counters = yield* Effect.forEach(upTo(6), (n) => ThreadPool.proxy(objects, "Counter", [n]))
        const counts = yield* Effect.forEach(counters, (counter) => objects.readCount(counter), {
          concurrency: "unbounded"
        })
        expect(counts).toEqual(upTo(6))
      }).pipe(over(layer))
    )

    it.live("with several of one thread, all arrive", () =>
      Effect.gen(function* () {
        const from = yield* ThreadPool.proxy(objects, "Counter", [10])
        const to = yield* ThreadPool.proxy(objects, "Counter", [0])
        expect(yield* objects.transfer(from, to, 3)).toEqual([7, 3])
        expect(yield* from.count).toBe(7)
        expect(yield* to.count).toBe(3)
        // One object twice.
        expect(yield* objects.transfer(from, from, 3)).toEqual([7, 7])
      }).pipe(over(inThreads ? overOne : layer))
    )

    it.live("it can be an argument of a method, and of a constructor", () =>
      Effect.gen(function* () {
        const node = yield* ThreadPool.proxy(objects, "Node", ["a"], { autowrap: ["Leaf"] })
        const leaf = yield* node.leaf
        expect(yield* node.nameOf(leaf)).toBe("first")
        const child = yield* ThreadPool.proxy(objects, "Leaf", ["child", node as never], {
          autowrap: ["Node"]
        })
        expect(yield* child.up()).toBe(node)
      }).pipe(over(layer))
    )

    it.live("beside what cannot cross, the latter is named", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        const first = yield* notCloneable(plain.all(counter, { deep: [() => 1] }))
        expect(first).toMatchObject({ path: "arguments[1].deep[0]" })
        const nested = yield* notCloneable(
          objects.readNested({ counter: counter as never, more: Symbol("x") })
        )
        expect(nested).toMatchObject({ path: "arguments[0].more", found: "Symbol(x)" })
        expect(yield* counter.increment()).toBe(6)
      }).pipe(over(layer))
    )

    it.live("where it cannot be found, in a Map or an instance, it is refused and named", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        const error = yield* notCloneable(plain.echo(new Map([["counter", counter]])))
        expect(error.path).toBe(`arguments[0].get("counter")`)
        expect(error.message).toMatch(/remote/i)
      }).pipe(over(layer))
    )

    it.live("it does not hinder the calls that go out with it", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        const results = yield* Effect.forEach(
          upTo(50),
          (n) => (n % 5 === 0 ? objects.readCount(counter) : plain.add(n, 0)),
          { concurrency: "unbounded" }
        )
        expect(results).toEqual(upTo(50).map((n) => (n % 5 === 0 ? 5 : n)))
      }).pipe(over(layer))
    )

    it.live("the caller's own data stays as it was", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        const given = { counter: counter as never, more: { list: [1, 2] } }
        yield* objects.readNested(given)
        expect(given.counter).toBe(counter)
        expect(given.more).toEqual({ list: [1, 2] })
      }).pipe(over(layer))
    )

    it.live("of another pool it is refused, and the call told why", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [5])
        const elsewhere = Effect.gen(function* () {
          const error = yield* staleRemote(objects.readCount(counter))
          expect(error.reason).toMatch(/otherPool|elsewhere/)
          expect(error.message).toMatch(/lives in/)
          const nested = yield* staleRemote(objects.readNested({ counter: counter as never }))
          expect(nested.reason).toBe(error.reason)
          // A call on it goes home.
          expect(yield* counter.count).toBe(5)
        })
        yield* elsewhere.pipe(over(freshInline))
        expect(yield* counter.count).toBe(5)
        expect(yield* ThreadPool.stats).toMatchObject({ running: 0 })
      }).pipe(over(layer))
    )

    it.live("that was released is refused, and the call told why", () =>
      Effect.gen(function* () {
        const counter = yield* Effect.scoped(ThreadPool.proxy(objects, "Counter", [5]))
        const alive = yield* ThreadPool.proxy(objects, "Counter", [6])
        expect((yield* staleRemote(objects.readCount(counter))).reason).toBe("released")
        expect((yield* staleRemote(objects.readNested({ counter: counter as never }))).reason).toBe(
          "released"
        )
        expect((yield* staleRemote(objects.transfer(alive, counter, 1))).reason).toBe("released")
        expect((yield* staleRemote(objects.transfer(counter, alive, 1))).reason).toBe("released")
        expect(yield* alive.count).toBe(6)
      }).pipe(over(layer))
    )
  })

  // ---------------------------------------------------------------------------
  // The end of an object
  // ---------------------------------------------------------------------------

  describe("the end of an object", () => {
    it.live("comes with its scope, and disposes of it once", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const scope = yield* Scope.make()
        const counter = yield* Scope.provide(ThreadPool.proxy(objects, "Counter", [1, shared.cells]), scope)
        const async = yield* Scope.provide(ThreadPool.proxy(objects, "AsyncCounter", [shared.cells]), scope)
        // The same remote by another way: it does not outlive its scope.
        expect(yield* counter.increment()).toBe(2)
        expect(yield* async.increment()).toBe(1)
        if (inThreads) expect(yield* kept).toBe(2)
        yield* Scope.close(scope, Exit.void)
        // One by its `dispose`, the other by its `asyncDispose` alone; each once.
        expect([shared.get(0), shared.get(1)]).toEqual([1, 1])
        expect(yield* kept).toBe(0)
      }).pipe(over(layer))
    )

    it.live("leaves remotes that say so, whatever they are asked", () =>
      Effect.gen(function* () {
        const { counter, numbers, adder } = yield* Effect.scoped(
          Effect.all({
            counter: ThreadPool.proxy(objects, "Counter", [1]),
            numbers: ThreadPool.proxy(objects, "Numbers", [1, 2]),
            adder: ThreadPool.proxy(objects, "Adder", [1])
          })
        )
        const asked: ReadonlyArray<Effect.Effect<unknown, ThreadError.ThreadError>> = [
          counter.increment(),
          counter.count,
          counter.slowly(1, 1),
          Remote.get(counter, "count"),
          Remote.set(counter, "count", 1),
          Remote.invokeMethod(counter, "increment"),
          Stream.runDrain(counter.upTo(3)),
          Stream.runDrain(Remote.stream(numbers)),
          untyped(Remote.call)(adder, 1)
        ]
        for (const question of asked) {
          const error = yield* staleRemote(question)
          expect(error.reason).toBe("released")
          expect(error.message).toMatch(/released: its scope has closed/)
        }
        expect(yield* ThreadPool.stats).toMatchObject({ running: 0 })
      }).pipe(over(layer))
    )

    it.live("waits for the calls that were made before; those that come after are told", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const scope = yield* Scope.make()
        const counter = yield* Scope.provide(ThreadPool.proxy(objects, "Counter", [1, shared.cells]), scope)
        const first = yield* start(counter.slowly(1, 20))
        const second = yield* start(counter.increment())
        yield* eventuallyStats("both are with the thread", (stats) => stats.running === 2)
        const closed = yield* start(Scope.close(scope, Exit.void))
        expect((yield* staleRemote(counter.increment())).reason).toBe("released")
        expect(yield* Fiber.join(first)).toBe(2)
        expect(yield* Fiber.join(second)).toBe(3)
        yield* Fiber.join(closed)
        // Once the scope has closed, the object has been disposed of.
        expect(shared.get()).toBe(1)
      }).pipe(over(layer))
    )

    it.live("that goes wrong reaches nobody, and is logged", () => {
      const { layer: logger, lines } = logged()
      return Effect.gen(function* () {
        const sticky = yield* Effect.scoped(
          Effect.tap(ThreadPool.proxy(objects, "Sticky"), (_) => Effect.map(_.n, (n) => expect(n).toBe(1)))
        )
        expect(yield* plain.add(1, 2)).toBe(3)
        expect((yield* staleRemote(sticky.n)).reason).toBe("released")
        expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0 })
        yield* eventually("it is logged", () => lines.length > 0)
        expect(lines).toMatchObject([{ level: "Warn", text: expect.stringContaining("disposed of") }])
        expect(`${lines[0]!.text} ${lines[0]!.cause}`).toMatch(/does not come off/)
      }).pipe(over(layer), Effect.provide(logger))
    })

    it.live("comes also when whoever was to make it gives up in between", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        for (let i = 0; i < 40; i++) {
          const maker = yield* start(Effect.scoped(ThreadPool.proxy(objects, "Counter", [1, shared.cells])))
          // At ever later moments.
          if (i % 4 > 0) for (let n = 0; n < i; n++) yield* Effect.yieldNow
          if (i % 4 === 3) yield* Effect.sleep(i % 3)
          yield* Fiber.interrupt(maker)
        }
        yield* plain.later(5)
        yield* eventually(
          "nothing is kept",
          Effect.map(kept, (n) => n === 0)
        )
        yield* eventuallyStats("nothing runs", (stats) => stats.running === 0)
      }).pipe(over(layer))
    )

    it.live("comes when its remote is garbage, where it has no scope", () =>
      Effect.gen(function* () {
        const node = yield* ThreadPool.proxy(objects, "Node", ["a"], { autowrap: ["Leaf"] })
        const before = yield* kept
        const names: Array<string> = []
        for (let i = 0; i < 20; i++) {
          const leaf = (yield* node.fresh()) as any
          names.push((yield* leaf.name) as string)
        }
        expect(names).toEqual(upTo(20).map((n) => `leaf ${n - 1}`))
        yield* eventually(
          "the leaves are swept",
          // The last one may still be on the stack of somebody.
          Effect.andThen(
            collectGarbage,
            Effect.map(kept, (n) => n <= before + 1)
          )
        )
        // The object itself lives on: the tree has it.
        expect(Remote.isRemote(yield* node.fresh())).toBe(true)
      }).pipe(over(layer))
    )

    it.live("an object whose remote was swept comes again as a new one", () =>
      Effect.gen(function* () {
        const node = yield* ThreadPool.proxy(objects, "Node", ["a"], { autowrap: ["Leaf"] })
        let swept = 0
        const registry = new FinalizationRegistry(() => swept++)
        const once = Effect.gen(function* () {
          const leaf = (yield* node.leaf) as any
          registry.register(leaf, undefined)
          return (yield* leaf.shout()) as string
        })
        for (let round = 1; round <= 5; round++) {
          expect(yield* once).toBe("FIRST")
          yield* eventually(
            "it is swept",
            Effect.andThen(
              collectGarbage,
              Effect.sync(() => swept >= round)
            )
          )
        }
        const leaf = yield* node.leaf
        expect(yield* node.same()).toBe(leaf)
      }).pipe(over(layer))
    )

    it.live("does not come while somebody holds its remote, however much garbage there is", () =>
      Effect.gen(function* () {
        const node = yield* ThreadPool.proxy(objects, "Node", ["a"], { autowrap: ["Leaf"] })
        const leaf = (yield* node.fresh()) as any
        for (let i = 0; i < 5; i++) {
          yield* node.fresh()
          yield* collectGarbage
        }
        expect(yield* leaf.shout()).toBe("LEAF 0")
      }).pipe(over(layer))
    )

    it.live("with the pool, calls say that it is closed, or that the object has gone", () =>
      Effect.gen(function* () {
        const escaped = yield* Effect.gen(function* () {
          return yield* ThreadPool.proxy(objects, "Counter", [1])
        }).pipe(over(inThreads ? overOne : freshInline))
        const error = yield* failureOf(escaped.increment())
        expect((error as { _tag: string })._tag).toMatch(/ThreadPoolClosed|StaleRemote/)
      })
    )
  })
})

// -----------------------------------------------------------------------------
// What needs threads
// -----------------------------------------------------------------------------

describe("in threads", () => {
  it.live("objects are spread over the threads", () =>
    Effect.gen(function* () {
      const counters = yield* Effect.forEach(upTo(4), (n) => ThreadPool.proxy(objects, "Counter", [n]))
      const threads = yield* Effect.forEach(counters, (counter) =>
        Effect.map(counter.where(), (_) => _.threadId)
      )
      expect(new Set(threads).size).toBe(2)
      expect((yield* ThreadPool.stats).threads.map((_) => _.objects)).toEqual([2, 2])
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("two objects of different threads cannot go into one call, which is told why", () =>
    Effect.gen(function* () {
      const [one, two] = yield* Effect.all([
        ThreadPool.proxy(objects, "Counter", [1]),
        ThreadPool.proxy(objects, "Counter", [2])
      ])
      const threads = yield* Effect.forEach([one, two], (counter) =>
        Effect.map(counter.where(), (_) => _.threadId)
      )
      expect(new Set(threads).size).toBe(2)
      const error = yield* staleRemote(objects.transfer(one, two, 1))
      expect(error.reason).toMatch(/otherPool|elsewhere/)
      expect(error.message).toMatch(/lives in thread \d/)
      // A method of the one, with the other.
      const method = yield* staleRemote(untyped(one).increment({ by: two }) as Call)
      expect(method.reason).toBe(error.reason)
      expect([yield* one.count, yield* two.count]).toEqual([1, 2])
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("a call on an object goes to its thread, also when another is idle", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      const { threadId } = yield* counter.where()
      const blocked = yield* start(
        ThreadPool.execute(
          (_: unknown, cells: Int32Array) => {
            Atomics.store(cells, 0, 1)
            Atomics.wait(cells, 1, 0, 20_000)
          },
          counter as unknown,
          shared.cells
        )
      )
      yield* shared.until(1)
      const waiting = yield* start(counter.where())
      // The other thread is free.
      expect((yield* plain.where()).threadId).not.toBe(threadId)
      expect(waiting.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      expect((yield* Fiber.join(waiting)).threadId).toBe(threadId)
      yield* Fiber.join(blocked)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live(
    "one that is released while a call waits that it is an argument of is told as such, if it is gone",
    () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const scope = yield* Scope.make()
        const counter = yield* Scope.provide(ThreadPool.proxy(objects, "Counter", [5]), scope)
        const held = yield* start(plain.beginAndWait(shared.cells))
        yield* shared.until(1)
        const waiting = yield* start(Effect.exit(objects.readCount(counter)))
        yield* eventuallyStats("it waits in the thread", (stats) => stats.running === 2)
        const closed = yield* start(Scope.close(scope, Exit.void))
        expect((yield* staleRemote(counter.count)).reason).toBe("released")
        shared.set(1, 1)
        yield* Fiber.join(held)
        yield* Fiber.join(closed)
        const exit = yield* Fiber.join(waiting)
        console.log(exit)
        if (Exit.isSuccess(exit)) expect(exit.value).toBe(5)
        else expect((yield* staleRemote(Effect.failCause(exit.cause))).reason).toBe("released")
      }).pipe(overThreads())
  )

  it.live("when its thread has ended a remote says so, and a new one can be made", () =>
    Effect.gen(function* () {
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      yield* failureAs("ThreadCrashed")(
        ThreadPool.execute(() => process.exit(1)) as Effect.Effect<
          never,
          ThreadError.ThreadError,
          ThreadPool.ThreadPool
        >
      )
      const asked: ReadonlyArray<Effect.Effect<unknown, ThreadError.ThreadError, ThreadPool.ThreadPool>> = [
        counter.increment(),
        counter.count,
        Remote.set(counter, "count", 1),
        Stream.runDrain(counter.upTo(3)),
        objects.readCount(counter),
        objects.readNested({ counter: counter as never })
      ]
      for (const question of asked) {
        const error = yield* staleRemote(question)
        expect(error).toMatchObject({ reason: "threadEnded", thread: 1 })
        expect(error.message).toMatch(/thread 1 ended.*new proxy/)
      }
      const again = yield* ThreadPool.proxy(objects, "Counter", [2])
      expect(yield* again.count).toBe(2)
    }).pipe(overThreads())
  )

  it.live("a drain takes objects with it", () =>
    Effect.gen(function* () {
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      yield* ThreadPool.drain
      expect((yield* staleRemote(counter.count)).reason).toBe("threadEnded")
    }).pipe(overThreads())
  )

  it.live("a stream of an object whose thread ends fails, and does not hang", () =>
    Effect.gen(function* () {
      const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
      const first = Deferred.makeUnsafe<void>()
      const ended = Deferred.makeUnsafe<void>()
      const reader = yield* start(
        Stream.runForEachArray(counter.upTo(1_000_000), () =>
          Effect.andThen(Deferred.succeed(first, undefined), Deferred.await(ended))
        )
      )
      yield* Deferred.await(first)
      yield* Effect.exit(
        ThreadPool.execute(() => process.exit(1)) as Effect.Effect<never, unknown, ThreadPool.ThreadPool>
      )
      yield* Deferred.succeed(ended, undefined)
      const error = yield* failureOf(Fiber.join(reader))
      expect(error._tag).toMatch(/StaleRemote|ThreadCrashed/)
    }).pipe(overThreads())
  )
})

// -----------------------------------------------------------------------------
// Types
// -----------------------------------------------------------------------------

/** What a remote of a class would be. Nothing runs here. */
const remote = <A>(): Remote.Remote<A> => undefined as never

describe("types", () => {
  type Counter = Objects.Counter
  type TooLarge = Objects.TooLarge
  type Failure = ThreadError.ThreadError
  type RemoteCounter = Remote.Remote<Counter>
  it("a proxy gives a remote of its class, and needs a pool and a scope", () => {
    expectTypeOf(ThreadPool.proxy(objects, "Counter", [1])).toEqualTypeOf<
      Effect.Effect<RemoteCounter, Failure, ThreadPool.ThreadPool | Scope.Scope>
    >()
    type OneClass = { readonly Counter: typeof Objects.Counter }
    expectTypeOf(ThreadPool.proxy<OneClass>("file:///x.ts", "Counter", [1])).toEqualTypeOf<
      Effect.Effect<RemoteCounter, Failure, ThreadPool.ThreadPool | Scope.Scope>
    >()
    // @ts-expect-error there is no such class
    expectTypeOf(() => ThreadPool.proxy(objects, "Nothing")).toBeFunction()
    // @ts-expect-error it is no class
    expectTypeOf(() => ThreadPool.proxy(objects, "readCount")).toBeFunction()
    // @ts-expect-error the arguments are those of the constructor
    expectTypeOf(() => ThreadPool.proxy(objects, "Counter", ["1"])).toBeFunction()
  })

  it("its members are Effects and Streams of what they are and give", () => {
    type Read = RemoteCounter["count"]
    expectTypeOf<Read>().toEqualTypeOf<Effect.Effect<number, Failure>>()
    expectTypeOf<RemoteCounter["tags"]>().toEqualTypeOf<Effect.Effect<Array<string>, Failure>>()
    expectTypeOf<RemoteCounter["increment"]>().toEqualTypeOf<
      (by?: number) => Effect.Effect<number, Failure>
    >()
    expectTypeOf<ReturnType<RemoteCounter["slowly"]>>().toEqualTypeOf<Effect.Effect<number, Failure>>()
    expectTypeOf<ReturnType<RemoteCounter["effectfully"]>>().toEqualTypeOf<
      Effect.Effect<number, TooLarge | Failure>
    >()
    expectTypeOf<ReturnType<RemoteCounter["upTo"]>>().toEqualTypeOf<Stream.Stream<number, Failure>>()
    expectTypeOf<ReturnType<RemoteCounter["upToAsync"]>>().toEqualTypeOf<Stream.Stream<number, Failure>>()
    expectTypeOf<ReturnType<RemoteCounter["streamed"]>>().toEqualTypeOf<Stream.Stream<number, Failure>>()
    expectTypeOf<ReturnType<RemoteCounter["fail"]>>().toEqualTypeOf<Effect.Effect<never, Failure>>()
  })

  it("what stays in the thread is a remote, in the type as well", () => {
    const byType = ThreadPool.proxy(objects, "Node", [], { autowrap: ["Leaf"] })
    type ByType = Effect.Success<typeof byType>
    expectTypeOf<Effect.Success<ByType["leaf"]>>().toHaveProperty("shout")
    expectTypeOf<
      Effect.Success<ReturnType<Effect.Success<ByType["leaf"]>["shout"]>>
    >().toEqualTypeOf<string>()
    expectTypeOf<Effect.Success<ReturnType<ByType["sameLater"]>>>().toEqualTypeOf<
      Effect.Success<ReturnType<ByType["same"]>>
    >()
    expectTypeOf<Effect.Success<ReturnType<ByType["record"]>>>().toEqualTypeOf<{ readonly answer: number }>()
    const byName = ThreadPool.proxy(objects, "Node", [], { autowrapNames: ["record"] })
    type ByName = Effect.Success<typeof byName>
    expectTypeOf<
      Effect.Success<Effect.Success<ReturnType<ByName["record"]>>["answer"]>
    >().toEqualTypeOf<number>()
    expectTypeOf<Effect.Success<ByName["leaf"]>>().toEqualTypeOf<Objects.Leaf>()
    // The functions of the module take them, too.
    const read = (node: ByType) => Remote.get(node, "leaf")
    expectTypeOf<Effect.Success<ReturnType<typeof read>>>().toHaveProperty("shout")
    const write = (node: ByType) => Remote.set(node, "plain", { of: "others" })
    expectTypeOf<ReturnType<typeof write>>().toEqualTypeOf<Effect.Effect<void, Failure>>()
  })

  it("nothing can be assigned, and nothing is there that the object has not", () => {
    // @ts-expect-error use Remote.set
    expectTypeOf(() => (remote<Counter>().count = 1 as never)).toBeFunction()
    // @ts-expect-error there is no such member
    expectTypeOf(() => remote<Counter>().nothing).toBeFunction()
    // @ts-expect-error what is private stays so
    expectTypeOf(() => remote<Counter>().cells).toBeFunction()
  })

  it("the functions of the module know the object's members", () => {
    type Get = typeof Remote.get<Counter, "count">
    expectTypeOf<ReturnType<Get>>().toEqualTypeOf<Effect.Effect<number, Failure>>()
    type Set = typeof Remote.set<Counter, "count">
    expectTypeOf<Parameters<Set>>().toEqualTypeOf<
      [self: Remote.RemoteObject<Counter>, name: "count", value: number]
    >()
    expectTypeOf<ReturnType<Set>>().toEqualTypeOf<Effect.Effect<void, Failure>>()
    type Invoke = typeof Remote.invokeMethod<Counter, "upTo">
    expectTypeOf<ReturnType<Invoke>>().toEqualTypeOf<Stream.Stream<number, Failure>>()
    type Numbers = Objects.Numbers
    type Iterate = typeof Remote.stream<Numbers>
    expectTypeOf<ReturnType<Iterate>>().toEqualTypeOf<Stream.Stream<number, Failure>>()
    type Adder = Objects.Adder
    const call = (adder: Remote.Remote<Adder>) => Remote.call(adder, 1)
    expectTypeOf<ReturnType<typeof call>>().toEqualTypeOf<Effect.Effect<number, Failure>>()
    type Counting = Objects.Counting
    const count = (counting: Remote.Remote<Counting>) => Remote.call(counting, 1)
    expectTypeOf<ReturnType<typeof count>>().toEqualTypeOf<Stream.Stream<number, Failure>>()
    expectTypeOf(() => Remote.call(remote<(n: number) => string>(), 1)).returns.toEqualTypeOf<
      Effect.Effect<string, Failure>
    >()
    // @ts-expect-error the arguments are those of the object
    expectTypeOf(() => Remote.call(remote<Adder>(), "1")).toBeFunction()
  })

  it("remotes of different classes are different", () => {
    type Node = Objects.Node
    expectTypeOf<Remote.Remote<Node>>().not.toExtend<RemoteCounter>()
    // @ts-expect-error a Counter is wanted
    expectTypeOf(() => objects.readCount(remote<Node>())).toBeFunction()
  })
})
