// Takes the pictures of the page into the folder that is given: a shop whose database has run short.
import { Dashboard } from "@cenote/dashboard"
import { Console, Effect, Logger, Random } from "effect"
import { statSync } from "node:fs"
import { join } from "node:path"
import type { Browser, BrowserContextOptions } from "playwright-core"
import { launch } from "./chromium.ts"
import { shop } from "./shop.ts"

interface Picture {
  readonly file: string
  /** Of the page. */
  readonly at: string
  readonly look: BrowserContextOptions
  /** The whole page, and not only as much as the screen shows. */
  readonly whole: boolean
}

const pictures: ReadonlyArray<Picture> = [
  {
    file: "dashboard-light.png",
    at: "/",
    look: { colorScheme: "light", viewport: { width: 1280, height: 400 }, deviceScaleFactor: 1.3 },
    whole: true
  },
  {
    file: "dashboard-dark.png",
    at: "/#/pool/app%2FDb",
    look: { colorScheme: "dark", viewport: { width: 1280, height: 850 }, deviceScaleFactor: 1.2 },
    whole: false
  },
  {
    file: "dashboard-narrow.png",
    at: "/",
    look: { colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
    whole: false
  }
]

const take = async (browser: Browser, url: string, folder: string, { at, file, look, whole }: Picture) => {
  const context = await browser.newContext(look)
  try {
    const page = await context.newPage()
    await page.goto(url + at)
    // All pools are there, and the one that is short is said to be.
    const part = page.locator(at === "/" ? "#overview" : "#detail")
    await part.getByText(/borrowers wait for 10 connections/).waitFor()
    if (at !== "/") await page.getByRole("img", { name: /^Resources, now: .*used 10/ }).waitFor()
    await page.screenshot({ path: join(folder, file), fullPage: whole })
  } finally {
    await context.close()
  }
}

const program = Effect.gen(function* () {
  const folder = process.argv[2] ?? "."
  const { url } = yield* Dashboard.Dashboard
  const browser = yield* Effect.acquireRelease(Effect.promise(launch), (browser) =>
    Effect.promise(() => browser.close())
  )
  yield* Console.log("a shop works for a minute, and forgets to give its connections back")
  yield* shop({ count: 9, begin: "14 seconds", apart: "1500 millis" })
  yield* Effect.sleep("58 seconds")
  for (const picture of pictures) {
    yield* Effect.promise(() => take(browser, url, folder, picture))
    yield* Console.log(`${picture.file}: ${Math.round(statSync(join(folder, picture.file)).size / 1000)} kB`)
  }
})

process.title = "shop"
await Effect.runPromise(
  program.pipe(
    Effect.scoped,
    Random.withSeed("cenote"),
    Effect.provide(Dashboard.layer({ port: 0, pace: "500 millis" })),
    Effect.provide(Logger.layer([]))
  )
)
