// What can cross between threads, what moves, and where it is that something cannot. Runs on both sides.

interface Marks {
  /** What a value holds that is to be moved, by the value that was marked. */
  readonly moves: WeakMap<object, ReadonlyArray<object>>
  /** Marked values that have not been sent: while there are any, what is sent is searched for them. */
  open: number
}

/** One for all copies of this module. */
const marks: Marks = ((globalThis as any)[Symbol.for("~cenote/threads/marks")] ??= {
  moves: new WeakMap(),
  open: 0
})

export const markMoved = <A>(value: A): A => {
  if (typeof value !== "object" || value === null) return value
  if (!marks.moves.has(value)) marks.open++
  marks.moves.set(value, transferablesIn(value, "all"))
  return value
}

/**
 * Takes the marks off a value that is sent, and off what is in it, in arrays and plain objects; gives what is to be moved.
 * What cannot be searched is left as it is: sending it will fail, and say where.
 */
export const takeMarks = (value: unknown): ReadonlyArray<object> => {
  if (marks.open === 0) return []
  const found = new Set<object>()
  const seen = new Set<object>()
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return
    seen.add(value)
    const moved = marks.moves.get(value)
    if (moved !== undefined) {
      marks.moves.delete(value)
      marks.open--
      for (const one of moved) found.add(one)
    } else if (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype) {
      for (const [, child] of childrenOf(value)) visit(child)
    }
  }
  try {
    visit(value)
  } catch {
    // As said above.
  }
  return [...found]
}

/** Classes whose instances cannot be copied, but can move. */
const movable = [
  "MessagePort",
  "ReadableStream",
  "WritableStream",
  "TransformStream",
  "OffscreenCanvas",
  "RTCDataChannel",
  "MediaSourceHandle",
  "FileHandle"
]

/**
 * Transferables in a value: those that cannot be copied, or all. A view of a part of a buffer is not moved: that
 * would take the rest away from others too, as with Node's small `Buffer`s.
 */
export const transferablesIn = (value: unknown, which: "all" | "movableOnly"): ReadonlyArray<object> => {
  const found = new Set<object>()
  const seen = new Set<object>()
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return
    seen.add(value)
    if (isMovable(value)) found.add(value)
    else if (value instanceof ArrayBuffer) {
      if (which === "all") found.add(value)
    } else if (ArrayBuffer.isView(value)) {
      if (value.byteLength === value.buffer.byteLength) visit(value.buffer)
    } else for (const [, child] of childrenOf(value)) visit(child)
  }
  visit(value)
  return [...found]
}

const isMovable = (value: object): boolean => movable.includes(classNameOf(value))

/** The name of a value's class, also when the value tries to prevent it. */
export const classNameOf = (value: unknown): string => {
  try {
    if (value === null || value === undefined) return String(value)
    const name: unknown = Object.getPrototypeOf(value)?.constructor?.name
    return typeof name === "string" && name !== "" ? name : typeof value
  } catch {
    return typeof value
  }
}

type Step = readonly [step: string | number, value: unknown]

/** What is directly inside a value that would be copied with it. */
const childrenOf = (value: object): ReadonlyArray<Step> => {
  if (value instanceof Map) {
    return [...value].flatMap(([key, child], i): ReadonlyArray<Step> => [
      [`keys[${i}]`, key],
      [typeof key === "string" ? `get(${JSON.stringify(key)})` : `values[${i}]`, child]
    ])
  }
  if (value instanceof Set) return [...value].map((child, i): Step => [`values[${i}]`, child])
  if (Array.isArray(value)) return value.map((child, i): Step => [i, child])
  return Object.keys(value).map((key): Step => [key, (value as any)[key]])
}

/** A copy as it would arrive in another thread. What moves is gone from the original. */
export const copyOf = <A>(value: A, transfer: ReadonlyArray<object>): A =>
  structuredClone(value, { transfer: [...transfer] as never })

const canClone = (value: unknown): boolean => {
  try {
    structuredClone(value)
    return true
  } catch {
    return false
  }
}

/** How deep the search for what cannot be copied goes: each level is cloned to see. */
const deepest = 64

/** By this, a remote gives what is behind it: see `handle.ts`, which cannot be loaded in a thread for this alone. */
const HandleKey = Symbol.for("~cenote/threads/Handle")

const remoteName = (value: unknown): string | undefined => {
  try {
    return typeof value === "function" ? (value as any)[HandleKey]?.className : undefined
  } catch {
    return undefined
  }
}

/**
 * The first thing in a value that cannot be copied, and the path to it. Never throws, whatever the value does. Remotes are
 * passed over where they may stand: in arrays and plain objects.
 */
export const findUncloneable = (
  value: unknown,
  path: string
): { readonly path: string; readonly found: string } | undefined => {
  const seen = new Set<unknown>()
  const visit = (
    value: unknown,
    path: string,
    depth: number,
    mayBeRemote: boolean
  ): { readonly path: string; readonly found: string } | undefined => {
    if (mayBeRemote && remoteName(value) !== undefined) return undefined
    if (typeof value === "function" || typeof value === "symbol") return { path, found: describe(value) }
    if (typeof value !== "object" || value === null || seen.has(value) || canClone(value)) return undefined
    seen.add(value)
    if (isMovable(value)) return undefined
    if (depth === deepest) return { path, found: `${describe(value)} with more in it than can be followed` }
    let children: ReadonlyArray<Step>
    try {
      children = childrenOf(value)
    } catch (error) {
      return { path, found: `${describe(value)} that cannot be read: ${textOf(error)}` }
    }
    const isPlain = Array.isArray(value) || classNameOf(value) === "Object"
    for (const [step, child] of children) {
      const within = visit(child, `${path}${stepText(step)}`, depth + 1, isPlain)
      if (within !== undefined) return within
    }
    // Everything in it could be copied, so it is the thing itself that cannot.
    return children.some(([, child]) => !canClone(child)) ? undefined : { path, found: describe(value) }
  }
  return visit(value, path, 0, false)
}

const textOf = (error: unknown): string => {
  try {
    return String(error)
  } catch {
    return "an error that has no text"
  }
}

const stepText = (step: string | number): string =>
  typeof step === "number"
    ? `[${step}]`
    : /^[A-Za-z_$][\w$]*(\[|\(|$)/.test(step)
      ? `.${step}`
      : `[${JSON.stringify(step)}]`

const describe = (value: unknown): string => {
  const remote = remoteName(value)
  if (remote !== undefined) return `a remote (${remote})`
  if (typeof value === "function") {
    const name = nameOf(value)
    return name === "" ? "a function" : `function ${name}`
  }
  if (typeof value === "symbol") return value.toString()
  const name = classNameOf(value)
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`
}

/** A function's name may be anything, and may not even let itself be read. */
const nameOf = (value: Function): string => {
  try {
    return typeof value.name === "string" ? value.name : ""
  } catch {
    return ""
  }
}
