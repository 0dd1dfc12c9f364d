// What statements fail with, in both kinds of pools alike.
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { isSqlError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { randomBytes } from "node:crypto"
import { inspect } from "node:util"
import { PoolRegistry } from "@cenote/pool"
import {
  type Bench,
  busy,
  describe,
  expect,
  failureOf,
  type Ground,
  it,
  open,
  rowsOf,
  sessionOf,
  sqlFailure,
  start,
  stated,
  type Tools,
  valueOf,
  within
} from "./kit.ts"
import type { Dialect, Failure } from "./model.ts"
import { closedPort } from "./network.ts"

let tables = 0

/** Makes what a failure needs, and gives the statement. */
const prepare = ({ observer }: Pick<Ground<any>, "observer">, { before, statement }: Failure) =>
  Effect.gen(function* () {
    const name = `failing_${++tables}`
    yield* Effect.forEach(before(name), (sql) => rowsOf(observer, sql))
    return { name, statement: statement(name) }
  })

export const failing = <Services>(bench: Bench<Services>): void => {
  const { dialect, test } = bench

  describe("failures", () => {
    for (const [what, failure] of Object.entries(dialect.failures)) {
      test(`${what} fails with ${failure.reason}`, { max: 1 }, function* (tools) {
        const { pool, sql, stats } = tools
        const { name, statement } = yield* prepare(tools, failure)
        const query = sql.unsafe(statement)
        const runs: Record<string, Effect.Effect<unknown, unknown>> = {
          execute: query,
          raw: query.raw,
          values: query.values,
          unprepared: query.unprepared,
          valuesUnprepared: query.valuesUnprepared,
          withoutTransform: query.withoutTransform,
          stream: Stream.runDrain(query.stream),
          "in a transaction": sql.withTransaction(query),
          "on a borrowed connection": pool.use((connection) => rowsOf(connection, statement))
        }
        for (const [how, run] of Object.entries(runs)) {
          const error = yield* failureOf(run)
          expect(error, how).toBeInstanceOf(SqlError)
          if (!isSqlError(error)) return
          const { reason } = error
          expect(reason._tag, how).toBe(failure.reason)
          if (reason._tag === "UniqueViolation")
            expect(reason.constraint, how).toBe(failure.constraint?.(name))
          expect(reason.cause, how).toBeInstanceOf(Error)
          expect(reason.cause, how).toMatchObject(failure.cause)
          expect(error.message, how).not.toBe("")
          expect(error.isRetryable, how).toBe(reason.isRetryable)
          expect(error.stack, how).toContain("SqlError")
        }
        yield* stats({ used: 0, idle: 1, created: 1, destroyed: 0 })
      })
    }

    const { server } = dialect
    if (server !== undefined) {
      test(
        "a lock that is not to be had fails with LockTimeoutError",
        { max: 2 },
        function* ({ pool, table }) {
          const name = yield* table(`n ${dialect.types.integer} primary key`)
          const [holder, other] = [yield* pool.get, yield* pool.get]
          yield* rowsOf(holder, `insert into ${name} values (1)`)
          yield* rowsOf(holder, dialect.begins[0]!)
          yield* rowsOf(holder, `update ${name} set n = 2`)
          yield* other.setCleanup("reset")
          yield* rowsOf(other, server.lockTimeout)
          const reason = yield* within("the statement", sqlFailure(rowsOf(other, `update ${name} set n = 3`)))
          expect(reason).toMatchObject({ _tag: "LockTimeoutError", isRetryable: true })
          yield* rowsOf(holder, "commit")
          yield* rowsOf(other, "rollback")
          expect(yield* valueOf(other, `select n from ${name}`)).toBe(2)
        }
      )

      test(
        "a statement that takes too long for the server fails with StatementTimeoutError",
        { max: 1 },
        function* ({ pool }) {
          const connection = yield* pool.get
          yield* connection.setCleanup("reset")
          yield* rowsOf(connection, server.statementTimeout)
          const reason = yield* within("the statement", sqlFailure(rowsOf(connection, server.sleep(60))))
          expect(reason._tag).toBe("StatementTimeoutError")
          expect(yield* valueOf(connection, "select 1")).toBe(1)
        }
      )

      test(
        "one of two that wait for each other fails with DeadlockError",
        { max: 2 },
        function* ({ pool, table }) {
          const name = yield* table(`id ${dialect.types.integer} primary key, n ${dialect.types.integer}`)
          const [first, second] = [yield* pool.get, yield* pool.get]
          yield* rowsOf(first, `insert into ${name} values (1, 0), (2, 0)`)
          for (const connection of [first, second]) yield* rowsOf(connection, dialect.begins[0]!)
          yield* rowsOf(first, `update ${name} set n = 1 where id = 1`)
          yield* rowsOf(second, `update ${name} set n = 2 where id = 2`)
          const results = yield* within(
            "both",
            Effect.all(
              [
                Effect.result(rowsOf(first, `update ${name} set n = 1 where id = 2`)),
                Effect.result(rowsOf(second, `update ${name} set n = 2 where id = 1`))
              ],
              { concurrency: 2 }
            )
          )
          const failures = results.flatMap((result) =>
            result._tag === "Failure" ? [result.failure.reason] : []
          )
          expect(failures).toMatchObject([{ _tag: "DeadlockError", isRetryable: true }])
        }
      )
    }

    if (server !== undefined) {
      test("a password shows nowhere", {}, function* (tools) {
        const { driver } = tools.database
        const password = stated(tools.database.password, "password")
        const wrong = Redacted.make(`wrong-${randomBytes(12).toString("hex")}`)
        const secrets = [Redacted.value(password), Redacted.value(wrong)]
        const shown: Array<string> = []
        const show = (what: unknown) =>
          shown.push(
            inspect(what, {
              depth: Infinity,
              showHidden: true,
              maxArrayLength: null,
              maxStringLength: null,
              getters: true
            }),
            String(what),
            JSON.stringify(what, (_, value: unknown) =>
              typeof value === "bigint" ? String(value) : value
            ) ?? ""
          )
        const spans: Array<Tracer.NativeSpan> = []
        const tracer = Tracer.make({
          span: (options) => {
            const span = new Tracer.NativeSpan(options)
            spans.push(span)
            return span
          }
        })
        yield* Effect.gen(function* () {
          const refusing = yield* tools.open({}, driver({ password: wrong }))
          const refused = yield* failureOf(refusing.pool.get)
          expect(refused).toMatchObject({ reason: { _tag: "AuthenticationError" } })
          show(refused)
          show((refused as SqlError).reason.cause)
          shown.push(Cause.pretty(Cause.fail(refused)))
          show(yield* failureOf(refusing.sql`select 1`))
          show(yield* failureOf(tools.open({ min: 1 }, driver({ password: wrong }))))
          const nobody = yield* tools.open({}, driver({ address: yield* closedPort }))
          show(yield* failureOf(nobody.pool.get))
          const { pool, sql, stats } = yield* tools.open({ max: 1, leakAfter: "1 millis" })
          const events: Array<unknown> = []
          yield* start(Stream.runForEach(pool.events, (event) => Effect.sync(() => events.push(event))))
          yield* pool.use((connection) =>
            Effect.gen(function* () {
              expect(yield* valueOf(connection, "select 1")).toBe(1)
              show(yield* pool.leases)
              show(connection.id)
            })
          )
          show(yield* failureOf(sql`selec 1`))
          yield* stats({ idle: 1 })
          yield* Effect.sleep(5)
          show(yield* pool.stats)
          show(events)
          show(pool.name)
          show(pool.driver.name)
          show(pool.driver.target)
          show(pool.driver.client.spanAttributes)
          const { entries } = yield* PoolRegistry.PoolRegistry
          show((yield* entries).map(({ id, kind, name }) => ({ id, kind, name })))
          expect(events.length).toBeGreaterThan(0)
        }).pipe(Effect.withTracer(tracer))
        for (const { attributes, events, name } of spans) show([name, [...attributes], events])
        expect(spans.length).toBeGreaterThan(0)
        for (const line of yield* tools.warnings) show(line)
        const text = shown.join("\n")
        for (const secret of secrets) expect(text.includes(secret), "it is shown").toBe(false)
      })
    }

    test("a pool is registered under its name while it is open", {}, function* (tools) {
      const registry = PoolRegistry.makeUnsafe()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Effect.provideService(tools.open({ name: "app/Db" }), PoolRegistry.PoolRegistry, registry)
          const [entry, ...more] = yield* registry.entries
          expect(more).toEqual([])
          expect(entry).toMatchObject({ id: "app/Db", name: "app/Db", kind: "connections" })
          expect(yield* entry!.stats).toMatchObject({ name: "app/Db", max: 4 })
        })
      )
      expect(yield* registry.entries).toEqual([])
    })
  })
}

/** What is asked of both kinds of pools at once. */
export const alike = <Services>(
  { failures, server, values }: Dialect,
  ground: () => Ground<Services>
): void => {
  describe("raw and tpooled", () => {
    it.live("values are alike, down to their classes", () =>
      Effect.gen(function* () {
        const pools = [
          yield* open("raw", ground(), { max: 1 }),
          yield* open("tpooled", ground(), { max: 1 })
        ] as const
        for (const [name, { column, write }] of Object.entries(values)) {
          const table = yield* pools[0].table(`v ${column}`)
          const { sql } = pools[0]
          yield* sql`insert into ${sql(table)} (v) values (${write})`
          const [raw, tpooled] = yield* Effect.forEach(pools, ({ sql }) =>
            Effect.gen(function* () {
              const query = sql<{ readonly v: unknown }>`select v from ${sql(table)}`
              const rows = [
                ...(yield* query),
                ...(yield* query.unprepared),
                ...(yield* query.values).map(([v]) => ({ v })),
                ...(yield* Stream.runCollect(query.stream))
              ]
              return rows.map(({ v }) => ({ v, class: v?.constructor.name }))
            })
          )
          expect(raw).toHaveLength(4)
          expect(tpooled, name).toEqual(raw)
        }
      })
    )

    it.live("statements fail alike: reason, message, operation, and what the driver said", () =>
      Effect.gen(function* () {
        const pools = [
          yield* open("raw", ground(), { max: 1 }),
          yield* open("tpooled", ground(), { max: 1 })
        ] as const
        for (const [what, failure] of Object.entries(failures)) {
          const { statement } = yield* prepare(ground(), failure)
          const how = {
            execute: ({ sql }: Tools<Services>) => sql.unsafe(statement),
            unprepared: ({ sql }: Tools<Services>) => sql.unsafe(statement).unprepared,
            stream: ({ sql }: Tools<Services>) => Stream.runDrain(sql.unsafe(statement).stream)
          }
          for (const [name, run] of Object.entries(how)) {
            const [raw, tpooled] = yield* Effect.forEach(pools, (tools) =>
              Effect.map(sqlFailure(run(tools)), described)
            )
            expect(tpooled, `${what}: ${name}`).toEqual(raw)
          }
        }
      })
    )

    it.live("attempts to connect fail alike", () =>
      Effect.gen(function* () {
        const { address, broken, driver } = ground().database
        const drivers =
          address === undefined
            ? [stated(broken, "broken")()]
            : [driver({ address: yield* closedPort }), driver({ password: Redacted.make("wrong") })]
        for (const driver of drivers) {
          const [raw, tpooled] = yield* Effect.forEach(["raw", "tpooled"] as const, (kind) =>
            Effect.flatMap(open(kind, ground(), {}, driver), ({ sql }) =>
              Effect.map(sqlFailure(sql`select 1`), described)
            )
          )
          expect(tpooled).toEqual(raw)
        }
      })
    )

    if (server === undefined) return

    it.live("a session that is ended fails its statement alike", () =>
      Effect.gen(function* () {
        const { observer } = ground()
        const found = yield* Effect.forEach(["raw", "tpooled"] as const, (kind) =>
          Effect.gen(function* () {
            const tools = yield* open(kind, ground(), { max: 1 })
            const connection = yield* tools.pool.get
            const session = yield* sessionOf(tools, connection)
            const slow = yield* start(sqlFailure(rowsOf(connection, server.sleep(60))))
            yield* busy(tools, 1)
            yield* rowsOf(observer, server.kill(session))
            const reason = yield* within("the statement", Fiber.join(slow))
            yield* connection.release()
            return { _tag: reason._tag, isRetryable: reason.isRetryable }
          })
        )
        expect(found[1]).toEqual(found[0])
      })
    )
  })
}

/** All that an error says, as plain data. */
const described = (reason: SqlError["reason"]) => {
  const { cause } = reason
  return {
    _tag: reason._tag,
    message: reason.message,
    operation: reason.operation,
    constraint: reason._tag === "UniqueViolation" ? reason.constraint : undefined,
    isRetryable: reason.isRetryable,
    cause: causeOf(cause)
  }
}

/** What says the same on each run: not where the error was made, nor through which port. */
const causeOf = (cause: unknown): unknown =>
  cause instanceof Error
    ? {
        isError: true,
        name: cause.name,
        message: cause.message,
        properties: Object.fromEntries(
          Object.entries(cause).filter(
            ([key, value]) => key !== "cause" && (value === null || typeof value !== "object")
          )
        ),
        cause: causeOf(cause.cause)
      }
    : { isError: false, value: typeof cause === "object" ? undefined : cause }
