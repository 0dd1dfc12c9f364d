// What a call comes to for its caller.
import { PoolError } from "@cenote/pool"
import { NotCloneable, SpawnFailed, StaleRemote, TaskFailed, ThreadCrashed } from "../ThreadError.ts"
import type { Call } from "./call.ts"
import { findUncloneable } from "./clone.ts"
import { decodeError } from "./decode.ts"
import type { Settings } from "./options.ts"
import type { Extra, WireError } from "./protocol.ts"
import type { Thread } from "./thread.ts"

/** Why no thread could be started; `undefined` where the pool is closed. */
export const spawnFailure = (settings: Settings, error: unknown): SpawnFailed | undefined => {
  if (error instanceof SpawnFailed) return error
  if (error instanceof PoolError.PoolClosed) return undefined
  const reason =
    error instanceof PoolError.CreateTimeout
      ? `a thread was not ready within ${settings.spawnTimeout} ms (spawnTimeout)`
      : messageOf(error)
  return new SpawnFailed({ pool: settings.name, reason, cause: error })
}

/** The task threw. */
export const taskFailed = (pool: string, thread: Thread, call: Call, wire: WireError): TaskFailed => {
  const failed = new TaskFailed({
    pool,
    task: call.name,
    thread: thread.id,
    className: wire.className,
    reason: wire.message,
    properties: wire.properties,
    hint: wire.hint,
    cause: decodeError(wire)
  })
  if (wire.stack !== undefined) {
    const stack = `${failed.stack ?? failed.message}\n    in thread ${thread.id}: ${wire.stack}`
    Object.defineProperty(failed, "stack", { value: stack, configurable: true, writable: true })
  }
  return failed
}

/** What the task gave is not what the caller wants. */
export const misused = (
  pool: string,
  thread: number,
  task: string,
  reason: string,
  hint: string
): TaskFailed =>
  new TaskFailed({
    pool,
    task,
    thread,
    className: "TypeError",
    reason,
    properties: {},
    hint,
    cause: undefined
  })

export const stale = (pool: string, call: Call, thread: Thread, reason: StaleRemote["reason"]): StaleRemote =>
  new StaleRemote({ pool, task: call.name, thread: thread.id, reason })

export const crashed = (
  pool: string,
  call: Call,
  thread: Thread,
  started: boolean,
  reason: ThreadCrashed["reason"],
  cause: unknown
): ThreadCrashed => new ThreadCrashed({ pool, task: call.name, thread: thread.id, started, reason, cause })

/** An argument cannot be sent. */
export const refusal = (
  pool: string,
  call: Call,
  error: unknown,
  references: Extra["references"]
): StaleRemote | NotCloneable => {
  if (error instanceof StaleRemote) return error
  const place = findUncloneable(call.args, "arguments") ??
    inReferences(references) ?? {
      path: "arguments",
      found: `something that cannot be sent (${messageOf(error)})`
    }
  return new NotCloneable({
    pool,
    task: call.name,
    ...place,
    hint: place.found.startsWith("a remote")
      ? "Hand over remotes as arguments, or in plain objects and arrays"
      : place.found.includes("function")
        ? "Send plain data; code belongs into a module (ThreadPool.module)"
        : undefined
  })
}

const inReferences = (references: Extra["references"]) => {
  for (const [key, value] of references ?? []) {
    const place = findUncloneable(value, `references[${JSON.stringify(key)}]`)
    if (place !== undefined) return place
  }
  return undefined
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : typeof error)

/** The result cannot be sent. */
export const unsendable = (
  pool: string,
  call: Call,
  place: { readonly path: string; readonly found: string }
): NotCloneable =>
  new NotCloneable({
    pool,
    task: call.name,
    path: place.path,
    found: place.found,
    hint: "Give plain data, or keep the object in its thread with ThreadPool.proxy"
  })
