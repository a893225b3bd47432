// What the agent asks a person: buttons, and the time that is left.

import { at, call } from "./api.js";
import { announce, h, icon, oneLine, visible } from "./dom.js";
import { duration } from "./format.js";

/** What waits for an answer, always in sight: a card for each, with its buttons. */
export function askDock(session) {
  const element = h("div", { class: "dock", role: "region", "aria-label": "The agent asks", "aria-live": "polite" });
  const cards = new Map();
  return {
    element,
    /** `asks` are the items nobody has answered. A card stays as it is while somebody writes in it. */
    draw(asks) {
      for (const [key, card] of cards) {
        if (asks.has(key)) continue;
        card.remove();
        cards.delete(key);
      }
      for (const [key, item] of asks) {
        if (cards.has(key)) continue;
        const card = askCard(item, session);
        cards.set(key, card);
        element.append(card);
        tick();
      }
      element.hidden = cards.size === 0;
    },
    /** Presses a button of the ask that has waited longest. */
    press: (reply) => element.querySelector(`[data-reply=${reply}]`)?.click(),
  };
}

function askCard(item, session) {
  const who = asker(item);
  return h("section", { class: "ask-card", "aria-label": who, "data-ask": item.requestId }, h("header", {}, icon("help"), h("strong", {}, who), left(item)),
    item.ask === "permission" ? permission(item, session) : question(item, session));
}

/** The line in the conversation at which it was asked, and how it was answered. */
export function askLine(item) {
  const what = item.ask === "permission" ? `${item.data.permission ?? ""} ${wanted(item.data)}` : (item.data.questions ?? []).map(({ question: words }) => words).join(" ");
  return h("p", { class: `notice${item.answer ? "" : " warn"}` }, icon(item.answer?.reply === "reject" || item.answer?.state === "rejected" ? "cross" : item.answer ? "check" : "help"),
    h("span", {}, `${asker(item)}${item.ask === "permission" ? " for" : ":"}`), h("code", { class: "ellipsis" }, oneLine(what)), item.answer && answer(item));
}

const asker = (item) => (item.agentName ? `Subagent ${visible(item.agentName)} asks` : "The agent asks");

/** What a permission is about: a command, a file, an address. */
const wanted = ({ metadata, patterns = [] }) => String(metadata?.command ?? metadata?.filePath ?? metadata?.filepath ?? metadata?.url ?? patterns.join("\n"));

function left(item) {
  const deadline = Date.parse(item.data.deadline);
  if (!Number.isFinite(deadline)) return null;
  const total = Math.max(1, deadline - item.at);
  return h("span", { class: "deadline", role: "timer", "data-deadline": deadline, "data-total": total }, "");
}

/** Writes the time that is left into every ask on the page. */
export function tick(now = Date.now()) {
  for (const element of document.querySelectorAll("[data-deadline]")) {
    const rest = Number(element.dataset.deadline) - now;
    element.textContent = rest > 0 ? `${duration(Math.ceil(rest / 1000) * 1000).replace(".0 s", " s")} left` : "time is up";
    element.style.setProperty("--left", `${Math.max(0, Math.min(1, rest / Number(element.dataset.total))) * 100}%`);
    element.classList.toggle("bad", rest < 30_000);
  }
}

function answer({ answer: { state, reply, by, answers, message } }) {
  const by_whom = { timeout: " because nobody answered in time", rule: " by a rule of this session" }[by] ?? "";
  const said = { once: "Allowed once", always: "Always allowed", reject: message ? `Rejected: ${oneLine(message, 300)}` : "Rejected" }[reply]
    ?? { rejected: "Rejected", withdrawn: "No answer is needed any more", answered: answers ? `Answered: ${oneLine(answers.flat().join(", "))}` : "Answered" }[state] ?? state;
  return h("span", { class: "muted" }, said + by_whom);
}

function permission(item, session) {
  const { permission: name, metadata } = item.data;
  const what = wanted(item.data);
  const reply = (value, message) => send(at`sessions/${session.id}/permissions/${item.requestId}`, { reply: value, ...(message && { message }) });
  const why = h("input", { type: "text", "aria-label": "What the agent is to do instead", placeholder: "Reject, and say what to do instead (optional)" });
  const always = item.data.always?.length > 0 ? item.data.always.join(", ") : name;
  return [
    h("p", {}, h("strong", {}, visible(name ?? "")), what && h("pre", { dir: "ltr", tabindex: "0" }, visible(what.slice(0, 4000)))),
    metadata?.diff && h("pre", { tabindex: "0", dir: "ltr" }, visible(String(metadata.diff).slice(0, 8000))),
    h("form", { class: "actions", onsubmit: (event) => { event.preventDefault(); reply("reject", why.value.trim()); } },
      h("button", { type: "button", class: "primary", "data-reply": "once", onclick: () => reply("once") }, "Allow once"),
      h("button", { type: "button", "data-reply": "always", title: visible(always), onclick: () => reply("always") }, "Always allow"),
      why, h("button", { type: "submit", class: "danger", "data-reply": "reject" }, "Reject")),
  ];
}

function question(item, session) {
  const questions = Array.isArray(item.data.questions) ? item.data.questions : [];
  const path = at`sessions/${session.id}/questions/${item.requestId}`;
  const parts = questions.map((one, index) => choice(one, `${item.key}-${index}`));
  const submit = (event) => {
    event.preventDefault();
    send(path, { answers: parts.map((part) => part.read()) });
  };
  return h("form", { onsubmit: submit }, parts.map((part) => part.element),
    h("div", { class: "actions" }, h("button", { class: "primary", type: "submit", "data-reply": "once" }, "Answer"),
      h("button", { type: "button", class: "danger", "data-reply": "reject", onclick: () => send(path, { reject: true }) }, "Reject")));
}

function choice({ header, question: words, options = [], multiple }, name) {
  const boxes = options.map(({ label, description }) => {
    const box = h("input", { type: multiple ? "checkbox" : "radio", name });
    return { box, label, element: h("label", { class: "option" }, box, h("span", {}, visible(String(label))), description && h("span", { class: "muted" }, visible(String(description)))) };
  });
  const own = h("input", { type: "text", "aria-label": "Another answer", placeholder: "Another answer" });
  return {
    element: h("fieldset", {}, h("legend", {}, header && h("strong", {}, `${visible(String(header))} `), visible(String(words ?? ""))),
      boxes.map(({ element }) => element), own),
    read: () => {
      const chosen = boxes.filter(({ box }) => box.checked).map(({ label }) => label);
      return own.value.trim() ? [...(multiple ? chosen : []), own.value.trim()] : chosen;
    },
  };
}

async function send(path, body) {
  try {
    await call("POST", path, body);
  } catch (error) {
    announce(error.message, "error");
  }
}
