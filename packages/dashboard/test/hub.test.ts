/**
 * What those who watch are told as time passes, pools come and go, and clocks are set.
 */
import { Pool, PoolRegistry } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Logger, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Hub, type Message } from "../src/internal/hub.ts"
import type { Change, Sample } from "../src/internal/protocol.ts"
import { changed, type Known, known } from "../src/internal/top/state.ts"

const pace = 1_000

/** A hub that looks once a second at the pools of a registry of its own. */
const start = Effect.gen(function* () {
  const hub = new Hub({
    instance: "test",
    process: { pid: 1, title: "test", node: process.version, startedAt: 0 },
    readOnly: false,
    pace
  })
  yield* PoolRegistry.watch((entry) => hub.take(entry))
  yield* Effect.forkScoped(hub.run, { startImmediately: true })
  return hub
})

/** Somebody who watches, and knows what the messages add up to. */
class Viewer {
  private state: Known | undefined = undefined
  /** How often it was told everything. */
  wholes = 0

  get known(): Known {
    if (this.state === undefined) throw new Error("it has been told nothing yet")
    return this.state
  }

  figures(id: string) {
    return this.known.pools.get(id)?.figures
  }

  hear({ data, event }: Message): void {
    if (event === "whole") this.wholes++
    this.state = event === "whole" ? known(JSON.parse(data)) : changed(this.known, JSON.parse(data))
  }

  watch(hub: Hub, focus?: string) {
    return Effect.forkScoped(
      Stream.runForEach(hub.watch(focus), (message) => Effect.sync(() => this.hear(message))),
      { startImmediately: true }
    )
  }
}

/** Somebody who reads one message at a time, when the test says so. */
const reader = (hub: Hub, focus?: string) =>
  Effect.map(Stream.toPull(hub.watch(focus)), (pull) => Effect.map(pull, ([message]) => message))

/** Lets those who watch read what there is. */
const settle = Effect.repeat(Effect.yieldNow, { times: 50 })

const tick = Effect.andThen(TestClock.adjust(pace), settle)

const test = (name: string, effect: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.effect(name, () => effect.pipe(Effect.scoped, Effect.provide(PoolRegistry.layer)))

const make = (name: string, scope: Scope.Scope) =>
  Scope.provide(Pool.make({ name, acquire: Effect.succeed(1), max: 2 }), scope)

describe("pools that come and go", () => {
  test(
    "one that has gone before the next look is gone also for who began to watch meanwhile",
    Effect.gen(function* () {
      const hub = yield* start
      const scope = yield* Scope.make()
      yield* make("brief", scope)
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      yield* settle
      expect([...viewer.known.pools.keys()]).toEqual(["brief"])
      yield* Scope.close(scope, Exit.void)
      yield* tick
      expect([...viewer.known.pools.keys()]).toEqual([])
    })
  )

  test(
    "another of the same name has none of the past of the one before",
    Effect.gen(function* () {
      const hub = yield* start
      const first = yield* Scope.make()
      const old = yield* make("db", first)
      yield* Pool.suspend(old)
      yield* Pool.resume(old)
      const viewer = new Viewer()
      yield* viewer.watch(hub, "db")
      yield* tick
      yield* tick
      expect(viewer.known.focus?.events.map((_) => _.what)).toEqual(["Suspended", "Resumed"])
      yield* Scope.close(first, Exit.void)
      yield* Pool.suspend(yield* make("db", yield* Effect.scope))
      yield* tick
      expect(viewer.known.focus?.events.map((_) => _.what)).toEqual(["Suspended"])
      expect(viewer.known.focus?.history.length).toBeLessThan(3)
      expect(viewer.wholes).toBe(2)
    })
  )
})

describe("who watches", () => {
  test(
    "and reads too late is told everything anew, and misses nothing",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* make("db", yield* Effect.scope)
      const viewer = new Viewer()
      const read = Effect.map(yield* reader(hub), (message) => viewer.hear(message))
      yield* read
      yield* Pool.suspend(pool)
      yield* tick
      yield* Pool.resize(pool, { max: 7 })
      yield* tick
      yield* read
      expect(viewer.figures("db")).toMatchObject({ state: "suspended", max: 7 })
      expect(viewer.wholes).toBe(2)
      yield* Pool.resume(pool)
      yield* tick
      yield* read
      expect(viewer.figures("db")).toMatchObject({ state: "open", max: 7 })
      expect(viewer.wholes).toBe(2)
    })
  )

  test(
    "hears also of what comes after a look that went wrong, of which the log tells",
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
      const hub = yield* Effect.provide(start, Logger.layer([logger]))
      const pool = yield* make("db", yield* Effect.scope)
      const [entry] = yield* PoolRegistry.entries
      let isBroken = false
      yield* PoolRegistry.register({
        ...entry!,
        name: "broken",
        stats: Effect.map(entry!.stats, (stats) => (isBroken ? (null as never) : stats))
      })
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      yield* tick
      isBroken = true
      yield* tick
      expect(lines).toEqual(["the dashboard could not look at the pools"])
      isBroken = false
      yield* Pool.suspend(pool)
      yield* tick
      expect(viewer.figures("db")).toMatchObject({ state: "suspended" })
      expect(lines).toHaveLength(1)
    })
  )

  test(
    "finds the past there also where nobody watched before: the last 300 looks, the last 200 events",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* make("db", yield* Effect.scope)
      yield* tick
      const oneChange = Effect.gen(function* () {
        const read = yield* reader(hub, "db")
        yield* read
        for (let i = 0; i < 150; i++) yield* Effect.andThen(Pool.suspend(pool), Pool.resume(pool))
        yield* tick
        return (yield* read).data
      })
      const change: Change = JSON.parse(yield* Effect.scoped(oneChange))
      expect(change.focus?.events).toHaveLength(200)
      expect(change.focus?.events.at(-1)?.what).toBe("Resumed")

      yield* TestClock.adjust("500 seconds")
      yield* Pool.suspend(pool)
      const viewer = new Viewer()
      yield* viewer.watch(hub, "db")
      yield* settle
      const { events, history } = viewer.known.focus!
      const now = yield* Clock.currentTimeMillis
      expect(history.map(([at]) => at)).toEqual(Array.from({ length: 300 }, (_, i) => now - (299 - i) * pace))
      expect(events).toHaveLength(200)
      expect(events.at(-1)?.what).toBe("Suspended")
    })
  )

  test(
    "is told of the 100 oldest loans, the oldest first",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* Pool.make({ name: "db", acquire: Effect.succeed(1), max: 120 })
      for (let i = 0; i < 120; i++) yield* Effect.andThen(Pool.get(pool), TestClock.adjust(1))
      const viewer = new Viewer()
      yield* viewer.watch(hub, "db")
      yield* tick
      yield* tick
      const held = viewer.known.focus!.leases.map((_) => _.held)
      const { longestHeld, used } = viewer.figures("db")!
      expect([used, held.length]).toEqual([120, 100])
      expect(held).toEqual(Array.from({ length: 100 }, (_, i) => longestHeld - i))
    })
  )
})

describe("figures", () => {
  test(
    "that there are none of any more are told as none, after ten looks",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* make("db", yield* Effect.scope)
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      yield* Pool.use(pool, () => Effect.void)
      for (let i = 0; i < 10; i++) {
        yield* tick
        const rate = i === 0 ? 1 : 0
        expect(viewer.figures("db")).toMatchObject({ rate, wait50: 0, wait99: 0, hold50: 0, hold99: 0 })
      }
      yield* tick
      expect(viewer.figures("db")).toMatchObject({ wait50: null, wait99: null, hold50: null, hold99: null })
    })
  )

  test(
    "move whatever a pool is called",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* make("__proto__", yield* Effect.scope)
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      yield* tick
      yield* Pool.use(pool, () => Effect.void)
      yield* tick
      expect(viewer.figures("__proto__")).toMatchObject({ borrowed: 1, idle: 1 })
    })
  )

  test(
    "of a moment are in its sample, with what came and went since the one before",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* Pool.make({ name: "db", acquire: Effect.succeed(1), max: 1 })
      const viewer = new Viewer()
      yield* viewer.watch(hub, "db")
      const sample = (came: number, went: number, failed: number) =>
        Effect.gen(function* () {
          yield* tick
          const { hold50, hold99, idle, max, pending, used, wait50, wait99 } = viewer.figures("db")!
          const now = yield* Clock.currentTimeMillis
          const last: Sample = [
            now,
            used,
            idle,
            pending,
            max,
            wait50,
            wait99,
            hold50,
            hold99,
            came,
            went,
            failed
          ]
          expect(viewer.known.focus!.history.at(-1)).toEqual(last)
          return { hold50, wait50 }
        })
      yield* tick
      const use = Pool.use(pool, () => Effect.sleep(100))
      yield* Effect.forkScoped(Effect.all([use, use], { concurrency: 2 }), { startImmediately: true })
      const { hold50, wait50 } = yield* sample(1, 0, 0)
      expect([wait50, Math.round(hold50! / 10)]).toEqual([0, 10])
      yield* Pool.recycle(pool)
      yield* sample(0, 1, 0)
      hub.find("db")?.told({ _tag: "TimedOut", pool: "db", at: 0 })
      yield* sample(0, 0, 1)
    })
  )

  test(
    "of a thread say how much of the last pace it was busy",
    Effect.gen(function* () {
      const hub = yield* start
      yield* make("db", yield* Effect.scope)
      const [entry] = yield* PoolRegistry.entries
      let age = 0
      let busy = 0
      const thread = { thread: 1, state: "idle", running: 0, task: undefined, since: 0, ended: 0 }
      yield* PoolRegistry.register({
        ...entry!,
        kind: "threads",
        name: "cpu",
        threads: Effect.sync(() => ({ calls: {}, each: [{ ...thread, age, busy, heapUsed: undefined }] }))
      })
      const viewer = new Viewer()
      yield* viewer.watch(hub, "cpu")
      const loads: Array<number | undefined> = []
      for (const more of [1_000, 250, 0]) {
        age += 1_000
        busy += more
        yield* tick
        loads.push(viewer.known.focus?.threads?.[0]?.load)
      }
      expect(loads).toEqual([1, 0.25, 0])
    })
  )

  test(
    "tell whether creating works again, and forget after ten looks that it did not",
    Effect.gen(function* () {
      const hub = yield* start
      let works = false
      const pool = yield* Pool.make({
        name: "db",
        acquire: Effect.suspend(() => (works ? Effect.succeed(1) : Effect.fail(new Error("refused")))),
        max: 1
      })
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      const borrow = Effect.exit(Effect.scoped(Pool.get(pool)))
      const told = Effect.map(tick, () => viewer.figures("db")?.matter)
      yield* borrow
      expect(yield* told).toBe("Creating a resource fails: refused.")
      works = true
      yield* borrow
      expect(yield* told).toBe(
        "Creating a resource failed once in the last moments, and has worked since: refused."
      )
      works = false
      yield* Pool.recycle(pool)
      yield* borrow
      expect(yield* told).toBe("Creating a resource fails: refused.")
      works = true
      yield* borrow
      for (let i = 0; i < 9; i++) expect(yield* told).toMatch(/^Creating a resource failed/)
      expect(yield* told).toBe("")
    })
  )

  test(
    "rates are those of the time that has passed, whatever the wall clock was set to",
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let ahead = 0
      const set = Object.create(clock, {
        currentTimeMillisUnsafe: { value: () => clock.currentTimeMillisUnsafe() + ahead },
        currentTimeMillis: { value: Effect.map(clock.currentTimeMillis, (now) => now + ahead) }
      }) as Clock.Clock
      const hub = yield* Effect.provideService(start, Clock.Clock, set)
      const pool = yield* make("db", yield* Effect.scope)
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      for (const hours of [-1, 1, 0]) {
        ahead = hours * 3_600_000
        for (let i = 0; i < 5; i++) yield* Pool.use(pool, () => Effect.void)
        yield* tick
        expect([hours, viewer.figures("db")?.rate]).toEqual([hours, 5])
      }
    })
  )

  test(
    "a leak that is back is none, also when its borrower has the same resource again",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* Pool.make({
        name: "db",
        acquire: Effect.succeed(1),
        max: 1,
        leakAfter: "3 seconds"
      })
      const viewer = new Viewer()
      yield* viewer.watch(hub)
      const use = (seconds: number) => Pool.use(pool, () => Effect.sleep(seconds * 1_000))
      const worker = yield* Effect.forkScoped(Effect.andThen(use(5.5), use(10)), { startImmediately: true })
      for (let i = 0; i < 5; i++) yield* tick
      expect(viewer.figures("db")).toMatchObject({ level: "watch", longestHeld: 5_000 })
      yield* tick
      expect(viewer.figures("db")).toMatchObject({ level: "ok", used: 1, longestHeld: 500 })
      for (let i = 0; i < 3; i++) yield* tick
      expect(viewer.figures("db")).toMatchObject({ level: "watch", longestHeld: 3_500 })
      yield* Fiber.interrupt(worker)
    })
  )

  test(
    "reasons may have any name, and a create that came too late has its own",
    Effect.gen(function* () {
      const hub = yield* start
      const pool = yield* Pool.make({ name: "db", acquire: Effect.never, createTimeout: "2 seconds" })
      const viewer = new Viewer()
      yield* viewer.watch(hub, "db")
      const borrower = yield* Effect.forkScoped(Effect.exit(Effect.scoped(Pool.get(pool))), {
        startImmediately: true
      })
      yield* tick
      yield* tick
      yield* tick
      expect(Exit.isFailure(yield* Fiber.join(borrower))).toBe(true)
      hub
        .find("db")
        ?.told({ _tag: "Rejected", pool: "db", at: 0, reason: "constructor" } as PoolRegistry.Occurrence)
      yield* tick
      expect(viewer.known.focus?.failures).toEqual({ CreateTimeout: 1, constructor: 1 })
      expect(viewer.figures("db")?.matter).toMatch(/^Creating a resource fails: CreateTimeout: /)
    })
  )
})
