import { tests } from "./shared.ts"

await tests(undefined)
