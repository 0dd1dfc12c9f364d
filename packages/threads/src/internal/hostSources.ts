import type { Activity } from "./hostActivity.ts"
import { isThenable, reportDisposal } from "./hostValues.ts"

/** A pull ends after so many items, or so many milliseconds. */
const pullLimits = { items: 256, millis: 5 }

/** What a stream in the pool pulls from: some items, and whether they were the last. */
export interface Source {
  readonly pull: (activity: Activity) => unknown
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
