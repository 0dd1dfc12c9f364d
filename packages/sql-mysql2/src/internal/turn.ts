// One statement after the other.
import * as Effect from "effect/Effect"

interface Waiter {
  /** Whether the turn has been passed to it: it has to be passed on from then on. */
  isServed: boolean
  readonly wake: () => void
}

/**
 * Whose turn it is: statements of several fibers wait for each other here, first come, first served. In mysql2's own line they
 * could not be told apart when one of them is to be stopped on the server.
 */
export class Turn {
  /** Whether somebody has the turn. It passes from one to the next without becoming free in between. */
  private isTaken = false
  /** Who waits, in the order in which they came. */
  private readonly line = new Set<Waiter>()
  /** Called when somebody begins to wait. Belongs to who has the turn. */
  private onWait: (() => void) | undefined = undefined

  /** Runs an effect while it has the turn. What it does when it is interrupted is part of it. */
  run<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(this.take(restore), () =>
        Effect.onExitPrimitive(restore(effect), () => {
          this.pass()
          return undefined
        })
      )
    )
  }

  /** Takes the turn, for who calls {@link pass} in the end. Only the wait can be interrupted. */
  take(restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.isTaken) {
        this.isTaken = true
        return Effect.void
      }
      let mine: Waiter | undefined
      const wait = Effect.callback<void>((resume) => {
        const waiter: Waiter = { isServed: false, wake: () => resume(Effect.void) }
        mine = waiter
        this.line.add(waiter)
        this.onWait?.()
        return Effect.sync(() => {
          this.line.delete(waiter)
        })
      })
      // The turn may come in the moment in which the wait is given up.
      return Effect.onExitPrimitive(restore(wait), (exit) => {
        if (exit._tag === "Failure" && mine?.isServed === true) this.pass()
        return undefined
      })
    })
  }

  pass(): void {
    this.onWait = undefined
    const [next] = this.line
    if (next === undefined) {
      this.isTaken = false
      return
    }
    this.line.delete(next)
    next.isServed = true
    // Not from here: who has just been served would be kept waiting until the next is, and so on.
    queueMicrotask(next.wake)
  }

  /** Who has the turn wants to know that others wait for it. At once, if they do. */
  whenAwaited(listener: () => void): void {
    this.onWait = listener
    if (this.line.size > 0) listener()
  }
}
