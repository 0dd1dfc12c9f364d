// The same run as two projects, each of which has the set-up.
import { join } from "node:path"
import { defineConfig } from "vitest/config"

const project = (name: string, file: string) => ({
  test: {
    name,
    root: import.meta.dirname,
    include: [file],
    globalSetup: ["@cenote/testing/vitestPostgres", "@cenote/testing/vitestMariaDb"],
    testTimeout: 60_000,
    hookTimeout: 60_000
  }
})

export default defineConfig({
  cacheDir: join(import.meta.dirname, "../../node_modules/.cache/runs"),
  test: { projects: [project("first", "first.ts"), project("second", "second.ts")] }
})
