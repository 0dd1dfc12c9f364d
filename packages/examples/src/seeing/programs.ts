// The program that has itself watched, and what must have been seen.
import { PoolMetrics } from "@cenote/pool"
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Effect, Schedule } from "effect"
import { expectations, problems, problemsOfLoans } from "../checks.ts"
import { type Figures, observe } from "../observe.ts"
import type { Seen } from "./seeing.ts"

const title = "Seeing Pools"

/** What there is to see, in a line. */
export const about = {
  title,
  shows:
    "A session is not given back, and others wait: what metrics and the dashboard say of it, and who it was"
}

interface Outcome {
  readonly title: string
  readonly pools: ReadonlyArray<Figures>
  /** What does not hold, each in a sentence. */
  readonly broken: ReadonlyArray<string>
}

/** Runs it; `url` is where the dashboard is. */
export const runProgram = Effect.fnUntraced(function* <E, R>(
  url: string,
  program: (url: string) => Effect.Effect<Seen, E, R>
) {
  const { pools, result } = yield* observe(Effect.provide(program(url), PoolMetrics.layer()))
  const { config } = yield* Postgres
  const session = yield* PgConnection.make(config)
  const left = yield* Effect.repeat(
    session.queryValues("select pid from pg_stat_activity where application_name = 'seeing'", []),
    { until: (rows) => rows.length === 0, schedule: Schedule.spaced("20 millis"), times: 200 }
  )
  const broken = [
    ...(pools.length === 1 ? [] : [`there were ${pools.length} pools, not 1`]),
    ...pools.flatMap(problems),
    ...pools.flatMap(problemsOfLoans),
    ...overlooked(result),
    ...expectations({ [`${left.length} sessions are left on the server`]: left.length === 0 })
  ]
  return { title, pools, broken } satisfies Outcome
}, Effect.scoped)

/** What should have been seen, and was not. */
const overlooked = ({ code, metrics, pool, pools, served }: Seen): ReadonlyArray<string> => {
  const has = (name: string, value: number) =>
    metrics.some((line) => line.startsWith(`cenote_pool_${name}{`) && line.endsWith(` ${value}`))
  return expectations({
    "metrics do not count the two that wait": has("pending_requests", 2),
    "metrics do not say that two sessions are all": has("max", 2),
    "metrics do not count the two loans": has("borrowed", 2),
    "cenote top does not say that the pool is short": /^short +app\/Db +pool +2\/2 /m.test(pools),
    [`cenote top --check ended with exit code ${code}`]: code === 1,
    "cenote top does not say who holds what": ["Orders.export", "Reports.monthly"].every((_) =>
      pool.includes(_)
    ),
    "cenote top does not say who waits": ["Orders.place 1", "Orders.place 2"].every((_) => pool.includes(_)),
    [`${served} of those who waited were served`]: served === 2
  })
}
