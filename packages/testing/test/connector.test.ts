import { DatabaseConnector, type SqlPoolError } from "@cenote/sql"
import { DatabaseConnectorTest } from "@cenote/testing"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

const users = DatabaseConnector.get({ host: "users.internal", database: "users" })
const orders = DatabaseConnector.get({ host: "orders.internal", database: "orders" })

const tables = Effect.flatMap(SqlClient, (sql) => sql`create table t (name text)`)

const layer = () => DatabaseConnectorTest.layer({ migrations: () => tables })

describe("DatabaseConnectorTest", () => {
  it.live("gives each host and database a database of its own, the same each time", () =>
    Effect.gen(function* () {
      const { client: sql } = yield* users
      yield* sql`insert into t values ('Ada')`
      expect(yield* (yield* users).client`select * from t`).toEqual([{ name: "Ada" }])
      expect(yield* (yield* orders).client`select * from t`).toEqual([])
      expect(yield* users).toBe(yield* users)
    }).pipe(Effect.provide(DatabaseConnectorTest.layer({ migrations: () => tables })))
  )

  it.live(
    "runs the migrations once for each, also when several ask at once, and tells them for which",
    () => {
      const migrated: Array<string> = []
      return Effect.gen(function* () {
        const pools = yield* Effect.all([users, users, orders, users], { concurrency: "unbounded" })
        expect(new Set(pools).size).toBe(2)
        expect(migrated.toSorted()).toEqual(["orders.internal/orders", "users.internal/users"])
      }).pipe(
        Effect.provide(
          DatabaseConnectorTest.layer({
            migrations: ({ database, host }) =>
              Effect.andThen(
                tables,
                Effect.sync(() => migrated.push(`${host}/${database}`))
              )
          })
        )
      )
    }
  )

  it.live("each layer has its own databases: tests see nothing of each other", () => {
    const test = Effect.gen(function* () {
      const { client: sql } = yield* users
      yield* sql`insert into t values ('Ada')`
      return yield* sql`select count(*) as n from t`
    })
    return Effect.gen(function* () {
      expect(yield* Effect.provide(test, layer())).toEqual([{ n: 1 }])
      expect(yield* Effect.provide(test, layer())).toEqual([{ n: 1 }])
    })
  })

  it.live("a transaction and statements beside it work as on a server", () =>
    Effect.gen(function* () {
      const { client: sql } = yield* users
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`insert into t values ('Ada')`
          const other = yield* orders
          expect(yield* other.client`select * from t`).toEqual([])
        })
      )
      yield* Effect.exit(
        sql.withTransaction(Effect.andThen(sql`insert into t values ('Bob')`, Effect.fail("no")))
      )
      expect(yield* sql`select * from t`).toEqual([{ name: "Ada" }])
    }).pipe(Effect.provide(DatabaseConnectorTest.layer({ migrations: () => tables })))
  )

  it.live("EV-72: a host that the test does not know fails as one without credentials does", () =>
    Effect.gen(function* () {
      yield* users
      const error: SqlPoolError.UnknownHost = yield* Effect.flip(orders)
      expect(error).toMatchObject({ _tag: "UnknownHost", host: "orders.internal", known: ["users.internal"] })
    }).pipe(Effect.provide(DatabaseConnectorTest.layer({ hosts: ["users.internal"] })))
  )

  it.live("a migration that fails is a defect that says for which database", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(users)
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      expect(defect).toMatchObject({
        message: expect.stringContaining("users.internal/users"),
        cause: { _tag: "SqlError" }
      })
    }).pipe(
      Effect.provide(
        DatabaseConnectorTest.layer({
          migrations: () => Effect.flatMap(SqlClient, (sql) => sql`create tabel t`)
        })
      )
    )
  )

  it.live("gives repositories that want a SqlClient theirs", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient
      expect(yield* sql`select * from t`).toEqual([])
    }).pipe(
      Effect.provide(DatabaseConnector.client({ host: "users.internal" })),
      Effect.provide(DatabaseConnectorTest.layer({ migrations: () => tables }))
    )
  )
})
