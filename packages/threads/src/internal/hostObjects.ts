import type { Activity, Call } from "./hostActivity.ts"
import { IteratorSource, type Source } from "./hostSources.ts"
import {
  classNames,
  describeClass,
  effectKey,
  isGenerator,
  isThenable,
  missing,
  readable,
  reportDisposal,
  streamKey
} from "./hostValues.ts"
import type { Target, Wrap } from "./protocol.ts"

/** The method of an object that is not a function by which it is called: as `__call__` in Python (EV-100). */
const callKey = "call"

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

const disposeOf = async (value: any): Promise<void> => {
  await (value[Symbol.asyncDispose] ?? value[Symbol.dispose])?.call(value)
}
