// All sessions: read again and again while the page is looked at, and shown as a list that can be searched.

import { call } from "./api.js";
import { button, h, oneLine, replace, visible } from "./dom.js";
import { age, cost, count } from "./format.js";
import { phase } from "./rows.js";

const EVERY_MS = 2000;
const PAGE = 100;
const FILTERS = { all: "All", active: "Running", waiting_input: "Waiting", failed: "Failed" };

/** The newest sessions, kept fresh. Views subscribe; nothing is asked for while nobody looks. */
export class Sessions extends EventTarget {
  list = [];
  more = null;
  reached = true;
  #timer = null;
  #pages = 1;

  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
    this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    try {
      const found = [];
      let cursor = null;
      for (let page = 0; page < this.#pages; page += 1) {
        const answer = await call("GET", `sessions?limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`);
        found.push(...answer.sessions);
        cursor = answer.next_cursor;
        if (!cursor) break;
      }
      this.list = found;
      this.more = cursor;
      this.reached = true;
    } catch {
      this.reached = false;
    }
    this.dispatchEvent(new Event("change"));
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.refresh(), EVERY_MS);
  }

  showMore() {
    this.#pages += 1;
    return this.refresh();
  }

  get(id) {
    return this.list.find((session) => session.session_id === id);
  }
}

export const active = (session) => ["pending", "running", "waiting_input"].includes(session.status);

const WORDS = { pending: "begins", running: "running", waiting_input: "waits for you", completed: "completed", failed: "failed", cancelled: "cancelled" };

export const statusWord = (status) => WORDS[status] ?? status;

/** What a session does or why it ended, in one sentence. */
export function diagnosis(session) {
  if (session.diagnosis?.sentence) return session.diagnosis.sentence;
  if (session.status === "waiting_input") return "Waits for an answer";
  if (session.phase) return `${phase(session.phase)}${session.reason ? `: ${session.reason}` : ""}`;
  if (session.current_tool) return `Runs ${session.current_tool}`;
  if (session.status === "failed") return session.error?.error ?? session.error?.message ?? session.error?.code ?? "Failed";
  if (active(session)) return "The model is at work";
  return "";
}

/** The list at the side. */
export function sessionList(sessions) {
  let filter = "all";
  let selected = null;
  const search = h("input", { type: "search", id: "search", placeholder: "Search sessions", "aria-label": "Search sessions", oninput: () => draw() });
  const chips = Object.entries(FILTERS).map(([name, label]) => h("button", { type: "button", class: "chip", "aria-pressed": String(name === filter), onclick: () => choose(name) }, label));
  const rows = h("ul", { class: "session-rows" });
  const note = h("p", { class: "muted hint", role: "status" });
  const element = h("nav", { class: "sessions", "aria-label": "Sessions" },
    h("div", { class: "sessions-head" }, search, h("div", { class: "chips", role: "group", "aria-label": "Filter" }, chips)), rows, note);
  const choose = (name) => {
    filter = name;
    chips.forEach((chip, index) => chip.setAttribute("aria-pressed", String(Object.keys(FILTERS)[index] === name)));
    draw();
  };
  const shown = () => {
    const words = search.value.trim().toLowerCase();
    return sessions.list.filter((session) => {
      const fits = filter === "all" || (filter === "active" ? active(session) : session.status === filter);
      const text = `${session.session_id} ${session.title ?? ""} ${session.status} ${diagnosis(session)}`;
      return fits && (words === "" || text.toLowerCase().includes(words));
    });
  };
  const kept = new Map();
  const draw = () => {
    const found = shown();
    const keys = new Set(found.map((session) => session.session_id));
    for (const key of kept.keys()) if (!keys.has(key)) kept.delete(key);
    found.forEach((session, index) => {
      let entry = kept.get(session.session_id);
      if (!entry) kept.set(session.session_id, entry = line(session.session_id));
      entry.update(session, session.session_id === selected);
      if (rows.children[index] !== entry.element) rows.insertBefore(entry.element, rows.children[index] ?? null);
    });
    while (rows.children.length > found.length) rows.lastChild.remove();
    const empty = !sessions.reached ? "The sidecar does not answer." : sessions.list.length === 0 ? "No session yet." : found.length === 0 ? "Nothing fits." : "";
    replace(note, empty, sessions.more && button(null, "Show older ones", () => sessions.showMore(), { class: "quiet" }));
  };
  sessions.addEventListener("change", draw);
  const select = (id) => {
    selected = id;
    draw();
    rows.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  };
  const move = (step) => {
    const found = shown();
    if (found.length === 0) return;
    const index = found.findIndex((session) => session.session_id === selected);
    const next = found[Math.max(0, Math.min(found.length - 1, index + step))];
    location.hash = `#/s/${encodeURIComponent(next.session_id)}`;
  };
  return { element, select, move, search };
}

function line(id) {
  const dot = h("span", { class: "dot" });
  const title = h("span", { class: "title ellipsis", dir: "auto" });
  const word = h("span", { class: "sr-only" });
  const time = h("time", { class: "muted" });
  const what = h("span", { class: "what ellipsis", dir: "auto" });
  const figures = h("span", { class: "muted figures" });
  const bar = h("span", { class: "bar" }, h("span"));
  const link = h("a", { href: `#/s/${encodeURIComponent(id)}` }, dot, title, time, word, what, figures, bar);
  const element = h("li", {}, link);
  const set = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };
  return {
    element,
    update(session, current) {
      dot.className = `dot ${session.status}`;
      set(title, oneLine(session.title || visible(id), 120));
      set(time, age(session.created_at));
      set(what, oneLine(diagnosis(session) || statusWord(session.status), 160));
      const tokens = (session.usage?.input_tokens ?? 0) + (session.usage?.output_tokens ?? 0);
      set(figures, [tokens > 0 && count(tokens), cost(session.usage?.cost)].filter(Boolean).join(" · "));
      bar.hidden = !active(session) || session.progress === 0;
      bar.firstChild.style.width = `${session.progress}%`;
      set(word, statusWord(session.status));
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    },
  };
}
