// One session: its conversation, changes, timeline and events, and what a person can do with it.

import { actions, openMenu } from "./actions.js";
import { at, call, has } from "./api.js";
import { askDock } from "./asks.js";
import { changesTab } from "./changes.js";
import { Conversation, ends } from "./conversation.js";
import { announce, button, h, icon, oneLine, replace, setText, visible } from "./dom.js";
import { EventLog, eventsTab } from "./events.js";
import { duration } from "./format.js";
import { VirtualList } from "./list.js";
import { prompts } from "./memory.js";
import { promptBox } from "./prompt.js";
import { rail } from "./rail.js";
import { height, row } from "./rows.js";
import { active, diagnosis, statusWord } from "./sessions.js";
import { follow } from "./stream.js";
import { timelineTab } from "./timeline.js";
import { whyLine } from "./why.js";

const TABS = { conversation: "Conversation", changes: "Changes", timeline: "Timeline", events: "Events" };
/** The figures that no event tells: tokens, cost, calls of the model. */
const STATUS_EVERY_MS = 3000;
/** A connection that is back sooner was never gone for a person. */
const CALM_MS = 2500;

export function sessionView(id, sessions) {
  const stop = new AbortController();
  const conversation = new Conversation(prompts(id));
  const log = new EventLog();
  const steered = [];
  let status = sessions.get(id) ?? null;
  let tab = "conversation";
  let structure = -1;
  let lastEvent = Date.now();
  let connection = ["waiting", ""];
  let since = Date.now();
  let scheduled = false;

  const session = {
    id, open: (item) => change(item, { open: !item.open }), unfold: (item) => { conversation.fold(item, !item.unfolded); schedule(); },
    get canPrompt() { return !active(status ?? {}); }, act, resume: () => run("resume"),
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
    if (!document.hidden && (active(status ?? {}) || !status)) refresh();
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
      if (ends(event.type, data)) {
        refresh();
        sessions.refresh();
      } else if (["permission", "question", "prompt"].includes(event.type)) refresh();
    }
    lastEvent = Date.now();
    schedule();
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
    box.update(status);
  }

  function drawConversation() {
    if (conversation.structure !== structure) {
      structure = conversation.structure;
      list.set(conversation.rows());
    } else list.schedule();
  }

  function drawHead() {
    const state = conversation.asks.size > 0 ? "waiting_input" : status?.status ?? (conversation.running ? "running" : "pending");
    dot.className = `dot ${state}`;
    pill.className = `pill ${state}`;
    setText(pill, statusWord(state));
    setText(title, oneLine(status?.title || id, 160));
    why.draw(active({ status: state }) && conversation.asks.size === 0);
    stopButton.hidden = !active({ status: state });
    const ended = status && !active(status) && status.turn > 0;
    resumeButton.hidden = !ended || status.status === "completed";
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
    if (status?.status === "failed") return oneLine(diagnosis(status), 300);
    return status ? `${statusWord(status.status)[0].toUpperCase()}${statusWord(status.status).slice(1)}${took}` : "";
  }

  async function refresh() {
    try {
      status = await call("GET", at`sessions/${id}/status`);
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

  const possible = () => actions(status, sessions);

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
      why.close();
      list.close();
      for (const one of Object.values(tabs)) one.list?.close();
    },
  };
}
