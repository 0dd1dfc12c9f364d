/** What every driver must do, and what `MysqlClient` does over pools of either kind. */
import { MysqlDriver } from "@cenote/sql-mysql2"
import { TestServers } from "@cenote/testing"
import * as SqlConformance from "@cenote/testing/SqlConformance"
import { MysqlClient } from "@effect/sql-mysql2"
import { describe, expect } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql/SqlClient"

await TestServers.describeWith("conformance", [TestServers.MariaDb.sharedAvailable], () => {
  SqlConformance.suite<MysqlClient.MysqlClient>({
    name: "MariaDB",
    dialect: SqlConformance.mariadb,
    database: Effect.map(Layer.build(TestServers.MariaDb.shared), (context) => {
      const { config } = Context.get(context, TestServers.MariaDb)
      return {
        driver: ({ address, password = config.password, ...names } = {}) =>
          MysqlDriver.make({ ...config, ...address, password, ...names }),
        address: { host: config.host, port: config.port },
        password: config.password
      }
    }),
    more: (bench) => mysqlClient(bench)
  })
})

const mysqlClient = ({ test }: SqlConformance.Bench<MysqlClient.MysqlClient>): void => {
  describe("MysqlClient", () => {
    test("it is the client of the pool", { max: 1 }, function* ({ observer, pool, table }) {
      const mysql = yield* MysqlClient.MysqlClient
      const sql = yield* SqlClient
      expect(mysql).toBe(sql)
      expect(pool.client).toBe(sql)
      const name = yield* table("n integer")
      yield* Effect.exit(
        mysql.withTransaction(Effect.andThen(sql`insert into ${sql(name)} values (1)`, Effect.fail("no")))
      )
      expect(yield* observer.executeValues(`select count(*) from ${name}`, [])).toEqual([[0]])
    })

    test("raw says what a statement has changed, and which key a row got", { max: 1 }, function* ({ table }) {
      const mysql = yield* MysqlClient.MysqlClient
      const name = yield* table("id integer auto_increment primary key, label varchar(20)")
      const insert = mysql`insert into ${mysql(name)} ${mysql.insert([{ label: "a" }, { label: "b" }])}`
      expect(yield* insert.raw).toMatchObject({ affectedRows: 2, insertId: 1 })
      expect(yield* insert.raw).toMatchObject({ affectedRows: 2, insertId: 3 })
      expect(yield* mysql`update ${mysql(name)} set label = 'c' where id > ${2}`.raw).toMatchObject({
        affectedRows: 2
      })
    })

    test("values of columns that are objects come as objects", { max: 1 }, function* ({ table }) {
      const mysql = yield* MysqlClient.MysqlClient
      const name = yield* table("j json")
      for (const value of [{ a: [1, null, "ü"] }, { "": { "'": '"' } }]) {
        yield* mysql`delete from ${mysql(name)}`
        yield* mysql`insert into ${mysql(name)} ${mysql.insert({ j: JSON.stringify(value) })}`
        expect(yield* mysql`select j from ${mysql(name)}`).toEqual([{ j: value }])
      }
    })

    test(
      "a table that is made in a transaction commits what was before it",
      { max: 1 },
      function* ({ observer, table }) {
        const mysql = yield* MysqlClient.MysqlClient
        const name = yield* table("n integer")
        yield* Effect.exit(
          mysql.withTransaction(
            Effect.gen(function* () {
              yield* mysql`insert into ${mysql(name)} values (1)`
              yield* mysql`create table ${mysql(`${name}_more`)} (n integer)`
              return yield* Effect.fail("no")
            })
          )
        )
        // So it is with MySQL. What counts is that the connection is as good as before.
        expect(yield* observer.executeValues(`select count(*) from ${name}`, [])).toEqual([[1]])
        yield* mysql`insert into ${mysql(name)} values (2)`
        expect(yield* observer.executeValues(`select count(*) from ${name}`, [])).toEqual([[2]])
      }
    )
  })
}
