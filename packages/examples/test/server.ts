import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer } from "effect"
import { describe, it } from "vitest"
import { Postgres } from "../src/pools/postgres.ts"

const missing = await Postgres.available.pipe(
  Effect.as(""),
  Effect.catchTag("ServerError", (error) => Effect.succeed(error.message)),
  Effect.provide(NodeServices.layer),
  Effect.runPromise
)

/** Tests that need a server. Where none can run they are skipped, and say why; in CI that is a failure. */
export const describeWithServer = (name: string, tests: () => void): void => {
  if (missing === "") describe(name, tests)
  else if (process.env["CI"] === "true") {
    describe(name, () => {
      it("has a PostgreSQL server", () => {
        throw new Error(missing)
      })
    })
  } else describe.skip(`${name} (skipped: ${missing})`, tests)
}

export const ServerLive = Layer.provideMerge(Postgres.layer(), NodeServices.layer)
