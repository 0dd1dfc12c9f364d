import { Clock } from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Scheduler from "effect/Scheduler"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Spawner, WorkerPlatform } from "effect/workers/Worker"
import { Pool, PoolRegistry } from "@cenote/pool"
import { SpawnFailed } from "../ThreadError.ts"
import type { ThreadEvent } from "../ThreadEvent.ts"
import type { Options } from "../ThreadPool.ts"
import { Core } from "./core.ts"
import { startInline } from "./inline.ts"
import { limits, resolve, type Settings, shown } from "./options.ts"
import { spawnFailure } from "./outcome.ts"
import { leases, stats, threads, waiters } from "./report.ts"
import { nestedAreMadeBy } from "./service.ts"
import { startThread } from "./spawn.ts"
import { Tally } from "./tally.ts"
import type { Thread } from "./thread.ts"
import { Timers } from "./timers.ts"

/** Events that a listener may be behind by. */
const eventCapacity = 1024

/** The pauses before another attempt to start a thread, and how many there are. */
const defaultRetry = Schedule.exponential("100 millis").pipe(Schedule.upTo({ times: 3 }))

/** A pool of threads of the platform in the context. */
export const make = Effect.fnUntraced(function* (options: Options, defaultSize: number) {
  const settings = resolve(options, defaultSize)
  const platform = yield* WorkerPlatform
  const spawner = yield* Spawner
  let last = 0
  let core: Core | undefined
  const acquire = Effect.suspend(() => {
    const start = Effect.suspend(() => startThread(core!, ++last, platform, spawner))
    const pause = core!.growth.pauseBeforeStart
    return pause === 0 ? start : Effect.delay(start, pause)
  })
  core = yield* makeCore(settings, acquire, false)
  yield* Pool.resize(core.pool, { min: settings.min, max: settings.max })
  // A thread that cannot start is told here, and not with the first call.
  if (settings.min > 0) {
    yield* Pool.use(core.pool, () => Effect.void).pipe(
      Effect.mapError((error) => spawnFailure(settings, error) ?? closedMeanwhile(settings.name))
    )
  }
  return { core }
})

const closedMeanwhile = (pool: string): SpawnFailed =>
  new SpawnFailed({ pool, reason: "the pool was closed before its first thread was ready" })

/** A pool that has no threads: everything runs on this one. */
export const makeInline = Effect.fnUntraced(function* (options: Options) {
  const settings = resolve({ ...options, min: 0, max: 0 }, 0)
  return { core: yield* makeCore(settings, Effect.never, true) }
})

// It runs calls within calls where they are made, so that no thread waits for another (EV-84).
nestedAreMadeBy((references) => {
  const options = { references: references.map((key) => Context.Reference<unknown>(key, unset)) }
  return Effect.runSync(Scope.provide(makeInline(options), Scope.makeUnsafe())).core
})

/** Only values that somebody has set are sent. */
const unset = { defaultValue: () => undefined }

const makeCore = Effect.fnUntraced(function* (
  settings: Settings,
  acquire: Effect.Effect<Thread, SpawnFailed, Scope.Scope>,
  onlyInline: boolean
) {
  const { idleTimeout, max, name, spawnTimeout } = settings
  // What the registry has to show is the pool of threads as a whole.
  const ofThreads = PoolRegistry.makeUnsafe()
  // Empty at first: a thread is made for a scheduler, which is made for the pool.
  const pool = yield* Pool.make({
    name,
    acquire,
    min: 0,
    max,
    // The thread that ran last is warm, and the others may retire.
    order: "lifo",
    maxIdle: Duration.millis(idleTimeout),
    createTimeout: Duration.millis(spawnTimeout),
    createRetry: settings.spawnRetry ?? defaultRetry
  }).pipe(Effect.provideService(PoolRegistry.PoolRegistry, ofThreads))
  // What the pool does on its own account is not part of what built it.
  const context: Context.Context<Scope.Scope> = Context.omit(
    Tracer.ParentSpan,
    References.CurrentLogAnnotations,
    References.CurrentLogSpans
  )(yield* Effect.context<Scope.Scope>())
  const timers = new Timers(context, Context.get(context, Clock))
  const core: Core = new Core({
    settings,
    timers,
    pool,
    tally: new Tally(name, timers, yield* PubSub.sliding<ThreadEvent>(eventCapacity)),
    dispatcher: Context.get(context, Scheduler.Scheduler).makeDispatcher(),
    makeInline: startInline,
    onlyInline
  })
  yield* Scope.addFinalizer(yield* Effect.scope, core.close())
  const [entry] = yield* ofThreads.entries
  // As any pool, one without a name is not registered.
  if (entry !== undefined) yield* PoolRegistry.register(description(core, entry, onlyInline))
  return core
})

const description = (
  core: Core,
  pool: PoolRegistry.Entry,
  onlyInline: boolean
): PoolRegistry.Description => ({
  kind: "threads",
  name: core.name,
  options: shown(core.settings),
  stats: stats(core),
  leases: (limit) => leases(core, limit),
  waiters: (limit) => waiters(core, limit),
  events: Stream.filter(Pool.events(core.pool), (_) => _._tag !== "Borrowed" && _._tag !== "Returned"),
  // Calls, and the coming and going of threads: that these are borrowed is no matter of those who call.
  record: (recorder) =>
    Effect.andThen(
      core.tally.recorders.record(recorder),
      pool.record({ waited: () => {}, used: () => {}, told: (event) => recorder.told(event) })
    ),
  actions: onlyInline
    ? {}
    : {
        resize: (given) =>
          Effect.suspend(() => {
            const { max, min } = limits(core.name, given, core)
            return core.resize(min, max)
          }),
        recycle: core.recycle()
      },
  threads: threads(core)
})
