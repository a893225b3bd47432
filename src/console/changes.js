// What a session changed in the workspace, file by file.

import { at, call, has } from "./api.js";
import { changes, parse, show, sums } from "./diff.js";
import { button, h, replace, visible } from "./dom.js";

const SPLIT = "opencode-sidecar split";

export function changesTab(conversation, session) {
  let split = localStorage.getItem(SPLIT) === "1";
  let seen = -1;
  let busy = false;
  const content = h("div", { class: "scroller changes", tabindex: "0" });
  const total = h("span", { class: "muted", role: "status" });
  const toggle = button(null, "Side by side", () => {
    split = !split;
    localStorage.setItem(SPLIT, split ? "1" : "0");
    draw(true);
  }, { "aria-pressed": String(split) });
  const element = h("div", { class: "changes-tab" }, h("div", { class: "toolbar" }, toggle, button(null, "Refresh", () => draw(true)), total), content);
  const draw = async (again = false) => {
    const state = conversation.items.length + (conversation.running ? 0 : 0.5);
    if (!again && (state === seen || (conversation.running && Math.floor(state) === Math.floor(seen)))) return;
    if (busy) return;
    busy = true;
    seen = state;
    toggle.setAttribute("aria-pressed", String(split));
    const files = (await fromSidecar(session.id)) ?? fromCalls(conversation);
    busy = false;
    const all = files.reduce((sum, { lines }) => ({ added: sum.added + sums(lines).added, removed: sum.removed + sums(lines).removed }), { added: 0, removed: 0 });
    const count = new Set(files.map(({ file }) => file)).size;
    total.textContent = count === 0 ? "" : `${count} ${count === 1 ? "file" : "files"}, +${all.added} −${all.removed}`;
    replace(content, files.length === 0 ? h("p", { class: "muted empty" }, "No file has been changed by a tool of files so far.") : files.map((file) => card(file, split)));
  };
  return { element, draw };
}

function card({ file, lines, turn, note }, split) {
  const { added, removed } = sums(lines);
  return h("details", { class: "card", open: true },
    h("summary", {}, h("code", { class: "ellipsis" }, visible(file)),
      note && h("span", { class: "muted" }, note), turn && h("span", { class: "muted" }, `turn ${turn}`), h("span", { class: "good" }, `+${added}`), h("span", { class: "bad" }, `−${removed}`)), show(lines, split));
}

/** The diff as the sidecar tells it, null where it cannot. A file has an entry for each turn that changed it. */
async function fromSidecar(id) {
  if (!has("GET", "/sessions/{id}/diff")) return null;
  try {
    const answer = await call("GET", at`sessions/${id}/diff`);
    return answer.changes.flatMap(({ turn, files }) => files.map(({ path, patch, status, truncated }) => ({
      file: path, turn, note: [status !== "modified" && status, patch === null && "no patch", truncated && "shortened"].filter(Boolean).join(", "),
      lines: parse(patch ?? "").flatMap(({ lines }) => lines),
    })));
  } catch {
    return null;
  }
}

/** From the calls of tools: each is a change of its own. */
function fromCalls({ items }) {
  const files = new Map();
  const walk = (list) => {
    for (const item of list) {
      if (item.kind === "tool" && item.done && !item.failed) {
        for (const { file, lines } of (item.changes ??= changes(item.tool, item.args))) {
          const before = files.get(file) ?? [];
          files.set(file, before.length > 0 ? [...before, { kind: "hunk", text: "⋯ then" }, ...lines] : lines);
        }
      }
      if (item.agent) walk(item.agent.items);
    }
  };
  walk(items);
  return [...files].map(([file, lines]) => ({ file, lines }));
}
