/** How calls get to a thread, and results back. */
export type Way = "single" | "batch" | "wait" | "waitAsync" | "look" | "ring"

export interface Shared {
  readonly memory: SharedArrayBuffer
  readonly ring: SharedArrayBuffer
}

/** What stands where in `memory`: how many messages or calls were sent, how many replies, and whether to stop. */
export const cells = { calls: 0, replies: 1, stop: 2 } as const

/** Calls that the ring has room for. */
export const slots = 4096
