// Puts the page together: messages change the state, and once a frame what has changed is drawn.
import { Detail, titleOf } from "./detail.ts"
import { byId, setAttribute, setHidden, setIcon, Words } from "./dom.ts"
import { clock, duration } from "./format.ts"
import { bindKeys } from "./keys.ts"
import { Overview } from "./overview.ts"
import { State } from "./state.ts"
import { type Connection, Stream } from "./stream.ts"
import { bindTheme } from "./theme.ts"
import { idOf } from "./words.ts"

const state = new State()
const overview = new Overview(byId("overview", HTMLElement), state)
const detail = new Detail(byId("detail", HTMLElement), state)
const process = new Words(byId("process", HTMLElement))
const connectionElement = byId("connection", HTMLElement)
connectionElement.textContent = ""
const connectionWords = new Words(connectionElement)
const pauseButton = byId("pause", HTMLButtonElement)

/** Nothing of what is told is drawn while this is set; it is drawn at once when it is not any more. */
let paused = false
let pausedAt = 0
/** The program was started anew while the page was paused: what it says is for another page. */
let isOutdated = false
let connection: Connection = { is: "connecting" }
/** A frame has been asked for. */
let asked = false
/** The pool that the address names. */
let focus: string | undefined

// -----------------------------------------------------------------------------
// Drawing
// -----------------------------------------------------------------------------

const draw = (): void => {
  asked = false
  const dirty = state.takeDirty()
  overview.render(dirty)
  detail.render(dirty)
  const title = titleOf(state.pools.values(), state.whole?.process.title ?? "")
  if (document.title !== title) document.title = title
}

const ask = (): void => {
  if (asked) return
  asked = true
  requestAnimationFrame(draw)
}

/** What goes on between two messages. */
const tick = (): void => {
  const { whole } = state
  drawConnection()
  if (whole === undefined || document.hidden) return
  const { node, pid, startedAt, title } = whole.process
  process.set(
    `${title} · process ${pid} · Node ${node} · up ${duration(Math.max(1000, state.now - startedAt))}`
  )
  if (!paused && connection.is === "live" && !isSilent()) detail.tick()
}

/** A server that lives says something at each pace: one that does not is stuck, whatever the connection says. */
const isSilent = (): boolean => state.whole !== undefined && state.sinceMessage > 3_000 + 4 * state.whole.pace

const drawConnection = (): void => {
  const [is, words] = connectionState()
  setAttribute(connectionElement, "data-is", is)
  connectionWords.set(words)
  document.documentElement.classList.toggle("stale", is === "lost" || is === "silent")
}

const connectionState = (): readonly [is: string, words: string] => {
  if (isOutdated) return ["paused", `Paused at ${clock(pausedAt)}, and the program started anew since`]
  if (connection.is === "lost") return ["lost", `Connection lost at ${clock(connection.since)}, trying again`]
  if (connection.is === "connecting") return ["connecting", "Connecting"]
  if (connection.is === "refused") return ["lost", connection.words]
  if (isSilent()) return ["silent", `No news since ${clock(Date.now() - state.sinceMessage)}`]
  return paused ? ["paused", `Paused at ${clock(pausedAt)}`] : ["live", "Live"]
}

// -----------------------------------------------------------------------------
// What happens
// -----------------------------------------------------------------------------

const stream = new Stream({
  whole: (whole) => {
    // Another server may have another page.
    if (state.whole !== undefined && state.whole.instance !== whole.instance) {
      isOutdated = true
      if (!paused) location.reload()
      return
    }
    state.begin(whole)
    // Also while paused: there is something else to look at.
    ask()
    tick()
  },
  change: (change) => {
    if (isOutdated) return
    state.change(change)
    if (!paused) ask()
  },
  connection: (now) => {
    connection = now
    drawConnection()
  },
  asked: () => {
    isOutdated = true
    if (!paused) location.reload()
  }
})

const pause = (): void => {
  if (isOutdated) return location.reload()
  paused = !paused
  pausedAt = Date.now()
  setAttribute(pauseButton, "aria-pressed", String(paused))
  const icon = pauseButton.querySelector("svg")
  if (icon !== null) setIcon(icon, paused ? "play" : "pause")
  const word = pauseButton.querySelector(".word")
  if (word !== null) word.textContent = paused ? "Go on" : "Pause"
  drawConnection()
  if (!paused) ask()
}

/** Shows what the address names. */
const navigate = (): void => {
  const before = focus
  focus = idOf(location.hash)
  if (focus === undefined) {
    detail.close()
    overview.show()
    // Not from whoever has gone on to something else, such as the search.
    if (before !== undefined && document.activeElement === document.body) overview.focusPool(before)
  } else {
    overview.hide()
    detail.open(focus)
    scrollTo(0, 0)
  }
  stream.open(focus)
}

const escape = (isTyping: boolean): void => {
  if (focus !== undefined) location.hash = "#/"
  else if (!overview.clearFilter() || isTyping) {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur()
  }
}

pauseButton.addEventListener("click", pause)
byId("skip", HTMLAnchorElement).addEventListener("click", (event) => {
  event.preventDefault()
  byId("content", HTMLElement).focus()
})
bindTheme(() => detail.recolour())
bindKeys({
  move: (by) => {
    if (focus === undefined) overview.move(by)
  },
  find: () => {
    if (focus !== undefined) location.hash = "#/"
    overview.show()
    overview.focusSearch()
  },
  escape,
  pause
})
addEventListener("hashchange", navigate)
setInterval(tick, 250)
setHidden(byId("overview", HTMLElement), true)
navigate()
