// Interruption: statements end where they run, and what comes after is not touched by what was before.
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { ThreadPool } from "@cenote/threads"
import {
  type Bench,
  busy,
  countOf,
  describe,
  eventually,
  expect,
  pause,
  rowsOf,
  sessionOf,
  settle,
  start,
  valueOf,
  within
} from "./kit.ts"

export const leaving = <Services>({ dialect, kind, test }: Bench<Services>): void => {
  const column = `n ${dialect.types.integer}`

  describe("interruption", () => {
    const { server } = dialect
    if (server !== undefined) {
      test(
        "an interrupted statement is cancelled on the server, and the connection is free",
        { max: 1 },
        function* (tools) {
          const { pool, sql, stats } = tools
          const sleep = server.sleep(60)
          const ways: Record<string, Effect.Effect<unknown, unknown>> = {
            "a client's statement": sql.unsafe(sleep),
            unprepared: sql.unsafe(sleep).unprepared,
            values: sql.unsafe(sleep).values,
            raw: sql.unsafe(sleep).raw,
            stream: Stream.runDrain(sql.unsafe(sleep).stream),
            "in a transaction": sql.withTransaction(sql.unsafe(sleep)),
            "on a borrowed connection": pool.use((connection) => rowsOf(connection, sleep))
          }
          for (const [name, way] of Object.entries(ways)) {
            const running = yield* start(way)
            yield* busy(tools, 1)
            yield* within(`the interruption: ${name}`, Fiber.interrupt(running))
            yield* busy(tools, 0)
            yield* stats({ used: 0 })
            expect(yield* within(`the next statement: ${name}`, sql`select 5 as n`)).toEqual([{ n: 5 }])
          }
        }
      )

      test("a borrower whose statement timed out goes on with the connection", { max: 1 }, function* (tools) {
        const { pool } = tools
        yield* pool.use((connection) =>
          Effect.gen(function* () {
            const session = yield* sessionOf(tools, connection)
            for (let i = 0; i < 5; i++) {
              const late = yield* within(
                "the timeout",
                Effect.timeoutOption(rowsOf(connection, server.sleep(60)), 30)
              )
              expect(late._tag).toBe("None")
              const exit = yield* Effect.exit(sessionOf(tools, connection))
              // Or it has ended, where the server did not confirm: then that is what each statement says.
              if (exit._tag === "Failure") {
                yield* within("the end", Effect.flip(connection.ping))
                return
              }
              expect(exit.value).toBe(session)
            }
          })
        )
        expect(yield* pool.use((connection) => valueOf(connection, "select 1"))).toBe(1)
      })

      test("what an interrupted statement did is not there", { max: 1 }, function* (tools) {
        const { observer, sql, table } = tools
        const name = yield* table(column)
        const running = yield* start(
          sql.unsafe(`insert into ${name} select 1 from (${server.sleep(60)}) as slow`)
        )
        yield* busy(tools, 1)
        yield* within("the interruption", Fiber.interrupt(running))
        expect(yield* countOf(observer, name)).toBe(0)
      })

      test("many at once are cancelled", { max: 4 }, function* (tools) {
        const { pool, sql, stats } = tools
        const all = yield* Effect.forEach(Array.from({ length: 12 }), () =>
          start(sql.unsafe(server.sleep(60)))
        )
        yield* busy(tools, 4)
        yield* stats({ pending: 8 })
        yield* within("the interruption", Fiber.interruptAll(all))
        yield* busy(tools, 0)
        yield* stats({ used: 0, pending: 0 })
        const answers = yield* Effect.forEach(
          [1, 2, 3, 4, 5, 6],
          (n) => pool.use((_) => valueOf(_, `select ${n}`)),
          {
            concurrency: "unbounded"
          }
        )
        expect(answers).toEqual([1, 2, 3, 4, 5, 6])
      })
    }

    test(
      "whenever a statement is interrupted, the next one gets its own answer",
      { max: 2 },
      function* (tools) {
        const { pool, sql, stats } = tools
        for (let i = 0; i < 60; i++) {
          const running = yield* start(sql.unsafe(dialect.series(200 + (i % 7) * 300)))
          for (let step = 0; step < i; step++) yield* Effect.yieldNow
          if (i % 3 === 0) yield* pause(i % 5)
          const interrupting = yield* start(Fiber.interrupt(running))
          expect(yield* within("the next statement", sql.unsafe(`select ${i} as n`))).toEqual([{ n: i }])
          yield* within("the interruption", Fiber.join(interrupting))
          expect(yield* within("another", sql.unsafe(`select ${-i - 1} as n`))).toEqual([{ n: -i - 1 }])
        }
        yield* stats({ used: 0, pending: 0 })
        expect((yield* pool.stats).size).toBeLessThanOrEqual(2)
      }
    )

    test("so it is with streams and transactions", { max: 2 }, function* (tools) {
      const { observer, sql, stats, table } = tools
      const name = yield* table(column)
      for (let i = 0; i < 40; i++) {
        const running = yield* start(
          i % 2 === 0
            ? Stream.runDrain(sql.unsafe(dialect.series(3_000)).stream)
            : sql.withTransaction(
                Effect.andThen(
                  sql`insert into ${sql(name)} values (1)`,
                  Effect.andThen(sql.unsafe(dialect.series(500)), Effect.never)
                )
              )
        )
        for (let step = 0; step < i * 2; step++) yield* Effect.yieldNow
        if (i % 3 === 0) yield* pause(i % 7)
        yield* within("the interruption", Fiber.interrupt(running))
        expect(yield* within("the next statement", sql.unsafe(`select ${i} as n`))).toEqual([{ n: i }])
      }
      yield* stats({ used: 0, pending: 0 })
      expect(yield* countOf(observer, name)).toBe(0)
    })

    test("a borrower that is interrupted in line leaves it", { max: 1 }, function* ({ pool, stats }) {
      const held = yield* pool.get
      const waiting = yield* start(pool.use(() => Effect.void))
      yield* stats({ pending: 1 })
      yield* Fiber.interrupt(waiting)
      yield* stats({ pending: 0 })
      yield* held.release()
      yield* stats({ idle: 1 })
    })

    test(
      "one that is interrupted while it connects leaves the connection to the next",
      { max: 1 },
      function* (tools) {
        const { pool, stats, steer } = tools
        const arrival = yield* Deferred.make<void>()
        steer.plan = () => Deferred.await(arrival)
        const first = yield* start(pool.use(() => Effect.void))
        yield* eventually("it connects", () => steer.attempts === 1)
        yield* within("the interruption", Fiber.interrupt(first))
        expect(yield* pool.stats).toMatchObject({ creating: 1, pending: 0 })
        yield* Deferred.succeed(arrival, undefined)
        yield* stats({ idle: 1 })
        expect(yield* pool.use((connection) => Effect.succeed(connection.id))).toBe(1)
        expect(steer.attempts).toBe(1)
      }
    )

    test("the end of the pool ends what borrowers do, after its time", {}, function* (tools) {
      const done = yield* Deferred.make<string>()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { pool, stats } = yield* tools.open({ max: 1, closeTimeout: "50 millis" })
          yield* Effect.forkDetach(
            Effect.onExit(
              pool.use((connection) => Effect.andThen(connection.ping, Effect.never)),
              (exit) => Deferred.succeed(done, exit._tag)
            ),
            { startImmediately: true }
          )
          yield* stats({ used: 1, creating: 0 })
          yield* settle
        })
      )
      expect(yield* within("the borrower", Deferred.await(done))).toBe("Failure")
    })

    test("a pool that was closed says so", {}, function* (tools) {
      const closed = yield* Effect.scoped(tools.open({ max: 1 }))
      const error = yield* Effect.flip(Effect.scoped(closed.pool.get))
      expect(error).toMatchObject({ _tag: "PoolClosed" })
      const statement = yield* Effect.flip(closed.sql`select 1`)
      expect(statement.reason).toMatchObject({ _tag: "ConnectionError", cause: { _tag: "PoolClosed" } })
    })

    if (kind === "tpooled") {
      test(
        "a thread that ends takes its connections with it, and others are made",
        { max: 2 },
        function* (tools) {
          const { pool, stats, threads, warnings } = tools
          const held = yield* pool.get
          expect(yield* valueOf(held, "select 1")).toBe(1)
          yield* endThreads(threads)
          yield* within("the connection's end", Effect.flip(Effect.forever(held.ping)))
          yield* held.release()
          yield* stats({ used: 0, size: 0 })
          expect(
            yield* within(
              "the next borrow",
              pool.use((connection) => valueOf(connection, "select 2"))
            )
          ).toBe(2)
          yield* warnings
        }
      )
    }
  })
}

/** Ends all threads of a pool, as a crash would. */
const endThreads = (threads: Context.Context<ThreadPool.ThreadPool>) =>
  Effect.provideContext(
    Effect.forEach([1, 2], () => Effect.exit(ThreadPool.execute(() => process.exit(1))), { concurrency: 2 }),
    threads
  )
