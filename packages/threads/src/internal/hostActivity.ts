import type { Task } from "../Task.ts"
import { markMoved } from "./clone.ts"
import type { Host } from "./host.ts"
import type { KnownFunction } from "./hostFunctions.ts"
import type { KeptObject } from "./hostObjects.ts"
import { Cell, cellOf, type Config, type Extra, type Target } from "./protocol.ts"

/** What the pool has sent to be run. */
export interface Call {
  readonly slot: number
  readonly target: Target
  readonly args: ReadonlyArray<unknown>
  readonly extra: Extra | undefined
  readonly known: KnownFunction | undefined
  /** When it came, in milliseconds. */
  readonly arrived: number
}

/** Given by a task that will end its call itself. */
export const endsLater = Symbol("endsLater")

/** The task that runs at this moment, for `Task.current`. */
const holder: { task: Task | undefined } = ((globalThis as any)[Symbol.for("~cenote/threads/task")] ??= {
  task: undefined
})

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
