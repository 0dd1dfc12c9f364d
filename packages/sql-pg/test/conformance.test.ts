/** What every driver must do, and what `PgClient` does over pools of either kind. */
import { PgDriver } from "@cenote/sql-pg"
import { TestServers } from "@cenote/testing"
import * as SqlConformance from "@cenote/testing/SqlConformance"
import { PgClient, type PgConnection } from "@effect/sql-pg"
import { describe, expect } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Queue, String } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

await TestServers.describeWith("conformance", [TestServers.Postgres.sharedAvailable], () => {
  SqlConformance.suite<PgClient.PgClient>({
    name: "PostgreSQL",
    dialect: SqlConformance.postgres,
    database: Effect.map(Layer.build(TestServers.Postgres.shared), (context) => {
      const { config } = Context.get(context, TestServers.Postgres)
      return {
        driver: ({ address, password = config.password, ...names } = {}) =>
          PgDriver.make({ ...config, ...address, password, ...names }),
        address: { host: config.host, port: config.port },
        password: config.password
      }
    }),
    more: (bench) => {
      pgClient(bench)
      notifications(bench)
      if (bench.kind === "raw") multiplexing(bench)
    }
  })
})

type Bench = SqlConformance.Bench<PgClient.PgClient>

const pgClient = ({ test }: Bench): void => {
  describe("PgClient", () => {
    test("it is the client of the pool", { max: 1 }, function* ({ observer, pool, table }) {
      const pg = yield* PgClient.PgClient
      const sql = yield* SqlClient
      expect(pg).toBe(sql)
      expect(pool.client).toBe(sql)
      const name = yield* table("n integer")
      yield* Effect.exit(
        pg.withTransaction(Effect.andThen(sql`insert into ${sql(name)} values (1)`, Effect.fail("no")))
      )
      expect(yield* observer.executeValues(`select count(*)::int from ${name}`, [])).toEqual([[0]])
    })

    test("json parameters", { max: 1 }, function* ({ table }) {
      const pg = yield* PgClient.PgClient
      const name = yield* table("id integer, plain json, binary_ jsonb")
      const values = [{ a: [1, null, "ü", { b: true }] }, [], "text", 7, null, { "": { "'": '"' } }]
      for (const [id, value] of values.entries()) {
        yield* pg`insert into ${pg(name)} ${pg.insert({ id, plain: pg.json(value), binary_: pg.json(value) })}`
      }
      const rows = yield* pg<{
        plain: unknown
        binary_: unknown
      }>`select plain, binary_ from ${pg(name)} order by id`
      expect(rows).toEqual(values.map((value) => ({ plain: value, binary_: value })))
      expect(
        yield* pg`select id from ${pg(name)} where binary_ = ${pg.json({ a: [1, null, "ü", { b: true }] })}`
      ).toEqual([{ id: 0 }])
    })

    test("names in JSON values are transformed with the others", {}, function* (tools) {
      const driver = tools.database.driver({
        transformQueryNames: String.camelToSnake,
        transformResultNames: String.snakeToCamel
      })
      const { services } = yield* tools.open({ max: 1 }, driver)
      const pg = Context.get(services, PgClient.PgClient)
      const name = yield* tools.table("some_value jsonb")
      yield* pg`insert into ${pg(name)} ${pg.insert({ someValue: pg.json({ innerValue: 1 }) })}`
      expect(yield* pg`select some_value from ${pg(name)}`).toEqual([{ someValue: { innerValue: 1 } }])
      expect(yield* pg`select some_value from ${pg(name)}`.withoutTransform).toEqual([
        { some_value: { inner_value: 1 } }
      ])
    })

    test(
      "a COMMIT of a transaction that an error has aborted fails",
      { max: 1 },
      function* ({ observer, sql, table }) {
        const name = yield* table("n integer primary key")
        const error = yield* Effect.flip(
          sql.withTransaction(
            Effect.gen(function* () {
              yield* sql`insert into ${sql(name)} values (1)`
              // Swallowed: the program does not know that nothing after it counts.
              yield* Effect.exit(sql`insert into ${sql(name)} values (1)`)
            })
          )
        )
        expect(error.reason.message).toContain("aborted by an earlier error")
        expect(yield* observer.executeValues(`select count(*)::int from ${name}`, [])).toEqual([[0]])
        expect(yield* sql`select 1 as n`).toEqual([{ n: 1 }])
      }
    )

    test("a password that changes is asked for at each connect", {}, function* (tools) {
      const { address, password } = tools.database
      let asked = 0
      const [row] = yield* tools.sql<{
        database: string
        user: string
      }>`select current_database() as database, current_user as user`
      const driver = PgDriver.make({
        ...address,
        database: row!.database,
        username: row!.user,
        password: Effect.sync(() => {
          asked++
          return password!
        })
      })
      const { pool, stats } = yield* tools.open({ max: 1 }, driver)
      expect(asked).toBe(0)
      for (let n = 1; n <= 3; n++) {
        yield* pool.use((connection) => connection.ping)
        expect(asked).toBe(n)
        yield* pool.recycle
        yield* stats({ size: 0 })
      }
    })
  })
}

/** The next notification, or a failure where none comes. */
const next = <E>(queue: Queue.Dequeue<PgConnection.Notification, E>) =>
  Effect.timeout(Queue.take(queue), "20 seconds")

const notifications = ({ test }: Bench): void => {
  describe("listen and notify", () => {
    test("what is notified is heard, in order, by all who listen", { max: 4 }, function* ({ pool }) {
      const pg = yield* PgClient.PgClient
      const [first, second, other] = [
        yield* pg.listen("one"),
        yield* pg.listen("one"),
        yield* pg.listen("another")
      ]
      expect(yield* pool.stats).toMatchObject({ used: 3 })
      const payloads = Array.from({ length: 200 }, (_, i) => `no. ${i}`)
      yield* Effect.forEach(payloads, (payload) => pg.notify("one", payload))
      yield* pg.notify("another", "the end")
      for (const queue of [first, second]) {
        const heard = yield* Effect.forEach(payloads, () => next(queue))
        expect(heard.map(({ payload }) => payload)).toEqual(payloads)
        expect(new Set(heard.map(({ channel }) => channel))).toEqual(new Set(["one"]))
      }
      expect(yield* next(other)).toMatchObject({ channel: "another", payload: "the end" })
      expect(yield* Queue.size(other)).toBe(0)
    })

    test("a channel may be called anything, and a payload may be long", { max: 2 }, function* () {
      const pg = yield* PgClient.PgClient
      for (const channel of ["Mixed Case", `with "quotes" and ; drop table`, "ünï-cödé", "x".repeat(63)]) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const queue = yield* pg.listen(channel)
            const payload = "ä".repeat(3_900)
            yield* pg.notify(channel, payload)
            expect(yield* next(queue)).toMatchObject({ channel, payload })
            yield* pg.notify(channel, "")
            expect(yield* next(queue)).toMatchObject({ channel, payload: "" })
          })
        )
      }
    })

    test("one that is too long is refused", { max: 2 }, function* ({ stats }) {
      const pg = yield* PgClient.PgClient
      const tooLong = "x".repeat(64)
      for (const refused of [Effect.scoped(pg.listen(tooLong)), pg.notify(tooLong, "")]) {
        expect((yield* Effect.flip(refused)).message).toContain("64 bytes; PostgreSQL allows 63")
      }
      yield* Effect.flip(pg.notify("channel", "x".repeat(8_000)))
      yield* stats({ used: 0 })
    })

    test(
      "a notification of a transaction is heard after its commit, and not after a rollback",
      { max: 3 },
      function* () {
        const pg = yield* PgClient.PgClient
        const queue = yield* pg.listen("committed")
        yield* Effect.exit(
          pg.withTransaction(Effect.andThen(pg.notify("committed", "never"), Effect.fail("no")))
        )
        yield* pg.withTransaction(
          Effect.gen(function* () {
            yield* pg.notify("committed", "later")
            yield* pg.notify("committed", "last")
            expect(yield* Queue.size(queue)).toBe(0)
          })
        )
        expect([yield* next(queue), yield* next(queue)].map(({ payload }) => payload)).toEqual([
          "later",
          "last"
        ])
      }
    )

    test(
      "when the scope closes the connection is returned, and does not listen any more",
      { max: 2 },
      function* (tools) {
        const { pool, sql, stats } = tools
        const pg = yield* PgClient.PgClient
        const queue = yield* Effect.scoped(
          Effect.gen(function* () {
            const queue = yield* pg.listen("for a while")
            yield* stats({ used: 1 })
            yield* pg.notify("for a while", "heard")
            expect(yield* next(queue)).toMatchObject({ payload: "heard" })
            return queue
          })
        )
        yield* stats({ used: 0 })
        const listening = yield* Effect.scoped(
          Effect.gen(function* () {
            const all = [yield* pool.get, yield* pool.get]
            return yield* Effect.forEach(all, (connection) =>
              connection.execute("select pg_listening_channels() as channel", [], undefined)
            )
          })
        )
        expect(listening).toEqual([[], []])
        yield* pg.notify("for a while", "not heard")
        expect(yield* sql`select 1 as n`).toEqual([{ n: 1 }])
        expect((yield* Effect.exit(next(queue)))._tag).toBe("Failure")
      }
    )

    test("one who waits for a notification is interrupted", { max: 2 }, function* ({ stats }) {
      const pg = yield* PgClient.PgClient
      const listening = yield* Effect.forkScoped(
        Effect.scoped(Effect.flatMap(pg.listen("silence"), Queue.take)),
        {
          startImmediately: true
        }
      )
      yield* stats({ used: 1, creating: 0 })
      yield* Fiber.interrupt(listening)
      yield* stats({ used: 0 })
    })

    test("who listens hears of the end of the session", { max: 2 }, function* (tools) {
      const { observer, stats, warnings } = tools
      const pg = yield* PgClient.PgClient
      yield* Effect.scoped(
        Effect.gen(function* () {
          const queue = yield* pg.listen("lost")
          yield* observer.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen%'",
            [],
            undefined
          )
          const error = yield* Effect.flip(next(queue))
          expect(error).toMatchObject({ _tag: "SqlError", reason: { _tag: "ConnectionError" } })
        })
      )
      yield* stats({ used: 0 })
      // It can be listened again.
      const queue = yield* pg.listen("lost")
      yield* pg.notify("lost", "and found")
      expect(yield* next(queue)).toMatchObject({ payload: "and found" })
      yield* warnings
    })
  })
}

const multiplexing = ({ test }: Bench): void => {
  const multiplex = { multiplex: true }

  describe("multiplex", () => {
    test(
      "statements of many fibers share a connection, and each has its own answer",
      { ...multiplex, max: 1 },
      function* (tools) {
        const { pool, sql, stats } = tools
        const answers = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, n) => n),
          (n) => sql<{ n: number }>`select ${n}::int as n, pg_sleep(0.001)`,
          { concurrency: "unbounded" }
        )
        expect(answers.map(([row]) => row!.n)).toEqual(Array.from({ length: 200 }, (_, n) => n))
        expect(yield* pool.stats).toMatchObject({ created: 1 })
        yield* stats({ used: 0 })
      }
    )

    test("one that fails fails alone", { ...multiplex, max: 1 }, function* ({ sql }) {
      const results = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, n) => n),
        (n) => Effect.exit(n % 3 === 0 ? sql`select 1 / 0` : sql`select ${n}::int as n`),
        { concurrency: "unbounded" }
      )
      expect(results.map(({ _tag }) => _tag)).toEqual(
        Array.from({ length: 30 }, (_, n) => (n % 3 === 0 ? "Failure" : "Success"))
      )
    })

    test(
      "a transaction has the connection for itself",
      { ...multiplex, max: 1 },
      function* ({ observer, sql, table }) {
        const name = yield* table("n integer")
        yield* Effect.all(
          [
            Effect.exit(
              sql.withTransaction(
                Effect.gen(function* () {
                  yield* sql`insert into ${sql(name)} values (1)`
                  yield* Effect.sleep(20)
                  yield* sql`insert into ${sql(name)} values (2)`
                  return yield* Effect.fail("no")
                })
              )
            ),
            Effect.forEach(Array.from({ length: 20 }), () => sql`insert into ${sql(name)} values (3)`, {
              concurrency: "unbounded"
            })
          ],
          { concurrency: 2 }
        )
        expect(yield* observer.executeValues(`select distinct n from ${name}`, [])).toEqual([[3]])
        expect(yield* observer.executeValues(`select count(*)::int from ${name}`, [])).toEqual([[20]])
      }
    )
  })
}
