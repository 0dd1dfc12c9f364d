/* oxlint-disable unicorn/consistent-function-scoping, typescript/no-extraneous-class -- these are for throwing */
// Everything that can be thrown.

export class QuotaExceeded extends RangeError {
  readonly limit: number
  readonly details: { readonly bucket: string; readonly at: Date }
  readonly code = "E_QUOTA"

  constructor(limit: number, options?: ErrorOptions) {
    super(`more than ${limit}`, options)
    this.limit = limit
    this.details = { bucket: "uploads", at: new Date(86_400_000) }
  }
}

class NamedError extends Error {
  override readonly name = "CustomName"
}

class Refused extends Error {
  readonly socket = { close: () => {}, port: 80 }
  readonly callback = function onRefused() {}
  readonly mark = Symbol("mark")
  readonly weak = new WeakMap()
  readonly ok = [1, { two: 2 }]
  readonly inner = new TypeError("inside a property")
}

export const plain = (): never => {
  throw new QuotaExceeded(3)
}

export const rejected = async (): Promise<never> => {
  await Promise.resolve()
  throw new QuotaExceeded(4)
}

export const named = (): never => {
  throw new NamedError("with a name")
}

export const assigned = (): never => {
  throw Object.assign(new Error("with more"), {
    status: 404,
    headers: { a: "b" },
    errors: { field: "wrong" }
  })
}

export const chain = (): never => {
  const root = new QuotaExceeded(1)
  const middle = new TypeError("the middle", { cause: root })
  throw new Error("the outside", { cause: middle })
}

export const causedByValue = (): never => {
  throw new Error("the outside", { cause: { reason: "a record", n: 1 } })
}

export const aggregate = (): never => {
  throw new AggregateError([new RangeError("one"), new QuotaExceeded(2), "three"], "several", {
    cause: new Error("why")
  })
}

export const unclone = (): never => {
  throw new Refused("with what cannot cross")
}

const deep = (depth: number): Error =>
  depth === 0 ? new Error("the deepest") : new Error(`at ${depth}`, { cause: deep(depth - 1) })

export const values = {
  text: "just a text",
  empty: "",
  number: 42,
  notANumber: NaN,
  bigint: 42n,
  truth: false,
  nothing: undefined,
  null: null,
  symbol: Symbol("a symbol"),
  function: function thrown() {},
  record: { code: "E1", inner: { n: 1 } },
  list: [1, 2, 3],
  date: new Date(0),
  map: new Map([["a", 1]]),
  bare: Object.create(null) as object,
  withFunction: { run: () => 1, n: 2 },
  silentJson: { toJSON: () => undefined, run: () => 1 },
  class: class Thrown {},
  promise: Promise.resolve(1),
  buffer: new Uint8Array([1, 2, 3])
}

export const value = (which: keyof typeof values): never => {
  throw values[which]
}

export const valueRejected = async (which: keyof typeof values): Promise<never> => {
  await Promise.resolve()
  throw values[which]
}

const hostile = {
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  },
  getters: () => {
    const error = new Error("with getters")
    for (const key of ["cause", "name", "code", "stack", "errors"]) {
      Object.defineProperty(error, key, {
        enumerable: true,
        get: () => {
          throw new Error("do not look")
        }
      })
    }
    return error
  },
  message: () =>
    Object.defineProperty(new Error(), "message", {
      get: () => {
        throw new Error("do not look")
      }
    }),
  oddMessage: () => Object.assign(new Error(), { message: { toJSON: () => undefined } }),
  oddName: () => Object.assign(new Error("with an odd name"), { name: undefined }),
  record: () => ({
    get code() {
      throw new Error("do not look")
    }
  }),
  noPrototype: () => Object.setPrototypeOf(new Error("no prototype"), null) as unknown
}

export const throwHostile = (which: keyof typeof hostile): never => {
  throw hostile[which]()
}

export const ownCause = (): never => {
  const error = new Error("its own cause")
  error.cause = error
  throw error
}

export const ownErrors = (): never => {
  const error = new AggregateError([], "its own errors")
  error.errors.push(error, error, error)
  throw error
}

/** At each level three times the same. */
export const sharedErrors = (depth: number): never => {
  let error = new Error("level 0")
  for (let level = 1; level <= depth; level++) {
    error = new AggregateError([error, error, error], `level ${level}`)
  }
  throw error
}

export const cyclicProperty = (): never => {
  const error: Error & { self?: unknown; loop?: unknown } = new Error("in a circle")
  const loop: { again?: unknown; f?: unknown } = {}
  loop.again = loop
  error.self = error
  error.loop = loop
  throw error
}

export const deepChain = (): never => {
  throw deep(1000)
}

export const large = (length: number): never => {
  throw Object.assign(new Error("x".repeat(length)), { data: new Uint8Array(length) })
}

export const manyErrors = (count: number): never => {
  throw new AggregateError(
    Array.from({ length: count }, (_, i) => new Error(`number ${i}`)),
    "many"
  )
}

// -----------------------------------------------------------------------------
// What is no failure
// -----------------------------------------------------------------------------

export const lookAlikes = (): ReadonlyArray<unknown> => [
  new RangeError("a value"),
  { _tag: "Failure", cause: { _tag: "Fail", error: "no" } },
  { _tag: "TaskFailed", className: "Error", reason: "no" },
  { isError: true, className: "Error", message: "no", properties: {} },
  [3, 0, 1, "no", 0, 0],
  { status: 1, error: "no" }
]
export const lookAlike = (i: number): unknown => lookAlikes()[i]

export const uncloneable = {
  function: () => 1,
  nested: { user: { name: "a", onClick: function onClick() {} } },
  inArray: [1, 2, [3, () => 1]],
  inMap: new Map<unknown, unknown>([
    ["a", 1],
    ["b", { f: () => 1 }]
  ]),
  inSet: new Set([1, () => 1]),
  symbol: { mark: Symbol("mark") },
  weak: { cache: new WeakMap() },
  promise: { soon: Promise.resolve(1) },
  oddKey: { "a b": { 1: () => 1 } }
}
export const giveUncloneable = (which: keyof typeof uncloneable): unknown => uncloneable[which]
