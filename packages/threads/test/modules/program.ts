// Small programs, each of which must end by itself. The first argument says which.
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { NodeThreads, ThreadPool } from "@cenote/threads"

const faulty = ThreadPool.module<typeof import("./faulty.ts")>(new URL("./faulty.ts", import.meta.url))

/** Nothing that is left behind may hold the process up: all of these are much longer than a test waits. */
const options: NodeThreads.Options = {
  size: 2,
  idleTimeout: "1 hour",
  taskTimeout: "1 hour",
  killGrace: "1 hour",
  closeTimeout: "1 hour",
  spawnTimeout: "1 hour"
}

const cells = new Int32Array(new SharedArrayBuffer(64))
const begun = (index: number): Effect.Effect<void> =>
  Effect.suspend(() => (cells[index] === 0 ? Effect.andThen(Effect.sleep(1), begun(index)) : Effect.void))

const calls = Effect.gen(function* () {
  yield* Effect.forEach([1, 2, 3, 4], () => faulty.thread(), { concurrency: "unbounded" })
  yield* Stream.runDrain(Stream.take(faulty.count(), 10))
  yield* Effect.scoped(Effect.flatMap(ThreadPool.proxy(faulty, "Thing"), (thing) => thing.thread()))
})

const programs: Record<string, Effect.Effect<unknown, unknown>> = {
  ends: Effect.provide(calls, NodeThreads.layer(options)),

  fails: Effect.provide(
    Effect.andThen(calls, Effect.fail(new Error("an assertion of a test does not hold"))),
    NodeThreads.layer(options)
  ),

  dies: Effect.provide(
    Effect.andThen(calls, Effect.die(new Error("a defect of a test"))),
    NodeThreads.layer(options)
  ),

  /** A thread has a timer, and another a server, that nobody ends. */
  opens: Effect.provide(
    Effect.all(
      [0, 1].map(() =>
        ThreadPool.execute(async () => {
          setInterval(() => {}, 1_000)
          const { createServer } = await import("node:net")
          await new Promise<void>((resolve) => void createServer().listen(0, "127.0.0.1", resolve))
        })
      ),
      { concurrency: "unbounded" }
    ),
    NodeThreads.layer(options)
  ),

  /** Calls are given up, at different points of their way. */
  interrupts: Effect.provide(
    Effect.scoped(
      Effect.gen(function* () {
        yield* Effect.forkScoped(faulty.spin(cells, 0))
        yield* Effect.forkScoped(faulty.deaf(cells, 2))
        yield* Effect.forkScoped(faulty.thread())
        yield* begun(0)
        yield* begun(2)
      })
    ),
    NodeThreads.layer({ ...options, killGrace: "1 second" })
  ),

  /** A task that must not be killed goes on, for longer than the program. */
  quarantines: Effect.provide(
    Effect.scoped(
      Effect.gen(function* () {
        yield* Effect.forkScoped(ThreadPool.unkillable(faulty.hold(cells, 0)))
        yield* begun(0)
      })
    ),
    NodeThreads.layer({ ...options, killGrace: "10 millis", closeTimeout: "10 millis" })
  ),

  /** The same when the pool closes long before it would be known that the task does not stop. */
  closesOnQuarantined: Effect.provide(
    Effect.scoped(
      Effect.gen(function* () {
        yield* Effect.forkScoped(ThreadPool.unkillable(faulty.hold(cells, 0)))
        yield* begun(0)
      })
    ),
    NodeThreads.layer({ ...options, closeTimeout: "10 millis" })
  ),

  /** The same, and somebody outside of the program still waits for it. */
  closesOnUnkillable: Effect.provide(
    Effect.gen(function* () {
      yield* Effect.forkDetach(ThreadPool.unkillable(faulty.hold(cells, 0)))
      yield* begun(0)
    }),
    NodeThreads.layer({ ...options, closeTimeout: "10 millis" })
  ),

  /** A thread is up, others cannot be started, and calls wait. */
  cannotGrow: Effect.gen(function* () {
    const folder = mkdtempSync(join(tmpdir(), "cenote-threads-"))
    const entry = join(folder, "entry.mjs")
    writeFileSync(entry, `import ${JSON.stringify(new URL("../../src/worker.ts", import.meta.url).href)}`)
    yield* Effect.gen(function* () {
      const running = yield* Effect.forkScoped(faulty.hold(cells, 0), { startImmediately: true })
      yield* begun(0)
      rmSync(folder, { recursive: true })
      const waiting = yield* Effect.forkScoped(faulty.thread(), { startImmediately: true })
      const failures = Effect.map(ThreadPool.stats, (_) => _.failures)
      yield* Effect.repeat(Effect.andThen(Effect.sleep(5), failures), { until: (_) => _ >= 4 })
      Atomics.store(cells, 1, 1)
      Atomics.notify(cells, 1)
      yield* Fiber.join(running)
      yield* Fiber.join(waiting)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        NodeThreads.layer({
          ...options,
          size: undefined,
          min: 1,
          max: 2,
          entry,
          spawnRetry: Schedule.recurs(0)
        })
      ),
      Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
    )
  }),

  drains: Effect.provide(Effect.andThen(calls, ThreadPool.drain), NodeThreads.layer(options)),

  crashes: Effect.provide(
    Effect.andThen(Effect.exit(faulty.exit(3)), Effect.exit(faulty.throwInTimer())),
    NodeThreads.layer(options)
  ),

  /** The threads have the limit that the second and third argument say. */
  limits: Effect.provide(
    faulty.thread(),
    NodeThreads.layer({ size: 1, resourceLimits: { [process.argv[3]!]: Number(process.argv[4]) } })
  ),

  cannotStart: Effect.provide(
    faulty.thread(),
    NodeThreads.layer({ ...options, entry: new URL("./nowhere.mjs", import.meta.url) })
  )
}

await Effect.runPromise(programs[process.argv[2]!]!)
console.log("over")
