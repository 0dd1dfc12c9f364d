// Where a dashboard is, as somebody has written it down.
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { CannotWatch } from "./errors.ts"
import { harmless } from "./text.ts"

export interface Address {
  /** Without what is secret. */
  readonly shown: string
  readonly token: Redacted.Redacted | undefined
  /** Where the stream is, with one pool in focus, or none. */
  readonly stream: (focus: string | undefined) => string
}

/** A token in the address, as the page's own has it, counts when none was given beside it. */
export const make = (
  url: string,
  given: Redacted.Redacted | undefined
): Result.Result<Address, CannotWatch> => {
  const written = url.trim()
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(written) ? written : `http://${written}`
  const parsed = URL.parse(whole)
  if (parsed === null || !["http:", "https:"].includes(parsed.protocol)) {
    return Result.fail(
      new CannotWatch({
        url: withoutSecrets(written),
        reason: "it is no address of the web",
        remedy: "Expected http://<host>:<port>, as the log of the program has it"
      })
    )
  }
  const inUrl = parsed.searchParams.get("token")
  const base = new URL(parsed.pathname.replace(/\/*$/, "/"), parsed.origin)
  return Result.succeed({
    shown: harmless(base.href.replace(/\/$/, "")),
    token: given ?? (inUrl === null || inUrl === "" ? undefined : Redacted.make(inUrl, { label: "token" })),
    stream: (focus) => {
      const stream = new URL("api/stream", base)
      if (focus !== undefined) stream.searchParams.set("focus", focus)
      return stream.href
    }
  })
}

/** What cannot be read as an address may still have a password or a token in it. */
const withoutSecrets = (text: string): string =>
  harmless(text)
    .replace(/\?.*$/s, "")
    .replace(/\/\/[^/]*@/, "//")
