// What is told to people, in words.
import type { PoolRegistry } from "@cenote/pool"
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { EventView } from "./protocol.ts"

/** `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`. */
export const duration = (millis: number): string => {
  if (millis < 1) return millis > 0 ? "under 1 ms" : "0 ms"
  if (millis < 1_000) return `${Math.round(millis)} ms`
  if (millis < 10_000) return `${(millis / 1_000).toFixed(1)} s`
  const seconds = Math.round(millis / 1_000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return withRest(minutes, "min", seconds % 60, "s")
  return withRest(Math.floor(minutes / 60), "h", minutes % 60, "min")
}

const withRest = (n: number, unit: string, rest: number, smaller: string): string =>
  rest === 0 ? `${n} ${unit}` : `${n} ${unit} ${rest} ${smaller}`

/** `1 connection`, `12 connections`. */
export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`

/** What kinds of pool have, and who asks for it. */
export const nouns: Readonly<
  Record<PoolRegistry.Kind, { readonly one: string; readonly asker: string; readonly loan: string }>
> = {
  pool: { one: "resource", asker: "borrower", loan: "loan" },
  tokens: { one: "token", asker: "borrower", loan: "loan" },
  keyed: { one: "resource", asker: "borrower", loan: "loan" },
  threads: { one: "thread", asker: "call", loan: "call" },
  connections: { one: "connection", asker: "borrower", loan: "loan" }
}

/** Why something failed, in a line. */
export const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return oneLine(Option.getOrElse(said(error), () => "an error that cannot be told"))
}

/** Errors are whatever a program fails with, also what throws when it is asked what it is. */
const said = Option.liftThrowable((error: unknown): string => {
  const tag = Predicate.hasProperty(error, "_tag") ? String(error._tag) : ""
  const message = Predicate.hasProperty(error, "message") ? error.message : undefined
  const text = typeof message === "string" && message !== "" ? message : String(error)
  if (tag === "") return text
  // What says nothing but that it is an object, or what it is called.
  return text === tag || text === "[object Object]" ? tag : `${tag}: ${text}`
})

/** At most so many characters, in one line. */
export const oneLine = (text: string, most = 300): string => {
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > most ? `${line.slice(0, most - 1)}…` : line
}

/** The reason of a failure that an event tells of, if it tells of one. */
export const failureOf = (event: PoolRegistry.Occurrence): string | undefined => {
  switch (event._tag) {
    case "TimedOut":
      return "AcquireTimeout"
    case "Rejected":
      return text(event, "reason")
    case "CreateFailed":
      return isTimeout(field(event, "cause")) ? "CreateTimeout" : event._tag
    case "CallRejected":
    case "ThreadCrashed":
    case "ThreadKilled":
    case "ThreadQuarantined":
      return event._tag
    case "Closed":
      return breaks.has(text(event, "reason")) ? text(event, "reason") : undefined
    default:
      return undefined
  }
}

/** `ConnectTimeout` is what a driver makes of it that keeps to the limit itself. */
const isTimeout = (cause: unknown): boolean =>
  Cause.isCause(cause) &&
  cause.reasons.some(
    (reason) =>
      Cause.isFailReason(reason) &&
      (Predicate.isTagged(reason.error, "CreateTimeout") ||
        Predicate.isTagged(reason.error, "ConnectTimeout"))
  )

/** Reasons for closing a resource that say that it was broken. */
const breaks: ReadonlySet<string> = new Set(["invalid", "resetFailed"])

export const eventView = (event: PoolRegistry.Occurrence): EventView => ({
  at: event.at,
  what: event._tag,
  tone: toneOf(event),
  text: textOf(event)
})

const toneOf = (event: PoolRegistry.Occurrence): EventView["tone"] => {
  if (failureOf(event) !== undefined || event._tag === "Leaked") return "bad"
  return plain.has(event._tag) ? "plain" : "notable"
}

const plain: ReadonlySet<string> = new Set(["Created", "CreateCleanedUp", "Closed", "CallsMoved"])

const textOf = (event: PoolRegistry.Occurrence): string => {
  const of = (field: string): string => text(event, field)
  const time = (field: string): string => duration(number(event, field))
  switch (event._tag) {
    case "Created":
      return `#${of("resource")} created in ${time("took")}`
    case "CreateFailed": {
      const again = Predicate.hasProperty(event, "willRetry") && event.willRetry === true
      return `creating failed: ${causeOf(event)}${again ? "; tries again" : ""}`
    }
    case "CreateCleanedUp":
      return "what was left of a creation is gone"
    case "Closed": {
      const failed = causeOf(event)
      const late = Predicate.hasProperty(event, "timedOut") && event.timedOut === true
      const end = late
        ? "; its finalizer did not end in time"
        : failed === ""
          ? ""
          : `; its finalizer failed: ${failed}`
      return `#${of("resource")} closed (${of("reason")}) after ${time("age")} and ${count(number(event, "uses"), "use")}${end}`
    }
    case "TimedOut":
      return `fiber ${of("fiber")} gave up after ${time("waited")} (${of("phase")})`
    case "Rejected":
      return `fiber ${of("fiber")} was turned away: ${of("reason")}`
    case "Leaked": {
      const span = of("span")
      return `#${of("resource")} has been held for ${time("held")} by fiber ${of("fiber")}${span === "" ? "" : ` ("${span}")`}`
    }
    case "Resized":
      return `min ${of("min")}, max ${of("max")}`
    case "Suspended":
      return "nothing is lent until it is resumed"
    case "Resumed":
      return "lends again"
    case "Recycled":
      return "everything that existed is being replaced"
    case "Closing":
      return "no borrow succeeds any more"
    case "CallRejected":
      return `${of("task")} was turned away: the line was full`
    case "ThreadCrashed":
      return `thread ${of("thread")} ended by itself (${of("reason")}): ${count(number(event, "failed"), "call")} failed`
    case "ThreadKilled":
      return `thread ${of("thread")} was stopped: ${count(number(event, "failed"), "call")} failed`
    case "ThreadQuarantined":
      return `thread ${of("thread")} gets no more calls: ${of("task")} does not stop`
    case "CallsMoved":
      return `${count(number(event, "count"), "call")} went back to the line from thread ${of("thread")}`
    case "Drained":
      return "every thread has ended; the next call starts one"
    default:
      return ""
  }
}

const field = (event: PoolRegistry.Occurrence, name: string): unknown =>
  Predicate.hasProperty(event, name) ? event[name] : undefined

const text = (event: PoolRegistry.Occurrence, name: string): string => {
  const value = field(event, name)
  return typeof value === "string" || typeof value === "number" ? oneLine(String(value)) : ""
}

const number = (event: PoolRegistry.Occurrence, name: string): number => {
  const value = field(event, name)
  return typeof value === "number" ? value : 0
}

/** Why it failed; empty where the event says nothing of it. */
export const causeOf = (event: PoolRegistry.Occurrence): string => {
  const cause = field(event, "cause") ?? field(event, "failure")
  return Cause.isCause(cause) ? messageOf(cause) : ""
}
