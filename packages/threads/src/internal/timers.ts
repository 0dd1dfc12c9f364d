import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

const nanosPerMilli = 1e6

const { performance } = globalThis as { readonly performance?: { readonly now: () => number } }

/** Starts effects and timers on the pool's own account. */
export class Timers {
  readonly clock: Clock
  readonly context: Context.Context<any>
  readonly fork: <A, E>(effect: Effect.Effect<A, E, any>) => Fiber.Fiber<A, E>

  /** Set where time is that of the machine, as it is unless somebody gives another {@link Clock}. */
  private readonly timer: typeof performance
  /** Set while time stands {@link still}. */
  private cached: number | undefined = undefined

  constructor(context: Context.Context<any>, clock: Clock) {
    this.clock = clock
    this.context = context
    this.fork = Effect.runForkWith(context)
    this.timer = clock === Context.get(Context.empty(), Clock) ? performance : undefined
  }

  /** Monotonic milliseconds. */
  now(): number {
    return this.cached ?? this.read()
  }

  /** Runs `f`, for which time stands still: reading the clock for each of many short steps costs more than they do. */
  still(f: (now: number) => void): void {
    if (this.cached !== undefined) return f(this.cached)
    this.cached = this.read()
    try {
      f(this.cached)
    } finally {
      this.cached = undefined
    }
  }

  private read(): number {
    // The same clock, without a bigint.
    if (this.timer !== undefined) return this.timer.now()
    return Number(this.clock.monotonicTimeNanosUnsafe()) / nanosPerMilli
  }

  /** Calls `f` after `millis`; the result calls it off. */
  after(millis: number, f: () => void): () => void {
    const timer = this.fork(this.clock.sleep(Duration.millis(millis)))
    timer.addObserver((exit) => {
      if (exit._tag === "Success") f()
    })
    return () => timer.interruptUnsafe()
  }
}
