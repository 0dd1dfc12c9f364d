// A program that uses a connector, and closes nothing.
import { DatabaseConnector } from "@cenote/sql"
import { SqliteDriver } from "@cenote/sql-sqlite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

const connector = DatabaseConnector.layer({
  driver: () => SqliteDriver.make({ filename: ":memory:" }),
  credentials: { default: {} },
  kind: "raw",
  pool: { maxIdle: "50 millis" }
})

const program = Effect.gen(function* () {
  const pool = yield* DatabaseConnector.get()
  return yield* pool.client`select 1 as one`
})

const rows = Effect.provideContext(
  program,
  await Effect.runPromise(Layer.buildWithScope(connector, Scope.makeUnsafe()))
)
console.log(JSON.stringify(await Effect.runPromise(rows)))
