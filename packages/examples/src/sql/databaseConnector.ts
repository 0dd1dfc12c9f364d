// Database Connector: two hosts, a database and credentials for each, and passwords that change while the program runs.
import { DatabaseConnector } from "@cenote/sql"
import { PgDriver } from "@cenote/sql-pg"
import { Console, Context, Effect, Layer } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { Shops } from "./shops.ts"

/** What knows of orders and of what is in stock asks for its database, and knows nothing of how it is reached. */
class Orders extends Context.Service<Orders, SqlClient>()("examples/Orders") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(DatabaseConnector.get({ host: "127.0.0.1", database: "orders" }), (_) => _.client)
  )
}
class Stock extends Context.Service<Stock, SqlClient>()("examples/Stock") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(DatabaseConnector.get({ host: "localhost", database: "stock" }), (_) => _.client)
  )
}

const order = Effect.fnUntraced(function* (id: string, item: string) {
  const orders = yield* Orders
  const stock = yield* Stock
  // If the order cannot be placed, the piece is put back.
  yield* stock.withTransaction(
    Effect.gen(function* () {
      const [taken] = yield* stock<{ pieces: number; keeper: string }>`
        update stock set pieces = pieces - 1 where item = ${item} returning pieces, current_user as keeper`
      const [placed] = yield* orders<{ clerk: string }>`
        insert into orders ${orders.insert({ id, item })} returning clerk`
      yield* Console.log(
        `Order ${id}: placed by the ${placed?.clerk}, the ${taken?.keeper} has ${taken?.pieces} ${item}s left`
      )
    })
  )
  return id
})

const customers = (day: number) =>
  Effect.forEach(
    ["pear", "plum", "pear", "quince", "plum", "pear"],
    (item, i) => order(`${day}/${i + 1}`, item),
    { concurrency: "unbounded" }
  )

const shop = Effect.gen(function* () {
  const { changePasswords } = yield* Shops
  const connector = yield* DatabaseConnector.DatabaseConnector
  const first = yield* customers(1)

  // Sessions that are open go on with the old passwords, and so all of them are replaced.
  const before = yield* changePasswords
  yield* connector.recycle
  yield* Console.log("The passwords were changed")
  const second = yield* customers(2)

  const elsewhere = connector.get({ host: "db.example.com", database: "stock" })
  yield* Effect.catchTag(elsewhere, "UnknownHost", ({ message }) => Console.log(`Not reached: ${message}`))
  for (const { database, host, stats } of yield* connector.stats) {
    yield* Console.log(`${database} on ${host}: ${stats.borrowed} borrowed, ${stats.created} connected`)
  }
  return { committed: [...first, ...second], before }
})

/** Gives the ids of the orders that it placed, and the passwords that should have been of no use since. */
export const databaseConnector = Effect.gen(function* () {
  const { port, secrets } = yield* Shops
  const ConnectorLive = DatabaseConnector.layer({
    driver: PgDriver.make,
    defaults: { port, applicationName: "connector" },
    // An Effect is run at each connect.
    credentials: {
      "127.0.0.1": Effect.map(secrets, ({ clerk }) => ({ username: "clerk", password: clerk })),
      localhost: Effect.map(secrets, ({ keeper }) => ({ username: "keeper", password: keeper }))
    },
    kind: "raw",
    pool: { max: 2 }
  })
  return yield* shop.pipe(Effect.provide([Orders.layer, Stock.layer]), Effect.provide(ConnectorLive))
})
