// What a thread needs in order to connect: plain data, made of a configuration and back.
import type { PgConnection } from "@effect/sql-pg"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { SqlError, UnknownError } from "effect/sql/SqlError"

export interface WireConfig {
  /** Everything that can be cloned as it stands. */
  readonly plain: Omit<PgConnection.Config, "url" | "password" | "connectTimeout" | "keepAlive">
  readonly url: string | undefined
  readonly password: string | undefined
  readonly keepAlive: number | undefined
}

/** Fails where an option cannot travel. The password is asked for each time: it may have changed. */
export const toWire = (config: PgConnection.Config): Effect.Effect<WireConfig, SqlError> => {
  const { connectTimeout: _, keepAlive, password, stream, types, url, ...plain } = config
  if (stream !== undefined) return cannotTravel("stream")
  if (types !== undefined) return cannotTravel("types")
  if (typeof plain.ssl === "object") {
    for (const [key, value] of Object.entries(plain.ssl)) {
      if (typeof value === "function") return cannotTravel(`ssl.${key}`)
    }
  }
  const secret = Effect.isEffect(password) ? password : Effect.succeed(password)
  return Effect.map(secret, (password) => ({
    plain,
    url: url === undefined ? undefined : Redacted.value(url),
    password: password === undefined ? undefined : Redacted.value(password),
    keepAlive: keepAlive === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(keepAlive))
  }))
}

export const fromWire = ({ keepAlive, password, plain, url }: WireConfig): PgConnection.Config => ({
  ...plain,
  ...(url === undefined ? {} : { url: Redacted.make(url) }),
  ...(password === undefined ? {} : { password: Redacted.make(password) }),
  ...(keepAlive === undefined ? {} : { keepAlive }),
  connectTimeout: Duration.infinity
})

const cannotTravel = (option: string): Effect.Effect<never, SqlError> => {
  const message =
    `the option ${option} of PgDriver holds functions, which cannot go to the thread of a TpooledConnectionPool. ` +
    "Leave it out, or use RawConnectionPool"
  return Effect.fail(
    new SqlError({
      reason: new UnknownError({ cause: new TypeError(message), message, operation: "connect" })
    })
  )
}
