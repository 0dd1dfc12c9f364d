// What the connector's program runs on: two databases of one server, each with an owner, and a password of the owner's.
import { Postgres } from "@cenote/testing/TestServers"
import { PgConnection } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import type { SqlError } from "effect/sql"
import { randomBytes } from "node:crypto"

/** Who owns which database. */
const owners = { clerk: "orders", keeper: "stock" } as const

export type Owner = keyof typeof owners

/** The passwords of the owners. */
export type Secrets = Readonly<Record<Owner, Redacted.Redacted>>

const tables: Readonly<Record<Owner, ReadonlyArray<string>>> = {
  clerk: [
    `create table orders (
       id text primary key,
       item text not null,
       clerk text not null default current_user,
       backend integer not null default pg_backend_pid()
     )`
  ],
  keeper: [
    "create table stock (item text primary key, pieces integer not null)",
    "insert into stock values ('pear', 20), ('plum', 20), ('quince', 20)"
  ]
}

/** All of what is in stock at first. */
export const piecesAtFirst = 60

export class Shops extends Context.Service<
  Shops,
  {
    readonly port: number
    /** The passwords as they are now. */
    readonly secrets: Effect.Effect<Secrets>
    /** Gives those that were valid before. */
    readonly changePasswords: Effect.Effect<Secrets, SqlError.SqlError>
    /** Runs a statement as an owner would, on a session of its own. */
    readonly query: (
      owner: Owner,
      sql: string,
      secrets?: Secrets
    ) => Effect.Effect<ReadonlyArray<PgConnection.Row>, SqlError.SqlError>
  }
>()("examples/Shops") {
  /** New databases and owners, which are gone with the scope. */
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const { config, port } = yield* Postgres
      const of = (owner: Owner, { [owner]: password }: Secrets): PgConnection.Config => ({
        ...config,
        database: owners[owner],
        username: owner,
        password
      })

      let secrets = newSecrets()
      for (const owner of all) {
        const database = owners[owner]
        yield* Effect.acquireRelease(
          run(
            config,
            `create role ${owner} login password '${Redacted.value(secrets[owner])}'`,
            `create database ${database} owner ${owner}`,
            `revoke connect on database ${database} from public`
          ),
          () => Effect.ignore(run(config, `drop database ${database} with (force)`, `drop role ${owner}`))
        )
        yield* run(of(owner, secrets), ...tables[owner])
      }
      return {
        port,
        secrets: Effect.sync(() => secrets),
        changePasswords: Effect.gen(function* () {
          const before = secrets
          const next = newSecrets()
          yield* run(
            config,
            ...all.map((owner) => `alter role ${owner} password '${Redacted.value(next[owner])}'`)
          )
          secrets = next
          return before
        }),
        query: (owner, sql, given) =>
          Effect.map(
            Effect.suspend(() => run(of(owner, given ?? secrets), sql)),
            ([result]) => result?.rows ?? []
          )
      }
    })
  )
}

const all: ReadonlyArray<Owner> = ["clerk", "keeper"]

const newSecrets = (): Secrets => ({ clerk: newPassword(), keeper: newPassword() })

const newPassword = () => Redacted.make(randomBytes(18).toString("base64url"))

/** Runs statements on a session of their own. */
const run = (config: PgConnection.Config, ...statements: ReadonlyArray<string>) =>
  Effect.scoped(
    Effect.flatMap(PgConnection.make(config), (session) =>
      Effect.forEach(statements, (sql) => session.query(sql))
    )
  )
