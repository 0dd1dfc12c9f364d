// What is to go wrong, in the order in which it was asked for, and who is held up by it.
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * What went wrong because a test asked for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class InjectedFault extends Schema.TaggedError<InjectedFault>()("InjectedFault", {
  /** Where it was to go wrong: `"create"`, `"statement"`, … */
  point: Schema.String,
  /** Whether what it happened to cannot be used again. */
  fatal: Schema.Boolean
}) {
  override get message(): string {
    return `the test has "${this.point}" fail${this.fatal ? ", and that is the end of it" : ""}`
  }
}

/**
 * How something goes wrong:
 *
 * - `"fail"`: it fails.
 * - `"die"`: it dies of a defect.
 * - `"hang"`: it does not go on, until it is interrupted or told to by `resume`.
 * - `"stick"`: the same, and it cannot be interrupted: what is made then is made too late.
 * - `{ late }`: it goes on after this time (of the clock of the test).
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = "fail" | "die" | "hang" | "stick" | { readonly late: Duration.Input }

/**
 * To what a fault happens.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultOptions {
  /** How often. Default 1; `Infinity` for always, until `heal`. */
  readonly times?: number | undefined
  /** How often it goes well before that. Default 0. */
  readonly after?: number | undefined
}

export interface Order<Fault_> {
  readonly fault: Fault_
  skip: number
  times: number
  readonly applies: (subject: string) => boolean
}

export class Script<Point extends string, Extra extends string = never> {
  private readonly orders = new Map<Point, Array<Order<Fault | Extra>>>()
  private readonly held = new Set<Deferred.Deferred<void>>()
  private readonly listeners = new Set<() => void>()

  get heldCount(): number {
    return this.held.size
  }

  order(
    point: Point,
    fault: Fault | Extra,
    options: FaultOptions & { readonly matching?: RegExp | undefined }
  ): void {
    const { after = 0, matching, times = 1 } = options
    const order = {
      fault,
      skip: after,
      times,
      applies: (subject: string) => matching === undefined || subject.search(matching) >= 0
    }
    const orders = this.orders.get(point)
    if (orders === undefined) this.orders.set(point, [order])
    else orders.push(order)
  }

  /** What is to happen now, which is then crossed off. */
  take(point: Point, subject = ""): Fault | Extra | undefined {
    const orders = this.orders.get(point) ?? []
    const order = orders.find((_) => _.applies(subject))
    if (order === undefined) return undefined
    if (order.skip > 0) {
      order.skip--
      return undefined
    }
    if (--order.times <= 0) orders.splice(orders.indexOf(order), 1)
    return order.fault
  }

  /** Forgets what is still to go wrong, and lets those go on that are held up. */
  heal(): void {
    this.orders.clear()
    this.resume()
  }

  resume(): void {
    const held = [...this.held]
    this.held.clear()
    for (const each of held) Deferred.doneUnsafe(each, Effect.void)
    this.changed()
  }

  changed(): void {
    for (const listener of this.listeners) listener()
  }

  /** Waits for something to become true of what is counted. */
  until(holds: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const check = () => {
        if (!holds()) return
        this.listeners.delete(check)
        resume(Effect.void)
      }
      this.listeners.add(check)
      check()
      return Effect.sync(() => this.listeners.delete(check))
    })
  }

  /** Has a fault happen. Those that only the caller knows are the caller's. */
  happen(point: Point, fault: Fault | undefined): Effect.Effect<void, InjectedFault> {
    if (typeof fault === "object") return Effect.sleep(fault.late)
    switch (fault) {
      case undefined:
        return Effect.void
      case "fail":
        return Effect.fail(new InjectedFault({ point, fatal: false }))
      case "die":
        return Effect.die(new InjectedFault({ point, fatal: true }))
      case "stick":
        return Effect.uninterruptible(this.hold)
      default:
        return this.hold
    }
  }

  private readonly hold: Effect.Effect<void> = Effect.suspend(() => {
    const gate = Deferred.makeUnsafe<void>()
    this.held.add(gate)
    this.changed()
    return Effect.ensuring(
      Deferred.await(gate),
      Effect.sync(() => {
        if (this.held.delete(gate)) this.changed()
      })
    )
  })
}
