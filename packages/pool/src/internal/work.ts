import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"

const nanosPerMilli = 1e6

const { performance } = globalThis as { readonly performance?: { readonly now: () => number } }

/** Starts effects on the pool's own account: no borrower waits for them or interrupts them. */
export class Work {
  readonly clock: Clock
  readonly context: Context.Context<any>
  readonly fork: <A, E>(effect: Effect.Effect<A, E, any>) => Fiber.Fiber<A, E>

  /** Set where time is that of the machine, as it is unless somebody gives another {@link Clock}. */
  private readonly timer: typeof performance
  /** What to add to monotonic milliseconds to get those since the epoch. */
  private epoch: number

  constructor(context: Context.Context<any>, clock: Clock) {
    this.context = context
    this.clock = clock
    this.timer = clock === Context.get(Context.empty(), Clock) ? performance : undefined
    this.epoch = this.measureEpoch()
    this.fork = Effect.runForkWith(context)
  }

  /** Monotonic milliseconds: a corrected wall clock neither shortens nor lengthens a wait. */
  now(): number {
    // The same clock, without a bigint: each borrow reads it.
    if (this.timer !== undefined) return this.timer.now()
    return Number(this.clock.monotonicTimeNanosUnsafe()) / nanosPerMilli
  }

  /**
   * What the wall clock says for a moment in monotonic milliseconds: for the same moment the same, until somebody sets
   * the wall clock.
   */
  wallAt(moment: number): number {
    let epoch = this.measureEpoch()
    // Once more, as the process may have been stopped between the two clocks.
    if (Math.abs(epoch - this.epoch) > 2) epoch = this.measureEpoch()
    if (Math.abs(epoch - this.epoch) > 2) this.epoch = epoch
    return Math.round(moment + this.epoch)
  }

  private measureEpoch(): number {
    return this.clock.currentTimeMillisUnsafe() - this.now()
  }

  /** Calls `f` after at least `millis`; the result calls it off. */
  after(millis: number, f: () => void): () => void {
    const timer = this.fork(this.clock.sleep(Duration.millis(millis)))
    timer.addObserver((exit) => {
      if (exit._tag === "Success") f()
    })
    return () => timer.interruptUnsafe()
  }

  /**
   * Runs `effect` and calls `done` once: with its exit, or with `undefined` when `timeout` milliseconds
   * passed first. In that case the effect is interrupted, and nobody waits for it to obey.
   */
  bounded<A, E>(
    effect: Effect.Effect<A, E, any>,
    timeout: number,
    done: (exit: Exit.Exit<A, E> | undefined) => void
  ): Fiber.Fiber<A, E> {
    const fiber = this.fork(effect)
    this.whenEnded(fiber, timeout, (exit) => {
      if (exit === undefined) fiber.interruptUnsafe()
      done(exit)
    })
    return fiber
  }

  /** Calls `done` once: when `fiber` has ended, or after `timeout` milliseconds with `undefined`. */
  whenEnded<A, E>(
    fiber: Fiber.Fiber<A, E>,
    timeout: number,
    done: (exit: Exit.Exit<A, E> | undefined) => void
  ): void {
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return done(exit)
    let cancelTimer: (() => void) | undefined
    const removeObserver = fiber.addObserver((exit) => {
      cancelTimer?.()
      done(exit)
    })
    if (timeout === Infinity) return
    cancelTimer = this.after(timeout, () => {
      removeObserver()
      done(undefined)
    })
  }

  /** Runs `effect` to its end for its side effect alone. */
  detach(effect: Effect.Effect<unknown, unknown, any>): void {
    this.fork(effect)
  }
}

/**
 * One timer for many deadlines: it goes off at the earliest moment that it was armed for, and what it
 * then calls arms it anew for whatever is still to come. Nothing is cancelled when a deadline goes away;
 * a ring that finds nothing due is the last one.
 */
export class Alarm {
  /** When it will go off; `Infinity` while it is not set, `-Infinity` once it never will again. */
  private at = Infinity
  private cancel: (() => void) | undefined = undefined

  private readonly work: Work
  private readonly ring: (now: number) => void

  constructor(work: Work, ring: (now: number) => void) {
    this.work = work
    this.ring = ring
  }

  /** Makes sure that it goes off at `at` (monotonic milliseconds) or before. */
  arm(at: number): void {
    if (at >= this.at) return
    this.cancel?.()
    this.at = at
    // Whole milliseconds, so that a timer never goes off a fraction too early.
    const wait = Math.max(1, Math.ceil(at - this.work.now() - 1e-3))
    this.cancel = this.work.after(wait, () => {
      this.disarm()
      this.ring(this.work.now())
    })
  }

  /** Calls off what it was armed for. */
  disarm(): void {
    this.at = Infinity
    this.cancel?.()
    this.cancel = undefined
  }

  /** Keeps it from ever going off again, whoever arms it. */
  stop(): void {
    this.disarm()
    this.at = -Infinity
  }
}

/** Whether a deadline has come, allowing for the rounding of floating-point time. */
export const isDue = (deadline: number, now: number): boolean => now >= deadline - 1e-3

/** Whether a limit is exceeded: strictly over, as eventlet has it (EV-55). */
export const isOver = (limit: number, since: number, now: number): boolean => now - since > limit + 1e-3

/** The first whole millisecond at which {@link isOver} says yes. */
export const overAt = (limit: number, since: number): number => since + limit + 1
