// Who may see the page and act: see the README, "Who may look, and who may act".
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { createHash, createHmac, timingSafeEqual } from "node:crypto"

export interface Rules {
  readonly token: Redacted.Redacted | undefined
  /** Names by which this server may be called; `undefined` where any is right. */
  readonly hosts: ReadonlySet<string> | undefined
}

/** What is read of a request, and when it came, in milliseconds since the epoch. */
export interface Asked {
  readonly at: number
  readonly method: string
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly cookies: Readonly<Record<string, string | undefined>>
}

/** Why a request is refused. */
export interface Refusal {
  readonly status: 401 | 403 | 415
  readonly error: string
}

/** Whether an address is of this machine alone. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host)

/**
 * Names for a server on this machine alone. A page elsewhere whose name was made to lead here (DNS rebinding) calls it by its own name.
 */
export const hostsFor = (host: string): ReadonlySet<string> | undefined =>
  isLoopback(host) ? new Set(["localhost", "127.0.0.1", "[::1]", host]) : undefined

/** Why a request is refused, if it is; the token aside. */
export const refuseOrigin = ({ headers, method }: Asked, { hosts }: Rules): Refusal | undefined => {
  const host = headers["host"] ?? ""
  const name = host.replace(/:\d+$/, "").toLowerCase()
  if (hosts !== undefined && !hosts.has(name)) {
    return {
      status: 403,
      error: `the dashboard was called by the name ${JSON.stringify(name)}, but it answers to ${[...hosts].join(", ")} alone`
    }
  }
  const { origin } = headers
  if (origin !== undefined && hostOf(origin) !== host.toLowerCase()) {
    return { status: 403, error: `a page of ${JSON.stringify(origin)} may not use the dashboard` }
  }
  const site = headers["sec-fetch-site"]
  const isVisit = headers["sec-fetch-mode"] === "navigate" && method === "GET"
  if (site !== undefined && site !== "same-origin" && site !== "none" && !isVisit) {
    return { status: 403, error: "a page of another origin may not use the dashboard" }
  }
  return undefined
}

/** What a page of another origin could send without asking first is refused: a form, or text. */
export const refuseForm = ({ headers }: Asked): Refusal | undefined =>
  /^application\/json\s*(;|$)/i.test(headers["content-type"] ?? "")
    ? undefined
    : { status: 415, error: "an action is asked for with content-type application/json" }

/** Whether a request has the token, if there is one. */
export const isAllowed = (asked: Asked, { token }: Rules): boolean => {
  if (token === undefined) return true
  const [, given] = /^Bearer (.+)$/i.exec(asked.headers["authorization"] ?? "") ?? []
  if (given !== undefined) return isToken(given, token)
  const cookie = asked.cookies[cookieName(asked)]
  const until = Number(cookie?.split(".")[0])
  return cookie !== undefined && until > asked.at && isSame(cookie, sealed(asked, token, until))
}

export const isToken = (given: string, token: Redacted.Redacted): boolean =>
  isSame(given, Redacted.value(token))

/**
 * What a browser shows that has given the token: not the token, good at this port alone and for a while, also when the program is
 * started anew.
 */
export const cookieFor = (asked: Asked, token: Redacted.Redacted): readonly [name: string, value: string] => [
  cookieName(asked),
  sealed(asked, token, asked.at + remembered)
]

/** For how long a browser need not be asked again, in milliseconds: 30 days. */
export const remembered = 30 * 24 * 3_600_000

const sealed = (asked: Asked, token: Redacted.Redacted, until: number): string => {
  const seal = createHmac("sha256", Redacted.value(token)).update(`${cookieName(asked)} until ${until}`)
  return `${until}.${seal.digest("base64url")}`
}

/** Its own for each port: a browser tells the cookies of a machine to all servers there. */
const cookieName = ({ headers }: Asked): string => {
  const [, port] = /:(\d+)$/.exec(headers["host"] ?? "") ?? []
  return port === undefined ? "cenote" : `cenote-${port}`
}

/** Takes as long for any wrong one. */
const isSame = (a: string, b: string): boolean =>
  timingSafeEqual(createHash("sha256").update(a).digest(), createHash("sha256").update(b).digest())

const hostOf = (origin: string): string | undefined =>
  Option.getOrUndefined(
    Option.map(Option.liftThrowable((_: string) => new URL(_))(origin), (_) => _.host.toLowerCase())
  )
