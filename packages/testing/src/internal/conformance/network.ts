// Servers of the tests' own: one that says nothing, and a way to a real one that can be held up.
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { connect, createServer, type Server, type Socket } from "node:net"
import type { Address } from "./model.ts"

const host = "127.0.0.1"

/** A way to a server. */
export interface Way {
  readonly address: Address
  /** How many have come, from the start. */
  readonly came: () => number
  /** How many are connected now. */
  readonly connected: () => number
  /** Lets through what comes from now on, and what was held up. */
  readonly open: Effect.Effect<void>
}

/** A port at which nobody listens. */
export const closedPort: Effect.Effect<Address> = Effect.callback((resume) => {
  const server = createServer()
  server.listen({ host, port: 0 }, () => {
    const port = portOf(server)
    server.close(() => resume(Effect.succeed({ host, port })))
  })
})

/** A way that is closed at first: whoever comes is let in, and hears nothing until it is opened. */
export const wayTo = (target: Address): Effect.Effect<Way, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Passage>((resume) => {
        const passage = new Passage(target)
        passage.server.listen({ host, port: 0 }, () => resume(Effect.succeed(passage)))
      }),
      (passage) => passage.close
    ),
    (passage) => ({
      address: { host, port: portOf(passage.server) },
      came: () => passage.came,
      connected: () => passage.sockets.size,
      open: Effect.sync(() => passage.open())
    })
  )

class Passage {
  readonly server: Server
  readonly sockets = new Set<Socket>()
  came = 0
  private isOpen = false
  private readonly target: Address

  constructor(target: Address) {
    this.target = target
    this.server = createServer((socket) => {
      this.came++
      this.sockets.add(socket)
      socket.on("error", () => {})
      socket.once("close", () => this.sockets.delete(socket))
      // One who leaves is to be noticed also while nothing is read.
      socket.on("end", () => socket.destroy())
      if (this.isOpen) this.join(socket)
      else hold(socket)
    })
  }

  open(): void {
    this.isOpen = true
    for (const socket of this.sockets) this.join(socket)
  }

  private join(socket: Socket): void {
    const onward = connect(this.target)
    const said = held.get(socket) ?? []
    held.delete(socket)
    socket.removeAllListeners("data")
    for (const data of said) onward.write(data)
    onward.on("error", () => socket.destroy())
    onward.once("close", () => socket.destroy())
    socket.once("close", () => onward.destroy())
    socket.pipe(onward).pipe(socket)
  }

  readonly close: Effect.Effect<void> = Effect.callback((resume) => {
    this.server.close(() => resume(Effect.void))
    for (const socket of this.sockets) socket.destroy()
  })
}

/** What was said to a way that is closed. */
const held = new WeakMap<Socket, Array<Buffer>>()

const hold = (socket: Socket): void => {
  const said: Array<Buffer> = []
  held.set(socket, said)
  socket.on("data", (data) => said.push(data))
}

const portOf = (server: Server): number => {
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
}
