// Starts a server of each kind, says so, and ends as its argument says.
import { MariaDb, Postgres } from "@cenote/testing/TestServers"
import { Effect, Layer } from "effect"
import { report } from "./report.ts"

const program = Effect.gen(function* () {
  yield* report(Postgres)
  yield* report(MariaDb)
  yield* Effect.sync(() => console.log("ready"))
  const [, , ending] = process.argv
  if (ending === "exit") process.exit(3)
  if (ending === "throw")
    setImmediate(() => {
      throw new Error("nobody catches this")
    })
  return yield* Effect.never
})

Effect.runFork(Effect.provide(program, Layer.mergeAll(Postgres.layer(), MariaDb.layer())))
