import { connect, createServer, type Socket } from "node:net"
import { Pool } from "@cenote/pool"
import { RawConnectionPool, type SqlDriver, TpooledConnectionPool } from "@cenote/sql"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { Faults, TestServers } from "@cenote/testing"
import { NodeThreads } from "@cenote/threads"
import { assert, describe, it } from "@effect/vitest"
import { PgConnection } from "@effect/sql-pg"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { TestClock } from "effect/testing"

// -----------------------------------------------------------------------------
// Both ends of a connection
// -----------------------------------------------------------------------------

/** One end of a connection: what it has heard, and how it ended. */
class End {
  text = ""
  /** `"end"`: in good order; `"reset"`; `"refused"`. */
  ending: string | undefined
  readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("latin1")
      socket.emit("news")
    })
    socket.on("end", () => this.end("end"))
    socket.on("error", (error: NodeJS.ErrnoException) =>
      this.end(
        { ECONNRESET: "reset", EPIPE: "reset", ECONNREFUSED: "refused" }[error.code ?? ""] ?? error.message
      )
    )
    socket.on("connect", () => socket.emit("news"))
  }

  private end(how: string) {
    this.ending ??= how
    this.socket.emit("news")
  }

  /** Waits for something to become true of it. */
  until(holds: (end: End) => boolean): Effect.Effect<End> {
    return Effect.callback<End>((resume) => {
      const check = () => {
        if (!holds(this)) return
        this.socket.off("news", check)
        resume(Effect.succeed(this))
      }
      this.socket.on("news", check)
      check()
      return Effect.sync(() => this.socket.off("news", check))
    }).pipe(Effect.timeout("10 seconds"), Effect.orDie)
  }

  hears(text: string) {
    return this.until((_) => _.text.endsWith(text))
  }

  get ends() {
    return Effect.map(
      this.until((_) => _.ending !== undefined),
      (_) => _.ending
    )
  }

  send(text: string) {
    return Effect.sync(() => void this.socket.write(text, "latin1"))
  }
}

/** A server that says what it hears, and a proxy before it. */
const bench = Effect.gen(function* () {
  const ends: Array<End> = []
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const end = new End(socket)
    ends.push(end)
    socket.on("data", (chunk) => socket.write(chunk))
    socket.on("end", () => socket.end("bye"))
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.callback<void>((resume) => {
        for (const { socket } of ends) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  )
  const { port } = server.address() as { readonly port: number }
  const proxy = yield* Faults.proxy({ host: "127.0.0.1", port })
  const client = Effect.acquireRelease(
    Effect.sync(
      () => new End(connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true, noDelay: true }))
    ),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )
  /** One that has been heard, and the server's end of it. */
  const pair = Effect.gen(function* () {
    const mine = yield* client
    yield* mine.send("hello")
    yield* mine.hears("hello")
    return { mine, theirs: ends.at(-1)! }
  })
  return { proxy, client, pair, ends, server }
})

/** That something does not happen can only be seen by waiting for it. */
const aWhile = Effect.sleep("150 millis")

const seconds = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([duration]) => Duration.toSeconds(duration))

// -----------------------------------------------------------------------------
// Networks
// -----------------------------------------------------------------------------

describe("a proxy", () => {
  it.live("hands on what is sent, both ways, and the end of each way", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      const text = "x".repeat(3_000_000)
      yield* mine.send(text)
      yield* mine.until((_) => _.text.length === text.length + 5)
      mine.socket.end("last words")
      assert.strictEqual(yield* theirs.ends, "end")
      // The other way is still open.
      yield* mine.hears("last wordsbye")
      assert.strictEqual(yield* mine.ends, "end")
      yield* proxy.awaitConnections(0)
      const bytes = yield* proxy.bytes
      assert.deepStrictEqual(bytes, { toServer: 3_000_015, toClient: 3_000_018 })
    }).pipe(Effect.scoped)
  )

  it.live("counts the connections that are open, and those that were", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const first = yield* pair
      yield* pair
      assert.deepStrictEqual([yield* proxy.connections, yield* proxy.accepted], [2, 2])
      first.mine.socket.end()
      yield* proxy.awaitConnections(1)
      assert.deepStrictEqual([yield* proxy.connections, yield* proxy.accepted], [1, 2])
    }).pipe(Effect.scoped)
  )

  it.live("hands on that an end has reset the connection", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      mine.socket.resetAndDestroy()
      assert.strictEqual(yield* theirs.ends, "reset")
      const other = yield* pair
      other.theirs.socket.resetAndDestroy()
      assert.strictEqual(yield* other.mine.ends, "reset")
      yield* proxy.awaitConnections(0)
    }).pipe(Effect.scoped)
  )

  it.live("resets a client whose server is not there", () =>
    Effect.gen(function* () {
      const { client, proxy, server } = yield* bench
      yield* Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      assert.strictEqual(yield* (yield* client).ends, "reset")
      yield* proxy.awaitConnections(0)
    }).pipe(Effect.scoped)
  )

  it.live("delays everything, keeps its order, and lets it go at once when it is healed", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.delay("200 millis")
      yield* mine.send("a")
      yield* mine.send("b")
      // There and back.
      assert.isAtLeast(yield* seconds(mine.hears("ab")), 0.39)
      yield* proxy.delay("1 hour")
      yield* mine.send("c")
      yield* aWhile
      assert.isTrue(theirs.text.endsWith("ab"))
      mine.socket.end("d")
      yield* proxy.heal
      yield* mine.hears("abcdbye")
      assert.strictEqual(yield* mine.ends, "end")
    }).pipe(Effect.scoped)
  )

  it.live("throttles: no more than so much in a second", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.only({ direction: "toServer" }).throttle(10_000)
      const started = theirs.text.length
      yield* mine.send("x".repeat(5_000))
      const took = yield* seconds(theirs.until((_) => _.text.length === started + 5_000))
      assert.isAtLeast(took, 0.45)
      yield* mine.hears("xxx")
    }).pipe(Effect.scoped)
  )

  it.live("holds everything up with a throttle of 0, and loses nothing", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.throttle(0)
      const text = "x".repeat(2_000_000)
      yield* mine.send(text)
      yield* aWhile
      assert.strictEqual(theirs.text, "hello")
      yield* proxy.heal
      yield* mine.until((_) => _.text.length === text.length + 5)
    }).pipe(Effect.scoped)
  )

  it.live("loses everything in silence, and resets by healing what cannot go on", () =>
    Effect.gen(function* () {
      const { client, pair, proxy } = yield* bench
      const quiet = yield* pair
      const { mine, theirs } = yield* pair
      yield* proxy.blackhole
      yield* mine.send("a")
      mine.socket.end()
      const late = yield* client
      yield* late.send("b")
      yield* aWhile
      assert.deepStrictEqual([theirs.text, theirs.ending, mine.ending], ["hello", undefined, undefined])
      assert.deepStrictEqual([late.text, late.ending, yield* proxy.connections], ["", undefined, 3])

      yield* proxy.heal
      assert.strictEqual(yield* theirs.ends, "reset")
      assert.strictEqual(yield* late.ends, "reset")
      // Of this nothing was lost.
      yield* quiet.mine.send("c")
      yield* quiet.mine.hears("helloc")
      yield* pair
    }).pipe(Effect.scoped)
  )

  it.live("loses what goes one way alone", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.only({ direction: "toClient" }).blackhole
      yield* mine.send("commit")
      yield* theirs.hears("commit")
      yield* aWhile
      assert.strictEqual(mine.text, "hello")
    }).pipe(Effect.scoped)
  )

  it.live("leaves existing connections half open, while new ones work", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.halfOpen
      theirs.socket.destroy()
      yield* mine.send("is anybody there?")
      yield* pair
      yield* aWhile
      assert.deepStrictEqual([mine.text, mine.ending], ["hello", undefined])
    }).pipe(Effect.scoped)
  )

  it.live("closes the connections in good order, and takes new ones", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      // What has not been read would turn the end into a reset.
      yield* mine.send("x".repeat(1000))
      yield* proxy.drop
      assert.strictEqual(yield* proxy.connections, 0)
      assert.deepStrictEqual([yield* mine.ends, yield* theirs.ends], ["end", "end"])
      yield* pair
    }).pipe(Effect.scoped)
  )

  it.live("resets the connections, and takes new ones", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.reset
      assert.strictEqual(yield* proxy.connections, 0)
      assert.deepStrictEqual([yield* mine.ends, yield* theirs.ends], ["reset", "reset"])
      yield* pair
    }).pipe(Effect.scoped)
  )

  for (const how of ["drop", "reset"] as const) {
    it.live(`ends new connections by ${how} as soon as they are there, and leaves the others alone`, () =>
      Effect.gen(function* () {
        const { client, pair, proxy } = yield* bench
        const { mine } = yield* pair
        yield* proxy.only({ connections: "new" })[how]
        assert.strictEqual(yield* (yield* client).ends, how === "drop" ? "end" : "reset")
        yield* mine.send("a")
        yield* mine.hears("helloa")
        yield* proxy.heal
        yield* pair
        assert.strictEqual(yield* proxy.accepted, 3)
      }).pipe(Effect.scoped)
    )

    it.live(`cuts a connection in the middle by ${how}`, () =>
      Effect.gen(function* () {
        const { client, pair, proxy } = yield* bench
        const { mine } = yield* pair
        yield* proxy.cutAfter(10, how)
        yield* mine.send("0123456789abc")
        assert.strictEqual(yield* mine.ends, how === "drop" ? "end" : "reset")
        assert.strictEqual(mine.text, "hello0123456789")
        // So is each new one.
        const late = yield* client
        yield* late.send("0123")
        yield* late.hears("0123")
        yield* late.send("456789abc")
        yield* late.ends
        assert.strictEqual(late.text, "0123456789")
        yield* proxy.heal
        const { mine: healed } = yield* pair
        yield* healed.send("0123456789abc")
        yield* healed.hears("abc")
      }).pipe(Effect.scoped)
    )
  }

  it.live("cuts what goes to the server", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine, theirs } = yield* pair
      yield* proxy.only({ direction: "toServer", connections: "existing" }).cutAfter(3)
      yield* mine.send("abcdef")
      assert.strictEqual(yield* theirs.ends, "end")
      assert.strictEqual(theirs.text, "helloabc")
      const { mine: next } = yield* pair
      yield* next.send("abcdef")
      yield* next.hears("abcdef")
    }).pipe(Effect.scoped)
  )

  it.live("refuses new connections until it is healed, on the same port", () =>
    Effect.gen(function* () {
      const { client, pair, proxy } = yield* bench
      const { mine } = yield* pair
      yield* proxy.refuse
      yield* proxy.refuse
      assert.strictEqual(yield* (yield* client).ends, "refused")
      yield* mine.send("a")
      yield* mine.hears("helloa")
      const { port } = proxy
      yield* Effect.all([proxy.heal, proxy.heal], { concurrency: 2 })
      assert.strictEqual(proxy.port, port)
      yield* pair
    }).pipe(Effect.scoped)
  )

  it.live("ends with its scope, and so do its connections, whatever has become of them", () =>
    Effect.gen(function* () {
      const { client, pair, proxy: outer } = yield* bench
      const scope = yield* Scope.make()
      const proxy = yield* Scope.provide(Faults.proxy(outer), scope)
      const through = () => new End(connect({ host: proxy.host, port: proxy.port }))
      const ends = [through(), through(), through()]
      for (const end of ends) {
        yield* end.send("hello")
        yield* end.hears("hello")
      }
      yield* proxy.delay("1 hour")
      yield* ends[0]!.send("a")
      yield* proxy.blackhole
      yield* ends[1]!.send("a")
      yield* Scope.close(scope, Exit.void)
      for (const end of ends) yield* end.ends
      const late = through()
      assert.strictEqual(yield* late.ends, "refused")
      yield* outer.awaitConnections(0)
      yield* client
      yield* pair
    }).pipe(Effect.scoped)
  )

  it.effect("does not wait for the clock of a test", () =>
    Effect.gen(function* () {
      const { pair, proxy } = yield* bench
      const { mine } = yield* pair
      yield* proxy.delay("30 millis")
      yield* mine.send("a")
      yield* Effect.callback<void>((resume) => {
        mine.socket.on("data", () => resume(Effect.void))
      })
      assert.strictEqual(mine.text, "helloa")
    }).pipe(Effect.scoped, TestClock.withLive)
  )
})

const failing = <A>(effect: Effect.Effect<A, SqlError.SqlError>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason._tag)

await TestServers.describeWith("a proxy before a PostgreSQL", [TestServers.Postgres.sharedAvailable], () => {
  it.live("has sessions fail as they do on a bad network", () =>
    Effect.gen(function* () {
      const { config } = yield* TestServers.Postgres
      const proxy = yield* Faults.proxy(config)
      const session = PgConnection.make({ ...config, port: proxy.port, connectTimeout: "300 millis" })

      const cut = yield* session
      yield* proxy.cutAfter(200)
      assert.strictEqual(yield* failing(cut.query("select repeat('x', 10000)")), "ConnectionError")
      yield* proxy.heal

      const lost = yield* session
      yield* proxy.reset
      assert.strictEqual(yield* failing(lost.query("select 1")), "ConnectionError")

      yield* proxy.blackhole
      assert.strictEqual(yield* failing(Effect.scoped(session)), "ConnectionError")
      yield* proxy.heal
      yield* proxy.refuse
      assert.strictEqual(yield* failing(Effect.scoped(session)), "ConnectionError")
      yield* proxy.heal
      const { rows } = yield* (yield* session).query("select 1 as one")
      assert.deepStrictEqual(rows, [{ one: 1 }])
    }).pipe(Effect.scoped, Effect.provide(TestServers.Postgres.shared))
  )
})

// -----------------------------------------------------------------------------
// Resources
// -----------------------------------------------------------------------------

describe("a resource", () => {
  it.effect("is made and closed, and counted", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      const scope = yield* Scope.make()
      const make = Scope.provide(resource.acquire, scope)
      const [first, second] = yield* Effect.all([make, make])
      assert.deepStrictEqual([first.id, second.id], [1, 2])
      assert.isTrue(yield* resource.validate(first))
      assert.deepStrictEqual(yield* resource.stats, {
        creations: 2,
        made: 2,
        closed: 0,
        open: 2,
        mostOpen: 2,
        held: 0
      })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* resource.stats, {
        creations: 2,
        made: 2,
        closed: 2,
        open: 0,
        mostOpen: 2,
        held: 0
      })
      assert.isFalse(first.isOpen)
      assert.isFalse(yield* resource.validate(first))
    })
  )

  it.effect("fails to be made as often as it is told to, and after as many times", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      yield* resource.order("create", "fail", { after: 1, times: 2 })
      yield* resource.order("create", "die")
      const outcomes = yield* Effect.forEach([1, 2, 3, 4, 5], () =>
        Effect.exit(Effect.scoped(resource.acquire))
      )
      assert.deepStrictEqual(
        outcomes.map((exit) => (Exit.isSuccess(exit) ? "made" : exit.cause.reasons[0]!._tag)),
        ["made", "Fail", "Fail", "Die", "made"]
      )
      const error = yield* Effect.flip(
        Effect.andThen(resource.order("create", "fail", { times: Infinity }), Effect.scoped(resource.acquire))
      )
      assert.deepInclude(error, { _tag: "InjectedFault", point: "create", fatal: false })
      assert.strictEqual(error.message, 'the test has "create" fail')
      yield* resource.heal
      yield* Effect.scoped(resource.acquire)
      assert.deepInclude(yield* resource.stats, { creations: 7, made: 3, closed: 3 })
    })
  )

  it.effect("hangs until it is told to go on, or is interrupted", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      yield* resource.order("create", "hang", { times: 2 })
      const make = Effect.forkChild(Effect.scoped(resource.acquire), { startImmediately: true })
      const [one, two] = yield* Effect.all([make, make])
      yield* resource.until(({ held }) => held === 2)
      yield* Fiber.interrupt(one)
      assert.strictEqual((yield* resource.stats).held, 1)
      yield* resource.resume
      assert.strictEqual((yield* Fiber.join(two)).id, 1)
      assert.deepInclude(yield* resource.stats, { creations: 2, made: 1, closed: 1, held: 0 })
    })
  )

  it.effect("sticks: who interrupts it waits too, and what was made late is closed", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      yield* resource.order("create", "stick")
      const making = yield* Effect.forkChild(Effect.scoped(resource.acquire), { startImmediately: true })
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(making), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(interrupting.pollUnsafe())
      yield* resource.heal
      yield* Fiber.join(interrupting)
      assert.deepInclude(yield* resource.stats, { made: 1, closed: 1 })
    })
  )

  it.effect("is late by the clock of the test", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      yield* resource.order("create", { late: "1 hour" })
      const making = yield* Effect.forkChild(Effect.scoped(resource.acquire), { startImmediately: true })
      yield* TestClock.adjust("59 minutes")
      assert.isUndefined(making.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(making)).id, 1)
    })
  )

  it.effect("fails to be closed, which counts as closed", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      for (const fault of ["fail", "die"] as const) {
        yield* resource.order("release", fault)
        const exit = yield* Effect.exit(Effect.scoped(resource.acquire))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
      yield* resource.order("release", "hang")
      const closing = yield* Effect.forkChild(Effect.scoped(resource.acquire), { startImmediately: true })
      yield* resource.until(({ held }) => held === 1)
      assert.deepInclude(yield* resource.stats, { made: 3, closed: 2, open: 1 })
      yield* resource.resume
      yield* Fiber.join(closing)
      assert.deepInclude(yield* resource.stats, { made: 3, closed: 3, open: 0 })
    })
  )

  it.effect("has a pool do what it does with such resources", () =>
    Effect.gen(function* () {
      const resource = yield* Faults.resource()
      const { acquire, reset, validate } = resource
      const pool = yield* Pool.make({
        acquire,
        validate,
        reset,
        max: 1,
        createTimeout: "1 second",
        validateAfterIdle: 0
      })
      const borrow = Pool.use(pool, (item) => Effect.succeed(item))

      const first = yield* borrow
      yield* resource.break(first)
      assert.strictEqual((yield* borrow).id, 2)
      yield* resource.order("reset", "fail")
      yield* borrow
      assert.strictEqual((yield* borrow).id, 3)
      yield* resource.order("validate", "fail")
      assert.strictEqual((yield* borrow).id, 4)

      yield* Pool.clear(pool)
      yield* resource.order("create", "stick")
      const late = yield* Effect.forkChild(Effect.flip(borrow), { startImmediately: true })
      yield* resource.until(({ held }) => held === 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late))._tag, "CreateTimeout")
      yield* resource.resume
      // What arrived late is closed (EV-53).
      yield* resource.until(({ made, open }) => made === 5 && open === 0)
      assert.strictEqual((yield* resource.stats).mostOpen, 1)
    }).pipe(Effect.scoped)
  )
})

// -----------------------------------------------------------------------------
// Drivers
// -----------------------------------------------------------------------------

/** Its sessions have one database, in memory. */
const sqlite = () => SqliteDriver.make({ filename: ":memory:" })

const session = (driver: SqlDriver.SqlDriver) => driver.connect({})
const one = (session: SqlDriver.SqlSession, sql = "select 1 as one") => session.execute(sql, [], undefined)
const isInjected = (driver: SqlDriver.SqlDriver, error: SqlError.SqlError, isFatal: boolean) => {
  assert.instanceOf(error.reason.cause, Faults.InjectedFault)
  assert.strictEqual(driver.isFatal(error), isFatal)
  assert.strictEqual(error.reason._tag, isFatal ? "ConnectionError" : "UnknownError")
}

describe("a driver", () => {
  it.effect("does what the one beneath does, and counts", () =>
    Effect.gen(function* () {
      const inner = sqlite()
      const driver = yield* Faults.driver(inner)
      assert.deepStrictEqual([driver.name, driver.target], [inner.name, inner.target])
      yield* Effect.scoped(
        Effect.gen(function* () {
          const it = yield* session(driver)
          yield* it.executeRaw("create table a (b integer)", [])
          yield* it.executeUnprepared("insert into a values (?)", [1], undefined)
          assert.deepStrictEqual(yield* one(it, "select b from a"), [{ b: 1 }])
          assert.deepStrictEqual(yield* it.executeValues("select b from a", []), [[1]])
          assert.deepStrictEqual(yield* it.executeValuesUnprepared("select b from a", []), [[1]])
          assert.deepStrictEqual(
            yield* Stream.runCollect(it.executeStream("select b from a", [], undefined)),
            [{ b: 1 }]
          )
          yield* Effect.all([it.ping, it.rollback, it.reset])
          assert.isDefined(it.native)
          assert.deepInclude(yield* driver.faults.stats, { open: 1, closed: 0 })
        })
      )
      assert.deepStrictEqual(yield* driver.faults.stats, {
        open: 0,
        mostOpen: 1,
        opened: 1,
        closed: 1,
        connects: 1,
        statements: 6,
        pings: 1,
        rollbacks: 1,
        resets: 1,
        held: 0
      })
    })
  )

  it.effect("fails where it is told to, and the session goes on", () =>
    Effect.gen(function* () {
      const driver = yield* Faults.driver(sqlite())
      yield* driver.faults.order("connect", "fail")
      isInjected(driver, yield* Effect.flip(session(driver)), false)
      const it = yield* session(driver)
      for (const point of ["ping", "rollback", "reset"] as const) {
        yield* driver.faults.order(point, "fail")
        isInjected(driver, yield* Effect.flip(it[point]), false)
        yield* it[point]
      }
      yield* driver.faults.order("statement", "fail", { matching: /^insert/i, times: 2 })
      yield* one(it)
      yield* one(it, "create table a (b integer)")
      isInjected(driver, yield* Effect.flip(one(it, "INSERT into a values (1)")), false)
      isInjected(
        driver,
        yield* Effect.flip(Stream.runDrain(it.executeStream("insert into a values (1)", [], undefined))),
        false
      )
      yield* one(it, "insert into a values (1)")
      // An error of the database's own is as fatal as it always was.
      const own = yield* Effect.flip(one(it, "select"))
      assert.isFalse(driver.isFatal(own))
    }).pipe(Effect.scoped)
  )

  it.effect("ends a session by a fatal failure, and says so to who listens", () =>
    Effect.gen(function* () {
      const driver = yield* Faults.driver(sqlite())
      const it = yield* session(driver)
      const heard: Array<SqlError.SqlError> = []
      it.onEnd((error) => heard.push(error))
      yield* driver.faults.order("statement", "fatal")
      const error = yield* Effect.flip(one(it))
      isInjected(driver, error, true)
      assert.deepStrictEqual(heard, [error])
      it.onEnd((error) => heard.push(error))
      assert.strictEqual(heard.length, 2)
      for (const use of [
        one(it),
        it.ping,
        it.rollback,
        it.reset,
        Stream.runDrain(it.executeStream("select 1", [], undefined))
      ]) {
        assert.strictEqual(yield* Effect.flip(use as Effect.Effect<unknown, SqlError.SqlError>), error)
      }
      assert.strictEqual((yield* driver.faults.stats).open, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("kills the sessions that are open, and what they are doing", () =>
    Effect.gen(function* () {
      const driver = yield* Faults.driver(sqlite())
      const sessions = yield* Effect.all([session(driver), session(driver)])
      yield* driver.faults.order("statement", "hang", { times: 2 })
      const running = yield* Effect.forkChild(Effect.flip(one(sessions[0])), { startImmediately: true })
      const streaming = yield* Effect.forkChild(
        Effect.flip(Stream.runDrain(sessions[1].executeStream("select 1", [], undefined))),
        { startImmediately: true }
      )
      yield* driver.faults.until(({ held }) => held === 2)
      assert.strictEqual(yield* driver.faults.kill, 2)
      isInjected(driver, yield* Fiber.join(running), true)
      isInjected(driver, yield* Fiber.join(streaming), true)
      yield* driver.faults.until(({ held }) => held === 0)
      assert.strictEqual(yield* driver.faults.kill, 0)
      yield* one(yield* session(driver))
    }).pipe(Effect.scoped)
  )

  it.effect("hangs, sticks and is late at any point", () =>
    Effect.gen(function* () {
      const driver = yield* Faults.driver(sqlite())
      yield* driver.faults.order("connect", "hang")
      const connecting = yield* Effect.forkChild(Effect.scoped(session(driver)), { startImmediately: true })
      yield* driver.faults.until(({ held }) => held === 1)
      yield* Fiber.interrupt(connecting)
      assert.deepInclude(yield* driver.faults.stats, { connects: 1, opened: 0, held: 0 })

      yield* driver.faults.order("connect", "stick")
      const stuck = yield* Effect.forkChild(Effect.scoped(session(driver)), { startImmediately: true })
      const leaving = yield* Effect.forkChild(Fiber.interrupt(stuck), { startImmediately: true })
      yield* driver.faults.until(({ held }) => held === 1)
      yield* driver.faults.resume
      yield* Fiber.join(leaving)
      assert.deepInclude(yield* driver.faults.stats, { connects: 2, opened: 1, closed: 1 })

      yield* driver.faults.order("connect", { late: "5 seconds" })
      const late = yield* Effect.forkChild(Effect.scoped(session(driver)), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(late)

      const it = yield* session(driver)
      yield* driver.faults.order("ping", "stick")
      const pinging = yield* Effect.forkChild(it.ping, { startImmediately: true })
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(pinging), { startImmediately: true })
      yield* Effect.yieldNow
      assert.isUndefined(interrupting.pollUnsafe())
      yield* driver.faults.resume
      yield* Fiber.join(interrupting)

      yield* driver.faults.order("close", "hang")
      const closing = yield* Effect.forkChild(Effect.scoped(session(driver)), { startImmediately: true })
      yield* driver.faults.until(({ held }) => held === 1)
      assert.strictEqual((yield* driver.faults.stats).open, 2)
      yield* driver.faults.heal
      yield* Fiber.join(closing)
      assert.strictEqual((yield* driver.faults.stats).open, 1)
    }).pipe(Effect.scoped)
  )

  it.live("has a pool replace what is lost, and close what it has opened", () =>
    Effect.gen(function* () {
      const driver = yield* Faults.driver(sqlite())
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`select 1`
        yield* driver.faults.order("statement", "fatal")
        assert.strictEqual((yield* Effect.flip(sql`select 1`)).reason._tag, "ConnectionError")
        assert.deepStrictEqual(yield* sql`select 2 as two`, [{ two: 2 }])
        yield* driver.faults.kill
        assert.deepStrictEqual(yield* sql`select 3 as three`, [{ three: 3 }])
        assert.deepInclude(yield* driver.faults.stats, { opened: 3, open: 1, mostOpen: 1 })
      }).pipe(Effect.provide(RawConnectionPool.layer(driver, { max: 1 })))
      assert.deepInclude(yield* driver.faults.stats, { opened: 3, open: 0, closed: 3 })
    })
  )

  it.live("of sessions in threads, has the connect fail", () =>
    Effect.gen(function* () {
      const driver = yield* Faults.driver(sqlite())
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* driver.faults.order("connect", "fail")
        const error = yield* Effect.flip(sql`select 1`)
        assert.instanceOf(error.reason.cause, Faults.InjectedFault)
        assert.deepStrictEqual(yield* sql`select 2 as two`, [{ two: 2 }])
        assert.strictEqual((yield* driver.faults.stats).connects, 2)
      }).pipe(
        Effect.provide(
          Layer.provide(TpooledConnectionPool.layer(driver, { max: 1 }), NodeThreads.layer({ max: 1 }))
        )
      )
    })
  )
})
