// What vitest calls before and after a run.
import * as Effect from "effect/Effect"
import type { TestProject } from "vitest/node"
import { onMachine } from "./kinds.ts"
import { join, type Kind } from "./shared.ts"

/** A global set-up: called before the run, it returns what is to be called after it. */
export type GlobalSetup = (project: TestProject) => Promise<() => Promise<void>>

export const globalSetup =
  <Options>(kind: Kind<Options>, options: Options): GlobalSetup =>
  (project) =>
    join(
      kind,
      options,
      (effect) => Effect.runPromise(onMachine(effect)),
      project.provide.bind(project) as (key: string, value: unknown) => void
    )
