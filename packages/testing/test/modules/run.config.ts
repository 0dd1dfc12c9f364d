// A run of tests with servers that its files share. Its files do the same; see shared.ts.
import { join } from "node:path"
import { defineConfig } from "vitest/config"

export default defineConfig({
  cacheDir: join(import.meta.dirname, "../../node_modules/.cache/runs"),
  test: {
    root: import.meta.dirname,
    include: process.env["FILES"] === "2" ? ["first.ts", "second.ts"] : ["first.ts"],
    globalSetup:
      process.env["GLOBAL_SETUP"] === "none"
        ? []
        : ["@cenote/testing/vitestPostgres", "@cenote/testing/vitestMariaDb"],
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
