// What the agent asks a person: buttons, and the time that is left.

import { at, call, has } from "./api.js";
import { announce, h, icon, oneLine, visible } from "./dom.js";
import { duration } from "./format.js";

const PERMISSIONS = "/sessions/{id}/permissions/{request_id}";
const QUESTIONS = "/sessions/{id}/questions/{request_id}";

/** An ask, with its buttons while nobody has answered. */
export function askCard(item, session) {
  const who = item.agentName ? `Subagent ${visible(item.agentName)} asks` : "The agent asks";
  const open = !item.answer && has("POST", item.ask === "permission" ? PERMISSIONS : QUESTIONS);
  return h("section", { class: `ask-card${item.answer ? " answered" : ""}`, "aria-label": who },
    h("header", {}, icon("help"), h("strong", {}, who), item.answer ? answer(item) : left(item)),
    item.ask === "permission" ? permission(item, session, open) : question(item, session, open));
}

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

function answer({ answer: { state, reply, by, answers } }) {
  const by_whom = { timeout: " because nobody answered in time", rule: " by a rule of this session" }[by] ?? "";
  const said = { once: "Allowed once", always: "Always allowed", reject: "Rejected" }[reply]
    ?? { rejected: "Rejected", withdrawn: "No answer is needed any more", answered: answers ? `Answered: ${oneLine(answers.flat().join(", "))}` : "Answered" }[state] ?? state;
  return h("span", { class: "muted" }, said + by_whom);
}

function permission(item, session, open) {
  const { permission: name, patterns = [], metadata } = item.data;
  const what = metadata?.command ?? metadata?.filePath ?? patterns.join("\n");
  const reply = (value, message) => send(at`sessions/${session.id}/permissions/${item.requestId}`, { reply: value, ...(message && { message }) });
  const why = h("input", { type: "text", "aria-label": "What the agent is to do instead", placeholder: "Reject, and say what to do instead (optional)" });
  const always = item.data.always?.length > 0 ? item.data.always.join(", ") : name;
  return [
    h("p", {}, h("strong", {}, visible(name ?? "")), what && h("pre", { dir: "ltr", tabindex: "0" }, visible(String(what).slice(0, 4000)))),
    metadata?.diff && h("pre", { tabindex: "0", dir: "ltr" }, visible(String(metadata.diff).slice(0, 8000))),
    open && h("form", { class: "actions", onsubmit: (event) => { event.preventDefault(); reply("reject", why.value.trim()); } },
      h("button", { type: "button", class: "primary", "data-reply": "once", onclick: () => reply("once") }, "Allow once"),
      h("button", { type: "button", "data-reply": "always", title: visible(always), onclick: () => reply("always") }, "Always allow"),
      why, h("button", { type: "submit", class: "danger", "data-reply": "reject" }, "Reject")),
  ];
}

function question(item, session, open) {
  const questions = Array.isArray(item.data.questions) ? item.data.questions : [];
  const path = at`sessions/${session.id}/questions/${item.requestId}`;
  const parts = questions.map((one, index) => choice(one, `${item.key}-${index}`, open));
  const submit = (event) => {
    event.preventDefault();
    send(path, { answers: parts.map((part) => part.read()) });
  };
  return h("form", { onsubmit: submit }, parts.map((part) => part.element),
    open && h("div", { class: "actions" }, h("button", { class: "primary", type: "submit" }, "Answer"),
      h("button", { type: "button", class: "danger", onclick: () => send(path, { reject: true }) }, "Reject")));
}

function choice({ header, question: words, options = [], multiple }, name, open) {
  const boxes = options.map(({ label, description }) => {
    const box = h("input", { type: multiple ? "checkbox" : "radio", name, disabled: !open });
    return { box, label, element: h("label", { class: "option" }, box, h("span", {}, visible(String(label))), description && h("span", { class: "muted" }, visible(String(description)))) };
  });
  const own = h("input", { type: "text", "aria-label": "Another answer", placeholder: "Another answer" });
  return {
    element: h("fieldset", {}, h("legend", {}, header && h("strong", {}, `${visible(String(header))} `), visible(String(words ?? ""))),
      boxes.map(({ element }) => element), open && own),
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
