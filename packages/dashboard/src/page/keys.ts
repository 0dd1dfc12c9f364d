// The keyboard. Nothing happens while somebody types, in a dialog, or with a modifier that belongs to the browser.
import { byId, takesText } from "./dom.ts"

export interface Commands {
  readonly move: (by: number) => void
  readonly find: () => void
  readonly escape: (isTyping: boolean) => void
  readonly pause: () => void
}

export const bindKeys = (commands: Commands): void => {
  const help = byId("keys", HTMLDialogElement)
  byId("help", HTMLButtonElement).addEventListener("click", () => help.showModal())
  addEventListener("keydown", (event) => {
    const { altKey, ctrlKey, key, metaKey, target } = event
    if (altKey || ctrlKey || metaKey || event.defaultPrevented) return
    if (document.querySelector("dialog[open]") !== null) return
    const isTyping = takesText(target)
    const command =
      key === "Escape" ? () => commands.escape(isTyping) : commandOf(key, target, commands, help)
    if (command === undefined) return
    event.preventDefault()
    command()
  })
}

const commandOf = (
  key: string,
  target: EventTarget | null,
  { find, move, pause }: Commands,
  help: HTMLDialogElement
): (() => void) | undefined => {
  // From the search one goes down to what was found.
  const isSearch = target instanceof HTMLInputElement && target.type === "search"
  if (isSearch && (key === "ArrowDown" || key === "Enter")) return () => move(1)
  if (takesText(target)) return undefined
  switch (key) {
    case "j":
      return () => move(1)
    case "k":
      return () => move(-1)
    case "ArrowDown":
    case "ArrowUp":
      // What scrolls by itself goes on to.
      if (target instanceof Element && target.closest(".scroll") !== null) return undefined
      return () => move(key === "ArrowDown" ? 1 : -1)
    case "/":
      return find
    case "p":
      return pause
    case "?":
      return () => help.showModal()
    default:
      return undefined
  }
}
