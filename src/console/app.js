// Puts the parts together: which view is shown, keys, the theme.

import { greet, request } from "./api.js";
import { tick } from "./asks.js";
import { announce, h, icon, replace, visible } from "./dom.js";
import { engineView } from "./engine.js";
import { sessionView } from "./session.js";
import { overview } from "./overview.js";
import { Sessions } from "./sessions.js";
import { startView } from "./start.js";

const THEME = "opencode-sidecar theme";
const THEMES = ["auto", "dark", "light"];
const KEYS = [["n", "new session"], ["/", "search sessions"], ["j k", "next and previous session"], ["g", "engine"], ["1 – 4", "views of a session"], ["c", "write a prompt"],
  ["f", "follow the newest"], ["a", "allow once, or answer"], ["r", "reject"], ["s", "stop the session"], ["m", "what else can be done"], ["t", "theme"], ["Esc", "leave a field"], ["?", "these keys"]];

const sessions = new Sessions();
const list = overview(sessions);
const main = document.getElementById("main");
let view = null;

function route() {
  const [, kind, id] = location.hash.split("/");
  view?.close();
  const opened = kind === "s" && id ? decodeURIComponent(id) : null;
  view = opened !== null ? sessionView(opened, sessions) : kind === "engine" ? engineView() : startView();
  document.body.dataset.view = opened !== null ? "session" : kind === "engine" ? "engine" : "start";
  setTitle();
  replace(main, view.element);
  list.select(opened);
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.hash === (kind === "engine" ? "#/engine" : opened === null ? "#/" : "")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view.shown();
}

/** A tab that is not looked at says how many sessions wait for a person. */
function setTitle() {
  const [, kind, id] = location.hash.split("/");
  const name = kind === "s" && id ? decodeURIComponent(id) : kind === "engine" ? "Engine" : "Sessions";
  const waiting = sessions.shown().filter(({ status }) => status === "waiting_input").length;
  document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${name} · opencode-sidecar`;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
  document.getElementById("theme").setAttribute("aria-label", `Theme: ${theme}`);
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  setTheme(theme);
  announce(`Theme: ${theme}`);
}

function help() {
  const dialog = document.getElementById("dialog");
  dialog.onclose = null;
  replace(dialog, h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); dialog.close(); } }, h("h2", {}, "Keys"),
    h("dl", { class: "keys" }, KEYS.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])),
    h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Close"))));
  dialog.showModal();
}

const COMMANDS = {
  n: () => {
    if (document.body.dataset.view === "start") view.shown();
    else location.hash = "#/";
  },
  g: () => { location.hash = "#/engine"; }, t: nextTheme, "?": help,
  "/": () => list.search.focus(), j: () => list.move(1), k: () => list.move(-1),
};

function pressed(event) {
  // What has just been closed may still have the focus.
  const typing = event.target.checkVisibility?.() && event.target.closest("input, textarea, select, dialog, [popover]");
  if (event.key === "Escape" && typing && !event.target.closest("dialog, [popover]")) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const command = view?.keys?.[event.key] ?? COMMANDS[event.key];
  if (!command) return;
  event.preventDefault();
  command();
}

/** A dot says from every page whether sessions are taken. */
async function watchEngine() {
  const link = document.querySelector("header nav a[href='#/engine']");
  if (!document.hidden) {
    const error = await request("ready").then((answer) => answer.json()).then((body) => body.error ?? "", () => "the sidecar does not answer");
    link.dataset.state = error ? "failed" : "ready";
    link.title = error ? visible(error) : "Ready";
  }
  setTimeout(watchEngine, 5000);
}

async function begin() {
  setTheme(THEMES.includes(localStorage.getItem(THEME)) ? localStorage.getItem(THEME) : "auto");
  const theme = document.getElementById("theme");
  theme.append(icon("theme"));
  theme.addEventListener("click", nextTheme);
  const helpButton = document.getElementById("help");
  helpButton.append(icon("help"));
  helpButton.addEventListener("click", help);
  document.getElementById("side").append(list.element);
  document.addEventListener("keydown", pressed);
  setInterval(tick, 250);
  for (;;) {
    try {
      await greet();
      break;
    } catch (error) {
      replace(main, h("p", { class: "notice failed", role: "alert" }, error.message));
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  sessions.addEventListener("change", () => {
    Object.assign(document.body.dataset, { reached: sessions.reached, live: sessions.live });
    setTitle();
  });
  sessions.start();
  window.addEventListener("hashchange", route);
  route();
  watchEngine();
}

begin();
