import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import { Pool, PoolError, PoolRegistry } from "@cenote/pool"
import type { SqlDriver, SqlSession } from "../SqlDriver.ts"
import { ConnectTimeout, type SqlPoolError } from "../SqlPoolError.ts"
import { cleanUp, cleanUpAlone } from "./cleanup.ts"
import { type Lender, makeClient } from "./client.ts"
import { Handle } from "./handle.ts"
import { Member } from "./member.ts"
import { check, defaults, type Options, sharedBy } from "./options.ts"
import type { ConnectionPool } from "./service.ts"

type Service = ConnectionPool["Service"]

/** All that needs no client, and what a client needs. */
export type Bare = Omit<Service, "client"> & Lender

/** Opens a session. Within `connectTimeout`, or without a limit where what it does keeps to one itself. */
export interface Connect {
  readonly open: Effect.Effect<SqlSession, SqlError | ConnectTimeout, Scope.Scope>
  readonly isLimited: boolean
}

/** On the calling thread. */
export const connectRaw = (driver: SqlDriver, options: Options): Connect => ({
  open: driver.connect({ multiplex: options.multiplex !== undefined && options.multiplex !== false }),
  isLimited: false
})

/** A pool of connections over sessions that `connect` opens, wherever they live. */
export const make = (
  driver: SqlDriver,
  options: Options,
  connect: Connect
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.flatMap(makeBare(driver, options, connect), (pool) =>
    Effect.map(makeClient(driver, pool), (client) => ({ ...pool, client }))
  )

/** The same without a client. */
export const makeBare = Effect.fnUntraced(function* (
  driver: SqlDriver,
  options: Options,
  connect: Connect
): Effect.fn.Return<Bare, never, Scope.Scope> {
  const name = options.name ?? driver.target
  check(name, options)
  const connectTimeout = options.connectTimeout ?? defaults.connectTimeout
  const { cleanup = "rollback", cleanupTimeout = defaults.cleanupTimeout } = options
  const concurrency = sharedBy(options)
  if (concurrency > 1 && driver.canMultiplex !== true) {
    throw new TypeError(
      `multiplex is set for pool ${JSON.stringify(name)}, but connections of ${driver.name} in this kind of pool run one ` +
        "statement after the other. Leave it out, or use RawConnectionPool with a driver that can (PostgreSQL)"
    )
  }
  const clock = yield* Clock
  const runFork = Effect.runForkWith(yield* Effect.context())
  let last = 0

  /**
   * What was sent ahead of others cannot be called back, and a cancel could hit theirs. So nobody else is to wait behind it: a
   * session that is not soon through with all that was sent leaves the pool, when those who share it have their results.
   */
  const passed = (member: Member): Effect.Effect<void> => {
    const { exclusive } = member.session
    if (exclusive === undefined) return member.invalidate
    // Whoever waits to have a session alone may not be able to give up: that ends with the session at the latest.
    const isThrough = Effect.forkDetach(Effect.scoped(exclusive), { startImmediately: true }).pipe(
      Effect.flatMap((waiting) => Effect.timeoutOption(Fiber.await(waiting), longestPass)),
      // The server does not wait for the clock of a test.
      Effect.provideService(Clock, Clock.defaultValue())
    )
    return Effect.scoped(
      Effect.andThen(
        Pool.reserve(pool, member),
        Effect.flatMap(isThrough, (done) => (Option.isSome(done) ? Effect.void : member.invalidate))
      )
    )
  }

  const member = Effect.flatMap(connect.open, (session) => {
    const member = new Member({
      id: ++last,
      connectedAt: clock.currentTimeMillisUnsafe(),
      session,
      driver,
      shared: concurrency > 1,
      cleanupTimeout,
      // A session may be there before the pool is.
      invalidate: (member) => Effect.suspend(() => Pool.invalidate(pool, member))
    })
    member.attend()
    member.onEnd = () => void runFork(member.invalidate)
    member.onAbandon = () => void runFork(passed(member))
    const { ended } = member.life
    return ended === undefined ? Effect.succeed(member) : Effect.fail(ended)
  })

  const connectError = (
    error: SqlError | ConnectTimeout | PoolError.CreateTimeout
  ): SqlError | ConnectTimeout =>
    error instanceof PoolError.CreateTimeout
      ? new ConnectTimeout({ pool: name, timeout: Duration.fromInputUnsafe(connectTimeout) })
      : error
  const errorOf = (error: SqlPoolError | PoolError.CreateTimeout): SqlPoolError =>
    error instanceof PoolError.CreateTimeout ? connectError(error) : error

  const retry =
    options.connectRetry === undefined
      ? undefined
      : Schedule.fromStep(
          Effect.map(
            Schedule.toStep(options.connectRetry),
            (step) => (now: number, error: SqlError | ConnectTimeout | PoolError.CreateTimeout) =>
              step(now, connectError(error))
          )
        )

  const pool: Pool.Pool<Member, SqlError | ConnectTimeout> = yield* Pool.make({
    name,
    acquire: member,
    ...(options.size === undefined
      ? { min: options.min, max: options.max ?? Math.max(defaults.max, options.min ?? 0) }
      : { size: options.size }),
    // The connection that was used last is warm, and the others may go (EV-35).
    order: options.order ?? "lifo",
    concurrency,
    createTimeout: connect.isLimited ? undefined : connectTimeout,
    createConcurrency: options.connectConcurrency,
    createRetry: retry,
    acquireTimeout: options.acquireTimeout,
    maxWaiting: options.maxWaiting,
    maxIdle: options.maxIdle ?? defaults.maxIdle,
    maxAge: options.maxAge ?? defaults.maxAge,
    maxAgeJitter: options.maxAgeJitter,
    maxUses: options.maxUses,
    validate: (member) => Effect.as(member.ping, true),
    validateAfterIdle: options.validateAfterIdle,
    validateTimeout: options.validateTimeout,
    keepAlive: options.keepAlive,
    reset: (member) => cleanUp(member, cleanup),
    resetTimeout: cleanupTimeout,
    leakAfter: options.leakAfter,
    closeTimeout: options.closeTimeout
  }).pipe(
    Effect.updateService(PoolRegistry.PoolRegistry, (registry) => ({
      ...registry,
      // It registers before the first connection is made, and what there is to see of one is not what is in it.
      register: (pool) =>
        registry.register({
          ...pool,
          kind: "connections",
          leases: (limit) => Effect.map(pool.leases(limit), shown)
        })
    }))
  )

  /** Borrows into a scope of its own, so that another can be taken where the connection is found to have ended. */
  const borrow = (loan: Scope.Closeable): Effect.Effect<Borrowed, SqlPoolError> =>
    Effect.provideService(
      Effect.flatMap(Pool.getAlone(pool), (member) =>
        // What marks the loan is of the fiber's context, and only in here.
        Effect.withFiber((fiber) => Effect.succeed({ member, mark: fiber.getRef(Pool.CurrentLoan) }))
      ),
      Scope.Scope,
      loan
    ).pipe(Effect.mapError(errorOf))

  /** Lends until the scope closes or the handle is released, whichever comes first. */
  const get: Effect.Effect<Handle, SqlPoolError, Scope.Scope> = Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) =>
      getFor(Context.getUnsafe(fiber.context, Scope.Scope), restore, new Patience(last))
    )
  )

  const getFor = (
    scope: Scope.Scope,
    restore: Restore,
    patience: Patience
  ): Effect.Effect<Handle, SqlPoolError> => {
    const loan = Scope.makeUnsafe()
    return Effect.flatMap(
      closedOnFailure(restore(borrow(loan)), loan),
      (borrowed): Effect.Effect<Handle, SqlPoolError> => {
        const { member } = borrowed
        if (member.isOver) {
          // Nothing has run on it.
          const returned = Effect.andThen(member.invalidate, Scope.close(loan, Exit.void))
          const problem = patience.afterEnded(member)
          return Effect.andThen(
            returned,
            problem === undefined ? getFor(scope, restore, patience) : Effect.fail(problem)
          )
        }
        const { exclusive } = member.session
        if (concurrency === 1 || exclusive === undefined) return hold(borrowed, scope, loan)
        const shared = closedOnFailure(restore(alone(borrowed, exclusive, loan)), loan)
        return Effect.flatMap(shared, (borrowed) =>
          Effect.andThen(
            // Before others, who may have been lent the session already, go on with theirs.
            Scope.addFinalizer(loan, cleanUpAlone(borrowed.member, cleanup, cleanupTimeout)),
            hold(borrowed, scope, loan)
          )
        )
      }
    )
  }

  const hold = (
    { mark, member }: Borrowed,
    scope: Scope.Scope,
    loan: Scope.Closeable
  ): Effect.Effect<Handle> => {
    const handle = new Handle({ member, pool: name, loan, mark })
    return Effect.andThen(handle.endWith(scope), marked(handle))
  }

  const lend: Bare["lend"] = (f) => Effect.suspend(() => lendFor(f, new Patience(last)))

  const lendFor = <A, E, R>(
    f: (connection: Connection) => Effect.Effect<A, E, R>,
    patience: Patience
  ): Effect.Effect<A, E | SqlError, R> =>
    Pool.use(pool, (member): Effect.Effect<A, E | SqlError | typeof over, R> => {
      if (!member.isOver) return f(member)
      const problem = patience.afterEnded(member)
      return Effect.andThen(member.invalidate, Effect.fail(problem ?? over))
    }).pipe(
      Effect.catch((error): Effect.Effect<A, E | SqlError, R> => {
        if (error === over) return lendFor(f, patience)
        return Effect.fail(isOwn(error) ? toSqlError(errorOf(error)) : error)
      })
    )

  const self: Bare = {
    name,
    driver,
    get,
    use: (f) => Effect.scoped(Effect.flatMap(get, f)),
    reserve: Effect.mapError(get, toSqlError),
    lend,
    invalidate: (connection) => connection.invalidate,
    warmUp: Effect.mapError(Pool.warmUp(pool), errorOf),
    resize: (limits) => Pool.resize(pool, limits),
    clear: Pool.clear(pool),
    recycle: Pool.recycle(pool),
    suspend: Pool.suspend(pool),
    resume: Pool.resume(pool),
    stats: Pool.stats(pool),
    leases: Effect.map(Pool.leases(pool), shown),
    events: Pool.events(pool)
  }
  return self
})

/** Statements of others that are on their way are waited for; none comes after them. */
const alone = (
  { mark, member }: Borrowed,
  exclusive: Effect.Effect<SqlSession, never, Scope.Scope>,
  loan: Scope.Closeable
): Effect.Effect<Borrowed> =>
  Effect.map(Scope.provide(exclusive, loan), (session) => ({ member: member.over(session), mark }))

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Gives back what was lent if there is nobody to have it. */
const closedOnFailure = <A, E>(effect: Effect.Effect<A, E>, loan: Scope.Closeable): Effect.Effect<A, E> =>
  Effect.onExitPrimitive(effect, (exit) =>
    exit._tag === "Failure" ? Scope.closeUnsafe(loan, exit) : undefined
  )

interface Borrowed {
  readonly member: Member
  /** By which the pool finds a borrow that can never be served. */
  readonly mark: Pool.CurrentLoan | undefined
}

/** How long a session that has an interrupted statement on it is kept from others before it is given up, in milliseconds. */
const longestPass = 50

const over: unique symbol = Symbol("over")

/** Connections made while one borrower waits that may have ended before it has them. */
const mostEnded = 3

/**
 * How often one borrower asks again where it gets a connection that has ended. Those that were there before it came are used up
 * some time; but a server that ends each new one would have it connect for ever, whatever `acquireTimeout` is.
 */
class Patience {
  private ended = 0
  private readonly newest: number

  /** `newest`: the number of the connection that was made last before it came. */
  constructor(newest: number) {
    this.newest = newest
  }

  /** Why it is to give up, if it is. */
  afterEnded(member: Member): SqlError | undefined {
    if (member.id <= this.newest || ++this.ended < mostEnded) return undefined
    if (member.life.ended !== undefined) return member.life.ended
    const message = "the connection ended as soon as it was made"
    return new SqlError({
      reason: new ConnectionError({ cause: new Error(message), message, operation: "acquireConnection" })
    })
  }
}

const shown = (
  leases: ReadonlyArray<Pool.Lease<unknown>>
): ReadonlyArray<Pool.Lease<{ readonly connectedAt: number }>> =>
  leases.map((lease) => ({ ...lease, item: { connectedAt: (lease.item as Member).connectedAt } }))

/** Leaves the mark of the loan in its fiber, which the end of the loan's own scope has taken away. */
const marked = (handle: Handle): Effect.Effect<Handle> =>
  Effect.withFiber((fiber) => {
    fiber.setContext(Context.add(fiber.context, Pool.CurrentLoan, handle.mark))
    return Effect.succeed(handle)
  })

const isOwn = (error: unknown): error is PoolError.PoolError | PoolError.CreateTimeout | ConnectTimeout =>
  error instanceof ConnectTimeout ||
  error instanceof PoolError.AcquireTimeout ||
  error instanceof PoolError.LineFull ||
  error instanceof PoolError.PoolClosed ||
  error instanceof PoolError.ValidationFailed ||
  error instanceof PoolError.CreateTimeout ||
  error instanceof PoolError.WouldDeadlock

/** What a `SqlClient` says when it got no connection; the pool's own error is its cause. */
export const toSqlError = (error: SqlPoolError): SqlError =>
  isSqlError(error)
    ? error
    : new SqlError({
        reason: new ConnectionError({
          cause: error,
          message: error.message,
          operation: "acquireConnection"
        })
      })
