// `cenote top` as it is used: a process, in a terminal and without one, beside a dashboard that is real where it can be.
import { spawnSync } from "node:child_process"
import { Dashboard } from "@cenote/dashboard"
import { Pool, PoolRegistry } from "@cenote/pool"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { change, focus, pool, serve, whole } from "./topFake.ts"
import { program, start } from "./topTerminal.ts"

/** Runs it without a terminal, to its end. */
const run = Effect.fnUntraced(function* (args: ReadonlyArray<string>, env: Record<string, string> = {}) {
  const child = yield* ChildProcess.make(process.execPath, [program, ...args], {
    stdin: "ignore",
    env: { TZ: "UTC", ...env },
    extendEnv: true
  })
  const out = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(child.stdout)))
  const err = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(child.stderr)))
  return { code: Number(yield* child.exitCode), out: yield* Fiber.join(out), err: yield* Fiber.join(err) }
}, Effect.scoped)

const short = pool("app/Db", {
  used: 10,
  pending: 5,
  level: "short",
  matter: "5 borrowers wait for 10 connections.",
  remedy: "Raise max."
})
const cpu = pool("cpu", { used: 1, idle: 1, max: 2 }, "threads")

/** A fake that has both. */
const both = serve({ first: () => whole([cpu, short]) })

layer(NodeServices.layer, { excludeTestServices: true })("cenote top, without a terminal", (it) => {
  it.effect("prints how things are, and ends", () =>
    Effect.gen(function* () {
      const { url } = yield* both
      assert.deepStrictEqual(yield* run(["top", "--url", url]), {
        code: 0,
        err: "",
        out: `12:03:10  ${url}  app, process 123, Node 24.21.0, up 3 m 10 s
2 pools: 1 short, 1 ok
app/Db (short): 5 borrowers wait for 10 connections. Raise max.

LEVEL  NAME    KIND         IN USE              IDLE  WAITING  WAITED  HELD  RATE  WAIT P99  HOLD P99  TIMEOUTS  FAILED
short  app/Db  connections   10/10  ██████████     4        5       -     -     -         -         -         0       0
ok     cpu     threads         1/2  █████░░░░░     1        0       -     -     -         -         -         0       0
`
      })
    })
  )

  it.effect("says with its exit code whether a pool is short, of all or of one", () =>
    Effect.gen(function* () {
      const { url } = yield* both
      assert.strictEqual((yield* run(["top", "--url", url, "--check"])).code, 1)
      assert.strictEqual((yield* run(["top", "--url", url, "--check", "--pool", "cpu"])).code, 0)
      const { code, err, out } = yield* run(["top", "--url", url, "--check", "--pool", "app/Db"])
      assert.deepStrictEqual([code, err], [1, ""])
      assert.include(out, "app/Db  connections  short\n")
      const all = [pool("down", { level: "down" }), pool("watch", { level: "watch" }), pool("ok")]
      const { url: other } = yield* serve({ first: () => whole(all) })
      for (const [id, code] of [
        ["down", 1],
        ["watch", 0],
        ["ok", 0]
      ] as const) {
        assert.deepStrictEqual(
          [id, (yield* run(["top", "--url", other, "--check", "--pool", id])).code],
          [id, code]
        )
      }
    })
  )

  it.effect("fits lines into COLUMNS, and takes the address from the environment", () =>
    Effect.gen(function* () {
      const { url } = yield* both
      const { out } = yield* run(["top", "--once"], { COLUMNS: "50", CENOTE_URL: url })
      assert.include(out, "\nshort  app/Db   10/10        5       -     -\n")
      assert.isAtMost(Math.max(...out.split("\n").map((line) => line.length)), 50)
    })
  )

  it.effect("shows the token to the server alone", () =>
    Effect.gen(function* () {
      const { requests, url } = yield* serve({
        first: () => whole([cpu]),
        answer: (request, response) => {
          if (request.headers["authorization"] === "Bearer opensesame") return false
          response.writeHead(401).end()
          return true
        }
      })
      const inVariable = yield* run(["top", "--url", url], { CENOTE_TOKEN: "opensesame" })
      const inFlag = yield* run(["top", "--url", url, "--token", "opensesame"], { CENOTE_TOKEN: "wrong" })
      const inUrl = yield* run(["top", "--url", `${url}/?token=opensesame`])
      const wrong = yield* run(["top", "--url", url, "--token", "opensesami"])
      const none = yield* run(["top", "--url", url], { CENOTE_TOKEN: "" })
      assert.deepStrictEqual(
        [inVariable, inFlag, inUrl].map(({ code, err }) => [code, err]),
        [
          [0, ""],
          [0, ""],
          [0, ""]
        ]
      )
      assert.deepStrictEqual(wrong, {
        code: 1,
        out: "",
        err: `cenote: cannot watch ${url}: it refuses this token. Expected that of Dashboard.layer({ token }), in CENOTE_TOKEN or with --token\n`
      })
      assert.deepStrictEqual(none, {
        code: 1,
        out: "",
        err: `cenote: cannot watch ${url}: it asks for a token. Give that of Dashboard.layer({ token }) in CENOTE_TOKEN, or with --token\n`
      })
      assert.strictEqual(requests.at(-1)?.headers["authorization"], undefined)
      for (const { err, out } of [inVariable, inFlag, inUrl, wrong]) assert.notInclude(out + err, "opensesam")
    })
  )

  it.effect("says in one line what is wrong with the address", () =>
    Effect.gen(function* () {
      const fake = yield* serve({
        first: () => whole([cpu]),
        answer: ({ url = "" }, response) => {
          const answers: Record<string, () => unknown> = {
            "/page": () => response.writeHead(200, { "content-type": "text/html" }).end("<html>"),
            "/broken": () => response.writeHead(502).end(),
            "/full": () => response.writeHead(503).end(`{"error":"50 watch already"}`),
            "/down": () => response.writeHead(503).end("<title>down</title>"),
            "/moved": () => response.writeHead(302, { location: "/" }).end(),
            "/other": () =>
              response
                .writeHead(200, { "content-type": "text/event-stream" })
                .end("event: whole\ndata: {}\n\n"),
            "/short": () => response.writeHead(200, { "content-type": "text/event-stream" }).end(),
            "/name": () =>
              response
                .writeHead(403, { "content-type": "application/json" })
                .end(JSON.stringify({ error: "it answers to\u001b[2J localhost alone" })),
            "/rude": () => response.socket?.end("220 mail.example.com\r\n")
          }
          const answer = answers[url.replace("/api/stream", "")]
          answer?.()
          return answer !== undefined
        }
      })
      const free = yield* Effect.scoped(serve({ first: () => whole([]) }))
      const expected: Record<string, string> = {
        [free.url]: "nobody listens there (ECONNREFUSED). Start the program",
        [`${fake.url}/page`]:
          "no dashboard of Cenote is there: it answers with text/html. Expected the address",
        [`${fake.url}/nothing`]: "no dashboard of Cenote is there: it answers 404. Expected the address",
        [`${fake.url}/moved`]: "no dashboard of Cenote is there: it answers 302. Expected the address",
        [`${fake.url}/other`]:
          "no dashboard of Cenote is there: it says what no dashboard of this version does. Expected the address",
        [`${fake.url}/short`]:
          "no dashboard of Cenote is there: it ended before its first word. Expected the address",
        [`${fake.url}/rude`]: "no dashboard of Cenote is there: what answers does not speak http (HPE_",
        [`${fake.url}/broken`]: "it answers 502. See the log",
        [`${fake.url}/full`]: "it refuses (503): 50 watch already. A page that nobody looks at",
        [`${fake.url}/down`]: "it answers 503. See the log",
        [`${fake.url}/name`]: "it refuses (403): it answers to localhost alone. Use the address that the log",
        "ftp://127.0.0.1": "it is no address of the web. Expected http://"
      }
      for (const [url, problem] of Object.entries(expected)) {
        const { code, err, out } = yield* run(["top", "--url", url])
        assert.deepStrictEqual([code, out], [1, ""])
        assert.isTrue(err.startsWith(`cenote: cannot watch ${url}`), err)
        assert.include(err, `: ${problem}`)
        assert.strictEqual(err.indexOf("\n"), err.length - 1)
      }
      const { code, err } = yield* run(["top", "--url", fake.url, "--pool", "a\nb"])
      assert.deepStrictEqual(
        [code, err],
        [1, `cenote: cannot watch ${fake.url}: it has no pool a\ufffdb. There are: cpu\n`]
      )
      const many = yield* serve({ first: () => whole(Array.from("abcdefghi", (id) => pool(id))) })
      assert.include(
        (yield* run(["top", "--url", many.url, "--pool", "x"])).err,
        "There are: a, b, c, d, e, f, g, h, …\n"
      )
      const none = yield* serve({ first: () => whole([]) })
      assert.include(
        (yield* run(["top", "--url", none.url, "--pool", "x"])).err,
        "There is no pool with a name yet\n"
      )
    })
  )

  it.effect("shows the pools of a real dashboard", () =>
    Effect.gen(function* () {
      const { url } = yield* Dashboard.Dashboard
      const pool = yield* Pool.make({ name: "app/Db\u001b[2J", acquire: Effect.succeed(1), max: 2 })
      yield* Effect.withSpan(Pool.get(pool), "forgetful")
      const all = yield* run(["top", "--url", url], { CENOTE_TOKEN: "opensesame" })
      assert.deepStrictEqual([all.code, all.err], [0, ""])
      assert.match(all.out, /^ok +app\/Db +pool +1\/2 +█████░░░░░ /m)
      const one = yield* run(["top", "--url", url, "--pool", "app/Db\u001b[2J"], {
        CENOTE_TOKEN: "opensesame"
      })
      assert.deepStrictEqual([one.code, one.err], [0, ""])
      assert.match(
        one.out,
        /\nHeld by whom: 1, the longest first\n.*\n *\S+ m?s  \d\d:\d\d:\d\d  #1 +\d+  forgetful\n/
      )
      const none = yield* run(["top", "--url", url])
      assert.include(none.err, "it asks for a token")
    }).pipe(
      Effect.provide(
        Layer.provideMerge(
          Dashboard.layer({ port: 0, pace: "50 millis", token: "opensesame" }),
          PoolRegistry.layer
        )
      )
    )
  )
})

const hasPython = spawnSync("python3", ["-c", "import pty"]).status === 0

/** Skipped by name where there is no Python to make a terminal. */
const describeInTerminal = (name: string, tests: () => void): void => {
  if (hasPython) return void describe(name, tests)
  const missing = "no python3, which makes a terminal for the test"
  console.warn(`skipped: ${name}: ${missing}`)
  describe.skip(`${name} (skipped: ${missing})`, tests)
}

/** What a terminal is set to at first. */
const restored = ["?25", "?7"]

describeInTerminal("cenote top, in a terminal", () => {
  layer(NodeServices.layer, { excludeTestServices: true })((it) => {
    it.effect("draws at the pace of the stream, opens a pool and leaves it, and puts the terminal back", () =>
      Effect.gen(function* () {
        const fake = yield* serve({
          first: (id) => whole([cpu, short], id === null ? undefined : focus(id, { failures: { Odd: 7 } }))
        })
        const { exit, press, resize, screen, shows, until } = yield* start(
          ["top", "--url", fake.url],
          [100, 20]
        )
        const first = yield* shows("> short  app/Db")
        assert.strictEqual(first.length, 20)
        assert.strictEqual(first[19], "q quit   ↑↓ choose   Enter open   s sort: worst")
        assert.isTrue(screen.modes.has("?1049"))
        assert.isFalse(screen.modes.has("?25"))

        // One look to see whether all is well, and then the stream.
        yield* fake.asked(2)
        fake.say("change", change({ figures: { cpu: { pending: 33 } } }))
        yield* until((lines) => lines.some((line) => /ok +cpu .* 33 /.test(line)))

        yield* resize(60, 10)
        yield* until((lines) => lines.length === 10 && lines.every((line) => line.length <= 60))

        yield* press("\u001b[B")
        yield* shows("> ok     cpu")
        yield* press("\r")
        yield* shows("failures    Odd 7")
        assert.strictEqual(fake.requests.at(-1)?.url, "/api/stream?focus=cpu")
        yield* press("\t")
        yield* shows("Tab part: held")
        yield* press("\u001b")
        yield* shows("> ok     cpu")
        yield* press("s")
        yield* shows("s sort: name")
        yield* press("q")
        assert.strictEqual(yield* exit, 0)
        assert.deepStrictEqual([...screen.modes].toSorted(), restored)
      })
    )

    it.effect("puts the terminal back however it ends", () =>
      Effect.gen(function* () {
        const { url } = yield* both
        const begin = Effect.gen(function* () {
          const terminal = yield* start(["top", "--url", url], [80, 24])
          yield* terminal.shows("app/Db")
          return terminal
        })
        const ways = {
          "Ctrl-C": [begin.pipe(Effect.tap((_) => _.press("\u0003"))), 0],
          SIGINT: [begin.pipe(Effect.tap((_) => _.signal(2))), 130],
          SIGTERM: [begin.pipe(Effect.tap((_) => _.signal(15))), 130],
          SIGHUP: [begin.pipe(Effect.tap((_) => _.signal(1))), 130]
        } as const
        for (const [way, [ending, code]] of Object.entries(ways)) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { exit, screen } = yield* ending
              assert.strictEqual(yield* exit, code, way)
              assert.deepStrictEqual([...screen.modes].toSorted(), restored, way)
            })
          )
        }
      })
    )

    it.effect("says that the server is gone, and goes on when it is back", () =>
      Effect.gen(function* () {
        const fake = yield* both
        const { exit, press, shows, until } = yield* start(["top", "--url", fake.url], [100, 20])
        yield* shows("> short  app/Db")
        yield* fake.stop
        yield* shows("nobody listens there (ECONNREFUSED). Trying again (")
        // What was known stays.
        yield* shows("> short  app/Db")
        yield* serve({ port: fake.port, first: () => whole([pool("back again")]) })
        yield* shows("> ok     back again")
        yield* until((lines) => !lines.some((line) => line.includes("Trying again")))
        yield* press("q")
        assert.strictEqual(yield* exit, 0)
      })
    )

    it.effect("goes on with the pool that is open, and counts anew how often it tried", () =>
      Effect.gen(function* () {
        const fake = yield* both
        const { exit, press, shows, until } = yield* start(["top", "--url", fake.url], [160, 20])
        yield* shows("> short  app/Db")
        yield* press("\u001b[B")
        yield* press("\r")
        yield* shows("Esc back")
        yield* fake.stop
        const tried = (times: RegExp) =>
          until((lines) =>
            lines.some((line) => times.test(/Trying again \((\d+) so far/.exec(line)?.[1] ?? ""))
          )
        yield* tried(/^([4-9]|\d\d)$/)
        const again = yield* serve({
          port: fake.port,
          first: (id) => whole([cpu, short], id === null ? undefined : focus(id, { failures: { Odd: 7 } }))
        })
        yield* shows("failures    Odd 7")
        assert.strictEqual(again.requests.at(-1)?.url, "/api/stream?focus=cpu")
        yield* again.stop
        yield* tried(/^[1-3]$/)
        yield* press("q")
        assert.strictEqual(yield* exit, 0)
      })
    )

    it.effect("ends with one line when the server comes to ask for a token", () =>
      Effect.gen(function* () {
        const fake = yield* both
        const { exit, screen, shows } = yield* start(["top", "--url", fake.url], [100, 20])
        yield* shows("> short  app/Db")
        yield* fake.stop
        yield* serve({
          port: fake.port,
          first: () => whole([]),
          answer: (_, response) => {
            response.writeHead(401).end()
            return true
          }
        })
        assert.strictEqual(yield* exit, 1)
        assert.deepStrictEqual([...screen.modes].toSorted(), restored)
        assert.match(
          screen.written,
          // eslint-disable-next-line no-control-regex
          /\u001b\[\?1049l(?:\u001b\S+?)*cenote: cannot watch [^\n]*asks for a token[^\n]*\n$/
        )
      })
    )

    it.effect("paints where it may, and not where NO_COLOR says so", () =>
      Effect.gen(function* () {
        const { url } = yield* both
        // The one variable would silence the other.
        const colored = yield* start(["top", "--url", url], [100, 20], { NO_COLOR: "", FORCE_COLOR: "3" })
        yield* colored.shows("app/Db")
        assert.include(colored.screen.written, "\u001b[33mshort")
        const plain = yield* start(["top", "--url", url], [100, 20])
        yield* plain.shows("app/Db")
        // eslint-disable-next-line no-control-regex
        assert.notMatch(plain.screen.written, /\u001b\[[\d;]*m/)
      })
    )

    it.effect("prints on paper in a terminal that can do no more", () =>
      Effect.gen(function* () {
        const { url } = yield* both
        const { exit, screen } = yield* start(["top", "--url", url], [100, 20], { TERM: "dumb" })
        assert.strictEqual(yield* exit, 0)
        assert.notInclude(screen.written, "\u001b")
        assert.include(screen.written, "2 pools: 1 short, 1 ok")
      })
    )

    it.effect("prints and ends with --once and --check in any terminal", () =>
      Effect.gen(function* () {
        const { url } = yield* both
        for (const [flag, code] of [
          ["--once", 0],
          ["--check", 1]
        ] as const) {
          const { exit, screen } = yield* start(["top", "--url", url, flag], [100, 20])
          assert.deepStrictEqual([flag, yield* exit], [flag, code])
          assert.notInclude(screen.written, "\u001b")
          assert.include(screen.written, "2 pools: 1 short, 1 ok")
        }
      })
    )

    it.effect("follows a pool of a real dashboard", () =>
      Effect.gen(function* () {
        const { url } = yield* Dashboard.Dashboard
        const pool = yield* Pool.make({ name: "app/Db", acquire: Effect.succeed(1), max: 1 })
        const { exit, press, shows } = yield* start(["top", "--url", url, "--pool", "app/Db"], [100, 40])
        yield* shows("0/1 ░░░░░░░░░░ in use, 0 idle, 0 waiting")
        const [item] = yield* Effect.all([Effect.withSpan(Pool.acquire(pool), "Orders.place")])
        yield* shows("Orders.place")
        const waiter = yield* Effect.forkChild(Effect.withSpan(Pool.use(pool, Effect.succeed), "Orders.list"))
        yield* shows("Orders.list")
        yield* Pool.release(pool, item)
        yield* Fiber.join(waiter)
        yield* shows("0/1 ░░░░░░░░░░ in use, 1 idle, 0 waiting")
        yield* press("q")
        assert.strictEqual(yield* exit, 0)
      }).pipe(
        Effect.provide(
          Layer.provideMerge(Dashboard.layer({ port: 0, pace: "50 millis" }), PoolRegistry.layer)
        )
      )
    )
  })
})
