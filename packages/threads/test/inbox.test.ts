import { describe, expect, it } from "vitest"
import { Inbox } from "../src/internal/inbox.ts"

/** A thread whose clock goes on by `step` milliseconds each time that somebody looks at it. */
class Desk {
  /** Messages that have come, and not been taken. */
  came = 0
  taken = 0
  /** How many had been taken at each flush. */
  readonly flushed: Array<number> = []
  isQuiet = true
  sharedMemory: Int32Array | undefined = new Int32Array(new SharedArrayBuffer(4))
  /** Called at each look at the clock. */
  meanwhile = () => {}
  private millis = 0
  private turns: Array<() => void> = []
  private readonly inbox: Inbox

  constructor({ step = 0.01 } = {}) {
    this.inbox = new Inbox(this, {
      receiveNext: () => {
        if (this.came === 0) return false
        this.came--
        this.taken++
        return true
      },
      nextTurn: (f) => this.turns.push(f),
      now: () => {
        this.meanwhile()
        return (this.millis += step)
      }
    })
  }

  flush(): void {
    this.flushed.push(this.taken)
  }

  post(messages = 1): void {
    this.came += messages
    Atomics.add(this.sharedMemory!, 0, 1)
  }

  /** The event loop hands over a message: how many milliseconds it takes until it may go on. */
  message(): number {
    const before = this.millis
    this.inbox.goOn()
    return this.millis - before
  }

  /** Whether somebody wanted to hear of the next turn, which has now begun. */
  nextTurn(): boolean {
    const turns = this.turns
    this.turns = []
    for (const f of turns) f()
    return turns.length > 0
  }
}

describe("what comes to a thread", () => {
  it("is taken together, and replied to together", () => {
    const desk = new Desk()
    desk.post(3)
    desk.message()
    expect(desk.taken).toBe(3)
    expect(desk.flushed[0]).toBe(3)
  })

  it("is taken without the event loop as long as it keeps coming, each reply at once", () => {
    const desk = new Desk()
    let left = 5
    desk.meanwhile = () => {
      if (desk.came === 0 && desk.flushed.at(-1) === desk.taken && left-- > 0) desk.post()
    }
    desk.message()
    expect(desk.taken).toBe(5)
    expect(new Set(desk.flushed)).toEqual(new Set([0, 1, 2, 3, 4, 5]))
    expect(desk.nextTurn(), "nobody asks for a turn where there is time left").toBe(false)
  })

  it("leaves the event loop its turn after 5 ms, though there is always more", () => {
    const desk = new Desk()
    desk.post(10_000)
    expect(desk.message()).toBeCloseTo(5, 0)
    const { taken } = desk
    expect(taken).toBeGreaterThan(400)
    // What the loop still hands over is one message each time, until its next turn.
    desk.message()
    expect(desk.taken).toBe(taken)
    expect(desk.flushed.length).toBe(2)
    expect(desk.nextTurn()).toBe(true)
    desk.message()
    expect(desk.taken).toBeGreaterThan(taken)
  })

  it("leaves the event loop its turn after 5 ms, though the next call always comes in time", () => {
    const desk = new Desk()
    desk.meanwhile = () => {
      if (desk.came === 0) desk.post()
    }
    expect(desk.message()).toBeCloseTo(5, 0)
    expect(desk.nextTurn()).toBe(true)
  })

  it("is looked out for 50 µs, and after four times in vain not at all for 64 messages", () => {
    const desk = new Desk({ step: 0.001 })
    const looksOut = () => desk.message() > 0.05
    expect(Array.from({ length: 4 }, looksOut)).toEqual([true, true, true, true])
    expect(Array.from({ length: 64 }, looksOut)).not.toContain(true)
    // Then one vain look-out is enough for the next pause, and one that sees something gives back all patience.
    expect([looksOut(), looksOut()]).toEqual([true, false])
    expect(Array.from({ length: 63 }, looksOut)).not.toContain(true)
    let left = 1
    desk.meanwhile = () => {
      if (left-- === 0) desk.post()
    }
    expect(Array.from({ length: 4 }, looksOut)).toEqual([true, true, true, true])
    expect(desk.taken).toBe(1)
  })

  it("is not looked out for while a task is under way, nor without shared memory", () => {
    const desk = new Desk({ step: 0.001 })
    desk.isQuiet = false
    expect(desk.message()).toBeLessThan(0.05)
    desk.isQuiet = true
    desk.sharedMemory = undefined
    expect(desk.message()).toBeLessThan(0.05)
  })
})
