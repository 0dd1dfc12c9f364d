import { Effect, Exit, Scope } from "effect"
import { describe, expect, it } from "vitest"
import { Pool } from "@cenote/pool"
import { World } from "./deterministic.ts"

/**
 * A borrower is interrupted at each step of its way, one run a step. Every primitive step of every fiber is a
 * task of its own here, so there is no moment between two of them that is not tried. Whatever the step: what
 * it had comes back, its place in the line is free, and the pool serves on.
 */

interface Item {
  readonly id: number
}

interface Scenario {
  readonly options?: Omit<Pool.Options<Item, never, never>, "acquire">
  /** Whether creating, validating, resetting and closing take time. */
  readonly slow?: boolean
  /** What is done before the borrower comes. */
  readonly before?: (pool: Pool.Pool<Item>) => Effect.Effect<unknown, unknown, Scope.Scope>
  /** Whether somebody holds the only resource meanwhile. */
  readonly taken?: boolean
}

const operations: Record<string, (pool: Pool.Pool<Item>) => Effect.Effect<unknown, unknown>> = {
  use: (pool) => Pool.use(pool, () => Effect.yieldNow),
  get: (pool) => Effect.scoped(Effect.andThen(Pool.get(pool), Effect.yieldNow)),
  tryUse: (pool) => Pool.tryUse(pool, () => Effect.yieldNow),
  "use and invalidate": (pool) => Pool.use(pool, (item) => Pool.invalidate(pool, item)),
  "get and reserve": (pool) =>
    Effect.scoped(
      Effect.flatMap(Pool.get(pool), (item) => Effect.andThen(Pool.reserve(pool, item), Effect.yieldNow))
    ),
  // Nothing may come between taking and the handler that gives back: that is the caller's to see to.
  "acquire and release": (pool) =>
    Effect.acquireUseRelease(
      Pool.acquire(pool),
      () => Effect.yieldNow,
      (item) => Effect.orDie(Pool.release(pool, item))
    ),
  warmUp: (pool) => Pool.warmUp(pool),
  "resize down and up": (pool) => Effect.andThen(Pool.resize(pool, 0), Pool.resize(pool, 1)),
  clear: (pool) => Pool.clear(pool),
  recycle: (pool) => Pool.recycle(pool),
  "suspend and resume": (pool) => Effect.andThen(Pool.suspend(pool), Pool.resume(pool)),
  close: (pool) => Pool.close(pool)
}

const scenarios: Record<string, Scenario> = {
  "a resource at rest": { before: Pool.warmUp, options: { min: 1 } },
  "nothing yet": {},
  "nothing yet, slow to create": { slow: true },
  "everything taken": { taken: true },
  "everything taken, with a deadline": { taken: true, options: { acquireTimeout: "1 hour" } },
  "a resource that must be validated": {
    before: Pool.warmUp,
    options: { min: 1, validate: () => Effect.succeed(true), validateAfterIdle: 0, reset: () => Effect.void }
  },
  "a resource that must be validated, slowly": {
    slow: true,
    taken: true,
    options: {
      validate: () => Effect.as(Effect.yieldNow, true),
      validateAfterIdle: 0,
      reset: () => Effect.yieldNow
    }
  },
  "a resource for one use": { options: { maxUses: 1 }, slow: true },
  "a resource for three": { options: { concurrency: 3 } }
}

/** Runs the operation, interrupts it after `steps` tasks, and lets everything come to rest. */
const interruptAfter = (
  scenario: Scenario,
  operation: (pool: Pool.Pool<Item>) => Effect.Effect<unknown, unknown>,
  steps: number
) => {
  const world = new World(3)
  const scope = Scope.makeUnsafe()
  const pause = scenario.slow === true ? Effect.yieldNow : Effect.void
  let opened = 0
  const closed = new Set<Item>()
  const acquire = Effect.acquireRelease(
    Effect.andThen(
      pause,
      Effect.sync((): Item => ({ id: ++opened }))
    ),
    (item) =>
      Effect.andThen(
        pause,
        Effect.sync(() => {
          expect(closed.has(item)).toBe(false)
          closed.add(item)
        })
      )
  )
  const pool = world.run(Scope.provide(Pool.make({ max: 1, ...scenario.options, acquire }), scope))
  world.run(Scope.provide(Effect.ignore(scenario.before?.(pool) ?? Effect.void), scope))
  const holder = scenario.taken === true ? world.fork(Pool.use(pool, () => Effect.never)) : undefined
  world.scheduler.runAll()

  // The pauses give the operation a step before it, and one after.
  const fiber = world.fork(Effect.andThen(Effect.yieldNow, Effect.andThen(operation(pool), Effect.yieldNow)))
  let done = 0
  while (done < steps) {
    // Where everything is taken, the way goes on when the holder leaves.
    if (!world.scheduler.runOne()) {
      if (holder === undefined || holder.pollUnsafe() !== undefined) break
      holder.interruptUnsafe()
      continue
    }
    done++
  }
  fiber.interruptUnsafe()
  world.scheduler.runAll()
  holder?.interruptUnsafe()
  world.scheduler.runAll()

  expect(fiber.pollUnsafe(), "the borrower has ended").toBeDefined()
  const rest = world.run(Pool.stats(pool))
  expect({ used: rest.used, pending: rest.pending, creating: rest.creating, closing: rest.closing }).toEqual({
    used: 0,
    pending: 0,
    creating: 0,
    closing: 0
  })
  expect(rest.size).toBeLessThanOrEqual(1)
  expect(rest.size).toBe(opened - closed.size)
  expect(world.run(Pool.leases(pool))).toEqual([])
  // An operation on the pool itself may have been stopped half way.
  world.run(Effect.andThen(Pool.resume(pool), Pool.resize(pool, { min: 0, max: 1 })))
  // As many can borrow as ever could, and one more cannot.
  const max = scenario.options?.concurrency ?? 1
  const holders = Array.from({ length: max + 1 }, () => world.fork(Pool.use(pool, () => Effect.never)))
  world.scheduler.runAll()
  const full = world.run(Pool.stats(pool))
  const closes = operation === operations["close"] && holders[0]!.pollUnsafe() !== undefined
  expect({ used: full.used, pending: full.pending }).toEqual(
    closes ? { used: 0, pending: 0 } : { used: 1, pending: 1 }
  )
  for (const one of holders) one.interruptUnsafe()
  world.scheduler.runAll()
  const end = world.fork(Scope.close(scope, Exit.void))
  world.scheduler.runAll()
  expect(end.pollUnsafe()?._tag).toBe("Success")
  expect(closed.size, "closed as often as opened").toBe(opened)
  world.end()
  return done
}

for (const [name, operation] of Object.entries(operations)) {
  describe(`${name}, interrupted at each step`, () => {
    for (const [situation, scenario] of Object.entries(scenarios)) {
      it(situation, () => {
        const most = interruptAfter(scenario, operation, Infinity)
        for (let steps = 0; steps < most; steps++) interruptAfter(scenario, operation, steps)
        expect(most).toBeGreaterThan(0)
      })
    }
  })
}
