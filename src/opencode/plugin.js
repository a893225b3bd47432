// The child's half of the gateway: two hooks, no imports. The engine writes this file to
// $XDG_CONFIG_HOME/opencode/plugin/sidecar.js, where OpenCode finds it by itself.
//
// shell.env: what a command of the agent may not inherit. The server's environment holds its password
// and the gateway's token; a shell that runs what a model wrote must see neither.
//
// tool.execute.before: the exact tool list of a session. OpenCode's permissions cannot say "write but
// not edit"; this can. The list is the root session's `metadata.sidecar.tools`. Subagents have no
// metadata of their own and are followed to their root. A session that cannot be read may use nothing.

// The engine finds left-over processes by these two.
const KEPT = new Set(["OPENCODE_PID", "SIDECAR_CHILD_OF"])
const HIDDEN_NAME = /^(OPENCODE_|SIDECAR_)|(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_FILE)?$/i
// Where OpenCode sends calls of tools that do not exist. It only says so.
const ANSWERS_ONLY = new Set(["invalid"])
const DEEPEST = 16
const REMEMBERED = 1024

const hiddenNames = (env) =>
  Object.keys(env).filter(
    (name) =>
      !KEPT.has(name) &&
      (HIDDEN_NAME.test(name) ||
        (env.OPENCODE_SERVER_PASSWORD?.length >= 16 && env[name].includes(env.OPENCODE_SERVER_PASSWORD))),
  )

export const Sidecar = async ({ client }) => {
  const known = new Map()

  const enabledTools = async (sessionID) => {
    if (known.has(sessionID)) return known.get(sessionID)
    let id = sessionID
    for (let depth = 0; depth < DEEPEST; depth++) {
      const { data } = await client.session.get({ path: { id } })
      if (!data) break
      if (data.parentID) {
        id = data.parentID
        continue
      }
      const tools = data.metadata?.sidecar?.tools
      const list = Array.isArray(tools) ? new Set(tools) : undefined
      if (known.size >= REMEMBERED) known.delete(known.keys().next().value)
      known.set(sessionID, list)
      return list
    }
    throw new Error("the tool list of this session cannot be read")
  }

  return {
    "shell.env": async ({ sessionID }, output) => {
      for (const name of hiddenNames(process.env)) output.env[name] = undefined
      // By this the sidecar finds what a command of a cancelled session left behind.
      if (sessionID) output.env.SIDECAR_SESSION = sessionID
    },
    "tool.execute.before": async ({ tool, sessionID }) => {
      if (ANSWERS_ONLY.has(tool)) return
      const list = await enabledTools(sessionID)
      if (list && !list.has(tool)) throw new Error(`tool ${tool} is not enabled for this session`)
    },
  }
}
