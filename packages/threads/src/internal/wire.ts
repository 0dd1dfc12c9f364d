// Errors on their way out of a thread. Runs in the thread.
import { classNameOf } from "./clone.ts"
import type { WireError } from "./protocol.ts"

/** Causes of causes beyond this are left out, and so are more errors in one. */
const most = { depth: 16, errors: 64 }

/** What crosses in place of an error. Never throws, whatever the error does. */
export const encodeError = (error: unknown): WireError => {
  try {
    return encode(error, [])
  } catch (other) {
    const reason = other instanceof Error ? other.message : "it cannot be read"
    return {
      className: "Error",
      message: `an error that cannot be sent: ${reason}`,
      stack: undefined,
      isError: true,
      value: undefined,
      properties: {},
      cause: undefined,
      errors: undefined
    }
  }
}

const encode = (error: unknown, outer: ReadonlyArray<unknown>): WireError => {
  if (!isError(error)) {
    return {
      className: classNameOf(error),
      message: textOf(error),
      stack: undefined,
      isError: false,
      value: cloneable(error),
      properties: {},
      cause: undefined,
      errors: undefined
    }
  }
  const errors = read(error, "errors")
  const cause = read(error, "cause")
  const path = [...outer, error]
  // An error that is its own cause ends there.
  const inner = (error: unknown): ReadonlyArray<WireError> =>
    path.length > most.depth || path.includes(error) ? [] : [encode(error, path)]
  const stack = read(error, "stack")
  return {
    className: classNameOf(error),
    message: textOf(read(error, "message")),
    stack: typeof stack === "string" ? stack : undefined,
    isError: true,
    value: undefined,
    properties: ownProperties(error),
    cause: cause === undefined ? undefined : inner(cause)[0],
    errors: Array.isArray(errors) ? errors.slice(0, most.errors).flatMap(inner) : undefined
  }
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

const alreadyEncoded = new Set(["message", "stack", "cause", "errors"])

const ownProperties = (error: Error): Record<string, unknown> => {
  const properties: Record<string, unknown> = {}
  for (const key of Object.getOwnPropertyNames(error)) {
    if (!alreadyEncoded.has(key)) properties[key] = cloneable(read(error, key))
  }
  // Most classes keep their name in the prototype; one that was set on it would be lost otherwise.
  const name = read(error, "name")
  if (name !== undefined && name !== classNameOf(error)) properties["name"] = textOf(name)
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
