import * as Effect from "effect/Effect"
import type { Core } from "./core.ts"

/** How much has to have ended: what somebody waits for, or all there is. */
export type Kind = "wanted" | "idle"

/** Those who wait until one thread pool is at rest. */
export class Rest {
  private readonly waiting = new Set<{ readonly kind: Kind; readonly done: () => void }>()

  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  /**
   * Waits until nothing is in the line, and nothing that anybody waits for is with a thread (`wanted`), or nothing at all
   * (`idle`).
   */
  reached(kind: Kind): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const waiter = { kind, done: () => resume(Effect.void) }
      this.waiting.add(waiter)
      this.check()
      return Effect.sync(() => this.waiting.delete(waiter))
    })
  }

  /** Lets those go on who have waited for what is so now. */
  check(): void {
    if (this.waiting.size === 0) return
    const rests = { wanted: this.isReached("wanted"), idle: this.isReached("idle") }
    for (const waiter of Array.from(this.waiting)) {
      if (!rests[waiter.kind]) continue
      this.waiting.delete(waiter)
      waiter.done()
    }
  }

  private isReached(kind: Kind): boolean {
    const { core } = this
    if (core.waiting > 0) return false
    for (const thread of core.threads) {
      if (kind === "idle" ? !thread.isIdle : thread.isWanted) return false
    }
    // What runs here keeps no thread, except where there is none.
    const countsInline = kind === "wanted" || core.onlyInline || core.max === 0
    return !countsInline || core.inlineThread?.isWanted !== true
  }
}
