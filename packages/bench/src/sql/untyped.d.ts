// What is used here of libraries that come without types.

declare module "pg" {
  export interface Query {
    /** A statement that has a name is prepared, once a connection. */
    readonly name?: string
    readonly text: string
    readonly values?: ReadonlyArray<unknown>
  }
  interface Result {
    readonly rows: Array<any>
  }
  interface PoolClient {
    readonly query: (query: Query | string) => Promise<Result>
    readonly release: (error?: Error | boolean) => void
  }
  interface PoolOptions {
    readonly host: string
    readonly port: number
    readonly database: string
    readonly user: string
    readonly password: string
    readonly min?: number
    readonly max?: number
    /** 0: connections stay. */
    readonly idleTimeoutMillis?: number
  }
  export class Pool {
    constructor(options: PoolOptions)
    query(query: Query | string): Promise<Result>
    connect(): Promise<PoolClient>
    end(): Promise<void>
    /** A connection is closed. */
    on(event: "remove", listener: () => void): this
    /** Connections that are open. */
    readonly totalCount: number
  }
}

declare module "better-sqlite3" {
  interface Statement {
    get(...values: ReadonlyArray<unknown>): any
    all(...values: ReadonlyArray<unknown>): Array<any>
    run(...values: ReadonlyArray<unknown>): unknown
    readonly reader: boolean
  }
  export default class Database {
    constructor(filename: string)
    prepare(sql: string): Statement
    transaction<A extends ReadonlyArray<unknown>>(f: (...args: A) => void): (...args: A) => void
    pragma(source: string): unknown
    close(): void
  }
}
