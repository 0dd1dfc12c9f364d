import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { CloseReason } from "../PoolEvent.ts"
import type { Lease } from "./lease.ts"
import type { Linked, List } from "./list.ts"

/**
 * One place of the pool, from the moment it is reserved for a resource until that resource is gone.
 *
 * ```text
 * creating ──> ready <──> busy        (busy: the pool itself validates or resets it)
 *     │          │          │
 *     └──────────┴──────────┴──> closing ──> out of the pool
 * ```
 */
export class Slot<A> implements Linked<Slot<A>> {
  previous: Slot<A> | undefined = undefined
  next: Slot<A> | undefined = undefined
  list: List<Slot<A>> | undefined = undefined

  phase: "creating" | "ready" | "busy" | "closing" = "creating"
  /** Set when `phase` leaves "creating" for "ready", and never changed after. */
  value: A = undefined as A
  /** Closes the resource; set from the moment that an attempt to create it has succeeded until it is closed. */
  scope: Scope.Closeable | undefined = undefined
  /** Borrowers on it now; above 0 only while "ready", at most the pool's `concurrency`. */
  leases = 0
  /** `Pool.reserve`s on it now; above 0 keeps it from being lent. */
  reservations = 0
  /** Loans so far. */
  uses = 0
  /** Monotonic milliseconds, as all times below. */
  createdAt = 0
  /** Its place in the order in which resources came to rest. */
  restOrder = 0
  /** When its last borrower left; of meaning while nobody holds it. */
  idleSince = 0
  /** When it was last known to be good: created, given back or validated. */
  knownGoodAt = 0
  /** Its own age limit, jitter taken off. */
  maxAge = Infinity
  /** Once set it is never lent again, and is closed when its last borrower leaves. */
  condemned: CloseReason | undefined = undefined
  /** The borrower that a running validation was started for. */
  checkedFor: Lease<A, any> | undefined = undefined
  /** Creates it, while "creating". */
  creator: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** An attempt to create that was given up on and has not ended. */
  straggler: Fiber.Fiber<unknown, unknown> | undefined = undefined

  /** Validates or resets it, while "busy". */
  worker: Fiber.Fiber<unknown, unknown> | undefined = undefined

  readonly id: number

  constructor(id: number) {
    this.id = id
  }
}
