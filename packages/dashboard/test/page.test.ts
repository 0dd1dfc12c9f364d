/**
 * What a person sees on the page, and what happens when they act.
 */
import { NodeThreads, ThreadPool } from "@cenote/threads"
import { KeyedPool, Pool, PoolRegistry, TokenPool } from "@cenote/pool"
import { Effect, Exit, Fiber, Scope } from "effect"
import { expect } from "vitest"
import { acquire, describePage, hold, openPool, rowOf, rows, shows, soon, test } from "./browser.ts"

describePage("the overview", () => {
  test(
    "names the pool that is short first, with what is the matter and what to do",
    {},
    async ({ page, run }) => {
      await shows(page.locator(".banner"), "No pools yet")
      const pool = await run(Pool.make({ name: "app/Db", acquire, max: 1 }))
      await run(Pool.make({ name: "app/Cache", acquire, size: 2 }))
      await shows(page.locator(".banner"), "All 2 pools are well")
      await soon(() => rows(page)).toEqual(["app/Cache", "app/Db"])
      await run(hold(pool, "nightly report"))
      await run(hold(pool, "GET /orders"))
      await shows(
        page.locator(".banner"),
        /^app\/Db is short 1 borrower waits for 1 resource, the longest for [\d.]+ m?s\. What to do: All are in use\./
      )
      await soon(() => rows(page)).toEqual(["app/Db", "app/Cache"])
      await shows(rowOf(page, "app/Db"), /^Short app\/Db pool 1 \/ 1 1 [\d.]+ s [\d.]+ s/)
      await shows(rowOf(page, "app/Cache"), /^OK app\/Cache pool 0 \/ 2 2 idle/)
      await soon(() => page.title()).toMatch(/^\(1\) /)
    }
  )

  test("moves when a pool moves, comes and goes", {}, async ({ page, run }) => {
    const scope = await run(Scope.make())
    const pool = await run(Pool.make({ name: "app/Db", acquire, max: 3, min: 1 }))
    const inUse = rowOf(page, "app/Db").locator(".use")
    await shows(inUse, "0 / 3")
    const holder = await run(hold(pool, "GET /orders"))
    await shows(inUse, "1 / 3")
    await run(Pool.resize(pool, 7))
    await shows(inUse, "1 / 7")
    await run(Fiber.interrupt(holder))
    await shows(inUse, "0 / 7")
    await run(Scope.provide(TokenPool.make({ name: "app/Tokens", max: 2 }), scope))
    await shows(rowOf(page, "app/Tokens"), "tokens 0 / 2")
    await run(Scope.close(scope, Exit.void))
    await soon(() => rows(page)).toEqual(["app/Db"])
  })

  test("finds pools by name and kind, and sorts by any column", {}, async ({ page, run }) => {
    for (const [i, name] of ["app/Db", "app/Cache", "mail/Smtp"].entries()) {
      const pool = await run(Pool.make({ name, acquire, max: 3 }))
      for (let n = 0; n < i; n++) await run(hold(pool, "x"))
    }
    await run(TokenPool.make({ name: "app/Tokens", max: 2 }))
    await soon(() => rows(page)).toEqual(["app/Cache", "app/Db", "app/Tokens", "mail/Smtp"])
    await page.getByRole("searchbox").fill("APP/")
    await soon(() => rows(page)).toEqual(["app/Cache", "app/Db", "app/Tokens"])
    await shows(page.locator(".shown"), "3 of 4 pools")
    await page.getByRole("combobox", { name: "Kind of pool" }).selectOption("tokens")
    await soon(() => rows(page)).toEqual(["app/Tokens"])
    await page.getByRole("searchbox").fill("nothing like it")
    await page.getByText("No pool fits the filter.").waitFor()
    await page.getByRole("searchbox").fill("")
    await page.getByRole("combobox", { name: "Kind of pool" }).selectOption("")

    const header = page.getByRole("columnheader", { name: "In use" })
    await soon(() => rowOf(page, "mail/Smtp").locator(".use").innerText()).toBe("2 / 3")
    await header.getByRole("button").click()
    await soon(() => rows(page)).toEqual(["mail/Smtp", "app/Cache", "app/Db", "app/Tokens"])
    expect(await header.getAttribute("aria-sort")).toBe("descending")
    await header.getByRole("button").click()
    await soon(() => rows(page)).toEqual(["app/Db", "app/Tokens", "app/Cache", "mail/Smtp"])
    await header.getByRole("button").click()
    await soon(() => rows(page)).toEqual(["app/Cache", "app/Db", "app/Tokens", "mail/Smtp"])
    await page.getByRole("columnheader", { name: "Pool" }).getByRole("button").click()
    expect(await rows(page)).toEqual(["app/Cache", "app/Db", "app/Tokens", "mail/Smtp"])
    // A pool that comes changes nothing of what is chosen.
    await run(TokenPool.make({ name: "mail/Tokens", max: 2 }))
    await soon(() => rows(page)).toEqual(["app/Cache", "app/Db", "app/Tokens", "mail/Smtp", "mail/Tokens"])
    await page.getByRole("combobox", { name: "Kind of pool" }).selectOption("pool")
    // What was looked for is still looked for when the page has been loaded again.
    await page.getByRole("searchbox").fill("mail")
    await page.reload()
    await soon(() => rows(page)).toEqual(["mail/Smtp"])
  })

  test("names the three worst, and says how many more are ill", {}, async ({ page, run }) => {
    const make = (name: string) => run(Pool.make({ name, acquire, max: 1 }))
    for (const name of ["a", "b", "c", "d"]) await run(Pool.suspend(await make(name)))
    await make("well")
    const down = await make("z")
    await run(Pool.suspend(down))
    await run(hold(down, "GET /orders"))
    await soon(() => page.locator(".banner .what").allInnerTexts()).toEqual([
      "z is down",
      "a needs an eye",
      "b needs an eye"
    ])
    await shows(page.locator(".banner .rest"), "and 2 other pools: 2 watch")
    await soon(() => rows(page)).toEqual(["z", "a", "b", "c", "d", "well"])
  })

  test(
    "shows what a pool is that came under the name of another",
    // So slow that both are told at once.
    { pace: "500 millis" },
    async ({ page, run }) => {
      const scope = await run(Scope.make())
      await run(Scope.provide(Pool.make({ name: "app/Db", acquire, max: 3 }), scope))
      await shows(rowOf(page, "app/Db"), "pool 0 / 3")
      await run(
        Effect.andThen(
          Scope.close(scope, Exit.void),
          KeyedPool.make({ name: "app/Db", acquire: (host: string) => Effect.succeed(host) })
        )
      )
      // One without a limit.
      await shows(rowOf(page, "app/Db"), "keyed pool 0 –")
    }
  )

  test("stands still while it is paused", {}, async ({ page, run }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    const other = await run(Pool.make({ name: "app/Cache", acquire, max: 3 }))
    const inUse = rowOf(page, "app/Db").locator(".use")
    await shows(inUse, "0 / 3")
    await page.getByRole("button", { name: "Pause" }).click()
    await shows(page.locator("#connection"), /^Paused at \d\d:\d\d:\d\d$/)
    await run(hold(pool, "GET /orders"))
    await run(hold(other, "GET /orders"))
    // Somebody else sees it; what was told to them was told to this page.
    const url = page.url()
    await page.evaluate(
      (url) =>
        new Promise<void>((resolve) => {
          const source = new EventSource(new URL("/api/stream", url))
          let changes = 0
          source.addEventListener("change", () => {
            if (++changes < 3) return
            source.close()
            resolve()
          })
        }),
      url
    )
    expect(await inUse.innerText()).toBe("0 / 3")
    await page.getByRole("button", { name: "Go on" }).click()
    await shows(inUse, "1 / 3")
    await shows(page.locator("#connection"), "Live")
  })
})

describePage("a pool", () => {
  test(
    "tells who holds it since when, who waits, what happened, and how it was made",
    {},
    async ({ page, run }) => {
      const pool = await run(
        Pool.make({ name: "app/Db", acquire, max: 2, leakAfter: "80 millis", maxWaiting: 5 })
      )
      await run(hold(pool, "checkout.confirm"))
      await run(hold(pool, "checkout.confirm"))
      await run(hold(pool, "GET /orders"))
      await openPool(page, "app/Db")
      const holders = page.getByRole("table", { name: "Who holds it" })
      await shows(
        holders,
        /^Held for Since Span Fiber Resource [\d.]+ m?s \d\d:\d\d:\d\d checkout\.confirm #\d+ \d/
      )
      await shows(page.locator(".leases"), "checkout.confirm × 2")
      await shows(page.getByRole("table", { name: "Who waits" }), /1 [\d.]+ m?s GET \/orders #\d+/)
      await shows(page.getByRole("table", { name: "Recent events" }), /Leaked .*checkout\.confirm/)
      await shows(page.getByRole("region", { name: "Made with" }), /max 2 .*leakAfter 80ms/)
      await shows(page.locator("#detail .banner"), /1 borrower waits for 2 resources/)
      await page.getByRole("link", { name: "All pools", exact: true }).click()
      await shows(rowOf(page, "app/Db"), "Short")
    }
  )

  test("has the rows of what is, and the newest event first", {}, async ({ page, run }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    const holders = []
    for (const span of ["a", "b", "c"]) holders.push(await run(hold(pool, span)))
    await openPool(page, "app/Db")
    const spans = () => page.locator(".leases tbody td:nth-child(3)").allInnerTexts()
    await soon(spans).toEqual(["a", "b", "c"])
    await run(Fiber.interrupt(holders[1]!))
    await soon(spans).toEqual(["a", "c"])
    await shows(page.locator(".leases h2"), "Who holds it (2)")
    for (const holder of holders) await run(Fiber.interrupt(holder))
    await page.getByText("Nobody: nothing is on loan.").waitFor()
    expect(await spans()).toEqual([])
    await run(Pool.suspend(pool))
    await run(Pool.resume(pool))
    await soon(() => page.locator("#detail .panel.events tbody td:nth-child(2)").allInnerTexts()).toEqual([
      "● Resumed",
      "● Suspended",
      "Created",
      "Created",
      "Created"
    ])
  })

  test(
    "lets loans and waits last on between two messages",
    { at: null, pace: "1 minute" },
    async ({ page, run, url }) => {
      const pool = await run(Pool.make({ name: "app/Db", acquire, max: 1 }))
      await run(hold(pool, "checkout.confirm"))
      await run(hold(pool, "GET /orders"))
      // What is shorter is not thought to last.
      await run(Effect.sleep(1_001))
      await page.goto(`${url}/#/pool/app%2FDb`)
      for (const section of [".leases td:first-child", ".waiters td:nth-child(2)"]) {
        const first = await page.locator(section).innerText()
        await soon(() => page.locator(section).innerText()).not.toBe(first)
      }
    }
  )

  test("draws its past, and says it in words", {}, async ({ page, run }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, max: 4, min: 4 }))
    await run(hold(pool, "a"))
    await openPool(page, "app/Db")
    const chart = page.getByRole("img", { name: /^Resources, now/ })
    await soon(() => chart.getAttribute("aria-label")).toBe("Resources, now: idle 3, used 1, max 4")
    const painted = () =>
      chart.locator("canvas").evaluate((canvas) => {
        if (!(canvas instanceof HTMLCanvasElement)) return []
        const used = getComputedStyle(document.querySelector('.swatch[data-colour="used"]')!).backgroundColor
        // Read from a copy: a canvas that is read is drawn in another way from then on.
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {
          willReadFrequently: true
        })!
        copy.drawImage(canvas, 0, 0)
        const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data
        let n = 0
        const [r = 0, g = 0, b = 0] = used.match(/\d+/g)!.map(Number)
        for (let i = 0; i < pixels.length; i += 4) {
          if (pixels[i] === r && pixels[i + 1] === g && pixels[i + 2] === b) n++
        }
        return [canvas.width, n]
      })
    const few = await painted()
    expect(few[1]).toBeGreaterThan(100)
    await run(hold(pool, "b"))
    await run(hold(pool, "c"))
    await soon(() => chart.getAttribute("aria-label")).toBe("Resources, now: idle 1, used 3, max 4")
    await soon(async () => (await painted())[1]! > few[1]! * 1.2).toBe(true)
    // The chart takes the width that there is.
    await page.setViewportSize({ width: 700, height: 800 })
    await soon(async () => (await painted())[0] !== few[0]).toBe(true)
    await chart.hover()
    await shows(page.locator(".chart").first().locator(".at"), /^\d\d:\d\d:\d\d$/)
  })

  test("of threads tells what each is at", {}, async ({ page, run }) => {
    const busy = Effect.gen(function* () {
      yield* Effect.forkScoped(
        ThreadPool.execute(async function countSheep() {
          await new Promise((resolve) => setTimeout(resolve, 60_000))
        }),
        { startImmediately: true }
      )
      yield* Effect.never
    }).pipe(Effect.scoped, Effect.provide(NodeThreads.layer({ name: "app/Threads", max: 1 })))
    const threads = await run(Effect.forkScoped(busy))
    await openPool(page, "app/Threads")
    const table = page.getByRole("table", { name: "Threads" })
    await shows(table, /1 \w+ \d+ % 1 .*countSheep/)
    await shows(page.getByRole("region", { name: "Calls by outcome" }), /succeeded 0/)
    await run(Fiber.interrupt(threads))
    await page.getByText("There is no such pool now.").waitFor()
  })

  test(
    "that is not there is said not to be, and is shown once it is",
    { at: "/#/pool/app%2FDb" },
    async ({ page, run }) => {
      await page.getByText("There is no such pool now.").waitFor()
      const scope = await run(Scope.make())
      await run(Scope.provide(Pool.make({ name: "app/Db", acquire, max: 2 }), scope))
      await shows(page.locator(".strip"), "in use 0 / 2")
      await page.getByRole("img", { name: "Resources, now: idle 0, used 0, max 2" }).waitFor()
      await run(Scope.close(scope, Exit.void))
      await page.getByText("There is no such pool now.").waitFor()
    }
  )

  test("whose line is long shows its head, and says how many more there are", {}, async ({ page, run }) => {
    const pool = await run(Pool.make({ name: "short", acquire, max: 1 }))
    const [entry] = await run(PoolRegistry.entries)
    const waiters = Array.from({ length: 100 }, (_, fiber) => ({
      fiber,
      span: "GET /orders",
      waited: 5_000 - fiber
    }))
    await run(
      PoolRegistry.register({
        ...entry!,
        name: "app/Db",
        stats: Effect.map(Pool.stats(pool), (stats) => ({ ...stats, used: 1, pending: 100_000 })),
        waiters: (limit = 100_000) => Effect.succeed(waiters.slice(0, limit))
      })
    )
    await shows(rowOf(page, "app/Db").locator(".pending"), "100,000")
    await openPool(page, "app/Db")
    await shows(page.locator(".waiters"), /^Who waits \(100,000\) .*… and 99,900 more$/)
    await soon(() => page.locator(".waiters tbody tr").count()).toBe(100)
  })
})

describePage("an action", () => {
  test("is asked once more, in words that say what will happen, and acts", {}, async ({ page, run }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, min: 3, max: 3 }))
    await run(hold(pool, "GET /orders"))
    const stats = () => run(Pool.stats(pool))
    await soon(async () => (await stats()).idle).toBe(2)
    // By the mouse, for once.
    await rowOf(page, "app/Db").getByRole("link", { name: "app/Db" }).click()
    await shows(page.locator(".strip"), "in use 1 / 3")
    const press = (name: string) => page.getByRole("button", { name, exact: true }).click()
    const dialog = page.getByRole("dialog")

    await press("Resize")
    await dialog.getByRole("spinbutton", { name: "At least" }).fill("0")
    await dialog.getByRole("spinbutton", { name: "At most" }).fill("1")
    await shows(dialog, "2 resources too many are closed: 2 at once.")
    await dialog.getByRole("button", { name: "Resize" }).click()
    await soon(stats).toMatchObject({ min: 0, max: 1, size: 1 })
    await shows(page.locator(".toast"), "app/Db has min 0, max 1 now")
    await shows(page.locator(".strip"), "in use 1 / 1")

    await press("Suspend")
    await shows(dialog, "Nobody gets a resource until the pool is resumed")
    await dialog.getByRole("button", { name: "Suspend" }).click()
    await soon(stats).toMatchObject({ state: "suspended" })
    await shows(page.locator("#detail .title"), "suspended")
    await press("Resume")
    await dialog.getByRole("button", { name: "Resume" }).click()
    await soon(stats).toMatchObject({ state: "open" })

    await press("Recycle")
    await shows(dialog, "1 resource on loan as soon as they come back")
    await dialog.getByRole("button", { name: "Recycle" }).click()
    await shows(page.getByRole("table", { name: "Recent events" }), "Recycled")

    await run(Pool.resize(pool, { min: 2, max: 4 }))
    await soon(stats).toMatchObject({ idle: 1 })
    await press("Close idle")
    await dialog.getByRole("button", { name: "Close idle" }).click()
    await shows(page.getByRole("region", { name: "Closed by reason" }), /cleared 1/)
  })

  test(
    "is not done when it is cancelled, and says why when it is refused",
    {},
    async ({ page, run, troubles }) => {
      const pool = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
      await openPool(page, "app/Db")
      const dialog = page.getByRole("dialog")
      const asked: Array<string> = []
      page.on("request", (request) => {
        if (request.method() === "POST") asked.push(request.url())
      })
      const suspend = page.getByRole("button", { name: "Suspend" })
      for (const cancel of [
        () => page.keyboard.press("Escape"),
        () => dialog.getByRole("button", { name: "Cancel" }).click()
      ]) {
        await suspend.click()
        await dialog.waitFor()
        await cancel()
        await dialog.waitFor({ state: "detached" })
        // What had been asked from has the focus again.
        expect(await suspend.evaluate((_) => _ === document.activeElement)).toBe(true)
      }
      // Escape closed the dialog and not the pool.
      await page.getByRole("heading", { level: 1, name: "app/Db" }).waitFor()
      expect(asked).toEqual([])

      await page.getByRole("button", { name: "Resize" }).click()
      await dialog.getByRole("spinbutton", { name: "At least" }).fill("5")
      await dialog.getByRole("spinbutton", { name: "At most" }).fill("2")
      await shows(dialog, "At least 5 and at most 2: that cannot be.")
      await dialog.getByRole("button", { name: "Resize" }).click()
      await shows(page.getByRole("alert"), /^app\/Db: .*min/)
      expect(await run(Pool.stats(pool))).toMatchObject({ min: 0, max: 3, state: "open" })
      // A browser tells its console of each answer that is no success.
      expect(troubles.splice(0)).toEqual([expect.stringMatching(/status of 400/)])
    }
  )

  test("is done by the keyboard, and to the one of two pools of a name", {}, async ({ page, run }) => {
    const first = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    const second = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    await openPool(page, "app/Db#2")
    const suspend = page.getByRole("button", { name: "Suspend" })
    await suspend.press("Enter")
    await shows(page.getByRole("dialog"), "Suspend app/Db#2?")
    // What it is for has the focus.
    await page.keyboard.press("Enter")
    await soon(() => run(Pool.stats(second))).toMatchObject({ state: "suspended" })
    await shows(page.locator(".toast"), "app/Db#2 lends nothing until it is resumed")
    expect(await run(Pool.stats(first))).toMatchObject({ state: "open" })
  })

  test("that makes no sense now cannot be asked for", {}, async ({ page, run }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, min: 1, max: 3 }))
    await openPool(page, "app/Db")
    const possible = () => page.locator(".actions button:enabled").allInnerTexts()
    await soon(possible).toEqual(["Resize", "Recycle", "Suspend", "Close idle"])
    const holder = await run(hold(pool, "GET /orders"))
    await soon(possible).toEqual(["Resize", "Recycle", "Suspend"])
    await run(Pool.suspend(pool))
    await soon(possible).toEqual(["Resize", "Recycle", "Resume"])
    await run(Fiber.interrupt(holder))
    await soon(possible).toEqual(["Resize", "Recycle", "Resume", "Close idle"])
  })

  test("is not offered by a dashboard that is read-only", { readOnly: true }, async ({ page, run }) => {
    await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    await openPool(page, "app/Db")
    await shows(page.locator(".strip"), "in use 0 / 3")
    expect(await page.locator("#detail").getByRole("button").count()).toBe(0)
  })
})
