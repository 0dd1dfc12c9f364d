import { describeWith, Postgres } from "@cenote/testing/TestServers"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Stream } from "effect"
import { isAlive, listen, newFolder, run, start } from "./process.ts"

layer(NodeServices.layer, { excludeTestServices: true })("start", (it) => {
  it.effect("says in one line that the port is taken", () =>
    Effect.gen(function* () {
      const address = (yield* listen).address()
      assert.isObject(address)
      const { port } = address as { readonly port: number }
      assert.deepStrictEqual(yield* run(["--postgres-port", String(port)]), {
        code: 1,
        out: "",
        err: `start: port ${port} of 127.0.0.1 is taken. Choose another with --postgres-port, or leave it out for a free one\n`
      })
    })
  )

  it.effect("says in one line that the folder is taken, and leaves it alone", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* newFolder
      yield* fs.makeDirectory(folder)
      yield* fs.writeFileString(`${folder}/letter`, "mine")
      const { code, err, out } = yield* run(["--data", folder])
      assert.deepStrictEqual([code, out], [1, ""])
      assert.strictEqual(
        err,
        `start: folder ${folder} is not empty. Choose an empty or a new one with --data, or leave it out for a temporary one\n`
      )
      assert.deepStrictEqual(yield* fs.readDirectory(folder), ["letter"])
      assert.strictEqual(yield* fs.readFileString(`${folder}/letter`), "mine")
    })
  )

  it.effect("tells its options", () =>
    Effect.gen(function* () {
      const { code, out } = yield* run(["--help"])
      assert.strictEqual(code, 0)
      for (const option of ["--watch", "--port", "--postgres-port", "--data", "--speed"])
        assert.include(out, option)
    })
  )
})

await describeWith("start, on a real server", [Postgres.available], () => {
  layer(NodeServices.layer, { excludeTestServices: true })((it) => {
    it.effect(
      "runs the programs, sums up, and removes its server",
      () =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const folder = yield* newFolder
          const { code, err, out } = yield* run(["--data", folder])
          assert.deepStrictEqual([code, err], [0, ""])
          // Program, borrows, created, replaced, lost; a task whose session was terminated is borrowed for again.
          const row = (title: string) =>
            new RegExp(`^${title} +(\\d+) .* ms +(\\d+) +(\\d+) +(\\d+)$`, "m")
              .exec(out)
              ?.slice(1)
              .map(Number) ?? []
          assert.deepStrictEqual(row("Basic Resource Pool"), [8, 3, 0, 0])
          assert.deepStrictEqual(row("Token Pool for Concurrency Control"), [5, 2, 0, 0])
          const [borrows, created, replaced, lost] = row("Advanced Pool Management")
          assert.include([48, 49, 50], borrows)
          assert.isAtLeast(replaced ?? 0, 2)
          assert.isAbove(created ?? 0, replaced ?? 0)
          assert.strictEqual(lost, 0)
          // Program, calls, threads, crashed, stopped.
          const rowOfThreads = (title: string) =>
            new RegExp(`^${title} +(\\d+) .* ms +(\\d+) +(\\d+) +(\\d+) +\\d+ %`, "m")
              .exec(out)
              ?.slice(1)
              .map(Number)
          assert.deepStrictEqual(rowOfThreads("Mixed Workload"), [6, 2, 0, 0])
          // To let go of the object is a call too.
          assert.deepStrictEqual(rowOfThreads("Thread Pool Proxy"), [13, 2, 0, 0])
          assert.deepStrictEqual(rowOfThreads("Thread Pool Size"), [9, 5, 0, 0])
          assert.deepStrictEqual(rowOfThreads("Crashes and Runaways"), [8, 4, 1, 1])
          // Program, borrows, created, replaced, lost; a server ends two of the three connections.
          const rowOfConnections = (title: string) =>
            new RegExp(`^${title} +(\\d+) .* ms +(\\d+) +(\\d+) +(\\d+) +[\\d.]+ ms$`, "m")
              .exec(out)
              ?.slice(1)
              .map(Number)
          const hasMariaDb = !out.includes("\nThe programs on MariaDB are left out: ")
          for (const connections of ["Raw", "Tpooled"]) {
            assert.deepStrictEqual(
              rowOfConnections(`${connections} Connection Pool on SQLite`),
              [24, 3, 0, 0]
            )
            for (const server of hasMariaDb ? ["PostgreSQL", "MariaDB"] : ["PostgreSQL"]) {
              const row = rowOfConnections(`${connections} Connection Pool on ${server}`)
              const [borrows, created, replaced, lost] = row ?? []
              // A statement on a session that has just ended is sent again.
              assert.isAtLeast(borrows ?? 0, 24)
              assert.isAtMost(borrows ?? 0, 27)
              assert.isAtLeast(created ?? 0, 3)
              assert.deepStrictEqual([replaced, lost], [2, 0])
            }
          }
          const [orders, connected, recycled, lostOrders] = rowOfConnections("Database Connector") ?? []
          assert.deepStrictEqual([orders, lostOrders], [24, 0])
          // At least one session for each of two databases, and for each of two passwords.
          assert.isAtLeast(connected ?? 0, 4)
          assert.isAtLeast(recycled ?? 0, 2)
          assert.include(
            out,
            `\n${hasMariaDb ? 121 : 105} tasks committed, each found once in its database; 36 calls to threads, each result as it must be\n`
          )
          assert.match(
            out,
            /\n\d+ loans from 1[02] pools, \d+ of them after a wait, and \d+ returns; \d+ resources created, \d+ replaced while their pool was open\n13 threads started in 4 pools, 1 crashed and 1 stopped, and replaced\n/
          )
          // What `cenote top` saw, and what Prometheus would have.
          assert.match(out, / {4}short {2}app\/Db {2}pool +2\/2 +██████████ /)
          assert.match(out, / {4}exit code 1\n/)
          assert.match(
            out,
            / {4}cenote_pool_pending_requests\{cenote_pool_name="app\/Db",cenote_pool_kind="pool"\} 2\n/
          )
          assert.match(out, /\nAll pools came to rest and closed; no session, thread or file left; [\d.]+ s$/)
          const pid = Number(/\(process (\d+)\)/.exec(out)?.[1])
          assert.isFalse(isAlive(pid))
          assert.isFalse(yield* fs.exists(folder))
        }),
      180_000
    )

    it.effect("stops its server and removes it when it is interrupted", () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* newFolder
        const { child, stderr, stdout } = yield* start(["--data", folder])
        let pid = 0
        yield* Stream.runForEach(stdout, (line) => {
          if (line.includes("(process ")) pid = Number(/\(process (\d+)\)/.exec(line)?.[1])
          // Sessions are open, and tasks are running.
          return line.includes("got a token")
            ? Effect.sync(() => void process.kill(child.pid, "SIGINT"))
            : Effect.void
        })
        assert.strictEqual(Number(yield* child.exitCode), 130)
        assert.strictEqual(yield* stderr, "start: stopped; the pools are closed, and the servers are gone\n")
        assert.isAbove(pid, 0)
        assert.isFalse(isAlive(pid))
        assert.isFalse(yield* fs.exists(folder))
      })
    )
  })
})
