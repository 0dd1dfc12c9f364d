import { Effect } from "effect"
import * as SqlConformance from "@cenote/testing/SqlConformance"
import * as TestServers from "@cenote/testing/TestServers"
import * as Layer from "effect/Layer"
import * as Context from "effect/Context"
import { PgDriver } from "@cenote/sql-pg"

SqlConformance.suite({
  name: "PostgreSQL",
  dialect: SqlConformance.postgres,
  database: Effect.map(Layer.build(TestServers.Postgres.shared), (context) => {
    const { config } = Context.get(context, TestServers.Postgres)
    return {
      driver: ({ address, password, ...names } = {}) =>
        PgDriver.make({ ...config, ...address, ...(password === undefined ? {} : { password }), ...names }),
      address: { host: config.host, port: config.port },
      password: config.password
    }
  })
})
