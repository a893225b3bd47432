// Every event as it came: to look for one, to copy it, to save all.

import { address, at, curl } from "./api.js";
import { announce, button, copy, h, oneLine, visible } from "./dom.js";
import { bytes, clock } from "./format.js";
import { VirtualList } from "./list.js";

/** What this tab keeps of raw events; of older ones only the line remains. */
const MOST_BYTES = 96 * 1024 * 1024;
const LONGEST_SHOWN = 40_000;

/** All events of a session, in order. */
export class EventLog {
  events = [];
  #bytes = 0;
  #oldest = 0;

  add(event, data) {
    const seq = event.id === null ? null : Number(event.id.slice(event.id.indexOf("-") + 1));
    this.events.push({ key: `e${this.events.length}`, version: 0, id: event.id, seq, type: event.type, raw: event.raw, size: event.raw.length, at: Date.parse(data.timestamp), gap: event.type === "gap" });
    this.#bytes += event.raw.length;
    while (this.#bytes > MOST_BYTES && this.#oldest < this.events.length - 1) {
      const old = this.events[this.#oldest];
      this.#bytes -= old.size;
      Object.assign(old, { raw: null, version: old.version + 1 });
      this.#oldest += 1;
    }
  }
}

export function eventsTab(log, session) {
  let paused = null;
  let type = "";
  const text = h("input", { type: "search", placeholder: "Filter by text", "aria-label": "Filter events by text", oninput: () => draw() });
  const types = h("select", { "aria-label": "Filter events by type", onchange: () => { type = types.value; draw(); } }, h("option", { value: "" }, "All types"));
  const total = h("span", { class: "muted", role: "status" });
  const pause = button(null, "Pause", () => {
    paused = paused === null ? log.events.length : null;
    pause.setAttribute("aria-pressed", String(paused !== null));
    draw();
  }, { "aria-pressed": "false" });
  const list = new VirtualList({ label: "Events", role: "list", render: (item) => line(item, list, session), estimate: () => 27 });
  const element = h("div", { class: "events" },
    h("div", { class: "toolbar" }, text, types, pause,
      button("down", "Save JSONL", () => save(log, session.id)), button("copy", "curl", () => copy(curl(`${at`sessions/${session.id}/stream`}?include=reasoning`, "N"), "the command")), total),
    list.element);
  const known = new Set();
  const draw = () => {
    const all = paused === null ? log.events : log.events.slice(0, paused);
    for (const event of all.slice(draw.seen ?? 0)) {
      if (known.has(event.type)) continue;
      known.add(event.type);
      types.append(h("option", { value: event.type }, event.type));
    }
    draw.seen = all.length;
    const words = text.value.toLowerCase();
    const found = type === "" && words === "" ? all : all.filter((event) => (type === "" || event.type === type) && (words === "" || event.raw?.toLowerCase().includes(words)));
    total.textContent = found.length === all.length ? `${all.length} events` : `${found.length} of ${all.length} events`;
    list.set(found);
  };
  return { element, draw, list };
}

function line(item, list, session) {
  const open = () => {
    Object.assign(item, { open: !item.open, version: item.version + 1 });
    list.schedule();
  };
  const head = h("button", { type: "button", class: "event", "aria-expanded": String(Boolean(item.open)), onclick: open },
    h("span", { class: "no" }, item.seq ?? "–"), h("time", { class: "muted" }, clock(item.at, true)), h("span", { class: `type ${item.type}` }, visible(item.type)),
    h("span", { class: "muted size" }, bytes(item.size)), h("code", { class: "ellipsis" }, item.raw === null ? "not kept in this tab any more" : oneLine(item.raw.slice(0, 400), 300)));
  return h("div", { class: `row event-row${item.gap ? " gap-row" : ""}`, role: "listitem", "data-id": item.id ?? "" }, head, item.open && item.raw !== null && detail(item, session));
}

function detail(item, session) {
  let words = item.raw;
  try {
    words = JSON.stringify(JSON.parse(item.raw), null, 2);
  } catch {
    // Shown as it came.
  }
  const after = item.seq === null ? "" : `&last_event_id=${item.id.slice(0, item.id.indexOf("-"))}-${item.seq - 1}`;
  return h("div", { class: "tool-body" },
    h("div", { class: "block-head" }, h("code", { class: "grow" }, item.id ?? "without an id"),
      button("copy", "JSON", () => copy(item.raw, "the event"), { class: "quiet" }),
      button("copy", "curl from here", () => copy(curl(`${at`sessions/${session.id}/stream`}?include=reasoning${after}`, "N"), "the command"), { class: "quiet" })),
    h("pre", { tabindex: "0", dir: "ltr" }, visible(words.slice(0, LONGEST_SHOWN)), words.length > LONGEST_SHOWN && `\n… ${bytes(words.length - LONGEST_SHOWN)} more`));
}

/** One line of JSON per event, as a log shipper wants it. */
function save(log, id) {
  const lines = log.events.filter(({ raw }) => raw !== null).map(({ id: event, type, raw }) => `{"id":${JSON.stringify(event)},"event":${JSON.stringify(type)},"data":${raw}}\n`);
  const link = h("a", { href: URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" })), download: `${id}.jsonl` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  announce(`Saved ${lines.length} events of ${address("").host}`);
}

