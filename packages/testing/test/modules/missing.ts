import { describeWith, ServerError } from "@cenote/testing/TestServers"
import { Effect } from "effect"
import { it } from "vitest"

const oracle = Effect.fail(
  process.env["BROKEN"] === undefined
    ? new ServerError({ reason: "Binaries", message: "no Oracle: it is not installed. Buy it" })
    : new ServerError({ reason: "Start", message: "Oracle did not start" })
)

await describeWith("what needs a server", [oracle, oracle, Effect.void], () => {
  it("asks the oracle", () => {
    throw new Error("there is none")
  })
})

await describeWith("what needs none", [Effect.void], () => {
  it("passes", () => {})
})
