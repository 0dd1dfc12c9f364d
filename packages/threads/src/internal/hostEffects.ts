// Runs tasks that are Effects and Streams, in the thread. Loaded when the first of them comes.
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { type Activity, endsLater, type Host } from "./host.ts"
import { Keep, type Source } from "./hostObjects.ts"
import { type Nested, ThreadPool } from "./service.ts"
import { FromThread, Status, type WireLog, type WireSpan } from "./protocol.ts"
import { cloneable, encodeError } from "./wire.ts"

/** Runs an Effect that a task returned, in a fiber that goes when the task is aborted. */
export const run = (
  host: Host,
  activity: Activity,
  effect: Effect.Effect<unknown, unknown, unknown>
): void => {
  const context = contextOf(activity, () => host.slotOf(activity))
  const start = Effect.runForkWith(context)
  // Its first, synchronous part sees the task, as any task's does.
  const fiber = activity.inside(() => start(effect as Effect.Effect<unknown, unknown>))
  follow(host, activity, fiber, (exit) => {
    if (Exit.isSuccess(exit)) host.settleFinished(activity, exit.value)
    else endFailed(host, activity, exit.cause)
  })
}

/** Keeps a Stream that a task returned here, to be pulled from. */
export const open = (
  host: Host,
  activity: Activity,
  stream: Stream.Stream<unknown, unknown, unknown>
): void => {
  const source = new StreamSource(host, stream as Stream.Stream<unknown, unknown>, activity)
  host.keep(activity, new Keep(source, { stream: true }))
}

const follow = <A, E>(
  host: Host,
  activity: Activity,
  fiber: Fiber.Fiber<A, E>,
  done: (exit: Exit.Exit<A, E>) => void
): void => {
  activity.onAbort = () => fiber.interruptUnsafe()
  if (activity.aborted) fiber.interruptUnsafe()
  fiber.addObserver((exit) => {
    activity.onAbort = undefined
    done(exit)
    host.resume()
  })
}

const endFailed = (host: Host, activity: Activity, cause: Cause.Cause<unknown>): void => {
  const failure = Cause.findErrorOption(cause)
  if (Option.isSome(failure)) host.end(activity, Status.failed, encodeError(failure.value))
  else if (Cause.hasInterruptsOnly(cause)) host.end(activity, Status.interrupted, undefined)
  else host.end(activity, Status.threw, encodeError(Cause.squash(cause)))
}

class StreamSource implements Source {
  private readonly scope = Scope.makeUnsafe()
  private next: Pull.Pull<ReadonlyArray<unknown>, unknown> | undefined = undefined
  private readonly host: Host
  private readonly stream: Stream.Stream<unknown, unknown>
  private readonly context: Context.Context<any>
  /** Who asked last. */
  private activity: Activity

  constructor(host: Host, stream: Stream.Stream<unknown, unknown>, activity: Activity) {
    this.host = host
    this.stream = stream
    this.activity = activity
    this.context = contextOf(activity, () => host.slotOf(this.activity))
  }

  /** The items of the stream's next chunk, as it comes. */
  pull(activity: Activity): typeof endsLater {
    const { host } = this
    this.activity = activity
    const pulled = Effect.gen({ self: this }, function* () {
      this.next ??= yield* Scope.provide(Stream.toPull(this.stream), this.scope)
      return yield* this.next
    })
    follow(host, activity, Effect.runForkWith(this.context)(pulled), (exit) => {
      if (Exit.isSuccess(exit)) return host.end(activity, Status.ok, [exit.value, false])
      if (Pull.isDoneCause(exit.cause)) return host.end(activity, Status.ok, [[], true])
      endFailed(host, activity, exit.cause)
    })
    return endsLater
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Effect.runPromiseWith(this.context)(Scope.close(this.scope, Exit.void))
  }
}

// -----------------------------------------------------------------------------
// What travels with an Effect
// -----------------------------------------------------------------------------

/** The references that were sent along, the caller's span as the parent, and loggers and a tracer that tell the pool. */
const contextOf = (activity: Activity, slot: () => number): Context.Context<any> => {
  const { host } = activity
  const { extra } = activity.call
  const services = new Map<string, unknown>(extra?.references)
  services.set(ThreadPool.key, nested(host.references))
  services.set(References.CurrentLoggers.key, new Set([loggerTo(host, slot)]))
  services.set(Tracer.Tracer.key, tracerTo(host, slot))
  if (extra?.minimumLogLevel !== undefined) {
    services.set(References.MinimumLogLevel.key, extra.minimumLogLevel)
  }
  if (extra?.span !== undefined) services.set(Tracer.ParentSpan.key, Tracer.externalSpan(extra.span))
  return Context.makeUnsafe(services)
}

const nested = (references: ReadonlyArray<string>): Nested => {
  const id = JSON.stringify(references)
  let pool = nestedPools.get(id)
  if (pool === undefined) nestedPools.set(id, (pool = { made: undefined, references }))
  return pool
}

/** By the references that go with calls: a thread has one, the calling thread one for each of its pools that differ. */
const nestedPools = new Map<string, Nested>()

const loggerTo = (host: Host, slot: () => number): Logger.Logger<unknown, void> =>
  Logger.make(({ cause, date, fiber, logLevel, message }) => {
    const log: WireLog = {
      message: Array.isArray(message) ? message.map(cloneable) : cloneable(message),
      level: logLevel,
      date: date.getTime(),
      annotations: cloneRecord(fiber.getRef(References.CurrentLogAnnotations)),
      spans: fiber.getRef(References.CurrentLogSpans),
      cause: cause.reasons.length === 0 ? undefined : Cause.pretty(cause)
    }
    host.say(FromThread.log, slot(), log)
  })

const cloneRecord = (record: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, cloneable(value)]))

const tracerTo = (host: Host, slot: () => number): Tracer.Tracer =>
  Tracer.make({
    span: (options) => new ToldSpan(options, (span) => host.sayLater(FromThread.span, slot(), wire(span)))
  })

/** A span that is told to the pool when it ends. */
class ToldSpan extends Tracer.NativeSpan {
  private readonly tell: (span: ToldSpan) => void

  constructor(options: ConstructorParameters<typeof Tracer.NativeSpan>[0], tell: (span: ToldSpan) => void) {
    super(options)
    this.tell = tell
  }

  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    if (this.status._tag === "Ended") return
    super.end(endTime, exit)
    this.tell(this)
  }
}

const wire = (span: ToldSpan): WireSpan => {
  const { status } = span
  const ended = status._tag === "Ended" ? status : undefined
  const cause = ended !== undefined && Exit.isFailure(ended.exit) ? ended.exit.cause : undefined
  const interrupted = cause !== undefined && Cause.hasInterruptsOnly(cause)
  return {
    name: span.name,
    spanId: span.spanId,
    traceId: span.traceId,
    parentId: Option.getOrUndefined(span.parent)?.spanId,
    kind: span.kind,
    sampled: span.sampled,
    start: status.startTime,
    end: ended?.endTime ?? status.startTime,
    attributes: [...span.attributes].map(([key, value]) => [key, cloneable(value)]),
    events: span.events.map(([name, at, attributes]) => [name, at, cloneRecord(attributes)]),
    links: span.links.map(({ attributes, span: { sampled, spanId, traceId } }) => ({
      traceId,
      spanId,
      sampled,
      attributes: cloneRecord(attributes)
    })),
    failure: cause === undefined || interrupted ? undefined : encodeError(Cause.squash(cause)),
    interrupted
  }
}
