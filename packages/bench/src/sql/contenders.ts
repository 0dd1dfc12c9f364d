/** What is measured: each library brought to one of two shapes. The libraries are in the files of their databases. */
import { type ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import type { SqlDriver } from "@cenote/sql/SqlDriver"
import type { ThreadPool } from "@cenote/threads"
import { Effect, type Scope } from "effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Statement } from "effect/sql/Statement"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

type Kind = "effect" | "promise"

type Call<K extends Kind, A> = K extends "effect" ? Effect.Effect<A, unknown> : PromiseLike<A> | A

/** A pool that is open, and what can be asked of it. */
interface Calls<K extends Kind> {
  readonly kind: K
  /** Has the database give back a number. */
  readonly select: (n: number) => Call<K, number>
  /** Adds a row to `orders`, in a transaction. */
  readonly insert: (n: number) => Call<K, unknown>
  /** Reads all of `items`. */
  readonly read: () => Call<K, ReadonlyArray<unknown>>
  /** Runs any statement. */
  readonly run: (sql: string) => Call<K, ReadonlyArray<any>>
}

export type EffectCalls = Calls<"effect">
export type PromiseCalls = Calls<"promise">

export interface Connections {
  /** Connections that may be open at one time. */
  readonly max: number
  /** Whether all are open from the start, and stay; otherwise they are opened when they are needed. */
  readonly warm: boolean
}

export interface Contender<Place> {
  readonly name: string
  /** Opens a pool, which closes with the scope. */
  readonly open: (
    place: Place,
    connections: Connections
  ) => Effect.Effect<EffectCalls | PromiseCalls, unknown, Scope.Scope | ThreadPool.ThreadPool>
}

/** A kind of database, and who is measured on it. */
export interface Database<Place> {
  /** What the names of sections begin with. */
  readonly id: string
  readonly name: string
  /** A new, empty database. */
  readonly fresh: Effect.Effect<Place, unknown, Scope.Scope>
  /** Makes the tables. */
  readonly setUp: ReadonlyArray<string>
  /** Removes what `insert` has added. */
  readonly cleanUp: string
  /** What `read` gives. */
  readonly items: ReadonlyArray<unknown>
  readonly contenders: ReadonlyArray<Contender<Place>>
}

/** How many rows `items` has. */
export const rowsOfItems = 10_000

export const readItems = "select id, name, price, made_at from items order by id"

/** Longer than a run takes: connections that are warm stay. */
export const forLong = "1 hour" as const

// -----------------------------------------------------------------------------
// Constructors
// -----------------------------------------------------------------------------

type Select = (sql: SqlClient, n: number) => Statement<{ readonly n: number }>

/** All who have a `SqlClient` are asked in the same way. */
export const viaClient = (sql: SqlClient, select: Select): EffectCalls => ({
  kind: "effect",
  select: (n) => Effect.map(select(sql, n), (rows) => rows[0]!.n),
  insert: (n) => sql.withTransaction(sql`insert into orders (item, note) values (${n}, ${"a note"})`),
  read: () => sql`select id, name, price, made_at from items order by id`,
  run: (text) => sql.unsafe(text)
})

/** Cenote's pools of a driver. */
export const cenotePools = <Place, Services>(
  driver: (place: Place) => SqlDriver<Services>,
  select: Select
) => {
  const contender = <R>(
    name: string,
    make: (
      driver: SqlDriver<Services>,
      options: ConnectionPool.Options
    ) => Effect.Effect<ConnectionPool.Service, never, R>
  ) => ({
    name,
    open: (place: Place, { max, warm }: Connections) =>
      Effect.gen(function* () {
        const limits = warm ? { size: max, maxIdle: forLong, maxAge: forLong } : { max }
        const pool = yield* make(driver(place), limits)
        if (warm) yield* pool.warmUp
        return viaClient(pool.client, select)
      })
  })
  return {
    raw: contender("Cenote raw", RawConnectionPool.make),
    multiplex: contender("Cenote raw, multiplex", (driver, options) =>
      RawConnectionPool.make(driver, { ...options, multiplex: true })
    ),
    tpooled: contender("Cenote tpooled", TpooledConnectionPool.make)
  }
}

/** A library of promises. */
export const promises = <Place>(
  name: string,
  open: (
    place: Place,
    connections: Connections
  ) => { readonly calls: Omit<PromiseCalls, "kind">; readonly close: () => unknown }
): Contender<Place> => ({
  name,
  open: (place, connections) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => open(place, connections)),
        ({ close }) => Effect.promise(async () => close())
      ),
      ({ calls }) => ({ kind: "promise", ...calls })
    )
})
