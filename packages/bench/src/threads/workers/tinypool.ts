import { Tinypool } from "tinypool"

export * from "./work.ts"

export const pass = (bytes: Uint8Array): unknown => Tinypool.move(bytes)
