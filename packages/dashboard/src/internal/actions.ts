import type { PoolRegistry } from "@cenote/pool"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { Action, Answer, Limits } from "./protocol.ts"
import { count, messageOf } from "./words.ts"

/** An answer, and its HTTP status. */
export interface Reply {
  readonly status: number
  readonly answer: Answer
}

export const error = (status: number, error: string): Reply => ({ status, answer: { error } })
const done = (done: string): Reply => ({ status: 200, answer: { done } })

/** Does what was asked, whose body is `text`. */
export const act = (entry: PoolRegistry.Entry, action: string, text: string): Effect.Effect<Reply> => {
  const { actions, id } = entry
  if (!isAction(action) || actions[action] === undefined) {
    const possible = Object.keys(actions).join(", ")
    return Effect.succeed(
      error(404, `${id} cannot ${JSON.stringify(action)}: it can ${possible === "" ? "nothing" : possible}`)
    )
  }
  return Effect.map(Effect.exit(performs[action](entry, text)), (exit) =>
    Exit.isSuccess(exit) ? exit.value : error(400, messageOf(exit.cause))
  )
}

const performs: Readonly<Record<Action, (entry: PoolRegistry.Entry, text: string) => Effect.Effect<Reply>>> =
  {
    resize: ({ actions, id }, text) => {
      const limits = readLimits(text)
      if (typeof limits === "string") return Effect.succeed(error(400, limits))
      const told = Object.entries(limits).map(([limit, n]) => `${limit} ${n}`)
      return Effect.as(actions.resize?.(limits) ?? Effect.void, done(`${id} has ${told.join(", ")} now`))
    },
    recycle: ({ actions, id, kind }) => {
      const when = kind === "threads" ? "busy threads when they are done" : "what is lent when it comes back"
      return Effect.as(actions.recycle ?? Effect.void, done(`${id} replaces everything that it has: ${when}`))
    },
    suspend: ({ actions, id }) =>
      Effect.as(actions.suspend ?? Effect.void, done(`${id} lends nothing until it is resumed`)),
    resume: ({ actions, id }) => Effect.as(actions.resume ?? Effect.void, done(`${id} lends again`)),
    evict: ({ actions, id }) =>
      Effect.map(actions.evict ?? Effect.succeed(0), (n) =>
        done(`${id} closed ${count(n, "resource")} at rest`)
      )
  }

const isAction = (action: string): action is Action => Object.hasOwn(performs, action)

const wrong = (given: string): string =>
  `resize takes {"min": number, "max": number}, or one of them, but was given ${given}`

/** The limits that a body asks for, or what is wrong with it. */
const readLimits = (text: string): Limits | string => {
  const body = Option.getOrUndefined(Option.liftThrowable((_: string): unknown => JSON.parse(_))(text))
  if (!Predicate.isObject(body) || Array.isArray(body))
    return wrong(text === "" ? "nothing" : text.slice(0, 100))
  const limits: { min?: number; max?: number } = {}
  for (const [name, value] of Object.entries(body)) {
    if ((name !== "min" && name !== "max") || typeof value !== "number") {
      return wrong(`${JSON.stringify(name)}: ${JSON.stringify(value)}`)
    }
    limits[name] = value
  }
  return Object.keys(limits).length === 0 ? wrong("neither") : limits
}
