import * as Schema from "effect/Schema"

/**
 * A server that did not start, or that cannot do what was asked of it.
 *
 * **Details**
 *
 * The message is one line that says what is wrong and what to do; there is never a password in it. The `reason`s:
 *
 * - `"Binaries"`: the server's programs are not on this machine, or do not run on it.
 * - `"Folder"`, `"Port"`: what was asked for cannot be had.
 * - `"Address"`: an environment variable names a server in a way that cannot be read.
 * - `"Start"`: it did not start, or was not there.
 * - `"Stopped"`: it is not running.
 * - `"NotOurs"`: it was started elsewhere, and so cannot be stopped or started here.
 * - `"Database"`: it did not do what was asked of it as a database.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerError extends Schema.TaggedError<ServerError>()("ServerError", {
  reason: Schema.Literals([
    "Binaries",
    "Folder",
    "Port",
    "Address",
    "Start",
    "Stopped",
    "NotOurs",
    "Database"
  ]),
  message: Schema.String
}) {}

export const fail = (reason: ServerError["reason"], message: string): ServerError =>
  new ServerError({ reason, message })

export const oneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, " ").trim()
