import { ThreadWorker } from "poolifier"
import { echo, either, short, spin } from "./work.ts"

export default new ThreadWorker<any>({ short, spin, either, echo })
