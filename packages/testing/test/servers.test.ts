import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { TestServers } from "@cenote/testing"
import { assert, it, layer } from "@effect/vitest"
import { PgConnection } from "@effect/sql-pg"
import { ConfigProvider, Context, Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { createConnection } from "mysql2/promise"
import { eventually, isAlive, temporary } from "./serverKit.ts"

const { MariaDb, PgBouncer, Postgres } = TestServers

// -----------------------------------------------------------------------------
// Sessions
// -----------------------------------------------------------------------------

type Rows = ReadonlyArray<Readonly<Record<string, unknown>>>

interface Session {
  readonly query: (sql: string) => Effect.Effect<Rows, Error>
}

const onPostgres = (config: TestServers.Settings): Effect.Effect<Session, Error, Scope.Scope> =>
  Effect.map(PgConnection.make({ ...config, connectTimeout: "5 seconds" }), (session) => ({
    query: (sql) => Effect.map(session.query(sql, [], false), ({ rows }) => rows)
  }))

const promised = <A>(promise: () => Promise<A>) =>
  Effect.tryPromise({ try: promise, catch: (error) => error as Error })

const onMariaDb = ({ host, password, port, username, database }: TestServers.Settings) =>
  Effect.acquireRelease(
    promised(async () => {
      const session = await createConnection({
        host,
        port,
        database,
        user: username,
        password: Redacted.value(password),
        connectTimeout: 5000
      })
      // What ends in between is told by the next query.
      return session.on("error", () => {})
    }),
    (session) => Effect.sync(() => session.destroy())
  ).pipe(
    Effect.map((session): Session => ({
      query: (sql) =>
        Effect.map(
          promised(() => session.query(sql)),
          ([rows]) => rows as unknown as Rows
        )
    }))
  )

interface Kind {
  readonly name: string
  readonly make: (
    options?: TestServers.ServerOptions
  ) => Effect.Effect<TestServers.Server, TestServers.ServerError, Scope.Scope>
  readonly shared: Effect.Effect<TestServers.Server, TestServers.ServerError, Scope.Scope>
  readonly available: Effect.Effect<void, TestServers.ServerError>
  readonly connect: (config: TestServers.Settings) => Effect.Effect<Session, Error, Scope.Scope>
  readonly variable: string
  readonly protocol: string
  readonly databases: string
  readonly tables: string
  readonly maxConnections: string
  readonly unknownSetting: RegExp
}

const build = <I>(
  service: Context.Key<I, TestServers.Server>,
  layer: Layer.Layer<I, TestServers.ServerError>
): Effect.Effect<TestServers.Server, TestServers.ServerError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, service))

const kinds: ReadonlyArray<Kind> = [
  {
    name: "PostgreSQL",
    make: (options) => build(Postgres, Postgres.layer(options)),
    shared: build(Postgres, Postgres.shared),
    available: Postgres.available,
    connect: onPostgres,
    variable: "CENOTE_POSTGRES_URL",
    protocol: "postgres",
    databases: "select datname as name from pg_database",
    tables: "select tablename as name from pg_tables where schemaname = 'public'",
    maxConnections: "select current_setting('max_connections') as value",
    unknownSetting: /^PostgreSQL did not start: unrecognized configuration parameter "no_such_setting"$/
  },
  {
    name: "MariaDB",
    make: (options) => build(MariaDb, MariaDb.layer(options)),
    shared: build(MariaDb, MariaDb.shared),
    available: MariaDb.available,
    connect: onMariaDb,
    variable: "CENOTE_MARIADB_URL",
    protocol: "mariadb",
    databases: "select schema_name as name from information_schema.schemata",
    tables: "select table_name as name from information_schema.tables where table_schema = database()",
    maxConnections: "select @@max_connections as value",
    unknownSetting: /^MariaDB did not start: .*unknown variable 'no_such_setting=1'$/
  }
]

/** The server that most tests of a kind use, one after the other: each leaves it running. */
class Own extends Context.Service<Own, TestServers.Server>()("test/Own") {}

const names = (rows: Rows) => rows.map((row) => String(row["name"]))

// -----------------------------------------------------------------------------
// Servers of both kinds
// -----------------------------------------------------------------------------

for (const kind of kinds) {
  const { connect, make, name } = kind
  const query = (config: TestServers.Settings, sql: string) =>
    Effect.scoped(Effect.flatMap(connect(config), (session) => session.query(sql)))

  await TestServers.describeWith(`a private ${name}`, [kind.available], () => {
    layer(Layer.effect(Own, make()), { excludeTestServices: true })((it) => {
      it.effect("is ready, and says what it is", () =>
        Effect.gen(function* () {
          const server = yield* Own
          const [row] = yield* query(server.config, "select version() as version")
          assert.include(String(row?.["version"]), server.version)
          assert.match(server.version, /^\d+\.\d+/)
          assert.strictEqual(server.config.port, server.port)
          assert.isTrue(isAlive(yield* server.pid))
          assert.include(yield* server.logs, "ready")
        })
      )

      it.effect("lets in nobody without its password", () =>
        Effect.gen(function* () {
          const { config } = yield* Own
          for (const password of ["", "postgres", "root"]) {
            const wrong = { ...config, password: Redacted.make(password) }
            assert.isTrue(Exit.isFailure(yield* Effect.exit(query(wrong, "select 1"))))
          }
          assert.notInclude(JSON.stringify(config), Redacted.value(config.password))
        })
      )

      it.effect("gives new databases, which are empty, and are dropped with their scopes", () =>
        Effect.gen(function* () {
          const server = yield* Own
          const scope = yield* Scope.make()
          const fresh = Scope.provide(server.freshDatabase, scope)
          const found = yield* Effect.all([fresh, fresh, fresh], { concurrency: 3 })
          assert.strictEqual(new Set(found.map((_) => _.database)).size, 3)
          for (const config of found) {
            assert.deepStrictEqual(names(yield* query(config, kind.tables)), [])
            yield* query(config, "create table a (b int)")
          }
          // Somebody is still there, in a transaction.
          const { query: run } = yield* connect(found[0])
          yield* run("begin")
          yield* run("insert into a values (1)")
          yield* Scope.close(scope, Exit.void)
          const left = names(yield* query(server.config, kind.databases))
          assert.deepStrictEqual(
            left.filter((_) => _.startsWith("cenote_")),
            []
          )
          assert.isTrue(Exit.isFailure(yield* Effect.exit(run("select 1"))))
        })
      )

      it.effect("stops and starts on the same port, with the same data", () =>
        Effect.gen(function* () {
          const server = yield* Own
          const pid = yield* server.pid
          const config = yield* server.freshDatabase
          yield* query(config, "create table kept (b int)")
          const { query: run } = yield* connect(config)
          yield* run("begin")
          yield* run("insert into kept values (1)")

          yield* server.stop
          yield* server.stop
          assert.isFalse(isAlive(pid))
          assert.isTrue(Exit.isFailure(yield* Effect.exit(run("select 1"))))
          assert.isTrue(Exit.isFailure(yield* Effect.exit(query(server.config, "select 1"))))
          assert.deepInclude(yield* Effect.flip(server.pid), {
            reason: "Stopped",
            message: `${name} on 127.0.0.1:${server.port} is not running. Start it with \`start\``
          })
          const error = yield* Effect.flip(Effect.scoped(server.freshDatabase))
          assert.strictEqual(error.reason, "Database")
          assert.match(
            error.message,
            new RegExp(`^${name} on 127.0.0.1:${server.port} did not make a database: .*ECONNREFUSED`)
          )

          yield* Effect.all([server.start, server.start], { concurrency: 2 })
          assert.notStrictEqual(yield* server.pid, pid)
          assert.deepStrictEqual(yield* query(config, "select * from kept"), [])
        })
      )

      it.effect("keeps what was committed when it is killed, and nothing else", () =>
        Effect.gen(function* () {
          const server = yield* Own
          const config = yield* server.freshDatabase
          const { query: run } = yield* connect(config)
          yield* run("create table kept (b int)")
          yield* run("insert into kept values (1)")
          yield* run("begin")
          yield* run("insert into kept values (2)")
          const pid = yield* server.pid
          yield* server.kill
          yield* server.kill
          assert.isFalse(isAlive(pid))
          assert.isTrue(Exit.isFailure(yield* Effect.exit(run("select 1"))))
          yield* server.restart
          assert.deepStrictEqual(yield* query(config, "select b from kept"), [{ b: 1 }])
          // Of both lives.
          assert.isAtLeast((yield* server.logs).split("ready").length, 3)
        })
      )

      it.effect("can be started again after it has died by itself", () =>
        Effect.gen(function* () {
          const server = yield* Own
          const pid = yield* server.pid
          process.kill(pid, "SIGKILL")
          yield* eventually(Effect.map(Effect.exit(server.pid), Exit.isFailure), "the death is noticed")
          yield* server.start
          yield* query(server.config, "select 1")
          assert.notStrictEqual(yield* server.pid, pid)
        })
      )

      it.effect("takes a hundred connections, or as many as it is told to", () =>
        Effect.gen(function* () {
          const asItIs = yield* Own
          assert.deepStrictEqual(
            Number((yield* query(asItIs.config, kind.maxConnections))[0]?.["value"]),
            100
          )
          const told = yield* make({ settings: { max_connections: 33 } })
          assert.deepStrictEqual(Number((yield* query(told.config, kind.maxConnections))[0]?.["value"]), 33)
        })
      )

      it.effect("says in one line that the port is taken", () =>
        Effect.gen(function* () {
          const { port } = yield* Own
          const error = yield* Effect.flip(make({ port }))
          assert.deepInclude(error, {
            reason: "Port",
            message: `port ${port} of 127.0.0.1 is taken. Choose another with \`port\`, or leave it out for a free one`
          })
        })
      )

      it.effect("says that the port was taken while it was stopped", () =>
        Effect.gen(function* () {
          const server = yield* Own
          yield* server.stop
          const thief = createServer()
          yield* Effect.callback<void>((resume) => {
            thief.listen({ host: "127.0.0.1", port: server.port }, () => resume(Effect.void))
          })
          const error = yield* Effect.flip(server.start)
          assert.strictEqual(error.reason, "Port")
          yield* Effect.callback<void>((resume) => void thief.close(() => resume(Effect.void)))
          yield* server.start
          yield* query(server.config, "select 1")
        })
      )

      it.effect(
        "stands for the shared one where the run has none, or is the one that the environment names",
        () =>
          Effect.gen(function* () {
            const server = yield* Own
            const { host, password, port, username } = server.config
            const inEnvironment = (url: string) =>
              Effect.provideService(
                ConfigProvider.ConfigProvider,
                ConfigProvider.fromUnknown({ [kind.variable]: url })
              )
            const address = `${kind.protocol}://${username}:${encodeURIComponent(Redacted.value(password))}@${host}:${port}`

            const scope = yield* Scope.make()
            const shared = yield* Scope.provide(kind.shared, scope).pipe(inEnvironment(address))
            assert.deepInclude(shared, { port, version: server.version })
            assert.match(shared.config.database, /^cenote_/)
            yield* query(shared.config, "create table a (b int)")
            for (const cannot of [shared.stop, shared.kill, shared.start, shared.restart, shared.pid]) {
              assert.strictEqual(
                (yield* Effect.flip(cannot as Effect.Effect<unknown, TestServers.ServerError>)).reason,
                "NotOurs"
              )
            }
            assert.isTrue(isAlive(yield* server.pid))
            yield* Scope.close(scope, Exit.void)
            assert.notInclude(names(yield* query(server.config, kind.databases)), shared.config.database)

            for (const wrong of [
              "secret",
              "http://root:secret@localhost",
              `${kind.protocol}://root:secret%zz@localhost`
            ]) {
              const error = yield* Effect.flip(kind.shared.pipe(inEnvironment(wrong)))
              assert.strictEqual(error.reason, "Address")
              assert.match(
                error.message,
                new RegExp(`^${kind.variable} does not name a ${name} server. It should look like`)
              )
              assert.notInclude(error.message, "secret")
            }
            const refused = yield* Effect.flip(
              kind.shared.pipe(inEnvironment(`${kind.protocol}://${username}:secret@${host}:${port}`))
            )
            assert.strictEqual(refused.reason, "Database")
            assert.match(
              refused.message,
              new RegExp(`^${name} on 127.0.0.1:${port} did not tell its version: `)
            )
            assert.notInclude(refused.message, "secret")
          })
      )
    })

    it.live("says in one line which setting it does not know", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(make({ settings: { no_such_setting: 1 } }))
        assert.strictEqual(error.reason, "Start")
        assert.match(error.message, kind.unknownSetting)
      }).pipe(Effect.scoped)
    )

    it.live("lives in the folder that it is given, and leaves it as it was", () =>
      Effect.gen(function* () {
        const parent = yield* temporary
        const empty = join(parent, "empty")
        const fresh = join(parent, "new")
        mkdirSync(empty)
        for (const folder of [empty, fresh]) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { config } = yield* make({ folder })
              yield* query(config, "select 1")
              assert.include(readdirSync(folder), "data")
              assert.notInclude(readdirSync(folder), "secret")
            })
          )
        }
        assert.deepStrictEqual(readdirSync(parent), ["empty"])
        assert.deepStrictEqual(readdirSync(empty), [])

        writeFileSync(join(empty, "letter"), "mine")
        const error = yield* Effect.flip(make({ folder: empty }))
        assert.deepInclude(error, {
          reason: "Folder",
          message: `folder ${empty} is not empty. Choose an empty or a new one with \`folder\`, or leave it out for a temporary one`
        })
        assert.deepStrictEqual(readdirSync(empty), ["letter"])
      }).pipe(Effect.scoped)
    )

    it.live("leaves nothing when it is interrupted while it starts", () =>
      Effect.gen(function* () {
        const parent = yield* temporary
        for (let after = 0; after < 8; after++) {
          const folder = join(parent, String(after))
          const starting = yield* Effect.forkChild(Effect.scoped(make({ folder })))
          // At a different step each time.
          yield* eventually(
            Effect.sync(() => existsSync(folder)),
            "the folder is there"
          )
          yield* Effect.sleep(40 * after)
          yield* Fiber.interrupt(starting)
          assert.deepStrictEqual(readdirSync(parent), [])
        }
      }).pipe(Effect.scoped)
    )

    it.effect("does not wait for the clock of a test", () =>
      Effect.gen(function* () {
        const server = yield* make()
        yield* server.freshDatabase
        yield* server.restart
        yield* server.stop
      }).pipe(Effect.scoped)
    )
  })
}

// -----------------------------------------------------------------------------
// PgBouncer
// -----------------------------------------------------------------------------

const onBouncer = (config: TestServers.Settings) =>
  Effect.map(PgConnection.make({ ...config, prepare: false }), (session) => ({
    query: (sql: string) => Effect.map(session.query(sql, [], false), ({ rows }) => rows)
  }))
const pid = (session: Session) =>
  Effect.map(session.query("select pg_backend_pid() as pid"), (rows) => rows[0]?.["pid"])

const bouncer = (options: Omit<TestServers.PgBouncerOptions, "postgres">) =>
  Layer.unwrap(Effect.map(Postgres, ({ config }) => PgBouncer.layer({ postgres: config, ...options }))).pipe(
    Layer.provideMerge(Postgres.layer())
  )

await TestServers.describeWith("a private PgBouncer", [Postgres.available, PgBouncer.available], () => {
  layer(bouncer({ poolMode: "transaction", settings: { default_pool_size: 1 } }), {
    excludeTestServices: true
  })((it) => {
    it.effect("lends a session for a transaction", () =>
      Effect.gen(function* () {
        const { config, port, version } = yield* PgBouncer
        assert.match(version, /^1\.\d+/)
        assert.strictEqual(config.port, port)
        const [one, two] = yield* Effect.all([onBouncer(config), onBouncer(config)])
        // Both use the one that there is.
        assert.strictEqual(yield* pid(one), yield* pid(two))
        yield* one.query("begin")
        const waiting = yield* Effect.forkChild(pid(two), { startImmediately: true })
        yield* pid(one)
        assert.isUndefined(waiting.pollUnsafe())
        yield* one.query("commit")
        assert.strictEqual(yield* Fiber.join(waiting), yield* pid(one))
      })
    )

    it.effect("reaches every database of the server, new ones too", () =>
      Effect.gen(function* () {
        const { config } = yield* PgBouncer
        const { database } = yield* Effect.flatMap(Postgres, (_) => _.freshDatabase)
        const session = yield* onBouncer({ ...config, database })
        assert.deepStrictEqual(yield* session.query("select current_database() as name"), [
          { name: database }
        ])
      })
    )

    it.effect("lets in nobody without the password", () =>
      Effect.gen(function* () {
        const { config } = yield* PgBouncer
        const error = yield* Effect.flip(
          Effect.scoped(onBouncer({ ...config, password: Redacted.make("wrong") }))
        )
        assert.match(String(error.reason.cause), /authentication failed/)
      })
    )

    it.effect("stops and starts on the same port", () =>
      Effect.gen(function* () {
        const server = yield* PgBouncer
        const before = yield* server.pid
        yield* server.restart
        assert.notStrictEqual(yield* server.pid, before)
        assert.isFalse(isAlive(before))
        yield* pid(yield* onBouncer(server.config))
        yield* server.kill
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(onBouncer(server.config)))))
        yield* server.start
        yield* pid(yield* onBouncer(server.config))
      })
    )
  })

  layer(bouncer({ poolMode: "session", settings: { default_pool_size: 2 } }), { excludeTestServices: true })(
    (it) => {
      it.effect("lends a session for as long as its client is there", () =>
        Effect.gen(function* () {
          const { config } = yield* PgBouncer
          const [one, two] = yield* Effect.all([onBouncer(config), onBouncer(config)])
          assert.notStrictEqual(yield* pid(one), yield* pid(two))
        })
      )
    }
  )

  it.live("says in one line what it does not understand", () =>
    Effect.gen(function* () {
      const postgres = {
        host: "127.0.0.1",
        port: 1,
        database: "a",
        username: "a",
        password: Redacted.make("a")
      }
      const error = yield* Effect.flip(
        Layer.build(PgBouncer.layer({ postgres, settings: { server_lifetime: "often" } }))
      )
      assert.match(
        error.message,
        /^PgBouncer did not start: invalid value "often" for parameter server_lifetime/
      )
    }).pipe(Effect.scoped)
  )
})
