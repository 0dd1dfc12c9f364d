// Connections that are in each other's way. Time stands still here unless a test moves it, so that what goes on without
// that was woken, and not just lucky.
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Stream } from "effect"
import { TestClock } from "effect/testing"
import { SqliteDriver } from "@cenote/sql-sqlite"
import { isWaitedFor } from "../src/internal/waiting.ts"
import { connect, errorOf, file, inFile, inMemory, nativeOf, pathOf, places, query, script } from "./kit.ts"

/** Lets everything run that can run at this time. */
const settle = TestClock.adjust(0)

/** Starts an effect, and sees to it that it waits. */
const blocked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    yield* settle
    assert.isUndefined(fiber.pollUnsafe(), "it did not have to wait")
    return fiber
  })

for (const place of places) {
  describe(`a database ${place.name}`, () => {
    const two = Effect.gen(function* () {
      const driver = yield* place.driver()
      const first = yield* connect(driver)
      const second = yield* connect(driver)
      yield* script(first, "create table t (x)")
      return { driver, first, second }
    })

    it.effect("has a statement wait for the one that writes, and go on as soon as that ends", () =>
      Effect.gen(function* () {
        const { first, second } = yield* two
        for (const end of ["commit", "rollback"]) {
          yield* script(first, "begin immediate", "insert into t values (1)")
          const fiber = yield* blocked(query(second, "insert into t values (2)"))
          yield* query(first, end)
          yield* Fiber.join(fiber)
        }
        assert.deepStrictEqual(yield* query(first, "select x from t"), [{ x: 1 }, { x: 2 }, { x: 2 }])
      })
    )

    it.effect("has it go on when the other's transaction ends in another way", () =>
      Effect.gen(function* () {
        const { driver, first, second } = yield* two
        yield* script(first, "create unique index u on t (x)", "insert into t values (1)")
        const ends: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          first.rollback,
          first.reset,
          // SQLite rolls back by itself.
          Effect.flip(query(first, "insert or rollback into t values (1)"))
        ]
        for (const end of ends) {
          yield* script(first, "begin immediate")
          const fiber = yield* blocked(query(second, "delete from t where x = 9"))
          yield* end
          yield* Fiber.join(fiber)
        }
        const fiber = yield* Effect.scoped(
          Effect.gen(function* () {
            const third = yield* connect(driver)
            yield* script(third, "begin immediate")
            return yield* blocked(query(second, "begin immediate"))
          })
        )
        yield* Fiber.join(fiber)
      })
    )

    it.effect("lets those that wait have their turn in the order in which they came", () =>
      Effect.gen(function* () {
        const { driver, first, second } = yield* two
        const third = yield* connect(driver)
        yield* script(first, "begin immediate")
        const order: Array<string> = []
        const turn = (name: string, connection: typeof first) =>
          Effect.gen(function* () {
            yield* query(connection, "begin immediate")
            order.push(name)
            yield* Effect.yieldNow
            yield* query(connection, "commit")
          })
        const fibers = [yield* blocked(turn("second", second)), yield* blocked(turn("third", third))]
        yield* query(first, "commit")
        // Whoever comes now, comes after them.
        fibers.push(yield* Effect.forkChild(turn("first", first)))
        yield* Effect.forEach(fibers, Fiber.join)
        assert.deepStrictEqual(order, ["second", "third", "first"])
      })
    )

    it.effect("gives up after busyTimeout, with LockTimeoutError", () =>
      Effect.gen(function* () {
        const driver = yield* place.driver({ busyTimeout: "2 seconds" })
        const first = yield* connect(driver)
        const second = yield* connect(driver)
        yield* script(first, "create table t (x)", "begin immediate")
        const fiber = yield* blocked(errorOf(query(second, "insert into t values (1)")))
        yield* TestClock.adjust(1_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error.reason._tag, "LockTimeoutError")
        assert.match(error.message, /database is locked.* 2s \(busyTimeout\)/)
        assert.isTrue(error.isRetryable)
        assert.isFalse(driver.isFatal(error))
        yield* query(first, "commit")
        yield* query(second, "insert into t values (1)")
      })
    )

    it.effect("waits 5 seconds unless told otherwise, and not at all with zero", () =>
      Effect.gen(function* () {
        const { first, second } = yield* two
        yield* script(first, "begin immediate")
        const fiber = yield* blocked(errorOf(query(second, "begin immediate")))
        yield* TestClock.adjust(4_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.match((yield* Fiber.join(fiber)).message, / 5s \(busyTimeout\)/)

        const driver = yield* place.driver({ busyTimeout: 0 })
        const third = yield* connect(driver)
        const fourth = yield* connect(driver)
        yield* script(third, "begin immediate")
        const error = yield* errorOf(query(fourth, "begin immediate"))
        assert.strictEqual(error.reason._tag, "LockTimeoutError")
        assert.match(error.message, /within 0 \(busyTimeout\)/)
      })
    )

    it.effect("does not run a statement that was interrupted while it waited", () =>
      Effect.gen(function* () {
        const { driver, first, second } = yield* two
        const path = yield* pathOf(driver)
        yield* script(first, "begin immediate")
        const fiber = yield* blocked(query(second, "insert into t values (1)"))
        assert.isTrue(isWaitedFor(path))
        yield* Fiber.interrupt(fiber)
        assert.isFalse(isWaitedFor(path))
        yield* query(first, "commit")
        yield* settle
        assert.deepStrictEqual(yield* query(second, "select x from t"), [])
      })
    )

    it.effect("has the first statement of a transaction wait, but not one after it has read", () =>
      Effect.gen(function* () {
        const { first, second } = yield* two
        for (const begin of [["begin"], ["savepoint a"], ["begin", "savepoint a"]]) {
          yield* script(first, "begin immediate")
          yield* script(second, ...begin)
          const fiber = yield* blocked(query(second, "insert into t values (1)"))
          yield* query(first, "commit")
          yield* Fiber.join(fiber)
          yield* query(second, "rollback")
        }
        const reads = [
          query(second, "select * from t"),
          Stream.runDrain(second.executeStream("select * from t", [], undefined))
        ]
        for (const read of reads) {
          yield* query(second, "begin")
          yield* read
          yield* query(second, "savepoint a")
          yield* script(first, "begin immediate")
          const error = yield* errorOf(query(second, "insert into t values (1)"))
          assert.strictEqual(error.reason._tag, "LockTimeoutError")
          assert.match(error.message, /waiting for it would not help/)
          yield* script(second, "rollback")
          yield* query(first, "rollback")
        }
      })
    )

    it.effect("has a stream wait for its first row", () =>
      Effect.gen(function* () {
        const { first, second } = yield* two
        // Only a lock that no one reads beside is in the way of a stream, in a file too.
        yield* script(first, "insert into t values (1)", "begin immediate")
        const insert = second.executeStream("insert into t values (2), (3) returning x", [], undefined)
        const fiber = yield* blocked(Stream.runCollect(insert))
        yield* query(first, "commit")
        assert.deepStrictEqual(yield* Fiber.join(fiber), [{ x: 2 }, { x: 3 }])
      })
    )
  })
}

describe("a database in a file", () => {
  it.effect("can be read while somebody writes, as it was before", () =>
    Effect.gen(function* () {
      const driver = yield* inFile.driver()
      const writer = yield* connect(driver)
      const reader = yield* connect(driver)
      yield* script(writer, "create table t (x)", "begin immediate", "insert into t values (1)")
      assert.deepStrictEqual(yield* query(reader, "select * from t"), [])
      yield* query(writer, "commit")
      assert.deepStrictEqual(yield* query(reader, "select * from t"), [{ x: 1 }])
    })
  )

  it.effect("fails at once where a transaction wants to write on what has changed since it read", () =>
    Effect.gen(function* () {
      const driver = yield* inFile.driver()
      const first = yield* connect(driver)
      const second = yield* connect(driver)
      yield* script(first, "create table t (x)")
      yield* script(second, "begin", "select * from t")
      yield* script(first, "insert into t values (1)")
      const error = yield* errorOf(query(second, "insert into t values (2)"))
      assert.strictEqual(error.reason._tag, "LockTimeoutError")
      assert.match(error.message, /has read what another connection has changed since.*"immediate"/)
      yield* script(second, "rollback", "insert into t values (2)")
    })
  )

  it.effect("is tried again in time where a lock is not this program's", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const connection = yield* connect(SqliteDriver.make({ filename }))
      yield* script(connection, "create table t (x)")
      // Nobody wakes those who wait for this one, as for another process or thread.
      const other = yield* Effect.acquireRelease(
        Effect.sync(() => new DatabaseSync(filename)),
        (_) => Effect.sync(() => _.close())
      )
      other.exec("begin immediate")
      const fiber = yield* blocked(query(connection, "insert into t values (1)"))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(fiber.pollUnsafe())
      other.exec("commit")
      yield* settle
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(fiber)
    })
  )

  it.effect("has the connection itself wait, where somebody holds the file while it is set up", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const other = yield* Effect.acquireRelease(
        Effect.sync(() => new DatabaseSync(filename)),
        (_) => Effect.sync(() => _.close())
      )
      other.exec("create table t (x); begin exclusive")
      const driver = SqliteDriver.make({ filename })
      const fiber = yield* blocked(
        Effect.scoped(Effect.flatMap(connect(driver), (_) => query(_, "pragma journal_mode")))
      )
      other.exec("commit")
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [{ journal_mode: "wal" }])

      // One that is interrupted meanwhile leaves nothing open.
      const second = SqliteDriver.make({ filename: yield* file })
      const holder = nativeOf(yield* connect(second))
      holder.exec("pragma journal_mode = delete")
      holder.exec("begin exclusive")
      yield* Fiber.interrupt(yield* blocked(Effect.scoped(connect(second))))
      holder.exec("commit")
    })
  )

  it.effect("without a write-ahead log has a commit wait for those that read", () =>
    Effect.gen(function* () {
      const driver = yield* inFile.driver({ wal: false })
      yield* commitWaits(driver)
    })
  )
})

describe("a database in memory", () => {
  it.effect("has a commit wait for those that read, and those that read for one that writes", () =>
    Effect.gen(function* () {
      const driver = yield* inMemory.driver()
      yield* commitWaits(driver)
      const first = yield* connect(driver)
      const second = yield* connect(driver)
      yield* script(first, "begin immediate", "insert into t values (9)")
      const fiber = yield* blocked(query(second, "select x from t where x = 9"))
      yield* query(first, "rollback")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [])
    })
  )
})

const commitWaits = (driver: ReturnType<typeof SqliteDriver.make>) =>
  Effect.gen(function* () {
    const reader = yield* connect(driver)
    const writer = yield* connect(driver)
    yield* script(reader, "create table t (x)")
    const rows = Array.from({ length: 100 }, (_, index) => `(${index})`).join(", ")
    yield* script(reader, `insert into t values ${rows}`)
    const pulled = yield* Latch.make()
    const go = yield* Latch.make()
    const slow = yield* Effect.forkChild(
      Stream.runForEach(reader.executeStream("select x from t", [], undefined), () =>
        Effect.andThen(pulled.open, go.await)
      )
    )
    yield* pulled.await
    yield* script(writer, "begin immediate", "delete from t")
    const commit = yield* blocked(query(writer, "commit"))
    yield* go.open
    assert.isTrue(Exit.isSuccess(yield* Fiber.await(slow)))
    yield* Fiber.join(commit)
    assert.deepStrictEqual(yield* query(reader, "select count(*) as n from t"), [{ n: 0 }])
  })
