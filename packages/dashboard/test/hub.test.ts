/**
 * What those who watch are told as time passes, pools come and go, and clocks are set.
 */
import { Pool, PoolRegistry } from "@cenote/pool"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Hub } from "../src/internal/hub.ts"
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

  watch(hub: Hub, focus?: string) {
    return Effect.forkScoped(
      Stream.runForEach(hub.watch(focus), ({ data, event }) =>
        Effect.sync(() => {
          if (event === "whole") this.wholes++
          this.state = event === "whole" ? known(JSON.parse(data)) : changed(this.known, JSON.parse(data))
        })
      ),
      { startImmediately: true }
    )
  }
}

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

describe("figures", () => {
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
