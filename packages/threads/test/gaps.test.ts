/**
 * What no other test noticed when thread pools were broken on purpose, one subject after the other. The tables of
 * docs/testing.md say what was broken.
 */
import { Context } from "effect"
import { describe, expect, it } from "vitest"
import { Call, RemoteFunction } from "../src/internal/call.ts"
import { Cell, cellOf, FromThread, Status, ToThread } from "../src/internal/protocol.ts"
import { type Owner, Thread } from "../src/internal/thread.ts"

// -----------------------------------------------------------------------------
// A thread, as the pool sees it
// -----------------------------------------------------------------------------

/** A thread whose messages the test reads, and whose replies the test writes. */
class Bench {
  readonly thread: Thread
  readonly posted: Array<unknown> = []

  constructor() {
    const owner: Owner = {
      extra: () => undefined,
      sendable: ({ args }) => ({ args, objects: undefined }),
      ended: () => {},
      pinned: () => {},
      refused: () => {},
      heard: () => {},
      log: () => {},
      span: () => {}
    }
    this.thread = new Thread(1, 1, owner, 0)
    this.thread.state = "ready"
    this.thread.channel = { post: (message) => void this.posted.push(...message), terminate: undefined }
  }

  send(target: RemoteFunction): Call {
    const call = callOf(target)
    this.thread.send(call, 0)
    return call
  }

  begin({ slot }: Call): void {
    Atomics.store(this.thread.memory!, cellOf(slot), Cell.started)
  }

  reply({ slot }: Call): void {
    this.thread.receive([FromThread.done, slot, Status.ok, undefined, 0.01, 0.01], 0)
  }
}

/** A function that is known to take so many milliseconds. */
const functionOf = (estimate: number): RemoteFunction => {
  const f = new RemoteFunction({ kind: "source", name: "f", source: "() => 1" }, "f")
  f.estimate = estimate
  return f
}

/** A call that nobody waits for. */
const callOf = (target: RemoteFunction): Call =>
  new Call(
    { id: 1, context: Context.empty() } as never,
    () => {},
    target,
    "task",
    [],
    {
      pinned: undefined,
      wantsStream: false,
      unkillable: false,
      patient: false,
      inline: false,
      transfers: []
    },
    0
  )

describe("a thread that had a task that nobody wanted any more", () => {
  it("is sent nothing ahead until the task has stopped, and then again", () => {
    const bench = new Bench()
    const short = functionOf(0.01)
    const [unwanted, next] = [bench.send(short), bench.send(short)]
    bench.begin(unwanted)
    bench.thread.abort(unwanted)
    expect(bench.thread.admits(callOf(short), 0)).toBe(false)
    bench.reply(unwanted)
    bench.begin(next)
    expect(bench.thread.admits(callOf(short), 0)).toBe(true)
  })
})

describe("a program that makes up functions as it goes", () => {
  it("does not fill its threads with them: what was defined first is forgotten, and defined again when it is wanted", () => {
    const bench = new Bench()
    const functions = Array.from({ length: 2001 }, () => functionOf(0.01))
    const define = (f: RemoteFunction): ReadonlyArray<unknown> => {
      bench.posted.length = 0
      bench.reply(bench.send(f))
      bench.thread.flush()
      const [first, second] = bench.posted
      return first === ToThread.forget ? ["forget", second === ToThread.define] : [first === ToThread.define]
    }
    for (const f of functions.slice(0, 2000)) expect(define(f)).toEqual([true])
    expect(define(functions[0]!), "it is known").toEqual([false])
    expect(define(functions[2000]!), "it is one too many").toEqual(["forget", true])
    expect(define(functions[0]!), "it was forgotten").toEqual([true])
    expect(define(functions[0]!)).toEqual([false])
  })
})
