// What is known of a dashboard's pools: what a stream begins with, and what has changed since.
import type { Change, Focus, FocusChange, PoolView, Whole } from "../protocol.ts"

export interface Known extends Omit<Whole, "pools"> {
  readonly pools: ReadonlyMap<string, PoolView>
}

/** What the server says of one pool's past, and no more of it: see {@link Focus}. */
const mostSamples = 300
const mostEvents = 200

export const known = (whole: Whole): Known => ({
  ...whole,
  pools: new Map(whole.pools.map((pool) => [pool.id, pool]))
})

export const changed = (before: Known, change: Change): Known => {
  const pools = new Map(before.pools)
  for (const id of change.removed) pools.delete(id)
  for (const pool of change.added) pools.set(pool.id, pool)
  for (const [id, figures] of Object.entries(change.figures)) {
    const pool = pools.get(id)
    if (pool !== undefined) pools.set(id, { ...pool, figures: { ...pool.figures, ...figures } })
  }
  const focus = change.focus === undefined ? undefined : changedFocus(before.focus, change.focus)
  return { ...before, at: change.at, pools, focus }
}

const changedFocus = (before: Focus | undefined, { sample, ...now }: FocusChange): Focus => {
  const past = before?.id === now.id ? before : undefined
  return {
    ...now,
    history: [...(past?.history ?? []), sample].slice(-mostSamples),
    events: [...(past?.events ?? []), ...now.events].slice(-mostEvents)
  }
}
