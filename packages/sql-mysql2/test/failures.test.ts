/** What fails on a real MariaDB, and as what it comes out. */
import { TestServers } from "@cenote/testing"
import { expect, layer } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { busyWith, driverOf, idOf, open, rows, text, watchEnd, within } from "./kit.ts"

await TestServers.describeWith("failures", [TestServers.MariaDb.sharedAvailable], () => {
  layer(TestServers.MariaDb.shared, { excludeTestServices: true })((it) => {
    it.effect("statements that are wrong, or not allowed, say which way, and the session lives on", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const { told } = yield* watchEnd(session)
        yield* text(
          session,
          "create temporary table u (id int primary key, mail varchar(20) not null unique, n int check (n > 0))"
        )
        yield* text(session, "insert into u values (1, 'a', 1)")
        const failures: ReadonlyArray<readonly [string, string, number]> = [
          ["selct 1", "SqlSyntaxError", 1064],
          ["select * from nothing_there", "SqlSyntaxError", 1146],
          ["select nothing_there from u", "SqlSyntaxError", 1054],
          ["select nothing_there(1)", "SqlSyntaxError", 1305],
          ["insert into u values (1, 'b', 1)", "UniqueViolation", 1062],
          ["insert into u values (2, 'a', 1)", "UniqueViolation", 1062],
          ["insert into u values (2, null, 1)", "ConstraintError", 1048],
          ["insert into u (id) values (2)", "ConstraintError", 1364],
          ["insert into u values (2, 'b', 0)", "ConstraintError", 4025],
          ["set statement max_statement_time = 0.05 for select sleep(60)", "StatementTimeoutError", 1969]
        ]
        for (const [sql, tag, errno] of failures) {
          for (const run of [rows, text]) {
            const error = yield* Effect.flip(run(session, sql))
            expect(error.reason._tag, sql).toBe(tag)
            expect(error.reason.cause, sql).toMatchObject({ errno, sql })
            expect(error.message).toMatch(/^Failed to execute statement: .+ \(\d+\)/)
          }
        }
        const duplicate = yield* Effect.flip(rows(session, "insert into u values (?, ?, ?)", [2, "a", 1]))
        expect(duplicate.reason).toMatchObject({ _tag: "UniqueViolation", constraint: "mail" })
        expect(told).toEqual([])
        expect(yield* rows(session, "select count(*) as n from u")).toEqual([{ n: 1 }])
      })
    )

    it.effect("foreign keys", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* text(session, "create table parents (id int primary key)")
        yield* text(
          session,
          "create table children (id int primary key, p int, foreign key (p) references parents (id))"
        )
        yield* text(session, "insert into parents values (1)")
        yield* text(session, "insert into children values (1, 1)")
        const orphan = yield* Effect.flip(rows(session, "insert into children values (2, 2)"))
        const parent = yield* Effect.flip(rows(session, "delete from parents"))
        expect([orphan.reason._tag, parent.reason._tag]).toEqual(["ConstraintError", "ConstraintError"])
      })
    )

    it.effect("the values of a statement are not in its error", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const error = yield* Effect.flip(text(session, "select nothing_there, ? as a", ["S3CR3T"]))
        expect(error.reason.cause).toMatchObject({ sql: "select nothing_there, ? as a" })
        expect(JSON.stringify(error) + JSON.stringify(error.reason.cause)).not.toContain("S3CR3T")
      })
    )

    it.effect("a lock that does not come free in time", () =>
      Effect.gen(function* () {
        const [a, b] = yield* Effect.all([open(), open()])
        yield* text(a, "create table waits (id int primary key)")
        yield* text(a, "insert into waits values (1)")
        yield* text(a, "begin")
        yield* text(a, "select * from waits where id = 1 for update")
        yield* text(b, "set innodb_lock_wait_timeout = 1")
        for (const sql of ["select * from waits for update", "select * from waits for update nowait"]) {
          const error = yield* within("10 seconds", Effect.flip(rows(b, sql)))
          expect(error.reason._tag).toBe("LockTimeoutError")
          expect(error.isRetryable).toBe(true)
        }
      })
    )

    it.effect("a deadlock", () =>
      Effect.gen(function* () {
        const [a, b] = yield* Effect.all([open(), open()])
        yield* text(a, "create table dead (id int primary key, n int)")
        yield* text(a, "insert into dead values (1, 0), (2, 0)")
        for (const session of [a, b]) yield* text(session, "begin")
        yield* text(a, "update dead set n = 1 where id = 1")
        yield* text(b, "update dead set n = 2 where id = 2")
        const first = yield* Effect.forkChild(Effect.result(rows(a, "update dead set n = 1 where id = 2")))
        yield* busyWith(b, idOf(a), "where id = 2")
        const second = yield* Effect.result(rows(b, "update dead set n = 2 where id = 1"))
        // The server chooses who goes on. The other waits until it has finished.
        yield* second._tag === "Success" ? b.rollback : Effect.void
        const results = [yield* within("10 seconds", Fiber.join(first)), second]
        const failed = results.filter((_) => _._tag === "Failure")
        expect(failed).toHaveLength(1)
        expect(failed[0]!._tag === "Failure" && failed[0]!.failure.reason._tag).toBe("DeadlockError")
      })
    )

    it.effect("being let in: a wrong password, an unknown database, nobody there; without the password", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        const wrong = Redacted.make("wr0ng-S3CR3T")
        const attempts = [
          [{ password: wrong }, "AuthenticationError", 1045],
          [{ username: "nobody", password: wrong }, "AuthenticationError", 1045],
          [{ database: "nothing_there" }, "UnknownError", 1049],
          [{ port: 1, password: wrong }, "ConnectionError", undefined],
          [{ host: "no.such.host.invalid", password: wrong }, "ConnectionError", undefined]
        ] as const
        for (const [options, tag, errno] of attempts) {
          const driver = yield* driverOf(options)
          const error = yield* Effect.flip(Effect.scoped(driver.connect({})))
          expect(error.reason._tag, JSON.stringify(options)).toBe(tag)
          expect(error.reason.operation).toBe("connect")
          expect(error.message).toContain(`Failed to connect to ${driver.target}: `)
          if (errno !== undefined) expect(error.reason.cause).toMatchObject({ errno })
          for (const secret of [Redacted.value(wrong), Redacted.value(config.password)]) {
            expect(everythingOf(error)).not.toContain(secret)
          }
        }
      })
    )

    it.effect("a server that takes no more", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const password = Redacted.make("pw")
        yield* text(session, "create or replace user few@'%' identified by 'pw' with max_user_connections 1")
        const few = { username: "few", password, database: "information_schema" }
        yield* open(few)
        const error = yield* Effect.flip(Effect.scoped(open(few)))
        expect(error.reason._tag).toBe("ConnectionError")
        expect(error.reason.cause).toMatchObject({ errno: 1226 })
        yield* text(session, "drop user few@'%'")
      })
    )

    it.effect("more than the server takes at once ends the session, and says what to do", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const { ended } = yield* watchEnd(session)
        const [{ size }] = yield* rows(session, "select @@max_allowed_packet as size")
        const error = yield* Effect.flip(text(session, `select length('${"x".repeat(Number(size))}') as n`))
        const driver = yield* driverOf()
        expect(driver.isFatal(error)).toBe(true)
        // The server may hang up before what it says is read.
        if ((error.reason.cause as { errno?: unknown }).errno === 1153) {
          expect(error.message).toContain("Raise max_allowed_packet")
        } else expect(error.reason._tag).toBe("ConnectionError")
        yield* ended
      })
    )

    it.effect("a statement that cannot be prepared says how it can be run", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const error = yield* Effect.flip(rows(session, "prepare p from 'select 1'"))
        expect(error.reason.cause).toMatchObject({ errno: 1295 })
        expect(error.message).toContain("Run it unprepared: sql`…`.unprepared")
        expect(yield* text(session, "prepare p from 'select 1'")).toEqual([])
      })
    )
  })
})

/** Every text in an error, however deep. */
const everythingOf = (value: unknown, seen = new Set<unknown>()): string => {
  if (typeof value !== "object" || value === null) return String(value)
  if (seen.has(value)) return ""
  seen.add(value)
  return Reflect.ownKeys(value)
    .map((key) => `${String(key)}=${everythingOf((value as Record<PropertyKey, unknown>)[key], seen)}`)
    .join("\n")
}
