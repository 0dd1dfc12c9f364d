/** Sessions from their beginning to their end, as the server sees them. */
import { MysqlDriver } from "@cenote/sql-mysql2"
import { TestServers } from "@cenote/testing"
import { expect, layer } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import type * as Mysql from "mysql2"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { busyWith, goneFrom, idOf, open, rows, text, watchEnd, within } from "./kit.ts"

/** Fails if nothing on this machine makes certificates. */
const opensslAvailable = Effect.suspend(() =>
  spawnSync("openssl", ["version"]).status === 0
    ? Effect.void
    : Effect.fail(
        new TestServers.ServerError({
          reason: "Binaries",
          message: "no openssl on this machine (Debian and Ubuntu: apt-get install openssl)"
        })
      )
)

/** A MariaDB of one's own that has a certificate, of nobody in particular. */
class TlsServer extends Context.Service<TlsServer, TestServers.Settings>()("test/TlsServer") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "cenote-certificate-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
      )
      const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")]
      const make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
      execFileSync("openssl", [...make, "-keyout", key, "-out", certificate], { stdio: "ignore" })
      const server = yield* Layer.build(
        TestServers.MariaDb.layer({ settings: { ssl_cert: certificate, ssl_key: key } })
      )
      return Context.get(server, TestServers.MariaDb).config
    })
  )
}

await TestServers.describeWith("sessions", [TestServers.MariaDb.sharedAvailable], () => {
  layer(TestServers.MariaDb.shared, { excludeTestServices: true })((it) => {
    it.effect("a session ends with its scope, and nobody is told", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const scope = yield* Scope.make()
        const session = yield* Scope.provide(open(), scope)
        const { told } = yield* watchEnd(session)
        yield* within("10 seconds", Scope.close(scope, Exit.void))
        yield* goneFrom(observer, idOf(session))
        expect(told).toEqual([])
        const error = yield* Effect.flip(text(session, "select 1"))
        expect(error.reason._tag).toBe("ConnectionError")
        expect(told).toEqual([])
      })
    )

    it.effect("a scope that closes in the middle of a statement ends it, on the server as well", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const scope = yield* Scope.make()
        const session = yield* Scope.provide(open(), scope)
        // It does not look whether anybody is there.
        const sql = "select benchmark(100000000000, sha2('x', 512))"
        const fiber = yield* Effect.forkChild(Effect.flip(text(session, sql)))
        yield* busyWith(observer, idOf(session), "benchmark")
        yield* within("10 seconds", Scope.close(scope, Exit.void))
        expect((yield* within("10 seconds", Fiber.join(fiber))).reason._tag).toBe("ConnectionError")
        yield* goneFrom(observer, idOf(session))
      })
    )

    it.effect("whatever is said of a session at rest when it ends, it is a ConnectionError", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const { ended } = yield* watchEnd(session)
        const said = Object.assign(new Error("something new"), {
          errno: 9999,
          code: "ER_NEW",
          sqlState: "HY000"
        })
        ;(session.native as Mysql.Connection).emit("error", said)
        const error = yield* ended
        expect(error.reason._tag).toBe("ConnectionError")
        expect(error.message).toContain("something new")
        expect(yield* Effect.flip(session.ping)).toBe(error)
      })
    )

    it.effect("a session that rests for longer than the server waits is told to be over", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const { ended } = yield* watchEnd(session)
        yield* text(session, "set wait_timeout = 1")
        expect((yield* ended).reason._tag).toBe("ConnectionError")
      })
    )

    it.effect("a server that shuts down ends its sessions, and when it is back there are new ones", () =>
      Effect.gen(function* () {
        const server = yield* TestServers.MariaDb
        const driver = MysqlDriver.make(server.config)
        const idle = yield* driver.connect({})
        const busy = yield* driver.connect({})
        const ends = [yield* watchEnd(idle), yield* watchEnd(busy)]
        const fiber = yield* Effect.forkChild(Effect.flip(text(busy, "select sleep(60)")))
        yield* busyWith(idle, idOf(busy), "sleep(60)")
        yield* server.stop
        for (const { ended } of ends) expect(driver.isFatal(yield* ended)).toBe(true)
        const error = yield* within("10 seconds", Fiber.join(fiber))
        expect(driver.isFatal(error)).toBe(true)
        const refused = yield* Effect.flip(Effect.scoped(driver.connect({})))
        expect(refused.reason._tag).toBe("ConnectionError")
        yield* server.start
        const again = yield* driver.connect({})
        expect(yield* text(again, "select 1 as a")).toEqual([{ a: 1 }])
        const crashed = yield* watchEnd(again)
        yield* server.kill
        yield* crashed.ended
      }).pipe(Effect.provide(TestServers.MariaDb.layer()))
    )

    it.effect("EV-44: a rollback undoes what was not committed, and does nothing where nothing is open", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* session.rollback
        yield* text(session, "create table undone (n int)")
        yield* text(session, "begin")
        yield* rows(session, "insert into undone values (1)")
        yield* session.rollback
        yield* session.rollback
        expect(yield* rows(session, "select * from undone")).toEqual([])
        yield* rows(session, "insert into undone values (2)")
        yield* session.rollback
        expect(yield* rows(session, "select * from undone")).toEqual([{ n: 2 }])
      })
    )

    it.effect(
      "a reset leaves nothing: variables, settings, temporary tables, locks, transactions, character sets, the database",
      () =>
        Effect.gen(function* () {
          const { config } = yield* TestServers.MariaDb
          const session = yield* open()
          const observer = yield* open()
          const state = () =>
            text(
              session,
              `select @x as x, @@session.sql_mode as mode, @@character_set_client as cs, @@collation_connection as co,
               @@autocommit as ac, @@time_zone as tz, is_used_lock('cenote') as locked, database() as d`
            )
          const [fresh] = yield* state()
          yield* text(session, "create table kept (n int)")
          for (const sql of [
            "set @x = 1",
            "set sql_mode = 'ANSI_QUOTES'",
            "set names latin1",
            "set autocommit = 0",
            "set time_zone = '+03:00'",
            "select get_lock('cenote', 0)",
            "create temporary table gone (n int)",
            "insert into kept values (1)",
            "use information_schema"
          ]) {
            yield* text(session, sql)
          }
          yield* rows(session, "select ? as prepared", [1])
          expect((yield* state())[0]).not.toEqual(fresh)
          yield* session.reset
          expect((yield* state())[0]).toEqual(fresh)
          expect(fresh.d).toBe(config.database)
          expect((yield* Effect.flip(text(session, "select * from gone"))).reason._tag).toBe("SqlSyntaxError")
          expect(yield* text(observer, "select * from kept")).toEqual([])
          // What was prepared is forgotten on both sides, and text goes as it did.
          expect(yield* rows(session, "select ? as prepared", [2])).toEqual([{ prepared: 2 }])
          expect(yield* rows(session, "select ? as wave", ["\u{1f30a}"])).toEqual([{ wave: "\u{1f30a}" }])
          expect(yield* text(session, "select '\u{1f30a}é' as wave")).toEqual([{ wave: "\u{1f30a}é" }])
        })
    )

    it.effect("a reset also where no database was chosen in the beginning", () =>
      Effect.gen(function* () {
        const server = yield* TestServers.MariaDb
        const { database: _, ...config } = server.config
        const session = yield* MysqlDriver.make(config).connect({})
        expect(yield* text(session, "select database() as d")).toEqual([{ d: null }])
        yield* session.reset
        const id = idOf(session)
        yield* text(session, "use mysql")
        yield* text(session, "set @x = 1")
        yield* session.reset
        expect(yield* text(session, "select database() as d, @x as x, connection_id() as id")).toEqual([
          { d: null, x: null, id }
        ])
        expect(yield* rows(session, "select ? as wave", ["\u{1f30a}"])).toEqual([{ wave: "\u{1f30a}" }])
      })
    )

    it.effect("a ping is answered, and fails where nobody answers", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* session.ping
        const { ended } = yield* watchEnd(session)
        const observer = yield* open()
        yield* text(observer, `kill ${idOf(session)}`)
        yield* ended
        expect((yield* Effect.flip(session.ping)).reason._tag).toBe("ConnectionError")
        expect((yield* Effect.flip(session.rollback)).reason._tag).toBe("ConnectionError")
        expect((yield* Effect.flip(session.reset)).reason._tag).toBe("ConnectionError")
      })
    )

    it.effect("a password that changes is asked for at the next connect", () =>
      Effect.gen(function* () {
        const admin = yield* open()
        yield* text(admin, "create or replace user changing@'%' identified by 'one'")
        let password = "one"
        const { config } = yield* TestServers.MariaDb
        const driver = MysqlDriver.make({
          host: config.host,
          port: config.port,
          username: "changing",
          password: Effect.sync(() => Redacted.make(password))
        })
        const session = yield* driver.connect({})
        yield* text(admin, "alter user changing@'%' identified by 'two'")
        const refused = yield* Effect.flip(Effect.scoped(driver.connect({})))
        expect(refused.reason._tag).toBe("AuthenticationError")
        password = "two"
        yield* driver.connect({})
        // Stopping a statement takes the new one as well.
        const { told } = yield* watchEnd(session)
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(admin, idOf(session), "sleep(60)")
        yield* within("10 seconds", Fiber.interrupt(fiber))
        expect(yield* text(session, "select 1 as a")).toEqual([{ a: 1 }])
        expect(told).toEqual([])
        yield* text(admin, "drop user changing@'%'")
      })
    )

    it.effect("a socket of one's own, and a Unix socket", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        let made = 0
        const session = yield* open({
          connection: {
            stream: () => {
              made++
              return Net.connect(config.port, config.host)
            }
          }
        })
        const observer = yield* open()
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(observer, idOf(session), "sleep(60)")
        yield* within("10 seconds", Fiber.interrupt(fiber))
        expect(yield* text(session, "select 1 as a")).toEqual([{ a: 1 }])
        expect(made).toBe(2)
        const [{ path }] = yield* text(session, "select @@socket as path")
        const local = yield* open({ connection: { socketPath: path } })
        const [{ host }] = yield* text(
          observer,
          `select host from information_schema.processlist where id = ${idOf(local)}`
        )
        expect(host).toBe("localhost")
        const waiting = yield* Effect.forkChild(text(local, "select sleep(60)"))
        yield* busyWith(observer, idOf(local), "sleep(60)")
        yield* within("10 seconds", Fiber.interrupt(waiting))
        expect(yield* text(local, "select 1 as a")).toEqual([{ a: 1 }])
      })
    )

    it.effect("statements that nobody uses any more are closed on the server", () =>
      Effect.gen(function* () {
        const session = yield* open({ connection: { maxPreparedStatements: 3 } })
        const observer = yield* open()
        for (let i = 0; i < 20; i++) yield* rows(session, `select ${i} as a, ? as b`, [i])
        // The first again, which is not there any more.
        expect(yield* rows(session, "select 0 as a, ? as b", [5])).toEqual([{ a: 0, b: 5 }])
        expect((session.native as Mysql.Connection).config.maxPreparedStatements).toBe(3)
        const [{ Value: closed }] = yield* text(session, "show session status like 'Com_stmt_close'")
        expect(Number(closed)).toBeGreaterThanOrEqual(17)
        expect(yield* rows(observer, "select 1 as a")).toEqual([{ a: 1 }])
      })
    )
  })
})

await TestServers.describeWith("sessions over TLS", [TestServers.MariaDb.available, opensslAvailable], () => {
  layer(TlsServer.layer, { excludeTestServices: true })((it) => {
    for (const ssl of [undefined, { rejectUnauthorized: false }]) {
      const kind = ssl === undefined ? "plain" : "TLS"

      it.effect(`a session that is killed while it rests says so at once, ${kind}`, () =>
        Effect.gen(function* () {
          const server = yield* TlsServer
          const observer = yield* MysqlDriver.make(server).connect({})
          const session = yield* MysqlDriver.make({
            ...server,
            ...(ssl === undefined ? {} : { ssl })
          }).connect({})
          const [{ Value: cipher }] = yield* text(session, "show session status like 'ssl_cipher'")
          expect(cipher === "").toBe(ssl === undefined)
          const { ended, told } = yield* watchEnd(session)
          yield* text(observer, `kill connection ${idOf(session)}`)
          const error = yield* ended
          expect(error).toMatchObject({ _tag: "SqlError", reason: { _tag: "ConnectionError" } })
          expect(yield* Effect.flip(session.ping)).toBe(error)
          // Who asks later hears the same at once.
          const later: Array<unknown> = []
          session.onEnd((error) => later.push(error))
          expect(later).toEqual([error])
          expect(told).toEqual([error])
        })
      )

      it.effect(`a session that is killed in a statement fails it, and says so, ${kind}`, () =>
        Effect.gen(function* () {
          const server = yield* TlsServer
          const driver = MysqlDriver.make({ ...server, ...(ssl === undefined ? {} : { ssl }) })
          const observer = yield* MysqlDriver.make(server).connect({})
          const session = yield* driver.connect({})
          const { ended, told } = yield* watchEnd(session)
          const fiber = yield* Effect.forkChild(Effect.flip(text(session, "select sleep(60)")))
          yield* busyWith(observer, idOf(session), "sleep(60)")
          yield* text(observer, `kill connection ${idOf(session)}`)
          const error = yield* within("10 seconds", Fiber.join(fiber))
          expect(error.reason._tag).toBe("ConnectionError")
          expect(driver.isFatal(error)).toBe(true)
          yield* ended
          expect(told).toHaveLength(1)
        })
      )

      it.effect(`an interrupted statement is stopped, and the session closed, ${kind}`, () =>
        Effect.gen(function* () {
          const server = yield* TlsServer
          const driver = MysqlDriver.make({ ...server, ...(ssl === undefined ? {} : { ssl }) })
          const observer = yield* MysqlDriver.make(server).connect({})
          const scope = yield* Scope.make()
          const session = yield* Scope.provide(driver.connect({}), scope)
          const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
          yield* busyWith(observer, idOf(session), "sleep(60)")
          yield* within("10 seconds", Fiber.interrupt(fiber))
          expect(yield* text(session, "select 1 as a")).toEqual([{ a: 1 }])
          yield* within("10 seconds", Scope.close(scope, Exit.void))
          yield* goneFrom(observer, idOf(session))
        })
      )
    }

    it.effect("ssl: true wants a certificate that is trusted", () =>
      Effect.gen(function* () {
        const server = yield* TlsServer
        const strict = yield* Effect.flip(
          Effect.scoped(MysqlDriver.make({ ...server, ssl: true }).connect({}))
        )
        expect(strict.reason._tag).toBe("ConnectionError")
        expect(strict.message).toMatch(/self.signed certificate/)
      })
    )
  })
})
