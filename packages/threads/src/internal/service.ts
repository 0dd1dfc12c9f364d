import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Core } from "./core.ts"

/** The service. Its value is opaque: the functions of the module `ThreadPool` work on the `core` behind it. */
export class ThreadPool extends Context.Service<ThreadPool, { readonly core: Core } | Nested>()(
  "@cenote/threads/ThreadPool"
) {}

/** The pool that a task sees. It is made when the task first asks for it: most never do, and need not load what it takes. */
export interface Nested {
  made: Core | undefined
  /** Keys of the references that go with calls. */
  readonly references: ReadonlyArray<string>
}

export const coreOf = (service: ThreadPool["Service"]): Core =>
  "core" in service ? service.core : (service.made ??= makeNested(service.references))

export const coreInContext: Effect.Effect<Core, never, ThreadPool> = Effect.map(ThreadPool, coreOf)

let makeNested: (references: ReadonlyArray<string>) => Core

/** Told by the file that can make one, since it needs this one. */
export const nestedAreMadeBy = (make: typeof makeNested): void => {
  makeNested = make
}

export const Inline: Context.Reference<boolean> = Context.Reference<boolean>("~cenote/threads/Inline", {
  defaultValue: () => false
})

export const Unkillable: Context.Reference<boolean> = Context.Reference<boolean>(
  "~cenote/threads/Unkillable",
  { defaultValue: () => false }
)

export const Patient: Context.Reference<boolean> = Context.Reference<boolean>("~cenote/threads/Patient", {
  defaultValue: () => false
})
