// Short messages in the corner, read out as they come.
import { byId, h } from "./dom.ts"

const lasting = { done: 6_000, error: 15_000 }

export const toast = (kind: keyof typeof lasting, text: string): void => {
  const close = h("button", { type: "button", class: "tool", "aria-label": "Dismiss" }, "×")
  const element = h("div", { class: "toast", "data-kind": kind, role: kind === "error" ? "alert" : "status" })
  element.append(h("p", {}, text), close)
  const remove = (): void => element.remove()
  close.addEventListener("click", remove)
  setTimeout(remove, lasting[kind])
  byId("toasts", HTMLElement).append(element)
}
