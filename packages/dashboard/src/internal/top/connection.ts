// The stream of a dashboard, as it comes: what is known after each message.
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Sse from "effect/encoding/Sse"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type { Address } from "./address.ts"
import { CannotWatch } from "./errors.ts"
import { after } from "./messages.ts"
import type { Known } from "./state.ts"
import { cut, duration, harmless } from "./text.ts"

/** How long a server may be silent, in milliseconds, or for how many paces if that is longer. */
const patience = 10_000
const silentPaces = 5

/** Watches until the server ends it; `focus` is the id of the pool to hear more of. */
export const watch = (
  address: Address,
  focus: string | undefined
): Stream.Stream<Known, CannotWatch, HttpClient.HttpClient> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const response = yield* open(address, focus)
      const reader = new Reader(address)
      return Stream.mapError(response.stream, (error) => lost(address, error)).pipe(
        impatient(() => reader.patience, address),
        Stream.decodeText,
        Stream.mapEffect((text) => reader.read(text)),
        Stream.flattenIterable
      )
    })
  )

/** The first that is known. */
export const look = (
  address: Address,
  focus: string | undefined
): Effect.Effect<Known, CannotWatch, HttpClient.HttpClient> =>
  Stream.runHead(watch(address, focus)).pipe(
    Effect.flatMap((first) =>
      first._tag === "Some"
        ? Effect.succeed(first.value)
        : Effect.fail(notADashboard(address, "it ended before its first word"))
    )
  )

const open = Effect.fnUntraced(function* (address: Address, focus: string | undefined) {
  const request = HttpClientRequest.get(address.stream(focus)).pipe(
    HttpClientRequest.accept("text/event-stream"),
    address.token === undefined ? (_) => _ : HttpClientRequest.bearerToken(Redacted.value(address.token))
  )
  const response = yield* HttpClient.execute(request).pipe(
    Effect.mapError((error) => unreachable(address, error)),
    Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(silent(address, patience)) })
  )
  const problem = problemOf(address, response)
  if (problem === undefined) return response
  if (response.status === 403) return yield* forbidden(address, yield* said(response))
  const why = response.status === 503 ? yield* said(response) : undefined
  return yield* why === undefined ? problem : full(address, why)
})

/** What a dashboard says when it refuses, if it says anything. */
const said = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<string | undefined> =>
  response.json.pipe(
    Effect.timeout(patience),
    Effect.map((body) =>
      Predicate.hasProperty(body, "error") && Predicate.isString(body.error) ? body.error : undefined
    ),
    Effect.orElseSucceed(() => undefined)
  )

/** Fails when the next piece is too long in coming: a machine that was switched off says no farewell. */
const impatient =
  (patience: () => number, address: Address) =>
  <A, R>(stream: Stream.Stream<A, CannotWatch, R>): Stream.Stream<A, CannotWatch, R> =>
    Stream.unwrap(
      Effect.map(Stream.toPull(stream), (pull) => {
        const next = Effect.suspend(() => {
          const duration = patience()
          return Effect.timeoutOrElse(pull, {
            duration,
            orElse: () => Effect.fail(silent(address, duration))
          })
        })
        return Stream.fromPull(Effect.succeed(next))
      })
    )

/** Puts the pieces together that come over the network. */
class Reader {
  private readonly address: Address
  private known: Known | undefined
  /** Messages that are complete, and not read yet. */
  private events: Array<Sse.Event> = []
  private readonly parser = Sse.makeParser((event) => {
    if (event._tag === "Event") this.events.push(event)
  })

  constructor(address: Address) {
    this.address = address
  }

  get patience(): number {
    return Math.max(patience, silentPaces * (this.known?.pace ?? 0))
  }

  read(text: string): Effect.Effect<ReadonlyArray<Known>, CannotWatch> {
    return Effect.suspend(() => {
      if (this.parser.feed(text) !== undefined) return this.fail
      const { events } = this
      this.events = []
      const news: Array<Known> = []
      for (const { data, event } of events) {
        // A server may come to tell more than this program knows of.
        if (event !== "whole" && event !== "change") continue
        const next = after(this.known, event, data)
        if (next === undefined) return this.fail
        this.known = next
        news.push(next)
      }
      return Effect.succeed(news)
    })
  }

  private readonly fail = Effect.suspend(() =>
    Effect.fail(notADashboard(this.address, "it says what no dashboard of this version does"))
  )
}

// -----------------------------------------------------------------------------
// What may be wrong
// -----------------------------------------------------------------------------

const problemOf = (
  address: Address,
  { headers, status }: HttpClientResponse.HttpClientResponse
): CannotWatch | undefined => {
  const url = address.shown
  if (status === 401) {
    return address.token === undefined
      ? new CannotWatch({
          url,
          reason: "it asks for a token",
          remedy: "Give that of Dashboard.layer({ token }) in CENOTE_TOKEN, or with --token",
          final: true
        })
      : new CannotWatch({
          url,
          reason: "it refuses this token",
          remedy: "Expected that of Dashboard.layer({ token }), in CENOTE_TOKEN or with --token",
          final: true
        })
  }
  if (status >= 500) {
    return new CannotWatch({
      url,
      reason: `it answers ${status}`,
      remedy: "See the log of the program, or of the proxy before it"
    })
  }
  if (status !== 200) return notADashboard(address, `it answers ${status}`)
  const type = (headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase()
  if (type === "text/event-stream") return undefined
  return notADashboard(address, `it answers with ${type === "" ? "no type" : harmless(type)}`)
}

const forbidden = (address: Address, why = "it does not say why"): CannotWatch =>
  new CannotWatch({
    url: address.shown,
    reason: `it refuses (403): ${cut(harmless(why), 300)}`,
    remedy: "Use the address that the log of the program has"
  })

const full = (address: Address, why: string): CannotWatch =>
  new CannotWatch({
    url: address.shown,
    reason: `it refuses (503): ${cut(harmless(why), 300)}`,
    remedy: "A page that nobody looks at is open somewhere, or too many ask at once"
  })

const notADashboard = (address: Address, reason: string): CannotWatch =>
  new CannotWatch({
    url: address.shown,
    reason: `no dashboard of Cenote is there: ${reason}`,
    remedy:
      "Expected the address of Dashboard.layer({ port }), as the log of the program has it; give it with --url"
  })

const silent = (address: Address, millis: number): CannotWatch =>
  new CannotWatch({
    url: address.shown,
    reason: `it has said nothing for ${duration(millis)}`,
    remedy: "See whether the program hangs, and whether this is the address of its dashboard"
  })

const lost = (address: Address, error: HttpClientError.HttpClientError): CannotWatch =>
  new CannotWatch({
    url: address.shown,
    reason: `the connection broke (${codeOf(error)})`,
    remedy: "See whether the program still runs"
  })

const unreachable = (address: Address, error: HttpClientError.HttpClientError): CannotWatch => {
  const url = address.shown
  const code = codeOf(error)
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return new CannotWatch({
      url,
      reason: `the name of the host is not known (${code})`,
      remedy: "Give the address of the dashboard with --url"
    })
  }
  if (code.startsWith("HPE_") || code === "EPROTO" || code === "ERR_SSL_WRONG_VERSION_NUMBER") {
    return notADashboard(address, `what answers does not speak ${url.split(":")[0]} (${code})`)
  }
  return new CannotWatch({
    url,
    reason:
      code === "ECONNREFUSED" ? "nobody listens there (ECONNREFUSED)" : `it cannot be reached (${code})`,
    remedy:
      "Start the program, with Dashboard.layer({ port }) in it, or give the address of its dashboard with --url"
  })
}

/** The code of what lies under it, such as `ECONNREFUSED`. */
const codeOf = (error: HttpClientError.HttpClientError): string => {
  let cause: unknown = error.reason
  let said = ""
  for (let depth = 0; depth < 8 && Predicate.hasProperty(cause, "cause"); depth++) {
    cause = cause.cause
    if (Predicate.hasProperty(cause, "code") && typeof cause.code === "string") return cause.code
    if (cause instanceof Error) said = cause.message
  }
  return said === "" ? error.reason._tag : harmless(said)
}
