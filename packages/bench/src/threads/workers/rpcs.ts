import { Schema } from "effect"
import { Rpc, RpcGroup } from "effect/rpc"
import { Transferable } from "effect/workers"

/** As they are: by default bytes go as base64. */
const copied = Transferable.schema(Schema.Uint8Array, () => [])

export const Rpcs = RpcGroup.make(
  Rpc.make("short", { payload: Schema.Finite, success: Schema.Finite }),
  Rpc.make("spin", { payload: Schema.Finite, success: Schema.Finite }),
  Rpc.make("either", { payload: Schema.Finite, success: Schema.Finite }),
  Rpc.make("echo", { payload: copied, success: copied }),
  Rpc.make("pass", { payload: Transferable.Uint8Array, success: Transferable.Uint8Array })
)
