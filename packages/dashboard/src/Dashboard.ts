/**
 * A page over every pool of the process, live: which is short, who holds it, since when, and what to do.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"

/**
 * Where the page is served, and to whom.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Port to listen on. Default 0: any that is free; the log says which. */
  readonly port?: number | undefined
  /** Address to listen on. Default `"127.0.0.1"`: this machine alone. */
  readonly host?: string | undefined
  /** Asked of whoever wants to see the page or act. Default: nobody is asked. Needed when `host` is not this machine alone. */
  readonly token?: string | undefined
  /** Refuses all actions. Default `false`. */
  readonly readOnly?: boolean | undefined
  /** Between two looks at the pools. Default 1 s. */
  readonly pace?: Duration.Input | undefined
}
