// `pnpm start --watch`: a shop that is open until Ctrl-C, with troubles now and then, and the dashboard open.
import { styleText } from "node:util"
import { MariaDb, Postgres } from "@cenote/testing/TestServers"
import { Clock, Console, Context, Effect, Layer, References, Result } from "effect"
import { openDashboard } from "../dashboard.ts"
import { mariadb } from "../sql/databases.ts"
import { load, loadOfBooks } from "./load.ts"
import { openBooks, openPools, type Pools } from "./pools.ts"
import { lasting, pause, Speed } from "./tempo.ts"
import { type Trouble, troubles } from "./troubles.ts"

export const watch = Effect.fnUntraced(
  function* (options: { readonly port: number | undefined; readonly speed: number }) {
    const pace = Math.max(50, yield* lasting(1))
    const { url } = yield* openDashboard(options.port, { pace })
    const { pid, port, version } = yield* Postgres
    yield* Console.log(`PostgreSQL ${version} is ready on port ${port} (process ${yield* pid})`)
    const pools = yield* openPools
    yield* Console.log(
      `The dashboard is open: ${styleText("bold", url)}\n` +
        `In another terminal: npx -y pnpm@12 start top --url ${url}\n` +
        `A shop runs on PostgreSQL, SQLite, threads and tokens, and something goes wrong now and then. Ctrl-C ends it.\n`
    )
    yield* Effect.forkScoped(load(pools))
    yield* Effect.forkScoped(keepBooks)
    return yield* Effect.forever(
      Effect.forEach(troubles, (trouble) => show(trouble, pools), { discard: true })
    )
  },
  (effect, { speed }) =>
    effect.pipe(
      Effect.scoped,
      Effect.provideService(Speed, speed),
      // What is worth a line has one.
      Effect.provideService(References.MinimumLogLevel, "Error")
    )
)

/** On a MariaDB, which takes a few seconds to start, and is not on every machine. */
const keepBooks = Effect.gen(function* () {
  const server = yield* Effect.result(Layer.build(MariaDb.layer()))
  if (Result.isFailure(server)) return yield* say(`no MariaDB, and no app/Books: ${server.failure.message}`)
  const { version } = Context.get(server.success, MariaDb)
  const books = yield* Effect.flatMap(Effect.provideContext(mariadb.make, server.success), openBooks)
  yield* say(`MariaDB ${version} is up: look at app/Books`)
  return yield* loadOfBooks(books)
}).pipe(Effect.catch((error) => say(`no app/Books: ${error.message}`)))

const show = ({ look, make, what }: Trouble, pools: Pools) =>
  Effect.gen(function* () {
    yield* say(`${what}: look at ${look}`)
    yield* make(pools).pipe(
      // It ends here, also where somebody has suspended its pool on the page.
      Effect.timeout(yield* lasting(60)),
      Effect.ignore
    )
    yield* pause(3)
  })

const say = (text: string) =>
  Effect.flatMap(Clock.currentTimeMillis, (at) =>
    Console.log(`${styleText("dim", new Date(at).toTimeString().slice(0, 8))} ${text}`)
  )
