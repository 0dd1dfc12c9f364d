// How many connections there are, how long is waited for them, and what becomes of those who wait: EV-48 to EV-54, EV-65.
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { PoolError } from "@cenote/pool"
import { type ConnectionPool, SqlPoolError } from "@cenote/sql"
import {
  type Bench,
  countOf,
  describe,
  eventually,
  expect,
  failureOf,
  rowsOf,
  sessionOf,
  settle,
  sqlFailure,
  start,
  stated,
  Timers,
  type Tools,
  valueOf,
  within
} from "./kit.ts"
import { closedPort, wayTo } from "./network.ts"

/** What a test has connecting fail with. */
const refused = (attempt: number) =>
  new SqlError({
    reason: new ConnectionError({
      cause: new Error("refused"),
      message: `refused at attempt ${attempt}`,
      operation: "connect"
    })
  })

const idOf = (pool: ConnectionPool.Service) =>
  pool.use((connection) => Effect.as(connection.ping, connection.id))

/** Where the server is. */
const addressOf = ({ database }: Pick<Tools<any>, "database">) => stated(database.address, "address")

/** A driver that cannot connect. */
const brokenDriver = <Services>({ database }: Pick<Tools<Services>, "database">) =>
  Effect.gen(function* () {
    const { address, broken, driver } = database
    return address === undefined ? stated(broken, "broken")() : driver({ address: yield* closedPort })
  })

export const limiting = <Services>(bench: Bench<Services>): void => {
  const { dialect, simulated, test } = bench
  const column = `n ${dialect.types.integer}`

  describe("limits", () => {
    for (const options of [{ maxAge: 0 }, { maxIdle: 0 }, { maxAge: 0, maxIdle: 0 }]) {
      test(
        `EV-48 with ${JSON.stringify(options)} each return closes, and nothing is cleaned up`,
        {},
        function* (tools) {
          const timers = new Timers()
          let cleanups = 0
          const { pool, stats, steer } = yield* timers.watch(
            tools.open({ ...options, max: 2, cleanup: () => Effect.sync(() => cleanups++) })
          )
          for (let n = 1; n <= 3; n++) {
            expect(yield* idOf(pool)).toBe(n)
            yield* stats({ size: 0, idle: 0, destroyed: n })
            expect(steer.ended).toBe(n)
          }
          expect(cleanups).toBe(0)
          expect(timers.running).toBe(0)

          // It still limits.
          const [first, second] = [yield* pool.get, yield* pool.get]
          const third = yield* start(idOf(pool))
          yield* stats({ pending: 1, used: 2, size: 2 })
          yield* first.release()
          expect(yield* Fiber.join(third)).toBe(6)
          yield* second.release()
          yield* stats({ size: 0 })
        }
      )
    }

    test(
      "EV-48 what is not committed is gone all the same",
      { maxAge: 0 },
      function* ({ observer, pool, table }) {
        const name = yield* table(column)
        yield* pool.use((connection) =>
          Effect.andThen(
            rowsOf(connection, dialect.begins[0]!),
            rowsOf(connection, `insert into ${name} values (1)`)
          )
        )
        yield* eventually(
          "the row can be written",
          Effect.map(
            Effect.exit(rowsOf(observer, `insert into ${name} values (2)`)),
            ({ _tag }) => _tag === "Success"
          )
        )
        expect(yield* countOf(observer, name)).toBe(1)
      }
    )

    test(
      "EV-49 one who waits makes a connection of its own",
      { max: 1, maxAge: 0 },
      function* ({ pool, stats, steer }) {
        const held = yield* pool.get
        const waiting = yield* start(pool.get)
        yield* stats({ pending: 1, size: 1 })
        yield* held.release()
        const next = yield* Fiber.join(waiting)
        expect(next.id).toBe(2)
        expect(yield* pool.stats).toMatchObject({ pending: 0, used: 1, idle: 0, created: 2 })
        expect(steer.attempts).toBe(2)
        yield* next.release()
        yield* stats({ size: 0 })
      }
    )

    test("EV-50 where that fails, the others in line go on", { max: 1, maxAge: 0 }, function* (tools) {
      const { pool, stats, steer } = tools
      steer.plan = (attempt) => (attempt === 2 ? Effect.fail(refused(attempt)) : Effect.void)
      const held = yield* pool.get
      const waiting = []
      for (let n = 1; n <= 3; n++) {
        waiting.push(yield* start(idOf(pool)))
        yield* stats({ pending: n })
      }
      yield* held.release()
      expect((yield* within("the first in line", sqlFailure(Fiber.join(waiting[0]!)))).message).toBe(
        "refused at attempt 2"
      )
      expect(yield* within("the second", Fiber.join(waiting[1]!))).toBe(2)
      expect(yield* within("the third", Fiber.join(waiting[2]!))).toBe(3)
      yield* stats({ size: 0, pending: 0, failures: 1 })
    })

    test("EV-50 where all fail, each hears of it", { max: 1 }, function* ({ pool, stats, steer }) {
      steer.plan = (attempt) => Effect.fail(refused(attempt))
      const all = yield* Effect.forEach(Array.from({ length: 5 }), () => start(idOf(pool)))
      const messages = yield* Effect.forEach(all, (one) => within("one in line", sqlFailure(Fiber.join(one))))
      expect(messages.map(({ message }) => message)).toEqual(
        [1, 2, 3, 4, 5].map((n) => `refused at attempt ${n}`)
      )
      yield* stats({ size: 0, pending: 0, failures: 5 })
    })

    test(
      "EV-51 where connecting fails, the borrow fails, and nothing is lost",
      { max: 2 },
      function* ({ pool, sql, stats, steer }) {
        steer.plan = (attempt) =>
          attempt === 1 || attempt === 2 ? Effect.fail(refused(attempt)) : Effect.void
        const error = yield* failureOf(idOf(pool))
        expect(error).toBeInstanceOf(SqlError)
        expect((error as SqlError).reason).toMatchObject({
          _tag: "ConnectionError",
          message: "refused at attempt 1"
        })
        expect(yield* sqlFailure(sql`select 1`)).toMatchObject({
          _tag: "ConnectionError",
          message: "refused at attempt 2"
        })
        yield* stats({ size: 0, used: 0, creating: 0, failures: 2 })
        const held = [yield* pool.get, yield* pool.get]
        expect(held.map(({ id }) => id)).toEqual([1, 2])
      }
    )

    test(
      "EV-51 a layer that is to have connections fails where there are none to be had",
      {},
      function* (tools) {
        const broken = yield* brokenDriver(tools)
        const reason = yield* sqlFailure(tools.open({ min: 1 }, broken))
        expect(reason._tag).toBe("ConnectionError")
        // Without them it is there, and borrowing fails.
        const { pool, stats } = yield* tools.open({}, broken)
        expect(yield* failureOf(pool.get)).toBeInstanceOf(SqlError)
        expect((yield* sqlFailure(pool.client`select 1`))._tag).toBe("ConnectionError")
        yield* stats({ size: 0, failures: 2 })
      }
    )

    test("EV-51 connecting can be tried again", {}, function* (tools) {
      const { pool, stats, steer } = yield* tools.open({ max: 1, connectRetry: Schedule.recurs(3) })
      steer.plan = (attempt) => (attempt <= 3 ? Effect.fail(refused(attempt)) : Effect.void)
      expect(yield* idOf(pool)).toBe(1)
      yield* stats({ failures: 3, created: 1 })
    })

    simulated("EV-52 connecting has five seconds, then the borrow fails", { max: 1 }, function* (tools) {
      const { pool, sql, stats, steer } = tools
      let interrupted = 0
      steer.plan = () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const borrowing = yield* start(failureOf(idOf(pool)))
      yield* TestClock.adjust("4999 millis")
      expect(borrowing.pollUnsafe()).toBeUndefined()
      expect(yield* pool.stats).toMatchObject({ creating: 1, size: 1 })
      yield* TestClock.adjust("1 millis")
      const error = yield* within("the borrow", Fiber.join(borrowing))
      expect(error).toBeInstanceOf(SqlPoolError.ConnectTimeout)
      expect(error).toMatchObject({ pool: pool.name })
      expect(Duration.toMillis((error as SqlPoolError.ConnectTimeout).timeout)).toBe(5_000)
      expect((error as Error).message).toContain("no connection within 5s (connectTimeout)")
      yield* stats({ size: 0, creating: 0, failures: 1 })
      expect(interrupted).toBe(1)

      // A client's statement fails with what statements fail with, and says the same.
      const statement = yield* start(sqlFailure(sql`select 1`))
      yield* TestClock.adjust("5 seconds")
      const reason = yield* within("the statement", Fiber.join(statement))
      expect(reason).toMatchObject({ _tag: "ConnectionError", operation: "acquireConnection" })
      expect(reason.cause).toBeInstanceOf(SqlPoolError.ConnectTimeout)
      expect(reason.message).toContain("no connection within 5s (connectTimeout)")

      // The slot serves whoever comes next.
      steer.plan = () => Effect.void
      expect(yield* within("the next borrow", idOf(pool))).toBe(1)
    })

    simulated(
      "EV-52 the limit can be another, and is for each attempt",
      { max: 1, connectTimeout: "2 seconds" },
      function* (tools) {
        const { pool, stats, steer } = tools
        steer.plan = () => Effect.never
        const first = yield* start(failureOf(idOf(pool)))
        const second = yield* start(failureOf(idOf(pool)))
        yield* stats({ pending: 2 })
        yield* TestClock.adjust("2 seconds")
        expect(yield* within("the first", Fiber.join(first))).toBeInstanceOf(SqlPoolError.ConnectTimeout)
        expect(second.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("2 seconds")
        expect(yield* within("the second", Fiber.join(second))).toBeInstanceOf(SqlPoolError.ConnectTimeout)
        yield* stats({ size: 0, failures: 2 })
      }
    )

    simulated(
      "EV-53 a connection that comes too late is closed",
      { max: 1 },
      function* ({ pool, sessions, stats, steer }) {
        const arrival = yield* Deferred.make<void>()
        steer.stubborn = true
        steer.plan = (attempt) => (attempt === 1 ? Deferred.await(arrival) : Effect.void)
        const borrowing = yield* start(failureOf(idOf(pool)))
        yield* settle
        yield* TestClock.adjust("5 seconds")
        expect(yield* within("the borrow", Fiber.join(borrowing))).toBeInstanceOf(SqlPoolError.ConnectTimeout)
        yield* Deferred.succeed(arrival, undefined)
        yield* eventually("what came late is closed", () => steer.ended === 1)
        yield* eventually(
          "it has no session",
          Effect.map(sessions, (count) => count === 0)
        )
        yield* stats({ size: 0, idle: 0 })
        expect(yield* within("the next borrow", idOf(pool))).toBeTypeOf("number")
        expect(yield* pool.stats).toMatchObject({ size: 1, created: 1 })
      }
    )

    // The same with a server that does not answer.
    if (dialect.server !== undefined) {
      test(
        "EV-52 EV-53 a server that accepts and says nothing leaves neither a borrower nor a socket",
        {},
        function* (tools) {
          const way = yield* wayTo(addressOf(tools))
          const driver = tools.database.driver({ address: way.address })
          const { pool, stats } = yield* tools.open({ max: 2, connectTimeout: "300 millis" }, driver)
          const all = yield* Effect.forEach([1, 2, 3], () => start(failureOf(idOf(pool))))
          for (const one of all) {
            expect(yield* within("a borrower", Fiber.join(one))).toBeInstanceOf(SqlPoolError.ConnectTimeout)
          }
          yield* stats({ size: 0, pending: 0 })
          // A thread that is new may take longer than that before it even asks.
          expect(way.came()).toBeLessThanOrEqual(3)
          yield* eventually("all sockets are closed", () => way.connected() === 0)
          yield* way.open
          // Now it answers. On a busy machine that may still take longer.
          const again = Effect.retry(idOf(pool), { while: (error) => error._tag === "ConnectTimeout" })
          expect(yield* within("a borrow", again)).toBeTypeOf("number")
          yield* eventually("one socket is open", () => way.connected() === 1)
        }
      )

      test("EV-52 a slow server is waited for within the limit", {}, function* (tools) {
        const way = yield* wayTo(addressOf(tools))
        const { pool } = yield* tools.open(
          { max: 1, connectTimeout: "1 minute" },
          tools.database.driver({ address: way.address })
        )
        const borrowing = yield* start(idOf(pool))
        yield* eventually("it has come", () => way.came() === 1)
        expect(borrowing.pollUnsafe()).toBeUndefined()
        yield* way.open
        expect(yield* within("the borrow", Fiber.join(borrowing))).toBe(1)
      })
    }

    simulated(
      "EV-54 the limit for connecting is not one for waiting",
      { max: 1 },
      function* ({ pool, stats }) {
        const done = yield* Deferred.make<void>()
        yield* start(pool.use(() => Deferred.await(done)))
        yield* stats({ used: 1, creating: 0 })
        const waiting = yield* start(idOf(pool))
        yield* stats({ pending: 1 })
        yield* TestClock.adjust("4 minutes")
        expect(waiting.pollUnsafe()).toBeUndefined()
        yield* Deferred.succeed(done, undefined)
        expect(yield* within("the one in line", Fiber.join(waiting))).toBeTypeOf("number")
      }
    )

    simulated(
      "EV-54 one deadline for the whole borrow: in line",
      { max: 1, acquireTimeout: "7 seconds" },
      function* (tools) {
        const { pool, sql, stats } = tools
        const held = yield* pool.get
        const waiting = yield* start(failureOf(pool.get))
        const statement = yield* start(sqlFailure(sql`select 1`))
        yield* stats({ pending: 2 })
        yield* TestClock.adjust("6999 millis")
        expect(waiting.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust("1 millis")
        const error = yield* within("the borrow", Fiber.join(waiting))
        expect(error).toBeInstanceOf(PoolError.AcquireTimeout)
        expect(error).toMatchObject({ pool: pool.name, phase: "line" })
        const reason = yield* within("the statement", Fiber.join(statement))
        expect(reason).toMatchObject({ _tag: "ConnectionError", operation: "acquireConnection" })
        expect(reason.cause).toBeInstanceOf(PoolError.AcquireTimeout)
        yield* stats({ pending: 0, used: 1, timeouts: 2 })
        yield* held.release()
        expect(yield* idOf(pool)).toBe(held.id)
      }
    )

    simulated("EV-54 one deadline for the whole borrow: line and connecting together", {}, function* (tools) {
      const { pool, stats, steer } = yield* tools.open({
        max: 1,
        maxAge: 0,
        acquireTimeout: "7 seconds",
        connectTimeout: "1 minute"
      })
      const arrival = yield* Deferred.make<void>()
      steer.plan = (attempt) => (attempt === 1 ? Effect.void : Deferred.await(arrival))
      const held = yield* pool.get
      const waiting = yield* start(failureOf(pool.get))
      yield* stats({ pending: 1 })
      yield* TestClock.adjust("5 seconds")
      yield* held.release()
      yield* stats({ creating: 1 })
      yield* TestClock.adjust("1999 millis")
      expect(waiting.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect(yield* within("the borrow", Fiber.join(waiting))).toMatchObject({
        _tag: "AcquireTimeout",
        phase: "create"
      })
      // The attempt goes on without the one who asked for it.
      expect(yield* pool.stats).toMatchObject({ creating: 1, pending: 0 })
      yield* Deferred.succeed(arrival, undefined)
      expect(yield* within("the next borrow", idOf(pool))).toBe(2)
    })

    test(
      "a line that is full turns the next one away at once",
      { max: 1, maxWaiting: 1 },
      function* ({ pool, sql, stats }) {
        const held = yield* pool.get
        const waiting = yield* start(idOf(pool))
        yield* stats({ pending: 1 })
        const full = yield* failureOf(pool.get)
        expect(full).toBeInstanceOf(PoolError.LineFull)
        // Errors of a pool say which one it is: where none was given, it has the name of its database.
        expect(pool.name).toBe(pool.driver.target)
        expect((full as Error).message).toContain(pool.name)
        expect((yield* sqlFailure(sql`select 1`)).cause).toBeInstanceOf(PoolError.LineFull)
        yield* held.release()
        expect(yield* Fiber.join(waiting)).toBe(held.id)
      }
    )

    test(
      "EV-65 what is too much after a shrink is closed on return, with all that was open on it",
      { max: 3 },
      function* (tools) {
        const { observer, pool, sessions, stats, steer, table } = tools
        const name = yield* table(column)
        const held = [yield* pool.get, yield* pool.get, yield* pool.get]
        yield* rowsOf(held[0]!, dialect.begins[0]!)
        yield* rowsOf(held[0]!, `insert into ${name} values (1)`)
        yield* pool.resize(1)
        // Nobody who holds is disturbed.
        expect(yield* countOf(held[0]!, name)).toBe(1)
        expect(yield* pool.stats).toMatchObject({ max: 1, size: 3, used: 3 })
        yield* held[0]!.release()
        yield* stats({ size: 2, destroyed: 1 })
        yield* held[1]!.release()
        yield* stats({ size: 1, destroyed: 2 })
        expect(steer.ended).toBe(2)
        if (dialect.server !== undefined) {
          yield* eventually(
            "one session is left",
            Effect.map(sessions, (count) => count === 1)
          )
        }
        yield* held[2]!.release()
        yield* stats({ idle: 1, size: 1 })
        yield* rowsOf(observer, `insert into ${name} values (2)`)
        expect(yield* countOf(observer, name)).toBe(1)
      }
    )

    test(
      "EV-65 a shrink closes what is idle at once, and growing again serves the line",
      { max: 3 },
      function* (tools) {
        const { pool, stats } = tools
        yield* Effect.scoped(Effect.forEach([1, 2, 3], () => pool.get))
        yield* stats({ idle: 3 })
        yield* pool.resize(1)
        yield* stats({ size: 1, idle: 1, destroyed: 2 })
        const held = yield* pool.get
        const waiting = yield* Effect.forEach([1, 2], () => start(pool.get))
        yield* stats({ pending: 2 })
        yield* pool.resize({ max: 3 })
        const others = yield* Effect.forEach(waiting, Fiber.join)
        expect(new Set([held, ...others].map(({ id }) => id)).size).toBe(3)
      }
    )

    test("a connection goes after so many loans", { max: 1, maxUses: 3 }, function* (tools) {
      const sessions = []
      for (let i = 0; i < 6; i++) {
        sessions.push(yield* tools.pool.use((connection) => sessionOf(tools, connection)))
        if (i === 2 || i === 5) yield* tools.stats({ size: 0 })
      }
      expect(new Set(sessions.slice(0, 3)).size).toBe(1)
      expect(new Set(sessions.slice(3)).size).toBe(1)
      expect(new Set(sessions).size).toBe(2)
    })

    test("the pool is built with min connections, and keeps them", {}, function* (tools) {
      const { pool, stats, steer } = yield* tools.open({ min: 2, max: 3 })
      expect(yield* pool.stats).toMatchObject({ min: 2, max: 3, size: 2, idle: 2 })
      expect(steer.attempts).toBe(2)
      const held = yield* pool.get
      yield* held.invalidate
      yield* held.release()
      yield* stats({ size: 2, idle: 2, created: 3, destroyed: 1 })
    })

    for (const [options, says] of [
      [{ max: -1 }, /max/],
      [{ min: 3, max: 2 }, /min.*max/s],
      [{ connectTimeout: Number.NaN }, /connectTimeout/],
      [{ maxIdle: -1 }, /maxIdle/]
    ] as const) {
      test(`options that make no sense are named: ${Object.keys(options).join(", ")}`, {}, function* (tools) {
        const exit = yield* Effect.exit(tools.open(options))
        expect(exit._tag).toBe("Failure")
        expect(String((exit as any).cause.reasons[0].defect)).toMatch(says)
      })
    }

    test("a statement's value comes through all the same after many loans", { max: 2 }, function* ({ pool }) {
      for (let n = 1; n <= 50; n++)
        expect(yield* pool.use((connection) => valueOf(connection, `select ${n}`))).toBe(n)
    })
  })
}
