// What a stream's messages must look like before anything of them is drawn: what answers may be anything.
import * as Predicate from "effect/Predicate"
import type {
  EventView,
  Figures,
  Focus,
  FocusChange,
  LeaseView,
  PoolView,
  Sample,
  ThreadView,
  WaiterView
} from "../protocol.ts"
import { changed, known, type Known } from "./state.ts"

/**
 * What is known after a message: `event` is its name, and `text` its data. `undefined` when it is none of a dashboard's, or changes
 * what has not begun.
 */
export const after = (before: Known | undefined, event: string, text: string): Known | undefined => {
  const data = parse(text)
  if (event === "whole" && isWhole(data)) return known({ ...data, focus: data.focus ?? undefined })
  if (event === "change" && before !== undefined && isChange(data)) {
    return changed(before, { ...data, focus: data.focus ?? undefined })
  }
  return undefined
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// -----------------------------------------------------------------------------
// Private
// -----------------------------------------------------------------------------

type Check<A> = (value: unknown) => value is A
/** A check for each field. */
type Fields<A> = { readonly [K in keyof A]-?: Check<A[K]> }

const struct =
  <A>(fields: Fields<A>): Check<A> =>
  (value): value is A =>
    Predicate.isObject(value) && names(fields).every((name) => fields[name](Reflect.get(value, name)))

/** Any of the fields, and others, which a newer server may have. */
const partial =
  <A>(fields: Fields<A>): Check<Partial<A>> =>
  (value): value is Partial<A> =>
    Predicate.isObject(value) &&
    names(fields).every((name) => !(name in value) || fields[name](Reflect.get(value, name)))

const names = <A>(fields: Fields<A>): ReadonlyArray<keyof A & string> =>
  Object.keys(fields) as Array<keyof A & string>

const list =
  <A>(item: Check<A>): Check<ReadonlyArray<A>> =>
  (value): value is ReadonlyArray<A> =>
    Array.isArray(value) && value.every(item)

const record =
  <A>(item: Check<A>): Check<Readonly<Record<string, A>>> =>
  (value): value is Readonly<Record<string, A>> =>
    Predicate.isObject(value) && Object.values(value).every(item)

/** JSON has no `undefined`: what is missing is so, or is `null`. */
const perhaps =
  <A>(item: Check<A>): Check<A | undefined> =>
  (value): value is A | undefined =>
    value === undefined || item(value)

const orNull =
  <A>(item: Check<A>): Check<A | null> =>
  (value): value is A | null =>
    value === null || item(value)

const oneOf =
  <A extends string>(...values: ReadonlyArray<A>): Check<A> =>
  (value): value is A =>
    values.some((_) => _ === value)

const isString: Check<string> = Predicate.isString
const isNumber: Check<number> = Predicate.isNumber
const isBoolean: Check<boolean> = Predicate.isBoolean
const isScalar: Check<string | number | boolean> = (value): value is string | number | boolean =>
  isString(value) || isNumber(value) || isBoolean(value)

const figures: Fields<Figures> = {
  state: oneOf("open", "suspended", "closing", "closed"),
  min: isNumber,
  max: isNumber,
  size: isNumber,
  idle: isNumber,
  used: isNumber,
  pending: isNumber,
  creating: isNumber,
  closing: isNumber,
  created: isNumber,
  destroyed: isNumber,
  borrowed: isNumber,
  timeouts: isNumber,
  failures: isNumber,
  rate: isNumber,
  wait50: orNull(isNumber),
  wait99: orNull(isNumber),
  hold50: orNull(isNumber),
  hold99: orNull(isNumber),
  longestHeld: isNumber,
  longestWait: isNumber,
  level: oneOf("ok", "watch", "short", "down"),
  matter: isString,
  remedy: isString
}

const isPoolView = struct<PoolView>({
  id: isString,
  name: isString,
  kind: oneOf("pool", "tokens", "keyed", "threads", "connections"),
  options: record(isScalar),
  actions: list(oneOf("resize", "recycle", "suspend", "resume", "evict")),
  figures: struct(figures)
})

const isSample: Check<Sample> = (value): value is Sample => {
  const [at, used, idle, pending, max, wait50, wait99, hold50, hold99, created, closed, failed] =
    Array.isArray(value) ? value : []
  return (
    [at, used, idle, pending, max, created, closed, failed].every(isNumber) &&
    [wait50, wait99, hold50, hold99].every(orNull(isNumber))
  )
}

const ofFocus: Fields<Omit<Focus, "history">> = {
  id: isString,
  leases: list(
    struct<LeaseView>({
      resource: isNumber,
      item: perhaps(isString),
      fiber: isNumber,
      span: perhaps(isString),
      since: isNumber,
      held: isNumber
    })
  ),
  waiters: list(struct<WaiterView>({ fiber: isNumber, span: perhaps(isString), waited: isNumber })),
  events: list(
    struct<EventView>({
      at: isNumber,
      what: isString,
      tone: oneOf("plain", "notable", "bad"),
      text: isString
    })
  ),
  failures: record(isNumber),
  closes: record(isNumber),
  threads: perhaps(
    list(
      struct<ThreadView>({
        thread: isNumber,
        state: isString,
        running: isNumber,
        task: perhaps(isString),
        since: isNumber,
        ended: isNumber,
        load: isNumber,
        heapUsed: perhaps(isNumber)
      })
    )
  ),
  calls: perhaps(record(isNumber))
}

const isWhole = struct({
  instance: isString,
  process: struct({ pid: isNumber, title: isString, node: isString, startedAt: isNumber }),
  readOnly: isBoolean,
  pace: isNumber,
  at: isNumber,
  pools: list(isPoolView),
  focus: perhaps(orNull(struct<Focus>({ ...ofFocus, history: list(isSample) })))
})

const isChange = struct({
  at: isNumber,
  added: list(isPoolView),
  removed: list(isString),
  figures: record(partial(figures)),
  focus: perhaps(orNull(struct<FocusChange>({ ...ofFocus, sample: isSample })))
})
