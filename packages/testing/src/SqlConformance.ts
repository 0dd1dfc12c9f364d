/**
 * Tests that a database driver for connection pools must pass.
 *
 * @since 0.1.0
 */
import { afterAll, beforeAll, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as dialects from "./internal/conformance/dialects.ts"
import { alike } from "./internal/conformance/failing.ts"
import { subjects } from "./internal/conformance/index.ts"
import { type Ground, makeBench, makeGround } from "./internal/conformance/kit.ts"
import type { Options as Options_, Dialect } from "./internal/conformance/model.ts"

export type Options<Services = never> = Options_<Services>
export const postgres: Dialect = dialects.postgres
export const mariadb: Dialect = dialects.mariadb
export const sqlite: Dialect = dialects.sqlite

export const suite = <Services>(options: Options<Services>): void => {
  describe(options.name, () => {
    const scope = Scope.makeUnsafe()
    let ground: Ground<Services> | undefined
    const get = (): Ground<Services> => {
      if (ground === undefined) throw new Error("no test is running")
      return ground
    }
    beforeAll(async () => {
      ground = await Effect.runPromise(Scope.provide(makeGround(options), scope))
    })
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

    const kinds = options.kinds ?? ["raw", "tpooled"]
    for (const kind of kinds) {
      describe(kind, () => {
        const bench = makeBench(kind, options, get)
        for (const subject of subjects) subject(bench)
        options.more?.(bench)
      })
    }
    if (kinds.length === 2) alike(options.dialect.failures, get)
  })
}
