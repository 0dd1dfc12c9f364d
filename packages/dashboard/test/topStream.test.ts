// What `cenote top` makes of a server that is slow, silent, or comes in pieces.
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Ref, Result, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import * as Address from "../src/internal/top/address.ts"
import { look, watch } from "../src/internal/top/connection.ts"
import { change, message, pool, whole } from "./topFake.ts"

const address = Result.getOrThrow(Address.make("http://fake", undefined))

/** A server whose answer is what these pieces are, as they come. */
const client = (pieces: Stream.Stream<Uint8Array>) =>
  HttpClient.make((request) =>
    Effect.succeed(
      HttpClientResponse.fromWeb(
        request,
        new Response(Stream.toReadableStream(pieces), { headers: { "content-type": "text/event-stream" } })
      )
    )
  )

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe("the stream of a dashboard", () => {
  it.effect("may come in pieces of any size", () =>
    Effect.gen(function* () {
      const text =
        message("whole", whole([pool("Größe 🐟")])) +
        message("news", { of: "something else" }) +
        message("change", change({ figures: { "Größe 🐟": { used: 3 } } }))
      for (const size of [1, 2, 3, 7, 100_000]) {
        const all = bytes(text)
        const pieces = Array.from({ length: Math.ceil(all.length / size) }, (_, i) =>
          all.subarray(i * size, (i + 1) * size)
        )
        const known = yield* Stream.runCollect(watch(address, undefined)).pipe(
          Effect.provideService(HttpClient.HttpClient, client(Stream.fromIterable(pieces)))
        )
        assert.deepStrictEqual(
          known.map(({ pools }) => pools.get("Größe 🐟")?.figures.used),
          [0, 3],
          `pieces of ${size}`
        )
      }
    })
  )

  it.effect("is given up when it says nothing for ten seconds", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(look(address, undefined)).pipe(
          Effect.provideService(HttpClient.HttpClient, client(Stream.never))
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.include(
        (yield* Fiber.join(fiber)).message,
        "it has said nothing for 10 s. See whether the program hangs"
      )
    })
  )

  it.effect("is given up when there is no answer at all", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(look(address, undefined)).pipe(
          Effect.provideService(
            HttpClient.HttpClient,
            HttpClient.make(() => Effect.never)
          )
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      assert.include((yield* Fiber.join(fiber)).message, "it has said nothing for 10 s")
    })
  )

  it.effect("may be as slow as its pace", () =>
    Effect.gen(function* () {
      const pieces = yield* Queue.make<Uint8Array>()
      const heard = yield* Ref.make(0)
      const fiber = yield* watch(address, undefined).pipe(
        Stream.runForEach(() => Ref.update(heard, (n) => n + 1)),
        Effect.flip,
        Effect.provideService(HttpClient.HttpClient, client(Stream.fromQueue(pieces))),
        Effect.forkChild({ startImmediately: true })
      )
      const hears = (n: number) =>
        Effect.repeat(
          Effect.andThen(
            Effect.promise(() => new Promise(setImmediate)),
            Ref.get(heard)
          ),
          {
            until: (_) => _ === n
          }
        )
      yield* Queue.offer(pieces, bytes(message("whole", { ...whole([]), pace: 60_000 })))
      yield* hears(1)
      yield* TestClock.adjust("4 minutes")
      yield* Queue.offer(pieces, bytes(message("change", change())))
      yield* hears(2)
      yield* TestClock.adjust("299 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      assert.include((yield* Fiber.join(fiber)).message, "it has said nothing for 5 m 0 s")
    })
  )
})
