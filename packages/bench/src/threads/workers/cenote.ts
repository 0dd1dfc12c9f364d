import * as Task from "@cenote/threads/Task"

export * from "./work.ts"

export const pass = (bytes: Uint8Array): Uint8Array => Task.move(bytes)
