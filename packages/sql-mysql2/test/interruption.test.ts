/** Statements that are interrupted: stopped on the server, and nothing of it reaches the next. */
import { Faults, TestServers } from "@cenote/testing"
import { expect, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { TestClock } from "effect/testing"
import Dns, { type LookupOptions } from "node:dns"
import * as Net from "node:net"
import { vi } from "vitest"
import { busyWith, eventually, goneFrom, idOf, open, rows, restful, text, watchEnd, within } from "./kit.ts"

const ways = ["prepared", "not prepared"] as const

await TestServers.describeWith("interruption", [TestServers.MariaDb.sharedAvailable], () => {
  layer(TestServers.MariaDb.shared, { excludeTestServices: true })((it) => {
    for (const way of ways) {
      const run = way === "prepared" ? rows : text

      it.effect(`a statement is stopped on the server, ${way}, and the session works afterwards`, () =>
        Effect.gen(function* () {
          const observer = yield* open()
          const session = yield* open()
          const { told } = yield* watchEnd(session)
          for (const round of [1, 2, 3]) {
            const fiber = yield* Effect.forkChild(run(session, `select sleep(60), ${round}`))
            yield* busyWith(observer, idOf(session), "sleep(60)")
            yield* within("10 seconds", Fiber.interrupt(fiber))
            yield* restful(observer, idOf(session))
            expect(yield* run(session, "select ? as a", [round])).toEqual([{ a: round }])
          }
          expect(told).toEqual([])
        })
      )
    }

    it.effect("a connection that is closed does not wait for a kill that does not get through", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        const observer = yield* open()
        const proxy = yield* Faults.proxy(config)
        const scope = yield* Scope.make()
        const session = yield* Scope.provide(open({ host: proxy.host, port: proxy.port }), scope)
        const fiber = yield* Effect.forkChild(Effect.exit(text(session, "select sleep(60), 'kept'")))
        yield* busyWith(observer, idOf(session), "'kept'")
        yield* proxy.throttle(0)
        // A kill is given up after 5 s.
        yield* within("4 seconds", Scope.close(scope, Exit.void))
        expect((yield* Fiber.join(fiber))._tag).toBe("Failure")
        // It has not been given up either.
        yield* busyWith(observer, idOf(session), "'kept'")
        yield* proxy.heal
        yield* goneFrom(observer, idOf(session))
      })
    )

    it.effect("a connection at rest that is closed does not wait for a server that says nothing", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        const proxy = yield* Faults.proxy(config)
        const scope = yield* Scope.make()
        const session = yield* Scope.provide(open({ host: proxy.host, port: proxy.port }), scope)
        yield* proxy.throttle(0)
        yield* within("4 seconds", Scope.close(scope, Exit.void))
        // Nor does its socket keep the process up.
        expect((session.native as { readonly stream: Net.Socket }).stream.destroyed).toBe(true)
      })
    )

    it.effect("the kill goes to the server that has the session, and not to another of the same name", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const session = yield* open({ host: "localhost" })
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(observer, idOf(session), "sleep(60)")
        // From now on the name leads to where no server is.
        const address = "127.9.9.9"
        const elsewhere: any = (
          _: string,
          { all }: LookupOptions,
          tell: (...answer: Array<unknown>) => void
        ) => (all === true ? tell(null, [{ address, family: 4 }]) : tell(null, address, 4))
        const lookup = vi.spyOn(Dns, "lookup").mockImplementation(elsewhere)
        yield* Effect.addFinalizer(() => Effect.sync(() => lookup.mockRestore()))
        yield* within("10 seconds", Fiber.interrupt(fiber))
        expect(yield* text(session, "select 1 as a")).toEqual([{ a: 1 }])
        expect((yield* Effect.flip(open({ host: "localhost" }))).message).toContain(address)
      })
    )

    it.effect("a statement that waits for a lock is stopped, and its transaction goes on", () =>
      Effect.gen(function* () {
        const holder = yield* open()
        const session = yield* open()
        yield* text(holder, "create table if not exists locked (id int primary key, n int)")
        yield* text(holder, "replace into locked values (1, 0), (2, 0)")
        yield* text(holder, "begin")
        yield* text(holder, "update locked set n = 1 where id = 1")
        yield* text(session, "begin")
        yield* text(session, "update locked set n = 2 where id = 2")
        const fiber = yield* Effect.forkChild(text(session, "update locked set n = 2 where id = 1"))
        yield* busyWith(holder, idOf(session), "where id = 1")
        yield* within("10 seconds", Fiber.interrupt(fiber))
        expect(yield* rows(session, "select n from locked where id = 2")).toEqual([{ n: 2 }])
        yield* session.rollback
        expect(yield* rows(session, "select n from locked where id = 2")).toEqual([{ n: 0 }])
        yield* holder.rollback
      })
    )

    it.effect("one that waits for its turn just leaves: what is under way goes on", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const session = yield* open()
        const first = yield* Effect.forkChild(text(session, "select sleep(0.5) as slept"))
        yield* busyWith(observer, idOf(session), "sleep(0.5)")
        const second = yield* Effect.forkChild(text(session, "select 2 as n"), { startImmediately: true })
        const third = yield* Effect.forkChild(text(session, "select 3 as n"), { startImmediately: true })
        yield* Fiber.interrupt(second)
        expect(yield* Fiber.join(first)).toEqual([{ slept: 0 }])
        expect(yield* Fiber.join(third)).toEqual([{ n: 3 }])
      })
    )

    it.effect("who waits behind an interrupted statement is not hit by what stops it", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const session = yield* open()
        const { told } = yield* watchEnd(session)
        const first = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(observer, idOf(session), "sleep(60)")
        const second = yield* Effect.forkChild(text(session, "select sleep(0.3) as slept"), {
          startImmediately: true
        })
        const [, result] = yield* Effect.all([Fiber.interrupt(first), Fiber.join(second)], {
          concurrency: "unbounded"
        })
        expect(result).toEqual([{ slept: 0 }])
        expect(told).toEqual([])
      })
    )

    it.effect("interrupted at whatever moment, the next statement gets its own answer", () =>
      Effect.gen(function* () {
        const session = yield* open()
        const { told } = yield* watchEnd(session)
        for (let i = 0; i < 40; i++) {
          // A text of its own each time, so that the moment may be in the preparing as well.
          const fiber = yield* Effect.forkChild(rows(session, `select sleep(0.002), ? as n, ${i}`, [i]), {
            startImmediately: true
          })
          yield* Effect.callback<void>((resume) => {
            let turns = i
            const next = () => (turns-- > 0 ? setImmediate(next) : resume(Effect.void))
            next()
          })
          yield* within("10 seconds", Fiber.interrupt(fiber))
          expect(yield* rows(session, "select sleep(0.001) as slept, ? as n", [i])).toEqual([
            { slept: 0, n: i }
          ])
        }
        expect(told).toEqual([])
      })
    )

    it.effect("a clock that stands still does not hold it up", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const session = yield* open()
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(observer, idOf(session), "sleep(60)")
        yield* Fiber.interrupt(fiber)
        expect(yield* text(session, "select 1 as a")).toEqual([{ a: 1 }])
      }).pipe(Effect.provide(TestClock.layer()))
    )

    it.effect("without KILL QUERY the connection is closed, and the session says so", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        const session = yield* open({ killQueries: false })
        const { ended } = yield* watchEnd(session)
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(observer, idOf(session), "sleep(60)")
        yield* within("10 seconds", Fiber.interrupt(fiber))
        const error = yield* ended
        expect(error.reason._tag).toBe("ConnectionError")
        expect(error.message).toContain("could not be stopped")
        expect(yield* Effect.flip(text(session, "select 1"))).toBe(error)
        yield* text(observer, `kill ${idOf(session)}`).pipe(Effect.ignore)
      })
    )

    it.effect("where no second connection is let in, the connection is closed, and the session says so", () =>
      Effect.gen(function* () {
        const observer = yield* open()
        yield* text(
          observer,
          "create or replace user single@'%' identified by 'pw' with max_user_connections 1"
        )
        const single = { username: "single", password: Redacted.make("pw"), database: "information_schema" }
        const session = yield* open(single)
        const { ended } = yield* watchEnd(session)
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        yield* busyWith(observer, idOf(session), "sleep(60)")
        yield* within("10 seconds", Fiber.interrupt(fiber))
        expect((yield* ended).message).toContain("could not be stopped")
        yield* text(observer, `kill ${idOf(session)}`).pipe(Effect.ignore)
        yield* goneFrom(observer, idOf(session))
        yield* text(observer, "drop user single@'%'")
      })
    )

    it.effect("a server that does not answer any more holds nobody for longer than the bound", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        const proxy = yield* muteable(config.port)
        const session = yield* open({ host: "127.0.0.1", port: proxy.port })
        const { ended } = yield* watchEnd(session)
        const fiber = yield* Effect.forkChild(text(session, "select sleep(60)"))
        const observer = yield* open()
        yield* busyWith(observer, idOf(session), "sleep(60)")
        proxy.mute()
        yield* within("30 seconds", Fiber.interrupt(fiber))
        expect((yield* ended).message).toContain("could not be stopped")
        yield* text(observer, `kill ${idOf(session)}`).pipe(Effect.ignore)
      })
    )

    it.effect("a ping that nobody waits for any more ends within a moment, answered or not", () =>
      Effect.gen(function* () {
        const { config } = yield* TestServers.MariaDb
        const proxy = yield* muteable(config.port)
        const session = yield* open({ host: "127.0.0.1", port: proxy.port })
        const { ended, told } = yield* watchEnd(session)
        const answered = yield* Effect.forkChild(session.ping, { startImmediately: true })
        yield* within("10 seconds", Fiber.interrupt(answered))
        expect(yield* rows(session, "select 1 as a")).toEqual([{ a: 1 }])
        expect(told).toEqual([])
        proxy.mute()
        const unanswered = yield* Effect.forkChild(session.ping, { startImmediately: true })
        yield* within("10 seconds", Fiber.interrupt(unanswered))
        expect((yield* ended).reason._tag).toBe("ConnectionError")
      })
    )

    it.effect(
      "EV-53: a connect that is interrupted leaves no connection behind, also if the server is slow",
      () =>
        Effect.gen(function* () {
          const { config } = yield* TestServers.MariaDb
          const proxy = yield* muteable(config.port)
          proxy.mute()
          const scope = yield* Scope.make()
          const fiber = yield* Effect.forkChild(
            Scope.provide(open({ host: "127.0.0.1", port: proxy.port }), scope),
            { startImmediately: true }
          )
          yield* eventually(Effect.sync(proxy.accepted), (n) => n === 1)
          yield* within("10 seconds", Fiber.interrupt(fiber))
          // Its scope is still open.
          yield* eventually(Effect.sync(proxy.open), (n) => n === 0)
          yield* Scope.close(scope, Exit.void)
        })
    )
  })
})

/** A way to the server that can fall silent: what comes is not passed on any more, and new connections are accepted and left. */
const muteable = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<{
      readonly port: number
      readonly mute: () => void
      readonly accepted: () => number
      readonly open: () => number
      readonly close: () => void
    }>((resume) => {
      let isMute = false
      let accepted = 0
      const sockets = new Set<Net.Socket>()
      const server = Net.createServer((client) => {
        accepted++
        const upstream = isMute ? undefined : Net.connect(port, "127.0.0.1")
        sockets.add(client)
        client.on("data", (data) => !isMute && upstream?.write(data))
        upstream?.on("data", (data) => !isMute && client.write(data))
        const end = () => {
          sockets.delete(client)
          client.destroy()
          upstream?.destroy()
        }
        for (const socket of [client, upstream]) socket?.on("error", end).on("close", end)
      })
      server.listen(0, "127.0.0.1", () =>
        resume(
          Effect.succeed({
            port: (server.address() as Net.AddressInfo).port,
            mute: () => {
              isMute = true
            },
            accepted: () => accepted,
            open: () => sockets.size,
            close: () => {
              server.close()
              for (const socket of sockets) socket.destroy()
            }
          })
        )
      )
    }),
    (proxy) => Effect.sync(proxy.close)
  )
