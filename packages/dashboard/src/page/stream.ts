// The server's messages, and whether there is a connection at all.
import type { Answer, Change, Whole } from "../internal/protocol.ts"

export interface Listener {
  readonly whole: (whole: Whole) => void
  readonly change: (change: Change) => void
  readonly connection: (connection: Connection) => void
  /** The server wants the token: it was started anew, and knows this browser no more. */
  readonly asked: () => void
}

/** `lost` since a moment of this machine's clock; `refused` by a server that says why. */
export type Connection =
  | { readonly is: "connecting" | "live" }
  | { readonly is: "lost"; readonly since: number }
  | { readonly is: "refused"; readonly words: string }

const address = "/api/stream"

/** Before a connection that the browser has given up is opened anew. */
const patience = 1000

export class Stream {
  private readonly listener: Listener
  private source: EventSource | undefined
  private focus: string | undefined
  /** The moment of the first error since the last message. */
  private lostAt: number | undefined
  private timer = 0

  constructor(listener: Listener) {
    this.listener = listener
  }

  /** Connects; what is told from then on has more of the pool in focus. */
  open(focus: string | undefined): void {
    this.close()
    this.focus = focus
    const source = new EventSource(
      focus === undefined ? address : `${address}?focus=${encodeURIComponent(focus)}`
    )
    this.source = source
    source.addEventListener("whole", ({ data }: MessageEvent<string>) => {
      this.lostAt = undefined
      this.listener.connection({ is: "live" })
      const whole: Whole = JSON.parse(data)
      this.listener.whole(whole)
    })
    source.addEventListener("change", ({ data }: MessageEvent<string>) => {
      const change: Change = JSON.parse(data)
      this.listener.change(change)
    })
    source.addEventListener("error", () => {
      this.lostAt ??= Date.now()
      this.listener.connection({ is: "lost", since: this.lostAt })
      // The browser tries again by itself, but not after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED)
        this.timer = window.setTimeout(() => void this.again(), patience)
    })
  }

  private close(): void {
    clearTimeout(this.timer)
    this.source?.close()
  }

  private async again(): Promise<void> {
    const source = this.source
    const { status, words } = await refusal()
    if (source !== this.source) return
    if (status === 401) return this.listener.asked()
    if (words === undefined) return this.open(this.focus)
    this.lostAt = undefined
    this.listener.connection({ is: "refused", words })
    this.timer = window.setTimeout(() => void this.again(), patience)
  }
}

/** How the server answers whoever wants to watch, and what it says where it cannot have more of them. */
const refusal = async (): Promise<{ readonly status?: number; readonly words?: string }> => {
  try {
    // A browser does not tell what became of an `EventSource`. Whoever asks so does not take a place among those who watch.
    const { status } = await fetch(address, { method: "HEAD" })
    if (status !== 503) return { status }
    const response = await fetch(address)
    if (response.ok) {
      await response.body?.cancel()
      return { status: response.status }
    }
    const answer: Answer = await response.json()
    return "error" in answer ? { status, words: answer.error } : { status }
  } catch {
    return {}
  }
}
