// The programs, one after the other, and what must hold when each has ended.
import type { PoolError } from "@cenote/pool"
import { PgConnection } from "@effect/sql-pg"
import { Effect, Schedule } from "effect"
import type { SqlError } from "effect/sql"
import { type Figures, isAtRest, observe } from "./observe.ts"
import { Postgres } from "./postgres.ts"
import { advancedPool } from "./programs/advancedPool.ts"
import { basicPool } from "./programs/basicPool.ts"
import { tokenPool } from "./programs/tokenPool.ts"

export interface Program {
  readonly title: string
  /** What the program calls its pool and its sessions, and what the ids of its tasks begin with. */
  readonly name: string
  /** Gives the ids of the tasks that it committed. */
  readonly effect: Effect.Effect<ReadonlyArray<string>, SqlError.SqlError | PoolError.PoolError, Postgres>
  /** How many sessions it loses on purpose. */
  readonly terminated: number
}

export const programs: ReadonlyArray<Program> = [
  { name: "basic", title: "Basic Resource Pool", effect: basicPool, terminated: 0 },
  { name: "tokens", title: "Token Pool for Concurrency Control", effect: tokenPool, terminated: 0 },
  { name: "advanced", title: "Advanced Pool Management", effect: advancedPool, terminated: 2 }
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

const problems = (figures: Figures): ReadonlyArray<string> => {
  const { atRest, name } = figures
  if (atRest === undefined) return [`pool ${name} did not close`]
  const borrowed = figures.waited.length
  return expectations({
    [`pool ${name} did not come to rest: ${JSON.stringify(atRest)}`]: isAtRest(atRest),
    [`pool ${name} has ${atRest.size} resources, of ${atRest.created} created and ${atRest.destroyed} destroyed`]:
      atRest.size === atRest.created - atRest.destroyed,
    [`pool ${name} counts ${atRest.borrowed} borrows, and told of ${borrowed}`]: atRest.borrowed === borrowed,
    [`pool ${name} lent ${borrowed} times, and got back ${figures.returned}`]: figures.returned === borrowed,
    [`pool ${name} counts ${atRest.created} created, and told of ${figures.created}`]:
      atRest.created === figures.created,
    [`pool ${name} counts ${atRest.destroyed} destroyed, and told of ${figures.replaced}`]:
      atRest.destroyed === figures.replaced,
    [`pool ${name} created ${figures.created}, and closed ${figures.closed.length}`]:
      figures.closed.length === figures.created,
    [`pool ${name} closed a resource twice`]: new Set(figures.closed).size === figures.closed.length,
    [`pool ${name} had ${figures.mostOpen} resources, its max is ${atRest.max}`]:
      figures.mostOpen <= atRest.max,
    [`pool ${name} lent ${figures.mostLent} at one time, its max is ${atRest.max}`]:
      figures.mostLent <= atRest.max,
    [`pool ${name} let ${figures.timeouts} borrowers time out`]:
      figures.timeouts === 0 && atRest.timeouts === 0,
    [`pool ${name} failed to create ${figures.failures} times`]:
      figures.failures === 0 && atRest.failures === 0,
    [`${figures.missed} events of pool ${name} were missed`]: figures.missed === 0
  })
}

/** The names of what does not hold. */
const expectations = (holds: Record<string, boolean>): ReadonlyArray<string> =>
  Object.entries(holds).flatMap(([name, ok]) => (ok ? [] : [name]))

const readColumn = (session: PgConnection.PgConnection, sql: string, ...params: ReadonlyArray<unknown>) =>
  Effect.map(session.queryValues(sql, params), (rows) => rows.map(([value]) => value))
