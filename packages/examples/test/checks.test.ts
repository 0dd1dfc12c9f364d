import { Pool } from "@cenote/pool"
import { describeWith, Postgres } from "@cenote/testing/TestServers"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { PgConnection } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Scope } from "effect"
import { observe } from "../src/observe.ts"
import { type Program, runProgram } from "../src/pools/programs.ts"
import { runProgram as runSeeing } from "../src/seeing/programs.ts"
import { createTables, runTask } from "../src/pools/users.ts"
import { quietly } from "./quietly.ts"

/** Looks at nothing. */
const blind = Effect.succeed({ metrics: [], pools: "ok app/Db pool 2/2 ", pool: "", code: 0, served: 1 })

const ServerLive = Layer.mergeAll(Postgres.layer(), NodeServices.layer)

await describeWith("what start checks, on a real server", [Postgres.available], () => {
  layer(ServerLive, { excludeTestServices: true })((it) => {
    it.effect("finds what a program loses, doubles and leaves behind", () =>
      Effect.gen(function* () {
        yield* createTables
        const { config } = yield* Postgres
        const scope = yield* Effect.scope
        const careless: Program = {
          title: "careless",
          shows: "what it should not do",
          name: "careless",
          terminated: 1,
          effect: Effect.gen(function* () {
            const connect = PgConnection.make({ ...config, applicationName: "careless" })
            // Given back only when all is over.
            const kept = yield* Effect.provideService(connect, Scope.Scope, scope)
            const pool = yield* Pool.make({ name: "careless", acquire: connect, max: 1 })
            yield* Pool.use(pool, (session) => runTask(session, { id: "careless/1", userId: 1, seconds: 0 }))
            yield* kept.query("update users set tasks = tasks + 1 where id = 1")
            return ["careless/2"]
          }).pipe(Effect.scoped)
        }
        const { broken, lost } = yield* quietly(runProgram(careless))
        assert.strictEqual(lost, 1)
        assert.deepStrictEqual(broken, [
          "1 committed tasks are lost",
          "the accounts of the users count 2 tasks, and the log has 1",
          "the users are Alice, Bob, Charlie, Diana, Eve",
          "1 sessions are left on the server",
          "1 sessions were terminated, and not that many replaced"
        ])
      })
    )

    it.effect("finds what metrics and the dashboard have not shown", () =>
      Effect.gen(function* () {
        const { broken } = yield* quietly(runSeeing("http://nowhere", () => blind))
        assert.deepStrictEqual(broken, [
          "there were 0 pools, not 1",
          "metrics do not count the two that wait",
          "metrics do not say that two sessions are all",
          "metrics do not count the two loans",
          "cenote top does not say that the pool is short",
          "cenote top --check ended with exit code 0",
          "cenote top does not say who holds what",
          "cenote top does not say who waits",
          "1 of those who waited were served"
        ])
      })
    )

    it.effect("follows a pool from the first borrow to the last close", () =>
      Effect.gen(function* () {
        const program = Effect.gen(function* () {
          const pool = yield* Pool.make({ name: "followed", acquire: Effect.succeed({}), max: 2 })
          yield* Effect.forEach([1, 2, 3], () => Pool.use(pool, () => Effect.yieldNow), { concurrency: 3 })
          yield* Pool.clear(pool)
        })
        const { pools } = yield* quietly(observe(Effect.scoped(program)))
        assert.strictEqual(pools.length, 1)
        const { atRest, waited, ...figures } = pools[0]!
        assert.deepInclude(atRest, { size: 0, borrowed: 3, created: 2, destroyed: 2 })
        assert.strictEqual(waited.length, 3)
        assert.deepInclude(figures, {
          name: "followed",
          returned: 3,
          created: 2,
          replaced: 2,
          mostLent: 2,
          missed: 0
        })
        assert.sameMembers([...figures.closed], [1, 2])
      })
    )
  })
})
