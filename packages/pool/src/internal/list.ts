/** What an element of a {@link List} carries. An element is in at most one list at a time. */
export interface Linked<T> {
  previous: T | undefined
  next: T | undefined
  /** The list that the element is in. */
  list: List<any> | undefined
}

/**
 * A doubly linked list through its own elements: joining, and leaving from anywhere, cost the same
 * however long it is, and allocate nothing.
 */
export class List<T extends Linked<T>> {
  head: T | undefined = undefined
  tail: T | undefined = undefined
  size = 0

  push(element: T): void {
    this.insertAfter(this.tail, element)
  }

  /** Puts `element` behind `anchor`, or first when there is no anchor. */
  insertAfter(anchor: T | undefined, element: T): void {
    const next = anchor === undefined ? this.head : anchor.next
    element.previous = anchor
    element.next = next
    element.list = this
    if (anchor === undefined) this.head = element
    else anchor.next = element
    if (next === undefined) this.tail = element
    else next.previous = element
    this.size++
  }

  /** Takes `element` out, and does nothing when it is not in this list. */
  remove(element: T): void {
    if (element.list !== this) return
    const { next, previous } = element
    if (previous === undefined) this.head = next
    else previous.next = next
    if (next === undefined) this.tail = previous
    else next.previous = previous
    element.previous = undefined
    element.next = undefined
    element.list = undefined
    this.size--
  }

  *[Symbol.iterator](): IterableIterator<T> {
    let element = this.head
    while (element !== undefined) {
      // Read ahead, so that the element may leave while it is looked at.
      const next: T | undefined = element.next
      yield element
      element = next
    }
  }
}
