// Errors on their way out of a thread. Runs in the thread.
import { classNameOf } from "./clone.ts"
import type { WireError } from "./protocol.ts"

/** Causes of causes beyond this are left out, and so are more errors. */
const most = { depth: 16, errors: 256 }

/** What crosses in place of an error. Never throws, whatever the error does. */
export const encodeError = (error: unknown): WireError => {
  try {
    return encode(error, 0, new Map())
  } catch (other) {
    const reason = other instanceof Error ? other.message : "it cannot be read"
    return {
      ...noError,
      className: "Error",
      message: `an error that cannot be sent: ${reason}`,
      isError: true
    }
  }
}

const noError: WireError = {
  className: "",
  message: "",
  stack: undefined,
  isError: false,
  value: undefined,
  properties: {},
  cause: undefined,
  errors: undefined
}

/** `known`: what has been encoded already, so that what is shared is sent once, and a cycle ends. */
const encode = (error: unknown, depth: number, known: Map<unknown, WireError>): WireError => {
  const before = known.get(error)
  if (before !== undefined) return before
  if (!isError(error)) {
    return { ...noError, className: classNameOf(error), message: textOf(error), value: cloneable(error) }
  }
  const stack = read(error, "stack")
  const wire: { -readonly [K in keyof WireError]: WireError[K] } = {
    ...noError,
    className: classNameOf(error),
    message: textOf(read(error, "message")),
    stack: typeof stack === "string" ? stack : undefined,
    isError: true,
    properties: ownProperties(error)
  }
  known.set(error, wire)
  if (depth === most.depth || known.size > most.errors) return wire
  const cause = read(error, "cause")
  const errors = read(error, "errors")
  if (cause !== undefined) wire.cause = encode(cause, depth + 1, known)
  if (Array.isArray(errors)) {
    wire.errors = errors.slice(0, most.errors).map((_) => encode(_, depth + 1, known))
  }
  return wire
}

/** Errors of other realms are errors too. */
const isError = (value: unknown): value is Error =>
  value instanceof Error || Object.prototype.toString.call(value) === "[object Error]"

const read = (value: object, key: string): unknown => {
  try {
    return (value as any)[key]
  } catch {
    return undefined
  }
}

const alreadyEncoded = new Set(["message", "stack", "cause"])

/** Names that say less than the name of the class. */
const builtIn = new Set([
  "Error",
  "AggregateError",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError"
])

const ownProperties = (error: Error): Record<string, unknown> => {
  const properties: Record<string, unknown> = {}
  for (const key of Object.getOwnPropertyNames(error)) {
    const value = read(error, key)
    if (!alreadyEncoded.has(key) && !(key === "errors" && Array.isArray(value)))
      properties[key] = cloneable(value)
  }
  // Most classes keep their name in the prototype; one that was set on it would be lost otherwise.
  const name = read(error, "name")
  if (typeof name === "string" && name !== classNameOf(error) && !builtIn.has(name)) properties["name"] = name
  // The same for the tag by which Effect tells errors apart.
  const tag = read(error, "_tag")
  if (typeof tag === "string") properties["_tag"] = tag
  return properties
}

const textOf = (value: unknown): string => {
  try {
    const text: unknown = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value)
    return typeof text === "string" ? text : Object.prototype.toString.call(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}

/** The value, or a text that stands for it where it cannot cross. */
export const cloneable = (value: unknown): unknown => {
  if (
    value === null ||
    (typeof value !== "object" && typeof value !== "function" && typeof value !== "symbol")
  ) {
    return value
  }
  if (isError(value)) return flatError(value)
  try {
    structuredClone(value)
    return value
  } catch {
    return typeof value === "function" ? `[function ${value.name}]` : textOf(value)
  }
}

const flatError = (error: Error): unknown => ({
  name: textOf(read(error, "name")),
  message: textOf(read(error, "message"))
})
