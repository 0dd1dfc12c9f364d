// `pnpm start`: the tour of all programs; with `--watch`, a shop that is open until Ctrl-C.
import { Postgres } from "@cenote/testing/TestServers"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { Told, tour } from "./tour.ts"
import { watch } from "./watch/watch.ts"

const portFlag = (name: string) =>
  Flag.Int(name).pipe(
    Flag.filter(
      (port) => port > 0 && port < 65536,
      () => "a number from 1 to 65535"
    )
  )

/** The options of the server have other names here. */
const describe = (error: { readonly _tag: string; readonly message: string }): string =>
  error._tag === "ServerError"
    ? error.message.replace("`port`", "--postgres-port").replace("`folder`", "--data")
    : error.message

const start = Command.make(
  "start",
  {
    watch: Flag.Boolean("watch").pipe(
      Flag.withDescription(
        "Keeps a varied load running until Ctrl-C, with troubles now and then, and the dashboard open"
      ),
      Flag.withDefault(false)
    ),
    port: portFlag("port").pipe(
      Flag.withDescription("Port of the dashboard on 127.0.0.1; with --watch 7070 if it is free, else any"),
      Flag.optional
    ),
    postgresPort: portFlag("postgres-port").pipe(
      Flag.withDescription("Port of the PostgreSQL on 127.0.0.1; a free one unless given"),
      Flag.optional
    ),
    data: Flag.String("data").pipe(
      Flag.withMetavar("folder"),
      Flag.withDescription("Folder for its files, empty or new; a temporary one unless given"),
      Flag.optional
    ),
    speed: Flag.Finite("speed").pipe(
      Flag.filter(
        (speed) => speed >= 0.1 && speed <= 100,
        () => "a number from 0.1 to 100"
      ),
      Flag.withDescription("With --watch: how many times as fast troubles come and go"),
      Flag.withDefault(1)
    )
  },
  (flags) => {
    const port = Option.getOrUndefined(flags.port)
    return Effect.suspend(() => (flags.watch ? watch({ port, speed: flags.speed }) : tour({ port }))).pipe(
      Effect.provide(
        Postgres.layer({
          port: Option.getOrUndefined(flags.postgresPort),
          folder: Option.getOrUndefined(flags.data)
        })
      ),
      Effect.catchIf(
        (error) => error._tag !== "Told",
        (error) => Effect.andThen(Console.error(`start: ${describe(error)}`), new Told())
      ),
      Effect.onInterrupt(() =>
        Console.error("start: stopped; the pools are closed, and the servers are gone")
      )
    )
  }
).pipe(
  Command.withDescription(
    "A tour of Cenote: runs the example programs on pools, threads and private servers, which are gone when they have ended (a " +
      "PostgreSQL, and a MariaDB if the machine has one), and checks that nothing was lost. The exit code is 0 if all is well. " +
      "`pnpm start top` is `cenote top`: it shows the pools of such a run, or of any program with a dashboard, in another terminal."
  )
)

// What the dashboard calls it: where Node lies says little.
process.title = "start"

// A terminal that closes, and a reader that goes away (`pnpm start | head`), end the run as Ctrl-C does.
const terminate = () => process.kill(process.pid, "SIGTERM")
process.once("SIGHUP", terminate)
process.stdout.once("error", terminate).on("error", () => {})

start.pipe(Command.run({ version: "0.0.0" }), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
