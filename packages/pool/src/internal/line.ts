import type * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import type { SchedulerDispatcher } from "effect/Scheduler"
import type { PoolError } from "../PoolError.ts"
import type { Lease } from "./lease.ts"
import { List } from "./list.ts"

/**
 * Borrowers without a resource, oldest first, and so by deadline too. Joining, leaving and being served cost
 * the same however long it is.
 */
export class Line<A, E> extends List<Lease<A, E>> {
  /** Those whose wait is over, and who have not been woken. */
  private woken: Array<Lease<A, E>> = []

  private readonly dispatcher: SchedulerDispatcher

  constructor(dispatcher: SchedulerDispatcher) {
    super()
    this.dispatcher = dispatcher
  }

  nth(n: number): Lease<A, E> | undefined {
    let lease = this.head
    while (lease !== undefined && n-- > 0) lease = lease.next
    return lease
  }

  /** Ends the wait of one who has left the line without a resource. */
  fail(lease: Lease<A, E>, cause: Cause.Cause<E | PoolError>): void {
    lease.state = "done"
    lease.failure = Exit.failCause(cause)
    this.wake(lease)
  }

  /** Lets a borrower go on: together with others, and never on the stack of whoever gave back. */
  wake(lease: Lease<A, E>): void {
    if (this.woken.push(lease) === 1) this.dispatcher.scheduleTask(this.wakeAll, 0)
  }

  private readonly wakeAll = (): void => {
    const woken = this.woken
    this.woken = []
    for (const lease of woken) lease.resume?.(lease.nextStep!)
  }
}
