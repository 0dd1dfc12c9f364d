// Throws when it is loaded.
export class NoConfiguration extends Error {
  override readonly name = "NoConfiguration"
  readonly file = "settings.json"
}

throw new NoConfiguration("settings.json is missing", { cause: new Error("ENOENT") })

export const never = (): number => 1
