import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "examples",
    include: ["test/**/*.test.ts"],
    // A server starts, and the programs take their seconds.
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})
