// The dashboard over the programs' pools.
import { Dashboard } from "@cenote/dashboard"
import { Data, Effect, Predicate } from "effect"
import type { ServeError } from "effect/http/HttpServerError"

/** Somebody else listens there. */
export class PortTaken extends Data.TaggedError("PortTaken")<{ readonly port: number }> {
  override get message(): string {
    return `port ${this.port} of 127.0.0.1 is taken. Choose another for the dashboard with --port, or leave it out for a free one`
  }
}

/** Where the page is that a program would choose. */
const usualPort = 7070

/** Opens the dashboard on this port; if none is asked for, on the usual one or else on any that is free. */
export const openDashboard = (port: number | undefined, options: Omit<Dashboard.Options, "port"> = {}) => {
  const open = (port: number) => Dashboard.make({ ...options, port })
  return port === undefined
    ? open(usualPort).pipe(Effect.catchIf(isTaken, () => open(0)))
    : open(port).pipe(Effect.mapError((error) => (isTaken(error) ? new PortTaken({ port }) : error)))
}

const isTaken = ({ cause }: ServeError): boolean =>
  Predicate.hasProperty(cause, "code") && cause.code === "EADDRINUSE"
