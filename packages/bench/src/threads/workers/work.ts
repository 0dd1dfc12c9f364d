/** What every thread does, whoever it belongs to. */

/** About a microsecond of arithmetic. */
export const short = (seed: number): number => {
  let x = seed | 1
  for (let i = 0; i < 500; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
  }
  return x
}

/** Occupies the thread for so many milliseconds. */
export const spin = (millis: number): number => {
  const until = performance.now() + millis
  while (performance.now() < until);
  return millis
}

/** `short` or `spin`, by the time that is asked for: one function whose calls differ. */
export const either = (millis: number): number => (millis === 0 ? short(1) : spin(millis))

/** Gives back what it gets. */
export const echo = (bytes: Uint8Array): Uint8Array => bytes
