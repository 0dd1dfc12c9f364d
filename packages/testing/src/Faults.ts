/**
 * Faults on demand, for tests: a network that loses, delays and cuts, and resources and database sessions that fail, hang and
 * die when they are told to.
 *
 * **Example** (A connection that is cut in the middle of an answer)
 *
 * ```ts
 * import { createServer, connect } from "node:net"
 * import { Effect } from "effect"
 * import { Faults } from "@cenote/testing"
 *
 * const server = createServer((socket) => socket.end("a long answer"))
 * await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve))
 * const { port } = server.address() as { readonly port: number }
 *
 * const read = (port: number) =>
 *   Effect.callback<string>((resume) => {
 *     let text = ""
 *     connect(port, "127.0.0.1")
 *       .on("data", (chunk) => { text += chunk.toString() })
 *       .on("end", () => resume(Effect.succeed(text)))
 *   })
 *
 * const program = Effect.gen(function*() {
 *   const proxy = yield* Faults.proxy({ host: "127.0.0.1", port })
 *   yield* proxy.cutAfter(6)
 *   const cut = yield* read(proxy.port)
 *   yield* proxy.heal
 *   return [cut, yield* read(proxy.port)]
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => ["a long", "a long answer"]
 * server.close()
 * ```
 *
 * @since 0.1.0
 */
import type { SqlDriver } from "@cenote/sql"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import {
  type DriverPoint as DriverPoint_,
  type DriverStats as DriverStats_,
  isFatal,
  Sessions
} from "./internal/faultyDriver.ts"
import { type Direction, directions, Proxy as Proxy_, type Weather, type Welcome } from "./internal/proxy.ts"
import {
  type Fault as Fault_,
  type FaultOptions as FaultOptions_,
  InjectedFault,
  Script
} from "./internal/script.ts"

export {
  /** @since 0.1.0 */
  InjectedFault
}

// -----------------------------------------------------------------------------
// Networks
// -----------------------------------------------------------------------------

/**
 * What can be done to connections. `drop` and `reset` close those that there are; the rest also goes for new ones. See
 * {@link Proxy.only} for other choices.
 *
 * @category models
 * @since 0.1.0
 */
export interface Switches {
  /** Has everything be on its way for this long. */
  readonly delay: (duration: Duration.Input) => Effect.Effect<void>
  /** Lets no more than this through in a second. With 0 everything waits, and nothing is lost. */
  readonly throttle: (bytesPerSecond: number) => Effect.Effect<void>
  /**
   * Loses everything that is sent, in silence: nobody is told that it does not arrive, not even of an end. What was lost is
   * lost: a connection that has lost something is reset by `heal`.
   */
  readonly blackhole: Effect.Effect<void>
  /** Closes connections in good order, as the other side does when it ends them (FIN). */
  readonly drop: Effect.Effect<void>
  /** Resets connections, as a machine does that does not know them any more (RST). */
  readonly reset: Effect.Effect<void>
  /**
   * Cuts each connection when so many bytes more have gone through, which is as a rule in the middle of a message. Bytes to
   * the client are counted, unless the choice is `"toServer"`. Default: in good order.
   */
  readonly cutAfter: (bytes: number, how?: "drop" | "reset") => Effect.Effect<void>
}

/**
 * On which connections, and in which direction, a switch acts.
 *
 * @category models
 * @since 0.1.0
 */
export interface Choice {
  readonly connections?: "existing" | "new" | "all" | undefined
  /** `drop` and `reset` close both directions in any case. */
  readonly direction?: "toServer" | "toClient" | "both" | undefined
}

/**
 * A TCP proxy between a client and a server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Proxy extends Switches {
  /** Where clients connect instead of to the server: always on the loopback interface. */
  readonly host: string
  readonly port: number
  /** How many connections are open. */
  readonly connections: Effect.Effect<number>
  /** Waits until so many connections are open. */
  readonly awaitConnections: (count: number) => Effect.Effect<void>
  /** How many connections there have been. */
  readonly accepted: Effect.Effect<number>
  /** How many bytes have gone through. */
  readonly bytes: Effect.Effect<{ readonly toServer: number; readonly toClient: number }>
  /** The switches for some of the connections. */
  readonly only: (choice: Choice) => Switches
  /** `blackhole` for the connections that there are: each end thinks that the other is still there. New ones work. */
  readonly halfOpen: Effect.Effect<void>
  /** Has nobody listen any more, so that nobody can connect. Connections that there are stay. */
  readonly refuse: Effect.Effect<void>
  /** Undoes all that can be undone. */
  readonly heal: Effect.Effect<void>
}

/**
 * Starts a proxy, which ends with the scope, its connections too. Its faults happen in real time, whatever the clock of
 * the test says.
 *
 * **Example** (A server that is gone for a while)
 *
 * ```ts no-run
 * import { Effect } from "effect"
 * import { Faults, TestServers } from "@cenote/testing"
 *
 * const program = Effect.gen(function*() {
 *   const { config } = yield* TestServers.Postgres
 *   const proxy = yield* Faults.proxy(config)
 *   // … let a pool connect to { ...config, port: proxy.port }
 *   yield* proxy.refuse
 *   yield* proxy.drop
 *   // … nobody gets a connection
 *   yield* proxy.heal
 * })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const proxy = (target: {
  readonly host: string
  readonly port: number
}): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.suspend(() => listen(new Proxy_(target))),
      (proxy) => Effect.callback<void>((resume) => proxy.close(() => resume(Effect.void)))
    ),
    (self): Proxy => ({
      ...switches(self, {}),
      host: "127.0.0.1",
      port: self.port,
      connections: Effect.sync(() => self.pairs.size),
      awaitConnections: (count) =>
        Effect.callback((resume) => {
          const check = () => {
            if (self.pairs.size !== count) return
            self.listeners.delete(check)
            resume(Effect.void)
          }
          self.listeners.add(check)
          check()
          return Effect.sync(() => self.listeners.delete(check))
        }),
      accepted: Effect.sync(() => self.accepted),
      bytes: Effect.sync(() => ({ ...self.passed })),
      only: (choice) => switches(self, choice),
      halfOpen: switches(self, { connections: "existing" }).blackhole,
      refuse: Effect.sync(() => self.refuse()),
      heal: Effect.suspend(() => {
        self.heal()
        return Effect.asVoid(listen(self))
      })
    })
  )

/** A port that was free, and is not any more, is no fault that a test has asked for. */
const listen = (proxy: Proxy_): Effect.Effect<Proxy_> =>
  Effect.callback((resume) =>
    proxy.listen((error) => resume(error === undefined ? Effect.succeed(proxy) : Effect.die(error)))
  )

const switches = (proxy: Proxy_, { connections, direction = "both" }: Choice): Switches => {
  const which = (otherwise: "existing" | "all") => {
    const chosen = connections ?? otherwise
    return { existing: chosen !== "new", new: chosen !== "existing" }
  }
  const ways = (otherwise: ReadonlyArray<Direction>): ReadonlyArray<Direction> =>
    direction === "both" ? otherwise : [direction]
  const change = (otherwise: ReadonlyArray<Direction>, change: (weather: Weather) => void) =>
    Effect.sync(() => proxy.change(which("all"), ways(otherwise), change))
  const end = (how: Exclude<Welcome, "open">) =>
    Effect.sync(() => {
      const on = which("existing")
      if (on.new) proxy.welcome = how
      if (on.existing) proxy.cutAll(how)
    })
  return {
    delay: (duration) => {
      const delay = Duration.toMillis(Duration.fromInputUnsafe(duration))
      return change(directions, (weather) => Object.assign(weather, { delay }))
    },
    throttle: (bytesPerSecond) =>
      change(directions, (weather) => Object.assign(weather, { rate: bytesPerSecond })),
    blackhole: change(directions, (weather) => Object.assign(weather, { swallow: true })),
    drop: end("drop"),
    reset: end("reset"),
    cutAfter: (bytes, how = "drop") =>
      change(["toClient"], (weather) => Object.assign(weather, { cut: { bytes, how } }))
  }
}

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * How something goes wrong:
 *
 * - `"fail"`: it fails.
 * - `"die"`: it dies of a defect.
 * - `"hang"`: it does not go on, until it is interrupted or told to by `resume`.
 * - `"stick"`: the same, and it cannot be interrupted: what is made then is made too late.
 * - `{ late }`: it goes on after this time, by the clock of the test.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = Fault_

/**
 * How often something goes wrong, and after how many times at which it goes well.
 *
 * @category models
 * @since 0.1.0
 */
export type FaultOptions = FaultOptions_

// -----------------------------------------------------------------------------
// Resources
// -----------------------------------------------------------------------------

/**
 * What a {@link Resource} makes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Item {
  /** From 1, in the order in which they were made. */
  readonly id: number
  /** False from the moment when its release begins. */
  readonly isOpen: boolean
  /** Whether `break` was called for it. */
  readonly isBroken: boolean
}

/**
 * Where a resource can go wrong.
 *
 * @category models
 * @since 0.1.0
 */
export type ResourcePoint = "create" | "validate" | "reset" | "release"

/**
 * What has happened to the items of a resource. `open = made - closed`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResourceStats {
  /** Creations that have begun, how they ended aside. */
  readonly creations: number
  /** Items that were made, and items whose release has ended, well or not. */
  readonly made: number
  readonly closed: number
  readonly open: number
  /** The most items that were open at one time. */
  readonly mostOpen: number
  /** How many are held up now by `"hang"` and `"stick"`. */
  readonly held: number
}

/**
 * Something for a pool to make, that goes wrong when it is told to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resource {
  /** For a pool's option `acquire`. */
  readonly acquire: Effect.Effect<Item, InjectedFault, Scope.Scope>
  /** For a pool's option `validate`: whether the item is neither broken nor closed. */
  readonly validate: (item: Item) => Effect.Effect<boolean, InjectedFault>
  /** For a pool's option `reset`. */
  readonly reset: (item: Item) => Effect.Effect<void, InjectedFault>
  /**
   * What is to go wrong next, and how. Orders for one point are carried out one after the other. A release cannot fail:
   * there `"fail"` is a defect too.
   */
  readonly order: (point: ResourcePoint, fault: Fault, options?: FaultOptions) => Effect.Effect<void>
  /** Has an item be invalid from now on. */
  readonly break: (item: Item) => Effect.Effect<void>
  /** Lets those go on that are held up. */
  readonly resume: Effect.Effect<void>
  /** The same, and forgets what is still to go wrong. */
  readonly heal: Effect.Effect<void>
  readonly stats: Effect.Effect<ResourceStats>
  /** Waits until this is true of the figures. */
  readonly until: (holds: (stats: ResourceStats) => boolean) => Effect.Effect<void>
}

/**
 * Makes a resource whose creation, validation, reset and release go wrong when they are told to, and which counts what
 * is open.
 *
 * **Example** (The second creation fails)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Pool } from "@cenote/pool"
 * import { Faults } from "@cenote/testing"
 *
 * const program = Effect.gen(function*() {
 *   const resource = yield* Faults.resource()
 *   const pool = yield* Pool.make({ acquire: resource.acquire, max: 2 })
 *   yield* resource.order("create", "fail", { after: 1 })
 *   const first = yield* Pool.get(pool)
 *   const error = yield* Effect.flip(Effect.scoped(Pool.get(pool)))
 *   const { open } = yield* resource.stats
 *   return [first.id, error._tag, open]
 * })
 *
 * await Effect.runPromise(Effect.scoped(program)) // => [1, "InjectedFault", 1]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const resource = (): Effect.Effect<Resource> =>
  Effect.sync(() => {
    const script = new Script<ResourcePoint>()
    const counts = { creations: 0, made: 0, closed: 0, mostOpen: 0 }
    const stats = (): ResourceStats => ({
      ...counts,
      open: counts.made - counts.closed,
      held: script.heldCount
    })
    const strike = (point: ResourcePoint) => Effect.suspend(() => script.happen(point, script.take(point)))
    const release = (item: { isOpen: boolean }) =>
      Effect.suspend(() => {
        item.isOpen = false
        return Effect.ensuring(
          Effect.orDie(strike("release")),
          Effect.sync(() => {
            counts.closed++
            script.changed()
          })
        )
      })
    return {
      acquire: Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          counts.creations++
          script.changed()
          const fault = script.take("create")
          const happens = script.happen("create", fault)
          // What sticks arrives, even if nobody wants it any more.
          yield* fault === "stick" ? happens : restore(happens)
          const item = { id: ++counts.made, isOpen: true, isBroken: false }
          counts.mostOpen = Math.max(counts.mostOpen, stats().open)
          script.changed()
          yield* Effect.addFinalizer(() => release(item))
          return item
        })
      ),
      validate: (item) => Effect.map(strike("validate"), () => item.isOpen && !item.isBroken),
      reset: () => strike("reset"),
      order: (point, fault, options = {}) => Effect.sync(() => script.order(point, fault, options)),
      break: (item) => Effect.sync(() => void Object.assign(item, { isBroken: true })),
      resume: Effect.sync(() => script.resume()),
      heal: Effect.sync(() => script.heal()),
      stats: Effect.sync(stats),
      until: (holds) => script.until(() => holds(stats()))
    }
  })

// -----------------------------------------------------------------------------
// Drivers
// -----------------------------------------------------------------------------

/**
 * Where the sessions of a driver can go wrong.
 *
 * @category models
 * @since 0.1.0
 */
export type DriverPoint = DriverPoint_

/**
 * What has happened to the sessions of a driver.
 *
 * @category models
 * @since 0.1.0
 */
export type DriverStats = DriverStats_

/**
 * What a test can do to the sessions of a driver.
 *
 * @category models
 * @since 0.1.0
 */
export interface DriverFaults {
  /**
   * What is to go wrong next, and how. Orders for one point are carried out one after the other. `"fatal"` is a failure after
   * which the session has ended. `matching` chooses statements by their SQL.
   *
   * A close cannot fail: there `"fail"` is a defect too.
   */
  readonly order: (
    point: DriverPoint,
    fault: Fault | "fatal",
    options?: FaultOptions & { readonly matching?: RegExp | undefined }
  ) => Effect.Effect<void>
  /** Ends the sessions that are open, as a server that goes away does: the pool is told. Says how many. */
  readonly kill: Effect.Effect<number>
  /** Lets those go on that are held up. */
  readonly resume: Effect.Effect<void>
  /** The same, and forgets what is still to go wrong. */
  readonly heal: Effect.Effect<void>
  readonly stats: Effect.Effect<DriverStats>
  /** Waits until this is true of the figures. */
  readonly until: (holds: (stats: DriverStats) => boolean) => Effect.Effect<void>
}

/**
 * A driver whose sessions go wrong when they are told to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Driver<Services = never> extends SqlDriver.SqlDriver<Services> {
  readonly faults: DriverFaults
}

/**
 * Puts faults between a pool and a driver of any kind.
 *
 * **Gotchas**
 *
 * Sessions that live in threads are opened there, by the driver beneath: of them only the faults of `"connect"` happen,
 * and only `connects` is counted.
 *
 * **Example** (A session that the pool finds dead)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { RawConnectionPool } from "@cenote/sql"
 * import { SqliteDriver } from "@cenote/sql-sqlite"
 * import { Faults } from "@cenote/testing"
 *
 * const program = Effect.gen(function*() {
 *   const driver = yield* Faults.driver(SqliteDriver.make({ filename: ":memory:" }))
 *   const queries = Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`select 1`
 *     yield* driver.faults.kill
 *     return yield* sql`select 2 as two`
 *   })
 *   const rows = yield* Effect.provide(queries, RawConnectionPool.layer(driver, { max: 1 }))
 *   const { opened, open } = yield* driver.faults.stats
 *   return { rows, opened, open }
 * })
 *
 * await Effect.runPromise(program) // => { rows: [{ two: 2 }], opened: 2, open: 0 }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const driver = <Services>(inner: SqlDriver.SqlDriver<Services>): Effect.Effect<Driver<Services>> =>
  Effect.sync(() => {
    const script = new Script<DriverPoint, "fatal">()
    const sessions = new Sessions(script)
    const stats = (): DriverStats => ({ ...sessions.counts, held: script.heldCount })
    return {
      ...inner,
      connect: (options) => sessions.connect(inner.connect(options)),
      worker: { ...inner.worker, config: Effect.andThen(sessions.connecting, inner.worker.config) },
      isFatal: (error) => isFatal(error) ?? inner.isFatal(error),
      faults: {
        order: (point, fault, options = {}) => Effect.sync(() => script.order(point, fault, options)),
        kill: Effect.sync(() => sessions.kill()),
        resume: Effect.sync(() => script.resume()),
        heal: Effect.sync(() => script.heal()),
        stats: Effect.sync(stats),
        until: (holds) => script.until(() => holds(stats()))
      }
    }
  })
