import * as Data from "effect/Data"
import type { WireError } from "./protocol.ts"

/** An error that crossed: it has the name, message, stack, causes and own properties of the one that was thrown. */
class RemoteError extends Data.Error {
  constructor(wire: WireError, known: Map<WireError, unknown>) {
    super()
    define(this, "message", wire.message)
    define(this, "name", wire.className)
    if (wire.stack !== undefined) define(this, "stack", wire.stack)
    known.set(wire, this)
    if (wire.cause !== undefined) define(this, "cause", decode(wire.cause, known))
    if (wire.errors !== undefined) {
      define(
        this,
        "errors",
        wire.errors.map((error) => decode(error, known))
      )
    }
    Object.assign(this, wire.properties)
  }
}

const define = (target: object, key: string, value: unknown): void => {
  Object.defineProperty(target, key, { value, enumerable: false, configurable: true, writable: true })
}

export const decodeError = (wire: WireError): unknown => decode(wire, new Map())

/** What is shared among errors stays shared, and a cycle a cycle. */
const decode = (wire: WireError, known: Map<WireError, unknown>): unknown =>
  wire.isError ? (known.get(wire) ?? new RemoteError(wire, known)) : wire.value
