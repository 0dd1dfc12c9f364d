import { parentPort } from "node:worker_threads"
import { echo, either, short, spin } from "./work.ts"

/** The function, its argument, the number of the call, and whether the result is to move. */
export type Request = readonly [
  name: "short" | "spin" | "either" | "echo" | "pass",
  argument: any,
  id: number
]
export type Reply = readonly [id: number, result: unknown]

const port = parentPort!
const functions = { short, spin, either, echo }

port.on("message", ([name, argument, id]: Request) => {
  if (name === "pass") port.postMessage([id, argument] satisfies Reply, [argument.buffer])
  else port.postMessage([id, functions[name](argument)] satisfies Reply)
})
