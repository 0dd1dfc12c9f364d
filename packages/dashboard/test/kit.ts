import { Effect, Stream } from "effect"
import * as Sse from "effect/encoding/Sse"
import type { Change, Whole } from "../src/internal/protocol.ts"

export type Told =
  | { readonly event: "whole"; readonly data: Whole }
  | { readonly event: "change"; readonly data: Change }

/** What the dashboard at `url` tells whoever watches. */
export const watch = (url: string, focus?: string, init: RequestInit = {}): Stream.Stream<Told, unknown> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const aborting = yield* Effect.acquireRelease(
        Effect.sync(() => new AbortController()),
        (controller) => Effect.sync(() => controller.abort())
      )
      const query = focus === undefined ? "" : `?focus=${encodeURIComponent(focus)}`
      const response = yield* Effect.promise(() =>
        fetch(`${url}/api/stream${query}`, { ...init, signal: aborting.signal })
      )
      return Stream.fromReadableStream({
        evaluate: () => response.body!,
        onError: (error) => error
      }).pipe(
        Stream.decodeText(),
        Stream.pipeThroughChannel(Sse.decode()),
        Stream.map((event) => ({ event: event.event, data: JSON.parse(event.data) }) as Told)
      )
    })
  )
