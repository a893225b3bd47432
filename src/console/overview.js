// The list of sessions at the side: filters, search, and what can be done with each.

import { actions, openMenu } from "./actions.js";
import { button, h, icon, oneLine, pressing, setText, visible } from "./dom.js";
import { age, cost, count } from "./format.js";
import { showAgain } from "./memory.js";
import { active, diagnosis, statusWord } from "./status.js";

const FILTERS = { all: "All", active: "Running", waiting_input: "Waiting", failed: "Failed" };

export function overview(sessions) {
  let filter = "all";
  let selected = null;
  const search = h("input", { type: "search", id: "search", placeholder: "Search sessions", "aria-label": "Search sessions", oninput: () => draw() });
  const chips = Object.entries(FILTERS).map(([name, label]) => h("button", { type: "button", class: "chip", "aria-pressed": String(name === filter), onclick: () => choose(name) }, label, h("span", { class: "number" })));
  const rows = h("ul", { class: "session-rows" });
  const note = h("p", { class: "muted hint", role: "status" });
  const older = button(null, "Show older ones", () => sessions.showMore(), { class: "quiet", hidden: true });
  const again = button(null, "", () => { showAgain(); draw(); }, { class: "quiet", hidden: true });
  const element = h("nav", { class: "sessions", "aria-label": "Sessions" },
    h("div", { class: "sessions-head" }, search, h("div", { class: "chips", role: "group", "aria-label": "Filter" }, chips)), rows, note, h("div", { class: "list-end" }, older, again));
  const choose = (name) => {
    filter = name;
    chips.forEach((chip, index) => chip.setAttribute("aria-pressed", String(Object.keys(FILTERS)[index] === name)));
    draw();
  };
  const fits = (session, name) => name === "all" || (name === "active" ? active(session) : session.status === name);
  const shown = () => {
    const words = search.value.trim().toLowerCase();
    return sessions.shown().filter((session) => {
      const text = `${session.session_id} ${session.title ?? ""} ${session.status} ${session.current_tool ?? ""} ${diagnosis(session, sessions.sentences.get(session.session_id))}`;
      return fits(session, filter) && (words === "" || text.toLowerCase().includes(words));
    });
  };
  const kept = new Map();
  const draw = () => {
    if (pressed()) return;
    const all = sessions.shown();
    const found = shown();
    const keys = new Set(found.map((session) => session.session_id));
    // First, so that no other line has to move.
    for (const [key, entry] of kept) {
      if (keys.has(key)) continue;
      entry.element.remove();
      kept.delete(key);
    }
    found.forEach((session, index) => {
      let entry = kept.get(session.session_id);
      if (!entry) kept.set(session.session_id, entry = line(session.session_id, sessions));
      entry.update(session, session.session_id === selected);
      if (rows.children[index] !== entry.element) rows.insertBefore(entry.element, rows.children[index] ?? null);
    });
    chips.forEach((chip, index) => {
      const name = Object.keys(FILTERS)[index];
      const number = name === "all" ? 0 : all.filter((session) => fits(session, name)).length;
      setText(chip.lastChild, String(number));
      chip.lastChild.hidden = number === 0;
    });
    const away = sessions.list.length - all.length;
    setText(note, !sessions.reached ? "The sidecar does not answer." : all.length === 0 ? "No session yet." : found.length === 0 ? "Nothing fits." : "");
    note.hidden = note.textContent === "";
    older.hidden = !sessions.more;
    again.hidden = away <= 0;
    setText(again, `Show ${away} taken off the list`);
  };
  const pressed = pressing(element, () => draw());
  sessions.addEventListener("change", draw);
  setInterval(draw, 10_000);
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

function line(id, sessions) {
  const dot = h("span", { class: "dot" });
  const title = h("span", { class: "title ellipsis", dir: "auto" });
  const word = h("span", { class: "sr-only" });
  const time = h("time", { class: "muted" });
  const what = h("span", { class: "what ellipsis", dir: "auto" });
  const figures = h("span", { class: "muted figures" });
  const bar = h("span", { class: "bar" }, h("span"));
  const link = h("a", { href: `#/s/${encodeURIComponent(id)}` }, dot, title, time, word, what, figures, bar);
  const more = h("button", { type: "button", class: "quiet more", "aria-haspopup": "menu", "aria-label": `More for ${visible(id)}`, onclick: () => openMenu(more, actions(sessions.get(id), sessions)) }, icon("more"));
  const element = h("li", {}, link, more);
  return {
    element,
    update(session, current) {
      dot.className = `dot ${session.status}`;
      setText(title, oneLine(session.title || visible(id), 120));
      setText(time, age(session.created_at));
      const words = diagnosis(session, sessions.sentences.get(id));
      setText(what, words || statusWord(session.status));
      what.title = words;
      const tokens = (session.usage?.input_tokens ?? 0) + (session.usage?.output_tokens ?? 0);
      setText(figures, [tokens > 0 && `${count(tokens)} tok`, cost(session.usage?.cost)].filter(Boolean).join(" · "));
      bar.hidden = !active(session) || !session.progress;
      bar.firstChild.style.width = `${session.progress}%`;
      setText(word, `, ${statusWord(session.status)}`);
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    },
  };
}
