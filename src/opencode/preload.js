// Runs in OpenCode's process before OpenCode itself: Bun loads what BUN_INSPECT_PRELOAD names first. The
// engine writes this file anew before each start.
//
// 1. It closes the process to inspection. Where OpenCode's binary is readable the kernel would otherwise show
//    its memory, descriptors and environment to every process of the same user.
// 2. It clears the session database of everything that is no session: an account in it makes OpenCode fetch
//    its configuration from that account's address.
// 3. Only then it asks for the secrets and reads them from stdin. They were never in an environment that the
//    kernel shows, and they are kept from every program that OpenCode starts.
// 4. It hands the calls of git to the sidecar's own runner, which runs git without the programs that a
//    repository may name in its configuration.
//
// 5. Where the sidecar decides which hosts are reached, it hands what leaves this process to the egress proxy, in the
//    name of the session whose tool asks. The plugin knows which that is.
//
// Whatever fails here ends the process before it has a secret.

import { dlopen } from "bun:ffi"
import { Database } from "bun:sqlite"
import fs from "node:fs"

const READY = "opencode-sidecar: ready for the secrets"
const PR_SET_DUMPABLE = 4

// What a conversation consists of, and what OpenCode needs to know which of its migrations it has done.
const KEPT_TABLES = new Set([
  ...["session", "session_context_epoch", "session_input", "session_message", "message", "part", "todo"],
  ...["event", "event_sequence", "project", "project_directory", "migration", "data_migration"],
])

function closeToInspection() {
  const libc = dlopen("libc.so.6", {
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  })
  if (libc.symbols.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) !== 0)
    throw new Error("the kernel does not close this process to inspection")
}

const quoted = (name) => `"${name.replaceAll('"', '""')}"`

function keepSessionsOnly(db) {
  db.run("PRAGMA trusted_schema = OFF")
  const all = db.query("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('table', 'trigger', 'view')").all()
  // First of all: a trigger would run with the deletions below.
  for (const { type, name, sql } of all) {
    if (type !== "table") db.run(`DROP ${type} ${quoted(name)}`)
    else if (/^\s*CREATE\s+VIRTUAL\b/i.test(sql)) db.run(`DROP TABLE ${quoted(name)}`)
  }
  const tables = db.query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
  for (const { name } of tables.all()) {
    if (!KEPT_TABLES.has(name) && db.query(`SELECT 1 FROM ${quoted(name)} LIMIT 1`).get())
      db.run(`DELETE FROM ${quoted(name)}`)
  }
  const columns = db.query("SELECT name FROM pragma_table_info('project')").all()
  // Programs that OpenCode runs when it makes a work tree of a project.
  if (columns.some(({ name }) => name === "commands"))
    db.run("UPDATE project SET commands = NULL WHERE commands IS NOT NULL")
}

function cleanDatabase(path) {
  if (!fs.existsSync(path)) return
  try {
    const db = new Database(path, { readwrite: true })
    try {
      keepSessionsOnly(db)
    } finally {
      db.close()
    }
  } catch (error) {
    // Anything else, such as a full disk, may pass, and the sessions are worth another attempt.
    if (!/CORRUPT|NOTADB/.test(error.code ?? "")) throw error
    fs.writeSync(2, `the session database is damaged (${error.code}); beginning a new one\n`)
    for (const suffix of ["", "-wal", "-shm"]) fs.rmSync(path + suffix, { force: true })
  }
}

function takeSecrets() {
  fs.writeSync(1, `${READY}\n`)
  return JSON.parse(fs.readFileSync(0, "utf8"))
}

// Every way in which OpenCode starts a program ends in one of these two functions of Bun.
function guardPrograms(hidden, git) {
  const guarded = (spawn) => (first, second) => {
    const options = Array.isArray(first) ? { ...second, cmd: first } : { ...first }
    options.env = { ...(options.env ?? process.env) }
    for (const name of hidden) delete options.env[name]
    if (options.cmd[0] === "git") options.cmd = [...git, ...options.cmd.slice(1)]
    return spawn.call(Bun, options)
  }
  Bun.spawn = guarded(Bun.spawn)
  Bun.spawnSync = guarded(Bun.spawnSync)
}

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"])

// Bun reads HTTPS_PROXY once, when the process starts, and would send every session under one name. Given as an option a
// proxy holds for redirects too, also for those to loopback. A refusal comes back as an ordinary answer.
function guardFetch(egress) {
  const direct = globalThis.fetch
  const guarded = async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input)
    const proxy = egress.proxyFor(url)
    if (proxy) {
      const response = await direct(input, { ...init, proxy })
      if (!response.headers.has("x-sidecar-egress")) return response
      // As a page, because webfetch shows the agent nothing of an answer that is an error.
      return new Response(await response.text(), { headers: { "content-type": "text/plain" } })
    }
    // The gateway, and OpenCode's own server.
    if (LOOPBACK.has(url.hostname)) return direct(input, init)
    throw new Error(`${url.host} is not asked: no session of the sidecar wants it, or more than one at the same time; try again`)
  }
  globalThis.fetch = Object.assign(guarded, direct)
  // The plugin takes it from here, and puts its own function in the place of this one.
  globalThis[Symbol.for("opencode-sidecar.egress")] = egress
}

if (Bun.isMainThread) {
  closeToInspection()
  delete process.env.BUN_INSPECT_PRELOAD
  cleanDatabase(`${process.env.XDG_DATA_HOME}/opencode/opencode.db`)
  const { environment, git, egress } = takeSecrets()
  guardPrograms(Object.keys(environment), git)
  if (egress) guardFetch({ ...egress, proxyFor: () => undefined })
  // OpenCode looks for its password among the names it can list, so they cannot be hidden yet. The plugin
  // does that once the server has read them.
  Object.assign(process.env, environment)
}
