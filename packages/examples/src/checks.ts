// What must hold of any pool when its program has ended.
import { type Figures, isAtRest } from "./observe.ts"

/** The names of what does not hold. */
export const expectations = (holds: Record<string, boolean>): ReadonlyArray<string> =>
  Object.entries(holds).flatMap(([name, ok]) => (ok ? [] : [name]))

/** What is wrong with the life of a pool's resources. */
export const problems = (figures: Figures): ReadonlyArray<string> => {
  const { atRest, name } = figures
  if (atRest === undefined) return [`pool ${name} did not close`]
  return expectations({
    [`pool ${name} did not come to rest: ${JSON.stringify(atRest)}`]: isAtRest(atRest),
    [`pool ${name} has ${atRest.size} resources, of ${atRest.created} created and ${atRest.destroyed} destroyed`]:
      atRest.size === atRest.created - atRest.destroyed,
    [`pool ${name} counts ${atRest.created} created, and told of ${figures.created}`]:
      atRest.created === figures.created,
    [`pool ${name} counts ${atRest.destroyed} destroyed, and told of ${figures.replaced}`]:
      atRest.destroyed === figures.replaced,
    [`pool ${name} created ${figures.created}, and closed ${figures.closed.length}`]:
      figures.closed.length === figures.created,
    [`pool ${name} closed a resource twice`]: new Set(figures.closed).size === figures.closed.length,
    [`pool ${name} created ${figures.overMax} resources above its max`]: figures.overMax === 0,
    [`pool ${name} let ${figures.timeouts} borrowers time out`]:
      figures.timeouts === 0 && atRest.timeouts === 0,
    [`pool ${name} failed to create ${figures.failures} times`]:
      figures.failures === 0 && atRest.failures === 0,
    [`${figures.missed} events of pool ${name} were missed`]: figures.missed === 0
  })
}

/** What is wrong with how a pool's resources were lent. */
export const problemsOfLoans = ({
  atRest,
  mostLent,
  name,
  returned,
  waited
}: Figures): ReadonlyArray<string> =>
  atRest === undefined
    ? []
    : expectations({
        [`pool ${name} counts ${atRest.borrowed} borrows, and told of ${waited.length}`]:
          atRest.borrowed === waited.length,
        [`pool ${name} lent ${waited.length} times, and got back ${returned}`]: returned === waited.length,
        [`pool ${name} lent ${mostLent} at one time, its max is ${atRest.max}`]: mostLent <= atRest.max
      })
