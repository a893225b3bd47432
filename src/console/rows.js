// How each item of a conversation looks.

import { ansi } from "./ansi.js";
import { askLine } from "./asks.js";
import { changes, show, sums } from "./diff.js";
import { button, copy, h, icon, oneLine, visible } from "./dom.js";
import { bytes, clock, cost, count, duration } from "./format.js";
import { markdown } from "./markdown.js";
import { phase, sentence } from "./status.js";

/** What is shown of a tool's output; copying gives all that is kept. */
const SHOWN_OUTPUT = 60_000;
const TAIL_LINES = 4;

/** An item as a row. `session` has the id and what rows can ask for. */
export function row(item, session) {
  const content = RENDER[item.kind](item, session);
  const element = h("article", { class: `row ${item.kind}`, "data-key": item.key }, content);
  // A subagent in a subagent in a subagent is as far to the right as there is room.
  element.style.setProperty("--depth", String(Math.min(item.depth, 4)));
  if (item.depth > 0) element.classList.add("nested");
  return element;
}

/** A guess at a row's height before it was ever in the page. */
export function height(item) {
  if (item.kind === "text") return 24 + Math.ceil(item.text.length / 90) * 22;
  if (item.kind === "tool") return item.open ? 240 : 38;
  return item.kind === "turn" || item.kind === "end" ? 56 : 38;
}

const RENDER = { turn, text, reasoning, tool, phase: notice, note, retry, ask, prompt, steer, end, gap };

function turn(item) {
  return [
    h("div", { class: "rule" }, h("h3", {}, `Turn ${item.turn}`), h("time", {}, clock(item.at))),
    item.prompt && h("div", { class: "said", dir: "auto" }, h("span", { class: "sr-only" }, "Prompt: "), visible(item.prompt)),
  ];
}

function text(item) {
  return h("div", { class: "markdown" }, markdown(item.text));
}

function reasoning(item, session) {
  const words = item.text.trim();
  const toggle = h("button", { type: "button", class: "fold quiet", "aria-expanded": String(Boolean(item.open)), onclick: () => session.open(item) },
    icon("turn"), h("span", {}, "Thoughts"), !item.open && h("span", { class: "muted ellipsis" }, oneLine(words, 160)));
  return [toggle, item.open && h("div", { class: "thoughts", dir: "auto" }, visible(words))];
}

const ICONS = { bash: "terminal", read: "file", write: "edit", edit: "edit", apply_patch: "edit", task: "agent", todowrite: "list",
  grep: "search", glob: "search", list: "search", webfetch: "web", websearch: "web" };

function tool(item, session) {
  const state = item.stopped ? "stopped" : !item.done ? "running" : item.failed ? "failed" : "done";
  const head = h("button", { type: "button", class: "fold", "aria-expanded": String(Boolean(item.open)), onclick: () => session.open(item) },
    icon("turn"), h("span", { class: `tool-icon ${state}` }, icon(ICONS[item.tool] ?? "tool")),
    h("strong", {}, visible(item.tool)), h("code", { class: "ellipsis" }, summary(item)), badges(item, state));
  const tail = !item.open && (state === "running" || state === "failed") && peek(item);
  return [
    h("div", { class: "tool-head" }, head, item.agent && subagent(item, session)),
    tail && h("pre", { class: "tail", dir: "ltr" }, tail), item.open && body(item),
  ];
}

/** What a call is about, on one line. */
export function summary(item) {
  const args = item.args;
  if (!args || typeof args !== "object") return oneLine(String(args ?? ""));
  const known = args.command ?? args.filePath ?? args.pattern ?? args.url ?? args.query ?? args.description ?? args.path;
  if (known !== undefined) return oneLine(String(known));
  if (Array.isArray(args.questions)) return oneLine(args.questions.map(({ question }) => question).join(" "));
  if (Array.isArray(args.todos)) return `${args.todos.length} steps`;
  return oneLine(JSON.stringify(args));
}

function badges(item, state) {
  const code = item.result?.exit_code;
  const total = (item.changes ??= changes(item.tool, item.args)).reduce((sum, { lines }) => {
    const { added, removed } = sums(lines);
    return { added: sum.added + added, removed: sum.removed + removed };
  }, { added: 0, removed: 0 });
  const word = { running: "running", stopped: "stopped", failed: code ? `exit ${code}` : "failed", done: "" }[state];
  return h("span", { class: "badges" },
    total.added > 0 && h("span", { class: "good" }, `+${total.added}`), total.removed > 0 && h("span", { class: "bad" }, `−${total.removed}`),
    word && h("span", { class: `badge ${state}` }, word),
    item.took !== undefined && h("span", { class: "muted" }, duration(item.took)), state === "running" && h("span", { class: "spinner" }));
}

function subagent(item, session) {
  const steps = item.agent.items.length;
  return h("button", { type: "button", class: "chip", "aria-expanded": String(Boolean(item.unfolded)), onclick: () => session.unfold(item) },
    icon("agent"), h("span", {}, `${visible(item.agent.name)} · ${steps} ${steps === 1 ? "step" : "steps"}`));
}

/** The last lines of what a folded call prints. */
function peek(item) {
  if (item.failed) return oneLine(String(item.result?.error ?? item.result?.stderr ?? ""), 240) || lastLines(output(item));
  return lastLines(item.output);
}

function lastLines(text) {
  const lines = text.slice(-4000).trimEnd().split("\n").slice(-TAIL_LINES);
  return text.trim() && ansi(lines.map((line) => line.slice(-600)).join("\n"));
}

function output(item) {
  const result = item.result ?? {};
  const text = item.output || [result.stdout, result.stderr, result.content, result.output].filter(Boolean).join("\n");
  // What a subagent answers comes between tags that only a model needs.
  return item.tool === "task" ? text.replace(/^<task [^>]*>\s*<task_result>\n?|\n?<\/task_result>\s*<\/task>\s*$/g, "") : text;
}

function body(item) {
  const parts = [];
  if (item.tool === "bash" && item.args?.command) parts.push(block("Command", h("pre", { class: "command", dir: "ltr", tabindex: "0" }, visible(String(item.args.command))), item.args.command));
  else if (item.changes.length > 0) parts.push(...item.changes.map(({ file, lines }) => block(file, show(lines), null)));
  else if (item.tool === "task" && item.args?.prompt) parts.push(block("Prompt", h("pre", { tabindex: "0", dir: "auto" }, visible(String(item.args.prompt))), item.args.prompt));
  else parts.push(block("Arguments", h("pre", { tabindex: "0", dir: "ltr" }, visible(pretty(item.args))), pretty(item.args)));
  const printed = output(item);
  if (printed && !(item.changes.length > 0 && !item.failed)) {
    const shown = printed.slice(-SHOWN_OUTPUT);
    const less = shown.length < printed.length || item.cut;
    parts.push(block(`Output${less ? `, the last ${bytes(shown.length)}` : ""}`, h("pre", { class: "output", tabindex: "0", dir: "ltr" }, ansi(shown)), printed));
  }
  if (item.result?.error) parts.push(block("Error", h("pre", { class: "output bad", tabindex: "0" }, visible(String(item.result.error))), null));
  if (item.result?.note) parts.push(h("p", { class: "muted" }, visible(String(item.result.note))));
  if (item.truncated) parts.push(h("p", { class: "muted" }, "The sidecar shortened this event."));
  return h("div", { class: "tool-body" }, parts);
}

function block(label, content, text) {
  return h("section", { class: "block" }, h("div", { class: "block-head" }, h("span", {}, visible(label)),
    text && button("copy", `Copy: ${label}`, () => copy(text, label.toLowerCase()), { words: false, class: "quiet" })), content);
}

export function pretty(value) {
  return (typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "").slice(0, SHOWN_OUTPUT);
}

function notice(item) {
  return h("p", { class: "notice warn" }, icon("warning"), h("span", {}, `${phase(item.phase)}${item.reason ? `: ${oneLine(item.reason, 400)}` : ""}`));
}

function note(item) {
  return h("p", { class: "notice" }, icon("clock"), h("span", { dir: "auto" }, sentence(item.reason, 400)), h("time", { class: "muted" }, clock(item.at)));
}

function retry(item) {
  const { error, retry_after: wait } = item.data;
  const again = item.times > 1 ? ` (${item.times} times)` : "";
  return h("p", { class: "notice warn" }, icon("warning"), h("span", {}, `${oneLine(error, 400)}${wait ? `, again in ${wait} s` : ""}${again}`));
}

function ask(item) {
  return askLine(item);
}

function prompt(item) {
  const words = { queued: "waits in the queue", withdrawn: "was withdrawn", held: "waits for an API key: send a prompt with one", running: "runs" }[item.state] ?? item.state;
  return h("p", { class: "notice" }, icon("clock"), h("span", {}, `Prompt ${item.promptTurn} ${words}`), item.prompt && h("span", { class: "muted ellipsis" }, oneLine(item.prompt)));
}

function steer(item) {
  return h("div", { class: "said", dir: "auto" }, h("span", { class: "muted" }, "While it ran: "), visible(item.prompt ?? "the turn was told something more"));
}

function end(item, session) {
  const { data } = item;
  if (item.end === "complete") {
    const use = data.usage ?? {};
    const files = data.files_modified?.length ?? 0;
    const facts = [duration(data.duration_ms), files > 0 && `${files} ${files === 1 ? "file" : "files"}`,
      `${count(use.input_tokens)} in · ${count(use.output_tokens)} out`, cost(use.cost), data.finish_reason && data.finish_reason !== "stop" && `ended by ${data.finish_reason}`];
    return h("p", { class: "notice end good" }, icon("check"), h("strong", {}, "Completed"), h("span", { class: "muted" }, facts.filter(Boolean).join(" · ")));
  }
  if (item.end === "cancelled") return h("p", { class: "notice end" }, icon("stop"), h("strong", {}, "Cancelled"), data.reason && h("span", { class: "muted" }, oneLine(data.reason)));
  return h("div", { class: "notice end failed", role: "group" }, icon("cross"),
    h("div", {}, h("strong", {}, "Failed"), " ", h("code", {}, visible(data.code ?? "")), h("p", { dir: "auto" }, visible(String(data.error ?? "")))),
    data.resumable && session.canPrompt && h("button", { type: "button", onclick: () => session.resume() }, "Resume"));
}

const GAPS = { evicted: "they are not kept any more", epoch_changed: "the log is another one", ahead: "the log ends before the place asked for",
  invalid: "the place asked for cannot be read", lagged: "this page was too slow" };

function gap(item) {
  const { missed, reason } = item.data;
  return h("p", { class: "notice failed" }, icon("warning"), h("strong", {}, missed ? `${missed} events are missing` : "Events may be missing"), h("span", {}, GAPS[reason] ?? reason));
}
