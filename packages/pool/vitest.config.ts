import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    name: "pool",
    include: ["test/**/*.test.ts"]
  }
})
