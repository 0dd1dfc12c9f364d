// What a value in a thread is, and what is said of it.

/** By these an Effect and a Stream are known where Effect is not loaded. */
export const effectKey = "~effect/Effect"
export const streamKey = "~effect/Stream"

/** Whether a value is of a class; `false` also where it does not let itself be looked at. */
export const isA = <A>(Class: new (...args: any) => A, value: unknown): value is A => {
  try {
    return value instanceof Class
  } catch {
    return false
  }
}

/** A value that was read. A function is not meant to be: nothing could be made of it on the other side. */
export const readable = (value: unknown, name: string): unknown => {
  if (typeof value !== "function") return value
  throw new TypeError(
    `${name} is ${/^class\b/.test(String(value)) ? "a class: make instances of it with ThreadPool.proxy" : `a function: call it. (Effect.andThen and Effect.tap take ${name} for an Effect that reads it: use Effect.flatMap)`}`
  )
}

/** What to say of a member that an object does not have. */
export const missing = (value: unknown, name: PropertyKey, what: string): string => {
  const known = new Set<string>()
  for (let o = Object(value); o !== null && o !== Object.prototype; o = Object.getPrototypeOf(o)) {
    for (const key of Object.getOwnPropertyNames(o)) if (key !== "constructor") known.add(key)
  }
  return `${String(name)} ${what} of ${describeClass(value)}; it has ${[...known].slice(0, 20).join(", ") || "none"}`
}

export const describeClass = (value: unknown): string => classNames(value)[0] ?? typeof value

/** Names of the classes of a value, its own first. */
export const classNames = (value: unknown): ReadonlyArray<string> => {
  const names: Array<string> = []
  for (let o = Object.getPrototypeOf(Object(value)); o !== null; o = Object.getPrototypeOf(o)) {
    const name: unknown = o.constructor?.name
    if (typeof name === "string" && name !== "Object") names.push(name)
  }
  return names
}

export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as any).then === "function"

export const isGenerator = (value: object): value is Iterator<unknown> => {
  const tag = Object.prototype.toString.call(value)
  return tag === "[object Generator]" || tag === "[object AsyncGenerator]"
}

/** A disposal failed that nobody waits for. */
export const reportDisposal = (error: unknown): void =>
  console.error("cenote: an object could not be disposed of", error)
