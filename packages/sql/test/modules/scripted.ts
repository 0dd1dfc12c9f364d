// Sessions in a thread that do what the test says. The thread is the test's own (`ThreadPool.layerInline`).
import { sessionClass } from "@cenote/sql/worker"
import * as Effect from "effect/Effect"
import { scripted } from "../scripted.ts"

const Hosted = sessionClass(() => scripted().connect)

/** Counts how often it is asked whether it has settled. */
export const Session = function (...args: ConstructorParameters<typeof Hosted>) {
  const session = new Hosted(...args)
  const settle = () => {
    scripted().settles++
    return Effect.suspend(() => Hosted.prototype.settle.call(session))
  }
  return Object.assign(session, { settle })
}
