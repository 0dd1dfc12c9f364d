/** What is measured: each library brought to one of three shapes, warm and with ten resources or tokens. */
import { Pool, PoolMetrics, PoolRegistry, TokenPool } from "@cenote/pool"
import { Sema } from "async-sema"
import { Effect, Layer, Metric, Pool as EffectPool, Queue, type Scope, Semaphore } from "effect"
import { createPool as createGenericPool, type Options as GenericOptions } from "generic-pool"
import { createPool as createLightningPool } from "lightning-pool"
import pLimit from "p-limit"
import { Pool as Tarn } from "tarn"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

export type Contender = EffectContender | LibraryContender | WrapperContender

/** Borrows around an effect. */
export interface EffectContender {
  readonly kind: "effect"
  readonly name: string
  readonly around: (body: Effect.Effect<void>) => Effect.Effect<void, unknown>
}

/** Borrows with a promise, and gives back with a call. */
export interface LibraryContender {
  readonly kind: "library"
  readonly name: string
  readonly acquire: () => PromiseLike<Resource>
  readonly release: (item: Resource) => unknown
}

/** Borrows around a function. */
export interface WrapperContender {
  readonly kind: "wrapper"
  readonly name: string
  readonly around: (body: () => void | Promise<void>) => void | Promise<void>
}

/** Makes a contender that lasts as long as the scope. */
export type Make<C extends Contender = Contender> = Effect.Effect<C, never, Scope.Scope>

export interface Resource {
  readonly id: number
  used: boolean
}

const size = 10

let serial = 0
const newResource = (): Resource => ({ id: ++serial, used: false })

export const acquire = Effect.sync(newResource)
export const factory = { create: async () => newResource(), destroy: async () => {} }

const effect = (name: string, around: EffectContender["around"]): EffectContender => ({
  kind: "effect",
  name,
  around
})

// -----------------------------------------------------------------------------
// Floors
// -----------------------------------------------------------------------------

export const effectFloor = (name: string): Make<EffectContender> =>
  Effect.succeed(effect(name, (body) => body))

export const promiseFloor = (name: string): Make<WrapperContender> =>
  Effect.succeed({ kind: "wrapper", name, around: (body) => body() })

// -----------------------------------------------------------------------------
// Effect
// -----------------------------------------------------------------------------

export const cenoteUse: Make<EffectContender> = Effect.map(Pool.make({ acquire, size }), (pool) =>
  effect("Cenote Pool.use", (body) => Pool.use(pool, () => body))
)

/** A pool of connections has such limits; a pool that has any looks at the clock for each loan and return anyway. */
const limits = { maxIdle: "10 seconds", maxAge: "30 seconds" } as const

export const cenoteLimits: Make<EffectContender> = Effect.map(
  Pool.make({ acquire, size, ...limits }),
  (pool) => effect("Cenote Pool.use, limits", (body) => Pool.use(pool, () => body))
)

/** With metrics of all pools, as a program in production has them. */
const measured = (name: string, options: typeof limits | {}): Make<EffectContender> =>
  Effect.gen(function* () {
    yield* Layer.build(PoolMetrics.layer())
    const pool = yield* Pool.make({ name: "measured", acquire, size, ...options })
    return effect(name, (body) => Pool.use(pool, () => body))
  }).pipe(
    // For this pool alone: the others are to go without.
    Effect.provide(Layer.fresh(PoolRegistry.layer)),
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

export const cenoteMeasured = measured("Cenote Pool.use, PoolMetrics", {})

export const cenoteLimitsMeasured = measured("Cenote Pool.use, limits, PoolMetrics", limits)

/** With a deadline a deadlock ends by itself, so the pool does not look for one. */
export const cenoteDeadline: Make<EffectContender> = Effect.map(
  Pool.make({ acquire, size, acquireTimeout: "10 minutes" }),
  (pool) => effect("Cenote Pool.use, acquireTimeout", (body) => Pool.use(pool, () => body))
)

export const cenoteGet: Make<EffectContender> = Effect.map(Pool.make({ acquire, size }), (pool) =>
  effect("Cenote scoped Pool.get", (body) => Effect.scoped(Effect.flatMap(Pool.get(pool), () => body)))
)

export const effectUse: Make<EffectContender> = Effect.map(EffectPool.make({ acquire, size }), (pool) =>
  effect("Effect Pool.use", (body) => EffectPool.use(pool, () => body))
)

export const effectGet: Make<EffectContender> = Effect.map(EffectPool.make({ acquire, size }), (pool) =>
  effect("Effect scoped Pool.get", (body) => Effect.scoped(Effect.flatMap(EffectPool.get(pool), () => body)))
)

export const semaphore: Make<EffectContender> = Effect.map(Semaphore.make(size), (semaphore) =>
  effect("Effect Semaphore.withPermit", (body) => Semaphore.withPermit(semaphore, body))
)

/** The cheapest way to lend through a queue; unlike the others it does not survive an interruption. */
export const queue: Make<EffectContender> = Effect.gen(function* () {
  const queue = yield* Queue.unbounded<Resource>()
  for (let i = 0; i < size; i++) yield* Queue.offer(queue, newResource())
  return effect("Effect Queue take + offer", (body) =>
    Effect.flatMap(Queue.take(queue), (item) => Effect.andThen(body, Queue.offer(queue, item)))
  )
})

// -----------------------------------------------------------------------------
// Promise libraries, none with a deadline except tarn, which has no other way
// -----------------------------------------------------------------------------

export const genericPool = (options: GenericOptions) =>
  Effect.acquireRelease(
    Effect.sync(() => createGenericPool(factory, options)),
    (pool) => Effect.promise(() => pool.drain().then(() => pool.clear()))
  )

const lightningPool = Effect.acquireRelease(
  Effect.sync(() =>
    createLightningPool<Resource>(factory, { max: size, maxQueue: 1_000_000, idleTimeoutMillis: 600_000 })
  ),
  (pool) => Effect.promise(() => pool.closeAsync(true))
)

const tarn = Effect.acquireRelease(
  Effect.sync(
    () =>
      new Tarn<Resource>({
        ...factory,
        min: 0,
        max: size,
        acquireTimeoutMillis: 600_000,
        idleTimeoutMillis: 600_000,
        validate: (item) => !item.used
      })
  ),
  (pool) => Effect.promise(() => pool.destroy())
)

export const viaGenericPool: Make<LibraryContender> = Effect.map(
  genericPool({ min: size, max: size }),
  (pool) => ({
    kind: "library",
    name: "generic-pool",
    acquire: () => pool.acquire(),
    release: (item) => pool.release(item)
  })
)

export const viaLightningPool: Make<LibraryContender> = Effect.map(lightningPool, (pool) => ({
  kind: "library",
  name: "lightning-pool",
  acquire: () => pool.acquire(),
  release: (item) => pool.release(item)
}))

export const viaTarn: Make<LibraryContender> = Effect.map(tarn, (pool) => ({
  kind: "library",
  name: "tarn",
  acquire: () => pool.acquire().promise,
  release: (item) => pool.release(item)
}))

// -----------------------------------------------------------------------------
// Never used twice
// -----------------------------------------------------------------------------

const closing = Effect.acquireRelease(acquire, () => Effect.void)

export const churnCenote: Make<EffectContender> = Effect.map(
  Pool.make({ acquire: closing, max: size, maxUses: 1 }),
  (pool) => effect("Cenote maxUses: 1", (body) => Pool.use(pool, () => body))
)

export const churnCenoteInvalidate: Make<EffectContender> = Effect.map(
  Pool.make({ acquire: closing, max: size }),
  (pool) =>
    effect("Cenote Pool.invalidate", (body) =>
      Pool.use(pool, (item) => Effect.andThen(body, Pool.invalidate(pool, item)))
    )
)

export const churnEffect: Make<EffectContender> = Effect.map(
  EffectPool.makeWithTTL({ acquire: closing, min: 0, max: size, timeToLive: "1 hour" }),
  (pool) =>
    effect("Effect Pool.invalidate", (body) =>
      EffectPool.use(pool, (item) => Effect.andThen(body, EffectPool.invalidate(pool, item)))
    )
)

export const churnGenericPool: Make<LibraryContender> = Effect.map(genericPool({ max: size }), (pool) => ({
  kind: "library",
  name: "generic-pool destroy",
  acquire: () => pool.acquire(),
  release: (item) => pool.destroy(item)
}))

export const churnLightningPool: Make<LibraryContender> = Effect.map(lightningPool, (pool) => ({
  kind: "library",
  name: "lightning-pool destroy",
  acquire: () => pool.acquire(),
  release: (item) => pool.destroy(item)
}))

/** tarn has no call for it: what fails its validation is replaced, after a timer. */
export const churnTarn: Make<LibraryContender> = Effect.map(tarn, (pool) => ({
  kind: "library",
  name: "tarn validate",
  acquire: () => pool.acquire().promise,
  release: (item) => {
    item.used = true
    pool.release(item)
  }
}))

// -----------------------------------------------------------------------------
// Tokens
// -----------------------------------------------------------------------------

export const tokenPool: Make<EffectContender> = Effect.map(TokenPool.make({ max: size }), (tokens) =>
  effect("Cenote TokenPool.withToken", (body) => TokenPool.withToken(tokens, body))
)

export const viaPLimit: Make<WrapperContender> = Effect.sync(() => {
  const limit = pLimit(size)
  return { kind: "wrapper", name: "p-limit", around: (body) => limit(body) }
})

export const viaAsyncSema: Make<LibraryContender> = Effect.sync(() => {
  const sema = new Sema(size)
  return {
    kind: "library",
    name: "async-sema",
    acquire: () => sema.acquire(),
    release: (token) => sema.release(token)
  }
})
