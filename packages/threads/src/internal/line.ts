import type { Call } from "./call.ts"

/** How far the front of the line may be from the start of its array before the array is cut. */
const slack = 1024

/**
 * Calls that no thread has, oldest first. A call that is given up stays in its place as a husk until it comes to the
 * front, or until half the line is husks: leaving costs nothing then, however long the line is.
 */
export class Line {
  private calls: Array<Call> = []
  /** Where the line begins in the array. */
  private front = 0
  /** Calls that still wait. */
  size = 0

  get head(): Call | undefined {
    while (this.front < this.calls.length) {
      const call = this.calls[this.front]!
      if (call.state === "line") return call
      this.front++
    }
    this.calls.length = this.front = 0
    return undefined
  }

  /** The first of those that wait. */
  first(limit: number): ReadonlyArray<Call> {
    const waiting: Array<Call> = []
    for (let i = this.front; i < this.calls.length && waiting.length < limit; i++) {
      if (this.calls[i]!.state === "line") waiting.push(this.calls[i]!)
    }
    return waiting
  }

  push(call: Call): void {
    call.state = "line"
    call.line = this
    this.calls.push(call)
    this.size++
  }

  /** Takes out the {@link head}. */
  shift(): void {
    this.front++
    this.size--
    if (this.front > slack && this.front * 2 > this.calls.length) this.compact()
  }

  /** Puts calls back where they came from: before all others, except those that came before them. */
  unshift(calls: ReadonlyArray<Call>): void {
    for (const call of calls) {
      call.state = "line"
      call.line = this
    }
    const rest = this.calls.slice(this.front)
    this.calls = [...calls, ...rest]
    this.front = 0
    this.size += calls.length
    const [next] = rest
    const last = calls.at(-1)
    if (next !== undefined && last !== undefined && next.serial < last.serial) {
      this.calls.sort((a, b) => a.serial - b.serial)
    }
  }

  /** Lets go of a call that is in the line. */
  leave(call: Call): void {
    call.state = "done"
    this.size--
    if (this.calls.length - this.front - this.size > slack + this.size) this.compact()
  }

  /**
   * Everything that waits, as new; the line is empty afterwards. What is done with the first may make the others' callers
   * give up: look at the state of each before its turn.
   */
  takeAll(): ReadonlyArray<Call> {
    const all = this.calls.slice(this.front).filter((_) => _.state === "line")
    for (const call of all) call.state = "new"
    this.calls = []
    this.front = this.size = 0
    return all
  }

  private compact(): void {
    this.calls = this.calls.slice(this.front).filter((_) => _.state === "line")
    this.front = 0
  }
}
