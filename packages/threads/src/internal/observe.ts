// Log lines and spans from a thread, told here as if they had come from the fiber that made the call.
import * as Cause from "effect/Cause"
import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import { belongsToEarlier, type Call } from "./call.ts"
import type { Core } from "./core.ts"
import { decodeError } from "./decode.ts"
import type { WireLog, WireSpan } from "./protocol.ts"

export const replayLog = (context: Context.Context<never>, log: WireLog): void => {
  const messages = Array.isArray(log.message) ? (log.message as ReadonlyArray<unknown>) : [log.message]
  const level = log.level as LogLevel.Severity
  Effect.runForkWith(context)(
    Effect.logWithLevel(level)(...messages, ...(log.cause === undefined ? [] : [log.cause])).pipe(
      Effect.annotateLogs(log.annotations),
      Effect.updateService(References.CurrentLogSpans, (own) => [
        ...log.spans.map(([label, at]): [string, number] => [label, at]),
        ...own
      ])
    )
  )
}

/** Shows the wait of a call in the trace of its caller, if that is traced, as a span that ends now. */
export const traceWait = (core: Core, call: Call, exit: Exit.Exit<unknown, unknown>): void => {
  const { context, joinedAt } = call
  const parent = context.mapUnsafe.get(Tracer.ParentSpan.key) as Tracer.AnySpan | undefined
  if (parent?.sampled !== true || !Context.get(context, References.TracerEnabled)) return
  const { clock } = core.timers
  const waited = Math.max(0, core.timers.now() - joinedAt)
  const end = clock.currentTimeNanosUnsafe()
  const start = end - BigInt(Math.round(waited * nanosPerMilli))
  const span = Effect.makeSpan(core.name === "" ? "wait for a thread" : `wait for ${core.name}`, {
    attributes: { "cenote.pool.name": core.name, "cenote.task": call.name }
  })
  const isTimed = Context.get(context, References.TracerTimingEnabled)
  // Made as any span of the caller's is, but for the time that it began. A tracer that fails must not stop the pool.
  Effect.runSyncExit(
    Effect.map(span, (span) => span.end(isTimed ? end : 0n, exit)).pipe(
      Effect.provideContext(
        Context.add(context, Clock, Object.create(clock, { currentTimeNanosUnsafe: { value: () => start } }))
      )
    )
  )
}

const nanosPerMilli = 1e6

/** The spans of one task. */
export class SpanReplay {
  private readonly context: Context.Context<never>
  /** Spans that stand here for those of the thread, by the identifier that those have. */
  private readonly told = new Map<string, Tracer.AnySpan>()
  /** Children end before their parents: spans that wait until their parent is told, by its identifier. */
  private readonly waiting = new Map<string, Array<WireSpan>>()

  constructor(context: Context.Context<never>) {
    this.context = context
  }

  tell(wire: WireSpan): void {
    const own = Context.getOrUndefined(this.context, Tracer.ParentSpan)
    const { parentId } = wire
    // Without a parent it asked to be a root: the caller's span would be one.
    const parent =
      parentId === own?.spanId ? own : parentId === undefined ? undefined : this.told.get(parentId)
    if (parent === undefined && parentId !== undefined) {
      const siblings = this.waiting.get(parentId)
      if (siblings === undefined) this.waiting.set(parentId, [wire])
      else siblings.push(wire)
      return
    }
    this.told.set(wire.spanId, replaySpan(this.context, wire, parent))
    this.tellChildren(wire.spanId)
  }

  /** The call has ended: what still waits for its parent, which never ended, is told without it. */
  end(): void {
    for (const [parentId, [first]] of this.waiting) {
      const own = Context.getOrUndefined(this.context, Tracer.ParentSpan)
      if (own === undefined || first === undefined) continue
      this.told.set(parentId, own)
      this.tellChildren(parentId)
    }
  }

  private tellChildren(parentId: string): void {
    const children = this.waiting.get(parentId) ?? []
    this.waiting.delete(parentId)
    for (const child of children) this.tell(child)
  }
}

/** Where the spans of a call go: those of pulls from one source belong together. */
export const replayOf = (call: Call): SpanReplay => {
  const owner = call.pinned !== undefined && belongsToEarlier(call) ? call.pinned : call
  return (owner.spans ??= new SpanReplay(call.context))
}

/** Tells a span that ended after the call that it belongs to. */
export const replayLateSpan = (context: Context.Context<never>, wire: WireSpan): void => {
  const { parentId: spanId, traceId } = wire
  replaySpan(context, wire, spanId === undefined ? undefined : Tracer.externalSpan({ spanId, traceId }))
}

const replaySpan = (
  context: Context.Context<never>,
  wire: WireSpan,
  parent: Tracer.AnySpan | undefined
): Tracer.Span => {
  const span = Context.get(context, Tracer.Tracer).span({
    name: wire.name,
    parent: Option.fromUndefinedOr(parent),
    annotations: Context.empty(),
    links: wire.links.map(({ attributes, ...span }) => ({ span: Tracer.externalSpan(span), attributes })),
    startTime: wire.start,
    kind: wire.kind as Tracer.SpanKind,
    root: parent === undefined,
    sampled: wire.sampled
  })
  for (const [key, value] of wire.attributes) span.attribute(key, value)
  for (const [name, at, attributes] of wire.events) span.event(name, at, attributes)
  span.end(wire.end, exitOf(wire))
  return span
}

const exitOf = ({ failure, interrupted }: WireSpan): Exit.Exit<unknown, unknown> =>
  interrupted
    ? Exit.failCause(Cause.interrupt())
    : failure === undefined
      ? Exit.void
      : Exit.fail(decodeError(failure))
