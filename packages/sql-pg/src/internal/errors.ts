import type { SqlError } from "effect/sql/SqlError"

export const isFatal = ({ reason }: SqlError): boolean => {
  if (reason._tag === "ConnectionError") return true
  const { code, severity } = (reason.cause ?? {}) as { readonly code?: unknown; readonly severity?: unknown }
  return severity === "FATAL" || severity === "PANIC" || (typeof code === "string" && isShutdown.test(code))
}

/** Class 57P: shut down, crashed, idle for too long; 25P03: idle in a transaction for too long; 08: the connection itself. */
const isShutdown = /^(?:57P0|25P03|08)/
