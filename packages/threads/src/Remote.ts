/**
 * An object that lives in a thread, as `ThreadPool.proxy` gives it.
 *
 * Its methods are methods here, and give Effects, or Streams when they are generators. A property by itself is an Effect
 * that reads it. What would be ambiguous has a function in this module: {@link get}, {@link set}, {@link call},
 * {@link stream}.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { type Inside, insideOf } from "./internal/handle.ts"
import { invoke } from "./internal/invocation.ts"
import { methodCall, propertyRead } from "./internal/remotes.ts"
import type { Target } from "./internal/protocol.ts"
import type { ThreadError } from "./ThreadError.ts"
import type { Arguments, Result } from "./ThreadPool.ts"

/**
 * An object of type `A` in a thread. Its calls run there, in the order in which they are made.
 *
 * @category models
 * @since 0.1.0
 */
export type Remote<A> = {
  readonly [K in keyof A as K extends string ? K : never]: A[K] extends (...args: infer Args) => infer B
    ? (...args: Arguments<Args>) => Result<B>
    : Result<A[K]>
} & RemoteObject<A>

/**
 * What all remotes have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface RemoteObject<in out A> {
  readonly "~cenote/threads/Remote": (_: A) => A
}

type Item<A> = A extends Iterable<infer I> | AsyncIterable<infer I> ? I : unknown

const inside = (remote: unknown): Inside => {
  const found = insideOf(remote)
  if (found === undefined) throw new TypeError(`not a remote: ${String(remote)}`)
  return found
}

/**
 * Whether a value is a {@link Remote}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRemote = (u: unknown): u is Remote<unknown> => insideOf(u) !== undefined

/**
 * Reads a property, or the element at an index (EV-101).
 *
 * @category operations
 * @since 0.1.0
 */
export const get = <A, K extends keyof A>(
  self: Remote<A>,
  name: K
): Effect.Effect<Awaited<A[K]>, ThreadError> => propertyRead(inside(self), name) as never

/**
 * Assigns to a property, or to the element at an index (EV-101, EV-104).
 *
 * @category operations
 * @since 0.1.0
 */
export const set = <A, K extends keyof A>(
  self: Remote<A>,
  name: K,
  value: A[K]
): Effect.Effect<void, ThreadError> => {
  const { className, handle } = inside(self)
  return about(self, { op: "set", object: handle.object, name }, `${className}.${String(name)} =`, [
    value
  ]) as never
}

/**
 * Calls an object that is a function, or that has a method `call` (EV-100).
 *
 * @category operations
 * @since 0.1.0
 */
export const call: {
  <Args extends ReadonlyArray<unknown>, B>(
    self: Remote<(...args: Args) => B>,
    ...args: Arguments<Args>
  ): Result<B>
  <Args extends ReadonlyArray<unknown>, B>(
    self: Remote<{ call: (...args: Args) => B }>,
    ...args: Arguments<Args>
  ): Result<B>
} = (self: unknown, ...args: ReadonlyArray<unknown>): never => {
  const { className, handle } = inside(self)
  return about(self, { op: "apply", object: handle.object, name: "" }, className, args) as never
}

/**
 * Calls a method by its name, also one whose name cannot be written as a member of a remote, such as `then`.
 *
 * @category operations
 * @since 0.1.0
 */
export const invokeMethod = <A, K extends keyof A>(
  self: Remote<A>,
  name: K,
  ...args: A[K] extends (...args: infer Args) => any ? Arguments<Args> : never
): A[K] extends (...args: any) => infer B ? Result<B> : never => methodCall(inside(self), name, args) as never

/**
 * What an iterable object gives, fetched in batches (EV-103). Each run of the Stream begins anew.
 *
 * @category operations
 * @since 0.1.0
 */
export const stream = <A>(self: Remote<A>): Stream.Stream<Item<A>, ThreadError> => {
  const { className, handle } = inside(self)
  return about(
    self,
    { op: "iterate", object: handle.object, name: "" },
    `${className}[Symbol.iterator]`,
    []
  ) as never
}

const about = (self: unknown, target: Target, name: string, args: ReadonlyArray<unknown>) => {
  return invoke({ pool: inside(self), target, name, args })
}
