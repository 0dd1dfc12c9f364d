import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    projects: ["packages/*", { test: { name: "scripts", root: "scripts", include: ["test/**/*.test.ts"] } }]
  }
})
