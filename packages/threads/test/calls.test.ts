/* oxlint-disable unicorn/consistent-function-scoping -- what is sent to a thread is written where it is sent */
/**
 * What can be run in a thread, and how it comes out: functions sent by their source, and the exports of modules.
 */
import { NodeThreads, type Remote, Task, type ThreadError, ThreadPool } from "@cenote/threads"
import { NodeWorker } from "@effect/platform-node"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Stream } from "effect"
import { Worker } from "node:worker_threads"
import {
  eventually,
  eventuallyStats,
  failureAs,
  failureOf,
  moduleUrl,
  over,
  overThreads,
  places,
  Shared,
  start,
  taskFailed
} from "./kit.ts"
import type * as BrokenImport from "./modules/brokenImport.ts"
import type * as Effects from "./modules/effects.ts"
import type * as Generators from "./modules/generators.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Plain from "./modules/plain.ts"
import type * as ThrowsAtLoad from "./modules/throwsAtLoad.ts"

const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))
const effects = ThreadPool.module<typeof Effects>(moduleUrl("effects"))
const generators = ThreadPool.module<typeof Generators>(moduleUrl("generators"))

/** A call whose type says less than what it does. */
const untyped = (module: object): any => module

const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

describe.each(places)("$name", ({ layer, name }) => {
  const inThreads = name === "in threads"

  // ---------------------------------------------------------------------------
  // Functions by their source
  // ---------------------------------------------------------------------------

  describe("execute", () => {
    it.live("runs functions however they are written", () =>
      Effect.gen(function* () {
        function declared(a: number): number {
          return a + 1
        }
        const asyncDeclared = async function named(a: number): Promise<number> {
          await Promise.resolve()
          return a + 2
        }
        const methods = {
          plain(a: number) {
            return a + 3
          },
          async later(a: number) {
            await Promise.resolve()
            return a + 4
          },
          ["with spaces"](a: number) {
            return a + 5
          },
          // Words that mean something at the beginning of a statement.
          if(a: number) {
            return a + 6
          },
          get(a: number) {
            return a + 7
          },
          async(a: number) {
            return a + 8
          },
          static(a: number) {
            return a + 9
          }
        }
        class Holder {
          static shared(a: number) {
            return a + 10
          }
          own(a: number) {
            return a + 11
          }
        }
        expect(yield* ThreadPool.execute((a: number) => a, 0)).toBe(0)
        expect(yield* ThreadPool.execute(declared, 0)).toBe(1)
        expect(yield* ThreadPool.execute(asyncDeclared, 0)).toBe(2)
        expect(yield* ThreadPool.execute(methods.plain, 0)).toBe(3)
        expect(yield* ThreadPool.execute(methods.later, 0)).toBe(4)
        expect(yield* ThreadPool.execute(methods["with spaces"], 0)).toBe(5)
        expect(yield* ThreadPool.execute(methods.if, 0)).toBe(6)
        expect(yield* ThreadPool.execute(methods.get, 0)).toBe(7)
        expect(yield* ThreadPool.execute(methods.async, 0)).toBe(8)
        expect(yield* ThreadPool.execute(methods.static, 0)).toBe(9)
        expect(yield* ThreadPool.execute(Holder.shared, 0)).toBe(10)
        // oxlint-disable-next-line typescript/unbound-method
        expect(yield* ThreadPool.execute(Holder.prototype.own, 0)).toBe(11)
        expect(yield* ThreadPool.execute(async (a: number) => a + 12, 0)).toBe(12)
        expect(
          yield* ThreadPool.execute((a: number, b: number = 13, ...[c]: Array<number>) => a + b + (c ?? 0), 0)
        ).toBe(13)
        expect(
          yield* ThreadPool.execute(({ a }: { a: number }, [b]: [number]) => a + b, { a: 1 }, [13])
        ).toBe(14)
        // prettier-ignore
        // oxlint-disable-next-line
        expect(yield* ThreadPool.execute((a: number) => a + 15 /* the end */ // really
        , 0)).toBe(15)
        expect(yield* ThreadPool.execute((text: string) => `\n\u2028"'\`${text}\``, "é")).toBe(
          "\n\u2028\"'`é`"
        )
      }).pipe(over(layer))
    )

    it.live("can use what is global, and functions of its own", () =>
      Effect.gen(function* () {
        const sorted = yield* ThreadPool.execute(
          (numbers: ReadonlyArray<number>) => {
            const compare = (a: number, b: number): number => a - b
            class Box {
              readonly value: number
              constructor(value: number) {
                this.value = value
              }
            }
            return [...numbers].toSorted(compare).map((n) => new Box(n).value + Math.max(0, 0))
          },
          [3, 1, 2]
        )
        expect(sorted).toEqual([1, 2, 3])
        const recursive = yield* ThreadPool.execute(function factorial(n: number): number {
          return n <= 1 ? 1 : n * factorial(n - 1)
        }, 10)
        expect(recursive).toBe(3_628_800)
      }).pipe(over(layer))
    )

    it.live("a function that gives an Effect-like promise of a promise gives the value", () =>
      Effect.gen(function* () {
        const value = yield* ThreadPool.execute(async () => Promise.resolve(Promise.resolve(7)))
        expect(value).toBe(7)
      }).pipe(over(layer))
    )

    it.live("as `this` a function gets its task", () =>
      Effect.gen(function* () {
        const seen = yield* ThreadPool.execute(function (this: Task.Task) {
          return {
            thread: this.thread,
            deadline: this.deadline,
            aborted: this.aborted,
            signal: this.signal instanceof AbortSignal && !this.signal.aborted,
            move: typeof this.move
          }
        })
        expect(seen).toEqual({
          thread: expect.any(Number),
          deadline: undefined,
          aborted: false,
          signal: true,
          move: "function"
        })
        expect(seen.thread > 0).toBe(inThreads)
        const later = yield* ThreadPool.execute(async function (this: Task.Task) {
          await new Promise((resolve) => setTimeout(resolve, 1))
          return this.aborted
        })
        expect(later).toBe(false)
        const method = {
          whoAmI(this: Task.Task) {
            return this.thread > 0
          }
        }
        expect(yield* ThreadPool.execute(method.whoAmI)).toBe(inThreads)
      }).pipe(over(layer))
    )

    it.live("a name from outside fails the call, which tells the name and what to do", () =>
      Effect.gen(function* () {
        const outside = 5
        const error = yield* taskFailed(ThreadPool.execute((a: number) => a + outside, 1))
        expect(error).toMatchObject({ className: "ReferenceError", reason: "outside is not defined" })
        expect(error.hint).toMatch(/\boutside\b.*argument.*module/)
        expect(error.message).toContain(error.hint)

        const later = yield* taskFailed(
          ThreadPool.execute(async (a: number) => {
            await Promise.resolve()
            return a + outside
          }, 1)
        )
        expect(later.hint).toMatch(/\boutside\b/)
        const deep = yield* taskFailed(ThreadPool.execute(() => [1].map(() => outside)))
        expect(deep.hint).toMatch(/\boutside\b/)
        const imported = yield* taskFailed(ThreadPool.execute(() => moduleUrl("plain")))
        expect(imported.hint).toMatch(/module/)
      }).pipe(over(layer))
    )

    it.live("assigning to a name from outside fails as well, and makes no global", () =>
      Effect.gen(function* () {
        let total = 0
        const error = yield* taskFailed(
          ThreadPool.execute((n: number) => {
            total = n
          }, 7)
        )
        expect(error).toMatchObject({ className: "ReferenceError", reason: "total is not defined" })
        expect(error.hint).toMatch(/\btotal\b.*argument.*module/)
        expect(total).toBe(0)
        expect(yield* ThreadPool.execute(() => "total" in globalThis)).toBe(false)
      }).pipe(over(layer))
    )

    it.live("an error that is no fault of the source has no hint", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(
          ThreadPool.execute(() => {
            throw new ReferenceError("this one is mine")
          })
        )
        expect(error.hint).toBeUndefined()
      }).pipe(over(layer))
    )

    it.live("what has no source of its own is refused, and the error says what to do", () =>
      Effect.gen(function* () {
        const add = (a: number, b: number): number => a + b
        const refused = [
          taskFailed(ThreadPool.execute(Math.max, 1, 2)),
          taskFailed(ThreadPool.execute(add.bind(undefined, 1), 2)),
          taskFailed(ThreadPool.execute(parseInt, "1"))
        ]
        for (const refusal of refused) {
          const error = yield* refusal
          expect(error.className).toMatch(/TypeError|SyntaxError/)
          expect(error.message).toMatch(/native|bound|source/i)
          expect(error.hint).toMatch(/ThreadPool\.module|arrow|function/)
        }
        // The thread is none the worse.
        expect(yield* ThreadPool.execute(add, 1, 2)).toBe(3)
      }).pipe(over(layer))
    )

    it("what is no function is refused at once", () => {
      const execute = ThreadPool.execute as (f: unknown) => unknown
      expect(() => execute(5)).toThrow("ThreadPool.execute was given 5, but it must be a function")
      expect(() => execute(undefined)).toThrow("ThreadPool.execute was given undefined, but it")
    })

    it.live("a class is refused: its objects are for proxy", () =>
      Effect.gen(function* () {
        class Box {
          readonly value = 1
        }
        const error = yield* taskFailed(
          ThreadPool.execute(Box as unknown as () => number) as Effect.Effect<
            number,
            ThreadError.ThreadError,
            ThreadPool.ThreadPool
          >
        )
        expect(error.className).toBe("TypeError")
        expect(error.reason).toMatch(/Box is a class/)
        expect(error.hint).toMatch(/ThreadPool\./)
      }).pipe(over(layer))
    )

    it.live("a generator is a Stream, and refused as an Effect", () =>
      Effect.gen(function* () {
        const upTo = ThreadPool.execute(function* (limit: number) {
          for (let i = 1; i <= limit; i++) yield i
        }, 5)
        expect(yield* Stream.runCollect(upTo)).toEqual([1, 2, 3, 4, 5])
        const upToAsync = ThreadPool.execute(async function* (limit: number) {
          for (let i = 1; i <= limit; i++) {
            await Promise.resolve()
            yield i
          }
        }, 5)
        expect(yield* Stream.runCollect(upToAsync)).toEqual([1, 2, 3, 4, 5])
        const methods = {
          *upTo(limit: number) {
            for (let i = 1; i <= limit; i++) yield i
          },
          async *later(limit: number) {
            for (let i = 1; i <= limit; i++) yield i
          }
        }
        expect(yield* Stream.runCollect(ThreadPool.execute(methods.upTo, 3))).toEqual([1, 2, 3])
        expect(yield* Stream.runCollect(ThreadPool.execute(methods.later, 3))).toEqual([1, 2, 3])

        const asEffect = upTo as unknown as Effect.Effect<
          unknown,
          ThreadError.ThreadError,
          ThreadPool.ThreadPool
        >
        const error = yield* taskFailed(asEffect)
        expect(error.reason).toMatch(/generator/)
        expect(error.hint).toMatch(/Stream/)
        // What was made for it is let go of.
        yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
      }).pipe(over(layer))
    )

    it.live("what gives no stream is refused as a Stream", () =>
      Effect.gen(function* () {
        const asStream = ThreadPool.execute(() => 1) as unknown as Stream.Stream<
          number,
          ThreadError.ThreadError,
          ThreadPool.ThreadPool
        >
        const error = yield* taskFailed(Stream.runDrain(asStream))
        expect(error.reason).toMatch(/no generator and no Stream/)
        expect(error.hint).toMatch(/Effect/)
        const array = yield* taskFailed(
          Stream.runDrain(ThreadPool.execute(() => null) as unknown as typeof asStream)
        )
        expect(array.reason).toMatch(/null/)
      }).pipe(over(layer))
    )

    it.live("the same source is the same function, whoever wrote it down", () =>
      Effect.gen(function* () {
        const make = () => (n: number) => n * 2
        const all = yield* Effect.forEach(upTo(2000), (n) => ThreadPool.execute(make(), n), {
          concurrency: "unbounded"
        })
        expect(all).toEqual(upTo(2000).map((n) => n * 2))
        // Sources that are made up as the program goes.
        const many = upTo(1100).map((n) => new Function("a", `return a + ${n}`) as (a: number) => number)
        expect(yield* Effect.forEach(many, (f) => ThreadPool.execute(f, 1))).toEqual(
          upTo(1100).map((n) => n + 1)
        )
        // Those that were forgotten are known again.
        expect(yield* ThreadPool.execute(new Function("a", `return a + 1`) as (a: number) => number, 1)).toBe(
          2
        )
      }).pipe(over(layer))
    )

    it.live("is compiled once in each thread, however often it is called", () =>
      Effect.gen(function* () {
        /** How many of itself there have been where it runs. */
        const countSelf = () =>
          function self(this: unknown): number {
            const seen = ((globalThis as { seenByTest?: Set<unknown> }).seenByTest ??= new Set())
            seen.add(self)
            return seen.size
          }
        const counts = yield* Effect.forEach(upTo(50), () => ThreadPool.execute(countSelf()), {
          concurrency: "unbounded"
        })
        expect(new Set(counts)).toEqual(new Set([1]))
      }).pipe(inThreads ? overThreads() : over(layer))
    )

    it.live("is lazy, and can be run again", () =>
      Effect.gen(function* () {
        yield* plain.takeNotes()
        const call = ThreadPool.execute((n: number) => n + 1, 1)
        const noted = plain.note("x")
        expect((yield* ThreadPool.stats).calls).toBe(1)
        expect(yield* call).toBe(2)
        expect(yield* call).toBe(2)
        expect(yield* Effect.all([noted, noted, call], { concurrency: 1 })).toEqual([undefined, undefined, 2])
      }).pipe(over(layer))
    )

    it("without a pool it says what to provide", async () => {
      const call = ThreadPool.execute(() => 1) as Effect.Effect<number>
      const exit = await Effect.runPromiseExit(call)
      expect(String(exit)).toMatch(/NodeThreads\.layer/)
    })
  })

  // ---------------------------------------------------------------------------
  // Modules
  // ---------------------------------------------------------------------------

  describe("module", () => {
    it.live("runs functions that are plain, async, or give something to wait for", () =>
      Effect.gen(function* () {
        expect(yield* plain.add(1, 2)).toBe(3)
        expect(yield* plain.declared("a")).toBe("A")
        expect(yield* plain.later(4)).toBe(4)
        expect(yield* untyped(plain).thenable(5)).toBe(5)
      }).pipe(over(layer))
    )

    it.live("can be named by a URL or a text", () =>
      Effect.gen(function* () {
        const byText = ThreadPool.module<typeof Plain>(moduleUrl("plain").href)
        expect(yield* byText.add(1, 2)).toBe(3)
        if (inThreads) {
          const path = ThreadPool.module<{ join: (...parts: ReadonlyArray<string>) => string }>("node:path")
          expect(yield* path.join("a", "b")).toBe("a/b")
        }
      }).pipe(over(layer))
    )

    it.live("is loaded once in each thread, and keeps its state", () =>
      Effect.gen(function* () {
        yield* plain.takeNotes()
        yield* plain.note(1)
        yield* plain.note(2)
        const other = ThreadPool.module<typeof Plain>(moduleUrl("plain"))
        expect(yield* other.takeNotes()).toEqual([1, 2])
      }).pipe(inThreads ? overThreads() : over(layer))
    )

    it.live("exports that are no functions can be read", () =>
      Effect.gen(function* () {
        expect(yield* plain.VERSION).toBe("1.2.3")
        expect(yield* plain.settings).toEqual({ retries: 3, hosts: ["a", "b"] })
        expect(yield* plain.nothing).toBe(undefined)
        expect(yield* plain.table).toEqual(new Map([["one", 1]]))
        // What has to be waited for, or run, is.
        expect(yield* plain.comingSoon).toBe("came")
        expect(yield* effects.version).toBe("1.2.3")
        expect(yield* Stream.runCollect(effects.countdown)).toEqual([3, 2, 1])
      }).pipe(over(layer))
    )

    it.live("an export that cannot cross says so", () =>
      Effect.gen(function* () {
        const record = yield* failureAs("NotCloneable")(plain.withCode)
        expect(record).toMatchObject({ path: "result.run", found: "function run", task: "plain.ts#withCode" })
      }).pipe(over(layer))
    )

    it.live("a function that is read, and not called, says to call it", () =>
      Effect.gen(function* () {
        const read = untyped(plain).add as Effect.Effect<
          unknown,
          ThreadError.ThreadError,
          ThreadPool.ThreadPool
        >
        const error = yield* taskFailed(read)
        expect(error.message).toMatch(/add is a function: call it/)
      }).pipe(over(layer))
    )

    it.live("an export that is not there fails, called or read, and the error tells what there is", () =>
      Effect.gen(function* () {
        const called = yield* taskFailed(
          untyped(plain).nope(1) as Effect.Effect<never, ThreadError.ThreadError>
        )
        expect(called).toMatchObject({ className: "TypeError", task: "plain.ts#nope" })
        expect(called.reason).toMatch(/plain\.ts has no export nope; it has .*add/)
        const read = yield* taskFailed(untyped(plain).nope as Effect.Effect<never, ThreadError.ThreadError>)
        expect(read.reason).toMatch(/has no export nope/)
        const notCallable = yield* taskFailed(
          untyped(plain).VERSION() as Effect.Effect<never, ThreadError.ThreadError>
        )
        expect(notCallable.reason).toMatch(/VERSION .*is not a function/)
        // What every object has is no export.
        for (const key of ["toString", "constructor", "hasOwnProperty", "__proto__"]) {
          const error = yield* taskFailed(
            untyped(plain)[key]() as Effect.Effect<never, ThreadError.ThreadError>
          )
          expect(error.reason).toMatch(new RegExp(`no export ${key}`))
        }
      }).pipe(over(layer))
    )

    it.live("a module that throws at load fails each call with its own error, and nothing else", () =>
      Effect.gen(function* () {
        const broken = ThreadPool.module<typeof ThrowsAtLoad>(moduleUrl("throwsAtLoad"))
        for (let i = 0; i < 3; i++) {
          const error = yield* taskFailed(broken.never())
          expect(error).toMatchObject({ className: "Misconfigured", reason: "no database is configured" })
          expect(error.properties).toMatchObject({ setting: "url" })
          expect(error.stack).toMatch(/throwsAtLoad\.ts/)
        }
        expect(yield* plain.add(1, 2)).toBe(3)
        expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0, failed: 3 })
      }).pipe(over(layer))
    )

    for (const thrown of [null, undefined]) {
      it.live(`a module that throws ${thrown} at load fails the call with that`, () =>
        Effect.gen(function* () {
          // Named as a source, whose compiled file is looked for where it is not found.
          const empty = ThreadPool.module<{ readonly run: () => number }>(
            `data:text/javascript,throw ${thrown}//module.ts`
          )
          const error = yield* taskFailed(empty.run())
          expect([error.className, error.reason, error.cause]).toEqual([`${thrown}`, `${thrown}`, thrown])
        }).pipe(over(layer))
      )
    }

    it.live("a module that is not there, or imports what is not there, fails the call and names it", () =>
      Effect.gen(function* () {
        const missing = ThreadPool.module<{ run: () => number }>(moduleUrl("no-such-thing"))
        expect((yield* taskFailed(missing.run())).reason).toMatch(/no-such-thing\.ts/)
        const imports = ThreadPool.module<typeof BrokenImport>(moduleUrl("brokenImport"))
        expect((yield* taskFailed(imports.never())).reason).toMatch(/no-such-module/)
        expect(yield* plain.add(1, 2)).toBe(3)
      }).pipe(over(layer))
    )

    it.live("cannot be assigned to, and is no promise", () =>
      Effect.gen(function* () {
        expect(() => {
          ;(plain as any).add = 1
        }).toThrow(/cannot be assigned/)
        expect(yield* Effect.promise(async () => plain)).toBe(plain)
        expect(plain.add).toBe(plain.add)
      }).pipe(over(layer))
    )

    it.live("a task sees its number", () =>
      Effect.gen(function* () {
        const { task } = yield* plain.where()
        expect(task > 0).toBe(inThreads)
      }).pipe(over(layer))
    )

    it.live("arguments and results are copies, also on the calling thread", () =>
      Effect.gen(function* () {
        const given = { list: [1] }
        const got = yield* ThreadPool.execute((given: { list: Array<number> }) => {
          given.list.push(2)
          const global = globalThis as { keptForTest?: typeof given }
          global.keptForTest = given
          return given
        }, given)
        expect(given).toEqual({ list: [1] })
        expect(got).toEqual({ list: [1, 2] })
        got.list.push(3)
        const kept = yield* ThreadPool.execute(
          () => (globalThis as { keptForTest?: { list: Array<number> } }).keptForTest
        )
        expect(kept).toEqual({ list: [1, 2] })
      }).pipe(inThreads ? overThreads() : over(layer))
    )

    it.live("what several calls are given, or give, is not shared among them", () =>
      Effect.gen(function* () {
        // Known to be short, so that several are with a thread at one time.
        const bump = (given: { n: number }): number => ++given.n
        yield* Effect.forEach(upTo(100), (n) => ThreadPool.execute(bump, { n }))
        const given = { n: 0 }
        const bumped = yield* Effect.forEach(upTo(100), () => ThreadPool.execute(bump, given), {
          concurrency: "unbounded"
        })
        expect(new Set(bumped)).toEqual(new Set([1]))
        expect(given).toEqual({ n: 0 })

        const got = yield* Effect.forEach(upTo(100), () => plain.settings, { concurrency: "unbounded" })
        expect(new Set(got).size).toBe(100)
        expect(new Set(got.map((_) => _.hosts)).size).toBe(100)
        const twice = yield* Effect.forEach(upTo(100), () => plain.giveTwice(), { concurrency: "unbounded" })
        // Within one result what is the same stays the same.
        for (const [a, b] of twice) expect(a).toBe(b)
        expect(new Set(twice.map(([a]) => a)).size).toBe(100)
      }).pipe(over(layer))
    )

    it("that is named by an address which is relative to nothing is refused at once", () => {
      for (const address of ["./plain.ts", "../plain.ts"]) {
        expect(() => ThreadPool.module(address)).toThrow(/relative.*import\.meta\.url/)
        expect(() => ThreadPool.proxy<typeof Objects>(address, "Counter")).toThrow(
          /relative.*import\.meta\.url/
        )
      }
    })
  })

  // ---------------------------------------------------------------------------
  // Effects
  // ---------------------------------------------------------------------------

  describe("a function that gives an Effect", () => {
    it.live("gives what the Effect gives, also when it was promised", () =>
      Effect.gen(function* () {
        expect(yield* effects.double(21)).toBe(42)
        expect(yield* effects.find("here")).toBe("found")
        expect(yield* effects.promised(3)).toBe(3)
      }).pipe(over(layer))
    )

    it.live("fails with the typed error, which catchTag knows", () =>
      Effect.gen(function* () {
        const caught = yield* effects
          .find("nowhere")
          .pipe(
            Effect.catchTag("NotFound", (error) => Effect.succeed([error.id, error.tried, error.message]))
          )
        expect(caught).toEqual(["nowhere", 3, "there is no nowhere"])

        const denied = yield* effects.either("here", "ann").pipe(
          Effect.catchTag("NotFound", () => Effect.succeed(undefined)),
          Effect.catchTag("Denied", ({ since, user }) => Effect.succeed({ since, user }))
        )
        expect(denied).toEqual({ since: new Date(86_400_000), user: "ann" })

        const error = yield* failureOf(effects.find("nowhere"))
        expect(error).toBeInstanceOf(Error)
        expect(error).toMatchObject({ _tag: "NotFound", name: "NotFound" })
        expect((error as Error).stack).toMatch(/effects\.ts/)
        expect(yield* failureOf(effects.promised(-1))).toMatchObject({ _tag: "NotFound", id: "-1" })
      }).pipe(over(layer))
    )

    it.live("fails with errors that are no classes", () =>
      Effect.gen(function* () {
        expect(yield* failureOf(effects.failWith("just a text"))).toBe("just a text")
        expect(yield* failureOf(effects.failWithRecord())).toEqual({ _tag: "Odd", n: 1 })
      }).pipe(over(layer))
    )

    it.live("fails as TaskFailed when it dies, or throws before there is an Effect", () =>
      Effect.gen(function* () {
        const expected = [
          [effects.die("the end"), "the end"],
          [effects.throwInside(), "thrown inside"],
          [effects.throwBefore(), "thrown before there was an Effect"]
        ] as const
        for (const [call, reason] of expected) {
          expect(yield* taskFailed(call)).toMatchObject({ className: "RangeError", reason })
        }
      }).pipe(over(layer))
    )

    it.live("that interrupts itself interrupts the caller, as it would here", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(effects.interruptItself())
        expect(Exit.hasInterrupts(exit)).toBe(true)
        expect(yield* plain.add(1, 2)).toBe(3)
      }).pipe(over(layer))
    )

    it.live("that needs a service which is not there says which", () =>
      Effect.gen(function* () {
        const call = effects.needsService() as unknown as Effect.Effect<
          number,
          ThreadError.ThreadError,
          ThreadPool.ThreadPool
        >
        const error = yield* taskFailed(call)
        expect(error.message).toMatch(/test\/Clockwork/)
      }).pipe(over(layer))
    )

    it.live("is interrupted in the thread with its caller, and its finalizers run to the end", () =>
      Effect.gen(function* () {
        const shared = new Shared(3)
        const caller = yield* start(effects.hang(shared.cells))
        yield* shared.until(1)
        yield* Fiber.interrupt(caller)
        yield* shared.until(1, 1)
        yield* shared.until(1, 2)
        yield* eventuallyStats("nothing runs", (stats) => stats.running === 0)
        expect(yield* ThreadPool.stats).toMatchObject({ interrupted: 1, killed: 0, crashes: 0 })
        expect(yield* effects.double(1)).toBe(2)
      }).pipe(over(layer))
    )

    it.live("does not keep the caller waiting that interrupts it", () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const caller = yield* start(effects.finishAnyway(shared.cells))
        yield* shared.until(1)
        const exit = yield* Effect.andThen(Fiber.interrupt(caller), Fiber.await(caller))
        expect(Exit.hasInterrupts(exit)).toBe(true)
        // It goes on in peace.
        yield* shared.until(1, 1)
        yield* eventuallyStats("nothing runs", (stats) => stats.running === 0)
      }).pipe(over(layer))
    )

    it.live("that was not begun when its caller was interrupted is not run", () =>
      Effect.gen(function* () {
        const shared = new Shared(3)
        const caller = yield* Effect.forkScoped(effects.hang(shared.cells))
        yield* Fiber.interrupt(caller)
        yield* effects.double(1)
        expect(shared.get(0)).toBe(0)
      }).pipe(over(layer))
    )
  })

  // ---------------------------------------------------------------------------
  // Streams
  // ---------------------------------------------------------------------------

  describe("a stream", () => {
    const streams = {
      generator: () => generators.upTo(1000),
      "async generator": () => generators.upToAsync(1000),
      "promised generator": () =>
        untyped(generators).promisedGenerator(1000) as Stream.Stream<number, unknown, any>,
      "Effect's Stream": () => effects.range(1, 1000),
      "Effect of a Stream": () => untyped(effects).effectOfStream(1000) as Stream.Stream<number, unknown, any>
    }

    for (const [name, make] of Object.entries(streams)) {
      it.live(`of a ${name} gives everything, in order, and ends`, () =>
        Effect.gen(function* () {
          const stream = make()
          expect(yield* Stream.runCollect(stream)).toEqual(upTo(1000))
          // Each run begins anew.
          expect(yield* Stream.runCollect(Stream.take(stream, 3))).toEqual([1, 2, 3])
          yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
        }).pipe(over(layer))
      )
    }

    it.live("of nothing ends at once, and what is returned is no item", () =>
      Effect.gen(function* () {
        expect(yield* Stream.runCollect(generators.none())).toEqual([])
        expect(yield* Stream.runCollect(generators.withReturn())).toEqual([1])
      }).pipe(over(layer))
    )

    it.live("comes in batches: many items take few calls", () =>
      Effect.gen(function* () {
        yield* Stream.runDrain(generators.upTo(1))
        const before = (yield* ThreadPool.stats).calls
        expect(yield* Stream.runCollect(generators.upTo(10_000))).toHaveLength(10_000)
        const { calls } = yield* ThreadPool.stats
        expect(calls - before).toBeLessThan(1000)
      }).pipe(over(layer))
    )

    it.live("comes in batches that grow: of a generator, fewer are made in vain than were taken", () =>
      Effect.gen(function* () {
        for (const make of [generators.counted, generators.countedAsync]) {
          for (const taken of [1, 2, 3, 7, 10, 100]) {
            const shared = new Shared(2)
            expect(yield* Stream.runCollect(Stream.take(make(shared.cells), taken))).toHaveLength(taken)
            yield* shared.until(1, 1)
            expect(shared.get(0)).toBeGreaterThanOrEqual(taken)
            expect(shared.get(0)).toBeLessThan(2 * taken)
          }
        }
      }).pipe(over(layer))
    )

    it.live("makes no more than is asked for", () =>
      Effect.gen(function* () {
        for (const make of [generators.counted, generators.countedAsync, effects.counted]) {
          const shared = new Shared(2)
          const asked = new Shared(1)
          const reader = yield* start(
            Stream.runForEachArray(make(shared.cells), () =>
              Effect.suspend(() => {
                asked.set(asked.get() + 1)
                return Effect.never
              })
            )
          )
          yield* asked.until(1)
          // Calls that come and go mean that the thread could have made more.
          for (let i = 0; i < 20; i++) yield* plain.later(i)
          const made = shared.get(0)
          expect(made).toBeGreaterThan(0)
          // One of a generator, one chunk of a Stream, and one more that was begun.
          expect(made).toBeLessThanOrEqual(make === effects.counted ? 257 : 2)
          for (let i = 0; i < 20; i++) yield* plain.later(i)
          expect(shared.get(0)).toBe(made)
          yield* Fiber.interrupt(reader)
          yield* shared.until(1, 1)
        }
      }).pipe(over(layer))
    )

    it.live("that never ends can be taken from, and its finally runs", () =>
      Effect.gen(function* () {
        for (const make of [generators.counted, generators.countedAsync, effects.counted]) {
          const shared = new Shared(2)
          const stream = make(shared.cells)
          expect(yield* Stream.runCollect(Stream.take(stream, 3))).toHaveLength(3)
          yield* shared.until(1, 1)
          const made = shared.get(0)
          yield* plain.later(1)
          expect(shared.get(0)).toBe(made)
        }
        expect(yield* Stream.runCollect(Stream.take(effects.endless(), 1000))).toHaveLength(1000)
        yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
      }).pipe(over(layer))
    )

    it.live("runs its finally when the reader fails", () =>
      Effect.gen(function* () {
        for (const make of [generators.counted, generators.countedAsync, effects.counted]) {
          const shared = new Shared(2)
          const stream = make(shared.cells)
          const error = yield* failureOf(Stream.runForEach(stream, () => Effect.fail("enough")))
          expect(error).toBe("enough")
          yield* shared.until(1, 1)
        }
      }).pipe(over(layer))
    )

    it.live("runs its finally when its first batch was never asked for", () =>
      Effect.gen(function* () {
        const shared = new Shared(3)
        // A generator that was not begun has no finally to run; a Stream that was not begun, no finalizer.
        yield* Stream.runDrain(Stream.take(generators.counted(shared.cells), 0))
        yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
        expect(shared.get(0)).toBe(0)
      }).pipe(over(layer))
    )

    it.live("gives what there is while the next item takes its time", () =>
      Effect.gen(function* () {
        const shared = new Shared(3)
        const seen: Array<string> = []
        const reader = yield* start(
          Stream.runForEach(generators.gated(shared.cells), (item) => Effect.sync(() => seen.push(item)))
        )
        yield* eventually("the first has come", () => seen.length === 1)
        shared.set(1, 2)
        yield* Fiber.join(reader)
        expect(seen).toEqual(["first", "second"])
      }).pipe(over(layer))
    )

    it.live("is interrupted in the middle of making an item, and finalised", () =>
      Effect.gen(function* () {
        const shared = new Shared(3)
        const seen: Array<string> = []
        const reader = yield* start(
          Stream.runForEach(effects.stall(shared.cells), (item) => Effect.sync(() => seen.push(item)))
        )
        yield* shared.until(1)
        expect(seen).toEqual(["first"])
        yield* Fiber.interrupt(reader)
        yield* shared.until(1, 1)
        yield* shared.until(1, 2)
        yield* eventuallyStats("nothing runs", (stats) => stats.running === 0)
      }).pipe(over(layer))
    )

    it.live("that fails in the middle gives what came before, and then the typed error", () =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const failing = Stream.tap(effects.failAfter(5), (n) => Effect.sync(() => seen.push(n)))
        const caught = yield* Stream.runDrain(failing).pipe(
          Effect.catchTag("NotFound", ({ id, tried }) => Effect.succeed([id, tried]))
        )
        expect(caught).toEqual(["the rest", 5])
        expect(seen).toEqual(upTo(5))
      }).pipe(over(layer))
    )

    it.live("that dies or throws in the middle gives what came before, and then TaskFailed", () =>
      Effect.gen(function* () {
        for (const make of [effects.dieAfter, generators.throwAfter, generators.throwAfterAsync]) {
          const seen: Array<number> = []
          const stream = make(5)
          const error = yield* taskFailed(Stream.runForEach(stream, (n) => Effect.sync(() => seen.push(n))))
          expect(error).toMatchObject({ className: "RangeError", reason: "no more" })
          expect(seen).toEqual(upTo(5))
        }
        yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
      }).pipe(over(layer))
    )

    it.live("with an item that cannot cross fails, and names the place", () =>
      Effect.gen(function* () {
        const error = yield* failureAs("NotCloneable")(Stream.runDrain(generators.withFunction()))
        expect(error.path).toMatch(/inner\[0\]$/)
        expect(error.task).toBe("generators.ts#withFunction")
        yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
      }).pipe(over(layer))
    )

    it.live("that is refused as an Effect says to use it as a Stream", () =>
      Effect.gen(function* () {
        for (const stream of [generators.upTo(3), generators.upToAsync(3), effects.range(1, 3)]) {
          const asEffect = stream as unknown as Effect.Effect<
            unknown,
            ThreadError.ThreadError,
            ThreadPool.ThreadPool
          >
          expect((yield* taskFailed(asEffect)).hint).toMatch(/Stream/)
        }
        yield* eventuallyStats("nothing is kept", ({ threads }) => threads.every((_) => _.objects === 0))
      }).pipe(over(layer))
    )

    it.live("can be read by many at a time, each with its own", () =>
      Effect.gen(function* () {
        const all = yield* Effect.forEach(upTo(20), (n) => Stream.runCollect(generators.upTo(n * 50)), {
          concurrency: "unbounded"
        })
        expect(all).toEqual(upTo(20).map((n) => upTo(n * 50)))
      }).pipe(over(layer))
    )

    it.live("can be read from within a stream", () =>
      Effect.gen(function* () {
        const nested = Stream.flatMap(generators.upTo(5), (n) => generators.upTo(n))
        expect(yield* Stream.runCollect(nested)).toEqual([1, 1, 2, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 5])
      }).pipe(over(layer))
    )
  })
})

// -----------------------------------------------------------------------------
// What needs threads
// -----------------------------------------------------------------------------

describe("outside of any task", () => {
  it("a module's functions work all the same: there is a task that nobody aborts", () => {
    const task = Task.current()
    expect(task).toMatchObject({ thread: 0, deadline: undefined, aborted: false })
    expect(task.signal.aborted).toBe(false)
    const bytes = new Uint8Array(1)
    expect(task.move(bytes)).toBe(bytes)
    expect(Task.move(bytes)).toBe(bytes)
  })
})

describe("a pool over a platform's workers", () => {
  it.live("works like the one that is made for Node", () =>
    Effect.gen(function* () {
      const entry = new URL("../src/worker.ts", import.meta.url)
      const layer = Layer.provide(
        ThreadPool.layer({ name: "own", size: 1 }),
        NodeWorker.layer(() => new Worker(entry))
      )
      yield* Effect.gen(function* () {
        expect(yield* plain.where()).toMatchObject({ isMainThread: false, task: 1 })
        expect(yield* effects.double(21)).toBe(42)
        expect((yield* ThreadPool.stats).name).toBe("own")
      }).pipe(over(layer))
    })
  )
})

describe("a call goes", () => {
  it.live("to a thread that has nothing to do, before all others", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(upTo(20), () => plain.where())
      const shared = new Shared(2)
      const held = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const free = new Set<number>()
      for (let i = 0; i < 20; i++) free.add((yield* plain.where()).task)
      // All of them ran, one after the other, beside the one that holds its thread.
      expect(free.size).toBeLessThanOrEqual(2)
      expect(held.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      yield* Fiber.join(held)
    }).pipe(overThreads({ size: 3 }))
  )

  it.live("to another thread than the one that stands still, wherever it was sent at first", () =>
    Effect.gen(function* () {
      // Known to be short, both of them: such calls are sent ahead.
      const open = new Shared(2)
      open.set(1, 1)
      yield* Effect.forEach(upTo(100), () => plain.beginAndBlock(open.cells))
      yield* Effect.forEach(upTo(100), (n) => plain.add(n, 0))

      const shared = new Shared(2)
      const held = yield* start(plain.beginAndBlock(shared.cells))
      const sums = yield* Effect.forEach(upTo(50), (n) => start(plain.add(n, 0)))
      // The one that was to be short is not; nothing waits for it.
      expect(yield* Effect.forEach(sums, Fiber.join)).toEqual(upTo(50))
      expect(held.pollUnsafe()).toBeUndefined()
      shared.set(1, 1)
      yield* Fiber.join(held)
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("in the order in which it came, with several threads as well", () =>
    Effect.gen(function* () {
      const shared = new Shared(3)
      const held = yield* Effect.forEach([1, 2], () => start(plain.beginAndBlock(shared.cells)))
      yield* shared.until(2)
      // Each takes the next number when it begins.
      const taking = yield* Effect.forEach(upTo(20), () =>
        start(
          ThreadPool.execute((cells: Int32Array) => {
            const ticket = Atomics.add(cells, 2, 1)
            // Long enough that none is sent ahead of another.
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
            return ticket
          }, shared.cells)
        )
      )
      shared.set(1, 1)
      yield* Effect.forEach(held, Fiber.join)
      const tickets = yield* Effect.forEach(taking, Fiber.join)
      // Two at a time: no one begins before one that came two places earlier.
      tickets.forEach((ticket, i) => expect(Math.abs(ticket - i)).toBeLessThanOrEqual(1))
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("nowhere when the line is as long as it may be: it is turned away at once", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const held = yield* start(plain.beginAndBlock(shared.cells))
      yield* shared.until(1)
      const waiting = yield* Effect.forEach(upTo(3), (n) => start(plain.later(n)))
      const error = yield* failureAs("QueueFull")(plain.later(4))
      expect(error).toMatchObject({ maxQueue: 3, running: 1, task: "plain.ts#later", pool: "test" })
      expect(error.message).toMatch(/plain\.ts#later was turned away: 3 calls wait/)
      // Who gives up makes room.
      yield* Fiber.interrupt(waiting[0]!)
      const late = yield* start(plain.later(5))
      shared.set(1, 1)
      yield* Fiber.join(held)
      expect(yield* Effect.forEach([waiting[1]!, waiting[2]!, late], Fiber.join)).toEqual([2, 3, 5])
    }).pipe(overThreads({ maxQueue: 3 }))
  )
})

describe("in a thread", () => {
  for (const by of ["flag", "signal"] as const) {
    it.live(`a synchronous loop sees by its ${by} that its caller has gone`, () =>
      Effect.gen(function* () {
        const shared = new Shared(2)
        const caller = yield* start(plain.spinUntilAborted(shared.cells, by))
        yield* shared.until(1)
        yield* Fiber.interrupt(caller)
        yield* shared.until(by === "flag" ? 1 : 2, 1)
        expect(yield* plain.add(1, 2)).toBe(3)
        expect(yield* ThreadPool.stats).toMatchObject({ killed: 0, interrupted: 1 })
      }).pipe(overThreads())
    )
  }

  it.live("a function that was sent sees it by `this`", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const caller = yield* start(
        ThreadPool.execute(function (this: Task.Task, cells: Int32Array) {
          Atomics.store(cells, 0, 1)
          const until = Date.now() + 20_000
          while (!this.aborted && Date.now() < until);
          Atomics.store(cells, 1, this.aborted ? 1 : 2)
        }, shared.cells)
      )
      yield* shared.until(1)
      yield* Fiber.interrupt(caller)
      yield* shared.until(1, 1)
    }).pipe(overThreads())
  )

  it.live("an async function hears of it by the event of its signal", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const caller = yield* start(
        ThreadPool.execute(async function (this: Task.Task, cells: Int32Array) {
          const { signal } = this
          await new Promise<void>((resolve) => {
            signal.addEventListener("abort", () => {
              Atomics.store(
                cells,
                1,
                signal.aborted && (signal.reason as Error).name === "AbortError" ? 1 : 2
              )
              resolve()
            })
            Atomics.store(cells, 0, 1)
          })
        }, shared.cells)
      )
      yield* shared.until(1)
      yield* Fiber.interrupt(caller)
      yield* shared.until(1, 1)
    }).pipe(overThreads())
  )

  it.live("a task sees its deadline", () =>
    Effect.gen(function* () {
      const before = Date.now()
      const deadline = yield* ThreadPool.execute(function (this: Task.Task) {
        return this.deadline
      })
      const after = Date.now()
      expect(deadline).toBeGreaterThan(before + 59_000)
      expect(deadline).toBeLessThan(after + 61_000)
    }).pipe(overThreads({ taskTimeout: "1 minute" }))
  )

  it.live("a generator that holds its thread sees that its reader has gone, and its finally runs", () =>
    Effect.gen(function* () {
      const shared = new Shared(4)
      const reader = yield* start(
        Stream.runForEachArray(generators.spin(shared.cells), () => Effect.sync(() => shared.set(1, 2)))
      )
      yield* shared.until(1)
      yield* Fiber.interrupt(reader)
      yield* shared.until(1, 3)
      yield* shared.until(1, 1)
      expect(yield* plain.add(1, 2)).toBe(3)
      expect(yield* ThreadPool.stats).toMatchObject({ killed: 0 })
    }).pipe(overThreads())
  )

  it.live("a stream that is read slowly leaves its thread to others", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const seen = new Shared(1)
      yield* start(
        Stream.runForEachArray(generators.counted(shared.cells), () =>
          Effect.andThen(
            Effect.sync(() => seen.set(1)),
            Effect.never
          )
        )
      )
      yield* seen.until(1)
      expect(yield* plain.add(1, 2)).toBe(3)
    }).pipe(overThreads())
  )

  it.live("each thread loads a module for itself", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const held = yield* start(plain.noteAndBlock("of the first", shared.cells))
      yield* shared.until(1)
      // The first is busy, so this is the second.
      expect(yield* plain.takeNotes()).toEqual([])
      shared.set(1, 1)
      expect(yield* Fiber.join(held)).toEqual(["of the first"])
    }).pipe(overThreads({ size: 2 }))
  )

  it.live("with `concurrency` tasks that wait share a thread, and no more than that", () =>
    Effect.gen(function* () {
      const shared = new Shared(2)
      const all = yield* Effect.forEach(upTo(5), () => start(plain.beginAndWait(shared.cells)))
      yield* shared.until(3)
      yield* Effect.sleep(5)
      expect(shared.get()).toBe(3)
      expect(yield* ThreadPool.stats).toMatchObject({ size: 1 })
      shared.set(1, 1)
      yield* Effect.forEach(all, Fiber.join)
    }).pipe(overThreads({ concurrency: 3 }))
  )
})

// -----------------------------------------------------------------------------
// Types
// -----------------------------------------------------------------------------

describe("types", () => {
  it("a module's functions give Effects and Streams of what they give", () => {
    type Pool = ThreadPool.ThreadPool
    type Failure = ThreadError.ThreadError
    type NotFound = Effects.NotFound
    type Denied = Effects.Denied

    expectTypeOf(plain.add).toEqualTypeOf<(a: number, b: number) => Effect.Effect<number, Failure, Pool>>()
    expectTypeOf(plain.later(1)).toEqualTypeOf<Effect.Effect<number, Failure, Pool>>()
    expectTypeOf(plain.VERSION).toEqualTypeOf<Effect.Effect<"1.2.3", Failure, Pool>>()
    expectTypeOf(plain.comingSoon).toEqualTypeOf<Effect.Effect<string, Failure, Pool>>()
    expectTypeOf(effects.version).toEqualTypeOf<Effect.Effect<string, Failure, Pool>>()
    expectTypeOf(effects.countdown).toEqualTypeOf<Stream.Stream<number, Failure, Pool>>()
    expectTypeOf(effects.double(1)).toEqualTypeOf<Effect.Effect<number, Failure, Pool>>()
    expectTypeOf(effects.find("a")).toEqualTypeOf<Effect.Effect<string, NotFound | Failure, Pool>>()
    expectTypeOf(effects.either("a", "b")).toEqualTypeOf<
      Effect.Effect<string, NotFound | Denied | Failure, Pool>
    >()
    expectTypeOf(effects.promised(1)).toEqualTypeOf<Effect.Effect<number, NotFound | Failure, Pool>>()
    // A thread has none of the services of the program, except a pool.
    expectTypeOf(effects.nestedMany(1)).toEqualTypeOf<Effect.Effect<number, unknown, Pool>>()
    expectTypeOf(effects.needsService()).toEqualTypeOf<ThreadPool.NeedsServices<Effects.Clockwork>>()
    expectTypeOf(effects.range(1, 2)).toEqualTypeOf<Stream.Stream<number, Failure, Pool>>()
    expectTypeOf(effects.failAfter(1)).toEqualTypeOf<Stream.Stream<number, NotFound | Failure, Pool>>()
    expectTypeOf(generators.upTo(1)).toEqualTypeOf<Stream.Stream<number, Failure, Pool>>()
    expectTypeOf(generators.upToAsync(1)).toEqualTypeOf<Stream.Stream<number, Failure, Pool>>()
    expectTypeOf(generators.gated).returns.toEqualTypeOf<Stream.Stream<string, Failure, Pool>>()
  })

  it("a module is typed from the file, and wrong names and arguments are errors", () => {
    // @ts-expect-error there is no such export
    expectTypeOf(plain.nope).toBeAny()
    // @ts-expect-error the arguments are those of the function
    expectTypeOf(() => plain.add("1", 2)).toBeFunction()
    // @ts-expect-error none may be left out
    expectTypeOf(() => plain.add(1)).toBeFunction()
    // @ts-expect-error it cannot be assigned to
    expectTypeOf(() => (plain.VERSION = undefined)).toBeFunction()
  })

  it("execute gives what the function gives", () => {
    type Pool = ThreadPool.ThreadPool
    type Failure = ThreadError.ThreadError
    expectTypeOf(ThreadPool.execute((a: number) => a, 1)).toEqualTypeOf<
      Effect.Effect<number, Failure, Pool>
    >()
    expectTypeOf(ThreadPool.execute(async (a: string) => a, "a")).toEqualTypeOf<
      Effect.Effect<string, Failure, Pool>
    >()
    expectTypeOf(
      ThreadPool.execute(function* (n: number) {
        yield n
      }, 1)
    ).toEqualTypeOf<Stream.Stream<number, Failure, Pool>>()
    expectTypeOf(ThreadPool.execute((): any => 1)).toEqualTypeOf<Effect.Effect<any, Failure, Pool>>()
    expectTypeOf(ThreadPool.execute(() => {})).toEqualTypeOf<Effect.Effect<void, Failure, Pool>>()
    expectTypeOf(ThreadPool.execute((): number | string => 1)).toEqualTypeOf<
      Effect.Effect<number | string, Failure, Pool>
    >()
    // @ts-expect-error the arguments are those of the function
    expectTypeOf(() => ThreadPool.execute((a: number) => a, "1")).toBeFunction()
    // @ts-expect-error none may be left out
    expectTypeOf(() => ThreadPool.execute((a: number) => a)).toBeFunction()
    // @ts-expect-error there is no other `this` than the task
    expectTypeOf(() => ThreadPool.execute(function (this: Date) {})).toBeFunction()
  })

  it("what never comes, may be anything, or may be promised is typed as that", () => {
    type Pool = ThreadPool.ThreadPool
    type Failure = ThreadError.ThreadError
    const odd = ThreadPool.module<{
      fail: () => never
      maybe: (text: string) => number | Promise<string>
      join: (...parts: ReadonlyArray<string>) => string
      anything: any
    }>(moduleUrl("plain"))
    expectTypeOf(odd.fail()).toEqualTypeOf<Effect.Effect<never, Failure, Pool>>()
    expectTypeOf(odd.maybe("a")).toEqualTypeOf<Effect.Effect<number | string, Failure, Pool>>()
    expectTypeOf(odd.join("a", "b")).toEqualTypeOf<Effect.Effect<string, Failure, Pool>>()
    expectTypeOf(odd.anything).toBeAny()
    // JavaScript, of which nothing is known.
    expectTypeOf(ThreadPool.module<any>(moduleUrl("plain"))["run"]).toBeAny()
    expectTypeOf(ThreadPool.execute((): never => process.exit(1))).toEqualTypeOf<
      Effect.Effect<never, Failure, Pool>
    >()
  })

  it("where an object is wanted, its remote will do", () => {
    type Counter = Objects.Counter
    const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))
    expectTypeOf(objects.readCount).parameter(0).toEqualTypeOf<Counter | Remote.RemoteObject<Counter>>()
  })

  it("a layer needs nothing, and can fail to start its threads", () => {
    expectTypeOf(NodeThreads.layer()).toEqualTypeOf<
      Layer.Layer<ThreadPool.ThreadPool, ThreadError.SpawnFailed>
    >()
    expectTypeOf(ThreadPool.layerInline).toEqualTypeOf<Layer.Layer<ThreadPool.ThreadPool>>()
  })
})
