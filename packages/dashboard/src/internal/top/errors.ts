import * as Data from "effect/Data"

/** Why a dashboard cannot be watched, and what to do. */
export class CannotWatch extends Data.TaggedError("CannotWatch")<{
  readonly url: string
  readonly reason: string
  readonly remedy: string
  /** Whether it is no use to try again. */
  readonly final?: boolean
}> {
  override get message(): string {
    return `cannot watch ${this.url}: ${this.reason}. ${this.remedy}`
  }
}
