import { Effect } from "effect"
import * as SqlConformance from "@cenote/testing/SqlConformance"
import * as TestServers from "@cenote/testing/TestServers"
import * as Layer from "effect/Layer"
import * as Context from "effect/Context"
import { MysqlDriver } from "@cenote/sql-mysql2"

SqlConformance.suite({
  name: "MariaDB",
  dialect: SqlConformance.mariadb,
  database: Effect.map(Layer.build(TestServers.MariaDb.shared), (context) => {
    const { config } = Context.get(context, TestServers.MariaDb)
    return {
      driver: ({ address, password, ...names } = {}) =>
        MysqlDriver.make({
          ...config,
          ...address,
          ...(password === undefined ? {} : { password }),
          ...names
        }),
      address: { host: config.host, port: config.port },
      password: config.password
    }
  })
})
