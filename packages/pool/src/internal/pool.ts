import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import { Scheduler } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type { Options, Pool } from "../Pool.ts"
import type { PoolError } from "../PoolError.ts"
import * as PoolRegistry from "../PoolRegistry.ts"
import { Core } from "./core.ts"
import { mark, unmark } from "./deadlock.ts"
import { Lease } from "./lease.ts"
import { resolve, type Settings } from "./options.ts"
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

export const make = <A, E, R>(
  options: Options<A, E, R>,
  kind: PoolRegistry.Kind = "pool"
): Effect.Effect<Pool<A, E>, never, R | Scope.Scope> =>
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
      return new PoolImpl(core) as unknown as Pool<A, E>
    })
  )

export const makeCore = <A, E>(settings: Settings<A, E>): Effect.Effect<Core<A, E>, never, any> =>
  Effect.contextWith((context: Context.Context<any>) => {
    const work = new Work(context, Context.get(context, Clock))
    return Effect.succeed(new Core(settings, work, Context.get(context, Scheduler).makeDispatcher()))
  })

/** Registers until the scope closes, or until the result is called. */
export const register = Effect.fnUntraced(function* (description: PoolRegistry.Description) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Scope.provide(PoolRegistry.register(description), scope)
  return () => Effect.runFork(Scope.close(scope, Exit.void))
})

const entry = (kind: PoolRegistry.Kind, core: Core<any, any>): PoolRegistry.Description => ({
  kind,
  name: core.settings.name,
  stats: Effect.sync(() => report.stats(core)),
  leases: Effect.sync(() => report.leases(core)),
  events: core.events.stream
})

// -----------------------------------------------------------------------------
// Borrowing
//
// Between taking something and being sure to return it there must be no step at which the fiber can be
// interrupted. `use` has its exit handler in place before it asks; `get` and `acquire` cannot be
// interrupted except while they wait.
// -----------------------------------------------------------------------------

export const use = <A, E, B, E2, R2>(
  core: Core<A, E>,
  f: (item: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2 | PoolError, R2> =>
  Effect.withFiber((fiber) => {
    const lease = new Lease<A, E>(core, fiber, "scoped")
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        core.ask(lease)
        return lease.state === "waiting"
          ? Effect.flatMap(wait(lease), () => runBody(core, lease, f))
          : runBody(core, lease, f)
      }),
      () => endUse(core, lease)
    )
  })

export const tryUse = <A, E, B, E2, R2>(
  core: Core<A, E>,
  f: (item: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<Option.Option<B>, E2, R2> =>
  Effect.withFiber((fiber) => {
    const lease = new Lease<A, E>(core, fiber, "scoped")
    return Effect.onExitPrimitive(
      Effect.suspend(() =>
        core.tryAsk(lease)
          ? Effect.asSome(runBody(core, lease, f) as Effect.Effect<B, E2, R2>)
          : Effect.succeedNone
      ),
      () => endUse(core, lease)
    )
  })

const runBody = <A, E, B, E2, R2>(
  core: Core<A, E>,
  lease: Lease<A, E>,
  f: (item: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2 | PoolError, R2> => {
  if (lease.failure !== undefined) return lease.failure
  if (core.deadlock !== undefined) lease.restore = mark(lease)
  return f(lease.slot!.value)
}

const endUse = (core: Core<any, any>, lease: Lease<any, any>): undefined => {
  if (lease.restore !== undefined) unmark(lease)
  core.finish(lease)
  return undefined
}

export const get = <A, E>(core: Core<A, E>): Effect.Effect<A, E | PoolError, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const scope = Context.getUnsafe(fiber.context, Scope.Scope)
    if (!core.isReady()) return getInLine(core, scope)
    // Nobody is to be waited for: with the return in place first, nothing has to be uninterruptible.
    const lease = new Lease<A, E>(core, fiber, "scoped")
    return Effect.flatMap(Scope.addFinalizer(scope, finish(core, lease)), () => {
      core.ask(lease)
      if (lease.state === "held") return Effect.succeed(lent(core, lease))
      core.finish(lease)
      return getInLine(core, scope)
    })
  })

const getInLine = <A, E>(core: Core<A, E>, scope: Scope.Scope): Effect.Effect<A, E | PoolError> =>
  borrow(core, "scoped", (lease) =>
    Effect.as(Scope.addFinalizer(scope, finish(core, lease)), lease.slot!.value)
  )

export const acquire = <A, E>(core: Core<A, E>): Effect.Effect<A, E | PoolError> =>
  borrow(core, "manual", (lease) => {
    core.lentManually(lease)
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
      core.ask(lease)
      if (lease.state !== "waiting") return settle()
      const waited = Effect.onExitPrimitive(
        restore(wait(lease)),
        (exit) => {
          if (exit._tag === "Failure") core.finish(lease)
          return undefined
        },
        true
      )
      return Effect.flatMap(waited, settle)
    })
  )

/** What was lent. No body ends this loan, so its mark stays until whoever set the fiber's context restores it. */
const lent = <A, E>(core: Core<A, E>, lease: Lease<A, E>): A => {
  if (core.deadlock !== undefined) mark(lease)
  return lease.slot!.value
}

const finish = (core: Core<any, any>, lease: Lease<any, any>): Effect.Effect<void> =>
  Effect.sync(() => core.finish(lease))

/** Suspends until the pool has lent to the borrower or failed it. */
const wait = (lease: Lease<any, any>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (lease.state === "waiting") lease.resume = resume
    else resume(Effect.void)
  })

// -----------------------------------------------------------------------------
// Operations
// -----------------------------------------------------------------------------

export const warmUp = <A, E>(core: Core<A, E>): Effect.Effect<void, E | PoolError> =>
  Effect.callback((resume) => {
    core.warmUp(resume)
    return Effect.sync(() => core.warmUps.delete(resume))
  })
