/**
 * What the page makes of what it is told, where that takes no browser: what it knows, in which order pools stand, and how figures read.
 */
import { describe, expect, it } from "@effect/vitest"
import type { Figures, Focus, Sample } from "../src/internal/protocol.ts"
import { columns, comparison, placesByName, type Sort, worstFirst } from "../src/page/columns.ts"
import { bytes, count, duration, rate, several, share, some } from "../src/page/format.ts"
import { State } from "../src/page/state.ts"
import { hashOf, idOf } from "../src/page/words.ts"
import { at, change, focus, pool, whole } from "./topFake.ts"

describe("what the page knows", () => {
  const begun = (...ids: ReadonlyArray<string>): State => {
    const state = new State()
    state.begin(whole(ids.map((id) => pool(id))))
    return state
  }

  it("is what it was told anew, and nothing from before", () => {
    const state = begun("a", "b")
    state.begin(whole([pool("b", { used: 3 })]))
    expect([...state.pools.keys()]).toEqual(["b"])
    expect(state.pools.get("b")!.figures.used).toBe(3)
  })

  it("has a pool that came under the name of one that went", () => {
    const state = begun("a", "b")
    state.takeDirty()
    state.change(change({ removed: ["a"], added: [pool("a", { used: 3 }, "threads")] }))
    expect(state.pools.get("a")).toMatchObject({ kind: "threads", figures: { used: 3 } })
    expect(state.takeDirty()).toEqual({ list: true, figures: new Set(["a"]), focus: "same" })
  })

  it("changes by the figures that are told, also by those that go back", () => {
    const state = begun("a", "b")
    for (const some of [{ used: 3, hold99: 7 }, { used: 0 }, { hold99: null }] satisfies ReadonlyArray<
      Partial<Figures>
    >) {
      state.takeDirty()
      state.change(change({ figures: { a: some, "not there": some } }))
      expect(state.pools.get("a")!.figures).toMatchObject(some)
      expect(state.takeDirty()).toEqual({ list: false, figures: new Set(["a"]), focus: "same" })
    }
    expect(state.pools.get("b")!.figures).toEqual(pool("b").figures)
  })

  it("has no more of a pool's past than the server keeps, and none of another pool's", () => {
    const { history: _, ...now } = focus("a")
    const sampleOf = (at: number): Sample => [at, 0, 0, 0, 0, null, null, null, null, 0, 0, 0]
    const eventOf = (at: number): Focus["events"][number] => ({ at, what: "Closed", tone: "plain", text: "" })
    const state = begun("a", "b")
    for (let i = 0; i < 400; i++) {
      state.change(change({ focus: { ...now, sample: sampleOf(i), events: [eventOf(i)] } }))
    }
    const moments = (first: number) => Array.from({ length: 400 - first }, (_, i) => first + i)
    expect(state.focus!.history.map(([at]) => at)).toEqual(moments(100))
    expect(state.focus!.events.map(({ at }) => at)).toEqual(moments(200))
    state.change(change({ focus: { ...now, id: "b", sample: sampleOf(at) } }))
    expect(state.focus).toMatchObject({ id: "b", history: [sampleOf(at)], events: [] })
  })
})

describe("the order of pools on the page", () => {
  const pools = [
    pool("a", { wait99: null }),
    pool("b", { wait99: 5, longestHeld: 9, level: "watch" }),
    pool("c10", { wait99: 70, failures: 1, level: "down" }),
    pool("c9", { wait99: 70, timeouts: 2, rate: 3, pending: 1, level: "short" }),
    pool("d", { used: 2, max: 2, size: 2, longestWait: 8, hold99: 1 })
  ]
  const ids = (sort: Sort): string =>
    pools
      .toSorted(comparison(sort, placesByName(pools.map(({ id }) => id))))
      .map(({ id }) => id)
      .join(" ")
  const by = (key: string, down = true): string => ids({ key, down })

  it("is the worst first, and else that of the column, the greatest first", () => {
    expect(ids(worstFirst)).toBe("c10 c9 b a d")
    expect(by("name")).toBe("a b c9 c10 d")
    expect(by("name", false)).toBe("d c10 c9 b a")
    const first = columns
      .filter(({ size }) => size !== undefined)
      .map(({ key }) => [key, by(key).split(" ")[0]])
    expect(Object.fromEntries(first)).toEqual({
      level: "c10",
      use: "d",
      pending: "c9",
      longestWait: "d",
      longestHeld: "b",
      rate: "c9",
      wait99: "c10",
      hold99: "d",
      failed: "c9"
    })
  })

  it("is by level and then by name where the figures are the same; what was not measured is the least", () => {
    expect(by("wait99")).toBe("c10 c9 b a d")
    expect(by("wait99", false)).toBe("a d b c10 c9")
  })
})

describe("figures on the page", () => {
  it("have the unit that a person would use", () => {
    const said = [
      0, 0.44, 9.94, 9.96, 999.4, 999.6, 9_949, 9_951, 59_499, 59_501, 125_000, 3_569_000, 3_571_000
    ]
    expect(said.map(duration)).toEqual([
      "0 ms",
      "0.4 ms",
      "9.9 ms",
      "10 ms",
      "999 ms",
      "1.0 s",
      "9.9 s",
      "10 s",
      "59 s",
      "1 min",
      "2 min 5 s",
      "59 min 29 s",
      "1 h"
    ])
    expect([7_500_000, 86_400_000, 100_800_000].map(duration)).toEqual(["2 h 5 min", "1 d", "1 d 4 h"])
    expect([999, 999_000, 12e6, 3.44e9].map(bytes)).toEqual(["1 kB", "999 kB", "12 MB", "3.4 GB"])
    expect([0, 3.24, 9.96, 1203.6].map(rate)).toEqual(["–", "3.2", "10", "1,204"])
    expect([0, 0.004, 0.5, 1].map(share)).toEqual(["0 %", "0 %", "50 %", "100 %"])
    expect([some(0), some(1000), count(0), several(1, "pool"), several(1000, "pool")]).toEqual([
      "–",
      "1,000",
      "0",
      "1 pool",
      "1,000 pools"
    ])
  })

  it("of a pool are at an address that is read back as its name, whatever that is", () => {
    for (const id of ["app/Db", "app/Db#2", `<a href="?">%41 \u202E`, "#/pool/", "Größe 🐟"]) {
      expect(idOf(hashOf(id))).toBe(id)
    }
    for (const hash of ["", "#/", "#/pool/", "#/pool/%", "#pool/a", "#content"])
      expect(idOf(hash)).toBeUndefined()
  })
})
