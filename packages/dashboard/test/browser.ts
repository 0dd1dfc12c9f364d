// Pages in a real Chromium, for the tests of what a person sees and does.
import { Dashboard } from "@cenote/dashboard"
import { Pool, PoolRegistry } from "@cenote/pool"
import { Effect, type Fiber, Layer, Logger, type Scope } from "effect"
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { executable, launch, missing } from "./chromium.ts"

let browser: Browser | undefined

/**
 * Tests that share one browser. Where there is none they are skipped, and their name says what is missing; with `CI=true` in the
 * environment that is a failure.
 */
export const describePage = (name: string, tests: () => void): void => {
  if (executable() !== undefined || process.env["CI"] === "true") {
    describe(name, () => {
      beforeAll(async () => {
        browser = await launch()
      })
      afterAll(() => browser?.close())
      tests()
    })
    return
  }
  // Not every reporter prints the names of the tests that it skips.
  console.warn(`skipped: ${name}: ${missing}`)
  describe.skip(`${name} (skipped: ${missing})`, tests)
}

export interface Stage {
  readonly page: Page
  /** Of the dashboard. */
  readonly url: string
  /** Runs in the scope of the test, with its registry. */
  readonly run: <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Promise<A>
  /** What went wrong in the page without being seen. A test that means to provoke something empties it. */
  readonly troubles: Array<string>
}

interface Options extends Dashboard.Options {
  readonly browser?: BrowserContextOptions
  /** The page opens at this, of the dashboard; `null`: nowhere yet. */
  readonly at?: string | null
}

/**
 * A test with a page on a dashboard of its own. It fails also when the page said or did what nobody saw: an error on the console, a breach of
 * its policy, a request to another host.
 */
export const test = (
  name: string,
  { at = "/", browser: look = {}, ...options }: Options,
  f: (stage: Stage) => Promise<void>
): void => {
  const dashboard = Dashboard.layer({ port: 0, pace: "50 millis", ...options })
  const program = Effect.gen(function* () {
    const { url } = yield* Dashboard.Dashboard
    const context = yield* Effect.context<Scope.Scope>()
    const troubles: Array<string> = []
    const page = yield* Effect.acquireRelease(
      Effect.promise(() => openPage(url, troubles, look)),
      (page) => Effect.promise(() => page.context().close())
    )
    const run: Stage["run"] = (effect) => Effect.runPromiseWith(context)(effect)
    if (at !== null) yield* Effect.promise(() => page.goto(url + at))
    yield* Effect.promise(() => f({ page, url, run, troubles })).pipe(
      // What a test waited for in vain is better understood with what the page said meanwhile.
      Effect.tapCause(() => Effect.sync(() => troubles.length > 0 && console.error("the page:", troubles)))
    )
    expect(troubles).toEqual([])
  })
  it(name, () =>
    Effect.runPromise(
      program.pipe(
        Effect.scoped,
        Effect.provide(Layer.provideMerge(dashboard, Layer.mergeAll(PoolRegistry.layer, Logger.layer([]))))
      )
    )
  )
}

const openPage = async (url: string, troubles: Array<string>, look: BrowserContextOptions): Promise<Page> => {
  if (browser === undefined) throw new Error("the browser is not up")
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...look })
  const page = await context.newPage()
  page.setDefaultTimeout(patience)
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") troubles.push(message.text())
  })
  page.on("pageerror", (error) => troubles.push(error.stack ?? error.message))
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) troubles.push(request.url())
  })
  return page
}

/** For what must happen, in milliseconds: a busy machine takes its time. */
const patience = 20_000

/** Waits until something is what it should be. */
export const soon = <A>(read: () => A | Promise<A>): ReturnType<typeof expect.poll<A>> =>
  expect.poll(read, { timeout: patience, interval: 30 })

/** Waits until the text that is seen matches. */
export const shows = async (where: Locator, text: string | RegExp): Promise<void> => {
  const seen = async () => (await where.innerText()).replaceAll(/\s+/g, " ").trim()
  if (typeof text === "string") await soon(seen).toContain(text)
  else await soon(seen).toMatch(text)
}

/** The row of a pool in the overview. */
export const rowOf = (page: Page, name: string): Locator =>
  page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) })

/** The pool's page, with its past on it. By the keyboard: rows move down when a report comes above them, also under a mouse. */
export const openPool = async (page: Page, name: string): Promise<void> => {
  await page.getByRole("table", { name: "Pools" }).getByRole("link", { name, exact: true }).press("Enter")
  await page.getByRole("heading", { level: 1, name, exact: true }).waitFor()
}

/** The names of all pools in the overview, from top to bottom. */
export const rows = (page: Page): Promise<ReadonlyArray<string>> =>
  page.locator(".rows .open").allTextContents()

/** What is pooled where that does not matter. */
export const acquire = Effect.sync(() => ({}))

/** Borrows under a span, and keeps it until it is interrupted. */
export const hold = <A>(
  pool: Pool.Pool<A>,
  span: string
): Effect.Effect<Fiber.Fiber<unknown, unknown>, never, Scope.Scope> =>
  Effect.forkScoped(Effect.withSpan(Effect.scoped(Effect.andThen(Pool.get(pool), Effect.never)), span), {
    startImmediately: true
  })
