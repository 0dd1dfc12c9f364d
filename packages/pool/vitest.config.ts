import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "pool",
    include: ["test/**/*.test.ts"],
    // Against a test that hangs, not against a machine that is busy.
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
