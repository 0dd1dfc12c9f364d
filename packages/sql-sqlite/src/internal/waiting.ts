// Waits for locks of other connections. SQLite itself would wait by stopping the thread, and with it the fiber that is to
// give the lock back, where that lives in the same thread.
import * as Effect from "effect/Effect"

/** Pauses between two attempts, in milliseconds, as SQLite makes them; the last one is repeated. */
const pauses = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100] as const

export const pauseBefore = (attempt: number): number => pauses[Math.min(attempt, pauses.length - 1)]!

/** Who waits in this thread, by the database; the first come are woken first. */
const waiting = new Map<string, Set<() => void>>()

/** A pause that ends early when a connection in this thread may have given back a lock. */
export const pause = (database: string, millis: number): Effect.Effect<void> =>
  Effect.asVoid(
    Effect.timeoutOption(
      Effect.callback<void>((resume) => {
        const waiters = waiting.get(database) ?? new Set()
        waiting.set(database, waiters)
        const wake = () => resume(Effect.void)
        waiters.add(wake)
        return Effect.sync(() => {
          waiters.delete(wake)
          if (waiters.size === 0 && waiting.get(database) === waiters) waiting.delete(database)
        })
      }),
      millis
    )
  )

export const isWaitedFor = (database: string): boolean => waiting.size !== 0 && waiting.has(database)

/** Has all that wait for a lock of the database try again. */
export const wakeAll = (database: string): void => {
  const waiters = waiting.get(database)
  if (waiters === undefined) return
  waiting.delete(database)
  for (const wake of waiters) wake()
}
