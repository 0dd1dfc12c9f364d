// What `cenote top` draws, to the letter, and what its keys do.
import { describe, expect, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import type { Figures, Focus, PoolView } from "../src/internal/protocol.ts"
import * as Address from "../src/internal/top/address.ts"
import type { Look } from "../src/internal/top/grid.ts"
import { after } from "../src/internal/top/messages.ts"
import { sorted, sorts } from "../src/internal/top/order.ts"
import { frame, type Model, model, pressed, quits, snapshot } from "../src/internal/top/screen.ts"
import { known } from "../src/internal/top/state.ts"
import { bar, cut, duration, harmless, rate, short, spark, widthOf, wrap } from "../src/internal/top/text.ts"
import { at, change, figures, focus, pool, whole } from "./topFake.ts"

const look: Look = { columns: 100, color: false, timeZone: "UTC" }

const db = pool("app/Db", {
  used: 10,
  idle: 0,
  pending: 5,
  longestWait: 3_200,
  longestHeld: 12_000,
  rate: 12.3,
  wait50: 4,
  wait99: 3_100,
  hold50: 7,
  hold99: 45,
  borrowed: 1234,
  timeouts: 2,
  level: "short",
  matter: "5 borrowers wait for 10 connections, the first since 3.2 s.",
  remedy: "Raise max, or hold for a shorter time."
})
const cpu = pool("cpu", { used: 1, idle: 1, max: 2, rate: 1234 }, "threads")
const tokens = pool(
  "tokens",
  { max: -1, level: "watch", state: "suspended", matter: "It is suspended.", remedy: "Resume it." },
  "tokens"
)
const pools = [cpu, tokens, db]

const start = (some: Partial<Model> = {}): Model => ({
  ...model("http://127.0.0.1:7070", known(whole(pools)), "worst", undefined),
  ...some
})

const lines = (text: string): ReadonlyArray<string> =>
  text.replace(/^\n/, "").replace(/\n *$/, "").split("\n")

const inFocus: Focus = focus("app/Db", {
  history: [1, 2, 3, 4].map((used, i) => [at - 4000 + i * 1000, used, 0, 4 - used, 10, 0, 0, 0, 0, 0, 0, 0]),
  leases: [
    { resource: 3, item: undefined, fiber: 41, span: "Orders.place", since: at - 12_000, held: 12_000 },
    { resource: 1, item: "GET /", fiber: 7, span: undefined, since: at - 90, held: 90 }
  ],
  waiters: [{ fiber: 52, span: "Orders.list", waited: 3_200 }],
  events: [
    { at: at - 2000, what: "Created", tone: "plain", text: "#3 created in 12 ms" },
    { at: at - 1000, what: "TimedOut", tone: "bad", text: "fiber 50 gave up after 5.0 s (line)" }
  ],
  failures: { AcquireTimeout: 2, CreateFailed: 0 },
  closes: { maxAge: 3 }
})

// -----------------------------------------------------------------------------
// Pictures
// -----------------------------------------------------------------------------

describe("the picture of all pools", () => {
  it("has what is the matter above, the worst pool first, and the keys below", () => {
    const size = { columns: 100, rows: 12 }
    expect(frame(start(), size, look)).toEqual(
      lines(`
12:03:10  http://127.0.0.1:7070  app, process 123, Node 24.21.0, up 3 m 10 s
3 pools: 1 short, 1 watch, 1 ok
app/Db (short): 5 borrowers wait for 10 connections, the first since 3.2 s. Raise max, or hold for a
shorter time. (1 more below)

  LEVEL  NAME                KIND         IN USE              WAITING  WAITED  HELD     RATE  FAILED
> short  app/Db              connections   10/10  ██████████        5   3.2 s  12 s     12/s       0
  watch  tokens (suspended)  tokens          0/∞                    0       -     -        -       0
  ok     cpu                 threads         1/2  █████░░░░░        0       -     -  1.23k/s       0


q quit   ↑↓ choose   Enter open   s sort: worst`)
    )
  })

  it("has every figure where there is room", () => {
    expect(frame(start(), { columns: 150, rows: 10 }, { ...look, columns: 150 }).slice(5, 7)).toEqual(
      lines(`
  LEVEL  NAME                KIND         IN USE              IDLE  WAITING  WAITED  HELD     RATE  WAIT P99  HOLD P99  TIMEOUTS  FAILED
> short  app/Db              connections   10/10  ██████████     0        5   3.2 s  12 s     12/s     3.1 s     45 ms         2       0`)
    )
  })

  it("keeps the level, the name and the line where there is none", () => {
    expect(frame(start(), { columns: 30, rows: 12 }, { ...look, columns: 30 }).slice(4)).toEqual(
      lines(`
first since 3.2 s. Raise max,

  LEVEL  NAME          WAITING
> short  app/Db              5
  watch  tokens (sus…        0
  ok     cpu                 0

q quit   ↑↓ choose   Enter op…`)
    )
  })

  it("never has more lines than the screen, nor longer ones", () => {
    const many = Array.from({ length: 60 }, (_, i) =>
      pool(`pool ${"x".repeat(i)}`, { level: "watch", matter: "Look." })
    )
    for (const opened of [undefined, "app/Db"]) {
      for (const columns of [30, 43, 80, 200]) {
        for (const rows of [1, 2, 3, 5, 8, 24, 100]) {
          const known = {
            ...start().known,
            focus: inFocus,
            pools: new Map([db, ...many].map((_) => [_.id, _]))
          }
          const lost = { since: at, why: "nobody listens there", attempts: 3 }
          const drawn = frame(start({ known, lost, opened }), { columns, rows }, { ...look, columns })
          expect(drawn.length).toBe(rows)
          expect(Math.max(...drawn.map(widthOf)), `${columns} × ${rows}`).toBeLessThanOrEqual(columns)
        }
      }
    }
  })

  it("follows the pool that is marked past the end of the screen", () => {
    const many = Array.from({ length: 30 }, (_, i) => pool(`pool ${String(i).padStart(2, "0")}`))
    const last = pressed(start({ known: known(whole(many)) }), { name: "end", ctrl: false })
    expect(frame(last, { columns: 100, rows: 9 }, look).map((line) => line.slice(0, 16).trimEnd())).toEqual(
      lines(`
12:03:10  http:/
30 pools: 30 ok

  LEVEL  NAME
  ok     pool 26
  ok     pool 27
  ok     pool 28
> ok     pool 29
q quit   ↑↓ choo`)
    )
  })

  it("says since when there is no news, and why", () => {
    const lost = { since: at + 5_000, why: "nobody listens there (ECONNREFUSED)", attempts: 3 }
    expect(frame(start({ lost }), { columns: 100, rows: 12 }, look).slice(1, 3)).toEqual(
      lines(`
No news since 12:03:15: nobody listens there (ECONNREFUSED). Trying again (3 so far); what follows
is of 12:03:10.`)
    )
  })

  it("says so when there is no pool", () => {
    expect(frame(start({ known: known(whole([])) }), { columns: 100, rows: 5 }, look).slice(1)).toEqual([
      "There is no pool with a name yet.",
      "",
      "Pools appear here as the program makes them. Give a pool a name to see it.",
      "q quit   ↑↓ choose   Enter open   s sort: worst"
    ])
  })

  it("paints levels only where it may", () => {
    const painted = frame(start(), { columns: 100, rows: 12 }, { ...look, color: true }).join("\n")
    expect(painted).toContain("\u001b[33mshort")
    // eslint-disable-next-line no-control-regex
    expect(painted.replaceAll(/\u001b\[[\d;]*m/g, "")).toBe(
      frame(start(), { columns: 100, rows: 12 }, look).join("\n")
    )
  })
})

describe("the picture of one pool", () => {
  it("says who holds what, since when, who waits, and what happened", () => {
    const opened = start({ opened: "app/Db", known: { ...start().known, focus: inFocus } })
    expect(snapshot(opened, look)).toEqual(
      lines(`
12:03:10  http://127.0.0.1:7070  app, process 123, Node 24.21.0, up 3 m 10 s
app/Db  connections  short
5 borrowers wait for 10 connections, the first since 3.2 s. Raise max, or hold for a shorter time.

now         10/10 ██████████ in use, 0 idle, 5 waiting
longest     held 12 s, waited 3.2 s
wait, hold  p50 4 ms, 7 ms; p99 3.1 s, 45 ms; 12/s
totals      1234 borrowed, 4 created, 0 closed, 2 timed out, 0 failed to create
failures    AcquireTimeout 2
closed      maxAge 3
options     max 10, acquireTimeout 5s
in use      ▃▅▇█ at most 4 in 3.0 s
waiting     █▆▄▁ at most 3 in 3.0 s

Held by whom: 2 of 10, the longest first
 HELD  SINCE     WHAT      FIBER  SPAN
 12 s  12:02:58  #3           41  Orders.place
90 ms  12:03:09  #1 GET /      7  -

In line: 1 of 5, the head first
WAITED  FIBER  SPAN
 3.2 s     52  Orders.list

Events: 2, the newest first
AT        WHAT
12:03:09  TimedOut  fiber 50 gave up after 5.0 s (line)
12:03:08  Created   #3 created in 12 ms`)
    )
  })

  it("says what threads are at", () => {
    const threads = [
      {
        thread: 1,
        state: "busy",
        running: 2,
        task: "hash",
        since: 2500,
        ended: 12,
        load: 0.8,
        heapUsed: 12 * 2 ** 20
      },
      {
        thread: 2,
        state: "idle",
        running: 0,
        task: undefined,
        since: 0,
        ended: 9,
        load: 0,
        heapUsed: undefined
      }
    ]
    const opened = start({ opened: "cpu", known: { ...start().known, focus: focus("cpu", { threads }) } })
    expect(snapshot(opened, look).slice(-8)).toEqual(
      lines(`
In line: 0, the head first

Threads: 2
THREAD  STATE  LOAD              RUNNING  ENDED    HEAP  TASK
     1  busy   80 %  ████████░░        2     12  12 MiB  hash for 2.5 s
     2  idle    0 %  ░░░░░░░░░░        0      9       -  -

Events: 0, the newest first`)
    )
  })

  it("shares what room there is, and says how many lines are left out", () => {
    const leases = Array.from({ length: 40 }, (_, i) => ({ ...inFocus.leases[0]!, fiber: i }))
    const events = Array.from({ length: 40 }, (_, i) => ({ ...inFocus.events[0]!, text: `event ${i}` }))
    const opened = start({
      opened: "app/Db",
      known: { ...start().known, focus: { ...inFocus, leases, events } }
    })
    const drawn = frame(opened, { columns: 100, rows: 36 }, look)
    expect(drawn.slice(14).map((line) => line.slice(0, 24).trimEnd())).toEqual(
      lines(`

Held by whom: 40, the lo
HELD  SINCE     WHAT  FI
12 s  12:02:58  #3
12 s  12:02:58  #3
12 s  12:02:58  #3
12 s  12:02:58  #3
… 36 more

In line: 1 of 5, the hea
WAITED  FIBER  SPAN
 3.2 s     52  Orders.li

Events: 40, the newest f
AT        WHAT
12:03:08  Created  event
12:03:08  Created  event
12:03:08  Created  event
12:03:08  Created  event
12:03:08  Created  event
… 35 more
q quit   Esc back   Tab`)
    )
  })

  it("has nothing in it that a terminal would obey, whatever pools, spans and tasks are called", () => {
    const evil = "\u001b[2Jevil\u202e"
    const { history, ...more } = inFocus
    const sample = history[0]!
    const known = after(
      start().known,
      "change",
      JSON.stringify(
        change({
          added: [
            { ...pool(evil, { matter: evil, remedy: evil, level: "down" }, "threads"), options: { evil } }
          ],
          focus: {
            ...more,
            id: evil,
            sample,
            leases: [{ ...inFocus.leases[0]!, span: evil, item: evil }],
            waiters: [{ ...inFocus.waiters[0]!, span: evil }],
            events: [{ at, what: evil, tone: "bad", text: evil }],
            failures: { [evil]: 1 },
            closes: { [evil]: 1 },
            calls: { [evil]: 1 },
            threads: [
              { thread: 1, state: evil, running: 1, task: evil, since: 1, ended: 0, load: 1, heapUsed: 1 }
            ]
          }
        })
      )
    )!
    for (const opened of [undefined, evil]) {
      for (const drawn of [
        frame(start({ known, opened }), { columns: 200, rows: 60 }, { ...look, columns: 200 }),
        snapshot(start({ known, opened }), look)
      ]) {
        expect(drawn.join("\n")).toContain("evil")
        // eslint-disable-next-line no-control-regex
        expect(drawn.join("\n")).not.toMatch(/[\u001b\u202e]/)
      }
    }
  })

  it("says when the pool is gone, and when more is to come", () => {
    const size = { columns: 100, rows: 30 }
    expect(frame(start({ opened: "gone\n" }), size, look)).toContain(
      "gone\ufffd is gone: the program has closed it."
    )
    expect(frame(start({ opened: "cpu" }), size, look)).toContain("More comes with the next message.")
  })
})

// -----------------------------------------------------------------------------
// Keys
// -----------------------------------------------------------------------------

const press = (first: Model, ...names: ReadonlyArray<string>): Model =>
  names.reduce((model, name) => pressed(model, { name, ctrl: false }), first)

describe("keys", () => {
  it("go up and down within the list, and open what is marked", () => {
    expect(press(start(), "down").selected).toBe("tokens")
    expect(press(start(), "down", "down", "down", "down").selected).toBe("cpu")
    expect(press(start(), "up").selected).toBe("app/Db")
    expect(press(start(), "end", "home").selected).toBe("app/Db")
    expect(press(start(), "down", "return").opened).toBe("tokens")
    expect(press(start(), "down", "return", "escape")).toMatchObject({
      opened: undefined,
      selected: "tokens"
    })
    expect(press(start({ known: known(whole([])) }), "down", "return").opened).toBe(undefined)
  })

  it("mark the same pool when others overtake it", () => {
    const marked = press(start(), "down")
    const next = after(
      marked.known,
      "change",
      JSON.stringify(change({ figures: { cpu: { level: "down" } } }))
    )
    const drawn = frame({ ...marked, known: next! }, { columns: 100, rows: 12 }, look)
    expect(
      drawn
        .filter((line) => /^[> ] (down|short|watch|ok) /.test(line))
        .map((line) => line.slice(0, 17).trim())
    ).toEqual(["down   cpu", "short  app/Db", "> watch  tokens (s".slice(0, 17)])
  })

  it("go through the orders, and through the parts of a pool", () => {
    expect(sorts.map((_, i) => press(start(), ...Array.from({ length: i }, () => "s")).sort)).toEqual(sorts)
    expect(press(start(), ...sorts.map(() => "s")).sort).toBe("worst")
    const opened = start({ opened: "app/Db", known: { ...start().known, focus: inFocus } })
    const parts = [1, 2, 3, 4].map((n) => press(opened, ...Array.from({ length: n }, () => "tab")).section)
    expect(parts).toEqual(["held", "line", "events", "all"])
    expect(press(opened, "tab", "down", "down", "down").offset).toBe(1)
    // Who comes back begins anew.
    expect(press(opened, "tab", "down", "escape")).toMatchObject({ section: "all", offset: 0 })
    const second = frame(press(opened, "tab", "down"), { columns: 100, rows: 24 }, look)
    expect(second.some((line) => line.includes("Orders.place"))).toBe(false)
    expect(second.some((line) => line.includes("GET /"))).toBe(true)
  })

  it("end it", () => {
    expect(quits({ name: "q", ctrl: false })).toBe(true)
    expect(quits({ name: "c", ctrl: true })).toBe(true)
    expect(quits({ name: "c", ctrl: false })).toBe(false)
    expect(quits({ name: "escape", ctrl: false })).toBe(false)
  })
})

const ids = (sort: (typeof sorts)[number]) => sorted(pools, sort).map(({ id }) => id)

/** Which comes first. */
const first = (sort: (typeof sorts)[number], pools: ReadonlyArray<PoolView>) => sorted(pools, sort)[0]!.id

/** Two of which the second has something. */
const later = (some: Partial<Figures>) => [pool("a"), pool("b", some)]

describe("the order of pools", () => {
  it("is that of what was asked for, the greatest first", () => {
    expect(ids("worst")).toEqual(["app/Db", "tokens", "cpu"])
    expect(ids("name")).toEqual(["app/Db", "cpu", "tokens"])
    expect(ids("kind")).toEqual(["app/Db", "cpu", "tokens"])
    expect(ids("use")).toEqual(["app/Db", "cpu", "tokens"])
    expect(ids("rate")).toEqual(["cpu", "app/Db", "tokens"])
    expect(ids("failures")).toEqual(["app/Db", "cpu", "tokens"])
    expect(ids("held")).toEqual(["app/Db", "cpu", "tokens"])
    const line = [pool("a", { level: "down" }), pool("b", { pending: 1 }), pool("c", { pending: 2 })]
    expect(sorted(line, "waiting").map(({ id }) => id)).toEqual(["c", "b", "a"])
    expect(sorted(line, "worst").map(({ id }) => id)).toEqual(["a", "c", "b"])
  })

  it("is never that of the names where something else was asked for", () => {
    expect(first("name", later({ level: "down", used: 5 }))).toBe("a")
    expect(first("held", later({ longestHeld: 1 }))).toBe("b")
    expect(first("failures", later({ failures: 1 }))).toBe("b")
    expect(first("failures", later({ timeouts: 1 }))).toBe("b")
    expect(first("kind", [pool("a", {}, "threads"), pool("b")])).toBe("b")
    // Of how many, and only then how many.
    expect(first("use", [pool("a", { used: 5, max: 10 }), pool("b", { used: 2, max: 2 })])).toBe("b")
    expect(first("use", [pool("a", { used: 1, max: 2 }), pool("b", { used: 5, max: 10 })])).toBe("b")
  })
})

// -----------------------------------------------------------------------------
// What it is made of
// -----------------------------------------------------------------------------

describe("messages", () => {
  const first = after(undefined, "whole", JSON.stringify(whole([cpu, tokens], inFocus)))!

  it("change what is known", () => {
    const sample = [at, 5, 0, 0, 10, null, null, null, null, 0, 0, 0] as const
    const event = { at, what: "Closed", tone: "plain", text: "" } as const
    const { history: _, ...now } = inFocus
    const next = after(
      first,
      "change",
      JSON.stringify(
        change({
          added: [db],
          removed: ["cpu"],
          figures: { tokens: { used: 3, wait99: null }, "not there": { used: 1 } },
          focus: { ...now, leases: [], events: [event], sample }
        })
      )
    )!
    expect([...next.pools.keys()]).toEqual(["tokens", "app/Db"])
    expect(next.pools.get("tokens")!.figures).toEqual({ ...tokens.figures, used: 3 })
    expect(next.at).toBe(at + 1000)
    expect(next.focus!.leases).toEqual([])
    expect(next.focus!.history).toEqual([...inFocus.history, sample])
    expect(next.focus!.events).toEqual([...inFocus.events, event])
  })

  it("may take a pool away and bring another of its name", () => {
    const next = after(first, "change", JSON.stringify(change({ added: [pool("cpu")], removed: ["cpu"] })))!
    expect([...next.pools.values()].map(({ id, kind }) => [id, kind])).toEqual([
      ["tokens", "tokens"],
      ["cpu", "connections"]
    ])
  })

  it("keep no more of the past than the server does", () => {
    const { history: _, ...now } = inFocus
    let next = first
    for (let i = 0; i < 400; i++) {
      const sample = [i, 0, 0, 0, 0, null, null, null, null, 0, 0, 0] as const
      next = after(next, "change", JSON.stringify(change({ focus: { ...now, sample } })))!
    }
    expect(next.focus!.history.length).toBe(300)
    expect(next.focus!.history[0]![0]).toBe(100)
    expect(next.focus!.events.length).toBe(200)
  })

  it("have no focus where JSON has null or nothing", () => {
    expect(after(first, "change", JSON.stringify({ ...change(), focus: null }))!.focus).toBe(undefined)
    expect(after(first, "change", JSON.stringify(change()))!.focus).toBe(undefined)
  })

  it("are refused when they are something else", () => {
    const broken = [
      "",
      "{",
      "null",
      "[]",
      "{}",
      JSON.stringify({ ...whole([]), pools: undefined }),
      JSON.stringify(whole([{ ...db, figures: { ...figures(), max: "ten" } } as never])),
      JSON.stringify(whole([{ ...db, figures: { ...figures(), level: "fine" } } as never])),
      JSON.stringify(whole([], { ...inFocus, history: [[1, 2] as never] }))
    ]
    for (const text of broken) expect(after(undefined, "whole", text), text).toBe(undefined)
    expect(after(undefined, "change", JSON.stringify(change()))).toBe(undefined)
    expect(after(first, "change", JSON.stringify({ ...change(), figures: { cpu: { used: "1" } } }))).toBe(
      undefined
    )
  })

  it("may have more in them than this program knows", () => {
    const newer = {
      ...whole([{ ...cpu, colour: "red", figures: { ...cpu.figures, mood: 1 } } as never]),
      more: 1
    }
    expect(after(undefined, "whole", JSON.stringify(newer))!.pools.size).toBe(1)
  })
})

const make = (url: string, token?: string) =>
  Result.getOrThrow(Address.make(url, token === undefined ? undefined : Redacted.make(token)))

describe("addresses", () => {
  it("need no scheme, may have a path, and keep their secrets", () => {
    expect(make("127.0.0.1:7070").shown).toBe("http://127.0.0.1:7070")
    expect(make("localhost:7070/").stream(undefined)).toBe("http://localhost:7070/api/stream")
    expect(make("https://me:secret@host/cenote/?token=abc#x").shown).toBe("https://host/cenote")
    expect(make("https://host/cenote").stream("a b/c&d")).toBe(
      "https://host/cenote/api/stream?focus=a+b%2Fc%26d"
    )
    expect(Redacted.value(make("http://host/?token=abc").token!)).toBe("abc")
    expect(Redacted.value(make("http://host/?token=abc", "def").token!)).toBe("def")
    expect(make("http://host/?token=").token).toBe(undefined)
  })

  it("that are none are told without their secrets", () => {
    for (const url of [
      "ftp://me:secret@host/?token=secret",
      "http://",
      "a b c?secret",
      "http://me:secret@host:99999"
    ]) {
      const made = Address.make(url, undefined)
      const message = Result.isFailure(made) ? made.failure.message : "it is one"
      expect(message).toContain("it is no address of the web. Expected http://<host>:<port>")
      expect(message).not.toContain("secret")
    }
  })
})

describe("texts", () => {
  it("have nothing in them that a terminal would obey", () => {
    expect(harmless("a\u001b[31mb\u001b]0;title\u0007c")).toBe("abc")
    expect(harmless("a\r\nb\tc\u0000d\u009be\u007f")).toMatch(/^a.+b.c.d.*$/)
    expect(harmless("\u001b\u001b[2J\u009b1m\u202eevil\u2066\u200b\ud800!")).not.toMatch(
      // eslint-disable-next-line no-control-regex
      /[\u0000-\u001f\u007f-\u009f\u200b\u202e\u2066\ud800]/
    )
    expect(harmless("Größe 数据 🐟")).toBe("Größe 数据 🐟")
  })

  it("take as many cells as were meant", () => {
    expect(widthOf("Größe")).toBe(5)
    expect(widthOf("数据 🐟")).toBe(7)
    expect(widthOf("e\u0301")).toBe(1)
    expect(cut("数据库", 5)).toBe("数据…")
    expect(cut("数据库", 4)).toBe("数…")
    expect(cut("abc", 3)).toBe("abc")
    expect(cut("abcd", 3)).toBe("ab…")
    expect(cut("abcd", 0)).toBe("")
    expect(wrap("one two three four", 9)).toEqual(["one two", "three", "four"])
    expect(wrap("", 9)).toEqual([])
    expect(wrap("abcdefghijkl", 5)).toEqual(["abcd…"])
  })

  it("are short", () => {
    expect(
      [0.04, 0.4, 1, 999.4, 999.6, 9_949, 9_999, 59_499, 59_501, 3_599_000, 3_600_000, 180_000_000].map(
        duration
      )
    ).toEqual([
      "0.0 ms",
      "0.4 ms",
      "1 ms",
      "999 ms",
      "1.0 s",
      "9.9 s",
      "10 s",
      "59 s",
      "1 m 0 s",
      "59 m 59 s",
      "1 h 0 m",
      "2 d 2 h"
    ])
    expect([0, 1, 0.44, 9.94, 9.96, 999, 1000, 123_456, 999_600, 12e6].map(short)).toEqual([
      "0",
      "1",
      "0.4",
      "9.9",
      "10",
      "999",
      "1.00k",
      "123k",
      "1.00M",
      "12.0M"
    ])
    expect([0, 3].map(rate)).toEqual(["-", "3/s"])
    expect([0, 0.01, 0.5, 0.99, 1, 2].map((share) => bar(share, 4))).toEqual([
      "░░░░",
      "█░░░",
      "██░░",
      "███░",
      "████",
      "████"
    ])
    expect(spark([9, 0, 1, null, 4, 8], 5)).toBe("▁▂ ▅█")
    expect(spark([0, 0], 5)).toBe("▁▁")
  })
})
