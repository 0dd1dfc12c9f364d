import * as Effectable from "effect/Effectable"
import type * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Handle } from "./call.ts"
import type { Core } from "./core.ts"
import { HandleKey, type Inside } from "./handle.ts"
import { type Invocation, invoke, streamVariance } from "./invocation.ts"
import type { WireRemote } from "./protocol.ts"
import type { Sendable, Thread } from "./thread.ts"

/** The remotes of a pool: one for each object that stays in a thread. */
export class Remotes {
  private readonly byThread = new WeakMap<
    Thread,
    Map<number, { readonly remote: WeakRef<object>; readonly handle: Handle }>
  >()
  private readonly core: Core
  /** Lets go of the objects whose remotes are garbage. */
  private readonly sweeper: FinalizationRegistry<Handle>

  constructor(core: Core) {
    this.core = core
    this.sweeper = new FinalizationRegistry((handle) => this.release(handle))
  }

  /** The remote for an object that a thread has sent: the same one for as long as somebody has it. */
  received(thread: Thread, wire: WireRemote): object {
    let known = this.byThread.get(thread)
    if (known === undefined) {
      known = new Map()
      this.byThread.set(thread, known)
    }
    const entry = known.get(wire.object)
    if (entry !== undefined && !entry.handle.released) {
      entry.handle.received++
      const remote = entry.remote.deref()
      if (remote !== undefined) return remote
    }
    // A remote that is garbage, and that the sweeper has not come to: its handle is released in its own time.
    const handle: Handle = { thread, object: wire.object, received: 1, owners: 0, released: false }
    if (entry !== undefined && !entry.handle.released) entry.handle.received--
    thread.objects++
    const remote = makeRemote({ core: this.core, handle, className: wire.className })
    known.set(wire.object, { remote: new WeakRef(remote), handle })
    this.sweeper.register(remote, handle)
    return remote
  }

  private release(handle: Handle): void {
    this.forget(handle)
    this.core.objects.letGo(handle)
  }

  forget(handle: Handle): void {
    const known = this.byThread.get(handle.thread)
    if (known?.get(handle.object)?.handle === handle) known.delete(handle.object)
  }
}

/** A member of a remote: called it is a method, by itself it is the property's value. */
const makeRemote = (inside: Inside): object => {
  const members = new Map<string, unknown>()
  const text = `Remote<${inside.className}>`
  // A function, so that it can be called; with a name, for those who print it.
  const target = Object.defineProperty(() => {}, "name", { value: text })
  const refuse = (): never => {
    throw new TypeError(
      `what is done to a ${text} does not reach the object in its thread: use Remote.set(remote, name, value)`
    )
  }
  return new Proxy(target, {
    get(_, key) {
      if (key === HandleKey) return inside
      if (key === Symbol.toStringTag) return text
      if (key === Symbol.toPrimitive) return () => text
      if (typeof key === "symbol") return undefined
      // Neither a promise nor anything that gets special treatment.
      if (key === "then" || key === "toJSON") return undefined
      let member = members.get(key)
      if (member === undefined) {
        member = makeMember(
          (...args) => methodCall(inside, key, args),
          () => propertyRead(inside, key)
        )
        members.set(key, member)
      }
      return member
    },
    set: refuse,
    deleteProperty: refuse,
    defineProperty: refuse,
    has: (_, key) => key === HandleKey,
    ownKeys: () => [],
    apply(_, __, args) {
      return invoke({
        pool: inside,
        target: { op: "apply", object: inside.handle.object, name: "" },
        name: inside.className,
        args
      })
    }
  })
}

const nameOf = (inside: Inside, key: PropertyKey): string => `${inside.className}.${String(key)}`

export const methodCall = (inside: Inside, key: PropertyKey, args: ReadonlyArray<unknown>): Invocation =>
  invoke({
    pool: inside,
    target: { op: "call", object: inside.handle.object, name: key },
    name: nameOf(inside, key),
    args
  })

export const propertyRead = (inside: Inside, key: PropertyKey): Invocation =>
  invoke({
    pool: inside,
    target: { op: "get", object: inside.handle.object, name: key },
    name: nameOf(inside, key),
    args: []
  })

const memberPrototype: object = Object.setPrototypeOf(
  Object.defineProperties(
    {},
    Object.getOwnPropertyDescriptors(
      Effectable.Prototype<Effect.Effect<unknown, unknown, unknown>>({
        label: "RemoteMember",
        evaluate() {
          return (this as unknown as { readonly read: () => Invocation }).read()
        }
      })
    )
  ),
  Function.prototype
)

/** Read as a Stream, where the value is one. */
Object.defineProperties(memberPrototype, {
  [Stream.TypeId]: { value: streamVariance },
  channel: {
    get(this: { readonly read: () => Invocation }) {
      return this.read().channel
    }
  }
})

/** A function that is an Effect too. */
export const makeMember = (
  call: (...args: ReadonlyArray<unknown>) => Invocation,
  read: () => Invocation
): unknown => Object.defineProperty(Object.setPrototypeOf(call, memberPrototype), "read", { value: read })

/** The arguments with numbers in place of remotes, and where those are. */
export const withNumbers = (
  args: ReadonlyArray<unknown>,
  numberOf: (remote: unknown) => number | Exclude<Sendable, { readonly args: unknown }> | undefined
): Sendable => {
  const objects: Array<ReadonlyArray<string | number>> = []
  /** Copies by what they are of: what is in two places stays one thing, and a cycle a cycle. */
  const copies = new Map<object, unknown>()
  let other: Exclude<Sendable, { readonly args: unknown }> | undefined
  const fill = (
    copy: any,
    entries: Iterable<readonly [string | number, unknown]>,
    path: ReadonlyArray<string | number>
  ) => {
    for (const [key, child] of entries) {
      const value = visit(child, [...path, key])
      Object.defineProperty(copy, key, { value, enumerable: true, configurable: true, writable: true })
    }
    return copy as unknown
  }
  const visit = (value: unknown, path: ReadonlyArray<string | number>): unknown => {
    if (typeof value === "function") {
      const number = numberOf(value)
      if (number === undefined) return value
      if (typeof number === "object") {
        other ??= number
        return value
      }
      objects.push(path)
      return number
    }
    if (typeof value !== "object" || value === null) return value
    if (copies.has(value)) return copies.get(value)
    const copy = Array.isArray(value) ? [] : isPlain(value) ? {} : undefined
    if (copy === undefined) return value
    copies.set(value, copy)
    return fill(copy, Array.isArray(value) ? value.entries() : Object.entries(value), path)
  }
  const sent = args.map((arg, i) => visit(arg, [i]))
  return other ?? { args: sent, objects: objects.length === 0 ? undefined : objects }
}

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
