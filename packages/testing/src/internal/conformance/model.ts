// What is said about a database in order to test its driver.
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SqlErrorReason } from "effect/sql/SqlError"
import type { SqlDriver } from "@cenote/sql"
import type { Bench } from "./kit.ts"

/** Where connections live. */
export type Kind = "raw" | "tpooled"

/** What is tested, and with what. */
export interface Options<Services> {
  /** What the tests call the database. */
  readonly name: string
  /** An empty database, which is gone with the scope. All tests of a run share it; each has tables of its own. */
  readonly database: Effect.Effect<Database<Services>, unknown, Scope.Scope>
  /** How its SQL differs from that of others. */
  readonly dialect: Dialect
  /** Default: both. */
  readonly kinds?: ReadonlyArray<Kind> | undefined
  /** Tests of what this driver alone has, such as its own services. Called once for each kind of pool. */
  readonly more?: ((bench: Bench<Services>) => void) | undefined
}

/** A database, and the drivers for it. */
export interface Database<Services> {
  /** A driver for it. */
  readonly driver: (changes?: DriverChanges) => SqlDriver.SqlDriver<Services>
  /** A driver whose connects fail, as those for a file in a folder that is not there. Where there is an `address`: not needed. */
  readonly broken?: (() => SqlDriver.SqlDriver<Services>) | undefined
  /** Where its server is. Where the dialect has a server, tests need to know it. */
  readonly address?: Address | undefined
  /** The password of the driver, which may show nowhere. Where the dialect has a server, tests need to know it. */
  readonly password?: Redacted.Redacted | undefined
  /** How many sessions are open. Default: what the statement `server.sessions` of the dialect lists. */
  readonly sessions?: Effect.Effect<number> | undefined
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** What is to be different about a driver. */
export interface DriverChanges {
  readonly transformQueryNames?: ((name: string) => string) | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly password?: Redacted.Redacted | undefined
  readonly address?: Address | undefined
}

/** How the SQL of a database differs from that of others. */
export interface Dialect {
  /** Types of columns. `key`: a primary key that counts up by itself. */
  readonly types: {
    readonly key: string
    readonly integer: string
    /** For texts of any length. */
    readonly text: string
    readonly bytes: string
  }
  /** Statements that begin a transaction, each in another way. */
  readonly begins: ReadonlyArray<string>
  /** A statement that begins one in which others see only what was committed when it began. */
  readonly beginSnapshot: string
  /** A statement that gives the numbers `n` from 1 on, and with each of them the columns that are named. */
  readonly series: (count: number, columns?: string) => string
  /** One that fails when it comes to a number. */
  readonly failingSeries: (count: number, at: number) => string
  /** An expression for a text of so many characters. */
  readonly longText: (length: number) => string
  /** A statement that makes a table which only its session sees. */
  readonly temporaryTable: (name: string) => string
  /** A setting of a session that is not the usual one, and how it is read. */
  readonly setting?: { readonly set: string; readonly get: string; readonly value: unknown } | undefined
  /** Whether several sessions can write at one time. */
  readonly writesAtOnce: boolean
  /** Whether `insert … returning` works. */
  readonly hasReturning: boolean
  /** Whether `sql.updateValues` does. */
  readonly hasUpdateValues: boolean
  /** What is checked at the commit alone, if there is such a thing. */
  readonly deferred?: ((table: string) => Deferred) | undefined
  /** Values that go in and come out, by what they are. */
  readonly values: Readonly<Record<string, Value>>
  /** Statements that fail, by what is wrong with them. */
  readonly failures: Readonly<Record<string, Failure>>
  /** What a server can be asked. A database without one has no sessions that others could see or end. */
  readonly server?: Server | undefined
}

/** A constraint that is checked at the commit: three statements. */
export interface Deferred {
  readonly create: string
  /** Adds what it does not allow. */
  readonly violate: string
  /** Adds a row that it allows. */
  readonly obey: string
}

export interface Server {
  /** An expression for the number of the session that asks. */
  readonly sessionId: string
  /** A statement that lists the `id`s of the sessions at this database, without that of the one that asks. */
  readonly sessions: string
  /** One that lists the `id`s of those that run a statement. */
  readonly busy: string
  /** A statement that ends a session. */
  readonly kill: (session: number) => string
  /** A statement that takes so many seconds, and can be cancelled. */
  readonly sleep: (seconds: number) => string
  /** Has a session wait for locks for a second or less. */
  readonly lockTimeout: string
  /** Has a session's statements take a second or less. */
  readonly statementTimeout: string
}

/** A value of a type. */
export interface Value {
  /** The type of the column. */
  readonly column: string
  readonly write: unknown
  /** What comes back. Default: what went in. */
  readonly read?: unknown
  /** What comes back with `SafeIntegers`. Default: the same. */
  readonly safe?: unknown
}

/** A statement that fails. Both functions get the name of a table that is not there yet. */
export interface Failure {
  /** Statements that succeed. */
  readonly before: (table: string) => ReadonlyArray<string>
  readonly statement: (table: string) => string
  readonly reason: SqlErrorReason["_tag"]
  /** Name of the constraint, where the reason has one. */
  readonly constraint?: ((table: string) => string) | undefined
  /** What the error of the driver says among its own properties. */
  readonly cause: Readonly<Record<string, unknown>>
}
