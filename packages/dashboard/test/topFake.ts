// A server that says what it is told to, in place of a dashboard; and what dashboards say.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import type { Change, Figures, Focus, PoolView, Whole } from "../src/internal/protocol.ts"
import { Effect, Schedule } from "effect"

export const at = Date.UTC(2026, 0, 2, 12, 3, 10)

export const figures = (some: Partial<Figures> = {}): Figures => ({
  state: "open",
  min: 0,
  max: 10,
  size: 4,
  idle: 4,
  used: 0,
  pending: 0,
  creating: 0,
  closing: 0,
  created: 4,
  destroyed: 0,
  borrowed: 0,
  timeouts: 0,
  failures: 0,
  rate: 0,
  wait50: null,
  wait99: null,
  hold50: null,
  hold99: null,
  longestHeld: 0,
  longestWait: 0,
  level: "ok",
  matter: "",
  remedy: "",
  ...some
})

export const pool = (
  id: string,
  some: Partial<Figures> = {},
  kind: PoolView["kind"] = "connections"
): PoolView => ({
  id,
  name: id,
  kind,
  options: { max: 10, acquireTimeout: "5s" },
  actions: [],
  figures: figures(some)
})

export const whole = (pools: ReadonlyArray<PoolView>, focus?: Focus): Whole => ({
  instance: "one",
  process: { pid: 123, title: "app", node: "24.21.0", startedAt: at - 190_000 },
  readOnly: false,
  pace: 1000,
  at,
  pools,
  focus
})

export const change = (some: Partial<Change> = {}): Change => ({
  at: at + 1000,
  added: [],
  removed: [],
  figures: {},
  focus: undefined,
  ...some
})

export const focus = (id: string, some: Partial<Focus> = {}): Focus => ({
  id,
  history: [],
  leases: [],
  waiters: [],
  events: [],
  failures: {},
  closes: {},
  threads: undefined,
  calls: undefined,
  ...some
})

/** A message as it goes over the network. */
export const message = (event: string, data: unknown): string =>
  `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`

export interface Fake {
  readonly url: string
  readonly port: number
  /** Requests that came, in that order. */
  readonly requests: ReadonlyArray<IncomingMessage>
  /** Those who listen now. */
  readonly listeners: ReadonlySet<ServerResponse>
  /** Waits until so many have asked for the stream. */
  readonly asked: (times: number) => Effect.Effect<void>
  /** To all who listen. */
  readonly say: (event: string, data: unknown) => void
  /** Ends it, and all connections with it. */
  readonly stop: Effect.Effect<void>
}

/** Begins each stream with what `first` gives, and goes on as it is told to; `answer` may see to a request itself. */
export const serve = (options: {
  readonly first: (focus: string | null) => Whole
  readonly port?: number
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => boolean
}) =>
  Effect.acquireRelease(
    Effect.callback<Fake>((resume) => {
      const requests: Array<IncomingMessage> = []
      const listeners = new Set<ServerResponse>()
      const server = createServer((request, response) => {
        requests.push(request)
        if (options.answer?.(request, response) === true) return
        const url = new URL(request.url ?? "", "http://fake")
        if (url.pathname !== "/api/stream") {
          response.writeHead(404).end("nothing here")
          return
        }
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.write(
          `retry: 1000\n\n: hello\n\n${message("whole", options.first(url.searchParams.get("focus")))}`
        )
        listeners.add(response)
        response.on("close", () => listeners.delete(response))
      })
      server.listen({ host: "127.0.0.1", port: options.port ?? 0 }, () => {
        const { port } = server.address() as AddressInfo
        const stop = Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
        resume(
          Effect.succeed({
            url: `http://127.0.0.1:${port}`,
            port,
            requests,
            listeners,
            asked: (times) =>
              Effect.repeat(Effect.void, {
                until: () => requests.length >= times,
                schedule: Schedule.spaced("5 millis")
              }),
            say: (event, data) => {
              for (const listener of listeners) listener.write(message(event, data))
            },
            stop
          })
        )
      })
    }),
    ({ stop }) => stop
  )
