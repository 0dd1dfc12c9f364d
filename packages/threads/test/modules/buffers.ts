// What moves, and what is shared.
import * as Task from "@cenote/threads/Task"
import { MessageChannel, type MessagePort } from "node:worker_threads"

export const sum = (bytes: Uint8Array): number => bytes.reduce((a, b) => a + b, 0)
export const sumNested = ({ data }: { readonly data: Uint8Array }): number => sum(data)
export const sumAll = (all: ReadonlyArray<Uint8Array>): number => all.reduce((a, b) => a + sum(b), 0)
export const lengthOf = (buffer: ArrayBuffer): number => buffer.byteLength

let kept: { bytes: Uint8Array; nested: { data: Uint8Array } } | undefined

/** Makes bytes, keeps hold of them, and gives them as it is told. */
export const make = (
  length: number,
  how: "copied" | "moved" | "movedInside" | "movedAround" | "promised"
): Uint8Array | { readonly data: Uint8Array } | Promise<Uint8Array> => {
  const bytes = new Uint8Array(length).fill(1)
  kept = { bytes, nested: { data: bytes } }
  switch (how) {
    case "copied":
      return bytes
    case "moved":
      return Task.move(bytes)
    case "movedInside":
      return { data: Task.move(bytes) }
    case "movedAround":
      return Task.move(kept.nested)
    case "promised":
      return Promise.resolve(Task.move(bytes))
  }
}

/** Gives what does not let itself be read. */
export const resist = (how: "getter" | "revoked" | "nested"): unknown => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const resisting = {
    get data(): never {
      throw new Error("do not look")
    }
  }
  return how === "getter" ? resisting : how === "revoked" ? { proxy } : { list: [resisting] }
}

/** How much is left here of what {@link make} made. */
export const left = (): number => kept!.bytes.byteLength

export const write = (shared: Int32Array, index: number, value: number): void => {
  Atomics.store(shared, index, value)
}

const memory = new SharedArrayBuffer(8)
export const sharedMemory = (): SharedArrayBuffer => memory
export const readShared = (): number => Atomics.load(new Int32Array(memory), 0)

/** Answers each message on a port with the same, doubled. */
export const serve = (port: MessagePort): void => {
  port.on("message", (n: number) => {
    port.postMessage(n * 2)
    port.close()
  })
}
export const serveNested = ({ port }: { readonly port: MessagePort }): void => serve(port)

/** A port at whose other end this is. */
export const connect = (): MessagePort => {
  const { port1, port2 } = new MessageChannel()
  serve(port1)
  return port2
}
export const connectNested = (): { readonly ports: ReadonlyArray<MessagePort> } => ({ ports: [connect()] })

export const readAll = async (stream: ReadableStream<string>): Promise<ReadonlyArray<string>> => {
  const items: Array<string> = []
  for await (const item of stream as unknown as AsyncIterable<string>) items.push(item)
  return items
}

export const letters = (): ReadableStream<string> =>
  new ReadableStream({
    start: (controller) => {
      for (const letter of ["a", "b", "c"]) controller.enqueue(letter)
      controller.close()
    }
  })

/** Says that it has begun, and holds its thread until the next cell is not 0. */
export const beginAndHold = (cells: Int32Array): void => {
  Atomics.store(cells, 0, 1)
  Atomics.wait(cells, 1, 0, 20_000)
}

/** Takes as long as it is told to, without giving up its thread. */
export const nap = (millis: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
}
