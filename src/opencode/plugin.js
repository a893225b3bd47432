// The child's half of the gateway: hooks. The engine writes this file to
// $XDG_CONFIG_HOME/opencode/plugin/sidecar.js, where OpenCode finds it by itself.
//
// shell.env: what a command of the agent may not inherit. The preload has seen to it that no program gets
// OpenCode's password and configuration; here they also leave the list of the environment's names, now that
// the server has read them.
//
// shell.env also gives a command the span of its call (TRACEPARENT), if its turn is traced. The prompt says so (chat.message);
// a subagent has the trace of its root.
//
// tool.execute.before: the exact tool list of a session. OpenCode's permissions cannot say "write but
// not edit"; this can. The list is the root session's `metadata.sidecar.tools`. Subagents have no
// metadata of their own and are followed to their root. A session that cannot be read may use nothing.
// It also keeps the file tools in the workspace: OpenCode compares paths by their text and follows links.
//
// chat.message: a subagent asks before what its root asks before. OpenCode gives a subagent only what its parent is
// refused, so the root's rules (`metadata.sidecar.rules`) are added to its own before its run reads them. Without such
// rules nothing is done.
//
// Where the sidecar decides which hosts are reached (EGRESS), shell.env gives each command the address of the egress proxy
// with the credential of its root session, and tool.execute.before notes which session is about to fetch which address,
// so that the fetch of this process goes out in its name (preload.js). Two sessions that fetch the same address at
// the same moment cannot be told apart, and both are told to try again.
//
// event: memory is given back some time after the last session has become idle.

import { createHash, createHmac } from "node:crypto"
import fs from "node:fs"
import path from "node:path"

// The engine finds left-over processes by these two.
const KEPT = new Set(["OPENCODE_PID", "SIDECAR_CHILD_OF"])
const HIDDEN_NAME = /^(OPENCODE_|SIDECAR_)|(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_FILE)?$/i
// Where OpenCode sends calls of tools that do not exist. It only says so.
const ANSWERS_ONLY = new Set(["invalid"])
// Offered or not by OpenCode's permissions alone, which can change from turn to turn.
const BY_PERMISSION = new Set(["question"])
// What OpenCode refuses a subagent whatever its parent may do.
const NOT_FOR_SUBAGENTS = new Set(["task", "todowrite"])
const LOOPBACK = /^(localhost|.*\.localhost|127\..*|0\.0\.0\.0|\[::.*\])\.?$/i
const NO_PROXY = "localhost,127.0.0.1,::1"
const DEEPEST = 16
const REMEMBERED = 1024
// As the preload was given them.
const SECRETS = ["OPENCODE_SERVER_PASSWORD", "OPENCODE_CONFIG_CONTENT"]
// The arguments that name a file or a directory.
const PATHS = {
  edit: ["filePath"],
  glob: ["path"],
  grep: ["path"],
  list: ["path"],
  lsp: ["filePath"],
  read: ["filePath"],
  write: ["filePath"],
}
// These may also read the whole of an output that OpenCode has shown the model the beginning of.
const READS_OUTPUTS = new Set(["grep", "read"])
const PATCHED = /^[^\S\n]*\*\*\* (?:(?:Add|Update|Delete) File|Move to):(.*)$/gm
// As many links as Linux follows.
const MOST_LINKS = 40

const hiddenNames = (env) =>
  Object.keys(env).filter(
    (name) =>
      !KEPT.has(name) &&
      (HIDDEN_NAME.test(name) ||
        (env.OPENCODE_SERVER_PASSWORD?.length >= 16 && env[name].includes(env.OPENCODE_SERVER_PASSWORD))),
  )

const hideSecrets = () => {
  for (const name of SECRETS) {
    const value = process.env[name]
    if (value === undefined) continue
    // OpenCode reads its configuration again whenever it starts an instance, by its name.
    Object.defineProperty(process.env, name, { value, enumerable: false, configurable: true, writable: true })
  }
}

const namedPaths = (tool, args) => {
  if (tool === "apply_patch")
    return [...String(args?.patchText ?? "").matchAll(PATCHED)].map(([, name]) => name.trim())
  return (PATHS[tool] ?? []).map((name) => args?.[name]).filter((value) => typeof value === "string")
}

// Where the kernel arrives at from an absolute path, as far as there is anything: every link on the way is
// followed, also one that leads to nothing yet, because a file that is written comes to be there.
const arrivesAt = (absolute) => {
  const left = absolute.split("/")
  let at = "/"
  let links = 0
  while (left.length > 0) {
    const name = left.shift()
    if (name === "" || name === ".") continue
    if (name === "..") {
      at = path.dirname(at)
      continue
    }
    const next = path.join(at, name)
    if (!fs.lstatSync(next, { throwIfNoEntry: false })?.isSymbolicLink()) {
      at = next
      continue
    }
    if (++links > MOST_LINKS) throw new Error(`${absolute} leads through too many links`)
    const target = fs.readlinkSync(next)
    if (target.startsWith("/")) at = "/"
    left.unshift(...target.split("/"))
  }
  return at
}

// The collector's full run holds the process up for 0.1 to 0.2 s, so it waits until a next prompt is unlikely to
// meet it. Nothing else gives back what a busy time has taken.
const COLLECT_AFTER_MS = 5000

const collectWhenIdle = () => {
  const busy = new Set()
  let timer
  return ({ event: { type, properties } }) => {
    const { sessionID, status } = properties ?? {}
    if (type === "session.status" && status?.type !== "idle") {
      busy.add(sessionID)
      clearTimeout(timer)
    } else if (["session.status", "session.idle", "session.deleted"].includes(type)) {
      if (!busy.delete(sessionID ?? properties?.info?.id) || busy.size > 0) return
      timer = setTimeout(() => Bun.gc(true), COLLECT_AFTER_MS)
      timer.unref()
    }
  }
}

// What makes each tool follow the proxy. Loopback does not go through it: it refuses that.
const proxyVariables = (url) => ({
  ...Object.fromEntries(
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].flatMap((name) => [
      [name, url],
      [name.toLowerCase(), url],
    ]),
  ),
  NO_PROXY,
  no_proxy: NO_PROXY,
  npm_config_proxy: url,
  npm_config_https_proxy: url,
  npm_config_noproxy: NO_PROXY,
  YARN_HTTP_PROXY: url,
  YARN_HTTPS_PROXY: url,
  PIP_PROXY: url,
  CARGO_HTTP_PROXY: url,
  // fetch of Node.js looks at the variables from version 24 on, and if it is told to.
  NODE_USE_ENV_PROXY: "1",
})

// Which calls of tools are about to fetch, and for which root session. Shared by all instances of this plugin, as the fetch is.
class Egress {
  #access = globalThis[Symbol.for("opencode-sidecar.egress")]
  #fetching = this.#access?.fetching ?? new Map()

  constructor() {
    if (!this.isOn) return
    this.#access.fetching = this.#fetching
    this.#access.proxyFor = (url) => this.#proxyFor(url)
  }

  get isOn() {
    return this.#access !== undefined
  }

  // The address of the proxy with the credential of a root session.
  address(root) {
    const { port, key } = this.#access
    return `http://${root}:${createHmac("sha256", key).update(root).digest("hex")}@127.0.0.1:${port}`
  }

  begins(callID, root, text) {
    const url = new URL(text)
    // Its address could be one that OpenCode itself asks, and then both would be taken for the same.
    if (LOOPBACK.test(url.hostname)) throw new Error(`webfetch does not reach this host (${url.host}); ask it with a command`)
    remember(this.#fetching, callID, { root, url: url.href })
  }

  ends(callID) {
    this.#fetching.delete(callID)
  }

  #proxyFor(url) {
    const same = ({ url: wanted }) => wanted === url.href
    const roots = new Set([...this.#fetching.values()].filter(same).map(({ root }) => root))
    return roots.size === 1 ? this.address([...roots][0]) : undefined
  }
}

const isWithin = (directory, place) => place === directory || place.startsWith(`${directory}/`)

const stayInWorkspace = (directory, tool, args) => {
  const workspace = arrivesAt(directory)
  const outputs = arrivesAt(path.join(process.env.XDG_DATA_HOME ?? "/nowhere", "opencode/tool-output"))
  for (const named of namedPaths(tool, args)) {
    const absolute = named.startsWith("/") ? named : `${directory}/${named}`
    // Some tools take `..` away before they ask the kernel, and others do not.
    for (const form of [absolute, path.resolve(absolute)]) {
      const place = arrivesAt(form)
      const allowed =
        isWithin(workspace, place) || (READS_OUTPUTS.has(tool) && place.startsWith(`${outputs}/`))
      if (!allowed) throw new Error(`${tool} works in the workspace only: ${named} leads to ${place}, which is outside ${workspace}`)
    }
  }
}

const remember = (map, key, value) => {
  if (map.size >= REMEMBERED) map.delete(map.keys().next().value)
  map.set(key, value)
}

// The sidecar makes the same id for the span of this call.
const spanOfCall = (traceparent, callID) => {
  const [version, trace, , flags] = traceparent.split("-")
  const span = createHash("sha256").update(`${trace}\0tool\0${callID}\0`).digest("hex").slice(0, 16)
  return [version, trace, span, flags].join("-")
}

export const Sidecar = async ({ client, directory }) => {
  hideSecrets()

  const known = new Map()
  const traces = new Map()
  const roots = new Map()
  const collect = collectWhenIdle()
  const egress = new Egress()

  const session = async (id) => {
    const { data } = await client.session.get({ path: { id } })
    if (!data) throw new Error("this session cannot be read")
    return data
  }

  const rootOf = async (from) => {
    let data = from
    for (let depth = 0; data.parentID; depth++) {
      if (depth === DEEPEST) throw new Error("this session has too many parents")
      data = await session(data.parentID)
    }
    return data
  }

  const enabledTools = async (sessionID) => {
    if (known.has(sessionID)) return known.get(sessionID)
    const root = await rootOf(await session(sessionID))
    const tools = root.metadata?.sidecar?.tools
    const list = Array.isArray(tools) ? new Set(tools) : undefined
    remember(known, sessionID, list)
    return list
  }

  const rootIdOf = async (id) => {
    if (!roots.has(id)) remember(roots, id, (await rootOf(await session(id))).id)
    return roots.get(id)
  }

  const inheritTrace = async (id) => {
    const root = await rootOf(await session(id))
    if (traces.has(root.id)) remember(traces, id, traces.get(root.id))
  }

  const passOnRules = async (id) => {
    const subagent = await session(id)
    if (!subagent.parentID) return
    const rules = (await rootOf(subagent)).metadata?.sidecar?.rules
    if (!Array.isArray(rules)) return
    const own = subagent.permission ?? []
    const refused = (name) =>
      NOT_FOR_SUBAGENTS.has(name) && own.some((rule) => rule.permission === name && rule.action === "deny")
    const added = rules.filter(({ permission }) => permission !== "question" && !refused(permission))
    // A subagent that is called again has them already.
    const has = own.slice(own.length - added.length)
    if (JSON.stringify(has) === JSON.stringify(added)) return
    const { error } = await client.session.update({ path: { id }, body: { permission: added } })
    if (error) throw new Error("the rules of this session cannot be passed on to its subagent")
  }

  return {
    event: async (input) => {
      collect(input)
      const { part } = input.event.properties ?? {}
      if (["completed", "error"].includes(part?.state?.status)) egress.ends(part.callID)
    },
    // Only subagents are called by an agent's name.
    "chat.message": async ({ sessionID, agent }, output) => {
      const labels = (output?.parts ?? []).map((part) => part.metadata?.sidecar?.traceparent)
      const traceparent = labels.find((label) => label !== undefined)
      if (traceparent) remember(traces, sessionID, traceparent)
      else if (agent && traces.size > 0) await inheritTrace(sessionID)
      if (agent) await passOnRules(sessionID)
    },
    "shell.env": async ({ sessionID, callID }, output) => {
      const traceparent = traces.get(sessionID)
      if (traceparent) output.env.TRACEPARENT = callID ? spanOfCall(traceparent, callID) : traceparent
      for (const name of hiddenNames(process.env)) output.env[name] = undefined
      // By this the sidecar finds what a command of a cancelled session left behind.
      if (sessionID) output.env.SIDECAR_SESSION = sessionID
      if (sessionID && egress.isOn) Object.assign(output.env, proxyVariables(egress.address(await rootIdOf(sessionID))))
    },
    "tool.execute.before": async ({ tool, sessionID, callID }, { args }) => {
      if (ANSWERS_ONLY.has(tool)) return
      const list = await enabledTools(sessionID)
      if (list && !list.has(tool) && !BY_PERMISSION.has(tool)) throw new Error(`tool ${tool} is not enabled for this session`)
      stayInWorkspace(directory, tool, args)
      if (egress.isOn && tool === "webfetch" && URL.canParse(args?.url)) egress.begins(callID, await rootIdOf(sessionID), args.url)
    },
  }
}
