// `cenote top`: its options, and what it does where there is a terminal, and where there is none.
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Runtime from "effect/Runtime"
import * as Terminal from "effect/Terminal"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Address from "./address.ts"
import { look } from "./connection.ts"
import { CannotWatch } from "./errors.ts"
import { live } from "./live.ts"
import { sorts } from "./order.ts"
import { model, type Model, snapshot } from "./screen.ts"
import type { Known } from "./state.ts"
import { terminal } from "./terminal.ts"
import { harmless } from "./text.ts"

/** Ends the process with code 1; what was wrong has been printed. */
class Told extends Data.TaggedError("Told") {
  override readonly [Runtime.errorReported] = false
}

/** Where the dashboard of `Dashboard.layer({ port: 7070 })` is. */
const usualUrl = "http://127.0.0.1:7070"

export const top = Command.make(
  "top",
  {
    url: Flag.String("url").pipe(
      Flag.withMetavar("address"),
      Flag.withDescription(`Address of the dashboard; CENOTE_URL, or ${usualUrl}, unless given`),
      Flag.withFallbackConfig(Config.String("CENOTE_URL")),
      Flag.withDefault(usualUrl)
    ),
    token: Flag.Redacted("token").pipe(
      Flag.withDescription(
        "What the dashboard asks for; CENOTE_TOKEN unless given. Others on this machine can see what is given here"
      ),
      Flag.withFallbackConfig(Config.Redacted("CENOTE_TOKEN")),
      Flag.optional
    ),
    once: Flag.Boolean("once").pipe(
      Flag.withDescription("Prints how things are, and ends, as it does where there is no terminal"),
      Flag.withDefault(false)
    ),
    check: Flag.Boolean("check").pipe(
      Flag.withDescription(
        "The same, with exit code 1 if a pool is short or down; of --pool, if there is one"
      ),
      Flag.withDefault(false)
    ),
    pool: Flag.String("pool").pipe(
      Flag.withMetavar("id"),
      Flag.withDescription("One pool: who holds what, the line, its threads and events"),
      Flag.optional
    ),
    sort: Flag.Literals("sort", sorts).pipe(
      Flag.withDescription("Order of the pools"),
      Flag.withDefault("worst")
    )
  },
  ({ check, once, pool, sort, token, url }) =>
    Effect.gen(function* () {
      const address = yield* Result.match(Address.make(url, given(token)), {
        onFailure: Effect.fail,
        onSuccess: Effect.succeed
      })
      const opened = Option.getOrUndefined(pool)
      const known = yield* look(address, opened)
      if (opened !== undefined && !known.pools.has(opened)) return yield* noSuchPool(address, known, opened)
      const first = model(address.shown, known, sort, opened)
      if (!once && !check && isTerminal()) {
        return yield* live(address, first, { color: hasColors(), hasKeys: process.stdin.isTTY })
      }
      yield* print(first)
      return check && isBad(first) ? yield* new Told() : undefined
    }).pipe(
      Effect.catchTag("CannotWatch", (error) =>
        Effect.andThen(Console.error(`cenote: ${error.message}`), new Told())
      ),
      Effect.provide([NodeHttpClient.layerNodeHttp, Layer.effect(Terminal.Terminal, terminal)])
    )
).pipe(
  Command.withDescription(
    "The pools of a program, live: which is short, who holds it, since when, and what to do. Reads the stream of the " +
      "program's dashboard. Without a terminal it prints how things are, and ends."
  ),
  Command.withShortDescription("The pools of a program, live"),
  Command.withExamples([
    { command: "cenote top --url http://127.0.0.1:7070", description: "All pools, the worst first" },
    { command: "cenote top --pool app/Db --once", description: "Who holds what of one pool, on paper" },
    { command: "cenote top --check > /dev/null", description: "Exit code 1 if a pool is short or down" }
  ])
)

/** A variable that is empty is none. */
const given = (token: Option.Option<Redacted.Redacted>): Redacted.Redacted | undefined =>
  Option.isSome(token) && Redacted.value(token.value) !== "" ? token.value : undefined

const noSuchPool = (address: Address.Address, { pools }: Known, id: string): CannotWatch => {
  const ids = Array.from(pools.keys(), harmless)
  const some = ids.length > 8 ? `${ids.slice(0, 8).join(", ")}, …` : ids.join(", ")
  return new CannotWatch({
    url: address.shown,
    reason: `it has no pool ${harmless(id)}`,
    remedy: ids.length === 0 ? "There is no pool with a name yet" : `There are: ${some}`
  })
}

// -----------------------------------------------------------------------------
// The process
// -----------------------------------------------------------------------------

const isTerminal = (): boolean => process.stdout.isTTY && process.env["TERM"] !== "dumb"

const hasColors = (): boolean => process.stdout.isTTY && process.stdout.hasColors()

const print = (model: Model) =>
  Effect.suspend(() => {
    // Where there is no terminal, `COLUMNS` says how wide lines may be.
    const wanted = Number(process.env["COLUMNS"])
    const columns = process.stdout.columns || (wanted > 0 ? wanted : Infinity)
    return Console.log(snapshot(model, { columns, color: hasColors() }).join("\n"))
  })

const isBad = ({ known, opened }: Model): boolean =>
  Array.from(known.pools.values()).some(
    ({ figures, id }) =>
      (opened === undefined || id === opened) && (figures.level === "short" || figures.level === "down")
  )
