// Effects that log and trace.
import * as ThreadPool from "@cenote/threads/ThreadPool"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

export class Broken extends Data.TaggedError("Broken")<{ readonly part: string }> {
  override get message(): string {
    return `the ${this.part} is broken`
  }
}

/** The tenant on whose behalf something runs. */
export const Tenant = Context.Reference<string>("test/Tenant", { defaultValue: () => "nobody" })
export const Limits = Context.Reference<{ readonly most: number }>("test/Limits", {
  defaultValue: () => ({ most: 1 })
})

export const tenant = (): Effect.Effect<string> =>
  Effect.map(Effect.all([Tenant, Limits]), ([tenant, { most }]) => `${tenant} ${most}`)
export const tenantStream = (): Stream.Stream<string> => Stream.fromEffect(tenant())

export const say = (text: string): Effect.Effect<void> => Effect.logInfo(text)

export const sayLevels = (): Effect.Effect<void> =>
  Effect.all(
    [
      Effect.logTrace("trace"),
      Effect.logDebug("debug"),
      Effect.logInfo("info"),
      Effect.logWarning("warning"),
      Effect.logError("error"),
      Effect.logFatal("fatal")
    ],
    { discard: true }
  )

export const sayMuch = (): Effect.Effect<void> =>
  Effect.logWarning("several", { of: ["them"] }, 3).pipe(
    Effect.annotateLogs({ inThread: "yes", depth: 2 }),
    Effect.withLogSpan("inner")
  )

export const sayCause = (): Effect.Effect<void> =>
  Effect.fail(new Broken({ part: "wheel" })).pipe(
    Effect.catchCause((cause) => Effect.logError("it went wrong", cause))
  )

export const sayUncloneable = (): Effect.Effect<void> => Effect.logInfo("look", { run: () => 1, n: 1 })

/** Logs while it is pulled from, once an item. */
export const sayEach = (text: string, count: number): Stream.Stream<number> =>
  Stream.rechunk(
    Stream.tap(Stream.range(1, count), (n) => Effect.logInfo(`${text} ${n}`)),
    1
  )

/** Leaves a fiber behind, which logs and traces when cell 0 is set, and then sets cell 1. */
export const sayLater = (text: string, cells: Int32Array): Effect.Effect<void> =>
  Effect.gen(function* () {
    while (Atomics.load(cells, 0) === 0) yield* Effect.sleep(1)
    yield* Effect.withSpan(Effect.logInfo(`${text}, late`), "a late span")
    Atomics.store(cells, 1, 1)
  }).pipe(Effect.annotateLogs("of", text), Effect.forkDetach, Effect.andThen(Effect.logInfo(text)))

/** Logs, waits for cell 0, and logs again. */
export const sayAround = (text: string, cells: Int32Array): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* Effect.logInfo(`${text} begins`)
    Atomics.add(cells, 1, 1)
    while (Atomics.load(cells, 0) === 0) yield* Effect.sleep(1)
    yield* Effect.logInfo(`${text} ends`)
  })

/** A timer may fire early, by what the event loop's own clock is behind. */
const aMillisecond = Effect.sync(() => {
  const end = performance.now() + 1
  while (performance.now() < end);
})

export const traced = (): Effect.Effect<string> =>
  Effect.gen(function* () {
    yield* Effect.annotateCurrentSpan("step", 1)
    yield* Effect.withSpan(aMillisecond, "inner.first", { attributes: { n: 1 }, kind: "client" })
    yield* Effect.withSpan(Effect.withSpan(Effect.void, "innermost"), "inner.second")
    return "done"
  }).pipe(Effect.withSpan("outer", { attributes: { list: [1, 2], text: "a" } }))

export const tracedEvent = (): Effect.Effect<void> =>
  Effect.currentSpan.pipe(
    Effect.flatMap((span) => Effect.sync(() => span.event("half way", 1_000_000n, { percent: 50 }))),
    Effect.orDie,
    Effect.withSpan("with event")
  )

export const tracedFailure = (part: string): Effect.Effect<never, Broken> =>
  Effect.withSpan(Effect.fail(new Broken({ part })), "failing")

export const tracedDeath = (): Effect.Effect<never> =>
  Effect.withSpan(Effect.die(new RangeError("dead")), "dying")

export const tracedHang = (cells: Int32Array): Effect.Effect<never> =>
  Effect.sync(() => Atomics.store(cells, 0, 1)).pipe(Effect.andThen(Effect.never), Effect.withSpan("hanging"))

export const hangLoudly = (cells: Int32Array): Effect.Effect<never> =>
  Effect.sync(() => Atomics.store(cells, 0, 1)).pipe(
    Effect.andThen(Effect.never),
    Effect.onInterrupt(() => Effect.logInfo("interrupted"))
  )

export const tracedOften = (count: number): Effect.Effect<void> =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    (i) => Effect.withSpan(Effect.sleep(i % 3), `span ${i}`),
    { concurrency: "unbounded", discard: true }
  )

export const tracedRoot = (): Effect.Effect<void> =>
  Effect.withSpan(Effect.void, "its own root", { root: true })

export const tracedStream = (): Stream.Stream<number> =>
  Stream.withSpan(
    Stream.mapEffect(Stream.range(1, 3), (n) => Effect.withSpan(Effect.succeed(n), `item ${n}`)),
    "the stream"
  )

// oxlint-disable-next-line typescript/consistent-type-imports -- this module is not to import itself
const self = ThreadPool.module<typeof import("./observed.ts")>(new URL("./observed.ts", import.meta.url))

/** The tenant as calls within calls see it, and in each a call for another tenant. */
export const tenantWithin = (
  depth: number
): Effect.Effect<ReadonlyArray<string>, unknown, ThreadPool.ThreadPool> =>
  Effect.gen(function* () {
    const within = depth > 1 ? yield* self.tenantWithin(depth - 1) : [yield* self.tenant()]
    const other = yield* Effect.provideService(self.tenant(), Tenant, "other")
    return [...within, other]
  })

/** Calls from within a call. */
export const tracedNested = (): Effect.Effect<string, unknown, ThreadPool.ThreadPool> =>
  self.traced().pipe(
    Effect.tap(() => self.say("from the inner call")),
    Effect.annotateLogs("level", "middle"),
    Effect.withSpan("around")
  )

/** What a task can see of the caller's span. */
export const parent = (): Effect.Effect<{ readonly traceId: string; readonly spanId: string } | undefined> =>
  Effect.currentParentSpan.pipe(
    Effect.map(({ spanId, traceId }) => ({ spanId, traceId })),
    Effect.orElseSucceed(() => undefined)
  )
