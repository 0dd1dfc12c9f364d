// What a pool can be told to do: each is asked once more, in words that say what will happen.
import type { Action, Answer, Figures, Limits } from "../internal/protocol.ts"
import { h } from "./dom.ts"
import { count, several } from "./format.ts"
import type { Pool } from "./state.ts"
import { toast } from "./toast.ts"
import { noun } from "./words.ts"

const labels: Readonly<Record<Action, string>> = {
  resize: "Resize",
  recycle: "Recycle",
  suspend: "Suspend",
  resume: "Resume",
  evict: "Close idle"
}

const titles: Readonly<Record<Action, string>> = {
  resize: "Resize",
  recycle: "Recycle",
  suspend: "Suspend",
  resume: "Resume",
  evict: "Close what is idle in"
}

/** Buttons for what this pool can be told. `poolNow` is the pool as it is when somebody asks, if it is still there. */
export const buttons = (
  actions: ReadonlyArray<Action>,
  poolNow: () => Pool | undefined
): ReadonlyArray<HTMLElement> =>
  actions.map((action) => {
    const button = h("button", { type: "button", class: "plain", "data-action": action }, labels[action])
    button.addEventListener("click", () => {
      const pool = poolNow()
      if (pool !== undefined) confirm(action, pool)
    })
    return button
  })

/** Which of them make no sense in the state that the pool is in. */
export const isPointless = (action: string | undefined, { idle, state }: Figures): boolean =>
  (action === "suspend" && state !== "open") ||
  (action === "resume" && state !== "suspended") ||
  (action === "evict" && idle === 0) ||
  state === "closing" ||
  state === "closed"

const confirm = (action: Action, pool: Pool): void => {
  const title = h(
    "h2",
    { id: "confirm-title" },
    `${titles[action]} `,
    h("span", { class: "quoted" }, pool.id),
    "?"
  )
  const words = h("p", { id: "confirm-words" })
  const limits = action === "resize" ? new LimitInputs(pool) : undefined
  const say = (): void => {
    words.textContent = consequences[action](pool, limits?.value ?? {})
  }
  say()
  limits?.element.addEventListener("input", say)
  const cancel = h("button", { type: "button", class: "plain" }, "Cancel")
  const go = h("button", { type: "submit", class: "strong", autofocus: limits === undefined }, labels[action])
  const form = h(
    "form",
    { method: "dialog" },
    title,
    ...(limits === undefined ? [] : [limits.element]),
    words
  )
  form.append(h("div", { class: "buttons" }, cancel, go))
  const dialog = h(
    "dialog",
    { "aria-labelledby": "confirm-title", "aria-describedby": "confirm-words" },
    form
  )
  cancel.addEventListener("click", () => dialog.close())
  dialog.addEventListener("close", () => dialog.remove())
  form.addEventListener("submit", () => void act(action, pool.id, limits?.value ?? {}))
  document.body.append(dialog)
  dialog.showModal()
}

const limitInput = (name: string, value: number, isFirst: boolean): HTMLInputElement =>
  h("input", {
    type: "number",
    name,
    value: value < 0 ? "" : String(value),
    min: "0",
    step: "1",
    autofocus: isFirst
  })

/** What is left empty stays as it is, and so does what is not asked for. */
const limitOf = ({ isConnected, name, valueAsNumber }: HTMLInputElement): Limits =>
  isConnected && Number.isFinite(valueAsNumber) ? { [name]: valueAsNumber } : {}

/** The two ends of a pool, as they are and as they are to be. */
class LimitInputs {
  readonly element: HTMLElement
  private readonly min: HTMLInputElement
  private readonly max: HTMLInputElement

  constructor({ figures: { max, min }, kind }: Pool) {
    this.min = limitInput("min", min, false)
    this.max = limitInput("max", max, true)
    this.element = h("div", { class: "limits" }, h("label", {}, "At most", this.max))
    // Tokens are all there from the first moment on.
    if (kind !== "tokens") this.element.prepend(h("label", {}, "At least", this.min))
  }

  get value(): Limits {
    return { ...limitOf(this.min), ...limitOf(this.max) }
  }
}

/** What will happen, in words. */
const consequences: Readonly<Record<Action, (pool: Pool, limits: Limits) => string>> = {
  resize: (pool, limits) => resized(pool, limits),
  recycle: ({ figures: { idle, used }, kind }) =>
    `Every ${noun[kind]} that exists now is closed: ` +
    `${idle === 0 ? "none is idle" : `${several(idle, noun[kind])} at once, idle now`}, ` +
    `${used === 0 ? "and none is on loan" : `${several(used, noun[kind])} on loan as soon as they come back`}. ` +
    "New ones are made as they are needed.",
  suspend: ({ figures: { used }, kind }) =>
    `Nobody gets a ${noun[kind]} until the pool is resumed: whoever asks waits in line, up to their deadline. ` +
    (used === 0
      ? "Nothing is on loan now."
      : `Those who hold ${several(used, noun[kind])} now keep what they have.`),
  resume: ({ figures: { pending } }) =>
    `The pool lends again${pending === 0 ? "" : `, first to the ${several(pending, "borrower")} in line`}.`,
  evict: ({ figures: { idle }, kind }) =>
    `${several(idle, noun[kind])} that nobody uses ${idle === 1 ? "is" : "are"} closed at once. What is on loan stays.`
}

const resized = (
  { figures: { idle, max, min, pending, size, used }, kind }: Pool,
  limits: Limits
): string => {
  const one = noun[kind]
  const to = limits.max ?? max
  const least = limits.min ?? min
  if (to >= 0 && least > to) return `At least ${count(least)} and at most ${count(to)}: that cannot be.`
  if (to === max && least === min)
    return `As it is now: at least ${count(min)}, at most ${max < 0 ? "any number" : count(max)}.`
  const excess = size - to
  const ends = `From now on at least ${several(least, one)} ${least === 1 ? "is" : "are"} kept, and at most ${count(to)} may exist.`
  if (kind === "tokens") {
    return to >= used
      ? `From now on ${several(to, one)} may be on loan at once.`
      : `From now on ${several(to, one)} may be on loan at once: the next loan is made when ${count(used - to)} more than that have come back.`
  }
  if (excess <= 0)
    return pending > 0 && to > max ? `${ends} Those in line are served with what is new.` : ends
  const atOnce = Math.min(excess, idle)
  const later = excess - atOnce
  return (
    `${ends} ${several(excess, one)} too many ${excess === 1 ? "is" : "are"} closed: ` +
    [atOnce > 0 ? `${count(atOnce)} at once` : "", later > 0 ? `${count(later)} when they come back` : ""]
      .filter((_) => _ !== "")
      .join(", ") +
    "."
  )
}

const act = async (action: Action, id: string, limits: Limits): Promise<void> => {
  try {
    const response = await fetch(`/api/pools/${encodeURIComponent(id)}/${action}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(limits)
    })
    // The page itself asks for the token.
    if (response.status === 401) return location.reload()
    const answer: Answer = await response.json()
    if ("done" in answer) toast("done", answer.done)
    else toast("error", `${id}: ${answer.error}`)
  } catch {
    toast("error", `${id}: ${labels[action]} failed, the program does not answer`)
  }
}
