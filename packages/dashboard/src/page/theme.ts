// Light, dark, or as the machine says. Runs before anything is drawn.
import { byId } from "./dom.ts"

type Theme = "auto" | "light" | "dark"

const key = "cenote.theme"
const next: Readonly<Record<Theme, Theme>> = { auto: "light", light: "dark", dark: "auto" }
const words: Readonly<Record<Theme, string>> = { auto: "Auto", light: "Light", dark: "Dark" }
const machine = matchMedia("(prefers-color-scheme: dark)")

/** Storage may be forbidden. */
const stored = (): Theme => {
  try {
    const theme = localStorage.getItem(key)
    return theme === "light" || theme === "dark" ? theme : "auto"
  } catch {
    return "auto"
  }
}

const store = (theme: Theme): void => {
  try {
    localStorage.setItem(key, theme)
  } catch {
    // It is in force until the page is closed.
  }
}

let theme = stored()

const apply = (): void => {
  document.documentElement.dataset["theme"] = theme
}

apply()

/** Has the button change the theme; `changed` is called whenever other colours are in force. */
export const bindTheme = (changed: () => void): void => {
  const button = byId("theme", HTMLButtonElement)
  const show = (): void => {
    byId("theme-word", HTMLElement).textContent = words[theme]
    button.setAttribute("aria-label", `Theme: ${words[theme]}`)
  }
  show()
  button.addEventListener("click", () => {
    theme = next[theme]
    store(theme)
    apply()
    show()
    changed()
  })
  machine.addEventListener("change", changed)
}
