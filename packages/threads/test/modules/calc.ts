import { Data, Effect, Stream } from "effect"
export const VERSION = "1.2"
export const add = (a: number, b: number) => a + b
export const later = async (a: number) => {
  await new Promise((r) => setTimeout(r, 10))
  return a
}
export class NotFound extends Data.TaggedError("NotFound")<{ readonly id: string }> {}
export const effect = (n: number) => Effect.as(Effect.sleep(10), n * 2)
export const effectFail = (id: string) => Effect.fail(new NotFound({ id }))
export const throws = () => {
  throw Object.assign(new RangeError("bad", { cause: new Error("inner") }), { code: "E1" })
}
export function* gen(n: number) {
  for (let i = 0; i < n; i++) yield i
}
export async function* agen(n: number) {
  for (let i = 0; i < n; i++) {
    await null
    yield i
  }
}
export const stream = (n: number) => Stream.range(1, n)
export class Counter {
  n: number
  constructor(n: number) {
    this.n = n
  }
  inc(by: number) {
    return (this.n += by)
  }
  child() {
    return new Counter(this.n)
  }
  *[Symbol.iterator]() {
    for (let i = 0; i < 3; i++) yield this.n + i
  }
}
export const readCounter = (c: Counter) => c.n
