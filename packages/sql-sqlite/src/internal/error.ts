import * as Duration from "effect/Duration"
import {
  classifySqliteError,
  ConnectionError,
  LockTimeoutError,
  SqlError,
  type SqlErrorReason,
  SqlSyntaxError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"

/** What is wrong before SQLite is even asked. */
export class Rejected extends Error {
  override readonly name = "Rejected"
  readonly about: "statement" | "parameter" | "connection"

  constructor(about: Rejected["about"], message: string) {
    super(message)
    this.about = about
  }
}

// Result codes: https://www.sqlite.org/rescode.html. The lowest byte of an extended one is the plain one.
const ERROR = 1
const BUSY = 5
const BUSY_RECOVERY = 261
const BUSY_SNAPSHOT = 517
const LOCKED = 6
const LOCKED_SHAREDCACHE = 262
const READONLY = 8
const IOERR = 10
const CORRUPT = 11
const CANTOPEN = 14
const RANGE = 25
const NOTADB = 26
const READONLY_DBMOVED = 1032
const CONSTRAINT_PRIMARYKEY = 1555
const CONSTRAINT_ROWID = 2579

/** The extended result code, where SQLite gave one. */
const codeOf = (cause: unknown): number | undefined => {
  const code = (cause as { readonly errcode?: unknown } | null | undefined)?.errcode
  return typeof code === "number" ? code : undefined
}

const textOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** Whether the connection was closed, by whoever has it. */
export const isClosed = (cause: unknown): boolean =>
  (cause as { readonly code?: unknown } | null | undefined)?.code === "ERR_INVALID_STATE" &&
  /database is not open|statement has been finalized/.test(textOf(cause))

/** Whether a statement of the connection itself is in the way, which has not come to its end. */
const isOwnStream = (cause: unknown): boolean =>
  codeOf(cause) === LOCKED || textOf(cause).includes("SQL statements in progress")

/**
 * Whether another connection holds a lock that it will give back. With a snapshot that is out of date, and with a table
 * that the connection itself is reading, waiting is of no use.
 */
export const isBusy = (cause: unknown): boolean => {
  const code = codeOf(cause)
  return code === BUSY_RECOVERY || code === LOCKED_SHAREDCACHE || (code === BUSY && !isOwnStream(cause))
}

/** Whether an error means that the session cannot be used again. */
export const isFatal = ({ reason: { cause } }: SqlError): boolean => {
  const code = codeOf(cause)
  if (code === undefined) return isClosed(cause)
  const plain = code & 0xff
  return plain === IOERR || plain === CORRUPT || plain === NOTADB || code === READONLY_DBMOVED
}

/** What is known about a failure beside its cause. */
export interface Failure {
  readonly operation: string
  /** What the database is called. */
  readonly database: string
  /** How long a lock was waited for, in milliseconds; nothing where it was not. */
  readonly waited?: number | undefined
}

export const sqlError = (cause: unknown, failure: Failure): SqlError =>
  new SqlError({ reason: reasonOf(cause, failure) })

const reasonOf = (cause: unknown, failure: Failure): SqlErrorReason => {
  const { database, operation } = failure
  const text = textOf(cause)
  if (isClosed(cause)) {
    const message = `the connection to ${database} was closed: ${text}`
    return new ConnectionError({ cause, message, operation })
  }
  if (cause instanceof Rejected) return rejection(cause, operation)
  const code = codeOf(cause)
  const message = text + adviceOn(cause, code, failure)
  const props = { cause, message, operation }
  if (code === undefined) {
    return operation === "connect" ? new ConnectionError(props) : new UnknownError(props)
  }
  // A statement that cannot be prepared is wrong in itself; it can also turn so with the schema, once it was prepared.
  if (code === ERROR && (operation === "prepare" || /^no such |: syntax error$/.test(text))) {
    return new SqlSyntaxError(props)
  }
  if (code === CONSTRAINT_PRIMARYKEY || code === CONSTRAINT_ROWID) {
    return new UniqueViolation({ ...props, constraint: text.replace("UNIQUE constraint failed: ", "") })
  }
  if (code === BUSY_SNAPSHOT) return new LockTimeoutError(props)
  // Effect reads the number under the name that other packages for SQLite give it.
  return classifySqliteError(Object.assign(cause as object, { errno: code }), { message, operation })
}

const rejection = (cause: Rejected, operation: string): SqlErrorReason => {
  const props = { cause, message: cause.message, operation }
  if (cause.about === "statement") return new SqlSyntaxError(props)
  return cause.about === "connection" ? new ConnectionError(props) : new UnknownError(props)
}

const adviceOnOpening = (code: number | undefined): string => {
  if (code === CANTOPEN) return ". Are the file and its folder there, and may this process use them?"
  return code === READONLY ? ". Open it with readonly: true" : ""
}

const adviceOn = (
  cause: unknown,
  code: number | undefined,
  { database, operation, waited }: Failure
): string => {
  if ((cause as { readonly code?: unknown }).code === "ERR_OUT_OF_RANGE") {
    return ". Read integers as bigints: provide SafeIntegers of SqlClient with true"
  }
  if (operation === "connect") {
    return `: ${database}${adviceOnOpening(code)}`
  }
  if (isOwnStream(cause)) return ": a stream on this connection has not come to its end"
  switch (code) {
    case BUSY:
    case BUSY_RECOVERY:
    case LOCKED_SHAREDCACHE:
      return waited === undefined
        ? ": another connection is writing, and waiting for it would not help. End what this one reads, and run it again"
        : `: another connection did not give back its lock within ${Duration.format(Duration.millis(waited))} (busyTimeout)`
    case BUSY_SNAPSHOT:
      return (
        ": the transaction has read what another connection has changed since, and so it cannot write. Run it again, or " +
        'let transactions: "immediate" take the lock before they read'
      )
    case RANGE:
      return ": there are more parameters than placeholders"
    default:
      return ""
  }
}
