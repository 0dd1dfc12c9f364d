// Figures as a person reads them. Where there was nothing to measure, and where there is nothing, stands `none`.

export const none = "–"

const whole = new Intl.NumberFormat("en-GB")
const oneDigit = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 })
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" })

/** `100,000` */
export const count = (n: number): string => whole.format(n)

/** As {@link count}, and nothing where there is nothing. */
export const some = (n: number): string => (n === 0 ? none : whole.format(n))

/** `3.2` each second, `1,204` */
export const rate = (n: number): string =>
  n === 0 ? none : n < 10 ? oneDigit.format(n) : whole.format(Math.round(n))

/** `0.4 ms`, `340 ms`, `4.2 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h` */
export const duration = (ms: number): string => {
  if (ms < 9.95) return `${oneDigit.format(ms)} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 59_500) return `${Math.round(ms / 1000)} s`
  const minutes = Math.round(ms / 1000 / 60)
  if (ms < 3_570_000) return two(Math.round(ms / 1000), 60, "min", "s")
  return minutes < 1440 ? two(minutes, 60, "h", "min") : two(Math.round(minutes / 60), 24, "d", "h")
}

const two = (n: number, base: number, unit: string, part: string): string => {
  const rest = n % base
  const first = `${Math.floor(n / base)} ${unit}`
  return rest === 0 ? first : `${first} ${rest} ${part}`
}

/** A percentile, where there was anything to measure. */
export const measured = (ms: number | null): string => (ms === null ? none : duration(ms))

/** The longest of something, where there is one. */
export const longest = (ms: number): string => (ms === 0 ? none : duration(ms))

/** `14:03:22`, with the day where that is another than today's. */
export const clock = (at: number): string => {
  const date = new Date(at)
  const isToday = date.toDateString() === new Date().toDateString()
  return isToday ? time.format(date) : `${day.format(date)} ${time.format(date)}`
}

export const share = (part: number): string => `${Math.round(part * 100)} %`

export const bytes = (n: number): string =>
  n < 1e6 ? `${Math.round(n / 1e3)} kB` : n < 1e9 ? `${Math.round(n / 1e6)} MB` : `${(n / 1e9).toFixed(1)} GB`

/** `1 pool`, `2 pools` */
export const several = (n: number, one: string, more: string = `${one}s`): string =>
  `${count(n)} ${n === 1 ? one : more}`
