// What a person can do with a session, from the list and from its page.

import { at, call, curl, has, Refused } from "./api.js";
import { askText, confirm } from "./dialogs.js";
import { announce, copy, h, icon, replace, visible } from "./dom.js";
import { hide, model, rememberModel } from "./memory.js";
import { active } from "./status.js";
import { askForModel } from "./setup.js";

/** The things that can be done now: `{name, label, icon, run, danger}`. */
export function actions(session, sessions) {
  if (!session) return [];
  const id = session.session_id;
  const busy = active(session);
  const post = (what, body) => () => call("POST", `${at`sessions/${id}`}/${what}`, body);
  const act = (name, label, drawing, action, done, more = {}) => ({ name, label, icon: drawing, run: () => carryOut(action, done, sessions, id), ...more });
  return [
    busy && act("stop", "Stop", "stop", post("stop"), "Stopped", { danger: true }),
    !busy && session.turn > 0 && has("POST", "/sessions/{id}/resume") && act("resume", "Resume", "play", () => withModel(id, (config) => call("POST", at`sessions/${id}/resume`, config ? { model_config: config } : {})), "Goes on"),
    has("POST", "/sessions/{id}/fork") && act("fork", "Fork", "fork", () => fork(session), "Forked"),
    has("PATCH", "/sessions/{id}") && act("rename", "Rename", "edit", () => rename(session), "Renamed"),
    !busy && session.turn > 0 && has("POST", "/sessions/{id}/compact") && act("compact", "Summarise the conversation", "compress", () => withModel(id, (config) => call("POST", at`sessions/${id}/compact`, config ? { model_config: config } : {})), "The model summarises"),
    !busy && session.turn > 0 && !session.reverted && has("POST", "/sessions/{id}/revert") && act("undo", "Undo the last turn", "undo", () => undo(session), "Undone"),
    !busy && session.reverted && act("redo", "Redo what was undone", "redo", post("unrevert", {}), "As it was"),
    { name: "curl", label: "Copy as curl", icon: "copy", run: () => copy(curl(`${at`sessions/${id}/stream`}?follow=1`, "N"), "the command") },
    { name: "id", label: "Copy the id", icon: "copy", run: () => copy(id, "the id") },
    act("delete", "Delete", "trash", () => remove(session), "Deleted", { danger: true }),
  ].filter(Boolean);
}

/** `action` returns false when the person thought better of it. */
async function carryOut(action, done, sessions, id) {
  try {
    if ((await action()) !== false) announce(done);
  } catch (error) {
    announce(error.message, "error");
  }
  sessions.ask(id);
  sessions.refresh();
}

/** Calls `send`, and again with a model and its key if the sidecar has none; false if the person gives none. */
export async function withModel(id, send) {
  try {
    return await send(undefined);
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "credentials_required") throw error;
    const config = forTurn(model(id)) ?? (await askForModel(error.message));
    if (config === null) return false;
    const answer = await send(config);
    rememberModel(id, config);
    return answer;
  }
}

/** Of what a session was begun with, what may come again with a turn. */
const forTurn = (config) => config && Object.fromEntries(["provider", "model", "api_key", "api_endpoint", "model_version"].filter((name) => config[name]).map((name) => [name, config[name]]));

async function fork({ session_id: id, title }) {
  const answer = await call("POST", at`sessions/${id}/fork`, { title: `Fork of ${title || id}`.slice(0, 256) });
  location.hash = `#/s/${encodeURIComponent(answer.session_id)}`;
}

async function rename(session) {
  const title = await askText("Rename the session", "Title", session.title ?? "", "Rename");
  if (title === null) return false;
  return call("PATCH", at`sessions/${session.session_id}`, { title: title || null });
}

async function undo(session) {
  const words = "Files that it changed are as they were before, where the workspace is a git work tree. It can be taken back until the next prompt.";
  if (!(await confirm(`Undo turn ${session.turn}?`, "Undo", words))) return false;
  return call("POST", at`sessions/${session.session_id}/revert`, { turn: session.turn });
}

/** The API keeps a session until its retention is over; this ends it, and takes it off the list of this browser. */
async function remove(session) {
  const id = session.session_id;
  const words = "It ends if it runs, its key is forgotten, and this list does not show it any more. Its events stay with the sidecar until SESSION_RETENTION is over.";
  if (!(await confirm(`Delete ${visible(session.title || id)}?`, "Delete", words))) return false;
  await call("DELETE", at`sessions/${id}`);
  hide(id);
  if (location.hash === `#/s/${encodeURIComponent(id)}`) location.hash = "#/";
  return true;
}

/** Shows what can be done below `anchor`. Arrow keys move in it, Escape leaves it. */
export function openMenu(anchor, list) {
  const menu = document.getElementById("menu");
  const items = list.map(({ name, label, icon: drawing, run, danger }) => h("button", {
    type: "button", role: "menuitem", "data-action": name, class: danger ? "danger" : null,
    onclick: () => { menu.hidePopover(); run(); },
  }, icon(drawing), h("span", {}, label)));
  replace(menu, items);
  menu.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
  };
  menu.ontoggle = (event) => {
    if (event.newState === "closed" && menu.contains(document.activeElement)) anchor.focus();
  };
  menu.showPopover();
  const from = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(from.left, window.innerWidth - menu.offsetWidth - 8));
  const top = from.bottom + 4 + menu.offsetHeight > window.innerHeight ? Math.max(8, from.top - menu.offsetHeight - 4) : from.bottom + 4;
  Object.assign(menu.style, { left: `${left}px`, top: `${top}px` });
  items[0]?.focus();
}
