/**
 * What the tests of the keyed pools are made with: a workshop that makes resources for keys and counts what
 * exists, borrowers that hold until they are told to give back, and a way to wait until nothing can go on.
 */
import { KeyedPool, type PoolError } from "@cenote/pool"
import { it } from "@effect/vitest"
import { Cause, Data, Deferred, Effect, Exit, type Fiber, Scheduler, Scope } from "effect"
import { TestClock } from "effect/testing"
import { expect } from "vitest"

// -----------------------------------------------------------------------------
// Quiet
// -----------------------------------------------------------------------------

/** A scheduler that knows how many tasks are still to run, so that a test can wait for the last of them. */
class QuietScheduler implements Scheduler.Scheduler {
  readonly executionMode: "sync" | "async"
  /** Tasks that were scheduled and have not ended. */
  private pending = 0
  /** Called when `pending` is 0 next. */
  private waiters: Array<() => void> = []
  private readonly inner: Scheduler.Scheduler

  constructor(inner: Scheduler.Scheduler) {
    this.executionMode = inner.executionMode
    this.inner = inner
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return this.inner.shouldYield(fiber)
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    const dispatcher = this.inner.makeDispatcher()
    return {
      scheduleTask: (task, priority) => {
        this.pending++
        dispatcher.scheduleTask(() => {
          try {
            task()
          } finally {
            this.pending--
            this.wake()
          }
        }, priority)
      },
      flush: () => dispatcher.flush()
    }
  }

  whenQuiet(f: () => void): void {
    this.waiters.push(f)
    this.wake()
  }

  private wake(): void {
    if (this.pending > 0) return
    const waiters = this.waiters
    this.waiters = []
    for (const waiter of waiters) waiter()
  }
}

/** Runs a test under a scheduler that {@link settle} can ask. */
export const quietly = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    Effect.provideService(effect, Scheduler.Scheduler, new QuietScheduler(fiber.getRef(Scheduler.Scheduler)))
  )

/** Waits until every fiber waits for something. No time passes. */
export const settle: Effect.Effect<void> = Effect.withFiber((fiber) => {
  const scheduler = fiber.getRef(Scheduler.Scheduler)
  if (!(scheduler instanceof QuietScheduler))
    return Effect.die(new Error("settle works inside quietly alone"))
  return Effect.callback<void>((resume) => scheduler.whenQuiet(() => resume(Effect.void)))
})

/** Lets so many milliseconds pass, and then everything come to rest. */
export const pass = (millis: number): Effect.Effect<void> => Effect.andThen(TestClock.adjust(millis), settle)

/**
 * A test in virtual time that can {@link settle}. Its scope has its own time to close at the end, so that
 * finalizers may be slow, and a scope that does not close is a failure.
 */
export const test = <A, E>(name: string, body: () => Effect.Effect<A, E, Scope.Scope>): void => {
  it.effect(name, () => quietly(inScope(Effect.suspend(body))))
}

export const inScope = Effect.fnUntraced(function* <A, E, R>(body: Effect.Effect<A, E, R>) {
  const scope = yield* Scope.make()
  const exit = yield* Effect.exit(Scope.provide(body, scope))
  const closing = yield* Effect.forkChild(Scope.close(scope, exit), { startImmediately: true })
  yield* settle
  for (let step = 0; closing.pollUnsafe() === undefined && step < 100; step++) yield* pass(1_000)
  if (Exit.isSuccess(exit)) expect(closing.pollUnsafe(), "the scope has closed").toEqual(Exit.void)
  return yield* exit
})

// -----------------------------------------------------------------------------
// Resources
// -----------------------------------------------------------------------------

/** What making a resource fails with when the test wants it to. */
export class Refused extends Data.TaggedError("Refused")<{ readonly key: unknown }> {
  override get message(): string {
    return `refused: ${String(this.key)}`
  }
}

/** A resource. */
export interface Item<K> {
  readonly id: number
  readonly key: K
  /** How many times its finalizer has begun. */
  closings: number
  /** Whether its finalizer has ended. */
  gone: boolean
}

/** How many exist, and how many did at most. A resource exists from the start of its making until it is gone. */
class Gauge {
  now = 0
  peak = 0
  add(n: 1 | -1): void {
    this.now += n
    this.peak = Math.max(this.peak, this.now)
  }
}

/** Makes resources the way the test says, and counts what exists by itself. */
export class Workshop<K> {
  /** What making one takes, in milliseconds; `Infinity` never ends. */
  making: (key: K) => number = () => 0
  /** Whether making one fails, once it has taken its time. */
  refuses: (key: K) => boolean = () => false
  /** What closing one takes, in milliseconds. */
  closing: (item: Item<K>) => number = () => 0

  /** All that were ever made, in the order in which they were. */
  readonly items: Array<Item<K>> = []
  /** The keys for which making was begun, in that order. */
  readonly attempts: Array<K> = []
  readonly whole = new Gauge()
  private readonly gauges = new Map<K, Gauge>()

  /** Counts what exists for one key, as long as the key is the same for a `Map`. */
  of(key: K): Gauge {
    let gauge = this.gauges.get(key)
    if (gauge === undefined) this.gauges.set(key, (gauge = new Gauge()))
    return gauge
  }

  /** The keys that were ever asked for. */
  get keys(): ReadonlyArray<K> {
    return [...this.gauges.keys()]
  }

  /** How many were made for a key. */
  madeFor(key: K): number {
    return this.items.filter((item) => item.key === key).length
  }

  /** Identifiers of those whose finalizer has begun, in the order of their making. */
  get closed(): ReadonlyArray<number> {
    return this.items.filter((item) => item.closings > 0).map((item) => item.id)
  }

  readonly acquire = (key: K): Effect.Effect<Item<K>, Refused, Scope.Scope> =>
    Effect.suspend(() => {
      this.attempts.push(key)
      const gauges = [this.whole, this.of(key)]
      for (const gauge of gauges) gauge.add(1)
      let counted = true
      const leave = (): void => {
        if (counted) for (const gauge of gauges) gauge.add(-1)
        counted = false
      }
      const create = Effect.acquireRelease(
        Effect.sync(() => {
          const item: Item<K> = { id: this.items.length + 1, key, closings: 0, gone: false }
          this.items.push(item)
          return item
        }),
        (item) =>
          Effect.suspend(() => {
            item.closings++
            return wait(this.closing(item))
          }).pipe(
            Effect.andThen(
              Effect.sync(() => {
                item.gone = true
                leave()
              })
            )
          )
      )
      return wait(this.making(key)).pipe(
        Effect.andThen(
          Effect.suspend((): Effect.Effect<Item<K>, Refused, Scope.Scope> =>
            this.refuses(key) ? Effect.fail(new Refused({ key })) : create
          )
        ),
        Effect.onExit((exit) => (Exit.isFailure(exit) ? Effect.sync(leave) : Effect.void))
      )
    })
}

/** Nothing at all for 0, so that what takes no time ends on the spot. */
const wait = (millis: number): Effect.Effect<void> =>
  millis === 0 ? Effect.void : millis === Infinity ? Effect.never : Effect.sleep(millis)

/** A workshop, and a keyed pool of what it makes. */
export const makePool = Effect.fnUntraced(function* <K = string>(
  options: Omit<KeyedPool.Options<K, Item<K>, Refused, Scope.Scope>, "acquire"> = {}
) {
  const workshop = new Workshop<K>()
  const pool = yield* KeyedPool.make({ acquire: workshop.acquire, ...options })
  return { workshop, pool }
})

// -----------------------------------------------------------------------------
// Borrowers
// -----------------------------------------------------------------------------

type Pooled<K, A, E> = KeyedPool.KeyedPool<K, A, E>

/** Somebody who borrows for a key, and holds until told otherwise. */
export class Borrower<K, A, E> {
  /** How far the borrow has come. */
  state: "waiting" | "holding" | "over" = "waiting"
  /** Whether it ever held. */
  served = false
  /** How it ended, once it is over. */
  exit: Exit.Exit<void, E | PoolError.PoolError> | undefined = undefined
  private lent: A | undefined = undefined
  private readonly until = Deferred.makeUnsafe<void>()
  private fiber: Fiber.Fiber<void, E | PoolError.PoolError> | undefined = undefined
  readonly key: K

  constructor(key: K) {
    this.key = key
  }

  /** What it was lent. */
  get item(): A {
    if (!this.served) throw new Error(`this borrower (${this.state}) has got nothing`)
    return this.lent as A
  }

  /** The error that it ended with. */
  get error(): E | PoolError.PoolError {
    const reason =
      this.exit?._tag === "Failure" ? this.exit.cause.reasons.find(Cause.isFailReason) : undefined
    if (reason === undefined) throw new Error(`this borrower (${this.state}) has not failed`)
    return reason.error
  }

  /** Starts it: it has asked when this returns, and nothing else has moved. */
  start(pool: Pooled<K, A, E>): Effect.Effect<void, never, Scope.Scope> {
    const hold = KeyedPool.get(pool, this.key).pipe(
      Effect.flatMap((item) => {
        this.lent = item
        this.served = true
        this.state = "holding"
        return Deferred.await(this.until)
      }),
      Effect.scoped,
      Effect.onExit((exit) =>
        Effect.sync(() => {
          this.state = "over"
          this.exit = exit
        })
      )
    )
    return Effect.map(Effect.forkScoped(hold, { startImmediately: true }), (fiber) => {
      this.fiber = fiber
    })
  }

  /** Tells it to give back, and waits for nothing. */
  readonly letGo: Effect.Effect<void> = Effect.asVoid(
    Effect.suspend(() => Deferred.succeed(this.until, undefined))
  )

  /** Tells it to give back, and lets everything come to rest. */
  readonly giveBack: Effect.Effect<void> = Effect.suspend(() => Effect.andThen(this.letGo, settle))

  /** Interrupts it, in whatever state, and waits for nothing. */
  readonly cutOff: Effect.Effect<void> = Effect.sync(() => this.fiber!.interruptUnsafe())

  /** Interrupts it, in whatever state, and lets everything come to rest. */
  readonly interrupt: Effect.Effect<void> = Effect.suspend(() => Effect.andThen(this.cutOff, settle))
}

/** Somebody else borrows, and comes as far as that goes now. */
export const borrow = <K, A, E>(
  pool: Pooled<K, A, E>,
  key: K
): Effect.Effect<Borrower<K, A, E>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const borrower = new Borrower<K, A, E>(key)
    return borrower.start(pool).pipe(Effect.andThen(settle), Effect.as(borrower))
  })

/** As many borrowers for one key, in this order. All have asked before anything else happens. */
export const borrowers = <K, A, E>(
  pool: Pooled<K, A, E>,
  key: K,
  count: number
): Effect.Effect<Array<Borrower<K, A, E>>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const all = Array.from({ length: count }, () => new Borrower<K, A, E>(key))
    return Effect.forEach(all, (borrower) => borrower.start(pool), { discard: true }).pipe(
      Effect.andThen(settle),
      Effect.as(all)
    )
  })

/** Borrows and gives back, `count` resources at one time, so that as many rest. */
export const rest = <K, A, E>(
  pool: Pooled<K, A, E>,
  key: K,
  count = 1
): Effect.Effect<Array<A>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const all = yield* borrowers(pool, key, count)
    for (const borrower of all) yield* borrower.giveBack
    return all.map((borrower) => borrower.item)
  })

// -----------------------------------------------------------------------------
// Outcomes
// -----------------------------------------------------------------------------

const figures = ["size", "idle", "used", "pending", "creating", "closing"] as const
const totals = ["created", "destroyed", "borrowed", "timeouts", "failures"] as const

/** The figures of a pool, once they have been found to add up; `vanished` when keys may have gone. */
export const statsOf = <K, A, E>(
  pool: Pooled<K, A, E>,
  vanished: "all keys are there" | "keys may have gone" = "all keys are there"
): Effect.Effect<KeyedPool.Stats<K>> =>
  Effect.map(KeyedPool.stats(pool), (stats) => {
    for (const part of [stats, ...stats.keys.map(([, part]) => part)]) {
      expect(part.size, `size of ${part.name}`).toBe(part.idle + part.used + part.creating + part.closing)
      expect(part.size, `size of ${part.name}`).toBeLessThanOrEqual(part.max)
    }
    for (const figure of [...figures, ...totals]) {
      const sum = stats.keys.reduce((sum, [, part]) => sum + part[figure], 0)
      if (vanished === "all keys are there") expect(stats[figure], `the sum of ${figure}`).toBe(sum)
      else expect(stats[figure], `the sum of ${figure}`).toBeGreaterThanOrEqual(sum)
    }
    return stats
  })

/** The figures of one key, if it is there. */
export const statsFor = <K, A, E>(pool: Pooled<K, A, E>, key: K) =>
  Effect.map(KeyedPool.stats(pool), (stats) => stats.keys.find(([other]) => other === key)?.[1])

/** The message that an effect died with. */
export const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (exit._tag === "Success") throw new Error("it succeeded, where it should have died")
    const reason = exit.cause.reasons.find(Cause.isDieReason)
    if (reason === undefined) throw new Error(`it did not die, but: ${Cause.pretty(exit.cause)}`)
    return (reason.defect as Error).message
  })
