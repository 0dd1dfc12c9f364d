import * as Data from "effect/Data"
import type { WireError } from "./protocol.ts"

/** An error that crossed: it has the name, message, stack, causes and own properties of the one that was thrown. */
class RemoteError extends Data.Error {
  constructor(wire: WireError) {
    super()
    define(this, "message", wire.message)
    define(this, "name", wire.className)
    if (wire.stack !== undefined) define(this, "stack", wire.stack)
    if (wire.cause !== undefined) define(this, "cause", decodeError(wire.cause))
    if (wire.errors !== undefined) define(this, "errors", wire.errors.map(decodeError))
    Object.assign(this, wire.properties)
  }
}

const define = (target: object, key: string, value: unknown): void => {
  Object.defineProperty(target, key, { value, enumerable: false, configurable: true, writable: true })
}

export const decodeError = (wire: WireError): unknown => (wire.isError ? new RemoteError(wire) : wire.value)
