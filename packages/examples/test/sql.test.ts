import { ConnectionPool, DatabaseConnector } from "@cenote/sql"
import { PgDriver } from "@cenote/sql-pg"
import { describeWith, Postgres } from "@cenote/testing/TestServers"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { postgres, sqlite } from "../src/sql/databases.ts"
import { connector, type OnPool, raw, tpooled } from "../src/sql/programs.ts"
import { Shops } from "../src/sql/shops.ts"
import { startedWorkers } from "../src/threads/observe.ts"
import { quietly } from "./quietly.ts"

/** Loses a transaction, makes one up, leaves a connection open, and commits what nobody should see. */
const careless = (scope: Scope.Scope): OnPool =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    const { driver } = yield* ConnectionPool.ConnectionPool
    yield* Scope.provide(driver.connect({}), scope)
    yield* sql`insert into audit_log ${sql.insert([
      { id: "told", worker: 1 },
      { id: "not told", worker: 1 }
    ])}`
    yield* sql`insert into users ${sql.insert({ name: "Mallory", email: "mallory@example.com" })}`
    return { committed: ["told", "not done", "not done either"], ended: 1 }
  })

const carelessness = [
  "2 committed transactions are lost",
  "the database has 2 transactions of which 3 were reported",
  "the users are Alice, Bob, Charlie, Diana, Eve, Mallory",
  "1 connections are left open",
  "1 sessions were ended, and not that many replaced"
]

layer(NodeServices.layer, { excludeTestServices: true })("what start checks of connection pools", (it) => {
  it.effect("finds nothing wrong with its program on SQLite", () =>
    Effect.gen(function* () {
      for (const program of [raw(sqlite), tpooled(sqlite)]) {
        const { broken, committed, lost } = yield* quietly(program.run)
        assert.deepStrictEqual({ broken, committed, lost }, { broken: [], committed: 8, lost: 0 })
      }
    })
  )

  it.effect("finds what a program loses, makes up and leaves behind", () =>
    Effect.gen(function* () {
      for (const make of [raw, tpooled]) {
        const program = Effect.flatMap(Effect.scope, (scope) => make(sqlite, careless(scope)).run)
        const { broken, lost } = yield* quietly(Effect.scoped(program))
        assert.deepStrictEqual({ broken, lost }, { broken: carelessness, lost: 2 })
      }
    })
  )

  it.effect("tells how long the main loop was held up", () =>
    Effect.gen(function* () {
      const block: OnPool = Effect.sync(() => {
        const until = performance.now() + 150
        while (performance.now() < until);
        return { committed: [], ended: 0 }
      })
      const { ticks } = yield* quietly(raw(sqlite, block).run)
      assert.isAtLeast(Math.max(...ticks.map((_) => _.late)), 100)
    })
  )

  it.effect("leaves no thread when it is stopped half way", () =>
    Effect.gen(function* () {
      const workers = yield* startedWorkers
      const run = yield* Effect.forkChild(quietly(tpooled(sqlite, Effect.never).run))
      yield* Effect.repeat(Effect.delay(Effect.void, "10 millis"), {
        until: () => workers.length === 3 && workers.every((_) => _.threadId > 0)
      })
      yield* Fiber.interrupt(run)
      assert.deepStrictEqual(
        workers.map((_) => _.threadId),
        [-1, -1, -1]
      )
    })
  )
})

const ServerLive = Layer.mergeAll(Postgres.layer(), NodeServices.layer)

await describeWith("what start checks of connection pools, on a real server", [Postgres.available], () => {
  layer(ServerLive, { excludeTestServices: true })((it) => {
    it.effect("finds what a program loses, makes up and leaves behind", () =>
      Effect.gen(function* () {
        for (const make of [raw, tpooled]) {
          const program = Effect.flatMap(Effect.scope, (scope) => make(postgres, careless(scope)).run)
          const { broken, lost } = yield* quietly(Effect.scoped(program))
          assert.deepStrictEqual({ broken, lost }, { broken: carelessness, lost: 2 })
        }
      })
    )

    it.effect("finds nothing wrong with the connector's program, and can run it again", () =>
      Effect.gen(function* () {
        for (const times of [1, 2]) {
          const { broken, committed } = yield* quietly(connector().run)
          assert.deepStrictEqual({ broken, committed }, { broken: [], committed: 12 }, `run ${times}`)
        }
      })
    )

    it.effect("finds orders that are lost, passwords that stay, and the credentials of another host", () =>
      Effect.gen(function* () {
        const careless = Effect.gen(function* () {
          const { port, secrets } = yield* Shops
          const before = yield* secrets
          const connectorLive = DatabaseConnector.layer({
            driver: PgDriver.make,
            defaults: { port, applicationName: "connector" },
            credentials: { default: { username: "clerk", password: before.clerk } },
            kind: "raw"
          })
          const program = Effect.gen(function* () {
            const { client: orders } = yield* DatabaseConnector.get({ host: "127.0.0.1", database: "orders" })
            yield* orders`insert into orders ${orders.insert({ id: "1/1", item: "pear" })}`
            yield* orders`insert into orders ${orders.insert({ id: "2/1", item: "pear", clerk: "keeper" })}`
          })
          yield* Effect.provide(program, connectorLive)
          return { committed: ["1/1", "1/2"], before }
        })
        const { broken, lost } = yield* quietly(connector(careless).run)
        assert.deepStrictEqual(
          { broken, lost },
          {
            broken: [
              "there were 1 pools, not 2",
              "1 orders are lost",
              "of 60 pieces 60 are left",
              "an order was placed with the credentials of another host",
              "a session lived on with an old password",
              "an old password is still good"
            ],
            lost: 1
          }
        )
      })
    )
  })
})
