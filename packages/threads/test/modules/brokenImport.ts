// A module that imports what is not there.
// @ts-expect-error there is no such module
import { missing } from "./no-such-module.ts"

export const never = (): unknown => missing
