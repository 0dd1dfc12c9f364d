/* oxlint-disable unicorn/consistent-function-scoping, typescript/no-extraneous-class -- what cannot be sent is written where that is tried */
/**
 * How what goes wrong in a thread comes out: errors with all that they are, and values that cannot cross.
 */
import { ThreadError, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { failureAs, failureOf, moduleUrl, over, overThreads, places, taskFailed } from "./kit.ts"
import type * as Effects from "./modules/effects.ts"
import type * as Failures from "./modules/failures.ts"
import type * as Objects from "./modules/objects.ts"
import type * as Plain from "./modules/plain.ts"
import { values } from "./modules/failures.ts"

const failures = ThreadPool.module<typeof Failures>(moduleUrl("failures"))
const effects = ThreadPool.module<typeof Effects>(moduleUrl("effects"))
const plain = ThreadPool.module<typeof Plain>(moduleUrl("plain"))
const objects = ThreadPool.module<typeof Objects>(moduleUrl("objects"))

const notCloneable = failureAs("NotCloneable")

const upTo = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** The causes of an error, itself first. */
const chainOf = (error: unknown): ReadonlyArray<Error> =>
  error instanceof Error ? [error, ...chainOf(error.cause)] : []

describe.each(places)("$name", ({ layer }) => {
  /** The pool still works. */
  const isWell = Effect.gen(function* () {
    expect(yield* plain.add(1, 2)).toBe(3)
    expect(yield* ThreadPool.stats).toMatchObject({ crashes: 0 })
  })

  describe("TaskFailed", () => {
    it.live("has class name, message and own properties of what was thrown", () =>
      Effect.gen(function* () {
        for (const [call, limit] of [
          [failures.plain(), 3],
          [failures.rejected(), 4]
        ] as const) {
          const error = yield* taskFailed(call)
          expect(error).toMatchObject({
            className: "QuotaExceeded",
            reason: `more than ${limit}`,
            properties: { limit, code: "E_QUOTA", details: { bucket: "uploads", at: new Date(86_400_000) } }
          })
          expect(error.message).toMatch(
            new RegExp(
              `^failures\\.ts#(plain|rejected) failed in thread \\d+: QuotaExceeded: more than ${limit}$`
            )
          )
          expect(error).toBeInstanceOf(ThreadError.TaskFailed)
          expect(error.name).toBe("TaskFailed")
        }
        yield* isWell
      }).pipe(over(layer))
    )

    it.live("has as its cause the error itself, rebuilt", () =>
      Effect.gen(function* () {
        const { cause } = yield* taskFailed(failures.plain())
        expect(cause).toBeInstanceOf(Error)
        expect(cause).toMatchObject({ message: "more than 3", limit: 3, code: "E_QUOTA" })
        const [error] = chainOf(cause)
        expect(error!.stack).toMatch(/more than 3\n.*failures\.ts/)
        expect(Object.prototype.propertyIsEnumerable.call(error, "message")).toBe(false)
        expect(Object.prototype.propertyIsEnumerable.call(error, "stack")).toBe(false)
      }).pipe(over(layer))
    )

    it.live("keeps a name that the class gives itself", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(failures.named())
        expect(error).toMatchObject({ className: "NamedError", reason: "with a name" })
        expect(error.cause).toMatchObject({ name: "CustomName" })
      }).pipe(over(layer))
    )

    it.live("has what was assigned to the error, whatever it is called", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(failures.assigned())
        const expected = { status: 404, headers: { a: "b" }, errors: { field: "wrong" } }
        expect(error.properties).toMatchObject(expected)
        expect(error.cause).toMatchObject(expected)
      }).pipe(over(layer))
    )

    it.live("has the stacks of both sides", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(failures.plain())
        // Of this side: what it is, and then where.
        expect(error.stack).toMatch(
          /^TaskFailed: failures\.ts#plain failed in thread \d+: QuotaExceeded: more than 3\n\s+at /
        )
        // Of the other side.
        expect(error.stack).toMatch(/in thread \d+: .*more than 3\n\s+at .*plain \(.*failures\.ts:\d+/)
      }).pipe(over(layer))
    )

    it.live("has the whole chain of causes, with their classes, stacks and properties", () =>
      Effect.gen(function* () {
        const { cause } = yield* taskFailed(failures.chain())
        const chain = chainOf(cause)
        expect(chain.map((_) => _.message)).toEqual(["the outside", "the middle", "more than 1"])
        expect(chain.map((_) => _.stack?.includes("failures.ts"))).toEqual([true, true, true])
        expect(chain[2]).toMatchObject({ limit: 1, code: "E_QUOTA" })
        // The class that nobody gave a name of its own, too.
        const names = chain.map((_) => [_.name, _.constructor.name])
        expect(names[1]).toContain("TypeError")
        expect(names[2]).toContain("QuotaExceeded")
      }).pipe(over(layer))
    )

    it.live("has causes that are no errors", () =>
      Effect.gen(function* () {
        const { cause } = yield* taskFailed(failures.causedByValue())
        expect(cause).toMatchObject({ message: "the outside", cause: { reason: "a record", n: 1 } })
      }).pipe(over(layer))
    )

    it.live("has the errors of an AggregateError", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(failures.aggregate())
        expect(error).toMatchObject({ className: "AggregateError", reason: "several" })
        expect(error.cause).toMatchObject({
          cause: { message: "why" },
          errors: [{ name: "RangeError", message: "one" }, { message: "more than 2", limit: 2 }, "three"]
        })
      }).pipe(over(layer))
    )

    it.live("has a text in place of properties that cannot cross", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(failures.unclone())
        expect(error).toMatchObject({ className: "Refused", reason: "with what cannot cross" })
        const { callback, inner, mark, ok, socket, weak } = error.properties as Record<string, any>
        expect(ok).toEqual([1, { two: 2 }])
        expect(callback).toMatch(/onRefused/)
        expect(mark).toMatch(/mark/)
        expect(typeof socket).toBe("string")
        expect(socket).toMatch(/80/)
        expect(typeof weak).toBe("string")
        expect(inner).toMatchObject({ name: "TypeError", message: "inside a property" })
      }).pipe(over(layer))
    )

    it.live("comes from methods and streams the same way", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
        expect(yield* taskFailed(counter.fail("no"))).toMatchObject({
          task: "Counter.fail",
          className: "RangeError",
          reason: "no"
        })
        expect(yield* taskFailed(Stream.runDrain(effects.dieAfter(1)))).toMatchObject({
          task: "effects.ts#dieAfter",
          className: "RangeError",
          reason: "no more"
        })
      }).pipe(over(layer))
    )

    it.live("can be told from other errors by its tag, and be written down as a schema says", () =>
      Effect.gen(function* () {
        const caught = yield* failures
          .plain()
          .pipe(Effect.catchTag("TaskFailed", (error) => Effect.succeed(error.className)))
        expect(caught).toBe("QuotaExceeded")
        const error = yield* taskFailed(failures.causedByValue())
        expect(Schema.is(ThreadError.TaskFailed)(error)).toBe(true)
      }).pipe(over(layer))
    )
  })

  describe("what is thrown without being an error", () => {
    const crossing = [
      "text",
      "empty",
      "number",
      "notANumber",
      "bigint",
      "truth",
      "nothing",
      "null",
      "record",
      "list",
      "date",
      "map",
      "bare",
      "buffer"
    ] as const
    for (const which of crossing) {
      it.live(`is the cause itself: ${which}`, () =>
        Effect.gen(function* () {
          for (const call of [failures.value(which), failures.valueRejected(which)]) {
            const error = yield* taskFailed(call)
            expect(error.cause).toEqual(values[which])
            expect(typeof error.reason).toBe("string")
            expect(typeof error.className).toBe("string")
          }
          yield* isWell
        }).pipe(over(layer))
      )
    }

    const notCrossing = ["symbol", "function", "withFunction", "silentJson", "class", "promise"] as const
    for (const which of notCrossing) {
      it.live(`fails the call also where it cannot cross: ${which}`, () =>
        Effect.gen(function* () {
          for (const call of [failures.value(which), failures.valueRejected(which)]) {
            const error = yield* taskFailed(call)
            expect(typeof error.reason).toBe("string")
            expect(typeof error.className).toBe("string")
          }
          yield* isWell
        }).pipe(over(layer))
      )
    }

    it.live("is shown in the message", () =>
      Effect.gen(function* () {
        expect((yield* taskFailed(failures.value("text"))).reason).toBe("just a text")
        expect((yield* taskFailed(failures.value("number"))).reason).toBe("42")
        expect((yield* taskFailed(failures.value("record"))).reason).toMatch(/E1/)
        expect((yield* taskFailed(failures.value("nothing"))).reason).toBe("undefined")
        expect((yield* taskFailed(failures.value("null"))).reason).toBe("null")
        expect((yield* taskFailed(failures.value("symbol"))).reason).toMatch(/a symbol/)
      }).pipe(over(layer))
    )
  })

  describe("an error that resists being looked at", () => {
    const kinds = ["revoked", "getters", "message", "oddMessage", "oddName", "record", "noPrototype"] as const
    for (const which of kinds) {
      it.live(`fails its call, and nothing else: ${which}`, () =>
        Effect.gen(function* () {
          const error = yield* taskFailed(failures.throwHostile(which))
          expect(typeof error.reason).toBe("string")
          if (which === "getters") expect(error.reason).toBe("with getters")
          if (which === "oddName") expect(error.reason).toBe("with an odd name")
          yield* isWell
        }).pipe(over(layer))
      )
    }
  })

  describe("an error that has no end", () => {
    for (const which of ["ownCause", "ownErrors", "cyclicProperty", "deepChain"] as const) {
      it.live(`comes out all the same: ${which}`, () =>
        Effect.gen(function* () {
          const error = yield* taskFailed(failures[which]())
          const reasons = {
            ownCause: "its own cause",
            ownErrors: "its own errors",
            cyclicProperty: "in a circle",
            deepChain: "at 1000"
          }
          expect(error.reason).toBe(reasons[which])
          yield* isWell
        }).pipe(over(layer))
      )
    }

    it.live("a chain of causes comes as far as it is of use", () =>
      Effect.gen(function* () {
        const { cause } = yield* taskFailed(failures.deepChain())
        const chain = chainOf(cause)
        expect(chain.length).toBeGreaterThanOrEqual(10)
        expect(chain.slice(0, 3).map((_) => _.message)).toEqual(["at 1000", "at 999", "at 998"])
      }).pipe(over(layer))
    )

    it.live("large ones come whole", () =>
      Effect.gen(function* () {
        const error = yield* taskFailed(failures.large(2_000_000))
        expect(error.reason).toHaveLength(2_000_000)
        expect((error.properties as any).data).toHaveLength(2_000_000)
        const many = yield* taskFailed(failures.manyErrors(5000))
        const { errors } = many.cause as AggregateError
        expect(errors.length).toBeGreaterThanOrEqual(10)
        expect(errors.slice(0, 3)).toMatchObject(upTo(3).map((n) => ({ message: `number ${n - 1}` })))
        yield* isWell
      }).pipe(over(layer))
    )
  })

  // ---------------------------------------------------------------------------
  // What cannot cross
  // ---------------------------------------------------------------------------

  describe("an argument that cannot cross", () => {
    const cases: ReadonlyArray<readonly [what: string, value: unknown, path: string, found: RegExp]> = [
      ["a function", () => 1, "", /function/],
      ["a named function", function onClick() {}, "", /^function onClick$/],
      ["a class", class Box {}, "", /Box/],
      ["a symbol", Symbol("mark"), "", /^Symbol\(mark\)$/],
      ["in a record", { user: { name: "a", onClick: () => 1 } }, ".user.onClick", /function onClick/],
      ["in an array", [1, [2, () => 1]], "[1][1]", /function/],
      ["as a value of a Map", new Map([["key", { f: () => 1 }]]), `.get("key").f`, /function f/],
      ["as a value of a Map with odd keys", new Map([[{ a: 1 }, () => 1]]), ".values[0]", /function/],
      ["as a key of a Map", new Map([[() => 1, 1]]), ".keys[0]", /function/],
      ["in a Set", new Set([1, () => 1]), ".values[1]", /function/],
      [
        "in a Map in a Set in an array",
        [new Set([new Map([["a", () => 1]])])],
        `[0].values[0].get("a")`,
        /function/
      ],
      ["under a key that is no name", { "a b": { 1: () => 1 } }, `["a b"]["1"]`, /function/],
      ["a WeakMap", { cache: new WeakMap() }, ".cache", /WeakMap/],
      ["a Promise", { soon: Promise.resolve(1) }, ".soon", /Promise/],
      [
        "a getter that throws",
        {
          get a() {
            throw new Error("no")
          }
        },
        "",
        /cannot be read/
      ],
      [
        "in an instance of a class",
        new (class Form {
          readonly submit = () => 1
        })(),
        ".submit",
        /function submit/
      ],
      ["a symbol in an array", ["a", Symbol.iterator], "[1]", /Symbol\(Symbol\.iterator\)/]
    ]
    for (const [what, value, path, found] of cases) {
      it.live(`is named by the path to it: ${what}`, () =>
        Effect.gen(function* () {
          const error = yield* notCloneable(plain.all("first", value))
          expect(error.path).toBe(`arguments[1]${path}`)
          expect(error.found).toMatch(found)
          expect(error.task).toBe("plain.ts#all")
          expect(error.message).toContain(error.path)
          expect(error.message).toMatch(/cannot cross to another thread/)
          yield* isWell
        }).pipe(over(layer))
      )
    }

    it.live("fails before anything is sent", () =>
      Effect.gen(function* () {
        yield* plain.takeNotes()
        yield* notCloneable(plain.note(() => 1))
        expect(yield* plain.takeNotes()).toEqual([])
        expect(yield* ThreadPool.stats).toMatchObject({ running: 0 })
      }).pipe(over(layer))
    )

    it.live("of a circle is found", () =>
      Effect.gen(function* () {
        const circle: Record<string, unknown> = { a: 1 }
        circle["self"] = circle
        circle["run"] = () => 1
        expect((yield* notCloneable(plain.echo(circle))).path).toBe("arguments[0].run")
        // Without it the circle crosses.
        delete circle["run"]
        const back = (yield* plain.echo(circle)) as typeof circle
        expect(back["self"]).toBe(back)
      }).pipe(over(layer))
    )

    it.live("fails as well for execute, methods and constructors", () =>
      Effect.gen(function* () {
        const sent = yield* notCloneable(
          ThreadPool.execute(
            (f: unknown) => f,
            () => 1
          )
        )
        expect(sent.path).toBe("arguments[0]")
        const made = yield* notCloneable(ThreadPool.proxy(objects, "Counter", [(() => 1) as never]))
        expect(made).toMatchObject({ path: "arguments[0]", task: "new Counter" })
        const counter = yield* ThreadPool.proxy(objects, "Counter", [1])
        const called = yield* notCloneable(counter.increment((() => 1) as never))
        expect(called).toMatchObject({ path: "arguments[0]", task: "Counter.increment" })
        expect(yield* counter.increment()).toBe(2)
      }).pipe(over(layer))
    )

    it.live("fails its own call alone, however many go out with it", () =>
      Effect.gen(function* () {
        const results = yield* Effect.forEach(
          upTo(200),
          (n) => (n % 10 === 0 ? Effect.as(notCloneable(plain.echo({ n, f: () => 1 })), -n) : plain.echo(n)),
          { concurrency: "unbounded" }
        )
        expect(results).toEqual(upTo(200).map((n) => (n % 10 === 0 ? -n : n)))
        yield* isWell
      }).pipe(over(layer))
    )

    it.live("fails alone also among the first calls of new functions, and of objects", () =>
      Effect.gen(function* () {
        const counter = yield* ThreadPool.proxy(objects, "Counter", [0])
        const results = yield* Effect.forEach(
          upTo(30),
          (n): Effect.Effect<string | number, ThreadError.ThreadError, ThreadPool.ThreadPool> =>
            n % 3 === 0
              ? Effect.map(notCloneable(counter.increment((() => n) as never)), () => "refused" as const)
              : n % 3 === 1
                ? counter.increment()
                : // Each is a function that threads have not been told of.
                  ThreadPool.execute(new Function(`return "new ${n}"`) as () => string),
          { concurrency: "unbounded" }
        )
        let count = 0
        expect(results).toEqual(
          upTo(30).map((n) => (n % 3 === 0 ? "refused" : n % 3 === 1 ? ++count : `new ${n}`))
        )
      }).pipe(over(layer))
    )
  })

  describe("a result that cannot cross", () => {
    const cases = [
      ["function", "result", /function/],
      ["nested", "result.user.onClick", /function onClick/],
      ["inArray", "result[2][1]", /function/],
      ["inMap", `result.get("b").f`, /function f/],
      ["inSet", "result.values[1]", /function/],
      ["symbol", "result.mark", /Symbol\(mark\)/],
      ["weak", "result.cache", /WeakMap/],
      ["promise", "result.soon", /Promise/],
      ["oddKey", `result["a b"]["1"]`, /function/]
    ] as const
    for (const [which, path, found] of cases) {
      it.live(`is named by the path to it: ${which}`, () =>
        Effect.gen(function* () {
          const error = yield* notCloneable(failures.giveUncloneable(which))
          expect(error).toMatchObject({ path, task: "failures.ts#giveUncloneable" })
          expect(error.found).toMatch(found)
          expect(error.message).toMatch(/ThreadPool\.proxy/)
          yield* isWell
        }).pipe(over(layer))
      )
    }

    it.live("fails its own call alone, however many come back with it", () =>
      Effect.gen(function* () {
        // Known to be short, so that many are with a thread at one time.
        yield* Effect.forEach(upTo(100), (n) => plain.echo(n))
        const results = yield* Effect.forEach(
          upTo(200),
          (n) =>
            n % 10 === 0
              ? Effect.map(notCloneable(failures.giveUncloneable("nested")), () => -n)
              : plain.echo(n),
          { concurrency: "unbounded" }
        )
        expect(results).toEqual(upTo(200).map((n) => (n % 10 === 0 ? -n : n)))
      }).pipe(over(layer))
    )

    it.live("of an Effect fails the call as well", () =>
      Effect.gen(function* () {
        const error = yield* notCloneable(
          ThreadPool.execute(async () => {
            await Promise.resolve()
            return { later: { run: () => 1 } }
          })
        )
        expect(error.path).toBe("result.later.run")
      }).pipe(over(layer))
    )
  })

  it.live("errors are values too: as arguments and results they arrive as errors", () =>
    Effect.gen(function* () {
      const back = (yield* plain.echo(new TypeError("a value", { cause: "why" }))) as Error
      expect(back).toBeInstanceOf(Error)
      expect(back).toMatchObject({ name: "TypeError", message: "a value", cause: "why" })
      const failed = yield* failureOf(effects.failWith("text"))
      expect(failed).toBe("text")
    }).pipe(over(layer))
  )
})

describe("in threads", () => {
  it.live("errors that share errors come out before they hold up the thread", () =>
    Effect.gen(function* () {
      const error = yield* taskFailed(failures.sharedErrors(16))
      expect(error).toMatchObject({ className: "AggregateError", reason: "level 16" })
      expect(error.cause).toMatchObject({ errors: [{ message: "level 15" }, {}, { message: "level 15" }] })
    }).pipe(overThreads({ taskTimeout: "20 seconds", killGrace: 0 }))
  )

  it.live("what fails names its thread and its pool", () =>
    Effect.gen(function* () {
      const failed = yield* taskFailed(failures.plain())
      expect(failed).toMatchObject({ pool: "mine", thread: 1 })
      expect((yield* notCloneable(plain.echo(() => 1))).pool).toBe("mine")
      expect((yield* notCloneable(failures.giveUncloneable("symbol"))).pool).toBe("mine")
    }).pipe(overThreads({ name: "mine" }))
  )
})
