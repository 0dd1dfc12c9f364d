// What the tests of drivers are made with: the places where connections can live, a driver that does what a test says, and
// ways to wait for what happens on a server or in a thread.
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Pool } from "@cenote/pool"
import {
  ConnectionPool,
  RawConnectionPool,
  type SqlConnection,
  type SqlDriver,
  TpooledConnectionPool
} from "@cenote/sql"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import type { Database, Dialect, Kind, Options } from "./model.ts"

// -----------------------------------------------------------------------------
// Where tests run
// -----------------------------------------------------------------------------

/** What all tests of one database have in common. */
export interface Ground<Services> {
  readonly database: Database<Services>
  readonly dialect: Dialect
  /** A connection of no pool, to look at the database with. */
  readonly observer: Connection
  readonly threads: Context.Context<ThreadPool.ThreadPool>
  /** How many sessions there are at the database that belong to the test. */
  readonly sessions: Effect.Effect<number>
}

/** Those that only pools on the calling thread have are for tests of these alone. */
export type PoolOptions = RawConnectionPool.Options

/** What a test has: a pool, what it is made with, and what can be done with it. */
export interface Tools<Services> extends Ground<Services> {
  readonly kind: Kind
  readonly pool: ConnectionPool.Service
  readonly sql: SqlClient
  readonly services: Context.Context<ConnectionPool.ConnectionPool | SqlClient | Services>
  /** The driver of the pool obeys it. */
  readonly steer: Steering
  /** Another pool, until the scope closes. */
  readonly open: (
    options?: PoolOptions,
    driver?: SqlDriver.SqlDriver<Services>
  ) => Effect.Effect<Tools<Services>, SqlError, Scope.Scope>
  /** A new table; gives its name. */
  readonly table: (columns: string) => Effect.Effect<string>
  /** Waits until the statistics of the pool are so. */
  readonly stats: (wanted: Partial<Pool.Stats>) => Effect.Effect<void>
  /** What was logged from warnings upwards. A test fails where something was that it has not asked for. */
  readonly warnings: Effect.Effect<ReadonlyArray<Line>>
}

type Provided<Services> = Scope.Scope | ConnectionPool.ConnectionPool | SqlClient | Services

/** The steps of a test. */
type Body<Services> = (tools: Tools<Services>) => Generator<Effect.Effect<any, any, Provided<Services>>, void>

type Register<Services> = (title: string, options: PoolOptions, body: Body<Services>) => void

/** What the tests of one kind of pool are registered with. */
export interface Bench<Services> {
  readonly kind: Kind
  readonly dialect: Dialect
  readonly ground: () => Ground<Services>
  /** A test over a pool of its own, in real time. */
  readonly test: Register<Services>
  /** The same, where time passes when the test says so. */
  readonly simulated: Register<Services>
}

/** Everything that a database is tested with, from before its first test until after its last. */
export const makeGround = <Services>(
  options: Options<Services>
): Effect.Effect<Ground<Services>, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { dialect } = options
    const database = yield* options.database
    const driver = database.driver()
    const observer = dialect.server === undefined ? fleeting(driver) : yield* driver.connect({})
    const threads = yield* Layer.build(
      NodeThreads.layer({ size: 2, name: "conformance", preload: [driver.worker.url] })
    )
    const { server } = dialect
    const sessions =
      database.sessions ??
      (server === undefined
        ? Effect.succeed(0)
        : Effect.map(Effect.orDie(observer.execute(server.sessions, [], undefined)), (rows) => rows.length))
    return { database, dialect, observer, threads, sessions }
  })

/**
 * A connection for each statement: a database in the process may keep files open for as long as any connection has a lock,
 * and is then not to be seen to have closed another.
 */
const fleeting = (driver: Pick<SqlDriver.SqlDriver, "connect">): Connection => {
  const run = <A>(f: (session: Connection) => Effect.Effect<A, SqlError>) =>
    Effect.scoped(Effect.flatMap(driver.connect({}), f))
  return {
    execute: (...args) => run((session) => session.execute(...args)),
    executeRaw: (...args) => run((session) => session.executeRaw(...args)),
    executeValues: (...args) => run((session) => session.executeValues(...args)),
    executeValuesUnprepared: (...args) => run((session) => session.executeValuesUnprepared(...args)),
    executeUnprepared: (...args) => run((session) => session.executeUnprepared(...args)),
    executeStream: (...args) =>
      Stream.unwrap(Effect.map(driver.connect({}), (session) => session.executeStream(...args)))
  }
}

/** In real time, on a machine that may be busy: what a test does not look at does not come into its way. */
const patient: PoolOptions = { connectTimeout: "1 minute", maxAge: "1 hour", maxIdle: "1 hour" }

export const makeBench = <Services>(
  kind: Kind,
  options: Options<Services>,
  ground: () => Ground<Services>
): Bench<Services> => {
  const program =
    (options: PoolOptions, body: Body<Services>, usual: PoolOptions) =>
    (): Effect.Effect<void, unknown, Scope.Scope> =>
      Effect.suspend(() => run(kind, ground(), usual, options, body))
  return {
    kind,
    dialect: options.dialect,
    ground,
    test: (title, options, body) => it.live(title, program(options, body, patient)),
    simulated: (title, options, body) => it.effect(title, program(options, body, {}))
  }
}

/** Runs a test. When its pools have closed, nothing of them may be left. */
const run = Effect.fnUntraced(function* <Services>(
  kind: Kind,
  ground: Ground<Services>,
  usual: PoolOptions,
  options: PoolOptions,
  body: Body<Services>
) {
  const log = makeLog()
  // What an earlier test may have left is not this one's.
  const others = yield* ground.sessions
  const sessions = Effect.map(ground.sessions, (all) => Math.max(0, all - others))
  yield* Effect.scoped(
    Effect.gen(function* () {
      const tools = yield* openLogged(kind, { ...ground, sessions }, log, usual, options, undefined)
      yield* Effect.provideContext(
        Effect.gen(() => body(tools)) as Effect.Effect<void, unknown, Provided<Services>>,
        Context.merge(yield* Effect.context<Scope.Scope>(), tools.services)
      )
    })
  ).pipe(Effect.provide(log.layer))
  yield* eventually(
    "no session is left at the database",
    Effect.map(sessions, (left) => left === 0)
  )
  yield* eventually(
    "no object is left in the threads",
    Effect.map(Effect.provideContext(ThreadPool.stats, ground.threads), ({ threads }) =>
      threads.every(({ objects, running }) => objects === 0 && running === 0)
    )
  )
  const unasked = log.take()
  expect(unasked, "what was logged, and not asked for").toEqual([])
})

/** A pool, until the scope closes. */
export const open = <Services>(
  kind: Kind,
  ground: Ground<Services>,
  options: PoolOptions,
  driver?: SqlDriver.SqlDriver<Services>
): Effect.Effect<Tools<Services>, SqlError, Scope.Scope> =>
  openLogged(kind, ground, makeLog(), patient, options, driver)

const openLogged = Effect.fnUntraced(function* <Services>(
  kind: Kind,
  ground: Ground<Services>,
  log: Log,
  usual: PoolOptions,
  options: PoolOptions,
  driver: SqlDriver.SqlDriver<Services> | undefined
): Effect.fn.Return<Tools<Services>, SqlError, Scope.Scope> {
  const steer = new Steering()
  const steered = steer.over(driver ?? ground.database.driver())
  const layer =
    kind === "raw"
      ? RawConnectionPool.layer(steered, { ...usual, ...options })
      : Layer.provide(
          TpooledConnectionPool.layer(steered, { ...usual, ...options }),
          Layer.succeedContext(ground.threads)
        )
  const services: Context.Context<ConnectionPool.ConnectionPool | SqlClient | Services> =
    yield* Layer.build(layer)
  const pool = Context.get(services, ConnectionPool.ConnectionPool)
  return {
    ...ground,
    kind,
    pool,
    sql: Context.get(services, SqlClient),
    services,
    steer,
    open: (options = {}, driver) => openLogged(kind, ground, log, usual, options, driver),
    table: (columns) => makeTable(ground.observer, columns),
    stats: (wanted) =>
      eventually(
        `the pool's statistics are ${JSON.stringify(wanted)}`,
        Effect.map(pool.stats, (stats) =>
          Object.entries(wanted).every(([key, value]) => (stats as any)[key] === value)
        ),
        pool.stats
      ),
    warnings: Effect.sync(log.take)
  }
})

let tables = 0

const makeTable = (connection: Connection, columns: string): Effect.Effect<string> =>
  Effect.suspend(() => {
    const name = `table_${++tables}`
    return Effect.orDie(
      Effect.as(connection.execute(`create table ${name} (${columns})`, [], undefined), name)
    )
  })

// -----------------------------------------------------------------------------
// A driver that obeys
// -----------------------------------------------------------------------------

/** Says what becomes of attempts to connect, and of closing, wherever connections live; and counts them. */
class Steering {
  /** Attempts to connect, whatever became of them. */
  attempts = 0
  /** Attempts that have ended in some way other than with a connection, and connections that are closed. */
  ended = 0
  /** What each attempt does first; its argument counts attempts from 1. */
  plan: (attempt: number) => Effect.Effect<unknown, SqlError> = () => Effect.void
  /** What is done after a session is closed. */
  closing: Effect.Effect<unknown> = Effect.void
  /** Whether attempts cannot be interrupted. */
  stubborn = false

  over<Services>(driver: SqlDriver.SqlDriver<Services>): SqlDriver.SqlDriver<Services> {
    const first = Effect.suspend(() => this.plan(++this.attempts)).pipe(
      Effect.andThen(
        Effect.addFinalizer(() =>
          Effect.andThen(
            Effect.sync(() => this.ended++),
            Effect.suspend(() => this.closing)
          )
        )
      )
    )
    const obeying = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const both = Effect.andThen(first, effect)
        return this.stubborn ? Effect.uninterruptible(both) : both
      })
    return {
      ...driver,
      connect: (options) => obeying(driver.connect(options)),
      worker: {
        url: driver.worker.url,
        // It is asked for as a connection is opened, in the scope of that connection.
        config: obeying(driver.worker.config) as Effect.Effect<unknown, SqlError>
      }
    }
  }
}

// -----------------------------------------------------------------------------
// Waiting
// -----------------------------------------------------------------------------

/** How long a test waits at most for what must happen, in milliseconds. */
const bound = 30_000

/** A pause in real time, whatever the clock of the test says. */
export const pause = (millis: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

/** Waits until something holds. Dies when it does not come to hold, and says how things are. */
export const eventually = <E = never, R = never>(
  what: string,
  holds: (() => boolean) | Effect.Effect<boolean, E, R>,
  state: Effect.Effect<unknown> = Effect.undefined
): Effect.Effect<void, E, R> =>
  Effect.gen(function* () {
    const until = performance.now() + bound
    while (!(yield* typeof holds === "function" ? Effect.sync(holds) : holds)) {
      if (performance.now() > until) {
        const found = JSON.stringify(yield* state)
        yield* Effect.die(
          new Error(
            `it did not come about within ${bound} ms: ${what}${found === undefined ? "" : `. It is ${found}`}`
          )
        )
      }
      yield* pause(3)
    }
  })

/** Ends an effect that should have been over for long. In real time. */
export const within = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.raceFirst(
    effect,
    Effect.andThen(pause(bound), Effect.die(new Error(`it was not over within ${bound} ms: ${what}`)))
  )

/** Lets all fibers go on that can, until they wait for something. No time passes. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 40 })

/** Starts an effect that ends with the scope at the latest. */
export const start = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.Fiber<A, E>, never, R | Scope.Scope> =>
  Effect.forkScoped(effect, { startImmediately: true })

/** Counts the timers of what is made under its watch: those that are running now. */
export class Timers {
  running = 0

  readonly watch = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Clock.clockWith((clock) => {
      const sleep: Clock.Clock["sleep"] = (duration) =>
        Effect.suspend(() => {
          this.running++
          return Effect.ensuring(
            clock.sleep(duration),
            Effect.sync(() => this.running--)
          )
        })
      const watched = new Proxy(clock, {
        get: (_, key) => (key === "sleep" ? sleep : Reflect.get(clock, key))
      })
      return Effect.provideService(effect, Clock.Clock, watched)
    })
}

/** What a database has to say of itself, for the tests that its dialect makes possible. */
export const stated = <A>(value: A | undefined, name: string): A => {
  if (value === undefined)
    throw new Error(`the tests need to know the ${name} of the database: add it to what \`database\` gives`)
  return value
}

// -----------------------------------------------------------------------------
// Outcomes
// -----------------------------------------------------------------------------

/** What an effect failed with. Whatever else it ends in fails the test. */
export const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit))
      throw new Error(`it succeeded, where it should have failed: ${String(exit.value)}`)
    const reason = exit.cause.reasons.find(Cause.isFailReason)
    if (reason === undefined) {
      throw new Error(`it did not fail, where it should have: ${Cause.pretty(exit.cause)}`)
    }
    return reason.error
  })

/** The same, for what the database says; gives the reason. */
export const sqlFailure = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<SqlError["reason"], never, R> =>
  Effect.map(failureOf(effect), (error) => {
    if (isSqlError(error)) return error.reason
    throw new Error(`it should have failed with a SqlError, and failed with ${String(error)}`)
  })

// -----------------------------------------------------------------------------
// Logs
// -----------------------------------------------------------------------------

/** A line of the log. */
interface Line {
  readonly level: string
  readonly text: string
  readonly cause: string
}

interface Log {
  readonly layer: Layer.Layer<never>
  /** The lines since the last time. */
  readonly take: () => ReadonlyArray<Line>
}

const makeLog = (): Log => {
  let lines: Array<Line> = []
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    if (logLevel !== "Warn" && logLevel !== "Error" && logLevel !== "Fatal") return
    lines.push({
      level: logLevel,
      text: (Array.isArray(message) ? message : [message])
        .map((part) => (typeof part === "string" ? part : JSON.stringify(part)))
        .join(" "),
      cause: cause.reasons.length === 0 ? "" : Cause.pretty(cause)
    })
  })
  return {
    layer: Logger.layer([logger]),
    take: () => {
      const taken = lines
      lines = []
      return taken
    }
  }
}

// -----------------------------------------------------------------------------
// Statements
// -----------------------------------------------------------------------------

/** The rows of a statement on a connection. */
export const rowsOf = (
  connection: Connection,
  sql: string,
  params: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<any>, SqlError> => connection.execute(sql, params, undefined)

/** The one value of the one row of a statement. */
export const valueOf = (connection: Connection, sql: string): Effect.Effect<any, SqlError> =>
  Effect.map(connection.executeValues(sql, []), (rows) => {
    expect(rows, sql).toHaveLength(1)
    return rows[0]![0]
  })

/** How many rows a table has. */
export const countOf = (connection: Connection, table: string): Effect.Effect<number, SqlError> =>
  Effect.map(valueOf(connection, `select count(*) from ${table}`), Number)

/** Which session of the database a connection is. */
export const sessionOf = (
  { dialect }: { readonly dialect: Dialect },
  connection: SqlConnection.SqlConnection
): Effect.Effect<number, SqlError> =>
  dialect.server === undefined
    ? Effect.succeed(connection.id)
    : Effect.map(valueOf(connection, `select ${dialect.server.sessionId}`), Number)

/** Waits until so many sessions run a statement. */
export const busy = ({ dialect, observer }: Pick<Ground<any>, "dialect" | "observer">, sessions: number) => {
  const { server } = dialect
  return server === undefined
    ? Effect.void
    : eventually(
        `${sessions} sessions run a statement`,
        Effect.map(rowsOf(observer, server.busy), (rows) => rows.length === sessions)
      )
}

export { describe, expect, it }
