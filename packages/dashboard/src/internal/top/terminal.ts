// The screen as a whole for as long as the program runs, and as it was before when it ends, however it ends.
import { writeSync } from "node:fs"
import * as NodeTerminal from "@effect/platform-node/NodeTerminal"
import * as Effect from "effect/Effect"
import * as Terminal from "effect/Terminal"
import { quits } from "./screen.ts"

// The other screen, no cursor, and no line that goes on in the next.
const enter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
const leave = "\x1b[?7h\x1b[?25h\x1b[?1049l"

/** Reads keys, and does not take Escape for the end. */
export const terminal = NodeTerminal.make(({ key }) => quits(key))

/** Has the whole screen until the scope closes. */
export const wholeScreen = Effect.acquireRelease(
  Effect.sync(() => {
    let isOpen = true
    // Also when the process is on its way out, where nothing that takes time is done any more.
    const close = () => {
      if (isOpen) writeAll(leave)
      isOpen = false
    }
    process.once("exit", close)
    writeAll(enter)
    return close
  }),
  (close) =>
    Effect.sync(() => {
      close()
      process.off("exit", close)
    })
)

/** The terminal may be gone: then nobody misses it. */
const writeAll = (text: string): void => {
  try {
    writeSync(1, text)
  } catch {
    // A terminal that is busy gets it a moment later.
    process.stdout.write(text)
  }
}

/** Draws all lines anew, without a moment in which the screen is empty. */
export const show = (lines: ReadonlyArray<string>) =>
  Effect.flatMap(Terminal.Terminal, (_) =>
    _.display(`\x1b[?2026h\x1b[H${lines.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J\x1b[?2026l`)
  )
