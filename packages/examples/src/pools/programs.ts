// The programs on sessions of PostgreSQL, and what must hold when each has ended.
import type { PoolError } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Effect, Schedule } from "effect"
import type { SqlError } from "effect/sql"
import { expectations, problems, problemsOfLoans } from "../checks.ts"
import { type Figures, observe } from "../observe.ts"
import { advancedPool } from "./advancedPool.ts"
import { basicPool } from "./basicPool.ts"
import { tokenPool } from "./tokenPool.ts"

export interface Program {
  readonly title: string
  /** What there is to see, in a line. */
  readonly shows: string
  /** What the program calls its pool and its sessions, and what the ids of its tasks begin with. */
  readonly name: string
  /** Gives the ids of the tasks that it committed. */
  readonly effect: Effect.Effect<ReadonlyArray<string>, SqlError.SqlError | PoolError.PoolError, Postgres>
  /** How many sessions it loses on purpose. */
  readonly terminated: number
}

export const programs: ReadonlyArray<Program> = [
  {
    name: "basic",
    title: "Basic Resource Pool",
    shows: "Four workers share three sessions",
    effect: basicPool,
    terminated: 0
  },
  {
    name: "tokens",
    title: "Token Pool for Concurrency Control",
    shows: "Five tasks, of which two may run at one time",
    effect: tokenPool,
    terminated: 0
  },
  {
    name: "advanced",
    title: "Advanced Pool Management",
    shows:
      "Sessions are checked, reset, and replaced when they are old; two are killed, one in the middle of a task",
    effect: advancedPool,
    terminated: 2
  }
]

export interface Outcome {
  readonly title: string
  readonly pools: ReadonlyArray<Figures>
  /** Tasks that the program was told are committed. */
  readonly committed: number
  /** Those of them that the server does not have. */
  readonly lost: number
  /** What does not hold, each in a sentence. */
  readonly broken: ReadonlyArray<string>
}

/** Runs one of the programs, and looks at what it left behind. */
export const runProgram = Effect.fnUntraced(function* (program: Program) {
  const { pools, result: committed } = yield* observe(program.effect)
  const { config } = yield* Postgres
  const session = yield* PgConnection.make(config)

  const found = yield* readColumn(session, "select id from audit_log where id like $1 || '/%'", program.name)
  const [logged] = yield* readColumn(session, "select count(*)::int from audit_log")
  const [counted] = yield* readColumn(session, "select sum(tasks)::int from users")
  const names = yield* readColumn(session, "select name from users order by name")
  // The server notices a moment later that a session has hung up.
  const left = yield* Effect.repeat(
    readColumn(session, "select pid from pg_stat_activity where application_name = $1", program.name),
    { until: (pids) => pids.length === 0, schedule: Schedule.spaced("20 millis"), times: 200 }
  )

  const lost = committed.filter((id) => !found.includes(id)).length
  const broken = [
    ...(pools.length === 1 ? [] : [`there were ${pools.length} pools, not 1`]),
    ...pools.flatMap(problems),
    ...pools.flatMap(problemsOfLoans),
    ...expectations({
      [`${lost} committed tasks are lost`]: lost === 0,
      "a task was reported twice": new Set(committed).size === committed.length,
      [`the server has ${found.length} tasks of which ${committed.length} were reported`]:
        found.length === committed.length,
      [`the accounts of the users count ${Number(counted)} tasks, and the log has ${Number(logged)}`]:
        counted === logged,
      [`the users are ${names.join(", ")}`]: names.join() === everybody,
      [`${left.length} sessions are left on the server`]: left.length === 0,
      [`${program.terminated} sessions were terminated, and not that many replaced`]: pools.every(
        (_) => _.replaced >= program.terminated
      )
    })
  ]
  return { title: program.title, pools, committed: committed.length, lost, broken } satisfies Outcome
}, Effect.scoped)

/** The first program adds the last two. */
const everybody = "Alice,Bob,Charlie,Diana,Eve,Frank,Grace"

const readColumn = (session: PgConnection.PgConnection, sql: string, ...params: ReadonlyArray<unknown>) =>
  Effect.map(session.queryValues(sql, params), (rows) => rows.map(([value]) => value))
