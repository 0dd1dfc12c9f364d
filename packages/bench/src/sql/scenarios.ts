/** How it is measured: what every contender has to do, timed the same way. */
import { isDeepStrictEqual } from "node:util"
import { monitorEventLoopDelay } from "node:perf_hooks"
import type { ThreadPool } from "@cenote/threads"
import { type Context, Effect, Exit, Scope } from "effect"
import { type Contestant, quantile, tick } from "../harness.ts"
import {
  type Contender,
  type Database,
  type EffectCalls,
  type PromiseCalls,
  rowsOfItems
} from "./contenders.ts"

type Calls = EffectCalls | PromiseCalls

/** What a contender is measured with. */
export interface Started {
  readonly name: string
  readonly calls: Calls
  readonly database: Database<any>
}

type Threads = Context.Context<ThreadPool.ThreadPool>

/** Connections of all pools that are up while they are measured. */
const warmConnections = 10

/** Opens a contender's connections to a database of its own, and sees that it does what it should before anything is timed. */
export const start = <Place>(
  database: Database<Place>,
  contender: Contender<Place>,
  threads: Threads
): Effect.Effect<Started, never, Scope.Scope> =>
  Effect.gen(function* () {
    const place = yield* database.fresh
    const calls = yield* contender.open(place, { max: warmConnections, warm: true })
    const started: Started = { name: contender.name, calls, database }
    yield* Effect.promise(async () => {
      for (const statement of database.setUp) await ask(calls, "run", statement)
      await check(started)
    })
    return started
  }).pipe(Effect.provideContext(threads), Effect.orDie)

/** Asks for one thing. */
const ask = async <Name extends "select" | "insert" | "read" | "run">(
  calls: Calls,
  name: Name,
  ...args: Parameters<Calls[Name]>
): Promise<any> => {
  const asked = (calls[name] as (...args: ReadonlyArray<any>) => any)(...args)
  return calls.kind === "effect" ? Effect.runPromise(asked) : asked
}

const wrong = (name: string, what: string): never => {
  throw new Error(`${name} gives wrong results: ${what}`)
}

const check = async ({ calls, database, name }: Started): Promise<void> => {
  const numbers = Array.from({ length: 4 * warmConnections }, (_, i) => i)
  const selected = await Promise.all(numbers.map((n) => ask(calls, "select", n)))
  if (!isDeepStrictEqual(selected, numbers)) wrong(name, `select gives ${selected.join()}`)

  await Promise.all(numbers.map((n) => ask(calls, "insert", n)))
  const inserted = await ask(calls, "run", "select item, note from orders order by item")
  const items: ReadonlyArray<number> = inserted.map(({ item, note }: any) =>
    note === "a note" ? item : note
  )
  if (!isDeepStrictEqual(items, numbers)) wrong(name, `insert leaves ${items.join()}`)
  await ask(calls, "run", database.cleanUp)

  const read: ReadonlyArray<object> = await ask(calls, "read")
  // Some give their rows a prototype of their own.
  const rows = Array.from(read, (row) => ({ ...row }))
  if (!isDeepStrictEqual(rows, database.items)) {
    const different = database.items.findIndex((item, i) => !isDeepStrictEqual(item, rows[i]))
    const [is, should] = [rows[different], database.items[different]].map((_) => JSON.stringify(_))
    wrong(name, `read gives ${rows.length} rows, of which one is ${is}, and not ${should}`)
  }
}

// -----------------------------------------------------------------------------
// Callers
// -----------------------------------------------------------------------------

/** What one of many callers does. */
type Caller = {
  readonly effect: (calls: EffectCalls) => Effect.Effect<void, unknown>
  readonly promise: (calls: PromiseCalls) => Promise<void>
}

/** Runs callers, each of them a fiber or an async function, and waits for all. */
const run = (calls: Calls, callers: number, caller: (index: number) => Caller): Promise<unknown> =>
  Promise.all(
    Array.from({ length: callers }, (_, i) =>
      calls.kind === "effect" ? Effect.runPromise(caller(i).effect(calls)) : caller(i).promise(calls)
    )
  )

/** What a sample tells, in milliseconds: how long one call takes of the time of all, and from when it is made to its result. */
export interface Times {
  readonly perCall: number
  readonly p50: number
  readonly p99: number
}

/**
 * Times the calls in the middle: the clock starts when every caller has had a result, and stops while all still ask. All
 * contenders have the same time, which for slow ones means fewer calls.
 */
class Stopwatch {
  private asked = 0
  private startedAt = 0
  private perCall = 0
  private readonly waits: Array<number> = []
  private readonly callers: number
  private readonly millis: number

  constructor(callers: number, millis: number) {
    this.callers = callers
    this.millis = millis
  }

  /** Called before each call: when it is made, or `undefined` when there are to be no more. */
  next(): number | undefined {
    if (this.perCall > 0) return undefined
    const now = performance.now()
    // Whoever asks again has had its result.
    const ended = this.asked++ - this.callers
    if (ended === 0) this.startedAt = now
    else if (ended >= this.callers && now - this.startedAt >= this.millis) {
      this.perCall = (now - this.startedAt) / ended
    }
    return now
  }

  /** Called with the result of each call. */
  ended(madeAt: number): void {
    if (this.startedAt > 0 && this.perCall === 0) this.waits.push(performance.now() - madeAt)
  }

  get times(): Times {
    return { perCall: this.perCall, p50: quantile(this.waits, 0.5), p99: quantile(this.waits, 0.99) }
  }
}

export type Scenario = (started: Started) => Promise<Times>

/** So many callers ask for one thing after the other; `check` says whether a result is right. */
const inFlight =
  (name: "select" | "insert" | "read", check: (result: any, n: number) => boolean) =>
  (callers: number, millis: number) =>
  async ({ calls, name: contender }: Started): Promise<Times> => {
    const watch = new Stopwatch(callers, millis)
    const take = (madeAt: number, result: unknown, n: number): void => {
      watch.ended(madeAt)
      if (!check(result, n)) wrong(contender, `${name} of ${n}`)
    }
    await run(calls, callers, (first) => ({
      effect: (calls) =>
        Effect.gen(function* () {
          let madeAt: number | undefined
          for (let n = first; (madeAt = watch.next()) !== undefined; n++) {
            take(madeAt, yield* calls[name](n), n)
          }
        }),
      promise: async (calls) => {
        let madeAt: number | undefined
        for (let n = first; (madeAt = watch.next()) !== undefined; n++) {
          const asked = calls[name](n)
          if (isPromise(asked)) take(madeAt, await asked, n)
          else {
            take(madeAt, asked, n)
            // Others are to have their turn.
            await Promise.resolve()
          }
        }
      }
    }))
    return watch.times
  }

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as { readonly then?: unknown } | undefined)?.then === "function"

/** Callers have the database give back a number. */
export const selects = inFlight("select", (result, n) => result === n)

/** Callers read the whole table. */
export const reads = inFlight("read", (rows) => rows.length === rowsOfItems)

const countedInserts = inFlight("insert", () => true)

/** Callers insert rows. Whether they are there is looked at off the clock, and then they are removed. */
export const inserts =
  (callers: number, millis: number): Scenario =>
  async (started) => {
    const { calls, database, name } = started
    let made = 0
    const insert: any = (n: number) => {
      made++
      return calls.insert(n)
    }
    const times = await countedInserts(callers, millis)({ ...started, calls: { ...calls, insert } })
    const [row] = await ask(calls, "run", "select count(*) as rows_there from orders")
    if (Number(row.rows_there) !== made) wrong(name, `${row.rows_there} of ${made} rows are there`)
    await ask(calls, "run", database.cleanUp)
    return times
  }

// -----------------------------------------------------------------------------
// Storms
// -----------------------------------------------------------------------------

/** From opening a pool until so many callers, who all ask at once, have their results. Closing is off the clock. */
export const storm =
  <Place>(place: Place, threads: Threads, callers: number, max: number) =>
  ({ name, open }: Contender<Place>): Contestant => ({
    name,
    sample: async () => {
      const scope = Scope.makeUnsafe()
      const waits: Array<number> = []
      const startedAt = performance.now()
      const take = (result: number, n: number): void => {
        waits.push(performance.now() - startedAt)
        if (result !== n) wrong(name, `select of ${n} gives ${result}`)
      }
      const opened = open(place, { max, warm: false }).pipe(
        Scope.provide(scope),
        Effect.provideContext(threads)
      )
      try {
        const calls = await Effect.runPromise(opened)
        await run(calls, callers, (n) => ({
          effect: ({ select }) => Effect.map(select(n), (result) => take(result, n)),
          promise: async ({ select }) => take(await select(n), n)
        }))
        return { value: performance.now() - startedAt, also: quantile(waits, 0.5) }
      } finally {
        await Effect.runPromise(Scope.close(scope, Exit.void))
      }
    }
  })

// -----------------------------------------------------------------------------
// The event loop
// -----------------------------------------------------------------------------

/** The delay of the event loop meanwhile, in milliseconds: its 99th percentile, and the most. */
const delay = async (busy: () => Promise<unknown>) => {
  const histogram = monitorEventLoopDelay({ resolution: 1 })
  histogram.enable()
  await busy()
  // What is held up now is to be in it.
  await new Promise((resolve) => setTimeout(resolve, 5))
  histogram.disable()
  return { value: histogram.percentile(99) / 1e6, also: histogram.max / 1e6 }
}

/** A statement that needs a while. */
export interface Heavy {
  readonly sql: string
  readonly isRight: (rows: ReadonlyArray<any>) => boolean
}

/** The delay of the event loop while callers run a heavy statement; between two of them, each lets the event loop turn. */
export const delayed =
  ({ isRight, sql }: Heavy, callers: number, millis: number) =>
  ({ calls, name }: Started): Contestant => ({
    name,
    sample: () =>
      delay(() => {
        const until = performance.now() + millis
        const take = (rows: ReadonlyArray<any>): void => {
          if (!isRight(rows)) wrong(name, `the heavy statement gives ${JSON.stringify(rows)}`)
        }
        return run(calls, callers, () => ({
          effect: ({ run }) =>
            Effect.gen(function* () {
              while (performance.now() < until) {
                take(yield* run(sql))
                yield* Effect.promise(tick)
              }
            }),
          promise: async ({ run }) => {
            while (performance.now() < until) {
              take(await run(sql))
              await tick()
            }
          }
        }))
      })
  })

/** The delay while nothing runs. */
export const delayAlone = (millis: number): Contestant => ({
  name: "floor: nothing runs",
  sample: () => delay(() => new Promise((resolve) => setTimeout(resolve, millis)))
})
