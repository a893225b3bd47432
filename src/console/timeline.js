// What took how long: model calls with their tokens, tools and waits as bars below each other.

import { h, visible } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { VirtualList } from "./list.js";
import { summary } from "./rows.js";
import { spend } from "./spend.js";

export function timelineTab(conversation, session) {
  let turn = null;
  let bounds = { from: 0, to: 1 };
  let seen = "";
  const turns = h("select", { "aria-label": "Turn", onchange: () => { turn = Number(turns.value); draw(true); } });
  const sums = h("span", { class: "muted", role: "status" });
  const scale = h("div", { class: "scale", "aria-hidden": "true" });
  const legend = h("span", { class: "legend muted", "aria-hidden": "true" }, ["model", "tool", "wait"].map((kind) => h("span", {}, h("span", { class: `swatch span ${kind}` }), kind)));
  const list = new VirtualList({ label: "Timeline", role: "list", render: (entry) => bar(entry, bounds, session), estimate: () => 28 });
  const element = h("div", { class: "timeline" }, h("div", { class: "toolbar" }, turns, sums, h("span", { class: "grow" }), legend), scale, list.element);
  const tokens = spend(session.id, () => draw(true));

  function draw(all = false) {
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
    tokens.of(chosen, spans, Boolean(ended));
    const now = `${chosen} ${from} ${to} ${spans.length}`;
    if (!all && now === seen) return;
    seen = now;
    bounds = { from, to };
    const sum = (kind) => duration(covered(spans.filter((span) => span.kind === kind && span.depth === 0), to));
    const use = ended?.data?.usage;
    const waits = spans.some((span) => span.kind === "wait");
    sums.textContent = [`${duration(to - from)} in all`, `model ${sum("model")}`, `tools ${sum("tool")}`, waits && `waits ${sum("wait")}`, use && `${count(use.input_tokens)} in · ${count(use.output_tokens)} out`].filter(Boolean).join(" · ");
    scale.replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((part) => h("span", {}, duration((to - from) * part))));
    list.set(spans.map((span, index) => ({ key: `${chosen}-${index}`, version: `${to} ${span.usage ? 1 : 0}`, span })));
  }
  return { element, draw, list };
}

/** How long at least one of them was going on: tools run side by side. */
function covered(spans, to) {
  let ms = 0;
  let until = 0;
  for (const span of spans.toSorted((a, b) => a.from - b.from)) {
    const end = Math.min(span.to ?? to, to);
    ms += Math.max(0, end - Math.max(span.from, until));
    until = Math.max(until, end);
  }
  return ms;
}

function bar({ span }, { from, to }, session) {
  const end = Math.min(span.to ?? to, to);
  const label = span.item && span.kind === "tool" ? `${span.label} ${summary(span.item)}` : span.label;
  const drawn = h("span", { class: `span ${span.kind}${span.item?.failed ? " failed" : ""}${span.to === null ? " open" : ""}` });
  const place = (time) => ((time - from) / (to - from)) * 100;
  drawn.style.left = `${Math.min(99.5, place(span.from))}%`;
  drawn.style.width = `max(3px, ${place(end) - place(span.from)}%)`;
  if (span.kind === "model" && span.first > span.from) {
    const wait = h("span", { class: "first" });
    wait.style.width = `${Math.min(100, ((span.first - span.from) / Math.max(1, end - span.from)) * 100)}%`;
    drawn.append(wait);
  }
  const used = span.usage ? `${count(span.usage.input_tokens + span.usage.cache_read_tokens)} → ${count(span.usage.output_tokens)}` : "";
  const words = `${label}, begins at ${clock(span.from, true)}, takes ${duration(end - span.from)}${span.kind === "model" ? `, first words after ${duration(span.first - span.from)}` : ""}${span.usage ? `, ${span.usage.input_tokens} tokens in, ${span.usage.cache_read_tokens} from cache, ${span.usage.output_tokens} out` : ""}`;
  const content = [h("span", { class: "label ellipsis" }, visible(label)), h("span", { class: "track" }, drawn), h("span", { class: "muted used" }, used), h("span", { class: "muted took" }, duration(end - span.from))];
  const row = span.item ? h("button", { type: "button", class: "bar-row", title: visible(words), onclick: () => session.reveal(span.item) }, content) : h("div", { class: "bar-row", title: words }, content);
  row.style.setProperty("--depth", String(span.depth));
  return h("div", { class: "row", role: "listitem" }, row);
}
