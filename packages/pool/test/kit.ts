/**
 * What the tests of the pools are made with: resources that come, fail and hang when a test says so, and
 * borrowers that hold until they are told to give back.
 */
import { Pool, type PoolError, type PoolEvent } from "@cenote/pool"
import { expect } from "@effect/vitest"
import { Cause, Clock, Data, Deferred, Effect, type Exit, Fiber, Logger, type Scope, Stream } from "effect"

/** Lets every fiber that can go on do so, until all of them wait for something. No time passes. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 40 })

// -----------------------------------------------------------------------------
// Resources
// -----------------------------------------------------------------------------

/** A resource. */
export interface Thing {
  readonly id: number
}

/** What creating a resource fails with, when a test wants it to. */
export class Refused extends Data.TaggedError("Refused")<{ readonly why: string }> {
  override get message(): string {
    return this.why
  }
}

export const refused = Effect.fail(new Refused({ why: "refused" }))

/** Makes things, as the test says, and remembers what became of them. */
export class Things {
  /** Attempts to create, whatever became of them. */
  attempts = 0
  /** Attempts that were interrupted. */
  aborted = 0
  /** Identifiers in the order of creation. */
  readonly created: Array<number> = []
  /** Identifiers in the order in which they began to close. */
  readonly closed: Array<number> = []
  /** What each attempt does before there is a thing; its argument counts attempts from 1. */
  plan: (attempt: number) => Effect.Effect<unknown, Refused> = () => Effect.void
  /** What closing a thing does. */
  closing: (thing: Thing) => Effect.Effect<unknown> = () => Effect.void
  /** The attempts that wait for the test's word, in order. See {@link Things.hold}. */
  private readonly held: Array<Deferred.Deferred<void, Refused>> = []

  readonly acquire: Effect.Effect<Thing, Refused, Scope.Scope> = Effect.suspend(() =>
    this.plan(++this.attempts)
  ).pipe(
    Effect.onInterrupt(() => Effect.sync(() => this.aborted++)),
    Effect.andThen(
      Effect.acquireRelease(
        Effect.sync((): Thing => ({ id: this.created.push(this.created.length + 1) })),
        (thing) =>
          Effect.andThen(
            Effect.sync(() => this.closed.push(thing.id)),
            this.closing(thing)
          )
      )
    )
  )

  /** From now on each attempt waits until the test ends it with {@link Things.finish} or {@link Things.refuse}. */
  hold(): void {
    this.plan = () =>
      Effect.suspend(() => {
        const word = Deferred.makeUnsafe<void, Refused>()
        this.held.push(word)
        return Deferred.await(word)
      })
  }

  /** Lets the n-th held attempt succeed, counted from 1. */
  finish(n: number): Effect.Effect<void> {
    return Effect.andThen(
      Effect.suspend(() => Deferred.succeed(this.held[n - 1]!, undefined)),
      settle
    )
  }

  /** Lets the n-th held attempt fail, counted from 1. */
  refuse(n: number): Effect.Effect<void> {
    return Effect.andThen(
      Effect.suspend(() => Deferred.fail(this.held[n - 1]!, new Refused({ why: "refused" }))),
      settle
    )
  }

  /** Identifiers of those that exist now. */
  get open(): ReadonlyArray<number> {
    return this.created.filter((id) => !this.closed.includes(id))
  }
}

// -----------------------------------------------------------------------------
// Borrowers
// -----------------------------------------------------------------------------

/** Starts an effect that ends with the test at the latest, and lets it come as far as it can. */
export const start = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.Fiber<A, E>, never, R | Scope.Scope> =>
  Effect.tap(Effect.forkScoped(effect), () => settle)

/** Somebody who borrows, and holds until told otherwise. */
export class Borrower<A, E> {
  /** How far the borrow has come. */
  state: "waiting" | "holding" | "over" = "waiting"
  private lent: A | undefined = undefined
  private readonly until = Deferred.makeUnsafe<void>()
  private fiber: Fiber.Fiber<void, E | PoolError.PoolError> | undefined = undefined

  /** What it got, while it is at it or since. */
  get item(): A {
    if (this.state === "waiting") throw new Error("this borrower has got nothing")
    return this.lent as A
  }

  run(pool: Pool.Pool<A, E>): Effect.Effect<void, never, Scope.Scope> {
    return Pool.use(pool, (item) => {
      this.lent = item
      this.state = "holding"
      return Deferred.await(this.until)
    }).pipe(
      Effect.onExit(() => Effect.sync(() => (this.state = "over"))),
      start,
      Effect.map((fiber) => {
        this.fiber = fiber
      })
    )
  }

  /** The number of its fiber. */
  get id(): number {
    return this.fiber!.id
  }

  /** Ends the borrow as its body's end does. */
  readonly giveBack: Effect.Effect<void> = Effect.andThen(Deferred.succeed(this.until, undefined), settle)

  /** Ends the borrow, in whatever state, by interrupting the one who borrows. */
  readonly interrupt: Effect.Effect<void> = Effect.suspend(() => Fiber.interrupt(this.fiber!))

  /** Waits until it is over, and says how it went. */
  readonly exit: Effect.Effect<Exit.Exit<void, E | PoolError.PoolError>> = Effect.suspend(() =>
    Fiber.await(this.fiber!)
  )

  /** Waits until it is over, and gives the error that it ended with. */
  readonly error: Effect.Effect<E | PoolError.PoolError> = Effect.suspend(() =>
    Effect.orDie(Effect.flip(Fiber.join(this.fiber!)))
  )
}

/** Somebody else borrows: a fiber of its own, which has come as far as it can. */
export const borrow = <A, E>(pool: Pool.Pool<A, E>): Effect.Effect<Borrower<A, E>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const borrower = new Borrower<A, E>()
    return Effect.as(borrower.run(pool), borrower)
  })

/** As many borrowers, one after the other. */
export const borrowers = <A, E>(
  pool: Pool.Pool<A, E>,
  count: number
): Effect.Effect<Array<Borrower<A, E>>, never, Scope.Scope> => Effect.replicateEffect(borrow(pool), count)

// -----------------------------------------------------------------------------
// Observing
// -----------------------------------------------------------------------------

type Tag = PoolEvent.PoolEvent["_tag"]
type EventOf<T extends Tag> = Extract<PoolEvent.PoolEvent, { readonly _tag: T }>

/** Somebody who hears all that happens in a pool. */
export class Listener {
  readonly heard: Array<PoolEvent.PoolEvent> = []
  /** Whether there is nothing more to hear. */
  over = false

  get tags(): ReadonlyArray<Tag> {
    return this.heard.map((event) => event._tag)
  }

  of<T extends Tag>(tag: T): ReadonlyArray<EventOf<T>> {
    return this.heard.filter((event): event is EventOf<T> => event._tag === tag)
  }
}

/** Listens to a pool from now on. */
export const listen = <A, E>(pool: Pool.Pool<A, E>): Effect.Effect<Listener, never, Scope.Scope> =>
  Effect.suspend(() => {
    const listener = new Listener()
    return Stream.runForEach(Pool.events(pool), (event) =>
      Effect.sync(() => listener.heard.push(event))
    ).pipe(Effect.ensuring(Effect.sync(() => (listener.over = true))), start, Effect.as(listener))
  })

/** Counts the timers that are set: `running` now, `set` since the beginning. */
export class Timers {
  running = 0
  set = 0

  /** Runs an effect under a clock that counts. */
  readonly watch = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    withSleep(effect, (sleep) =>
      Effect.suspend(() => {
        this.set++
        this.running++
        return Effect.ensuring(
          sleep,
          Effect.sync(() => this.running--)
        )
      })
    )
}

/** Runs an effect under a clock whose timers are so late that they never go off. */
export const withoutTimers = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  withSleep(effect, () => Effect.never)

const withSleep = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  change: (sleep: Effect.Effect<void>) => Effect.Effect<void>
): Effect.Effect<A, E, R> =>
  Clock.clockWith((clock) => {
    const sleep: Clock.Clock["sleep"] = (duration) => change(clock.sleep(duration))
    const changed = new Proxy(clock, { get: (_, key) => (key === "sleep" ? sleep : Reflect.get(clock, key)) })
    return Effect.provideService(effect, Clock.Clock, changed)
  })

// -----------------------------------------------------------------------------
// Outcomes
// -----------------------------------------------------------------------------

/** What an effect died with. */
export const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Error, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (exit._tag === "Success") throw new Error("it succeeded, where it should have died")
    const reason = exit.cause.reasons.find(Cause.isDieReason)
    if (reason === undefined)
      throw new Error(`it failed, where it should have died: ${Cause.pretty(exit.cause)}`)
    return reason.defect as Error
  })

/** The messages that are logged while an effect runs, and what goes with them. */
export const logged = (): {
  readonly lines: ReadonlyArray<string>
  readonly layer: ReturnType<typeof Logger.layer>
} => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    const text = (Array.isArray(message) ? message : [message])
      .map((part) => (typeof part === "string" ? part : JSON.stringify(part)))
      .join(" ")
    lines.push(`${logLevel}: ${text} ${Cause.pretty(cause)}`.trim())
  })
  return { lines, layer: Logger.layer([logger]) }
}

// -----------------------------------------------------------------------------
// Many at a time
// -----------------------------------------------------------------------------

export const ids = (all: ReadonlyArray<{ readonly item: Thing }>): Array<number> => all.map((_) => _.item.id)

export const states = (all: ReadonlyArray<{ readonly state: string }>): Array<string> =>
  all.map((_) => _.state)

/** Lends and takes back as many resources as that, so that they are at rest afterwards. */
export const rest = (
  pool: Pool.Pool<Thing, Refused>,
  count: number
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const all = yield* borrowers(pool, count)
    for (const borrower of all) yield* borrower.giveBack
    expect(yield* Pool.idle(pool)).toBe(count)
  })
