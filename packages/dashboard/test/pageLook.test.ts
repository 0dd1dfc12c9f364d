/**
 * How the page looks and is used: by the keyboard, by ear, in the dark, on a phone, and with a great many pools.
 */
import { Pool, PoolRegistry } from "@cenote/pool"
import { Effect } from "effect"
import { type Locator, type Page } from "playwright-core"
import { expect } from "vitest"
import { acquire, describePage, openPool, rowOf, shows, soon, test } from "./browser.ts"
import { shop } from "./shop.ts"

const make = (...names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => Pool.make({ name, acquire, max: 3 }))

/** The shop when all its connections have just been forgotten: something of each kind and level. */
const busy = shop({ count: 10, begin: 0, apart: 0 })

const isFocused = (where: Locator) => where.evaluate((_) => _ === document.activeElement)

describePage("by the keyboard", () => {
  test("one finds, walks, opens and closes pools", {}, async ({ page, run }) => {
    await run(make("app/Cache", "app/Db", "mail/Smtp"))
    const link = (name: string) => page.getByRole("link", { name, exact: true })
    await link("mail/Smtp").waitFor()
    const { keyboard } = page
    await keyboard.press("/")
    await keyboard.type("app/")
    await soon(() => page.locator(".row").count()).toBe(2)
    await keyboard.press("ArrowDown")
    expect(await isFocused(link("app/Cache"))).toBe(true)
    await keyboard.press("j")
    expect(await isFocused(link("app/Db"))).toBe(true)
    await keyboard.press("k")
    expect(await isFocused(link("app/Cache"))).toBe(true)
    await keyboard.press("Escape")
    await soon(() => page.locator(".row").count()).toBe(3)
    await keyboard.press("ArrowDown")
    await keyboard.press("Enter")
    const title = page.getByRole("heading", { level: 1, name: "app/Db", exact: true })
    await title.waitFor()
    // Whoever listens is told where they are.
    await soon(() => isFocused(title)).toBe(true)
    await keyboard.press("Escape")
    await title.waitFor({ state: "detached" })
    await soon(() => isFocused(link("app/Db"))).toBe(true)
    await keyboard.press("Enter")
    await title.waitFor()
    await keyboard.press("/")
    await title.waitFor({ state: "detached" })
    await keyboard.type("mail")
    await soon(() => page.locator(".open").allInnerTexts()).toEqual(["mail/Smtp"])
    await keyboard.press("Escape")
    await soon(() => page.locator(".row").count()).toBe(3)
    await keyboard.press("p")
    await shows(page.locator("#connection"), "Paused")
    await keyboard.press("p")
    await shows(page.locator("#connection"), "Live")
    await keyboard.press("?")
    const help = page.getByRole("dialog", { name: "Keys" })
    await shows(help, "find a pool by its name")
    // Keys are the dialog's as long as it is open.
    await keyboard.press("p")
    await keyboard.press("Escape")
    await help.waitFor({ state: "hidden" })
    await shows(page.locator("#connection"), "Live")
  })

  test(
    "keys with a modifier are the browser's, and letters that are typed are text",
    {},
    async ({ page, run }) => {
      await run(make("app/Cache", "app/Db"))
      await soon(() => page.locator(".row").count()).toBe(2)
      const { keyboard } = page
      for (const key of ["Alt+j", "Control+j", "Meta+j", "Alt+p", "Alt+/"]) {
        await keyboard.press(key)
        expect([key, await page.evaluate(() => document.activeElement?.tagName)]).toEqual([key, "BODY"])
      }
      await shows(page.locator("#connection"), "Live")
      await keyboard.press("/")
      await keyboard.type("jp?k")
      expect(await page.getByRole("searchbox").inputValue()).toBe("jp?k")
      await shows(page.locator("#connection"), "Live")
    }
  )

  test("every control can be reached, and shows that it is", {}, async ({ page, run }) => {
    const [pool] = await run(make("app/Db"))
    await run(Pool.resize(pool!, { min: 1 }))
    await openPool(page, "app/Db")
    await shows(page.getByRole("table", { name: "Recent events" }), "Resized")
    await shows(page.locator(".strip"), "in use 0 / 3")
    await soon(() => page.getByRole("button", { name: "Close idle" }).isEnabled()).toBe(true)
    const wanted = await page
      .locator("button:enabled:visible, a:visible:not(.skip), [tabindex='0']:visible")
      .count()
    const reached = new Set<string>()
    for (let i = 0; i < wanted + 5; i++) {
      await page.keyboard.press("Tab")
      const outline = await page.evaluate(() => {
        const { activeElement: it } = document
        if (it === null || it === document.body || it.classList.contains("skip")) return undefined
        const { outlineStyle, outlineWidth } = getComputedStyle(it)
        return [it.outerHTML, `${outlineStyle} ${outlineWidth}`]
      })
      if (outline === undefined) continue
      expect(outline[1]).toBe("solid 2px")
      reached.add(outline[0]!)
    }
    expect(reached.size).toBe(wanted)
  })

  test("the focus stays with a pool whose row moves", {}, async ({ page, run }) => {
    const [pool] = await run(make("z", "a", "b", "c"))
    const link = rowOf(page, "z").getByRole("link")
    await link.focus()
    await run(Pool.suspend(pool!))
    await soon(() => page.locator(".open").allInnerTexts()).toEqual(["z", "a", "b", "c"])
    expect(await isFocused(link)).toBe(true)
    await run(Pool.resume(pool!))
    await soon(() => page.locator(".open").allInnerTexts()).toEqual(["a", "b", "c", "z"])
    expect(await isFocused(link)).toBe(true)
  })
})

describePage("by ear", () => {
  /** What the browser tells a screen reader. */
  const heard = async (page: Page) => {
    const session = await page.context().newCDPSession(page)
    const { nodes } = await session.send("Accessibility.getFullAXTree")
    await session.detach()
    return nodes
      .filter((_) => !_.ignored)
      .map(({ name, role }) => ({ role: String(role?.value), name: String(name?.value ?? "").trim() }))
  }
  const named = new Set(
    "button link textbox searchbox combobox spinbutton dialog img image table columnheader region group option heading".split(
      " "
    )
  )
  const check = async (page: Page) => {
    const nodes = await heard(page)
    expect(nodes.filter(({ name, role }) => named.has(role) && name === "")).toEqual([])
    return nodes
  }

  test("every control, table and picture has a name", {}, async ({ page, run }) => {
    await run(busy)
    await shows(rowOf(page, "app/Db"), "Short")
    const overview = await check(page)
    const roles = (role: string) => overview.filter((_) => _.role === role).map((_) => _.name)
    expect(roles("columnheader")).toHaveLength(10)
    expect(roles("row").length).toBeGreaterThan(10)
    expect(roles("main")).toHaveLength(1)
    await openPool(page, "app/Db")
    await shows(page.locator(".leases"), "checkout.confirm × 10")
    const pictures = (await check(page))
      .filter(({ role }) => role === "img" || role === "image")
      .map((_) => _.name)
    expect(pictures).toHaveLength(4)
    expect(pictures).toContainEqual(expect.stringMatching(/^Resources, now: idle 0, used 10, max 10$/))
    await page.getByRole("button", { name: "Resize" }).click()
    await check(page)
  })

  test(
    "a level has a picture and a word, and nothing is told by a colour alone",
    {},
    async ({ page, run }) => {
      const [pool] = await run(make("app/Db", "app/Cache"))
      await run(Pool.suspend(pool!))
      const level = (name: string) => rowOf(page, name).locator(".level")
      await shows(level("app/Db"), /^Watch$/)
      await shows(level("app/Cache"), /^OK$/)
      const picture = (name: string) => level(name).locator("use").getAttribute("href")
      expect([await picture("app/Db"), await picture("app/Cache")]).toEqual(["#icon-watch", "#icon-ok"])
    }
  )
})

/** Texts that are too pale for their ground: less than 4.5 to 1. What is disabled may be. */
const pale = (page: Page) =>
  page.evaluate(() => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true })!
    /** Whatever way a colour is written, a canvas has it as numbers. */
    const paint = (...colours: ReadonlyArray<string>) => {
      context.clearRect(0, 0, 1, 1)
      for (const colour of colours) {
        context.fillStyle = colour
        context.fillRect(0, 0, 1, 1)
      }
      return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)
    }
    const luminance = (colour: ReadonlyArray<number>) => {
      const [r = 0, g = 0, b = 0] = colour.map((_) => {
        const part = _ / 255
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
      })
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const grounds = (element: Element): Array<string> => [
      ...(element.parentElement === null ? ["white"] : grounds(element.parentElement)),
      getComputedStyle(element).backgroundColor
    ]
    const found: Array<string> = []
    let seen = 0
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode() !== null) {
      const element = walker.currentNode.parentElement!
      const text = walker.currentNode.textContent!.trim()
      if (
        text === "" ||
        !element.checkVisibility() ||
        element.closest(":disabled, script, noscript") !== null
      )
        continue
      seen++
      const ground = grounds(element)
      const { color } = getComputedStyle(element)
      const [a, b] = [luminance(paint(...ground)), luminance(paint(...ground, color))]
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
      if (contrast < 4.5) found.push(`${text}: ${contrast.toFixed(2)} (${color} on ${ground.at(-1)})`)
    }
    return { seen, found }
  })

describePage("in light and dark", () => {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`all text can be read: ${colorScheme}`, { browser: { colorScheme } }, async ({ page, run }) => {
      await run(busy)
      const pool = await run(make("mail/Outbox"))
      await run(Pool.suspend(pool[0]!))
      await shows(rowOf(page, "app/Db"), "Short")
      await shows(rowOf(page, "mail/Outbox"), "Watch")
      const overview = await pale(page)
      expect(overview.found).toEqual([])
      expect(overview.seen).toBeGreaterThan(80)
      await openPool(page, "app/Db")
      await shows(page.locator(".leases"), "checkout.confirm × 10")
      expect((await pale(page)).found).toEqual([])
      await page.getByRole("button", { name: "Recycle" }).click()
      expect((await pale(page)).found).toEqual([])
    })
  }

  test("the theme is the machine's until one is chosen, which is remembered", {}, async ({ page, run }) => {
    await run(make("app/Db"))
    await openPool(page, "app/Db")
    await page.getByRole("img", { name: /^Resources/ }).waitFor()
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const light = await ground()
    await page.emulateMedia({ colorScheme: "dark" })
    const dark = await ground()
    expect(dark).not.toBe(light)
    await page.getByRole("button", { name: "Theme: Auto" }).click()
    expect(await ground()).toBe(light)
    await page.getByRole("button", { name: "Theme: Light" }).click()
    expect(await ground()).toBe(dark)
    await page.emulateMedia({ colorScheme: "light" })
    await page.reload()
    await page.getByRole("button", { name: "Theme: Dark" }).waitFor()
    expect(await ground()).toBe(dark)
    await page.getByRole("button", { name: "Theme: Dark" }).click()
    expect(await ground()).toBe(light)
  })
})

describePage("on a phone", () => {
  test(
    "nothing is wider than the screen",
    { browser: { viewport: { width: 360, height: 740 } } },
    async ({ page, run }) => {
      await run(busy)
      const long = `a/${"very-long-name".repeat(20)}`
      const [pool] = await run(make(long))
      await run(
        Effect.forkScoped(
          Effect.withSpan(Effect.scoped(Effect.andThen(Pool.get(pool!), Effect.never)), "span".repeat(99))
        )
      )
      await shows(rowOf(page, "app/Db"), "Short")
      const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      expect(await overflow()).toBe(0)
      // What a column's head says elsewhere stands above each figure here.
      const label = rowOf(page, "app/Db").locator(".pending")
      expect(await label.evaluate((_) => getComputedStyle(_, "::before").content)).toBe('"Waiting"')
      await openPool(page, "app/Db")
      await shows(page.locator(".leases"), "checkout.confirm × 10")
      expect(await overflow()).toBe(0)
      await page.getByRole("button", { name: "Resize" }).click()
      expect(await overflow()).toBe(0)
      await page.keyboard.press("Escape")
      await page.keyboard.press("Escape")
      await openPool(page, long)
      await shows(page.locator(".leases"), "spanspan")
      expect(await overflow()).toBe(0)
    }
  )
})

/**
 * What each task of the page's thread took, in milliseconds of that thread: it takes no longer where the machine has more to do.
 */
const tasksOf = (trace: Buffer): ReadonlyArray<number> => {
  interface Event {
    readonly name: string
    readonly pid: number
    readonly tid: number
    readonly tdur?: number
    readonly args: { readonly name?: string }
  }
  const events: ReadonlyArray<Event> = JSON.parse(trace.toString()).traceEvents
  const ofThread = (thread: Event): ReadonlyArray<number> =>
    events
      .filter((_) => _.name === "RunTask" && _.pid === thread.pid && _.tid === thread.tid)
      .map((_) => (_.tdur ?? 0) / 1000)
  // Chromium keeps a page ready for whoever opens the next one: it has next to nothing to do.
  return events
    .filter((_) => _.name === "thread_name" && _.args.name === "CrRendererMain")
    .map(ofThread)
    .reduce((most, tasks) => (total(tasks) > total(most) ? tasks : most), [])
}

const total = (tasks: ReadonlyArray<number>): number => tasks.reduce((sum, took) => sum + took, 0)

describePage("with 500 pools", () => {
  /** Pools that stand for real ones; `moving` of them have other figures each time that somebody looks. */
  const crowd = (moving: number) =>
    Effect.gen(function* () {
      const pool = yield* Pool.make({ name: "one", acquire, max: 10 })
      const [entry] = yield* PoolRegistry.entries
      for (let i = 0; i < 499; i++) {
        let looks = i
        const stats = Effect.map(Pool.stats(pool), (stats) => {
          if (i < moving) looks++
          return {
            ...stats,
            max: 10,
            size: 10,
            used: looks % 8,
            idle: 10 - (looks % 8),
            borrowed: looks * looks
          }
        })
        yield* PoolRegistry.register({ ...entry!, name: `crowd/Pool-${i}`, stats })
      }
    })

  test("only what has changed is written", {}, async ({ page, run }) => {
    await run(crowd(1))
    await shows(page.locator(".shown"), "500 pools")
    const written = await page.evaluate(
      () =>
        new Promise<Array<string>>((resolve) => {
          const rows = document.querySelector(".rows")!
          const names: Array<string> = []
          const observer = new MutationObserver((mutations) => {
            for (const { target } of mutations) {
              const element = target instanceof Element ? target : target.parentElement
              names.push(element?.closest(".row")?.querySelector(".open")?.textContent ?? "none")
            }
            if (names.length < 20) return
            observer.disconnect()
            resolve([...new Set(names)])
          })
          observer.observe(rows, { subtree: true, childList: true, attributes: true, characterData: true })
        })
    )
    expect(written).toEqual(["crowd/Pool-0"])
  })

  test(
    "that all change at each pace, the page stays smooth",
    { pace: "250 millis" },
    async ({ page, run }) => {
      await run(crowd(499))
      await shows(page.locator(".shown"), "500 pools")
      const changes = 12
      const browser = page.context().browser()!
      await browser.startTracing(page, {
        categories: ["devtools.timeline", "toplevel", "disabled-by-default-devtools.timeline"]
      })
      await page.evaluate(
        (changes) =>
          new Promise<void>((resolve) => {
            let seen = 0
            let asked = false
            const rows = new MutationObserver(() => {
              // The rows of one change are drawn in one frame.
              if (asked) return
              asked = true
              requestAnimationFrame(() => {
                asked = false
                if (++seen < changes) return
                rows.disconnect()
                resolve()
              })
            })
            rows.observe(document.querySelector(".rows")!, { subtree: true, characterData: true })
          }),
        changes
      )
      const tasks = tasksOf(await browser.stopTracing())
      const longest = Math.max(...tasks)
      const each = total(tasks) / changes
      console.log(
        `500 pools: each change costs the page ${each.toFixed(1)} ms of its thread, and the longest task ${longest.toFixed(1)} ms`
      )
      expect(tasks.length).toBeGreaterThan(changes)
      expect(longest).toBeLessThan(200)
      expect(each).toBeLessThan(125)
      // They are all there, and those that come into sight are as they are now.
      expect(await page.locator(".row").count()).toBe(500)
      const last = rowOf(page, "crowd/Pool-498").locator(".use")
      const before = await last.textContent()
      await last.scrollIntoViewIfNeeded()
      await soon(() => last.innerText()).not.toBe(before)
      await page.getByRole("searchbox").fill("Pool-498")
      await soon(() => page.locator(".open").allInnerTexts()).toEqual(["crowd/Pool-498"])
    }
  )
})
