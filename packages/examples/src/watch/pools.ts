// The pools of a shop that is open day and night.
import { KeyedPool, TokenPool } from "@cenote/pool"
import { type ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { Effect, Layer } from "effect"
import { type Database, postgres, sqlite } from "../sql/databases.ts"
import { lasting } from "./tempo.ts"

export type Connections = ConnectionPool.Service

/** Closing waits no longer than this for those who are not back. */
const closeTimeout = "1 second"

/** Orders and customers, on PostgreSQL. */
const openDb = Effect.gen(function* () {
  const { driver } = yield* postgres.make
  const leakAfter = yield* lasting(5)
  return yield* RawConnectionPool.make(driver, { name: "app/Db", min: 1, max: 4, leakAfter, closeTimeout })
})

/** What is in stock, on SQLite, each connection in a thread. */
const openStock = Effect.gen(function* () {
  const { driver } = yield* sqlite.make
  const threads = yield* Layer.build(NodeThreads.layer({ name: "app/Stock threads", size: 2, closeTimeout }))
  return yield* Effect.provideContext(
    TpooledConnectionPool.make(driver, { name: "app/Stock", max: 2, closeTimeout }),
    threads
  )
})

/** The bookkeeping, on a MariaDB. */
export const openBooks = ({ driver }: Database) =>
  RawConnectionPool.make(driver, { name: "app/Books", max: 2, closeTimeout })

/** Each carrier takes two calls at a time, and all of them five. */
const openCarriers = Effect.gen(function* () {
  let connected = 0
  return yield* KeyedPool.make({
    name: "app/Carriers",
    acquire: (carrier: string) => Effect.sync(() => `${carrier} ${++connected}`),
    maxPerKey: 2,
    max: 5,
    acquireTimeout: yield* lasting(1.5),
    closeTimeout
  })
})

/** Opens all of them, until the scope closes. */
export const openPools = Effect.gen(function* () {
  return {
    db: yield* openDb,
    stock: yield* openStock,
    carriers: yield* openCarriers,
    uploads: yield* TokenPool.make({ name: "app/Uploads", max: 3, closeTimeout }),
    cpu: yield* Layer.build(
      NodeThreads.layer({ name: "app/Cpu", size: 2, killGrace: "500 millis", closeTimeout })
    )
  }
})

export type Pools = Effect.Success<typeof openPools>

export const tasks = ThreadPool.module<typeof import("../threads/tasks.ts")>(
  new URL("../threads/tasks.ts", import.meta.url)
)
