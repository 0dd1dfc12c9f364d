import type { Handle } from "./call.ts"
import type { Core } from "./core.ts"

export const HandleKey: unique symbol = Symbol.for("~cenote/threads/Handle") as never

/** What is behind a remote. */
export interface Inside {
  readonly core: Core
  readonly handle: Handle
  readonly className: string
}

export const insideOf = (remote: unknown): Inside | undefined =>
  typeof remote === "function" ? (remote as any)[HandleKey] : undefined

export const handleOf = (remote: unknown): Handle | undefined => insideOf(remote)?.handle
