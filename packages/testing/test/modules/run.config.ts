// A run of tests with servers that its files share. Its two files do the same; see shared.ts.
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["first.ts", "second.ts"],
    globalSetup:
      process.env["GLOBAL_SETUP"] === "none"
        ? []
        : ["@cenote/testing/vitestPostgres", "@cenote/testing/vitestMariaDb"],
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
