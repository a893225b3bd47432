// What took how long: model calls, tools and waits as bars below each other.

import { h, visible } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { VirtualList } from "./list.js";
import { summary } from "./rows.js";

export function timelineTab(conversation, session) {
  let turn = null;
  let bounds = { from: 0, to: 1 };
  const turns = h("select", { "aria-label": "Turn", onchange: () => { turn = Number(turns.value); draw(true); } });
  const sums = h("span", { class: "muted", role: "status" });
  const scale = h("div", { class: "scale", "aria-hidden": "true" });
  const list = new VirtualList({ label: "Timeline", role: "list", render: (entry) => bar(entry, bounds, session), estimate: () => 28 });
  const element = h("div", { class: "timeline" }, h("div", { class: "toolbar" }, turns, sums), scale, list.element);
  let entries = [];
  const draw = (all = false) => {
    while (turns.options.length < conversation.turn) turns.append(h("option", { value: turns.options.length + 1 }, `Turn ${turns.options.length + 1}`));
    const chosen = turn ?? conversation.turn;
    turns.value = String(chosen);
    const begins = conversation.items.find((item) => item.kind === "turn" && item.turn === chosen);
    const ended = conversation.items.find((item) => item.kind === "end" && item.turn === chosen);
    if (!begins) return;
    const from = begins.at;
    const to = Math.max(from + 100, ended?.at ?? Date.now());
    const until = conversation.items.find((item) => item.kind === "turn" && item.turn === chosen + 1)?.at ?? Infinity;
    const spans = conversation.spans.filter((span) => span.from >= from && span.from < until);
    const changed = all || to !== bounds.to || from !== bounds.from || spans.length !== entries.length;
    if (!changed) return;
    bounds = { from, to };
    entries = spans.map((span, index) => ({ key: `${chosen}-${index}`, version: to, span }));
    const sum = (kind) => duration(spans.filter((span) => span.kind === kind && span.depth === 0).reduce((ms, span) => ms + ((span.to ?? to) - span.from), 0));
    const use = ended?.data?.usage;
    sums.textContent = [`${duration(to - from)} in all`, `model ${sum("model")}`, `tools ${sum("tool")}`, use && `${count(use.input_tokens)} in · ${count(use.output_tokens)} out`].filter(Boolean).join(" · ");
    scale.replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((part) => h("span", {}, duration((to - from) * part))));
    list.set(entries);
  };
  return { element, draw, list };
}

function bar({ span }, { from, to }, session) {
  const end = span.to ?? to;
  const label = span.item && span.kind === "tool" ? `${span.label} ${summary(span.item)}` : span.kind === "model" ? "model" : span.label;
  const drawn = h("span", { class: `span ${span.kind}${span.item?.failed ? " failed" : ""}` });
  const place = (time) => ((time - from) / (to - from)) * 100;
  drawn.style.left = `${place(span.from)}%`;
  drawn.style.width = `max(3px, ${place(end) - place(span.from)}%)`;
  if (span.kind === "model" && span.first > span.from) {
    const wait = h("span", { class: "first" });
    wait.style.width = `${Math.min(100, ((span.first - span.from) / Math.max(1, end - span.from)) * 100)}%`;
    drawn.append(wait);
  }
  const words = `${label}, begins at ${clock(span.from, true)}, takes ${duration(end - span.from)}${span.kind === "model" ? `, first words after ${duration(span.first - span.from)}` : ""}`;
  const content = [h("span", { class: "label ellipsis" }, visible(label)), h("span", { class: "track" }, drawn), h("span", { class: "muted took" }, duration(end - span.from))];
  const row = span.item ? h("button", { type: "button", class: "bar-row", title: visible(words), onclick: () => session.reveal(span.item) }, content) : h("div", { class: "bar-row", title: words }, content);
  row.style.setProperty("--depth", String(span.depth));
  return h("div", { class: "row", role: "listitem" }, row);
}
