/**
 * What threads run that are no threads: the test runs in the same one, and both see the {@link Workshop} that is in
 * `globalThis.workshop`. Functions that are sent by their source see globals alone.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** Tasks that end when a test says so, and what has become of them. */
export class Workshop {
  readonly begun: Array<unknown> = []
  readonly disposed: Array<unknown> = []
  readonly waiting = new Map<
    unknown,
    { readonly resolve: (value: unknown) => void; readonly reject: (error: unknown) => void }
  >()

  /** A task that ends when the test says so. */
  later(id: unknown): Promise<unknown> {
    this.begun.push(id)
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }))
  }

  /** Ends a task, with its id. */
  end(id: unknown): void {
    const task = this.waiting.get(id)
    this.waiting.delete(id)
    task?.resolve(id)
  }
}

declare global {
  // oxlint-disable-next-line no-var
  var workshop: Workshop
}

export const answer = 42

export const double = (n: number): number => n * 2

export const later = (id: string) => globalThis.workshop.later(id)

export const laterOrNow = (id: string | undefined) =>
  id === undefined ? undefined : globalThis.workshop.later(id)

export const doubled = (n: number) => Effect.as(Effect.yieldNow, n * 2)

export class Refused extends Data.TaggedError("Refused")<{ readonly why: string }> {}

export const refuses = (why: string) => Effect.fail(new Refused({ why }))

/** An effect that waits until it is interrupted. */
export const waits = (id: unknown) =>
  Effect.onInterrupt(Effect.never, () => Effect.sync(() => globalThis.workshop.disposed.push(id)))

export function* count(to: number) {
  for (let i = 1; i <= to; i++) yield i
}

export async function* countLater(to: number) {
  for (let i = 1; i <= to; i++) yield await i
}

export const streamOf = (to: number) => Stream.range(1, to)

/** Has a friend, and itself, to give. */
export class Thing {
  readonly id: unknown
  readonly friend: Thing | undefined
  constructor(id: unknown, friend?: unknown) {
    this.id = id
    this.friend = friend === undefined ? undefined : new Thing(friend)
  }
  name() {
    return this.id
  }
  self() {
    return this
  }
  later(id: unknown) {
    return globalThis.workshop.later(id)
  }
  async selfLater(id: unknown) {
    await globalThis.workshop.later(id)
    return this
  }
  asyncFriend() {
    return Promise.resolve(this.friend)
  }
  knows(other: unknown) {
    return other === this ? "me" : other instanceof Thing ? other.id : "nobody"
  }
  *[Symbol.iterator]() {
    yield this.id
    yield this.friend?.id
  }
  [Symbol.dispose]() {
    globalThis.workshop.disposed.push(this.id)
  }
}

export const nameOf = (thing: Thing) => thing.id
