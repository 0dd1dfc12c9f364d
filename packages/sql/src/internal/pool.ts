import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { ConnectionError, isSqlError, SqlError } from "effect/sql/SqlError"
import { Pool, PoolError, PoolRegistry } from "@cenote/pool"
import type { Cleanup } from "../SqlConnection.ts"
import type { SqlDriver, SqlSession } from "../SqlDriver.ts"
import { ConnectTimeout, type SqlPoolError } from "../SqlPoolError.ts"
import { type Lender, makeClient } from "./client.ts"
import { Handle } from "./handle.ts"
import { Member } from "./member.ts"
import { defaults, type Options, sharedBy } from "./options.ts"
import type { ConnectionPool } from "./service.ts"

type Service = ConnectionPool["Service"]

/** All that needs no client, and what a client needs. */
export type Bare = Omit<Service, "client"> & Lender

/** A pool of connections over sessions that `connect` opens, wherever they live. */
export const make = (
  driver: SqlDriver,
  options: Options,
  connect: Effect.Effect<SqlSession, SqlError, Scope.Scope>
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.flatMap(makeBare(driver, options, connect), (pool) =>
    Effect.map(makeClient(driver, pool), (client) => ({ ...pool, client }))
  )

/** The same without a client. */
export const makeBare = Effect.fnUntraced(function* (
  driver: SqlDriver,
  options: Options,
  connect: Effect.Effect<SqlSession, SqlError, Scope.Scope>
): Effect.fn.Return<Bare, never, Scope.Scope> {
  const name = options.name ?? driver.target
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

  const member = Effect.flatMap(connect, (session) => {
    const member = new Member({
      id: ++last,
      connectedAt: clock.currentTimeMillisUnsafe(),
      session,
      driver,
      shared: concurrency > 1,
      invalidate: (member) => Pool.invalidate(pool, member)
    })
    member.onEnd = () => void runFork(member.invalidate)
    const { ended } = member.life
    return ended === undefined ? Effect.succeed(member) : Effect.fail(ended)
  })

  const pool: Pool.Pool<Member, SqlError> = yield* Pool.make({
    name,
    acquire: member,
    ...(options.size === undefined
      ? { min: options.min, max: options.max ?? Math.max(defaults.max, options.min ?? 0) }
      : { size: options.size }),
    // The connection that was used last is warm, and the others may go (EV-35).
    order: options.order ?? "lifo",
    concurrency,
    createTimeout: connectTimeout,
    createConcurrency: options.connectConcurrency,
    createRetry: options.connectRetry,
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
  }).pipe(Effect.provideService(PoolRegistry.PoolRegistry, PoolRegistry.makeUnsafe()))

  const errorOf = (error: SqlError | PoolError.PoolError | PoolError.CreateTimeout): SqlPoolError =>
    error instanceof PoolError.CreateTimeout
      ? new ConnectTimeout({ pool: name, timeout: Duration.fromInputUnsafe(connectTimeout) })
      : error

  /** Lends until the scope closes or the handle is released, whichever comes first. */
  const get: Effect.Effect<Handle, SqlPoolError, Scope.Scope> = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const outer = yield* Effect.scope
      const loan = yield* Scope.make()
      const borrow = Effect.gen(function* () {
        const member = yield* Effect.mapError(restore(Pool.get(pool)), errorOf)
        if (concurrency === 1) return member
        // Statements of others that are on their way are waited for; none comes after them.
        yield* Pool.reserve(pool, member)
        const { exclusive } = member.session
        if (exclusive === undefined) return member
        const alone = member.over(yield* restore(exclusive))
        // Before others, who may have been lent the session already, go on with theirs.
        yield* Effect.addFinalizer(() => cleanUpAlone(alone, cleanup, cleanupTimeout))
        return alone
      })
      const [member, mark] = yield* Scope.provide(Effect.all([borrow, Pool.CurrentLoan]), loan).pipe(
        Effect.onError((cause) => Scope.close(loan, Exit.failCause(cause)))
      )
      const handle: Handle = new Handle({ member, pool: name, loan, mark, invalidate: member.invalidate })
      yield* Scope.addFinalizer(outer, handle.release())
      return yield* marked(handle)
    })
  )

  const self: Bare = {
    name,
    driver,
    get,
    use: (f) => Effect.scoped(Effect.flatMap(get, f)),
    reserve: Effect.mapError(get, toSqlError),
    lend: (f) =>
      Effect.mapError(Pool.use(pool, f), (error): any =>
        isPoolError(error) ? toSqlError(errorOf(error)) : error
      ),
    invalidate: (connection) => connection.invalidate,
    warmUp: Effect.mapError(Pool.warmUp(pool), errorOf),
    resize: (limits) => Pool.resize(pool, limits),
    clear: Pool.clear(pool),
    recycle: Pool.recycle(pool),
    suspend: Pool.suspend(pool),
    resume: Pool.resume(pool),
    stats: Pool.stats(pool),
    leases: Effect.map(Pool.leases(pool), (leases) =>
      leases.map(({ item, ...lease }) => ({ ...lease, item: { connectedAt: item.connectedAt } }))
    ),
    events: Pool.events(pool)
  }
  yield* PoolRegistry.register({
    kind: "connections",
    name,
    stats: self.stats,
    leases: self.leases,
    events: self.events
  })
  return self
})

/** Leaves the mark of the loan in its fiber, which the end of the loan's own scope has taken away. */
const marked = (handle: Handle): Effect.Effect<Handle> =>
  Effect.withFiber((fiber) => {
    fiber.setContext(Context.add(fiber.context, Pool.CurrentLoan, handle.mark))
    return Effect.succeed(handle)
  })

/** Makes a connection that came back ready for the next borrower. */
const cleanUp = (member: Member, usual: Cleanup): Effect.Effect<unknown, unknown> => {
  const { life, state } = member
  const cleanup = state.cleanup ?? usual
  state.cleanup = undefined
  if (life.ended !== undefined) return Effect.fail(life.ended)
  const { settling } = member.session
  const undo = undoing(member, cleanup)
  return settling === undefined ? undo : Effect.andThen(settling, undo)
}

const undoing = (member: Member, cleanup: Cleanup): Effect.Effect<unknown, unknown> => {
  if (typeof cleanup === "function") return cleanup(member)
  if (cleanup === "none") return Effect.void
  const rollback = member.state.mayBeOpen ? member.rollback : Effect.void
  return cleanup === "reset" ? Effect.andThen(rollback, member.reset) : rollback
}

/** The same where others are waiting for the session: the pool closes it only when all have returned it. */
const cleanUpAlone = (member: Member, usual: Cleanup, timeout: Duration.Input): Effect.Effect<void> => {
  if (member.life.ended !== undefined) return Effect.void
  return cleanUp(member, usual).pipe(
    Effect.timeout(timeout),
    Effect.catchCause((cause) =>
      Effect.all([
        Effect.logWarning("a connection could not be cleaned up, and is closed", cause),
        member.invalidate,
        Effect.ignore(Effect.timeout(member.rollback, timeout))
      ])
    ),
    Effect.asVoid
  )
}

const isPoolError = (error: unknown): error is PoolError.PoolError | PoolError.CreateTimeout =>
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
