// Everything at once: what was committed is there, what was not is not, and the pool comes to rest.
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { isSqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { type Bench, describe, expect, pause, rowsOf, start, type Tools, within } from "./kit.ts"

const fibers = 12
const steps = 14

/** Numbers that look random, and are the same in each run. */
const numbersFrom = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** What is known of the rows of a table: those that must be there, and those that must not. */
interface Known {
  readonly present: Set<number>
  readonly absent: Set<number>
}

export const storming = <Services>({ dialect, test }: Bench<Services>): void => {
  const { server } = dialect

  describe("everything at once", () => {
    for (const seed of [1, 2, 3]) {
      test(`no work is lost, and none is kept that should not be (${seed})`, { max: 4 }, function* (tools) {
        const { observer, pool, stats } = tools
        const table = yield* tools.table(`id ${dialect.types.integer} primary key`)
        const known: Known = { present: new Set(), absent: new Set() }
        yield* within(
          "all fibers",
          Effect.forEach(
            Array.from({ length: fibers }, (_, fiber) => fiber),
            (fiber) => run(tools, table, known, fiber, numbersFrom(seed * 1_000 + fiber)),
            { concurrency: "unbounded" }
          )
        )
        yield* pool.resize({ max: 4 })
        yield* stats({ used: 0, pending: 0, creating: 0, closing: 0 })
        const rows = yield* rowsOf(observer, `select id from ${table}`)
        const found = new Set(rows.map(({ id }) => Number(id)))
        expect([...known.present].filter((id) => !found.has(id))).toEqual([])
        expect([...known.absent].filter((id) => found.has(id))).toEqual([])
        expect(known.present.size).toBeGreaterThan(fibers)
        // All connections are as good as new ones.
        yield* Effect.scoped(
          Effect.gen(function* () {
            for (let n = 0; n < 4; n++)
              expect(yield* rowsOf(yield* pool.get, `select ${n} as n`)).toEqual([{ n }])
          })
        )
        // Sessions were ended on purpose.
        if (server !== undefined) yield* tools.warnings
      })
    }
  })
}

const run = Effect.fnUntraced(function* (
  { dialect, observer, pool, sql }: Tools<any>,
  table: string,
  known: Known,
  fiber: number,
  random: (below: number) => number
) {
  let last = fiber * 10_000
  const add = (id: number) => sql`insert into ${sql(table)} ${sql.insert({ id })}`
  const { server } = dialect

  /** Where a session was ended meanwhile, nobody knows. Nothing else may go wrong. */
  const tried = <A>(effect: Effect.Effect<A, unknown>, onSuccess: () => void) =>
    Effect.matchEffect(effect, {
      onSuccess: () => Effect.sync(onSuccess),
      onFailure: (error) =>
        server !== undefined && isSqlError(error) && error.reason._tag === "ConnectionError"
          ? Effect.void
          : Effect.die(error)
    })
  const interrupted = (effect: Effect.Effect<unknown, unknown>) =>
    Effect.scoped(
      Effect.gen(function* () {
        const running = yield* start(effect)
        for (let step = random(30); step > 0; step--) yield* Effect.yieldNow
        if (random(2) === 0) yield* pause(random(4))
        yield* Fiber.interrupt(running)
      })
    )

  const ways: ReadonlyArray<() => Effect.Effect<unknown>> = [
    () => {
      const id = ++last
      return tried(add(id), () => known.present.add(id))
    },
    () => {
      const id = ++last
      return tried(
        sql.withTransaction(Effect.andThen(add(id), sql`select count(*) from ${sql(table)}`)),
        () => known.present.add(id)
      )
    },
    () => {
      const id = ++last
      known.absent.add(id)
      return Effect.exit(sql.withTransaction(Effect.andThen(add(id), Effect.fail("no"))))
    },
    () => {
      const [id, inner] = [++last, ++last]
      known.absent.add(inner)
      return tried(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* add(id)
            yield* Effect.exit(sql.withTransaction(Effect.andThen(add(inner), Effect.fail("no"))))
            yield* sql`select 1`
          })
        ),
        () => known.present.add(id)
      )
    },
    () => {
      const id = ++last
      known.absent.add(id)
      // It is not committed, and then returned.
      return tried(
        pool.use((connection) =>
          Effect.andThen(
            rowsOf(connection, dialect.begins[0]!),
            rowsOf(connection, `insert into ${table} values (${id})`)
          )
        ),
        () => {}
      )
    },
    () => {
      const id = ++last
      known.absent.add(id)
      return interrupted(sql.withTransaction(Effect.andThen(add(id), Effect.never)))
    },
    () => interrupted(sql.unsafe(dialect.series(2_000))),
    () => interrupted(Stream.runDrain(sql.unsafe(dialect.series(5_000)).stream)),
    () =>
      tried(Stream.runDrain(Stream.take(sql.unsafe(dialect.series(5_000)).stream, 1 + random(20))), () => {}),
    () => tried(Effect.flip(sql`insert into ${sql(table)} values (null, 1, 2)`), () => {}),
    () =>
      tried(
        pool.use((connection) => Effect.andThen(connection.ping, connection.invalidate)),
        () => {}
      ),
    () => pool.clear,
    () => (random(3) === 0 ? pool.recycle : Effect.void),
    () => pool.resize(1 + random(4)),
    () =>
      server === undefined || random(3) > 0
        ? Effect.void
        : Effect.orDie(
            Effect.flatMap(rowsOf(observer, server.sessions), (sessions) =>
              sessions.length === 0
                ? Effect.void
                : Effect.ignore(rowsOf(observer, server.kill(Number(sessions[random(sessions.length)].id))))
            )
          )
  ]
  for (let step = 0; step < steps; step++) {
    // Most of it is work.
    const way = random(3) === 0 ? random(ways.length) : random(10)
    yield* ways[way]!()
  }
})
