import { List } from "./list.ts"
import type { Slot } from "./slot.ts"

/**
 * What can be lent now, in the order in which it is: ready, with room for a borrower, not condemned and not
 * reserved. Those at rest stand in the order in which they came to rest.
 */
export class Shelf<A> {
  private readonly slots = new List<Slot<A>>()

  private readonly order: "fifo" | "lifo"

  constructor(order: "fifo" | "lifo") {
    this.order = order
  }

  get size(): number {
    return this.slots.size
  }

  /** What is to be lent next. */
  get next(): Slot<A> | undefined {
    return this.order === "lifo" ? this.slots.tail : this.slots.head
  }

  /** Puts a slot where it belongs now, also when it stands here already. */
  put(slot: Slot<A>): void {
    if (slot.list !== undefined) {
      // Shared, and given back by one of its borrowers: it keeps its place until it comes to rest.
      if (slot.leases > 0) return
      this.slots.remove(slot)
    }
    // Those that were created ahead of any borrower come out in the order of their creation, last in, first
    // out as well (EV-14).
    if (slot.uses === 0 && this.order === "lifo") return this.slots.insertAfter(undefined, slot)
    let before = this.slots.tail
    if (slot.leases === 0) {
      while (before !== undefined && before.leases === 0 && before.restOrder > slot.restOrder) {
        before = before.previous
      }
    }
    this.slots.insertAfter(before, slot)
  }

  remove(slot: Slot<A>): void {
    this.slots.remove(slot)
  }

  /** The slots at rest, in their order: a copy, so that they may go meanwhile. */
  atRest(): Array<Slot<A>> {
    return Array.from(this.slots).filter((slot) => slot.leases === 0)
  }

  [Symbol.iterator](): IterableIterator<Slot<A>> {
    return this.slots[Symbol.iterator]()
  }
}
