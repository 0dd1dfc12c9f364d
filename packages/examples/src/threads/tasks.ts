// What the programs run in threads. None of it would be any good on the main loop: nothing in here ever waits.
import { hash } from "node:crypto"
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from "node:fs"
// Not from "@cenote/threads": a thread should load no more than it needs.
import * as Task from "@cenote/threads/Task"

/** Keeps a core busy. */
export const cpuIntensiveTask = (data: string, iterations: number) => {
  let result = hash("sha256", data)
  for (let i = 0; i < iterations; i++) result = hash("sha256", result)
  return { data, iterations, result: result.slice(0, 16) }
}

/** Holds up whatever thread it is in, line by line. */
export const blockingIoTask = (filename: string, lines: number) => {
  const file = openSync(filename, "wx")
  try {
    for (let i = 0; i < lines; i++) writeSync(file, `Line ${i}: Some data here\n`)
  } finally {
    closeSync(file)
  }
  const read = readFileSync(filename, "utf8").trimEnd().split("\n")
  unlinkSync(filename)
  return { filename, linesWritten: lines, linesRead: read.length }
}

/** How many primes there are from one number up to another, unless nobody wants to know any more. */
export const countPrimes = (from: number, to: number): number => {
  const task = Task.current()
  let count = 0
  for (let n = Math.max(from, 2); n < to && !task.aborted; n++) if (isPrime(n)) count++
  return count
}

const isPrime = (n: number): boolean => {
  if (n % 2 === 0) return n === 2
  for (let d = 3; d * d <= n; d += 2) if (n % d === 0) return false
  return true
}

/** What a library might do that thinks it is alone. */
export const leave = (code: number): void => process.exit(code)

/** Neither ends nor looks whether anybody waits. */
export const spin = (): void => {
  while (true);
}
