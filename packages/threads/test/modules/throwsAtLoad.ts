// A module that cannot be loaded.
class Misconfigured extends Error {
  readonly setting = "url"
}

export const never = (): number => 1

throw new Misconfigured("no database is configured")
