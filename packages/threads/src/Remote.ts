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
import { whyStale } from "./internal/objects.ts"
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
export type Remote<A, Wrapped = never, Name extends string = never> = {
  readonly [K in keyof A as K extends string ? K : never]-?: 0 extends 1 & A[K]
    ? any
    : [NonNullable<A[K]>] extends [never]
      ? Result<A[K]>
      : NonNullable<A[K]> extends (...args: infer Args extends ReadonlyArray<any>) => infer B
        ? (...args: Arguments<Args>) => MemberResult<B, Wrapped, Name, K>
        : MemberResult<A[K], Wrapped, Name, K>
} & RemoteObject<A, Wrapped, Name>

/** A remote where the name of the member or the class of the result says so, and else what any call gives. */
type MemberResult<B, Wrapped, Name extends string, K> =
  IsWrapped<B, Wrapped, Name, K> extends true
    ? Effect.Effect<Remote<Value<B>, Wrapped, Name>, ErrorOf<B> | ThreadError>
    : Result<B>

/** Where it is not known which names and classes are wrapped (`string`, `unknown`), none are taken to be. */
type IsWrapped<B, Wrapped, Name extends string, K> = [K] extends [Name]
  ? string extends Name
    ? false
    : true
  : [Value<B>] extends [never]
    ? false
    : unknown extends Wrapped
      ? false
      : [Value<B>] extends [Wrapped]
        ? true
        : false

/** What a member comes to in the end. */
type Value<B> = B extends Effect.Effect<infer A, any, any> ? A : Awaited<B>
type ErrorOf<B> = B extends Effect.Effect<any, infer E, any> ? E : never

/**
 * What all remotes have in common. Can be handed to calls in place of the object.
 *
 * @category models
 * @since 0.1.0
 */
export interface RemoteObject<out A, out Wrapped = unknown, out Name extends string = string> {
  readonly "~cenote/threads/Remote": (_: never) => readonly [A, Wrapped, Name]
}

/** How an object is called: as a function, or by its method `call`. */
type Callable<A> = unknown extends A
  ? { readonly args: ReadonlyArray<any>; readonly result: any }
  : A extends (...args: infer Args extends ReadonlyArray<any>) => infer B
    ? { readonly args: Args; readonly result: B }
    : A extends { call: (...args: infer Args extends ReadonlyArray<any>) => infer B }
      ? { readonly args: Args; readonly result: B }
      : never

type Item<A> = A extends Iterable<infer I> | AsyncIterable<infer I> ? I : unknown

const inside = (remote: unknown): Inside => {
  const found = insideOf(remote)
  if (found === undefined)
    throw new TypeError(
      `a remote was expected, not ${remote === null ? "null" : `a value of type ${typeof remote}`}`
    )
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
 * Whether the object is still there: not released, and its thread neither ended nor in quarantine. Where it says no, a
 * call would fail with `StaleRemote`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isAlive = (self: RemoteObject<unknown>): boolean => {
  const { core, handle } = inside(self)
  return whyStale(core, handle) === undefined
}

/**
 * Reads a property, or the element at an index.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = <A, K extends keyof A, Wrapped = never, Name extends string = never>(
  self: RemoteObject<A, Wrapped, Name>,
  name: K
): MemberResult<A[K], Wrapped, Name, K> => propertyRead(inside(self), name) as never

/**
 * Assigns to a property, or to the element at an index.
 *
 * @category operations
 * @since 0.1.0
 */
export const set = <A, K extends keyof A>(
  self: RemoteObject<A>,
  name: K,
  value: A[K]
): Effect.Effect<void, ThreadError> => {
  const { className, handle } = inside(self)
  return about(self, { op: "set", object: handle.object, name }, `${className}.${String(name)} =`, [
    value
  ]) as never
}

/**
 * Calls an object that is a function, or that has a method `call`.
 *
 * @category operations
 * @since 0.1.0
 */
export const call = <A, Wrapped = never, Name extends string = never>(
  self: RemoteObject<A, Wrapped, Name>,
  ...args: Arguments<Callable<A>["args"]>
): MemberResult<Callable<A>["result"], Wrapped, Name, "()"> => {
  const { className, handle } = inside(self)
  return about(self, { op: "apply", object: handle.object, name: "" }, className, args) as never
}

/**
 * Calls a method by its name, also one whose name cannot be written as a member of a remote, such as `then`.
 *
 * @category operations
 * @since 0.1.0
 */
export const invokeMethod = <A, K extends keyof A, Wrapped = never, Name extends string = never>(
  self: RemoteObject<A, Wrapped, Name>,
  name: K,
  ...args: A[K] extends (...args: infer Args extends ReadonlyArray<any>) => any ? Arguments<Args> : never
): A[K] extends (...args: any) => infer B ? MemberResult<B, Wrapped, Name, K> : never =>
  methodCall(inside(self), name, args) as never

/**
 * What an iterable object gives, fetched in batches. Each run of the Stream begins anew.
 *
 * @category operations
 * @since 0.1.0
 */
export const stream = <A>(self: RemoteObject<A>): Stream.Stream<Item<A>, ThreadError> => {
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
