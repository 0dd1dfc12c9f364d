import * as Cause from "effect/Cause"
import type * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { TaskFailed } from "../ThreadError.ts"
import { Call, type Handle, type RemoteFunction, SourceHandle } from "./call.ts"
import { takeMarks } from "./clone.ts"
import type { Core } from "./core.ts"
import { misused } from "./outcome.ts"
import type { Target } from "./protocol.ts"
import { handleOf } from "./handle.ts"
import { coreInContext, coreOf, Inline, Patient, ThreadPool, Unkillable } from "./service.ts"

/** What to run, and where: the pool in the context, or the one that an object belongs to. */
export interface Spec {
  readonly pool: { readonly core: Core; readonly handle: Handle } | undefined
  readonly target: Target | RemoteFunction
  readonly name: string
  readonly args: ReadonlyArray<unknown>
}

/** Evaluated with the fiber at hand: one step less than a class of `Effectable` takes. */
const Evaluated = function () {} as unknown as new () => Effect.Effect<any, any, any>
Evaluated.prototype = Effectable.Prototype<Invocation>({
  label: "Invocation",
  evaluate(fiber) {
    return submit(fiber, this.spec, false)
  }
})

/** A call that has not been made: run as an Effect it gives the result, run as a Stream what a generator yields. */
export class Invocation extends Evaluated {
  readonly spec: Spec

  constructor(spec: Spec) {
    super()
    this.spec = spec
  }

  /** This, {@link Stream.TypeId} and `pipe` are all that a Stream is. */
  get channel(): Channel.Channel<any, any, void, unknown, unknown, unknown, any> {
    return streamOf(this.spec).channel
  }
}
export const streamVariance = { _A: (_: never) => _, _E: (_: never) => _, _R: (_: never) => _ }

Object.defineProperty(Invocation.prototype, Stream.TypeId, { value: streamVariance })

export const invoke = (spec: Spec): Invocation => new Invocation(spec)

const perform = (spec: Spec, wantsStream: boolean): Effect.Effect<any, any, any> =>
  Effect.withFiber((fiber) => submit(fiber, spec, wantsStream))

/** Nothing is taken before the fiber waits, so that there is nothing to lose on the way. */
const submit = (
  fiber: Fiber.Fiber<any, any>,
  { args, name, pool, target }: Spec,
  wantsStream: boolean
): Effect.Effect<any, any, any> => {
  const services = fiber.context.mapUnsafe
  const service = pool ?? (services.get(ThreadPool.key) as ThreadPool["Service"] | undefined)
  if (service === undefined) {
    return Effect.die(
      new Error(`Service not found: ${ThreadPool.key}. Provide NodeThreads.layer, or ThreadPool.layerInline`)
    )
  }
  const core = coreOf(service)
  return Effect.callback((resume) => {
    const call = new Call(
      fiber,
      resume,
      target,
      name,
      args,
      {
        pinned: pool?.handle ?? pinnedBy(args),
        wantsStream,
        unkillable: services.get(Unkillable.key) === true,
        patient: services.get(Patient.key) === true,
        transfers: takeMarks(args),
        inline: services.get(Inline.key) === true
      },
      core.timers.now()
    )
    core.submit(call)
    return Effect.sync(() => core.stopping.interrupted(call))
  })
}

/** The object among the arguments by which a call has to go to its thread. */
const pinnedBy = (args: ReadonlyArray<unknown>): Handle | undefined => {
  for (const arg of args) {
    const handle = typeof arg === "function" ? handleOf(arg) : undefined
    if (handle !== undefined) return handle
  }
  return undefined
}

const streamOf = (spec: Spec): Stream.Stream<unknown, unknown, any> =>
  Stream.unwrap(Effect.map(openSource(spec), ({ core, source }) => pullFrom(core, spec.name, source.handle)))

const openSource = (spec: Spec) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.acquireRelease(
      Effect.flatMap(poolOf(spec), (core) =>
        Effect.flatMap(restore(perform(spec, true)), (result: unknown) =>
          isSource(result)
            ? Effect.succeed({ core, source: result })
            : Effect.fail(notAStream(core, spec, result))
        )
      ),
      ({ core, source }) => core.dispose(source.handle)
    )
  )

const poolOf = (spec: Spec): Effect.Effect<Core, never, any> =>
  spec.pool === undefined ? coreInContext : Effect.succeed(spec.pool.core)

const isSource = (result: unknown): result is SourceHandle => result instanceof SourceHandle

const notAStream = (core: Core, { name }: Spec, result: unknown): TaskFailed =>
  misused(
    core.name,
    0,
    name,
    `it gave ${result === null ? "null" : typeof result}, which is no generator and no Stream`,
    "Use what the call gives as an Effect"
  )

/** The items in the batches in which the thread gives them, one request a batch: nothing is made before it is wanted. */
const pullFrom = (core: Core, name: string, handle: Handle): Stream.Stream<unknown, unknown> => {
  const next = perform(
    { pool: { core, handle }, target: { op: "pull", object: handle.object, name: "" }, name, args: [] },
    false
  ) as Effect.Effect<[ReadonlyArray<unknown>, boolean], unknown>
  let ended = false
  const pull: Pull.Pull<readonly [unknown, ...Array<unknown>], unknown> = Effect.suspend(() =>
    ended
      ? Cause.done()
      : Effect.flatMap(next, ([items, done]) => {
          ended = done
          return items.length === 0 ? pull : Exit.succeed(items as readonly [unknown, ...Array<unknown>])
        })
  )
  return Stream.fromPull(Effect.succeed(pull))
}
