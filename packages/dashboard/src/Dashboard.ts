/**
 * A page over every pool of the process, live: which is short, who holds it, since when, and what to do.
 *
 * It needs no internet, and costs the pools next to nothing: once a pace it reads their figures, whoever watches, and a browser that is slow
 * or gone is told less. `cenote top` shows the same in a terminal.
 *
 * **Example** (A page beside a program)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Dashboard } from "@cenote/dashboard"
 * import { Pool } from "@cenote/pool"
 *
 * const program = Effect.gen(function*() {
 *   yield* Pool.make({ name: "printers", acquire: Effect.succeed("printer"), max: 2 })
 *   const { url } = yield* Dashboard.Dashboard
 *   const page = yield* Effect.promise(() => fetch(url))
 *   return page.status
 * })
 *
 * const status = await Effect.runPromise(
 *   program.pipe(Effect.scoped, Effect.provide(Dashboard.layer({ port: 0 })))
 * )
 * status // => 200
 * ```
 *
 * @since 0.1.0
 */
import { PoolRegistry } from "@cenote/pool"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import type { ServeError } from "effect/http/HttpServerError"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import { createServer } from "node:http"
import { hostsFor, isLoopback } from "./internal/access.ts"
import { app } from "./internal/app.ts"
import { asset } from "./internal/assets.ts"
import { Hub } from "./internal/hub.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * Where the page is served, and to whom.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Port to listen on. Default 7070; with 0 any that is free. */
  readonly port?: number | undefined
  /** Address to listen on. Default `"127.0.0.1"`: this machine alone. One that others can reach needs a `token`. */
  readonly host?: string | undefined
  /** Asked of whoever wants to see the page or to act. Default: nobody is asked. */
  readonly token?: string | Redacted.Redacted | undefined
  /** Refuses all actions. Default `false`. */
  readonly readOnly?: boolean | undefined
  /** Between two looks at the pools, and two changes of the page. Default 1 s. */
  readonly pace?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// Service
// -----------------------------------------------------------------------------

/**
 * A dashboard that is up.
 *
 * @category services
 * @since 0.1.0
 */
export class Dashboard extends Context.Service<
  Dashboard,
  {
    /** Where the page is: `"http://127.0.0.1:7070"`. The token is not in it. */
    readonly url: string
  }
>()("@cenote/dashboard/Dashboard") {}

// -----------------------------------------------------------------------------
// Layers
// -----------------------------------------------------------------------------

/**
 * Serves the page as long as the layer is there, for the pools of the registry in use, and logs its address. Fails when the port is taken.
 * Impossible options are a defect, among them an address that others can reach without a token.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Dashboard, ServeError> =>
  Layer.effect(Dashboard, make(options))

/**
 * The same as an effect: the page is there until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* (options: Options = {}) {
  const { host, pace, port, readOnly, token } = read(options)
  const hub = new Hub({
    instance: randomUUID(),
    process: {
      pid: process.pid,
      title: process.title,
      node: process.version,
      startedAt: Math.round(performance.timeOrigin)
    },
    readOnly,
    pace
  })
  hub.began(yield* Clock.currentTimeMillis)
  yield* PoolRegistry.watch((entry) => hub.take(entry))
  yield* Effect.forkScoped(hub.run)

  const server = createServer()
  // While it looks up the name of its address it does not listen yet, and nothing would keep it from doing so later.
  const http = yield* Effect.uninterruptible(
    NodeHttpServer.make(() => server, { host, port, disablePreemptiveShutdown: true })
  )
  const respond = app({
    hub,
    readOnly,
    rules: { token, hosts: hostsFor(host) },
    asset
  })
  yield* Effect.uninterruptible(
    Effect.andThen(
      // The spans of a program are for its own requests; and those of the dashboard's would tell its token, as it stands in the address.
      Effect.provideService(http.serve(respond), HttpMiddleware.TracerDisabledWhen, () => true),
      Effect.addFinalizer(() =>
        Effect.sync(() => {
          hub.close()
          // Streams have no end of their own, and a server that closes waits for them. Nobody may come after they are cut.
          server.close()
          server.closeAllConnections()
        })
      )
    )
  )
  const url = HttpServer.formatAddress(http.address)
  yield* Effect.logInfo(`dashboard of the pools: ${url}`)
  return { url }
})

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

interface Settings {
  readonly host: string
  readonly port: number
  readonly token: Redacted.Redacted | undefined
  readonly readOnly: boolean
  /** Milliseconds. */
  readonly pace: number
}

const read = ({
  host = "127.0.0.1",
  pace = "1 second",
  port = 7070,
  readOnly = false,
  token
}: Options): Settings => {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw reject("port", port, "a whole number from 0 to 65535")
  }
  const millis = Option.match(Duration.fromInput(pace), {
    onNone: () => Number.NaN,
    onSome: Duration.toMillis
  })
  if (!(millis >= 50 && millis < Infinity)) throw reject("pace", pace, "50 ms or more")
  const secret = token === undefined || Redacted.isRedacted(token) ? token : Redacted.make(token)
  if (secret !== undefined && Redacted.value(secret).trim() === "") {
    throw reject("token", "empty", "something that nobody guesses, or left out")
  }
  if (secret === undefined && !isLoopback(host)) {
    throw reject("host", host, "an address of this machine alone (127.0.0.1), unless a token is given")
  }
  // As addresses have it, and not as they stand in a URL.
  const bare = host.replace(/^\[(.*)\]$/, "$1")
  return { host: bare, port, token: secret, readOnly, pace: millis }
}

const reject = (option: string, value: unknown, allowed: string): TypeError =>
  new TypeError(
    `Dashboard: ${option} is ${typeof value === "string" ? JSON.stringify(value) : String(value)}, but it must be ${allowed}`
  )
