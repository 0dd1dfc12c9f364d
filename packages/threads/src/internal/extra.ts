// What goes with a call to its thread, besides its arguments.
import * as Context from "effect/Context"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import type { Call } from "./call.ts"
import type { Settings } from "./options.ts"
import type { Extra } from "./protocol.ts"

/** The span, the references and the level of log lines that the caller has, if it has any of them. */
export const extraOf = ({ context }: Call, chosen: Settings["references"]): Extra | undefined => {
  const span = context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined
  const minimumLogLevel = context.mapUnsafe.get(References.MinimumLogLevel.key) as string | undefined
  const references = chosen.length === 0 ? undefined : referencesIn(context, chosen)
  if (span === undefined && minimumLogLevel === undefined && references === undefined) return undefined
  return {
    span:
      span === undefined ? undefined : { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled },
    references,
    minimumLogLevel
  }
}

/** The chosen references that the caller has set. */
export const referencesIn = (
  context: Context.Context<never>,
  chosen: Settings["references"]
): NonNullable<Extra["references"]> =>
  chosen
    .filter(({ key }) => context.mapUnsafe.has(key))
    .map((reference) => [reference.key, Context.get(context, reference)] as const)
