// What the server answers to each request.
import type { PoolRegistry } from "@cenote/pool"
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import {
  type Asked,
  cookieFor,
  isAllowed,
  isToken,
  refuseForm,
  refuseOrigin,
  remembered,
  type Rules
} from "./access.ts"
import { act, error, type Reply } from "./actions.ts"
import type { Asset } from "./assets.ts"
import { type Hub, type Message, mostViewers } from "./hub.ts"

type Response = HttpServerResponse.HttpServerResponse

export interface App {
  readonly rules: Rules
  readonly readOnly: boolean
  readonly hub: Hub
  readonly asset: (path: string) => Effect.Effect<Asset | undefined>
}

/** Nothing but what this server itself sends. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'"
].join("; ")

/** What all answers have. */
const always = {
  "cache-control": "no-store",
  "content-security-policy": policy,
  // Told to none but this server. With "no-referrer" the form for the token would come from the origin "null".
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff"
}

/** Bytes that the body of an action may have. */
const mostBody = 10_000

/** A wrong token costs whoever tries it as much as a slow network does. */
const penalty = "300 millis"

export const app = (it: App): Effect.Effect<Response, never, HttpServerRequest.HttpServerRequest> =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const url = Option.getOrUndefined(
      Option.liftThrowable((_: string) => new URL(_, "http://here"))(request.url)
    )
    if (url === undefined) return answer(error(400, "this is not an address"))
    const { cookies, headers, method } = request
    const asked: Asked = { at: yield* Clock.currentTimeMillis, method, headers, cookies }
    const refusal = refuseOrigin(asked, it.rules)
    if (refusal !== undefined) return answer(error(refusal.status, refusal.error))
    const { token } = it.rules
    if (token !== undefined) {
      const given = yield* tokenGiven(request, url)
      if (given !== undefined) {
        if (isToken(given, token)) return welcome(asked, token)
        yield* Effect.sleep(penalty)
        return askForToken("That is not the token.")
      }
      if (!isAllowed(asked, it.rules)) {
        if (request.headers["authorization"] !== undefined) yield* Effect.sleep(penalty)
        if (url.pathname.startsWith("/api/"))
          return answer(error(401, "the dashboard asks for its token: Authorization: Bearer …"))
        // All that the form looks like.
        return url.pathname === "/token.css" ? yield* file(it, url.pathname) : askForToken(undefined)
      }
    }
    return yield* route(it, request, url, asked)
  }).pipe(Effect.map((response) => HttpServerResponse.setHeaders(response, always)))

const route = (
  it: App,
  request: HttpServerRequest.HttpServerRequest,
  url: URL,
  asked: Asked
): Effect.Effect<Response> => {
  const [, id, action] = /^\/api\/pools\/([^/]+)\/([^/]+)$/.exec(url.pathname) ?? []
  if (id !== undefined && action !== undefined) {
    if (asked.method !== "POST") return Effect.succeed(answer(error(405, "an action is asked for with POST")))
    return Effect.map(perform(it, request, asked, decoded(id), action), answer)
  }
  if (asked.method !== "GET" && asked.method !== "HEAD") {
    return Effect.succeed(answer(error(405, `nothing here takes ${asked.method}`)))
  }
  if (url.pathname === "/api/stream") {
    return Effect.succeed(
      it.hub.isFull
        ? answer(error(503, `${mostViewers} pages and terminals watch already, and no more can: close one`))
        : stream(it.hub.watch(url.searchParams.get("focus") ?? undefined))
    )
  }
  return file(it, url.pathname)
}

const file = (it: App, path: string): Effect.Effect<Response> =>
  Effect.map(it.asset(path), (asset) =>
    asset === undefined
      ? answer(error(404, `there is nothing at ${path}`))
      : HttpServerResponse.uint8Array(asset.body, { contentType: asset.type })
  )

const perform = (
  { hub, readOnly }: App,
  request: HttpServerRequest.HttpServerRequest,
  asked: Asked,
  id: string,
  action: string
): Effect.Effect<Reply> =>
  Effect.gen(function* () {
    if (readOnly) return error(403, "the dashboard is read-only: it does nothing to pools")
    const refusal = refuseForm(asked)
    if (refusal !== undefined) return error(refusal.status, refusal.error)
    const entry: PoolRegistry.Entry | undefined = hub.find(id)?.entry
    if (entry === undefined) return error(404, `there is no pool ${JSON.stringify(id)}`)
    const text = yield* bodyOf(request)
    return text === undefined
      ? error(413, `the body is longer than ${mostBody} bytes, or broke off`)
      : yield* act(entry, action, text)
  })

/** The body, if it is not too long and comes to its end. */
const bodyOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string | undefined> =>
  request.text.pipe(
    Effect.provideService(MaxBodySize, ByteSize.bytes(mostBody)),
    Effect.orElseSucceed(() => undefined)
  )

const stream = (messages: Stream.Stream<Message>): Response =>
  HttpServerResponse.stream(
    Stream.map(messages, ({ data, event }) => new TextEncoder().encode(`event: ${event}\ndata: ${data}\n\n`)),
    { contentType: "text/event-stream" }
  )

const answer = ({ answer, status }: Reply): Response => HttpServerResponse.jsonUnsafe(answer, { status })

const decoded = (text: string): string =>
  Option.getOrElse(Option.liftThrowable(decodeURIComponent)(text), () => text)

// -----------------------------------------------------------------------------
// The token
// -----------------------------------------------------------------------------

/** The token in an address that somebody opens, or from the form. */
const tokenGiven = (
  request: HttpServerRequest.HttpServerRequest,
  url: URL
): Effect.Effect<string | undefined> => {
  if (request.method === "GET" && url.pathname === "/")
    return Effect.succeed(url.searchParams.get("token") ?? undefined)
  // The form is at whatever address somebody opened.
  if (request.method !== "POST" || url.pathname.startsWith("/api/")) return Effect.succeed(undefined)
  return Effect.map(bodyOf(request), (text) => new URLSearchParams(text ?? "").get("token") ?? "")
}

/** Remembers the token in the browser, and takes it out of the address. */
const welcome = (asked: Asked, token: Redacted.Redacted): Response =>
  HttpServerResponse.setCookieUnsafe(
    HttpServerResponse.redirect("/", { status: 303 }),
    ...cookieFor(asked, token),
    {
      httpOnly: true,
      path: "/",
      // Without it a browser forgets it when it is closed.
      maxAge: remembered,
      // Opened from a link elsewhere it has to be sent too; actions are refused by their origin.
      sameSite: "lax"
    }
  )

/** Without an `action` the form keeps what the address has after its "#": the pool that was looked at. */
const askForToken = (complaint: string | undefined): Response =>
  HttpServerResponse.text(
    `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cenote</title>
<link rel="stylesheet" href="/token.css">
<form method="post">
<h1>Cenote</h1>
${complaint === undefined ? "" : `<p role="alert">${complaint}</p>`}
<p><label>Token of this dashboard: <input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Open</button></p>
</form>
</html>
`,
    { status: 401, contentType: "text/html; charset=utf-8" }
  )
