// What stands beside a session: its plan, its files, what it used.

import { h, oneLine, replace, visible } from "./dom.js";
import { clock, cost, count, duration } from "./format.js";

const WIDE = window.matchMedia("(min-width: 1180px)");
const SIGNS = { completed: "✓", in_progress: "●", pending: "○", cancelled: "–" };

export function rail() {
  let drawn = "";
  const summary = h("summary", {}, "Plan, files and use");
  const content = h("div", { class: "rail-content", role: "region", "aria-label": "About the session", tabindex: "0" });
  const element = h("details", { class: "rail", open: WIDE.matches }, summary, content);
  return {
    element,
    /** `found` is the diagnosis, null while no turn runs. */
    draw(conversation, status, found) {
      const files = [...new Set([...(status?.files_modified ?? []), ...conversation.files])];
      const now = JSON.stringify([conversation.todo, files, status?.usage, status?.model_calls, status?.turn, status?.remote_session_id, status?.metadata, status?.forked_from, status?.reverted, found?.processes, found?.model?.state]);
      if (now === drawn) return;
      drawn = now;
      const done = conversation.todo.filter((item) => item.status === "completed").length;
      summary.textContent = [conversation.todo.length > 0 && `Plan ${done}/${conversation.todo.length}`, files.length > 0 && `${files.length} ${files.length === 1 ? "file" : "files"}`].filter(Boolean).join(" · ") || "Plan, files and use";
      replace(content, plan(conversation.todo, done), fileList(files), running(found), use(status), facts(status));
    },
  };
}

function plan(todo, done) {
  if (todo.length === 0) return null;
  const bar = h("span", { class: "bar" }, h("span"));
  bar.firstChild.style.width = `${(done / todo.length) * 100}%`;
  return h("section", {}, h("h2", {}, "Plan", h("span", { class: "muted" }, ` ${done}/${todo.length}`)), bar,
    h("ul", { class: "plan" }, todo.map((item) => h("li", { class: item.status }, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[item.status] ?? "○"),
      h("span", { dir: "auto" }, visible(String(item.content)), h("span", { class: "sr-only" }, ` (${item.status})`))))));
}

function fileList(files) {
  if (files.length === 0) return null;
  return h("section", {}, h("h2", {}, "Files", h("span", { class: "muted" }, ` ${files.length}`)),
    h("ul", { class: "files" }, files.slice(0, 60).map((file) => h("li", { title: visible(file) }, h("code", {}, visible(file.slice(file.lastIndexOf("/") + 1))), h("small", { class: "muted ellipsis" }, visible(file.slice(0, file.lastIndexOf("/"))))))));
}

function running(found) {
  if (!found) return null;
  const { processes, model } = found;
  const rows = [model && ["Provider", `${visible(String(model.provider).replace(/^the provider /, ""))}, ${model.state}`], ...processes.slice(0, 12).map(({ name, pid, state, cpu_seconds: cpu }) => [visible(`${name} ${pid}`), `${state.replaceAll("_", " ")}, ${cpu.toFixed(1)} s`])];
  return h("section", {}, h("h2", {}, "Running now"), table(rows));
}

function use(status) {
  if (!status?.usage) return null;
  const { usage, model_calls: calls } = status;
  return h("section", {}, h("h2", {}, "Tokens and cost"), table([
    ["Input", count(usage.input_tokens)], ["Output", count(usage.output_tokens)], usage.reasoning_tokens > 0 && ["Reasoning", count(usage.reasoning_tokens)],
    usage.cache_read_tokens > 0 && ["From cache", count(usage.cache_read_tokens)], usage.cost > 0 && ["Cost", cost(usage.cost)],
    calls && ["Model calls", `${calls.calls}${calls.retries > 0 ? ` (${calls.retries} again)` : ""}`],
    calls?.first_byte_ms !== null && calls?.first_byte_ms !== undefined && ["Time to first byte", duration(calls.first_byte_ms)], calls?.last_error && ["Last error", visible(String(calls.last_error))],
  ]));
}

function facts(status) {
  if (!status) return null;
  return h("section", {}, h("h2", {}, "Session"), table([["Id", visible(status.session_id)], ["OpenCode session", visible(status.remote_session_id ?? "–")],
    ["Created", clock(Date.parse(status.created_at))], ["Turn", status.turn],
    status.forked_from && ["Forked from", h("a", { href: `#/s/${encodeURIComponent(status.forked_from.session_id)}` }, visible(status.forked_from.session_id))],
    status.reverted && ["Reverted to before", `turn ${status.reverted.turn}`], ...Object.entries(status.metadata ?? {}).slice(0, 20).map(([name, value]) => [visible(name), oneLine(typeof value === "string" ? value : JSON.stringify(value), 120)])]));
}

function table(rows) {
  return h("dl", {}, rows.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
