/**
 * Who may see the page and act, what hostile names come to, and what happens when the program goes away.
 */
import { Dashboard } from "@cenote/dashboard"
import { Pool, PoolRegistry } from "@cenote/pool"
import { Effect, Exit, Scope } from "effect"
import { createServer } from "node:http"
import { connect, createServer as createTcpServer, type Socket } from "node:net"
import { expect } from "vitest"
import { acquire, describePage, hold, openPool, rowOf, rows, shows, soon, test } from "./browser.ts"

describePage("who may see and act", () => {
  test("whoever knows the token", { token: "sesame" }, async ({ page, run, troubles, url }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    const token = page.getByLabel("Token")
    await token.fill("wrong")
    await token.press("Enter")
    await shows(page.getByRole("alert"), "That is not the token.")
    expect(await page.getByText("app/Db").count()).toBe(0)
    await token.fill("sesame")
    await token.press("Enter")
    await openPool(page, "app/Db")
    expect(page.url().startsWith(`${url}/`)).toBe(true)
    expect(page.url()).not.toContain("sesame")
    await page.getByRole("button", { name: "Suspend" }).click()
    await page.getByRole("dialog").getByRole("button", { name: "Suspend" }).click()
    await soon(() => run(Pool.stats(pool))).toMatchObject({ state: "suspended" })
    expect(troubles.splice(0).every((_) => _.includes("401"))).toBe(true)
  })

  test(
    "the token is asked for once, and again when the program was restarted with another",
    { at: null },
    async ({ page, run, troubles }) => {
      const registry = PoolRegistry.makeUnsafe()
      const within = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.provideService(effect, PoolRegistry.PoolRegistry, registry)
      const first = await run(Scope.make())
      const start = (port: number, token: string, scope: Scope.Scope) =>
        run(Scope.provide(within(Dashboard.make({ port, token, pace: "50 millis" })), scope))
      const { url } = await start(0, "sesame", first)
      const pool = await run(within(Pool.make({ name: "app/Db", acquire, max: 2 })))
      await page.goto(`${url}/#/pool/app%2FDb`)
      const enter = async (text: string) => {
        const token = page.getByLabel("Token")
        await token.fill(text)
        await token.press("Enter")
        // The pool that was asked for, and not just the page.
        await shows(page.getByRole("heading", { level: 1 }), "app/Db")
        await shows(page.locator("#connection"), "Live")
      }
      await enter("sesame")
      // Another page is paused meanwhile, and stays so.
      const frozen = await page.context().newPage()
      await frozen.goto(page.url())
      await frozen.getByRole("button", { name: "Pause" }).click()
      const port = Number(new URL(url).port)
      await run(Scope.close(first, Exit.void))
      await shows(page.locator("#connection"), "Connection lost")
      const second = await run(Scope.make())
      await start(port, "sesame", second)
      await shows(frozen.locator("#connection"), /^Paused at .* started anew since$/)
      await shows(page.locator("#connection"), "Live")
      await shows(page.getByRole("heading", { level: 1 }), "app/Db")

      await run(Scope.close(second, Exit.void))
      await shows(page.locator("#connection"), "Connection lost")
      await start(port, "open sesame", await run(Effect.scope))
      await enter("open sesame")
      await run(hold(pool, "GET /orders"))
      await shows(page.locator(".strip"), "in use 1 / 2")
      await frozen.getByRole("button", { name: "Go on" }).click()
      await shows(frozen.locator("#connection"), "Live")
      expect(troubles.splice(0).filter((_) => !_.startsWith(url) && !/net::ERR_|401/.test(_))).toEqual([])
    }
  )

  test("no page of another origin", { at: null }, async ({ page, run, troubles, url }) => {
    const pool = await run(Pool.make({ name: "app/Db", acquire, max: 3 }))
    const elsewhere = await run(
      Effect.acquireRelease(
        Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
          const server = createServer((_, response) =>
            response.setHeader("content-type", "text/html").end("<title>elsewhere")
          )
          server.listen(0, "127.0.0.1", () => {
            const address = server.address()
            const port = typeof address === "object" ? address?.port : undefined
            resume(
              Effect.succeed({ url: `http://127.0.0.1:${port}`, close: () => server.closeAllConnections() })
            )
          })
        }),
        (server) => Effect.sync(server.close)
      )
    )
    await page.goto(elsewhere.url)
    // What the form at the end is told; it is the only one that is sent as such.
    const answered = page.waitForResponse(
      (response) => response.request().isNavigationRequest() && response.request().method() === "POST"
    )
    const outcomes = await page.evaluate(async (url) => {
      const act = `${url}/api/pools/app%2FDb/suspend`
      const attempt = async (f: () => Promise<Response>): Promise<string> => {
        try {
          const response = await f()
          return response.type === "opaque" ? "not told" : `${response.status}`
        } catch {
          return "refused"
        }
      }
      const json = { "content-type": "application/json" }
      const read = (): Promise<string> =>
        new Promise((resolve) => {
          const source = new EventSource(`${url}/api/stream`)
          const end = (outcome: string) => (): void => {
            source.close()
            resolve(outcome)
          }
          source.addEventListener("whole", end("read"), { once: true })
          source.addEventListener("error", end("refused"), { once: true })
        })
      const form = (): void => {
        const form = document.createElement("form")
        form.method = "post"
        form.action = act
        form.target = "hidden"
        const hidden = document.createElement("iframe")
        hidden.name = "hidden"
        const shown = document.createElement("iframe")
        shown.src = url
        document.body.append(hidden, form, shown)
        form.submit()
      }
      const found = [
        await attempt(() => fetch(act, { method: "POST", headers: json, body: "{}" })),
        await attempt(() => fetch(act, { method: "POST", body: "{}", mode: "no-cors" })),
        await attempt(() => fetch(`${url}/`, { mode: "cors" })),
        await read()
      ]
      form()
      return found
    }, url)
    const answer = await answered
    expect(outcomes).toEqual(["refused", "not told", "refused", "refused"])
    expect(answer.status()).toBe(403)
    // What a frame may not show, Chromium shows an error for.
    await soon(() => page.frames().map((frame) => frame.url())).toContain("chrome-error://chromewebdata/")
    expect(await run(Pool.stats(pool))).toMatchObject({ state: "open" })
    // All that the page asked for was asked of another origin, and the browser says what became of it.
    expect(troubles.splice(0).length).toBeGreaterThan(0)
  })

  test("names of pools and spans are text, whatever is in them", {}, async ({ page, run }) => {
    const name = `<img src="x" onerror="document.body.dataset.owned='1'">"'/../#?%41 \u202Eevil`
    const pool = await run(Pool.make({ name, acquire, max: 1, leakAfter: "60 millis" }))
    await run(hold(pool, `<script>document.body.dataset.owned='2'</script>`))
    await run(hold(pool, `<svg onload=alert(1)>`))
    await shows(page.locator(".banner"), "<img src=")
    await page.locator(".rows a").click()
    await page.getByRole("heading", { level: 1 }).waitFor()
    expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe(name)
    await shows(page.locator(".leases"), "<script>")
    await shows(page.getByRole("table", { name: "Recent events" }), "Leaked")
    await page.getByRole("button", { name: "Resize" }).click()
    const dialog = page.getByRole("dialog")
    await shows(dialog, "<img src=")
    await dialog.getByRole("spinbutton", { name: "At most" }).fill("2")
    await dialog.getByRole("button", { name: "Resize" }).click()
    await soon(() => run(Pool.stats(pool))).toMatchObject({ max: 2 })
    await page.reload()
    await shows(page.locator(".strip"), "in use 2 / 2")
    expect(await page.locator("img, body script").count()).toBe(0)
    expect(await page.locator("body").getAttribute("data-owned")).toBe(null)
  })
})

/** What stands between a browser and a dashboard, and may let nobody through. */
const proxy = (url: string) =>
  Effect.acquireRelease(
    Effect.callback<{
      readonly url: string
      readonly cut: () => void
      readonly mend: () => void
      readonly close: () => void
    }>((resume) => {
      const sockets = new Set<Socket>()
      let isCut = false
      const server = createTcpServer((from) => {
        if (isCut) {
          from.destroy()
          return
        }
        const to = connect(Number(new URL(url).port), "127.0.0.1")
        for (const socket of [from, to]) {
          sockets.add(socket)
          socket.on("error", () => {}).on("close", () => sockets.delete(socket))
        }
        from.pipe(to).pipe(from)
      })
      const cut = () => {
        isCut = true
        for (const socket of sockets) socket.destroy()
      }
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" ? address?.port : undefined
        const mend = () => void (isCut = false)
        const close = () => {
          server.close()
          cut()
        }
        resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, cut, mend, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

describePage("a connection that is lost", () => {
  test(
    "to a program that lives comes back with how things are, and is told anew when it is lost again",
    { at: null },
    async ({ page, run, troubles, url: behind }) => {
      const { cut, mend, url } = await run(proxy(behind))
      const scope = await run(Scope.make())
      const pool = await run(Pool.make({ name: "app/Db", acquire, max: 2 }))
      await run(Scope.provide(Pool.make({ name: "app/Gone", acquire, max: 2 }), scope))
      await page.goto(url)
      await soon(() => rows(page)).toEqual(["app/Db", "app/Gone"])
      await page.evaluate(() => Object.assign(globalThis, { isOldPage: true }))
      cut()
      const connection = page.locator("#connection")
      await shows(connection, "Connection lost at")
      const first = await connection.innerText()
      await run(Scope.close(scope, Exit.void))
      await run(Pool.resize(pool, { max: 7 }))
      mend()
      await shows(connection, "Live")
      await soon(() => rows(page)).toEqual(["app/Db"])
      await shows(rowOf(page, "app/Db").locator(".use"), "0 / 7")
      expect(await page.evaluate(() => "isOldPage" in globalThis)).toBe(true)
      // The time has seconds, and a browser takes some before it tries again.
      cut()
      await shows(connection, "Connection lost at")
      expect(await connection.innerText()).not.toBe(first)
      expect(troubles.splice(0).filter((_) => !_.startsWith(url) && !_.includes("net::ERR_"))).toEqual([])
    }
  )

  test(
    "is said to be when the program says nothing any more",
    { at: null, pace: "1 minute" },
    async ({ page, run, url }) => {
      await run(Pool.make({ name: "app/Db", acquire, max: 2 }))
      await page.clock.install()
      await page.goto(url)
      const connection = page.locator("#connection")
      await shows(connection, "Live")
      await page.clock.fastForward("04:00")
      await shows(connection, "Live")
      await page.clock.fastForward("00:04")
      await shows(connection, /^No news since \d\d:\d\d:\d\d$/)
      await soon(() => page.locator("html").getAttribute("class")).toContain("stale")
    }
  )

  test(
    "is none where fifty watch already: it says so, and begins when one goes",
    { at: null },
    async ({ page, troubles, url }) => {
      const others = Array.from({ length: 50 }, () => new AbortController())
      // Whoever forgets an answer that is still coming has let go of it.
      const answers = await Promise.all(others.map(({ signal }) => fetch(`${url}/api/stream`, { signal })))
      await page.goto(url)
      await shows(
        page.locator("#connection"),
        "50 pages and terminals watch already, and no more can: close one"
      )
      others[0]!.abort()
      await shows(page.locator("#connection"), "Live")
      for (const { body } of answers.slice(1)) await body?.cancel()
      expect(troubles.splice(0).filter((_) => !_.includes("503"))).toEqual([])
    }
  )

  test(
    "is said to be, since when, and comes back with the program",
    { at: null },
    async ({ page, run, troubles }) => {
      const registry = PoolRegistry.makeUnsafe()
      const within = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.provideService(effect, PoolRegistry.PoolRegistry, registry)
      const first = await run(Scope.make())
      const { url } = await run(Scope.provide(within(Dashboard.make({ port: 0, pace: "50 millis" })), first))
      await run(within(Pool.make({ name: "app/Db", acquire, max: 2 })))
      await page.goto(`${url}/#/pool/app%2FDb`)
      await shows(page.locator("#connection"), "Live")
      await shows(page.locator(".strip"), "in use 0 / 2")
      // Another page is paused meanwhile, and stays so.
      const frozen = await page.context().newPage()
      await frozen.goto(`${url}/#/pool/app%2FDb`)
      await frozen.getByRole("button", { name: "Pause" }).click()
      await frozen.evaluate(() => Object.assign(globalThis, { isOldPage: true }))
      await run(Scope.close(first, Exit.void))
      await shows(page.locator("#connection"), /^Connection lost at \d\d:\d\d:\d\d, trying again$/)
      await shows(frozen.locator("#connection"), "Connection lost")
      // What was known stays in sight.
      await shows(page.locator(".strip"), "in use 0 / 2")
      await run(within(Pool.make({ name: "app/New", acquire, max: 2 })))
      await page.evaluate(() => Object.assign(globalThis, { isOldPage: true }))
      await run(within(Dashboard.make({ port: Number(new URL(url).port), pace: "50 millis" })))
      await shows(page.locator("#connection"), "Live")
      // Another program may have another page: it was loaded again.
      await soon(() => page.evaluate(() => "isOldPage" in globalThis)).toBe(false)
      await shows(page.locator(".strip"), "in use 0 / 2")
      await shows(frozen.locator("#connection"), /^Paused at .* started anew since$/)
      expect(await frozen.evaluate(() => "isOldPage" in globalThis)).toBe(true)
      await frozen.getByRole("button", { name: "Go on" }).click()
      await soon(() => frozen.evaluate(() => "isOldPage" in globalThis)).toBe(false)
      await page.getByRole("link", { name: "All pools", exact: true }).click()
      await soon(() => rows(page)).toEqual(["app/Db", "app/New"])
      expect(troubles.splice(0).filter((_) => !_.startsWith(url) && !_.includes("net::ERR_"))).toEqual([])
    }
  )
})
