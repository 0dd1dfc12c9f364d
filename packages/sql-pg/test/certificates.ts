// A PostgreSQL that speaks TLS, and the certificates that it takes.
import { TestServers } from "@cenote/testing"
import { Context, Effect, Layer } from "effect"
import { execFileSync, spawnSync } from "node:child_process"
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** Fails if nothing on this machine makes certificates. */
export const opensslAvailable = Effect.suspend(() =>
  spawnSync("openssl", ["version"]).status === 0
    ? Effect.void
    : Effect.fail(
        new TestServers.ServerError({
          reason: "Binaries",
          message: "no openssl on this machine (Debian and Ubuntu: apt-get install openssl)"
        })
      )
)

/** A private PostgreSQL whose certificate is for 127.0.0.1 and db.internal. */
export class TlsServer extends Context.Service<
  TlsServer,
  {
    readonly config: TestServers.Settings
    /** Who has signed the server's certificate: itself. */
    readonly ca: Buffer
    /** Somebody else, of the same name. */
    readonly otherCa: Buffer
  }
>()("test/TlsServer") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "cenote-certificate-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
      )
      const [key, certificate] = certify(folder, "server")
      const [, other] = certify(folder, "other")
      // The server reads its key itself, as "nobody" where this is root's process, and wants nobody else to be able to.
      chmodSync(folder, 0o755)
      chmodSync(key, 0o600)
      if (process.getuid?.() === 0) chownSync(key, 65534, 65534)
      const server = yield* Layer.build(
        TestServers.Postgres.layer({ settings: { ssl: "on", ssl_cert_file: certificate, ssl_key_file: key } })
      )
      return {
        config: Context.get(server, TestServers.Postgres).config,
        ca: readFileSync(certificate),
        otherCa: readFileSync(other)
      }
    })
  )
}

const certify = (folder: string, name: string): readonly [key: string, certificate: string] => {
  const files = [join(folder, `${name}.key`), join(folder, `${name}.pem`)] as const
  const names = ["-subj", "/CN=db.internal", "-addext", "subjectAltName=IP:127.0.0.1,DNS:db.internal"]
  const make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...names]
  execFileSync("openssl", [...make, "-keyout", files[0], "-out", files[1]], { stdio: "ignore" })
  return files
}
