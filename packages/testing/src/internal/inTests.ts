// What is known of the test runner, which not every program that starts a server has.
import * as Effect from "effect/Effect"

interface Tests {
  readonly inject: (key: string) => unknown
  readonly describe: Describe & { readonly skip: Describe }
  readonly it: (name: string, test: () => void) => void
}

type Describe = (name: string, tests: () => void) => void

/** The test runner, where a test file of it is running. */
export const inTests: Effect.Effect<Tests | undefined> = Effect.suspend(() =>
  "__vitest_worker__" in globalThis
    ? Effect.promise(async () => {
        const { describe, inject, it } = await import("vitest")
        return { describe, it, inject: inject as (key: string) => unknown }
      })
    : Effect.succeed(undefined)
)
