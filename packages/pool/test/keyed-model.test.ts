/**
 * Random programs over a keyed pool, checked step by step.
 *
 * A program is a list of bursts, and a burst a few commands with nothing between them. After each burst
 * everything comes to rest, and then the pool must be as its borrowers and the workshop say: what exists is
 * counted by the resources themselves, who stands in line by the borrowers. When all have given back,
 * everyone must have been served, and when the pool has closed, everything must be closed, once.
 *
 * Time is virtual and no two fibers race, so a program that fails fails again: fast-check prints the seed
 * and the path with the shortest program that it finds.
 */
import { KeyedPool } from "@cenote/pool"
import { Effect, Exit, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  Borrower,
  inScope,
  type Item,
  pass,
  quietly,
  type Refused,
  settle,
  statsOf,
  Workshop
} from "./keyed-kit.ts"

// -----------------------------------------------------------------------------
// Programs
// -----------------------------------------------------------------------------

const keys = ["a", "b", "c", "d"] as const
type Key = (typeof keys)[number]

/** `nth` chooses among those that there are at the time, counted round and round. */
type Command =
  | { readonly do: "borrow"; readonly key: Key }
  | { readonly do: "give back"; readonly nth: number }
  /** Marks a resource that exists, on loan or at rest, as broken. */
  | { readonly do: "invalidate"; readonly nth: number }
  | { readonly do: "interrupt a waiter"; readonly nth: number }
  | { readonly do: "interrupt a holder"; readonly nth: number }
  | { readonly do: "refuse the next" }
  /** What making, or closing, a resource takes from now on. */
  | { readonly do: "making"; readonly millis: number }
  | { readonly do: "closing"; readonly millis: number }
  | { readonly do: "pass"; readonly millis: number }
  | { readonly do: "clear"; readonly key: Key | "all" }

interface Program {
  readonly maxPerKey: number
  readonly max: number
  readonly order: "fifo" | "lifo"
  readonly createConcurrency: number | undefined
  readonly acquireTimeout: number | undefined
  readonly keyIdle: number
  readonly maxUses: number | undefined
  readonly maxIdle: number | undefined
  /** What resetting takes, if there is a reset. */
  readonly reset: number | undefined
  /** What validation takes, if there is any; every third resource is then found to be bad. */
  readonly validate: number | undefined
  /** How often what rests is validated, if it is. */
  readonly keepAlive: number | undefined
  /** Whether, in the end, nobody asks until all keys have vanished. */
  readonly vanish: boolean
  readonly bursts: ReadonlyArray<ReadonlyArray<Command>>
}

const nth = fc.nat({ max: 7 })
const key = fc.constantFrom(...keys)
const duration = fc.constantFrom(0, 0, 10, 50)

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("borrow" as const), key }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("give back" as const), nth }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("invalidate" as const), nth }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("interrupt a waiter" as const), nth }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("interrupt a holder" as const), nth }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("refuse the next" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("making" as const), millis: duration }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("closing" as const), millis: duration }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("pass" as const), millis: fc.constantFrom(1, 10, 50, 200, 600) })
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("clear" as const), key: fc.constantFrom(...keys, "all" as const) })
  }
)

/** One of some values, but mostly none. */
const seldom = <A>(...values: Array<A>): fc.Arbitrary<A | undefined> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constantFrom(...values) }
  )

const program: fc.Arbitrary<Program> = fc.record({
  maxPerKey: fc.integer({ min: 1, max: 3 }),
  max: fc.integer({ min: 1, max: 5 }),
  order: fc.constantFrom("fifo" as const, "lifo" as const),
  createConcurrency: seldom(1),
  acquireTimeout: seldom(150),
  keyIdle: fc.constantFrom(30, 200, 500),
  maxUses: seldom(2),
  maxIdle: seldom(100),
  reset: seldom(0, 10, 50),
  validate: seldom(0, 10, 50),
  keepAlive: seldom(70),
  vanish: fc.boolean(),
  bursts: fc.array(fc.array(command, { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 40,
    size: "max"
  })
})

// -----------------------------------------------------------------------------
// Running them
// -----------------------------------------------------------------------------

class Runner {
  readonly workshop = new Workshop<Key>()
  /** Everyone who ever borrowed, in the order in which they asked. */
  readonly asked: Array<Borrower<Key, Item<Key>, Refused>> = []
  /** Those that the program interrupted. */
  readonly cutOff = new Set<Borrower<Key, Item<Key>, Refused>>()
  /** Resources to be refused that are still to come, and that have come. */
  refusals = { coming: 0, done: 0 }

  readonly program: Program
  readonly pool: KeyedPool.KeyedPool<Key, Item<Key>, Refused>

  static readonly make = Effect.fnUntraced(function* (program: Program) {
    const workshop = new Workshop<Key>()
    const { bursts: _, keepAlive, reset, validate, vanish: __, ...options } = program
    const pool = yield* KeyedPool.make({
      ...options,
      acquire: workshop.acquire,
      reset: reset === undefined ? undefined : () => later(reset, undefined),
      validate: validate === undefined ? undefined : (item) => later(validate, item.id % 3 !== 0),
      validateAfterIdle: 20,
      keepAlive: keepAlive === undefined || validate === undefined ? undefined : { every: keepAlive }
    })
    return new Runner(program, workshop, pool)
  })

  private constructor(
    program: Program,
    workshop: Workshop<Key>,
    pool: KeyedPool.KeyedPool<Key, Item<Key>, Refused>
  ) {
    this.program = program
    this.workshop = workshop
    this.pool = pool
    this.workshop.refuses = () => {
      if (this.refusals.coming === 0) return false
      this.refusals.coming--
      this.refusals.done++
      return true
    }
  }

  in(state: Borrower<Key, Item<Key>, Refused>["state"]): Array<Borrower<Key, Item<Key>, Refused>> {
    return this.asked.filter((borrower) => borrower.state === state)
  }

  /** Carries out one command, and waits for nothing. */
  execute(command: Command): Effect.Effect<unknown, never, Scope.Scope> {
    switch (command.do) {
      case "borrow": {
        const borrower = new Borrower<Key, Item<Key>, Refused>(command.key)
        this.asked.push(borrower)
        return borrower.start(this.pool)
      }
      case "give back":
        return pick(this.in("holding"), command.nth, (borrower) => borrower.letGo)
      case "invalidate":
        return pick(
          this.workshop.items.filter((item) => item.closings === 0),
          command.nth,
          (item) => KeyedPool.invalidate(this.pool, item)
        )
      case "interrupt a waiter":
        return pick(this.in("waiting"), command.nth, (borrower) => this.interrupt(borrower))
      case "interrupt a holder":
        return pick(this.in("holding"), command.nth, (borrower) => this.interrupt(borrower))
      case "refuse the next":
        return Effect.sync(() => this.refusals.coming++)
      case "making":
        return Effect.sync(() => (this.workshop.making = () => command.millis))
      case "closing":
        return Effect.sync(() => (this.workshop.closing = () => command.millis))
      case "pass":
        return TestClock.adjust(command.millis)
      case "clear":
        break
    }
    return command.key === "all" ? KeyedPool.clear(this.pool) : KeyedPool.clear(this.pool, command.key)
  }

  private interrupt(borrower: Borrower<Key, Item<Key>, Refused>): Effect.Effect<void> {
    this.cutOff.add(borrower)
    return borrower.cutOff
  }

  // ---------------------------------------------------------------------------------------------------
  // What must hold whenever everything is at rest
  // ---------------------------------------------------------------------------------------------------

  check(): Effect.Effect<void> {
    return Effect.map(statsOf(this.pool, "keys may have gone"), (stats) => {
      this.checkLimits(stats)
      this.checkLoans(stats)
      for (const key of keys) this.checkLine(key)
      this.checkNobodyForgotten(stats)
    })
  }

  /** Never above max, by the workshop's own count; and the pool counts as the workshop does. */
  private checkLimits(stats: KeyedPool.Stats<Key>): void {
    const { max, maxPerKey } = this.program
    const { items, whole } = this.workshop
    expect(whole.peak, "resources that existed at one time").toBeLessThanOrEqual(max)
    for (const key of this.workshop.keys) {
      expect(this.workshop.of(key).peak, `resources of ${key} that existed at one time`).toBeLessThanOrEqual(
        maxPerKey
      )
    }
    for (const [key, part] of stats.keys) {
      expect(part.size, `size of ${key}`).toBeLessThanOrEqual(maxPerKey)
    }
    expect(stats.size, "size of the whole").toBe(whole.now)
    expect(stats.size, "size of the whole").toBeLessThanOrEqual(max)
    expect(stats.created, "created").toBe(items.length)
    expect(stats.destroyed, "destroyed").toBe(items.filter((item) => item.gone).length)
    expect(stats.failures, "failures").toBe(this.refusals.done)
    const twice = items.filter((item) => item.closings > 1)
    expect(twice, "resources that were finalised more than once").toEqual([])
  }

  /** Nothing is lent twice, nothing that is closed is lent, and every resource is of the key asked for. */
  private checkLoans(stats: KeyedPool.Stats<Key>): void {
    const holding = this.in("holding")
    const items = holding.map((borrower) => borrower.item)
    expect(new Set(items).size, "resources on loan").toBe(items.length)
    for (const { item, key } of holding) {
      expect(item.closings, `finalisations of ${item.id}, which is on loan`).toBe(0)
      expect(item.key).toBe(key)
    }
    const { reset, validate } = this.program
    if (reset === undefined && validate === undefined) expect(stats.used, "used").toBe(items.length)
    else expect(stats.used, "used").toBeGreaterThanOrEqual(items.length)
    expect(stats.pending, "pending").toBe(this.in("waiting").length)
  }

  /** Of those who asked for a key, whoever waits came after everyone who was answered. */
  private checkLine(key: Key): void {
    const answered = this.asked.findLastIndex(
      (borrower) =>
        borrower.key === key &&
        borrower.state !== "waiting" &&
        (borrower.served || !this.cutOff.has(borrower))
    )
    const overtaken = this.asked
      .slice(0, Math.max(answered, 0))
      .filter((borrower) => borrower.key === key && borrower.state === "waiting")
    expect(overtaken.length, `borrowers of ${key} that were overtaken`).toBe(0)
  }

  /** Whoever waits, waits for something: there is no room, and nothing at rest that would make some. */
  private checkNobodyForgotten(stats: KeyedPool.Stats<Key>): void {
    const { createConcurrency = Infinity, max, maxPerKey } = this.program
    let wanted = 0
    for (const [key, part] of stats.keys) {
      const held = this.in("holding").filter((borrower) => borrower.key === key).length
      const busy = part.used - held
      // One validation for each that waits: more of what rests may stay where it is.
      if (part.pending > (this.program.validate === undefined ? 0 : busy)) {
        expect(part.idle, `idle resources of ${key}, for which ${part.pending} wait`).toBe(0)
      }
      const coming = part.creating + busy
      wanted += Math.max(
        0,
        Math.min(part.pending - coming, maxPerKey - part.size, createConcurrency - part.creating)
      )
    }
    if (wanted === 0) return
    expect(stats.size, `size of the whole, while ${wanted} more could serve somebody`).toBe(max)
    // What is at rest may stay so only if as much room as is wanted is on its way.
    if (stats.closing < wanted) {
      expect(stats.idle, `idle, while ${wanted} are wanted and ${stats.closing} are closing`).toBe(0)
    }
  }

  // ---------------------------------------------------------------------------------------------------
  // What must hold in the end
  // ---------------------------------------------------------------------------------------------------

  readonly finish = Effect.fnUntraced({ self: this }, function* (this: Runner) {
    this.refusals.coming = 0
    this.workshop.making = () => 0
    this.workshop.closing = () => 0
    yield* pass(100)
    // Each round serves somebody at least.
    for (
      let round = 0;
      this.in("over").length < this.asked.length && round < this.asked.length + 10;
      round++
    ) {
      for (const borrower of this.in("holding")) yield* borrower.letGo
      yield* pass(100)
      yield* this.check()
    }
    expect(this.in("over").length, "borrowers that were answered").toBe(this.asked.length)
    let refused = 0
    for (const borrower of this.asked) {
      if (borrower.served || this.cutOff.has(borrower)) continue
      if (borrower.error._tag === "Refused") refused++
      else expect(this.expectedErrors()).toContain(borrower.error._tag)
    }
    expect(refused, "borrowers that were refused").toBeLessThanOrEqual(this.refusals.done)

    if (this.program.vanish) {
      yield* pass(1_100)
      yield* this.check()
      expect((yield* KeyedPool.stats(this.pool)).keys, "keys that nobody uses").toEqual([])
      expect(this.workshop.whole.now, "resources of keys that nobody uses").toBe(0)
    }

    const closing = yield* Effect.forkChild(KeyedPool.close(this.pool), { startImmediately: true })
    yield* settle
    expect(closing.pollUnsafe(), "the pool has closed").toEqual(Exit.void)
    for (const item of this.workshop.items)
      expect(item, "a resource").toMatchObject({ closings: 1, gone: true })
    expect(this.workshop.whole.now, "resources that still exist").toBe(0)
    const { length } = this.workshop.items
    const stats = yield* statsOf(this.pool, "keys may have gone")
    expect(stats).toMatchObject({ size: 0, pending: 0, created: length, destroyed: length })
  })

  private expectedErrors(): ReadonlyArray<string> {
    return [
      ...(this.program.acquireTimeout === undefined ? [] : ["AcquireTimeout"]),
      ...(this.program.validate === undefined ? [] : ["ValidationFailed"])
    ]
  }
}

/** Does something with one of several, if there is any. */
const pick = <A>(
  all: ReadonlyArray<A>,
  nth: number,
  f: (one: A) => Effect.Effect<unknown>
): Effect.Effect<unknown> => (all.length === 0 ? Effect.void : f(all[nth % all.length]!))

const later = <A>(millis: number, value: A): Effect.Effect<A> =>
  millis === 0 ? Effect.succeed(value) : Effect.as(Effect.sleep(millis), value)

const run = Effect.fnUntraced(function* (program: Program) {
  const runner = yield* Runner.make(program)
  for (const burst of program.bursts) {
    for (const command of burst) yield* runner.execute(command)
    yield* settle
    yield* runner.check()
  }
  yield* runner.finish()
  return runner
})

describe("random programs", () => {
  it("keep what a keyed pool promises", async () => {
    const seen = { served: 0, refused: 0, cutOff: 0, made: 0 }
    await fc.assert(
      fc.asyncProperty(program, async (program) => {
        const runner = await Effect.runPromise(
          run(program).pipe(inScope, quietly, Effect.provide(TestClock.layer()))
        )
        seen.served += runner.asked.filter((borrower) => borrower.served).length
        seen.refused += runner.refusals.done
        seen.cutOff += runner.cutOff.size
        seen.made += runner.workshop.items.length
      }),
      { numRuns: 600 }
    )
    // The programs do something: none of the above is true for want of borrowers.
    expect(seen.served).toBeGreaterThan(4_000)
    expect(seen.refused).toBeGreaterThan(100)
    expect(seen.cutOff).toBeGreaterThan(500)
    expect(seen.made).toBeGreaterThan(2_000)
  }, 120_000)
})
