import * as Effect from "effect/Effect"
import * as MutableHashMap from "effect/MutableHashMap"
import * as Option from "effect/Option"
import type { SchedulerDispatcher } from "effect/Scheduler"
import { Core, type Group } from "./core.ts"
import { Events } from "./events.ts"
import type { Settings } from "./options.ts"
import type { Stats } from "./stats.ts"
import { Alarm, isDue, type Work } from "./work.ts"

/** One key's pool. */
interface Entry<K, A, E> {
  readonly key: K
  readonly core: Core<A, E>
  /** When it was last asked for a resource, in monotonic milliseconds. */
  usedAt: number
}

/**
 * The pools of all keys, and the room that they share.
 *
 * Each key has a whole pool of its own, with its own line; what is here decides who may grow. A pool that
 * may not is remembered as starving, and gets room when a resource of another key is at rest, or comes back
 * to a key that has more than its share.
 */
export class KeyedCore<K, A, E> implements Group {
  /** Places taken: the sum of the sizes of all pools, those of keys that have vanished included. */
  size = 0
  /** Places that will be free as soon as what is in them has closed. */
  private leavingNow = 0
  private closed = false
  /** Pools that want to grow and may not. In turn: whoever is served joins again at the end. */
  private readonly starving = new Set<Core<any, any>>()
  /** Pools with something at rest, those that have rested longest first; others may still be among them. */
  private readonly resting = new Set<Core<any, any>>()
  private readonly entries = MutableHashMap.empty<K, Entry<K, A, E>>()
  /** Totals of the pools whose keys have vanished. */
  private readonly past = { created: 0, destroyed: 0, borrowed: 0, timeouts: 0, failures: 0 }
  /** Pools of vanished keys that are still closing what they had. */
  private readonly vanishing = new Set<Core<A, E>>()

  readonly name: string
  readonly max: number
  readonly events: Events
  private readonly keyIdle: number
  private readonly settingsOf: (key: K) => Settings<A, E>
  private readonly work: Work
  private readonly dispatcher: SchedulerDispatcher
  private readonly alarm: Alarm

  constructor(
    options: {
      readonly name: string
      readonly max: number
      readonly keyIdle: number
      readonly settingsOf: (key: K) => Settings<A, E>
    },
    work: Work,
    dispatcher: SchedulerDispatcher
  ) {
    this.name = options.name
    this.max = options.max
    this.keyIdle = options.keyIdle
    this.settingsOf = options.settingsOf
    this.work = work
    this.dispatcher = dispatcher
    this.events = new Events(work, options.name)
    this.alarm = new Alarm(work, (now) => this.dropUnused(now))
  }

  // ---------------------------------------------------------------------------------------------------
  // Keys
  // ---------------------------------------------------------------------------------------------------

  /** The pool of `key`, made now if it is new. */
  pool(key: K): Core<A, E> {
    const now = this.work.now()
    const existing = this.find(key)
    if (existing !== undefined) {
      existing.usedAt = now
      return existing.core
    }
    const core = new Core(this.settingsOf(key), this.work, this.dispatcher, this)
    if (this.closed) {
      Effect.runSync(core.shutdown(undefined))
      return core
    }
    MutableHashMap.set(this.entries, key, { key, core, usedAt: now })
    if (this.keyIdle !== Infinity) this.alarm.arm(now + this.keyIdle)
    return core
  }

  find(key: K): Entry<K, A, E> | undefined {
    return Option.getOrUndefined(MutableHashMap.get(this.entries, key))
  }

  all(): Iterable<Entry<K, A, E>> {
    return MutableHashMap.values(this.entries)
  }

  private dropUnused(now: number): void {
    let next = Infinity
    for (const entry of Array.from(this.all())) {
      const busy = entry.core.loans.size > 0 || entry.core.line.size > 0
      if (busy) entry.usedAt = now
      if (isDue(entry.usedAt + this.keyIdle, now)) this.drop(entry)
      else next = Math.min(next, entry.usedAt + this.keyIdle)
    }
    // Many keys that fall due one after the other are not worth a look each.
    this.alarm.arm(next === Infinity ? next : Math.max(next, now + this.keyIdle / 10))
  }

  private drop({ core, key }: Entry<K, A, E>): void {
    MutableHashMap.remove(this.entries, key)
    this.forget(core)
    this.vanishing.add(core)
    this.work.detach(
      Effect.andThen(
        core.shutdown(undefined),
        Effect.sync(() => {
          this.vanishing.delete(core)
          this.past.created += core.created
          this.past.destroyed += core.destroyed
          this.past.borrowed += core.borrowed
          this.past.timeouts += core.timeouts
          this.past.failures += core.failures
        })
      )
    )
  }

  private forget(core: Core<any, any>): void {
    this.starving.delete(core)
    this.resting.delete(core)
  }

  // ---------------------------------------------------------------------------------------------------
  // The shared room
  // ---------------------------------------------------------------------------------------------------

  take(core: Core<any, any>): boolean {
    if (this.size < this.max) {
      this.starving.delete(core)
      this.size++
      return true
    }
    this.starving.add(core)
    while (this.wanted() && this.stealFor(core)) {
      // A resource that closes on the spot has made room already.
      if (this.size < this.max) return this.take(core)
    }
    return false
  }

  rests(core: Core<any, any>): void {
    this.resting.delete(core)
    this.resting.add(core)
  }

  leaving(): void {
    this.leavingNow++
  }

  left(): void {
    this.leavingNow--
    this.size--
    for (const core of Array.from(this.starving)) {
      if (this.size >= this.max) return
      this.starving.delete(core)
      core.pump()
    }
  }

  /**
   * A resource comes back to `core` while others starve: they get it if nobody waits for it here, or if
   * they have waited longer and have less. So a busy key cannot starve a quiet one, and keys that have
   * their share do not take from each other.
   */
  claims(core: Core<any, any>): boolean {
    if (this.starving.size === 0 || this.size < this.max || !this.wanted()) return false
    const head = core.line.head
    if (head === undefined) return true
    for (const other of this.starving) {
      if (other === core || other.line.head === undefined || other.line.head.since >= head.since) continue
      if (other.live() === 0 || other.live() + 1 < core.live()) return true
    }
    return false
  }

  /** Whether more room is wanted than is already on its way. */
  private wanted(): boolean {
    let wanted = 0
    for (const core of this.starving) {
      wanted += core.shortage()
      if (wanted > this.leavingNow) return true
    }
    return false
  }

  /** Closes what has rested longest in another key's pool. */
  private stealFor(thief: Core<any, any>): boolean {
    for (const core of this.resting) {
      if (core === thief) continue
      if (core.stealIdle()) return true
      this.resting.delete(core)
    }
    return false
  }

  // ---------------------------------------------------------------------------------------------------
  // The whole
  // ---------------------------------------------------------------------------------------------------

  clear(): number {
    let closed = 0
    for (const { core } of Array.from(this.all())) closed += core.clear()
    return closed
  }

  shutdown(closer: unknown): Effect.Effect<void> {
    const first = !this.closed
    this.closed = true
    this.alarm.stop()
    this.starving.clear()
    const cores = [...Array.from(this.all(), ({ core }) => core), ...this.vanishing]
    const ends = cores.map((core) => core.shutdown(closer))
    const end = Effect.all(ends, { concurrency: "unbounded", discard: true })
    return first
      ? Effect.andThen(
          end,
          Effect.sync(() => this.events.close())
        )
      : end
  }

  stats(): Stats {
    const sum = { size: 0, idle: 0, used: 0, pending: 0, creating: 0, closing: 0, ...this.past }
    for (const core of [...Array.from(this.all(), ({ core }) => core), ...this.vanishing]) {
      const stats = core.stats()
      for (const key of Object.keys(sum) as Array<keyof typeof sum>) sum[key] += stats[key]
    }
    return { name: this.name, min: 0, max: this.max, ...sum }
  }
}
