import { describeWith, Postgres } from "@cenote/testing/TestServers"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, FileSystem, Fiber, Stream } from "effect"
import * as Sse from "effect/encoding/Sse"
import { isAlive, listen, newFolder, run, start } from "./process.ts"

/** As much of the dashboard's messages as is looked at here. */
interface Message {
  readonly pools?: ReadonlyArray<{ readonly id: string; readonly figures: Figures }>
  readonly figures?: Readonly<Record<string, Figures>>
  readonly focus?: {
    readonly leases: ReadonlyArray<{ readonly span?: string }>
    readonly events: ReadonlyArray<{ readonly what: string; readonly text: string }>
    readonly closes: Readonly<Record<string, number>>
  } | null
}

interface Figures {
  readonly pending?: number
  readonly state?: string
}

/** What the dashboard says, with one pool in focus. */
const messages = (url: string, focus: string): Stream.Stream<Message, unknown> =>
  Stream.unwrap(
    Effect.map(
      Effect.tryPromise((signal) =>
        fetch(`${url}/api/stream?focus=${encodeURIComponent(focus)}`, { signal })
      ),
      ({ body }) =>
        Stream.fromReadableStream({ evaluate: () => body!, onError: (error) => error }).pipe(
          Stream.decodeText,
          Stream.pipeThroughChannel(Sse.decode()),
          Stream.map(({ data }): Message => JSON.parse(data))
        )
    )
  )

/** Where each trouble is to be seen. */
const troubles: Record<
  string,
  { readonly pool: string; readonly shows: (message: Message, pool: string) => boolean }
> = {
  "sixty orders come at once": { pool: "app/Db", shows: (_, pool) => (of(_, pool).pending ?? 0) >= 30 },
  "four reports take every connection": {
    pool: "app/Db",
    shows: ({ focus }) => focus?.leases.filter(({ span }) => span === "Reports.monthly").length === 4
  },
  "a borrower forgets to give back": { pool: "app/Db", shows: (_) => tells(_, "Leaked", "Orders.export") },
  "PostgreSQL ends every session": {
    pool: "app/Db",
    shows: ({ focus }) => (focus?.closes["invalidated"] ?? 0) + (focus?.closes["invalid"] ?? 0) > 0
  },
  "a task ends its thread": { pool: "app/Cpu", shows: (_) => tells(_, "ThreadCrashed", "") },
  "a task does not end": { pool: "app/Cpu", shows: (_) => tells(_, "ThreadKilled", "") },
  "app/Uploads is suspended": {
    pool: "app/Uploads",
    shows: (_, pool) => of(_, pool).state === "suspended"
  },
  "the snail is stuck": {
    pool: "app/Carriers",
    shows: (_) => isHeld(_, "Carriers.snail") && tells(_, "TimedOut", "")
  }
}

const of = ({ figures, pools }: Message, id: string): Figures =>
  pools?.find((pool) => pool.id === id)?.figures ?? figures?.[id] ?? {}

const isHeld = ({ focus }: Message, span: string): boolean =>
  focus?.leases.some((lease) => lease.span === span) === true

const tells = ({ focus }: Message, what: string, text: string): boolean =>
  focus?.events.some((event) => event.what === what && event.text.includes(text)) === true

await describeWith("start --watch, on a real server", [Postgres.available], () => {
  layer(NodeServices.layer, { excludeTestServices: true })((it) => {
    it.effect(
      "makes every trouble, shows it on its dashboard, and leaves nothing when it is interrupted",
      () =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const folder = yield* newFolder
          const { child, stderr, stdout } = yield* start(["--watch", "--speed", "6", "--data", folder])
          const address = yield* Deferred.make<string>()
          const told: Array<string> = []
          const reading = yield* Effect.forkScoped(
            Stream.runForEach(stdout, (line) => {
              told.push(line)
              const url = /dashboard is open: (\S+)/.exec(line)?.[1]
              return url === undefined ? Effect.void : Deferred.succeed(address, url)
            })
          )
          const url = yield* Effect.timeout(Deferred.await(address), "60 seconds")
          assert.strictEqual((yield* Effect.tryPromise(() => fetch(url))).status, 200)

          yield* Effect.forEach(
            Object.entries(troubles),
            ([trouble, { pool, shows }]) =>
              messages(url, pool).pipe(
                Stream.takeUntil((message) => shows(message, pool)),
                Stream.runDrain,
                Effect.timeoutOrElse({
                  duration: "90 seconds",
                  orElse: () => Effect.die(new Error(`not to be seen: ${trouble}\n${told.join("\n")}`))
                })
              ),
            { concurrency: "unbounded" }
          )
          for (const trouble of Object.keys(troubles)) {
            assert.isTrue(
              told.some(
                (line) =>
                  /^\d\d:\d\d:\d\d /.test(line) && line.includes(trouble) && line.includes(": look at app/")
              ),
              `${trouble}\n${told.join("\n")}`
            )
          }

          const pid = Number(/\(process (\d+)\)/.exec(told.join("\n"))?.[1])
          assert.isTrue(isAlive(pid))
          process.kill(child.pid, "SIGINT")
          assert.strictEqual(Number(yield* Effect.timeout(child.exitCode, "30 seconds")), 130)
          yield* Fiber.join(reading)
          assert.strictEqual(
            yield* stderr,
            "start: stopped; the pools are closed, and the servers are gone\n"
          )
          assert.isFalse(isAlive(pid))
          assert.isFalse(yield* fs.exists(folder))
          assert.strictEqual((yield* Effect.exit(Effect.tryPromise(() => fetch(url))))._tag, "Failure")
        }),
      180_000
    )

    it.effect("says in one line that the port of the dashboard is taken", () =>
      Effect.gen(function* () {
        const address = (yield* listen).address()
        assert.isObject(address)
        const { port } = address as { readonly port: number }
        for (const mode of [["--watch"], []]) {
          const { code, err } = yield* run([...mode, "--port", String(port)])
          assert.strictEqual(
            err,
            `start: port ${port} of 127.0.0.1 is taken. Choose another for the dashboard with --port, or leave it out for a free one\n`
          )
          assert.strictEqual(code, 1)
        }
      })
    )
  })
})
