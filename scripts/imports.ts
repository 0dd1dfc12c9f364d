// Who may import whom. A package that is not in the table fails the check.
import { readFileSync } from "node:fs"
import { isBuiltin } from "node:module"
import { join, relative, sep } from "node:path"
import { parseSync } from "oxc-parser"
import { filesIn, type Package, packages, type Ran } from "./lib.ts"

interface Row {
  /** What each file may import; `*` is anything. `node:` stands for every module of Node. */
  readonly everywhere: ReadonlyArray<string>
  /** What only the files that match may import besides. */
  readonly only?: { readonly files: RegExp; readonly imports: ReadonlyArray<string> }
}

const table: Record<string, Row> = {
  pool: { everywhere: ["effect"] },
  threads: {
    everywhere: ["effect", "@cenote/pool"],
    only: {
      files: /^(internal\/)?(NodeThreads|[wW]orker)[^/]*\.ts$/,
      imports: ["@effect/platform-node", "node:worker_threads"]
    }
  },
  sql: {
    everywhere: ["effect", "@cenote/pool"],
    only: {
      files: /^(internal\/)?([tT]pooled|[wW]orker|DatabaseConnector)[^/]*\.ts$/,
      imports: ["@cenote/threads"]
    }
  },
  "sql-pg": { everywhere: ["effect", "@cenote/sql", "@effect/sql-pg"] },
  "sql-mysql2": { everywhere: ["effect", "@cenote/sql", "@effect/sql-mysql2", "mysql2", "node:"] },
  "sql-sqlite": { everywhere: ["effect", "@cenote/sql", "node:"] },
  dashboard: { everywhere: ["effect", "@cenote/pool", "@effect/platform-node", "node:", "uplot"] },
  testing: { everywhere: ["*"] },
  examples: { everywhere: ["*", "@cenote/testing"] },
  bench: { everywhere: ["*", "@cenote/testing"] }
}

/** What is for tests: `*` does not mean it. Only what nobody installs may import it. */
const testOnly = ["@cenote/testing"]

const allows = (imports: ReadonlyArray<string>, name: string): boolean =>
  imports.includes(name) ||
  (imports.includes("*") && !testOnly.includes(name)) ||
  (name.startsWith("node:") && imports.includes("node:"))

/** `effect/Effect` belongs to `effect`, `@cenote/pool/Pool` to `@cenote/pool`, `fs` to `node:fs`. */
const packageOf = (specifier: string): string =>
  isBuiltin(specifier)
    ? `node:${specifier.replace(/^node:/, "").split("/")[0]}`
    : specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/")

/** What a source file imports or re-exports, types included. A dynamic import must name a literal. */
const importsOf = (file: string): ReadonlyArray<string> => {
  const text = readFileSync(file, "utf8")
  const { module } = parseSync(file, text)
  return [
    ...module.staticImports.map((_) => _.moduleRequest.value),
    ...module.staticExports.flatMap((_) => _.entries.flatMap((entry) => entry.moduleRequest?.value ?? [])),
    ...module.dynamicImports.flatMap(({ moduleRequest: { start, end } }) => {
      const literal = /^(["'`])([^$]*)\1$/.exec(text.slice(start, end))
      return literal?.[2] ?? []
    })
  ]
}

const problemsOf = ({ id, folder, manifest }: Package): ReadonlyArray<string> => {
  const row = table[id]
  if (row === undefined) return [`packages/${id} has no row in the import table (scripts/imports.ts)`]
  const anyFile = [...row.everywhere, ...(row.only?.imports ?? [])]
  const declared = Object.keys({
    ...manifest.dependencies,
    ...manifest.optionalDependencies,
    ...manifest.peerDependencies
  })
  const src = join(folder, "src")
  return [
    ...declared
      .filter((name) => !allows(anyFile, name))
      .map((name) => `packages/${id}/package.json may not depend on ${name}`),
    ...filesIn(src, ".ts").flatMap((file) => {
      const path = relative(src, file).replaceAll(sep, "/")
      const allowed = row.only?.files.test(path) === true ? anyFile : row.everywhere
      return importsOf(file)
        .filter((specifier) =>
          specifier.startsWith(".")
            ? !join(file, "..", specifier).startsWith(src + sep)
            : !specifier.startsWith("#") && packageOf(specifier) !== manifest.name
              ? !allows(allowed, packageOf(specifier))
              : false
        )
        .map((specifier) => `packages/${id}/src/${path} may not import ${specifier}`)
    })
  ]
}

export const checkImports = (): Ran => {
  const problems = packages.flatMap(problemsOf)
  return { code: problems.length === 0 ? 0 : 1, output: problems.join("\n") }
}
