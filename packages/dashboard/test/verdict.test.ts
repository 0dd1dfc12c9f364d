/**
 * How a pool is judged: the level, the matter and the remedy for each trouble, and none where there is none.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause } from "effect"
import type { LeaseView } from "../src/internal/protocol.ts"
import { type Evidence, judge, type Verdict } from "../src/internal/verdict.ts"
import { Window } from "../src/internal/window.ts"
import { count, duration, messageOf, oneLine } from "../src/internal/words.ts"

const calm: Evidence["figures"] = {
  state: "open",
  min: 0,
  max: 10,
  size: 4,
  idle: 2,
  used: 2,
  pending: 0,
  creating: 0,
  closing: 0,
  created: 4,
  destroyed: 0,
  borrowed: 100,
  timeouts: 0,
  failures: 0,
  rate: 10,
  wait50: 0,
  wait99: 2,
  hold50: 5,
  hold99: 20,
  longestHeld: 12,
  longestWait: 0
}

const lease: LeaseView = {
  resource: 1,
  item: undefined,
  fiber: 7,
  span: "GET /orders",
  since: 0,
  held: 12
}

const judged = ({
  figures = {},
  ...rest
}: Partial<Omit<Evidence, "figures">> & { figures?: Partial<Evidence["figures"]> } = {}): Verdict =>
  judge({
    kind: "connections",
    recent: {},
    lastFailure: "",
    hasRecovered: false,
    oldest: { ...lease, held: figures.longestHeld ?? calm.longestHeld },
    leaks: 0,
    ...rest,
    figures: { ...calm, ...figures }
  })

const full = { size: 10, used: 10, idle: 0 }

describe("a pool is judged", () => {
  it("well when nobody waits for long", () => {
    const well: Verdict = { level: "ok", matter: "", remedy: "" }
    expect(judged()).toEqual(well)
    expect(judged({ figures: { ...full, pending: 3, longestWait: 8 } })).toEqual(well)
    expect(
      judged({
        figures: { idle: 0, used: 0, size: 0, hold50: null, hold99: null, wait99: null },
        oldest: undefined
      })
    ).toEqual(well)
    // A loan for the life of the program, such as a listener's, is no leak by itself.
    expect(judged({ figures: { longestHeld: 20_000 } })).toEqual(well)
    expect(judged({ figures: { longestHeld: 3_600_000, hold50: null, hold99: null } })).toEqual(well)
  })

  it("short when the head of the line has waited for a second, with what to do where all loans are short", () => {
    expect(judged({ figures: { ...full, pending: 12, longestWait: 1_500 } })).toEqual({
      level: "short",
      matter: "12 borrowers wait for 10 connections, the longest for 1.5 s.",
      remedy:
        "All are in use (half of all for less than 5 ms). Raise max, hold for a shorter time, or let fewer ask at once."
    })
  })

  it("short, with who holds, where one loan is much longer than all others", () => {
    expect(judged({ figures: { ...full, pending: 1, longestWait: 42_000, longestHeld: 45_000 } })).toEqual({
      level: "short",
      matter: "1 borrower waits for 10 connections, the longest for 42 s.",
      remedy: `"GET /orders" (fiber 7) has had a connection for 45 s: find out why. That is a leak, or slow work.`
    })
  })

  it("short, with who holds, where a loan is longer than leakAfter, however short that is", () => {
    expect(
      judged({ leaks: 1, figures: { ...full, pending: 1, longestWait: 1_500, longestHeld: 3_000 } }).remedy
    ).toBe(
      `"GET /orders" (fiber 7) has had a connection for 3.0 s: find out why. That is a leak, or slow work.`
    )
  })

  it("short when borrowers give up or are turned away, also when nobody waits any more", () => {
    expect(
      judged({
        figures: { ...full, pending: 2, longestWait: 400 },
        recent: { AcquireTimeout: 3, LineFull: 1 }
      })
    ).toMatchObject({
      level: "short",
      matter:
        "2 borrowers wait for 10 connections, the longest for 400 ms. In the last moments 3 borrowers gave up and 1 was turned away."
    })
    expect(judged({ recent: { AcquireTimeout: 1 } })).toMatchObject({
      level: "watch",
      matter: "In the last moments 1 borrower gave up."
    })
  })

  it("to be watched when one in a hundred waits", () => {
    expect(judged({ figures: { wait99: 250 } })).toMatchObject({
      level: "watch",
      matter: "One borrower in a hundred waits 250 ms or longer."
    })
  })

  it("short while what they wait for is created too slowly", () => {
    expect(
      judged({ figures: { size: 1, used: 0, idle: 0, creating: 1, pending: 1, longestWait: 3_000 } })
    ).toEqual({
      level: "short",
      matter: "1 borrower waits for a connection to be created, the longest for 3.0 s.",
      remedy: "Creating takes long: see what it needs, or keep more with min."
    })
  })

  it("down when nothing can be created and nothing is there, with the reason", () => {
    const broken = { recent: { CreateFailed: 2 }, lastFailure: "connect ECONNREFUSED" }
    expect(judged({ ...broken, figures: { size: 0, used: 0, idle: 0, pending: 2, longestWait: 5 } })).toEqual(
      {
        level: "down",
        matter: "Creating a connection fails: connect ECONNREFUSED. 2 borrowers wait.",
        remedy: "See whether what it needs is up, reachable, and takes these credentials."
      }
    )
    expect(judged({ ...broken, figures: { pending: 2 } }).level).toBe("short")
    // Those who hold something still work with it.
    expect(judged({ ...broken, figures: { ...full, pending: 2 } }).level).toBe("short")
    expect(judged(broken).level).toBe("watch")
  })

  it("by what creating does now, where it failed before", () => {
    const past = { recent: { CreateFailed: 2 }, lastFailure: "connect ECONNREFUSED", hasRecovered: true }
    expect(judged({ ...past, figures: { idle: 0, used: 0, size: 0 } })).toMatchObject({
      level: "watch",
      matter:
        "Creating a connection failed 2 times in the last moments, and has worked since: connect ECONNREFUSED."
    })
    // What is past does not hide who waits now, and for what.
    expect(judged({ ...past, figures: { ...full, pending: 3, longestWait: 2_000 } }).matter).toBe(
      "3 borrowers wait for 10 connections, the longest for 2.0 s."
    )
  })

  it("down when creating takes longer than it may, without a word of credentials", () => {
    expect(
      judged({
        recent: { CreateTimeout: 1 },
        lastFailure: "not created within 5s",
        figures: { idle: 0, used: 0, size: 0 }
      })
    ).toEqual({
      level: "down",
      matter: "Creating a connection fails: not created within 5s.",
      remedy: "See whether what it needs is up, reachable, and not overloaded, or give it longer."
    })
  })

  it("by what is short: more of them help neither where creating nor where closing hangs", () => {
    const line = { size: 10, idle: 0, pending: 12, longestWait: 1_500 }
    const none = { oldest: undefined }
    const creates = "Creating takes long: see what it needs, or keep more with min."
    expect(judged({ ...none, figures: { ...line, used: 0, creating: 10 } }).remedy).toBe(creates)
    // Those who waited for it have given up.
    expect(
      judged({
        ...none,
        figures: { size: 4, idle: 0, used: 0, creating: 4 },
        recent: { AcquireTimeout: 4 }
      }).remedy
    ).toBe(creates)
    // One more that comes does not help the other eleven.
    expect(judged({ ...none, figures: { ...line, used: 9, creating: 1 } })).toMatchObject({
      matter: "12 borrowers wait for 10 connections, the longest for 1.5 s.",
      remedy: expect.stringMatching(/^All are in use .* Raise max/)
    })
    expect(judged({ ...none, figures: { ...line, used: 0, closing: 10 } }).remedy).toBe(
      "What was closed still takes its place until it has ended: see why closing a connection takes long."
    )
  })

  it("without the claim that all are in use where some are not", () => {
    expect(judged({ figures: { wait99: 250 } }).remedy).toBe(
      "At times all are in use (half of all for less than 5 ms), or have to be created first. Keep more with min, raise max, or hold for a shorter time."
    )
    expect(judged({ kind: "threads", recent: { CallRejected: 2 } }).remedy).toMatch(
      /^At times all threads are busy/
    )
    // Of a keyed pool, what is at rest may be another key's.
    expect(judged({ kind: "keyed", figures: { max: -1, pending: 4, longestWait: 2_000 } }).remedy).toMatch(
      /^All that some key may have is in use .* Raise maxPerKey/
    )
  })

  it("short when borrowers got nothing but what was broken", () => {
    expect(judged({ recent: { ValidationFailed: 2, invalid: 6 } })).toEqual({
      level: "short",
      matter: "2 borrowers got nothing: each connection that they tried was broken.",
      remedy: "See whether what it needs is up, and whether validate asks for what can be had."
    })
  })

  it("down when it is suspended and somebody waits", () => {
    expect(judged({ figures: { state: "suspended", pending: 1, longestWait: 61_000 } })).toEqual({
      level: "down",
      matter: "It is suspended, and 1 borrower waits, the longest for 1 min 1 s.",
      remedy: "Resume it."
    })
    expect(judged({ figures: { state: "suspended" } })).toMatchObject({
      level: "watch",
      matter: "It is suspended."
    })
  })

  it("closing, with what it waits for", () => {
    expect(judged({ figures: { state: "closing", used: 1 } }).matter).toBe(
      "It is closing, and waits for 1 connection that is not back."
    )
    expect(judged({ figures: { state: "closing", used: 0 } }).matter).toBe("It is closing.")
  })

  it("short when borrowers wait for each other", () => {
    expect(judged({ recent: { WouldDeadlock: 1 } })).toMatchObject({
      level: "short",
      matter: "1 borrower would have waited for ever: it holds what it waits for."
    })
  })

  it("to be watched when there is a leak, by leakAfter or by comparison", () => {
    expect(judged({ leaks: 1, figures: { longestHeld: 2_000 } })).toEqual({
      level: "watch",
      matter: `"GET /orders" (fiber 7) has had a connection for 2.0 s.`,
      remedy: "That is longer than leakAfter: see whether it forgets to give back."
    })
    expect(judged({ figures: { longestHeld: 120_000 } }).matter).toBe(
      `"GET /orders" (fiber 7) has had a connection for 2 min.`
    )
  })

  it("to be watched when what it has breaks", () => {
    expect(judged({ recent: { invalid: 2 } })).toMatchObject({
      level: "watch",
      matter: "2 connections were broken, and replaced."
    })
    expect(judged({ kind: "threads", recent: { ThreadCrashed: 1 } })).toMatchObject({
      level: "watch",
      matter: "1 thread ended by itself."
    })
    expect(judged({ kind: "threads", recent: { ThreadKilled: 1 } })).toMatchObject({
      level: "watch",
      matter: "1 task did not stop when told to."
    })
  })

  it("by what its kind is called", () => {
    const busy = { ...full, max: 2, pending: 40, longestWait: 2_000 }
    expect(judged({ kind: "threads", figures: busy, oldest: undefined })).toEqual({
      level: "short",
      matter: "40 calls wait for 2 threads, the longest for 2.0 s.",
      remedy:
        "All threads are busy (half of all for less than 5 ms). Raise max up to the number of cores, or make the tasks shorter."
    })
    expect(judged({ kind: "keyed", figures: { ...busy, max: -1 } }).matter).toBe(
      "40 borrowers wait for a resource, the longest for 2.0 s."
    )
  })

  it("by the worst that is the matter", () => {
    const all = { CreateFailed: 1, AcquireTimeout: 1, WouldDeadlock: 1, invalid: 1 }
    expect(judged({ recent: all, leaks: 1, figures: { state: "suspended", pending: 1 } }).remedy).toBe(
      "Resume it."
    )
    expect(judged({ recent: all, leaks: 1 }).matter).toMatch(/^Creating a connection fails/)
  })
})

const told = (error: unknown): string => messageOf(Cause.fail(error))

describe("words", () => {
  it("durations have the unit that a person would use", () => {
    const said = [0, 0.4, 1, 999, 1_000, 9_940, 12_300, 59_400, 60_000, 125_000, 3_600_000, 12_000_000].map(
      duration
    )
    expect(said).toEqual([
      "0 ms",
      "under 1 ms",
      "1 ms",
      "999 ms",
      "1.0 s",
      "9.9 s",
      "12 s",
      "59 s",
      "1 min",
      "2 min 5 s",
      "1 h",
      "3 h 20 min"
    ])
    expect(count(1, "thread")).toBe("1 thread")
    expect(count(2, "thread")).toBe("2 threads")
  })

  it("errors are told whatever they are, also what cannot be", () => {
    expect(told(new Error("connect\nECONNREFUSED"))).toBe("connect ECONNREFUSED")
    expect(told("no")).toBe("no")
    expect(told({ _tag: "Refused", message: "by the server" })).toBe("Refused: by the server")
    expect(told({ _tag: "Refused", why: "secret" })).toBe("Refused")
    expect(told(Object.create(null))).toBe("an error that cannot be told")
    const broken = {
      get message() {
        throw new Error("no message")
      }
    }
    expect(told(broken)).toBe("an error that cannot be told")
  })

  it("what comes from elsewhere is one line, and not a long one", () => {
    expect(oneLine(" a\n\tb ")).toBe("a b")
    expect(oneLine("x".repeat(1_000))).toHaveLength(300)
  })
})

describe("percentiles", () => {
  it("are right within 6 %, over the paces that are kept", () => {
    const window = new Window(3)
    expect(window.percentiles()).toEqual([null, null])
    for (let i = 1; i <= 1_000; i++) window.record(i)
    const [p50, p99] = window.percentiles()
    expect(Math.abs(p50! / 500 - 1)).toBeLessThan(0.07)
    expect(Math.abs(p99! / 990 - 1)).toBeLessThan(0.07)
    window.turn()
    window.turn()
    expect(window.percentiles()[0]).toBe(p50)
    window.turn()
    expect(window.percentiles()).toEqual([null, null])
  })

  it("take nothing, and more than a day, as they come", () => {
    const window = new Window(1)
    window.record(0)
    expect(window.percentiles()).toEqual([0, 0])
    window.record(1e12)
    window.record(Infinity)
    const [, p99] = window.percentiles()
    expect(p99).toBeGreaterThan(86_400_000)
  })
})
