// All tests of a driver, by what they are about.
import type { Bench } from "./kit.ts"
import { cleaning } from "./cleaning.ts"
import { expiring } from "./expiring.ts"
import { failing } from "./failing.ts"
import { leaving } from "./leaving.ts"
import { lending } from "./lending.ts"
import { limiting } from "./limiting.ts"
import { placing } from "./placing.ts"
import { programs } from "./programs.ts"
import { stating } from "./stating.ts"
import { storming } from "./storming.ts"
import { streaming } from "./streaming.ts"
import { transacting } from "./transacting.ts"

export const subjects: ReadonlyArray<<Services>(bench: Bench<Services>) => void> = [
  lending,
  cleaning,
  limiting,
  expiring,
  placing,
  transacting,
  streaming,
  stating,
  programs,
  failing,
  leaving,
  storming
]
