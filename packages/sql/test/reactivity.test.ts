import { DatabaseConnector, RawConnectionPool } from "@cenote/sql"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql/SqlClient"
import { FakeDatabases } from "./kit.ts"

const raw: Layer.Layer<SqlClient, unknown> = RawConnectionPool.layer(new FakeDatabases().driver({}))
const connector: Layer.Layer<SqlClient, unknown> = Layer.provide(
  DatabaseConnector.client(),
  DatabaseConnector.layer({ driver: new FakeDatabases().driver, credentials: { default: {} }, kind: "raw" })
)

/** A reactive query runs again when the program says that its key has changed. */
const runsAgain = Effect.gen(function* () {
  const sql = yield* SqlClient
  const runs = yield* Effect.forkChild(
    Stream.runCollect(Stream.take(sql.reactive(["users"], sql`select 1`), 2)),
    { startImmediately: true }
  )
  yield* Effect.yieldNow
  yield* Effect.repeat(Effect.andThen(Reactivity.invalidate(["users"]), Effect.yieldNow), {
    until: () => runs.pollUnsafe() !== undefined
  })
  expect(yield* Fiber.join(runs)).toHaveLength(2)
})

describe("reactive queries hear of the program's invalidations", () => {
  for (const [name, client] of Object.entries({ "a pool": raw, "a connector": connector })) {
    it.live(`of ${name} beside Reactivity.layer`, () =>
      runsAgain.pipe(Effect.provide(Layer.mergeAll(Reactivity.layer, client)))
    )

    it.live(`of ${name} over a Reactivity of the program's own`, () =>
      runsAgain.pipe(
        Effect.provide(Layer.provideMerge(client, Layer.effect(Reactivity.Reactivity, Reactivity.make)))
      )
    )
  }
})
