// What levels and kinds are called, and which level is worse.
import type { Level, PoolView } from "../internal/protocol.ts"

export const levels: ReadonlyArray<Level> = ["down", "short", "watch", "ok"]

/** 0 is the worst. */
export const severity = (level: Level): number => levels.indexOf(level)

export const levelWord: Readonly<Record<Level, string>> = {
  ok: "OK",
  watch: "Watch",
  short: "Short",
  down: "Down"
}

/** After the name of a pool. */
export const levelPhrase: Readonly<Record<Level, string>> = {
  ok: "is well",
  watch: "needs an eye",
  short: "is short",
  down: "is down"
}

type Kind = PoolView["kind"]

export const kindWord: Readonly<Record<Kind, string>> = {
  pool: "pool",
  tokens: "tokens",
  keyed: "keyed pool",
  threads: "threads",
  connections: "connections"
}

/** What such a pool holds. */
export const noun: Readonly<Record<Kind, string>> = {
  pool: "resource",
  tokens: "token",
  keyed: "resource",
  threads: "thread",
  connections: "connection"
}

export const hashOf = (id: string): string => `#/pool/${encodeURIComponent(id)}`

/** The pool that an address names, or nothing: an address can be anything. */
export const idOf = (hash: string): string | undefined => {
  if (!hash.startsWith("#/pool/")) return undefined
  try {
    const id = decodeURIComponent(hash.slice("#/pool/".length))
    return id === "" ? undefined : id
  } catch {
    return undefined
  }
}
