import type { Host } from "./host.ts"

/**
 * How long a thread that has just replied looks out for the next call before it goes to sleep, in milliseconds. Waking
 * it up takes longer than most short tasks do.
 */
const alert = 0.05

/** For how long one turn of the event loop takes what comes, in milliseconds: timers and streams of modules want theirs too. */
const longestTurn = 5

/** How many vain look-outs in a row a thread has patience for, and how many messages it then sleeps through. */
const patience = { least: 1, most: 4, pause: 64 }

/** Where messages come from. */
export interface Port {
  /** Gives the next that has come to what it is made for; says whether there was one. */
  readonly receiveNext: () => boolean
  /** Calls `f` in the next turn of the event loop. */
  readonly nextTurn: (f: () => void) => void
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** Takes what comes to a thread: what has come together goes out together, and what comes next need not wake it. */
export class Inbox {
  /** Look-outs in a row that saw nothing. */
  private vain = 0
  /** Messages before the next look-out. */
  private pause = 0
  /** Whether this turn has taken as long as it may: the event loop hands over what is left one by one, a thousand at most. */
  private turnIsOver = false

  private readonly host: Pick<Host, "flush" | "isQuiet" | "sharedMemory">
  private readonly port: Port

  constructor(host: Inbox["host"], port: Port) {
    this.host = host
    this.port = port
  }

  /** Goes on after a message that the event loop has handed over. */
  goOn(): void {
    if (this.turnIsOver) return this.host.flush()
    const turnEnds = this.port.now() + longestTurn
    // Before what there is is taken, so that the look-out sees what comes right after it.
    const seen = this.posted
    this.receiveAll(turnEnds)
    this.lookOut(turnEnds, seen)
    if (this.port.now() < turnEnds) return
    this.turnIsOver = true
    this.port.nextTurn(() => (this.turnIsOver = false))
  }

  /** Messages sent to the thread so far; counted after each. */
  private get posted(): number {
    const memory = this.host.sharedMemory
    return memory === undefined ? 0 : Atomics.load(memory, 0)
  }

  /** Takes the messages that are there; their replies go out together. */
  private receiveAll(turnEnds: number): boolean {
    let received = false
    while (this.port.receiveNext()) {
      received = true
      if (this.port.now() >= turnEnds) break
    }
    this.host.flush()
    return received
  }

  /** Waits for the next call without sleeping, as long as calls keep coming one right after the other. */
  private lookOut(turnEnds: number, seen: number): void {
    if (this.host.sharedMemory === undefined || !this.host.isQuiet) return
    if (this.pause > 0) {
      this.pause--
      return
    }
    let now = this.port.now()
    let until = now + alert
    for (; this.host.isQuiet && now < until; now = this.port.now()) {
      if (now >= turnEnds) return
      const { posted } = this
      if (posted === seen) continue
      seen = posted
      if (!this.receiveAll(turnEnds)) continue
      this.vain = 0
      until = this.port.now() + alert
    }
    if (++this.vain < patience.most) return
    this.vain = patience.most - patience.least
    this.pause = patience.pause
  }
}
