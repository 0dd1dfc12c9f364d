import * as Exit from "effect/Exit"
import { PoolClosed, type PoolError } from "../PoolError.ts"
import type { Core } from "./core.ts"

/** Goes on with what a warm-up came to. */
export type Settle<E> = (result: Exit.Exit<void, E | PoolError>) => void

/** Those who wait until one pool has its `min`. */
export class WarmUps<A, E> {
  private waiting = new Set<Settle<E>>()

  private readonly core: Core<A, E>

  constructor(core: Core<A, E>) {
    this.core = core
  }

  add(settle: Settle<E>): void {
    this.waiting.add(settle)
  }

  /** Forgets one who has given up. */
  delete(settle: Settle<E>): void {
    this.waiting.delete(settle)
  }

  /** Lets all go on if there are enough, or never will be. */
  check(): void {
    const { core } = this
    const isOpen = core.state === "open"
    if (this.waiting.size === 0 || (isOpen && core.live() - core.creating < core.min)) return
    const result = isOpen ? Exit.void : Exit.fail(new PoolClosed({ pool: core.settings.name }))
    for (const settle of this.takeAll()) settle(result)
  }

  takeAll(): Iterable<Settle<E>> {
    const all = this.waiting
    this.waiting = new Set()
    return all
  }
}
