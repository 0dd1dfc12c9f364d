// Log lines and spans from a thread, told here as if they had come from the fiber that made the call.
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { decodeError } from "./decode.ts"
import type { WireLog, WireSpan } from "./protocol.ts"

export const replayLog = (fiber: Fiber.Fiber<any, any>, log: WireLog): void => {
  const messages = Array.isArray(log.message) ? (log.message as ReadonlyArray<unknown>) : [log.message]
  const level = log.level as LogLevel.Severity
  Effect.runForkWith(fiber.context)(
    Effect.logWithLevel(level)(...messages, ...(log.cause === undefined ? [] : [log.cause])).pipe(
      Effect.annotateLogs(log.annotations),
      Effect.provideService(References.CurrentLogSpans, log.spans)
    )
  )
}

/** The spans of a thread, by the span that stands for them here, so that their children find it. */
const told = new WeakMap<Fiber.Fiber<any, any>, Map<string, Tracer.Span>>()

/**
 * Tells a span that ended in a thread. Children end before their parents, so that a parent may not be known yet: the
 * child is then told when the parent is.
 */
const orphans = new WeakMap<Fiber.Fiber<any, any>, Map<string, Array<WireSpan>>>()

export const replaySpan = (fiber: Fiber.Fiber<any, any>, wire: WireSpan): void => {
  const own = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  const parent =
    wire.parentId === undefined || wire.parentId === own?.spanId ? own : told.get(fiber)?.get(wire.parentId)
  if (parent === undefined && wire.parentId !== undefined) {
    const waiting = mapOf(orphans, fiber)
    waiting.set(wire.parentId, [...(waiting.get(wire.parentId) ?? []), wire])
    return
  }
  const span = Context.get(fiber.context, Tracer.Tracer).span({
    name: wire.name,
    parent: Option.fromUndefinedOr(parent),
    annotations: Context.empty(),
    links: [],
    startTime: wire.start,
    kind: wire.kind as Tracer.SpanKind,
    root: parent === undefined,
    sampled: wire.sampled
  })
  for (const [key, value] of wire.attributes) span.attribute(key, value)
  for (const [name, at, attributes] of wire.events) span.event(name, at, attributes)
  span.end(wire.end, exitOf(wire))
  mapOf(told, fiber).set(wire.spanId, span)
  const children = orphans.get(fiber)?.get(wire.spanId) ?? []
  orphans.get(fiber)?.delete(wire.spanId)
  for (const child of children) replaySpan(fiber, child)
}

const exitOf = ({ failure, interrupted }: WireSpan): Exit.Exit<unknown, unknown> =>
  interrupted
    ? Exit.failCause(Cause.interrupt())
    : failure === undefined
      ? Exit.void
      : Exit.fail(decodeError(failure))

const mapOf = <A>(maps: WeakMap<Fiber.Fiber<any, any>, Map<string, A>>, fiber: Fiber.Fiber<any, any>) => {
  let map = maps.get(fiber)
  if (map === undefined) {
    map = new Map()
    maps.set(fiber, map)
  }
  return map
}
