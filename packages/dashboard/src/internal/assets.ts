// The files of the page. They are few and small, and kept once they have been read.
import * as Effect from "effect/Effect"
import { readFile } from "node:fs/promises"
import { createRequire, stripTypeScriptTypes } from "node:module"
import { fileURLToPath } from "node:url"

export interface Asset {
  readonly type: string
  readonly body: Uint8Array
}

/** Run from source, the page is TypeScript, which no browser takes. */
const isSource = import.meta.url.endsWith(".ts")

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  ts: "text/javascript; charset=utf-8",
  svg: "image/svg+xml"
}

const kept = new Map<string, Asset>()

/** A file of the page by its path; `undefined` when there is no such. */
export const asset = (path: string): Effect.Effect<Asset | undefined> =>
  Effect.suspend(() => {
    const found = kept.get(path)
    if (found !== undefined) return Effect.succeed(found)
    const place = placeOf(path)
    return place === undefined ? Effect.succeed(undefined) : load(path, place)
  })

const load = (path: string, { file, isTypeScript, type }: Place): Effect.Effect<Asset | undefined> =>
  Effect.tryPromise(() => readFile(file)).pipe(
    Effect.map((bytes): Asset => {
      const body = isTypeScript
        ? new TextEncoder().encode(stripTypeScriptTypes(new TextDecoder().decode(bytes)))
        : bytes
      const asset = { type, body }
      kept.set(path, asset)
      return asset
    }),
    Effect.orElseSucceed(() => undefined)
  )

interface Place {
  readonly file: string
  readonly type: string
  readonly isTypeScript: boolean
}

/** One file in the folder of the page, or of the chart library: nothing else can be named. */
const placeOf = (path: string): Place | undefined => {
  const [, stem, extension = ""] =
    /^\/([a-zA-Z][\w-]*)\.([a-z]+)$/.exec(path === "/" ? "/index.html" : path) ?? []
  const type = types[extension]
  if (stem === undefined || type === undefined) return undefined
  if (stem === "uplot") {
    const file = extension === "js" ? "uplot/dist/uPlot.esm.js" : "uplot/dist/uPlot.min.css"
    return { file: createRequire(import.meta.url).resolve(file), type, isTypeScript: false }
  }
  const isScript = extension === "js" || extension === "ts"
  // Compiled, the page asks for what is there; from source, for whichever it was written as.
  const actual = isScript && isSource ? "ts" : extension === "ts" ? "js" : extension
  const folder = new URL("../page/", isSource || isScript ? import.meta.url : sourceOf(import.meta.url))
  return {
    file: fileURLToPath(new URL(`${stem}.${actual}`, folder)),
    type,
    isTypeScript: isScript && isSource
  }
}

/** What is not compiled stays in `src`, which is published too. */
const sourceOf = (url: string): string => url.replace(/\/dist\/internal\/[^/]*$/, "/src/internal/")
