/** An address in a `url`, and options beside it: what is given wins over the same part of the `url`. */
import { DatabaseConnector, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { MysqlDriver } from "@cenote/sql-mysql2"
import { TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { expect, it, layer } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { connect, createServer, type AddressInfo } from "node:net"
import { inspect } from "node:util"

const target = (url: string, config: MysqlDriver.Config = {}) =>
  MysqlDriver.make({ url: Redacted.make(url), ...config }).target

it("the name of a pool is where its sessions go, in the url or beside it", () => {
  const url = "mysql://u:p@db:7/d?socketPath=%2Frun%2Fmysqld.sock"
  expect(target("mysql://u:p@db:7/d")).toBe("mysql db:7/d")
  expect(target("mysql://u:p@[::1]:7/d")).toBe("mysql ::1:7/d")
  expect(target("mysql://u:p@db:7/d", { host: "other", port: 1, database: "e" })).toBe("mysql other:1/e")
  expect(target(url)).toBe("mysql /run/mysqld.sock/d")
  expect(target(url, { connection: { socketPath: "/run/other.sock" } })).toBe("mysql /run/other.sock/d")
  expect(target(url, { host: "db" })).toBe("mysql db:7/d")
})

it.effect.each(["/", "#", "?"])("a password with a %s in it as it stands is not shown in parts", (mark) =>
  Effect.gen(function* () {
    const driver = MysqlDriver.make({ url: Redacted.make(`mysql://u:12${mark}S3CR3T@h/db`) })
    for (const attempt of [Effect.scoped(driver.connect({})), driver.worker.config]) {
      const error = yield* Effect.flip(attempt)
      expect(error.message).toContain("the option url of MysqlDriver")
      expect(error.message).toContain("percent-encoded")
      expect(inspect([error, driver], { depth: 9 })).not.toContain("S3CR3T")
    }
  })
)

await TestServers.describeWith("on a MariaDB", [TestServers.MariaDb.sharedAvailable], () => {
  const Servers = Layer.merge(TestServers.MariaDb.shared, NodeThreads.layer({ size: 1 }))
  layer(Servers, { excludeTestServices: true })((it) => {
    for (const kind of ["raw", "tpooled"] as const) {
      const asked = (config: MysqlDriver.Config) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          return (yield* sql<{
            who: string
          }>`select concat(substring_index(user(), '@', 1), ' ', database()) as who`)[0]!.who
        }).pipe(
          Effect.provide(
            kind === "raw"
              ? RawConnectionPool.layer(MysqlDriver.make(config))
              : TpooledConnectionPool.layer(MysqlDriver.make(config))
          )
        )

      it.effect(`${kind}: each part of a url is used, and an option in its place wins`, () =>
        Effect.gen(function* () {
          const { config } = yield* TestServers.MariaDb
          const { database, host, password, port, username } = config
          const right = Redacted.value(password)
          const who = `${username} ${database}`
          const whole = urlOf(`${username}:${encodeURIComponent(right)}`, `${host}:${port}`, database)
          expect(yield* asked({ url: whole })).toBe(who)
          const wrong = urlOf("nobody:S3CR3T", "127.0.0.1:1", "nothing")
          expect(yield* asked({ url: wrong, host, port, database, username, password })).toBe(who)
          expect(
            yield* asked({ url: wrong, host, port, database, username, password: Effect.succeed(password) })
          ).toBe(who)
          expect(yield* asked({ url: whole, database: "mysql" })).toBe(`${username} mysql`)
          for (const one of [
            { port: 1 },
            { username: "nobody" },
            { database: "nothing" },
            { password: Redacted.make("no") }
          ]) {
            const error = yield* Effect.flip(asked({ url: whole, ...one }))
            expect(inspect(error, { depth: 9 })).not.toContain(right)
          }
        })
      )

      it.effect(`${kind}: a password of special characters, an IPv6 address and parameters`, () =>
        Effect.gen(function* () {
          const { config } = yield* TestServers.MariaDb
          const secret = "p%/@:#?&= +ü"
          yield* Effect.scoped(
            Effect.flatMap(MysqlDriver.make(config).connect({}), (session) =>
              session.executeUnprepared(
                `grant all on \`${config.database}\`.* to 'od:d ${kind}'@'${config.host}' identified by '${secret}'`,
                [],
                undefined
              )
            )
          )
          const at = yield* onIPv6(config)
          const url = (parameters: string) =>
            Redacted.make(
              `mysql://${encodeURIComponent(`od:d ${kind}`)}:${encodeURIComponent(secret)}@${at}/${config.database}${parameters}`
            )
          expect(yield* asked({ url: url("?charset=latin1") })).toBe(`od:d ${kind} ${config.database}`)
          const refused = yield* Effect.flip(asked({ url: url("?ssl=true") }))
          expect(refused.message).toMatch(/secure connection|certificate/)
          expect(inspect(refused, { depth: 9 })).not.toContain(secret)
          expect(yield* asked({ url: url("?ssl=true"), ssl: false })).toBe(`od:d ${kind} ${config.database}`)
        }).pipe(Effect.scoped)
      )

      it.effect(
        `${kind}: what a connector is asked for, and the credentials of the host, win over a url`,
        () =>
          Effect.gen(function* () {
            const { config } = yield* TestServers.MariaDb
            const { database, host, password, port, username } = config
            const url = Redacted.make(`mysql://nobody:S3CR3T@${host}:${port}/${database}`)
            const driver = MysqlDriver.make
            const credentials = {
              [host]: { username, password },
              none: { host, username, password: Effect.succeed(password) }
            }
            const defaults: MysqlDriver.Config = { url }
            const connector =
              kind === "raw"
                ? DatabaseConnector.layer({ driver, credentials, defaults, kind })
                : DatabaseConnector.layer({ driver, credentials, defaults, kind })
            yield* Effect.gen(function* () {
              const at = `mysql ${host}:${port}`
              expect(yield* askedOf()).toEqual([`${at}/${database}`, `${username} ${database}`])
              expect(yield* askedOf({ database: "mysql" })).toEqual([`${at}/mysql`, `${username} mysql`])
              // The host that was asked for is none; its credentials say where it is.
              expect(yield* askedOf({ host: "none" })).toEqual([
                `${at}/${database}`,
                `${username} ${database}`
              ])
              expect(yield* DatabaseConnector.get({ host })).toBe(yield* DatabaseConnector.get())
            }).pipe(Effect.provide(connector))
          })
      )
    }
  })
})

const urlOf = (userinfo: string, at: string, rest = "") =>
  Redacted.make(`mysql://${userinfo}@${at}/${encodeURIComponent(rest)}`)

/** The pool of a target, and who is connected to what there. */
const askedOf = (target?: DatabaseConnector.Target) =>
  Effect.gen(function* () {
    const { client, name } = yield* DatabaseConnector.get(target)
    const [row] = yield* client<{
      who: string
    }>`select concat(substring_index(user(), '@', 1), ' ', database()) as who`
    return [name, row!.who]
  })

/** Leads to the server from an address in brackets. */
const onIPv6 = ({ host, port }: { readonly host: string; readonly port: number }) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createServer>>((resume) => {
        const server = createServer((socket) => {
          const onward = connect(port, host)
          const end = () => {
            socket.destroy()
            onward.destroy()
          }
          for (const each of [socket, onward]) each.on("error", end).on("close", end)
          socket.pipe(onward).pipe(socket)
        })
        server.listen(0, "::1", () => resume(Effect.succeed(server)))
        server.on("error", (error) => resume(Effect.die(error)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => `[::1]:${(server.address() as AddressInfo).port}`
  )
