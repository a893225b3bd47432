// The child and the sidecar itself: how they are, and why.

import { about, call, request } from "./api.js";
import { graph, Series } from "./chart.js";
import { announce, button, h, replace, visible } from "./dom.js";
import { bytes, count, duration } from "./format.js";
import { confirm } from "./setup.js";

const EVERY_MS = 2000;

/** What is drawn over time: title, how to read it from what was asked, how to write it. */
const GRAPHS = [
  ["Memory of the child", ({ engine }) => engine.memory?.used_bytes ?? engine.rss_bytes, bytes, ({ engine }) => engine.memory?.limit_bytes ?? null],
  ["Memory of the sidecar", ({ metrics }) => metrics.process_resident_memory_bytes, bytes],
  ["Active sessions", ({ metrics }) => metrics.sidecar_sessions_active, count, ({ metrics }) => metrics.sidecar_sessions_limit],
  ["Open streams", ({ metrics }) => metrics.sidecar_streams_open, count],
  ["Events a second", ({ rates }) => rates.sidecar_journal_events_total, (value) => value.toFixed(1)],
  ["Processor of the sidecar", ({ rates }) => rates.process_cpu_seconds_total * 100, (value) => `${value.toFixed(1)} %`],
  ["Journal", ({ metrics }) => metrics.sidecar_journal_bytes, bytes],
];

export function engineView() {
  const series = GRAPHS.map(() => new Series());
  let before = null;
  let timer = null;
  let closed = false;
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
      const [engine, text, ready] = await Promise.all([call("GET", "engine/status"), request("metrics", { accept: "text/plain" }).then((answer) => answer.text()), request("ready").then((answer) => answer.json())]);
      const metrics = read(text);
      const at = performance.now();
      const rates = {};
      for (const name of ["sidecar_journal_events_total", "process_cpu_seconds_total"]) rates[name] = before ? Math.max(0, (metrics[name] - before.metrics[name]) / ((at - before.at) / 1000)) : NaN;
      before = { metrics, at };
      draw({ engine, metrics, rates, ready });
    } catch (error) {
      reason.className = "notice failed";
      reason.textContent = visible(error.message);
    }
    if (!closed) timer = setTimeout(look, document.hidden ? EVERY_MS * 5 : EVERY_MS);
  }

  function draw(seen) {
    const { engine, ready } = seen;
    reason.className = `notice ${ready.error ? "warn" : "good"}`;
    reason.textContent = ready.error ? `Not ready: ${visible(ready.error)}` : "Ready: sessions are taken.";
    replace(state, [["State", engine.state, engine.state], ["OpenCode", engine.version ?? "–"], ["Generation", engine.generation], ["Restarts", engine.restarts + (engine.recycled ? `, ${engine.recycled} for memory` : "")],
      ["Up for", engine.uptime_secs === null ? "–" : duration(engine.uptime_secs * 1000).replace(/ min .*/, " min")], ["Sandbox", engine.sandbox?.level ?? "–", engine.sandbox?.level === "full" ? "ready" : "failed"], ["Sidecar", about().version ?? "–"]]
      .map(([label, value, kind]) => h("div", { class: "tile" }, h("span", { class: "muted" }, label), h("strong", { class: kind ? `state-${kind}` : null }, visible(String(value))))));
    replace(graphs, GRAPHS.map(([title, value, write, limit], index) => {
      series[index].add(value(seen));
      const last = series[index].values.at(-1);
      return h("figure", { class: "card" }, h("figcaption", {}, h("span", { class: "muted" }, title), h("strong", {}, last === undefined ? "–" : write(last))),
        graph(series[index], { label: `${title}: ${last === undefined ? "not known" : write(last)}`, limit: limit?.(seen) ?? null }));
    }));
    const rows = [["Process", engine.pid ?? "–"], ["Address", engine.url ?? "–"], ["Workspace", engine.project_dir], ["Last error", engine.last_error ?? "none"],
      ["Memory", engine.memory ? `${bytes(engine.memory.used_bytes)} of ${bytes(engine.memory.limit_bytes)} (${engine.memory.source}), pressure ${engine.memory.pressure}` : "no limit"],
      ["Sandbox", engine.sandbox ? `${engine.sandbox.mode}, reached ${engine.sandbox.level}${engine.sandbox.landlock_abi ? `, Landlock ABI ${engine.sandbox.landlock_abi}` : ""}${engine.sandbox.seccomp ? ", seccomp" : ""}${engine.sandbox.reason ? `: ${engine.sandbox.reason}` : ""}` : "–"],
      ["Warm-up", engine.warm_up ? `${engine.warm_up.mode}, ${duration(engine.warm_up.ms)}${engine.warm_up.first_output_ms === null ? "" : `, first output after ${duration(engine.warm_up.first_output_ms)}`}` : "–"]];
    replace(details, h("dl", { class: "card" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, visible(String(value)))])));
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

/** The figures of Prometheus' text format that have no labels. */
function read(text) {
  return Object.fromEntries([...text.matchAll(/^([a-z_]+) (\S+)$/gm)].map(([, name, value]) => [name, Number(value)]));
}
