import { tests } from "./shared.ts"

await tests(process.env["ENDING"])
