import { move } from "piscina"

export * from "./work.ts"

export const pass = (bytes: Uint8Array): unknown => move(bytes)
