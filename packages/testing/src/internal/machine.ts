// Programs that the machine brings.
import * as Effect from "effect/Effect"
import { accessSync, constants, statSync } from "node:fs"
import { delimiter, join } from "node:path"
import { platform } from "node:process"

/** Where packages put servers, which is not always on the path. */
const usual =
  platform === "win32"
    ? []
    : [
        "/usr/sbin",
        "/usr/local/sbin",
        "/sbin",
        "/usr/libexec",
        "/usr/bin",
        "/usr/local/bin",
        "/opt/homebrew/bin",
        "/opt/homebrew/opt/mariadb/bin",
        "/usr/local/opt/mariadb/bin",
        "/usr/local/mysql/bin",
        "/usr/local/mysql/scripts"
      ]

/** The first of these programs that there is. */
export const findProgram = (...names: ReadonlyArray<string>): Effect.Effect<string | undefined> =>
  Effect.sync(() => {
    const folders = [...(process.env["PATH"] ?? "").split(delimiter).filter((_) => _ !== ""), ...usual]
    return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isProgram)
  })

const isProgram = (file: string): boolean => {
  const candidates = platform === "win32" ? [`${file}.exe`, file] : [file]
  return candidates.some((file) => {
    try {
      accessSync(file, constants.X_OK)
      return statSync(file).isFile()
    } catch {
      return false
    }
  })
}
