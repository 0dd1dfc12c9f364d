// The browser of this machine.
import { accessSync, constants } from "node:fs"
import { delimiter, join } from "node:path"
import { type Browser, chromium } from "playwright-core"

const isProgram = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Named by the environment, or else the first on the path. */
export const executable = (): string | undefined => {
  const named = process.env["CENOTE_CHROMIUM"] ?? ""
  if (named !== "") return named
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((_) => _ !== "")
  return folders
    .flatMap((folder) => ["chromium", "chromium-browser", "google-chrome"].map((name) => join(folder, name)))
    .find(isProgram)
}

export const missing =
  "no Chromium: install it (Debian: apt-get install chromium), or name its program in CENOTE_CHROMIUM"

export const launch = (): Promise<Browser> => {
  const executablePath = executable()
  if (executablePath === undefined) throw new Error(missing)
  // Its sandbox does not start as root, and what it shares between processes is small in a container.
  const args = process.getuid?.() === 0 ? ["--no-sandbox", "--disable-dev-shm-usage"] : []
  return chromium.launch({ executablePath, args })
}
