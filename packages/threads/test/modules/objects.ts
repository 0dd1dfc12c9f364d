/* oxlint-disable unicorn/no-thenable, typescript/no-extraneous-class -- objects are tried as they come */
// Classes whose objects live in threads.
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { isMainThread, threadId } from "node:worker_threads"

export class TooLarge extends Data.TaggedError("TooLarge")<{ readonly limit: number }> {}

/** Cells: how often it was disposed of. */
export class Counter {
  count: number
  readonly tags: Array<string>
  private readonly cells: Int32Array | undefined

  constructor(count = 0, cells?: Int32Array) {
    this.count = count
    this.tags = ["a", "b"]
    this.cells = cells
  }

  get double(): number {
    return this.count * 2
  }

  set double(value: number) {
    this.count = value / 2
  }

  increment(by = 1): number {
    this.count += by
    return this.count
  }

  where(): { readonly isMainThread: boolean; readonly threadId: number } {
    return { isMainThread, threadId }
  }

  /** Adds after a while, to what was there before: two at one time would lose an increment. */
  async slowly(by: number, millis: number): Promise<number> {
    const before = this.count
    await new Promise((resolve) => setTimeout(resolve, millis))
    this.count = before + by
    return this.count
  }

  effectfully(by: number): Effect.Effect<number, TooLarge> {
    return Effect.suspend(() =>
      by > 100 ? Effect.fail(new TooLarge({ limit: 100 })) : Effect.succeed(this.increment(by))
    )
  }

  hang(cells: Int32Array): Effect.Effect<never> {
    return Effect.sync(() => Atomics.store(cells, 0, 1)).pipe(
      Effect.andThen(Effect.never),
      Effect.onInterrupt(() => Effect.sync(() => Atomics.store(cells, 1, 1)))
    )
  }

  fail(message: string): never {
    throw new RangeError(message)
  }

  *upTo(limit: number): Generator<number> {
    for (let i = 1; i <= limit; i++) yield (this.count = i)
  }

  async *upToAsync(limit: number): AsyncGenerator<number> {
    for (let i = 1; i <= limit; i++) {
      await Promise.resolve()
      yield (this.count = i)
    }
  }

  streamed(limit: number): Stream.Stream<number> {
    return Stream.range(1, limit)
  }

  callback(): () => number {
    return () => this.count
  }

  self(): this {
    return this
  }

  async later(): Promise<this> {
    await Promise.resolve()
    return this
  }

  [Symbol.dispose](): void {
    if (this.cells !== undefined) Atomics.add(this.cells, 0, 1)
  }
}

export class AsyncCounter extends Counter {
  private readonly asyncCells: Int32Array

  constructor(cells: Int32Array) {
    super(0)
    this.asyncCells = cells
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve()
    Atomics.add(this.asyncCells, 1, 1)
  }
}

/** Its disposal fails. */
export class Sticky {
  [Symbol.dispose](): void {
    throw new Error("it does not come off")
  }

  readonly n = 1
}

export class Unborn {
  constructor(reason: string) {
    throw new RangeError(`not made: ${reason}`)
  }
}

export const notAClass = 1

export const readCount = (counter: Counter): number => counter.count
export const readNested = (given: { readonly counter: Counter; readonly more?: unknown }): number =>
  given.counter.count
export const readDeep = (given: { readonly list: ReadonlyArray<{ readonly counter: Counter }> }): number =>
  given.list.reduce((sum, { counter }) => sum + counter.count, 0)
export const isCounter = (value: unknown): boolean => value instanceof Counter
export const transfer = (from: Counter, to: Counter, amount: number): readonly [number, number] => {
  from.count -= amount
  to.count += amount
  return [from.count, to.count]
}

// -----------------------------------------------------------------------------
// Trees, for what stays in the thread
// -----------------------------------------------------------------------------

export class Leaf {
  readonly name: string
  readonly parent: Node | undefined

  constructor(name: string, parent?: Node) {
    this.name = name
    this.parent = parent
  }

  shout(): string {
    return this.name.toUpperCase()
  }

  up(): Node | undefined {
    return this.parent
  }
}

export class BigLeaf extends Leaf {}

export class Node {
  readonly name: string
  readonly leaf: Leaf
  readonly big: BigLeaf
  readonly plain = { of: "records" }
  private readonly made: Array<Leaf> = []

  constructor(name = "root") {
    this.name = name
    this.leaf = new Leaf("first", this)
    this.big = new BigLeaf("big", this)
  }

  same(): Leaf {
    return this.leaf
  }

  async sameLater(): Promise<Leaf> {
    await Promise.resolve()
    return this.leaf
  }

  sameEffect(): Effect.Effect<Leaf> {
    return Effect.succeed(this.leaf)
  }

  fresh(): Leaf {
    const leaf = new Leaf(`leaf ${this.made.length}`, this)
    this.made.push(leaf)
    return leaf
  }

  record(): { readonly answer: number } {
    return { answer: 42 }
  }

  greet(): (name: string) => string {
    return (name) => `${this.name} greets ${name}`
  }

  iterator(): Iterator<number> {
    return [1, 2][Symbol.iterator]()
  }

  nothing(): null {
    return null
  }

  text(): string {
    return "text"
  }

  nameOf(leaf: Leaf): string {
    return leaf.name
  }

  isOwn(leaf: unknown): boolean {
    return leaf === this.leaf
  }
}

// -----------------------------------------------------------------------------
// Objects of special kinds
// -----------------------------------------------------------------------------

/** A list that can be read by its index, and that counts how often it was iterated over. */
export class Numbers extends Array<number> {
  runs = 0;

  override *[Symbol.iterator](): ArrayIterator<number> {
    this.runs++
    for (let i = 0; i < this.length; i++) yield this[i]!
  }
}

export class Ticker {
  private readonly cells: Int32Array

  constructor(cells: Int32Array) {
    this.cells = cells
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number> {
    try {
      while (true) {
        if (Atomics.add(this.cells, 0, 1) % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 0))
        yield Atomics.load(this.cells, 0)
      }
    } finally {
      Atomics.add(this.cells, 1, 1)
    }
  }
}

/** Called by its method `call`. */
export class Adder {
  private readonly base: number

  constructor(base: number) {
    this.base = base
  }

  call(n: number): number {
    if (n < 0) throw new RangeError("below zero")
    return this.base + n
  }
}

/** Called by its method `call`, which is a generator. */
export class Counting {
  *call(limit: number): Generator<number> {
    for (let i = 1; i <= limit; i++) yield i
  }
}

/** An object that is a function. */
export class Multiplier {
  readonly factor: number = 0

  constructor(factor: number) {
    const multiply = (n: number): number => n * factor
    // oxlint-disable-next-line no-constructor-return
    return Object.assign(multiply, { factor })
  }
}

/** An object that is entered and left. */
export class Session {
  private readonly log: Array<string> = []

  enter(): string {
    this.log.push("enter")
    return "entered"
  }

  exit(): ReadonlyArray<string> {
    this.log.push("exit")
    return this.log
  }

  next(): number {
    return this.log.push("next")
  }
}

/** Members with names that mean something to others. */
export class Awkward {
  pipe(value: number): string {
    return `pipe ${value}`
  }
  then(value: number): string {
    return `then ${value}`
  }
  toJSON(): string {
    return "toJSON"
  }
  toString(): string {
    return "toString"
  }
  valueOf(): number {
    return 7
  }
  call(value: number): string {
    return `call ${value}`
  }
  apply(value: number): string {
    return `apply ${value}`
  }
  bind(value: number): string {
    return `bind ${value}`
  }
  asEffect(): string {
    return "asEffect"
  }
  get name(): string {
    return "a name"
  }
  get length(): number {
    return 99
  }
  get prototype(): string {
    return "a prototype"
  }
  get channel(): string {
    return "a channel"
  }
  get read(): string {
    return "a read"
  }
  get _tag(): string {
    return "a tag"
  }
}
