// A TCP proxy on the loopback interface that does to its connections what networks do.
import { createServer, connect, type Server, type Socket } from "node:net"

/** What becomes of what goes one way. */
export interface Weather {
  /** How long everything is on its way, in milliseconds. */
  delay: number
  /** Bytes a second; 0 holds everything up. */
  rate: number
  /** Whether everything is lost. */
  swallow: boolean
  /** How many more bytes go through before the connection is cut, and how. */
  cut: { bytes: number; readonly how: "drop" | "reset" } | undefined
}

export type Direction = "toServer" | "toClient"

export const directions: ReadonlyArray<Direction> = ["toServer", "toClient"]

const clear = (): Weather => ({ delay: 0, rate: Infinity, swallow: false, cut: undefined })

/** What becomes of a new connection. */
export type Welcome = "open" | "drop" | "reset"

type Item = { readonly at: number } & (
  | { readonly _tag: "Data"; readonly data: Buffer }
  | { readonly _tag: "End" }
  | { readonly _tag: "Reset" }
)

/** Past this many bytes on the way, the sender is made to wait. */
const highWater = 256 * 1024

/** What goes one way on one connection. */
class Flow {
  readonly weather: Weather
  private readonly items: Array<Item> = []
  private waiting = 0
  private timer: NodeJS.Timeout | undefined
  /** When the next byte may go, where there is a rate. */
  private nextAt = 0
  private isFull = false
  private isDone = false
  /** Bytes that were lost: what comes after them would make no sense to the receiver. */
  hasLost = false

  private readonly pair: Pair
  private readonly direction: Direction
  private readonly from: Socket
  private readonly to: Socket

  constructor(pair: Pair, direction: Direction, from: Socket, to: Socket, weather: Weather) {
    this.pair = pair
    this.direction = direction
    this.from = from
    this.to = to
    this.weather = { ...weather, cut: weather.cut === undefined ? undefined : { ...weather.cut } }
    from.on("data", (data: Buffer) => {
      if (pair.isCut) return
      this.waiting += data.length
      this.add({ _tag: "Data", data, at: this.due() })
      if (this.waiting > highWater) from.pause()
    })
    from.on("end", () => this.add({ _tag: "End", at: this.due() }))
    from.on("error", () => this.add({ _tag: "Reset", at: this.due() }))
    to.on("drain", () => {
      this.isFull = false
      this.pump()
    })
  }

  /** Looks again, after the weather has changed. */
  pump(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.pair.isCut || this.isDone) return
    const now = performance.now()
    for (let item = this.items[0]; item !== undefined; item = this.items[0]) {
      if (this.weather.swallow) {
        this.hasLost = true
        this.take()
        continue
      }
      const wait = this.waitFor(item) - now
      if (this.isFull || wait === Infinity) return
      if (wait > 0) {
        this.timer = setTimeout(() => this.pump(), Math.ceil(wait))
        return
      }
      this.pass(item, now)
      if (this.pair.isCut || this.isDone) return
    }
  }

  stop(): void {
    clearTimeout(this.timer)
    this.items.length = 0
    this.waiting = 0
    // What still arrives is read and thrown away: unread, it would turn an end into a reset.
    this.from.resume()
  }

  private due(): number {
    return performance.now() + this.weather.delay
  }

  private add(item: Item): void {
    if (this.pair.isCut) return
    this.items.push(item)
    this.pump()
  }

  /** When this may go on. */
  private waitFor({ at }: Item): number {
    const { delay, rate } = this.weather
    if (rate === 0) return Infinity
    return Math.max(delay === 0 ? 0 : at, rate === Infinity ? 0 : this.nextAt)
  }

  private take(): void {
    const item = this.items.shift()
    if (item?._tag === "Data") this.waiting -= item.data.length
    if (this.waiting <= highWater && this.from.isPaused()) this.from.resume()
  }

  private pass(item: Item, now: number): void {
    const { cut, rate } = this.weather
    if (item._tag === "End") {
      this.take()
      this.to.end()
      this.pair.ended()
      return
    }
    if (item._tag === "Reset") {
      this.pair.cut("reset")
      return
    }
    // With a rate, what goes at once is what fits into 10 ms.
    const share = rate === Infinity ? item.data.length : Math.max(1, Math.floor(rate / 100))
    const length = Math.min(item.data.length, share, cut?.bytes ?? Infinity)
    const data = item.data.subarray(0, length)
    if (length === item.data.length) this.take()
    else {
      this.items[0] = { ...item, data: item.data.subarray(length) }
      this.waiting -= length
    }
    if (rate !== Infinity) this.nextAt = Math.max(now, this.nextAt) + (length / rate) * 1000
    this.pair.passed(this.direction, length)
    if (cut !== undefined) cut.bytes -= length
    if (cut === undefined || cut.bytes > 0) {
      this.isFull = !this.to.write(data)
      return
    }
    this.isDone = true
    // What may go through goes first.
    this.to.write(data, () => this.pair.cut(cut.how))
  }
}

/** A connection of a client, and the one to the server that belongs to it. */
class Pair {
  private readonly proxy: Proxy
  readonly client: Socket
  readonly server: Socket
  readonly flows: Record<Direction, Flow>
  isCut = false
  private ends = 0

  constructor(proxy: Proxy, client: Socket) {
    this.proxy = proxy
    this.client = client
    const { host, port } = proxy.target
    this.server = connect({ host, port, allowHalfOpen: true, noDelay: true })
    this.flows = {
      toServer: new Flow(this, "toServer", client, this.server, proxy.weather.toServer),
      toClient: new Flow(this, "toClient", this.server, client, proxy.weather.toClient)
    }
    for (const socket of [client, this.server]) {
      socket.on("close", () => {
        if (client.destroyed && this.server.destroyed) proxy.left(this)
      })
    }
  }

  passed(direction: Direction, bytes: number): void {
    this.proxy.passed[direction] += bytes
  }

  /** One side has said that it has no more to say. */
  ended(): void {
    // Both have: the sockets close by themselves, once what they have is sent.
    if (++this.ends === 2) this.proxy.left(this)
  }

  cut(how: "drop" | "reset"): void {
    if (this.isCut) return
    this.isCut = true
    this.flows.toServer.stop()
    this.flows.toClient.stop()
    for (const socket of [this.client, this.server]) {
      if (how === "reset") socket.resetAndDestroy()
      else socket.end()
    }
    this.proxy.left(this)
  }

  destroy(): void {
    this.isCut = true
    this.flows.toServer.stop()
    this.flows.toClient.stop()
    this.client.destroy()
    this.server.destroy()
  }
}

export class Proxy {
  readonly target: { readonly host: string; readonly port: number }
  readonly weather: Record<Direction, Weather> = { toServer: clear(), toClient: clear() }
  welcome: Welcome = "open"
  accepted = 0
  /** Bytes that were handed on. */
  readonly passed: Record<Direction, number> = { toServer: 0, toClient: 0 }
  readonly pairs = new Set<Pair>()
  /** Called whenever there is a connection more or less. */
  readonly listeners = new Set<() => void>()
  private readonly sockets = new Set<Socket>()
  private readonly server: Server
  port = 0

  constructor(target: Proxy["target"]) {
    this.target = target
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.receive(client))
  }

  /** On the same port as before, if there was one. */
  listen(done: (error: Error | undefined) => void): void {
    if (this.server.listening) return done(undefined)
    const settle = (error?: Error) => {
      this.server.off("error", settle)
      this.server.off("listening", settle)
      if (error === undefined) {
        const address = this.server.address()
        this.port = typeof address === "object" && address !== null ? address.port : 0
      }
      done(error)
    }
    this.server.once("error", settle)
    this.server.once("listening", settle)
    this.server.listen({ host: "127.0.0.1", port: this.port, exclusive: true })
  }

  /** From now on a new connection is refused. */
  refuse(): void {
    if (this.server.listening) this.server.close()
  }

  change(
    which: { readonly existing: boolean; readonly new: boolean },
    directions: ReadonlyArray<Direction>,
    change: (weather: Weather) => void
  ): void {
    for (const direction of directions) {
      if (which.new) change(this.weather[direction])
      if (!which.existing) continue
      for (const pair of this.pairs) {
        change(pair.flows[direction].weather)
        pair.flows[direction].pump()
      }
    }
  }

  cutAll(how: "drop" | "reset"): void {
    for (const pair of this.pairs) pair.cut(how)
  }

  /** Everything goes through again, on new connections and on those that can go on. */
  heal(): void {
    this.welcome = "open"
    for (const pair of this.pairs) {
      // To one of the ends the middle of something would be missing.
      if (directions.some((direction) => pair.flows[direction].hasLost)) pair.cut("reset")
    }
    this.change({ existing: true, new: true }, directions, (weather) => Object.assign(weather, clear()))
  }

  left(pair: Pair): void {
    if (this.pairs.delete(pair)) this.tell()
  }

  close(done: () => void): void {
    for (const socket of this.sockets) socket.destroy()
    for (const pair of this.pairs) pair.destroy()
    this.pairs.clear()
    if (this.server.listening) this.server.close(done)
    else done()
  }

  private receive(client: Socket): void {
    this.accepted++
    this.keep(client)
    if (this.welcome !== "open") {
      if (this.welcome === "reset") client.resetAndDestroy()
      else client.resume().end()
      this.tell()
      return
    }
    const pair = new Pair(this, client)
    this.keep(pair.server)
    this.pairs.add(pair)
    this.tell()
  }

  /** So that it can be closed at the end. */
  private keep(socket: Socket): void {
    this.sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => this.sockets.delete(socket))
  }

  private tell(): void {
    for (const listener of this.listeners) listener()
  }
}
