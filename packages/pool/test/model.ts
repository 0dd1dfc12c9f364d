/**
 * A pool as plain data: what the documentation promises, written down without any care for speed, fibers or
 * timers. Random programs are run against it and against the real pool, and both must agree after each step.
 */

export type Outcome = "ok" | "fail" | "hang" | "stubborn"
export type Action = "create" | "validate" | "reset" | "destroy"

export interface Config {
  readonly min: number
  readonly max: number
  readonly order: "fifo" | "lifo"
  readonly concurrency: number
  readonly maxWaiting: number
  readonly createConcurrency: number
  readonly maxUses: number
  readonly validates: boolean
  readonly resets: boolean
  readonly acquireTimeout: boolean
  readonly createTimeout: boolean
  readonly maxIdle: boolean
  readonly maxAge: boolean
}

/**
 * Each limit leaves a remainder of its own, a power of seven, when divided by the step of time. So limits of
 * different kinds do not come due in the same millisecond, where their order would be anybody's guess.
 */
export const step = 1_000_000
export const times = {
  acquireTimeout: 3 * step + 1,
  createTimeout: 2 * step + 7,
  validateTimeout: step + 49,
  resetTimeout: step + 343,
  destroyTimeout: step + 2_401,
  maxIdle: 4 * step + 16_806,
  maxAge: 9 * step + 117_648,
  closeTimeout: 6 * step + 823_543,
  validateAfterIdle: step
}

interface Resource {
  readonly id: number
  phase: "creating" | "ready" | "busy" | "closing"
  readonly holders: Array<number>
  uses: number
  createdAt: number
  idleSince: number
  /** Its place in the order in which resources came to rest. */
  turn: number
  goodAt: number
  condemned: boolean
  /** The borrower that it is being validated for. */
  checkedFor: number | undefined
  /** What is being done with it and has not ended. */
  pending: { readonly action: Action; readonly dueAt: number; readonly stubborn: boolean } | undefined
}

interface Borrower {
  status: string
  since: number
  failedChecks: number
}

export class Model {
  now = 0
  min: number
  max: number
  suspended = false
  closed = false
  readonly resources = new Set<Resource>()
  /** In the order in which they are lent: the first of it ("fifo") or the last ("lifo"). */
  private available: Array<Resource> = []
  private line: Array<number> = []
  readonly borrowers: Array<Borrower> = []
  /** Attempts that nobody waits for any more, and that ignore their interruption. */
  private readonly stragglers = new Set<Resource>()
  readonly totals = { created: 0, destroyed: 0, borrowed: 0, timeouts: 0, failures: 0 }
  readonly mode: Record<Action, Outcome> = { create: "ok", validate: "ok", reset: "ok", destroy: "ok" }
  private serial = 0
  private turns = 0
  private refillAt = 0
  private refillPause = 100
  private forceAt = Infinity
  private settling = false

  readonly config: Config
  constructor(config: Config) {
    this.config = config
    this.min = config.min
    this.max = config.max
    this.settle()
  }

  // --- What a program can do -------------------------------------------------------------------------

  ask(): void {
    const b = this.borrowers.push({ status: "asking", since: this.now, failedChecks: 0 }) - 1
    if (this.closed) return this.end(b, "PoolClosed")
    if (this.line.length === 0 && !this.suspended) {
      const resource = this.next()
      if (resource !== undefined && !this.isStale(resource)) {
        this.lend(resource, b)
        return this.settle()
      }
    }
    const coming =
      this.count("creating") +
      this.count("busy") +
      this.available.length +
      Math.max(0, this.max - this.resources.size)
    if (this.line.length - coming * this.config.concurrency >= this.config.maxWaiting)
      return this.end(b, "LineFull")
    this.borrowers[b]!.status = "waiting"
    this.line.push(b)
    this.settle()
  }

  tryAsk(): void {
    const b = this.borrowers.push({ status: "none", since: this.now, failedChecks: 0 }) - 1
    if (this.closed || this.suspended || this.line.length > 0) return
    const resource = this.next()
    if (resource !== undefined) {
      if (this.isStale(resource)) this.begin(resource, "validate")
      if (this.available.includes(resource)) this.lend(resource, b)
      this.settle()
    } else if (this.count("creating") === 0 && this.canGrow()) {
      this.create()
      if (this.available.length > 0) this.lend(this.available[0]!, b)
      this.settle()
    }
  }

  /** A holder ends, well or badly; or a waiter gives up. */
  finish(b: number, status: string): void {
    const resource = this.heldBy(b)
    this.line = this.line.filter((_) => _ !== b)
    this.end(b, status)
    if (resource === undefined) return
    resource.holders.splice(resource.holders.indexOf(b), 1)
    if (resource.phase !== "ready") return
    resource.goodAt = this.now
    if (resource.holders.length === 0) {
      resource.idleSince = this.now
      resource.turn = ++this.turns
    }
    const mustGo = this.mustGo(resource)
    if (mustGo && resource.holders.length === 0) this.close(resource)
    else if (mustGo) this.condemn(resource)
    else if (resource.holders.length === 0 && this.config.resets) this.begin(resource, "reset")
    else this.offer(resource)
    this.settle()
  }

  invalidate(resource: Resource): void {
    if (resource.phase === "ready" && resource.holders.length === 0) this.close(resource)
    else if (resource.phase !== "closing") this.condemn(resource)
    this.settle()
  }

  clear(): number {
    return this.closeIdle(() => true)
  }

  evictExpired(): number {
    return this.closeIdle((resource) => this.isExpired(resource))
  }

  recycle(): void {
    for (const resource of Array.from(this.resources)) this.invalidate(resource)
  }

  resize(min: number, max: number): void {
    this.min = min
    this.max = max
    this.closeIdle(() => this.live() > this.max)
    this.settle()
  }

  suspend(): void {
    if (!this.closed) this.suspended = true
  }

  resume(): void {
    this.suspended = false
    this.settle()
  }

  shutdown(): void {
    if (this.closed) return
    this.closed = true
    this.forceAt = this.now + times.closeTimeout
    for (const b of this.line.splice(0)) this.end(b, "PoolClosed")
    for (const resource of Array.from(this.resources)) {
      if (resource.phase === "creating") this.abandon(resource)
      else if (resource.phase === "busy" || (resource.phase === "ready" && resource.holders.length === 0)) {
        this.close(resource)
      }
    }
  }

  /** What hangs ends. */
  resolve(resource: Resource, outcome: "ok" | "fail"): void {
    const { action, dueAt } = resource.pending!
    resource.pending = undefined
    if (this.stragglers.delete(resource)) {
      // It came too late, and is closed if it came at all; the slot waits for that.
      if (action === "create" && outcome === "ok") this.begin(resource, "destroy", dueAt - this.now, false)
      else this.gone(resource)
    } else {
      this.ended(resource, action, outcome)
    }
    this.settle()
  }

  /** What hangs now, in the order of its beginning. */
  hanging(): Array<Resource> {
    return [...this.resources, ...this.stragglers].filter(
      (_, i, all) => _.pending !== undefined && all.indexOf(_) === i
    )
  }

  // --- Time -------------------------------------------------------------------------------------------

  advance(millis: number): void {
    const target = this.now + millis
    while (true) {
      const next = this.nextDue()
      if (next > target) break
      this.now = Math.max(this.now, next)
      this.onTime()
    }
    this.now = target
  }

  private nextDue(): number {
    let next = this.closed ? this.forceAt : this.refillAt === 0 ? Infinity : this.refillAt
    for (const resource of this.resources)
      if (resource.pending !== undefined) next = Math.min(next, resource.pending.dueAt)
    if (this.closed) return next
    if (this.config.acquireTimeout && this.line.length > 0) {
      next = Math.min(next, this.borrowers[this.line[0]!]!.since + times.acquireTimeout)
    }
    for (const resource of this.available) {
      if (resource.holders.length > 0) continue
      if (this.config.maxAge) next = Math.min(next, resource.createdAt + times.maxAge + 1)
      if (this.config.maxIdle && this.live() > this.min)
        next = Math.min(next, resource.idleSince + times.maxIdle + 1)
    }
    return next
  }

  private onTime(): void {
    if (this.closed && this.now >= this.forceAt) {
      this.forceAt = Infinity
      this.borrowers.forEach((borrower, b) => {
        if (borrower.status.startsWith("holding")) this.finish(b, "interrupted")
      })
    }
    for (const resource of Array.from(this.resources)) {
      if (resource.pending === undefined || this.now < resource.pending.dueAt) continue
      this.onTimeout(resource)
      this.settle()
    }
    if (this.closed) return
    while (
      this.config.acquireTimeout &&
      this.line.length > 0 &&
      this.now >= this.borrowers[this.line[0]!]!.since + times.acquireTimeout
    ) {
      this.totals.timeouts++
      this.end(this.line.shift()!, "AcquireTimeout")
    }
    this.closeIdle((resource) => this.isExpired(resource))
    if (this.refillAt !== 0 && this.now >= this.refillAt) this.refillAt = 0
    this.settle()
  }

  private onTimeout(resource: Resource): void {
    const { action, stubborn } = resource.pending!
    if (resource.phase === "closing") {
      // Whatever is still going on is left behind.
      if (action === "destroy" && !this.stragglers.has(resource)) this.totals.destroyed++
      resource.pending = action === "create" ? { ...resource.pending!, dueAt: Infinity } : undefined
      if (action === "create") this.stragglers.add(resource)
      this.gone(resource)
    } else if (action === "create") {
      this.totals.failures++
      resource.phase = "closing"
      this.failHead(resource, "CreateTimeout")
      this.leaveBehind(resource, stubborn)
    } else {
      resource.pending = undefined
      this.ended(resource, action, "fail")
    }
  }

  // --- The rules --------------------------------------------------------------------------------------

  private settle(): void {
    if (this.settling) return
    this.settling = true
    while (!this.closed && this.oneStep());
    this.settling = false
  }

  private oneStep(): boolean {
    if (!this.suspended && this.line.length > 0) {
      const resource = this.next()
      if (resource !== undefined && !this.isStale(resource)) {
        this.lend(resource, this.line.shift()!)
        return true
      }
      if (resource !== undefined && this.validating() < this.demand()) {
        resource.checkedFor = this.line[this.validating() * this.config.concurrency]
        this.begin(resource, "validate")
        return true
      }
    }
    const forLine = !this.suspended && this.demand() > this.count("creating") + this.validating()
    const forMin = this.live() < this.min && this.refillAt === 0
    if ((forLine || forMin) && this.canGrow()) {
      this.create()
      return true
    }
    return false
  }

  private next(): Resource | undefined {
    while (true) {
      const resource = this.available.at(this.config.order === "lifo" ? -1 : 0)
      if (resource === undefined || !this.isExpired(resource)) return resource
      if (resource.holders.length === 0) this.close(resource)
      else this.condemn(resource)
    }
  }

  private lend(resource: Resource, b: number): void {
    resource.holders.push(b)
    resource.uses++
    this.totals.borrowed++
    this.borrowers[b]!.status = `holding ${resource.id}`
    if (resource.holders.length >= this.config.concurrency) this.take(resource)
    if (resource.uses >= this.config.maxUses) this.condemn(resource)
  }

  private create(): void {
    const resource: Resource = {
      id: ++this.serial,
      phase: "creating",
      holders: [],
      uses: 0,
      createdAt: 0,
      idleSince: 0,
      turn: 0,
      goodAt: 0,
      condemned: false,
      checkedFor: undefined,
      pending: undefined
    }
    this.resources.add(resource)
    this.begin(resource, "create", this.config.createTimeout ? times.createTimeout : Infinity)
  }

  private begin(resource: Resource, action: Action, limit = this.limitOf(action), counts = true): void {
    if (action === "validate" || action === "reset") {
      this.take(resource)
      resource.phase = "busy"
    }
    const outcome = this.mode[action]
    if (outcome === "hang" || outcome === "stubborn") {
      const stubborn = outcome === "stubborn" || action === "destroy"
      resource.pending = { action, dueAt: this.now + limit, stubborn }
      if (!counts) this.stragglers.add(resource)
    } else if (counts) {
      this.ended(resource, action, outcome)
    } else {
      this.gone(resource)
    }
  }

  private limitOf(action: Action): number {
    return action === "validate"
      ? times.validateTimeout
      : action === "reset"
        ? times.resetTimeout
        : times.destroyTimeout
  }

  private ended(resource: Resource, action: Action, outcome: "ok" | "fail"): void {
    if (action === "destroy") {
      this.totals.destroyed++
      return this.gone(resource)
    }
    if (action === "create") return this.created(resource, outcome)
    if (outcome === "ok") {
      resource.phase = "ready"
      if (action === "validate") resource.goodAt = this.now
      resource.checkedFor = undefined
      if (this.mustGo(resource)) return this.close(resource)
      if (action === "validate") this.serveHead(resource)
      return this.offer(resource)
    }
    const b = resource.checkedFor
    resource.checkedFor = undefined
    if (
      b !== undefined &&
      this.borrowers[b]!.status === "waiting" &&
      ++this.borrowers[b]!.failedChecks === 3
    ) {
      this.line = this.line.filter((_) => _ !== b)
      this.end(b, "ValidationFailed")
    }
    this.close(resource)
  }

  private created(resource: Resource, outcome: "ok" | "fail"): void {
    if (outcome === "fail") {
      this.totals.failures++
      resource.phase = "closing"
      this.failHead(resource, "CreateFailed")
      return this.gone(resource)
    }
    this.totals.created++
    this.refillAt = 0
    this.refillPause = 100
    resource.phase = "ready"
    resource.createdAt = resource.idleSince = resource.goodAt = this.now
    resource.turn = ++this.turns
    if (resource.condemned || this.live() > this.max) return this.close(resource)
    this.serveHead(resource)
    this.offer(resource)
  }

  private serveHead(resource: Resource): void {
    if (this.line.length > 0 && !this.suspended) this.lend(resource, this.line.shift()!)
  }

  private failHead(resource: Resource, status: string): void {
    // What was recycled would have served nobody.
    if (resource.condemned && this.line.length > 0) return
    const b = this.line.shift()
    if (b !== undefined) return this.end(b, status)
    this.refillAt = this.now + this.refillPause
    this.refillPause = Math.min(30_000, this.refillPause * 2)
  }

  /** An attempt to create that nobody waits for: an obedient one ends at once. */
  private leaveBehind(resource: Resource, stubborn: boolean): void {
    if (!stubborn) {
      resource.pending = undefined
      return this.gone(resource)
    }
    resource.pending = { action: "create", dueAt: this.now + times.destroyTimeout, stubborn }
    this.stragglers.add(resource)
  }

  private abandon(resource: Resource): void {
    resource.phase = "closing"
    this.leaveBehind(resource, resource.pending!.stubborn)
  }

  private offer(resource: Resource): void {
    if (resource.condemned || resource.holders.length >= this.config.concurrency) return
    if (resource.holders.length === 0) this.take(resource)
    if (this.available.includes(resource)) return
    if (resource.uses === 0 && this.config.order === "lifo") {
      this.available.unshift(resource)
    } else if (resource.holders.length > 0) {
      this.available.push(resource)
    } else {
      // In the order in which they came to rest.
      let at = this.available.length
      while (
        at > 0 &&
        this.available[at - 1]!.holders.length === 0 &&
        this.available[at - 1]!.turn > resource.turn
      )
        at--
      this.available.splice(at, 0, resource)
    }
  }

  private mustGo(resource: Resource): boolean {
    return (
      resource.condemned ||
      this.closed ||
      (this.config.maxAge && this.now - resource.createdAt > times.maxAge) ||
      // What is shared might never come to rest: as many as there are too many are lent to nobody more.
      (this.live() > this.max && (resource.holders.length === 0 || this.staying() > this.max))
    )
  }

  private staying(): number {
    return [...this.resources].filter(
      ({ condemned, phase }) => !condemned && (phase === "ready" || phase === "busy")
    ).length
  }

  private isExpired(resource: Resource): boolean {
    return (
      (this.config.maxAge && this.now - resource.createdAt > times.maxAge) ||
      (this.config.maxIdle &&
        resource.holders.length === 0 &&
        this.live() > this.min &&
        this.now - resource.idleSince > times.maxIdle)
    )
  }

  private isStale(resource: Resource): boolean {
    return (
      this.config.validates &&
      resource.holders.length === 0 &&
      this.now - resource.goodAt >= times.validateAfterIdle
    )
  }

  private close(resource: Resource): void {
    this.take(resource)
    resource.phase = "closing"
    resource.pending = undefined
    this.begin(resource, "destroy")
  }

  private closeIdle(which: (resource: Resource) => boolean): number {
    let closed = 0
    for (const resource of Array.from(this.available)) {
      if (resource.phase !== "ready" || resource.holders.length > 0 || !which(resource)) continue
      this.close(resource)
      this.settle()
      closed++
    }
    return closed
  }

  private condemn(resource: Resource): void {
    resource.condemned = true
    this.take(resource)
  }

  private take(resource: Resource): void {
    this.available = this.available.filter((_) => _ !== resource)
  }

  private gone(resource: Resource): void {
    this.resources.delete(resource)
  }

  private end(b: number, status: string): void {
    this.borrowers[b]!.status = status
  }

  private heldBy(b: number): Resource | undefined {
    return [...this.resources].find((resource) => resource.holders.includes(b))
  }

  private canGrow(): boolean {
    return this.resources.size < this.max && this.count("creating") < this.config.createConcurrency
  }

  private demand(): number {
    return Math.ceil(this.line.length / this.config.concurrency)
  }

  private live(): number {
    return this.resources.size - this.count("closing")
  }

  private validating(): number {
    return [...this.resources].filter(
      (_) => _.phase === "busy" && _.pending?.action === "validate" && _.checkedFor !== undefined
    ).length
  }

  private count(phase: Resource["phase"]): number {
    return [...this.resources].filter((_) => _.phase === phase).length
  }

  stats() {
    const idle = [...this.resources].filter((_) => _.phase === "ready" && _.holders.length === 0).length
    const size = this.resources.size
    const creating = this.count("creating")
    const closing = this.count("closing")
    return {
      min: this.min,
      max: this.max,
      size,
      idle,
      used: size - idle - creating - closing,
      pending: this.line.length,
      creating,
      closing,
      ...this.totals
    }
  }
}
