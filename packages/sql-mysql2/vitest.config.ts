import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "sql-mysql2",
    include: ["test/**/*.test.ts"],
    // Servers start as fast as the machine lets them, and every wait has a bound of its own below this.
    testTimeout: 60_000,
    globalSetup: ["@cenote/testing/vitestMariaDb"],
    hookTimeout: 120_000
  }
})
