#!/usr/bin/env node
// The command `cenote`.
import { readFileSync } from "node:fs"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import { top } from "./internal/top/command.ts"

const { version }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8")
)

const cenote = Command.make("cenote").pipe(
  Command.withDescription("Looks into the pools of a program that has a dashboard of Cenote."),
  Command.withSubcommands([top])
)

// A terminal that closes, and a reader that goes away (`cenote top | head`), end it as Ctrl-C does.
const terminate = () => process.kill(process.pid, "SIGTERM")
process.once("SIGHUP", terminate)
process.stdout.once("error", terminate).on("error", () => {})

cenote.pipe(Command.run({ version }), Effect.provide(NodeServices.layer), NodeRuntime.runMain)
