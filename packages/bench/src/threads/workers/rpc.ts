import * as NodeWorkerRunner from "@effect/platform-node/NodeWorkerRunner"
import { Effect, Layer } from "effect"
import { RpcServer } from "effect/rpc"
import { Rpcs } from "./rpcs.ts"
import * as work from "./work.ts"

const Handlers = Rpcs.toLayer({
  short: (seed) => Effect.sync(() => work.short(seed)),
  spin: (millis) => Effect.sync(() => work.spin(millis)),
  either: (millis) => Effect.sync(() => work.either(millis)),
  echo: (bytes) => Effect.succeed(bytes),
  pass: (bytes) => Effect.succeed(bytes)
})

const Server = RpcServer.layer(Rpcs, { disableTracing: true }).pipe(
  Layer.provide(Handlers),
  Layer.provide(RpcServer.layerProtocolWorkerRunner),
  Layer.provide(NodeWorkerRunner.layer)
)

Effect.runFork(Layer.launch(Server))
