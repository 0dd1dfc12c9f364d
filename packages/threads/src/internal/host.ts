import type { Task } from "../Task.ts"
import { markMoved, takeMarks } from "./clone.ts"
import type * as HostEffects from "./hostEffects.ts"
import { exportOf, Functions, hintFor, type KnownFunction } from "./hostFunctions.ts"
import {
  describeClass,
  effectKey,
  isA,
  isGenerator,
  isThenable,
  IteratorSource,
  Keep,
  type KeptObject,
  KeptObjects,
  StaleObject,
  streamKey
} from "./hostObjects.ts"
import { Replies } from "./hostReplies.ts"
import {
  beganAt,
  Cell,
  cellOf,
  type Config,
  type Extra,
  FromThread,
  noSlot,
  realTime,
  Status,
  type Target,
  ToThread
} from "./protocol.ts"
import { encodeError } from "./wire.ts"

/** What a host needs from where it runs. */
export interface Environment {
  readonly post: (message: ReadonlyArray<unknown>, transfer: ReadonlyArray<object>) => void
  /** Bytes, where that can be known. */
  readonly heapUsed: (() => number) | undefined
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** What the pool has sent to be run. */
export interface Call {
  readonly slot: number
  readonly target: Target
  readonly args: ReadonlyArray<unknown>
  readonly extra: Extra | undefined
  readonly known: KnownFunction | undefined
}

/** Given by a task that will end its call itself. */
export const endsLater = Symbol("endsLater")

/** What is left of an object's estimate after each shorter call. */
const fading = 0.9

/** The task that runs at this moment, for `Task.current`. */
const holder: { task: Task | undefined } = ((globalThis as any)[Symbol.for("~cenote/threads/task")] ??= {
  task: undefined
})

/**
 * The thread's side: runs what the pool sends, and replies. Without Effect, so that a thread that has no use for it
 * starts fast and stays small; what an Effect needs is loaded with the first one.
 *
 * Here calls are begun, and here it is seen what they come to. Functions, objects, and what is to be sent are kept by
 * parts of their own.
 */
export class Host {
  /** As the pool has told it; these until then. */
  private config: Config = {
    thread: 0,
    memory: undefined,
    concurrency: 1,
    preload: [],
    references: [],
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
  /** Whether {@link resume} is about to go on. */
  private resuming = false
  /** Loaded with the first Effect or Stream that a task gives. */
  private effects: typeof HostEffects | undefined = undefined

  private readonly functions = new Functions()
  private readonly objects: KeptObjects
  private readonly replies: Replies

  readonly environment: Environment

  constructor(environment: Environment) {
    this.environment = environment
    this.objects = new KeptObjects(environment.now)
    this.replies = new Replies(environment)
  }

  /** Whether nothing is under way, so that the thread may wait for the next message in its own way. */
  get isQuiet(): boolean {
    return this.active.size === 0 && this.first === this.waiting.length
  }

  get references(): ReadonlyArray<string> {
    return this.config.references
  }

  get sharedMemory(): Int32Array | undefined {
    return this.memory
  }

  /** Takes a message, and begins what it can. Whoever calls it is to {@link flush} when there is no other message. */
  receive(message: ReadonlyArray<any>): void {
    for (let i = 0; i < message.length;) {
      switch (message[i]) {
        case ToThread.call: {
          const end: number = i + 5 + message[i + 4]
          const call: Call = {
            slot: message[i + 1],
            target: message[i + 2],
            extra: message[i + 3],
            args: message.slice(i + 5, end),
            known: typeof message[i + 2] === "number" ? this.functions.get(message[i + 2]) : undefined
          }
          if (typeof call.target === "object" && call.target.op !== "create") this.callObject(call)
          else this.waiting.push(call)
          i = end
          break
        }
        case ToThread.define:
          this.functions.define(message[i + 1], message[i + 2])
          i += 3
          break
        case ToThread.forget:
          this.functions.forgetAll()
          i += 1
          break
        case ToThread.abort:
          this.abort(message[i + 1])
          i += 2
          break
        case ToThread.release:
          this.objects.release(message[i + 1], message[i + 2])
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
      this.replies.tellsHeap = config.tellHeap
      this.say(FromThread.ready, this.memory !== undefined)
    }
    if (config.preload.length === 0) return ready()
    Promise.all(config.preload.map((url) => this.functions.load(url))).then(ready, (error) =>
      this.say(FromThread.failedToStart, encodeError(error))
    )
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

  private begin(call: Call, object: KeptObject | undefined): void {
    if (!this.claim(call)) return this.turnAway(call, Status.withdrawn)
    // The pool sends plain calls ahead only if they are short; of calls on objects it knows nothing.
    this.replies.flushBefore(object === undefined ? 0 : object.estimate)
    const activity = new Activity(this, this.config, this.memory, call, object)
    if (object !== undefined) object.busy = true
    else this.running++
    this.active.set(call.slot, activity)
    activity.enter(() => this.invoke(activity))
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
    const actual = extra?.objects === undefined ? args : this.objects.withObjects(args, extra.objects)
    if (typeof target === "number") {
      const known = activity.call.known!
      return known.compiled === undefined
        ? this.functions.prepare(known, activity, actual)
        : known.compiled.apply(activity, actual)
    }
    if (target.op === "create") {
      return this.functions.load(target.url).then((module) => {
        const Class = exportOf(module, target.url, target.name)
        if (typeof Class !== "function") throw new TypeError(`${target.name} of ${target.url} is not a class`)
        const made = activity.insideLate(() => Reflect.construct(Class, actual) as object)
        return new Keep(made, { wrap: target.wrap, dispose: true })
      })
    }
    return this.objects.ask(activity, activity.object!, target, actual)
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

  /** Keeps what a task gave in the thread, and tells the pool its number. */
  keep(activity: Activity, kept: Keep): void {
    const { number } = this.objects.keep(kept)
    this.end(activity, kept.options.stream === true ? Status.stream : Status.remote, {
      object: number,
      className: describeClass(kept.value)
    })
  }

  /** A task, or what was to be done for it, threw. */
  fail(activity: Activity, error: unknown): void {
    if (isA(StaleObject, error)) return this.end(activity, Status.stale, undefined)
    const encoded = encodeError(error)
    const hint = activity.call.known?.spec.kind === "source" ? hintFor(error) : undefined
    this.end(activity, Status.threw, hint === undefined ? encoded : { ...encoded, hint })
  }

  /** A task has ended: replies, unless that was done before. */
  end(activity: Activity, status: Status, value: unknown): void {
    const { call, object } = activity
    if (this.active.get(call.slot) !== activity) return
    const moved = takeMarks(value)
    this.active.delete(call.slot)
    this.replies.keepApart(value)
    const now = this.environment.now()
    this.replies.done(call.slot, status, value, now - activity.began)
    if (moved.length > 0) this.replies.move(moved)
    if (object === undefined) this.running--
    else {
      const ran = now - activity.began
      object.estimate =
        ran >= object.estimate || object.estimate === Infinity ? ran : object.estimate * fading
      this.next(object)
    }
  }

  private next(object: KeptObject): void {
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
    if (!object.busy && object.releasing) this.objects.discard(object)
  }

  /** Goes on after something asynchronous has ended. */
  resume(): void {
    if (this.resuming) return
    this.resuming = true
    // What ends in the same turn goes out together.
    queueMicrotask(() => {
      this.resuming = false
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
    const waiting = this.objects.withdraw(slot)
    if (waiting !== undefined) this.turnAway(waiting, Status.withdrawn)
  }

  // ---------------------------------------------------------------------------
  // Replies
  // ---------------------------------------------------------------------------

  /** Sends something that is not the end of a call: at once, should the thread not live to see the next turn. */
  say(...operation: ReadonlyArray<unknown>): void {
    this.replies.tell(operation)
    this.replies.flush()
  }

  /** The same together with what else there is in this turn. */
  sayLater(...operation: ReadonlyArray<unknown>): void {
    this.replies.tell(operation)
    this.resume()
  }

  /** Replies to a call that was not begun. */
  private turnAway(call: Call, status: Status): void {
    this.replies.done(call.slot, status, undefined, 0)
  }

  /** Sends the replies there are, in one message. */
  flush(): void {
    this.replies.flush()
  }

  /** Disposes of the objects that are left, and waits until all that is disposed of is gone. */
  close(): Promise<void> {
    return this.objects.close()
  }
}

/** A task that has begun. It is what the task sees of itself, too. */
export class Activity implements Task {
  readonly call: Call
  readonly object: KeptObject | undefined
  /** When its own code began, in milliseconds. */
  began: number
  readonly thread: number
  readonly host: Host
  private readonly memory: Int32Array | undefined
  private readonly taskTimeout: number | undefined
  /** Whether it knows that nobody waits for it. */
  private wasAborted = false
  /** Made when the task first asks for its signal. */
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
    object: KeptObject | undefined
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
