// What becomes of a transaction that the server has ended.
import { DeadlockError, LockTimeoutError, SerializationError, SqlError } from "effect/sql/SqlError"

/**
 * At a deadlock the server rolls back the whole transaction, with its savepoints, and tells only the statement. What was to be
 * rolled back to a savepoint of it is gone then, which is not a failure; but what the program sends next would run by itself,
 * outside of any transaction. So from there on all statements fail as the first did, until the transaction is over, as they do
 * in PostgreSQL. An outer `withTransaction` then fails with that error, and can be retried.
 */
export class TransactionWatch {
  /** The error with which the server may have ended the transaction. */
  private loss: SqlError | undefined = undefined
  /** Whether it has, and the program goes on: a savepoint of it was missed. Never without a loss. */
  private isLost = false

  /** What a statement is answered with, if it is not to be sent: an error, or nothing at all. */
  before(sql: string, operation: string): { readonly error: SqlError | undefined } | undefined {
    if (this.loss === undefined) return undefined
    if (!this.isLost) {
      if (boundary.test(sql)) this.clear()
      return undefined
    }
    if (toSavepoint.test(sql)) return { error: undefined }
    const error = lost(this.loss, operation)
    if (!boundary.test(sql)) return { error }
    // Nothing is left to commit.
    if (commit.test(sql)) return { error }
    this.clear()
    return undefined
  }

  /** Takes note of how a statement ended. Whether its failure counts. */
  after(sql: string, error: SqlError | undefined): boolean {
    if (error === undefined) {
      // The savepoint was there, and so the transaction is.
      if (this.loss !== undefined && toSavepoint.test(sql)) this.clear()
      return true
    }
    if (this.loss !== undefined && toSavepoint.test(sql) && isNoSavepoint(error)) {
      this.isLost = true
      return false
    }
    if (mayEndTransaction(error)) this.loss = error
    return true
  }

  /** The transaction is over, whatever it was. */
  clear(): void {
    this.loss = undefined
    this.isLost = false
  }
}

const toSavepoint = /^\s*rollback\s+(?:work\s+)?to\b/i
/** What begins or ends a transaction. */
const boundary = /^\s*(?:begin|start\s+transaction|commit|rollback(?!\s+(?:work\s+)?to\b))\b/i
const commit = /^\s*commit\b/i

const mayEndTransaction = ({ reason: { _tag } }: SqlError): boolean =>
  _tag === "DeadlockError" || _tag === "LockTimeoutError" || _tag === "SerializationError"

/** ER_SP_DOES_NOT_EXIST: `SAVEPOINT x does not exist`. */
const isNoSavepoint = ({ reason: { cause } }: SqlError): boolean =>
  typeof cause === "object" && cause !== null && "errno" in cause && cause.errno === 1305

const lost = ({ reason }: SqlError, operation: string): SqlError => {
  const message =
    "the server has rolled back the whole transaction, and this statement is part of it. Retry the transaction. " +
    `The server said: ${reason.message ?? reason._tag}`
  const props = { cause: reason.cause, message, operation }
  return new SqlError({
    reason:
      reason._tag === "DeadlockError"
        ? new DeadlockError(props)
        : reason._tag === "LockTimeoutError"
          ? new LockTimeoutError(props)
          : new SerializationError(props)
  })
}
