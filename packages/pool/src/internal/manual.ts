import type { Lease } from "./lease.ts"

/** Loans that `Pool.release` is to end, by their resource. */
export class ManualLoans<A, E> {
  private readonly loans = new Map<A, Array<Lease<A, E>>>()

  add(lease: Lease<A, E>): void {
    const item = lease.slot!.value
    const loans = this.loans.get(item)
    if (loans === undefined) this.loans.set(item, [lease])
    else loans.push(lease)
  }

  /** Takes out one of a resource, if there is any: of several, the fiber's own. */
  take(item: A, fiber: unknown): Lease<A, E> | undefined {
    const loans = this.loans.get(item)
    if (loans === undefined) return undefined
    const own = loans.findIndex((lease) => lease.fiber === fiber)
    const [lease] = loans.splice(Math.max(own, 0), 1)
    if (loans.length === 0) this.loans.delete(item)
    return lease
  }
}
