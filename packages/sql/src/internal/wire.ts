// How a SqlError crosses a thread: as plain data, and as a SqlError with the same reason again.
import * as SqlErrors from "effect/sql/SqlError"

/** Both sides. What an error says that can be cloned, and what caused it. */
export interface WireCause {
  readonly isError: boolean
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly properties: Readonly<Record<string, unknown>>
  readonly cause: WireCause | undefined
  /** What is not an error. */
  readonly value: unknown
}

export interface WireSqlError {
  readonly _tag: "SqlError"
  readonly reason: SqlErrors.SqlErrorReason["_tag"]
  readonly message: string | undefined
  readonly operation: string | undefined
  readonly constraint: string | undefined
  readonly cause: WireCause
}

export const isWireSqlError = (u: unknown): u is WireSqlError =>
  typeof u === "object" && u !== null && (u as WireSqlError)._tag === "SqlError" && "reason" in u

export const encodeSqlError = ({ reason }: SqlErrors.SqlError): WireSqlError => ({
  _tag: "SqlError",
  reason: reason._tag,
  message: reason.message,
  operation: reason.operation,
  constraint: reason._tag === "UniqueViolation" ? reason.constraint : undefined,
  cause: encodeCause(reason.cause, 0)
})

export const decodeSqlError = (wire: WireSqlError): SqlErrors.SqlError => {
  const props = { message: wire.message, operation: wire.operation, cause: decodeCause(wire.cause) }
  const reason =
    wire.reason === "UniqueViolation"
      ? new SqlErrors.UniqueViolation({ ...props, constraint: wire.constraint ?? "unknown" })
      : new reasons[wire.reason](props)
  return new SqlErrors.SqlError({ reason })
}

const reasons = {
  ConnectionError: SqlErrors.ConnectionError,
  AuthenticationError: SqlErrors.AuthenticationError,
  AuthorizationError: SqlErrors.AuthorizationError,
  SqlSyntaxError: SqlErrors.SqlSyntaxError,
  ConstraintError: SqlErrors.ConstraintError,
  DeadlockError: SqlErrors.DeadlockError,
  SerializationError: SqlErrors.SerializationError,
  LockTimeoutError: SqlErrors.LockTimeoutError,
  StatementTimeoutError: SqlErrors.StatementTimeoutError,
  UnknownError: SqlErrors.UnknownError
}

/** Causes of causes that travel. */
const mostDepth = 8

const encodeCause = (cause: unknown, depth: number): WireCause => {
  if (!(cause instanceof Error)) {
    const { value } = primitive(cause)
    return {
      isError: false,
      name: "",
      message: "",
      stack: undefined,
      properties: {},
      cause: undefined,
      value
    }
  }
  const properties: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(cause)) {
    const { isPlain, value: plain } = primitive(value)
    // Node puts the whole of a URL that it cannot read there, password and all.
    const isSecret = key === "input" && "code" in cause && cause.code === "ERR_INVALID_URL"
    if (isPlain && key !== "cause" && !isSecret) properties[key] = plain
  }
  return {
    isError: true,
    name: cause.name,
    message: cause.message,
    stack: cause.stack,
    properties,
    cause: cause.cause === undefined || depth >= mostDepth ? undefined : encodeCause(cause.cause, depth + 1),
    value: undefined
  }
}

/** Codes and texts travel, whatever else a driver hangs on its errors (sockets, timers, itself) does not. */
const primitive = (value: unknown): { readonly isPlain: boolean; readonly value: unknown } => {
  switch (typeof value) {
    case "function":
    case "symbol":
      return { isPlain: false, value: String(value) }
    case "object":
      return value === null ? { isPlain: true, value } : { isPlain: false, value: "[object]" }
    default:
      return { isPlain: true, value }
  }
}

const decodeCause = (wire: WireCause): unknown => {
  if (!wire.isError) return wire.value
  const error = new Error(wire.message, wire.cause === undefined ? {} : { cause: decodeCause(wire.cause) })
  Object.defineProperty(error, "name", { value: wire.name, configurable: true, writable: true })
  if (wire.stack !== undefined) {
    Object.defineProperty(error, "stack", { value: wire.stack, configurable: true, writable: true })
  }
  return Object.assign(error, wire.properties)
}
