/**
 * What happens in a pool, one value an occurrence. Read them with `Pool.events`.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import type { Phase } from "./PoolError.ts"

/**
 * Why a resource was closed.
 *
 * - `maxAge`, `maxIdle`, `maxUses`: it reached that limit
 * - `invalid`: `validate` said no, failed, or took too long
 * - `resetFailed`: `reset` failed or took too long
 * - `invalidated`: `Pool.invalidate`
 * - `recycled`: `Pool.recycle`
 * - `cleared`: `Pool.clear`
 * - `shrunk`: the pool was resized to fewer
 * - `stolen`: a keyed pool needed the room for another key
 * - `keyIdle`: nobody had asked a keyed pool for its key for that long
 * - `abandoned`: its creation came too late, or the pool closed meanwhile
 * - `poolClosed`: the pool closed
 *
 * @category models
 * @since 0.1.0
 */
export type CloseReason =
  | "maxAge"
  | "maxIdle"
  | "maxUses"
  | "invalid"
  | "resetFailed"
  | "invalidated"
  | "recycled"
  | "cleared"
  | "shrunk"
  | "stolen"
  | "keyIdle"
  | "abandoned"
  | "poolClosed"

/**
 * What happens in a pool. Durations are in milliseconds, `at` is in milliseconds since the epoch,
 * `resource` numbers the pool's resources from 1 in the order of their creation.
 *
 * @category models
 * @since 0.1.0
 */
export type PoolEvent = Data.TaggedEnum<{
  /** A resource was created. */
  Created: { readonly pool: string; readonly at: number; readonly resource: number; readonly took: number }
  /** An attempt to create failed. `willRetry` when `createRetry` says that there will be another. */
  CreateFailed: {
    readonly pool: string
    readonly at: number
    readonly cause: Cause.Cause<unknown>
    readonly willRetry: boolean
  }
  /** What a creation that failed or was given up had left behind is gone, or is waited for no longer: its place is free. */
  CreateCleanedUp: { readonly pool: string; readonly at: number; readonly resource: number }
  /** A resource was lent, after `waited` in line. */
  Borrowed: {
    readonly pool: string
    readonly at: number
    readonly resource: number
    readonly fiber: number
    readonly waited: number
  }
  /** A borrower gave back what it had held for `held`. */
  Returned: {
    readonly pool: string
    readonly at: number
    readonly resource: number
    readonly fiber: number
    readonly held: number
  }
  /**
   * A resource left the pool. `failure` is the cause when its finalizer failed; `timedOut` when it did
   * not end within `destroyTimeout` and was left behind.
   */
  Closed: {
    readonly pool: string
    readonly at: number
    readonly resource: number
    readonly reason: CloseReason
    readonly age: number
    readonly uses: number
    readonly failure: Cause.Cause<unknown> | undefined
    readonly timedOut: boolean
  }
  /** A borrower joined the line, at `position` (1 is the head). */
  WaitStarted: {
    readonly pool: string
    readonly at: number
    readonly fiber: number
    readonly position: number
  }
  /** A borrower left the line of its own accord: it was interrupted. */
  WaitCancelled: {
    readonly pool: string
    readonly at: number
    readonly fiber: number
    readonly waited: number
  }
  /** A borrower's deadline passed. */
  TimedOut: {
    readonly pool: string
    readonly at: number
    readonly fiber: number
    readonly waited: number
    readonly phase: Phase
  }
  /**
   * A borrower was turned away: the line was full, it would have waited for ever, or as many resources as `validateAttempts` were
   * invalid.
   */
  Rejected: {
    readonly pool: string
    readonly at: number
    readonly fiber: number
    readonly reason: "LineFull" | "WouldDeadlock" | "ValidationFailed"
  }
  /** A resource has been held longer than `leakAfter`. Told once a loan. */
  Leaked: {
    readonly pool: string
    readonly at: number
    readonly resource: number
    readonly fiber: number
    readonly span: string | undefined
    readonly held: number
  }
  Resized: { readonly pool: string; readonly at: number; readonly min: number; readonly max: number }
  Suspended: { readonly pool: string; readonly at: number }
  Resumed: { readonly pool: string; readonly at: number }
  Recycled: { readonly pool: string; readonly at: number }
  /** The pool was told to close. No borrow succeeds after this. */
  Closing: { readonly pool: string; readonly at: number }
  /** This listener was too slow: `count` events before the next one were dropped for it. */
  Dropped: { readonly pool: string; readonly at: number; readonly count: number }
}>

/**
 * Constructors, `$is` and `$match` for {@link PoolEvent}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const PoolEvent = Data.taggedEnum<PoolEvent>()
