// Where connections live: EV-67 to EV-70.
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { threadId } from "node:worker_threads"
import type { SqlDriver } from "@cenote/sql"
import { ThreadPool } from "@cenote/threads"
import {
  type Bench,
  countOf,
  describe,
  eventually,
  expect,
  pause,
  rowsOf,
  sqlFailure,
  start,
  valueOf
} from "./kit.ts"
import { addressFor, type Step, steps } from "./watchedWorker.ts"

/** Which thread each step of the last connection ran on. */
class Watch {
  private readonly names = Object.keys(steps) as ReadonlyArray<Step>
  private readonly seen = new Int32Array(new SharedArrayBuffer(4 * this.names.length)).fill(-1)

  over<Services>(driver: SqlDriver.SqlDriver<Services>): SqlDriver.SqlDriver<Services> {
    const { config, url } = driver.worker
    return {
      ...driver,
      connect: (options) =>
        Effect.flatMap(
          Effect.tap(driver.connect(options), () => this.here("connect")),
          (session) =>
            Effect.as(
              Effect.addFinalizer(() => this.here("close")),
              this.overSession(session)
            )
        ),
      worker: {
        url: addressFor(url),
        config: Effect.map(config, (config) => ({ config, seen: this.seen }))
      }
    }
  }

  get threads(): Readonly<Record<Step, number>> {
    return Object.fromEntries(this.names.map((step, i) => [step, Atomics.load(this.seen, i)])) as Record<
      Step,
      number
    >
  }

  private here(step: Step): Effect.Effect<void> {
    return Effect.sync(() => Atomics.store(this.seen, this.names.indexOf(step), threadId))
  }

  private overSession(session: SqlDriver.SqlSession): SqlDriver.SqlSession {
    const watched: Partial<Record<keyof SqlDriver.SqlSession, Step>> = {
      execute: "query",
      executeValues: "values",
      executeStream: "stream",
      rollback: "rollback",
      reset: "reset",
      ping: "ping"
    }
    return new Proxy(session, {
      get: (session, name) => {
        const step = watched[name as keyof SqlDriver.SqlSession]
        if (step !== undefined) Effect.runSync(this.here(step))
        const value: unknown = Reflect.get(session, name, session)
        return typeof value === "function" ? value.bind(session) : value
      }
    })
  }
}

export const placing = <Services>({ dialect, kind, test }: Bench<Services>): void => {
  const column = `n ${dialect.types.integer}`

  describe("where connections live", () => {
    test(
      kind === "raw"
        ? "EV-67 connect, queries, clean-up and close run on the calling thread"
        : "EV-67 connect, queries, clean-up and close run off the calling thread",
      {},
      function* (tools) {
        const watch = new Watch()
        const { pool, stats } = yield* tools.open(
          { max: 1, cleanup: "reset", validateAfterIdle: 0 },
          watch.over(tools.database.driver())
        )
        const handle = yield* pool.get
        yield* rowsOf(handle, dialect.begins[0]!)
        yield* valueOf(handle, "select 1")
        yield* Stream.runDrain(handle.executeStream(dialect.series(3), [], undefined))
        yield* handle.ping
        yield* handle.release()
        yield* stats({ idle: 1 })
        yield* pool.clear
        yield* stats({ size: 0 })
        const { connect, ...others } = watch.threads
        if (kind === "raw") expect(connect).toBe(threadId)
        else {
          expect(connect).toBeGreaterThanOrEqual(0)
          expect(connect).not.toBe(threadId)
        }
        expect(new Set(Object.values(others))).toEqual(new Set([connect]))
      }
    )

    test("EV-67 rows are plain data", { max: 1 }, function* ({ pool, sql }) {
      const query = dialect.series(2)
      const rows = yield* sql.unsafe(query)
      const streamed = Array.from(yield* Stream.runCollect(sql.unsafe(query).stream))
      const unprepared = yield* sql.unsafe(query).unprepared
      const borrowed = yield* pool.use((connection) => rowsOf(connection, query))
      for (const found of [rows, streamed, unprepared, borrowed]) {
        expect(found).toEqual([{ n: 1 }, { n: 2 }])
        expect(Array.isArray(found)).toBe(true)
        for (const row of found) expect(Object.getPrototypeOf(row)).toBe(Object.prototype)
        expect(structuredClone(found)).toEqual(found)
      }
      const values = yield* sql.unsafe(query).values
      expect(values).toEqual([[1], [2]])
      for (const row of values) expect(Array.isArray(row)).toBe(true)
    })

    if (kind === "tpooled") {
      test("EV-67 connections are spread over the threads", { max: 4 }, function* ({ pool, threads }) {
        yield* Effect.forEach([1, 2, 3, 4], () => pool.get)
        const stats = yield* Effect.provideContext(ThreadPool.stats, threads)
        expect(stats.threads.map(({ objects }) => objects)).toEqual([2, 2])
      })

      test(
        "EV-67 a returned connection leaves nothing behind in its thread when it is closed",
        { max: 4 },
        function* (tools) {
          const { pool, stats, threads } = tools
          yield* Effect.scoped(Effect.forEach([1, 2, 3, 4], () => pool.get))
          yield* stats({ idle: 4 })
          expect(yield* pool.clear).toBe(4)
          yield* eventually(
            "the threads have no objects",
            Effect.map(Effect.provideContext(ThreadPool.stats, threads), ({ threads }) =>
              threads.every(({ objects }) => objects === 0)
            )
          )
        }
      )
    }

    // Where the database runs in the process itself, a pool on the calling thread has to hold it up.
    if (kind === "tpooled" || dialect.server !== undefined) {
      test("EV-67 a long statement does not hold up the calling thread", { max: 1 }, function* ({ sql }) {
        const long = yield* start(
          sql.unsafe<{ n: unknown }>(`select count(*) as n from (${dialect.series(1_000_000)}) as numbers`)
        )
        let ticks = 0
        while (long.pollUnsafe() === undefined) {
          yield* pause(1)
          ticks++
        }
        const [row] = yield* Fiber.join(long)
        expect(Number(row!.n)).toBe(1_000_000)
        expect(ticks).toBeGreaterThan(3)
      })
    }

    test(
      "EV-68 forking a query does not run it before the next statement",
      { max: 2 },
      function* ({ pool, sql, table }) {
        const name = yield* table(column)
        const forked = yield* Effect.forkChild(sql`insert into ${sql(name)} values (1)`)
        expect(yield* pool.stats).toMatchObject({ borrowed: 0, size: 0 })
        yield* Fiber.join(forked)
        expect(yield* sql`select n from ${sql(name)}`).toEqual([{ n: 1 }])
      }
    )

    test(
      "EV-69 a commit is visible from a new and from an open connection",
      { max: 3 },
      function* ({ pool, table }) {
        const name = yield* table(column)
        const open = yield* pool.get
        expect(yield* countOf(open, name)).toBe(0)
        const writer = yield* pool.get
        yield* rowsOf(writer, dialect.begins[0]!)
        yield* rowsOf(writer, `insert into ${name} values (1)`)
        expect(yield* countOf(open, name)).toBe(0)
        yield* rowsOf(writer, "commit")
        expect(yield* countOf(open, name)).toBe(1)
        const late = yield* pool.get
        expect(late.id).not.toBe(open.id)
        expect(yield* countOf(late, name)).toBe(1)
      }
    )

    test(
      "EV-69 two connections at one time do not see each other's work",
      { max: 2 },
      function* ({ pool, table }) {
        const [one, two] = [yield* table(column), yield* table(column)]
        const [first, second] = [yield* pool.get, yield* pool.get]
        yield* rowsOf(first, `insert into ${one} values (1)`)
        yield* rowsOf(second, `insert into ${two} values (2)`)
        const found = yield* Effect.all(
          [rowsOf(first, `select n from ${two}`), rowsOf(second, `select n from ${one}`)],
          { concurrency: 2 }
        )
        expect(found).toEqual([[{ n: 2 }], [{ n: 1 }]])
      }
    )

    test(
      "EV-70 a failed query leaves the connection usable and returnable",
      { max: 1 },
      function* ({ pool, stats, table }) {
        const name = yield* table(column)
        const handle = yield* pool.get
        for (let i = 0; i < 3; i++) yield* sqlFailure(rowsOf(handle, "garbage that no database understands"))
        expect(yield* valueOf(handle, "select 1")).toBe(1)
        yield* sqlFailure(rowsOf(handle, `select missing from ${name}`))
        yield* handle.release()
        yield* stats({ idle: 1, destroyed: 0 })
        expect(
          yield* pool.use((connection) =>
            Effect.map(valueOf(connection, "select 2"), (two) => [connection.id, two])
          )
        ).toEqual([handle.id, 2])
      }
    )

    test("EV-70 also where it failed in a transaction", { max: 1 }, function* ({ pool, stats, table }) {
      const name = yield* table(column)
      yield* pool.use((connection) =>
        Effect.gen(function* () {
          yield* rowsOf(connection, dialect.begins[0]!)
          yield* rowsOf(connection, `insert into ${name} values (1)`)
          yield* sqlFailure(rowsOf(connection, `select missing from ${name}`))
        })
      )
      expect(yield* pool.use((connection) => countOf(connection, name))).toBe(0)
      yield* stats({ idle: 1, created: 1, destroyed: 0 })
    })

    test("a borrower does not wait for another's statement", { max: 2 }, function* (tools) {
      const { pool } = tools
      const slow = yield* start(
        pool.use((connection) =>
          dialect.server === undefined
            ? Effect.andThen(connection.ping, Effect.never)
            : rowsOf(connection, dialect.server.sleep(30))
        )
      )
      yield* tools.stats({ used: 1, creating: 0 })
      expect(yield* pool.use((connection) => valueOf(connection, "select 9"))).toBe(9)
      expect(slow.pollUnsafe()).toBeUndefined()
      yield* Fiber.interrupt(slow)
    })
  })
}
