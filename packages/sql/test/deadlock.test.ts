import { ConnectionPool, RawConnectionPool } from "@cenote/sql"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { FakeDatabases } from "./kit.ts"

const wouldDeadlock = { _tag: "WouldDeadlock", max: 1, certain: true }

const inPool = <A, E>(test: Effect.Effect<A, E, ConnectionPool.ConnectionPool | SqlClient>) =>
  Effect.suspend(() =>
    Effect.provide(test, RawConnectionPool.layer(new FakeDatabases().driver({}), { max: 1 }))
  )

describe("a borrow that can never be served fails at once", () => {
  it.effect("inside a borrow", () =>
    inPool(
      Effect.gen(function* () {
        expect(
          yield* ConnectionPool.use(() => Effect.flip(ConnectionPool.use(() => Effect.void)))
        ).toMatchObject(wouldDeadlock)
        expect(yield* ConnectionPool.use(() => Effect.succeed("well"))).toBe("well")
      })
    )
  )

  it.effect("inside a scope that holds one", () =>
    inPool(
      Effect.scoped(
        Effect.gen(function* () {
          yield* ConnectionPool.get
          const sql = yield* SqlClient
          expect(yield* Effect.flip(sql`select 1`)).toMatchObject({ reason: { cause: wouldDeadlock } })
          expect(yield* Effect.flip(Stream.runDrain(sql`select 1`.stream))).toMatchObject({
            reason: { cause: wouldDeadlock }
          })
          expect(yield* Effect.flip(sql.withTransaction(Effect.void))).toMatchObject({
            reason: { cause: wouldDeadlock }
          })
        })
      )
    )
  )

  it.effect("inside a transaction", () =>
    inPool(
      Effect.gen(function* () {
        const sql = yield* SqlClient
        const error = yield* sql.withTransaction(
          Effect.gen(function* () {
            expect(yield* sql`select 1`).toHaveLength(1)
            return yield* sql.withTransaction(Effect.flip(ConnectionPool.use(() => Effect.void)))
          })
        )
        expect(error).toMatchObject(wouldDeadlock)
      })
    )
  )

  it.effect("not where the first was released before", () =>
    inPool(
      Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* ConnectionPool.get
          yield* connection.release()
          const sql = yield* SqlClient
          expect(yield* sql`select 1`).toHaveLength(1)
        })
      )
    )
  )
})
