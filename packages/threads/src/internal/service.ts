import * as Context from "effect/Context"
import type { Core } from "./core.ts"

/** The service. Its value is opaque: the functions of the module `ThreadPool` work on it. */
export class ThreadPool extends Context.Service<ThreadPool, { readonly core: Core }>()(
  "@cenote/threads/ThreadPool"
) {}

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
