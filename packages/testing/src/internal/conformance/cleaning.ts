// What makes a connection ready for its next borrower: EV-43 to EV-47.
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Connection } from "effect/sql/SqlConnection"
import { TestClock } from "effect/testing"
import {
  type Bench,
  countOf,
  describe,
  eventually,
  expect,
  rowsOf,
  sessionOf,
  sqlFailure,
  start,
  type Tools,
  valueOf,
  within
} from "./kit.ts"

/** A clean-up that is counted, with what was there when it ran. */
const counted = () => {
  const found: Array<Connection> = []
  return { found, cleanup: (connection: Connection) => Effect.sync(() => found.push(connection)) }
}

const failing = () => Effect.fail(new Error("it cannot be cleaned"))
const dying = () => Effect.die(new Error("a defect of the clean-up"))

/** Begins a transaction that adds a row to a table, and does not end it. */
const leaveOpen = (connection: Connection, begin: string, table: string) =>
  Effect.andThen(
    connection.executeUnprepared(begin, [], undefined),
    rowsOf(connection, `insert into ${table} values (1)`)
  )

export const cleaning = <Services>({ dialect, simulated, test }: Bench<Services>): void => {
  const column = `n ${dialect.types.integer}`
  const begin = dialect.begins[0]!

  describe("cleaning up", () => {
    test("EV-43 a clean-up of one's own is called once a return", {}, function* (tools) {
      const { cleanup, found } = counted()
      const { pool, sql, stats } = yield* tools.open({ max: 1, cleanup })
      const handle = yield* pool.get
      yield* rowsOf(handle, "select 1 as n")
      expect(found).toHaveLength(0)
      yield* handle.release()
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(1)
      yield* handle.release()
      yield* Effect.scoped(Effect.asVoid(pool.get))
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(2)
      yield* pool.use(() => Effect.void)
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(3)
      yield* sql`select 1 as n`
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(4)
      yield* sql.withTransaction(Effect.andThen(sql`select 1 as n`, sql`select 2 as n`))
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(5)
      yield* Stream.runDrain(sql.unsafe(dialect.series(10)).stream)
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(6)
      yield* Effect.scoped(Effect.asVoid(sql.reserve))
      yield* stats({ idle: 1 })
      expect(found).toHaveLength(7)
    })

    test("EV-43 it has the connection, and is over before anyone else has it", {}, function* (tools) {
      const name = yield* tools.table(column)
      const { pool, stats } = yield* tools.open({
        max: 1,
        cleanup: (connection) => rowsOf(connection, `insert into ${name} values (2)`)
      })
      const handle = yield* pool.get
      const waiting = yield* start(pool.use((connection) => countOf(connection, name)))
      yield* stats({ pending: 1 })
      yield* handle.release()
      expect(yield* Fiber.join(waiting)).toBe(1)
      yield* stats({ idle: 1 })
      expect(yield* countOf(tools.observer, name)).toBe(2)
    })

    test("EV-44 what was not committed is rolled back, however it was begun", { max: 1 }, function* (tools) {
      const { observer, pool, stats, table } = tools
      for (const begin of dialect.begins) {
        const name = yield* table(column)
        const [first, seen] = yield* pool.use((connection) =>
          Effect.gen(function* () {
            yield* leaveOpen(connection, begin, name)
            return [connection.id, yield* countOf(connection, name)]
          })
        )
        expect(seen, begin).toBe(1)
        const [second, found] = yield* pool.use((connection) =>
          Effect.gen(function* () {
            const found = yield* countOf(connection, name)
            // What it does is its own, and stays.
            yield* rowsOf(connection, `insert into ${name} values (2)`)
            return [connection.id, found]
          })
        )
        expect([second, found], begin).toEqual([first, 0])
        expect(yield* countOf(observer, name), begin).toBe(1)
        yield* stats({ idle: 1, destroyed: 0 })
      }
    })

    test(
      "EV-44 also before it is handed to one who waits, and with prepared statements",
      { max: 1 },
      function* (tools) {
        const { observer, pool, stats, table } = tools
        const name = yield* table(column)
        const held = yield* pool.get
        yield* rowsOf(held, begin)
        yield* rowsOf(held, `insert into ${name} values (1)`)
        const waiting = yield* start(
          pool.use((connection) =>
            Effect.gen(function* () {
              const count = yield* countOf(connection, name)
              yield* rowsOf(connection, `insert into ${name} values (2)`)
              return [connection.id, count]
            })
          )
        )
        yield* stats({ pending: 1 })
        yield* held.release()
        expect(yield* Fiber.join(waiting)).toEqual([held.id, 0])
        expect(yield* countOf(observer, name)).toBe(1)
      }
    )

    test("EV-44 whatever the statements ran as", { max: 1 }, function* (tools) {
      const { pool, stats, table } = tools
      const runs: Record<string, (connection: Connection, sql: string) => Effect.Effect<unknown, unknown>> = {
        execute: (connection, sql) => connection.execute(sql, [], undefined),
        executeRaw: (connection, sql) => connection.executeRaw(sql, []),
        executeValues: (connection, sql) => connection.executeValues(sql, []),
        executeValuesUnprepared: (connection, sql) => connection.executeValuesUnprepared(sql, []),
        executeUnprepared: (connection, sql) => connection.executeUnprepared(sql, [], undefined),
        executeStream: (connection, sql) => Stream.runDrain(connection.executeStream(sql, [], undefined))
      }
      for (const [how, run] of Object.entries(runs)) {
        const name = yield* table(column)
        yield* pool.use((connection) =>
          Effect.andThen(run(connection, begin), run(connection, `insert into ${name} values (1)`))
        )
        yield* stats({ idle: 1 })
        expect(yield* pool.use((connection) => countOf(connection, name)), how).toBe(0)
      }
      expect(yield* pool.stats).toMatchObject({ created: 1 })
    })

    test("EV-44 after a borrower that failed, died or was interrupted", { max: 1 }, function* (tools) {
      const { pool, stats, table } = tools
      const endings: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        Effect.fail("failed"),
        Effect.die("died"),
        Effect.interrupt
      ]
      for (const ending of endings) {
        const name = yield* table(column)
        yield* Effect.exit(
          pool.use((connection) => Effect.andThen(leaveOpen(connection, begin, name), ending))
        )
        yield* stats({ idle: 1 })
        expect(yield* pool.use((connection) => countOf(connection, name))).toBe(0)
      }
      expect(yield* pool.stats).toMatchObject({ created: 1 })
    })

    test(
      "EV-44 what a client's statements had begun is rolled back, too",
      { max: 1 },
      function* ({ observer, sql, stats, table }) {
        const name = yield* table(column)
        yield* sql.unsafe(begin)
        yield* stats({ idle: 1 })
        yield* sql`insert into ${sql(name)} values (1)`
        expect(yield* countOf(observer, name)).toBe(1)
      }
    )

    test(
      'EV-44 settings and temporary tables stay with "rollback", and go with "reset"',
      { max: 1 },
      function* (tools) {
        const resetting = yield* tools.open({ max: 1, cleanup: "reset" })
        for (const { pool, stays } of [
          { pool: tools.pool, stays: true },
          { pool: resetting.pool, stays: false }
        ]) {
          const usual =
            dialect.setting && (yield* pool.use((connection) => valueOf(connection, dialect.setting!.get)))
          yield* pool.use((connection) =>
            Effect.gen(function* () {
              yield* rowsOf(connection, dialect.temporaryTable("passing"))
              if (dialect.setting !== undefined) yield* rowsOf(connection, dialect.setting.set)
            })
          )
          yield* pool.use((connection) =>
            Effect.gen(function* () {
              const count = yield* Effect.exit(countOf(connection, "passing"))
              expect(count._tag).toBe(stays ? "Success" : "Failure")
              if (dialect.setting !== undefined) {
                expect(usual).not.toEqual(dialect.setting.value)
                expect(yield* valueOf(connection, dialect.setting.get)).toEqual(
                  stays ? dialect.setting.value : usual
                )
              }
            })
          )
        }
        expect([yield* tools.pool.stats, yield* resetting.pool.stats]).toMatchObject([
          { created: 1 },
          { created: 1 }
        ])
      }
    )

    test(
      'EV-44 "reset" rolls back before it resets',
      { max: 1, cleanup: "reset" },
      function* ({ pool, stats, table }) {
        const name = yield* table(column)
        yield* pool.use((connection) => leaveOpen(connection, begin, name))
        expect(yield* pool.use((connection) => countOf(connection, name))).toBe(0)
        yield* stats({ idle: 1, created: 1 })
      }
    )

    test(
      "EV-44 statements that were prepared before a reset work after it",
      { max: 1, cleanup: "reset" },
      function* (tools) {
        const { pool, sql, stats, table } = tools
        const name = yield* table(column)
        for (let i = 0; i < 10; i++) {
          yield* sql`insert into ${sql(name)} ${sql.insert({ n: i })}`
          expect(yield* pool.use((connection) => countOf(connection, name))).toBe(i + 1)
          expect(yield* sql`select n from ${sql(name)} where n = ${i}`).toEqual([{ n: i }])
        }
        yield* stats({ idle: 1, created: 1 })
      }
    )

    test("EV-45 the clean-up can be skipped for one return", { max: 1 }, function* (tools) {
      const { observer, pool, stats, table } = tools
      const name = yield* table(column)
      const first = yield* pool.get
      yield* leaveOpen(first, begin, name)
      yield* first.release({ cleanup: "none" })
      yield* stats({ idle: 1 })
      // The transaction is still open for the next one, and nobody else sees it.
      const second = yield* pool.get
      expect([second.id, yield* countOf(second, name)]).toEqual([first.id, 1])
      expect(yield* countOf(observer, name)).toBe(0)
      yield* second.release()
      yield* stats({ idle: 1 })
      expect(yield* pool.use((connection) => countOf(connection, name))).toBe(0)
    })

    test(
      "EV-45 what is skipped for one return can be committed by the next borrower",
      { max: 1 },
      function* (tools) {
        const { observer, pool, table } = tools
        const name = yield* table(column)
        yield* pool.use((connection) =>
          Effect.andThen(leaveOpen(connection, begin, name), connection.setCleanup("none"))
        )
        yield* pool.use((connection) => rowsOf(connection, "commit"))
        yield* pool.use((connection) => rowsOf(connection, `insert into ${name} values (2)`))
        expect(yield* countOf(observer, name)).toBe(2)
      }
    )

    test("EV-45 another clean-up can stand in for one return", {}, function* (tools) {
      const usual = counted()
      const { pool, stats } = yield* tools.open({ max: 1, cleanup: usual.cleanup })
      const own = counted()
      const first = yield* pool.get
      yield* first.release({ cleanup: own.cleanup })
      yield* stats({ idle: 1 })
      expect([usual.found.length, own.found.length]).toEqual([0, 1])

      const second = yield* pool.get
      yield* second.setCleanup(own.cleanup)
      // The handle that was returned has no say any more.
      yield* first.setCleanup("none")
      yield* second.release()
      yield* stats({ idle: 1 })
      expect([usual.found.length, own.found.length]).toEqual([0, 2])

      yield* pool.use(() => Effect.void)
      yield* stats({ idle: 1 })
      expect([usual.found.length, own.found.length]).toEqual([1, 2])
    })

    test(
      "EV-45 where there is none, one return can have the rollback",
      { max: 1, cleanup: "none" },
      function* (tools) {
        const { pool, stats, table } = tools
        const name = yield* table(column)
        const first = yield* pool.get
        yield* leaveOpen(first, begin, name)
        yield* first.release({ cleanup: "rollback" })
        yield* stats({ idle: 1 })
        const second = yield* pool.get
        expect([second.id, yield* countOf(second, name)]).toEqual([first.id, 0])
        yield* leaveOpen(second, begin, name)
        yield* second.release()
        yield* stats({ idle: 1 })
        const third = yield* pool.get
        expect(yield* countOf(third, name)).toBe(1)
        yield* third.rollback
      }
    )

    test(
      "EV-46 where the clean-up fails, the return succeeds and the connection is closed",
      {},
      function* (tools) {
        const { pool, stats, steer, warnings } = yield* tools.open({ max: 1, cleanup: failing })
        const first = yield* pool.get
        const session = yield* sessionOf(tools, first)
        const waiting = yield* start(Effect.scoped(Effect.flatMap(pool.get, (_) => sessionOf(tools, _))))
        yield* stats({ pending: 1 })
        yield* first.release()
        expect(yield* within("the one in line", Fiber.join(waiting))).not.toBe(session)
        yield* stats({ size: 0, destroyed: 2, pending: 0 })
        expect(steer.ended).toBe(2)
        yield* gone(tools)
        yield* warnings
      }
    )

    test("EV-47 so it is where it dies", {}, function* (tools) {
      const { pool, stats, steer, warnings } = yield* tools.open({ max: 1, cleanup: dying })
      const first = yield* pool.get
      const session = yield* sessionOf(tools, first)
      const waiting = yield* start(Effect.scoped(Effect.flatMap(pool.get, (_) => sessionOf(tools, _))))
      yield* stats({ pending: 1 })
      yield* first.release()
      expect(yield* within("the one in line", Fiber.join(waiting))).not.toBe(session)
      yield* stats({ size: 0, destroyed: 2, pending: 0 })
      expect(steer.ended).toBe(2)
      yield* gone(tools)
      yield* warnings
    })

    test("EV-46 a clean-up that throws is one that dies", {}, function* (tools) {
      const { pool, stats, warnings } = yield* tools.open({
        max: 1,
        cleanup: () => {
          throw new Error("thrown by the clean-up")
        }
      })
      yield* pool.use(() => Effect.void)
      yield* stats({ size: 0, destroyed: 1 })
      yield* pool.use((connection) => connection.ping)
      yield* stats({ size: 0, destroyed: 2 })
      yield* warnings
    })

    simulated("EV-46 a clean-up that takes too long is one that fails", {}, function* (tools) {
      const { pool, stats, warnings } = yield* tools.open({
        max: 1,
        cleanup: () => Effect.never,
        cleanupTimeout: "3 seconds"
      })
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("2999 millis")
      expect(yield* pool.stats).toMatchObject({ size: 1, used: 1 })
      yield* TestClock.adjust("1 millis")
      yield* stats({ size: 0, destroyed: 1 })
      yield* warnings
    })

    const { server } = dialect
    if (server !== undefined) {
      test(
        "EV-46 the rollback of a session that has ended costs nobody anything",
        { max: 1 },
        function* (tools) {
          const { observer, pool, stats, table, warnings } = tools
          const name = yield* table(column)
          const first = yield* pool.get
          yield* leaveOpen(first, begin, name)
          const session = yield* sessionOf(tools, first)
          yield* rowsOf(observer, server.kill(session))
          yield* within("the session's end", sqlFailure(Effect.forever(first.ping)))
          yield* first.release()
          expect(yield* pool.use((connection) => countOf(connection, name))).toBe(0)
          yield* stats({ size: 1, destroyed: 1 })
          yield* warnings
        }
      )
    }
  })
}

const gone = ({ sessions }: Tools<any>) =>
  eventually(
    "no session is left",
    Effect.map(sessions, (count) => count === 0)
  )
