import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "threads",
    include: ["test/**/*.test.ts"],
    // Threads start as fast as the machine lets them, and every wait has a bound of its own below this.
    testTimeout: 60_000
  }
})
