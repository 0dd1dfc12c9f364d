// Elements, and text that is written only when it differs. No string is ever read as HTML: names of pools and spans come from others.

type Attributes = Readonly<Record<string, string | boolean | undefined>>

/** Makes an element. `true` gives an attribute without a value, `false` and `undefined` none. */
export const h = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: ReadonlyArray<Node | string>
): HTMLElementTagNameMap[K] => {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "")
    else if (typeof value === "string") element.setAttribute(name, value)
  }
  element.append(...children)
  return element
}

const svg = "http://www.w3.org/2000/svg"

/** A picture beside a word that says the same. */
export const icon = (name: string): SVGSVGElement => {
  const element = document.createElementNS(svg, "svg")
  element.setAttribute("class", "icon")
  element.setAttribute("aria-hidden", "true")
  element.append(document.createElementNS(svg, "use"))
  setIcon(element, name)
  return element
}

export const setIcon = (element: Element, name: string): void =>
  element.firstElementChild?.setAttribute("href", `#icon-${name}`)

/** What `index.html` has under this id. */
export const byId = <E extends Element>(id: string, type: new () => E): E => {
  const element = document.getElementById(id)
  if (element instanceof type) return element
  throw new Error(`the page has no ${type.name} with the id ${id}`)
}

/** Text inside an element. Writing what is there already costs a comparison. */
export class Words {
  readonly element: HTMLElement
  private readonly node = document.createTextNode("")

  constructor(element: HTMLElement) {
    this.element = element
    element.append(this.node)
  }

  set(text: string): void {
    if (this.node.data !== text) this.node.data = text
  }
}

/** Sets an attribute that differs. */
export const setAttribute = (element: Element, name: string, value: string): void => {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value)
}

export const setHidden = (element: HTMLElement, hidden: boolean): void => {
  if (element.hidden !== hidden) element.hidden = hidden
}

/** Whether keys that are typed go into this. */
export const takesText = (target: EventTarget | null): boolean =>
  target instanceof HTMLTextAreaElement ||
  target instanceof HTMLSelectElement ||
  (target instanceof HTMLInputElement && target.type !== "checkbox")
