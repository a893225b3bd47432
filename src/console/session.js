// One session: its conversation, changes, timeline and events, and what a person can do with it.

import { actions, openMenu } from "./actions.js";
import { at, call, has } from "./api.js";
import { askDock } from "./asks.js";
import { changesTab } from "./changes.js";
import { Conversation, END, ends } from "./conversation.js";
import { announce, button, h, icon, oneLine, replace, setText, visible } from "./dom.js";
import { EventLog, eventsTab } from "./events.js";
import { duration } from "./format.js";
import { VirtualList } from "./list.js";
import { prompts } from "./memory.js";
import { promptBox } from "./prompt.js";
import { rail } from "./rail.js";
import { height, row } from "./rows.js";
import { active, diagnosis, statusWord } from "./status.js";
import { follow } from "./stream.js";
import { timelineTab } from "./timeline.js";
import { whyLine } from "./why.js";

const TABS = { conversation: "Conversation", changes: "Changes", timeline: "Timeline", events: "Events" };
/** The figures that no event tells: tokens, cost, calls of the model. */
const STATUS_EVERY_MS = 3000;
const SOON_MS = 300;
/** A connection that is back sooner was never gone for a person. */
const CALM_MS = 2500;

export function sessionView(id, sessions) {
  const stop = new AbortController();
  const conversation = new Conversation(prompts(id));
  const log = new EventLog();
  const steered = [];
  let status = sessions.get(id) ?? null;
  /** The status that an event told after the last answer was asked for. */
  let heard = null;
  let asked = 0;
  let answered = 0;
  let lastAsked = 0;
  let later = null;
  let tab = "conversation";
  let structure = -1;
  let lastEvent = Date.now();
  let connection = ["waiting", ""];
  let since = Date.now();
  let scheduled = false;

  const session = {
    id, open: (item) => change(item, { open: !item.open }), unfold: (item) => { conversation.fold(item, !item.unfolded); schedule(); },
    get canPrompt() { return !active(now()); }, act, resume: () => run("resume"),
    reveal: (item) => { select("conversation"); list.reveal(item.key); },
    sent(answer, words) {
      if (answer.status === "steered") steered.push(words);
      else conversation.remember(answer.turn, words);
      list.follow(true);
      refresh();
    },
  };
  const list = new VirtualList({ label: "Conversation", render: (item) => row(item, session), estimate: height, onfollow: (on) => { latest.hidden = on; } });
  const latest = button("down", "Follow the newest", () => list.follow(true), { class: "latest", hidden: true });
  const box = promptBox(session);
  const dock = askDock(session);
  const why = whyLine(id, describe);
  const side = rail();
  const tabs = {
    conversation: { element: h("div", { class: "conversation" }, list.element, latest), draw: drawConversation },
    changes: changesTab(conversation, session), timeline: timelineTab(conversation, session), events: eventsTab(log, session),
  };

  const dot = h("span", { class: "dot" });
  const title = h("h1", { class: "ellipsis", dir: "auto", tabindex: "-1" }, visible(status?.title || id));
  const pill = h("span", { class: "pill" });
  const link = h("p", { class: "notice warn connection", role: "alert", hidden: true });
  const stopButton = button("stop", "Stop", () => run("stop"), { class: "danger" });
  const resumeButton = button("play", "Resume", () => run("resume"));
  const forkButton = button("fork", "Fork", () => run("fork"), { class: "wide-only" });
  const moreButton = button("more", "More", () => openMenu(moreButton, possible()), { words: false, "aria-haspopup": "menu" });
  const bar = h("div", { class: "tabs", role: "tablist", "aria-label": "Views of the session", onkeydown: arrows },
    Object.entries(TABS).map(([name, label]) => h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel", onclick: () => select(name) }, label)));
  const panel = h("div", { class: "panel", role: "tabpanel", id: "panel" });
  const element = h("section", { class: "session", "aria-label": `Session ${id}` },
    h("header", { class: "session-head" }, h("a", { href: "#/", class: "back", "aria-label": "All sessions" }, icon("back")), dot, title, pill, h("span", { class: "grow" }),
      h("div", { class: "head-actions" }, stopButton, resumeButton, forkButton, moreButton), why.element),
    link, bar, h("div", { class: "session-body" }, panel, side.element), dock.element, box.element);

  const timer = setInterval(() => schedule(), 1000);
  const poll = setInterval(() => {
    if (!document.hidden && (active(now()) || !status)) refresh();
  }, STATUS_EVERY_MS);
  select(tab);
  refresh();
  follow(`${at`sessions/${id}/stream`}?follow=1&include=reasoning`, { onEvents, onState, signal: stop.signal });
  recall();

  function onEvents(events) {
    for (const event of events) {
      let data;
      try {
        data = JSON.parse(event.raw);
      } catch {
        data = { text: event.raw };
      }
      if (event.type === "prompt" && data.state === "steered" && data.text === undefined) data.text = steered.shift();
      log.add(event, data);
      conversation.add({ id: event.id, type: event.type, data });
      hear(event.type, data);
    }
    lastEvent = Date.now();
    schedule();
  }

  /** Who began or ended a turn may be another client: what is shown follows the events, and the rest is asked for. */
  function hear(type, data) {
    // A turn of long ago, which is told because the page has just been opened.
    if (data.turn < status?.turn) return;
    if (ends(type, data)) heard = { state: END[type] };
    else if (type === "status") heard = { state: data.status };
    else if (!["permission", "question", "prompt"].includes(type)) return;
    refreshSoon();
  }

  /** What the session is now: what was answered, and what was heard since. */
  function now() {
    const state = conversation.asks.size > 0 ? "waiting_input" : heard?.state ?? status?.status ?? (conversation.running ? "running" : "pending");
    return { ...status, status: state };
  }

  function onState(state, why = "") {
    if (connection[0] !== state) since = Date.now();
    connection = [state, why];
    schedule();
  }

  /** Once per frame, however many events came. */
  function schedule() {
    if (scheduled || stop.signal.aborted) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      if (!stop.signal.aborted) draw();
    });
  }

  function draw() {
    drawHead();
    tabs[tab].draw();
    side.draw(conversation, status, why.found);
    dock.draw(conversation.asks);
    box.update(now());
  }

  function drawConversation() {
    if (conversation.structure !== structure) {
      structure = conversation.structure;
      list.set(conversation.rows());
    } else list.schedule();
  }

  function drawHead() {
    const { status: state } = now();
    dot.className = `dot ${state}`;
    pill.className = `pill ${state}`;
    setText(pill, statusWord(state));
    setText(title, oneLine(status?.title || id, 160));
    why.draw(active({ status: state }) && conversation.asks.size === 0);
    stopButton.hidden = !active({ status: state });
    const ended = status && !active({ status: state }) && status.turn > 0;
    resumeButton.hidden = !ended || state === "completed";
    forkButton.hidden = !ended;
    // A proxy that cuts every answer after a while is no news.
    link.hidden = ["live", "resting"].includes(connection[0]) || (connection[0] === "waiting" && Date.now() - since < CALM_MS);
    setText(link, connection[0] === "over" ? oneLine(connection[1]) : `Not connected: ${oneLine(connection[1])}. Trying again…`);
    element.dataset.connection = connection[0];
    element.dataset.last = log.events.findLast(({ id: event }) => event !== null)?.id ?? "";
  }

  /** What it does now, and for how long. */
  function describe() {
    const running = conversation.running;
    const item = conversation.items.at(-1);
    const quiet = Date.now() - lastEvent;
    if (running && conversation.asks.size > 0) return `Waits for ${conversation.asks.size === 1 ? "an answer" : `${conversation.asks.size} answers`} of yours`;
    if (running && status?.phase) return oneLine(diagnosis(status));
    const open = running ? conversation.spans.findLast((span) => span.kind === "tool" && span.to === null) : null;
    if (open) return `Runs ${visible(open.label)} for ${duration(Date.now() - open.from)}`;
    if (running && quiet > 10_000) return `Waits for the model, and nothing has come for ${duration(quiet)}`;
    if (running) return item?.kind === "text" ? "The model is writing" : "The model is thinking";
    const took = item?.kind === "end" && item.end === "complete" ? ` in ${duration(item.data.duration_ms)}` : "";
    const current = now();
    if (current.status === "failed") return oneLine(diagnosis(current), 300);
    const word = statusWord(current.status);
    return status ? `${word[0].toUpperCase()}${word.slice(1)}${took}` : "";
  }

  /** However many events want it, the status is read a few times a second at most. */
  function refreshSoon() {
    later ??= setTimeout(() => {
      later = null;
      if (!stop.signal.aborted) refresh();
    }, Math.max(0, lastAsked + SOON_MS - Date.now()));
  }

  /** Reads the status anew. Answers may come in another order than they were asked for; the newest counts. */
  async function refresh() {
    const number = (asked += 1);
    const before = heard;
    lastAsked = Date.now();
    try {
      const answer = await call("GET", at`sessions/${id}/status`);
      if (number < answered) return;
      answered = number;
      status = answer;
      if (heard === before) heard = null;
    } catch {
      return;
    }
    schedule();
  }

  /** What a person asked for before this tab was there, where the sidecar can tell. */
  async function recall() {
    if (!has("GET", "/sessions/{id}/messages")) return;
    try {
      const { messages } = await call("GET", `${at`sessions/${id}/messages`}?limit=200`);
      const said = new Map();
      for (const { role, turn, text } of messages.reverse()) if (role === "user" && text && turn) said.set(turn, [...(said.get(turn) ?? []), text]);
      for (const [turn, texts] of said) conversation.remember(turn, ...texts);
      schedule();
    } catch {
      // The conversation is shown without them.
    }
  }

  function select(name) {
    tab = name;
    for (const [key, one] of Object.entries(TABS)) {
      const control = bar.querySelector(`#tab-${key}`);
      control.setAttribute("aria-selected", String(key === name));
      control.tabIndex = key === name ? 0 : -1;
      setText(control, one);
    }
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    // The other views need the width.
    side.element.hidden = name !== "conversation";
    replace(panel, tabs[name].element);
    structure = -1;
    schedule();
  }

  function arrows(event) {
    const names = Object.keys(TABS);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    select(names[(names.indexOf(tab) + step + names.length) % names.length]);
    bar.querySelector("[aria-selected=true]").focus();
  }

  function change(item, changes) {
    Object.assign(item, changes);
    item.version += 1;
    // What was opened stays in sight.
    if (item.open) list.follow(false);
    list.schedule();
  }

  async function act(action, done) {
    try {
      await action();
      announce(done);
    } catch (error) {
      announce(error.message, "error");
    }
    refresh();
    sessions.refresh();
  }

  const possible = () => actions(status && now(), sessions);

  async function run(name) {
    await possible().find((one) => one.name === name)?.run();
    refresh();
  }

  return {
    element,
    shown: () => title.focus({ preventScroll: true }),
    keys: {
      f: () => list.follow(true), c: () => box.focus(), s: () => stopButton.hidden || stopButton.click(),
      a: () => dock.press("once"), r: () => dock.press("reject"), m: () => moreButton.click(),
      ...Object.fromEntries(Object.keys(TABS).map((name, index) => [String(index + 1), () => select(name)])),
    },
    close() {
      stop.abort();
      clearInterval(timer);
      clearInterval(poll);
      clearTimeout(later);
      why.close();
      list.close();
      for (const one of Object.values(tabs)) one.list?.close();
    },
  };
}
