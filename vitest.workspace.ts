import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    // Much of what is tested waits for threads and servers: two files at a time also where there are two cores.
    maxWorkers: 2,
    projects: ["packages/*", { test: { name: "scripts", root: "scripts", include: ["test/**/*.test.ts"] } }]
  }
})
