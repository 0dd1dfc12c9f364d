// What a borrower has, and what becomes of a connection that comes back: EV-35 to EV-42, EV-63, EV-64, EV-66.
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { ConnectionPool, type SqlConnection } from "@cenote/sql"
import { Remote } from "@cenote/threads"
import {
  type Bench,
  busy,
  countOf,
  describe,
  eventually,
  expect,
  failureOf,
  rowsOf,
  sessionOf,
  sqlFailure,
  start,
  type Tools,
  valueOf,
  within
} from "./kit.ts"

/** All that can be asked of a connection on loan. */
const uses = (connection: SqlConnection.SqlConnection): Record<string, Effect.Effect<unknown, unknown>> => ({
  execute: connection.execute("select 1 as n", [], undefined),
  executeRaw: connection.executeRaw("select 1 as n", []),
  executeValues: connection.executeValues("select 1 as n", []),
  executeValuesUnprepared: connection.executeValuesUnprepared("select 1 as n", []),
  executeUnprepared: connection.executeUnprepared("select 1 as n", [], undefined),
  executeStream: Stream.runCollect(connection.executeStream("select 1 as n", [], undefined)),
  ping: connection.ping,
  rollback: connection.rollback,
  reset: connection.reset
})

/** Transforms rows. */
const upper = (rows: ReadonlyArray<any>): any => rows.map(({ label }) => ({ label: label.toUpperCase() }))

const borrowAndReturn = ({ pool }: Tools<any>) => pool.use((connection) => Effect.succeed(connection.id))

export const lending = <Services>({ dialect, kind, test }: Bench<Services>): void => {
  describe("lending", () => {
    test("EV-35 nothing connects before the first borrow", {}, function* ({ pool, sessions, steer }) {
      expect(yield* pool.stats).toMatchObject({ min: 0, max: 4, size: 0, created: 0 })
      expect(steer.attempts).toBe(0)
      expect(yield* sessions).toBe(0)
    })

    test(
      "EV-35 four may be connected at one time; a fifth borrower waits",
      {},
      function* ({ pool, stats, steer }) {
        const held = yield* Effect.forEach([1, 2, 3, 4], () => pool.get)
        expect(new Set(held.map(({ id }) => id)).size).toBe(4)
        const fifth = yield* start(Effect.scoped(Effect.map(pool.get, ({ id }) => id)))
        yield* stats({ pending: 1, used: 4, size: 4 })
        expect(fifth.pollUnsafe()).toBeUndefined()
        yield* held[2]!.release()
        expect(yield* Fiber.join(fifth)).toBe(held[2]!.id)
        expect(steer.attempts).toBe(4)
      }
    )

    test("EV-35 the connection that was used last is lent next", {}, function* ({ pool, stats }) {
      const [first, second, third] = [yield* pool.get, yield* pool.get, yield* pool.get]
      yield* second.release()
      yield* stats({ idle: 1 })
      yield* first.release()
      yield* stats({ idle: 2 })
      yield* third.release()
      yield* stats({ idle: 3 })
      const again = [yield* pool.get, yield* pool.get, yield* pool.get]
      expect(again.map(({ id }) => id)).toEqual([third.id, first.id, second.id])
    })

    test(
      "EV-35 and with fifo the one that has rested longest",
      { order: "fifo" },
      function* ({ pool, stats }) {
        const [first, second] = [yield* pool.get, yield* pool.get]
        yield* second.release()
        yield* stats({ idle: 1 })
        yield* first.release()
        yield* stats({ idle: 2 })
        expect((yield* pool.get).id).toBe(second.id)
      }
    )

    test("EV-36 each borrow gives a fresh handle on a reused connection", { max: 1 }, function* (tools) {
      const { pool, steer } = tools
      const first = yield* pool.get
      const session = yield* sessionOf(tools, first)
      const native = first.native
      yield* first.release()
      const second = yield* pool.get
      expect(second).not.toBe(first)
      expect(second.id).toBe(first.id)
      expect(second.connectedAt).toBe(first.connectedAt)
      expect(yield* sessionOf(tools, second)).toBe(session)
      // A handle on the connection, not one on the handle before.
      expect(second.native).toBe(native)
      expect(steer.attempts).toBe(1)
    })

    test("EV-37 returning keeps the connection open, and ends the handle", { max: 1 }, function* (tools) {
      const { pool } = tools
      const first = yield* pool.get
      const session = yield* sessionOf(tools, first)
      yield* first.release()
      for (const [name, use] of Object.entries(uses(first))) {
        const reason = yield* sqlFailure(use)
        expect(reason._tag, name).toBe("ConnectionError")
        expect(reason.message, name).toContain(
          `connection ${first.id} of pool ${JSON.stringify(pool.name)} was returned`
        )
      }
      const second = yield* pool.get
      expect(yield* sessionOf(tools, second)).toBe(session)
      // Also when the connection is on loan again.
      for (const [name, use] of Object.entries(uses(first))) {
        expect((yield* sqlFailure(use))._tag, name).toBe("ConnectionError")
      }
    })

    test(
      "EV-37 the end of its scope returns a connection, and ends the handle",
      { max: 1 },
      function* ({ pool }) {
        const handle = yield* Effect.scoped(Effect.tap(pool.get, (handle) => rowsOf(handle, "select 1 as n")))
        expect((yield* sqlFailure(rowsOf(handle, "select 1 as n"))).message).toContain("was returned")
        const kept = yield* pool.use((connection) => Effect.succeed(connection))
        expect((yield* sqlFailure(kept.ping)).message).toContain("was returned")
        expect(yield* pool.stats).toMatchObject({ size: 1, used: 0 })
      }
    )

    test(
      "EV-37 a stream that goes on after the return fails, and nobody waits for it",
      { max: 1 },
      function* (tools) {
        const { pool } = tools
        const first = yield* pool.get
        const begun = yield* Deferred.make<void>()
        const returned = yield* Deferred.make<void>()
        const reading = yield* start(
          first.executeStream(dialect.series(20_000), [], undefined).pipe(
            Stream.tap(() => Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(returned))),
            Stream.runCount
          )
        )
        yield* Deferred.await(begun)
        yield* first.release()
        const second = yield* within("the next borrow", pool.get)
        expect(yield* within("its statement", valueOf(second, "select 7"))).toBe(7)
        yield* Deferred.succeed(returned, undefined)
        const reason = yield* within("the stream", sqlFailure(Fiber.join(reading)))
        expect(reason._tag).toBe("ConnectionError")
        expect(reason.message).toContain("was returned")
        expect(yield* within("a later statement", valueOf(second, "select 8"))).toBe(8)
      }
    )

    if (dialect.server !== undefined) {
      const { sleep } = dialect.server
      test(
        "EV-37 nobody waits for a statement that is under way at the return",
        { max: 1 },
        function* (tools) {
          const { pool } = tools
          const first = yield* pool.get
          const slow = yield* start(Effect.exit(rowsOf(first, sleep(40))))
          yield* busy(tools, 1)
          yield* first.release()
          expect(
            yield* within(
              "the next borrower",
              pool.use((second) => valueOf(second, "select 7"))
            )
          ).toBe(7)
          expect((yield* within("the statement", Fiber.join(slow)))._tag).toBe("Failure")
          yield* busy(tools, 0)
        }
      )
    }

    test("EV-38 a handle knows whether it is held", { max: 1 }, function* ({ pool }) {
      const handle = yield* pool.get
      expect(yield* handle.isHeld).toBe(true)
      yield* handle.release()
      expect(yield* handle.isHeld).toBe(false)
      const next = yield* pool.get
      expect([yield* handle.isHeld, yield* next.isHeld]).toEqual([false, true])
    })

    test("EV-38 EV-39 returning twice does nothing the second time", { max: 2 }, function* ({ pool, stats }) {
      const [first, other] = [yield* pool.get, yield* pool.get]
      yield* first.release()
      yield* first.release()
      yield* stats({ idle: 1, used: 1, size: 2 })
      const next = yield* pool.get
      // Now the connection is another borrower's.
      yield* first.release()
      expect(yield* next.isHeld).toBe(true)
      const waiting = yield* start(Effect.scoped(Effect.map(pool.get, ({ id }) => id)))
      yield* stats({ pending: 1, used: 2, size: 2 })
      yield* other.release()
      expect(yield* Fiber.join(waiting)).toBe(other.id)
    })

    test(
      "EV-39 several that return one handle at once return it once",
      { max: 1 },
      function* ({ pool, stats }) {
        let cleanups = 0
        const handle = yield* pool.get
        yield* handle.setCleanup(() => Effect.sync(() => cleanups++))
        yield* Effect.all(
          Array.from({ length: 8 }, () => handle.release()),
          { concurrency: "unbounded" }
        )
        yield* stats({ idle: 1, used: 0, size: 1 })
        expect(cleanups).toBe(1)
      }
    )

    test(
      "EV-40 what is invalidated works until it is returned, and is closed then",
      { max: 1 },
      function* (tools) {
        const { pool, sessions, stats, steer } = tools
        const first = yield* pool.get
        yield* ConnectionPool.invalidate(first)
        expect(yield* valueOf(first, "select 3")).toBe(3)
        expect(yield* first.isHeld).toBe(true)
        const waiting = yield* start(Effect.scoped(Effect.map(pool.get, ({ id }) => id)))
        yield* stats({ pending: 1 })
        yield* first.release()
        expect(yield* Fiber.join(waiting)).not.toBe(first.id)
        yield* stats({ size: 1, idle: 1, destroyed: 1 })
        expect(steer.ended).toBe(1)
        if (dialect.server !== undefined) {
          yield* eventually(
            "one session is left",
            Effect.map(sessions, (count) => count === 1)
          )
        }
      }
    )

    test(
      "EV-40 invalidating is for the loan alone: a handle that was returned does nothing",
      { max: 1 },
      function* (tools) {
        const { pool, stats } = tools
        const first = yield* pool.get
        yield* first.release()
        yield* first.invalidate
        const second = yield* pool.get
        yield* first.invalidate
        yield* second.release()
        yield* stats({ idle: 1, destroyed: 0 })
        expect(yield* borrowAndReturn(tools)).toBe(first.id)
      }
    )

    const { server } = dialect
    if (server !== undefined) {
      test(
        "EV-41 EV-42 a connection at rest that breaks is closed, and its slot is free",
        { max: 1 },
        function* (tools) {
          const { observer, pool, stats } = tools
          const [id, session] = yield* pool.use((connection) =>
            Effect.map(sessionOf(tools, connection), (session) => [connection.id, session] as const)
          )
          yield* rowsOf(observer, server.kill(session))
          yield* stats({ size: 0, destroyed: 1 })
          const [next, nextSession] = yield* pool.use((connection) =>
            Effect.map(sessionOf(tools, connection), (session) => [connection.id, session] as const)
          )
          expect(next).not.toBe(id)
          expect(nextSession).not.toBe(session)
        }
      )

      test(
        "EV-41 EV-42 one that breaks on loan is closed on return, and its slot serves the line",
        { max: 1 },
        function* (tools) {
          const { observer, pool, stats } = tools
          const first = yield* pool.get
          const waiting = yield* start(
            Effect.scoped(
              Effect.flatMap(pool.get, (connection) =>
                Effect.map(sessionOf(tools, connection), (session) => [connection.id, session] as const)
              )
            )
          )
          yield* stats({ pending: 1 })
          const session = yield* sessionOf(tools, first)
          yield* rowsOf(observer, server.kill(session))
          expect((yield* within("the statement", sqlFailure(Effect.forever(first.ping))))._tag).toBe(
            "ConnectionError"
          )
          expect(yield* first.isHeld).toBe(true)
          yield* first.release()
          const [id, other] = yield* within("the one in line", Fiber.join(waiting))
          expect(id).not.toBe(first.id)
          expect(other).not.toBe(session)
          yield* stats({ size: 1, destroyed: 1 })
        }
      )

      test("EV-41 a statement that is under way fails, and is not run again", { max: 2 }, function* (tools) {
        const { observer, pool, sql, stats, table } = tools
        const name = yield* table(`n ${dialect.types.integer}`)
        const connection = yield* pool.get
        const session = yield* sessionOf(tools, connection)
        const slow = yield* start(rowsOf(connection, server.sleep(30)))
        yield* busy(tools, 1)
        yield* rowsOf(observer, server.kill(session))
        expect((yield* within("the statement", sqlFailure(Fiber.join(slow))))._tag).toBe("ConnectionError")
        expect(yield* rowsOf(observer, server.busy)).toEqual([])
        yield* connection.release()
        yield* stats({ size: 0 })
        yield* sql`insert into ${sql(name)} (n) values (1)`
        expect(yield* countOf(observer, name)).toBe(1)
      })

      test(
        "EV-41 a client's statement on a session that was ended gets another one next time",
        { max: 1 },
        function* (tools) {
          const { observer, sql } = tools
          const session = Number(
            (yield* sql.unsafe<{ id: unknown }>(`select ${server.sessionId} as id`))[0]!.id
          )
          yield* rowsOf(observer, server.kill(session))
          yield* eventually(
            "a statement works again",
            Effect.map(Effect.exit(sql`select 1 as n`), ({ _tag }) => _tag === "Success")
          )
        }
      )
    }

    test("EV-63 the driver's own connection can be reached", { max: 1 }, function* ({ pool }) {
      const handle = yield* pool.get
      expect(handle.native).toBeInstanceOf(Object)
      expect(handle.native).not.toBe(handle)
      // In a thread it is the proxy of what is there.
      if (kind === "tpooled") {
        const proxy = handle.native as Remote.Remote<{ readonly ping: () => Effect.Effect<void> }>
        expect(Remote.isAlive(proxy)).toBe(true)
        yield* proxy.ping()
      }
    })

    test("EV-64 a handle has the whole interface of a connection", { max: 1 }, function* ({ pool, table }) {
      const name = yield* table(`n ${dialect.types.integer}, label ${dialect.types.text}`)
      const handle = yield* pool.get
      expect(handle.id).toBeTypeOf("number")
      expect(Math.abs(handle.connectedAt - Date.now())).toBeLessThan(60_000)
      yield* rowsOf(handle, `insert into ${name} values (1, 'one')`)
      yield* handle.executeUnprepared(`insert into ${name} values (2, 'two')`, [], undefined)
      yield* handle.executeRaw(`insert into ${name} values (3, 'three')`, [])
      const query = `select n, label from ${name} order by n`
      const rows = [
        { n: 1, label: "one" },
        { n: 2, label: "two" },
        { n: 3, label: "three" }
      ]
      const values = rows.map(Object.values)
      expect(yield* handle.execute(query, [], undefined)).toEqual(rows)
      expect(yield* handle.executeUnprepared(query, [], undefined)).toEqual(rows)
      expect(yield* handle.executeValues(query, [])).toEqual(values)
      expect(yield* handle.executeValuesUnprepared(query, [])).toEqual(values)
      expect(Array.from(yield* Stream.runCollect(handle.executeStream(query, [], undefined)))).toEqual(rows)
      const transformed = rows.map(({ label }) => ({ label: label.toUpperCase() }))
      expect(yield* handle.execute(query, [], upper)).toEqual(transformed)
      expect(yield* handle.executeUnprepared(query, [], upper)).toEqual(transformed)
      expect(Array.from(yield* Stream.runCollect(handle.executeStream(query, [], upper)))).toEqual(
        transformed
      )
      expect(yield* handle.executeRaw(query, [])).toBeDefined()
      yield* handle.ping
      yield* rowsOf(handle, dialect.begins[0]!)
      yield* rowsOf(handle, `delete from ${name}`)
      yield* handle.rollback
      expect(yield* countOf(handle, name)).toBe(3)
      yield* handle.rollback
      yield* rowsOf(handle, dialect.temporaryTable("only_here"))
      expect(yield* countOf(handle, "only_here")).toBe(0)
      yield* handle.reset
      yield* sqlFailure(countOf(handle, "only_here"))
      expect(yield* countOf(handle, name)).toBe(3)
    })

    test("EV-66 a connection goes back to its own pool, whichever is asked", { max: 1 }, function* (tools) {
      const other = yield* tools.open({ max: 1 })
      const mine = yield* tools.pool.get
      const theirs = yield* other.pool.get
      yield* other.pool.invalidate(mine)
      yield* mine.release()
      yield* tools.stats({ size: 0, destroyed: 1 })
      expect(yield* other.pool.stats).toMatchObject({ size: 1, used: 1, destroyed: 0 })
      expect(yield* valueOf(theirs, "select 4")).toBe(4)
      yield* theirs.release()
      yield* other.stats({ idle: 1, size: 1 })
    })

    test(
      "use fails with what its effect fails with, and returns the connection",
      { max: 1 },
      function* ({ pool, stats }) {
        expect(yield* failureOf(pool.use(() => Effect.fail("no" as const)))).toBe("no")
        yield* stats({ idle: 1, used: 0 })
        const hanging = yield* start(pool.use(() => Effect.never))
        yield* stats({ used: 1 })
        yield* Fiber.interrupt(hanging)
        yield* stats({ idle: 1, used: 0, destroyed: 0 })
        yield* Effect.exit(pool.use(() => Effect.die("bad")))
        yield* stats({ idle: 1, used: 0, destroyed: 0 })
      }
    )

    test(
      "the ones in line are served in the order in which they came",
      { max: 1 },
      function* ({ pool, stats }) {
        const held = yield* pool.get
        const served: Array<number> = []
        const all = []
        for (let n = 1; n <= 10; n++) {
          all.push(
            yield* start(
              pool.use((connection) =>
                Effect.andThen(
                  connection.ping,
                  Effect.sync(() => served.push(n))
                )
              )
            )
          )
          yield* stats({ pending: n })
        }
        yield* held.release()
        yield* Effect.forEach(all, Fiber.join)
        expect(served).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      }
    )
  })
}
