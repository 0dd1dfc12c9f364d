// A run of tests that need a server that no machine has.
import { join } from "node:path"
import { defineConfig } from "vitest/config"

export default defineConfig({
  cacheDir: join(import.meta.dirname, "../../node_modules/.cache/runs"),
  test: { root: import.meta.dirname, include: ["missing.ts"] }
})
