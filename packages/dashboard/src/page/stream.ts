// The server's messages, and whether there is a connection at all.
import type { Change, Whole } from "../internal/protocol.ts"

export interface Listener {
  readonly whole: (whole: Whole) => void
  readonly change: (change: Change) => void
  readonly connection: (connection: Connection) => void
}

/** `lost` since a moment of this machine's clock. */
export type Connection =
  | { readonly is: "connecting" | "live" }
  | { readonly is: "lost"; readonly since: number }

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
      focus === undefined ? "/api/stream" : `/api/stream?focus=${encodeURIComponent(focus)}`
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
    const status = await statusOfPage()
    // A page that may not be seen any more is replaced by the question for the token.
    if (status === 401) location.reload()
    else if (source === this.source) this.open(this.focus)
  }
}

const statusOfPage = async (): Promise<number | undefined> => {
  try {
    return (await fetch("/", { cache: "no-store" })).status
  } catch {
    return undefined
  }
}
