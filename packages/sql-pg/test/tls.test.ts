/** Sessions that are encrypted, from their beginning to their end. */
import { ConnectionPool, RawConnectionPool, TpooledConnectionPool } from "@cenote/sql"
import { PgDriver } from "@cenote/sql-pg"
import { TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { expect, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { SqlClient } from "effect/sql/SqlClient"
import { opensslAvailable, TlsServer } from "./certificates.ts"

const needs = [TestServers.Postgres.available, TestServers.Postgres.sharedAvailable, opensslAvailable]

await TestServers.describeWith("over TLS", needs, () => {
  const Servers = Layer.mergeAll(TlsServer.layer, TestServers.Postgres.shared, NodeThreads.layer({ size: 1 }))
  layer(Servers, { excludeTestServices: true })((it) => {
    for (const kind of ["raw", "raw, multiplexed", "tpooled"] as const) {
      const poolOf = (config: PgDriver.Config) =>
        kind === "tpooled"
          ? TpooledConnectionPool.layer(PgDriver.make(config), { max: 1 })
          : RawConnectionPool.layer(PgDriver.make(config), { max: 1, multiplex: kind !== "raw" })

      /** What the server says of the session that a pool has with it. */
      const encryption = (config: PgDriver.Config) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient
          return yield* sql`select ssl, version from pg_stat_ssl where pid = pg_backend_pid()`
        }).pipe(Effect.provide(poolOf(config)))

      it.effect(`${kind}: a session is encrypted, by an option as by a url`, () =>
        Effect.gen(function* () {
          const { ca, config } = yield* TlsServer
          const url = (mode: string) => urlOf(config, mode)
          const encrypted = [{ ssl: true, version: expect.stringMatching(/^TLSv1\.[23]$/) }]
          expect(yield* encryption(config)).toEqual([{ ssl: false, version: null }])
          expect(yield* encryption({ ...config, ssl: { ca } })).toEqual(encrypted)
          expect(yield* encryption({ ...config, ssl: { ca: ca.toString() } })).toEqual(encrypted)
          expect(yield* encryption({ ...config, ssl: { ca, servername: "db.internal" } })).toEqual(encrypted)
          expect(yield* encryption({ url: url("verify-full"), ssl: { ca } })).toEqual(encrypted)
          // What is given wins over the same part of the url.
          expect(yield* encryption({ url: url("disable"), ssl: { ca } })).toEqual(encrypted)
          expect(yield* encryption({ url: url("require"), ssl: false })).toMatchObject([{ ssl: false }])
        })
      )

      it.effect(`${kind}: a certificate that is not trusted, or is another's, is refused, and told why`, () =>
        Effect.gen(function* () {
          const { ca, config, otherCa } = yield* TlsServer
          const untrusted = { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }
          const misnamed = { code: "ERR_TLS_CERT_ALTNAME_INVALID" }
          for (const [own, cause, text] of [
            [{ ...config, ssl: { ca: otherCa } }, untrusted, "self-signed certificate"],
            [{ ...config, ssl: true }, untrusted, "self-signed certificate"],
            [{ url: urlOf(config, "prefer") }, untrusted, "self-signed certificate"],
            [{ ...config, ssl: { ca, servername: "db.example" } }, misnamed, "DNS:db.internal"]
          ] as const) {
            const error = yield* Effect.flip(encryption(own))
            expect(error).toMatchObject({ reason: { _tag: "ConnectionError", operation: "connect", cause } })
            expect(error.message).toContain("Failed to connect")
            expect(String(error.reason.cause)).toContain(text)
          }
        })
      )

      it.effect(`${kind}: a server without TLS is refused by who asks for it`, () =>
        Effect.gen(function* () {
          const { config } = yield* TestServers.Postgres
          const error = yield* Effect.flip(encryption({ ...config, ssl: true }))
          expect(error).toMatchObject({ reason: { _tag: "ConnectionError" } })
          expect(error.message).toContain("refused TLS")
        })
      )

      it.effect(`${kind}: an interrupted statement is cancelled on the server`, () =>
        Effect.gen(function* () {
          const { ca, config } = yield* TlsServer
          const running = yield* runningOn(config, `pg_sleep(60), '${kind}'`)
          yield* Effect.gen(function* () {
            const sql = yield* SqlClient
            const slow = yield* Effect.forkChild(sql`select ${sql.literal(`pg_sleep(60), '${kind}'`)}`, {
              startImmediately: true
            })
            yield* running(1)
            yield* Fiber.interrupt(slow)
            yield* running(0)
            expect(yield* sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`).toEqual([
              { ssl: true }
            ])
            // The session lives on.
            if (kind !== "raw, multiplexed") {
              expect(yield* ConnectionPool.stats).toMatchObject({ created: 1, destroyed: 0 })
            }
          }).pipe(Effect.provide(poolOf({ ...config, ssl: { ca } })), Effect.timeout("20 seconds"))
        })
      )

      it.effect(`EV-41, ${kind}: a session that is ended at rest is closed at once`, () =>
        Effect.gen(function* () {
          const { ca, config } = yield* TlsServer
          const observer = yield* PgDriver.make(config).connect({})
          yield* Effect.gen(function* () {
            const sql = yield* SqlClient
            const [session] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
            expect(yield* ConnectionPool.stats).toMatchObject({ size: 1 })
            yield* observer.execute("select pg_terminate_backend($1, 5000)", [session!.pid], undefined)
            yield* Effect.repeat(Effect.delay(ConnectionPool.stats, 5), { until: ({ size }) => size === 0 })
            expect(yield* sql`select 1 as one`).toEqual([{ one: 1 }])
          }).pipe(Effect.provide(poolOf({ ...config, ssl: { ca } })), Effect.timeout("20 seconds"))
        })
      )
    }

    it.effect("a session whose scope closes stops what is under way on the server", () =>
      Effect.gen(function* () {
        const { ca, config } = yield* TlsServer
        const running = yield* runningOn(config, "pg_sleep(61)")
        const scope = yield* Scope.make()
        const session = yield* Scope.provide(PgDriver.make({ ...config, ssl: { ca } }).connect({}), scope)
        const slow = yield* Effect.forkChild(
          Effect.exit(session.executeUnprepared("select pg_sleep(61)", [], undefined))
        )
        yield* running(1)
        yield* Effect.timeout(Scope.close(scope, Exit.void), "10 seconds")
        expect(Exit.isFailure(yield* Fiber.join(slow))).toBe(true)
        yield* Effect.timeout(running(0), "20 seconds")
      })
    )
  })
})

const urlOf = ({ database, host, password, port, username }: TestServers.Settings, sslmode: string) => {
  const who = `${username}:${encodeURIComponent(Redacted.value(password))}`
  return Redacted.make(`postgres://${who}@${host}:${port}/${database}?sslmode=${sslmode}`)
}

/** Waits until so many statements with this in their text are running. */
const runningOn = (config: PgDriver.Config, part: string) =>
  Effect.map(PgDriver.make(config).connect({}), (observer) => (count: number) => {
    const text =
      "select 1 from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()"
    return Effect.repeat(Effect.delay(observer.execute(text, [`%${part}%`], undefined), 10), {
      until: (rows) => rows.length === count
    })
  })
