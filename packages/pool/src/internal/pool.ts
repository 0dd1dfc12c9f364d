import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { Scheduler } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type { Options, Pool } from "../Pool.ts"
import type { PoolError } from "../PoolError.ts"
import * as PoolRegistry from "../PoolRegistry.ts"
import { Core } from "./core.ts"
import { mark, markOpenEnded, unmark } from "./deadlock.ts"
import { Lease } from "./lease.ts"
import { resolve, type Settings, shown } from "./options.ts"
import * as report from "./report.ts"
import { Work } from "./work.ts"

export const TypeId = "~cenote/Pool"

class PoolImpl<A, E> implements Pipeable {
  readonly [TypeId]: any = TypeId
  readonly name: string
  readonly core: Core<A, E>

  constructor(core: Core<A, E>) {
    this.name = core.settings.name
    this.core = core
  }
  pipe() {
    return pipeArguments(this, arguments)
  }
}

export const core = <A, E>(pool: Pool<A, E>): Core<A, E> => (pool as unknown as PoolImpl<A, E>).core

// -----------------------------------------------------------------------------
// Construction
// -----------------------------------------------------------------------------

export const make = <A, E>(
  options: Options<A, E, any>,
  kind: PoolRegistry.Kind = "pool"
): Effect.Effect<Pool<A, E>, never, any> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const core = yield* makeCore(resolve(options))
      const scope = yield* Effect.scope
      yield* Scope.addFinalizer(
        scope,
        Effect.withFiber((fiber) => core.shutdown(fiber))
      )
      if (core.settings.name !== "") core.onClosing = yield* register(entry(kind, core))
      core.pump()
      return new PoolImpl(core)
    })
  )

const makeCore = <A, E>(settings: Settings<A, E>): Effect.Effect<Core<A, E>, never, any> =>
  Effect.contextWith((context: Context.Context<any>) => {
    const work = new Work(context, Context.get(context, Clock))
    return Effect.succeed(new Core(settings, work, Context.get(context, Scheduler).makeDispatcher()))
  })

/** Registers until the scope closes, or until the result is run. */
export const register = Effect.fnUntraced(function* (description: PoolRegistry.Description) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Scope.provide(PoolRegistry.register(description), scope)
  return Scope.close(scope, Exit.void)
})

const entry = (kind: PoolRegistry.Kind, core: Core<any, any>): PoolRegistry.Description => ({
  kind,
  name: core.settings.name,
  options: shown(core.settings),
  stats: Effect.sync(() => report.stats(core)),
  leases: (limit) => Effect.sync(() => report.leases(core, limit)),
  waiters: (limit) => Effect.sync(() => report.waiters(core, limit)),
  events: core.events.stream,
  record: (recorder) => core.events.recorders.record(recorder),
  actions: {
    resize: (limits) =>
      Effect.sync(() => {
        const { max = core.max, min = Math.min(core.min, max) } = limits
        core.resize(min, max)
      }),
    suspend: Effect.sync(() => core.suspend()),
    resume: Effect.sync(() => core.resume()),
    // A token is nothing that could be old.
    ...(kind === "tokens"
      ? {}
      : {
          recycle: Effect.sync(() => core.recycle()),
          evict: Effect.sync(() => core.closeIdle(() => "cleared"))
        })
  }
})

// -----------------------------------------------------------------------------
// Borrowing
//
// Between taking something and being sure to return it there must be no step at which the fiber can be
// interrupted. `use`, and `get` where it need not wait, have the return in place before they ask; the others
// cannot be interrupted except while they wait.
// -----------------------------------------------------------------------------

export const use = <A, E, B, E2, R2>(
  core: Core<A, E>,
  f: (item: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2 | PoolError, R2> =>
  Effect.withFiber((fiber) => {
    const use = new Use(core, fiber, f)
    return Effect.onExitPrimitive(use, () => use.end())
  })

/**
 * The effect that asks, waits, and runs the body. One object allocates less than effects made of closures would,
 * and a borrower that is woken goes on with it.
 */
class Use<A, E, B, E2, R2> extends Effectable.Class<B, E | E2 | PoolError, R2> {
  readonly core: Core<A, E>
  readonly lease: Lease<A, E>
  readonly body: (item: A) => Effect.Effect<B, E2, R2>

  constructor(core: Core<A, E>, fiber: Fiber.Fiber<any, any>, body: (item: A) => Effect.Effect<B, E2, R2>) {
    super()
    this.core = core
    this.lease = new Lease(core, fiber, "scoped")
    this.body = body
  }

  asEffect(): Effect.Effect<B, E | E2 | PoolError, R2> {
    const { core, lease } = this
    if (core.successor !== undefined) return use(core.successor(), this.body)
    if (lease.state === "asking") core.ask(lease)
    if (lease.state === "waiting") return waitFor(lease, this)
    if (lease.failure !== undefined) return lease.failure
    if (core.deadlock !== undefined) mark(lease)
    return this.body(lease.slot!.value)
  }

  end(): undefined {
    unmark(this.lease)
    this.core.finish(this.lease)
    return undefined
  }
}

export const tryUse = <A, E, B, E2, R2>(
  core: Core<A, E>,
  f: (item: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<Option.Option<B>, E2, R2> =>
  Effect.withFiber((fiber) => {
    const lease = new Lease<A, E>(core, fiber, "scoped")
    const body = Effect.suspend(() => {
      if (!core.tryAsk(lease)) return Effect.succeedNone
      if (core.deadlock !== undefined) mark(lease)
      return Effect.asSome(f(lease.slot!.value))
    })
    return Effect.onExitPrimitive(body, () => {
      unmark(lease)
      return finish(core, lease)
    })
  })

export const get = <A, E>(
  core: Core<A, E>,
  kind: "scoped" | "alone" = "scoped"
): Effect.Effect<A, E | PoolError, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const scope = Context.getUnsafe(fiber.context, Scope.Scope)
    // A borrow that fails should leave nothing in the scope.
    if (!core.isReady()) return getInLine(core, scope, kind)
    // With the return in place before anything is taken, nothing has to be uninterruptible.
    const lease = new Lease<A, E>(core, fiber, kind)
    const settle = (): Effect.Effect<A, E | PoolError> => {
      if (lease.failure !== undefined) return lease.failure
      const item = lent(core, lease)
      // The scope may be closed already, or have closed meanwhile: then the loan is over at once.
      if (scope.state._tag === "Closed") core.finish(lease)
      return Effect.succeed(item)
    }
    const borrow = Effect.suspend(() => {
      if (core.successor !== undefined) return get(core.successor(), kind)
      core.ask(lease)
      return lease.state === "waiting" ? waitFor(lease, Effect.suspend(settle)) : settle()
    })
    return Effect.flatMap(
      Scope.addFinalizerExit(scope, () => {
        if (lease.state === "held") core.finish(lease)
        return Effect.void
      }),
      () =>
        Effect.onExitPrimitive(borrow, (exit) => (exit._tag === "Failure" ? finish(core, lease) : undefined))
    )
  })

const getInLine = <A, E>(
  core: Core<A, E>,
  scope: Scope.Scope,
  kind: "scoped" | "alone"
): Effect.Effect<A, E | PoolError> =>
  borrow(core, kind, (lease) =>
    Effect.as(
      Scope.addFinalizerExit(scope, () => finish(core, lease) ?? Effect.void),
      lease.slot!.value
    )
  )

export const acquire = <A, E>(core: Core<A, E>): Effect.Effect<A, E | PoolError> =>
  borrow(core, "manual", (lease) => {
    core.manual.add(lease)
    return Effect.succeed(lease.slot!.value)
  })

const borrow = <A, E>(
  core: Core<A, E>,
  kind: Lease<A, E>["kind"],
  onLent: (lease: Lease<A, E>) => Effect.Effect<A>
): Effect.Effect<A, E | PoolError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      const lease = new Lease<A, E>(core, fiber, kind)
      const settle = (): Effect.Effect<A, E | PoolError> => {
        if (lease.failure !== undefined) return lease.failure
        lent(core, lease)
        return onLent(lease)
      }
      if (core.successor !== undefined) return restore(borrow(core.successor(), kind, onLent))
      core.ask(lease)
      if (lease.state !== "waiting") return settle()
      const waited = Effect.onExitPrimitive(
        restore(waitFor(lease, Effect.void)),
        (exit) => (exit._tag === "Failure" ? finish(core, lease) : undefined),
        true
      )
      return Effect.flatMap(waited, settle)
    })
  )

/** Suspends until the pool has lent to the borrower or failed it, and then goes on with `next`. */
const waitFor = <B, E, R>(lease: Lease<any, any>, next: Effect.Effect<B, E, R>): Effect.Effect<B, E, R> =>
  Effect.callback((resume) => {
    if (lease.state !== "waiting") return resume(next)
    lease.resume = resume
    lease.nextStep = next
  })

/** What was lent to a borrower whose loan no body ends. */
const lent = <A, E>(core: Core<A, E>, lease: Lease<A, E>): A => {
  // Any fiber may end a manual loan, so that it says nothing about who waits for whom.
  if (core.deadlock !== undefined && lease.kind !== "manual") markOpenEnded(lease)
  return lease.slot!.value
}

const finish = (core: Core<any, any>, lease: Lease<any, any>): undefined => {
  core.finish(lease)
  return undefined
}

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

export const warmUp = <A, E>(core: Core<A, E>): Effect.Effect<void, E | PoolError> =>
  Effect.callback((resume) => {
    core.warmUp(resume)
    return Effect.sync(() => core.warmUps.delete(resume))
  })
