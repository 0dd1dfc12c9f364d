// What a shop does all day: a little of everything, never quite the same.
import { KeyedPool, TokenPool } from "@cenote/pool"
import { Effect, Random } from "effect"
import { type Connections, type Pools, tasks } from "./pools.ts"

const between = (least: number, most: number) => Random.nextBetween(least, most)

/** Does something for ever, with a rest in between. What fails is tried again by the next. */
const over = <E, R>(name: string, rest: readonly [number, number], work: Effect.Effect<unknown, E, R>) =>
  work.pipe(
    Effect.withSpan(name),
    // What breaks is what there is to be seen.
    Effect.ignore,
    Effect.andThen(Effect.flatMap(between(...rest), Effect.sleep)),
    Effect.forever
  )

const run = (pool: Connections, sql: string) =>
  pool.use((connection) => connection.execute(sql, [], undefined))

/** A session of the server that is busy for so many seconds. */
export const busy = (pool: Connections, seconds: number) => run(pool, `select pg_sleep(${seconds})`)

const orders = ({ db }: Pools) =>
  over(
    "Orders.place",
    [80, 250],
    Effect.flatMap(between(0.005, 0.06), (seconds) => busy(db, seconds))
  )

const customers = ({ db }: Pools) =>
  over("Customers.find", [50, 200], db.client`select name from users where name like ${"%a%"}`)

/** SQLite is no server: it computes, in the thread that its connection is in. */
const stock = ({ stock }: Pools) =>
  over(
    "Stock.count",
    [150, 400],
    run(
      stock,
      "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) select sum(i) from n"
    )
  )

const carriers = ({ carriers }: Pools) =>
  over(
    "Carriers.track",
    [60, 200],
    Effect.gen(function* () {
      const carrier = yield* Random.choice(["dove", "snail", "stork"])
      const time = yield* between(20, 90)
      yield* KeyedPool.use(carriers, carrier, () => Effect.sleep(time))
    })
  )

const uploads = ({ uploads }: Pools) =>
  over(
    "Uploads.store",
    [100, 400],
    Effect.flatMap(between(40, 160), (time) => TokenPool.withToken(uploads, Effect.sleep(time)))
  )

const hashes = ({ cpu }: Pools) =>
  over(
    "Passwords.hash",
    [150, 450],
    Effect.flatMap(between(10_000, 30_000), (rounds) =>
      Effect.provideContext(tasks.cpuIntensiveTask("secret", Math.round(rounds)), cpu)
    )
  )

const many = (count: number, effect: Effect.Effect<never>): ReadonlyArray<Effect.Effect<never>> =>
  Array.from({ length: count }, () => effect)

/** All of it at once, until it is interrupted. */
export const load = (pools: Pools): Effect.Effect<unknown> =>
  Effect.all(
    [
      ...many(4, orders(pools)),
      ...many(2, customers(pools)),
      ...many(2, stock(pools)),
      ...many(4, carriers(pools)),
      ...many(3, uploads(pools)),
      ...many(2, hashes(pools))
    ],
    { concurrency: "unbounded", discard: true }
  )

export const loadOfBooks = (books: Connections): Effect.Effect<unknown> =>
  Effect.all(many(2, over("Books.enter", [100, 300], run(books, "select sleep(0.03)"))), {
    concurrency: "unbounded",
    discard: true
  })
