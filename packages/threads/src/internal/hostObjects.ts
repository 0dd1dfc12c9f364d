import type { Activity, Call } from "./host.ts"
import type { Target, Wrap } from "./protocol.ts"

/** The method of an object that is not a function by which it is called: as `__call__` in Python (EV-100). */
const callKey = "call"

/** By these an Effect and a Stream are known where Effect is not loaded. */
export const effectKey = "~effect/Effect"
export const streamKey = "~effect/Stream"

/** A pull ends after so many items at the most, or so many milliseconds. */
const pullLimits = { items: 256, millis: 5 }

/** When one pull ends: with so many items, or at that time. */
interface PullLimits {
  readonly items: number
  readonly until: number
}

/** An object that stays, and the calls on it. */
export interface KeptObject {
  readonly number: number
  readonly value: object
  readonly wrap: Wrap | undefined
  /** Whether releasing it disposes of it. */
  readonly dispose: boolean
  /** How often it has been sent to the pool, less what the pool has let go of. */
  sent: number
  /** About how long a call on it takes, in milliseconds: the longest of late, which wanes. */
  estimate: number
  /** Whether a call on it is under way. */
  busy: boolean
  /** Whether its calls are being begun one after the other. */
  serving: boolean
  /** Calls behind the one that is under way. */
  readonly waiting: Array<Call>
  /** Whether it goes as soon as it is not busy. */
  releasing: boolean
}

/** A result that stays in the thread. */
export class Keep {
  readonly value: object
  readonly options: {
    readonly wrap?: Wrap | undefined
    readonly dispose?: boolean
    readonly stream?: boolean
  }

  constructor(value: object, options: Keep["options"]) {
    this.value = value
    this.options = options
  }
}

/** What a stream in the pool pulls from: some items, and whether they were the last. */
export interface Source {
  readonly pull: (activity: Activity) => unknown
}

/** An object among the arguments is not here any more. */
export class StaleObject extends Error {}

/** The objects that stay in one thread, by the numbers that the pool knows them by. */
export class KeptObjects {
  private readonly byNumber = new Map<number, KeptObject>()
  /** Numbers of the objects that stay here, so that none gets two. */
  private readonly numbers = new WeakMap<object, number>()
  /** The number that was given last. */
  private last = 0
  /** What is being disposed of. */
  private readonly disposing = new Set<Promise<void>>()

  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  get(number: number): KeptObject | undefined {
    return this.byNumber.get(number)
  }

  /** Keeps an object, which is about to be told to the pool. */
  keep({ options, value }: Keep): KeptObject {
    let number = this.numbers.get(value)
    let entry = number === undefined ? undefined : this.byNumber.get(number)
    if (entry === undefined) {
      number = ++this.last
      entry = {
        number,
        value,
        wrap: options.wrap,
        dispose: options.dispose === true || options.stream === true,
        sent: 0,
        estimate: Infinity,
        busy: false,
        serving: false,
        waiting: [],
        releasing: false
      }
      this.byNumber.set(number, entry)
      this.numbers.set(value, number)
    }
    entry.sent++
    entry.releasing = false
    return entry
  }

  /** What something that is asked of an object gives. */
  ask(
    activity: Activity,
    object: KeptObject,
    { name, op }: Exclude<Target, number | { readonly op: "create" }>,
    actual: ReadonlyArray<unknown>
  ): unknown {
    const value = object.value as any
    switch (op) {
      case "call": {
        const method: unknown = value[name]
        if (typeof method !== "function") throw new TypeError(missing(value, name, "is not a method"))
        return this.wrapped(activity, object, name, method.apply(value, actual))
      }
      case "get":
        if (!(Object(name) in Object(value))) throw new TypeError(missing(value, name, "does not exist"))
        return readable(this.wrapped(activity, object, name, value[name]), String(name))
      case "set":
        value[name] = actual[0]
        return undefined
      case "apply":
        if (typeof value !== "function" && typeof value?.[callKey] !== "function") {
          throw new TypeError(`the object (${describeClass(value)}) cannot be called`)
        }
        return this.wrapped(
          activity,
          object,
          "",
          typeof value === "function" ? value(...actual) : value[callKey](...actual)
        )
      case "iterate": {
        const iterator: unknown =
          value[Symbol.asyncIterator] !== undefined
            ? value[Symbol.asyncIterator]()
            : value[Symbol.iterator] !== undefined
              ? value[Symbol.iterator]()
              : undefined
        if (iterator === undefined) {
          throw new TypeError(`the object (${describeClass(value)}) cannot be iterated`)
        }
        return new Keep(new IteratorSource(iterator as Iterator<unknown>, this.now), {
          stream: true
        })
      }
      case "pull":
        return (value as Source).pull(activity)
      default:
        return this.drop(object)
    }
  }

  /** The arguments, with objects where their numbers stand. */
  withObjects(
    args: ReadonlyArray<unknown>,
    paths: ReadonlyArray<ReadonlyArray<string | number>>
  ): ReadonlyArray<unknown> {
    for (const path of paths) {
      let place: any = args
      for (const step of path.slice(0, -1)) place = place[step]
      const last = path.at(-1)!
      const entry = this.byNumber.get(place[last])
      if (entry === undefined) throw new StaleObject()
      place[last] = entry.value
    }
    return args
  }

  /** Takes out the call in a slot, if it waits for its object. */
  withdraw(slot: number): Call | undefined {
    for (const { waiting } of this.byNumber.values()) {
      const i = waiting.findIndex((call) => call.slot === slot)
      if (i !== -1) return waiting.splice(i, 1)[0]
    }
    return undefined
  }

  /** The pool has let go of an object as often as it says it received it. What is on its way keeps it here. */
  release(number: number, received: number): void {
    const entry = this.byNumber.get(number)
    if (entry === undefined) return
    entry.sent -= received
    if (entry.sent > 0) return
    entry.releasing = true
    if (!entry.busy || entry.value instanceof IteratorSource) this.discard(entry)
  }

  /** Forgets an object for whose disposal nobody waits. */
  discard(entry: KeptObject): void {
    this.drop(entry)?.catch(reportDisposal)
  }

  /** Disposes of the objects that are left, and waits until all that is disposed of is gone. */
  async close(): Promise<void> {
    for (const entry of Array.from(this.byNumber.values())) this.discard(entry)
    while (this.disposing.size > 0) await Promise.all(this.disposing)
  }

  /** Forgets an object, and disposes of it if that is to be. */
  private drop(entry: KeptObject): Promise<void> | undefined {
    if (!this.byNumber.delete(entry.number)) return undefined
    this.numbers.delete(entry.value)
    if (!entry.dispose) return undefined
    const disposed = disposeOf(entry.value)
    const noted = disposed.catch(() => {}).finally(() => this.disposing.delete(noted))
    this.disposing.add(noted)
    return disposed
  }

  /** A result of an object, kept here when its class or what gave it says so. */
  private wrapped(activity: Activity, object: KeptObject, name: PropertyKey, result: unknown): unknown {
    const { wrap } = object
    if (wrap === undefined) return result
    if (isThenable(result))
      return Promise.resolve(result).then((value) => this.wrapped(activity, object, name, value))
    if ((typeof result !== "object" || result === null) && typeof result !== "function") return result
    if (streamKey in result || isGenerator(result)) return result
    if (effectKey in result) {
      activity.finish = (value) => this.wrapped(activity, object, name, value)
      return result
    }
    return wrap.names.includes(String(name)) || classNames(result).some((_) => wrap.types.includes(_))
      ? new Keep(result, { wrap })
      : result
  }
}

/** Pulls from an iterator. */
export class IteratorSource implements Source {
  private readonly iterator: Iterator<unknown> | AsyncIterator<unknown>
  private readonly now: () => number
  /** A step that was begun, and had not ended when the last pull gave what it had. */
  private pending: PromiseLike<IteratorResult<unknown>> | undefined = undefined
  /** Whether the iterator has nothing more. */
  private ended = false
  /** What it threw after it had given something: for the next pull. */
  private failure: { readonly error: unknown } | undefined = undefined
  /** Items given so far. A pull gives no more than that, so that fewer are made in vain than were wanted. */
  private given = 0

  constructor(iterator: Iterator<unknown> | AsyncIterator<unknown>, now: () => number) {
    this.iterator = iterator
    this.now = now
  }

  pull(activity: Activity): unknown {
    const items: Array<unknown> = []
    const limits = {
      items: Math.min(Math.max(1, this.given), pullLimits.items),
      until: this.now() + pullLimits.millis
    }
    if (this.failure !== undefined) throw this.failure.error
    while (!this.isOver(items, limits) && !activity.aborted) {
      let step
      try {
        step = this.pending ?? this.iterator.next()
      } catch (error) {
        if (items.length === 0) throw error
        // What came before it is given first.
        this.failure = { error }
        break
      }
      if (isThenable(step)) {
        const pulled = this.pullAsync(items, limits, step)
        // Nobody waits for it any more: the step goes on, and the next pull finds it.
        const aborted = new Promise<unknown>((resolve) => {
          activity.onAbort = () => resolve([[], false])
        })
        return Promise.race([pulled, aborted])
      }
      this.take(step, items)
    }
    return [items, this.ended]
  }

  private async pullAsync(
    items: Array<unknown>,
    limits: PullLimits,
    first: PromiseLike<IteratorResult<unknown>>
  ): Promise<unknown> {
    let step = first
    while (true) {
      this.pending = step
      // What is there goes out when the next item takes its time.
      const result = items.length === 0 ? await step : await soon(step)
      // Also when it failed: the next pull finds it pending, and fails.
      if (result === undefined) return [items, false]
      this.pending = undefined
      this.take(result, items)
      if (this.isOver(items, limits)) return [items, this.ended]
      step = Promise.resolve(this.iterator.next() as PromiseLike<IteratorResult<unknown>>)
    }
  }

  /** Whether a pull gives what it has. */
  private isOver(items: ReadonlyArray<unknown>, limits: PullLimits): boolean {
    return this.ended || items.length >= limits.items || this.now() >= limits.until
  }

  private take(result: IteratorResult<unknown>, items: Array<unknown>): void {
    if (result.done === true) {
      this.ended = true
      return
    }
    items.push(result.value)
    this.given++
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return
    const returned = this.iterator.return?.()
    // An asynchronous generator only hears of it after the step that it is in, which may never end.
    if (this.pending === undefined) await returned
    else Promise.resolve(returned).catch(reportDisposal)
  }
}

/** The value of a promise that is fulfilled before anything else happens, or `undefined`, also when it is rejected. */
const soon = async <A>(promise: PromiseLike<A>): Promise<A | undefined> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, 0, undefined)
  })
  try {
    return await Promise.race([promise, late])
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

const disposeOf = async (value: any): Promise<void> => {
  await (value[Symbol.asyncDispose] ?? value[Symbol.dispose])?.call(value)
}

/** A disposal failed that nobody waits for. */
const reportDisposal = (error: unknown): void =>
  console.error("cenote: an object could not be disposed of", error)

// -----------------------------------------------------------------------------
// What a value is, and what is said of it
// -----------------------------------------------------------------------------

/** Whether a value is of a class; `false` also where it does not let itself be looked at. */
export const isA = <A>(Class: new (...args: any) => A, value: unknown): value is A => {
  try {
    return value instanceof Class
  } catch {
    return false
  }
}

/** A value that was read. A function is not meant to be: nothing could be made of it on the other side. */
export const readable = (value: unknown, name: string): unknown => {
  if (typeof value !== "function") return value
  throw new TypeError(
    `${name} is ${/^class\b/.test(String(value)) ? "a class: make instances of it with ThreadPool.proxy" : `a function: call it. (Effect.andThen and Effect.tap take ${name} for an Effect that reads it: use Effect.flatMap)`}`
  )
}

/** What to say of a member that an object does not have. */
const missing = (value: unknown, name: PropertyKey, what: string): string => {
  const known = new Set<string>()
  for (let o = Object(value); o !== null && o !== Object.prototype; o = Object.getPrototypeOf(o)) {
    for (const key of Object.getOwnPropertyNames(o)) if (key !== "constructor") known.add(key)
  }
  return `${String(name)} ${what} of ${describeClass(value)}; it has ${[...known].slice(0, 20).join(", ") || "none"}`
}

export const describeClass = (value: unknown): string => classNames(value)[0] ?? typeof value

/** Names of the classes of a value, its own first. */
const classNames = (value: unknown): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (let o = Object.getPrototypeOf(Object(value)); o !== null; o = Object.getPrototypeOf(o)) {
    const name: unknown = o.constructor?.name
    if (typeof name === "string" && name !== "Object") names.push(name)
  }
  return names
}

export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as any).then === "function"

export const isGenerator = (value: object): value is Iterator<unknown> => {
  const tag = Object.prototype.toString.call(value)
  return tag === "[object Generator]" || tag === "[object AsyncGenerator]"
}
