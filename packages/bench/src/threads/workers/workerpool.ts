import workerpool from "workerpool"
import { echo, either, short, spin } from "./work.ts"

const pass = (bytes: Uint8Array): unknown => new workerpool.Transfer(bytes, [bytes.buffer])

workerpool.worker({ short, spin, either, echo, pass })
