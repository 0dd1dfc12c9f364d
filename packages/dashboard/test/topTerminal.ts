// A terminal for the program under test: what it has on its screen, and what is pressed there.
import { fileURLToPath } from "node:url"
import { Deferred, Effect, Queue, Stream } from "effect"
import { ChildProcess } from "effect/process"

export const program = fileURLToPath(new URL("../src/cenote.ts", import.meta.url))

const pty = fileURLToPath(new URL("topPty.py", import.meta.url))

/** A screen as programs write to it: of all that terminals can do, that which this one is asked for. */
class Screen {
  lines: Array<string> = []
  /** Modes that are on, `?25` and such. */
  readonly modes = new Set(["?7", "?25"])
  /** All that was written. */
  written = ""
  /** Whether a picture is complete. */
  isWhole = false
  private row = 0
  private column = 0
  private pending = ""

  write(text: string): void {
    this.written += text
    this.pending += text
    // eslint-disable-next-line no-control-regex
    const parts = /\u001b\[([?\d;]*)([a-zA-Z])|\r|\n|[^\u001b\r\n]+/y
    let end = 0
    for (let found = parts.exec(this.pending); found !== null; found = parts.exec(this.pending)) {
      end = parts.lastIndex
      const [part, parameter = "", command] = found
      if (command !== undefined) this.obey(parameter, command)
      else if (part === "\r") this.column = 0
      else if (part === "\n") this.row++
      else this.put(part)
    }
    this.pending = this.pending.slice(end)
  }

  private obey(parameter: string, command: string): void {
    if (command === "h") this.modes.add(parameter)
    if (command === "l") this.modes.delete(parameter)
    if (parameter === "?2026") this.isWhole = command === "l"
    if (command === "H") [this.row, this.column] = [0, 0]
    if (command === "K") this.lines[this.row] = (this.lines[this.row] ?? "").slice(0, this.column)
    if (command === "J") this.lines = parameter === "2" ? [] : this.lines.slice(0, this.row + 1)
  }

  private put(text: string): void {
    const line = (this.lines[this.row] ?? "").padEnd(this.column)
    this.lines[this.row] = line.slice(0, this.column) + text + line.slice(this.column + text.length)
    this.column += text.length
  }
}

/** Starts `cenote` in a terminal; it is hung up when the scope closes. */
export const start = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  size: readonly [columns: number, rows: number],
  env: Record<string, string> = {}
) {
  const screen = new Screen()
  const orders = yield* Queue.make<string>()
  const child = yield* ChildProcess.make(
    "python3",
    [pty, ...size.map(String), process.execPath, program, ...args],
    {
      stdin: Stream.encodeText(Stream.fromQueue(orders)),
      env: { NO_COLOR: "1", TERM: "xterm-256color", TZ: "UTC", ...env },
      extendEnv: true
    }
  )
  const ended = yield* Deferred.make<void>()
  const news = yield* Queue.sliding<void>(1)
  yield* Stream.decodeText(child.stdout).pipe(
    Stream.runForEach((text) => {
      screen.write(text)
      return Queue.offer(news, undefined)
    }),
    Effect.ensuring(Deferred.succeed(ended, undefined)),
    Effect.forkScoped
  )
  const tell = (order: unknown) => Queue.offer(orders, `${JSON.stringify(order)}\n`)

  /** Waits until the screen is as it should be: it has 20 seconds, and what is there instead is told. */
  const until = (holds: (lines: ReadonlyArray<string>) => boolean): Effect.Effect<ReadonlyArray<string>> =>
    Effect.gen(function* () {
      while (!(screen.isWhole && holds(screen.lines))) yield* Queue.take(news)
      return screen.lines
    }).pipe(
      Effect.timeoutOrElse({
        duration: "20 seconds",
        orElse: () =>
          Effect.die(
            new Error(`the screen is\n${screen.lines.join("\n")}\nafter\n${screen.written.slice(-2000)}`)
          )
      })
    )

  return {
    screen,
    until,
    shows: (text: string) => until((lines) => lines.some((line) => line.includes(text))),
    press: (keys: string) => tell({ keys }),
    resize: (columns: number, rows: number) => tell({ size: [columns, rows] }),
    signal: (signal: number) => tell({ signal }),
    /** The exit code, when all has been read that was written. */
    exit: Effect.andThen(Deferred.await(ended), Effect.map(child.exitCode, Number))
  }
})
