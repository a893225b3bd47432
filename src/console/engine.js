// The child and the sidecar itself: how they are, and why.

import { about, call, has, request } from "./api.js";
import { graph, Series } from "./chart.js";
import { confirm } from "./dialogs.js";
import { announce, button, h, replace, visible } from "./dom.js";
import { bytes, clock, count, duration } from "./format.js";

const EVERY_MS = 2000;

const rate = (name, scale = 1) => ({ rates }) => rates[name] * scale;
const percent = (value) => `${value.toFixed(1)} %`;
const perSecond = (value) => value.toFixed(value < 10 ? 1 : 0);

/** What is drawn over time: title, how to read it from what was asked, how to write it, and where it should not go. */
const GRAPHS = [
  ["Memory of the agent", ({ engine, metrics }) => engine.memory?.used_bytes ?? metrics.sidecar_engine_processes_resident_memory_bytes ?? engine.rss_bytes, bytes, ({ engine }) => engine.memory?.limit_bytes ?? null],
  ["CPU of the agent", rate("sidecar_engine_cpu_seconds_total", 100), percent],
  ["Active sessions", ({ metrics }) => metrics.sidecar_sessions_active, count, ({ metrics }) => metrics.sidecar_sessions_limit],
  ["Events / s", rate("sidecar_events_total"), perSecond],
  ["Model calls / min", rate("gen_ai_client_operation_duration_seconds_count", 60), perSecond],
  ["Tool calls / min", rate("sidecar_tool_duration_seconds_count", 60), perSecond],
  ["Hosts refused / min", ({ metrics, rates }) => (metrics.sidecar_egress_requests_total === undefined ? NaN : rates.egress_refused * 60), perSecond],
  ["Open streams", ({ metrics }) => (metrics.sidecar_streams_open ?? 0) + (metrics.sidecar_websockets_open ?? 0), count],
  ["Memory of the sidecar", ({ metrics }) => metrics.process_resident_memory_bytes, bytes],
  ["CPU of the sidecar", rate("process_cpu_seconds_total", 100), percent],
  ["Journal", ({ metrics }) => metrics.sidecar_journal_bytes, bytes],
];

/** What was seen stays when another page is shown meanwhile. */
const series = GRAPHS.map(() => new Series());

export function engineView() {
  let before = null;
  let timer = null;
  let closed = false;
  let told = "";
  const state = h("div", { class: "tiles" });
  const reason = h("p", { class: "notice", role: "status" });
  const graphs = h("div", { class: "graphs" });
  const details = h("div", { class: "engine-details" });
  const operate = (name, question) => async () => {
    if (question && !(await confirm(question, name))) return;
    try {
      await call("POST", `engine/${name.toLowerCase()}`);
      announce(`${name}: done`);
    } catch (error) {
      announce(error.message, "error");
    }
    look();
  };
  const element = h("section", { class: "engine-view scroller", "aria-labelledby": "engine-title" },
    h("header", { class: "page-head" }, h("h1", { id: "engine-title", tabindex: "-1" }, "Engine"), h("span", { class: "grow" }),
      button("play", "Start", operate("Start")), button("turn", "Restart", operate("Restart", "Restart the agent's process? Turns that run go on afterwards.")),
      button("stop", "Stop", operate("Stop", "Stop the agent's process, and keep it stopped? Turns that run end."), { class: "danger" })),
    reason, state, graphs, details);

  async function look() {
    clearTimeout(timer);
    try {
      const [engine, text, ready, debug] = await Promise.all([call("GET", "engine/status"), request("metrics", { accept: "text/plain" }).then((answer) => answer.text()),
        request("ready").then((answer) => answer.json()), has("GET", "/debug/state") ? call("GET", "debug/state") : null]);
      const metrics = read(text);
      metrics.egress_refused = refusals(metrics).reduce((sum, [, number]) => sum + number, 0);
      const at = performance.now();
      const passed = before ? (at - before.at) / 1000 : 0;
      // A figure that is not there yet counts from nothing.
      const rates = new Proxy({}, { get: (_, name) => (passed > 0 ? Math.max(0, ((metrics[name] ?? 0) - (before.metrics[name] ?? 0)) / passed) : NaN) });
      draw({ engine, metrics, rates, ready, debug });
      before = { metrics, at };
    } catch (error) {
      reason.className = "notice failed";
      reason.textContent = visible(error.message);
    }
    if (!closed) timer = setTimeout(look, document.hidden ? EVERY_MS * 5 : EVERY_MS);
  }

  function draw(seen) {
    const { engine, ready } = seen;
    reason.className = `notice ${ready.error ? "warn" : "good"}`;
    reason.textContent = ready.error ? `Not ready: ${visible(ready.error)}` : "Ready for new sessions.";
    replace(state, tiles(engine).map(([label, value, kind]) => h("div", { class: "tile" }, h("span", { class: "muted" }, label), h("strong", { class: kind ? `state-${kind}` : null }, visible(String(value))))));
    replace(graphs, GRAPHS.map(([title, value, write, limit], index) => {
      series[index].add(value(seen));
      const last = series[index].values.at(-1);
      const words = last === undefined ? "–" : write(last);
      const most = limit?.(seen) ?? null;
      return h("figure", { class: "card" }, h("figcaption", {}, h("span", { class: "muted" }, title), h("strong", {}, words, most !== null && h("span", { class: "muted" }, ` of ${write(most)}`))),
        graph(series[index], { label: `${title}: ${words}`, limit: most }));
    }));
    // A text that somebody is selecting is left alone while it stays the same.
    const now = JSON.stringify([{ ...engine, uptime_secs: 0, rss_bytes: 0, memory: engine.memory?.pressure }, seen.debug?.engine, seen.metrics.labels.sidecar_egress_requests_total]);
    if (now === told) return;
    told = now;
    replace(details, facts(engine), starts(seen), egress(seen), lastWords(seen.debug?.engine?.stderr));
  }

  look();
  return {
    element,
    shown: () => element.querySelector("h1").focus({ preventScroll: true }),
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

function tiles(engine) {
  return [["State", engine.state, engine.state], ["Up for", engine.uptime_secs === null ? "–" : duration(engine.uptime_secs * 1000).replace(/ min .*/, " min")],
    ["Process no.", engine.generation], ["Restarts", engine.restarts], ["OpenCode", engine.version ?? "–"], ["Memory", engine.memory?.pressure ?? "no limit", engine.memory && (engine.memory.pressure === "normal" ? "ready" : "failed")],
    ["Sandbox", engine.sandbox?.level ?? "–", engine.sandbox?.level === "full" ? "ready" : "failed"], ["Sidecar", about().version ?? "–"]];
}

function facts(engine) {
  const { sandbox, warm_up: warm, memory } = engine;
  const rows = [["Process", engine.pid ?? "–"], ["Address", engine.url ?? "–"], ["Workspace", engine.project_dir],
    ["Memory", memory ? `limit ${bytes(memory.limit_bytes)}, from ${memory.source.replaceAll("_", " ")}` : "no limit"],
    ["Sandbox", sandbox ? `${sandbox.mode}, reached ${sandbox.level}${sandbox.landlock_abi ? `, Landlock ABI ${sandbox.landlock_abi}` : ""}${sandbox.seccomp ? ", seccomp" : ""}${sandbox.reason ? `: ${sandbox.reason}` : ""}` : "–"],
    ["Warm-up", warm ? `${warm.mode}, ${duration(warm.ms)}${warm.first_output_ms === null ? "" : `, first output after ${duration(warm.first_output_ms)}`}` : "–"]];
  return h("section", { class: "card" }, h("h2", {}, "Now"), h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, visible(String(value)))])));
}

/** Why there were several children. */
function starts({ engine, debug, metrics }) {
  const ended = debug?.engine?.ended ?? [];
  const causes = Object.entries(metrics.labels.sidecar_engine_exits_total ?? {}).filter(([, number]) => number > 0).map(([cause, number]) => `${cause.replaceAll("_", " ")} ${number}`);
  return h("section", { class: "card" }, h("h2", {}, "Restarts", h("span", { class: "muted" }, ` ${engine.restarts}${engine.recycled ? `, ${engine.recycled} to free memory` : ""}${causes.length > 0 ? ` · ${causes.join(" · ")}` : ""}`)),
    ended.length === 0 ? h("p", { class: "muted" }, engine.last_error ? visible(engine.last_error) : "None: the first process still runs.")
      : h("ol", { class: "ended" }, ended.map(({ at, generation, cause, reason: why }) => h("li", {}, h("time", { class: "muted" }, clock(Date.parse(at))), h("span", { class: "muted" }, `process no. ${generation}`),
        h("span", {}, h("strong", {}, cause.replaceAll("_", " ")), ` ${visible(why)}`)))));
}

/** What came of the requests of the agent's tools that policy refused, by reason. */
function refusals({ labels }) {
  const REFUSED = ["none", "not_listed", "address", "own_port", "credential"];
  return Object.entries(labels.sidecar_egress_requests_total ?? {}).filter(([outcome, number]) => REFUSED.includes(outcome) && number > 0);
}

/** Why hosts were refused; nothing where the network is open. */
function egress({ metrics }) {
  const mode = about().egress ?? "open";
  if (mode === "open") return null;
  const WORDS = { none: "no host is allowed", not_listed: "not on the list", address: "a private or local address", own_port: "a port of the sidecar", credential: "not a session's credential" };
  const allowed = metrics.labels.sidecar_egress_requests_total?.allowed ?? 0;
  const refused = refusals(metrics);
  return h("section", { class: "card" }, h("h2", {}, "Egress", h("span", { class: "muted" }, ` EGRESS=${mode} · ${count(allowed)} allowed`)),
    refused.length === 0 ? h("p", { class: "muted" }, "Nothing was refused.")
      : h("dl", {}, refused.map(([outcome, number]) => [h("dt", {}, WORDS[outcome]), h("dd", {}, count(number))])));
}

function lastWords(lines) {
  if (!lines) return null;
  return h("section", { class: "card" }, h("h2", {}, "Last lines of stderr"), lines.length === 0 ? h("p", { class: "muted" }, "Nothing was said.") : h("pre", { class: "output", tabindex: "0", dir: "ltr" }, visible(lines.join("\n"))));
}

/** The figures of Prometheus' text format: sums over labels, and by the first label in `labels`. */
function read(text) {
  const found = { labels: {} };
  for (const [, name, label, value] of text.matchAll(/^([a-z_]+)(?:\{[a-z_]+="([^"]*)"[^}]*\})? (\S+)$/gm)) {
    found[name] = (found[name] ?? 0) + Number(value);
    if (label !== undefined) {
      const of = (found.labels[name] ??= {});
      of[label] = (of[label] ?? 0) + Number(value);
    }
  }
  return found;
}
