// The programs on connection pools, and what must hold when each has ended.
import { ConnectionPool, RawConnectionPool, type SqlPoolError } from "@cenote/sql"
import type { MariaDb, Postgres, ServerError } from "@cenote/testing/TestServers"
import { NodeThreads, type ThreadError } from "@cenote/threads"
import { Effect, type FileSystem, type Path, type PlatformError, Schedule } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { expectations, problems, problemsOfLoans } from "../checks.ts"
import { heldUp, type Tick, ticking } from "../loop.ts"
import { type Figures, observe } from "../observe.ts"
import { observeThreads } from "../threads/observe.ts"
import { connectionPool } from "./connectionPool.ts"
import { databaseConnector } from "./databaseConnector.ts"
import { type Database, type Kind, mariadb, postgres, readColumn, sqlite } from "./databases.ts"
import { piecesAtFirst, type Secrets, Shops } from "./shops.ts"

/** What any of these programs may need. */
export type Needs = Postgres | MariaDb | FileSystem.FileSystem | Path.Path

export interface Program<R> {
  readonly title: string
  /** What there is to see, in a line. */
  readonly shows: string
  /** Runs it, and looks at what it left behind. */
  readonly run: Effect.Effect<Outcome, Failure, R>
}

type Failure =
  | SqlPoolError.SqlPoolError
  | SqlPoolError.UnknownHost
  | ThreadError.ThreadError
  | ServerError
  | PlatformError.PlatformError

export interface Outcome {
  readonly title: string
  /** The pools of connections. */
  readonly pools: ReadonlyArray<Figures>
  /** What the program was told is committed. */
  readonly committed: number
  /** What of it the database does not have. */
  readonly lost: number
  /** The timers of the main loop meanwhile. */
  readonly ticks: ReadonlyArray<Tick>
  /** What does not hold, each in a sentence. */
  readonly broken: ReadonlyArray<string>
}

// -----------------------------------------------------------------------------
// One pool on one database
// -----------------------------------------------------------------------------

/** What a program on one pool gives. */
interface Told {
  /** The ids of what it committed. */
  readonly committed: ReadonlyArray<string>
  /** How many of its sessions the server ended. */
  readonly ended: number
}

export type OnPool = Effect.Effect<Told, Failure, SqlClient | ConnectionPool.ConnectionPool>

/** Connections of a pool, and the threads that they live in. */
const max = 3
/** Patience with machines that have much else to do. */
const connectTimeout = "30 seconds"

/** With the connections on the main thread. */
export const raw = <R>(kind: Kind<R>, program: OnPool = connectionPool): Program<R> => {
  const title = `Raw Connection Pool on ${kind.name}`
  const run = Effect.gen(function* () {
    const database = yield* kind.make
    const pool = RawConnectionPool.layer(database.driver, { name: "raw", max, connectTimeout })
    const { pools, result } = yield* observe(ticking(Effect.provide(program, pool)))
    return yield* outcome(title, database, { ...result, pools, broken: [] })
  })
  return { title, shows: "Four workers share three connections", run: Effect.scoped(run) }
}

/** With the connections in threads. */
export const tpooled = <R>(kind: Kind<R>, program: OnPool = connectionPool): Program<R> => {
  const title = `Tpooled Connection Pool on ${kind.name}`
  const run = Effect.gen(function* () {
    const database = yield* kind.make
    const pool = ConnectionPool.layer(database.driver, { name: "tpooled", max, connectTimeout })
    const threads = NodeThreads.layer({ name: "threads", size: max, preload: [database.driver.worker.url] })
    const observed = yield* observeThreads(Effect.provide(program, pool), threads)
    const { atRest, calls, left, ticks } = observed
    const broken = expectations({
      [`${atRest.running} calls still run`]: atRest.running === 0,
      [`${left} threads are left`]: left === 0,
      ...heldUp(calls, ticks)
    })
    return yield* outcome(title, database, { ...observed, broken })
  })
  const shows = "The same program, and each connection lives in a thread"
  return { title, shows, run: Effect.scoped(run) }
}

const outcome = Effect.fnUntraced(function* (
  title: string,
  { driver, open }: Database,
  seen: {
    readonly result: Told
    readonly pools: ReadonlyArray<Figures>
    readonly ticks: ReadonlyArray<Tick>
    readonly broken: ReadonlyArray<string>
  }
) {
  const { committed, ended } = seen.result
  const pools = seen.pools.filter((_) => _.kind === "connections")
  // A server notices a moment later that a session has hung up.
  const left = yield* Effect.repeat(open, { until: (count) => count === 0, ...patiently })
  const found = yield* readColumn(driver, "select id from audit_log")
  const names = yield* readColumn(driver, "select name from users order by name")
  const lost = committed.filter((id) => !found.includes(id)).length
  const broken = [
    ...(pools.length === 1 ? [] : [`there were ${pools.length} pools of connections, not 1`]),
    ...seen.pools.flatMap(problems),
    ...pools.flatMap(problemsOfLoans),
    ...seen.broken,
    ...expectations({
      [`${lost} committed transactions are lost`]: lost === 0,
      [`the database has ${found.length} transactions of which ${committed.length} were reported`]:
        found.length === committed.length,
      [`the users are ${names.join(", ")}`]: names.join() === everybody,
      [`${left} connections are left open`]: left === 0,
      [`${ended} sessions were ended, and not that many replaced`]: pools.every((_) => _.replaced >= ended)
    })
  ]
  return { title, pools, committed: committed.length, lost, ticks: seen.ticks, broken } satisfies Outcome
})

const patiently = { schedule: Schedule.spaced("20 millis"), times: 200 }

/** The five of the beginning, and the two that are inserted; not the one that is never committed. */
const everybody = "Alice,Bob,Charlie,Diana,Eve,Frank,Grace"

// -----------------------------------------------------------------------------
// A pool for each database
// -----------------------------------------------------------------------------

/** What a program on both databases gives. */
interface Ordered {
  /** The ids of the orders that it placed. */
  readonly committed: ReadonlyArray<string>
  /** The passwords that were valid before it had them changed. */
  readonly before: Secrets
}

type OnShops = Effect.Effect<Ordered, Failure, Shops>

export const connector = (program: OnShops = databaseConnector): Program<Postgres> => {
  const title = "Database Connector"
  const run = Effect.gen(function* () {
    const { pools, result } = yield* observe(ticking(program))
    const { query } = yield* Shops
    const { before, committed } = result.result
    const orders = yield* query("clerk", "select id, clerk, backend from orders")
    const [stock] = yield* query("keeper", "select sum(pieces)::int as pieces from stock")
    const sessions = query(
      "clerk",
      "select count(*)::int as open from pg_stat_activity where application_name = 'connector'"
    )
    const [left] = yield* Effect.repeat(sessions, { until: ([row]) => row?.["open"] === 0, ...patiently })
    const old = yield* Effect.exit(query("clerk", "select 1", before))

    const placed = orders.map((_) => _["id"])
    const lost = committed.filter((id) => !placed.includes(id)).length
    const sessionsOf = (day: number) =>
      orders.filter((_) => String(_["id"]).startsWith(`${day}/`)).map((_) => _["backend"])
    const ofSecondDay = sessionsOf(2)
    const broken = [
      ...(pools.length === 2 ? [] : [`there were ${pools.length} pools, not 2`]),
      ...pools.flatMap(problems),
      ...pools.flatMap(problemsOfLoans),
      ...expectations({
        [`${lost} orders are lost`]: lost === 0,
        [`the database has ${placed.length} orders of which ${committed.length} were reported`]:
          placed.length === committed.length,
        [`of ${piecesAtFirst} pieces ${Number(stock?.["pieces"])} are left`]:
          stock?.["pieces"] === piecesAtFirst - placed.length,
        "an order was placed with the credentials of another host": orders.every(
          (_) => _["clerk"] === "clerk"
        ),
        "a session lived on with an old password": sessionsOf(1).every((_) => !ofSecondDay.includes(_)),
        "an old password is still good": old._tag === "Failure",
        [`${Number(left?.["open"])} sessions are left on the server`]: left?.["open"] === 0
      })
    ]
    const { ticks } = result
    return { title, pools, committed: committed.length, lost, ticks, broken } satisfies Outcome
  })
  const shows = "Two hosts, a pool for each, and passwords that change while the program runs"
  return { title, shows, run: Effect.scoped(Effect.provide(run, Shops.layer)) }
}

// -----------------------------------------------------------------------------
// All of them
// -----------------------------------------------------------------------------

/** Those that run on a MariaDB, which is not everywhere. */
export const onMariaDb: ReadonlyArray<Program<Needs>> = [raw(mariadb), tpooled(mariadb)]

export const others: ReadonlyArray<Program<Exclude<Needs, MariaDb>>> = [
  raw(sqlite),
  tpooled(sqlite),
  raw(postgres),
  tpooled(postgres),
  connector()
]
