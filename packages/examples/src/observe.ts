// What the pools of a program did, threads included, from their events and stats alone: the program itself knows
// nothing of it.
import { type Pool, type PoolEvent, PoolRegistry } from "@cenote/pool"
import { Console, Effect, Fiber, Schedule, Stream } from "effect"

/** One pool, from its first borrow to its end. The resources of a thread pool are its threads. */
export interface Figures {
  readonly kind: PoolRegistry.Kind
  readonly name: string
  /** The last stats before the pool closed, when everything had come back; `undefined` if it never closed. */
  readonly atRest: Pool.Stats | undefined
  /** How long each borrow waited, in milliseconds. */
  readonly waited: ReadonlyArray<number>
  /** Borrows that had to stand in line: behind others, or for a session to be opened. */
  readonly waits: number
  readonly returned: number
  readonly created: number
  /** Resources closed while the pool was open, because they had broken or expired. */
  readonly replaced: number
  /** Numbers of the resources closed, in that order. */
  readonly closed: ReadonlyArray<number>
  /** How many resources there may be now. */
  readonly max: number
  /** How often a resource was created when there were that many. */
  readonly overMax: number
  /** The most resources that were lent at one time. */
  readonly mostLent: number
  readonly timeouts: number
  readonly failures: number
  /** Events that were not heard; 0, or none of the other figures is complete. */
  readonly missed: number
}

const nothing = ({ kind, name }: PoolRegistry.Entry, max: number): Figures => ({
  kind,
  name,
  max,
  atRest: undefined,
  waited: [],
  waits: 0,
  returned: 0,
  created: 0,
  replaced: 0,
  closed: [],
  overMax: 0,
  mostLent: 0,
  timeouts: 0,
  failures: 0,
  missed: 0
})

const add = (figures: Figures, event: PoolEvent.PoolEvent): Figures => {
  switch (event._tag) {
    case "WaitStarted":
      return { ...figures, waits: figures.waits + 1 }
    case "Borrowed": {
      const waited = [...figures.waited, event.waited]
      return { ...figures, waited, mostLent: Math.max(figures.mostLent, waited.length - figures.returned) }
    }
    case "Returned":
      return { ...figures, returned: figures.returned + 1 }
    case "Created": {
      const created = figures.created + 1
      const isOver = created - figures.closed.length > figures.max
      return { ...figures, created, overMax: figures.overMax + (isOver ? 1 : 0) }
    }
    case "Resized":
      return { ...figures, max: event.max }
    case "Closed":
      return {
        ...figures,
        closed: [...figures.closed, event.resource],
        replaced: figures.replaced + (event.reason === "poolClosed" ? 0 : 1)
      }
    case "TimedOut":
      return { ...figures, timeouts: figures.timeouts + 1 }
    case "CreateFailed":
      return { ...figures, failures: figures.failures + 1 }
    case "Dropped":
      return { ...figures, missed: figures.missed + event.count }
    default:
      return figures
  }
}

/** What is worth a line of its own. */
const tell = (kind: PoolRegistry.Kind) => (event: PoolEvent.PoolEvent) => {
  const ofThreads = kind === "threads"
  switch (event._tag) {
    case "Created": {
      const what = ofThreads ? `thread ${event.resource} started` : `${event.resource} created`
      return Console.log(`  + ${event.pool} ${what} in ${event.took.toFixed(1)} ms`)
    }
    case "Closed": {
      const what = ofThreads
        ? `thread ${event.resource} ended (${event.reason})`
        : `${event.resource} closed (${event.reason}) after ${event.uses} loans`
      return Console.log(`  - ${event.pool} ${what}`)
    }
    default:
      return Effect.void
  }
}

/** Runs a program, and follows every pool that it makes from the first moment to the last. */
export const observe = Effect.fnUntraced(function* <A, E, R>(program: Effect.Effect<A, E, R>) {
  const watches: Array<Effect.Effect<Figures>> = []
  const scope = yield* Effect.scope
  const registry = yield* PoolRegistry.PoolRegistry

  // A pool registers before anyone can borrow from it, and leaves the registry before it closes.
  const register = Effect.fnUntraced(function* (description: PoolRegistry.Description) {
    const entry = yield* registry.register(description)
    let atRest: Pool.Stats | undefined
    const { max } = yield* entry.stats
    const listener = yield* Stream.tap(entry.events, tell(entry.kind)).pipe(
      Stream.runFold(() => nothing(entry, max), add),
      Effect.forkIn(scope, { startImmediately: true })
    )
    watches.push(Effect.map(Fiber.join(listener), (figures) => ({ ...figures, atRest })))
    yield* Effect.addFinalizer(() =>
      Effect.map(comeToRest(entry.stats), (stats) => {
        atRest = stats
      })
    )
    return entry
  })

  const result = yield* Effect.provideService(program, PoolRegistry.PoolRegistry, { ...registry, register })
  return { result, pools: yield* Effect.all(watches) }
})

export const isAtRest = (stats: Pool.Stats): boolean => stats.size === stats.idle && stats.pending === 0

/** Resets, closings and creations that nobody waits for any more go on for a moment after the last return. */
export const comeToRest = <A extends Pool.Stats, R>(
  stats: Effect.Effect<A, never, R>
): Effect.Effect<A, never, R> =>
  Effect.repeat(stats, { until: isAtRest, schedule: Schedule.spaced("5 millis"), times: 400 })
