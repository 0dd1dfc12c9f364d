/**
 * What the server tells, whom it lets act, and what it costs the pools.
 */
import { Dashboard } from "@cenote/dashboard"
import { KeyedPool, Pool, PoolRegistry, TokenPool } from "@cenote/pool"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Redacted,
  Schedule,
  Scope,
  Stream,
  Tracer
} from "effect"
import { lookup } from "node:dns/promises"
import { request } from "node:http"
import { connect } from "node:net"
import { cookieFor, hostsFor, isAllowed, refuseOrigin } from "../src/internal/access.ts"
import type { Whole } from "../src/internal/protocol.ts"
import { type Told, watch } from "./kit.ts"

const url = Effect.map(Dashboard.Dashboard, (_) => _.url)

/** A dashboard on a free port, with a registry of its own. */
const over = (options: Dashboard.Options = {}) =>
  Layer.provideMerge(Dashboard.layer({ port: 0, pace: "50 millis", ...options }), PoolRegistry.layer)

const on = <A>(options: Dashboard.Options, effect: Effect.Effect<A, unknown, Dashboard.Dashboard>) =>
  Effect.provide(effect, over(options))

const test = (
  name: string,
  effect: Effect.Effect<void, unknown, Dashboard.Dashboard | Scope.Scope>,
  options?: Dashboard.Options
) => it.live(name, () => effect.pipe(Effect.scoped, Effect.provide(over(options))))

interface Said {
  readonly status: number
  readonly headers: Readonly<Record<string, string | Array<string> | undefined>>
  readonly body: string
}

/** One request, with just the headers that are given: `fetch` adds some of its own. */
const ask = (
  path: string,
  {
    body,
    headers = {},
    method = "GET"
  }: { method?: string; headers?: Record<string, string>; body?: string } = {}
): Effect.Effect<Said, never, Dashboard.Dashboard> =>
  Effect.flatMap(url, (url) =>
    Effect.callback<Said>((resume) => {
      // Each on a connection of its own: the next may be for another server at the same port.
      const sent = request(url, { agent: false, method, headers, path }, (response) => {
        let text = ""
        response.setEncoding("utf8")
        response.on("data", (chunk: string) => (text += chunk))
        response.on("end", () =>
          resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers, body: text }))
        )
      })
      sent.on("error", (error) => resume(Effect.die(error)))
      sent.end(body)
    })
  )

const json = { "content-type": "application/json" }

const act = (pool: string, action: string, body = "{}", headers: Record<string, string> = json) =>
  ask(`/api/pools/${encodeURIComponent(pool)}/${action}`, { method: "POST", headers, body })

/** The first message that satisfies a condition, with the state that those before it add up to. */
const until = (condition: (told: Told) => boolean, focus?: string) =>
  Effect.flatMap(url, (url) =>
    watch(url, focus).pipe(Stream.filter(condition), Stream.runHead, Effect.map(Option.getOrThrow))
  )

const whole = (focus?: string): Effect.Effect<Whole, unknown, Dashboard.Dashboard> =>
  Effect.map(
    until((told) => told.event === "whole", focus),
    (told) => told.data as Whole
  )

/** The figures of one pool, once they satisfy a condition. */
const figures = (id: string, condition: (figures: Whole["pools"][number]["figures"]) => boolean) =>
  Effect.flatMap(url, (url) =>
    watch(url).pipe(
      Stream.scan(
        () => new Map<string, Whole["pools"][number]["figures"]>(),
        (pools, told) => {
          const added = told.event === "whole" ? told.data.pools : told.data.added
          for (const { figures, id } of added) pools.set(id, figures)
          if (told.event === "change") {
            for (const id of told.data.removed) pools.delete(id)
            for (const [id, changed] of Object.entries(told.data.figures))
              pools.set(id, { ...pools.get(id)!, ...changed })
          }
          return pools
        }
      ),
      Stream.map((pools) => pools.get(id)),
      Stream.filter((figures) => figures !== undefined && condition(figures)),
      Stream.runHead,
      Effect.map((_) => Option.getOrThrow(_)!)
    )
  )

const held = <A>(pool: Pool.Pool<A>, span: string) =>
  Effect.forkScoped(Effect.withSpan(Effect.scoped(Effect.andThen(Pool.get(pool), Effect.never)), span), {
    startImmediately: true
  })

describe("what is told", () => {
  test(
    "a pool that is short is told as short, with who holds, since when, and what to do",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: 1 })
      const holder = yield* held(pool, "nightly report")
      const waiter = yield* held(pool, "GET /orders")
      const short = yield* figures("app/Db", (_) => _.level === "short")
      expect(short).toMatchObject({ used: 1, max: 1, pending: 1 })
      expect(short.matter).toMatch(/^1 borrower waits for 1 resource, the longest for 1\.\d s\.$/)
      expect(short.remedy).toMatch(/^All are in use\. Raise max/)
      const { focus } = yield* whole("app/Db")
      expect(focus).toMatchObject({
        id: "app/Db",
        leases: [{ resource: 1, fiber: holder.id, span: "nightly report" }],
        waiters: [{ fiber: waiter.id, span: "GET /orders" }]
      })
      expect(focus!.events.map((_) => _.what)).toEqual(["Created"])
    })
  )

  test(
    "only what has changed is told again, and what comes and goes",
    Effect.gen(function* () {
      const quiet = yield* Pool.make({ name: "quiet", acquire: Effect.succeed(1) })
      const scope = yield* Scope.make()
      const told: Array<Told> = []
      const address = yield* url
      const began = yield* Deferred.make<void>()
      const came = yield* Deferred.make<void>()
      const first = yield* Effect.forkScoped(
        watch(address).pipe(
          Stream.tap((message) =>
            Effect.gen(function* () {
              told.push(message)
              yield* Deferred.succeed(began, undefined)
              if (message.event === "change" && message.data.added.some((_) => _.id === "busy"))
                yield* Deferred.succeed(came, undefined)
            })
          ),
          Stream.takeUntil(({ data, event }) => event === "change" && data.removed.includes("busy")),
          Stream.runDrain
        )
      )
      yield* Deferred.await(began)
      yield* Scope.provide(Pool.make({ name: "busy", acquire: Effect.succeed(1), size: 1 }), scope)
      yield* Deferred.await(came)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(first)
      expect(told[0]!.event).toBe("whole")
      const changes = told.flatMap((_) => (_.event === "change" ? [_.data] : []))
      expect(changes.flatMap((_) => _.added.map((_) => _.id))).toContain("busy")
      expect(changes.flatMap((_) => _.removed)).toContain("busy")
      // It was told once, and has not changed since.
      expect(changes.filter((_) => "quiet" in _.figures)).toEqual([])
      expect(quiet.name).toBe("quiet")
    })
  )

  test(
    "the pool in focus has its past, and events come once each",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), size: 1 })
      yield* figures("app/Db", (_) => _.idle === 1)
      const address = yield* url
      const events: Array<string> = []
      const seen = yield* Effect.forkScoped(
        watch(address, "app/Db").pipe(
          Stream.tap(({ data }) =>
            Effect.sync(() => events.push(...(data.focus?.events ?? []).map((_) => _.what)))
          ),
          Stream.takeUntil(() => events.includes("Recycled")),
          Stream.runDrain
        )
      )
      yield* Pool.suspend(pool)
      yield* Pool.resume(pool)
      yield* figures("app/Db", (_) => _.state === "open")
      yield* Pool.recycle(pool)
      yield* Fiber.join(seen)
      expect(events.filter((_) => _ === "Suspended" || _ === "Resumed" || _ === "Recycled")).toEqual([
        "Suspended",
        "Resumed",
        "Recycled"
      ])
      const { focus } = yield* whole("app/Db")
      expect(focus!.history.length).toBeGreaterThan(1)
      const moments = focus!.history.map(([at]) => at)
      expect(moments).toEqual(moments.toSorted((a, b) => a - b))
    })
  )

  test(
    "percentiles are those of the last moments",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: 4 })
      yield* Effect.forkScoped(
        Effect.forever(
          Effect.all(
            Array.from({ length: 4 }, () => Pool.use(pool, () => Effect.sleep(20))),
            { concurrency: 4 }
          )
        )
      )
      const { hold50, hold99, rate, wait50, wait99 } = yield* figures(
        "app/Db",
        // The first four waited until there was something to lend.
        (_) => (_.hold99 ?? 0) > 0 && _.rate > 0 && _.borrowed >= 16
      )
      expect(hold50).toBeGreaterThan(15)
      expect(hold99).toBeGreaterThanOrEqual(hold50!)
      expect(wait50).toBe(0)
      expect(wait99).toBeGreaterThanOrEqual(0)
      expect(rate).toBeGreaterThan(10)
    })
  )

  test(
    "the reason why creating fails is told, and that the pool is down",
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        name: "app/Db",
        acquire: Effect.fail(new Error("connect ECONNREFUSED 127.0.0.1:5432"))
      })
      yield* Effect.forkScoped(Effect.forever(Effect.delay(Effect.exit(Effect.scoped(Pool.get(pool))), 10)))
      const { matter, remedy } = yield* figures("app/Db", (_) => _.level === "down")
      expect(matter).toMatch(/^Creating a resource fails: connect ECONNREFUSED 127\.0\.0\.1:5432\./)
      expect(remedy).toMatch(/credentials/)
      const { focus } = yield* whole("app/Db")
      expect(focus!.failures["CreateFailed"]).toBeGreaterThan(0)
    })
  )

  test(
    "a leak is told with its span until it is back",
    Effect.gen(function* () {
      const pool = yield* Pool.make({
        name: "app/Db",
        acquire: Effect.succeed(1),
        max: 2,
        leakAfter: "60 millis"
      })
      const leak = yield* held(pool, "checkout")
      const { matter, remedy } = yield* figures("app/Db", (_) => _.level === "watch")
      expect(matter).toMatch(/^"checkout" \(fiber \d+\) has had a resource for \d+ ms\.$/)
      expect(remedy).toMatch(/leakAfter/)
      yield* Fiber.interrupt(leak)
      yield* figures("app/Db", (_) => _.level === "ok")
    })
  )

  test(
    "a pool that is suspended says so, and that borrowers wait",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: 2 })
      yield* Pool.suspend(pool)
      yield* figures("app/Db", (_) => _.level === "watch" && _.matter === "It is suspended.")
      yield* held(pool, "checkout")
      const { matter, remedy } = yield* figures("app/Db", (_) => _.level === "down")
      expect(matter).toMatch(/^It is suspended, and 1 borrower waits, the longest for /)
      expect(remedy).toBe("Resume it.")
    })
  )

  test(
    "tokens and keyed pools are told with what can be done to them",
    Effect.gen(function* () {
      yield* TokenPool.make({ name: "tokens", max: 2 })
      yield* KeyedPool.make({ name: "hosts", acquire: (host: string) => Effect.succeed(host) })
      const { pools } = yield* whole()
      expect(pools.map(({ actions, figures, kind }) => [kind, actions, figures.max])).toEqual([
        ["tokens", ["resize", "suspend", "resume"], 2],
        ["keyed", ["recycle", "suspend", "resume", "evict"], -1]
      ])
    })
  )

  test(
    "threads are told with what they are at, and how their calls ended",
    Effect.gen(function* () {
      const gate = new Int32Array(new SharedArrayBuffer(4))
      const program = Effect.gen(function* () {
        yield* ThreadPool.execute((a: number, b: number) => a + b, 1, 2)
        const running = yield* Effect.forkScoped(
          Effect.withSpan(
            ThreadPool.execute((gate: Int32Array) => Atomics.wait(gate, 0, 0), gate),
            "resize image"
          )
        )
        yield* figures("images", (_) => _.borrowed === 2 && _.longestHeld > 0)
        const { focus, pools } = yield* whole("images")
        expect(pools[0]).toMatchObject({ kind: "threads", actions: ["resize", "recycle"] })
        expect(focus!.threads).toHaveLength(1)
        expect(focus!.threads![0]).toMatchObject({ thread: 1, state: "busy", running: 1, ended: 1 })
        expect(focus!.threads![0]!.task).toBe(focus!.leases[0]!.item)
        expect(focus!.leases[0]!.span).toBe("resize image")
        expect(focus!.calls).toMatchObject({ succeeded: 1, failed: 0 })
        Atomics.store(gate, 0, 1)
        Atomics.notify(gate, 0)
        yield* Fiber.join(running)
      })
      yield* Effect.provide(program, NodeThreads.layer({ name: "images", size: 1 }))
    })
  )

  test(
    "nothing of what is pooled is told: it may be secret",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed("hunter2") })
      yield* held(pool, "checkout")
      yield* figures("app/Db", (_) => _.used === 1)
      const { focus } = yield* whole("app/Db")
      expect(focus!.leases).toHaveLength(1)
      expect(JSON.stringify(focus)).not.toContain("hunter2")
    })
  )
})

describe("what it costs", () => {
  test(
    "a viewer that does not read is told less, and holds up nobody",
    Effect.gen(function* () {
      const pools = yield* Effect.forEach(Array.from({ length: 300 }), (_, i) =>
        Pool.make({ name: `pool ${i}`, acquire: Effect.succeed(i), max: 2 })
      )
      // It asks, and never reads.
      const address = new URL(yield* url)
      const stuck = yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof connect>>((resume) => {
          const socket = connect(Number(address.port), address.hostname, () => {
            socket.pause()
            socket.write(`GET /api/stream HTTP/1.1\r\nHost: ${address.host}\r\n\r\n`)
            resume(Effect.succeed(socket))
          })
        }),
        (socket) => Effect.sync(() => socket.destroy())
      )
      for (const pool of pools) yield* Pool.use(pool, () => Effect.void)
      let changes = 0
      yield* watch(yield* url).pipe(
        Stream.tap(() =>
          Effect.andThen(
            Effect.forEach(pools, (pool) => Pool.use(pool, () => Effect.void), { discard: true }),
            Effect.sync(() => changes++)
          )
        ),
        Stream.take(40),
        Stream.runDrain
      )
      expect(changes).toBe(40)
      expect(stuck.bytesRead).toBeLessThan(10_000_000)
    })
  )

  it.live("a look at 500 pools is over in a moment, and a line of 100,000 makes it no longer", () =>
    Effect.gen(function* () {
      const pools = yield* Effect.forEach(Array.from({ length: 500 }), (_, i) =>
        Pool.make({ name: `pool ${i}`, acquire: Effect.succeed(i), max: 1 })
      )
      const [first] = pools
      yield* held(first!, "holder")
      yield* Effect.forEach(
        Array.from({ length: 100_000 }),
        () =>
          Effect.forkScoped(
            Pool.use(first!, () => Effect.void),
            { startImmediately: true }
          ),
        { discard: true }
      )
      yield* figures("pool 0", (_) => _.pending === 100_000)
      const { focus } = yield* whole("pool 0")
      expect(focus!.waiters).toHaveLength(100)
      // What is left of the thread while the dashboard looks every 50 ms: nearly all of it.
      const before = process.cpuUsage()
      const began = performance.now()
      yield* watch(yield* url, "pool 0").pipe(Stream.take(20), Stream.runDrain)
      const { system, user } = process.cpuUsage(before)
      const share = (user + system) / 1e3 / (performance.now() - began)
      expect(share).toBeLessThan(0.9)
    }).pipe(Effect.scoped, Effect.provide(over()))
  )

  test(
    "fifty may watch, whoever comes after them hears why not, and each that goes makes room",
    Effect.gen(function* () {
      const { host, hostname, port } = new URL(yield* url)
      const open = Effect.acquireRelease(
        Effect.callback<{ readonly socket: ReturnType<typeof connect>; readonly status: number }>(
          (resume) => {
            const socket = connect(Number(port), hostname, () => {
              socket.write(`GET /api/stream HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
            })
            socket.once("data", (data) =>
              resume(Effect.succeed({ socket, status: Number(String(data).split(" ")[1]) }))
            )
          }
        ),
        ({ socket }) => Effect.sync(() => socket.destroy())
      )
      const asked = yield* Effect.all(
        Array.from({ length: 60 }, () => open),
        { concurrency: "unbounded" }
      )
      const watching = asked.filter((_) => _.status === 200)
      expect(watching.length).toBe(50)
      expect(asked.filter((_) => _.status === 503).length).toBe(10)
      expect(yield* ask("/api/stream")).toMatchObject({
        status: 503,
        body: `{"error":"50 pages and terminals watch already, and no more can: close one"}`
      })
      // All else is answered, and to ask whether there is room takes none.
      expect((yield* ask("/")).status).toBe(200)
      watching[0]!.socket.destroy()
      const isFree = Effect.map(ask("/api/stream", { method: "HEAD" }), (_) => _.status === 200)
      yield* Effect.repeat(isFree, { until: (_) => _, schedule: Schedule.spaced("5 millis") })
      expect(yield* isFree).toBe(true)
      expect((yield* open).status).toBe(200)
      expect((yield* open).status).toBe(503)
    })
  )

  it.live("closing ends the streams, and does not wait for those who watch", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { url } = yield* Scope.provide(Dashboard.make({ port: 0, pace: "50 millis" }), scope)
      const heard = yield* Deferred.make<void>()
      const hearing = Stream.runForEach(watch(url), () => Deferred.succeed(heard, undefined))
      const watching = yield* Effect.forkChild(Effect.exit(Effect.scoped(hearing)))
      yield* Deferred.await(heard)
      const began = performance.now()
      yield* Scope.close(scope, Exit.void)
      expect(performance.now() - began).toBeLessThan(2_000)
      // They come to their end, and do not break.
      expect(Exit.isSuccess(yield* Fiber.join(watching))).toBe(true)
      const refused = yield* Effect.exit(Effect.tryPromise(() => fetch(url)))
      expect(Exit.isFailure(refused)).toBe(true)
    }).pipe(Effect.provide(PoolRegistry.layer))
  )

  it.live("nobody comes in any more once it closes, whatever it still waits for", () =>
    Effect.gen(function* () {
      const began = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      const [entry] = yield* PoolRegistry.entries
      const recycle = Effect.uninterruptible(
        Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(gate))
      )
      yield* PoolRegistry.register({ ...entry!, name: "slow", actions: { recycle } })
      const scope = yield* Scope.make()
      const { url } = yield* Scope.provide(Dashboard.make({ port: 0, pace: "50 millis" }), scope)
      yield* Effect.forkChild(
        Effect.exit(
          Effect.tryPromise(() =>
            fetch(`${url}/api/pools/slow/recycle`, { method: "POST", headers: json, body: "{}" })
          )
        )
      )
      yield* Deferred.await(began)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      const late = yield* Effect.exit(Effect.tryPromise(() => fetch(url)))
      expect(Exit.isFailure(late)).toBe(true)
      expect(closing.pollUnsafe()).toBe(undefined)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(closing)
    }).pipe(Effect.scoped, Effect.provide(PoolRegistry.layer))
  )

  it.live("leaves nothing in the pools that it watched", () =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      const [entry] = yield* PoolRegistry.entries
      const records: Array<string> = []
      const spied: PoolRegistry.Entry = {
        ...entry!,
        record: (recorder) =>
          Effect.andThen(
            entry!.record(recorder),
            Effect.acquireRelease(
              Effect.sync(() => void records.push("began")),
              () => Effect.sync(() => void records.push("ended"))
            )
          )
      }
      yield* PoolRegistry.register({ ...spied, name: "spied" })
      yield* Effect.scoped(
        Effect.provide(
          Effect.flatMap(Dashboard.Dashboard, () => Effect.void),
          Dashboard.layer({ port: 0 })
        )
      )
      expect(records).toEqual(["began", "ended"])
      expect(pool.name).toBe("app/Db")
    }).pipe(Effect.scoped, Effect.provide(PoolRegistry.layer))
  )
})

describe("actions", () => {
  test(
    "resize, recycle, suspend, resume and evict do what they say",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db ü/?#", acquire: Effect.succeed(1), size: 2 })
      yield* Pool.warmUp(pool)
      const { id } = (yield* whole()).pools[0]!
      expect(yield* act(id, "resize", `{"min":0,"max":7}`)).toMatchObject({ status: 200 })
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 0, max: 7 })
      expect((yield* act(id, "evict")).body).toBe(`{"done":"app/Db ü/?# closed 2 resources at rest"}`)
      expect(yield* Pool.stats(pool)).toMatchObject({ idle: 0 })
      expect(yield* act(id, "suspend")).toMatchObject({ status: 200 })
      expect(yield* Pool.stats(pool)).toMatchObject({ state: "suspended" })
      expect(yield* act(id, "resume")).toMatchObject({ status: 200 })
      expect(yield* Pool.stats(pool)).toMatchObject({ state: "open" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Pool.get(pool)
          expect(yield* act(id, "recycle")).toMatchObject({ status: 200 })
        })
      )
      expect(yield* Pool.stats(pool)).toMatchObject({ size: 0, created: 3, destroyed: 3 })
    })
  )

  test(
    "of two pools of one name the one is told that was meant",
    Effect.gen(function* () {
      const first = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      const second = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      const ids = (yield* whole()).pools.map(({ id }) => id)
      expect(ids).toEqual(["app/Db", "app/Db#2"])
      expect((yield* act("app/Db#2", "suspend")).body).toBe(
        `{"done":"app/Db#2 lends nothing until it is resumed"}`
      )
      expect(yield* Pool.stats(first)).toMatchObject({ state: "open" })
      expect(yield* Pool.stats(second)).toMatchObject({ state: "suspended" })
    })
  )

  test(
    "bad values are named, with what is allowed, and change nothing",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: 3 })
      const wrong: ReadonlyArray<readonly [body: string, message: RegExp]> = [
        [`{"max":-1}`, /max is -1, but it must be a whole number/],
        [`{"max":1.5}`, /max is 1.5/],
        [`{"min":9}`, /min is 9, but it must be at most max, which is 3/],
        [`{"max":"7"}`, /resize takes .* but was given \\"max\\": \\"7\\"/],
        [`{"size":7}`, /resize takes/],
        [`{}`, /was given neither/],
        [``, /was given nothing/],
        [`[]`, /resize takes/],
        [`{"max":`, /resize takes/],
        [`{"__proto__":{"max":1}}`, /resize takes|neither/]
      ]
      for (const [body, message] of wrong) {
        const said = yield* act("app/Db", "resize", body)
        expect([body, said.status]).toEqual([body, 400])
        expect(said.body).toMatch(message)
      }
      expect(yield* Pool.stats(pool)).toMatchObject({ min: 0, max: 3 })
      expect(yield* act("app/Nope", "recycle")).toMatchObject({
        status: 404,
        body: `{"error":"there is no pool \\"app/Nope\\""}`
      })
      expect((yield* act("app/Db", "explode")).status).toBe(404)
      expect((yield* act("app/Db", "constructor")).status).toBe(404)
      expect((yield* act("app/Db", "resize", `{"max":7,"x":"${"y".repeat(20_000)}"}`)).status).toBe(413)
      expect((yield* ask("/api/pools/app%2FDb/recycle")).status).toBe(405)
    })
  )

  test(
    "a body without an end is not read to its end",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: 3 })
      const address = new URL(yield* url)
      const status = yield* Effect.callback<number | undefined>((resume) => {
        const sent = request(address, {
          method: "POST",
          path: "/api/pools/app%2FDb/resize",
          headers: { ...json, "transfer-encoding": "chunked" }
        })
        const more = (): void => {
          while (sent.write(" ".repeat(16_384)));
        }
        sent.on("drain", more)
        sent.on("response", (response) => {
          sent.destroy()
          resume(Effect.succeed(response.statusCode))
        })
        sent.on("error", () => resume(Effect.succeed(undefined)))
        more()
      })
      // Refused, or cut off.
      expect([413, undefined]).toContain(status)
      expect(yield* Pool.stats(pool)).toMatchObject({ max: 3 })
      expect((yield* ask("/")).status).toBe(200)
    })
  )

  test(
    "none is taken when it is read-only",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), size: 2 })
      yield* Pool.warmUp(pool)
      const before = yield* Pool.stats(pool)
      const { pools, readOnly } = yield* whole()
      expect(readOnly).toBe(true)
      expect(pools[0]!.actions).toHaveLength(5)
      for (const action of pools[0]!.actions) {
        const said = yield* act("app/Db", action, `{"max":7}`)
        expect([action, said.status]).toEqual([action, 403])
        expect(said.body).toMatch(/read-only/)
      }
      expect(yield* Pool.stats(pool)).toEqual(before)
    }),
    { readOnly: true }
  )
})

describe("who may", () => {
  test(
    "a page of another origin may neither watch nor act, whatever it sends",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      const here = new URL(yield* url).host
      const theirs: ReadonlyArray<Record<string, string>> = [
        { origin: "https://evil.example" },
        { origin: "null" },
        { origin: `http://${here}.evil.example` },
        { origin: "http://127.0.0.1:1" },
        { "sec-fetch-site": "cross-site" },
        { "sec-fetch-site": "same-site", origin: `http://${here}` }
      ]
      for (const headers of theirs) {
        expect([headers, (yield* act("app/Db", "suspend", "{}", { ...json, ...headers })).status]).toEqual([
          headers,
          403
        ])
        expect([headers, (yield* ask("/api/stream", { headers })).status]).toEqual([headers, 403])
      }
      // What a form can send without asking first.
      for (const type of [
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/plain; for=application/json",
        "application/jsonp",
        "multipart/form-data",
        ""
      ]) {
        const said = yield* act("app/Db", "suspend", "{}", { "content-type": type })
        expect([type, said.status]).toEqual([type, 415])
      }
      expect(yield* Pool.stats(pool)).toMatchObject({ state: "open" })
      const own = { origin: `http://${here}`, "sec-fetch-site": "same-origin", ...json }
      expect((yield* act("app/Db", "suspend", "{}", own)).status).toBe(200)
    })
  )

  test(
    "a name that was made to lead here is refused",
    Effect.gen(function* () {
      const { port } = new URL(yield* url)
      for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example"]) {
        expect([host, (yield* ask("/", { headers: { host } })).status]).toEqual([host, 403])
      }
      for (const host of [`localhost:${port}`, `LocalHost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
        expect([host, (yield* ask("/", { headers: { host } })).status]).toEqual([host, 200])
      }
    })
  )

  test(
    "a name that was made to lead here is refused before anybody is asked for the token",
    Effect.gen(function* () {
      const { status } = yield* ask("/", {
        headers: { host: "evil.example", authorization: "Bearer s3cret" }
      })
      expect(status).toBe(403)
    }),
    { token: "s3cret" }
  )

  it("an address of this machine answers to itself, whichever of them it is", () => {
    const asked = { at: 0, method: "GET", headers: { host: "127.0.0.2:7070" }, cookies: {} }
    const at = (host: string) => refuseOrigin(asked, { token: undefined, hosts: hostsFor(host) })
    expect(at("127.0.0.2")).toBeUndefined()
    expect(at("127.0.0.1")).toMatchObject({ status: 403 })
  })

  test(
    "a page elsewhere may have a link to it, and no form",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      const visit = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" }
      expect((yield* ask("/", { headers: visit })).status).toBe(200)
      expect((yield* ask("/", { method: "POST", headers: visit, body: "token=x" })).status).toBe(403)
      expect((yield* act("app/Db", "suspend", "{}", { ...json, ...visit })).status).toBe(403)
      expect(yield* Pool.stats(pool)).toMatchObject({ state: "open" })
    })
  )

  test(
    "with a token, nobody sees or does anything without it",
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1) })
      for (const headers of [{}, { authorization: "Bearer wrong" }, { cookie: "cenote=s3cret" }] as const) {
        expect((yield* ask("/api/stream", { headers })).status).toBe(401)
        expect((yield* act("app/Db", "suspend", "{}", { ...json, ...headers })).status).toBe(401)
        const page = yield* ask("/", { headers })
        expect(page.status).toBe(401)
        expect(page.body).toContain('<form method="post">')
        expect((yield* ask("/main.js", { headers })).status).toBe(401)
      }
      expect((yield* ask("/token.css")).status).toBe(200)
      expect(yield* Pool.stats(pool)).toMatchObject({ state: "open" })
      const bearer = { authorization: "Bearer s3cret" }
      expect((yield* act("app/Db", "suspend", "{}", { ...json, ...bearer })).status).toBe(200)
      expect((yield* ask("/", { headers: bearer })).status).toBe(200)
    }),
    { token: "s3cret" }
  )

  test(
    "what is nearly the token is not the token, and to try costs a moment, however it is given",
    Effect.gen(function* () {
      const form = { "content-type": "application/x-www-form-urlencoded" }
      for (const near of ["s3cre", "s3crets", "S3CRET"]) {
        const ways = [
          ask("/api/stream", { method: "HEAD", headers: { authorization: `Bearer ${near}` } }),
          ask(`/?token=${near}`),
          ask("/", { method: "POST", headers: form, body: `token=${near}` })
        ]
        for (const [way, asking] of ways.entries()) {
          const began = performance.now()
          const { status } = yield* asking
          const isQuick = performance.now() - began < 250
          expect([near, way, status, isQuick]).toEqual([near, way, 401, false])
        }
      }
    }),
    { token: "s3cret" }
  )

  test(
    "a token that is redacted is the token",
    Effect.gen(function* () {
      expect((yield* ask("/api/stream", { method: "HEAD" })).status).toBe(401)
      expect((yield* ask("/", { headers: { authorization: "Bearer s3cret" } })).status).toBe(200)
    }),
    { token: Redacted.make("s3cret") }
  )

  test(
    "the token in the address, or in the form, becomes a cookie that is not the token",
    Effect.gen(function* () {
      const form = { "content-type": "application/x-www-form-urlencoded" }
      const { port } = new URL(yield* url)
      const opened = [
        yield* ask("/?token=s3cret"),
        yield* ask("/", { method: "POST", headers: form, body: "token=s3cret" }),
        yield* ask("/main.js", { method: "POST", headers: form, body: "token=s3cret" })
      ]
      for (const { headers, status } of opened) {
        expect(status).toBe(303)
        expect(headers["location"]).toBe("/")
        const [cookie = ""] = headers["set-cookie"] ?? []
        expect(cookie).toMatch(/HttpOnly/i)
        expect(cookie).toMatch(/SameSite=Lax/i)
        expect(cookie).not.toContain("s3cret")
        // Wherever it was given, it is for the whole page, and for as long as it is good.
        expect(cookie).toMatch(/; Path=\/(;|$)/)
        expect(cookie).toContain("; Max-Age=2592000")
        const [pair = ""] = cookie.split(";")
        // Two dashboards of one machine are two, though a browser tells both all its cookies of that machine.
        expect(pair.startsWith(`cenote-${port}=`)).toBe(true)
        expect((yield* ask("/", { headers: { cookie: `cenote-1=other; ${pair}` } })).status).toBe(200)
      }
      expect((yield* ask("/?token=wrong")).status).toBe(401)
      const refused = yield* ask("/", { method: "POST", headers: form, body: "token=wrong" })
      expect(refused.status).toBe(401)
      expect(refused.body).toContain("That is not the token.")
      expect(refused.headers["set-cookie"]).toBeUndefined()
    }),
    { token: "s3cret" }
  )

  it.live(
    "a cookie is good after a restart, and worth nothing at another port, with another token or until later than it says",
    () =>
      Effect.gen(function* () {
        const cookieOf = Effect.map(
          ask("/?token=s3cret"),
          ({ headers }) => headers["set-cookie"]![0]!.split(";")[0]!
        )
        const statusOf = (cookie: string) =>
          Effect.map(ask("/api/stream", { method: "HEAD", headers: { cookie } }), (_) => _.status)
        const { cookie, port } = yield* on(
          { token: "s3cret" },
          Effect.zipWith(cookieOf, url, (cookie, url) => ({ cookie, port: Number(new URL(url).port) }))
        )
        const [name = "", value = ""] = cookie.split("=")
        const [until = "", seal = ""] = value.split(".")
        expect(Math.abs(Number(until) - Date.now() - 30 * 24 * 3_600_000)).toBeLessThan(600_000)
        yield* on(
          { port, token: "s3cret" },
          Effect.gen(function* () {
            expect(yield* statusOf(cookie)).toBe(200)
            for (const forged of [
              `${Number(until) + 1}.${seal}`,
              `.${seal}`,
              `NaN.${seal}`,
              seal,
              until,
              `${until}.`
            ])
              expect([forged, yield* statusOf(`${name}=${forged}`)]).toEqual([forged, 401])
          })
        )
        expect(yield* on({ port, token: "other" }, statusOf(cookie))).toBe(401)
        yield* on(
          { token: "s3cret" },
          Effect.gen(function* () {
            const [here = ""] = (yield* cookieOf).split("=")
            expect(here).not.toBe(name)
            expect(yield* statusOf(`${here}=${value}`)).toBe(401)
          })
        )
      }).pipe(Effect.scoped)
  )

  it("a cookie is not for ever", () => {
    const token = Redacted.make("s3cret")
    const rules = { token, hosts: undefined }
    const asked = { at: 1_000, method: "GET", headers: { host: "localhost:1" }, cookies: {} }
    const [name, value] = cookieFor(asked, token)
    const later = (days: number) =>
      isAllowed({ ...asked, at: 1_000 + days * 24 * 3_600_000, cookies: { [name]: value } }, rules)
    expect([0, 29.99, 30, 31].map(later)).toEqual([true, true, false, false])
  })

  it.live("no trace tells the token, or has anything of who watches", () =>
    Effect.gen(function* () {
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          spans.push(options.name)
          return new Tracer.NativeSpan(options)
        }
      })
      const asking = Effect.gen(function* () {
        expect((yield* ask("/?token=s3cret")).status).toBe(303)
        expect((yield* ask("/", { headers: { authorization: "Bearer s3cret" } })).status).toBe(200)
        yield* Effect.withSpan(Effect.void, "of the program")
      })
      yield* asking.pipe(
        Effect.provide(over({ token: "s3cret" })),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      expect(spans).toEqual(["of the program"])
    })
  )

  test(
    "everything comes with a policy that lets the page load nothing from elsewhere",
    Effect.gen(function* () {
      for (const path of ["/", "/uplot.js", "/nothing", "/api/nothing"]) {
        const { headers } = yield* ask(path)
        expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; script-src 'self'/)
        expect(headers["x-content-type-options"]).toBe("nosniff")
      }
    })
  )

  test(
    "no file outside the page can be had",
    Effect.gen(function* () {
      for (const path of [
        "/../package.json",
        "/..%2fpackage.json",
        "/%2e%2e/package.json",
        "/./Dashboard.ts",
        "//etc/passwd",
        "/etc/passwd",
        "/main",
        "/internal/app.ts",
        "/\\..\\package.json",
        "/index.html%00.js"
      ]) {
        expect([path, (yield* ask(path)).status]).toEqual([path, 404])
      }
    })
  )
})

/** What a dashboard with such options dies with. */
const defect = (options: Dashboard.Options): Effect.Effect<string> =>
  Effect.map(Effect.exit(Effect.scoped(Dashboard.make(options))), (exit) =>
    Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "it was taken"
  )

describe("options", () => {
  it.live("impossible ones are named, with what is allowed", () =>
    Effect.gen(function* () {
      for (const port of [-1, 65_536, 1.5, NaN]) {
        expect(yield* defect({ port })).toContain(
          `port is ${port}, but it must be a whole number from 0 to 65535`
        )
      }
      expect(yield* defect({ port: 0, pace: "1 millis" })).toMatch(
        /pace is "1 millis", but it must be 50 ms or more/
      )
      expect(yield* defect({ port: 0, pace: "soon" as "1 millis" })).toMatch(
        /pace is "soon", but it must be 50 ms or more/
      )
      expect(yield* defect({ port: 0, pace: Infinity })).toMatch(
        /pace is Infinity, but it must be 50 ms or more/
      )
      expect(yield* defect({ port: 0, token: " " })).toMatch(/token is "empty"/)
      const reachable = [
        "0.0.0.0",
        "::",
        "[::]",
        "192.168.1.7",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        ""
      ]
      for (const host of reachable) {
        expect(yield* defect({ port: 0, host })).toContain(
          `host is "${host}", but it must be an address of this machine alone (127.0.0.1), unless a token is given`
        )
      }
    })
  )

  it.live("logs its address, and looks once a second unless told otherwise", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
      const url = yield* Effect.provide(
        Effect.map(Dashboard.make({ port: 0 }), (_) => _.url),
        Logger.layer([logger])
      )
      expect(lines).toEqual([`dashboard of the pools: ${url}`])
      const first = yield* Stream.runHead(watch(url))
      expect(Option.getOrThrow(first).data).toMatchObject({ pace: 1_000 })
    }).pipe(Effect.scoped, Effect.provide(PoolRegistry.layer))
  )

  it.live("an IPv6 address may stand in brackets, as it does in a URL", () =>
    Effect.gen(function* () {
      for (const host of ["::1", "[::1]"]) {
        const { url } = yield* Dashboard.make({ port: 0, host })
        expect(url).toMatch(/^http:\/\/\[::1\]:\d+$/)
        expect((yield* Effect.promise(() => fetch(url))).status).toBe(200)
      }
    }).pipe(Effect.scoped, Effect.provide(PoolRegistry.layer))
  )

  it.live("one that is given up while it starts does not listen after that", () =>
    Effect.gen(function* () {
      const { url } = yield* Effect.scoped(Dashboard.make({ port: 0 }))
      const port = Number(new URL(url).port)
      // A name must be looked up first.
      const starting = yield* Effect.forkChild(Effect.scoped(Dashboard.make({ port, host: "localhost" })), {
        startImmediately: true
      })
      yield* Fiber.interrupt(starting)
      for (let i = 0; i < 5; i++) yield* Effect.promise(() => lookup("localhost"))
      const late = yield* Effect.exit(Effect.tryPromise(() => fetch(`http://localhost:${port}`)))
      expect(Exit.isFailure(late)).toBe(true)
    }).pipe(Effect.provide(PoolRegistry.layer))
  )

  it.live("a port that is taken fails the layer", () =>
    Effect.gen(function* () {
      const port = Number(new URL(yield* url).port)
      const exit = yield* Effect.exit(
        Effect.scoped(Effect.provide(url, Layer.fresh(Dashboard.layer({ port }))))
      )
      expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toMatch(/EADDRINUSE|ServeError/)
    }).pipe(Effect.provide(over()))
  )
})
