// Programs that run beside this one, and end with their scope or with this process.
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { platform } from "node:process"
import type { Guard } from "./guard.ts"

export interface User {
  readonly uid: number
  readonly gid: number
}

/** PostgreSQL and PgBouncer refuse to run as root. There they run as "nobody", so that no user has to be added to the machine. */
export const unprivileged: Effect.Effect<User | undefined> = Effect.sync(() =>
  process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined
)

export class Failed extends Schema.TaggedError<Failed>()("Failed", { message: Schema.String }) {}

export interface Program {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly user: User | undefined
  readonly guard: Guard
  /** How it is asked to end; each signal gets 5 s to do so before the next. */
  readonly signals: ReadonlyArray<NodeJS.Signals>
  /** How it is ended when this process is ending, and nobody can wait. */
  readonly lastSignal: NodeJS.Signals
}

export interface Running {
  readonly pid: number
  /** To the program, and to what it has started. */
  readonly kill: (signal: NodeJS.Signals) => void
  readonly hasExited: () => boolean
  /** Ends when the process has ended and all its output is read. */
  readonly exited: Effect.Effect<number | null>
  /** Ends when it has written this. */
  readonly said: (text: string) => Effect.Effect<void>
  /** The end of what it wrote. */
  readonly output: () => string
}

/** Runs a program until its scope closes; then it is asked to stop, and soon made to. */
export const launch = Effect.fnUntraced(function* (
  program: Program
): Effect.fn.Return<Running, Failed, Scope.Scope> {
  let running: Running | undefined
  yield* atExit(() => running?.kill(program.lastSignal))
  running = yield* Effect.acquireRelease(spawned(program), (running) =>
    Effect.forEach(program.signals, (signal) =>
      Effect.andThen(
        Effect.sync(() => running.kill(signal)),
        Effect.timeoutOption(running.exited, "5 seconds")
      ).pipe(Effect.flatMap((exited) => (exited._tag === "Some" ? Effect.fail("exited") : Effect.void)))
    ).pipe(Effect.ignore)
  )
  return running
})

const spawned = (program: Program): Effect.Effect<Running, Failed> =>
  Effect.callback((resume) => {
    const [command, ...args] = whenTold(program)
    const child = spawn(command, args, {
      ...program.user,
      // In a group of its own, a Ctrl-C in the terminal reaches us alone, and the pools close before the server does.
      detached: platform !== "win32",
      windowsHide: true,
      stdio: ["pipe", "pipe", "pipe"],
      // We read what it says, so it has to be in English.
      env: { ...process.env, LC_ALL: "C" }
    })
    // When it has ended, its number may become that of another process.
    if (child.pid !== undefined) child.once("close", program.guard.watch(child.pid, program.lastSignal))
    const running = follow(child)
    child.on("error", (error) => resume(new Failed({ message: error.message })))
    child.stdin.on("error", () => {})
    child.stdin.end("go\n")
    child.once("spawn", () => resume(Effect.succeed(running)))
  })

/**
 * It begins when it is told to, after the guard knows of it: if we are killed while it is being started, nobody else would
 * ever end it.
 */
const whenTold = ({ args, command }: Program): readonly [string, ...ReadonlyArray<string>] =>
  platform === "win32"
    ? [command, ...args]
    : ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "cenote", command, ...args]

/** Runs a program to its end, and gives what it printed. */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  options: {
    readonly user: User | undefined
    readonly guard: Guard
    /** What stands before the message in a line that says what is wrong. */
    readonly complaints: ReadonlyArray<RegExp>
  }
): Effect.Effect<string, Failed> =>
  Effect.scoped(
    Effect.gen(function* () {
      const signals = ["SIGINT", "SIGQUIT", "SIGKILL"] as const
      const running = yield* launch({ ...options, command, args, signals, lastSignal: "SIGKILL" })
      const code = yield* running.exited
      return code === 0
        ? running.output()
        : yield* new Failed({ message: complaintOf(running.output(), options.complaints) })
    })
  )

/**
 * The line that says what is wrong, without what stands before it: the last one that the first of the patterns finds, or
 * the next, or simply the last one.
 */
export const complaintOf = (output: string, patterns: ReadonlyArray<RegExp>): string => {
  const lines = output.split("\n").filter((line) => line.trim() !== "")
  for (const pattern of patterns) {
    const line = lines.findLast((line) => pattern.test(line))
    if (line !== undefined) return line.replace(pattern, "").trim()
  }
  return lines.at(-1)?.trim() ?? "it said nothing"
}

const exitActions = new Set<() => void>()

/** The last that was registered is the first to run. */
const runExitActions = (): void => [...exitActions].toReversed().forEach((action) => action())

/**
 * Until the scope closes: does something when the process ends in a way that no finalizer sees, such as an
 * uncaught exception.
 */
export const atExit = (action: () => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      if (exitActions.size === 0) process.prependListener("exit", runExitActions)
      exitActions.add(action)
    }),
    () =>
      Effect.sync(() => {
        exitActions.delete(action)
        if (exitActions.size === 0) process.off("exit", runExitActions)
      })
  )

const follow = (child: ChildProcess): Running => {
  let output = ""
  let closed = false
  const onData = (chunk: Buffer) => {
    // The end says why something failed.
    output = (output + chunk.toString()).slice(-100_000)
    child.emit("said")
  }
  child.stdout?.on("data", onData)
  child.stderr?.on("data", onData)
  child.once("close", () => (closed = true))
  const wait = <A>(event: string, done: () => boolean, value: () => A): Effect.Effect<A> =>
    Effect.callback((resume) => {
      const check = () => {
        if (!done()) return
        child.off(event, check)
        resume(Effect.sync(value))
      }
      child.on(event, check)
      check()
      return Effect.sync(() => child.off(event, check))
    })
  return {
    pid: child.pid ?? 0,
    kill: (signal) => {
      if (closed || child.pid === undefined) return
      const group = platform === "win32" ? child.pid : -child.pid
      // It may have ended a moment ago.
      Effect.runSync(Effect.ignore(Effect.try(() => process.kill(group, signal))))
    },
    hasExited: () => closed,
    exited: wait(
      "close",
      () => closed,
      () => child.exitCode
    ),
    said: (text) =>
      wait(
        "said",
        () => output.includes(text),
        () => undefined
      ),
    output: () => output
  }
}
