import type { Task } from "../Task.ts"
import { findUncloneable, markMoved, takeMarks, transferablesIn } from "./clone.ts"
import type * as HostEffects from "./hostEffects.ts"
import {
  beganAt,
  Cell,
  cellOf,
  type Config,
  type Extra,
  FromThread,
  type FunctionSpec,
  noSlot,
  realTime,
  Status,
  type Target,
  ToThread,
  type Wrap
} from "./protocol.ts"
import { encodeError } from "./wire.ts"

/** What a host needs from where it runs. */
export interface Environment {
  readonly post: (message: ReadonlyArray<unknown>, transfer: ReadonlyArray<object>) => void
  /** Bytes, where that can be known. */
  readonly heapUsed: (() => number) | undefined
  /** Whether a nested call may use shared memory to see that it was aborted. */
  readonly now: () => number
}

/** Replies do not wait for others longer than this before the next task begins, in milliseconds. */
const replyWithin = 0.1

/** What is left of an object's estimate after each shorter call. */
const fading = 0.9

/** Pauses between two readings of the heap, in milliseconds. */
const heapPause = 100

/** A pull ends after so many items, or so many milliseconds. */
const pullLimits = { items: 256, millis: 5 }

/** The task that runs at this moment, for `Task.current`. */
const holder: { task: Task | undefined } = ((globalThis as any)[Symbol.for("~cenote/threads/task")] ??= {
  task: undefined
})

/**
 * The thread's side: runs what the pool sends, and replies. Without Effect, so that a thread that has no use for it
 * starts fast and stays small; what an Effect needs is loaded with the first one.
 */
export class Host {
  private config: Config = {
    thread: 0,
    memory: undefined,
    concurrency: 1,
    preload: [],
    epoch: 0,
    taskTimeout: undefined,
    tellHeap: false
  }
  /** Shared with the pool; `undefined` where memory cannot be shared. */
  private memory: Int32Array | undefined = undefined
  /** Calls that have not begun, from `first` on. */
  private waiting: Array<Call> = []
  private first = 0
  /** Tasks under way that are not on an object. Never more than `concurrency`. */
  private running = 0
  /** Tasks that have begun and not ended, by slot, except a synchronous one. */
  private readonly active = new Map<number, Activity>()
  private readonly functions = new Map<number, KnownFunction>()
  private readonly modules = new Map<string, Promise<Record<string, unknown>>>()
  private readonly objects = new Map<number, ObjectEntry>()
  /** What is being disposed of. */
  private readonly disposing = new Set<Promise<void>>()
  /** Numbers of the objects that stay here, so that none gets two. */
  private readonly numbers = new WeakMap<object, number>()
  private lastObject = 0
  /** Replies that were not sent. */
  private replies: Array<unknown> = []
  private transfers: Array<object> = []
  /** Whether a reply has an object for its value. */
  private holdsObject = false
  private repliedAt = 0
  private flushing = false
  private heapAt = 0
  private effects: typeof HostEffects | undefined = undefined
  /** Whether it has told the pool that it takes calls. */
  private isReady = false

  readonly environment: Environment

  constructor(environment: Environment) {
    this.environment = environment
  }

  /** Whether nothing is under way, so that the thread may wait for the next message in its own way. */
  get isQuiet(): boolean {
    return this.active.size === 0 && this.first === this.waiting.length
  }

  get sharedMemory(): Int32Array | undefined {
    return this.memory
  }

  /** Takes a message, and begins what it can. Whoever calls it is to {@link flush} when there is no other message. */
  receive(message: ReadonlyArray<any>): void {
    const arrived = this.environment.now()
    for (let i = 0; i < message.length;) {
      switch (message[i]) {
        case ToThread.call: {
          const end: number = i + 5 + message[i + 4]
          const call: Call = {
            slot: message[i + 1],
            target: message[i + 2],
            extra: message[i + 3],
            args: message.slice(i + 5, end),
            known: typeof message[i + 2] === "number" ? this.functions.get(message[i + 2]) : undefined,
            arrived
          }
          if (typeof call.target === "object" && call.target.op !== "create") this.callObject(call)
          else this.waiting.push(call)
          i = end
          break
        }
        case ToThread.define:
          this.functions.set(message[i + 1], { spec: message[i + 2], compiled: undefined })
          i += 3
          break
        case ToThread.forget:
          this.functions.clear()
          i += 1
          break
        case ToThread.abort:
          this.abort(message[i + 1])
          i += 2
          break
        case ToThread.release:
          this.release(message[i + 1], message[i + 2])
          i += 3
          break
        case ToThread.configure:
          this.configure(message[i + 1])
          i += 2
          break
        default:
          throw new Error(`a message for a thread has an unknown operation: ${String(message[i])}`)
      }
    }
    this.work()
  }

  // ---------------------------------------------------------------------------
  // Start
  // ---------------------------------------------------------------------------

  private configure(config: Config): void {
    this.config = config
    const { memory } = config
    this.memory =
      typeof SharedArrayBuffer !== "undefined" && memory instanceof SharedArrayBuffer
        ? new Int32Array(memory)
        : undefined
    const ready = () => {
      this.isReady = true
      this.say(FromThread.ready, this.memory !== undefined)
    }
    if (config.preload.length === 0) return ready()
    Promise.all(config.preload.map((url) => this.load(url))).then(ready, (error) =>
      this.say(FromThread.failedToStart, encodeError(error))
    )
  }

  private load(url: string): Promise<Record<string, unknown>> {
    let module = this.modules.get(url)
    if (module === undefined) {
      module = importModule(url)
      this.modules.set(url, module)
      // It may be there another time.
      module.catch(() => this.modules.delete(url))
    }
    return module
  }

  // ---------------------------------------------------------------------------
  // Calls
  // ---------------------------------------------------------------------------

  /** Begins what may begin. */
  private work(): void {
    while (this.first < this.waiting.length && this.running < this.config.concurrency) {
      const call = this.waiting[this.first]!
      this.waiting[this.first++] = undefined!
      this.begin(call, undefined)
    }
    if (this.first === this.waiting.length) {
      this.waiting.length = this.first = 0
    }
  }

  /** Calls on one object run one after the other, in the order in which they were made. */
  private callObject(call: Call): void {
    const object = this.objects.get((call.target as { readonly object: number }).object)
    if (object === undefined) return this.turnAway(call, Status.stale)
    if (object.busy) object.waiting.push(call)
    else this.begin(call, object)
  }

  private begin(call: Call, object: ObjectEntry | undefined): void {
    if (!this.claim(call)) return this.turnAway(call, Status.withdrawn)
    this.flushBefore(object)
    const activity = new Activity(this, this.config, this.memory, call, object)
    if (object !== undefined) object.busy = true
    else this.running++
    this.active.set(call.slot, activity)
    activity.enter(() => this.invoke(activity))
  }

  /** Lets replies go that would wait too long for the end of what is about to begin. */
  private flushBefore(object: ObjectEntry | undefined): void {
    if (this.replies.length === 0) return
    // The pool sends plain calls ahead only if they are short; of calls on objects it knows nothing.
    const mayTakeLong = object !== undefined && object.estimate > replyWithin
    if (mayTakeLong || this.environment.now() - this.repliedAt > replyWithin) this.flush()
  }

  private claim({ slot }: Call): boolean {
    if (this.memory === undefined) return true
    this.tellBegan(slot)
    return Atomics.compareExchange(this.memory, cellOf(slot), Cell.queued, Cell.started) === Cell.queued
  }

  /** Lets the pool see since when a task runs, if it limits that. */
  tellBegan(slot: number): void {
    if (this.memory !== undefined && this.config.taskTimeout !== undefined) {
      Atomics.store(this.memory, beganAt(slot), Math.floor(realTime() - this.config.epoch))
    }
  }

  /** What the call's target gives; a promise when something has to be loaded first. */
  private invoke(activity: Activity): unknown {
    const { args, extra, target } = activity.call
    const actual = extra?.objects === undefined ? args : this.withObjects(args, extra.objects)
    if (typeof target === "number") {
      const known = activity.call.known!
      return known.compiled === undefined
        ? this.prepare(known, activity, actual)
        : known.compiled.apply(activity, actual)
    }
    if (target.op === "create") {
      return this.load(target.url).then((module) => {
        const Class = exportOf(module, target.url, target.name)
        if (typeof Class !== "function") throw new TypeError(`${target.name} of ${target.url} is not a class`)
        const made = activity.insideLate(() => Reflect.construct(Class, actual) as object)
        return new Keep(made, { wrap: target.wrap, dispose: true })
      })
    }
    return this.about(activity, activity.object!, target, actual)
  }

  /** What something that is asked of an object gives. */
  private about(
    activity: Activity,
    object: ObjectEntry,
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
        return new Keep(new IteratorSource(iterator as Iterator<unknown>, this.environment.now), {
          stream: true
        })
      }
      case "pull":
        return (value as Source).pull(activity)
      default:
        return this.drop(object)
    }
  }

  private prepare(known: KnownFunction, activity: Activity, args: ReadonlyArray<unknown>): unknown {
    const { spec } = known
    if (spec.kind === "source") {
      known.compiled = compile(spec)
      return known.compiled.apply(activity, args)
    }
    return this.load(spec.url).then((module) => {
      const value = exportOf(module, spec.url, spec.name)
      if (spec.kind === "value") return readable(value, spec.name)
      if (typeof value !== "function") throw new TypeError(`${spec.name} of ${spec.url} is not a function`)
      known.compiled = value
      return activity.insideLate(() => value.apply(activity, args) as unknown)
    })
  }

  /** The arguments, with objects where their numbers stand. */
  private withObjects(
    args: ReadonlyArray<unknown>,
    paths: ReadonlyArray<ReadonlyArray<string | number>>
  ): ReadonlyArray<unknown> {
    for (const path of paths) {
      let place: any = args
      for (const step of path.slice(0, -1)) place = place[step]
      const last = path.at(-1)!
      const entry = this.objects.get(place[last])
      if (entry === undefined) throw new StaleObject()
      place[last] = entry.value
    }
    return args
  }

  /** A result of an object, kept here when its class or what gave it says so. */
  private wrapped(activity: Activity, object: ObjectEntry, name: PropertyKey, result: unknown): unknown {
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

  /** The slot of an activity while it is under way: later, the slot may be another's. */
  slotOf(activity: Activity): number {
    return this.isUnderWay(activity) ? activity.call.slot : noSlot
  }

  /** Whether this activity, and no later one in the same slot, is under way. */
  isUnderWay(activity: Activity): boolean {
    return this.active.get(activity.call.slot) === activity
  }

  /** Takes what a task gave, and replies when it is known what came of it. */
  settle(activity: Activity, result: unknown): void {
    try {
      this.take(activity, result)
    } catch (error) {
      // The result does not even let itself be looked at.
      this.fail(activity, error)
    }
  }

  /** The same for what the Effect of a task gave. */
  settleFinished(activity: Activity, value: unknown): void {
    try {
      this.take(activity, activity.finish === undefined ? value : activity.finish(value))
    } catch (error) {
      this.fail(activity, error)
    }
  }

  private take(activity: Activity, result: unknown): void {
    if ((typeof result !== "object" || result === null) && typeof result !== "function") {
      return result === endsLater ? undefined : this.end(activity, Status.ok, result)
    }
    if (result instanceof Keep) return this.keep(activity, result)
    if (isThenable(result)) {
      const goOn = (step: () => void) => {
        step()
        return this.resume()
      }
      result.then(
        (value) => goOn(() => this.settle(activity, value)),
        (error: unknown) => goOn(() => this.fail(activity, error))
      )
      return
    }
    if (effectKey in result || streamKey in result) return this.runEffect(activity, result)
    if (isGenerator(result)) {
      return this.keep(activity, new Keep(new IteratorSource(result, this.environment.now), { stream: true }))
    }
    this.end(activity, Status.ok, result)
  }

  private runEffect(activity: Activity, result: object): void {
    const go = (effects: typeof HostEffects): void => {
      if (effectKey in result) effects.run(this, activity, result as never)
      else effects.open(this, activity, result as never)
    }
    if (this.effects !== undefined) return go(this.effects)
    import("./hostEffects.ts").then(
      (effects) => {
        this.effects = effects
        go(effects)
        return this.resume()
      },
      (error) => {
        this.fail(activity, error)
        return this.resume()
      }
    )
  }

  fail(activity: Activity, error: unknown): void {
    if (isA(StaleObject, error)) return this.end(activity, Status.stale, undefined)
    const encoded = encodeError(error)
    const hint = activity.call.known?.spec.kind === "source" ? hintFor(error) : undefined
    this.end(activity, Status.threw, hint === undefined ? encoded : { ...encoded, hint })
  }

  end(activity: Activity, status: Status, value: unknown): void {
    const { call, object } = activity
    if (this.active.get(call.slot) !== activity) return
    const moved = takeMarks(value)
    this.active.delete(call.slot)
    // Within one message, what is the same object here is the same object there: callers must not share theirs.
    if (typeof value === "object" && value !== null) {
      if (this.holdsObject) this.flush()
      this.holdsObject = true
    }
    const now = this.environment.now()
    this.replies.push(FromThread.done, call.slot, status, value, now - activity.began, now - call.arrived)
    if (moved.length > 0) this.transfers.push(...moved)
    if (object === undefined) this.running--
    else {
      const ran = now - activity.began
      object.estimate =
        ran >= object.estimate || object.estimate === Infinity ? ran : object.estimate * fading
      this.next(object)
    }
  }

  private next(object: ObjectEntry): void {
    object.busy = false
    // A call that ends at once comes here again: the outermost goes on.
    if (object.serving) return
    object.serving = true
    while (!object.busy && object.waiting.length > 0) {
      const call = object.waiting.shift()!
      if (this.objects.get(object.number) === object) this.begin(call, object)
      else this.turnAway(call, Status.stale)
    }
    object.serving = false
    if (!object.busy && object.releasing) this.drop(object)?.catch(report)
  }

  /** Goes on after something asynchronous has ended. */
  resume(): void {
    if (this.flushing) return
    this.flushing = true
    // What ends in the same turn goes out together.
    queueMicrotask(() => {
      this.flushing = false
      this.work()
      this.flush()
    })
  }

  private abort(slot: number): void {
    const activity = this.active.get(slot)
    if (activity !== undefined) {
      activity.abort()
      const { target } = activity.call
      // The pool has given up waiting; the disposal goes on.
      if (typeof target === "object" && target.op === "dispose") this.end(activity, Status.ok, undefined)
      return
    }
    // Without shared memory, this is how the pool withdraws a call.
    if (this.memory !== undefined) return
    for (let i = this.first; i < this.waiting.length; i++) {
      const call = this.waiting[i]!
      if (call.slot !== slot) continue
      this.waiting.splice(i, 1)
      return this.turnAway(call, Status.withdrawn)
    }
    for (const { waiting } of this.objects.values()) {
      const i = waiting.findIndex((call) => call.slot === slot)
      if (i !== -1) return this.turnAway(waiting.splice(i, 1)[0]!, Status.withdrawn)
    }
  }

  // ---------------------------------------------------------------------------
  // Objects that stay
  // ---------------------------------------------------------------------------

  keep(activity: Activity, { options, value }: Keep): void {
    let number = this.numbers.get(value)
    let entry = number === undefined ? undefined : this.objects.get(number)
    if (entry === undefined) {
      number = ++this.lastObject
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
      this.objects.set(number, entry)
      this.numbers.set(value, number)
    }
    entry.sent++
    entry.releasing = false
    this.end(activity, options.stream === true ? Status.stream : Status.remote, {
      object: entry.number,
      className: describeClass(value)
    })
  }

  /** The pool has let go of an object as often as it says it received it. What is on its way keeps it here. */
  private release(number: number, received: number): void {
    const entry = this.objects.get(number)
    if (entry === undefined) return
    entry.sent -= received
    if (entry.sent > 0) return
    entry.releasing = true
    if (!entry.busy || entry.value instanceof IteratorSource) this.drop(entry)?.catch(report)
  }

  /** Forgets an object, and disposes of it if that is to be. */
  private drop(entry: ObjectEntry): Promise<void> | undefined {
    if (!this.objects.delete(entry.number)) return undefined
    this.numbers.delete(entry.value)
    if (!entry.dispose) return undefined
    const disposed = disposeOf(entry.value)
    const noted = disposed.catch(() => {}).finally(() => this.disposing.delete(noted))
    this.disposing.add(noted)
    return disposed
  }

  /** Disposes of the objects that are left, and waits until all that is disposed of is gone. */
  async close(): Promise<void> {
    for (const entry of Array.from(this.objects.values())) this.drop(entry)?.catch(report)
    while (this.disposing.size > 0) await Promise.all(this.disposing)
  }

  // ---------------------------------------------------------------------------
  // Replies
  // ---------------------------------------------------------------------------

  /** Sends something that is not the end of a call: at once, should the thread not live to see the next turn. */
  say(...operation: ReadonlyArray<unknown>): void {
    this.replies.push(...operation)
    this.flush()
  }

  /** The same together with what else there is in this turn. */
  sayLater(...operation: ReadonlyArray<unknown>): void {
    this.replies.push(...operation)
    this.resume()
  }

  /** Replies to a call that was not begun. */
  private turnAway(call: Call, status: Status): void {
    this.replies.push(FromThread.done, call.slot, status, undefined, 0, 0)
  }

  /** Sends the replies there are, in one message. */
  flush(): void {
    if (this.isReady && this.config.tellHeap) this.tellHeap()
    if (this.replies.length === 0) return
    const { replies, transfers } = this
    this.replies = []
    this.transfers = []
    this.holdsObject = false
    this.repliedAt = this.environment.now()
    try {
      this.environment.post(replies, transfers)
    } catch {
      this.flushOneByOne(replies, new Set(transfers))
    }
  }

  /** Something in the replies could not cross: finds out what, and lets the others go. */
  private flushOneByOne(replies: ReadonlyArray<any>, moved: ReadonlySet<object>): void {
    for (let i = 0; i < replies.length;) {
      const length = operands[replies[i] as number]! + 1
      const operation = replies.slice(i, i + length)
      i += length
      try {
        const own = transferablesIn(operation, "all").filter((one) => moved.has(one))
        this.environment.post(operation, [...new Set([...own, ...transferablesIn(operation, "movableOnly")])])
      } catch (error) {
        if (operation[0] !== FromThread.done) continue
        const place = findUncloneable(operation[3], "result") ?? { path: "result", found: String(error) }
        this.environment.post(operation.with(2, Status.notCloneable).with(3, place), [])
      }
    }
  }

  private tellHeap(): void {
    const now = this.environment.now()
    if (this.environment.heapUsed === undefined || now - this.heapAt < heapPause) return
    this.heapAt = now
    this.replies.push(FromThread.heap, this.environment.heapUsed())
  }
}

// -----------------------------------------------------------------------------
// Parts
// -----------------------------------------------------------------------------

/** A function that the pool calls by number. */
interface KnownFunction {
  readonly spec: FunctionSpec
  /** Compiled, or loaded. */
  compiled: Function | undefined
}

interface Call {
  readonly slot: number
  readonly target: Target
  readonly args: ReadonlyArray<unknown>
  readonly extra: Extra | undefined
  readonly known: KnownFunction | undefined
  /** When it came, in milliseconds. */
  readonly arrived: number
}

interface ObjectEntry {
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

/** Given by a task that will end its call itself. */
export const endsLater = Symbol("endsLater")

/** What a stream in the pool pulls from: some items, and whether they were the last. */
export interface Source {
  readonly pull: (activity: Activity) => unknown
}

/** A task that has begun. It is what the task sees of itself, too. */
export class Activity implements Task {
  readonly call: Call
  readonly object: ObjectEntry | undefined
  /** When its own code began, in milliseconds. */
  began: number
  readonly thread: number
  readonly host: Host
  private readonly memory: Int32Array | undefined
  private readonly taskTimeout: number | undefined
  private wasAborted = false
  private controller: AbortController | undefined = undefined
  /** What to make of what its Effect gives. */
  finish: ((value: unknown) => unknown) | undefined = undefined
  /** What else is to be done when it is aborted: interrupting its fiber. */
  onAbort: (() => void) | undefined = undefined

  constructor(
    host: Host,
    config: Config,
    memory: Int32Array | undefined,
    call: Call,
    object: ObjectEntry | undefined
  ) {
    this.host = host
    this.call = call
    this.object = object
    this.memory = memory
    this.thread = config.thread
    this.taskTimeout = config.taskTimeout
    this.began = host.environment.now()
  }

  /** Runs the first, synchronous part of the task. */
  enter(task: () => unknown): void {
    let result: unknown
    try {
      result = this.inside(task)
    } catch (error) {
      return this.host.fail(this, error)
    }
    this.host.settle(this, result)
  }

  /** {@link inside} after something had to be loaded for it, which is not its own time. */
  insideLate<A>(task: () => A): A {
    this.began = this.host.environment.now()
    if (this.host.isUnderWay(this)) this.host.tellBegan(this.call.slot)
    return this.inside(task)
  }

  inside<A>(task: () => A): A {
    const outer = holder.task
    holder.task = this
    try {
      return task()
    } finally {
      holder.task = outer
    }
  }

  get deadline(): number | undefined {
    return this.taskTimeout === undefined
      ? undefined
      : Date.now() + this.taskTimeout - (this.host.environment.now() - this.began)
  }

  get span(): Task["span"] {
    return this.call.extra?.span
  }

  get aborted(): boolean {
    if (
      !this.wasAborted &&
      this.memory !== undefined &&
      Atomics.load(this.memory, cellOf(this.call.slot)) === Cell.aborted &&
      this.host.isUnderWay(this)
    ) {
      this.abort()
    }
    return this.wasAborted
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      const { signal } = this.controller
      const native = (): boolean => Reflect.get(AbortSignal.prototype, "aborted", signal)
      // A loop that never gives up the thread gets no event: asking must look into the shared memory.
      Object.defineProperty(signal, "aborted", {
        get: () => this.aborted || native()
      })
      if (this.aborted) this.controller.abort(abortReason())
    }
    return this.controller.signal
  }

  move<A>(value: A): A {
    return markMoved(value)
  }

  abort(): void {
    if (this.wasAborted) return
    this.wasAborted = true
    this.controller?.abort(abortReason())
    this.onAbort?.()
  }
}

const abortReason = (): DOMException => new DOMException("nobody waits for this task any more", "AbortError")

class StaleObject extends Error {}

/** Pulls from an iterator. */
class IteratorSource implements Source {
  private readonly iterator: Iterator<unknown> | AsyncIterator<unknown>
  private readonly now: () => number
  /** A step that was begun, and had not ended when the last pull gave what it had. */
  private pending: PromiseLike<IteratorResult<unknown>> | undefined = undefined
  private ended = false
  private failure: { readonly error: unknown } | undefined = undefined

  constructor(iterator: Iterator<unknown> | AsyncIterator<unknown>, now: () => number) {
    this.iterator = iterator
    this.now = now
  }

  pull(activity: Activity): unknown {
    const items: Array<unknown> = []
    const until = this.now() + pullLimits.millis
    if (this.failure !== undefined) throw this.failure.error
    while (!this.ended && items.length < pullLimits.items && this.now() < until && !activity.aborted) {
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
        const pulled = this.pullAsync(items, until, step)
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
    until: number,
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
      if (this.ended || items.length >= pullLimits.items || this.now() >= until) return [items, this.ended]
      step = Promise.resolve(this.iterator.next() as PromiseLike<IteratorResult<unknown>>)
    }
  }

  private take(result: IteratorResult<unknown>, items: Array<unknown>): void {
    if (result.done === true) this.ended = true
    else items.push(result.value)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return
    const returned = this.iterator.return?.()
    // An asynchronous generator only hears of it after the step that it is in, which may never end.
    if (this.pending === undefined) await returned
    else Promise.resolve(returned).catch(report)
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

// -----------------------------------------------------------------------------
// Helpers
// -----------------------------------------------------------------------------

/** Number of operands, by tag. */
const operands: Record<number, number> = {
  [FromThread.ready]: 1,
  [FromThread.failedToStart]: 1,
  [FromThread.done]: 5,
  [FromThread.log]: 2,
  [FromThread.span]: 2,
  [FromThread.heap]: 1
}

/**
 * Loads a module. One that is named as in the sources (`hash.ts`) is found as what the compiler made of it (`hash.js`),
 * since a compiler does not rewrite addresses.
 */
const importModule = (url: string): Promise<Record<string, unknown>> =>
  importAny(url).catch((error: unknown) => {
    const compiled = url.replace(/\.(m?)ts$/, ".$1js")
    if (compiled === url || !isNotThere(error, url)) throw error
    return importAny(compiled).catch((other: unknown) => {
      throw isNotThere(other, compiled) ? error : other
    })
  })

const importAny = (url: string): Promise<Record<string, unknown>> =>
  import(/* @vite-ignore */ /* webpackIgnore: true */ url)

/** Whether it is this module that was not found, or that Node does not compile; and not one that it imports. */
const isNotThere = (error: unknown, url: string): boolean => {
  const { code, url: missing } = error as { readonly code?: string; readonly url?: string }
  return (
    (code === "ERR_MODULE_NOT_FOUND" && missing === url) ||
    code === "ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING"
  )
}

const effectKey = "~effect/Effect"
const streamKey = "~effect/Stream"

/** The method of an object that is not a function by which it is called: as `__call__` in Python (EV-100). */
const callKey = "call"

const isA = <A>(Class: new (...args: any) => A, value: unknown): value is A => {
  try {
    return value instanceof Class
  } catch {
    return false
  }
}

/** What to do about a failure of a function that came by its source. */
const hintFor = (error: unknown): string | undefined => {
  if (unusable.has(error as object))
    return "Wrap it in an arrow function, or put it into a module and use ThreadPool.module"
  const unknownName = isA(ReferenceError, error)
    ? /^(\S+) is not defined$/.exec(error.message)?.[1]
    : undefined
  return unknownName === undefined
    ? undefined
    : `Only the source of the function is sent, and ${unknownName} is not in it. ` +
        "Pass it as an argument, or put the function into a module and use ThreadPool.module"
}

/** What a function was refused with that cannot be sent by its source. */
const unusable = new WeakSet<object>()

const refuse = (message: string): never => {
  const error = new TypeError(message)
  unusable.add(error)
  throw error
}

/**
 * Around a source: strict as modules are, so that an assignment to a name that is not there fails; and with what esbuild
 * (and so tsx) puts around inner functions to keep their names.
 */
const within = (expression: string): string =>
  `(() => { "use strict"; const __name = (f) => f; return ${expression} })()`

/** Compiles a function from its source, also when it was written as a method. */
const compile = ({ name, source }: { readonly name: string; readonly source: string }): Function => {
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source)) {
    refuse(`${name} is native or bound, and has no source that could be sent`)
  }
  if (/^class\b/.test(source)) refuse(`${name} is a class, and a class cannot be called by its source`)
  // The pool's own program wrote it: this is what `execute` is. Indirect, so that it sees globals alone.
  // oxlint-disable-next-line no-eval
  const evaluate = globalThis.eval
  let compiled: unknown
  try {
    compiled = evaluate(within(`(${source}\n)`))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    const [method] = Object.values(evaluate(within(`({${source}\n})`)) as Record<string, unknown>)
    compiled = method
  }
  if (typeof compiled !== "function") return refuse(`the source of ${name} is not that of a function`)
  return compiled
}

const exportOf = (module: Record<string, unknown>, url: string, name: string): unknown => {
  if (name in module) return module[name]
  throw new TypeError(`${url} has no export ${name}; it has ${Object.keys(module).join(", ") || "none"}`)
}

/** A value that was read. A function is not meant to be: nothing could be made of it on the other side. */
const readable = (value: unknown, name: string): unknown => {
  if (typeof value !== "function") return value
  throw new TypeError(
    `${name} is ${/^class\b/.test(String(value)) ? "a class: make instances of it with ThreadPool.proxy" : `a function: call it. (Effect.andThen and Effect.tap take ${name} for an Effect that reads it: use Effect.flatMap)`}`
  )
}

const missing = (value: unknown, name: PropertyKey, what: string): string => {
  const known = new Set<string>()
  for (let o = Object(value); o !== null && o !== Object.prototype; o = Object.getPrototypeOf(o)) {
    for (const key of Object.getOwnPropertyNames(o)) if (key !== "constructor") known.add(key)
  }
  return `${String(name)} ${what} of ${describeClass(value)}; it has ${[...known].slice(0, 20).join(", ") || "none"}`
}

const describeClass = (value: unknown): string => classNames(value)[0] ?? typeof value

/** Names of the classes of a value, its own first. */
const classNames = (value: unknown): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (let o = Object.getPrototypeOf(Object(value)); o !== null; o = Object.getPrototypeOf(o)) {
    const name: unknown = o.constructor?.name
    if (typeof name === "string" && name !== "Object") names.push(name)
  }
  return names
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as any).then === "function"

const isGenerator = (value: object): value is Iterator<unknown> => {
  const tag = Object.prototype.toString.call(value)
  return tag === "[object Generator]" || tag === "[object AsyncGenerator]"
}

const disposeOf = async (value: any): Promise<void> => {
  await (value[Symbol.asyncDispose] ?? value[Symbol.dispose])?.call(value)
}

const report = (error: unknown): void => console.error("cenote: an object could not be disposed of", error)
