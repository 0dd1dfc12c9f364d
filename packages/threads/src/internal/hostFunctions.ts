import type { Activity } from "./host.ts"
import { isA, readable } from "./hostObjects.ts"
import type { FunctionSpec } from "./protocol.ts"

/** A function that the pool calls by number. */
export interface KnownFunction {
  readonly spec: FunctionSpec
  /** Compiled, or loaded. */
  compiled: Function | undefined
}

/** The functions that one thread has been told of, and the modules that it has loaded. */
export class Functions {
  /** By number. */
  private readonly known = new Map<number, KnownFunction>()
  /** By address: loaded, or being loaded. */
  private readonly modules = new Map<string, Promise<Record<string, unknown>>>()

  get(number: number): KnownFunction | undefined {
    return this.known.get(number)
  }

  define(number: number, spec: FunctionSpec): void {
    this.known.set(number, { spec, compiled: undefined })
  }

  forgetAll(): void {
    this.known.clear()
  }

  /** What a function gives that is called for the first time; a promise when its module has to be loaded. */
  prepare(known: KnownFunction, activity: Activity, args: ReadonlyArray<unknown>): unknown {
    const { spec } = known
    if (spec.kind === "source") {
      known.compiled = compile(spec)
      return known.compiled.apply(activity, args)
    }
    return this.load(spec.url).then((module) => {
      const value = exportOf(module, spec.url, spec.name)
      if (spec.kind === "value") return readable(value, spec.name)
      if (typeof value !== "function") throw new TypeError(`${spec.name} of ${spec.url} is not a function`)
      known.compiled = value
      return activity.insideLate(() => value.apply(activity, args) as unknown)
    })
  }

  /** Loads a module, once. */
  load(url: string): Promise<Record<string, unknown>> {
    let module = this.modules.get(url)
    if (module === undefined) {
      module = importModule(url)
      this.modules.set(url, module)
      // It may be there another time.
      module.catch(() => this.modules.delete(url))
    }
    return module
  }
}

/**
 * Loads a module. One that is named as in the sources (`hash.ts`) is found as what the compiler made of it (`hash.js`),
 * since a compiler does not rewrite addresses.
 */
const importModule = (url: string): Promise<Record<string, unknown>> =>
  importAny(url).catch((error: unknown) => {
    const compiled = url.replace(/\.(m?)ts$/, ".$1js")
    if (compiled === url || !isNotThere(error, url)) throw error
    return importAny(compiled).catch((other: unknown) => {
      throw isNotThere(other, compiled) ? error : other
    })
  })

const importAny = (url: string): Promise<Record<string, unknown>> =>
  import(/* @vite-ignore */ /* webpackIgnore: true */ url)

/** Whether it is this module that was not found, or that Node does not compile; and not one that it imports. */
const isNotThere = (error: unknown, url: string): boolean => {
  // A module may throw anything, nothing included.
  const { code, url: missing } = (error ?? {}) as { readonly code?: string; readonly url?: string }
  return (
    (code === "ERR_MODULE_NOT_FOUND" && missing === url) ||
    code === "ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING"
  )
}

/** What a module exports by that name. */
export const exportOf = (module: Record<string, unknown>, url: string, name: string): unknown => {
  if (name in module) return module[name]
  throw new TypeError(`${url} has no export ${name}; it has ${Object.keys(module).join(", ") || "none"}`)
}

/** What to do about a failure of a function that came by its source. */
export const hintFor = (error: unknown): string | undefined => {
  if (unusable.has(error as object))
    return "Wrap it in an arrow function, or put it into a module and use ThreadPool.module"
  const unknownName = isA(ReferenceError, error)
    ? /^(\S+) is not defined$/.exec(error.message)?.[1]
    : undefined
  return unknownName === undefined
    ? undefined
    : `Only the source of the function is sent, and ${unknownName} is not in it. ` +
        "Pass it as an argument, or put the function into a module and use ThreadPool.module"
}

/** What a function was refused with that cannot be sent by its source. */
const unusable = new WeakSet<object>()

const refuse = (message: string): never => {
  const error = new TypeError(message)
  unusable.add(error)
  throw error
}

/**
 * Around a source: strict as modules are, so that an assignment to a name that is not there fails; and with what esbuild
 * (and so tsx) puts around inner functions to keep their names.
 */
const within = (expression: string): string =>
  `(() => { "use strict"; const __name = (f) => f; return ${expression} })()`

/** Compiles a function from its source, also when it was written as a method. */
const compile = ({ name, source }: { readonly name: string; readonly source: string }): Function => {
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source)) {
    refuse(`${name} is native or bound, and has no source that could be sent`)
  }
  if (/^class\b/.test(source)) refuse(`${name} is a class, and a class cannot be called by its source`)
  // The pool's own program wrote it: this is what `execute` is. Indirect, so that it sees globals alone.
  // oxlint-disable-next-line no-eval
  const evaluate = globalThis.eval
  let compiled: unknown
  try {
    compiled = evaluate(within(`(${source}\n)`))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    const [method] = Object.values(evaluate(within(`({${source}\n})`)) as Record<string, unknown>)
    compiled = method
  }
  if (typeof compiled !== "function") return refuse(`the source of ${name} is not that of a function`)
  return compiled
}
