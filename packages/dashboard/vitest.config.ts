import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "dashboard",
    include: ["test/**/*.test.ts"],
    // Servers start as fast as the machine lets them, and every wait has a bound of its own below this.
    testTimeout: 60_000,
    hookTimeout: 120_000
  }
})
