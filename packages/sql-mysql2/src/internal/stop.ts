// Stopping a statement on the server.
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Net from "node:net"
import { connectionError, isInterruption } from "./errors.ts"
import { type Command, Link } from "./link.ts"
import type { Settings } from "./options.ts"

/**
 * Stops what a session has under way, and waits until it has ended there: `KILL QUERY` over a connection of its own. When this
 * is over, the session is either ready for its next statement, and nothing will hit that, or has ended.
 *
 * Everything here is bounded, in the real time: a test that holds the clock still does not hold the server.
 */
export const stop = (
  link: Link,
  command: Command,
  settings: Effect.Effect<Settings, SqlError>,
  target: string
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const kills = yield* Effect.exit(Effect.scoped(killUntilDone(link, command, settings, target)))
    // A session that is gone needs no more, whatever has become of the kill.
    if (link.ended !== undefined) return
    if (Exit.isFailure(kills)) link.end(givenUp(command.operation))
    // Too late for the statement, a kill may stay with the session. What does nothing takes it.
    else if (kills.value > (wasStopped(command) ? 1 : 0)) yield* absorb(link)
  }).pipe(Effect.provideService(Clock.Clock, Clock.Clock.defaultValue()))

/**
 * Closes a connection. What is still under way on it is stopped on the server, which would otherwise go on with it until it
 * has something to say. That is waited for, but not long: where nothing gets through it goes on without anybody.
 */
export const hangUp = (
  link: Link,
  settings: Effect.Effect<Settings, SqlError>,
  target: string
): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (!link.isBusy) return link.close
    const side = beside(link, settings, target)
    const kill = Effect.flatMap(side, (side) => query(side, `KILL CONNECTION ${link.connection.threadId}`))
    // It may have heard that nobody is there any more, and there may be nobody to tell it.
    const kept = Effect.exit(Effect.timeout(Effect.scoped(kill), bound))
    return link.close.pipe(
      Effect.andThen(Effect.forkDetach(kept)),
      Effect.flatMap((killing) => within(longestHangUp, Fiber.await(killing))),
      Effect.asVoid,
      Effect.provideService(Clock.Clock, Clock.Clock.defaultValue())
    )
  })

/** What errors say of a session whose statement could not be stopped. */
const givenUp = (operation: string): SqlError =>
  connectionError(
    "the statement was interrupted and could not be stopped on the server: its connection was closed",
    operation
  )

/** Waits until what is under way has ended, and ends the session if that takes too long. */
export const waitOrEnd = (link: Link, command: Command, milliseconds: number): Effect.Effect<void> =>
  Effect.flatMap(within(milliseconds, command.done), (done) =>
    Option.isSome(done) ? Effect.void : Effect.sync(() => link.end(givenUp(command.operation)))
  ).pipe(Effect.provideService(Clock.Clock, Clock.Clock.defaultValue()))

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

/** How long connecting may take, and then killing until the statement has ended: in milliseconds. */
const bound = 5_000

/** How long the place of a connection that is closed waits for the kill, in milliseconds. */
const longestHangUp = 1_000

/** A statement that is prepared first is idle in between, and a kill that comes just then does nothing. */
const nextKill = 200

const within = <A, E>(
  milliseconds: number,
  effect: Effect.Effect<A, E>
): Effect.Effect<Option.Option<A>, E> => Effect.timeoutOption(effect, milliseconds)

const wasStopped = ({ error }: Command): boolean => error !== undefined && isInterruption(error)

/** How many kills it took. Fails if the statement goes on. Each has been answered when it succeeds: none comes later. */
const killUntilDone = Effect.fnUntraced(function* (
  link: Link,
  command: Command,
  settings: Effect.Effect<Settings, SqlError>,
  target: string
) {
  // It may end by itself in the meantime.
  const side = yield* Effect.raceFirst(
    Effect.asSome(beside(link, settings, target)),
    Effect.as(command.done, Option.none())
  ).pipe(Effect.timeout(bound))
  if (Option.isNone(side)) return 0
  const kill = query(side.value, `KILL QUERY ${link.connection.threadId}`)
  let kills = 0
  yield* Effect.gen(function* () {
    while (!command.isDone) {
      yield* kill
      kills++
      yield* within(nextKill, command.done)
    }
  }).pipe(Effect.timeout(bound))
  return kills
})

/** The address that was connected to, as behind a name there may be several servers, with other sessions of the same number. */
const besides = (options: Settings["options"], peer: Link["peer"]): Settings["options"] =>
  peer === undefined || options.stream !== undefined || options.socketPath !== undefined
    ? options
    : { ...options, stream: () => Net.connect({ ...peer, noDelay: true }) }

/** A second connection to where the first one leads. */
const beside = (
  { peer }: Link,
  settings: Effect.Effect<Settings, SqlError>,
  target: string
): Effect.Effect<Link, SqlError, Scope.Scope> =>
  Effect.flatMap(settings, ({ options }) =>
    Effect.acquireRelease(Link.start(besides(options, peer), target), (link) => link.close)
  ).pipe(Effect.tap((link) => link.opened))

const query = (link: Link, sql: string): Effect.Effect<void, SqlError> =>
  link.ask(
    "Failed to stop a statement",
    "cancel",
    (connection, reply) => connection.query(sql, reply),
    () => Effect.void
  )

const absorb = (link: Link): Effect.Effect<void> =>
  Effect.gen(function* () {
    const done = yield* within(bound, Effect.exit(query(link, "DO 0")))
    if (Option.isNone(done)) link.end(givenUp("cancel"))
  })
