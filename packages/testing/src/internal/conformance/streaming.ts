// Streams of a `SqlClient` over a pool.
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { SqlClient } from "effect/sql/SqlClient"
import { TpooledConnectionPool } from "@cenote/sql"
import { NodeThreads } from "@cenote/threads"
import {
  type Bench,
  busy,
  describe,
  expect,
  failureOf,
  rowsOf,
  sqlFailure,
  start,
  type Tools,
  valueOf,
  within
} from "./kit.ts"

export const streaming = <Services>({ dialect, kind, test }: Bench<Services>): void => {
  const column = `n ${dialect.types.integer}`
  const wideRows = dialect.series(100_000, `${dialect.longText(1_000)} as wide`)

  /** A pool whose connections, where they live in threads, have a thread with little memory. */
  const limited = ({ database, open }: Tools<Services>) =>
    kind === "raw"
      ? open({ max: 2 })
      : Effect.map(
          Layer.build(
            Layer.provide(
              TpooledConnectionPool.layer(database.driver(), { max: 2 }),
              NodeThreads.layer({ size: 1, resourceLimits: { maxOldGenerationSizeMb: 64 } })
            )
          ),
          (services) => ({ sql: Context.get(services, SqlClient) })
        )

  describe("streams", () => {
    test(
      "a stream gives all rows in order, and returns its connection",
      { max: 1 },
      function* ({ sql, stats }) {
        for (const count of [0, 1, 7, 1_000, 12_345]) {
          const rows = Array.from(
            yield* Stream.runCollect(sql.unsafe<{ n: number }>(dialect.series(count)).stream)
          )
          expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: count }, (_, i) => i + 1))
        }
        yield* stats({ idle: 1, created: 1 })
      }
    )

    test("one with parameters", { max: 1 }, function* ({ sql, table }) {
      const name = yield* table(`${column}, label ${dialect.types.text}`)
      yield* sql`insert into ${sql(name)} ${sql.insert([
        { n: 1, label: "no. 1" },
        { n: 2, label: "no. 2" },
        { n: 3, label: "no. 3" }
      ])}`
      const rows = yield* Stream.runCollect(
        sql`select label from ${sql(name)} where n > ${2} order by n`.stream
      )
      expect(Array.from(rows)).toEqual([{ label: "no. 3" }])
    })

    test(
      "a stream that is cut short returns its connection, which is as good as before",
      { max: 1 },
      function* (tools) {
        const { sql, stats } = tools
        for (const wanted of [1, 10, 300]) {
          const rows = yield* within(
            "the stream",
            Stream.runCollect(Stream.take(sql.unsafe<{ n: number }>(dialect.series(100_000)).stream, wanted))
          )
          expect(Array.from(rows, ({ n }) => n)).toEqual(Array.from({ length: wanted }, (_, i) => i + 1))
          // A driver may give up a session whose cancel came too late to be confirmed.
          yield* stats({ used: 0, pending: 0 })
          expect(yield* within("the next statement", sql`select 1 as n`)).toEqual([{ n: 1 }])
        }
      }
    )

    test("a stream whose reader fails, or is interrupted, too", { max: 1 }, function* ({ sql, stats }) {
      const rows = sql.unsafe<{ n: number }>(dialect.series(100_000)).stream
      const failed = Stream.runForEach(rows, ({ n }) => (n === 5 ? Effect.fail("enough") : Effect.void))
      expect(yield* within("the stream", failureOf(failed))).toBe("enough")
      yield* stats({ used: 0, pending: 0 })

      const begun = yield* Deferred.make<void>()
      const reading = yield* start(
        Stream.runForEach(rows, () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never))
      )
      yield* Deferred.await(begun)
      yield* stats({ used: 1 })
      yield* within("the interruption", Fiber.interrupt(reading))
      yield* stats({ used: 0, pending: 0 })
      expect(yield* within("the next statement", sql`select 1 as n`)).toEqual([{ n: 1 }])
    })

    test(
      "a stream that fails in the middle gives what came before, and its error",
      { max: 1 },
      function* ({ sql, stats }) {
        const query = dialect.failingSeries(20_000, 10_000)
        let count = 0
        const reason = yield* within(
          "the stream",
          sqlFailure(Stream.runForEach(sql.unsafe(query).stream, () => Effect.sync(() => count++)))
        )
        expect(count).toBeLessThan(10_000)
        const same = yield* sqlFailure(sql.unsafe(query))
        expect(reason._tag).toBe(same._tag)
        expect((reason.cause as Error).message).toBe((same.cause as Error).message)
        yield* stats({ used: 0, idle: 1, destroyed: 0 })
        expect(yield* sql`select 1 as n`).toEqual([{ n: 1 }])
      }
    )

    test(
      "a stream of a statement that is wrong fails as the statement does",
      { max: 1 },
      function* ({ sql, stats }) {
        const reason = yield* within("the stream", sqlFailure(Stream.runDrain(sql`selec 1`.stream)))
        expect(reason._tag).toBe("SqlSyntaxError")
        yield* stats({ used: 0, idle: 1, destroyed: 0 })
      }
    )

    test(
      "a stream in a transaction sees its work, and leaves the connection to it",
      { max: 1 },
      function* (tools) {
        const { pool, sql, table } = tools
        const name = yield* table(column)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into ${sql(name)} ${sql.insert(many(500))}`
            const query = sql<{ n: number }>`select n from ${sql(name)} order by n`
            expect(yield* Stream.runCount(query.stream)).toBe(500)
            expect(Array.from(yield* Stream.runCollect(Stream.take(query.stream, 2)))).toEqual([
              { n: 0 },
              { n: 1 }
            ])
            yield* sql`insert into ${sql(name)} values (1000)`
            expect(yield* Stream.runCount(query.stream)).toBe(501)
            expect(yield* pool.stats).toMatchObject({ used: 1, borrowed: 1 })
          })
        )
        expect(yield* Stream.runCount(sql`select n from ${sql(name)}`.stream)).toBe(501)
      }
    )

    test(
      "a stream that fails in a savepoint leaves the transaction usable",
      { max: 1 },
      function* ({ sql, table }) {
        const name = yield* table(column)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into ${sql(name)} values (1)`
            yield* sqlFailure(
              sql.withTransaction(Stream.runDrain(sql.unsafe(dialect.failingSeries(2_000, 1_000)).stream))
            )
            yield* sql`insert into ${sql(name)} values (2)`
          })
        )
        expect(yield* sql`select n from ${sql(name)} order by n`).toEqual([{ n: 1 }, { n: 2 }])
      }
    )

    test(
      "several streams go on side by side, each on a connection of its own",
      { max: 3 },
      function* ({ pool, sql, stats }) {
        const rows = () => sql.unsafe<{ n: number }>(dialect.series(2_000)).stream
        const together = Stream.zip(Stream.zip(rows(), rows()), rows())
        let most = 0
        const count = yield* Stream.runFold(
          together,
          () => 0,
          (count, [[first, second], third]) => {
            expect([second.n, third.n]).toEqual([first.n, first.n])
            return count + 1
          }
        ).pipe(
          Effect.raceFirst(
            Effect.forever(
              Effect.andThen(
                Effect.yieldNow,
                Effect.map(pool.stats, ({ used }) => (most = Math.max(most, used)))
              )
            )
          )
        )
        expect(count).toBe(2_000)
        expect(most).toBe(3)
        yield* stats({ idle: 3 })
      }
    )

    test("what waits for a connection waits for the stream to end", { max: 1 }, function* ({ sql, stats }) {
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const reading = yield* start(
        Stream.runCount(
          Stream.tap(sql.unsafe(dialect.series(5_000)).stream, () =>
            Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
          )
        )
      )
      yield* Deferred.await(begun)
      const waiting = yield* start(sql`select 1 as n`)
      yield* stats({ pending: 1, used: 1 })
      expect(waiting.pollUnsafe()).toBeUndefined()
      yield* Deferred.succeed(go, undefined)
      expect(yield* Fiber.join(reading)).toBe(5_000)
      expect(yield* Fiber.join(waiting)).toEqual([{ n: 1 }])
    })

    test("a stream of a borrowed connection leaves it to its borrower", { max: 1 }, function* ({ pool }) {
      yield* pool.use((connection) =>
        Effect.gen(function* () {
          const rows = connection.executeStream(dialect.series(10_000), [], undefined)
          expect(yield* Stream.runCount(rows)).toBe(10_000)
          expect(yield* Stream.runCount(Stream.take(rows, 3))).toBe(3)
          expect(yield* within("the next statement", valueOf(connection, "select 4"))).toBe(4)
        })
      )
    })

    test("100 000 wide rows pass with flat memory", { max: 1 }, function* (tools) {
      // 100 MB in all.
      const { sql } = yield* limited(tools)
      const heap: Array<number> = []
      let count = 0
      yield* Stream.runForEach(sql.unsafe<{ n: number; wide: string }>(wideRows).stream, ({ n, wide }) => {
        if (n !== ++count || wide.length !== 1_000) throw new Error(`row ${count} is wrong: ${n}`)
        if (count % 10_000 !== 0) return Effect.void
        return Effect.andThen(
          collectGarbage,
          Effect.sync(() => heap.push(mainMemory()))
        )
      })
      expect(count).toBe(100_000)
      const megabytes = heap.map((bytes) => Math.round(bytes / 1e6))
      expect(
        Math.max(...megabytes) - megabytes[0]!,
        `MB after each 10 000: ${megabytes.join(", ")}`
      ).toBeLessThan(24)
    })

    test(
      "a reader that stands still does not have the rest of the rows read for it",
      { max: 1 },
      function* (tools) {
        const { sql } = yield* limited(tools)
        yield* collectGarbage
        const before = mainMemory()
        const begun = yield* Deferred.make<void>()
        const reading = yield* start(
          Stream.runForEachArray(sql.unsafe(wideRows).stream, () =>
            Effect.andThen(Deferred.succeed(begun, undefined), Effect.never)
          )
        )
        yield* Deferred.await(begun)
        // Time enough to read it: as long as another connection of the same kind, in the same thread, takes for the whole.
        expect(yield* Stream.runCount(sql.unsafe(wideRows).stream)).toBe(100_000)
        yield* collectGarbage
        expect(Math.round((mainMemory() - before) / 1e6), "MB more than before").toBeLessThan(24)
        expect(reading.pollUnsafe()).toBeUndefined()
        yield* within("the interruption", Fiber.interrupt(reading))
      }
    )

    const { server } = dialect
    if (server !== undefined) {
      test("a stream that is cut short is over on the server, too", { max: 1 }, function* (tools) {
        const { observer, sql } = tools
        const query = dialect.series(3_000_000)
        expect(yield* Stream.runCount(Stream.take(sql.unsafe(query).stream, 5))).toBe(5)
        yield* busy(tools, 0)
        expect(yield* rowsOf(observer, server.busy)).toEqual([])
      })

      test("a stream whose session is ended fails", { max: 1 }, function* (tools) {
        const { observer, sql, stats, warnings } = tools
        const [row] = yield* sql.unsafe<{ id: unknown }>(`select ${server.sessionId} as id`)
        let killed = false
        const reason = yield* within(
          "the stream",
          sqlFailure(
            Stream.runForEach(sql.unsafe(dialect.series(3_000_000)).stream, () => {
              if (killed) return Effect.void
              killed = true
              return rowsOf(observer, server.kill(Number(row!.id)))
            })
          )
        )
        expect(reason._tag).toBe("ConnectionError")
        yield* stats({ size: 0, destroyed: 1 })
        expect(yield* sql`select 1 as n`).toEqual([{ n: 1 }])
        yield* warnings
      })
    }
  })
}

const many = (count: number): Arr.NonEmptyReadonlyArray<{ readonly n: number }> =>
  Arr.makeBy(count, (n) => ({ n }))

/** What this thread uses, in bytes. */
const mainMemory = (): number => {
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void

/** Collects what nobody refers to, and lets those run who want to know. */
const collectGarbage: Effect.Effect<void> = Effect.repeat(
  Effect.andThen(
    Effect.sync(() => gc()),
    Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
  ),
  { times: 3 }
)
