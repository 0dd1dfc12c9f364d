// A driver's worker, watched: which thread each step of a connection ran on. The driver's own module is named in the address
// of this one.
import { threadId } from "node:worker_threads"
import type { sessionClass } from "@cenote/sql/worker"

type SessionClass = ReturnType<typeof sessionClass<any>>
type Port = ConstructorParameters<SessionClass>[1]

export interface WatchedConfig {
  readonly config: unknown
  /** The thread of each step, in the order of {@link steps}. */
  readonly seen: Int32Array<SharedArrayBuffer>
}

/** The steps of a connection, and the methods of a session that they are. */
export const steps = {
  connect: ["open"],
  query: ["execute"],
  values: ["executeValues"],
  stream: ["stream"],
  rollback: ["rollback"],
  reset: ["reset"],
  ping: ["ping"],
  close: [Symbol.asyncDispose]
} as const

export type Step = keyof typeof steps

/** The address of this module for a driver whose worker is another. */
export const addressFor = (driver: URL): URL => {
  // Beside each other in an installed package, and in the sources.
  const address = new URL(import.meta.url)
  address.search = new URLSearchParams({ driver: driver.href }).toString()
  return address
}

const load = async (): Promise<SessionClass | undefined> => {
  const driver = new URL(import.meta.url).searchParams.get("driver")
  return driver === null ? undefined : ((await import(driver)) as { readonly Session: SessionClass }).Session
}

const watched = (
  Session: SessionClass
): new (config: WatchedConfig, port: Port) => InstanceType<SessionClass> => {
  class Watched extends Session {
    private readonly seen: WatchedConfig["seen"]

    constructor({ config, seen }: WatchedConfig, port: Port) {
      super(config, port)
      this.seen = seen
    }

    see(step: number): void {
      Atomics.store(this.seen, step, threadId)
    }
  }
  for (const [i, methods] of Object.values(steps).entries()) {
    for (const name of methods) {
      const method: (...args: Array<unknown>) => unknown = Reflect.get(Session.prototype, name)
      Object.defineProperty(Watched.prototype, name, {
        value: function (this: Watched, ...args: Array<unknown>) {
          this.see(i)
          return method.apply(this, args)
        }
      })
    }
  }
  return Watched
}

const driverSession = await load()

export const Session = driverSession === undefined ? undefined : watched(driverSession)
