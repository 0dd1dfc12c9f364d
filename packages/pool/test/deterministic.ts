import { Context, Effect, Exit, Layer, Scheduler, Scope } from "effect"
import type { Fiber } from "effect"
import { TestClock } from "effect/testing"

/**
 * A scheduler that runs nothing by itself: the test says when a task runs. Whatever happens is a function of
 * the test's own steps, so a run can be repeated, and stopped between any two tasks.
 */
export class StepScheduler implements Scheduler.Scheduler {
  readonly executionMode = "async"
  private readonly tasks: Array<() => void> = []
  private readonly maxOps: number

  /**
   * With `maxOps` of 3, every primitive step of every fiber is a task of its own: of the three, two go into
   * coming back from the yield before.
   */
  constructor(maxOps = 2048) {
    this.maxOps = maxOps
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= this.maxOps
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task) => void this.tasks.push(task),
      flush: () => this.runAll()
    }
  }

  /** Runs one task; false when there is none. */
  runOne(): boolean {
    const task = this.tasks.shift()
    task?.()
    return task !== undefined
  }

  /** Runs until everything is at rest. */
  runAll(): void {
    let left = 1_000_000
    while (this.runOne()) if (--left === 0) throw new Error("the program does not come to rest")
  }
}

/** A world in which time and order are the test's: a `StepScheduler` and a `TestClock`. */
export class World {
  readonly scheduler: StepScheduler
  readonly scope = Scope.makeUnsafe()
  readonly context: Context.Context<never>

  constructor(maxOps?: number) {
    this.scheduler = new StepScheduler(maxOps)
    const base = Context.make(Scheduler.Scheduler, this.scheduler)
    const build = Effect.runForkWith(base)(Layer.buildWithScope(TestClock.layer(), this.scope))
    this.scheduler.runAll()
    const exit = build.pollUnsafe()!
    this.context = Exit.isSuccess(exit) ? Context.merge(base, exit.value) : base
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** Runs an effect, and everything that comes of it, until all is at rest. */
  run<A, E>(effect: Effect.Effect<A, E>): A {
    const fiber = this.fork(effect)
    this.scheduler.runAll()
    const exit = fiber.pollUnsafe()
    if (exit === undefined) throw new Error("the effect does not end by itself")
    if (Exit.isFailure(exit)) throw new Error(`the effect failed: ${String(exit.cause)}`)
    return exit.value
  }

  advance(millis: number): void {
    this.run(TestClock.adjust(millis))
  }

  now(): number {
    return this.run(Effect.clockWith((clock) => Effect.sync(() => clock.currentTimeMillisUnsafe())))
  }

  end(): void {
    this.fork(Scope.close(this.scope, Exit.void))
    this.scheduler.runAll()
  }
}
