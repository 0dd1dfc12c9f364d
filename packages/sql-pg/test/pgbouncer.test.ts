import { spawnSync } from "node:child_process"
import { ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { PgDriver } from "@cenote/sql-pg"
import { TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

/** From 1.21 on it can know of statements that are prepared once and then found by their name. */
const knowsPrepared = ((): boolean => {
  const path = `${process.env["PATH"]}:/usr/sbin`
  const program = "pgbouncer"
  const { stdout } = spawnSync(program, ["--version"], {
    encoding: "utf8",
    env: { ...process.env, PATH: path }
  })
  const [, major, minor] = /(\d+)\.(\d+)/.exec(stdout ?? "") ?? []
  return Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 21)
})()

const Bouncer = Layer.unwrap(
  Effect.map(TestServers.Postgres, ({ config }) =>
    TestServers.PgBouncer.layer({
      postgres: config,
      poolMode: "transaction",
      settings: { default_pool_size: 2, ...(knowsPrepared ? { max_prepared_statements: 50 } : {}) }
    })
  )
).pipe(Layer.provide(TestServers.Postgres.shared))

await TestServers.describeWith(
  "behind PgBouncer in transaction mode",
  [TestServers.Postgres.sharedAvailable, TestServers.PgBouncer.available],
  () => {
    layer(Bouncer, { excludeTestServices: true })((it) => {
      const kinds = ["raw", "tpooled", ...(knowsPrepared ? ["raw, prepared", "tpooled, prepared"] : [])]
      for (const kind of kinds) {
        const pool = Layer.unwrap(
          Effect.map(TestServers.PgBouncer, ({ config }) => {
            const driver = PgDriver.make({ ...config, prepare: kind.endsWith("prepared") })
            return kind.startsWith("raw")
              ? RawConnectionPool.layer(driver, { max: 10 })
              : Layer.provide(
                  TpooledConnectionPool.layer(driver, { max: 10 }),
                  NodeThreads.layer({ size: 2 })
                )
          })
        )

        it.effect(`${kind}: 10 connections of 50 fibers work on 2 sessions of the server`, () =>
          Effect.gen(function* () {
            const sql = yield* SqlClient
            yield* sql`create table if not exists bounced (n int)`
            yield* sql`truncate bounced`
            const pids = yield* Effect.forEach(
              Array.from({ length: 50 }, (_, i) => i),
              (n) =>
                sql.withTransaction(
                  Effect.gen(function* () {
                    const [first] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
                    yield* sql`insert into bounced values (${n})`
                    const [second] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
                    expect(second).toEqual(first)
                    return first!.pid
                  })
                ),
              { concurrency: "unbounded" }
            )
            expect(new Set(pids).size).toBeLessThanOrEqual(2)
            expect(yield* sql`select count(*)::int as n, count(distinct n)::int as d from bounced`).toEqual([
              { n: 50, d: 50 }
            ])
            expect(yield* ConnectionPool.stats).toMatchObject({ size: 10, used: 0, failures: 0 })
          }).pipe(Effect.provide(pool))
        )

        it.effect(
          `${kind}: single statements, each again and again, in whichever session of the server`,
          () =>
            Effect.gen(function* () {
              const sql = yield* SqlClient
              const numbers = Array.from({ length: 500 }, (_, i) => i)
              const results = yield* Effect.forEach(
                numbers,
                (n) =>
                  n % 2 === 0
                    ? sql<{ n: number }>`select ${n}::int as n, pg_backend_pid() as pid`
                    : sql<{ n: number }>`select ${n}::int + 0 as n, pg_backend_pid() as pid`,
                { concurrency: 50 }
              )
              expect(results.map(([row]) => row!.n)).toEqual(numbers)
              expect(yield* ConnectionPool.stats).toMatchObject({
                size: 10,
                used: 0,
                failures: 0,
                destroyed: 0
              })
            }).pipe(Effect.provide(pool))
        )

        it.effect(
          `${kind}: failed transactions are rolled back, streams end early, statements are cancelled`,
          () =>
            Effect.gen(function* () {
              const sql = yield* SqlClient
              yield* sql`create table if not exists bounced2 (n int)`
              yield* sql`truncate bounced2`
              yield* Effect.exit(
                sql.withTransaction(Effect.andThen(sql`insert into bounced2 values (1)`, Effect.fail("no")))
              )
              expect(yield* sql`select * from bounced2`).toEqual([])
              const rows = sql<{ n: number }>`select n from generate_series(1, 100000) as n`.stream
              expect(yield* Stream.runCollect(Stream.take(rows, 2))).toEqual([{ n: 1 }, { n: 2 }])
              const asleep = sql`select 1 from pg_stat_activity where state = 'active' and query like '%pg_sleep(61)%'
              and pid <> pg_backend_pid()`
              const slow = yield* Effect.forkChild(sql`select pg_sleep(61)`, { startImmediately: true })
              yield* Effect.repeat(asleep, { until: (rows) => rows.length === 1 })
              yield* Fiber.interrupt(slow)
              yield* Effect.repeat(asleep, { until: (rows) => rows.length === 0 })
            }).pipe(Effect.provide(pool), Effect.timeout("30 seconds"))
        )
      }
    })
  }
)
