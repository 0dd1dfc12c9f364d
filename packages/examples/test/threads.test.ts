import { Worker } from "node:worker_threads"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { PoolEvent, PoolRegistry } from "@cenote/pool"
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { problems } from "../src/checks.ts"
import { observe } from "../src/observe.ts"
import { startedWorkers } from "../src/threads/observe.ts"
import { type Program, programs, runProgram } from "../src/threads/programs.ts"
import { quietly } from "./quietly.ts"

const block = (millis: number): void => {
  const until = performance.now() + millis
  while (performance.now() < until);
}

layer(NodeServices.layer, { excludeTestServices: true })("what start checks of threads", (it) => {
  it.effect("finds nothing wrong with its programs", () =>
    Effect.gen(function* () {
      for (const program of programs) {
        const { broken } = yield* quietly(runProgram(program))
        assert.deepStrictEqual(broken, [], program.title)
      }
    })
  )

  it.effect("finds results that are wrong, missing, doubled, and made up", () =>
    Effect.gen(function* () {
      const sloppy: Program = {
        title: "sloppy",
        shows: "what it should not do",
        threads: NodeThreads.layer({ name: "sloppy", size: 1 }),
        effect: Effect.map(
          ThreadPool.execute((n: number) => n + 1, 1),
          (two) =>
            [
              ["right", two],
              ["wrong", two],
              ["twice", two],
              ["twice", two],
              ["made up", [two]]
            ] as const
        ),
        expected: { right: 2, wrong: 3, twice: 2, missing: 2 },
        crashes: 0,
        killed: 0
      }
      const { broken } = yield* quietly(runProgram(sloppy))
      assert.deepStrictEqual(broken, [
        "wrong gave 2, not 3",
        "made up gave [2], not undefined",
        "twice has 2 results, not 1",
        "missing has 0 results, not 1"
      ])
    })
  )

  it.effect("finds a crash that nobody meant, and a thread that is left", () =>
    Effect.gen(function* () {
      // Not the pool's, and not ended with the program.
      const stray = yield* Effect.acquireRelease(
        Effect.succeed<{ worker: Worker | undefined }>({ worker: undefined }),
        ({ worker }) => Effect.promise(async () => worker?.terminate())
      )
      const careless: Program = {
        title: "careless",
        shows: "what it should not do",
        threads: NodeThreads.layer({ name: "careless", size: 1 }),
        effect: Effect.gen(function* () {
          stray.worker = new Worker("setInterval(() => {}, 1000)", { eval: true })
          yield* Effect.ignore(ThreadPool.execute((): void => process.exit(1)))
          return []
        }),
        expected: {},
        crashes: 0,
        killed: 1
      }
      const { broken } = yield* quietly(runProgram(careless))
      // A busy machine holds up the main loop, too, and that is for the next test.
      const others = broken.filter((_) => !_.startsWith("the main loop"))
      assert.deepStrictEqual(others, [
        "1 threads crashed with 1 calls, not 0",
        "0 threads were stopped, not 1",
        "the pool counts 2 threads, and Node 3",
        "1 threads are left"
      ])
    })
  )

  it.effect("finds a main loop that was held up", () =>
    Effect.gen(function* () {
      const blocking: Program = {
        title: "blocking",
        shows: "what it should not do",
        threads: NodeThreads.layer({ name: "blocking", size: 1 }),
        effect: Effect.as(ThreadPool.inline(ThreadPool.execute(block, 150)), []),
        expected: {},
        crashes: 0,
        killed: 0
      }
      const { broken } = yield* quietly(runProgram(blocking))
      assert.lengthOf(broken, 1)
      assert.match(broken[0]!, /^the main loop ticked [01] times during 1 long calls: it was held up$/)
    })
  )

  it.effect("finds a pool that has more than its max", () =>
    Effect.gen(function* () {
      const at = { pool: "fat", at: 0 }
      const created = (resource: number) => PoolEvent.PoolEvent.Created({ ...at, resource, took: 0 })
      const stats: ThreadPool.Stats = yield* Effect.provide(ThreadPool.stats, ThreadPool.layerInline)
      const register = PoolRegistry.register({
        kind: "threads",
        name: "fat",
        stats: Effect.succeed({ ...stats, name: "fat", max: 1 }),
        options: {},
        leases: () => Effect.succeed([]),
        waiters: () => Effect.succeed([]),
        record: () => Effect.void,
        actions: {},
        events: Stream.make(
          created(1),
          created(2),
          PoolEvent.PoolEvent.Resized({ ...at, min: 0, max: 3 }),
          created(3)
        )
      })
      const { pools } = yield* quietly(observe(Effect.scoped(register)))
      assert.deepInclude(pools[0], { created: 3, max: 3, overMax: 1 })
      assert.include(problems(pools[0]!), "pool fat created 1 resources above its max")
    })
  )

  it.effect("leaves no thread when it is stopped half way", () =>
    Effect.gen(function* () {
      const workers = yield* startedWorkers
      const [program] = programs
      const run = yield* Effect.forkChild(quietly(runProgram(program!)))
      yield* Effect.repeat(Effect.delay(Effect.void, "10 millis"), {
        until: () => workers.length === 2 && workers.every((_) => _.threadId > 0)
      })
      yield* Fiber.interrupt(run)
      assert.deepStrictEqual(
        workers.map((_) => _.threadId),
        [-1, -1]
      )
    })
  )
})
