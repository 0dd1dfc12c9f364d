/**
 * `pnpm bench sql`: Cenote's connection pools beside those of other libraries.
 */
import { TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { type Benchmark, type Group, measureOf, times } from "./harness.ts"
import { readOptions, runBenchmark } from "./harness.ts"
import type { Database } from "./sql/contenders.ts"
import { mariadb } from "./sql/mariadb.ts"
import { postgres } from "./sql/postgres.ts"
import * as scenarios from "./sql/scenarios.ts"
import { heavy, sqlite } from "./sql/sqlite.ts"

const options = readOptions(
  "sql",
  "Measures Cenote's connection pools beside other libraries, on servers of its own, prints the tables, and writes docs/benchmarks/sql.md and .json."
)
const { quick } = options

// -----------------------------------------------------------------------------
// What is up
// -----------------------------------------------------------------------------

/** All that is started lasts until the end. */
const scope = Scope.makeUnsafe()

/** Started when it is first needed. */
const once = <A, E>(start: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A> =>
  Effect.runSync(Effect.cached(Effect.orDie(Scope.provide(start, scope))))

const threads = once(Layer.build(NodeThreads.layer({ size: 2 })))

/** The connections of all contenders are up at one time. */
const max_connections = 300

const postgresServer = once(
  Effect.map(
    // Nothing is to be cleaned up in the background while somebody is measured.
    Layer.build(TestServers.Postgres.layer({ settings: { max_connections, autovacuum: "off" } })),
    (context) => Context.get(context, TestServers.Postgres)
  )
)

const mariadbServer = once(
  Effect.map(Layer.build(TestServers.MariaDb.layer({ settings: { max_connections } })), (context) =>
    Context.get(context, TestServers.MariaDb)
  )
)

/** The contenders on a database, connected. They stay, and get warm, from section to section. */
const startedOn = <Place>(database: Database<Place>) =>
  once(
    Effect.flatMap(threads, (threads) =>
      Effect.forEach(database.contenders, (contender) => scenarios.start(database, contender, threads))
    )
  )

// -----------------------------------------------------------------------------
// Sections
// -----------------------------------------------------------------------------

const cenote = "Cenote raw"
const units = {
  µs: { perMilli: 1_000, digits: 1 },
  ms: { perMilli: 1, digits: 2 }
}

interface CallHeading {
  readonly id: string
  readonly title: string
  readonly note?: string | undefined
  readonly unit: keyof typeof units
  /** What a call is called. */
  readonly call: string
  readonly rounds: number
  readonly warmUps: number
}

/** Two tables of the same samples: how many calls get through, and how long each of them takes. */
const callGroups = (
  started: Effect.Effect<ReadonlyArray<scenarios.Started>>,
  { call, id, note, rounds, title, unit, warmUps }: CallHeading,
  scenario: scenarios.Scenario
): ReadonlyArray<Group> => {
  const { digits, perMilli } = units[unit]
  const common = { baseline: cenote, digits, rounds }
  const sampled = new Map<string, Array<scenarios.Times>>()
  return [
    {
      ...common,
      id,
      title,
      note,
      unit: `${unit}/${call}`,
      warmUps,
      contestants: Effect.map(started, (all) =>
        all.map((each) => {
          const samples: Array<scenarios.Times> = []
          sampled.set(each.name, samples)
          return {
            name: each.name,
            sample: async () => {
              const times = await scenario(each)
              samples.push(times)
              return times.perCall * perMilli
            }
          }
        })
      )
    },
    {
      ...common,
      id: `${id}-time`,
      title: `${title}: from the call to its result`,
      unit: `p99, ${unit}`,
      also: `p50, ${unit}`,
      warmUps: 0,
      contestants: Effect.map(started, (all) =>
        all.map((each) => {
          const samples = sampled.get(each.name)?.slice(warmUps) ?? []
          return {
            name: each.name,
            // Measured here where the other table is left out, as `--only` can have it.
            sample: async () => {
              const { p50, p99 } = samples.shift() ?? (await scenario(each))
              return { value: p99 * perMilli, also: p50 * perMilli }
            }
          }
        })
      )
    }
  ]
}

const stormGroup = <Place>(database: Database<Place>): Group => ({
  id: `${database.id}-storm`,
  title: `${database.name}: a cold pool, of which 1,000 callers at once ask for 20 connections and a number`,
  unit: "ms",
  also: "p50 of a caller",
  digits: 1,
  baseline: cenote,
  rounds: 6,
  warmUps: 1,
  contestants: Effect.gen(function* () {
    const place = yield* once(database.fresh)
    const running = yield* threads
    return database.contenders.map(scenarios.storm(place, running, 1_000, 20))
  })
})

interface Notes {
  readonly select: string
  readonly selected: string
  readonly insert?: string | undefined
}

const groupsOf = <Place>(
  database: Database<Place>,
  started: Effect.Effect<ReadonlyArray<scenarios.Started>>,
  { insert, select, selected }: Notes
): ReadonlyArray<Group> => {
  const { id, name } = database
  const millis = quick ? 50 : 200
  const short = { unit: "µs", rounds: 10, warmUps: quick ? 2 : 3 } as const
  return [
    ...callGroups(
      started,
      {
        ...short,
        id: `${id}-select`,
        title: `${name}: ${selected}, 100 callers over 10 connections`,
        note: select,
        call: "query"
      },
      scenarios.selects(100, millis)
    ),
    ...callGroups(
      started,
      {
        ...short,
        id: `${id}-insert`,
        title: `${name}: an insert in a transaction, 100 callers over 10 connections`,
        note: insert,
        call: "transaction"
      },
      scenarios.inserts(100, millis)
    ),
    ...callGroups(
      started,
      {
        id: `${id}-read`,
        title: `${name}: 10,000 rows of 4 columns, 10 callers over 10 connections`,
        unit: "ms",
        call: "read",
        rounds: 8,
        warmUps: quick ? 1 : 2
      },
      scenarios.reads(10, millis)
    ),
    stormGroup(database)
  ]
}

const noMariaDb = await Effect.runPromise(
  Effect.match(TestServers.MariaDb.available, {
    onFailure: ({ message }) => message,
    onSuccess: () => undefined
  })
)
if (noMariaDb !== undefined) console.log(`Left out: MariaDB. ${noMariaDb}\n`)

const onPostgres = postgres(postgresServer)
const onMariaDb = mariadb(mariadbServer)
const sqliteStarted = startedOn(sqlite)

const groups: ReadonlyArray<Group> = [
  ...groupsOf(onPostgres, startedOn(onPostgres), {
    selected: "`select $1::int`",
    select:
      "All prepare their statements, except where node-postgres is not told a name for them. postgres.js sends statements " +
      "without waiting for each other's results, and so is to be compared with multiplex."
  }),
  ...(noMariaDb === undefined
    ? groupsOf(onMariaDb, startedOn(onMariaDb), {
        selected: "`select cast(? as signed)`",
        select: "All prepare their statements, except `mysql2 query`."
      })
    : []),
  ...groupsOf(sqlite, sqliteStarted, {
    selected: "`select ?`",
    select:
      "better-sqlite3 has one connection, on the main thread, and is called without waiting: it is the floor.",
    insert: "SQLite lets one connection write at a time; the other nine wait for its lock."
  }),
  {
    id: "sqlite-delay",
    title:
      "SQLite: the event loop of the main thread while 4 callers run statements that compute for a while",
    note:
      "As `perf_hooks.monitorEventLoopDelay` with a resolution of 1 ms tells it, that millisecond included. Between two " +
      "statements each caller lets the event loop turn.",
    unit: "p99, ms",
    also: "most, ms",
    digits: 1,
    baseline: cenote,
    rounds: 8,
    warmUps: 1,
    contestants: Effect.map(sqliteStarted, (all) => {
      const millis = quick ? 300 : 600
      return [scenarios.delayAlone(millis), ...all.map(scenarios.delayed(heavy, 4, millis))]
    })
  }
]

// -----------------------------------------------------------------------------
// Measures
// -----------------------------------------------------------------------------

const measures: Benchmark["measures"] = (row) => {
  const beside = (section: string, name: string, peer: string, what: string) => {
    const own = row(section, name)
    const other = row(section, peer)
    // Rounds are compared where the one is what the section compares with.
    const value = name === cenote ? other?.ratio : own && other && other.median / own.median
    return measureOf(what, "at least 1 ×", value, times, (value) => value >= 1)
  }
  const pg = "postgres-select"
  const maria = "mariadb-select"
  const select = "`select` throughput"
  return [
    ...beside(pg, cenote, "PgClient", `PostgreSQL, ${select} beside PgClient`),
    ...beside(
      pg,
      "Cenote raw, multiplex",
      "PgClient, multiplex",
      `PostgreSQL, ${select} beside PgClient, both multiplexed`
    ),
    ...beside(pg, cenote, "node-postgres, named", `PostgreSQL, ${select} beside node-postgres, prepared`),
    ...beside(pg, cenote, "node-postgres", `PostgreSQL, ${select} beside node-postgres, not prepared`),
    ...beside(maria, cenote, "mysql2 execute", `MariaDB, ${select} beside mysql2's pool`),
    ...beside(maria, cenote, "MysqlClient", `MariaDB, ${select} beside MysqlClient`),
    ...measureOf(
      "SQLite in threads, heavy statements: p99 of the event loop's delay",
      "below 5 ms",
      row("sqlite-delay", "Cenote tpooled")?.median,
      (value) =>
        `${value.toFixed(1)} ms (on the main thread: ${row("sqlite-delay", cenote)?.median.toFixed(1)} ms)`,
      (value) => value < 5
    )
  ]
}

try {
  await runBenchmark(options, {
    name: "sql",
    title: "Connection pools, side by side",
    packages: [
      "@cenote/sql",
      "@cenote/sql-mysql2",
      "@cenote/sql-pg",
      "@cenote/sql-sqlite",
      "@effect/sql-mysql2",
      "@effect/sql-pg",
      "better-sqlite3",
      "effect",
      "mysql2",
      "pg",
      "postgres"
    ],
    groups,
    measures
  })
} finally {
  await Effect.runPromise(Scope.close(scope, Exit.void))
}
