// The kinds of servers that tests can share, and where their layers find the files and folders of the machine.
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Path from "effect/Path"
import * as mariadb from "./mariadb.ts"
import * as postgres from "./postgres.ts"
import { inRealTime, type ServerOptions } from "./server.ts"
import type { Kind } from "./shared.ts"

export const postgresKind: Kind<ServerOptions> = {
  name: postgres.name,
  make: postgres.make,
  check: postgres.check,
  versionOf: postgres.versionOf,
  databases: postgres.databases,
  variable: "CENOTE_POSTGRES_URL",
  protocols: ["postgres", "postgresql"],
  defaults: { port: 5432, database: "postgres", username: "postgres" },
  key: "@cenote/testing/postgres"
}

export const mariadbKind: Kind<ServerOptions> = {
  name: mariadb.name,
  make: mariadb.make,
  check: mariadb.check,
  versionOf: mariadb.versionOf,
  databases: mariadb.databases,
  variable: "CENOTE_MARIADB_URL",
  protocols: ["mariadb", "mysql"],
  defaults: { port: 3306, database: "mysql", username: "root" },
  key: "@cenote/testing/mariadb"
}

const platform = Layer.mergeAll(NodeFileSystem.layer, NodePath.layer)

/** On this machine, in real time. */
export const onMachine = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, FileSystem.FileSystem | Path.Path>> =>
  inRealTime(Effect.provide(effect, platform))
