// Sessions of the driver on a real MariaDB, and a look at them from the server's side.
import { MysqlDriver } from "@cenote/sql-mysql2"
import type { SqlSession } from "@cenote/sql/SqlDriver"
import { TestServers } from "@cenote/testing"
import { Clock, Deferred, Effect, Option, Schedule } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type * as Mysql from "mysql2"

export type Config = MysqlDriver.Config

/** A driver for the server of the test. */
export const driverOf = (config: Config = {}) =>
  Effect.map(TestServers.MariaDb, (server) => MysqlDriver.make({ ...server.config, ...config }))

/** A session that ends with the scope of the test. */
export const open = (config: Config = {}) => Effect.flatMap(driverOf(config), (driver) => driver.connect({}))

export const rows = (session: SqlSession, sql: string, params: ReadonlyArray<unknown> = []) =>
  session.execute(sql, params, undefined)

export const text = (session: SqlSession, sql: string, params: ReadonlyArray<unknown> = []) =>
  session.executeUnprepared(sql, params, undefined)

/** The number of a session on the server. */
export const idOf = (session: SqlSession): number => (session.native as Mysql.Connection).threadId

/** What sessions do, as another session sees it. */
const statements = (observer: SqlSession, id: number) =>
  Effect.map(
    rows(observer, "select command, info from information_schema.processlist where id = ?", [id]),
    (rows) => rows.map((_) => ({ command: String(_.command), info: String(_.info) }))
  )

/** Waits until something holds, looking again and again; fails in the end with what was found instead. */
export const eventually = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  holds: (a: A) => boolean
): Effect.Effect<A, E | Error, R> =>
  Effect.flatMap(effect, (a) =>
    holds(a) ? Effect.succeed(a) : Effect.fail(new Error(`in the end it was ${JSON.stringify(a)}`))
  ).pipe(
    Effect.retry(Schedule.max([Schedule.spaced("20 millis"), Schedule.recurs(500)])),
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )

/** Waits until a session is in the middle of a statement that has this in its text. */
export const busyWith = (observer: SqlSession, id: number, part: string) =>
  eventually(statements(observer, id), (all) => all.some(({ info }) => info.includes(part)))

/** Waits until a session has nothing to do: the server answers a moment before it says so. */
export const restful = (observer: SqlSession, id: number) =>
  eventually(statements(observer, id), ([first]) => first?.command === "Sleep")

/** Waits until the server has no session of that number. */
export const goneFrom = (observer: SqlSession, id: number) =>
  eventually(statements(observer, id), (all) => all.length === 0)

/** What a session tells of its end. */
export const watchEnd = (session: SqlSession) =>
  Effect.sync(() => {
    const ended = Deferred.makeUnsafe<SqlError>()
    const told: Array<SqlError> = []
    session.onEnd((error) => {
      told.push(error)
      Deferred.doneUnsafe(ended, Effect.succeed(error))
    })
    return { told, ended: within("10 seconds", Deferred.await(ended)) }
  })

/** In the real time, whatever the clock of the test says. */
export const within = <A, E, R>(
  duration: "4 seconds" | "10 seconds" | "30 seconds",
  effect: Effect.Effect<A, E, R>
) =>
  Effect.timeoutOption(effect, duration).pipe(
    Effect.flatMap((option) =>
      Option.isSome(option) ? Effect.succeed(option.value) : Effect.die(new Error(`not within ${duration}`))
    ),
    Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
  )
