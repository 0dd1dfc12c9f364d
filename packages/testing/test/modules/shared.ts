// What the files of the run do: they say which servers they have, and the first of them ends as it is told to.
import { describeWith, MariaDb, Postgres } from "@cenote/testing/TestServers"
import { layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { report } from "./report.ts"

export const tests = (ending: string | undefined) =>
  describeWith("a file of the run", [Postgres.sharedAvailable, MariaDb.sharedAvailable], () => {
    layer(Layer.mergeAll(Postgres.shared, MariaDb.shared))((it) => {
      it.effect("has servers", () =>
        Effect.gen(function* () {
          yield* report(Postgres)
          yield* report(MariaDb)
          yield* Effect.sync(() => console.log("ready"))
          if (ending === "fail") throw new Error("this test fails")
          if (ending === "throw")
            setImmediate(() => {
              throw new Error("nobody catches this")
            })
          if (ending === "hang") yield* Effect.never
        })
      )
    })
  })
