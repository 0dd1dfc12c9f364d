import { Cause, Deferred, Effect, Exit, Option, Scope } from "effect"
import type { Fiber } from "effect"
import * as fc from "fast-check"
import { expect, it } from "vitest"
import { Pool } from "@cenote/pool"
import { World } from "./deterministic.ts"
import { type Action, type Config, Model, type Outcome, step, times } from "./model.ts"

/**
 * Random programs, run step by step against the real pool and the model. After each step both must agree on
 * every figure and on what each borrower got; at the end nothing may be lost, left over or closed twice.
 *
 * `CENOTE_MODEL_OPS=1000000` runs that many operations. A failure prints its seed and the shortest program
 * that fails; `CENOTE_MODEL_SEED` runs one again.
 */

type Step =
  | { readonly do: "ask"; readonly by: "use" | "get" | "acquire" }
  | { readonly do: "tryUse" }
  | { readonly do: "end"; readonly which: number; readonly how: "return" | "fail" | "die" | "interrupt" }
  | { readonly do: "giveUp"; readonly which: number }
  | { readonly do: "set"; readonly action: Action; readonly to: Outcome }
  | { readonly do: "resolve"; readonly which: number; readonly outcome: "ok" | "fail" }
  | { readonly do: "advance"; readonly steps: number }
  | { readonly do: "resize"; readonly min: number; readonly extra: number }
  | { readonly do: "invalidate"; readonly which: number }
  | { readonly do: "clear" | "evictExpired" | "recycle" | "suspend" | "resume" | "close" }

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 60,
    arbitrary: fc.record({ do: fc.constant("ask" as const), by: fc.constantFrom("use", "get", "acquire") })
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("tryUse" as const) }) },
  {
    weight: 50,
    arbitrary: fc.record({
      do: fc.constant("end" as const),
      which: fc.nat(20),
      how: fc.constantFrom("return", "fail", "die", "interrupt")
    })
  },
  { weight: 15, arbitrary: fc.record({ do: fc.constant("giveUp" as const), which: fc.nat(20) }) },
  {
    weight: 25,
    arbitrary: fc.record({
      do: fc.constant("set" as const),
      action: fc.constantFrom("create", "validate", "reset", "destroy"),
      to: fc.constantFrom("ok", "ok", "fail", "hang", "stubborn")
    })
  },
  {
    weight: 20,
    arbitrary: fc.record({
      do: fc.constant("resolve" as const),
      which: fc.nat(5),
      outcome: fc.constantFrom("ok", "ok", "fail")
    })
  },
  {
    weight: 25,
    arbitrary: fc.record({ do: fc.constant("advance" as const), steps: fc.integer({ min: 1, max: 6 }) })
  },
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant("resize" as const), min: fc.nat(3), extra: fc.nat(4) })
  },
  { weight: 10, arbitrary: fc.record({ do: fc.constant("invalidate" as const), which: fc.nat(5) }) },
  {
    weight: 15,
    arbitrary: fc.record({
      do: fc.constantFrom("clear", "evictExpired", "recycle", "suspend", "resume", "resume")
    })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("close" as const) }) }
) as fc.Arbitrary<Step>

const configs: fc.Arbitrary<Config> = fc.record({
  min: fc.constantFrom(0, 0, 1, 2),
  max: fc.integer({ min: 2, max: 4 }),
  order: fc.constantFrom("fifo", "lifo"),
  concurrency: fc.constantFrom(1, 1, 3),
  maxWaiting: fc.constantFrom(Infinity, Infinity, 0, 2),
  createConcurrency: fc.constantFrom(Infinity, Infinity, 1),
  maxUses: fc.constantFrom(Infinity, Infinity, 1, 3),
  validates: fc.boolean(),
  resets: fc.boolean(),
  acquireTimeout: fc.boolean(),
  createTimeout: fc.boolean(),
  maxIdle: fc.boolean(),
  maxAge: fc.boolean()
})

interface Item {
  readonly id: number
}

/** What a borrower's fiber is told, and what became of it. */
interface Borrower {
  status: string
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly end: Deferred.Deferred<void, string>
}

class Run {
  readonly world = new World()
  readonly scope = Scope.makeUnsafe()
  readonly model: Model
  readonly pool: Pool.Pool<Item, string>
  readonly borrowers: Array<Borrower> = []
  readonly mode: Record<Action, Outcome> = { create: "ok", validate: "ok", reset: "ok", destroy: "ok" }
  /** What hangs, by action and resource. */
  readonly hanging = new Map<string, Deferred.Deferred<"ok" | "fail">>()
  readonly holders = new Map<Item, number>()
  readonly opened = new Set<Item>()
  readonly closed = new Set<Item>()
  private attempts = 0

  readonly config: Config
  constructor(config: Config) {
    this.config = config
    this.model = new Model(config)
    this.pool = this.world.run(this.make())
  }

  private make() {
    const { config } = this
    return Scope.provide(
      Pool.make({
        name: "model",
        acquire: this.acquire,
        min: config.min,
        max: config.max,
        order: config.order,
        concurrency: config.concurrency,
        maxWaiting: config.maxWaiting === Infinity ? undefined : config.maxWaiting,
        createConcurrency: config.createConcurrency === Infinity ? undefined : config.createConcurrency,
        maxUses: config.maxUses === Infinity ? undefined : config.maxUses,
        acquireTimeout: config.acquireTimeout ? times.acquireTimeout : undefined,
        createTimeout: config.createTimeout ? times.createTimeout : undefined,
        validate: config.validates
          ? (item) => Effect.map(this.act("validate", item.id), (outcome) => outcome === "ok")
          : undefined,
        validateAfterIdle: times.validateAfterIdle,
        validateTimeout: times.validateTimeout,
        reset: config.resets
          ? (item) =>
              Effect.flatMap(this.act("reset", item.id), (_) =>
                _ === "ok" ? Effect.void : Effect.fail("no reset")
              )
          : undefined,
        resetTimeout: times.resetTimeout,
        maxIdle: config.maxIdle ? times.maxIdle - 0 : undefined,
        maxAge: config.maxAge ? times.maxAge : undefined,
        maxAgeJitter: 0,
        closeTimeout: times.closeTimeout,
        destroyTimeout: times.destroyTimeout
      }),
      this.scope
    )
  }

  private readonly acquire = Effect.suspend(() =>
    // A stubborn attempt ignores its interruption to the very end.
    Effect.acquireRelease(this.open, this.close, { interruptible: this.mode.create !== "stubborn" })
  )

  private readonly open = Effect.suspend(() => {
    const id = ++this.attempts
    return Effect.flatMap(this.act("create", id), (outcome) => {
      if (outcome === "fail") return Effect.fail("no resource")
      const item = { id }
      this.opened.add(item)
      return Effect.succeed(item)
    })
  })

  private readonly close = (item: Item) =>
    Effect.suspend(() => {
      expect(this.closed.has(item), "closed twice").toBe(false)
      this.closed.add(item)
      return Effect.flatMap(this.act("destroy", item.id), (_) =>
        _ === "ok" ? Effect.void : Effect.die("no close")
      )
    })

  private act(action: Action, id: number): Effect.Effect<"ok" | "fail"> {
    return Effect.suspend(() => {
      const outcome = this.mode[action]
      if (outcome === "ok" || outcome === "fail") return Effect.succeed(outcome)
      const told = Deferred.makeUnsafe<"ok" | "fail">()
      this.hanging.set(`${action} ${id}`, told)
      return outcome === "hang" ? Deferred.await(told) : Effect.uninterruptible(Deferred.await(told))
    })
  }

  // --- Steps -------------------------------------------------------------------------------------------

  ask(by: "use" | "get" | "acquire" | "tryUse"): void {
    const end = Deferred.makeUnsafe<void, string>()
    const borrower: { -readonly [K in keyof Borrower]: Borrower[K] } = {
      status: "asking",
      end,
      fiber: undefined as unknown as Borrower["fiber"]
    }
    const body = (item: Item) =>
      Effect.suspend(() => {
        const holders = (this.holders.get(item) ?? 0) + 1
        expect(holders, "lent to too many").toBeLessThanOrEqual(this.config.concurrency)
        expect(this.closed.has(item), "lent after it was closed").toBe(false)
        this.holders.set(item, holders)
        borrower.status = `holding ${item.id}`
        return Effect.ensuring(
          Deferred.await(end),
          Effect.sync(() => this.holders.set(item, this.holders.get(item)! - 1))
        )
      })
    const program: Effect.Effect<void, unknown> = {
      use: Pool.use(this.pool, body),
      get: Effect.scoped(Effect.flatMap(Pool.get(this.pool), body)),
      acquire: Effect.flatMap(Pool.acquire(this.pool), (item) =>
        Effect.ensuring(body(item), Effect.orDie(Pool.release(this.pool, item)))
      ),
      tryUse: Effect.map(Pool.tryUse(this.pool, body), (_) => {
        if (Option.isNone(_)) borrower.status = "none"
      })
    }[by]
    borrower.status = by === "tryUse" ? "asking" : "waiting"
    borrower.fiber = this.world.fork(program)
    this.borrowers.push(borrower)
    borrower.fiber.addObserver((exit) => {
      if (borrower.status !== "none") borrower.status = statusOf(exit)
    })
  }

  end(b: number, how: "return" | "fail" | "die" | "interrupt"): string {
    const { end, fiber } = this.borrowers[b]!
    if (how === "return") Deferred.doneUnsafe(end, Exit.void)
    else if (how === "fail") Deferred.doneUnsafe(end, Exit.fail("body"))
    else if (how === "die") Deferred.doneUnsafe(end, Exit.die("body"))
    else fiber.interruptUnsafe()
    return { return: "done", fail: "failed", die: "died", interrupt: "interrupted" }[how]
  }

  take(step_: Step): void {
    const { model, pool, world } = this
    switch (step_.do) {
      case "ask": {
        model.ask()
        this.ask(step_.by)
        break
      }
      case "tryUse": {
        model.tryAsk()
        this.ask("tryUse")
        break
      }
      case "end": {
        const b = pick(this.withStatus("holding"), step_.which)
        if (b !== undefined) model.finish(b, this.end(b, step_.how))
        break
      }
      case "giveUp": {
        const b = pick(this.withStatus("waiting"), step_.which)
        if (b !== undefined) model.finish(b, this.end(b, "interrupt"))
        break
      }
      case "set": {
        model.mode[step_.action] = this.mode[step_.action] = step_.to
        break
      }
      case "resolve": {
        const resource = pick(model.hanging(), step_.which)
        if (resource !== undefined) this.resolve(resource, step_.outcome)
        break
      }
      case "advance": {
        world.advance(step_.steps * step)
        model.advance(step_.steps * step)
        break
      }
      case "resize": {
        world.run(Pool.resize(pool, { min: step_.min, max: step_.min + step_.extra }))
        model.resize(step_.min, step_.min + step_.extra)
        break
      }
      case "invalidate": {
        const resource = pick(
          [...model.resources].filter((_) => _.phase === "ready" || _.phase === "busy"),
          step_.which
        )
        if (resource === undefined) break
        const item = [...this.opened].find((_) => _.id === resource.id)!
        world.run(Pool.invalidate(pool, item))
        model.invalidate(resource)
        break
      }
      case "close": {
        world.fork(Pool.close(pool))
        model.shutdown()
        break
      }
      case "clear": {
        expect(world.run(Pool.clear(pool))).toBe(model.clear())
        break
      }
      case "evictExpired": {
        expect(world.run(Pool.evictExpired(pool))).toBe(model.evictExpired())
        break
      }
      case "recycle":
      case "suspend":
      case "resume": {
        const { recycle, resume, suspend } = Pool
        world.run({ recycle, resume, suspend }[step_.do](pool))
        model[step_.do]()
        break
      }
    }
    world.scheduler.runAll()
  }

  private resolve(resource: ReturnType<Model["hanging"]>[number], outcome: "ok" | "fail"): void {
    const key = `${resource.pending!.action} ${resource.id}`
    const told = this.hanging.get(key)
    expect(told, `the model says that "${key}" hangs`).toBeDefined()
    this.hanging.delete(key)
    this.model.resolve(resource, outcome)
    Deferred.doneUnsafe(told!, Exit.succeed(outcome))
  }

  private withStatus(status: string): Array<number> {
    return this.model.borrowers.flatMap((borrower, b) => (borrower.status.startsWith(status) ? [b] : []))
  }

  // --- Checks ------------------------------------------------------------------------------------------

  check(): void {
    const { name: _, ...stats } = this.world.run(Pool.stats(this.pool))
    const { closed, suspended } = this.model
    const state = closed ? (stats.size > 0 ? "closing" : "closed") : suspended ? "suspended" : "open"
    expect(stats).toEqual({ ...this.model.stats(), state })
    expect(stats.size).toBe(stats.idle + stats.used + stats.creating + stats.closing)
    expect(this.borrowers.map((_) => _.status)).toEqual(this.model.borrowers.map((_) => _.status))
  }

  /** Everybody goes home, and the pool closes. */
  finish(): void {
    const { model, world } = this
    for (const action of ["create", "validate", "reset", "destroy"] as const) {
      this.take({ do: "set", action, to: "ok" })
    }
    if (!model.closed) {
      this.take({ do: "resume" })
      this.take({ do: "resize", min: 0, extra: 3 })
    }
    for (let round = 0; round < 1000; round++) {
      const hanging = model.hanging()[0]
      const holding = this.withStatus("holding")[0]
      if (hanging !== undefined) this.resolve(hanging, "ok")
      else if (holding !== undefined) model.finish(holding, this.end(holding, "return"))
      else break
      world.scheduler.runAll()
      this.check()
    }
    expect(this.withStatus("waiting"), "still in line when all is quiet").toEqual([])
    for (const told of this.hanging.values()) Deferred.doneUnsafe(told, Exit.succeed("ok"))
    const closing = world.fork(Scope.close(this.scope, Exit.void))
    world.scheduler.runAll()
    expect(closing.pollUnsafe()?._tag, "the pool has closed").toBe("Success")
    expect(this.closed, "closed once each").toEqual(this.opened)
    const { idle, size, used } = world.run(Pool.stats(this.pool))
    expect({ idle, size, used }).toEqual({ idle: 0, size: 0, used: 0 })
    world.end()
  }
}

const pick = <A>(from: ReadonlyArray<A>, which: number): A | undefined =>
  from[which % Math.max(1, from.length)]

const statusOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "done"
  if (Cause.hasInterrupts(exit.cause)) return "interrupted"
  const error = Cause.squash(exit.cause)
  if (Cause.hasDies(exit.cause)) return error === "body" ? "died" : `died: ${String(error)}`
  if (error === "no resource") return "CreateFailed"
  return error === "body" ? "failed" : (error as { readonly _tag: string })._tag
}

const ops = Number(process.env["CENOTE_MODEL_OPS"] ?? 0)
const length = 40
const numRuns = Math.max(2_000, Math.ceil(ops / (length * 0.45)))
const seed = process.env["CENOTE_MODEL_SEED"]

it(`${numRuns} random programs agree with the model`, { timeout: ops > 0 ? 7_200_000 : 120_000 }, () => {
  let operations = 0
  fc.assert(
    fc.property(configs, fc.array(steps, { maxLength: length, size: "max" }), (config, program) => {
      const run = new Run(config)
      run.check()
      for (const step_ of program) {
        run.take(step_)
        run.check()
      }
      run.finish()
      operations += program.length
    }),
    { numRuns, ...(seed === undefined ? {} : { seed: Number(seed) }) }
  )
  console.log(`model: ${numRuns} programs, ${operations} operations`)
})
