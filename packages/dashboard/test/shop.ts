// The pools of a shop under its usual load, with one that runs short: `checkout.confirm` forgets to give its connections back.
import { KeyedPool, Pool, PoolRegistry, TokenPool } from "@cenote/pool"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { Duration, Effect, Random, type Scope } from "effect"

type Loads = Effect.Effect<unknown, unknown, Scope.Scope>

/** Between so many milliseconds. */
const between = (from: number, to: number): Effect.Effect<Duration.Duration> =>
  Effect.map(Random.nextBetween(from, to), Duration.millis)

const pause = (from: number, to: number): Effect.Effect<void> =>
  Effect.flatMap(between(from, to), Effect.sleep)

/** `n` fibers that ask again and again, with a rest in between; what fails is somebody else's concern. */
const visitors = (
  n: number,
  rest: readonly [number, number],
  visit: (i: number) => Effect.Effect<unknown, unknown>
) =>
  Effect.forEach(
    Array.from({ length: n }, (_, i) => i),
    (i) =>
      Effect.forkScoped(
        Effect.andThen(
          pause(0, rest[1]),
          Effect.forever(Effect.andThen(Effect.exit(visit(i)), pause(...rest)))
        )
      ),
    { discard: true }
  )

/** A pool that shows as one of connections, as those of `@cenote/sql` do. */
const connections = (options: Pool.Options<object, never, never>) =>
  Effect.gen(function* () {
    const own = PoolRegistry.makeUnsafe()
    const pool = yield* Pool.make(options).pipe(Effect.provideService(PoolRegistry.PoolRegistry, own))
    for (const entry of yield* own.entries) yield* PoolRegistry.register({ ...entry, kind: "connections" })
    return pool
  })

const connect = (from: number, to: number) => Effect.as(pause(from, to), {})

const routes = ["GET /orders", "GET /basket", "POST /basket/items", "GET /products/:id", "orders.dispatch"]

/** The database: it runs short as `leaks` loans are forgotten, one by one. */
const database = (leaks: number, begin: Duration.Input, apart: Duration.Input): Loads =>
  Effect.gen(function* () {
    const pool = yield* connections({
      name: "app/Db",
      acquire: connect(15, 40),
      min: 2,
      max: 10,
      acquireTimeout: "6 seconds",
      leakAfter: "15 seconds",
      maxIdle: "30 seconds",
      maxAge: "30 minutes"
    })
    yield* visitors(44, [500, 1100], (i) =>
      Pool.use(pool, () => pause(18, 90)).pipe(Effect.withSpan(routes[i % routes.length] ?? ""))
    )
    const forget = Effect.withSpan(
      Effect.scoped(Effect.andThen(Pool.get(pool), Effect.never)),
      "checkout.confirm"
    )
    yield* Effect.forkScoped(
      Effect.gen(function* () {
        yield* Effect.sleep(begin)
        for (let i = 0; i < leaks; i++) {
          yield* Effect.forkScoped(forget)
          yield* Effect.sleep(apart)
        }
      })
    )
  })

const cache: Loads = Effect.gen(function* () {
  const pool = yield* connections({
    name: "app/Cache",
    acquire: connect(2, 6),
    min: 4,
    max: 24,
    order: "lifo"
  })
  yield* visitors(30, [15, 60], () => Pool.use(pool, () => pause(1, 4)).pipe(Effect.withSpan("cache.get")))
})

const search: Loads = Effect.gen(function* () {
  const pool = yield* Pool.make({
    name: "search/Sessions",
    acquire: connect(30, 60),
    max: 8,
    maxIdle: "5 seconds"
  })
  yield* visitors(6, [40, 260], () =>
    Pool.use(pool, () => pause(30, 160)).pipe(Effect.withSpan("search.query"))
  )
})

const mail: Loads = Effect.gen(function* () {
  const pool = yield* Pool.make({ name: "mail/Smtp", acquire: connect(80, 140), min: 2, max: 4, maxUses: 60 })
  yield* visitors(3, [200, 900], () =>
    Pool.use(pool, () => pause(60, 220)).pipe(Effect.withSpan("mail.send"))
  )
})

const browsers: Loads = Effect.gen(function* () {
  const pool = yield* Pool.make({
    name: "invoices/Browsers",
    acquire: connect(300, 500),
    size: 3,
    maxUses: 40
  })
  yield* visitors(2, [300, 1500], () =>
    Pool.use(pool, () => pause(400, 900)).pipe(Effect.withSpan("invoice.print"))
  )
})

const hosts: Loads = Effect.gen(function* () {
  const pool = yield* KeyedPool.make<string, object, never, never>({
    name: "http/Hosts",
    acquire: () => connect(10, 30),
    maxPerKey: 6,
    max: 32
  })
  const names = ["api.parcel.example", "rates.example", "tax.example", "stock.example"]
  yield* visitors(14, [60, 240], (i) =>
    KeyedPool.use(pool, names[i % names.length] ?? "", () => pause(25, 120)).pipe(
      Effect.withSpan("http.request")
    )
  )
})

/** As many as the provider takes at once, which is not quite enough: those who pay wait a little. */
const payments: Loads = Effect.gen(function* () {
  const tokens = yield* TokenPool.make({ name: "payments/Limit", max: 5 })
  yield* visitors(7, [60, 140], () =>
    TokenPool.withToken(tokens, pause(180, 330)).pipe(Effect.withSpan("payment.charge"))
  )
})

const uploads: Loads = Effect.gen(function* () {
  const tokens = yield* TokenPool.make({ name: "uploads/Slots", max: 16 })
  yield* visitors(9, [100, 500], () =>
    TokenPool.withToken(tokens, pause(120, 700)).pipe(Effect.withSpan("upload.store"))
  )
})

const warehouse: Loads = Effect.gen(function* () {
  const pool = yield* connections({ name: "warehouse/Replica", acquire: connect(20, 50), min: 1, max: 6 })
  yield* visitors(3, [300, 900], () =>
    Pool.use(pool, () => pause(40, 200)).pipe(Effect.withSpan("stock.count"))
  )
})

const spin = (millis: number): number => {
  const end = performance.now() + millis
  let n = 0
  while (performance.now() < end) n++
  return n
}

const images: Loads = Effect.gen(function* () {
  const pool = yield* ThreadPool.ThreadPool
  yield* visitors(2, [150, 700], (i) =>
    Effect.withSpan(
      Effect.provideService(ThreadPool.execute(spin, 30 + 20 * i), ThreadPool.ThreadPool, pool),
      "image.resize"
    )
  )
  return yield* Effect.never
}).pipe(Effect.provide(NodeThreads.layer({ name: "images/Threads", min: 2, max: 4 })), (_) =>
  Effect.forkScoped(_)
)

/** Opens the pools and keeps them busy until the scope closes. */
export const shop = (leaks: {
  readonly count: number
  readonly begin: Duration.Input
  readonly apart: Duration.Input
}): Loads =>
  Effect.all(
    [
      database(leaks.count, leaks.begin, leaks.apart),
      cache,
      search,
      mail,
      browsers,
      hosts,
      payments,
      uploads,
      warehouse,
      images
    ],
    { discard: true }
  )
