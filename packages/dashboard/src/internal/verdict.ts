import type { PoolRegistry } from "@cenote/pool"
import type { Figures, LeaseView, Level } from "./protocol.ts"
import { count, duration, nouns } from "./words.ts"

/** What is known of a pool when it is judged. */
export interface Evidence {
  readonly kind: PoolRegistry.Kind
  readonly figures: Omit<Figures, "level" | "matter" | "remedy">
  /** Failures of the last paces, by reason. */
  readonly recent: Readonly<Record<string, number>>
  /** Why creating failed last. */
  readonly lastFailure: string
  /** Whether something has been created since. */
  readonly hasRecovered: boolean
  /** Who has held something for longest. */
  readonly oldest: LeaseView | undefined
  /** Whether a loan that still lasts was told to be a leak. */
  readonly leaks: number
}

export interface Verdict {
  readonly level: Level
  readonly matter: string
  readonly remedy: string
}

const well: Verdict = { level: "ok", matter: "", remedy: "" }

/** Waiting this long is a matter for somebody, in milliseconds. */
const longWait = 1_000
/** Waiting this long, as a rule, is worth a look. */
const someWait = 100
/** A loan is suspicious when it has lasted this long, and this many times longer than nearly all others. */
const longLoan = 30_000
const manyTimes = 100

/** How a pool is, what is the matter with it, and what to do. The worst comes first. */
export const judge = (evidence: Evidence): Verdict =>
  ofState(evidence) ??
  ofCreating(evidence) ??
  ofLine(evidence) ??
  ofFailures(evidence) ??
  ofLoans(evidence) ??
  ofThreads(evidence) ??
  well

const ofState = ({ figures, kind }: Evidence): Verdict | undefined => {
  const { pending, state, used } = figures
  const { asker, one } = nouns[kind]
  if (state === "suspended") {
    return pending > 0
      ? {
          level: "down",
          matter: `It is suspended, and ${count(pending, asker)} ${wait(pending)}, the longest for ${duration(figures.longestWait)}.`,
          remedy: "Resume it."
        }
      : { level: "watch", matter: "It is suspended.", remedy: "Whoever asks now waits until it is resumed." }
  }
  if (state === "open") return undefined
  return used === 0
    ? { level: "watch", matter: "It is closing.", remedy: "" }
    : {
        level: "watch",
        matter: `It is closing, and waits for ${count(used, one)} that ${used === 1 ? "is" : "are"} not back.`,
        remedy: "Those who hold them are interrupted after closeTimeout."
      }
}

const ofCreating = ({ figures, hasRecovered, kind, lastFailure, recent }: Evidence): Verdict | undefined => {
  const tooSlow = recent["CreateTimeout"] ?? 0
  const failed = (recent["CreateFailed"] ?? 0) + tooSlow
  if (failed === 0) return undefined
  const { asker, one } = nouns[kind]
  const { pending } = figures
  const why = lastFailure === "" ? "it does not say why" : lastFailure
  const waiting = pending === 0 ? "" : ` ${count(pending, asker)} ${wait(pending)}.`
  const remedy =
    tooSlow === failed
      ? "See whether what it needs is up, reachable, and not overloaded, or give it longer."
      : "See whether what it needs is up, reachable, and takes these credentials."
  if (hasRecovered) {
    // Whoever waits now has another reason to, which goes before what is past.
    if (isLongLine(figures)) return undefined
    const times = failed === 1 ? "once" : `${failed} times`
    return {
      level: "watch",
      matter: `Creating a ${one} failed ${times} in the last moments, and has worked since: ${why}.`,
      remedy
    }
  }
  return {
    level: figures.idle + figures.used === 0 ? "down" : pending > 0 ? "short" : "watch",
    matter: `Creating a ${one} fails: ${why}.${waiting}`,
    remedy
  }
}

const ofLine = ({ figures, kind, leaks, oldest, recent }: Evidence): Verdict | undefined => {
  const { longestWait, max, pending, wait99 } = figures
  const { asker, one } = nouns[kind]
  const gaveUp = recent["AcquireTimeout"] ?? 0
  const turnedAway = (recent["LineFull"] ?? 0) + (recent["CallRejected"] ?? 0)
  const remedy = advice(figures, kind, oldest, leaks > 0)
  if (!isLongLine(figures) && gaveUp + turnedAway === 0) {
    if ((wait99 ?? 0) < someWait) return undefined
    return {
      level: "watch",
      matter: `One ${asker} in a hundred waits ${duration(wait99 ?? 0)} or longer.`,
      remedy
    }
  }
  const lost = [
    gaveUp > 0 ? count(gaveUp, asker) + " gave up" : "",
    turnedAway > 0 ? `${turnedAway} ${turnedAway === 1 ? "was" : "were"} turned away` : ""
  ].filter((_) => _ !== "")
  const losses = lost.length === 0 ? "" : ` In the last moments ${lost.join(" and ")}.`
  if (pending === 0) return { level: "watch", matter: losses.trim(), remedy }
  const limit = max < 0 ? `a ${one}` : count(max, one)
  const what = isCreatingSlow(figures) ? `a ${one} to be created` : limit
  return {
    level: "short",
    matter: `${count(pending, asker)} ${wait(pending)} for ${what}, the longest for ${duration(longestWait)}.${losses}`,
    remedy
  }
}

const isLongLine = ({ longestWait, pending }: Evidence["figures"]): boolean =>
  pending > 0 && longestWait >= longWait

/** Whether it is not for want of places that somebody waits. */
const isCreatingSlow = ({ creating, max, pending, size, used }: Evidence["figures"]): boolean =>
  creating > 0 && (used === 0 || pending <= creating || max < 0 || size < max)

/** What to do where there are too few. */
const advice = (
  figures: Evidence["figures"],
  kind: PoolRegistry.Kind,
  oldest: LeaseView | undefined,
  leaks: boolean
): string => {
  const { one } = nouns[kind]
  const { closing, hold50, idle, max, size, used } = figures
  if (isCreatingSlow(figures)) return "Creating takes long: see what it needs, or keep more with min."
  if (closing > used) {
    return `What was closed still takes its place until it has ended: see why closing a ${one} takes long.`
  }
  if (oldest !== undefined && idle === 0 && (leaks || isLongLoan(figures))) {
    return `${who(oldest, kind)} has had ${kind === "threads" ? "a thread" : `a ${one}`} for ${duration(oldest.held)}: find out why. That is a leak, or slow work.`
  }
  const typical = hold50 === null ? "" : ` (half of all for less than ${duration(Math.max(1, hold50))})`
  // Each key has a limit of its own, which does not show in the whole.
  if (kind === "keyed") {
    return `All that some key may have is in use${typical}. Raise maxPerKey, or max if there is one, hold for a shorter time, or let fewer ask at once.`
  }
  const isFull = idle === 0 && (max < 0 || size >= max)
  return kind === "threads"
    ? `${isFull ? "All threads are busy" : "At times all threads are busy"}${typical}. Raise max up to the number of cores, or make the tasks shorter.`
    : isFull
      ? `All are in use${typical}. Raise max, hold for a shorter time, or let fewer ask at once.`
      : `At times all are in use${typical}, or have to be created first. Keep more with min, raise max, or hold for a shorter time.`
}

const ofFailures = ({ recent, kind }: Evidence): Verdict | undefined => {
  const { asker, one } = nouns[kind]
  const deadlocks = recent["WouldDeadlock"] ?? 0
  if (deadlocks > 0) {
    return {
      level: "short",
      matter: `${count(deadlocks, asker)} would have waited for ever: ${deadlocks === 1 ? "it holds" : "they hold"} what ${deadlocks === 1 ? "it waits" : "they wait"} for.`,
      remedy: `Do not borrow a ${one} while holding another, or raise max above what they hold together.`
    }
  }
  const crashes = recent["ThreadCrashed"] ?? 0
  if (crashes > 0) {
    return {
      level: "watch",
      matter: `${count(crashes, "thread")} ended by ${crashes === 1 ? "itself" : "themselves"}.`,
      remedy: "See the events for why; the calls that it had failed with ThreadCrashed."
    }
  }
  const unserved = recent["ValidationFailed"] ?? 0
  if (unserved > 0) {
    return {
      level: "short",
      matter: `${count(unserved, asker)} got nothing: each ${one} that ${unserved === 1 ? "it" : "they"} tried was broken.`,
      remedy: "See whether what it needs is up, and whether validate asks for what can be had."
    }
  }
  const broken = (recent["invalid"] ?? 0) + (recent["resetFailed"] ?? 0)
  if (broken === 0) return undefined
  return {
    level: "watch",
    matter: `${count(broken, one)} ${broken === 1 ? "was" : "were"} broken, and replaced.`,
    remedy:
      "See whether a server, a proxy or the network ends what is idle; maxIdle or maxAge below its limit avoids that."
  }
}

const ofLoans = ({ figures, kind, leaks, oldest }: Evidence): Verdict | undefined => {
  // Where there are no others to compare it with, a long loan is as long as it has to be.
  const isOdd = figures.hold99 !== null && isLongLoan(figures)
  if (oldest === undefined || (leaks === 0 && !isOdd)) return undefined
  const { one } = nouns[kind]
  return {
    level: "watch",
    matter: `${who(oldest, kind)} has had ${kind === "threads" ? "a thread" : `a ${one}`} for ${duration(oldest.held)}.`,
    remedy:
      leaks > 0
        ? "That is longer than leakAfter: see whether it forgets to give back."
        : "Nearly all others are much shorter: see whether it forgets to give back."
  }
}

const ofThreads = ({ kind, recent }: Evidence): Verdict | undefined => {
  const stuck = (recent["ThreadQuarantined"] ?? 0) + (recent["ThreadKilled"] ?? 0)
  if (kind !== "threads" || stuck === 0) return undefined
  return {
    level: "watch",
    matter: `${count(stuck, "task")} did not stop when told to.`,
    remedy: "Let long tasks look at their signal; see the events for which."
  }
}

const isLongLoan = ({ hold99, longestHeld }: Evidence["figures"]): boolean =>
  longestHeld >= longLoan && longestHeld > manyTimes * Math.max(hold99 ?? 0, 1)

const who = ({ fiber, item, span }: LeaseView, kind: PoolRegistry.Kind): string => {
  if (kind === "threads" && item !== undefined) return `The call ${item}`
  return span === undefined ? `Fiber ${fiber}` : `"${span}" (fiber ${fiber})`
}

const wait = (n: number): string => (n === 1 ? "waits" : "wait")
