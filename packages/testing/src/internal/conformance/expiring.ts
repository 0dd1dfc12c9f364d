// When connections at rest are closed, and by whom: EV-55 to EV-62, EV-70.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import {
  type Bench,
  countOf,
  describe,
  eventually,
  expect,
  rowsOf,
  sessionOf,
  settle,
  Timers,
  type Tools,
  valueOf
} from "./kit.ts"

const idOf = ({ pool }: Pick<Tools<any>, "pool">) =>
  pool.use((connection) => Effect.as(connection.ping, connection.id))

/** So many connections at rest, of which the first was returned first. */
const rest = Effect.fnUntraced(function* (
  { pool, stats }: Pick<Tools<any>, "pool" | "stats">,
  count: number
) {
  const held = yield* Effect.forEach(Array.from({ length: count }), () => Effect.uninterruptible(pool.get))
  for (const connection of held) yield* connection.release()
  yield* stats({ idle: count, size: count })
  return held.map(({ id }) => id)
})

/** As it always is in these tests: pings would be as good as real uses. */
const precise = { maxAgeJitter: 0 }

export const expiring = <Services>({ dialect, simulated, test }: Bench<Services>): void => {
  const column = `n ${dialect.types.integer}`

  describe("expiry", () => {
    simulated("EV-35 EV-55 a rest of more than ten seconds closes a connection", precise, function* (tools) {
      const { sessions, stats, steer } = tools
      yield* rest(tools, 1)
      yield* TestClock.adjust("10 seconds")
      yield* settle
      expect(yield* tools.pool.stats).toMatchObject({ idle: 1, destroyed: 0 })
      yield* TestClock.adjust("1 millis")
      yield* stats({ size: 0, destroyed: 1 })
      expect(steer.ended).toBe(1)
      if (dialect.server !== undefined) {
        yield* eventually(
          "no session is left",
          Effect.map(sessions, (count) => count === 0)
        )
      }
    })

    simulated(
      "EV-35 EV-55 EV-58 an age of more than thirty seconds does, however busy it is",
      precise,
      function* (tools) {
        const { stats } = tools
        const first = yield* idOf(tools)
        for (let second = 0; second < 30; second += 5) {
          yield* TestClock.adjust("5 seconds")
          expect(yield* idOf(tools)).toBe(first)
          yield* stats({ idle: 1 })
        }
        yield* TestClock.adjust("1 millis")
        yield* stats({ size: 0, destroyed: 1 })
        expect(yield* idOf(tools)).not.toBe(first)
      }
    )

    simulated(
      "EV-55 not all connections of one age go at one moment",
      { max: 4, maxIdle: Infinity },
      function* (tools) {
        yield* rest(tools, 4)
        yield* TestClock.adjust("29249 millis")
        yield* settle
        expect(yield* tools.pool.stats).toMatchObject({ idle: 4 })
        yield* TestClock.adjust("752 millis")
        yield* tools.stats({ size: 0, destroyed: 4 })
      }
    )

    simulated(
      "EV-56 what is held past its age stays, and is closed on return",
      { ...precise, max: 1 },
      function* (tools) {
        const { pool, stats } = tools
        const held = yield* pool.get
        yield* TestClock.adjust("2 minutes")
        expect(yield* valueOf(held, "select 2")).toBe(2)
        expect(yield* held.isHeld).toBe(true)
        expect(yield* pool.stats).toMatchObject({ used: 1, destroyed: 0 })
        yield* held.release()
        yield* stats({ size: 0, destroyed: 1 })
      }
    )

    simulated(
      "EV-57 each connection rests for itself",
      { ...precise, maxIdle: "100 millis", maxAge: Infinity },
      function* (tools) {
        const { pool, stats } = tools
        const [first, second] = [yield* pool.get, yield* pool.get]
        yield* first.release()
        yield* stats({ idle: 1 })
        yield* TestClock.adjust("60 millis")
        yield* second.release()
        yield* stats({ idle: 2 })
        yield* TestClock.adjust("41 millis")
        yield* stats({ idle: 1, size: 1, destroyed: 1 })
        expect((yield* tools.pool.get).id).toBe(second.id)
      }
    )

    simulated(
      "EV-57 a use ends the rest, and not the age",
      { ...precise, maxIdle: "10 seconds", maxAge: "25 seconds" },
      function* (tools) {
        const first = yield* idOf(tools)
        for (let i = 0; i < 3; i++) {
          yield* TestClock.adjust("8 seconds")
          expect(yield* idOf(tools)).toBe(first)
          yield* tools.stats({ idle: 1 })
        }
        yield* TestClock.adjust("1001 millis")
        yield* tools.stats({ size: 0, destroyed: 1 })
      }
    )

    simulated("EV-59 there is one timer, and none for what is not idle", precise, function* (tools) {
      const timers = new Timers()
      const { pool, stats } = yield* timers.watch(tools.open({ ...precise, max: 3 }))
      expect(timers.running).toBe(0)
      yield* rest({ pool, stats }, 3)
      yield* settle
      expect(timers.running).toBe(1)
      // When it goes off it finds nothing idle, and is the last one.
      const held = yield* Effect.forEach([1, 2, 3], () => pool.get)
      yield* TestClock.adjust("11 seconds")
      yield* settle
      expect(timers.running).toBe(0)
      for (const connection of held) yield* connection.release()
      yield* stats({ idle: 3 })
      yield* settle
      expect(timers.running).toBe(1)
      yield* TestClock.adjust("10001 millis")
      yield* stats({ size: 0, destroyed: 3 })
      yield* settle
      expect(timers.running).toBe(0)
    })

    simulated("EV-60 connections made in advance expire by age, and are replaced", {}, function* (tools) {
      const made = yield* tools.open({ ...precise, min: 2 })
      expect(yield* made.pool.stats).toMatchObject({ size: 2, created: 2 })
      yield* TestClock.adjust("30001 millis")
      yield* made.stats({ idle: 2, size: 2, created: 4, destroyed: 2 })
    })

    simulated(
      "EV-60 a deadline that is nearer is kept",
      { ...precise, maxIdle: "10 seconds", maxAge: "30 seconds" },
      function* (tools) {
        const { pool, stats } = tools
        const old = yield* pool.get
        yield* TestClock.adjust("28 seconds")
        const young = yield* pool.get
        yield* young.release()
        yield* stats({ idle: 1 })
        yield* old.release()
        yield* stats({ idle: 2 })
        // The one has ten seconds left, the other two.
        yield* TestClock.adjust("2001 millis")
        yield* stats({ idle: 1, size: 1, destroyed: 1 })
        expect((yield* pool.get).id).toBe(young.id)
      }
    )

    simulated("EV-60 what has expired is not lent, also where the timer is late", {}, function* (tools) {
      const late = yield* withoutTimers(tools.open({ ...precise, max: 1 }))
      const first = yield* idOf(late)
      yield* late.stats({ idle: 1 })
      yield* TestClock.adjust("11 seconds")
      expect(yield* late.pool.stats).toMatchObject({ idle: 1 })
      expect(yield* idOf(late)).not.toBe(first)
      yield* late.stats({ idle: 1, size: 1, destroyed: 1 })
    })

    simulated("what has rested for long gives a sign of life before it is lent", {}, function* (tools) {
      const { pool, stats } = yield* tools.open({ ...precise, max: 1, maxIdle: "1 hour", maxAge: "1 hour" })
      const session = yield* pool.use((connection) => sessionOf(tools, connection))
      yield* stats({ idle: 1 })
      yield* TestClock.adjust("10 minutes")
      expect(yield* pool.use((connection) => sessionOf(tools, connection))).toBe(session)
      yield* stats({ idle: 1, created: 1, destroyed: 0 })
    })

    simulated("connections are kept awake", {}, function* (tools) {
      const { pool, stats } = yield* tools.open({
        ...precise,
        max: 1,
        maxIdle: "1 hour",
        maxAge: "1 hour",
        keepAlive: { every: "30 seconds" }
      })
      const session = yield* pool.use((connection) => sessionOf(tools, connection))
      for (let i = 0; i < 5; i++) {
        yield* stats({ idle: 1, used: 0 })
        yield* TestClock.adjust("30 seconds")
      }
      yield* stats({ idle: 1, used: 0, created: 1, destroyed: 0 })
      expect(yield* pool.use((connection) => sessionOf(tools, connection))).toBe(session)
    })

    test("EV-61 clear closes what is idle, and leaves what is on loan", { max: 3 }, function* (tools) {
      const { pool, sessions, stats, steer } = tools
      const held = yield* pool.get
      const others = yield* Effect.forEach([1, 2], () => pool.get)
      for (const connection of others) yield* connection.release()
      yield* stats({ idle: 2, used: 1 })
      expect(yield* pool.clear).toBe(2)
      yield* stats({ idle: 0, used: 1, size: 1, destroyed: 2 })
      expect(steer.ended).toBe(2)
      if (dialect.server !== undefined) {
        yield* eventually(
          "one session is left",
          Effect.map(sessions, (count) => count === 1)
        )
      }
      expect(yield* valueOf(held, "select 6")).toBe(6)
      yield* held.release()
      yield* stats({ idle: 1 })
      expect(yield* idOf(tools)).toBe(held.id)
      expect(yield* pool.clear).toBe(1)
      expect(yield* pool.clear).toBe(0)
      yield* stats({ size: 0 })
    })

    test(
      "EV-61 EV-62 closing that fails is logged and told, and fails nobody",
      { max: 2 },
      function* (tools) {
        const { pool, stats, steer, warnings } = tools
        steer.closing = Effect.die(new Error("it cannot be closed"))
        const closed = yield* collect(tools, "Closed")
        yield* rest(tools, 1)
        expect(yield* pool.clear).toBe(1)
        yield* stats({ size: 0, destroyed: 1 })
        const held = yield* pool.get
        yield* held.invalidate
        yield* held.release()
        yield* stats({ size: 0, destroyed: 2 })
        yield* eventually("both are told", () => closed.length === 2)
        expect(closed).toMatchObject([{ reason: "cleared" }, { reason: "invalidated" }])
        for (const { failure } of closed) expect(String(failure)).toContain("it cannot be closed")
        const lines = yield* warnings
        expect(lines).toHaveLength(2)
        for (const { cause, text } of lines) {
          expect(text).toContain(pool.name)
          expect(cause).toContain("it cannot be closed")
        }
        // Nor the one who comes next.
        expect(yield* idOf(tools)).toBe(3)
        steer.closing = Effect.void
      }
    )

    test("EV-62 the end of the pool does not fail either", {}, function* (tools) {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = yield* tools.open({ max: 2 })
          pool.steer.closing = Effect.die(new Error("it cannot be closed"))
          yield* rest(pool, 2)
        })
      )
      const lines = yield* tools.warnings
      expect(lines).toHaveLength(2)
    })

    test("EV-70 connections made in advance can be borrowed and returned", {}, function* (tools) {
      const { pool, stats, steer } = yield* tools.open({ size: 3 })
      expect(yield* pool.stats).toMatchObject({ min: 3, max: 3, size: 3, idle: 3 })
      for (let round = 0; round < 3; round++) {
        const held = yield* Effect.forEach([1, 2, 3], () => pool.get)
        expect(new Set(held.map(({ id }) => id))).toEqual(new Set([1, 2, 3]))
        for (const connection of held) expect(yield* valueOf(connection, "select 1")).toBe(1)
        for (const connection of held) yield* connection.release()
        yield* stats({ idle: 3 })
      }
      expect(steer.attempts).toBe(3)
    })

    test(
      "recycling replaces what is idle at once, and what is on loan when it is returned",
      { max: 2 },
      function* (tools) {
        const { pool, stats } = tools
        const [first, second] = [yield* pool.get, yield* pool.get]
        yield* first.release()
        yield* stats({ idle: 1 })
        yield* pool.recycle
        yield* stats({ idle: 0, used: 1, destroyed: 1 })
        expect(yield* valueOf(second, "select 1")).toBe(1)
        yield* second.release()
        yield* stats({ size: 0, destroyed: 2 })
        expect(yield* idOf(tools)).toBe(3)
      }
    )

    test("suspending stops lending until it is resumed", { max: 2 }, function* (tools) {
      const { pool, stats } = tools
      yield* pool.suspend
      const waiting = yield* Effect.forkScoped(idOf(tools), { startImmediately: true })
      yield* stats({ pending: 1 })
      yield* pool.resume
      yield* stats({ pending: 0, idle: 1 })
      expect(waiting.pollUnsafe()?._tag).toBe("Success")
    })

    test("closing the pool waits for who holds, and then rolls back and closes", {}, function* (tools) {
      const name = yield* tools.table(column)
      let committed = false
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { pool, stats } = yield* tools.open({ max: 2 })
          yield* Effect.forkDetach(
            Effect.exit(
              pool.use((connection) =>
                Effect.gen(function* () {
                  yield* rowsOf(connection, dialect.begins[0]!)
                  yield* rowsOf(connection, `insert into ${name} values (1)`)
                  yield* settle
                  yield* rowsOf(connection, "commit")
                  committed = true
                  yield* rowsOf(connection, dialect.begins[0]!)
                  yield* rowsOf(connection, `insert into ${name} values (2)`)
                })
              )
            ),
            { startImmediately: true }
          )
          yield* stats({ used: 1, creating: 0 })
        })
      )
      expect(committed).toBe(true)
      expect(yield* countOf(tools.observer, name)).toBe(1)
    })
  })
}

/** What is told of the pool, of one kind. */
const collect = Effect.fnUntraced(function* (tools: Tools<any>, tag: "Closed") {
  const found: Array<{ readonly reason: string; readonly failure: unknown }> = []
  yield* Effect.forkScoped(
    Stream.runForEach(tools.pool.events, (event) =>
      Effect.sync(() => {
        if (event._tag === tag) found.push(event)
      })
    ),
    { startImmediately: true }
  )
  return found
})

/** Timers that are so late that they never go off. */
const withoutTimers = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Clock.clockWith((clock) => {
    const late = new Proxy(clock, {
      get: (_, key) => (key === "sleep" ? () => Effect.never : Reflect.get(clock, key))
    })
    return Effect.provideService(effect, Clock.Clock, late)
  })
