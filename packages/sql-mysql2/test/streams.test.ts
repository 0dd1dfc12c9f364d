/** Streams of rows: as they come, no faster than they are taken, and left early without a trace. */
import { TestServers } from "@cenote/testing"
import { expect, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { busyWith, eventually, idOf, open, rows, restful, text, watchEnd, within } from "./kit.ts"

/** Rows without a table: numbers from 1 on. */
const numbers = (count: number, more = "") => `select seq as n${more} from seq_1_to_${count}`

/** What transforms of names do to rows. */
const renamed = (rows: ReadonlyArray<any>): ReadonlyArray<any> => rows.map(({ n }) => ({ m: n }))

await TestServers.describeWith("streams", [TestServers.MariaDb.sharedAvailable], () => {
  layer(TestServers.MariaDb.shared, { excludeTestServices: true })((it) => {
    for (const disablePreparedStatements of [false, true]) {
      const way = disablePreparedStatements ? "not prepared" : "prepared"

      it.effect(`100,000 rows come in order and in chunks, ${way}`, () =>
        Effect.gen(function* () {
          const session = yield* open({ disablePreparedStatements })
          let next = 1
          let chunks = 0
          yield* session.executeStream(numbers(100_000, ", ? as p"), ["x"], undefined).pipe(
            Stream.runForEachArray((rows) =>
              Effect.sync(() => {
                chunks++
                for (const row of rows) {
                  if (row.n !== next++ || row.p !== "x")
                    throw new Error(`row ${next - 1} is ${JSON.stringify(row)}`)
                }
              })
            )
          )
          expect(next).toBe(100_001)
          expect(chunks).toBeGreaterThan(10)
          expect(chunks).toBeLessThan(20_000)
          expect(yield* text(session, "select 1 as a")).toEqual([{ a: 1 }])
        })
      )
    }

    it.effect("nothing is read ahead of who takes the rows, beyond a part of a megabyte", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const observer = yield* open()
        const { stream } = session.native as { readonly stream: { readonly bytesRead: number } }
        const taken = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        let count = 0
        // Hundred megabytes.
        const fiber = yield* session
          .executeStream(numbers(100_000, ", repeat('x', 1000) as x"), [], undefined)
          .pipe(
            Stream.runForEachArray((rows) => {
              count += rows.length
              return Effect.andThen(Deferred.succeed(taken, undefined), Deferred.await(goOn))
            }),
            Effect.forkChild
          )
        yield* Deferred.await(taken)
        // The server has filled what lies between, and waits until it can write on.
        yield* eventually(
          rows(observer, "select state from information_schema.processlist where id = ?", [idOf(session)]),
          ([row]) => /writing to net|sending data/i.test(String(row?.state))
        )
        let before = -1
        let looks = 0
        yield* eventually(
          Effect.sync(() => stream.bytesRead),
          (now) => {
            looks = now === before ? looks + 1 : 0
            before = now
            return looks === 10
          }
        )
        expect(before).toBeLessThan(2_000_000)
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(fiber)
        expect(count).toBe(100_000)
        expect(stream.bytesRead).toBeGreaterThan(100_000_000)
      })
    )

    it.effect("the memory stays flat over many rows", () =>
      Effect.gen(function* () {
        const session = yield* open()
        let count = 0
        let most = 0
        const before = process.memoryUsage()
        yield* session.executeStream(numbers(200_000, ", repeat('x', 1000) as x"), [], undefined).pipe(
          Stream.runForEachArray((rows) =>
            Effect.sync(() => {
              count += rows.length
              const { arrayBuffers, external, heapUsed } = process.memoryUsage()
              most = Math.max(
                most,
                heapUsed + external + arrayBuffers - before.heapUsed - before.external - before.arrayBuffers
              )
            })
          )
        )
        expect(count).toBe(200_000)
        // Two hundred megabytes came; rubbish lies about for a while.
        expect(most).toBeLessThan(120_000_000)
      })
    )

    it.effect("left early, the statement is stopped and the session takes the next", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const observer = yield* open()
        const { told } = yield* watchEnd(session)
        for (const sql of [
          numbers(1_000_000, ", repeat('x', 1000) as x"),
          // Its end is in what has come already.
          numbers(20),
          // After the first row, which is more than the server keeps back, there is nothing for long.
          "select seq as n, repeat('x', 100000) as x, sleep(if(seq = 1, 0, 60)) as s from seq_1_to_3"
        ]) {
          const first = yield* within(
            "10 seconds",
            session.executeStream(sql, [], undefined).pipe(Stream.take(1), Stream.runCollect)
          )
          expect(first[0].n).toBe(1)
          yield* restful(observer, idOf(session))
          expect(yield* rows(session, "select ? as a", [7])).toEqual([{ a: 7 }])
        }
        expect(told).toEqual([])
      })
    )

    it.effect("interrupted before the first row, the statement is stopped", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const observer = yield* open()
        const { told } = yield* watchEnd(session)
        const fiber = yield* Effect.forkChild(
          Stream.runDrain(session.executeStream("select sleep(60)", [], undefined))
        )
        yield* busyWith(observer, idOf(session), "sleep(60)")
        yield* within("10 seconds", Fiber.interrupt(fiber))
        expect(yield* rows(session, "select ? as a", [7])).toEqual([{ a: 7 }])
        expect(told).toEqual([])
      })
    )

    it.effect(
      "left early where nothing may be stopped, the connection is closed, and the session says so",
      () =>
        Effect.gen(function* () {
          const session = yield* open({ killQueries: false })
          const { ended, told } = yield* watchEnd(session)
          const short = session.executeStream(numbers(20), [], undefined)
          expect(yield* Stream.runCollect(Stream.take(short, 2))).toEqual([{ n: 1 }, { n: 2 }])
          expect(told).toEqual([])
          const long = session.executeStream(numbers(1_000_000), [], undefined)
          expect(yield* Stream.runCollect(Stream.take(long, 2))).toEqual([{ n: 1 }, { n: 2 }])
          expect((yield* ended).reason._tag).toBe("ConnectionError")
        })
    )

    it.effect("a failure in the middle comes after the rows before it", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const seen: Array<number> = []
        const error = yield* session
          .executeStream(
            "select seq as n, if(seq < 3, seq, (select 1 from seq_1_to_3)) as m from seq_1_to_10",
            [],
            undefined
          )
          .pipe(
            Stream.runForEach((row) => Effect.sync(() => seen.push(row.n))),
            Effect.flip
          )
        expect(error.message).toMatch(/Failed to stream statement: Subquery returns more than 1 row \(1242\)/)
        expect(error.reason.operation).toBe("stream")
        expect(seen.length).toBeLessThanOrEqual(2)
        expect(yield* rows(session, "select 1 as a")).toEqual([{ a: 1 }])
      })
    )

    it.effect("a statement that is wrong fails the stream, and so does a parameter that cannot go", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const run = (sql: string, params: ReadonlyArray<unknown>) =>
          Effect.flip(Stream.runDrain(session.executeStream(sql, params, undefined)))
        expect((yield* run("selct 1", [])).reason._tag).toBe("SqlSyntaxError")
        expect((yield* run("select ?", [undefined])).message).toContain(
          "parameter 1 of the statement is undefined"
        )
        expect((yield* run("select ?", [1, 2])).message).toContain("1 placeholders, and 2 parameters")
        expect(yield* rows(session, "select 1 as a")).toEqual([{ a: 1 }])
      })
    )

    it.effect("a connection that is lost fails the stream after the rows that came", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const observer = yield* open()
        const { ended } = yield* watchEnd(session)
        const seen: Array<number> = []
        const error = yield* session
          .executeStream("select seq as n, sleep(if(seq = 3, 60, 0)) as s from seq_1_to_3", [], undefined)
          .pipe(
            Stream.runForEach((row) => Effect.sync(() => seen.push(row.n))),
            Effect.flip,
            (stream) =>
              Effect.all(
                [
                  stream,
                  Effect.andThen(
                    busyWith(observer, idOf(session), "sleep"),
                    text(observer, `kill connection ${idOf(session)}`)
                  )
                ],
                { concurrency: "unbounded" }
              ),
            Effect.map(([error]) => error)
          )
        expect(error.reason._tag).toBe("ConnectionError")
        yield* ended
        expect(seen.length).toBeLessThanOrEqual(2)
      })
    )

    it.effect("statements without rows give an empty stream, and procedures their rows alone", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* text(session, "create temporary table e (n int)")
        const collect = (sql: string) => Stream.runCollect(session.executeStream(sql, [], undefined))
        expect(yield* collect("insert into e values (1), (2)")).toEqual([])
        expect(yield* collect("select n from e where n > 5")).toEqual([])
        yield* text(
          session,
          "create or replace procedure two() begin select n from e; select n + 10 as n from e; end"
        )
        expect(yield* collect("call two()")).toEqual([{ n: 1 }, { n: 2 }, { n: 11 }, { n: 12 }])
      })
    )

    it.effect("rows are renamed on their way", () =>
      Effect.gen(function* () {
        const session = yield* open()
        expect(yield* Stream.runCollect(session.executeStream(numbers(2), [], renamed))).toEqual([
          { m: 1 },
          { m: 2 }
        ])
      })
    )

    it.effect("a statement in the middle of a stream of the same session runs, and the rows go on", () =>
      Effect.gen(function* () {
        const session = yield* open()
        yield* text(session, "create temporary table copied (n int, x int)")
        let count = 0
        yield* within(
          "30 seconds",
          session.executeStream(numbers(20_000, ", repeat('x', 200) as x"), [], undefined).pipe(
            Stream.runForEachArray((chunk) => {
              count += chunk.length
              return rows(session, "insert into copied values (?, ?)", [chunk[0].n, chunk.length])
            })
          )
        )
        expect(count).toBe(20_000)
        const [copied] = yield* rows(session, "select cast(sum(x) as int) as n from copied")
        expect(copied.n).toBe(20_000)
      })
    )

    it.effect("one stream after the other on the same session", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const part = (n: number) => session.executeStream(numbers(3, ", ? as p"), [n], undefined)
        const all = yield* within(
          "10 seconds",
          Stream.runCollect(
            Stream.concat(
              part(1),
              Stream.flatMap(part(2), (row) => Stream.make(row, row.n))
            )
          )
        )
        expect(all).toHaveLength(9)
      })
    )
  })
})
