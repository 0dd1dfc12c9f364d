import * as Effect from "effect/Effect"
import * as MutableHashMap from "effect/MutableHashMap"
import * as Option from "effect/Option"
import type { SchedulerDispatcher } from "effect/Scheduler"
import type { Lease, Waiter } from "../Pool.ts"
import { Core, type Group } from "./core.ts"
import { Events } from "./events.ts"
import type { Lease as LeaseOf } from "./lease.ts"
import type { List } from "./list.ts"
import type { Settings } from "./options.ts"
import * as report from "./report.ts"
import type { Slot } from "./slot.ts"
import type { Stats } from "./stats.ts"
import { Alarm, isDue, type Work } from "./work.ts"

/** Among so many pools, those that are not at rest are found in no time. */
const fewAstir = 1000

/** Parts that `keyIdle` is divided into: a key goes so much later at most. */
const slices = 100

/** One key's pool. */
interface Entry<K, A, E> {
  readonly key: K
  readonly core: Core<A, E>
}

/**
 * The pools of all keys, and the room that they share.
 *
 * Each key has a whole pool of its own, with its own line; what is here decides who may grow. A pool that
 * may not is remembered as starving, and gets room when a resource of another key is at rest, or comes back
 * to a key that has more than its share.
 */
export class KeyedCore<K, A, E> implements Group {
  private readonly entries = MutableHashMap.empty<K, Entry<K, A, E>>()
  /** Pools of keys that nobody uses, which go as soon as what they had has closed. */
  private readonly vacated = new Map<Core<any, any>, Entry<K, A, E>>()
  /** Pools that are not at rest, and some that have come to rest since: whoever looks need not look at all keys. */
  private readonly astir = new Set<Core<any, any>>()
  /** How many make it worth a look at which of them are at rest. */
  private astirMost = fewAstir
  /** Sums over all other pools, those included whose keys have vanished. */
  private readonly calm = {
    size: 0,
    idle: 0,
    created: 0,
    destroyed: 0,
    borrowed: 0,
    timeouts: 0,
    failures: 0
  }
  /** When keys may have been idle for too long, by slices of time, with the first moment in each. Those that are {@link vacated} are not here. */
  private readonly expected = new Map<number, { at: number; readonly entries: Array<Entry<K, A, E>> }>()
  private closed = false
  /** Nothing of any key is left. */
  private ended = false
  private suspended = false

  /** Places taken: the sum of the sizes of all pools. */
  private size = 0
  /** Places that will be free as soon as what is in them has closed. */
  private leavingNow = 0
  /** Pools that want to grow and may not. In turn: whoever is served joins again at the end. */
  private readonly starving = new Set<Core<any, any>>()
  /** What is at rest, that which has rested longest first. What has been lent since may still stand here. */
  private readonly resting = new Map<Slot<any>, Core<any, any>>()
  private distributing = false

  /** Called once, when the pools stop lending for good. */
  onClosing: Effect.Effect<void> | undefined = undefined
  readonly name: string
  readonly max: number
  readonly events: Events
  /** The options as a person reads them. */
  readonly shown: Readonly<Record<string, string | number | boolean>>
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
      readonly shown: Readonly<Record<string, string | number | boolean>>
      readonly settingsOf: (key: K) => Settings<A, E>
    },
    work: Work,
    dispatcher: SchedulerDispatcher
  ) {
    this.name = options.name
    this.max = options.max
    this.shown = options.shown
    this.keyIdle = options.keyIdle
    this.settingsOf = options.settingsOf
    this.work = work
    this.dispatcher = dispatcher
    this.events = new Events(work.clock, dispatcher)
    this.alarm = new Alarm(work, (now) => this.vacateUnused(now))
  }

  // -----------------------------------------------------------------------------
  // Keys
  // -----------------------------------------------------------------------------

  /** The pool of `key`, made now if it is new. */
  pool(key: K): Core<A, E> {
    const now = this.work.now()
    const existing = this.find(key)
    const core = existing?.core ?? new Core(this.settingsOf(key), this.work, this.dispatcher, this)
    core.usedAt = now
    if (existing !== undefined) {
      this.comeBack(existing)
    } else if (this.closed) {
      this.work.detach(core.shutdown(undefined))
    } else {
      const entry = { key, core }
      MutableHashMap.set(this.entries, key, entry)
      core.suspended = this.suspended
      if (this.keyIdle !== Infinity) this.begin(entry, now)
    }
    return core
  }

  find(key: K): Entry<K, A, E> | undefined {
    return Option.getOrUndefined(MutableHashMap.get(this.entries, key))
  }

  /** All keys' pools: a copy, so that keys may come and go meanwhile. */
  all(): Array<Entry<K, A, E>> {
    return Array.from(MutableHashMap.values(this.entries))
  }

  private begin(entry: Entry<K, A, E>, now: number): void {
    this.expect(entry, now + this.keyIdle)
    this.alarm.arm(now + this.keyIdle)
  }

  /** Notes that a key that is not {@link vacated} may be due at `at`, and not before. */
  private expect(entry: Entry<K, A, E>, at: number): void {
    const slice = Math.floor((at / this.keyIdle) * slices)
    const expected = this.expected.get(slice)
    if (expected === undefined) return void this.expected.set(slice, { at, entries: [entry] })
    expected.at = Math.min(expected.at, at)
    expected.entries.push(entry)
  }

  /** Looks at those keys alone that may be due: there may be very many others. */
  private vacateUnused(now: number): void {
    for (const [slice, { at, entries }] of Array.from(this.expected)) {
      if (!isDue(at, now)) continue
      this.expected.delete(slice)
      for (const entry of entries) {
        const { core } = entry
        const inUse = core.loans.size > 0 || core.line.size > 0
        const dueAt = (inUse ? now : core.usedAt) + this.keyIdle
        if (isDue(dueAt, now)) this.vacate(entry)
        else this.expect(entry, dueAt)
      }
    }
    let next = Infinity
    for (const { at } of this.expected.values()) next = Math.min(next, at)
    // Many keys that fall due one shortly after the other are not worth a ring each.
    this.alarm.arm(next === Infinity ? next : Math.max(next, now + this.keyIdle / slices))
  }

  /** The key stays until its resources have closed, so that its limit holds if it is asked for meanwhile. */
  private vacate(entry: Entry<K, A, E>): void {
    this.vacated.set(entry.core, entry)
    entry.core.vacate("keyIdle")
    this.forgetIfEmpty(entry.core)
  }

  /** Somebody uses the key again, or had found it before it was vacated and has asked since. */
  private comeBack(entry: Entry<K, A, E>): void {
    if (this.vacated.delete(entry.core)) this.begin(entry, this.work.now())
  }

  private forgetIfEmpty(core: Core<any, any>): void {
    const entry = this.vacated.get(core)
    if (entry === undefined || core.slots.size > 0) return
    if (core.line.size > 0) return this.comeBack(entry)
    this.vacated.delete(core)
    this.starving.delete(core)
    if (this.astir.delete(core)) this.count(core, 1)
    MutableHashMap.remove(this.entries, entry.key)
    // Who has found this pool and not asked yet must look again.
    core.successor = () => this.pool(entry.key)
  }

  // -----------------------------------------------------------------------------
  // Who is at rest
  // -----------------------------------------------------------------------------

  stirs(core: Core<any, any>): void {
    if (this.astir.has(core)) return
    // Also while nobody looks, lest the first who does finds all keys here.
    if (this.astir.size >= this.astirMost) {
      this.settle()
      this.astirMost = 2 * this.astir.size + fewAstir
    }
    this.astir.add(core)
    this.count(core, -1)
  }

  private settle(): void {
    for (const core of this.astir) {
      if (!core.isAtRest()) continue
      this.astir.delete(core)
      this.count(core, 1)
    }
  }

  /** Adds a pool at rest to {@link calm}, or takes it out. */
  private count({ idle, slots, totals }: Core<any, any>, times: 1 | -1): void {
    const { calm } = this
    calm.size += times * slots.size
    calm.idle += times * idle
    calm.created += times * totals.created
    calm.destroyed += times * totals.destroyed
    calm.borrowed += times * totals.borrowed
    calm.timeouts += times * totals.timeouts
    calm.failures += times * totals.failures
  }

  // -----------------------------------------------------------------------------
  // The shared room
  // -----------------------------------------------------------------------------

  take(core: Core<any, any>): boolean {
    if (this.size >= this.max) {
      this.starving.add(core)
      this.stealWhileWanted(core)
      // A resource that closes on the spot has made room already, and may have closed the pool.
      if (this.size >= this.max || core.state !== "open") return false
    }
    this.starving.delete(core)
    this.size++
    const entry = this.vacated.get(core)
    if (entry !== undefined) this.comeBack(entry)
    return true
  }

  room(asking: Core<any, any>): number {
    let room = this.max - this.size + this.leavingNow
    for (const { core } of this.all()) room += core.idle
    for (const core of this.starving) if (core !== asking) room -= Math.max(0, core.shortage())
    return Math.max(0, room)
  }

  rests(core: Core<any, any>, slot: Slot<any>): void {
    // Without a limit nobody ever needs another's room.
    if (this.max === Infinity) return
    this.resting.delete(slot)
    this.resting.set(slot, core)
    this.stealWhileWanted(undefined)
  }

  leaving(slot: Slot<any>): void {
    this.resting.delete(slot)
    this.leavingNow++
  }

  left(core: Core<any, any>): void {
    this.leavingNow--
    this.size--
    this.forgetIfEmpty(core)
    this.distribute()
    this.endIfEmpty()
  }

  /**
   * A resource comes back to `core` while others starve: they get its room if nobody waits for it here, or
   * if they have waited longer and have less. So a busy key cannot starve a quiet one, and keys that have
   * their share do not take from each other.
   */
  claims(core: Core<any, any>): boolean {
    if (this.starving.size === 0 || this.size < this.max || !this.isMoreWanted()) return false
    const head = core.line.head
    for (const other of this.starving) {
      if (other === core || other.shortage() <= 0) continue
      if (head === undefined) return true
      const isOlder = other.line.head!.ticket < head.ticket
      if (isOlder && (other.live() === 0 || other.live() + 1 < core.live())) return true
    }
    return false
  }

  /** Lets those grow in turn that wait for room. Safe to call while it runs. */
  private distribute(): void {
    if (this.distributing) return
    this.distributing = true
    try {
      let core: Core<any, any> | undefined
      while (this.size < this.max && (core = this.starving.values().next().value) !== undefined) {
        this.starving.delete(core)
        core.pump()
      }
    } finally {
      this.distributing = false
    }
  }

  /** Whether more room is wanted than is already on its way. */
  private isMoreWanted(): boolean {
    let wanted = 0
    for (const core of this.starving) {
      wanted += Math.max(0, core.shortage())
      if (wanted > this.leavingNow) return true
    }
    return false
  }

  /** Closes what has rested longest, of other keys than the thief's, for those who starve. */
  private stealWhileWanted(thief: Core<any, any> | undefined): void {
    if (this.starving.size === 0 || this.size < this.max) return
    // Not a copy, which costs more the more there are; nor what comes to rest because of what is closed here.
    let left = this.resting.size
    for (const [slot, core] of this.resting) {
      if (left-- === 0 || this.size < this.max || !this.isMoreWanted()) return
      if (core === thief) continue
      this.resting.delete(slot)
      if (slot.phase === "ready" && slot.leases === 0) core.invalidate(slot, "stolen")
    }
  }

  // -----------------------------------------------------------------------------
  // The whole
  // -----------------------------------------------------------------------------

  /** What has `item`, whatever key it belongs to; first of all what `fiber` itself holds. */
  invalidate(item: A, fiber: unknown): void {
    const cores = this.all().map((entry) => entry.core)
    const lent = cores.find((core) => core.findLent(item, fiber) !== undefined)
    const core = lent ?? cores.find((core) => core.find(item, fiber) !== undefined)
    const slot = core?.find(item, fiber)
    if (slot !== undefined) core?.invalidate(slot, "invalidated")
  }

  clear(): number {
    let closed = 0
    for (const { core } of this.all()) closed += core.closeIdle(() => "cleared")
    return closed
  }

  recycle(): void {
    for (const { core } of this.all()) core.recycle()
  }

  /** Keys that come meanwhile lend nothing either. */
  suspend(): void {
    this.suspended = true
    for (const { core } of this.all()) core.suspend()
  }

  resume(): void {
    this.suspended = false
    for (const { core } of this.all()) core.resume()
  }

  /** Those of all keys, the longest first. */
  leases(limit = Infinity): ReadonlyArray<Lease<A>> {
    return report.oldest(this.lists("loans"), limit).map((lease) => report.loan(lease, this.work))
  }

  /** Those in the lines of all keys, the longest first. */
  waiters(limit = Infinity): ReadonlyArray<Waiter> {
    const now = this.work.now()
    return report.oldest(this.lists("line"), limit).map((lease) => report.waiter(lease, now))
  }

  private *lists(which: "loans" | "line"): Iterable<List<LeaseOf<A, E>>> {
    for (const core of this.astir) yield core[which]
  }

  shutdown(closer: unknown): Effect.Effect<void> {
    if (!this.closed && this.onClosing !== undefined) this.work.detach(this.onClosing)
    this.closed = true
    this.alarm.stop()
    this.starving.clear()
    const ends = this.all().map(({ core }) => core.shutdown(closer))
    this.endIfEmpty()
    return Effect.all(ends, { concurrency: "unbounded", discard: true })
  }

  /** Not when a closer goes on, which does not wait for what it holds itself. */
  private endIfEmpty(): void {
    if (!this.closed || this.size > 0) return
    this.ended = true
    this.events.close()
  }

  /** There may be very many keys, and somebody may ask for this every second. */
  stats(): Stats {
    this.settle()
    const { name, max } = this
    const sum = { ...this.calm, used: 0, pending: 0, creating: 0, closing: 0 }
    for (const { closing, creating, idle, line, slots, totals } of this.astir) {
      sum.size += slots.size
      sum.idle += idle
      sum.creating += creating
      sum.closing += closing
      sum.pending += line.size
      sum.created += totals.created
      sum.destroyed += totals.destroyed
      sum.borrowed += totals.borrowed
      sum.timeouts += totals.timeouts
      sum.failures += totals.failures
    }
    sum.used = sum.size - sum.idle - sum.creating - sum.closing
    const state = this.ended ? "closed" : this.closed ? "closing" : this.suspended ? "suspended" : "open"
    return { name, min: 0, max, state, ...sum }
  }
}
