// A pool that is there when it is needed: made with the first borrow, and closed when nobody has used it for a while.
import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Pool } from "@cenote/pool"
import type { SqlDriver } from "../SqlDriver.ts"
import { makeClient } from "./client.ts"
import type { Bare } from "./pool.ts"
import type { ConnectionPool } from "./service.ts"

interface Open {
  readonly pool: Bare
  readonly scope: Scope.Closeable
}

export interface LazyOptions {
  readonly name: string
  readonly driver: SqlDriver
  readonly min: number
  readonly max: number
  /** Makes the pool. Must not wait. */
  readonly make: Effect.Effect<Bare, never, Scope.Scope>
  readonly idleTimeout: number
}

/** It lives in the scope, with whatever pool is open at the time. */
export const makeLazy = Effect.fnUntraced(function* (
  options: LazyOptions
): Effect.fn.Return<ConnectionPool["Service"], never, Scope.Scope> {
  const scope = yield* Effect.scope
  const runSync = Effect.runSyncWith(yield* Effect.context())
  let open: Open | undefined
  /** Borrows that are on their way, which no pool tells of yet, and listeners: a pool that has any is not closed. */
  let users = 0
  /** What holds for each pool that is opened. */
  let limits: { readonly min: number; readonly max: number } | undefined
  let isSuspended = false
  /** What earlier pools have counted. */
  let totals: Totals = none

  const current = (): Bare => {
    if (open !== undefined) return open.pool
    const own = runSync(Scope.fork(scope))
    const pool = runSync(Scope.provide(options.make, own))
    if (limits !== undefined) runSync(pool.resize(limits))
    open = { pool, scope: own }
    runSync(Effect.forkIn(closeWhenIdle(open), own))
    return pool
  }

  /** Ends the pool at the first look at which nothing has happened since the last one, and it is empty. */
  const closeWhenIdle = (own: Open): Effect.Effect<void> =>
    Effect.gen(function* () {
      for (let before = -1; ;) {
        yield* idly(options.idleTimeout)
        const stats = yield* own.pool.stats
        const done = stats.borrowed + stats.failures
        const isIdle = stats.size === 0 && users === 0 && !isSuspended
        if (isIdle && done === before) {
          totals = add(totals, stats)
          break
        }
        before = done
      }
      open = undefined
      // In a fiber of its own: this one ends with the scope.
      yield* Effect.forkIn(Scope.close(own.scope, Exit.void), scope)
    })

  const borrow = <A, E, R>(f: (pool: Bare) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      users++
      return Effect.ensuring(
        Effect.suspend(() => f(current())),
        Effect.sync(() => users--)
      )
    })

  const ifOpen = <A>(f: (pool: Bare) => Effect.Effect<A>, otherwise: () => A): Effect.Effect<A> =>
    Effect.suspend(() => (open === undefined ? Effect.sync(otherwise) : f(open.pool)))

  const get: ConnectionPool["Service"]["get"] = borrow((pool) => pool.get)
  const reserve = borrow((pool) => pool.reserve)
  return {
    name: options.name,
    driver: options.driver,
    get,
    use: (f) => Effect.scoped(Effect.flatMap(get, f)),
    reserve,
    client: yield* makeClient(options.driver, { reserve, lend: (f) => borrow((pool) => pool.lend(f)) }),
    invalidate: (connection) => connection.invalidate,
    warmUp: borrow((pool) => pool.warmUp),
    resize: (next) =>
      borrow((pool) =>
        Effect.gen(function* () {
          yield* pool.resize(next)
          limits = yield* pool.stats
        })
      ),
    clear: ifOpen(
      (pool) => pool.clear,
      () => 0
    ),
    recycle: ifOpen((pool) => pool.recycle, nothing),
    suspend: borrow((pool) => {
      isSuspended = true
      return pool.suspend
    }),
    resume: Effect.suspend(() => {
      isSuspended = false
      return ifOpen((pool) => pool.resume, nothing)
    }),
    stats: Effect.map(
      ifOpen(
        (pool) => pool.stats,
        () => empty(options, limits)
      ),
      (stats) => ({ ...stats, ...add(totals, stats) })
    ),
    leases: ifOpen(
      (pool) => pool.leases,
      () => []
    ),
    events: Stream.suspend(() => {
      users++
      return Stream.ensuring(
        current().events,
        Effect.sync(() => users--)
      )
    })
  }
})

/**
 * Sleeps, in milliseconds, without keeping the process up: a program that has nothing else to wait for is to end, and it is only
 * memory that is tidied up here.
 */
const idly = (millis: number): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock)
    const isReal = clock === Context.get(Context.empty(), Clock)
    // The clock of a test has no timers, and a timer does not go further than this.
    if (!isReal || millis > longestTimer) return clock.sleep(Duration.millis(millis))
    return Effect.callback((resume) => {
      const timer = setTimeout(() => resume(Effect.void), millis)
      // Elsewhere than on Node it is a number.
      if (typeof timer === "object") timer.unref()
      return Effect.sync(() => clearTimeout(timer))
    })
  })

const longestTimer = 2 ** 31 - 1

const nothing = (): void => {}

type Totals = Pick<Pool.Stats, "created" | "destroyed" | "borrowed" | "timeouts" | "failures">

const none: Totals = { created: 0, destroyed: 0, borrowed: 0, timeouts: 0, failures: 0 }

const add = (a: Totals, b: Totals): Totals => ({
  created: a.created + b.created,
  destroyed: a.destroyed + b.destroyed,
  borrowed: a.borrowed + b.borrowed,
  timeouts: a.timeouts + b.timeouts,
  failures: a.failures + b.failures
})

const empty = (
  { max, min, name }: LazyOptions,
  limits: { readonly min: number; readonly max: number } | undefined
): Pool.Stats => ({
  name,
  min: limits?.min ?? min,
  max: limits?.max ?? max,
  size: 0,
  idle: 0,
  used: 0,
  pending: 0,
  creating: 0,
  closing: 0,
  state: "open",
  ...none
})
